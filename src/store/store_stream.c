/* All replicated rows of one connection, as records in one order: what a pull sends and
 * what a digest is over. Format: docs/formats/store.md. */
#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECORD_FIRST = 1024, /* Room in the first allocation. */
    FIXED_MAX = 256,     /* Bytes of a record besides its names and values. */
};

enum table {
    TABLE_NUMBER,
    TABLE_INODE,
    TABLE_DIRENT,
    TABLE_KV,
    TABLE_REPLY,
    TABLE_RPC,
    TABLE_ORPHAN,
    TABLE_BLOCK,
    TABLE_MAX
};

static const enum store_sql table_sql[TABLE_BLOCK] = {
    [TABLE_NUMBER] = SQL_NUMBER_ALL, [TABLE_INODE] = SQL_INODE_ALL,
    [TABLE_DIRENT] = SQL_DIRENT_ALL, [TABLE_KV] = SQL_KV_FROM,
    [TABLE_REPLY] = SQL_REPLY_ALL,   [TABLE_RPC] = SQL_RPC_ALL,
    [TABLE_ORPHAN] = SQL_ORPHAN_ALL};

void store_stream_init(struct store_stream *stream, struct store_db *db)
{
    *stream = (struct store_stream){.db = db};
}

void store_stream_deinit(struct store_stream *stream)
{
    store_db_done(stream->stmt);
    for (int i = 0; i < 3; i++) {
        store_db_done(stream->merge[i].stmt);
    }
    free(stream->record);
    *stream = (struct store_stream){0};
}

/* Begin a record with room for @variable bytes. */
static int begin(struct store_stream *stream, enum store_record type, size_t variable,
                 struct wire_enc *enc)
{
    size_t need = FIXED_MAX + variable;

    if (stream->cap < need) {
        size_t cap = need < RECORD_FIRST ? RECORD_FIRST : 2 * need;
        uint8_t *record = realloc(stream->record, cap);

        if (record == NULL) {
            return -ENOMEM;
        }
        stream->record = record;
        stream->cap = cap;
    }
    *enc = wire_enc(stream->record, stream->cap);
    wire_put_u8(enc, (uint8_t)type);
    wire_put_u8(enc, STORE_PULL_FORMAT);
    wire_put_u32(enc, 0);
    return 0;
}

static int end(struct store_stream *stream, const struct wire_enc *enc)
{
    ASSERT(!enc->failed && enc->len >= STORE_RECORD_HEADER);
    wire_store_u32(stream->record + 2, (uint32_t)(enc->len - STORE_RECORD_HEADER));
    stream->len = enc->len;
    return 0;
}

static int number_record(struct store_stream *stream, sqlite3_stmt *stmt)
{
    struct wire_enc enc;
    struct slice name;
    uint64_t value;
    int rv = store_rows_number(stmt, &name, &value);

    if (rv == 0) {
        rv = begin(stream, RECORD_NUMBER, name.len, &enc);
    }
    if (rv != 0) {
        return rv;
    }
    wire_put_blob(&enc, name.data, name.len);
    wire_put_u64(&enc, value);
    stream->skip = store_is_local(name);
    return end(stream, &enc);
}

static int inode_record(struct store_stream *stream, sqlite3_stmt *stmt)
{
    struct slice row = store_db_blob(stmt, 1);
    struct store_inode inode;
    struct wire_enc enc;
    uint64_t ino = store_db_u64(stmt, 0);
    int rv = store_inode_decode(row.data, row.len, ino, &inode);

    if (rv == -EUCLEAN) {
        return store_row_bad("inode", ino);
    }
    if (rv == 0) {
        rv = begin(stream, RECORD_INODE, row.len, &enc);
    }
    if (rv != 0) {
        return rv;
    }
    wire_put_bytes(&enc, row.data, row.len);
    return end(stream, &enc);
}

static int dirent_record(struct store_stream *stream, sqlite3_stmt *stmt)
{
    struct store_dirent entry;
    struct wire_enc enc;
    int rv = store_rows_dirent(stmt, &entry);

    if (rv == 0) {
        rv = begin(stream, RECORD_DIRENT, entry.name.len, &enc);
    }
    if (rv != 0) {
        return rv;
    }
    wire_put_u64(&enc, entry.dir);
    wire_put_blob(&enc, entry.name.data, entry.name.len);
    wire_put_u64(&enc, entry.ino);
    wire_put_u64(&enc, entry.cookie);
    wire_put_u64(&enc, entry.version);
    return end(stream, &enc);
}

static int kv_record(struct store_stream *stream, sqlite3_stmt *stmt)
{
    struct store_kv pair;
    struct wire_enc enc;
    int rv = store_rows_kv(stmt, &pair);

    if (rv == 0) {
        rv = begin(stream, RECORD_KV, pair.key.len + pair.value.len, &enc);
    }
    if (rv != 0) {
        return rv;
    }
    wire_put_blob(&enc, pair.key.data, pair.key.len);
    wire_put_blob(&enc, pair.value.data, pair.value.len);
    wire_put_u64(&enc, pair.version);
    stream->skip = store_is_local(pair.key);
    return end(stream, &enc);
}

static int reply_record(struct store_stream *stream, sqlite3_stmt *stmt)
{
    struct store_reply reply;
    struct wire_enc enc;
    int rv = store_rows_reply(stmt, &reply);

    if (rv == 0) {
        rv = begin(stream, RECORD_REPLY, reply.bytes.len, &enc);
    }
    if (rv != 0) {
        return rv;
    }
    wire_put_u64(&enc, reply.node);
    wire_put_u64(&enc, reply.boot);
    wire_put_u64(&enc, reply.seq);
    wire_put_u64(&enc, reply.index);
    wire_put_blob(&enc, reply.bytes.data, reply.bytes.len);
    return end(stream, &enc);
}

static int rpc_record(struct store_stream *stream, sqlite3_stmt *stmt)
{
    struct store_rpc rpc;
    struct wire_enc enc;
    int rv = store_rows_rpc(stmt, &rpc);

    if (rv == 0) {
        rv = begin(stream, RECORD_RPC, rpc.bytes.len, &enc);
    }
    if (rv != 0) {
        return rv;
    }
    wire_put_u64(&enc, rpc.index);
    wire_put_bytes(&enc, rpc.key, sizeof rpc.key);
    wire_put_u64(&enc, (uint64_t)rpc.time_ns);
    wire_put_blob(&enc, rpc.bytes.data, rpc.bytes.len);
    return end(stream, &enc);
}

static int orphan_record(struct store_stream *stream, sqlite3_stmt *stmt)
{
    struct wire_enc enc;
    uint64_t ino;
    int64_t time_ns;
    int rv = store_rows_orphan(stmt, &ino, &time_ns);

    if (rv == 0) {
        rv = begin(stream, RECORD_ORPHAN, 0, &enc);
    }
    if (rv != 0) {
        return rv;
    }
    wire_put_u64(&enc, ino);
    wire_put_u64(&enc, (uint64_t)time_ns);
    return end(stream, &enc);
}

static int (*const table_record[TABLE_BLOCK])(struct store_stream *stream,
                                              sqlite3_stmt *stmt) = {
    [TABLE_NUMBER] = number_record, [TABLE_INODE] = inode_record,
    [TABLE_DIRENT] = dirent_record, [TABLE_KV] = kv_record,
    [TABLE_REPLY] = reply_record,   [TABLE_RPC] = rpc_record,
    [TABLE_ORPHAN] = orphan_record};

/* OUT_NOENT: the table is at its end. */
static int next_row(struct store_stream *stream)
{
    enum store_sql sql = table_sql[stream->table];
    int rv;

    stream->skip = false;
    if (stream->stmt == NULL) {
        rv = store_db_row(stream->db, &stream->stmt, sql, sql == SQL_KV_FROM ? "s" : "",
                          "");
    } else {
        rv = store_db_next(stream->db, stream->stmt);
    }
    if (rv == 0) {
        rv = table_record[stream->table](stream, stream->stmt);
    } else {
        stream->stmt = NULL;
    }
    return rv;
}

/* The head of one of the merged tables. */
static int merge_load(struct store_merge *merge, int i)
{
    struct store_block block;
    struct store_extent extent;
    struct store_inline blob;
    int rv;

    if (i == 0) {
        rv = store_block_row(merge->stmt, &block);
        if (rv == 0) {
            *merge =
                (struct store_merge){merge->stmt, block.ino, block.block, block.version};
        }
    } else if (i == 1) {
        rv = store_extent_row(merge->stmt, &extent);
        if (rv == 0) {
            *merge = (struct store_merge){merge->stmt, extent.ino,
                                          extent.offset / STORE_BLOCK, extent.version};
        }
    } else {
        rv = store_inline_row(merge->stmt, &blob);
        if (rv == 0) {
            *merge = (struct store_merge){merge->stmt, blob.ino, 0, blob.version};
        }
    }
    return rv;
}

static int merge_start(struct store_stream *stream)
{
    static const enum store_sql sql[3] = {SQL_BLOCK_ALL, SQL_EXTENT_ALL, SQL_INLINE_ALL};

    for (int i = 0; i < 3; i++) {
        struct store_merge *merge = &stream->merge[i];
        int rv = store_db_row(stream->db, &merge->stmt, sql[i], "");

        if (rv == 0) {
            rv = merge_load(merge, i);
        } else {
            merge->stmt = NULL;
        }
        if (rv != 0 && rv != OUT_NOENT) {
            return rv;
        }
    }
    return 0;
}

/* Leave the block {@ino, @block} in table @i; *@version rises to the highest there. */
static int merge_pass(struct store_stream *stream, int i, struct store_merge *key)
{
    struct store_merge *merge = &stream->merge[i];
    int rv = 0;

    while (rv == 0 && merge->stmt != NULL && merge->ino == key->ino &&
           merge->block == key->block) {
        key->version = merge->version > key->version ? merge->version : key->version;
        rv = store_db_next(stream->db, merge->stmt);
        if (rv == 0) {
            rv = merge_load(merge, i);
        } else if (rv == OUT_NOENT) {
            merge->stmt = NULL;
            return 0;
        } else {
            merge->stmt = NULL;
        }
    }
    return rv;
}

static bool before(const struct store_merge *a, const struct store_merge *b)
{
    return a->ino < b->ino || (a->ino == b->ino && a->block < b->block);
}

/* OUT_IO: the row is bad. What it holds is a block then, which has no copy here. */
static int inline_record(struct store_stream *stream)
{
    struct store_inline blob;
    struct wire_enc enc;
    int rv = store_inline_row(stream->merge[2].stmt, &blob);

    if (rv == 0 && blob.bad) {
        return OUT_IO;
    }
    if (rv == 0) {
        rv = begin(stream, RECORD_INLINE, blob.len, &enc);
    }
    if (rv != 0) {
        return rv;
    }
    wire_put_u64(&enc, blob.ino);
    wire_put_u64(&enc, blob.version);
    wire_put_blob(&enc, blob.data, blob.len);
    return end(stream, &enc);
}

static int next_block(struct store_stream *stream)
{
    struct store_merge *key = NULL;
    struct store_merge at;
    struct wire_enc enc;
    bool only_inline;
    int rv = 0;

    for (int i = 0; i < 3; i++) {
        struct store_merge *merge = &stream->merge[i];

        if (merge->stmt != NULL && (key == NULL || before(merge, key))) {
            key = merge;
        }
    }
    if (key == NULL) {
        return OUT_NOENT;
    }
    at = *key;
    only_inline = key == &stream->merge[2] && !stream->versions_only;
    if (only_inline) {
        rv = inline_record(stream);
        only_inline = rv != OUT_IO;
        rv = only_inline ? rv : 0;
    }
    for (int i = 0; i < 3 && rv == 0; i++) {
        rv = merge_pass(stream, i, &at);
    }
    if (rv != 0 || only_inline) {
        return rv;
    }
    rv = begin(stream, RECORD_BLOCK, 0, &enc);
    if (rv != 0) {
        return rv;
    }
    wire_put_u64(&enc, at.ino);
    wire_put_u64(&enc, at.block);
    wire_put_u64(&enc, at.version);
    return end(stream, &enc);
}

int store_stream_next(struct store_stream *stream)
{
    int rv;

    while (stream->table < TABLE_BLOCK) {
        do {
            rv = next_row(stream);
        } while (rv == 0 && stream->skip);
        if (rv != OUT_NOENT) {
            return rv;
        }
        stream->table++;
        if (stream->table == TABLE_BLOCK) {
            rv = merge_start(stream);
            if (rv != 0) {
                return rv;
            }
        }
    }
    return next_block(stream);
}
