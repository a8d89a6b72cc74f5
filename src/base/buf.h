/*
 * buf: byte buffers shared between threads by reference count, and slices of them.
 *
 * A buffer's bytes are written once by who made it and read-only once it is shared.
 * Reference counts are atomic; everything else is not synchronised.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    _Atomic uint32_t refs;
    size_t len; /* Bytes of data in use, at most cap. */
    size_t cap;
    uint8_t *data; /* In the same allocation. */
};

/* A borrowed or owned view of part of a buffer. All zero is the empty slice. */
struct slice {
    struct buf *buf; /* NULL if the bytes belong to somebody else. */
    const uint8_t *data;
    size_t len;
};

/* A new buffer with room for @cap bytes, len 0, one reference. NULL without memory. */
struct buf *buf_new(size_t cap);
/* A new buffer holding a copy of @len bytes. NULL without memory. */
struct buf *buf_copy(const void *data, size_t len);
/* One more reference; returns @buf. NULL is passed through. */
struct buf *buf_ref(struct buf *buf);
/* One reference less; the last one frees. NULL is a no-op. */
void buf_unref(struct buf *buf);

/* The slice [@at, @at + @len) of @buf with a reference of its own. */
struct slice slice_of(struct buf *buf, size_t at, size_t len);
/* A slice over bytes that the caller keeps alive. */
struct slice slice_borrow(const void *data, size_t len);
/* The same bytes with one more reference. A borrowed slice stays borrowed. */
struct slice slice_ref(struct slice slice);
/* The same bytes to keep: one more reference, or a copy if they were borrowed. Empty
 * without memory (check the length). */
struct slice slice_keep(struct slice slice);
/* Drop the slice's reference and make it empty. */
void slice_unref(struct slice *slice);

#endif
