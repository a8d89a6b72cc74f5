/*
 * A journal in memory and a model of files, for the tests of store. The journal here
 * takes the place of the real one at link time: journal_pread and journal_read_once are all
 * that store calls.
 * Each program that includes this gets all of it.
 */
#ifndef TEST_STORE_FAKE_H
#define TEST_STORE_FAKE_H

#include "base/crc32c.h"
#include "base/outcome.h"
#include "base/prng.h"
#include "lib/check.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    FAKE_SEGMENTS = 16384,
#ifndef FAKE_SEGMENT_BYTES
    FAKE_SEGMENT_BYTES =
        1 << 17, /* One piece of the largest size: the floor moves often. */
#endif
    MODEL_FILES = 6,
    MODEL_BLOCKS = 6,
    MODEL_BYTES = MODEL_BLOCKS * (int)STORE_BLOCK,
};

struct journal {
    uint8_t *segments[FAKE_SEGMENTS];
    uint64_t last;
    size_t used;
    int fault;               /* What every read gives; 0: bytes. */
    _Atomic uint64_t n_read; /* Bytes that were read. */
};

int journal_pread(struct journal *journal, struct journal_place place, void *buf,
                  size_t len)
{
    if (journal->fault != 0) {
        return journal->fault;
    }
    if (place.segment == 0 || place.segment >= FAKE_SEGMENTS ||
        journal->segments[place.segment] == NULL ||
        place.offset + len > FAKE_SEGMENT_BYTES) {
        return -EIO;
    }
    memcpy(buf, journal->segments[place.segment] + place.offset, len);
    journal->n_read += len;
    return 0;
}

/* As the real one: what lies around it comes too, so that the place in @room is odd. */
int journal_read_once(struct journal *journal, struct journal_place place,
                      struct iovec room, size_t len, uint8_t **at)
{
    CHECK((uintptr_t)room.iov_base % DISK_DIRECT_ALIGN == 0);
    CHECK(len + 2 * DISK_DIRECT_ALIGN <= room.iov_len);
    memset(room.iov_base, 0xa5, room.iov_len);
    *at = (uint8_t *)room.iov_base + (place.offset + 104) % DISK_DIRECT_ALIGN;
    return journal_pread(journal, place, *at, len);
}

static inline struct journal_place journal_add(struct journal *journal, const void *data,
                                               size_t len)
{
    struct journal_place place;

    if (journal->last == 0 || journal->used + len > FAKE_SEGMENT_BYTES) {
        journal->last++;
        CHECK(journal->last < FAKE_SEGMENTS);
        journal->segments[journal->last] = malloc(FAKE_SEGMENT_BYTES);
        CHECK(journal->segments[journal->last] != NULL);
        journal->used = 0;
    }
    place = (struct journal_place){.segment = journal->last, .offset = journal->used};
    memcpy(journal->segments[journal->last] + journal->used, data, len);
    journal->used += len;
    return place;
}

/* Forget what lies below @segment. */
static inline void journal_forget(struct journal *journal, uint64_t segment)
{
    for (uint64_t i = 1; i < segment && i < journal->last; i++) {
        free(journal->segments[i]);
        journal->segments[i] = NULL;
    }
}

static inline void journal_clear(struct journal *journal)
{
    journal_forget(journal, UINT64_MAX);
    free(journal->segments[journal->last]);
    *journal = (struct journal){0};
}

/* What the files must hold. */
struct model {
    uint64_t version;
    uint64_t size[MODEL_FILES];
    uint8_t *bytes[MODEL_FILES];
};

static inline void model_init(struct model *model)
{
    memset(model, 0, sizeof *model);
    for (int i = 0; i < MODEL_FILES; i++) {
        model->bytes[i] = calloc(1, MODEL_BYTES);
        CHECK(model->bytes[i] != NULL);
    }
}

static inline void model_deinit(struct model *model)
{
    for (int i = 0; i < MODEL_FILES; i++) {
        free(model->bytes[i]);
    }
}

static inline struct store *fake_open(struct journal *journal, const char *dir,
                                      bool create)
{
    struct store_config config = {.disk = disk_posix(),
                                  .dir = dir,
                                  .journal = journal,
                                  .zone_id = {1, 2, 3},
                                  .create = create};
    struct store *store = NULL;

    CHECK_INT(store_open(&config, &store), 0);
    return store;
}

static inline uint64_t fake_ino(int file)
{
    return (uint64_t)file + 10;
}

static inline void put_inode(struct store *store, const struct model *model, int file)
{
    struct store_inode inode = {.ino = fake_ino(file),
                                .gen = 1,
                                .type = 1,
                                .nlink = 1,
                                .size = model->size[file],
                                .version = model->version};

    CHECK_INT(store_inode_put(store, &inode), 0);
    CHECK_INT(store_number_set(store, STORE_APPLIED, model->version), 0);
}

/* One entry that has several stores apply it, as several members would. */
struct write {
    int file;
    uint64_t offset;
    size_t len;
    bool at_hand; /* The bytes come with the piece. */
};

/* Write into @store what the model already holds. */
static inline void store_apply_write(struct store *store, struct journal *journal,
                                     const struct model *model, const struct write *w,
                                     uint64_t old_size)
{
    size_t done = 0;

    CHECK_INT(store_begin(store), 0);
    while (done < w->len) {
        uint64_t at = w->offset + done;
        size_t len = STORE_BLOCK - at % STORE_BLOCK;
        const uint8_t *bytes = model->bytes[w->file] + at;
        struct store_piece piece;

        len = len < w->len - done ? len : w->len - done;
        piece = (struct store_piece){.ino = fake_ino(w->file),
                                     .offset = at,
                                     .len = (uint32_t)len,
                                     .crc = crc32c(0, bytes, len),
                                     .place = journal_add(journal, bytes, len),
                                     .version = model->version,
                                     .old_size = old_size};
        if (w->at_hand) {
            piece.data = slice_borrow(bytes, len);
        }
        CHECK_INT(store_data_write(store, &piece), 0);
        done += len;
        old_size = old_size > at + len ? old_size : at + len;
    }
    put_inode(store, model, w->file);
    CHECK_INT(store_commit(store, false), 0);
}

/* Change the model; returns the size before. */
static inline uint64_t model_write(struct model *model, struct prng *prng,
                                   const struct write *w)
{
    uint64_t old_size = model->size[w->file];

    model->version++;
    for (size_t i = 0; i < w->len; i++) {
        model->bytes[w->file][w->offset + i] = (uint8_t)prng_next(prng);
    }
    if (w->offset + w->len > old_size) {
        model->size[w->file] = w->offset + w->len;
    }
    return old_size;
}

static inline uint64_t model_resize(struct model *model, int file, uint64_t size)
{
    uint64_t old_size = model->size[file];

    model->version++;
    model->size[file] = size;
    if (size < old_size) {
        memset(model->bytes[file] + size, 0, MODEL_BYTES - size);
    }
    return old_size;
}

static inline void store_apply_resize(struct store *store, const struct model *model,
                                      int file, uint64_t old_size)
{
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_data_resize(store, fake_ino(file), old_size, model->size[file],
                                model->version),
              0);
    put_inode(store, model, file);
    CHECK_INT(store_commit(store, false), 0);
}

static inline void check_file(struct store *store, const struct model *model, int file)
{
    struct buf *buf = NULL;

    if (model->size[file] == 0) {
        return;
    }
    CHECK_INT(store_data_read(store, fake_ino(file), 0, model->size[file], &buf, NULL),
              0);
    CHECK_UINT(buf->len, model->size[file]);
    CHECK_MEM(buf->data, model->bytes[file], buf->len);
    buf_unref(buf);
}

static inline void check_files(struct store *store, const struct model *model)
{
    for (int i = 0; i < MODEL_FILES; i++) {
        check_file(store, model, i);
    }
}

static inline struct write random_write(struct prng *prng)
{
    static const uint32_t lens[] = {100, 4096, 8192, 16384, 50000, 131072, 300000};
    struct write w = {.file = (int)prng_below(prng, MODEL_FILES)};

    w.len = 1 + prng_below(prng, lens[prng_below(prng, 7)]);
    if (prng_below(prng, 3) == 0) {
        w.offset = prng_below(prng, 9000);
    } else {
        w.offset = prng_below(prng, MODEL_BYTES - w.len);
    }
    if (prng_below(prng, 2) == 0) { /* As a kernel client's page cache writes. */
        w.offset &= ~(uint64_t)4095;
    }
    w.at_hand = prng_below(prng, 2) == 0;
    return w;
}

static inline uint64_t random_size(struct prng *prng)
{
    switch (prng_below(prng, 4)) {
    case 0:
        return 0;
    case 1:
        return prng_below(prng, 9000);
    case 2:
        return prng_below(prng, MODEL_BLOCKS) * STORE_BLOCK;
    default:
        return prng_below(prng, MODEL_BYTES);
    }
}

/* A copy of the dataset as a killed process would leave it. */
static inline void copy_dataset(const char *from, const char *to)
{
    char command[2 * 4096];

    (void)snprintf(command, sizeof command, "rm -rf '%s' && cp -r '%s' '%s'", to, from,
                   to);
    CHECK_INT(system(command), 0);
}

static inline void settle_all(struct store *store)
{
    struct store_settle *settle;

    while (store_settle_plan(store, 1 << 20, &settle) == 0) {
        CHECK_INT(store_settle_run(settle), 0);
        CHECK_INT(store_settle_finish(store, settle), 0);
    }
}

enum {
    ENTRIES = 160,
};

/* A log that several members apply. */
struct entry {
    struct write w; /* len 0: a resize to @size. */
    uint64_t size;
    uint64_t old_size;
    uint8_t *bytes;
};
static struct entry entries[ENTRIES + 1];

static inline void entries_make(struct prng *prng)
{
    uint64_t size[MODEL_FILES] = {0};

    for (int i = 1; i <= ENTRIES; i++) {
        struct entry *e = &entries[i];

        memset(e, 0, sizeof *e);
        e->w = random_write(prng);
        e->old_size = size[e->w.file];
        if (prng_below(prng, 4) == 0) {
            e->w.len = 0;
            e->size = random_size(prng);
            size[e->w.file] = e->size;
            continue;
        }
        e->bytes = malloc(e->w.len);
        CHECK(e->bytes != NULL);
        for (size_t k = 0; k < e->w.len; k++) {
            e->bytes[k] = (uint8_t)prng_next(prng);
        }
        if (e->w.offset + e->w.len > e->old_size) {
            size[e->w.file] = e->w.offset + e->w.len;
        }
    }
}

static inline void entries_free(void)
{
    for (int i = 1; i <= ENTRIES; i++) {
        free(entries[i].bytes);
    }
}

static inline void model_apply(struct model *model, uint64_t index)
{
    const struct entry *e = &entries[index];

    if (e->w.len == 0) {
        (void)model_resize(model, e->w.file, e->size);
    } else {
        model->version++;
        memcpy(model->bytes[e->w.file] + e->w.offset, e->bytes, e->w.len);
        if (model->size[e->w.file] < e->w.offset + e->w.len) {
            model->size[e->w.file] = e->w.offset + e->w.len;
        }
    }
    CHECK_UINT(model->version, index);
}

#endif
