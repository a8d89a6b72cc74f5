/* The journal with its threads at once: one appends, one reads, one compacts. */
#include "base/outcome.h"
#include "lib/check.h"
#include "store/journal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
    ENTRIES = 3000,
    PAYLOAD = 700,
    BEHIND = 100, /* Entries kept by the compacting thread. */
};

struct shared {
    struct journal *journal;
    _Atomic bool done;
    _Atomic int append_rv;
    _Atomic int compact_rv;
    _Atomic uint64_t n_read;
    _Atomic uint64_t n_wrong;
};

static void *append_all(void *arg)
{
    struct shared *shared = arg;
    uint8_t payload[PAYLOAD];
    int rv = 0;

    for (uint64_t i = 1; rv == 0 && i <= ENTRIES; i++) {
        struct journal_entry entry = {
            .index = i,
            .term = i / 100,
            .type = 1,
            .head = slice_borrow(&i, sizeof i),
            .payload = slice_borrow(payload, sizeof payload),
        };
        struct journal_batch batch = {.entries = &entry, .n_entries = 1};

        memset(payload, (int)(i & 0xff), sizeof payload);
        rv = journal_append(shared->journal, &batch);
        if (rv == 0 && i % 8 == 0) {
            rv = journal_prepare(shared->journal);
        }
    }
    atomic_store(&shared->append_rv, rv);
    atomic_store(&shared->done, true);
    return NULL;
}

static void *compact_all(void *arg)
{
    struct shared *shared = arg;
    bool ends = false;
    int rv = 0;

    while (rv == 0 && !ends) {
        uint64_t last;

        ends = atomic_load(&shared->done); /* Once more when all is there. */
        last = journal_last_index(shared->journal);
        if (last > BEHIND) {
            rv = journal_compact(shared->journal, last - BEHIND, (last - BEHIND) / 100);
        }
        if (rv == 0) {
            rv = journal_release(shared->journal, UINT64_MAX);
        }
    }
    atomic_store(&shared->compact_rv, rv);
    return NULL;
}

static void check_entry(struct shared *shared, struct journal_entry *entry)
{
    uint8_t payload[PAYLOAD];
    uint64_t index = 0;

    memset(payload, (int)(entry->index & 0xff), sizeof payload);
    memcpy(&index, entry->head.data, sizeof index);
    if (index != entry->index || entry->payload.len != PAYLOAD ||
        memcmp(entry->payload.data, payload, PAYLOAD) != 0) {
        atomic_fetch_add(&shared->n_wrong, 1);
    }
    slice_unref(&entry->head);
    slice_unref(&entry->payload);
}

/* To the end, and until something was read: there is, unless something is wrong. */
static bool has_to_read(struct shared *shared)
{
    return !atomic_load(&shared->done) ||
           (atomic_load(&shared->n_read) == 0 && atomic_load(&shared->n_wrong) == 0 &&
            atomic_load(&shared->append_rv) == 0);
}

static void *read_all(void *arg)
{
    struct shared *shared = arg;

    while (has_to_read(shared)) {
        struct journal_entry got[16];
        uint32_t n = 0;
        uint64_t first = journal_first_index(shared->journal);
        int rv = journal_fetch(shared->journal, first, 16, 1 << 20, got, &n);

        if (rv != 0) {
            atomic_fetch_add(&shared->n_wrong, rv == OUT_NOENT ? 0 : 1);
            continue;
        }
        for (uint32_t i = 0; i < n; i++) {
            check_entry(shared, &got[i]);
        }
        atomic_fetch_add(&shared->n_read, n);
    }
    return NULL;
}

/* Readers get whole, right entries or hear that they are gone, while segments are filled,
 * recycled and filled again under them. */
static void readers_never_see_recycled_bytes(void)
{
    struct shared shared = {0};
    struct journal_state state;
    char dir[4096];
    struct journal_config config = {
        .disk = disk_posix(),
        .dir = dir,
        .segment_bytes = 65536,
        .spare_segments = 2,
        .create = true,
    };
    void *(*const roles[])(void *) = {append_all, compact_all, read_all, read_all};
    pthread_t threads[4];

    (void)snprintf(dir, sizeof dir, "%s/journal", check_tmpdir());
    CHECK_INT(journal_open(&config, &state, NULL, NULL, &shared.journal), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, roles[i], &shared), 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    }
    CHECK_INT(atomic_load(&shared.append_rv), 0);
    CHECK_INT(atomic_load(&shared.compact_rv), 0);
    CHECK_UINT(atomic_load(&shared.n_wrong), 0);
    CHECK(atomic_load(&shared.n_read) > 0);
    CHECK_UINT(journal_last_index(shared.journal), ENTRIES);
    CHECK(journal_floor_segment(shared.journal) > 10);
    journal_close(shared.journal);
}

TEST_MAIN(CHECK_TEST(readers_never_see_recycled_bytes))
