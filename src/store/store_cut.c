/*
 * Cutting the rows of settled blocks off a file, which may be millions.
 *
 * An entry is applied on all members at once, so none may take time in the order of a
 * file's size. A long cut writes one row {inode, version, first block}: every block row of
 * the inode from that block on whose version is not higher is dead from then on. All
 * statements that look for blocks leave dead ones out, so that reads, versions, the digest
 * and what a puller gets are as if they were gone; when they really go is a matter of this
 * member alone. Settling removes them, a bounded number in each plan.
 *
 * No row that comes later is taken for dead: at the time of a cut every block row is of an
 * entry before it, and what is settled later has the version of one after it.
 */
#include "base/assert.h"
#include "base/outcome.h"
#include "store/store_priv.h"

enum {
    AT_ONCE_MAX = 256, /* Rows: 32 MiB of a file. */
    STEP_ROWS = 16384, /* Of one step: some 20 ms. */
};

/* The block behind @n rows from @block on; OUT_NOENT: there are not so many. */
static int skip(struct store *store, uint64_t ino, uint64_t block, uint64_t n,
                uint64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(&store->db, &stmt, SQL_BLOCK_SKIP, "iii", ino, block, n);

    if (rv == 0) {
        *out = store_db_u64(stmt, 0);
        store_db_done(stmt);
    }
    return rv;
}

static uint64_t count_gone(struct store *store)
{
    uint64_t n = (uint64_t)sqlite3_changes64(store->db.handle);

    store->now.blocks -= n < store->now.blocks ? n : store->now.blocks;
    return n;
}

int store_cut(struct store *store, const struct store_block *from, bool *few)
{
    uint64_t beyond;
    int rv = skip(store, from->ino, from->block, AT_ONCE_MAX, &beyond);

    *few = false;
    if (rv == OUT_NOENT) {
        rv = store_db_run(&store->db, SQL_BLOCK_DEL_FROM, "ii", from->ino, from->block);
        *few = rv == 0 && count_gone(store) > 0;
        return rv;
    }
    if (rv == 0) {
        /* Cuts before it that begin behind it take nothing that it does not. */
        rv = store_db_run(&store->db, SQL_CUT_DEL_FROM, "ii", from->ino, from->block);
    }
    if (rv == 0) {
        store->rest = true;
        rv = store_db_run(&store->db, SQL_CUT_PUT, "iii", from->ino, from->version,
                          from->block);
    }
    return rv;
}

int store_cut_step(struct store *store, bool *did)
{
    sqlite3_stmt *stmt = NULL;
    struct store_block at;
    uint64_t end = INT64_MAX;
    bool last;
    int rv = store_db_row(&store->db, &stmt, SQL_CUT_ALL, "");

    *did = rv == 0;
    if (rv != 0) {
        return rv == OUT_NOENT ? 0 : rv;
    }
    at.ino = store_db_u64(stmt, 0);
    at.version = store_db_u64(stmt, 1);
    at.block = store_db_u64(stmt, 2);
    store_db_done(stmt);
    rv = skip(store, at.ino, at.block, STEP_ROWS, &end);
    last = rv == OUT_NOENT;
    if (rv == 0 || last) {
        rv = store_db_run(&store->db, SQL_BLOCK_CUT, "iiii", at.ino, at.block, end,
                          at.version);
        (void)count_gone(store);
    }
    if (rv == 0 && !last) {
        return store_db_run(&store->db, SQL_CUT_PUT, "iii", at.ino, at.version, end);
    }
    if (rv == 0) {
        rv = store_db_run(&store->db, SQL_CUT_DEL, "ii", at.ino, at.version);
    }
    /* Only now can be seen how long the file still has to be. */
    return rv == 0 ? store_garbage_put(store, &store->db, 0, at.ino) : rv;
}

int store_cut_one(struct store *store, uint64_t ino, uint64_t block)
{
    int rv = store_db_run(&store->db, SQL_BLOCK_DEL, "ii", ino, block);

    (void)count_gone(store);
    return rv;
}
