#include "store/journal_impl.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/direct.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t zeros[JOURNAL_BLOCK];

static uint32_t fill_of(uint32_t len)
{
    return (8 - (len & 7)) & 7;
}

static void pack_reset(struct journal *journal)
{
    struct journal_pack *pack = &journal->pack;

    pack->staged = JOURNAL_BATCH_BYTES;
    pack->iov[0] = (struct iovec){.iov_base = pack->stage, .iov_len = pack->staged};
    pack->n_iov = 1;
    pack->n_records = 0;
    pack->first_seq = journal->next_seq;
    pack->body_len = 0;
}

/* Copy into the stage; the last vector grows if it ends there. */
static void pack_copy(struct journal *journal, const void *data, size_t len)
{
    struct journal_pack *pack = &journal->pack;
    uint8_t *to = pack->stage + pack->staged;
    struct iovec *last = &pack->iov[pack->n_iov - 1];

    ASSERT(len <= JOURNAL_STAGE_BYTES - pack->staged);
    if (len == 0) {
        return;
    }
    if (!journal->dry) {
        memcpy(to, data, len);
    }
    if ((uint8_t *)last->iov_base + last->iov_len == to) {
        last->iov_len += len;
    } else {
        ASSERT(pack->n_iov < JOURNAL_IOV_MAX);
        pack->iov[pack->n_iov] = (struct iovec){.iov_base = to, .iov_len = len};
        pack->n_iov++;
    }
    pack->staged += len;
}

static void pack_bytes(struct journal *journal, const void *data, uint32_t len)
{
    struct journal_pack *pack = &journal->pack;

    if (len <= JOURNAL_COPY_MAX) {
        pack_copy(journal, data, len);
    } else {
        ASSERT(pack->n_iov < JOURNAL_IOV_MAX);
        pack->iov[pack->n_iov] = (struct iovec){
            .iov_base = (void *)(uintptr_t)data,
            .iov_len = len,
        };
        pack->n_iov++;
    }
    pack_copy(journal, zeros, fill_of(len));
}

/* Whether a record with these lengths still fits the batch, and the batch its segment. */
static bool pack_has_room(struct journal *journal, uint32_t head_len,
                          uint32_t payload_len)
{
    const struct journal_pack *pack = &journal->pack;
    uint64_t span = journal_record_span(head_len, payload_len);
    uint64_t left = journal->active->bytes - journal->tail;
    size_t stage = JOURNAL_RECORD_BYTES + 16;

    stage += head_len <= JOURNAL_COPY_MAX ? head_len : 0;
    stage += payload_len <= JOURNAL_COPY_MAX ? payload_len : 0;
    /* At most four vectors a record, and one for the batch's end. */
    return pack->n_iov + 5 <= JOURNAL_IOV_MAX &&
           pack->staged + stage <= JOURNAL_STAGE_BYTES &&
           pack->n_records < JOURNAL_BATCH_MAX &&
           journal_batch_span(pack->body_len + span) <= left;
}

/* Returns where the payload went in the segment. */
static uint64_t pack_put(struct journal *journal, struct journal_record *record,
                         const void *head, const void *payload)
{
    struct journal_pack *pack = &journal->pack;
    uint8_t header[JOURNAL_RECORD_BYTES] = {0};
    uint64_t at = journal->tail + JOURNAL_BATCH_BYTES + pack->body_len;

    if (!journal->dry) {
        record->seq = journal->next_seq;
        record->salt = journal->active->salt;
        record->payload_crc = crc32c(0, payload, record->payload_len);
        journal_record_put(record, head, header);
    }
    pack_copy(journal, header, sizeof header);
    pack_bytes(journal, head, record->head_len);
    pack_bytes(journal, payload, record->payload_len);
    pack->body_len += journal_record_span(record->head_len, record->payload_len);
    pack->n_records++;
    journal->next_seq++;
    return at + journal_record_payload_at(record->head_len);
}

/* The memory for the pack, @span bytes, to go past the page cache; NULL: it does not. */
static uint8_t *take_direct(const struct journal *journal, uint64_t span)
{
    return journal->unread && span >= JOURNAL_DIRECT_MIN ? direct_get() : NULL;
}

/*
 * The file system takes it from aligned memory only, so it is copied together; but to the
 * same warm memory each time and not to pages that are new to the page cache.
 */
static int write_direct(struct journal *journal, uint8_t *direct, const struct iovec *iov,
                        uint32_t n_iov)
{
    struct iovec part = {.iov_base = direct};
    uint64_t at = journal->tail;
    size_t skip = 0;
    int rv = 0;

    while (n_iov > 0 && rv == 0) {
        size_t n = iov->iov_len - skip;

        n = n < DIRECT_BYTES - part.iov_len ? n : DIRECT_BYTES - part.iov_len;
        memcpy(direct + part.iov_len, (const uint8_t *)iov->iov_base + skip, n);
        part.iov_len += n;
        skip += n;
        if (skip == iov->iov_len) {
            iov++;
            n_iov--;
            skip = 0;
        }
        if (part.iov_len == DIRECT_BYTES || n_iov == 0) {
            rv = disk_write_direct(journal->disk, journal->active->file, &part, 1, at);
            at += part.iov_len;
            part.iov_len = 0;
        }
    }
    return rv;
}

/* One write, or a few that count as one: nothing is said to be durable before all of them
 * are. What was durable before is said in its header. */
static int pack_write(struct journal *journal)
{
    struct journal_pack *pack = &journal->pack;
    struct journal_segment *segment = journal->active;
    uint64_t span = journal_batch_span(pack->body_len);
    struct journal_batch_head head = {
        .salt = segment->salt,
        .segment = segment->number,
        .offset = (uint32_t)journal->tail,
        .body_len = (uint32_t)pack->body_len,
        .first_seq = pack->first_seq,
        .durable = journal->durable,
        .n_records = pack->n_records,
        .life = journal->life,
        .link = journal->link,
    };
    uint8_t *direct;
    int rv;

    ASSERT(journal->tail % JOURNAL_BLOCK == 0 && span <= segment->bytes - journal->tail);
    if (journal->dry) {
        journal->tail += span;
        pack_reset(journal);
        return 0;
    }
    journal_batch_head_put(&head, pack->stage);
    pack->iov[pack->n_iov] = (struct iovec){
        .iov_base = (void *)(uintptr_t)zeros,
        .iov_len = (size_t)(span - JOURNAL_BATCH_BYTES - pack->body_len),
    };
    journal->unsynced = true;
    journal->marked = false;
    direct = take_direct(journal, span);
    rv = direct != NULL
             ? write_direct(journal, direct, pack->iov, pack->n_iov + 1)
             : journal->disk->ops->pwritev(journal->disk, segment->file, pack->iov,
                                           (int)pack->n_iov + 1, journal->tail);
    direct_put(direct);
    if (rv == 0) {
        journal->tail += span;
        journal->link = journal_batch_head_crc(pack->stage);
    }
    pack_reset(journal);
    return rv;
}

static int sync_current(struct journal *journal)
{
    int rv = 0;

    if (journal->unsynced) {
        rv = journal->disk->ops->datasync(journal->disk, journal->active->file);
        rv = rv == -ENOSPC ? -EIO : rv; /* Not one that can be waited out. */
    }
    if (rv == 0) {
        journal->unsynced = false;
        pthread_mutex_lock(&journal->lock);
        if (journal->pack.first_seq - 1 > journal->durable) {
            journal->durable = journal->pack.first_seq - 1; /* The pack is yet to come. */
            journal->durable_segment = journal->active->number;
        }
        pthread_mutex_unlock(&journal->lock);
    }
    return rv;
}

/* Begin a segment with what all older ones said, so that they can be recycled. */
static void put_state(struct journal *journal)
{
    uint8_t head[JOURNAL_STATE_BYTES];
    struct journal_record record = {.type = JOURNAL_STATE, .head_len = sizeof head};

    pthread_mutex_lock(&journal->lock);
    if (journal->base_index > journal->stream.base_index) {
        journal->stream.base_index = journal->base_index;
        journal->stream.base_term = journal->base_term;
    }
    pthread_mutex_unlock(&journal->lock);
    journal_snapshot_put(&journal->stream, head);
    (void)pack_put(journal, &record, head, NULL);
}

/* Pack as if into the @nth empty segment behind the current one, or a new one. */
static void enter_dry(struct journal *journal)
{
    size_t at;

    journal->dry_segments++;
    pthread_mutex_lock(&journal->lock);
    at = journal->current + journal->dry_segments;
    journal->dry_active.bytes =
        at < journal->n_segments ? journal->segments[at]->bytes : journal->segment_bytes;
    pthread_mutex_unlock(&journal->lock);
    journal->active = &journal->dry_active;
}

/* Go on in the next segment. All that lies in this one is durable first: so a torn tail
 * can only be in the last segment written to. */
static int next_segment(struct journal *journal)
{
    int rv = 0;

    if (journal->pack.n_records > 0) {
        rv = pack_write(journal);
    }
    if (rv == 0 && !journal->dry) {
        rv = sync_current(journal);
    }
    if (rv != 0) {
        return rv;
    }
    if (journal->dry) {
        enter_dry(journal);
    } else {
        pthread_mutex_lock(&journal->lock);
        journal->current++;
        ASSERT(journal->current < journal->n_segments); /* have_segments made it. */
        journal->active = journal->segments[journal->current];
        pthread_mutex_unlock(&journal->lock);
        journal->stays = false;
    }
    journal->tail = JOURNAL_BLOCK;
    pack_reset(journal);
    put_state(journal);
    return 0;
}

static int add(struct journal *journal, struct journal_record *record, const void *head,
               const void *payload, struct journal_place *place)
{
    int rv = 0;

    if (journal->tail == JOURNAL_BLOCK && journal->pack.n_records == 0) {
        put_state(journal); /* The very first segment. */
    }
    if (!pack_has_room(journal, record->head_len, record->payload_len)) {
        rv = journal->pack.n_records > 0 ? pack_write(journal) : 0;
    }
    /* Twice if a segment made under another configuration is too small. */
    while (rv == 0 && !pack_has_room(journal, record->head_len, record->payload_len)) {
        rv = next_segment(journal);
    }
    if (rv != 0) {
        return rv;
    }
    ASSERT(pack_has_room(journal, record->head_len, record->payload_len));
    place->offset = pack_put(journal, record, head, payload);
    place->segment = journal->active->number;
    place->crc = record->payload_crc;
    return 0;
}

static int add_all(struct journal *journal, struct journal_batch *batch)
{
    struct journal_place nowhere;
    int rv = 0;

    if (journal->leaves) {
        rv = next_segment(journal);
    }
    if (rv == 0 && batch->has_meta) {
        struct journal_record meta = {
            .type = JOURNAL_META, .index = batch->term, .term = batch->vote};

        rv = add(journal, &meta, NULL, NULL, &nowhere);
        journal->stream.term = batch->term;
        journal->stream.vote = batch->vote;
    }
    if (rv == 0 && batch->has_base) {
        struct journal_record cut = {
            .type = JOURNAL_CUT, .index = batch->base_index, .term = batch->base_term};

        rv = add(journal, &cut, NULL, NULL, &nowhere);
        journal->stream.base_index = batch->base_index;
        journal->stream.base_term = batch->base_term;
        journal->stream.last_index = batch->base_index;
    }
    for (uint32_t i = 0; rv == 0 && i < batch->n_entries; i++) {
        struct journal_entry *entry = &batch->entries[i];
        struct journal_record record = {.type = JOURNAL_ENTRY,
                                        .entry_type = entry->type,
                                        .index = entry->index,
                                        .term = entry->term,
                                        .head_len = (uint32_t)entry->head.len,
                                        .payload_len = (uint32_t)entry->payload.len};

        rv = add(journal, &record, entry->head.data, entry->payload.data, &entry->place);
        journal->stream.last_index = entry->index;
    }
    if (rv == 0 && journal->pack.n_records > 0) {
        rv = pack_write(journal);
    }
    return rv == 0 && !journal->dry ? sync_current(journal) : rv;
}

/* What an append changes before anything of it is durable. */
struct before {
    struct journal_segment *active;
    struct journal_snapshot stream;
    uint64_t next_seq;
    uint64_t tail;
    uint32_t link;
};

static struct before before_of(const struct journal *journal)
{
    return (struct before){
        .active = journal->active,
        .stream = journal->stream,
        .next_seq = journal->next_seq,
        .tail = journal->tail,
        .link = journal->link,
    };
}

static void go_back(struct journal *journal, const struct before *before)
{
    journal->active = before->active;
    journal->stream = before->stream;
    journal->next_seq = before->next_seq;
    journal->tail = before->tail;
    journal->link = before->link;
    pack_reset(journal);
}

/* Have every segment that @batch will be written to, now, while a full disk does no harm
 * yet. Packing it without writing tells how many. */
static int have_segments(struct journal *journal, struct journal_batch *batch)
{
    struct before before = before_of(journal);
    size_t ready;
    int rv;

    journal->dry = true;
    journal->dry_segments = 0;
    pack_reset(journal);
    rv = add_all(journal, batch);
    ASSERT(rv == 0); /* It does nothing that can fail. */
    journal->dry = false;
    go_back(journal, &before);
    pthread_mutex_lock(&journal->lock);
    ready = journal->n_segments - journal->current - 1;
    pthread_mutex_unlock(&journal->lock);
    for (; rv == 0 && ready < journal->dry_segments; ready++) {
        rv = journal_segments_make(journal);
    }
    return rv;
}

/*
 * A file system that copies on write can be full though the segment is prewritten. As
 * long as nothing of the batch was synced, all is as before, but for whole batches that
 * may lie behind the tail: another life's, so that none of them ever follows a new one.
 */
static bool take_back(struct journal *journal, const struct before *before)
{
    if (journal->active != before->active) {
        return false;
    }
    go_back(journal, before);
    journal->life = (uint32_t)prng_next(&journal->salts);
    return true;
}

/* The batch is durable: let readers see it. */
static void publish(struct journal *journal, const struct journal_batch *batch)
{
    pthread_mutex_lock(&journal->lock);
    if (batch->has_base) {
        ASSERT(batch->base_index >= journal->base_index);
        journal->base_index = batch->base_index;
        journal->base_term = batch->base_term;
        journal_index_reset(&journal->index, batch->base_index);
        journal->voids++;
    }
    for (uint32_t i = 0; i < batch->n_entries; i++) {
        const struct journal_entry *entry = &batch->entries[i];
        uint32_t head_len = (uint32_t)entry->head.len;
        struct journal_slot slot = {
            .segment = entry->place.segment,
            .term = entry->term,
            .offset =
                (uint32_t)(entry->place.offset - journal_record_payload_at(head_len)),
            .head_len = head_len,
            .payload_len = (uint32_t)entry->payload.len,
            .type = entry->type,
        };

        journal->voids += entry->index <= journal_index_last(&journal->index) ? 1 : 0;
        journal_index_put(&journal->index, entry->index, &slot);
    }
    pthread_mutex_unlock(&journal->lock);
}

/* Refuse what would leave a log with gaps, before anything is written. */
static int check_batch(struct journal *journal, const struct journal_batch *batch)
{
    uint64_t room = journal->segment_bytes - JOURNAL_BLOCK - JOURNAL_BATCH_BYTES -
                    journal_record_span(JOURNAL_STATE_BYTES, 0);
    uint64_t base;
    uint64_t last;
    int rv = batch->n_entries <= JOURNAL_BATCH_MAX ? 0 : -EINVAL;

    pthread_mutex_lock(&journal->lock);
    base = journal->base_index;
    last = journal_index_last(&journal->index);
    if (rv == 0) {
        rv = journal_index_reserve(&journal->index, batch->n_entries);
    }
    pthread_mutex_unlock(&journal->lock);
    if (batch->has_base && batch->base_index < base) {
        rv = -EINVAL;
    }
    if (batch->has_base) {
        base = batch->base_index;
        last = base;
    }
    for (uint32_t i = 0; rv == 0 && i < batch->n_entries; i++) {
        const struct journal_entry *entry = &batch->entries[i];
        uint64_t span;

        if (entry->index <= base || entry->index > last + 1) {
            return -EINVAL;
        }
        if (entry->head.len > JOURNAL_HEAD_MAX ||
            entry->payload.len > JOURNAL_PAYLOAD_MAX) {
            return -EFBIG;
        }
        span =
            journal_record_span((uint32_t)entry->head.len, (uint32_t)entry->payload.len);
        if (span > room) {
            return -EFBIG;
        }
        last = entry->index;
    }
    return rv;
}

/*
 * A segment in which something is bad is left: the next one begins with all that is to be
 * known of this one's records but entries, and this one can go as soon as those are
 * compacted.
 */
static bool wants_to_leave(struct journal *journal)
{
    return journal->tail > JOURNAL_BLOCK && !journal->stays &&
           journal_segment_is_bad(journal, journal->active);
}

static int have_next_segments(struct journal *journal, struct journal_batch *batch)
{
    int rv;

    journal->leaves = wants_to_leave(journal);
    rv = have_segments(journal, batch);
    if (rv == -ENOSPC && journal->leaves) {
        journal->leaves = false;
        journal->stays = true; /* Until it is full: trying costs a segment's writes. */
        rv = have_segments(journal, batch);
    }
    return rv;
}

int journal_append(struct journal *journal, struct journal_batch *batch)
{
    struct before before;
    int rv;

    if (journal->fault != 0) {
        return journal->fault;
    }
    rv = check_batch(journal, batch);
    if (rv == 0) {
        rv = have_next_segments(journal, batch);
    }
    if (rv != 0) {
        return rv;
    }
    before = before_of(journal);
    pack_reset(journal);
    journal->unread = batch->unread;
    rv = add_all(journal, batch);
    if (rv == -ENOSPC && take_back(journal, &before)) {
        return rv;
    }
    if (rv != 0) {
        rv = rv == -ENOSPC ? -EIO : rv;
        journal->fault = rv;
        log_error("store",
                  "msg=\"journal failed\" dir=%s segment=%" PRIu64 " offset=%" PRIu64
                  " error=%d",
                  journal->dir, journal->active->number, journal->tail, -rv);
        return rv;
    }
    publish(journal, batch);
    return 0;
}

int journal_mark(struct journal *journal, bool sync)
{
    struct journal_segment *segment = journal->active;
    uint8_t block[JOURNAL_BLOCK] = {0};
    struct iovec iov = {.iov_base = block, .iov_len = sizeof block};
    struct journal_batch_head head = {
        .offset = (uint32_t)journal->tail,
        .first_seq = journal->next_seq,
        .durable = journal->durable,
        .life = journal->life,
        .link = journal->link,
    };
    int rv;

    if (journal->durable == 0) {
        return 0;
    }
    if (journal->tail == segment->bytes) {
        /* No room: it goes to where the next batch will go. */
        rv = journal_segment_ready(journal) != NULL ? 0 : journal_segments_make(journal);
        if (rv != 0) {
            return rv;
        }
        segment = journal_segment_ready(journal);
        head.offset = JOURNAL_BLOCK;
    }
    head.salt = segment->salt;
    head.segment = segment->number;
    journal_batch_head_put(&head, block);
    rv = journal->disk->ops->pwritev(journal->disk, segment->file, &iov, 1, head.offset);
    if (rv == 0 && sync) {
        rv = journal->disk->ops->datasync(journal->disk, segment->file);
    }
    journal->marked = rv == 0;
    return rv;
}

int journal_prepare(struct journal *journal)
{
    int rv = journal->fault;

    if (rv == 0 && !journal->marked) {
        rv = journal_mark(journal, false);
    }
    if (rv == 0 && journal_segment_ready(journal) == NULL) {
        rv = journal_segments_make(journal);
    }
    if (rv == 0 && wants_to_leave(journal)) {
        rv = journal_append(journal, &(struct journal_batch){0});
    }
    return rv;
}
