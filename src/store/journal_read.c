#include "store/journal_impl.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static bool is_inside(const struct journal_segment *segment, uint64_t offset, size_t len)
{
    return offset <= segment->bytes && len <= segment->bytes - offset;
}

int journal_read_once(struct journal *journal, struct journal_place place,
                      struct iovec room, size_t len, uint8_t **at)
{
    struct journal_segment *segment = journal_segment_get(journal, place.segment);
    uint64_t begin = place.offset - place.offset % DISK_DIRECT_ALIGN;
    size_t skip = (size_t)(place.offset - begin);
    size_t span =
        (skip + len + DISK_DIRECT_ALIGN - 1) / DISK_DIRECT_ALIGN * DISK_DIRECT_ALIGN;
    int rv;

    ASSERT(room.iov_len >= len + 2 * DISK_DIRECT_ALIGN);
    if (segment == NULL) {
        return -ENOENT;
    }
    /* Segments are a multiple of that too. */
    rv = is_inside(segment, place.offset, len) && is_inside(segment, begin, span)
             ? disk_read_direct(journal->disk, segment->file, room.iov_base, span, begin)
             : -EINVAL;
    journal_segment_judge(journal, segment, rv);
    journal_segment_put(journal, segment);
    *at = (uint8_t *)room.iov_base + skip;
    return rv;
}

int journal_pread(struct journal *journal, struct journal_place place, void *buf,
                  size_t len)
{
    struct journal_segment *segment = journal_segment_get(journal, place.segment);
    int rv;

    if (segment == NULL) {
        return -ENOENT;
    }
    if (!is_inside(segment, place.offset, len)) {
        rv = -EINVAL;
    } else {
        rv = journal->disk->ops->pread(journal->disk, segment->file, buf, len,
                                       place.offset);
    }
    journal_segment_judge(journal, segment, rv);
    journal_segment_put(journal, segment);
    return rv;
}

/* An entry, and its segment, which stays while it is held. */
struct held {
    struct journal_slot slot;
    struct journal_segment *segment;
    uint64_t voids; /* The journal's count then. */
};

/* Read a record into a buffer that head and payload share. */
static int read_entry(struct journal *journal, uint64_t index, const struct held *held,
                      struct journal_entry *out)
{
    const struct journal_slot *slot = &held->slot;
    size_t len = (size_t)journal_record_span(slot->head_len, slot->payload_len);
    size_t payload_at = (size_t)journal_record_payload_at(slot->head_len);
    struct journal_place place = {.segment = slot->segment, .offset = slot->offset};
    struct journal_record record;
    struct buf *buf = buf_new(len);
    int rv;

    if (buf == NULL) {
        return -ENOMEM;
    }
    rv = journal->disk->ops->pread(journal->disk, held->segment->file, buf->data, len,
                                   slot->offset);
    if (rv != 0) {
        goto out;
    }
    rv = journal_record_get(buf->data, len, &record);
    if (rv == 0 && (record.type != JOURNAL_ENTRY || record.index != index ||
                    record.term != slot->term || record.head_len != slot->head_len ||
                    record.payload_len != slot->payload_len)) {
        rv = -EUCLEAN;
    }
    if (rv != 0) {
        log_error("store",
                  "msg=\"journal entry is damaged\" dir=%s segment=%" PRIu64
                  " offset=%" PRIu32 " index=%" PRIu64,
                  journal->dir, slot->segment, slot->offset, index);
        goto out;
    }
    buf->len = len;
    place.offset += payload_at;
    place.crc = record.payload_crc;
    *out = (struct journal_entry){
        .index = index,
        .term = record.term,
        .type = record.entry_type,
        .head = slice_of(buf, JOURNAL_RECORD_BYTES, record.head_len),
        .payload = slice_of(buf, payload_at, record.payload_len),
        .place = place,
    };
out:
    buf_unref(buf);
    return rv;
}

/* False if entry @index is not in the log. */
static bool hold_entry(struct journal *journal, uint64_t index, struct held *out)
{
    const struct journal_slot *slot;
    struct journal_segment *segment;

    pthread_mutex_lock(&journal->lock);
    slot = journal_index_get(&journal->index, index);
    if (slot != NULL) {
        segment = journal->segments[slot->segment - journal->segments[0]->number];
        ASSERT(segment->number == slot->segment);
        segment->readers++;
        *out = (struct held){.slot = *slot, .segment = segment, .voids = journal->voids};
    }
    pthread_mutex_unlock(&journal->lock);
    return slot != NULL;
}

/* NOLINT(params): the contract's. */
int journal_fetch(struct journal *journal, uint64_t first, uint32_t n, size_t max_bytes,
                  struct journal_entry *out, uint32_t *got)
{
    size_t bytes = 0;
    uint64_t voids = 0;
    uint32_t done = 0;
    int rv = 0;

    while (rv == 0 && done < n) {
        struct held held;

        if (!hold_entry(journal, first + done, &held)) {
            rv = done == 0 ? OUT_NOENT : 0;
            break;
        }
        voids = done == 0 ? held.voids : voids;
        bytes += held.slot.head_len + held.slot.payload_len;
        /* Entries from before and after a truncation never were one log. */
        if (done > 0 && (bytes > max_bytes || held.voids != voids)) {
            journal_segment_put(journal, held.segment);
            break;
        }
        rv = read_entry(journal, first + done, &held, &out[done]);
        journal_segment_judge(journal, held.segment, rv);
        journal_segment_put(journal, held.segment);
        done += rv == 0 ? 1 : 0;
    }
    if (rv < 0 && done > 0) {
        rv = 0; /* What can be had; who asks for the next one hears of it. */
    }
    if (rv != 0) {
        while (done > 0) {
            done--;
            slice_unref(&out[done].head);
            slice_unref(&out[done].payload);
        }
        return rv;
    }
    *got = done;
    return 0;
}
