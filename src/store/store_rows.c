/* Inodes, dirents, numbers and pairs. Every row carries a CRC over key and value, since
 * sqlite has none: a flipped bit becomes a fault, never a wrong answer. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "store/store_priv.h"

#include <errno.h>
#include <string.h>

void store_inode_encode(const struct store_inode *inode, uint8_t *out)
{
    struct wire_enc enc = wire_enc(out, STORE_INODE_BYTES);

    wire_put_u64(&enc, inode->ino);
    wire_put_u64(&enc, inode->gen);
    wire_put_u32(&enc, inode->type);
    wire_put_u32(&enc, inode->mode);
    wire_put_u32(&enc, inode->nlink);
    wire_put_u32(&enc, inode->uid);
    wire_put_u32(&enc, inode->gid);
    wire_put_u32(&enc, inode->rdev_major);
    wire_put_u32(&enc, inode->rdev_minor);
    wire_put_u64(&enc, inode->size);
    wire_put_u64(&enc, inode->used);
    wire_put_u64(&enc, inode->parent);
    wire_put_u64(&enc, inode->entries);
    wire_put_u64(&enc, inode->verf);
    wire_put_u64(&enc, (uint64_t)inode->atime);
    wire_put_u64(&enc, (uint64_t)inode->mtime);
    wire_put_u64(&enc, (uint64_t)inode->ctime);
    wire_put_u64(&enc, inode->version);
    wire_put_u32(&enc, crc32c(0, out, enc.len));
    ASSERT(!enc.failed && enc.len == STORE_INODE_BYTES);
}

int store_inode_decode(const void *row, size_t len, uint64_t ino, struct store_inode *out)
{
    struct wire_dec dec = wire_dec(row, len);
    struct store_inode inode = {0};
    uint32_t type;

    inode.ino = wire_get_u64(&dec);
    inode.gen = wire_get_u64(&dec);
    type = wire_get_u32(&dec);
    inode.type = (uint8_t)type;
    inode.mode = wire_get_u32(&dec);
    inode.nlink = wire_get_u32(&dec);
    inode.uid = wire_get_u32(&dec);
    inode.gid = wire_get_u32(&dec);
    inode.rdev_major = wire_get_u32(&dec);
    inode.rdev_minor = wire_get_u32(&dec);
    inode.size = wire_get_u64(&dec);
    inode.used = wire_get_u64(&dec);
    inode.parent = wire_get_u64(&dec);
    inode.entries = wire_get_u64(&dec);
    inode.verf = wire_get_u64(&dec);
    inode.atime = (int64_t)wire_get_u64(&dec);
    inode.mtime = (int64_t)wire_get_u64(&dec);
    inode.ctime = (int64_t)wire_get_u64(&dec);
    inode.version = wire_get_u64(&dec);
    if (wire_get_u32(&dec) != crc32c(0, row, dec.at >= 4 ? dec.at - 4 : 0) ||
        !wire_done(&dec) || inode.ino != ino || ino > STORE_INO_MAX || type > UINT8_MAX ||
        inode.size > STORE_OFFSET_MAX) {
        return -EUCLEAN;
    }
    *out = inode;
    return 0;
}

int store_rows_inode_put(struct store_db *db, const struct store_inode *inode)
{
    uint8_t row[STORE_INODE_BYTES];

    ASSERT(inode->ino <= STORE_INO_MAX && inode->size <= STORE_OFFSET_MAX);
    store_inode_encode(inode, row);
    return store_db_run(db, SQL_INODE_PUT, "ib", inode->ino, row, sizeof row);
}

int store_inode_get(struct store *store, uint64_t ino, struct store_inode *out)
{
    sqlite3_stmt *stmt = NULL;
    struct slice row;
    int rv;

    rv = store_db_row(&store->db, &stmt, SQL_INODE_GET, "i", ino);
    if (rv != 0) {
        return rv;
    }
    row = store_db_blob(stmt, 0);
    rv = store_inode_decode(row.data, row.len, ino, out);
    store_db_done(stmt);
    return rv == -EUCLEAN ? store_row_bad("inode", ino) : rv;
}

int store_inode_put(struct store *store, const struct store_inode *inode)
{
    ASSERT(store->in_txn);
    store_touch(store, inode->ino);
    return store_rows_inode_put(&store->db, inode);
}

void store_touched_begin(struct store *store)
{
    store->touched.n = 0;
}

const struct store_touched *store_touched(const struct store *store)
{
    return &store->touched;
}

void store_touch(struct store *store, uint64_t ino)
{
    struct store_touched *touched = &store->touched;

    for (uint32_t i = 0; i < touched->n && i < STORE_TOUCHED_MAX; i++) {
        if (touched->ino[i] == ino) {
            return;
        }
    }
    if (touched->n < STORE_TOUCHED_MAX) {
        touched->ino[touched->n] = ino;
    }
    touched->n += touched->n <= STORE_TOUCHED_MAX;
}

static uint32_t dirent_crc(const struct store_dirent *entry)
{
    const uint64_t numbers[] = {entry->dir, entry->ino, entry->cookie, entry->version};

    return store_row_crc(numbers, 4, entry->name);
}

int store_rows_dirent_put(struct store_db *db, const struct store_dirent *entry)
{
    ASSERT(entry->name.len <= STORE_NAME_MAX && entry->cookie <= INT64_MAX);
    return store_db_run(db, SQL_DIRENT_PUT, "ibiiii", entry->dir, entry->name.data,
                        entry->name.len, entry->ino, entry->cookie, entry->version,
                        (uint64_t)dirent_crc(entry));
}

int store_rows_dirent(sqlite3_stmt *stmt, struct store_dirent *out)
{
    struct store_dirent entry = {.dir = store_db_u64(stmt, 0),
                                 .name = store_db_blob(stmt, 1),
                                 .ino = store_db_u64(stmt, 2),
                                 .cookie = store_db_u64(stmt, 3),
                                 .version = store_db_u64(stmt, 4)};

    if (entry.name.len > STORE_NAME_MAX || entry.cookie > INT64_MAX ||
        store_db_u64(stmt, 5) != dirent_crc(&entry)) {
        return store_row_bad("dirent", entry.dir);
    }
    *out = entry;
    return 0;
}

int store_dirent_get(struct store *store, uint64_t dir, struct slice name,
                     struct store_dirent *out)
{
    sqlite3_stmt *stmt = NULL;
    int rv;

    rv = store_db_row(&store->db, &stmt, SQL_DIRENT_GET, "ib", dir, name.data, name.len);
    if (rv != 0) {
        return rv;
    }
    rv = store_rows_dirent(stmt, out);
    store_db_done(stmt);
    out->name = name; /* The same bytes, and the row is left. */
    return rv;
}

int store_dirent_put(struct store *store, const struct store_dirent *entry)
{
    ASSERT(store->in_txn);
    return store_rows_dirent_put(&store->db, entry);
}

int store_dirent_del(struct store *store, uint64_t dir, struct slice name)
{
    int rv;

    ASSERT(store->in_txn);
    rv = store_db_run(&store->db, SQL_DIRENT_DEL, "ib", dir, name.data, name.len);
    return rv == 0 && sqlite3_changes(store->db.handle) == 0 ? OUT_NOENT : rv;
}

int store_dirent_each(struct store *store, uint64_t dir, uint64_t after,
                      int (*each)(void *ctx, const struct store_dirent *entry), void *ctx)
{
    sqlite3_stmt *stmt = NULL;
    struct store_dirent entry;
    int rv;

    if (after > INT64_MAX) {
        return 0;
    }
    rv = store_db_row(&store->db, &stmt, SQL_DIRENT_EACH, "ii", dir, after);
    while (rv == 0) {
        rv = store_rows_dirent(stmt, &entry);
        if (rv == 0) {
            rv = each(ctx, &entry);
        }
        if (rv != 0) {
            store_db_done(stmt);
            return rv;
        }
        rv = store_db_next(&store->db, stmt);
    }
    return rv == OUT_NOENT ? 0 : rv;
}

bool store_is_local(struct slice name)
{
    size_t len = sizeof STORE_LOCAL - 1;

    return name.len >= len && memcmp(name.data, STORE_LOCAL, len) == 0;
}

int store_rows_number(sqlite3_stmt *stmt, struct slice *name, uint64_t *value)
{
    struct slice bytes = store_db_blob(stmt, 0);
    uint64_t number = store_db_u64(stmt, 1);

    if (bytes.len == 0 || bytes.len > STORE_NAME_MAX ||
        store_db_u64(stmt, 2) != store_row_crc(&number, 1, bytes)) {
        return store_row_bad("number", number);
    }
    *name = bytes;
    *value = number;
    return 0;
}

int store_rows_number_get(struct store_db *db, const char *name, uint64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    struct slice bytes;
    int rv;

    rv = store_db_row(db, &stmt, SQL_NUMBER_GET, "s", name);
    if (rv != 0) {
        return rv;
    }
    rv = store_rows_number(stmt, &bytes, out);
    store_db_done(stmt);
    return rv;
}

int store_rows_number_put(struct store_db *db, const char *name, uint64_t value)
{
    struct slice bytes = slice_borrow(name, strlen(name));

    ASSERT(bytes.len > 0 && bytes.len <= STORE_NAME_MAX);
    return store_db_run(db, SQL_NUMBER_PUT, "bii", bytes.data, bytes.len, value,
                        (uint64_t)store_row_crc(&value, 1, bytes));
}

int store_rows_applied(struct store_db *db, uint64_t *applied)
{
    uint64_t serve_from = 0;
    int rv;

    *applied = 0;
    rv = store_rows_number_get(db, STORE_APPLIED, applied);
    if (rv == 0 || rv == OUT_NOENT) {
        rv = store_rows_number_get(db, STORE_SERVE_FROM, &serve_from);
    }
    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    return serve_from > *applied ? OUT_TRY_LATER : 0;
}

int store_number_get(struct store *store, const char *name, uint64_t *out)
{
    return store_rows_number_get(&store->db, name, out);
}

int store_number_set(struct store *store, const char *name, uint64_t value)
{
    ASSERT(store->in_txn);
    return store_rows_number_put(&store->db, name, value);
}

static uint32_t kv_crc(const struct store_kv *pair)
{
    const uint64_t numbers[] = {pair->key.len, pair->version};

    return crc32c(store_row_crc(numbers, 2, pair->key), pair->value.data,
                  pair->value.len);
}

int store_rows_kv_put(struct store_db *db, const struct store_kv *pair)
{
    ASSERT(pair->key.len <= STORE_VALUE_MAX && pair->value.len <= STORE_VALUE_MAX);
    return store_db_run(db, SQL_KV_PUT, "bbii", pair->key.data, pair->key.len,
                        pair->value.data, pair->value.len, pair->version,
                        (uint64_t)kv_crc(pair));
}

int store_rows_kv(sqlite3_stmt *stmt, struct store_kv *out)
{
    struct store_kv pair = {.key = store_db_blob(stmt, 0),
                            .value = store_db_blob(stmt, 1),
                            .version = store_db_u64(stmt, 2)};

    if (pair.key.len > STORE_VALUE_MAX || pair.value.len > STORE_VALUE_MAX ||
        store_db_u64(stmt, 3) != kv_crc(&pair)) {
        return store_row_bad("kv", pair.version);
    }
    *out = pair;
    return 0;
}

/* The value's bytes have to outlive the statement: the store keeps the last one. */
static int kv_keep(struct store *store, struct store_kv *pair)
{
    struct buf *buf = buf_copy(pair->value.data, pair->value.len);

    if (buf == NULL) {
        return -ENOMEM;
    }
    buf_unref(store->kept);
    store->kept = buf;
    pair->value = slice_borrow(buf->data, buf->len);
    return 0;
}

int store_kv_get(struct store *store, struct slice key, struct store_kv *out)
{
    sqlite3_stmt *stmt = NULL;
    struct store_kv pair;
    int rv;

    rv = store_db_row(&store->db, &stmt, SQL_KV_GET, "b", key.data, key.len);
    if (rv != 0) {
        return rv;
    }
    rv = store_rows_kv(stmt, &pair);
    if (rv == 0) {
        rv = kv_keep(store, &pair);
    }
    store_db_done(stmt);
    if (rv == 0) {
        pair.key = key;
        *out = pair;
    }
    return rv;
}

int store_kv_put(struct store *store, const struct store_kv *pair)
{
    ASSERT(store->in_txn);
    return store_rows_kv_put(&store->db, pair);
}

int store_kv_del(struct store *store, struct slice key)
{
    int rv;

    ASSERT(store->in_txn);
    rv = store_db_run(&store->db, SQL_KV_DEL, "b", key.data, key.len);
    return rv == 0 && sqlite3_changes(store->db.handle) == 0 ? OUT_NOENT : rv;
}

int store_kv_each(struct store *store, struct slice prefix,
                  int (*each)(void *ctx, const struct store_kv *pair), void *ctx)
{
    sqlite3_stmt *stmt = NULL;
    struct store_kv pair;
    int rv;

    rv = store_db_row(&store->db, &stmt, SQL_KV_FROM, "b", prefix.data, prefix.len);
    while (rv == 0) {
        rv = store_rows_kv(stmt, &pair);
        if (rv == 0 && (pair.key.len < prefix.len ||
                        memcmp(pair.key.data, prefix.data, prefix.len) != 0)) {
            store_db_done(stmt);
            return 0;
        }
        if (rv == 0) {
            rv = each(ctx, &pair);
        }
        if (rv != 0) {
            store_db_done(stmt);
            return rv;
        }
        rv = store_db_next(&store->db, stmt);
    }
    return rv == OUT_NOENT ? 0 : rv;
}
