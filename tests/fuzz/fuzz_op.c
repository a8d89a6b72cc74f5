/*
 * The decoders of entries, ops, results, directory records and pairs on hostile bytes:
 * they must never read outside of what they are given, and whatever they accept must be
 * inside every limit and survive encoding and decoding again unchanged. The first byte
 * chooses the decoder; for an op the second gives the length of a payload.
 */
#include "base/assert.h"
#include "base/wire.h"
#include "zone/op.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_op(const struct zone_op *op)
{
    ASSERT(zone_op_known(op->type));
    ASSERT(op->name.len <= ZONE_NAME_MAX && op->to_name.len <= ZONE_PATH_MAX);
    ASSERT(op->cred.n_groups <= ZONE_GROUPS_MAX && op->n_kv <= ZONE_KV_MAX);
    ASSERT(op->data.len <= ZONE_IO_MAX);
    ASSERT(zone_op_pieces(op->offset, op->data.len) <= ZONE_PIECES_MAX);
    if (op->data.data != NULL) {
        (void)zone_op_check(op);
    }
}

static void fuzz_op(const uint8_t *data, size_t size, struct slice payload)
{
    struct zone_op op;
    struct zone_op again;
    struct buf *buf = NULL;

    if (zone_op_decode(data, size, payload, &op) != 0) {
        return;
    }
    check_op(&op);
    ASSERT(zone_op_encode(&op, &buf) == 0);
    ASSERT(buf->len == size && memcmp(buf->data, data, size) == 0);
    ASSERT(zone_op_decode(buf->data, buf->len, payload, &again) == 0);
    buf_unref(buf);
}

static void fuzz_entry(const uint8_t *data, size_t size)
{
    struct zone_entry entry;
    struct buf *buf = NULL;

    if (zone_entry_decode(data, size, &entry) != 0) {
        return;
    }
    ASSERT(zone_entry_encode(&entry, &buf) == 0);
    zone_entry_stamp(buf->data, buf->len, entry.time_ns);
    ASSERT(buf->len == size && memcmp(buf->data, data, size) == 0);
    buf_unref(buf);
    fuzz_op(entry.op.data, entry.op.len, (struct slice){0});
}

static void fuzz_result(const uint8_t *data, size_t size)
{
    struct zone_result result;
    struct zone_result again;
    struct buf *one = NULL;
    struct buf *two = NULL;

    if (zone_result_decode(data, size, (struct slice){0}, &result) != 0) {
        return;
    }
    ASSERT(zone_result_encode(&result, &one) == 0);
    ASSERT(zone_result_decode(one->data, one->len, (struct slice){0}, &again) == 0);
    ASSERT(zone_result_encode(&again, &two) == 0);
    ASSERT(one->len == two->len && memcmp(one->data, two->data, one->len) == 0);
    buf_unref(one);
    buf_unref(two);
    zone_result_clear(&result);
    zone_result_clear(&again);
}

static void fuzz_records(const uint8_t *data, size_t size)
{
    struct wire_dec dec = wire_dec(data, size);
    struct zone_dirent entry;
    struct zone_kv pair;

    while (zone_dirent_get(&dec, &entry)) {
        ASSERT(entry.name.len <= ZONE_NAME_MAX);
    }
    dec = wire_dec(data, size);
    while (zone_kv_get(&dec, &pair)) {
        ASSERT(pair.key.len <= ZONE_KEY_MAX && pair.value.len <= ZONE_VALUE_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t payload[256];

    if (size < 2) {
        return 0;
    }
    switch (data[0] % 4) {
    case 0:
        fuzz_op(data + 2, size - 2, slice_borrow(payload, data[1]));
        break;
    case 1:
        fuzz_entry(data + 2, size - 2);
        break;
    case 2:
        fuzz_result(data + 2, size - 2);
        break;
    default:
        fuzz_records(data + 2, size - 2);
        break;
    }
    return 0;
}
