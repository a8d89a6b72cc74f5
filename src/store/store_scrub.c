/* Scrubbing: every block in turn, wholly, from the disk. */
#include "base/assert.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <string.h>

/* If table @sql has a row at @from or later, and it is before @best, that is the best. */
static int earlier(struct store *store, enum store_sql sql, const struct store_want *from,
                   struct store_want *best)
{
    uint64_t scale = sql == SQL_EXTENT_FROM ? STORE_BLOCK : 1;
    sqlite3_stmt *stmt = NULL;
    struct store_want found;
    int rv = store_db_row(&store->db, &stmt, sql, "ii", from->ino, from->block * scale);

    if (rv != 0) {
        return rv == OUT_NOENT ? 0 : rv;
    }
    found = (struct store_want){.ino = store_db_u64(stmt, 0),
                                .block = store_db_u64(stmt, 1) / scale};
    store_db_done(stmt);
    if (best->ino == 0 || found.ino < best->ino ||
        (found.ino == best->ino && found.block < best->block)) {
        *best = found;
    }
    return 0;
}

/* The first block at @from or later. OUT_NOENT: there is none. */
static int next_block(struct store *store, const struct store_want *from,
                      struct store_want *out)
{
    /* An inline row is its inode's block 0. */
    struct store_want small = {.ino = from->ino + (from->block > 0 ? 1 : 0)};
    int rv;

    *out = (struct store_want){0};
    rv = earlier(store, SQL_BLOCK_FROM, from, out);
    if (rv == 0) {
        rv = earlier(store, SQL_EXTENT_FROM, from, out);
    }
    if (rv == 0) {
        rv = earlier(store, SQL_INLINE_FROM, &small, out);
    }
    return rv != 0 ? rv : out->ino == 0 ? OUT_NOENT : 0;
}

static int look_at(struct store *store, struct store_scrub *scrub,
                   const struct store_want *at)
{
    int rv;

    memset(store->scrubbed, 0, STORE_BLOCK);
    store->from_disk = true;
    rv = store_read_block(store, at->ino, at->block, store->scrubbed);
    store->from_disk = false;
    if (rv == OUT_IO) {
        scrub->bad[scrub->n_bad++] = *at;
        rv = 0;
    }
    if (rv == 0) {
        scrub->blocks++;
        scrub->bytes += store->layers.has_inline && store->layers.extents.n == 0
                            ? store->layers.small.len
                            : STORE_BLOCK;
    }
    return rv;
}

int store_scrub(struct store *store, size_t max_bytes, struct store_scrub *scrub)
{
    uint64_t applied = 0;
    int rv = store_rows_applied(&store->db, &applied);

    scrub->blocks = 0;
    scrub->bytes = 0;
    scrub->n_bad = 0;
    scrub->end = false;
    while (rv == 0 && scrub->bytes < max_bytes && scrub->blocks < STORE_SCRUB_BLOCKS &&
           scrub->n_bad < STORE_SCRUB_BAD) {
        struct store_want at;

        rv = next_block(store, &scrub->next, &at);
        if (rv == OUT_NOENT) {
            scrub->end = true;
            return 0;
        }
        at.version = applied;
        if (rv == 0) {
            rv = look_at(store, scrub, &at);
        }
        if (rv == 0) {
            scrub->next = (struct store_want){.ino = at.ino, .block = at.block + 1};
        }
    }
    return rv;
}
