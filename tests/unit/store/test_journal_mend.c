/* A journal of which bits flipped, with nobody to ask: one in a structure is set right, two
 * are damage as ever, and what a crash tore stays torn. */
#include "store/journal_format.h"
#include "test_journal_fixture.h"

#include <errno.h>
#include <stdio.h>

enum {
    LONG_BYTES = 512, /* The longest. */
    FLIPS_MAX = 64,   /* So many are set right. */
    N_ENTRIES = 3,
    FLOOR_BYTES = 68,
    BATCH_BYTES = 64,
    RECORD_BYTES = 64,
    STATE_BYTES = RECORD_BYTES + 40,
    ENTRY_BYTES = RECORD_BYTES + 8 + 8,
    FIRST_BYTES = BATCH_BYTES + STATE_BYTES + RECORD_BYTES, /* STATE and the vote. */
};

/* A vote in term 1; then some entries, each in a batch of its own. Open. */
static struct fixture *setup_open(void)
{
    struct fixture *f = setup_empty(SEGMENT_BYTES);

    CHECK_INT(vote(f, 1), 0);
    for (uint64_t i = 1; i <= N_ENTRIES; i++) {
        CHECK_INT(put(f, i), 0);
    }
    return f;
}

static struct fixture *setup(void)
{
    struct fixture *f = setup_open();

    shut(f);
    return f;
}

static bool is_entry(struct fixture *f, uint64_t index)
{
    struct journal_entry got;
    uint32_t n = 0;
    bool is;

    if (journal_fetch(f->journal, index, 1, 1000, &got, &n) != 0) {
        return false;
    }
    is = got.term == 1 && got.head.len == 4 && memcmp(got.head.data, "head", 4) == 0 &&
         got.payload.len == 7 && memcmp(got.payload.data, "payload", 7) == 0;
    slice_unref(&got.head);
    slice_unref(&got.payload);
    return is;
}

/* All of it up to entry @last, and nothing else. */
static bool is_all_there(struct fixture *f, uint64_t last)
{
    bool is = f->state.term == 1 && f->state.vote == 2 && f->state.base_index == 0 &&
              f->state.last_index == last && f->n_heads == last;

    for (uint64_t i = 1; i <= last && is; i++) {
        is = is_entry(f, i);
    }
    return is;
}

static bool read_first(struct fixture *f, uint8_t *out, size_t len)
{
    struct disk_file *file = NULL;
    int rv = f->disk->ops->open(f->disk, FIRST, DISK_READ, &file);

    if (rv == 0) {
        rv = f->disk->ops->pread(f->disk, file, out, len, 0);
        f->disk->ops->close(f->disk, file);
    }
    return rv == 0;
}

/* The bit flips; the journal opens with everything, has it right on the disk again, and goes
 * on in another segment. */
static bool is_mended(uint64_t offset, unsigned bit)
{
    static uint8_t before[SEGMENT_BYTES];
    static uint8_t after[SEGMENT_BYTES];
    struct fixture *f = setup();
    bool ok;

    ok = read_first(f, before, sizeof before) &&
         simdisk_flip(f->sim, FIRST, offset, bit) && reopen(f) == 0 &&
         is_all_there(f, N_ENTRIES) && read_first(f, after, sizeof after) &&
         memcmp(before, after, (size_t)batch_of(N_ENTRIES + 1)) == 0 &&
         put(f, N_ENTRIES + 1) == 0 && journal_segment(f->journal) == 2 &&
         reopen(f) == 0 && is_all_there(f, N_ENTRIES + 1);
    if (!ok) {
        (void)printf("offset %llu bit %u\n", (unsigned long long)offset, bit);
    }
    teardown(f);
    return ok;
}

static void check_mended(uint64_t from, uint64_t to)
{
    uint32_t n_bad = 0;

    for (uint64_t offset = from; offset < to; offset++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            n_bad += is_mended(offset, bit) ? 0 : 1;
        }
    }
    CHECK_UINT(n_bad, 0);
}

/* Whichever bit of a batch's header flips, or of a record's header, head or payload. */
static void a_flipped_bit_is_set_right(void)
{
    check_mended(BLOCK, BLOCK + FIRST_BYTES);
    for (uint64_t i = 1; i <= N_ENTRIES; i++) {
        uint64_t payload = batch_of(i) + BATCH_BYTES + ENTRY_BYTES - 8;

        check_mended(batch_of(i), payload - 4);
        check_mended(payload, payload + 7);
    }
}

/* Behind head and payload is filling, which means nothing. */
static void a_flipped_bit_of_the_filling_is_nothing(void)
{
    static const uint64_t at[] = {ENTRY_BYTES - 12, ENTRY_BYTES - 9, ENTRY_BYTES - 1,
                                  ENTRY_BYTES, BLOCK - BATCH_BYTES - 1};

    for (size_t i = 0; i < sizeof at / sizeof at[0]; i++) {
        struct fixture *f = setup();

        CHECK(simdisk_flip(f->sim, FIRST, batch_of(2) + BATCH_BYTES + at[i], 6));
        CHECK_INT(reopen(f), 0);
        CHECK(is_all_there(f, N_ENTRIES));
        CHECK_INT(put(f, N_ENTRIES + 1), 0);
        CHECK_UINT(journal_segment(f->journal), 1);
        teardown(f);
    }
}

static void a_segments_header_is_set_right(void)
{
    check_mended(0, 52);
}

static bool read_floor(struct fixture *f, char out[FLOOR_BYTES])
{
    struct disk_file *file = NULL;
    int rv = f->disk->ops->open(f->disk, "journal/floor", DISK_READ, &file);

    if (rv == 0) {
        rv = f->disk->ops->pread(f->disk, file, out, FLOOR_BYTES, 0);
        f->disk->ops->close(f->disk, file);
    }
    return rv == 0;
}

/* One bit of it flips, or also the one @further bits behind. */
static void check_floor(uint32_t bit, uint32_t further)
{
    uint32_t too = (bit + further) % (8 * FLOOR_BYTES);
    struct fixture *f = setup();
    char before[FLOOR_BYTES];
    char after[FLOOR_BYTES];

    CHECK_INT(reopen(f), 0);
    CHECK_INT(journal_compact(f->journal, 2, 1), 0);
    shut(f);
    CHECK(read_floor(f, before));
    CHECK(simdisk_flip(f->sim, "journal/floor", bit / 8, bit % 8));
    if (further > 0) {
        CHECK(simdisk_flip(f->sim, "journal/floor", too / 8, too % 8));
        CHECK_INT(reopen(f), -EUCLEAN);
    } else {
        CHECK_INT(reopen(f), 0);
        CHECK_UINT(f->state.base_index, 2);
        CHECK_UINT(f->state.last_index, N_ENTRIES);
        CHECK_UINT(f->n_heads, N_ENTRIES - 2);
        CHECK(read_floor(f, after));
        CHECK(memcmp(before, after, sizeof before) == 0);
    }
    teardown(f);
}

static void the_floor_is_set_right(void)
{
    for (uint32_t bit = 0; bit < 8 * FLOOR_BYTES; bit++) {
        check_floor(bit, 0);
        check_floor(bit, 1 + bit * 31 % 500);
    }
}

/* Another zone's segment is that, also with a flip; two flips are damage. */
static void another_zones_header_is_not_set_right(void)
{
    struct fixture *f = setup();

    CHECK(simdisk_flip(f->sim, FIRST, 40, 1));
    f->config.zone_id[0] = 4;
    CHECK_INT(reopen(f), -EEXIST);
    f->config.zone_id[0] = 3;
    CHECK(simdisk_flip(f->sim, FIRST, 41, 1));
    CHECK_INT(reopen(f), -EUCLEAN);
    teardown(f);
}

/* Where a structure begins that has a CRC of its own, and how far it goes. */
static uint64_t structure_of(uint64_t offset)
{
    uint64_t in = offset % BLOCK;

    return in < BATCH_BYTES ? offset - in : offset - in + BATCH_BYTES;
}

/* Two flips in one structure look like none, and are refused; two in two are both set
 * right. */
static void two_bits_are_never_taken_for_one(void)
{
    struct prng prng;

    prng_seed(&prng, 7);
    for (int i = 0; i < 3000; i++) {
        struct fixture *f = setup();
        uint64_t bits[2];
        uint64_t at[2];
        bool same;

        for (int k = 0; k < 2; k++) {
            uint64_t block = batch_of(1 + prng_below(&prng, N_ENTRIES));

            bits[k] = prng_below(&prng, 8 * (BATCH_BYTES + RECORD_BYTES + 4));
            if (k == 1 && i % 2 == 0) {
                block = at[0] - at[0] % BLOCK;
            }
            at[k] = block + bits[k] / 8;
        }
        if (at[0] != at[1] || bits[0] != bits[1]) {
            same = structure_of(at[0]) == structure_of(at[1]);
            CHECK(simdisk_flip(f->sim, FIRST, at[0], bits[0] % 8));
            CHECK(simdisk_flip(f->sim, FIRST, at[1], bits[1] % 8));
            CHECK_INT(reopen(f), same ? -EUCLEAN : 0);
            CHECK(same || is_all_there(f, N_ENTRIES));
        }
        teardown(f);
    }
}

/* In a short head and payload bits are looked for; in a long one other damage would look
 * like one too often. */
static void what_is_long_is_left_alone(void)
{
    static uint8_t bytes[LONG_BYTES + 1];
    static const struct {
        uint32_t head_len;
        uint32_t payload_len;
        int opened;
        int fetched;
    } cases[] = {{LONG_BYTES, 0, 0, 0},
                 {LONG_BYTES + 1, 0, -EUCLEAN, 0},
                 {0, LONG_BYTES, 0, 0},
                 {0, LONG_BYTES + 1, 0, -EUCLEAN}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture *f = setup();
        struct journal_entry entry = {
            .index = N_ENTRIES + 1,
            .term = 1,
            .head = slice_borrow(bytes, cases[i].head_len),
            .payload = slice_borrow(bytes, cases[i].payload_len),
        };
        struct journal_entry got;
        uint32_t n = 0;

        CHECK_INT(reopen(f), 0);
        CHECK_INT(journal_append(f->journal, &(struct journal_batch){.entries = &entry,
                                                                     .n_entries = 1}),
                  0);
        CHECK_INT(put(f, N_ENTRIES + 2), 0);
        CHECK_UINT(journal_segment(f->journal), 1);
        CHECK(simdisk_flip(f->sim, FIRST, batch_of(N_ENTRIES + 1) + 400, 4));
        CHECK_INT(reopen(f), cases[i].opened);
        if (cases[i].opened == 0) {
            CHECK_INT(journal_fetch(f->journal, N_ENTRIES + 1, 1, 1, &got, &n),
                      cases[i].fetched);
        }
        if (n > 0) {
            CHECK(memcmp(got.head.data, bytes, got.head.len) == 0);
            CHECK(memcmp(got.payload.data, bytes, got.payload.len) == 0);
            slice_unref(&got.head);
            slice_unref(&got.payload);
        }
        teardown(f);
    }
}

/* The headers of the first @n batches, and header and payload of one record more. */
static void check_many(uint64_t n, int opened, int fetched)
{
    struct fixture *f = setup_empty((n + 16) * BLOCK);
    uint64_t last = n + 1;
    uint64_t record = batch_of(last) + BATCH_BYTES;

    CHECK_INT(vote(f, 1), 0);
    for (uint64_t i = 1; i <= last; i++) {
        CHECK_INT(put(f, i), 0);
    }
    CHECK_UINT(journal_segment(f->journal), 1);
    shut(f);
    for (uint64_t i = 1; i <= n; i++) {
        CHECK(simdisk_flip(f->sim, FIRST, batch_of(i) + 9, (unsigned)(i % 8)));
    }
    CHECK(simdisk_flip(f->sim, FIRST, record + 9, 1));
    CHECK(simdisk_flip(f->sim, FIRST, record + ENTRY_BYTES - 8, 1));
    CHECK_INT(reopen(f), opened);
    if (opened == 0) {
        CHECK_UINT(f->n_heads, last);
        CHECK_INT(is_all_there(f, last), fetched == 0);
        CHECK_INT(is_entry(f, last), fetched == 0);
        CHECK(is_entry(f, n));
    }
    teardown(f);
}

/* Though a record needs that all is read a second time, each flip counts once; and so many
 * are no single bits any more, but a disk to give up. */
static void many_flips_are_set_right(void)
{
    check_many(FLIPS_MAX - 2, 0, 0);
    check_many(FLIPS_MAX - 1, 0, -EUCLEAN);
    check_many(FLIPS_MAX, -EUCLEAN, 0);
    check_many(FLIPS_MAX + 1, -EUCLEAN, 0);
}

static void write_first(struct fixture *f, void *block, uint64_t offset)
{
    struct iovec iov = {.iov_base = block, .iov_len = BLOCK};
    struct disk_file *file = NULL;

    CHECK_INT(f->disk->ops->open(f->disk, FIRST, DISK_WRITE, &file), 0);
    CHECK_INT(f->disk->ops->pwritev(f->disk, file, &iov, 1, offset), 0);
    f->disk->ops->close(f->disk, file);
}

/* Where the next batch would be lies a whole one of an earlier life, but for a flipped bit:
 * that is nothing, as it is without the flip, and no reason to leave the segment. */
static void what_an_earlier_life_left_is_not_set_right(void)
{
    static uint8_t earlier[SEGMENT_BYTES];
    static uint8_t zeros[BLOCK];
    struct fixture *f = setup();
    struct journal_entry entry = {.index = N_ENTRIES + 1, .term = 1, .type = 1};
    struct journal_batch two = {
        .has_meta = true, .term = 1, .vote = 2, .entries = &entry, .n_entries = 1};

    CHECK_INT(reopen(f), 0);
    CHECK_INT(journal_append(f->journal, &two), 0); /* Its numbers are ahead. */
    CHECK_INT(put(f, N_ENTRIES + 2), 0);
    shut(f);
    CHECK(read_first(f, earlier, sizeof earlier));
    for (uint64_t i = 1; i <= 3; i++) { /* The mark of the end, too. */
        write_first(f, zeros, batch_of(N_ENTRIES + i));
    }
    CHECK_INT(reopen(f), 0);
    CHECK_INT(put(f, N_ENTRIES + 1), 0);
    shut(f);
    write_first(f, earlier + batch_of(N_ENTRIES + 2), batch_of(N_ENTRIES + 2));
    CHECK(simdisk_flip(f->sim, FIRST, batch_of(N_ENTRIES + 2) + 30, 5));
    CHECK_INT(reopen(f), 0);
    CHECK(is_all_there(f, N_ENTRIES + 1));
    CHECK_INT(put(f, N_ENTRIES + 2), 0);
    CHECK_UINT(journal_segment(f->journal), 1);
    teardown(f);
}

/* What is set right must be the record that belongs there. */
static void another_record_is_not_set_right(void)
{
    const struct journal_record record = {.type = 4, .seq = 5, .salt = 6};
    uint8_t at[JOURNAL_RECORD_BYTES];
    struct journal_flip flip;

    journal_record_put(&record, NULL, at);
    CHECK(!journal_record_flip(at, sizeof at, &record, &flip)); /* Nothing flipped. */
    at[24] ^= 8;
    for (uint64_t seq = 4; seq <= 6; seq++) {
        for (uint64_t salt = 5; salt <= 7; salt++) {
            const struct journal_record want = {.seq = seq, .salt = salt};

            CHECK_INT(journal_record_flip(at, sizeof at, &want, &flip),
                      seq == 5 && salt == 6);
        }
    }
    CHECK_UINT(flip.at, 24);
    CHECK_UINT(flip.mask, 8);
    CHECK(!journal_record_flip(at, sizeof at - 1, &record, &flip));
}

/* Nothing is written to a journal that is refused, though one of its flips could be set
 * right. */
static void what_is_refused_is_left_as_it_is(void)
{
    static uint8_t before[SEGMENT_BYTES];
    static uint8_t after[SEGMENT_BYTES];
    struct fixture *f = setup();

    CHECK(simdisk_flip(f->sim, FIRST, batch_of(1) + 100, 3));
    CHECK(simdisk_flip(f->sim, FIRST, batch_of(2) + 100, 3));
    CHECK(simdisk_flip(f->sim, FIRST, batch_of(2) + 101, 3));
    CHECK(read_first(f, before, sizeof before));
    CHECK_INT(reopen(f), -EUCLEAN);
    CHECK(read_first(f, after, sizeof after));
    CHECK(memcmp(before, after, sizeof before) == 0);
    teardown(f);
}

/* A crash before anything said that the newest batch was durable: a flip in its header,
 * which no torn write leaves, is set right as the rest of it is whole; one in a record looks
 * like a torn write, and the batch is cut. */
static void of_what_may_be_torn_only_the_header_is_set_right(void)
{
    static const struct {
        uint64_t at;
        uint64_t last;
    } cases[] = {{0, N_ENTRIES},
                 {30, N_ENTRIES},
                 {BATCH_BYTES - 1, N_ENTRIES},
                 {BATCH_BYTES, N_ENTRIES - 1},
                 {BATCH_BYTES + 50, N_ENTRIES - 1},
                 {BATCH_BYTES + RECORD_BYTES + 1, N_ENTRIES - 1}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture *f = setup_open();

        crash(f, 1);
        CHECK(simdisk_flip(f->sim, FIRST, batch_of(N_ENTRIES) + cases[i].at, 5));
        CHECK_INT(reopen(f), 0);
        CHECK(is_all_there(f, cases[i].last));
        teardown(f);
    }
}

/* The header is set right in memory for what follows it; not so if its records are torn. */
static void a_header_over_torn_records_stays(void)
{
    struct fixture *f = setup_open();

    crash(f, 1);
    CHECK(simdisk_flip(f->sim, FIRST, batch_of(N_ENTRIES) + 30, 5));
    CHECK(simdisk_flip(f->sim, FIRST, batch_of(N_ENTRIES) + BATCH_BYTES + 50, 5));
    CHECK_INT(reopen(f), 0);
    CHECK(is_all_there(f, N_ENTRIES - 1));
    CHECK_INT(put(f, N_ENTRIES), 0);
    CHECK_UINT(journal_segment(f->journal), 1);
    CHECK_INT(reopen(f), 0);
    CHECK(is_all_there(f, N_ENTRIES));
    teardown(f);
}

/* A block that cannot be written back stops the opening: nothing was reported, and it is
 * mended the next time. */
static void what_cannot_be_written_back_is_no_journal_yet(void)
{
    struct fixture *f = setup();

    CHECK(simdisk_flip(f->sim, FIRST, batch_of(1) + 100, 3));
    simdisk_fail(f->sim, SIMDISK_WRITE, 1, -EIO, false);
    CHECK_INT(reopen(f), -EIO);
    CHECK_INT(reopen(f), 0);
    CHECK(is_all_there(f, N_ENTRIES));
    teardown(f);
}

TEST_MAIN(CHECK_TEST(a_flipped_bit_is_set_right),
          CHECK_TEST(a_flipped_bit_of_the_filling_is_nothing),
          CHECK_TEST(a_segments_header_is_set_right), CHECK_TEST(the_floor_is_set_right),
          CHECK_TEST(another_zones_header_is_not_set_right),
          CHECK_TEST(two_bits_are_never_taken_for_one),
          CHECK_TEST(what_is_long_is_left_alone),
          CHECK_TEST(another_record_is_not_set_right),
          CHECK_TEST(what_an_earlier_life_left_is_not_set_right),
          CHECK_TEST(many_flips_are_set_right),
          CHECK_TEST(what_is_refused_is_left_as_it_is),
          CHECK_TEST(of_what_may_be_torn_only_the_header_is_set_right),
          CHECK_TEST(a_header_over_torn_records_stays),
          CHECK_TEST(what_cannot_be_written_back_is_no_journal_yet))
