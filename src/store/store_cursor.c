/* A pull's source: a frozen view, read through a connection of its own; and the digest,
 * which is over the same records. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "store/store_priv.h"
#include "store/store_sha256.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum cursor_state { CURSOR_HEAD, CURSOR_ROWS, CURSOR_END, CURSOR_DONE };

struct store_cursor {
    struct store *store;
    struct store_db db;
    struct store_stream stream;
    enum cursor_state state;
    bool pending; /* The record in the stream was made but not given. */
    uint64_t index;
    uint64_t records; /* Given so far. */
    uint32_t crc;     /* Of all of them. */
    uint8_t fixed[64];
};

int store_cursor_open(struct store *store, struct store_cursor **out, uint64_t *index)
{
    struct store_cursor *cursor = NULL;
    char path[STORE_PATH_MAX];
    int rv = store_flush(store);

    if (rv != 0) {
        return rv == -ENOSPC ? OUT_TRY_LATER : rv;
    }
    cursor = calloc(1, sizeof *cursor);
    if (cursor == NULL) {
        return -ENOMEM;
    }
    store_meta_path(store, store->generation, path);
    rv = store_db_open(&cursor->db, path, store->vfs, false);
    if (rv == 0) {
        rv = store_db_exec(&cursor->db, "BEGIN");
    }
    if (rv != 0) {
        goto out;
    }
    /* The first read freezes the view. */
    rv = store_rows_applied(&cursor->db, &cursor->index);
    if (rv != 0) {
        goto out;
    }
    store_stream_init(&cursor->stream, &cursor->db);
    cursor->store = store;
    store->n_cursors++;
    *index = cursor->index;
    *out = cursor;
    cursor = NULL;
out:
    if (cursor != NULL) {
        store_db_close(&cursor->db);
        free(cursor);
    }
    return rv;
}

void store_cursor_close(struct store_cursor *cursor)
{
    if (cursor == NULL) {
        return;
    }
    store_stream_deinit(&cursor->stream);
    (void)store_db_exec(&cursor->db, "ROLLBACK");
    store_db_close(&cursor->db);
    ASSERT(cursor->store->n_cursors > 0);
    cursor->store->n_cursors--;
    free(cursor);
}

/* The first and the last record. */
static struct slice fixed(struct store_cursor *cursor)
{
    struct wire_enc enc = wire_enc(cursor->fixed, sizeof cursor->fixed);

    wire_put_u8(&enc, cursor->state == CURSOR_HEAD ? RECORD_HEAD : RECORD_END);
    wire_put_u8(&enc, STORE_PULL_FORMAT);
    wire_put_u32(&enc, 0);
    if (cursor->state == CURSOR_HEAD) {
        wire_put_bytes(&enc, cursor->store->zone_id, sizeof cursor->store->zone_id);
        wire_put_u64(&enc, cursor->index);
    } else {
        wire_put_u64(&enc, cursor->records);
        wire_put_u32(&enc, cursor->crc);
    }
    ASSERT(!enc.failed);
    wire_store_u32(cursor->fixed + 2, (uint32_t)(enc.len - STORE_RECORD_HEADER));
    return slice_borrow(cursor->fixed, enc.len);
}

/* The record that comes next, made if it is not yet. OUT_NOENT: all are given. */
static int peek(struct store_cursor *cursor, struct slice *out)
{
    int rv;

    if (cursor->state == CURSOR_ROWS) {
        rv = cursor->pending ? 0 : store_stream_next(&cursor->stream);
        if (rv == 0) {
            cursor->pending = true;
            *out = slice_borrow(cursor->stream.record, cursor->stream.len);
            return 0;
        }
        if (rv != OUT_NOENT) {
            return rv;
        }
        cursor->state = CURSOR_END;
    }
    if (cursor->state == CURSOR_DONE) {
        return OUT_NOENT;
    }
    *out = fixed(cursor);
    return 0;
}

static void taken(struct store_cursor *cursor, struct slice record)
{
    cursor->pending = false;
    cursor->records++;
    cursor->crc = crc32c(cursor->crc, record.data, record.len);
    if (cursor->state == CURSOR_HEAD) {
        cursor->state = CURSOR_ROWS;
    } else if (cursor->state == CURSOR_END) {
        cursor->state = CURSOR_DONE;
    }
}

int store_cursor_next(struct store_cursor *cursor, size_t max, struct buf **out)
{
    struct buf *buf = NULL;
    struct slice record;
    int rv;

    while ((rv = peek(cursor, &record)) == 0) {
        if (buf == NULL) { /* The first record is given whatever its length. */
            buf = buf_new(record.len > max ? record.len : max);
            if (buf == NULL) {
                return -ENOMEM;
            }
        }
        if (record.len > buf->cap - buf->len) {
            break;
        }
        memcpy(buf->data + buf->len, record.data, record.len);
        buf->len += record.len;
        taken(cursor, record);
    }
    if (rv == 0 || (rv == OUT_NOENT && buf != NULL)) {
        *out = buf;
        return 0;
    }
    buf_unref(buf);
    return rv;
}

/* What is left of @stream. */
static int stream_digest(struct store_stream *stream, uint8_t out[32])
{
    struct store_sha256 sha;
    int rv;

    stream->versions_only = true;
    store_sha256_init(&sha);
    while ((rv = store_stream_next(stream)) == 0) {
        store_sha256_add(&sha, stream->record, stream->len);
    }
    if (rv != OUT_NOENT) {
        return rv;
    }
    store_sha256_end(&sha, out);
    return 0;
}

int store_cursor_digest(struct store_cursor *cursor, uint8_t out[32])
{
    ASSERT(cursor->state == CURSOR_HEAD);
    cursor->state = CURSOR_DONE;
    return stream_digest(&cursor->stream, out);
}

int store_digest(struct store *store, uint8_t out[32])
{
    struct store_stream stream;
    uint64_t applied;
    int rv = store_rows_applied(&store->db, &applied);

    if (rv != 0) {
        return rv;
    }
    store_stream_init(&stream, &store->db);
    rv = stream_digest(&stream, out);
    store_stream_deinit(&stream);
    return rv;
}
