#include "peer/peer_frame.h"

#include "base/assert.h"
#include "base/wire.h"

#include <errno.h>
#include <string.h>

int peer_header_check(const struct peer_header *header)
{
    uint64_t total = (uint64_t)header->head_len + header->body_len;
    bool fits = false;

    switch (header->kind) {
    case PEER_KIND_HELLO:
        fits = header->head_len == 0 && total == PEER_HELLO_BYTES;
        break;
    case PEER_KIND_PING:
    case PEER_KIND_PONG:
        fits = header->head_len == 0 && total == PEER_PING_BYTES;
        break;
    case PEER_KIND_DATA:
        fits = total <= PEER_FRAME_MAX;
        break;
    case PEER_KIND_JOIN:
        fits = header->head_len == 0 && total <= PEER_JOIN_MAX;
        break;
    case PEER_KIND_JOIN_ANSWER:
        fits = header->head_len == 0 && total <= PEER_JOIN_ANSWER_MAX;
        break;
    case PEER_KIND_REFUSAL:
        fits = header->head_len == 0 && total == PEER_REFUSAL_BYTES;
        break;
    case PEER_KIND_NONE:
    case PEER_KIND_MAX:
        break;
    }
    if (header->kind != PEER_KIND_DATA && header->type != 0) {
        fits = false;
    }
    return fits ? 0 : -EMSGSIZE;
}

void peer_header_encode(const struct peer_header *header, uint8_t out[PEER_HEADER_BYTES])
{
    ASSERT(peer_header_check(header) == 0);
    out[0] = PEER_WIRE_VERSION;
    out[1] = (uint8_t)header->kind;
    out[2] = header->type;
    out[3] = 0;
    wire_store_u32(out + 4, header->head_len);
    wire_store_u32(out + 8, header->body_len);
}

int peer_header_decode(const uint8_t in[PEER_HEADER_BYTES], uint32_t kinds,
                       struct peer_header *out)
{
    struct peer_header header = {
        .type = in[2],
        .head_len = wire_load_u32(in + 4),
        .body_len = wire_load_u32(in + 8),
    };

    if (in[0] != PEER_WIRE_VERSION || in[3] != 0 || in[1] >= PEER_KIND_MAX ||
        (kinds & PEER_KIND_BIT(in[1])) == 0) {
        return -EPROTO;
    }
    header.kind = (enum peer_kind)in[1];
    if (peer_header_check(&header) != 0) {
        return -EPROTO;
    }
    *out = header;
    return 0;
}

void peer_hello_encode(const struct peer_hello *hello, uint8_t out[PEER_HELLO_BYTES])
{
    struct wire_enc enc = wire_enc(out, PEER_HELLO_BYTES);

    wire_put_u16(&enc, PEER_WIRE_VERSION);
    wire_put_bytes(&enc, hello->grapevine_id, sizeof hello->grapevine_id);
    wire_put_u64(&enc, hello->sender);
    wire_put_u64(&enc, hello->receiver);
    wire_put_u64(&enc, hello->boot);
    wire_put_u64(&enc, hello->attempt);
    wire_put_u8(&enc, (uint8_t)hello->channel);
    wire_put_u64(&enc, hello->epoch);
    ASSERT(!enc.failed && enc.len == PEER_HELLO_BYTES);
}

int peer_hello_decode(const uint8_t *in, size_t len, struct peer_hello *out)
{
    struct wire_dec dec = wire_dec(in, len);
    struct peer_hello hello = {0};
    uint16_t version = wire_get_u16(&dec);
    uint8_t channel;

    wire_get_bytes(&dec, hello.grapevine_id, sizeof hello.grapevine_id);
    hello.sender = wire_get_u64(&dec);
    hello.receiver = wire_get_u64(&dec);
    hello.boot = wire_get_u64(&dec);
    hello.attempt = wire_get_u64(&dec);
    channel = wire_get_u8(&dec);
    hello.epoch = wire_get_u64(&dec);
    if (!wire_done(&dec)) {
        return -EPROTO;
    }
    if (version != PEER_WIRE_VERSION) {
        return -EPROTONOSUPPORT;
    }
    if (channel >= PEER_CHANNELS) {
        return -EPROTO;
    }
    hello.channel = (enum peer_channel)channel;
    *out = hello;
    return 0;
}

unsigned peer_hello_version(const uint8_t *in, size_t len)
{
    struct wire_dec dec = wire_dec(in, len);

    return wire_get_u16(&dec);
}

void peer_refusal_encode(const struct peer_refusal *refusal,
                         uint8_t out[PEER_REFUSAL_BYTES])
{
    struct wire_enc enc = wire_enc(out, PEER_REFUSAL_BYTES);

    wire_put_u16(&enc, (uint16_t)refusal->reason);
    wire_put_u16(&enc, refusal->version_min);
    wire_put_u16(&enc, refusal->version_max);
    wire_put_u16(&enc, 0);
    ASSERT(!enc.failed && enc.len == PEER_REFUSAL_BYTES);
}

int peer_refusal_decode(const uint8_t *in, size_t len, struct peer_refusal *out)
{
    struct wire_dec dec = wire_dec(in, len);
    struct peer_refusal refusal = {.reason = (enum peer_reason)wire_get_u16(&dec)};

    refusal.version_min = wire_get_u16(&dec);
    refusal.version_max = wire_get_u16(&dec);
    (void)wire_get_u16(&dec);
    if (!wire_done(&dec)) {
        return -EPROTO;
    }
    *out = refusal;
    return 0;
}

void peer_frame_release(struct peer_frame *frame)
{
    buf_unref(frame->buf);
    *frame = (struct peer_frame){0};
}

void peer_reader_deinit(struct peer_reader *reader)
{
    buf_unref(reader->buf);
    *reader = (struct peer_reader){0};
}

static size_t frame_bytes(const struct peer_header *header)
{
    return (size_t)header->head_len + header->body_len;
}

/* Hand the whole buffer over as a frame and be ready for the next header. */
static void finish(struct peer_reader *reader, struct peer_frame *frame)
{
    struct buf *buf = reader->buf;

    ASSERT(buf->len == frame_bytes(&reader->now));
    frame->kind = reader->now.kind;
    frame->type = reader->now.type;
    frame->buf = buf;
    frame->head = slice_borrow(buf->data, reader->now.head_len);
    frame->body = (struct slice){
        .buf = buf,
        .data = buf->data + reader->now.head_len,
        .len = reader->now.body_len,
    };
    reader->buf = NULL;
    reader->header_len = 0;
}

/* Move up to a whole header from @data; returns how many bytes. */
static size_t take_header(struct peer_reader *reader, struct slice data)
{
    size_t n = PEER_HEADER_BYTES - reader->header_len;

    if (n > data.len) {
        n = data.len;
    }
    memcpy(reader->header + reader->header_len, data.data, n);
    reader->header_len += (uint32_t)n;
    return n;
}

int peer_reader_take(struct peer_reader *reader, struct slice data, size_t *used,
                     struct peer_frame *frame)
{
    size_t total;
    size_t n;
    int rv;

    *frame = (struct peer_frame){0};
    *used = 0;
    if (reader->buf == NULL) {
        if (data.len > 0) {
            *used = take_header(reader, data);
        }
        if (reader->header_len < PEER_HEADER_BYTES) {
            return 0;
        }
        rv = peer_header_decode(reader->header, reader->kinds, &reader->now);
        if (rv != 0) {
            return rv;
        }
        if (reader->now.body_len == 0 && reader->now.head_len <= data.len - *used) {
            frame->kind = reader->now.kind;
            frame->type = reader->now.type;
            frame->head = slice_borrow(data.data + *used, reader->now.head_len);
            *used += reader->now.head_len;
            reader->header_len = 0;
            return 0;
        }
        reader->buf = buf_new(frame_bytes(&reader->now));
        if (reader->buf == NULL) {
            return -ENOMEM;
        }
    }
    total = frame_bytes(&reader->now);
    n = total - reader->buf->len;
    if (n > data.len - *used) {
        n = data.len - *used;
    }
    if (n > 0) {
        memcpy(reader->buf->data + reader->buf->len, data.data + *used, n);
        reader->buf->len += n;
        *used += n;
    }
    if (reader->buf->len == total) {
        finish(reader, frame);
    }
    return 0;
}

size_t peer_reader_room(const struct peer_reader *reader, uint8_t **at)
{
    if (reader->buf == NULL) {
        return 0;
    }
    *at = reader->buf->data + reader->buf->len;
    return frame_bytes(&reader->now) - reader->buf->len;
}

void peer_reader_filled(struct peer_reader *reader, size_t n, struct peer_frame *frame)
{
    ASSERT(reader->buf != NULL && n <= frame_bytes(&reader->now) - reader->buf->len);
    *frame = (struct peer_frame){0};
    reader->buf->len += n;
    if (reader->buf->len == frame_bytes(&reader->now)) {
        finish(reader, frame);
    }
}
