/* The request table and the orphans. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>

enum {
    ORPHANS_BATCH = 64, /* As SQL_ORPHAN_EACH says. */
};

static uint32_t reply_crc(const struct store_reply *reply)
{
    const uint64_t numbers[] = {reply->node, reply->boot, reply->seq, reply->index};

    return store_row_crc(numbers, 4, reply->bytes);
}

int store_rows_reply_put(struct store_db *db, const struct store_reply *reply)
{
    ASSERT(reply->seq <= INT64_MAX && reply->bytes.len <= STORE_VALUE_MAX);
    return store_db_run(db, SQL_REPLY_PUT, "iiiibi", reply->node, reply->boot, reply->seq,
                        reply->index, reply->bytes.data, reply->bytes.len,
                        (uint64_t)reply_crc(reply));
}

int store_rows_reply(sqlite3_stmt *stmt, struct store_reply *out)
{
    struct store_reply reply = {.node = store_db_u64(stmt, 0),
                                .boot = store_db_u64(stmt, 1),
                                .seq = store_db_u64(stmt, 2),
                                .index = store_db_u64(stmt, 3),
                                .bytes = store_db_blob(stmt, 4)};

    if (store_db_u64(stmt, 5) != reply_crc(&reply)) {
        return store_row_bad("reply", reply.node);
    }
    *out = reply;
    return 0;
}

int store_reply_get(struct store *store, uint64_t node, uint64_t boot, uint64_t seq,
                    struct buf **reply)
{
    sqlite3_stmt *stmt = NULL;
    struct store_reply row;
    struct buf *buf;
    int rv;

    rv = store_db_row(&store->db, &stmt, SQL_REPLY_GET, "iii", node, boot, seq);
    if (rv != 0) {
        return rv;
    }
    rv = store_rows_reply(stmt, &row);
    if (rv == 0) {
        buf = buf_copy(row.bytes.data, row.bytes.len);
        rv = buf == NULL ? -ENOMEM : 0;
    }
    store_db_done(stmt);
    if (rv == 0) {
        *reply = buf;
    }
    return rv;
}

int store_reply_put(struct store *store, const struct store_reply *reply)
{
    ASSERT(store->in_txn);
    return store_rows_reply_put(&store->db, reply);
}

int store_reply_prune(struct store *store, uint64_t node, uint64_t boot, uint64_t floor)
{
    ASSERT(store->in_txn && floor <= INT64_MAX);
    return store_db_run(&store->db, SQL_REPLY_PRUNE, "iii", node, boot, floor);
}

/* A session: {node, boot}, and its last use, which its last reply tells. */
static int session_next(struct store *store, struct store_reply *at)
{
    sqlite3_stmt *stmt = NULL;
    struct store_reply row;
    int rv;

    rv = store_db_row(&store->db, &stmt, SQL_REPLY_NEXT, "ii", at->node, at->boot);
    if (rv != 0) {
        return rv;
    }
    rv = store_rows_reply(stmt, &row);
    store_db_done(stmt);
    if (rv != 0) {
        return rv;
    }
    rv = store_db_row(&store->db, &stmt, SQL_REPLY_LAST, "ii", row.node, row.boot);
    if (rv != 0) {
        return rv;
    }
    rv = store_rows_reply(stmt, at);
    store_db_done(stmt);
    at->bytes = (struct slice){0};
    return rv;
}

/* Sessions come by node: of two of one node, the one used earlier may go. */
int store_reply_expire(struct store *store, uint64_t index)
{
    struct store_reply at = {.node = (uint64_t)INT64_MIN, .boot = (uint64_t)INT64_MIN};
    struct store_reply latest = {0};
    bool has_latest = false;
    int rv;

    ASSERT(store->in_txn);
    while ((rv = session_next(store, &at)) == 0) {
        struct store_reply older = at;

        if (!has_latest || latest.node != at.node) {
            latest = at;
            has_latest = true;
            continue;
        }
        if (at.index > latest.index) {
            older = latest;
            latest = at;
        }
        if (older.index < index) {
            rv = store_db_run(&store->db, SQL_REPLY_DROP, "ii", older.node, older.boot);
            if (rv != 0) {
                return rv;
            }
        }
    }
    return rv == OUT_NOENT ? 0 : rv;
}

static uint32_t orphan_crc(uint64_t ino, int64_t time_ns)
{
    const uint64_t numbers[] = {ino, (uint64_t)time_ns};

    return store_row_crc(numbers, 2, (struct slice){0});
}

int store_rows_orphan_put(struct store_db *db, uint64_t ino, int64_t time_ns)
{
    return store_db_run(db, SQL_ORPHAN_PUT, "iii", ino, (uint64_t)time_ns,
                        (uint64_t)orphan_crc(ino, time_ns));
}

int store_rows_orphan(sqlite3_stmt *stmt, uint64_t *ino, int64_t *time_ns)
{
    *ino = store_db_u64(stmt, 0);
    *time_ns = (int64_t)store_db_u64(stmt, 1);
    return store_db_u64(stmt, 2) == orphan_crc(*ino, *time_ns)
               ? 0
               : store_row_bad("orphan", *ino);
}

int store_orphan_put(struct store *store, uint64_t ino, int64_t time_ns)
{
    ASSERT(store->in_txn && ino <= STORE_INO_MAX);
    return store_rows_orphan_put(&store->db, ino, time_ns);
}

int store_orphan_del(struct store *store, uint64_t ino)
{
    ASSERT(store->in_txn);
    return store_db_run(&store->db, SQL_ORPHAN_DEL, "i", ino);
}

int store_orphan_oldest(struct store *store, int64_t *time_ns)
{
    sqlite3_stmt *stmt = NULL;
    uint64_t ino;
    int rv = store_db_row(&store->db, &stmt, SQL_ORPHAN_OLDEST, "");

    if (rv == 0) {
        rv = store_rows_orphan(stmt, &ino, time_ns);
        store_db_done(stmt);
    }
    return rv;
}

/* In batches, so that @each may remove what it is given. */
int store_orphan_each(struct store *store, int64_t before_ns,
                      int (*each)(void *ctx, uint64_t ino), void *ctx)
{
    uint64_t inos[ORPHANS_BATCH];
    int64_t time_ns = INT64_MIN;
    uint64_t after = 0;
    uint32_t n;
    int rv;

    do {
        sqlite3_stmt *stmt = NULL;

        n = 0;
        rv = store_db_row(&store->db, &stmt, SQL_ORPHAN_EACH, "iii", (uint64_t)before_ns,
                          (uint64_t)time_ns, after);
        while (rv == 0) {
            ASSERT(n < ORPHANS_BATCH);
            rv = store_rows_orphan(stmt, &inos[n], &time_ns);
            if (rv != 0) {
                store_db_done(stmt);
                return rv;
            }
            after = inos[n++];
            rv = store_db_next(&store->db, stmt);
        }
        rv = rv == OUT_NOENT ? 0 : rv;
        for (uint32_t i = 0; i < n && rv == 0; i++) {
            rv = each(ctx, inos[i]);
        }
    } while (rv == 0 && n == ORPHANS_BATCH);
    return rv;
}
