/*
 * Recovery's way with a bit that flipped. A CRC says which one it was (crc32c_flipped), so
 * nothing need be missing; the last member has nobody else to ask.
 *
 * What is set right must be what was there, and never what a torn write left:
 *
 * - A batch's header lies in one sector, so a crash leaves it as it was or as it is to be.
 *   What it then says must follow, in this very place; and its records must be whole, or
 *   have been durable.
 * - A record is looked at only if something says that its batch was durable: a torn one is
 *   not. Its salt and number are known. Its head and its payload are looked at if they are so
 *   short that other damage, a sector of something else, hardly ever looks like one bit.
 * - A segment's header and the floor have their names only once they are durable. What is
 *   set right must be of this segment and of this file.
 *
 * All of that is in memory while recovery reads, and is written back in place once it is
 * known that the journal opens: each block with its one bit turned is right or as it was,
 * whatever of it a crash lets through. The segment is left and not used again, as with
 * other damage: the disk has shown what it does to it.
 */
#include "store/journal_scan.h"

#include "base/assert.h"
#include "base/log.h"

#include <inttypes.h>

static void note(struct journal_scan *scan, struct journal_segment *segment,
                 uint64_t offset, uint8_t byte)
{
    ASSERT(scan->n_mended < JOURNAL_MENDED_MAX);
    scan->mended[scan->n_mended] = (struct journal_mended){
        .segment = segment->number, .offset = offset, .byte = byte};
    scan->n_mended++;
    segment->bad = true;
    log_warn("store",
             "msg=\"a flipped bit of the journal is set right\" dir=%s segment=%" PRIu64
             " offset=%" PRIu64,
             scan->journal->dir, segment->number, offset);
}

static bool mend_head(struct journal_scan *scan, struct journal_segment *segment,
                      uint64_t offset)
{
    uint8_t *at = scan->bytes + offset;
    struct journal_batch_head head;
    struct journal_flip flip;

    if (!journal_batch_head_flip(at, &flip)) {
        return false;
    }
    at[flip.at] ^= flip.mask;
    if (journal_scan_batch_at(scan, segment, offset, &head) &&
        journal_scan_follows(scan, &head) &&
        (head.n_records == 0 || journal_scan_whole(scan, segment, &head) ||
         journal_gap_was_durable(scan, segment, &head))) {
        note(scan, segment, offset + flip.at, at[flip.at]);
        return true;
    }
    at[flip.at] ^= flip.mask;
    return false;
}

/* Header and head of the record at @at, of a batch that ends at @end. */
static bool mend_record(struct journal_scan *scan, struct journal_segment *segment,
                        uint64_t at, uint64_t end, uint64_t seq)
{
    const struct journal_record want = {.salt = segment->salt, .seq = seq};
    struct journal_flip flip;

    if (!journal_record_flip(scan->bytes + at, (size_t)(end - at), &want, &flip) ||
        journal_scan_unreadable(scan, at, flip.at + 1u)) {
        return false;
    }
    scan->bytes[at + flip.at] ^= flip.mask;
    note(scan, segment, at + flip.at, scan->bytes[at + flip.at]);
    return true;
}

static bool mend_payload(struct journal_scan *scan, struct journal_segment *segment,
                         uint64_t at, const struct journal_record *record)
{
    uint64_t payload_at = at + journal_record_payload_at(record->head_len);
    struct journal_flip flip;

    if (scan->n_mended == JOURNAL_MENDED_MAX ||
        journal_scan_unreadable(scan, payload_at, record->payload_len) ||
        !journal_payload_flip(scan->bytes + at, record, &flip)) {
        return false;
    }
    scan->bytes[at + flip.at] ^= flip.mask;
    note(scan, segment, at + flip.at, scan->bytes[at + flip.at]);
    return true;
}

/* As far as it is known where a record begins. */
static bool mend_records(struct journal_scan *scan, struct journal_segment *segment,
                         const struct journal_batch_head *head)
{
    uint64_t at = (uint64_t)head->offset + JOURNAL_BATCH_BYTES;
    uint64_t end = at + head->body_len;
    bool mended = false;

    for (uint32_t i = 0; i < head->n_records && scan->n_mended < JOURNAL_MENDED_MAX;
         i++) {
        size_t room = (size_t)(end - at);
        struct journal_record record;
        uint64_t span;

        if (journal_record_head_get(scan->bytes + at, room, &record) != 0) {
            if (!mend_record(scan, segment, at, end, head->first_seq + i)) {
                break;
            }
            mended = true;
            (void)journal_record_head_get(scan->bytes + at, room, &record);
        }
        span = journal_record_span(record.head_len, record.payload_len);
        if (span > room) {
            break;
        }
        mended = mend_payload(scan, segment, at, &record) || mended;
        at += span;
    }
    return mended;
}

bool journal_mend_batch(struct journal_scan *scan, struct journal_segment *segment,
                        uint64_t offset)
{
    struct journal_batch_head head;

    if (scan->n_mended == JOURNAL_MENDED_MAX) {
        return false;
    }
    if (!journal_scan_batch_at(scan, segment, offset, &head)) {
        return mend_head(scan, segment, offset);
    }
    return journal_gap_was_durable(scan, segment, &head) &&
           mend_records(scan, segment, &head);
}

void journal_mend_loaded(struct journal_scan *scan, const struct journal_segment *segment)
{
    for (uint32_t i = 0; i < scan->n_mended; i++) {
        const struct journal_mended *mended = &scan->mended[i];

        if (mended->segment == segment->number) {
            scan->bytes[mended->offset] = mended->byte;
        }
    }
}

bool journal_mend_segment(struct journal_scan *scan, struct journal_segment *segment,
                          uint8_t block[JOURNAL_BLOCK])
{
    struct journal_segment_head head;
    struct journal_flip flip;

    if (scan->n_mended == JOURNAL_MENDED_MAX ||
        !journal_segment_head_flip(block, &flip)) {
        return false;
    }
    block[flip.at] ^= flip.mask;
    if (journal_segment_head_get(block, &head) == 0 && head.number == segment->number &&
        head.bytes == segment->bytes) {
        note(scan, segment, flip.at, block[flip.at]);
        return true;
    }
    block[flip.at] ^= flip.mask;
    return false;
}

bool journal_mend_floor(struct journal_scan *scan, uint8_t *bytes, size_t len)
{
    struct journal_flip flip;

    if (!journal_floor_flip(bytes, len, &flip)) {
        return false;
    }
    bytes[flip.at] ^= flip.mask;
    if (journal_floor_get(bytes, len, &scan->floor) != 0) {
        return false;
    }
    scan->floor_mended = true;
    log_warn("store",
             "msg=\"a flipped bit of the journal's floor is set right\" dir=%s "
             "offset=%" PRIu32,
             scan->journal->dir, flip.at);
    return true;
}

static int write_block(struct journal_scan *scan, const struct journal_segment *segment,
                       const struct journal_mended *mended)
{
    struct disk *disk = scan->journal->disk;
    uint64_t begin = mended->offset - mended->offset % JOURNAL_BLOCK;
    uint8_t block[JOURNAL_BLOCK];
    struct iovec iov = {.iov_base = block, .iov_len = sizeof block};
    int rv = disk->ops->pread(disk, segment->file, block, sizeof block, begin);

    if (rv != 0) {
        return rv;
    }
    block[mended->offset - begin] = mended->byte;
    rv = disk->ops->pwritev(disk, segment->file, &iov, 1, begin);
    return rv == 0 ? disk->ops->datasync(disk, segment->file) : rv;
}

int journal_mend_write(struct journal_scan *scan)
{
    struct journal *journal = scan->journal;
    int rv = scan->floor_mended ? journal_floor_write(journal, &scan->floor) : 0;

    for (uint32_t i = 0; i < scan->n_mended && rv == 0; i++) {
        const struct journal_mended *mended = &scan->mended[i];
        uint64_t position = mended->segment - journal->segments[0]->number;

        ASSERT(position < journal->n_segments);
        rv = write_block(scan, journal->segments[position], mended);
    }
    return rv;
}
