/* The journal on the machine's own files: what it keeps, gives back and refuses. */
#include "base/outcome.h"
#include "lib/check.h"
#include "store/journal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEAD_MAX = 64,
    SEEN_MAX = 4096,
    SEGMENT_BYTES = 65536,
};

struct seen {
    uint64_t index[SEEN_MAX];
    uint64_t term[SEEN_MAX];
    char head[SEEN_MAX][HEAD_MAX];
    struct journal_place place[SEEN_MAX];
    size_t payload_len[SEEN_MAX];
    uint32_t n;
};

struct fixture {
    char dir[4096];
    struct journal_config config;
    struct journal_state state;
    struct journal *journal;
    struct seen seen;
};

static int see(void *ctx, const struct journal_entry *entry)
{
    struct seen *seen = ctx;

    CHECK(seen->n < SEEN_MAX && entry->head.len < HEAD_MAX);
    seen->index[seen->n] = entry->index;
    seen->term[seen->n] = entry->term;
    memcpy(seen->head[seen->n], entry->head.data, entry->head.len);
    seen->head[seen->n][entry->head.len] = '\0';
    seen->place[seen->n] = entry->place;
    seen->payload_len[seen->n] = entry->payload.len;
    seen->n++;
    return 0;
}

static struct fixture *setup(void)
{
    static struct fixture f;

    memset(&f, 0, sizeof f);
    (void)snprintf(f.dir, sizeof f.dir, "%s/journal", check_tmpdir());
    f.config = (struct journal_config){
        .disk = disk_posix(),
        .dir = f.dir,
        .zone_id = {7},
        .segment_bytes = SEGMENT_BYTES,
        .spare_segments = 2,
        .create = true,
    };
    CHECK_INT(journal_open(&f.config, &f.state, see, &f.seen, &f.journal), 0);
    f.config.create = false;
    return &f;
}

static void reopen(struct fixture *f)
{
    journal_close(f->journal);
    f->journal = NULL;
    memset(&f->seen, 0, sizeof f->seen);
    CHECK_INT(journal_open(&f->config, &f->state, see, &f->seen, &f->journal), 0);
}

static int append_payload(struct fixture *f, uint64_t index, uint64_t term,
                          struct slice payload, struct journal_place *place)
{
    char head[HEAD_MAX];
    struct journal_entry entry = {.index = index, .term = term, .type = 1};
    struct journal_batch batch = {.entries = &entry, .n_entries = 1};
    int rv;

    (void)snprintf(head, sizeof head, "%llu@%llu", (unsigned long long)index,
                   (unsigned long long)term);
    entry.head = slice_borrow(head, strlen(head));
    entry.payload = payload;
    rv = journal_append(f->journal, &batch);
    if (place != NULL) {
        *place = entry.place;
    }
    return rv;
}

static int append(struct fixture *f, uint64_t index, uint64_t term)
{
    return append_payload(f, index, term, (struct slice){0}, NULL);
}

/* What was appended is there after a restart, in order, with its term and head: the
 * journal is the only copy of raft's log. */
static void entries_survive_reopen(void)
{
    struct fixture *f = setup();
    char head[HEAD_MAX];

    CHECK_UINT(f->state.last_index, 0);
    for (uint64_t i = 1; i <= 100; i++) {
        CHECK_INT(append(f, i, 3), 0);
    }
    reopen(f);
    CHECK_UINT(f->state.last_index, 100);
    CHECK_UINT(f->seen.n, 100);
    for (uint64_t i = 1; i <= 100; i++) {
        (void)snprintf(head, sizeof head, "%llu@3", (unsigned long long)i);
        CHECK_UINT(f->seen.index[i - 1], i);
        CHECK_STR(f->seen.head[i - 1], head);
    }
    journal_close(f->journal);
}

static struct {
    const struct disk_ops *real;
    struct disk_ops ops;
    uint32_t reads;
} counting;

static int count_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                       uint64_t offset)
{
    counting.reads++;
    return counting.real->pread(disk, file, buf, len, offset);
}

/* Opening reads each segment once and its heads in large parts, not entry by entry. */
static void opening_reads_in_large_parts(void)
{
    struct fixture *f = setup();
    struct disk *disk = f->config.disk;
    uint64_t last = 0;

    while (journal_segment(f->journal) < 6) {
        CHECK_INT(append(f, ++last, 3), 0);
    }
    counting.real = disk->ops;
    counting.ops = *disk->ops;
    counting.ops.pread = count_pread;
    counting.reads = 0;
    disk->ops = &counting.ops;
    reopen(f);
    disk->ops = counting.real;
    CHECK_UINT(f->seen.n, last);
    CHECK_UINT(f->seen.index[last - 1], last);
    CHECK(counting.reads < last / 2);
    journal_close(f->journal);
}

/* Term and vote are found again, also when every segment that they were first written
 * to has been recycled: else a member could vote twice in one term. */
static void meta_survives_recycling(void)
{
    struct fixture *f = setup();
    struct journal_batch batch = {.has_meta = true, .term = 9, .vote = 4};
    uint64_t i;

    CHECK_INT(journal_append(f->journal, &batch), 0);
    for (i = 1; journal_segment(f->journal) < 5; i++) {
        CHECK_INT(append(f, i, 9), 0);
    }
    CHECK_INT(journal_compact(f->journal, i - 1, 9), 0);
    CHECK_INT(journal_release(f->journal, UINT64_MAX), 0);
    CHECK_UINT(journal_floor_segment(f->journal), 5);
    reopen(f);
    CHECK_UINT(f->state.term, 9);
    CHECK_UINT(f->state.vote, 4);
    CHECK_UINT(f->state.base_index, i - 1);
    CHECK_UINT(f->state.base_term, 9);
    CHECK_UINT(f->state.last_index, i - 1);
    CHECK_UINT(f->seen.n, 0);
    CHECK_INT(append(f, i, 9), 0);
    journal_close(f->journal);
}

/* An entry at an index that is taken voids everything from there on, also after a
 * restart: raft's truncation. */
static void an_earlier_index_truncates(void)
{
    struct fixture *f = setup();

    for (uint64_t i = 1; i <= 10; i++) {
        CHECK_INT(append(f, i, 1), 0);
    }
    CHECK_INT(append(f, 4, 2), 0);
    CHECK_UINT(journal_last_index(f->journal), 4);
    reopen(f);
    CHECK_UINT(f->state.last_index, 4);
    CHECK_UINT(f->seen.n, 4);
    CHECK_STR(f->seen.head[2], "3@1");
    CHECK_STR(f->seen.head[3], "4@2");
    journal_close(f->journal);
}

/* A cut drops the log and begins anew above the base: how a pulled snapshot comes in. */
static void a_cut_begins_anew(void)
{
    struct fixture *f = setup();
    struct journal_batch cut = {.has_base = true, .base_index = 50, .base_term = 6};

    CHECK_INT(append(f, 1, 1), 0);
    CHECK_INT(journal_append(f->journal, &cut), 0);
    CHECK_INT(append(f, 2, 6), -EINVAL);
    CHECK_INT(append(f, 52, 6), -EINVAL);
    CHECK_INT(append(f, 51, 6), 0);
    reopen(f);
    CHECK_UINT(f->state.base_index, 50);
    CHECK_UINT(f->state.base_term, 6);
    CHECK_UINT(f->state.last_index, 51);
    CHECK_UINT(f->seen.n, 1);
    CHECK_UINT(f->seen.index[0], 51);
    journal_close(f->journal);
}

/* The largest entry goes in and comes back equal, whole and through its place. */
static void largest_entry_comes_back(void)
{
    struct fixture *f = setup();
    struct buf *head = buf_new(JOURNAL_HEAD_MAX);
    struct buf *payload = buf_new(JOURNAL_PAYLOAD_MAX);
    struct journal_entry entry = {.index = 1, .term = 1, .type = 2};
    struct journal_batch batch = {.entries = &entry, .n_entries = 1};
    struct journal_entry got[1];
    uint32_t n = 0;
    uint8_t part[100];

    journal_close(f->journal);
    f->config.segment_bytes = 0;
    CHECK_INT(journal_open(&f->config, &f->state, see, &f->seen, &f->journal), 0);
    for (size_t i = 0; i < JOURNAL_HEAD_MAX; i++) {
        head->data[i] = (uint8_t)(i * 7 >> 3);
    }
    for (size_t i = 0; i < JOURNAL_PAYLOAD_MAX; i++) {
        payload->data[i] = (uint8_t)(i * 13 >> 5);
    }
    entry.head = slice_borrow(head->data, JOURNAL_HEAD_MAX);
    entry.payload = slice_borrow(payload->data, JOURNAL_PAYLOAD_MAX);
    CHECK_INT(journal_append(f->journal, &batch), 0);
    CHECK_INT(journal_fetch(f->journal, 1, 1, 1, got, &n), 0);
    CHECK_UINT(n, 1);
    CHECK_UINT(got[0].head.len, JOURNAL_HEAD_MAX);
    CHECK_UINT(got[0].payload.len, JOURNAL_PAYLOAD_MAX);
    CHECK_MEM(got[0].head.data, head->data, JOURNAL_HEAD_MAX);
    CHECK_MEM(got[0].payload.data, payload->data, JOURNAL_PAYLOAD_MAX);
    CHECK_UINT(got[0].place.offset, entry.place.offset);
    entry.place.offset += 1000;
    CHECK_INT(journal_pread(f->journal, entry.place, part, sizeof part), 0);
    CHECK_MEM(part, payload->data + 1000, sizeof part);
    slice_unref(&got[0].head);
    slice_unref(&got[0].payload);
    buf_unref(head);
    buf_unref(payload);
    journal_close(f->journal);
}

/* A fetch keeps to its limits, stops at the log's end and says so when the first entry
 * is not there: a follower that far behind must pull instead. */
static void fetch_keeps_its_limits(void)
{
    struct fixture *f = setup();
    struct journal_entry got[20];
    uint32_t n = 0;

    for (uint64_t i = 1; i <= 10; i++) {
        CHECK_INT(append_payload(f, i, 1, slice_borrow("0123456789", 10), NULL), 0);
    }
    CHECK_INT(journal_compact(f->journal, 2, 1), 0);
    CHECK_INT(journal_fetch(f->journal, 2, 5, 1000, got, &n), OUT_NOENT);
    CHECK_INT(journal_fetch(f->journal, 11, 5, 1000, got, &n), OUT_NOENT);
    CHECK_INT(journal_fetch(f->journal, 3, 20, 1000, got, &n), 0);
    CHECK_UINT(n, 8);
    CHECK_MEM(got[7].payload.data, "0123456789", 10);
    for (uint32_t i = 0; i < n; i++) {
        slice_unref(&got[i].head);
        slice_unref(&got[i].payload);
    }
    CHECK_INT(journal_fetch(f->journal, 3, 20, 30, got, &n), 0);
    CHECK_UINT(n, 2);
    for (uint32_t i = 0; i < n; i++) {
        slice_unref(&got[i].head);
        slice_unref(&got[i].payload);
    }
    journal_close(f->journal);
}

/* At its second read the log is cut back and grows again. */
static struct cutting {
    const struct disk_ops *real;
    struct disk_ops ops;
    struct fixture *f;
    int reads;
} cutting;

static int cutting_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                         uint64_t offset)
{
    if (++cutting.reads == 2) {
        for (uint64_t i = 2; i <= 6; i++) {
            CHECK_INT(append(cutting.f, i, 2), 0);
        }
    }
    return cutting.real->pread(disk, file, buf, len, offset);
}

/* The log is cut back and written anew while a fetch is under way: what it gives is of one
 * log, that from before or that from after, for a follower would take it as one. */
static void a_fetch_is_of_one_log(void)
{
    struct fixture *f = setup();
    struct disk *disk = f->config.disk;
    struct journal_entry got[8];
    uint32_t n = 0;

    for (uint64_t i = 1; i <= 6; i++) {
        CHECK_INT(append(f, i, 1), 0);
    }
    cutting = (struct cutting){.real = disk->ops, .ops = *disk->ops, .f = f};
    cutting.ops.pread = cutting_pread;
    disk->ops = &cutting.ops;
    CHECK_INT(journal_fetch(f->journal, 1, 6, 1 << 20, got, &n), 0);
    disk->ops = cutting.real;
    CHECK(cutting.reads >= 2);
    CHECK_UINT(n, 2);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_UINT(got[i].term, got[0].term);
        slice_unref(&got[i].head);
        slice_unref(&got[i].payload);
    }
    CHECK_INT(journal_fetch(f->journal, 2, 5, 1 << 20, got, &n), 0);
    CHECK_UINT(n, 5);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_UINT(got[i].term, 2);
        slice_unref(&got[i].head);
        slice_unref(&got[i].payload);
    }
    journal_close(f->journal);
}

/* A folder of another zone is refused, and a missing one is not taken for an empty
 * journal: an unmounted disk must not look like a new member. */
static void strange_folders_are_refused(void)
{
    struct fixture *f = setup();
    struct journal *other = NULL;
    char missing[4200];

    CHECK_INT(append(f, 1, 1), 0);
    journal_close(f->journal);
    f->config.zone_id[0] = 8;
    CHECK_INT(journal_open(&f->config, &f->state, see, &f->seen, &other), -EEXIST);
    f->config.zone_id[0] = 7;
    (void)snprintf(missing, sizeof missing, "%s.missing", f->dir);
    f->config.dir = missing;
    CHECK_INT(journal_open(&f->config, &f->state, see, &f->seen, &other), -ENOENT);
}

/* A payload stays readable at its place for as long as its segment is not released,
 * compacted or not: extents point at it. Released segments are used again. */
static void payload_is_pinned_until_release(void)
{
    struct fixture *f = setup();
    struct journal_place place;
    uint64_t segment;
    uint64_t i = 2;
    char bytes[5];

    CHECK_INT(append_payload(f, 1, 1, slice_borrow("hello", 5), &place), 0);
    for (; journal_segment(f->journal) < 4; i++) {
        CHECK_INT(append(f, i, 1), 0);
    }
    CHECK_INT(journal_compact(f->journal, i - 1, 1), 0);
    CHECK_INT(journal_release(f->journal, place.segment), 0);
    reopen(f);
    CHECK_INT(journal_pread(f->journal, place, bytes, sizeof bytes), 0);
    CHECK_MEM(bytes, "hello", 5);
    CHECK_UINT(journal_bytes(f->journal), 4 * SEGMENT_BYTES);
    CHECK_INT(journal_release(f->journal, 3), 0);
    CHECK_INT(journal_pread(f->journal, place, bytes, sizeof bytes), -ENOENT);
    CHECK_UINT(journal_bytes(f->journal), 2 * SEGMENT_BYTES);
    segment = journal_segment(f->journal);
    for (; journal_segment(f->journal) < segment + 4; i++) {
        CHECK_INT(append(f, i, 1), 0);
        CHECK_INT(journal_prepare(f->journal), 0);
    }
    reopen(f);
    CHECK_UINT(f->state.last_index, i - 1);
    journal_close(f->journal);
}

/* One batch may be larger than a segment: it goes on in the next. */
static void a_batch_spans_segments(void)
{
    struct fixture *f = setup();
    static struct journal_entry entries[1000];
    struct journal_batch batch = {
        .has_meta = true, .term = 2, .vote = 1, .entries = entries, .n_entries = 1000};
    static uint8_t payload[3000];

    for (uint32_t i = 0; i < 1000; i++) {
        entries[i] = (struct journal_entry){
            .index = i + 1,
            .term = 2,
            .type = 1,
            .head = slice_borrow("x", 1),
            .payload = slice_borrow(payload, i * 3),
        };
    }
    CHECK_INT(journal_append(f->journal, &batch), 0);
    CHECK(journal_segment(f->journal) > 20);
    reopen(f);
    CHECK_UINT(f->seen.n, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        CHECK_UINT(f->seen.payload_len[i], i * 3);
        CHECK_UINT(f->seen.place[i].segment, entries[i].place.segment);
        CHECK_UINT(f->seen.place[i].offset, entries[i].place.offset);
    }
    journal_close(f->journal);
}

/* A batch that nobody is going to read, of more bytes than are copied together at once and
 * of odd lengths, lies where every other would: it is read back, once or as often as one
 * likes, and found again at the next open. */
static void unread_batches_come_back(void)
{
    struct fixture *f = setup();
    struct journal_entry entries[8];
    struct journal_batch batch = {.unread = true, .entries = entries, .n_entries = 8};
    size_t room_len = JOURNAL_PAYLOAD_MAX + 2 * DISK_DIRECT_ALIGN;
    struct iovec room = {.iov_base = aligned_alloc(DISK_DIRECT_ALIGN, room_len),
                         .iov_len = room_len};
    uint8_t *payload = malloc(JOURNAL_PAYLOAD_MAX);
    uint8_t *got = malloc(JOURNAL_PAYLOAD_MAX);

    f->config.segment_bytes = 16 << 20;
    reopen(f);
    CHECK(payload != NULL && got != NULL && room.iov_base != NULL);
    for (size_t i = 0; i < JOURNAL_PAYLOAD_MAX; i++) {
        payload[i] = (uint8_t)(i * i >> 7);
    }
    for (uint64_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 8; i++) {
            size_t len = JOURNAL_PAYLOAD_MAX - 1 - i * 777;

            entries[i] = (struct journal_entry){.index = round * 8 + i + 1, .term = 2};
            entries[i].head = slice_borrow("head", i % 5);
            entries[i].payload = slice_borrow(payload + i * 777, len);
        }
        CHECK_INT(journal_append(f->journal, &batch), 0);
        if (round % 2 == 1) {
            CHECK_INT(journal_prepare(f->journal),
                      0); /* A mark lies where the next goes. */
        }
    }
    CHECK(journal_segment(f->journal) > 1);
    reopen(f);
    CHECK_UINT(f->seen.n, 32);
    for (uint32_t i = 0; i < 8; i++) {
        size_t len = JOURNAL_PAYLOAD_MAX - 1 - i * 777;
        struct journal_place place = f->seen.place[24 + i];
        uint8_t *at = NULL;

        CHECK_UINT(place.offset, entries[i].place.offset);
        CHECK_INT(journal_pread(f->journal, place, got, len), 0);
        CHECK_MEM(got, payload + i * 777, len);
        CHECK_INT(journal_read_once(f->journal, place, room, len, &at), 0);
        CHECK_MEM(at, payload + i * 777, len);
    }
    free(room.iov_base);
    free(payload);
    free(got);
    journal_close(f->journal);
}

TEST_MAIN(CHECK_TEST(entries_survive_reopen), CHECK_TEST(opening_reads_in_large_parts),
          CHECK_TEST(meta_survives_recycling), CHECK_TEST(an_earlier_index_truncates),
          CHECK_TEST(a_cut_begins_anew), CHECK_TEST(largest_entry_comes_back),
          CHECK_TEST(fetch_keeps_its_limits), CHECK_TEST(a_fetch_is_of_one_log),
          CHECK_TEST(strange_folders_are_refused),
          CHECK_TEST(payload_is_pinned_until_release), CHECK_TEST(a_batch_spans_segments),
          CHECK_TEST(unread_batches_come_back))
