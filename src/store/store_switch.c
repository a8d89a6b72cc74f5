/* The shadow becomes the store: its meta.db is the live one as soon as the marker names
 * its generation. Files do not move. */
#include "store/store_shadow.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"

#include <errno.h>
#include <string.h>

/* The block lies where the live store has nothing, of which shadow_place_check is sure. */
static int is_placed(struct store_shadow *shadow, const struct store_block *block,
                     bool *placed)
{
    sqlite3_stmt *stmt = NULL;
    int rv =
        store_db_row(&shadow->db, &stmt, SQL_LIST_GET, "ii", block->ino, block->block);

    *placed = rv == 0 && store_db_u64(stmt, 1) == SHADOW_PLACED;
    store_db_done(stmt);
    return rv == OUT_NOENT ? 0 : rv;
}

/* Blocks that were taken over or placed must still be so, if the live store changed
 * meanwhile. *@lost: some are wanted now. */
static int check_taken(struct store_shadow *shadow, bool *lost)
{
    sqlite3_stmt *stmt = NULL;
    struct store_block block;
    bool same;
    int rv;

    rv = shadow_place_check(shadow, lost);
    if (rv != 0 || shadow->epoch == shadow->store->epoch) {
        return rv;
    }
    rv = store_db_row(&shadow->db, &stmt, SQL_BLOCK_ALL, "");
    while (rv == 0) {
        struct store_want want;

        rv = store_block_row(stmt, &block);
        want = (struct store_want){block.ino, block.block, block.version};
        if (rv == 0) {
            rv = is_placed(shadow, &block, &same);
        }
        if (rv == 0 && !same) {
            rv = shadow_live_settled(shadow, &want, &same);
            same = same && !block.bad;
        }
        if (rv == 0 && !same) {
            *lost = true;
            rv = store_db_run(&shadow->db, SQL_LIST_PUT, "iiii", want.ino, want.block,
                              want.version, (uint64_t)1);
        }
        if (rv == 0) {
            rv = store_db_next(&shadow->db, stmt);
        } else {
            store_db_done(stmt);
        }
    }
    if (rv != OUT_NOENT) {
        return rv;
    }
    shadow->epoch = shadow->store->epoch;
    return !*lost ? 0
                  : store_db_exec(&shadow->db,
                                  "DELETE FROM block WHERE EXISTS (SELECT 1 FROM list "
                                  "WHERE list.ino=block.ino AND list.block=block.block "
                                  "AND list.wanted=1)");
}

/* Rows of this member alone come along. */
static int copy_local(struct store_shadow *shadow)
{
    struct store_db *live = &shadow->store->db;
    sqlite3_stmt *stmt = NULL;
    struct store_kv pair;
    int rv;

    rv = store_db_row(live, &stmt, SQL_KV_FROM, "s", STORE_LOCAL);
    while (rv == 0) {
        rv = store_rows_kv(stmt, &pair);
        if (rv == 0 && store_is_local(pair.key)) {
            rv = store_rows_kv_put(&shadow->db, &pair);
        }
        if (rv == 0) {
            rv = store_db_next(live, stmt);
        } else {
            store_db_done(stmt);
        }
    }
    if (rv != OUT_NOENT) {
        return rv;
    }
    rv = store_db_row(live, &stmt, SQL_NUMBER_ALL, "");
    while (rv == 0) {
        char text[STORE_NAME_MAX + 1];
        struct slice name;
        uint64_t value;

        rv = store_rows_number(stmt, &name, &value);
        if (rv == 0 && store_is_local(name)) {
            memcpy(text, name.data, name.len);
            text[name.len] = '\0';
            rv = strcmp(text, STORE_SERVE_FROM) == 0
                     ? shadow_raise_floor(shadow, value)
                     : store_rows_number_put(&shadow->db, text, value);
        }
        if (rv == 0) {
            rv = store_db_next(live, stmt);
        } else {
            store_db_done(stmt);
        }
    }
    return rv == OUT_NOENT ? 0 : rv;
}

/* Files of the live store that the shadow does not read from, or not all of. Returns
 * the number of block rows that the shadow has. */
static int list_garbage(struct store_shadow *shadow)
{
    struct store_db *live = &shadow->store->db;
    sqlite3_stmt *stmt = NULL;
    struct store_block block;
    struct store_block kept;
    uint64_t last = 0;
    int rv;

    rv = store_db_row(live, &stmt, SQL_BLOCK_ALL, "");
    while (rv == 0) {
        rv = store_block_row(stmt, &block);
        if (rv == 0 && block.ino != last) {
            rv = store_block_get(&shadow->db, block.ino, block.block, &kept);
            if (rv == OUT_NOENT) {
                last = block.ino;
                rv = store_garbage_put(shadow->store, &shadow->db, 0, block.ino);
            }
        }
        if (rv == 0) {
            rv = store_db_next(live, stmt);
        } else {
            store_db_done(stmt);
        }
    }
    if (rv != OUT_NOENT) {
        return rv;
    }
    rv = store_db_row(live, &stmt, SQL_CUT_ALL, "");
    while (rv == 0) {
        rv = store_garbage_put(shadow->store, &shadow->db, 0, store_db_u64(stmt, 0));
        if (rv == 0) {
            rv = store_db_next(live, stmt);
        } else {
            store_db_done(stmt);
        }
    }
    if (rv != OUT_NOENT) {
        return rv;
    }
    rv = store_db_row(live, &stmt, SQL_GARBAGE_ALL, "");
    while (rv == 0) {
        /* A pull's folder before this one is swept as a whole. */
        if (store_db_u64(stmt, 0) == 0) {
            rv = store_garbage_put(shadow->store, &shadow->db, 0, store_db_u64(stmt, 1));
        }
        if (rv == 0) {
            rv = store_db_next(live, stmt);
        } else {
            store_db_done(stmt);
        }
    }
    return rv == OUT_NOENT ? 0 : rv;
}

static int count_blocks(struct store_shadow *shadow)
{
    sqlite3_stmt *stmt = NULL;
    uint64_t n = 0;
    int rv = store_db_row(&shadow->db, &stmt, SQL_BLOCK_ALL, "");

    while (rv == 0) {
        n++;
        rv = store_db_next(&shadow->db, stmt);
    }
    return rv == OUT_NOENT ? store_rows_number_put(&shadow->db, STORE_LOCAL "blocks", n)
                           : rv;
}

static int prepare(struct store_shadow *shadow)
{
    int rv = copy_local(shadow);

    if (rv == 0) {
        rv = store_rows_number_put(&shadow->db, STORE_SWITCHED, 1);
    }
    if (rv == 0) {
        rv = list_garbage(shadow);
    }
    if (rv == 0) {
        rv = count_blocks(shadow);
    }
    return rv == 0 ? shadow_commit(shadow, true) : rv;
}

/* From here on the shadow's connection is the store's. */
static int adopt(struct store *store, struct store_shadow *shadow)
{
    int rv;

    store_files_drop(store, 0);
    store_db_close(&store->db);
    store->db = shadow->db;
    shadow->db = (struct store_db){0};
    store->generation = shadow->generation;
    store->pieces.kind = 0;
    store_parts_free(store);
    store->bad.n = 0;
    store->epoch++;
    store->durable_floor = UINT64_MAX; /* Nothing points into the journal. */
    store->wal_frames = 0;
    store->wal_checked = 0;
    store_watch_wal(store);
    rv = store_shadow_forget(&store->db);
    if (rv == 0) {
        rv = store_recount(store);
    }
    if (rv == 0) {
        rv = store_sweep(store);
    }
    if (rv != 0) {
        /* The next start goes on from the new state. */
        store->broken = rv == -ENOSPC ? -EIO : rv;
    }
    return rv;
}

int store_shadow_switch(struct store *store, struct store_shadow *shadow)
{
    struct store_want want;
    bool lost = false;
    uint32_t n = 0;
    int rv;

    ASSERT(shadow->store == store && !store->in_txn);
    if (store->broken != 0) {
        return store->broken;
    }
    if (store->settle != NULL) {
        return OUT_TRY_LATER;
    }
    rv = store_flush(store);
    if (rv != 0) {
        return rv;
    }
    rv = store_shadow_wants(shadow, &want, 1, &n);
    if (rv != 0 || n > 0) {
        return rv != 0 ? rv : -EAGAIN;
    }
    rv = shadow_begin(shadow);
    if (rv == 0) {
        rv = check_taken(shadow, &lost);
    }
    if (rv == 0 && lost) {
        rv = shadow_commit(shadow, false);
        return rv == 0 ? OUT_TRY_LATER : rv;
    }
    if (rv == 0) {
        rv = prepare(shadow);
    }
    if (rv == 0) {
        rv = store->disk->ops->syncdir(store->disk, store->dir);
    }
    if (rv != 0) {
        return rv; /* The marker names the live rows. */
    }
    rv = store_marker_write(store, shadow->generation);
    if (rv != 0) {
        /* It is unknown which of the two a restart will find, also on a full disk. */
        store->broken = rv == -ENOSPC ? -EIO : rv;
        return store->broken;
    }
    log_info("store", "msg=\"switched to the pulled state\" dataset=%s index=%llu",
             store->dir, (unsigned long long)shadow->index);
    return adopt(store, shadow);
}
