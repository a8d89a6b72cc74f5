/* Replies by the client's call. Rows come and go in the order of their indexes, so both
 * ends of the table are cheap; who finds an index by its key is zone/. */
#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "store/store_priv.h"

#include <errno.h>
#include <string.h>

static uint32_t rpc_crc(const struct store_rpc *rpc)
{
    const uint64_t numbers[] = {rpc->index, wire_load_u64(rpc->key),
                                wire_load_u64(rpc->key + 8), (uint64_t)rpc->time_ns};

    return store_row_crc(numbers, 4, rpc->bytes);
}

int store_rows_rpc_put(struct store_db *db, const struct store_rpc *rpc)
{
    ASSERT(rpc->index <= INT64_MAX && rpc->bytes.len <= STORE_RPC_REPLY_MAX);
    return store_db_run(db, SQL_RPC_PUT, "ibibi", rpc->index, rpc->key, sizeof rpc->key,
                        (uint64_t)rpc->time_ns, rpc->bytes.data, rpc->bytes.len,
                        (uint64_t)rpc_crc(rpc));
}

int store_rows_rpc(sqlite3_stmt *stmt, struct store_rpc *out)
{
    struct store_rpc rpc = {.index = store_db_u64(stmt, 0),
                            .time_ns = (int64_t)store_db_u64(stmt, 2),
                            .bytes = store_db_blob(stmt, 3)};
    struct slice key = store_db_blob(stmt, 1);

    if (key.len != sizeof rpc.key) {
        return store_row_bad("rpc", rpc.index);
    }
    memcpy(rpc.key, key.data, sizeof rpc.key);
    if (store_db_u64(stmt, 4) != rpc_crc(&rpc)) {
        return store_row_bad("rpc", rpc.index);
    }
    *out = rpc;
    return 0;
}

int store_rpc_put(struct store *store, const struct store_rpc *rpc)
{
    ASSERT(store->in_txn);
    return store_rows_rpc_put(&store->db, rpc);
}

int store_rpc_get(struct store *store, uint64_t index, struct buf **reply)
{
    sqlite3_stmt *stmt = NULL;
    struct store_rpc row;
    struct buf *buf = NULL;
    int rv;

    rv = store_db_row(&store->db, &stmt, SQL_RPC_GET, "i", index);
    if (rv != 0) {
        return rv;
    }
    rv = store_rows_rpc(stmt, &row);
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

int store_rpc_drop(struct store *store, uint64_t below)
{
    ASSERT(store->in_txn && below <= INT64_MAX);
    return store_db_run(&store->db, SQL_RPC_DROP, "i", below);
}

int store_rpc_each(struct store *store,
                   int (*each)(void *ctx, const struct store_rpc *rpc), void *ctx)
{
    sqlite3_stmt *stmt = NULL;
    struct store_rpc row;
    int rv;

    rv = store_db_row(&store->db, &stmt, SQL_RPC_ALL, "");
    while (rv == 0) {
        rv = store_rows_rpc(stmt, &row);
        if (rv == 0) {
            rv = each(ctx, &row);
        }
        if (rv != 0) {
            store_db_done(stmt);
            return rv;
        }
        rv = store_db_next(&store->db, stmt);
    }
    return rv == OUT_NOENT ? 0 : rv;
}
