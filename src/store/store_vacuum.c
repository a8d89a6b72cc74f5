/*
 * Pages of meta.db that hold nothing any more.
 *
 * sqlite keeps them for what comes, which is right for a few; but a zone that once had a
 * million files and has a thousand would keep their room for good. auto_vacuum is
 * INCREMENTAL: the last pages are moved into free ones, and the file is cut, a bounded
 * number of pages at a time. A database from before that has no map to move pages by, and
 * keeps its size until the next pull.
 */
#include "base/assert.h"
#include "store/store_priv.h"

#include <errno.h>

enum {
    PAGES_FREE_MAX = 1024, /* 4 MiB; and a tenth of all: room to breathe. */
};
/* 4 MiB of one step, which takes some 10 ms. */
#define STEP "PRAGMA incremental_vacuum(1024)"

static int count(struct store *store, enum store_sql sql, uint64_t *n)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(&store->db, &stmt, sql, "");

    if (rv == 0) {
        *n = store_db_u64(stmt, 0);
        store_db_done(stmt);
    }
    return rv;
}

int store_vacuum_step(struct store *store, bool *did)
{
    uint64_t pages = 0;
    uint64_t before = 0;
    uint64_t after = 0;
    int rv;

    ASSERT(store->in_txn);
    *did = false;
    rv = count(store, SQL_FREE_PAGES, &before);
    if (rv == 0) {
        rv = count(store, SQL_PAGES, &pages);
    }
    if (rv != 0 || before <= PAGES_FREE_MAX + pages / 10) {
        return rv > 0 ? -EUCLEAN : rv;
    }
    rv = store_db_exec(&store->db, STEP);
    if (rv == 0) {
        rv = count(store, SQL_FREE_PAGES, &after);
    }
    *did = rv == 0 && after < before;
    return rv > 0 ? -EUCLEAN : rv;
}
