/* Where a file has anything at all, for who copies it whole. */
#include "base/outcome.h"
#include "store/store_priv.h"

static int first(struct store *store, enum store_sql sql, uint64_t ino, uint64_t from,
                 uint64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    bool is_extent = sql == SQL_EXTENT_RANGE;
    int rv = is_extent
                 ? store_db_row(&store->db, &stmt, sql, "iii", ino, from * STORE_BLOCK,
                                (uint64_t)INT64_MAX)
                 : store_db_row(&store->db, &stmt, sql, "iii", ino, from, (uint64_t)0);

    if (rv == 0) {
        *out = is_extent ? store_db_u64(stmt, 1) / STORE_BLOCK : store_db_u64(stmt, 0);
        store_db_done(stmt);
    }
    return rv;
}

static bool has_inline(struct store *store, uint64_t ino)
{
    sqlite3_stmt *stmt = NULL;

    if (store_db_row(&store->db, &stmt, SQL_INLINE_GET, "i", ino) != 0) {
        return false;
    }
    store_db_done(stmt);
    return true;
}

int store_data_next(struct store *store, uint64_t ino, uint64_t from, uint64_t *block)
{
    uint64_t settled = UINT64_MAX;
    uint64_t recent = UINT64_MAX;
    int rv;

    if (from > STORE_FILE_MAX / STORE_BLOCK) {
        return OUT_NOENT;
    }
    if (from == 0 && has_inline(store, ino)) {
        *block = 0;
        return 0;
    }
    rv = first(store, SQL_BLOCK_SKIP, ino, from, &settled);
    if (rv == 0 || rv == OUT_NOENT) {
        rv = first(store, SQL_EXTENT_RANGE, ino, from, &recent);
    }
    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    *block = settled < recent ? settled : recent;
    return *block == UINT64_MAX ? OUT_NOENT : 0;
}
