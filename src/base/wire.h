/*
 * wire: bounded little-endian encoding and decoding, for the log, the disk and peers.
 *
 * Both cursors latch the first error: after it, writes are dropped and reads give
 * zero, so that a whole message is encoded or decoded and checked once at its end.
 * Nothing is aligned and nothing is padded.
 */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Encoder into memory that the caller owns. @failed: it did not fit. */
struct wire_enc {
    uint8_t *data;
    size_t cap;
    size_t len;
    bool failed;
};

/* Decoder over memory that the caller keeps. @failed: it ended early or was malformed. */
struct wire_dec {
    const uint8_t *data;
    size_t len;
    size_t at;
    bool failed;
};

struct wire_enc wire_enc(void *data, size_t cap);
void wire_put_u8(struct wire_enc *enc, uint8_t value);
void wire_put_u16(struct wire_enc *enc, uint16_t value);
void wire_put_u32(struct wire_enc *enc, uint32_t value);
void wire_put_u64(struct wire_enc *enc, uint64_t value);
void wire_put_bytes(struct wire_enc *enc, const void *data, size_t len);
/* A u32 length, then the bytes. */
void wire_put_blob(struct wire_enc *enc, const void *data, size_t len);

struct wire_dec wire_dec(const void *data, size_t len);
uint8_t wire_get_u8(struct wire_dec *dec);
uint16_t wire_get_u16(struct wire_dec *dec);
uint32_t wire_get_u32(struct wire_dec *dec);
uint64_t wire_get_u64(struct wire_dec *dec);
/* Copies @len bytes to @out, or zeroes @out on failure. */
void wire_get_bytes(struct wire_dec *dec, void *out, size_t len);
/* Borrows the next @len bytes; NULL on failure. */
const uint8_t *wire_get_view(struct wire_dec *dec, size_t len);
/* Borrows a blob of at most @max bytes; *@len is 0 and the result NULL on failure. */
const uint8_t *wire_get_blob(struct wire_dec *dec, size_t max, size_t *len);
/* True if nothing failed and every byte was used. */
bool wire_done(const struct wire_dec *dec);

/* Fixed places in memory, for headers that are patched. */
void wire_store_u32(uint8_t *at, uint32_t value);
void wire_store_u64(uint8_t *at, uint64_t value);
uint32_t wire_load_u32(const uint8_t *at);
uint64_t wire_load_u64(const uint8_t *at);

#endif
