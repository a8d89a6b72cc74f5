/* Opening and closing a dataset, its marker, and transactions. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MARKER_MAX = STORE_MARKER_MAX,
    META_PAGE = 4096,
};

static void marker_path(const struct store *store, char *out)
{
    (void)snprintf(out, STORE_PATH_MAX, "%s/marker", store->dir);
}

void store_meta_path(const struct store *store, uint64_t generation, char *out)
{
    if (generation == 0) {
        (void)snprintf(out, STORE_PATH_MAX, "%s/meta.db", store->dir);
    } else {
        (void)snprintf(out, STORE_PATH_MAX, "%s/meta.%" PRIu64 ".db", store->dir,
                       generation);
    }
}

int store_marker_write(struct store *store, uint64_t generation)
{
    char path[STORE_PATH_MAX];
    char text[MARKER_MAX];
    char hex[2 * sizeof store->zone_id + 1];
    int n;

    for (size_t i = 0; i < sizeof store->zone_id; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", store->zone_id[i]);
    }
    n = snprintf(text, sizeof text,
                 "grapevinefs dataset %u\nzone %s\ngeneration %" PRIu64 "\n",
                 STORE_FORMAT, hex, generation);
    n += snprintf(text + n, sizeof text - (size_t)n, "check %08" PRIx32 "\n",
                  crc32c(0, text, (size_t)n));
    ASSERT((size_t)n < sizeof text);
    marker_path(store, path);
    return disk_replace_file(store->disk, path, text, (size_t)n);
}

/* 0, or: not this version's. What an older one wrote lacks rows that members must share,
 * so it is not taken up either; the data comes from a peer or a backup. */
static int check_format(const struct store *store, unsigned format)
{
    if (format == STORE_FORMAT) {
        return 0;
    }
    log_error("store", "msg=\"a dataset of version %u; this program has %u\" dataset=%s",
              format, STORE_FORMAT, store->dir);
    return -EPROTONOSUPPORT;
}

static int marker_parse(struct store *store, const char *text, size_t len)
{
    char mended[STORE_MARKER_MAX];
    const char *check;
    unsigned format;
    char hex[2 * sizeof store->zone_id + 1];
    uint64_t generation;
    uint32_t crc;

    store->marker_rotten = store_marker_mend(text, len, mended);
    text = store->marker_rotten ? mended : text;
    check = strstr(text, "check ");
    if (sscanf(text, "grapevinefs dataset %u\n", &format) == 1 && format > 0 &&
        check_format(store, format) != 0) {
        return -EPROTONOSUPPORT;
    }
    if (check == NULL || sscanf(check, "check %8" SCNx32 "\n", &crc) != 1 ||
        crc != crc32c(0, text, (size_t)(check - text)) ||
        sscanf(text, "grapevinefs dataset %u\nzone %32[0-9a-f]\ngeneration %" SCNu64 "\n",
               &format, hex, &generation) != 3 ||
        generation > INT64_MAX) {
        log_error("store", "msg=\"the marker is damaged\" dataset=%s", store->dir);
        return -EUCLEAN;
    }
    for (size_t i = 0; i < sizeof store->zone_id; i++) {
        char want[3];

        (void)snprintf(want, sizeof want, "%02x", store->zone_id[i]);
        if (strncmp(hex + 2 * i, want, 2) != 0) {
            log_error("store", "msg=\"another zone's dataset\" dataset=%s", store->dir);
            return -EEXIST;
        }
    }
    store->generation = generation;
    return 0;
}

/* -ENOENT: there is none. */
static int marker_read(struct store *store)
{
    char path[STORE_PATH_MAX];
    char *text = NULL;
    size_t len = 0;
    int rv;

    marker_path(store, path);
    rv = disk_read_file(store->disk, path, MARKER_MAX, &text, &len);
    if (rv == 0) {
        rv = marker_parse(store, text, len);
    }
    free(text);
    return rv;
}

/* meta.db has said that the version is this program's. */
static int renew_marker(struct store *store)
{
    int rv;

    if (!store->marker_rotten) {
        return 0;
    }
    log_warn("store",
             "msg=\"the marker was not what was written, and says what that was: it is "
             "written anew\" dataset=%s",
             store->dir);
    rv = store_marker_write(store, store->generation);
    return rv == -ENOSPC ? 0 : rv; /* The next start finds it as this one did. */
}

static int check_version(struct store *store)
{
    sqlite3_stmt *stmt = NULL;
    int version = -1;

    if (sqlite3_prepare_v2(store->db.handle, "PRAGMA user_version", -1, &stmt, NULL) ==
            SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW) {
        version = sqlite3_column_int(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    if (version <= 0) {
        log_error("store", "msg=\"meta.db is not one\" dataset=%s", store->dir);
        return -EUCLEAN;
    }
    return check_format(store, (unsigned)version);
}

int store_recount(struct store *store)
{
    sqlite3_stmt *stmt = NULL;
    struct store_extent extent;
    int rv;

    store->now.unsettled = 0;
    store->rest = true; /* Nobody looked yet. */
    rv = store_db_row(&store->db, &stmt, SQL_GARBAGE_ALL, "");
    while (rv == 0) {
        if (store_db_u64(stmt, 2) > store->stamp) {
            store->stamp = store_db_u64(stmt, 2);
        }
        rv = store_db_next(&store->db, stmt);
    }
    if (rv != OUT_NOENT) {
        return rv;
    }
    rv = store_db_row(&store->db, &stmt, SQL_EXTENT_ALL, "");
    while (rv == 0) {
        rv = store_extent_row(stmt, &extent);
        if (rv != 0) {
            store_db_done(stmt);
            return rv;
        }
        store->now.unsettled += extent.len;
        rv = store_db_next(&store->db, stmt);
    }
    if (rv != OUT_NOENT) {
        return rv;
    }
    rv = store_rows_number_get(&store->db, STORE_LOCAL "blocks", &store->now.blocks);
    if (rv == OUT_NOENT && store->generation > 0) {
        log_error("store", "msg=\"the marker names an unfinished pull\" dataset=%s",
                  store->dir);
        return -EUCLEAN; /* A switch counts them before it changes the marker. */
    }
    if (rv == OUT_NOENT) {
        store->now.blocks = 0;
        rv = 0;
    }
    store->before = store->now;
    return rv;
}

/* Make the name of the dataset's own folder durable. */
static int sync_parent(struct store *store)
{
    char path[STORE_PATH_MAX];
    char *slash;

    (void)snprintf(path, sizeof path, "%s", store->dir);
    slash = strrchr(path, '/');
    if (slash == NULL) {
        return store->disk->ops->syncdir(store->disk, ".");
    }
    slash[slash == path ? 1 : 0] = '\0';
    return store->disk->ops->syncdir(store->disk, path);
}

/* A new dataset: the marker comes last, so that a crash before it leaves none. */
static int make(struct store *store)
{
    char path[STORE_PATH_MAX];
    int rv;

    rv = store->disk->ops->mkdir(store->disk, store->dir);
    if (rv == 0) {
        rv = store_check_sizes(store, true);
    }
    if (rv == 0) {
        rv = sync_parent(store);
    }
    if (rv != 0) {
        return rv;
    }
    store_meta_path(store, 0, path);
    rv = store_db_open(&store->db, path, store->vfs, true);
    if (rv != 0) {
        return rv;
    }
    rv = store_db_schema(&store->db);
    if (rv == 0) {
        rv = store_db_sync(&store->db);
    }
    if (rv == 0) {
        rv = store->disk->ops->syncdir(store->disk, store->dir);
    }
    if (rv == 0) {
        rv = store_stale_create(store);
    }
    return rv == 0 ? store_marker_write(store, 0) : rv;
}

/* After a fault that smells of a damaged meta.db, a file says so for the next start. */
static void suspect_path(const struct store *store, char *out)
{
    (void)snprintf(out, STORE_PATH_MAX, "%s/suspect", store->dir);
}

static void suspect(struct store *store)
{
    char path[STORE_PATH_MAX];

    suspect_path(store, path);
    (void)disk_replace_file(store->disk, path, "check\n", 6); /* Best effort. */
}

static int check_suspect(struct store *store)
{
    char path[STORE_PATH_MAX];
    sqlite3_stmt *stmt = NULL;
    char *text = NULL;
    size_t len;
    int rv;

    suspect_path(store, path);
    rv = disk_read_file(store->disk, path, MARKER_MAX, &text, &len);
    free(text);
    if (rv == -ENOENT) {
        return 0;
    }
    rv = -EUCLEAN;
    if (sqlite3_prepare_v2(store->db.handle, "PRAGMA quick_check(1)", -1, &stmt, NULL) ==
            SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW &&
        strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0) {
        rv = store->disk->ops->unlink(store->disk, path);
    } else {
        log_error("store", "msg=\"meta.db is damaged\" dataset=%s", store->dir);
    }
    (void)sqlite3_finalize(stmt);
    return rv;
}

static int open_existing(struct store *store)
{
    char path[STORE_PATH_MAX];
    int rv;

    rv = store_check_sizes(store, false);
    if (rv != 0) {
        return rv;
    }
    store_meta_path(store, store->generation, path);
    rv = store_wal_renew(store, path);
    if (rv != 0) {
        return rv;
    }
    rv = store_db_open(&store->db, path, store->vfs, false);
    if (rv == -ENOENT) {
        log_error("store", "msg=\"there is a marker but no %s\"", path);
        return -EUCLEAN;
    }
    if (rv == 0) {
        rv = check_version(store);
    }
    if (rv == 0) {
        rv = renew_marker(store);
    }
    if (rv == 0) {
        rv = check_suspect(store);
    }
    return rv == 0 ? store_db_indexes(&store->db) : rv;
}

static int open_dataset(struct store *store, bool create)
{
    int rv = marker_read(store);

    if (create) {
        if (rv != -ENOENT) {
            return rv == 0 ? -EEXIST : rv;
        }
        rv = make(store);
    } else if (rv == 0) {
        rv = open_existing(store);
    }
    if (rv != 0) {
        return rv;
    }
    store_watch_wal(store);
    rv = store_stale_load(store);
    if (rv == 0) {
        rv = store_shadow_forget(&store->db);
    }
    if (rv == 0) {
        rv = store_recount(store);
    }
    return rv == 0 ? store_sweep(store) : rv;
}

int store_open(const struct store_config *config, struct store **out)
{
    struct store *store = NULL;
    int rv;

    /* Room for every name below the dataset. */
    if (strlen(config->dir) + STORE_NAME_BYTES > STORE_PATH_MAX) {
        return -ENAMETOOLONG;
    }
    store = calloc(1, sizeof *store);
    if (store == NULL) {
        return -ENOMEM;
    }
    store->disk = config->disk;
    store->journal = config->journal;
    memcpy(store->zone_id, config->zone_id, sizeof store->zone_id);
    store->dir = strdup(config->dir);
    store->vfs = config->vfs != NULL ? strdup(config->vfs) : NULL;
    store->scratch = malloc(STORE_BLOCK);
    store->scrubbed = malloc(STORE_BLOCK);
    rv = store_pieces_init(&store->pieces, store);
    if (store->dir == NULL || store->scratch == NULL || store->scrubbed == NULL ||
        rv != 0 || (config->vfs != NULL && store->vfs == NULL)) {
        rv = -ENOMEM;
        goto out;
    }
    rv = open_dataset(store, config->create);
    if (rv != 0) {
        goto out;
    }
    *out = store;
    store = NULL;
out:
    store_close(store);
    return rv;
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    ASSERT(store->n_cursors == 0 && store->settle == NULL);
    store->redo = NULL;
    (void)store_flush(store); /* What it cannot keep is replayed. */
    store->in_txn = store->in_txn || store->held;
    store_rollback(store);
    store_files_drop(store, 0);
    store_db_close(&store->db);
    store_pieces_deinit(&store->pieces);
    store_parts_free(store);
    store_stale_free(&store->stale);
    store_extents_free(&store->layers.extents);
    buf_unref(store->kept);
    free(store->scratch);
    free(store->scrubbed);
    free(store->vfs);
    free(store->dir);
    free(store);
}

void store_drop(struct store *store)
{
    if (store != NULL) {
        store->broken = store->broken != 0 ? store->broken : -EIO;
        store->db.faulted = true;
    }
    store_close(store);
}

int store_begin(struct store *store)
{
    int rv = store_flush(store);

    ASSERT(!store->in_txn);
    if (rv != 0) {
        return rv;
    }
    if (store->broken != 0) {
        return store->broken;
    }
    rv = store_db_run(&store->db, SQL_BEGIN, "");
    if (rv == 0) {
        store->in_txn = true;
        store->before = store->now;
    }
    return rv;
}

int store_begin_more(struct store *store)
{
    ASSERT(!store->in_txn);
    if (!store->held || store->broken != 0 || store_hold_is_lost(store)) {
        return store_begin(store);
    }
    store->held = false;
    store->in_txn = true;
    return 0;
}

void store_hold(struct store *store)
{
    ASSERT(store->in_txn);
    store->in_txn = false;
    store->held = true;
}

bool store_is_held(const struct store *store)
{
    return store->held;
}

/* After some faults sqlite has rolled back by itself. */
bool store_hold_is_lost(const struct store *store)
{
    return store->held && sqlite3_get_autocommit(store->db.handle) != 0;
}

void store_on_lost(struct store *store, void (*redo)(void *arg), void *arg)
{
    store->redo = redo;
    store->redo_arg = arg;
}

int store_flush(struct store *store)
{
    int rv;

    if (!store->held || store->broken != 0) {
        return store->held ? store->broken : 0;
    }
    ASSERT(!store->in_txn);
    if (store_hold_is_lost(store)) {
        store->held = false;
        store->now = store->before;
        if (store->redo != NULL) {
            store->redo(store->redo_arg);
        }
        if (!store->held || store_hold_is_lost(store)) {
            return -EIO;
        }
    }
    store->held = false;
    store->in_txn = true;
    rv = store_commit(store, false);
    if (rv != 0 && store->broken == 0 && store->redo != NULL) {
        store->redo(store->redo_arg);
    }
    return rv;
}

int store_commit(struct store *store, bool durable)
{
    int rv = 0;

    ASSERT(store->in_txn);
    if (store->now.blocks != store->before.blocks) {
        rv = store_rows_number_put(&store->db, STORE_LOCAL "blocks", store->now.blocks);
    }
    if (rv == 0) {
        rv = store_db_run(&store->db, SQL_COMMIT, "");
    }
    if (rv != 0) {
        if (rv == -EUCLEAN) {
            suspect(store);
        }
        store_rollback(store);
        return rv;
    }
    store->in_txn = false;
    if (store->broken != 0) {
        return store->broken; /* The commit's own checkpoint met a fault. */
    }
    if (durable) {
        rv = store_db_sync(&store->db);
        if (rv != 0) {
            store->broken = rv; /* What is on disk is unknown from here on. */
        } else {
            rv = store_extent_lowest(store, &store->durable_floor);
        }
    }
    return rv;
}

void store_rollback(struct store *store)
{
    if (!store->in_txn) {
        return;
    }
    /* After some faults sqlite has rolled back by itself. */
    if (sqlite3_get_autocommit(store->db.handle) == 0) {
        (void)store_db_run(&store->db, SQL_ROLLBACK, "");
    }
    store->in_txn = false;
    store->now = store->before;
}

uint64_t store_unsettled_bytes(const struct store *store)
{
    return store->now.unsettled;
}

uint64_t store_wal_bytes(const struct store *store)
{
    return (uint64_t)store->wal_frames * META_PAGE;
}

/* Not by looking at meta.db through the disk: closing a second descriptor would drop
 * sqlite's lock on it. */
int store_disk_bytes(struct store *store, uint64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    uint64_t pages = 0;
    int rc;

    rc = sqlite3_prepare_v2(store->db.handle, "PRAGMA page_count", -1, &stmt, NULL);
    if (rc == SQLITE_OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        pages = store_db_u64(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    if (rc != SQLITE_ROW) {
        return store_db_fault(&store->db, rc);
    }
    pages += (uint64_t)store->wal_frames;
    *out = pages * META_PAGE + store->now.blocks * STORE_BLOCK;
    return 0;
}
