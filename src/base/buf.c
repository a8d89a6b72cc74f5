#include "base/buf.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

struct buf *buf_new(size_t cap)
{
    struct buf *buf;

    if (cap > SIZE_MAX / 2) {
        return NULL;
    }
    buf = malloc(sizeof *buf + cap);
    if (buf == NULL) {
        return NULL;
    }
    atomic_init(&buf->refs, 1);
    buf->len = 0;
    buf->cap = cap;
    buf->data = (uint8_t *)(buf + 1);
    return buf;
}

struct buf *buf_copy(const void *data, size_t len)
{
    struct buf *buf = buf_new(len);

    if (buf == NULL) {
        return NULL;
    }
    if (len > 0) {
        memcpy(buf->data, data, len);
    }
    buf->len = len;
    return buf;
}

struct buf *buf_ref(struct buf *buf)
{
    if (buf != NULL) {
        uint32_t before = atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);

        ASSERT(before > 0 && before < UINT32_MAX);
    }
    return buf;
}

void buf_unref(struct buf *buf)
{
    if (buf != NULL) {
        uint32_t before = atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel);

        ASSERT(before > 0);
        if (before == 1) {
            free(buf);
        }
    }
}

struct slice slice_of(struct buf *buf, size_t at, size_t len)
{
    ASSERT(at <= buf->cap && len <= buf->cap - at);
    return (struct slice){.buf = buf_ref(buf), .data = buf->data + at, .len = len};
}

struct slice slice_borrow(const void *data, size_t len)
{
    return (struct slice){.buf = NULL, .data = data, .len = len};
}

struct slice slice_ref(struct slice slice)
{
    slice.buf = buf_ref(slice.buf);
    return slice;
}

struct slice slice_keep(struct slice slice)
{
    struct slice kept = {0};
    struct buf *copy;

    if (slice.buf != NULL || slice.len == 0) {
        return slice_ref(slice);
    }
    copy = buf_copy(slice.data, slice.len);
    if (copy != NULL) {
        kept = slice_of(copy, 0, copy->len);
        buf_unref(copy);
    }
    return kept;
}

void slice_unref(struct slice *slice)
{
    buf_unref(slice->buf);
    *slice = (struct slice){0};
}
