#include "base/assert.h"
#include "base/wire.h"
#include "zone/op.h"

#include <errno.h>
#include <string.h>

enum {
    TIME_AT = 1, /* Byte offset of the time, right after the version. */
    HEADER_BYTES = 1 + 8 + 4 * 8 + 16,
};

int zone_entry_encode(const struct zone_entry *entry, struct buf **out)
{
    struct wire_enc enc;
    struct buf *buf;

    ASSERT(entry->op.len <= ZONE_OP_BYTES_MAX);
    buf = buf_new(HEADER_BYTES + entry->op.len);
    if (buf == NULL) {
        return -ENOMEM;
    }
    enc = wire_enc(buf->data, buf->cap);
    wire_put_u8(&enc, ZONE_ENTRY_VERSION);
    wire_put_u64(&enc, 0);
    wire_put_u64(&enc, entry->origin.node);
    wire_put_u64(&enc, entry->origin.boot);
    wire_put_u64(&enc, entry->origin.seq);
    wire_put_u64(&enc, entry->origin.floor);
    wire_put_bytes(&enc, entry->rpc_key, sizeof entry->rpc_key);
    ASSERT(enc.len == HEADER_BYTES);
    wire_put_bytes(&enc, entry->op.data, entry->op.len);
    ASSERT(!enc.failed);
    buf->len = enc.len;
    *out = buf;
    return 0;
}

void zone_entry_stamp(uint8_t *bytes, size_t len, int64_t time_ns)
{
    ASSERT(len >= HEADER_BYTES);
    wire_store_u64(bytes + TIME_AT, (uint64_t)time_ns);
}

int zone_entry_decode(const void *bytes, size_t len, struct zone_entry *entry)
{
    struct wire_dec dec = wire_dec(bytes, len);
    uint8_t version = wire_get_u8(&dec);

    memset(entry, 0, sizeof *entry);
    if (!dec.failed && version != ZONE_ENTRY_VERSION) {
        return -EPROTONOSUPPORT;
    }
    entry->time_ns = (int64_t)wire_get_u64(&dec);
    entry->origin.node = wire_get_u64(&dec);
    entry->origin.boot = wire_get_u64(&dec);
    entry->origin.seq = wire_get_u64(&dec);
    entry->origin.floor = wire_get_u64(&dec);
    wire_get_bytes(&dec, entry->rpc_key, sizeof entry->rpc_key);
    if (dec.failed || len - dec.at > ZONE_OP_BYTES_MAX || entry->time_ns < 0) {
        return -EPROTO;
    }
    entry->op = slice_borrow(dec.data + dec.at, len - dec.at);
    return 0;
}
