/* Opening a journal that is damaged: in what the base covers it does no harm, in anything
 * else it is refused. And getting rid of the segment. */
#include "test_journal_fixture.h"

#include <errno.h>

#define SPARE "journal/0000000000000001.spare"

enum {
    RECORD_AT = 64, /* In a batch of one record: each lies in a block of its own. */
    HEAD_AT = 128,
    PAYLOAD_AT = 136,
};

/* A vote in term 1, then the entries 1 to @n, each in a batch of its own. */
static struct fixture *setup(uint64_t n)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);

    CHECK_INT(vote(f, 1), 0);
    for (uint64_t i = 1; i <= n; i++) {
        CHECK_INT(put(f, i), 0);
    }
    return f;
}

static void check_log(struct fixture *f, uint64_t base, uint64_t last)
{
    CHECK_UINT(f->state.term, 1);
    CHECK_UINT(f->state.vote, 2);
    CHECK_UINT(f->state.base_index, base);
    CHECK_UINT(f->state.last_index, last);
    CHECK_UINT(f->n_seen, last - base);
}

static int fetch(struct fixture *f, uint64_t index)
{
    struct journal_entry got;
    uint32_t n = 0;
    int rv = journal_fetch(f->journal, index, 1, 1000, &got, &n);

    if (rv == 0) {
        slice_unref(&got.head);
        slice_unref(&got.payload);
    }
    return rv;
}

static bool is_there(struct fixture *f, const char *path)
{
    struct disk_file *file = NULL;

    if (f->disk->ops->open(f->disk, path, DISK_READ, &file) != 0) {
        return false;
    }
    f->disk->ops->close(f->disk, file);
    return true;
}

/* Whatever of the entry's batch is damaged: a base at or above it makes it good, one below
 * does not, and what comes behind it is there. */
static void damage_below_the_base_does_no_harm(void)
{
    static const uint64_t at[] = {8, RECORD_AT + 20, HEAD_AT};

    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        for (int sector = 0; sector < 2; sector++) {
            for (uint64_t base = 3; base <= 5; base++) {
                struct fixture *f = setup(8);

                CHECK_INT(journal_compact(f->journal, base, 1), 0);
                if (sector == 1) {
                    CHECK(simdisk_bad(f->sim, FIRST, batch_of(4) + at[i]));
                } else {
                    flip_two(f, batch_of(4) + at[i]);
                }
                CHECK_INT(reopen(f), base < 4 ? -EUCLEAN : 0);
                if (base >= 4) {
                    check_log(f, base, 8);
                    CHECK_INT(fetch(f, 8), 0);
                    CHECK_INT(put(f, 9), 0);
                    CHECK_INT(reopen(f), 0);
                    check_log(f, base, 9);
                }
                teardown(f);
            }
        }
    }
}

/* Of an entry above the base whose payload alone is damaged, who reads it is told. */
static void a_damaged_payload_is_found_by_who_reads_it(void)
{
    struct fixture *f = setup(8);

    flip_two(f, batch_of(4) + PAYLOAD_AT);
    CHECK_INT(reopen(f), 0);
    check_log(f, 0, 8);
    CHECK_INT(fetch(f, 3), 0);
    CHECK_INT(fetch(f, 4), -EUCLEAN);
    CHECK_INT(fetch(f, 5), 0);
    teardown(f);
}

/* Of several entries in one batch those above the base are there, though the batch is not
 * whole for one below it. */
static void what_is_whole_of_a_batch_counts(void)
{
    struct fixture *f = setup(3);
    struct journal_entry entries[4];

    for (uint64_t i = 0; i < 4; i++) {
        entries[i] = (struct journal_entry){
            .index = 4 + i, .term = 1, .type = 1, .head = slice_borrow("head", 4)};
    }
    CHECK_INT(journal_append(f->journal,
                             &(struct journal_batch){.entries = entries, .n_entries = 4}),
              0);
    CHECK_INT(journal_compact(f->journal, 5, 1), 0);
    flip_two(f, batch_of(4) + 64 + 72 + 30); /* The record of entry 5. */
    CHECK_INT(reopen(f), 0);
    check_log(f, 5, 7);
    CHECK_INT(fetch(f, 6), 0);
    CHECK_INT(fetch(f, 7), 0);
    teardown(f);
}

/* The last entry: nothing behind it says where the log ended. Once the segment was left,
 * the next one does. */
static void damage_to_the_newest_is_refused_until_it_is_said_again(void)
{
    for (int leaves = 0; leaves < 2; leaves++) {
        struct fixture *f = setup(8);

        CHECK_INT(journal_compact(f->journal, 8, 1), 0);
        flip_two(f, batch_of(8) + HEAD_AT);
        if (leaves == 1) {
            CHECK_INT(journal_prepare(f->journal), 0);
            CHECK_UINT(journal_segment(f->journal), 1); /* Nobody has met it. */
            simdisk_fail(f->sim, SIMDISK_READ, 1, -EIO, false);
            CHECK_INT(journal_pread(f->journal,
                                    (struct journal_place){.segment = 1, .offset = BLOCK},
                                    (char[8]){0}, 8),
                      -EIO);
            CHECK_INT(journal_prepare(f->journal), 0);
            CHECK_UINT(journal_segment(f->journal), 2);
        }
        CHECK_INT(reopen(f), leaves == 1 ? 0 : -EUCLEAN);
        if (leaves == 1) {
            check_log(f, 8, 8);
        }
        teardown(f);
    }
}

/* A vote is not covered by a base. It is there if it was given again, or if there are as
 * many entries between those before and behind the damage as there are records. */
static void a_vote_is_never_lost(void)
{
    struct fixture *f = setup(4);

    CHECK_INT(vote(f, 7), 0); /* At the place of entry 5. */
    for (uint64_t i = 5; i <= 8; i++) {
        CHECK_INT(put(f, i), 0);
    }
    CHECK_INT(journal_compact(f->journal, 8, 1), 0);
    CHECK_INT(put(f, 9), 0);
    flip_two(f, batch_of(5) + RECORD_AT + 30);
    CHECK_INT(reopen(f), -EUCLEAN);
    flip_two(f, batch_of(5) + RECORD_AT + 30);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->state.term, 7);
    CHECK_INT(vote(f, 9), 0);
    flip_two(f, batch_of(5) + RECORD_AT + 30);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->state.term, 9);
    CHECK_UINT(f->state.last_index, 9);
    teardown(f);
}

/* Behind a vote that is damaged so is an entry, whose number can be counted: that says
 * nothing about the vote. */
static void a_second_gap_does_not_hide_a_vote(void)
{
    struct fixture *f = setup(4);

    CHECK_INT(vote(f, 7), 0); /* At the place of entry 5. */
    for (uint64_t i = 5; i <= 8; i++) {
        CHECK_INT(put(f, i), 0);
    }
    CHECK_INT(journal_compact(f->journal, 7, 1), 0);
    flip_two(f, batch_of(5) + RECORD_AT + 30);
    flip_two(f, batch_of(7) + RECORD_AT + 30); /* Entry 6. */
    CHECK_INT(reopen(f), -EUCLEAN);
    flip_two(f, batch_of(5) + RECORD_AT + 30);
    CHECK_INT(reopen(f), 0);
    CHECK_UINT(f->state.term, 7);
    teardown(f);
}

/* Behind the damage come votes alone: how far the log went before them nobody knows. */
static void damage_with_no_entry_behind_is_refused(void)
{
    for (uint64_t base = 6; base <= 8; base++) {
        struct fixture *f = setup(8);

        CHECK_INT(vote(f, 7), 0); /* At the place of entry 9. */
        CHECK_INT(vote(f, 8), 0);
        CHECK_INT(journal_compact(f->journal, base, 1), 0);
        flip_two(f, batch_of(8) + RECORD_AT + 30);
        CHECK_INT(reopen(f), -EUCLEAN);
        flip_two(f, batch_of(8) + RECORD_AT + 30);
        CHECK_INT(reopen(f), 0);
        CHECK_UINT(f->state.term, 8);
        CHECK_UINT(f->state.last_index, 8);
        teardown(f);
    }
}

/* What a segment's first record says of where the log ended does not cover the entries
 * before it: the base does. */
static void damage_just_before_the_next_segment(void)
{
    for (int covered = 0; covered < 2; covered++) {
        struct fixture *f = setup(0);
        uint64_t last;

        while (journal_segment(f->journal) == 1) {
            CHECK_INT(put(f, journal_last_index(f->journal) + 1), 0);
        }
        last = journal_last_index(f->journal); /* The first one there. */
        CHECK_INT(put(f, last + 1), 0);
        CHECK_INT(journal_compact(f->journal, last - 2 + (uint64_t)covered, 1), 0);
        flip_two(f, batch_of(last - 1) + RECORD_AT + 30);
        CHECK_INT(reopen(f), covered == 1 ? 0 : -EUCLEAN);
        if (covered == 1) {
            check_log(f, last - 1, last + 1);
        }
        teardown(f);
    }
}

/* A second block of the newest batch cannot be read, and nothing says that it was durable:
 * it is no torn tail for all that. */
static void an_unreadable_part_of_the_newest_is_refused(void)
{
    uint8_t payload[6000];
    struct fixture *f = setup(3);
    struct journal_entry entry = {.index = 4,
                                  .term = 1,
                                  .type = 1,
                                  .head = slice_borrow("head", 4),
                                  .payload = slice_borrow(payload, sizeof payload)};

    memset(payload, 7, sizeof payload);
    CHECK_INT(journal_append(f->journal,
                             &(struct journal_batch){.entries = &entry, .n_entries = 1}),
              0);
    crash(f, 1);
    CHECK(simdisk_bad(f->sim, FIRST, batch_of(4) + BLOCK + 100));
    CHECK_INT(reopen(f), -EUCLEAN);
    teardown(f);
}

/* An entry of another term in the place of one of an older: if that rots, the older one
 * must not come back. */
static void a_voided_entry_does_not_come_back(void)
{
    struct fixture *f = setup(4);

    CHECK_INT(put(f, 3), 0); /* Again: it voids 3 and 4. */
    CHECK_INT(put(f, 4), 0);
    CHECK_INT(put(f, 5), 0);
    CHECK_INT(vote(f, 1), 0);
    CHECK_INT(journal_compact(f->journal, 2, 1), 0);
    flip_two(f, batch_of(5) + RECORD_AT + 30); /* The second entry 3. */
    CHECK_INT(reopen(f), -EUCLEAN);
    flip_two(f, batch_of(5) + RECORD_AT + 30);
    flip_two(f, batch_of(3) + RECORD_AT + 30); /* The first one: it is void. */
    CHECK_INT(reopen(f), 0);
    check_log(f, 2, 5);
    teardown(f);
}

/* Where the next batch would be nothing can be read: it may be one that was acknowledged.
 * Behind that, nothing is lost, and the sector is written to. */
static void an_unreadable_end_is_refused(void)
{
    struct fixture *f = setup(8);
    uint8_t block[BLOCK];
    struct disk_file *file = NULL;

    CHECK(simdisk_bad(f->sim, FIRST, batch_of(9) + 700));
    shut(f); /* The mark makes it good. */
    CHECK(simdisk_bad(f->sim, FIRST, batch_of(9) + 700));
    CHECK_INT(reopen(f), -EUCLEAN);
    CHECK_INT(f->disk->ops->open(f->disk, FIRST, DISK_WRITE, &file), 0);
    CHECK_INT(f->disk->ops->pwritev(
                  f->disk, file,
                  &(struct iovec){.iov_base = memset(block, 0, BLOCK), .iov_len = BLOCK},
                  1, batch_of(9)),
              0);
    CHECK(simdisk_bad(f->sim, FIRST, batch_of(10) + 700));
    CHECK_INT(f->disk->ops->pread(f->disk, file, block, BLOCK, batch_of(10)), -EIO);
    CHECK_INT(reopen(f), 0);
    check_log(f, 0, 8);
    CHECK_INT(f->disk->ops->pread(f->disk, file, block, BLOCK, batch_of(10)), 0);
    f->disk->ops->close(f->disk, file);
    teardown(f);
}

/* A segment's header that cannot be read is damage; a disk that gives nothing at all is
 * not, since it may come back. */
static void a_disk_that_is_gone_is_no_damage(void)
{
    struct fixture *f = setup(8);

    CHECK_INT(reopen(f), 0);
    shut(f);
    simdisk_fail(f->sim, SIMDISK_READ, 1, -EIO, true);
    CHECK_INT(reopen(f), -EIO);
    simdisk_fail(f->sim, SIMDISK_READ, 2, -EIO, true); /* After the header's. */
    CHECK_INT(reopen(f), -EIO);
    simdisk_fail(f->sim, SIMDISK_READ, 0, -EIO, false);
    CHECK_INT(reopen(f), 0);
    CHECK(simdisk_bad(f->sim, FIRST, 100));
    CHECK_INT(reopen(f), -EUCLEAN);
    teardown(f);
}

/* What the segment with something bad is worth: nothing, as soon as it is not needed. It
 * goes, and is not used again. */
static void a_bad_segment_goes_for_good(void)
{
    struct fixture *f = setup(8);
    uint64_t index = 0;

    flip_two(f, batch_of(4) + HEAD_AT);
    CHECK(!journal_bad(f->journal, &index));
    CHECK_INT(fetch(f, 4), -EUCLEAN);
    CHECK_INT(put(f, 9), 0);
    CHECK_UINT(journal_segment(f->journal), 2);
    CHECK_INT(put(f, 10), 0);
    CHECK_UINT(journal_segment(f->journal), 2);
    CHECK(journal_bad(f->journal, &index));
    CHECK_UINT(index, 8);
    CHECK_INT(journal_compact(f->journal, 8, 1), 0);
    CHECK(journal_bad(f->journal, &index));
    CHECK_UINT(index, 0);
    CHECK_INT(journal_release(f->journal, 2), 0);
    CHECK(!journal_bad(f->journal, &index));
    CHECK(!is_there(f, FIRST));
    CHECK(!is_there(f, SPARE));
    CHECK_INT(reopen(f), 0);
    check_log(f, 8, 10);
    teardown(f);
}

/* Nor is one that a start found bad, though nobody read from it since. */
static void a_start_remembers_a_bad_segment(void)
{
    struct fixture *f = setup(8);

    CHECK_INT(journal_compact(f->journal, 4, 1), 0);
    flip_two(f, batch_of(4) + HEAD_AT);
    CHECK_INT(reopen(f), 0);
    CHECK_INT(put(f, 9), 0);
    CHECK_UINT(journal_segment(f->journal), 2);
    CHECK_INT(journal_compact(f->journal, 9, 1), 0);
    CHECK_INT(journal_release(f->journal, 2), 0);
    CHECK(!is_there(f, FIRST));
    CHECK(!is_there(f, SPARE));
    teardown(f);
}

/* On a full disk a bad segment is used as long as there is room in it. */
static void a_full_disk_stays_in_a_bad_segment(void)
{
    struct fixture *f = setup(4);

    flip_two(f, batch_of(4) + HEAD_AT);
    CHECK_INT(fetch(f, 4), -EUCLEAN);
    simdisk_set_capacity(f->sim, simdisk_used(f->sim));
    CHECK_INT(put(f, 5), 0);
    CHECK_INT(put(f, 6), 0);
    CHECK_UINT(journal_segment(f->journal), 1);
    simdisk_set_capacity(f->sim, 0);
    while (journal_segment(f->journal) == 1) {
        CHECK_INT(put(f, journal_last_index(f->journal) + 1), 0);
    }
    CHECK_INT(journal_compact(f->journal, 6, 1), 0);
    CHECK_INT(reopen(f), 0);
    teardown(f);
}

/* What the crash test below has done by the time the power goes. */
struct progress {
    bool compacted;
    bool released;
    uint64_t last;
};

static void get_past_it(struct fixture *f, struct progress *p)
{
    int rv = journal_compact(f->journal, 5, 1);

    p->compacted = rv == 0;
    for (uint64_t i = 9; i <= 20 && rv == 0; i++) {
        rv = i == 9 ? vote(f, 1) : 0;
        if (rv == 0) {
            rv = put(f, i);
        }
        p->last = rv == 0 ? i : p->last;
    }
    if (rv == 0) {
        rv = journal_compact(f->journal, 12, 1);
    }
    if (rv == 0) {
        rv = journal_release(f->journal, 2);
        p->released = rv == 0;
    }
    if (rv == 0) {
        (void)put(f, 21);
    }
}

/* Power lost at each change of the disk between the read that meets a bad entry and the
 * segment's end: once the base covers the entry, the journal opens, with all that was
 * acknowledged, and again after that. */
static void power_may_go_anywhere_past_a_bad_entry(void)
{
    uint64_t n_refused = 0;
    bool done = false;

    for (uint64_t at = 1; !done; at++) {
        for (uint64_t seed = 1; seed <= 12; seed++) {
            struct fixture *f = setup(8);
            struct progress p = {.last = 8};
            struct prng prng;
            int rv;

            prng_seed(&prng, at * 1000 + seed);
            flip_two(f, batch_of(4) + HEAD_AT);
            CHECK_INT(fetch(f, 4), -EUCLEAN);
            simdisk_power_off_after(f->sim, at);
            get_past_it(f, &p);
            done = simdisk_is_on(f->sim);
            simdisk_crash(f->sim, &prng);
            shut(f);
            simdisk_power_on(f->sim);
            rv = reopen(f);
            CHECK(rv == 0 || (rv == -EUCLEAN && !p.compacted));
            n_refused += rv != 0 ? 1 : 0;
            if (rv == 0) {
                CHECK(f->state.base_index >= 5);
                CHECK_UINT(f->state.term, 1);
                CHECK_UINT(f->state.vote, 2);
                CHECK(f->state.last_index >= p.last);
                CHECK(!p.released || (!is_there(f, FIRST) && !is_there(f, SPARE)) ||
                      journal_floor_segment(f->journal) > 1);
                CHECK_INT(put(f, f->state.last_index + 1), 0);
                CHECK_INT(reopen(f), 0);
            }
            teardown(f);
        }
    }
    CHECK(n_refused > 0);
}

TEST_MAIN(CHECK_TEST(damage_below_the_base_does_no_harm),
          CHECK_TEST(a_damaged_payload_is_found_by_who_reads_it),
          CHECK_TEST(what_is_whole_of_a_batch_counts),
          CHECK_TEST(damage_to_the_newest_is_refused_until_it_is_said_again),
          CHECK_TEST(a_vote_is_never_lost), CHECK_TEST(a_second_gap_does_not_hide_a_vote),
          CHECK_TEST(damage_just_before_the_next_segment),
          CHECK_TEST(damage_with_no_entry_behind_is_refused),
          CHECK_TEST(an_unreadable_part_of_the_newest_is_refused),
          CHECK_TEST(a_voided_entry_does_not_come_back),
          CHECK_TEST(an_unreadable_end_is_refused),
          CHECK_TEST(a_disk_that_is_gone_is_no_damage),
          CHECK_TEST(a_bad_segment_goes_for_good),
          CHECK_TEST(a_start_remembers_a_bad_segment),
          CHECK_TEST(a_full_disk_stays_in_a_bad_segment),
          CHECK_TEST(power_may_go_anywhere_past_a_bad_entry))
