#include "base/wire.h"

#include "base/assert.h"

#include <string.h>

void wire_store_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

void wire_store_u64(uint8_t *at, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

uint32_t wire_load_u32(const uint8_t *at)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 4; i++) {
        value |= (uint32_t)at[i] << (8 * i);
    }
    return value;
}

uint64_t wire_load_u64(const uint8_t *at)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++) {
        value |= (uint64_t)at[i] << (8 * i);
    }
    return value;
}

struct wire_enc wire_enc(void *data, size_t cap)
{
    return (struct wire_enc){.data = data, .cap = cap};
}

/* Room for @len more bytes, or NULL with the error latched. */
static uint8_t *enc_room(struct wire_enc *enc, size_t len)
{
    uint8_t *at;

    if (enc->failed || len > enc->cap - enc->len) {
        enc->failed = true;
        return NULL;
    }
    at = enc->data + enc->len;
    enc->len += len;
    return at;
}

void wire_put_u8(struct wire_enc *enc, uint8_t value)
{
    wire_put_bytes(enc, &value, 1);
}

void wire_put_u16(struct wire_enc *enc, uint16_t value)
{
    uint8_t *at = enc_room(enc, 2);

    if (at != NULL) {
        at[0] = (uint8_t)value;
        at[1] = (uint8_t)(value >> 8);
    }
}

void wire_put_u32(struct wire_enc *enc, uint32_t value)
{
    uint8_t *at = enc_room(enc, 4);

    if (at != NULL) {
        wire_store_u32(at, value);
    }
}

void wire_put_u64(struct wire_enc *enc, uint64_t value)
{
    uint8_t *at = enc_room(enc, 8);

    if (at != NULL) {
        wire_store_u64(at, value);
    }
}

void wire_put_bytes(struct wire_enc *enc, const void *data, size_t len)
{
    uint8_t *at = enc_room(enc, len);

    if (at != NULL && len > 0) {
        memcpy(at, data, len);
    }
}

void wire_put_blob(struct wire_enc *enc, const void *data, size_t len)
{
    if (len > UINT32_MAX) {
        enc->failed = true;
        return;
    }
    wire_put_u32(enc, (uint32_t)len);
    wire_put_bytes(enc, data, len);
}

struct wire_dec wire_dec(const void *data, size_t len)
{
    return (struct wire_dec){.data = data, .len = len};
}

const uint8_t *wire_get_view(struct wire_dec *dec, size_t len)
{
    const uint8_t *at;

    ASSERT(dec->at <= dec->len);
    if (dec->failed || len > dec->len - dec->at) {
        dec->failed = true;
        return NULL;
    }
    at = dec->data + dec->at;
    dec->at += len;
    return at;
}

uint8_t wire_get_u8(struct wire_dec *dec)
{
    const uint8_t *at = wire_get_view(dec, 1);

    return at == NULL ? 0 : at[0];
}

uint16_t wire_get_u16(struct wire_dec *dec)
{
    const uint8_t *at = wire_get_view(dec, 2);

    return at == NULL ? 0 : (uint16_t)(at[0] | (unsigned)at[1] << 8);
}

uint32_t wire_get_u32(struct wire_dec *dec)
{
    const uint8_t *at = wire_get_view(dec, 4);

    return at == NULL ? 0 : wire_load_u32(at);
}

uint64_t wire_get_u64(struct wire_dec *dec)
{
    const uint8_t *at = wire_get_view(dec, 8);

    return at == NULL ? 0 : wire_load_u64(at);
}

void wire_get_bytes(struct wire_dec *dec, void *out, size_t len)
{
    const uint8_t *at = wire_get_view(dec, len);

    if (at == NULL) {
        memset(out, 0, len);
    } else if (len > 0) {
        memcpy(out, at, len);
    }
}

const uint8_t *wire_get_blob(struct wire_dec *dec, size_t max, size_t *len)
{
    uint32_t size = wire_get_u32(dec);
    const uint8_t *at;

    if (size > max) {
        dec->failed = true;
    }
    at = wire_get_view(dec, dec->failed ? 0 : size);
    *len = at == NULL ? 0 : size;
    return at;
}

bool wire_done(const struct wire_dec *dec)
{
    return !dec->failed && dec->at == dec->len;
}
