/*
 * Which files a pull left between two states, if the entries it counted on are lost.
 *
 * Blocks newer than the view of a pull lie in extents, and so do those that the source had
 * no more: nothing settles below STORE_SERVE_FROM, and neither is written to where it stays
 * (store_place.c). So the extents say all.
 */
#include "base/outcome.h"
#include "store/store_priv.h"

static bool is_torn(const struct store_extent *extent, uint64_t above)
{
    return extent->version > above || extent->kind == STORE_LOST;
}

int store_torn_each(struct store *store, uint64_t above,
                    int (*each)(void *ctx, uint64_t ino), void *ctx)
{
    struct store_extent extent;
    sqlite3_stmt *stmt = NULL;
    uint64_t last = UINT64_MAX;
    int rv = store_db_row(&store->db, &stmt, SQL_EXTENT_ALL, "");

    while (rv == 0) {
        rv = store_extent_row(stmt, &extent);
        if (rv == 0 && extent.ino != last && is_torn(&extent, above)) {
            last = extent.ino;
            rv = each(ctx, extent.ino);
        }
        if (rv != 0) {
            store_db_done(stmt);
            return rv;
        }
        rv = store_db_next(&store->db, stmt);
    }
    return rv == OUT_NOENT ? 0 : rv;
}

int store_dirent_all(struct store *store,
                     int (*each)(void *ctx, const struct store_dirent *entry), void *ctx)
{
    struct store_dirent entry;
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(&store->db, &stmt, SQL_DIRENT_ALL, "");

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
