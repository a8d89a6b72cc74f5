/*
 * Recovery, in two parts. The first only reads: it replays batch after batch until one
 * is not whole, not even with a flipped bit set right (journal_mend.c), then looks behind
 * that place for anything that says that what is broken had been durable. If so it begins
 * again and steps over what is broken (journal_gap.c);
 * if that was needed, it gives up with -EUCLEAN. Only then the second part changes
 * files: it wipes what lies behind the end, makes the rest durable and tidies up.
 */
#include "store/journal_scan.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int journal_scan_damaged(const struct journal_scan *scan, uint64_t segment,
                         uint64_t offset, const char *what)
{
    log_error("store",
              "msg=\"journal is damaged: %s\" dir=%s segment=%" PRIu64 " offset=%" PRIu64,
              what, scan->journal->dir, segment, offset);
    return -EUCLEAN;
}

static int numbers_add(struct journal_numbers *numbers, uint64_t number)
{
    if (numbers->n == numbers->cap) {
        size_t cap = numbers->cap == 0 ? 64 : 2 * numbers->cap;
        uint64_t *list = NULL;

        if (cap <= JOURNAL_SEGMENTS_MAX) {
            list = realloc(numbers->list, cap * sizeof *list);
        }
        if (list == NULL) {
            return -ENOMEM;
        }
        numbers->list = list;
        numbers->cap = cap;
    }
    numbers->list[numbers->n] = number;
    numbers->n++;
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* 16 digits of lower-case hex, then @suffix. */
static bool parse_name(const char *name, const char *suffix, uint64_t *number)
{
    char again[32];

    if (sscanf(name, "%16" SCNx64, number) != 1) {
        return false;
    }
    (void)snprintf(again, sizeof again, "%016" PRIx64 "%s", *number, suffix);
    return strcmp(name, again) == 0;
}

static int take_name(void *ctx, const char *name)
{
    struct journal_scan *scan = ctx;
    uint64_t number;

    if (parse_name(name, ".seg", &number)) {
        return numbers_add(&scan->segments, number);
    }
    if (parse_name(name, ".spare", &number)) {
        return numbers_add(&scan->spares, number);
    }
    return 0;
}

static int read_floor(struct journal_scan *scan)
{
    struct journal *journal = scan->journal;
    char path[JOURNAL_PATH_MAX];
    char *bytes = NULL;
    size_t len = 0;
    int rv;

    scan->floor.segment = 1;
    (void)strcpy(path, journal->dir);
    (void)strcat(path, "/floor");
    rv = disk_read_file(journal->disk, path, JOURNAL_BLOCK, &bytes, &len);
    if (rv == -ENOENT) {
        return 0;
    }
    if (rv == 0) {
        rv = journal_floor_get((const uint8_t *)bytes, len, &scan->floor);
    }
    if (rv == -EUCLEAN && journal_mend_floor(scan, (uint8_t *)bytes, len)) {
        rv = 0;
    }
    free(bytes);
    if (rv == -EUCLEAN || rv == -EFBIG) {
        return journal_scan_damaged(scan, 0, 0, "file floor");
    }
    if (rv == 0 &&
        memcmp(scan->floor.zone_id, journal->zone_id, sizeof journal->zone_id) != 0) {
        return -EEXIST;
    }
    scan->has_floor = rv == 0;
    scan->durable = scan->floor.durable;
    return rv;
}

static int check_head(struct journal_scan *scan, uint8_t *block,
                      struct journal_segment *segment)
{
    struct journal_segment_head head;
    uint64_t number = segment->number;
    int rv = journal_segment_head_get(block, &head);

    if (rv == -EUCLEAN && journal_mend_segment(scan, segment, block)) {
        rv = journal_segment_head_get(block, &head);
    }
    if (rv == -EUCLEAN) {
        return journal_scan_damaged(scan, number, 0, "segment header");
    }
    if (rv != 0) {
        return rv;
    }
    if (memcmp(head.zone_id, scan->journal->zone_id, sizeof head.zone_id) != 0) {
        return -EEXIST;
    }
    if (head.number != number || head.bytes != segment->bytes) {
        return journal_scan_damaged(scan, number, 0,
                                    "another segment's contents or size");
    }
    segment->salt = head.salt;
    return 0;
}

/* Without its header a segment is nothing. That is damage if it is all that cannot be
 * read; else the disk is gone, and may come back. */
static int read_head(const struct journal_scan *scan,
                     const struct journal_segment *segment, uint8_t *block)
{
    struct disk *disk = scan->journal->disk;
    int rv = disk->ops->pread(disk, segment->file, block, JOURNAL_BLOCK, 0);

    if (rv == -EIO &&
        disk->ops->pread(disk, segment->file, block, JOURNAL_BLOCK, JOURNAL_BLOCK) == 0) {
        return journal_scan_damaged(scan, segment->number, 0,
                                    "segment header cannot be read");
    }
    return rv;
}

static int open_segment(struct journal_scan *scan, uint64_t number)
{
    struct journal *journal = scan->journal;
    const struct disk_ops *ops = journal->disk->ops;
    struct journal_segment *segment = calloc(1, sizeof *segment);
    uint8_t block[JOURNAL_BLOCK];
    char path[JOURNAL_PATH_MAX];
    int rv;

    if (segment == NULL) {
        return -ENOMEM;
    }
    segment->number = number;
    journal_path(journal, JOURNAL_FILE_SEGMENT, number, path);
    rv = ops->open(journal->disk, path, DISK_WRITE, &segment->file);
    if (rv != 0) {
        free(segment);
        return rv;
    }
    rv = ops->size(journal->disk, segment->file, &segment->bytes);
    if (rv == 0 &&
        (segment->bytes < JOURNAL_SEGMENT_MIN || segment->bytes > JOURNAL_SEGMENT_MAX ||
         segment->bytes % JOURNAL_BLOCK != 0)) {
        rv = journal_scan_damaged(scan, number, segment->bytes, "segment size");
    }
    if (rv == 0) {
        rv = read_head(scan, segment, block);
    }
    if (rv == 0) {
        rv = check_head(scan, block, segment);
    }
    if (rv == 0) {
        rv = journal_segments_add(journal, segment);
    }
    if (rv != 0) {
        ops->close(journal->disk, segment->file);
        free(segment);
    }
    return rv;
}

static int open_segments(struct journal_scan *scan)
{
    uint64_t next = scan->floor.segment;

    if (scan->segments.n > 0) {
        qsort(scan->segments.list, scan->segments.n, sizeof *scan->segments.list,
              compare);
    }
    for (size_t i = 0; i < scan->segments.n; i++) {
        uint64_t number = scan->segments.list[i];
        int rv;

        if (number < scan->floor.segment) {
            continue; /* Released; a crash kept the name. */
        }
        if (number != next) {
            break;
        }
        rv = open_segment(scan, number);
        if (rv != 0) {
            return rv;
        }
        next++;
    }
    if (scan->journal->n_segments > 0 &&
        next == scan->segments.list[scan->segments.n - 1] + 1) {
        return 0;
    }
    if (scan->segments.n > 0 || scan->has_floor) {
        return journal_scan_damaged(scan, next, 0, "a segment is missing");
    }
    return 0;
}

bool journal_scan_batch_at(const struct journal_scan *scan,
                           const struct journal_segment *segment, uint64_t offset,
                           struct journal_batch_head *out)
{
    return journal_batch_head_get(scan->bytes + offset, out) == 0 &&
           out->salt == segment->salt && out->segment == segment->number &&
           out->offset == offset;
}

bool journal_scan_whole(const struct journal_scan *scan,
                        const struct journal_segment *segment,
                        const struct journal_batch_head *head)
{
    const uint8_t *at = scan->bytes + head->offset + JOURNAL_BATCH_BYTES;
    size_t left = head->body_len;

    if (head->n_records == 0 ||
        head->body_len > segment->bytes - head->offset - JOURNAL_BATCH_BYTES) {
        return false;
    }
    for (uint32_t i = 0; i < head->n_records; i++) {
        struct journal_record record;
        size_t span;

        if (journal_record_get(at, left, &record) != 0 || record.salt != segment->salt ||
            record.seq != head->first_seq + i) {
            return false;
        }
        span = (size_t)journal_record_span(record.head_len, record.payload_len);
        at += span;
        left -= span;
    }
    return left == 0;
}

static int apply_state(struct journal_scan *scan, const struct journal_record *record,
                       const uint8_t *head)
{
    struct journal *journal = scan->journal;
    struct journal_snapshot *stream = &journal->stream;
    struct journal_snapshot state;

    if (record->head_len != JOURNAL_STATE_BYTES) {
        return -EUCLEAN;
    }
    journal_snapshot_get(head, &state);
    if (state.base_index > state.last_index) {
        return -EUCLEAN;
    }
    if (record->seq == 1 || scan->next_seq == 0) {
        *stream = state;
        journal_index_reset(&journal->index, state.last_index);
        return 0;
    }
    if (journal_gap_state(scan, &state) != 0) {
        return -EUCLEAN;
    }
    /* What was replayed and what it says must be the same log. */
    if (state.term != stream->term || state.vote != stream->vote ||
        state.last_index != stream->last_index || state.base_index < stream->base_index) {
        return -EUCLEAN;
    }
    return 0;
}

static int apply_entry(struct journal_scan *scan, const struct journal_record *record,
                       uint64_t segment, uint64_t offset)
{
    struct journal *journal = scan->journal;
    struct journal_snapshot *stream = &journal->stream;
    struct journal_slot slot = {
        .segment = segment,
        .term = record->term,
        .offset = (uint32_t)offset,
        .head_len = record->head_len,
        .payload_len = record->payload_len,
        .type = record->entry_type,
    };
    int rv;

    if (record->head_len > JOURNAL_HEAD_MAX ||
        record->payload_len > JOURNAL_PAYLOAD_MAX ||
        record->index <= stream->base_index) {
        return -EUCLEAN;
    }
    journal_gap_entry(scan, record->index);
    if (record->index > stream->last_index + 1) {
        return -EUCLEAN;
    }
    if (record->index < journal->index.first) {
        /* It voids entries of which some lie in released segments. */
        journal_index_reset(&journal->index, record->index - 1);
    }
    rv = journal_index_reserve(&journal->index, 1);
    if (rv == 0) {
        journal_index_put(&journal->index, record->index, &slot);
        stream->last_index = record->index;
    }
    return rv;
}

int journal_scan_apply(struct journal_scan *scan, const struct journal_record *record,
                       uint64_t segment, uint64_t offset)
{
    struct journal_snapshot *stream = &scan->journal->stream;
    const uint8_t *head = scan->bytes + offset + JOURNAL_RECORD_BYTES;
    bool first = offset == JOURNAL_BLOCK + JOURNAL_BATCH_BYTES;

    if (first != (record->type == JOURNAL_STATE)) {
        return -EUCLEAN;
    }
    switch (record->type) {
    case JOURNAL_STATE:
        return apply_state(scan, record, head);
    case JOURNAL_META:
        journal_gap_meta(scan);
        stream->term = record->index;
        stream->vote = record->term;
        return 0;
    case JOURNAL_CUT:
        if (record->index < stream->base_index) {
            return -EUCLEAN;
        }
        journal_gap_cut(scan);
        stream->base_index = record->index;
        stream->base_term = record->term;
        stream->last_index = record->index;
        journal_index_reset(&scan->journal->index, record->index);
        return 0;
    case JOURNAL_ENTRY:
        return apply_entry(scan, record, segment, offset);
    default:
        return -EPROTONOSUPPORT;
    }
}

/* Replay a whole batch. What is wrong now was written wrong. */
static int apply_batch(struct journal_scan *scan, const struct journal_segment *segment,
                       const struct journal_batch_head *head)
{
    uint64_t offset = (uint64_t)head->offset + JOURNAL_BATCH_BYTES;
    uint64_t end = offset + head->body_len;

    while (offset < end) {
        struct journal_record record;
        int rv = journal_record_head_get(scan->bytes + offset, (size_t)(end - offset),
                                         &record);

        ASSERT(rv == 0); /* journal_scan_whole has seen it. */
        rv = journal_scan_apply(scan, &record, segment->number, offset);
        if (rv == -EUCLEAN) {
            return journal_scan_damaged(scan, segment->number, offset,
                                        "contradictory record");
        }
        if (rv != 0) {
            return rv;
        }
        scan->next_seq = record.seq + 1;
        offset += journal_record_span(record.head_len, record.payload_len);
    }
    return 0;
}

/* It was written right behind the batch replayed last: the same place and sequence
 * number may have been used in several lives, the link tells them apart. The log begins in
 * the first segment, or damage was stepped over. */
bool journal_scan_follows(const struct journal_scan *scan,
                          const struct journal_batch_head *head)
{
    if (scan->next_seq == 0) {
        return scan->steps || head->segment == scan->journal->segments[0]->number;
    }
    return head->first_seq == scan->next_seq && head->link == scan->journal->link;
}

/* Where the next batch would be, or in what there is of it, something cannot be read: it
 * may be the newest one, and nobody knows whether it was durable. */
static bool is_blind(const struct journal_scan *scan,
                     const struct journal_segment *segment, uint64_t offset)
{
    struct journal_batch_head head;
    uint64_t len = JOURNAL_BLOCK;

    if (offset < segment->bytes && journal_scan_batch_at(scan, segment, offset, &head) &&
        journal_scan_follows(scan, &head)) {
        len = journal_batch_span(head.body_len);
    }
    return journal_scan_unreadable(scan, offset, len);
}

/* Replay from @offset on, as far as batch follows batch. *@end: where that is not so. */
static int replay_batches(struct journal_scan *scan, size_t position, uint64_t *end)
{
    struct journal_segment *segment = scan->journal->segments[position];
    uint64_t before = scan->sound;
    uint64_t offset = JOURNAL_BLOCK;
    int rv = 0;

    scan->sound = JOURNAL_BLOCK;
    while (rv == 0 && offset < segment->bytes) {
        struct journal_batch_head head;

        if (journal_scan_batch_at(scan, segment, offset, &head) &&
            journal_scan_follows(scan, &head) &&
            journal_scan_whole(scan, segment, &head)) {
            rv = apply_batch(scan, segment, &head);
            scan->journal->link = journal_batch_head_crc(scan->bytes + offset);
            offset += journal_batch_span(head.body_len);
        } else if (journal_mend_batch(scan, segment, offset)) {
            continue;
        } else {
            rv = scan->steps ? journal_gap_step(scan, segment, &offset) : OUT_NOENT;
        }
        if (rv == 0) {
            scan->end = position;
            scan->tail = offset;
            scan->blind = false;
        }
    }
    scan->sound = scan->end == position ? scan->sound : before;
    *end = offset;
    return rv == OUT_NOENT ? 0 : rv;
}

static int scan_segment(struct journal_scan *scan, size_t position)
{
    struct journal_segment *segment = scan->journal->segments[position];
    struct journal_batch_head head;
    uint64_t offset;
    int rv = journal_scan_load(scan, segment);

    if (rv == 0) {
        rv = replay_batches(scan, position, &offset);
    }
    if (rv != 0) {
        return rv;
    }
    if (position == scan->end || (position == scan->end + 1 && offset == JOURNAL_BLOCK)) {
        scan->blind = scan->blind || is_blind(scan, segment, offset);
    }
    /* Behind the last whole batch: marks, what is torn, and what was there before. */
    for (; offset < segment->bytes; offset += JOURNAL_BLOCK) {
        if (journal_scan_batch_at(scan, segment, offset, &head) &&
            head.durable > scan->durable) {
            scan->durable = head.durable;
        }
    }
    return 0;
}

static int replay(struct journal_scan *scan)
{
    struct journal *journal = scan->journal;
    int rv = 0;

    scan->end = 0;
    scan->tail = JOURNAL_BLOCK;
    scan->sound = JOURNAL_BLOCK;
    scan->blind = false;
    scan->next_seq = journal->segments[0]->number == 1 ? 1 : 0;
    journal->link = 0;
    journal->stream = (struct journal_snapshot){0};
    journal_index_reset(&journal->index, 0);
    for (size_t i = 0; i < journal->n_segments && rv == 0; i++) {
        rv = scan_segment(scan, i);
    }
    return rv;
}

/* What was durable is not there, not even where it was stepped over. */
static bool is_short(const struct journal_scan *scan)
{
    return scan->next_seq == 0 || scan->durable >= scan->next_seq;
}

static int scan_segments(struct journal_scan *scan)
{
    uint64_t segment;
    int rv = replay(scan);

    if (rv == 0 && is_short(scan)) {
        scan->steps = true;
        rv = replay(scan);
    }
    if (rv != 0) {
        return rv;
    }
    segment = scan->journal->segments[scan->end]->number;
    if (is_short(scan)) {
        return journal_scan_damaged(scan, segment, scan->tail,
                                    "what was durable is not there");
    }
    if (scan->blind) {
        return journal_scan_damaged(scan, segment, scan->tail,
                                    "what may be the newest batch cannot be read");
    }
    return 0;
}

/* Put what compaction made durable on top of what was replayed. */
static int settle_base(struct journal_scan *scan)
{
    struct journal *journal = scan->journal;
    struct journal_index *index = &journal->index;

    journal->base_index = journal->stream.base_index;
    journal->base_term = journal->stream.base_term;
    if (scan->floor.base_index > journal->base_index) {
        journal->base_index = scan->floor.base_index;
        journal->base_term = scan->floor.base_term;
    }
    if (!journal_gap_closed(scan)) {
        return journal_scan_damaged(scan, journal->segments[scan->end]->number,
                                    scan->tail, "what was durable is not there");
    }
    if (journal->stream.last_index < journal->base_index) {
        return journal_scan_damaged(scan, journal->segments[scan->end]->number,
                                    scan->tail, "compacted entries are not there");
    }
    journal_index_drop(index, journal->base_index);
    if (index->first != journal->base_index + 1 ||
        journal_index_last(index) != journal->stream.last_index) {
        return journal_scan_damaged(scan, journal->segments[0]->number, 0,
                                    "entries above the base are not there");
    }
    return 0;
}

/* Write again what is whole but that nothing says was durable. If the last process died
 * of a failed sync, it may only be in the page cache, clean, and no sync would put it on
 * the disk; and it is about to be reported as durable. @scan->bytes is loaded. */
static int rewrite_newest(struct journal_scan *scan,
                          const struct journal_segment *segment)
{
    struct disk *disk = scan->journal->disk;
    uint64_t offset = scan->sound;
    struct iovec iov;

    while (offset < scan->tail) {
        struct journal_batch_head head;

        if (!journal_scan_batch_at(scan, segment, offset, &head)) {
            return -EIO; /* It was there a moment ago. */
        }
        if (head.first_seq + head.n_records - 1 > scan->durable) {
            break;
        }
        offset += journal_batch_span(head.body_len);
    }
    if (offset >= scan->tail) {
        return 0;
    }
    iov.iov_base = scan->bytes + offset;
    iov.iov_len = (size_t)(scan->tail - offset);
    return disk->ops->pwritev(disk, segment->file, &iov, 1, offset);
}

/* Whatever is a batch of this segment behind the end must not look like the log's next
 * one when the log has grown up to it again. Its link would say so too: this is the
 * second line, and leaves less to wonder about in a dump. What cannot be read there is
 * written to, which lets the disk put another sector in its place. */
static int wipe(struct journal_scan *scan, const struct journal_segment *segment,
                uint64_t offset)
{
    static const uint8_t zeros[JOURNAL_BLOCK];
    struct journal *journal = scan->journal;
    struct iovec iov = {
        .iov_base = (void *)(uintptr_t)zeros,
        .iov_len = sizeof zeros,
    };
    int rv = 0;

    for (; rv == 0 && offset < segment->bytes; offset += JOURNAL_BLOCK) {
        struct journal_batch_head head;

        if (journal_scan_unreadable(scan, offset, JOURNAL_BLOCK)) {
            rv = journal->disk->ops->pwritev(journal->disk, segment->file, &iov, 1,
                                             offset);
            continue;
        }
        if (!journal_scan_batch_at(scan, segment, offset, &head) ||
            (head.n_records == 0 && offset == scan->tail)) {
            continue; /* Nothing, or the mark, which the next batch overwrites. */
        }
        log_warn("store",
                 "msg=\"cut a torn batch off the journal\" dir=%s segment=%" PRIu64
                 " offset=%" PRIu64,
                 journal->dir, segment->number, offset);
        rv = journal->disk->ops->pwritev(journal->disk, segment->file, &iov, 1, offset);
    }
    return rv;
}

/* Leave a segment at or behind the end as the appending thread expects it. */
static int mend(struct journal_scan *scan, size_t position)
{
    struct journal *journal = scan->journal;
    struct journal_segment *segment = journal->segments[position];
    int rv = journal_scan_load(scan, segment);

    if (rv == 0 && position == scan->end) {
        rv = rewrite_newest(scan, segment);
    }
    if (rv == 0) {
        rv = wipe(scan, segment, position == scan->end ? scan->tail : JOURNAL_BLOCK);
    }
    return rv == 0 ? journal->disk->ops->datasync(journal->disk, segment->file) : rv;
}

static int tidy(struct journal_scan *scan)
{
    struct journal *journal = scan->journal;
    char path[JOURNAL_PATH_MAX];
    int rv = 0;

    journal_path(journal, JOURNAL_FILE_NEW, 0, path);
    (void)journal->disk->ops->unlink(journal->disk, path);
    for (size_t i = 0; i < scan->spares.n; i++) {
        if (journal->n_spares < journal->spare_max) {
            journal->spares[journal->n_spares] = scan->spares.list[i];
            journal->n_spares++;
        } else {
            journal_path(journal, JOURNAL_FILE_SPARE, scan->spares.list[i], path);
            (void)journal->disk->ops->unlink(journal->disk, path);
        }
    }
    for (size_t i = 0; rv == 0 && i < scan->segments.n; i++) {
        if (scan->segments.list[i] < scan->floor.segment) {
            rv = journal_segment_recycle(journal, scan->segments.list[i], true);
        }
    }
    return rv;
}

static int finish(struct journal_scan *scan)
{
    struct journal *journal = scan->journal;
    int rv = journal->disk->ops->syncdir(journal->disk, journal->dir);

    if (rv == 0) {
        rv = disk_sync_parent(journal->disk, journal->dir);
    }
    if (rv == 0) {
        rv = journal_mend_write(scan);
    }
    for (size_t i = scan->end; rv == 0 && i < journal->n_segments; i++) {
        rv = mend(scan, i);
    }
    if (rv != 0) {
        return rv;
    }
    journal->current = scan->end;
    journal->active = journal->segments[scan->end];
    journal->tail = scan->tail;
    journal->next_seq = scan->next_seq;
    journal->durable = scan->next_seq - 1;
    journal->durable_segment = journal->active->number;
    return tidy(scan);
}

int journal_recover(struct journal *journal, bool create)
{
    struct journal_scan scan = {.journal = journal};
    int rv = 0;

    if (create) {
        rv = journal->disk->ops->mkdir(journal->disk, journal->dir);
    }
    if (rv == 0) {
        rv = journal->disk->ops->list(journal->disk, journal->dir, take_name, &scan);
    }
    if (rv == 0) {
        rv = read_floor(&scan);
    }
    if (rv == 0) {
        rv = open_segments(&scan);
    }
    if (rv == 0 && journal->n_segments == 0) {
        rv = create ? journal_segments_make(journal) : -ENOENT;
    }
    if (rv == 0) {
        rv = scan_segments(&scan);
    }
    if (rv == 0) {
        rv = settle_base(&scan);
    }
    if (rv == 0) {
        rv = finish(&scan);
    }
    free(scan.bytes);
    free(scan.segments.list);
    free(scan.spares.list);
    return rv;
}
