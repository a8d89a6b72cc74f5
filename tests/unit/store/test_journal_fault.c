/* The journal when something goes wrong in a way that chance would rarely hit: faults of
 * the disk, a full one, torn batches in a row, and segments made of rubbish. */
#include "test_journal_fixture.h"

#include <errno.h>

enum {
    RUN_MAX = 1200,
    RUN_PAYLOAD = 4200, /* Beyond what is copied, so that few fit one write. */
    RUN_RECORD = 64 + 8 + RUN_PAYLOAD,
};

static int append(struct fixture *f, uint64_t index, uint64_t term)
{
    struct journal_entry entry = {
        .index = index, .term = term, .type = 1, .head = slice_borrow("head", 4)};
    struct journal_batch batch = {.entries = &entry, .n_entries = 1};

    return journal_append(f->journal, &batch);
}

/* After a failed sync every append fails, though the disk works again: what the kernel
 * dropped cannot be synced by trying once more. */
static void a_failed_sync_is_never_retried(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);

    CHECK_INT(append(f, 1, 1), 0);
    simdisk_fail(f->sim, SIMDISK_SYNC, 1, -EIO, false);
    CHECK_INT(append(f, 2, 1), -EIO);
    CHECK_INT(append(f, 2, 1), -EIO);
    CHECK_INT(journal_prepare(f->journal), -EIO);
    CHECK_UINT(journal_last_index(f->journal), 1);
    crash(f, 1);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->state.last_index, 1);
    CHECK_INT(append(f, 2, 1), 0);
    teardown(f);
}

/* The process dies of a failed sync, not the machine: the page cache still shows the
 * batch, but the disk never got it. If recovery reports it, then it must be durable. */
static void what_recovery_reports_is_durable(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture *f = setup_empty(SEGMENT_BYTES);
        uint64_t reported;

        CHECK_INT(append(f, 1, 1), 0);
        simdisk_fail(f->sim, SIMDISK_SYNC, 1, -EIO, false);
        CHECK_INT(append(f, 2, 1), -EIO);
        CHECK_INT(reopen(f), 0);
        reported = f->state.last_index;
        crash(f, seed);
        CHECK_INT(reopen(f), 0);
        CHECK_UINT(f->state.last_index, reported);
        teardown(f);
    }
}

/* When the disk is full at a change of segment nothing was written yet: the append says
 * so and works again once there is room. */
static void a_full_disk_can_be_waited_out(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);
    uint64_t i;
    int rv = 0;

    simdisk_set_capacity(f->sim, SEGMENT_BYTES + 16384);
    for (i = 1; rv == 0; i++) {
        rv = append(f, i, 1);
    }
    CHECK_INT(rv, -ENOSPC);
    i--;
    CHECK_UINT(journal_last_index(f->journal), i - 1);
    CHECK_INT(append(f, i, 1), -ENOSPC);
    simdisk_set_capacity(f->sim, 1 << 20);
    CHECK_INT(append(f, i, 1), 0);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->state.last_index, i);
    teardown(f);
}

/* An append of @n entries from index 1 that takes several writes. Returns the number of
 * entries in the first of them. */
static uint32_t append_run(struct fixture *f, uint32_t n, uint64_t term, int expected)
{
    static struct journal_entry entries[RUN_MAX];
    static uint8_t payload[RUN_PAYLOAD];
    struct journal_batch batch = {.entries = entries, .n_entries = n};

    for (uint32_t i = 0; i < n; i++) {
        entries[i] = (struct journal_entry){
            .index = i + 1,
            .term = term,
            .type = 1,
            .head = slice_borrow("12345678", 8),
            .payload = slice_borrow(payload, sizeof payload),
        };
    }
    CHECK_INT(journal_append(f->journal, &batch), expected);
    for (uint32_t i = 1; i < n; i++) {
        /* Within one write, records follow each other without a gap. */
        if (entries[i].place.offset - entries[i - 1].place.offset != RUN_RECORD) {
            return i;
        }
    }
    return n;
}

/* Of an append in several writes the first is torn and a later one is not. Once the log
 * has grown again to just where the later one begins, it must not come back to life. */
static void a_cut_batch_stays_cut(void)
{
    uint64_t n_cut = 0;

    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fixture *f = setup_empty(8 << 20);
        uint32_t first;

        CHECK_INT(append(f, 1, 1), 0);
        simdisk_power_off_after(f->sim, 4); /* Three writes, then the sync. */
        first = append_run(f, RUN_MAX, 2, -EIO);
        CHECK(first > 100 && first < RUN_MAX);
        crash(f, seed);
        CHECK_INT(reopen(f), 0);
        if (f->state.last_index == 1 && f->last_term == 1) {
            n_cut++;
            CHECK_UINT(append_run(f, first, 3, 0), first);
            crash(f, seed);
            CHECK_INT(reopen(f), 0);
            CHECK_UINT(f->state.last_index, first);
            CHECK_UINT(f->last_term, 3);
        }
        teardown(f);
    }
    CHECK(n_cut > 10);
}

/* Damage below the durable mark is refused and changes nothing on the disk; damage to
 * what was never durable is cut. A byte of the second to last batch, then. */
static void damage_below_the_mark_changes_nothing(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);
    uint64_t changes;

    for (uint64_t i = 1; i <= 5; i++) {
        CHECK_INT(append(f, i, 1), 0);
    }
    crash(f, 1);
    flip_two(f, 4 * 4096 + 100);
    changes = simdisk_changes(f->sim);
    CHECK_INT(reopen(f), -EUCLEAN);
    CHECK_UINT(simdisk_changes(f->sim), changes);
    flip_two(f, 4 * 4096 + 100);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->n_seen, 5);
    teardown(f);
}

/* A missing segment in the middle, or the first, is damage and not a shorter log. */
static void a_missing_segment_is_damage(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);

    for (uint64_t i = 1; journal_segment(f->journal) < 4; i++) {
        CHECK_INT(append(f, i, 1), 0);
    }
    shut(f);
    CHECK_INT(f->disk->ops->rename(f->disk, "journal/0000000000000002.seg", "journal/x"),
              0);
    CHECK_INT(reopen(f), -EUCLEAN);
    CHECK_INT(f->disk->ops->rename(f->disk, "journal/x", "journal/0000000000000002.seg"),
              0);
    CHECK_INT(f->disk->ops->rename(f->disk, FIRST, "journal/x"), 0);
    CHECK_INT(reopen(f), -EUCLEAN);
    teardown(f);
}

/* A damaged entry is found out by the fetch that reads it, while the journal is open. */
static void a_fetch_notices_damage(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);
    struct journal_entry got;
    uint32_t n = 0;

    CHECK_INT(append(f, 1, 1), 0);
    CHECK(simdisk_flip(f->sim, FIRST, 2 * 4096 - 1, 0));
    CHECK_INT(journal_fetch(f->journal, 1, 1, 100, &got, &n), 0); /* Filling only. */
    slice_unref(&got.head);
    slice_unref(&got.payload);
    /* Behind the batch's header and the STATE record of 64 + 40 bytes. */
    CHECK(simdisk_flip(f->sim, FIRST, 4096 + 64 + 104 + 66, 0));
    CHECK_INT(journal_fetch(f->journal, 1, 1, 100, &got, &n), -EUCLEAN);
    shut(f);
    teardown(f);
}

static void write_file(struct fixture *f, const char *path, const void *data, size_t len)
{
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct disk_file *file = NULL;

    CHECK_INT(f->disk->ops->open(f->disk, path, DISK_WRITE | DISK_CREATE, &file), 0);
    CHECK_INT(f->disk->ops->truncate(f->disk, file, 0), 0);
    CHECK_INT(f->disk->ops->pwritev(f->disk, file, &iov, 1, 0), 0);
    f->disk->ops->close(f->disk, file);
}

/* Of an append that a full disk took back, a later batch still lies behind the one that
 * came instead. If that one is damaged, the log does not go on at what never was in it. */
static void what_was_taken_back_ends_no_gap(void)
{
    enum { INSTEAD = 600 };
    static struct journal_entry entries[INSTEAD];
    struct fixture *f = setup_empty(16 << 20);
    struct journal_batch batch = {.entries = entries, .n_entries = INSTEAD};

    simdisk_fail(f->sim, SIMDISK_WRITE, 3, -ENOSPC, false);
    CHECK(append_run(f, RUN_MAX, 2, -ENOSPC) < INSTEAD);
    for (uint32_t i = 0; i < INSTEAD; i++) {
        entries[i] = (struct journal_entry){
            .index = i + 1, .term = 3, .type = 1, .head = slice_borrow("head", 4)};
    }
    CHECK_INT(journal_append(f->journal, &batch), 0);
    CHECK_INT(journal_compact(f->journal, INSTEAD, 3), 0);
    crash(f, 1);
    flip_two(f, 4096 + 8);
    CHECK_INT(reopen(f), -EUCLEAN);
    flip_two(f, 4096 + 8);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->state.last_index, INSTEAD);
    teardown(f);
}

/* What happens between a reader's look at the journal and its read of the disk. */
static struct {
    struct fixture *f;
    const struct disk_ops *ops; /* The disk's own. */
    bool armed;
} meanwhile;

static int pread_meanwhile(struct disk *disk, struct disk_file *file, void *buf,
                           size_t len, uint64_t offset)
{
    struct fixture *f = meanwhile.f;

    if (meanwhile.armed) {
        meanwhile.armed = false;
        CHECK_INT(journal_release(f->journal, 3), 0);
        CHECK_UINT(journal_floor_segment(f->journal), 3);
        for (uint64_t end = journal_segment(f->journal) + 3;
             journal_segment(f->journal) < end;) {
            CHECK_INT(append(f, journal_last_index(f->journal) + 1, 9), 0);
        }
    }
    return meanwhile.ops->pread(disk, file, buf, len, offset);
}

/* A segment is released while somebody reads from it: its file is not used again, so what
 * is read is what was there. */
static void a_segment_is_not_reused_while_it_is_read(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);
    struct disk_ops ops = *f->disk->ops;
    uint8_t before[SEGMENT_BYTES - 4096];
    uint8_t after[SEGMENT_BYTES - 4096];
    struct journal_place place = {.segment = 1, .offset = 4096};

    while (journal_segment(f->journal) < 4) {
        CHECK_INT(append(f, journal_last_index(f->journal) + 1, 1), 0);
    }
    CHECK_INT(journal_pread(f->journal, place, before, sizeof before), 0);
    CHECK_INT(journal_compact(f->journal, journal_last_index(f->journal), 1), 0);
    meanwhile.f = f;
    meanwhile.ops = f->disk->ops;
    meanwhile.armed = true;
    ops.pread = pread_meanwhile;
    f->disk->ops = &ops;
    CHECK_INT(journal_pread(f->journal, place, after, sizeof after), 0);
    CHECK(!meanwhile.armed);
    f->disk->ops = meanwhile.ops;
    CHECK_MEM(after, before, sizeof before);
    teardown(f);
}

/* Any bytes at all in the journal's files give an error or a journal that works; never a
 * crash or a read beyond a buffer (this runs under the address sanitizer too). Rubbish
 * alone rarely gets past the first CRC, so most of it replaces parts of a good file. */
static void rubbish_is_survived(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);
    static uint8_t good[SEGMENT_BYTES];
    static uint8_t bytes[SEGMENT_BYTES];
    struct disk_file *file = NULL;
    struct prng prng;

    for (uint64_t i = 1; i <= 9; i++) {
        CHECK_INT(append(f, i, 1), 0);
    }
    shut(f);
    CHECK_INT(f->disk->ops->open(f->disk, FIRST, 0, &file), 0);
    CHECK_INT(f->disk->ops->pread(f->disk, file, good, sizeof good, 0), 0);
    f->disk->ops->close(f->disk, file);
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        size_t len = sizeof bytes;
        size_t at;
        size_t n;

        prng_seed(&prng, seed);
        memcpy(bytes, good, sizeof bytes);
        at = seed % 10 == 0 ? 0 : (size_t)prng_below(&prng, len);
        n = seed % 10 == 0 ? len : 1 + (size_t)prng_below(&prng, 40);
        for (size_t i = at; i < at + n && i < len; i++) {
            bytes[i] = (uint8_t)prng_next(&prng);
        }
        len = prng_below(&prng, 20) == 0 ? (size_t)prng_below(&prng, len) : len;
        write_file(f, FIRST, bytes, len);
        if (prng_below(&prng, 20) == 0) {
            write_file(f, "journal/floor", bytes + at % 1000, prng_below(&prng, 200));
        }
        if (reopen(f) == 0) {
            CHECK_INT(append(f, f->state.last_index + 1, 1), 0);
            shut(f);
        }
        (void)f->disk->ops->unlink(f->disk, "journal/floor");
    }
    teardown(f);
}

/* An older, smaller segment size does not bind a later configuration. */
static void segment_size_may_change(void)
{
    struct fixture *f = setup_empty(16384);
    static uint8_t payload[60000];
    struct journal_entry entry = {.index = 2, .term = 1, .type = 1};
    struct journal_batch batch = {.entries = &entry, .n_entries = 1};

    CHECK_INT(append(f, 1, 1), 0);
    CHECK_INT(journal_prepare(f->journal), 0);
    entry.payload = slice_borrow(payload, sizeof payload);
    CHECK_INT(journal_append(f->journal, &batch), -EFBIG);
    shut(f);
    f->config.segment_bytes = 1 << 20;
    CHECK_INT(reopen(f), 0);
    CHECK_INT(journal_append(f->journal, &batch), 0);
    CHECK_UINT(entry.place.segment, 3);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->n_seen, 2);
    teardown(f);
}

/* However many writes an append takes: the segments for them are there before the first,
 * so that a full disk leaves the journal as it was. */
static void a_full_disk_is_noticed_before_writing(void)
{
    enum { BEFORE = 1980, ENTRIES = 2047 };
    static struct journal_entry entries[ENTRIES];
    static uint8_t payload[4096];

    for (uint32_t n = 2020; n < ENTRIES; n += 4) {
        struct fixture *f = setup_empty(16 << 20);
        struct journal_batch batch = {.entries = entries, .n_entries = BEFORE};
        uint64_t last;

        simdisk_set_capacity(f->sim, simdisk_used(f->sim) + (1 << 20));
        for (uint32_t i = 0; i < BEFORE; i++) {
            entries[i] = (struct journal_entry){.index = i + 1,
                                                .term = 1,
                                                .type = 1,
                                                .head = slice_borrow("head", 4),
                                                .payload = slice_borrow(payload, 4096)};
        }
        CHECK_INT(journal_append(f->journal, &batch), 0);
        for (uint32_t i = 0; i < n; i++) {
            entries[i] = entries[0];
            entries[i].index = BEFORE + 1 + i;
        }
        batch.n_entries = n;
        (void)journal_append(f->journal, &batch); /* Fits for some n. */
        last = journal_last_index(f->journal);
        simdisk_set_capacity(f->sim, 0);
        CHECK_INT(append(f, last + 1, 1), 0);
        teardown(f);
    }
}

/* A file system that copies on write may be full though the segment is there. The append
 * that met it did nothing: what it wrote of itself never follows a later batch, though
 * that has the very same lengths. */
static void a_full_write_can_be_waited_out(void)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct fixture *f = setup_empty(16 << 20);
        uint32_t n = append_run(f, RUN_MAX, 1, 0);

        CHECK(n < RUN_MAX / 2); /* Or there is no third write. */
        teardown(f);
        f = setup_empty(16 << 20);
        simdisk_fail(f->sim, SIMDISK_WRITE, 3, -ENOSPC, false);
        (void)append_run(f, RUN_MAX, 1, -ENOSPC);
        CHECK_UINT(journal_last_index(f->journal), 0);
        CHECK_UINT(append_run(f, n, 2, 0), n);
        crash(f, seed);
        CHECK_INT(reopen(f), 0);
        CHECK_UINT(f->state.last_index, n);
        CHECK_UINT(f->last_term, 2);
        teardown(f);
    }
}

/* Something to do just before the first batch of segment 2 is written. */
static struct disk_ops plain_ops;
static struct fixture *racer;

static int release_before_write(struct disk *disk, struct disk_file *file,
                                const struct iovec *iov, int n_iov, uint64_t offset)
{
    struct fixture *f = racer;
    struct prng prng;

    if (f == NULL || offset != 4096 || journal_segment(f->journal) != 2) {
        return plain_ops.pwritev(disk, file, iov, n_iov, offset);
    }
    racer = NULL;
    CHECK_INT(journal_release(f->journal, journal_segment(f->journal)), 0);
    prng_seed(&prng, 3);
    simdisk_crash(f->sim, &prng);
    return -EIO;
}

/* The appending thread has gone on to the next segment and written nothing there yet,
 * the other one releases all that is compacted, and the power goes: term and vote are
 * still to be found, since the segment that has them outlives its successor's first
 * batch. */
static void release_waits_for_the_next_segment(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);
    struct disk_ops ops = *f->disk->ops;
    static uint8_t payload[22000];
    struct journal_entry entry = {
        .term = 7, .type = 1, .payload = slice_borrow(payload, sizeof payload)};
    struct journal_batch batch = {
        .has_meta = true, .term = 7, .vote = 9, .entries = &entry, .n_entries = 1};

    plain_ops = ops;
    ops.pwritev = release_before_write;
    f->disk->ops = &ops;
    for (entry.index = 1; entry.index <= 2; entry.index++) {
        CHECK_INT(journal_append(f->journal, &batch), 0);
        batch.has_meta = false;
    }
    CHECK_INT(journal_compact(f->journal, 2, 7), 0);
    racer = f;
    CHECK_INT(journal_append(f->journal, &batch), -EIO);
    CHECK(racer == NULL);
    shut(f);
    simdisk_power_on(f->sim);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->state.term, 7);
    CHECK_UINT(f->state.vote, 9);
    /* Once that batch is durable, the old segment may go. */
    CHECK_INT(journal_append(f->journal, &batch), 0);
    CHECK_INT(journal_release(f->journal, journal_segment(f->journal)), 0);
    CHECK_UINT(journal_floor_segment(f->journal), 2);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->state.vote, 9);
    f->disk->ops = &plain_ops;
    teardown(f);
}

TEST_MAIN(CHECK_TEST(a_failed_sync_is_never_retried),
          CHECK_TEST(release_waits_for_the_next_segment),
          CHECK_TEST(a_full_disk_is_noticed_before_writing),
          CHECK_TEST(a_full_write_can_be_waited_out),
          CHECK_TEST(what_recovery_reports_is_durable),
          CHECK_TEST(a_full_disk_can_be_waited_out), CHECK_TEST(a_cut_batch_stays_cut),
          CHECK_TEST(damage_below_the_mark_changes_nothing),
          CHECK_TEST(a_missing_segment_is_damage), CHECK_TEST(a_fetch_notices_damage),
          CHECK_TEST(what_was_taken_back_ends_no_gap),
          CHECK_TEST(a_segment_is_not_reused_while_it_is_read),
          CHECK_TEST(rubbish_is_survived), CHECK_TEST(segment_size_may_change))
