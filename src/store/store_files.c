/* Files of settled data: their names, the ones kept open, and known bad blocks. */
#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SWEEP_MAX = 4096,
    AGAIN_PLANS = 64, /* Until a plan tries again what could not be read. */
};

static void folder_path(const struct store *store, uint64_t generation, char *out)
{
    if (generation == 0) {
        (void)snprintf(out, STORE_PATH_MAX, "%s/data", store->dir);
    } else if (generation >= STORE_KEPT) {
        (void)snprintf(out, STORE_PATH_MAX, "%s/kept.%" PRIu64, store->dir,
                       generation - STORE_KEPT);
    } else {
        (void)snprintf(out, STORE_PATH_MAX, "%s/pull.%" PRIu64, store->dir, generation);
    }
}

static void subfolder_path(const struct store *store, uint64_t generation, uint64_t ino,
                           char *out)
{
    char folder[STORE_PATH_MAX];

    folder_path(store, generation, folder);
    (void)snprintf(out, STORE_PATH_MAX, "%.4000s/%02x", folder,
                   (unsigned)(ino % STORE_FOLDERS));
}

void store_data_path(const struct store *store, uint64_t generation, uint64_t ino,
                     char *out)
{
    char folder[STORE_PATH_MAX];

    subfolder_path(store, generation, ino, folder);
    (void)snprintf(out, STORE_PATH_MAX, "%.4000s/%" PRIu64, folder, ino);
}

int store_data_create(struct store *store, uint64_t generation, uint64_t ino,
                      struct disk_file **out, bool *made)
{
    const struct disk_ops *ops = store->disk->ops;
    char path[STORE_PATH_MAX];
    char folder[STORE_PATH_MAX];
    int rv;

    store_data_path(store, generation, ino, path);
    rv = ops->open(store->disk, path, DISK_WRITE, out);
    if (rv != -ENOENT) {
        return rv;
    }
    folder_path(store, generation, folder);
    rv = ops->mkdir(store->disk, folder);
    if (rv == 0) {
        subfolder_path(store, generation, ino, folder);
        rv = ops->mkdir(store->disk, folder);
    }
    if (rv == 0) {
        rv = ops->open(store->disk, path, DISK_WRITE | DISK_CREATE, out);
    }
    if (rv == 0) {
        *made = true;
    }
    return rv;
}

int store_data_syncdir(struct store *store, uint64_t generation, uint64_t ino)
{
    const struct disk_ops *ops = store->disk->ops;
    char path[STORE_PATH_MAX];
    int rv;

    subfolder_path(store, generation, ino, path);
    rv = ops->syncdir(store->disk, path);
    if (rv == 0) {
        folder_path(store, generation, path);
        rv = ops->syncdir(store->disk, path);
    }
    return rv == 0 ? ops->syncdir(store->disk, store->dir) : rv;
}

static int try_size(struct store *store, const char *path)
{
    const struct disk_ops *ops = store->disk->ops;
    struct disk_file *file = NULL;
    int rv;

    rv = ops->open(store->disk, path, DISK_WRITE | DISK_CREATE, &file);
    if (rv != 0) {
        return rv;
    }
    rv = ops->truncate(store->disk, file, STORE_FILE_MAX);
    ops->close(store->disk, file);
    return rv;
}

/* A file without a block: it takes no room. What a crash leaves of it the next life uses
 * again. */
int store_check_sizes(struct store *store, bool strict)
{
    char path[STORE_PATH_MAX];
    int rv;

    (void)snprintf(path, sizeof path, "%.4000s/scratch", store->dir);
    rv = try_size(store, path);
    if (rv == -EFBIG || rv == -EINVAL || rv == -EOVERFLOW) {
        log_error("store",
                  "msg=\"the file system cannot hold a file of %llu bytes; ext4 needs "
                  "blocks of 4 KiB, and there must be no limit on file sizes\" "
                  "dataset=%s fault=%d",
                  STORE_FILE_MAX, store->dir, rv);
        rv = -EFBIG;
    }
    (void)store->disk->ops->unlink(store->disk, path);
    return rv == -EFBIG || strict ? rv : 0;
}

int store_file_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                     uint64_t offset)
{
    uint64_t size;
    size_t have = 0;
    int rv;

    if (disk_is_nowait()) {
        rv = disk->ops->pread(disk, file, buf, len, offset);
        if (rv != -ENODATA) {
            return rv; /* Mostly the file goes beyond it. */
        }
    }
    rv = disk->ops->size(disk, file, &size);
    if (rv != 0) {
        return rv;
    }
    if (size > offset) {
        have = size - offset < len ? (size_t)(size - offset) : len;
        rv = disk->ops->pread(disk, file, buf, have, offset);
    }
    memset((uint8_t *)buf + have, 0, len - have);
    return rv;
}

void store_files_drop(struct store *store, uint64_t ino)
{
    for (uint32_t i = 0; i < STORE_FILES_MAX; i++) {
        struct store_open_file *slot = &store->files.slots[i];

        if (slot->file != NULL && (ino == 0 || slot->ino == ino)) {
            store->disk->ops->close(store->disk, slot->file);
            *slot = (struct store_open_file){0};
        }
    }
}

/* The block's place in the list; its end: it is not there. */
static uint32_t bad_find(const struct store_bad *bad, uint64_t ino, uint64_t block)
{
    uint32_t i = 0;

    while (i < bad->n && (bad->ino[i] != ino || bad->block[i] != block)) {
        i++;
    }
    return i;
}

bool store_bad_has(const struct store *store, uint64_t ino, uint64_t block)
{
    return bad_find(&store->bad, ino, block) < store->bad.n;
}

void store_bad_tried(struct store *store, const struct store_settle_block *b)
{
    struct store_bad *bad = &store->bad;
    uint32_t i;

    store_bad_add(store, b->ino, b->block);
    i = bad_find(bad, b->ino, b->block);
    if (i < bad->n) {
        bad->tried[i] = b->version;
        bad->again[i] = b->again ? bad->plans + AGAIN_PLANS : UINT64_MAX;
    }
}

bool store_bad_hopeless(const struct store *store, uint64_t ino, uint64_t block,
                        uint64_t version)
{
    uint32_t i = bad_find(&store->bad, ino, block);

    return i < store->bad.n && version <= store->bad.tried[i] &&
           store->bad.plans < store->bad.again[i];
}

void store_bad_add(struct store *store, uint64_t ino, uint64_t block)
{
    if (store_bad_has(store, ino, block)) {
        return;
    }
    log_error("store", "msg=\"a block is bad\" ino=%" PRIu64 " block=%" PRIu64, ino,
              block);
    if (store->bad.n < STORE_BAD_MAX) {
        store->bad.ino[store->bad.n] = ino;
        store->bad.block[store->bad.n] = block;
        store->bad.tried[store->bad.n] = 0;
        store->bad.again[store->bad.n] = 0;
        store->bad.n++;
    }
}

void store_bad_del(struct store *store, uint64_t ino, uint64_t block)
{
    struct store_bad *bad = &store->bad;
    uint32_t i = bad_find(bad, ino, block);

    if (i < bad->n) {
        bad->n--;
        bad->ino[i] = bad->ino[bad->n];
        bad->block[i] = bad->block[bad->n];
        bad->tried[i] = bad->tried[bad->n];
        bad->again[i] = bad->again[bad->n];
    }
}

void store_bad_del_from(struct store *store, uint64_t ino, uint64_t block)
{
    struct store_bad *bad = &store->bad;
    uint32_t i = 0;

    while (i < bad->n) {
        if (bad->ino[i] == ino && bad->block[i] >= block) {
            store_bad_del(store, ino, bad->block[i]); /* Another takes the place @i. */
        } else {
            i++;
        }
    }
}

/* Names in a folder, gathered before any of them is removed. */
struct names {
    char (*all)[STORE_NAME_BYTES];
    uint32_t n;
};

static int gather(void *ctx, const char *name)
{
    struct names *names = ctx;

    if (names->n == SWEEP_MAX || strlen(name) >= STORE_NAME_BYTES) {
        return 0;
    }
    (void)snprintf(names->all[names->n++], STORE_NAME_BYTES, "%s", name);
    return 0;
}

static int list(struct store *store, const char *path, struct names *names)
{
    int rv;

    names->n = 0;
    names->all = malloc(SWEEP_MAX * sizeof *names->all);
    if (names->all == NULL) {
        return -ENOMEM;
    }
    rv = store->disk->ops->list(store->disk, path, gather, names);
    return rv == -ENOENT ? 0 : rv;
}

/* The folders stay, empty: the disk has no rmdir, and the next pull is cheap. */
int store_pull_remove(struct store *store, uint64_t generation)
{
    for (unsigned i = 0; i < STORE_FOLDERS; i++) {
        char folder[STORE_PATH_MAX];
        char path[STORE_PATH_MAX];
        struct names names;
        int rv;

        subfolder_path(store, generation, i, folder);
        do {
            rv = list(store, folder, &names);
            for (uint32_t k = 0; k < names.n && rv == 0; k++) {
                (void)snprintf(path, sizeof path, "%.4000s/%s", folder, names.all[k]);
                rv = store->disk->ops->unlink(store->disk, path);
            }
            free(names.all);
        } while (rv == 0 && names.n == SWEEP_MAX);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

/* True if some extent lies in that pull's folder. */
static int pull_used(struct store *store, uint64_t generation, bool *used)
{
    sqlite3_stmt *stmt = NULL;
    struct store_extent extent;
    int rv;

    *used = false;
    rv = store_db_row(&store->db, &stmt, SQL_EXTENT_ALL, "");
    while (rv == 0 && !*used) {
        rv = store_extent_row(stmt, &extent);
        if (rv != 0) {
            break;
        }
        *used = extent.kind == STORE_PULLED && extent.place == generation;
        rv = store_db_next(&store->db, stmt);
    }
    if (rv == OUT_NOENT) {
        return 0;
    }
    store_db_done(stmt);
    return rv;
}

static int sweep_name(struct store *store, const char *name)
{
    char path[STORE_PATH_MAX];
    uint64_t generation = 0;
    char tail[8] = "";
    bool used;
    int rv;

    if (sscanf(name, "pull.%" SCNu64, &generation) == 1) {
        if (generation == 0 || generation > store->generation) {
            return 0; /* Nobody's, of which 0 is data/; or a shadow that is being loaded. */
        }
        rv = pull_used(store, generation, &used);
        return rv != 0 || used ? rv : store_pull_remove(store, generation);
    }
    if (sscanf(name, "kept.%1" SCNu64, &generation) == 1) {
        rv = pull_used(store, STORE_KEPT + generation, &used);
        return rv != 0 || used ? rv : store_pull_remove(store, STORE_KEPT + generation);
    }
    if (strncmp(name, "meta.db", 7) != 0 &&
        (sscanf(name, "meta.%" SCNu64 ".d%7s", &generation, tail) != 2)) {
        return 0;
    }
    if (generation >= store->generation) {
        return 0;
    }
    (void)snprintf(path, sizeof path, "%.4000s/%s", store->dir, name);
    rv = store->disk->ops->unlink(store->disk, path);
    return rv == -ENOENT ? 0 : rv;
}

int store_sweep(struct store *store)
{
    struct names names;
    int rv;

    rv = list(store, store->dir, &names);
    for (uint32_t i = 0; i < names.n && rv == 0; i++) {
        rv = sweep_name(store, names.all[i]);
    }
    free(names.all);
    return rv;
}
