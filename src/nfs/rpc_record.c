#include "nfs/rpc_record.h"

#include "base/assert.h"

#include <errno.h>
#include <string.h>

enum {
    STEP_BYTES_MIN = 4096,       /* First step where more fragments will follow. */
    STEP_BYTES_FIRST = 64 << 10, /* At most. */
    STEP_TIMES = 4,              /* A later step, of the one before. */
};

/* The next step: what was announced counts only once enough of it has come. */
static size_t next_cap(const struct rpc_record *record)
{
    size_t have = record->buf == NULL ? 0 : record->buf->len;
    size_t need = have + record->fragment_left;
    size_t cap;

    if (record->buf == NULL) {
        cap = record->last || need > STEP_BYTES_MIN ? need : STEP_BYTES_MIN;
        return cap > STEP_BYTES_FIRST ? STEP_BYTES_FIRST : cap;
    }
    cap = STEP_TIMES * record->buf->cap;
    if (record->last && cap >= need / 2) {
        return need; /* Not a copy more for a short rest. */
    }
    return cap > RPC_RECORD_MAX ? RPC_RECORD_MAX : cap;
}

/* Make room for more of the present fragment. */
static int grow(struct rpc_record *record)
{
    struct buf *old = record->buf;
    struct buf *buf = buf_new(next_cap(record));

    if (buf == NULL) {
        return -ENOMEM;
    }
    if (old != NULL) {
        ASSERT(old->len < buf->cap);
        memcpy(buf->data, old->data, old->len);
        buf->len = old->len;
        buf_unref(old);
    }
    record->buf = buf;
    return 0;
}

static int begin_fragment(struct rpc_record *record)
{
    const uint8_t *m = record->mark;
    uint32_t mark =
        (uint32_t)m[0] << 24 | (uint32_t)m[1] << 16 | (uint32_t)m[2] << 8 | m[3];
    uint32_t len = mark & ~RPC_MARK_LAST;
    uint32_t have = record->buf == NULL ? 0 : (uint32_t)record->buf->len;

    ASSERT(record->fragment_left == 0 && have <= RPC_RECORD_MAX);
    record->mark_bytes = 0;
    record->last = (mark & RPC_MARK_LAST) != 0;
    record->n_fragments++;
    if (len > RPC_RECORD_MAX - have || record->n_fragments > RPC_FRAGMENTS_MAX ||
        (record->last && have + len == 0)) {
        return -EPROTO;
    }
    record->fragment_left = len;
    return 0;
}

/* At the end of a fragment: give the record away if that was its last. */
static void end_fragment(struct rpc_record *record, struct buf **out)
{
    if (record->fragment_left == 0 && record->last) {
        *out = record->buf;
        *record = (struct rpc_record){0};
    }
}

size_t rpc_record_room(struct rpc_record *record, uint8_t **at)
{
    size_t room = record->buf == NULL ? 0 : record->buf->cap - record->buf->len;

    if (room == 0 || record->fragment_left == 0) {
        return 0;
    }
    *at = record->buf->data + record->buf->len;
    return room < record->fragment_left ? room : record->fragment_left;
}

size_t rpc_record_bytes(const struct rpc_record *record)
{
    return record->buf == NULL ? 0 : record->buf->cap;
}

bool rpc_record_begun(const struct rpc_record *record)
{
    return record->mark_bytes > 0 || record->n_fragments > 0;
}

void rpc_record_filled(struct rpc_record *record, size_t len, struct buf **out)
{
    ASSERT(len <= record->fragment_left);
    *out = NULL;
    record->buf->len += len;
    record->fragment_left -= (uint32_t)len;
    end_fragment(record, out);
}

int rpc_record_feed(struct rpc_record *record, const void *data, size_t len, size_t *used,
                    struct buf **out)
{
    const uint8_t *at = data;
    int rv;

    *out = NULL;
    *used = 0;
    while (*used < len && *out == NULL) {
        uint8_t *to;
        size_t n = rpc_record_room(record, &to);

        if (n == 0 && record->fragment_left > 0) {
            rv = grow(record);
            if (rv != 0) {
                return rv;
            }
            continue;
        }
        if (n > 0) {
            n = n > len - *used ? len - *used : n;
            memcpy(to, at + *used, n);
            *used += n;
            rpc_record_filled(record, n, out);
            continue;
        }
        record->mark[record->mark_bytes] = at[*used];
        record->mark_bytes++;
        *used += 1;
        if (record->mark_bytes == RPC_MARK_BYTES) {
            rv = begin_fragment(record);
            if (rv != 0) {
                return rv;
            }
            end_fragment(record, out);
        }
    }
    return 0;
}

void rpc_record_deinit(struct rpc_record *record)
{
    buf_unref(record->buf);
    *record = (struct rpc_record){0};
}
