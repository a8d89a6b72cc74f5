/*
 * Recovery's way past damage. A batch that was durable is not whole: some of its records
 * are not there, or not their payloads. What of that is still needed?
 *
 * - Entries, unless the base covers them. Which they were follows from what comes behind:
 *   an entry voids all that had its index or a higher one, a STATE says where the log
 *   ended, a CUT voids everything. So the base must reach to just below the next entry.
 * - Term and vote, unless a STATE or META behind says them again; or if there was none:
 *   when n records are missing between the entries i and i + n + 1, all of them were
 *   entries.
 * - A payload is not: the entry is there. Who reads it finds out, as when it rots while
 *   the journal is open.
 *
 * Where the log goes on, if a batch's own header is not there: at the next header of this
 * segment and place that says that all before it was durable. It began an append, so it
 * stands where the log ended then; and if the log had gone back from there (a full disk),
 * its place was written over by whatever came instead.
 */
#include "store/journal_scan.h"

#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_BYTES = 65536 };

#define RECORD_ROOM_MAX (JOURNAL_RECORD_BYTES + JOURNAL_HEAD_MAX)

/* So many bad blocks, and not half of the segment, are damage; more is a disk that is gone,
 * and may come back. */
static bool is_too_much(const struct journal_scan *scan,
                        const struct journal_segment *segment)
{
    return scan->n_unreadable == JOURNAL_UNREADABLE_MAX ||
           scan->n_unreadable >= segment->bytes / JOURNAL_BLOCK / 2;
}

/* The whole did not read: by blocks, where it must be. */
static int load_blocks(struct journal_scan *scan, const struct journal_segment *segment,
                       uint64_t at, uint64_t end)
{
    struct disk *disk = scan->journal->disk;

    for (; at < end; at += JOURNAL_BLOCK) {
        int rv =
            disk->ops->pread(disk, segment->file, scan->bytes + at, JOURNAL_BLOCK, at);

        if (rv == -EIO && !is_too_much(scan, segment)) {
            scan->unreadable[scan->n_unreadable] = at;
            scan->n_unreadable++;
            memset(scan->bytes + at, 0, JOURNAL_BLOCK);
        } else if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static int load_parts(struct journal_scan *scan, struct journal_segment *segment)
{
    struct disk *disk = scan->journal->disk;

    for (uint64_t at = 0; at < segment->bytes; at += PROBE_BYTES) {
        uint64_t left = segment->bytes - at;
        size_t len = left < PROBE_BYTES ? (size_t)left : PROBE_BYTES;
        int rv = disk->ops->pread(disk, segment->file, scan->bytes + at, len, at);

        if (rv == -EIO) {
            rv = load_blocks(scan, segment, at, at + len);
        }
        if (rv != 0) {
            return rv;
        }
    }
    if (scan->n_unreadable > 0) {
        segment->bad = true;
        log_warn("store",
                 "msg=\"blocks of the journal cannot be read\" dir=%s segment=%" PRIu64
                 " offset=%" PRIu64 " blocks=%" PRIu32,
                 scan->journal->dir, segment->number, scan->unreadable[0],
                 scan->n_unreadable);
    }
    return 0;
}

int journal_scan_load(struct journal_scan *scan, struct journal_segment *segment)
{
    int rv;

    if (segment->bytes > scan->cap) {
        free(scan->bytes);
        scan->cap = 0;
        scan->bytes = malloc((size_t)segment->bytes);
        if (scan->bytes == NULL) {
            return -ENOMEM;
        }
        scan->cap = segment->bytes;
    }
    scan->n_unreadable = 0;
    rv = scan->journal->disk->ops->pread(scan->journal->disk, segment->file, scan->bytes,
                                         (size_t)segment->bytes, 0);
    rv = rv == -EIO ? load_parts(scan, segment) : rv;
    if (rv == 0) {
        journal_mend_loaded(scan, segment);
    }
    return rv;
}

bool journal_scan_unreadable(const struct journal_scan *scan, uint64_t offset,
                             uint64_t len)
{
    for (uint32_t i = 0; i < scan->n_unreadable; i++) {
        if (scan->unreadable[i] + JOURNAL_BLOCK > offset &&
            scan->unreadable[i] < offset + len) {
            return true;
        }
    }
    return false;
}

/* @n records are missing next; @n is 0 if that is not known. The first record of a segment
 * is no entry. */
static void gap_open(struct journal_scan *scan, uint64_t n, bool begins_segment)
{
    struct journal_gap *gap = &scan->gap;

    gap->counted = n > 0 && !gap->entries && !gap->meta;
    gap->last = scan->journal->stream.last_index;
    gap->n = n - (begins_segment && n > 0 ? 1 : 0);
    gap->entries = true;
    gap->meta = true;
}

int journal_gap_state(struct journal_scan *scan, const struct journal_snapshot *state)
{
    struct journal_gap *gap = &scan->gap;
    struct journal_snapshot *stream = &scan->journal->stream;

    if (gap->entries) {
        if (state->base_index < stream->base_index) {
            return -EUCLEAN;
        }
        /* Below it the index is empty now: the base must reach so far. */
        stream->base_index = state->base_index;
        stream->base_term = state->base_term;
        stream->last_index = state->last_index;
        journal_index_reset(&scan->journal->index, state->last_index);
    }
    if (gap->meta) {
        stream->term = state->term;
        stream->vote = state->vote;
    }
    gap->entries = false;
    gap->meta = false;
    return 0;
}

void journal_gap_meta(struct journal_scan *scan)
{
    scan->gap.meta = false;
}

void journal_gap_cut(struct journal_scan *scan)
{
    scan->gap.entries = false;
    scan->gap.need_base = 0;
}

void journal_gap_entry(struct journal_scan *scan, uint64_t index)
{
    struct journal_gap *gap = &scan->gap;
    struct journal_snapshot *stream = &scan->journal->stream;

    if (gap->entries && gap->counted && index == gap->last + gap->n + 1) {
        gap->meta = false;
    }
    if (gap->entries && index - 1 > stream->last_index) {
        stream->last_index = index - 1;
        journal_index_reset(&scan->journal->index, index - 1);
    }
    if (gap->entries || gap->need_base > index - 1) {
        gap->need_base = index - 1;
    }
    gap->entries = false;
}

bool journal_gap_closed(const struct journal_scan *scan)
{
    const struct journal_gap *gap = &scan->gap;

    return !gap->entries && !gap->meta && gap->need_base <= scan->journal->base_index;
}

static uint64_t end_of(const struct journal_batch_head *head)
{
    return head->offset + JOURNAL_BATCH_BYTES + (uint64_t)head->body_len;
}

/* Salt and number at @at are those of a record of the batch, one of @rest. A checksum at
 * each place would cost a lot. */
static bool named_at(const struct journal_scan *scan,
                     const struct journal_segment *segment,
                     const struct journal_batch_head *rest, uint64_t at)
{
    const uint8_t *bytes = scan->bytes + at;
    uint64_t seq;

    if (end_of(rest) - at < JOURNAL_RECORD_BYTES ||
        wire_load_u64(bytes + 16) != segment->salt) {
        return false;
    }
    seq = wire_load_u64(bytes + 8);
    return seq >= rest->first_seq && seq - rest->first_seq < rest->n_records;
}

/* And its header and head are whole. */
static bool record_at(const struct journal_scan *scan,
                      const struct journal_batch_head *rest, uint64_t at,
                      struct journal_record *out)
{
    size_t room = (size_t)(end_of(rest) - at);

    room = room < RECORD_ROOM_MAX ? room : RECORD_ROOM_MAX;
    return journal_record_head_get(scan->bytes + at, room, out) == 0 &&
           journal_record_span(out->head_len, out->payload_len) <= end_of(rest) - at;
}

static void tell_payload(const struct journal_scan *scan,
                         const struct journal_segment *segment, uint64_t at,
                         const struct journal_record *record)
{
    const uint8_t *payload =
        scan->bytes + at + journal_record_payload_at(record->head_len);

    if (crc32c(0, payload, record->payload_len) != record->payload_crc) {
        log_warn("store",
                 "msg=\"the payload of a journal entry is damaged\" dir=%s "
                 "segment=%" PRIu64 " offset=%" PRIu64 " index=%" PRIu64,
                 scan->journal->dir, segment->number, at, record->index);
    }
}

/* @n records of @rest, the next ones, are missing. */
static void miss(struct journal_scan *scan, const struct journal_batch_head *rest,
                 uint64_t n, uint64_t at)
{
    if (n > 0) {
        gap_open(scan, scan->next_seq == 0 ? 0 : n,
                 at == JOURNAL_BLOCK + JOURNAL_BATCH_BYTES);
    }
    scan->next_seq = n > 0 ? rest->first_seq + n : scan->next_seq;
}

/* Replay what is whole of the batch. */
static int salvage(struct journal_scan *scan, const struct journal_segment *segment,
                   const struct journal_batch_head *head)
{
    struct journal_batch_head rest = *head; /* Its records not seen yet. */
    uint64_t at = (uint64_t)head->offset + JOURNAL_BATCH_BYTES;
    uint64_t end = at + head->body_len;
    uint64_t known = at; /* Where they begin. */
    uint32_t misses = 0; /* Each costs a checksum: a batch has so many records at most. */

    while (at < end && misses < JOURNAL_BATCH_MAX) {
        bool named = named_at(scan, segment, &rest, at);
        struct journal_record record;
        int rv;

        if (!named || !record_at(scan, &rest, at, &record)) {
            misses += named ? 1 : 0;
            at += 8;
            continue;
        }
        miss(scan, &rest, record.seq - rest.first_seq, known);
        rv = journal_scan_apply(scan, &record, segment->number, at);
        if (rv != 0) {
            return rv == -EUCLEAN ? journal_scan_damaged(scan, segment->number, at,
                                                         "contradictory record")
                                  : rv;
        }
        tell_payload(scan, segment, at, &record);
        scan->next_seq = record.seq + 1;
        rest.n_records -= (uint32_t)(record.seq + 1 - rest.first_seq);
        rest.first_seq = record.seq + 1;
        at += journal_record_span(record.head_len, record.payload_len);
        known = at;
    }
    miss(scan, &rest, rest.n_records, known);
    return 0;
}

bool journal_gap_was_durable(const struct journal_scan *scan,
                             const struct journal_segment *segment,
                             const struct journal_batch_head *head)
{
    return journal_scan_follows(scan, head) && head->n_records > 0 &&
           head->body_len <= segment->bytes - head->offset - JOURNAL_BATCH_BYTES &&
           head->first_seq + head->n_records - 1 <= scan->durable;
}

static bool goes_on(const struct journal_scan *scan,
                    const struct journal_batch_head *head)
{
    return head->first_seq > scan->next_seq && head->durable + 1 >= head->first_seq;
}

/* Something of the segment is damaged: of the one before, if the gap ends where this one
 * begins. */
static void found_bad(struct journal_scan *scan, struct journal_segment *segment,
                      uint64_t offset, bool before)
{
    const struct journal *journal = scan->journal;
    uint64_t position = segment->number - journal->segments[0]->number;

    segment = before && position > 0 ? journal->segments[position - 1] : segment;
    segment->bad = true;
    log_warn("store",
             "msg=\"the journal is damaged in what may be needed no more\" dir=%s "
             "segment=%" PRIu64 " offset=%" PRIu64,
             journal->dir, segment->number, before ? segment->bytes : offset);
}

/* Go on at the next batch that says that all before it was durable. */
static int step_to_batch(struct journal_scan *scan, struct journal_segment *segment,
                         uint64_t *offset)
{
    for (uint64_t at = *offset; at < segment->bytes; at += JOURNAL_BLOCK) {
        struct journal_batch_head head;

        if (!journal_scan_batch_at(scan, segment, at, &head) || !goes_on(scan, &head)) {
            continue;
        }
        found_bad(scan, segment, *offset, at == JOURNAL_BLOCK);
        gap_open(scan, scan->next_seq == 0 ? 0 : head.first_seq - scan->next_seq,
                 *offset == JOURNAL_BLOCK && at > *offset);
        scan->next_seq = head.first_seq;
        scan->journal->link = head.link;
        scan->sound = at;
        *offset = at;
        return 0;
    }
    return OUT_NOENT;
}

int journal_gap_step(struct journal_scan *scan, struct journal_segment *segment,
                     uint64_t *offset)
{
    struct journal_batch_head head;
    int rv;

    if (scan->next_seq > scan->durable) {
        return OUT_NOENT;
    }
    if (!journal_scan_batch_at(scan, segment, *offset, &head) ||
        !journal_gap_was_durable(scan, segment, &head)) {
        return step_to_batch(scan, segment, offset);
    }
    found_bad(scan, segment, *offset, false);
    rv = salvage(scan, segment, &head);
    scan->journal->link = journal_batch_head_crc(scan->bytes + *offset);
    *offset += journal_batch_span(head.body_len);
    return rv;
}
