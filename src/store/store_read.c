/* Reading: the base of a block from its file, extents from the journal, CRCs of both. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int store_pieces_init(struct store_pieces *pieces, struct store *store)
{
    *pieces = (struct store_pieces){.store = store, .bytes = malloc(STORE_BLOCK)};
    return pieces->bytes != NULL ? 0 : -ENOMEM;
}

void store_pieces_deinit(struct store_pieces *pieces)
{
    free(pieces->bytes);
    pieces->bytes = NULL;
}

static int pulled_pread(struct store *store, const struct store_extent *extent,
                        uint8_t *out)
{
    char path[STORE_PATH_MAX];
    struct disk_file *file = NULL;
    int rv;

    store_data_path(store, extent->place, extent->ino, path);
    rv = store->disk->ops->open(store->disk, path, DISK_READ, &file);
    if (rv == 0) {
        rv = store_file_pread(store->disk, file, out, extent->piece_len,
                              extent->offset - extent->skip);
        store->disk->ops->close(store->disk, file);
    }
    return rv;
}

int store_piece_pread(struct store *store, const struct store_extent *extent,
                      uint8_t *out)
{
    struct journal_place place = {.segment = extent->segment, .offset = extent->place};

    if (extent->kind == STORE_PULLED) {
        return pulled_pread(store, extent, out);
    }
    return journal_pread(store->journal, place, out, extent->piece_len);
}

/* What is not as it should be, to a thread that must not wait: somebody else looks. */
static int bad_or_wait(void)
{
    return disk_is_nowait() ? -EAGAIN : OUT_IO;
}

/* The whole piece that the extent lies in, checked. 0 or OUT_IO; *@fault: why, or 0.
 * -EAGAIN: see bad_or_wait. */
static int piece_read(struct store *store, const struct store_extent *extent,
                      uint8_t *out, int *fault)
{
    uint32_t n;

    *fault = store_piece_pread(store, extent, out);
    if (*fault == 0 && crc32c(0, out, extent->piece_len) == extent->crc) {
        return 0;
    }
    if (bad_or_wait() == -EAGAIN) {
        return -EAGAIN;
    }
    if (*fault == 0 && store_mend_bit(store, out, extent->piece_len, extent->crc)) {
        return 0;
    }
    n = store_news(extent->ino, extent->offset);
    if (n > 0) {
        log_error("store",
                  "msg=\"a piece is bad\" ino=%" PRIu64 " offset=%" PRIu64
                  " segment=%" PRIu64 " place=%" PRIu64 " fault=%d times=%u",
                  extent->ino, extent->offset, extent->segment, extent->place, *fault, n);
    }
    return OUT_IO;
}

static bool is_kept(const struct store_pieces *pieces, const struct store_extent *extent)
{
    return pieces->kind == extent->kind && pieces->segment == extent->segment &&
           pieces->place == extent->place && pieces->len == extent->piece_len &&
           pieces->crc == extent->crc && pieces->ino == extent->ino &&
           pieces->begin == extent->offset - extent->skip;
}

int store_pieces_get(struct store_pieces *pieces, const struct store_extent *extent,
                     const uint8_t **out)
{
    int rv;

    ASSERT(extent->kind == STORE_DATA || extent->kind == STORE_PULLED);
    if (!is_kept(pieces, extent)) {
        pieces->kind = 0;
        rv = piece_read(pieces->store, extent, pieces->bytes, &pieces->fault);
        if (rv != 0) {
            return rv;
        }
        pieces->kind = extent->kind;
        pieces->segment = extent->segment;
        pieces->place = extent->place;
        pieces->len = extent->piece_len;
        pieces->crc = extent->crc;
        pieces->ino = extent->ino;
        pieces->begin = extent->offset - extent->skip;
    }
    *out = pieces->bytes + extent->skip;
    return 0;
}

static int data_file(struct store *store, uint64_t ino, struct disk_file **out)
{
    struct store_open_file *oldest = &store->files.slots[0];
    char path[STORE_PATH_MAX];
    struct disk_file *file = NULL;
    int rv;

    for (uint32_t i = 0; i < STORE_FILES_MAX; i++) {
        struct store_open_file *slot = &store->files.slots[i];

        if (slot->file != NULL && slot->ino == ino) {
            slot->used = ++store->files.clock;
            *out = slot->file;
            return 0;
        }
        if (slot->used < oldest->used) {
            oldest = slot;
        }
    }
    store_data_path(store, 0, ino, path);
    rv = store->disk->ops->open(store->disk, path, DISK_READ, &file);
    if (rv != 0) {
        return rv;
    }
    if (oldest->file != NULL) {
        store->disk->ops->close(store->disk, oldest->file);
    }
    *oldest =
        (struct store_open_file){.ino = ino, .used = ++store->files.clock, .file = file};
    *out = file;
    return 0;
}

/* One sub-block of a base, read into @data. */
struct sub {
    const struct store_block *block;
    struct disk_file *file;
    uint32_t i;
    uint8_t *data;
};

/* A settle may cut the file to the user's length after this looked at it: then it is read
 * again while nothing is changed. */
static int read_beside(struct store *store, struct disk_file *file,
                       const struct iovec *to, uint64_t offset)
{
    struct store_settle *settle = store->settle;
    int rv = store_file_pread(store->disk, file, to->iov_base, to->iov_len, offset);

    if (rv == -ENODATA && settle != NULL && disk_is_nowait()) {
        return -EAGAIN;
    }
    if (rv == -ENODATA && settle != NULL) {
        (void)pthread_mutex_lock(&settle->write_lock);
        rv = store_file_pread(store->disk, file, to->iov_base, to->iov_len, offset);
        (void)pthread_mutex_unlock(&settle->write_lock);
    }
    return rv;
}

/* A settle that was broken off changed some of the sub-block, and one in flight may be
 * about to: then it has noted of its own what it leaves, before it changed the first byte. */
static int stale_excused(const struct store *store, const struct sub *sub)
{
    const struct store_settle *settle = store->settle;
    struct store_sub at = {.ino = sub->block->ino,
                           .block = sub->block->block,
                           .sub = sub->i,
                           .crc = sub->block->crcs[sub->i]};

    if (store_stale_is_right(&store->stale, &at, sub->data) ||
        (settle != NULL && settle->noted &&
         store_stale_is_right(&settle->stale, &at, sub->data))) {
        return 0;
    }
    return OUT_IO;
}

/*
 * A mismatch is no damage if a settle is at work on the sub-block. What this reader
 * takes from a base are only bytes that no extent covers, and a settle leaves those as
 * they are; so the bytes are right if the sub-block is wholly as before or wholly as
 * after. It may be caught in between: then it is read again while nothing is written.
 * After a crash in a settle nobody knows the CRC until it is settled again: the mark
 * says so, and what is known of its other bytes counts (store_stale.c).
 */
static int sub_excused(struct store *store, struct sub *sub)
{
    const struct store_block *block = sub->block;
    struct store_settle_block *at;
    sqlite3_stmt *stmt = NULL;
    uint64_t mask;
    uint32_t crc;
    int rv;

    at = store_settle_find(store->settle, block->ino, block->block);
    if (at != NULL) {
        if ((at->stale >> sub->i & 1) != 0) {
            return stale_excused(store, sub);
        }
        (void)pthread_mutex_lock(&store->settle->write_lock);
        rv = store_file_pread(store->disk, sub->file, sub->data, STORE_SUBBLOCK,
                              block->block * STORE_BLOCK + sub->i * STORE_SUBBLOCK);
        (void)pthread_mutex_unlock(&store->settle->write_lock);
        crc = crc32c(0, sub->data, STORE_SUBBLOCK);
        if (rv == 0 &&
            (crc == block->crcs[sub->i] || (at->published && crc == at->fresh[sub->i]))) {
            return 0;
        }
        return OUT_IO;
    }
    rv = store_db_row(&store->db, &stmt, SQL_MARK_GET, "ii", block->ino, block->block);
    if (rv != 0) {
        return rv == OUT_NOENT ? OUT_IO : rv;
    }
    mask = store_db_u64(stmt, 0);
    store_db_done(stmt);
    return (mask >> sub->i & 1) != 0 ? stale_excused(store, sub) : OUT_IO;
}

/* [@from, @to) of the settled block, into @out. */
static int read_settled(struct store *store, const struct store_block *block,
                        uint32_t from, uint32_t to, uint8_t *out)
{
    uint32_t first = from / STORE_SUBBLOCK;
    uint32_t last = (to - 1) / STORE_SUBBLOCK;
    uint32_t start = first * STORE_SUBBLOCK;
    struct sub sub = {.block = block};
    struct iovec whole;
    uint8_t *to_read = store->scratch;
    int rv;

    rv = data_file(store, block->ino, &sub.file);
    if (rv != 0) {
        return bad_or_wait();
    }
    if (from % STORE_SUBBLOCK == 0 && to % STORE_SUBBLOCK == 0) {
        to_read = out; /* No byte too many: no copy. */
    }
    if (store->from_disk && store->disk->ops->forget != NULL) {
        store->disk->ops->forget(store->disk, sub.file,
                                 block->block * STORE_BLOCK + start,
                                 (size_t)(last - first + 1) * STORE_SUBBLOCK);
    }
    whole = (struct iovec){.iov_base = to_read,
                           .iov_len = (size_t)(last - first + 1) * STORE_SUBBLOCK};
    rv = read_beside(store, sub.file, &whole, block->block * STORE_BLOCK + start);
    if (rv != 0) {
        return bad_or_wait();
    }
    for (sub.i = first; sub.i <= last; sub.i++) {
        sub.data = to_read + sub.i * STORE_SUBBLOCK - start;
        if (crc32c(0, sub.data, STORE_SUBBLOCK) != block->crcs[sub.i]) {
            rv = disk_is_nowait() ? -EAGAIN : sub_excused(store, &sub);
            if (rv == OUT_IO &&
                store_mend_bit(store, sub.data, STORE_SUBBLOCK, block->crcs[sub.i])) {
                rv = 0;
            }
            if (rv != 0) {
                return rv;
            }
        }
    }
    if (to_read != out) {
        memcpy(out, to_read + (from - start), to - from);
    }
    return 0;
}

static int read_base(struct store *store, const struct store_layers *layers,
                     uint32_t from, uint32_t to, uint8_t *out)
{
    if ((layers->has_block && layers->block.bad) ||
        (layers->has_inline && layers->small.bad)) {
        return OUT_IO;
    }
    if (layers->has_block) {
        return read_settled(store, &layers->block, from, to, out);
    }
    if (layers->has_inline && from < layers->small.len) {
        uint32_t end = to < layers->small.len ? to : layers->small.len;

        memcpy(out, layers->small.data + from, end - from);
        out += end - from;
        from = end;
    }
    memset(out, 0, to - from);
    return 0;
}

/* Bytes of an extent, from @want.from of its piece on. */
static int read_extent(struct store *store, const struct store_extent *extent,
                       struct store_part_range want, uint8_t *out)
{
    bool kept = is_kept(&store->pieces, extent);
    const uint8_t *bytes;
    int fault;
    int rv;

    if (!kept && want.len == extent->piece_len) {
        return piece_read(store, extent, out, &fault); /* In place: no copy. */
    }
    if (!kept && extent->kind == STORE_DATA && !store->from_disk) {
        rv = store_parts_read(store, extent, want, out);
        if (rv == 0) {
            return 0;
        }
    }
    rv = store_pieces_get(&store->pieces, extent, &bytes);
    if (rv != 0) {
        return rv;
    }
    bytes -= extent->skip;
    memcpy(out, bytes + want.from, want.len);
    if (!kept && extent->kind == STORE_DATA) {
        store_parts_note(store, extent, bytes);
    }
    return 0;
}

int store_read_range(struct store *store, const struct store_range *range,
                     const struct store_layers *layers, uint8_t *out)
{
    uint32_t at = range->from;
    int rv;

    ASSERT(range->from < range->to && range->to <= STORE_BLOCK);
    for (size_t i = 0; i < layers->extents.n && at < range->to; i++) {
        const struct store_extent *e = &layers->extents.all[i];
        uint32_t begin = (uint32_t)(e->offset % STORE_BLOCK);
        uint32_t end = begin + e->len < range->to ? begin + e->len : range->to;
        uint8_t *to;

        if (end <= at || begin >= range->to) {
            continue;
        }
        if (begin > at) {
            rv = read_base(store, layers, at, begin, out + (at - range->from));
            if (rv != 0) {
                return rv;
            }
            at = begin;
        }
        if (e->kind == STORE_LOST) {
            return OUT_IO;
        }
        to = out + (at - range->from);
        if (e->kind == STORE_ZERO) {
            memset(to, 0, end - at);
        } else {
            rv = read_extent(store, e,
                             (struct store_part_range){.from = e->skip + (at - begin),
                                                       .len = end - at},
                             to);
            if (rv != 0) {
                return rv;
            }
        }
        at = end;
    }
    if (at < range->to) {
        return read_base(store, layers, at, range->to, out + (at - range->from));
    }
    return 0;
}

/* Load the layers and read. A bad block is noted. */
static int read_block(struct store *store, const struct store_range *range, uint8_t *out)
{
    int rv;

    rv = store_layers_load(&store->db, range->ino, range->block, &store->layers);
    if (rv == 0) {
        rv = store_read_range(store, range, &store->layers, out);
    }
    if (rv == OUT_IO) {
        store_bad_add(store, range->ino, range->block);
    }
    return rv;
}

int store_read_block(struct store *store, uint64_t ino, uint64_t block, uint8_t *out)
{
    return read_block(
        store, &(struct store_range){.ino = ino, .block = block, .to = STORE_BLOCK}, out);
}

int store_data_read(struct store *store, uint64_t ino,
                    uint64_t offset, /* NOLINT(params) */
                    size_t len, struct buf **out, uint64_t *bad)
{
    struct buf *buf;
    size_t done = 0;
    int rv = 0;

    ASSERT(offset <= STORE_OFFSET_MAX && len <= STORE_OFFSET_MAX - offset);
    buf = buf_new(len);
    if (buf == NULL) {
        return -ENOMEM;
    }
    buf->len = len; /* All of it is written: holes as zeros. */
    while (done < len && rv == 0) {
        uint64_t at = offset + done;
        struct store_range range = {.ino = ino,
                                    .block = at / STORE_BLOCK,
                                    .from = (uint32_t)(at % STORE_BLOCK),
                                    .to = STORE_BLOCK};

        if (len - done < range.to - range.from) {
            range.to = range.from + (uint32_t)(len - done);
        }
        rv = read_block(store, &range, buf->data + done);
        done += range.to - range.from;
        if (rv == OUT_IO && bad != NULL) {
            *bad = range.block;
        }
    }
    if (rv == 0) {
        *out = buf;
        buf = NULL;
    }
    buf_unref(buf);
    return rv;
}

void store_pull_expect(struct store *store, uint64_t ino, uint64_t block)
{
    struct disk_file *file = NULL;

    if (ino > STORE_INO_MAX || block >= STORE_OFFSET_MAX / STORE_BLOCK ||
        store->disk->ops->expect == NULL || data_file(store, ino, &file) != 0) {
        return;
    }
    store->disk->ops->expect(store->disk, file, block * STORE_BLOCK, STORE_BLOCK);
}

int store_pull_block(struct store *store, uint64_t ino, uint64_t block, struct buf **out,
                     uint64_t *version)
{
    struct store_range range = {.ino = ino, .block = block, .to = STORE_BLOCK};
    uint64_t applied;
    struct buf *buf;
    int rv;

    if (ino > STORE_INO_MAX || block >= STORE_OFFSET_MAX / STORE_BLOCK) {
        return -EPROTO; /* A peer's numbers. */
    }
    rv = store_rows_applied(&store->db, &applied);
    if (rv != 0) {
        return rv;
    }
    buf = buf_new(STORE_BLOCK);
    if (buf == NULL) {
        return -ENOMEM;
    }
    memset(buf->data, 0, STORE_BLOCK);
    rv = read_block(store, &range, buf->data);
    if (rv != 0) {
        goto out;
    }
    *version = store_layers_version(&store->layers);
    if (*version > 0) {
        buf->len = STORE_BLOCK;
        while (buf->len > 1 && buf->data[buf->len - 1] == 0) {
            buf->len--;
        }
        *out = buf;
        buf = NULL;
    } else {
        *version = applied;
        rv = OUT_NOENT;
    }
out:
    buf_unref(buf);
    return rv;
}
