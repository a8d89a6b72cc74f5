/* Batches that go past the page cache, in several writes, on a simulated disk that loses
 * its power between any two of them. */
#include "base/prng.h"
#include "lib/check.h"
#include "lib/simdisk.h"
#include "store/journal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL = 2, /* Entries before the batch, */
    LARGE = 5, /* and in it: three writes. */
    PAYLOAD = 1000000,
    WRITES = 3,
};

static uint8_t bytes[PAYLOAD + LARGE];

struct world {
    struct simdisk *sim;
    struct journal_config config;
    struct journal *journal;
    struct prng prng;
};

static void open_journal(struct world *w, struct journal_state *state)
{
    w->config.seed = prng_next(&w->prng) | 1;
    CHECK_INT(journal_open(&w->config, state, NULL, NULL, &w->journal), 0);
    w->config.create = false;
}

static int append(struct world *w, uint64_t first, uint32_t n)
{
    struct journal_entry entries[LARGE];
    struct journal_batch batch = {.unread = n > 1, .entries = entries, .n_entries = n};

    for (uint32_t i = 0; i < n; i++) {
        entries[i] = (struct journal_entry){.index = first + i, .term = 1, .type = 1};
        entries[i].head = slice_borrow("head", 4);
        if (n > 1) {
            entries[i].payload = slice_borrow(bytes + i, PAYLOAD);
        }
    }
    return journal_append(w->journal, &batch);
}

static void check_entries(struct world *w, uint64_t last)
{
    for (uint64_t i = 1; i <= last; i++) {
        struct journal_entry entry;
        uint32_t got = 0;

        CHECK_INT(journal_fetch(w->journal, i, 1, SIZE_MAX, &entry, &got), 0);
        CHECK_UINT(entry.payload.len, i > SMALL ? PAYLOAD : 0);
        if (i > SMALL) {
            CHECK_MEM(entry.payload.data, bytes + (i - SMALL - 1), PAYLOAD);
        }
        slice_unref(&entry.head);
        slice_unref(&entry.payload);
    }
}

/* One life: the power goes at write @at of the batch, or in its sync, or when it is
 * acknowledged. Returns whether the batch was found afterwards. */
static bool live(uint64_t seed, uint32_t at)
{
    struct world w = {.sim = simdisk_new(0)};
    struct journal_state state;
    bool acknowledged;
    bool found;

    prng_seed(&w.prng, seed);
    w.config = (struct journal_config){.disk = simdisk_disk(w.sim),
                                       .dir = "journal",
                                       .segment_bytes = 16 << 20,
                                       .spare_segments = 2,
                                       .create = true};
    open_journal(&w, &state);
    for (uint64_t i = 1; i <= SMALL; i++) {
        CHECK_INT(append(&w, i, 1), 0);
    }
    if (at <= WRITES + 1) { /* The sync is the one behind the writes. */
        simdisk_power_off_after(w.sim, at);
    }
    acknowledged = append(&w, SMALL + 1, LARGE) == 0;
    CHECK(acknowledged == (at > WRITES + 1));
    simdisk_crash(w.sim, &w.prng);
    journal_close(w.journal);
    simdisk_power_on(w.sim);
    open_journal(&w, &state);
    found = state.last_index == SMALL + LARGE;
    CHECK(found || (!acknowledged && state.last_index == SMALL));
    check_entries(&w, state.last_index);
    if (!found) {
        CHECK_INT(append(&w, SMALL + 1, LARGE), 0);
    }
    journal_close(w.journal);
    open_journal(&w, &state);
    CHECK_UINT(state.last_index, SMALL + LARGE);
    check_entries(&w, state.last_index);
    journal_close(w.journal);
    simdisk_free(w.sim);
    return found;
}

/* The batch is there whole or not at all, and it is there once it was acknowledged; what
 * was acknowledged before is there always; and the journal goes on from there. */
static void a_batch_of_several_writes_is_one(void)
{
    uint32_t lost = 0;

    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * i >> 9);
    }
    for (uint64_t seed = 1; seed <= 5; seed++) {
        for (uint32_t at = 1; at <= WRITES + 2; at++) {
            lost += live(seed, at) ? 0 : 1;
        }
    }
    CHECK(lost >= 10);
}

TEST_MAIN(CHECK_TEST(a_batch_of_several_writes_is_one))
