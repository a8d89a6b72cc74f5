/* Settling, the part that does: merge, write in place, sync. It reads no row and writes
 * none, so that it may run beside the owner thread. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct running {
    struct store *store;
    struct store_settle *settle;
    struct store_pieces pieces;
    uint8_t *bytes; /* The merged block. */
    struct store_whole whole;
    uint8_t summed;            /* Its sub-blocks whose CRCs are known already. */
    bool dirty[STORE_FOLDERS]; /* Folders of data/ to be synced. */
};

/*
 * Rows are going to count on a name in the inode's folder being there, or being gone.
 * Whether it was made durable by who made the change is only known for this life: an
 * earlier one may have been killed between the two.
 */
static void use_folder(struct running *run, uint64_t ino, bool changed)
{
    bool *synced = &run->store->synced_folders[ino % STORE_FOLDERS];

    *synced = *synced && !changed;
    run->dirty[ino % STORE_FOLDERS] |= !*synced;
}

static int sync_folders(struct running *run)
{
    int rv = 0;

    for (uint64_t i = 0; i < STORE_FOLDERS && rv == 0; i++) {
        if (run->dirty[i]) {
            rv = store_data_syncdir(run->store, 0, i);
            rv = rv == -ENOENT ? 0 : rv; /* No file of it was ever there. */
            run->store->synced_folders[i] = rv == 0;
        }
    }
    return rv;
}

static int unlink_data(struct running *run, const struct store_garbage *garbage)
{
    char path[STORE_PATH_MAX];
    int rv;

    store_data_path(run->store, garbage->generation, garbage->ino, path);
    rv = run->store->disk->ops->unlink(run->store->disk, path);
    if (rv != 0 && rv != -ENOENT) {
        return rv;
    }
    if (garbage->generation == 0) {
        use_folder(run, garbage->ino, rv == 0);
    }
    return 0;
}

static int collect(struct running *run, const struct store_garbage *garbage)
{
    struct disk *disk = run->store->disk;
    struct disk_file *file = NULL;
    char path[STORE_PATH_MAX];
    uint64_t size;
    int rv;

    if (garbage->keep) {
        return 0;
    }
    if (garbage->remove) {
        return unlink_data(run, garbage);
    }
    store_data_path(run->store, 0, garbage->ino, path);
    rv = disk->ops->open(disk, path, DISK_WRITE, &file);
    if (rv != 0) {
        return rv == -ENOENT ? 0 : rv;
    }
    rv = disk->ops->size(disk, file, &size);
    if (rv == 0 && size > garbage->length) {
        rv = disk->ops->truncate(disk, file, garbage->length);
    }
    disk->ops->close(disk, file);
    return rv;
}

/* True if extents cover all of sub-block @sub. */
static bool covered(const struct store_settle_block *b, uint32_t sub)
{
    uint64_t at = b->block * STORE_BLOCK + sub * STORE_SUBBLOCK;
    uint64_t end = at + STORE_SUBBLOCK;

    for (size_t i = 0; i < b->extents.n && at < end; i++) {
        const struct store_extent *e = &b->extents.all[i];

        if (e->offset <= at && e->offset + e->len > at) {
            at = e->offset + e->len;
        }
    }
    return at >= end;
}

static bool all_covered(const struct store_settle_block *b)
{
    uint32_t sub = 0;

    while (sub < STORE_SUBBLOCKS && covered(b, sub)) {
        sub++;
    }
    return sub == STORE_SUBBLOCKS;
}

/* Are the bytes of the base right that no extent covers? See store_stale.c. */
static bool is_right(const struct running *run, const struct store_settle_block *b,
                     uint32_t sub, const uint8_t *data)
{
    return crc32c(0, data, STORE_SUBBLOCK) == b->crcs[sub] ||
           ((b->stale >> sub & 1) != 0 &&
            store_stale_is_right(
                &run->store->stale,
                &(struct store_sub){
                    .ino = b->ino, .block = b->block, .sub = sub, .crc = b->crcs[sub]},
                data));
}

static bool is_partial(const struct store_settle_block *b, uint32_t sub)
{
    return b->has_block && !b->base_lost && (b->mask >> sub & 1) != 0 && !covered(b, sub);
}

/* Note what is not written of the sub-blocks that are: after a crash it could not be
 * checked any more. What is not right, or cannot be read, is settled by nobody. */
static int note_block(struct running *run, struct disk_file *file,
                      struct store_settle_block *b)
{
    int rv = 0;

    for (uint32_t sub = 0; sub < STORE_SUBBLOCKS && rv == 0; sub++) {
        if (is_partial(b, sub) &&
            store_file_pread(run->store->disk, file, run->bytes, STORE_SUBBLOCK,
                             b->block * STORE_BLOCK + sub * STORE_SUBBLOCK) == 0 &&
            is_right(run, b, sub, run->bytes)) {
            rv = store_stale_note(&run->settle->stale, b, sub, run->bytes);
            b->noted |= (uint8_t)(1u << sub);
        }
    }
    return rv;
}

static int note_all(struct running *run)
{
    struct store_settle *settle = run->settle;
    struct disk_file *file = NULL;
    char path[STORE_PATH_MAX];
    uint64_t ino = 0;
    bool any = false;
    int rv = 0;

    for (uint32_t i = 0; i < settle->n_blocks && rv == 0; i++) {
        struct store_settle_block *b = &settle->blocks[i];
        uint32_t sub = 0;

        while (sub < STORE_SUBBLOCKS && !is_partial(b, sub)) {
            sub++;
        }
        if (sub == STORE_SUBBLOCKS) {
            continue;
        }
        if (b->ino != ino && file != NULL) {
            run->store->disk->ops->close(run->store->disk, file);
            file = NULL;
        }
        ino = b->ino;
        store_data_path(run->store, 0, ino, path);
        if (file == NULL &&
            run->store->disk->ops->open(run->store->disk, path, DISK_READ, &file) != 0) {
            file = NULL; /* Found out again when it is to be written. */
            continue;
        }
        rv = note_block(run, file, b);
        any = any || b->noted != 0;
    }
    if (file != NULL) {
        run->store->disk->ops->close(run->store->disk, file);
    }
    return rv == 0 && any ? store_stale_write(settle) : rv;
}

/* The base of every sub-block that will change. OUT_IO: bad. */
static int load_base(struct running *run, struct disk_file *file,
                     const struct store_settle_block *b)
{
    int rv;

    if (!all_covered(b)) {
        memset(run->bytes, 0, STORE_BLOCK);
    }
    for (uint32_t sub = 0; b->base_lost && sub < (b->has_block ? STORE_SUBBLOCKS : 1);
         sub++) {
        if (!covered(b, sub)) {
            return OUT_IO;
        }
    }
    if (b->small != NULL) {
        memcpy(run->bytes, b->small->data, b->small->len);
    }
    for (uint32_t sub = 0; sub < STORE_SUBBLOCKS && b->has_block; sub++) {
        uint8_t *data = run->bytes + sub * STORE_SUBBLOCK;

        if ((b->mask >> sub & 1) == 0 || covered(b, sub)) {
            continue;
        }
        rv = store_file_pread(run->store->disk, file, data, STORE_SUBBLOCK,
                              b->block * STORE_BLOCK + sub * STORE_SUBBLOCK);
        if (rv != 0) {
            return OUT_IO;
        }
        if (!is_right(run, b, sub, data)) {
            if (!b->known_bad) {
                log_error("store",
                          "msg=\"a settled block is bad\" ino=%" PRIu64 " block=%" PRIu64
                          " subblock=%u",
                          b->ino, b->block, sub);
            }
            return OUT_IO;
        }
    }
    return 0;
}

/*
 * A piece that fills sub-blocks is read to where it is to lie, and checked by the CRCs of
 * those, which are needed anyway: of what was written in large calls every byte is looked
 * at once. False: it is to be got, or reported, the other way.
 */
static bool lay_whole(struct running *run, struct store_settle_block *b,
                      const struct store_extent *e, uint8_t *to)
{
    uint32_t first = (uint32_t)(e->offset % STORE_BLOCK) / STORE_SUBBLOCK;
    uint32_t n = e->len / STORE_SUBBLOCK;
    uint32_t crc = 0;

    if (e->offset % STORE_SUBBLOCK != 0 || e->len % STORE_SUBBLOCK != 0 ||
        e->len != e->piece_len || store_piece_pread(run->store, e, to) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        b->fresh[first + i] = crc32c(0, to + i * STORE_SUBBLOCK, STORE_SUBBLOCK);
        crc = crc32c_join(crc, b->fresh[first + i], STORE_SUBBLOCK);
    }
    if (crc != e->crc) {
        return false;
    }
    run->summed |= (uint8_t)(((1u << n) - 1) << first);
    return true;
}

static int lay_over(struct running *run, struct store_settle_block *b)
{
    const uint8_t *bytes;
    int rv;

    run->summed = 0;
    for (size_t i = 0; i < b->extents.n; i++) {
        const struct store_extent *e = &b->extents.all[i];
        uint8_t *to = run->bytes + e->offset % STORE_BLOCK;

        if (e->kind == STORE_ZERO) {
            memset(to, 0, e->len);
            continue;
        }
        if (e->kind != STORE_LOST && lay_whole(run, b, e, to)) {
            continue;
        }
        rv = e->kind == STORE_LOST ? OUT_IO : store_pieces_get(&run->pieces, e, &bytes);
        if (rv != 0) {
            return rv;
        }
        memcpy(to, bytes, e->len);
    }
    return 0;
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
    return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static int write_range(struct running *run, struct disk_file *file,
                       const struct store_settle_block *b, uint32_t from, uint32_t to)
{
    struct iovec iov = {.iov_base = run->bytes + from, .iov_len = to - from};

    if (from >= to) {
        return 0;
    }
    return run->store->disk->ops->pwritev(run->store->disk, file, &iov, 1,
                                          b->block * STORE_BLOCK + from);
}

/* Write what the extents cover, and no other byte: readers count on it. */
static int write_covered(struct running *run, struct disk_file *file,
                         const struct store_settle_block *b)
{
    uint32_t from = 0;
    uint32_t to = b->small != NULL ? b->small->len : 0;
    int rv;

    for (size_t i = 0; i < b->extents.n; i++) {
        uint32_t begin = (uint32_t)(b->extents.all[i].offset % STORE_BLOCK);
        uint32_t end = begin + b->extents.all[i].len;

        if (begin > to) {
            rv = write_range(run, file, b, from, to);
            if (rv != 0) {
                return rv;
            }
            from = begin;
        }
        to = end > to ? end : to;
    }
    return write_range(run, file, b, from, to);
}

/* A block without a row: the file may hold bytes there that were cut off long ago. */
static int write_fresh(struct running *run, struct disk_file *file,
                       const struct store_settle_block *b)
{
    const struct disk_ops *ops = run->store->disk->ops;
    uint64_t start = b->block * STORE_BLOCK;
    uint64_t size;
    int rv;

    rv = ops->size(run->store->disk, file, &size);
    if (rv != 0) {
        return rv;
    }
    if (size > start) {
        rv = ops->punch(run->store->disk, file, start, STORE_BLOCK);
        if (rv == -EOPNOTSUPP) {
            return write_range(run, file, b, 0, STORE_BLOCK);
        }
    }
    return rv != 0 ? rv : write_covered(run, file, b);
}

static int write_block(struct running *run, struct disk_file *file,
                       struct store_settle_block *b)
{
    int rv;

    for (uint32_t sub = 0; sub < STORE_SUBBLOCKS; sub++) {
        const uint8_t *data = run->bytes + sub * STORE_SUBBLOCK;

        if ((b->mask >> sub & 1) == 0) {
            b->fresh[sub] = b->crcs[sub];
        } else if ((run->summed >> sub & 1) == 0) {
            b->fresh[sub] = crc32c(0, data, STORE_SUBBLOCK);
        }
    }
    b->published = true;
    (void)pthread_mutex_lock(&run->settle->write_lock);
    if (b->mask == 0xff && all_zero(run->bytes, STORE_BLOCK)) {
        rv = run->store->disk->ops->punch(run->store->disk, file, b->block * STORE_BLOCK,
                                          STORE_BLOCK);
        rv = rv == -EOPNOTSUPP ? write_range(run, file, b, 0, STORE_BLOCK) : rv;
    } else if (b->has_block) {
        rv = write_covered(run, file, b);
    } else {
        rv = write_fresh(run, file, b);
    }
    (void)pthread_mutex_unlock(&run->settle->write_lock);
    return rv;
}

/*
 * Make the file as long as the user's: past its end all layers together are zeros. But a
 * base alone may not be: the block that the end lies in is cut only when it was written
 * just now, else the base would no longer match its row.
 */
static int fit_length(struct running *run, struct disk_file *file,
                      const struct store_settle_block *last)
{
    const struct disk_ops *ops = run->store->disk->ops;
    uint64_t want = last->size;
    uint64_t size;
    int rv;

    if (want == STORE_SIZE_UNKNOWN) {
        return 0;
    }
    if (last->bad || (last->block + 1) * STORE_BLOCK < want) {
        want = (want + STORE_BLOCK - 1) / STORE_BLOCK * STORE_BLOCK;
    }
    (void)pthread_mutex_lock(&run->settle->write_lock);
    rv = ops->size(run->store->disk, file, &size);
    if (rv == 0 && size != want) {
        rv = ops->truncate(run->store->disk, file, want);
    }
    (void)pthread_mutex_unlock(&run->settle->write_lock);
    return rv;
}

/*
 * A fault of one file, not of the member: what the file system says of a size that it
 * cannot hold, or of a damaged inode or spot. Were it to end the settle, the same block
 * would end every one to come, and the journal could never be released. Room, memory and
 * descriptors are everybody's; so is a failed sync, which takes the promise from all that
 * was written before it.
 */
bool store_is_own_fault(int rv)
{
    return rv == -EFBIG || rv == -EIO || rv == -EUCLEAN || rv == -EBADMSG;
}

static void refuse(const struct store_settle_block *b, int rv)
{
    if (b->known_bad) {
        return;
    }
    log_warn("store",
             "msg=\"a block cannot be settled\" ino=%" PRIu64 " block=%" PRIu64
             " fault=%d",
             b->ino, b->block, rv);
}

static int settle_block(struct running *run, struct disk_file *file,
                        struct store_settle_block *b)
{
    int rv;

    rv = load_base(run, file, b);
    if (rv == 0) {
        rv = lay_over(run, b);
    }
    if (rv == OUT_IO) {
        b->bad = true; /* Never becomes a valid block by being merged. */
        return 0;
    }
    if (rv == 0) {
        rv = write_block(run, file, b);
    }
    if (store_is_own_fault(rv)) {
        refuse(b, rv);
        b->bad = true;
        b->torn = true;
        rv = 0;
    }
    return rv;
}

/* What cannot settle must not hold the journal. */
static int keep_bad(struct running *run, uint32_t first, uint32_t last)
{
    int rv = 0;

    for (uint32_t i = first; i < last && rv == 0; i++) {
        if (run->settle->blocks[i].bad) {
            rv = store_keep_run(&run->pieces, &run->settle->blocks[i]);
        }
    }
    return rv;
}

/* Blocks [@first, @last) are one file's. */
static int settle_file(struct running *run, uint32_t first, uint32_t last)
{
    const struct disk_ops *ops = run->store->disk->ops;
    struct store_settle_block *blocks = run->settle->blocks;
    struct disk_file *file = NULL;
    bool made = false;
    int rv;

    rv = store_data_create(run->store, 0, blocks[first].ino, &file, &made);
    if (store_is_own_fault(rv)) {
        refuse(&blocks[first], rv);
        for (uint32_t i = first; i < last; i++) {
            blocks[i].bad = true;
        }
        return keep_bad(run, first, last);
    }
    if (rv != 0) {
        return rv;
    }
    for (uint32_t i = first, n; i < last && rv == 0; i += n) {
        rv = store_whole_run(&run->whole, file, &blocks[i], last - i, &n);
        if (rv == 0 && n == 0) {
            rv = settle_block(run, file, &blocks[i]);
            n = 1;
        }
    }
    if (rv == 0) {
        rv = fit_length(run, file, &blocks[last - 1]);
        rv = store_is_own_fault(rv) ? 0 : rv; /* Reads do not need it. */
    }
    if (rv == 0) {
        rv = ops->datasync(run->store->disk, file);
    }
    ops->close(run->store->disk, file);
    use_folder(run, blocks[first].ino, made);
    return rv == 0 ? keep_bad(run, first, last) : rv;
}

static int settle_files(struct running *run)
{
    struct store_settle *settle = run->settle;
    uint32_t first = 0;
    int rv = 0;

    while (first < settle->n_blocks && rv == 0) {
        uint32_t last = first + 1;

        while (last < settle->n_blocks &&
               settle->blocks[last].ino == settle->blocks[first].ino) {
            last++;
        }
        rv = settle_file(run, first, last);
        first = last;
    }
    return rv;
}

/* On a connection of its own, since the owner's is in use. */
static int checkpoint(struct store *store)
{
    char path[STORE_PATH_MAX];
    struct store_db db;
    int frames = store->wal_frames;
    int rv;

    store_meta_path(store, store->generation, path);
    if (store_db_open(&db, path, store->vfs, false) != 0) {
        return 0; /* The WAL stays long for now. */
    }
    rv = store_db_checkpoint(&db);
    store->wal_checked = frames;
    store_db_close(&db);
    return rv;
}

void store_settle_unread(struct store_settle *settle)
{
    settle->unread = true;
}

int store_settle_run(struct store_settle *settle)
{
    struct running run = {.store = settle->store, .settle = settle};
    int rv;

    settle->started = true;
    rv = store_pieces_init(&run.pieces, settle->store);
    run.bytes = malloc(STORE_BLOCK);
    if (store_whole_init(&run.whole, settle) != 0 || rv != 0 || run.bytes == NULL) {
        rv = -ENOMEM;
        goto out;
    }
    for (uint32_t i = 0; i < settle->n_garbage && rv == 0; i++) {
        rv = collect(&run, &settle->garbage[i]);
        if (store_is_own_fault(rv)) {
            settle->garbage[i].failed = true;
            rv = 0;
        }
    }
    if (rv == 0) {
        rv = note_all(&run);
    }
    if (rv == 0) {
        rv = settle_files(&run);
    }
    if (rv == 0) {
        rv = sync_folders(&run);
    }
    if (rv == 0 && settle->checkpoint) {
        rv = checkpoint(settle->store);
    }
out:
    free(run.bytes);
    store_whole_deinit(&run.whole);
    store_pieces_deinit(&run.pieces);
    return rv;
}
