/* A journal on a disk that can fail, for tests that damage its files: it is opened, written
 * to, closed and opened again, and what was seen then is counted. */
#ifndef TEST_JOURNAL_FIXTURE_H
#define TEST_JOURNAL_FIXTURE_H

#include "base/prng.h"
#include "lib/check.h"
#include "lib/simdisk.h"
#include "store/journal.h"

#include <string.h>

#define FIRST "journal/0000000000000001.seg"

enum {
    BLOCK = 4096,
    SEGMENT_BYTES = 16 * BLOCK,
};

struct fixture {
    struct simdisk *sim;
    struct disk *disk;
    struct journal_config config;
    struct journal_state state;
    struct journal *journal;
    /* Of the entries that the last opening gave: */
    uint64_t n_seen;
    uint64_t n_heads; /* with the head of a put; */
    uint64_t last_term;
};

static inline int see(void *ctx, const struct journal_entry *entry)
{
    struct fixture *f = ctx;

    f->n_seen++;
    f->n_heads +=
        entry->head.len == 4 && memcmp(entry->head.data, "head", 4) == 0 ? 1 : 0;
    f->last_term = entry->term;
    return 0;
}

static inline void shut(struct fixture *f)
{
    journal_close(f->journal);
    f->journal = NULL;
}

static inline int reopen(struct fixture *f)
{
    shut(f);
    f->n_seen = 0;
    f->n_heads = 0;
    f->config.seed++;
    return journal_open(&f->config, &f->state, see, f, &f->journal);
}

/* An empty journal, open; one at a time. */
static inline struct fixture *setup_empty(uint64_t segment_bytes)
{
    static struct fixture f;

    f = (struct fixture){.sim = simdisk_new(0)};
    f.disk = simdisk_disk(f.sim);
    f.config = (struct journal_config){
        .disk = f.disk,
        .dir = "journal",
        .zone_id = {3},
        .segment_bytes = segment_bytes,
        .spare_segments = 2,
        .create = true,
        .seed = 1,
    };
    CHECK_INT(reopen(&f), 0);
    f.config.create = false;
    return &f;
}

static inline void teardown(struct fixture *f)
{
    shut(f);
    simdisk_free(f->sim);
}

/* The power goes, before the newest batch was marked as durable, and comes back. */
static inline void crash(struct fixture *f, uint64_t seed)
{
    struct prng prng;

    prng_seed(&prng, seed);
    simdisk_crash(f->sim, &prng);
    shut(f);
    simdisk_power_on(f->sim);
}

/* An entry of term 1, in a batch of its own. */
static inline int put(struct fixture *f, uint64_t index)
{
    struct journal_entry entry = {.index = index,
                                  .term = 1,
                                  .type = 1,
                                  .head = slice_borrow("head", 4),
                                  .payload = slice_borrow("payload", 7)};

    return journal_append(f->journal,
                          &(struct journal_batch){.entries = &entry, .n_entries = 1});
}

static inline int vote(struct fixture *f, uint64_t term)
{
    return journal_append(
        f->journal, &(struct journal_batch){.has_meta = true, .term = term, .vote = 2});
}

/* Where the batch of entry @index lies in the first segment, if a vote was put before the
 * first entry and each entry once. */
static inline uint64_t batch_of(uint64_t index)
{
    return BLOCK * (index + 1);
}

/* Two bits of a byte in the first segment: one would be set right (test_journal_mend.c). */
static inline void flip_two(struct fixture *f, uint64_t offset)
{
    CHECK(simdisk_flip(f->sim, FIRST, offset, 2));
    CHECK(simdisk_flip(f->sim, FIRST, offset, 5));
}

#endif
