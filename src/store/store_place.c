/*
 * Pulled blocks that are written to where they stay, data/, while the old state is still
 * the live one: no second write, and nothing to move at the switch.
 *
 * The bytes of a file in data/ mean what rows say, and only the live rows count. So a
 * shadow may write there what it likes, as long as the live store neither reads these bytes
 * nor has a reason to touch the file: it has no block, extent, mark, cut or garbage of that
 * inode (shadow_place_may). It cannot come to have one but by applying an entry, and nothing
 * is applied while a pull is under way. Should it be all the same, or by a life in between,
 * it shows in the live applied index, which the shadow remembers: then nobody knows what
 * became of the bytes, and what lies there is pulled again, beside. The index is durable
 * before it is written down, so a power cut cannot take the live state back below it.
 *
 * Before a byte goes into a file, a durable row of the shadow's garbage names it. Settling
 * looks at the files of such rows once the shadow is live, and cuts or removes what no row
 * reads: what a loading leaves that was broken off. Of a loading that was not, none is left.
 */
#include "store/store_shadow.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/outcome.h"

#include <errno.h>
#include <string.h>

static int live_applied(struct store *store, uint64_t *out)
{
    int rv = store_rows_number_get(&store->db, STORE_APPLIED, out);

    if (rv == OUT_NOENT) {
        *out = 0;
        rv = 0;
    }
    return rv;
}

int shadow_place_begin(struct store_shadow *shadow)
{
    struct store *store = shadow->store;
    uint64_t applied = 0;
    uint64_t at = 0;
    int rv;

    ASSERT(shadow->in_txn);
    rv = store_begin(store);
    if (rv == 0) {
        rv = store_commit(store, true);
    }
    if (rv == 0) {
        rv = live_applied(store, &applied);
    }
    if (rv != 0) {
        return rv;
    }
    rv = store_rows_number_get(&shadow->db, STORE_PLACED_AT, &at);
    if (rv != 0 && rv != OUT_NOENT) {
        return rv;
    }
    rv = store_db_exec(
        &shadow->db, rv == OUT_NOENT || at != applied
                         ? "DELETE FROM block; DELETE FROM list"
                         : "DELETE FROM block WHERE NOT EXISTS(SELECT 1 FROM list WHERE "
                           "list.ino=block.ino AND list.block=block.block AND "
                           "list.wanted>=2);"
                           "DELETE FROM list WHERE wanted<2;"
                           "UPDATE list SET wanted=3");
    if (rv == 0) {
        /* What was meant to be written before may have been, in part. */
        rv = store_db_exec(&shadow->db, "UPDATE garbage SET stamp=1 WHERE stamp=0");
    }
    if (rv == 0) {
        rv = store_rows_number_put(&shadow->db, STORE_PLACED_AT, applied);
    }
    shadow->placed_at = applied;
    shadow->place_epoch = store->epoch;
    shadow->moved = false;
    shadow->asked_ino = 0;
    shadow->intended_ino = 0;
    return rv;
}

/* Nothing was applied to the live store since the loading began; or nothing to files. */
static int is_still(struct store_shadow *shadow, bool *still)
{
    struct store *store = shadow->store;
    uint64_t applied;
    int rv = 0;

    if (!shadow->moved && shadow->place_epoch != store->epoch) {
        rv = live_applied(store, &applied);
        if (rv == 0) {
            shadow->moved = applied != shadow->placed_at;
            shadow->place_epoch = store->epoch;
        }
    }
    *still = !shadow->moved;
    return rv;
}

int shadow_place_may(struct store_shadow *shadow, uint64_t ino, bool *may)
{
    sqlite3_stmt *stmt = NULL;
    int rv = is_still(shadow, may);

    if (rv != 0 || !*may) {
        return rv;
    }
    if (shadow->asked_ino != ino) {
        shadow->asked_ino = 0;
        rv = store_db_row(&shadow->store->db, &stmt, SQL_DATA_ANY, "i", ino);
        if (rv != 0 && rv != OUT_NOENT) {
            return rv;
        }
        shadow->asked_ino = ino;
        shadow->asked_may = rv == OUT_NOENT;
        store_db_done(stmt);
    }
    *may = shadow->asked_may;
    return 0;
}

int shadow_place_intend(struct store_shadow *shadow, uint64_t ino)
{
    bool may = false;
    int rv = shadow->intended_ino == ino ? 0 : shadow_place_may(shadow, ino, &may);

    if (rv == 0 && may) {
        rv = store_db_run(&shadow->db, SQL_GARBAGE_INTEND, "i", ino);
        shadow->intended_ino = rv == 0 ? ino : 0;
    }
    return rv;
}

static void sum(struct store_shadow *shadow, struct slice data, struct store_block *row)
{
    for (uint32_t sub = 0; sub < STORE_SUBBLOCKS; sub++) {
        size_t from = (size_t)sub * STORE_SUBBLOCK;
        size_t have = data.len > from ? data.len - from : 0;

        if (have >= STORE_SUBBLOCK) {
            row->crcs[sub] = crc32c(0, data.data + from, STORE_SUBBLOCK);
            continue;
        }
        memset(shadow->bytes, 0, STORE_SUBBLOCK);
        if (have > 0) {
            memcpy(shadow->bytes, data.data + from, have);
        }
        row->crcs[sub] = crc32c(0, shadow->bytes, STORE_SUBBLOCK);
    }
}

/* The file may have bytes of a loading before this one, or older ones, behind @data. */
static int write(struct store_shadow *shadow, struct shadow_file *file,
                 const struct store_want *block, struct slice data)
{
    const struct disk_ops *ops = shadow->store->disk->ops;
    uint64_t start = block->block * STORE_BLOCK;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data.data, .iov_len = data.len};
    int rv = 0;

    if (file->size > start && data.len < STORE_BLOCK) {
        rv = ops->punch(shadow->store->disk, file->file, start, STORE_BLOCK);
        if (rv == -EOPNOTSUPP) {
            memset(shadow->bytes, 0, STORE_BLOCK);
            memcpy(shadow->bytes, data.data, data.len);
            iov = (struct iovec){.iov_base = shadow->bytes, .iov_len = STORE_BLOCK};
            rv = 0;
        }
    }
    return rv == 0 ? shadow_write(shadow, file, &iov, start) : rv;
}

int shadow_place_put(struct store_shadow *shadow, const struct store_want *block,
                     struct slice data)
{
    struct store_block row = {
        .ino = block->ino, .block = block->block, .version = block->version};
    struct shadow_file *file = NULL;
    int rv;

    ASSERT(data.len > 0 && data.len <= STORE_BLOCK);
    rv = shadow_begin(shadow);
    if (rv == 0) {
        rv = shadow_file_get(shadow, 0, block->ino, &file);
    }
    if (rv == 0) {
        rv = write(shadow, file, block, data);
    }
    if (rv == 0) {
        sum(shadow, data, &row);
        rv = store_block_put(&shadow->db, &row);
    }
    shadow->pulled.placed++;
    return rv == 0 ? shadow_put_done(shadow, block, SHADOW_PLACED) : rv;
}

int shadow_place_before(struct store_shadow *shadow, const struct store_want *block,
                        bool *have)
{
    sqlite3_stmt *stmt = NULL;
    struct store_block row;
    uint64_t state;
    int rv;

    *have = false;
    rv = store_db_row(&shadow->db, &stmt, SQL_LIST_GET, "ii", block->ino, block->block);
    if (rv != 0) {
        return rv == OUT_NOENT ? 0 : rv;
    }
    state = store_db_u64(stmt, 1);
    store_db_done(stmt);
    if (state != SHADOW_PLACED_BEFORE) {
        return 0;
    }
    rv = store_block_get(&shadow->db, block->ino, block->block, &row);
    if (rv == 0 && !row.bad && row.version == block->version) {
        *have = true;
        shadow->pulled.kept++;
        return 0;
    }
    return rv == 0
               ? store_db_run(&shadow->db, SQL_BLOCK_DEL, "ii", block->ino, block->block)
               : rv;
}

int shadow_place_loaded(struct store_shadow *shadow)
{
    return store_db_exec(&shadow->db,
                         "DELETE FROM block WHERE EXISTS(SELECT 1 FROM list WHERE "
                         "list.ino=block.ino AND list.block=block.block AND "
                         "list.wanted=3);"
                         "DELETE FROM list WHERE wanted=3");
}

int shadow_place_check(struct store_shadow *shadow, bool *lost)
{
    bool still = true;
    int rv = is_still(shadow, &still);

    *lost = false;
    if (rv != 0 || still) {
        return rv;
    }
    rv = store_db_exec(&shadow->db, "UPDATE list SET wanted=1 WHERE wanted=2");
    *lost = rv == 0 && sqlite3_changes64(shadow->db.handle) > 0;
    return rv == 0
               ? store_db_exec(&shadow->db, "UPDATE garbage SET stamp=1 WHERE stamp=0")
               : rv;
}

void store_shadow_pulled(const struct store_shadow *shadow, struct store_pulled *out)
{
    *out = shadow->pulled;
}

/* An open that finds nothing to forget must not write: it would begin a WAL. */
static int has_left(struct store_db *db, bool *left)
{
    static const char sql[] =
        "SELECT EXISTS(SELECT 1 FROM list) OR EXISTS(SELECT 1 FROM garbage WHERE "
        "stamp=0) "
        "OR EXISTS(SELECT 1 FROM number WHERE name=CAST('" STORE_PLACED_AT "' AS BLOB))";
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        *left = rc == SQLITE_ROW && sqlite3_column_int(stmt, 0) != 0;
    }
    (void)sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? 0 : store_db_fault(db, rc);
}

int store_shadow_forget(struct store_db *db)
{
    bool left = false;
    int rv = has_left(db, &left);

    if (rv == 0 && left) {
        rv = store_db_exec(db, "DELETE FROM list;"
                               "DELETE FROM garbage WHERE stamp=0;"
                               "DELETE FROM number WHERE name=CAST('" STORE_PLACED_AT
                               "' AS BLOB)");
    }
    return rv == -ENOSPC ? 0 : rv; /* None of it does harm: the next start does it. */
}
