#include "store/journal_impl.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SEGMENT_BYTES_DEFAULT (16u << 20)
#define NAME_ROOM 64u /* Bytes for a file's name behind the folder's. */
#define SPARES_MAX 1024u

static void journal_free(struct journal *journal)
{
    if (journal == NULL) {
        return;
    }
    for (size_t i = 0; i < journal->n_segments; i++) {
        ASSERT(journal->segments[i]->readers == 0);
        journal->disk->ops->close(journal->disk, journal->segments[i]->file);
        free(journal->segments[i]);
    }
    free(journal->segments);
    free(journal->spares);
    free(journal->index.slots);
    free(journal->pack.stage);
    free(journal->pack.iov);
    free(journal->dir);
    pthread_mutex_destroy(&journal->control);
    pthread_mutex_destroy(&journal->lock);
    free(journal);
}

static int check_config(const struct journal_config *config, uint64_t segment_bytes)
{
    if (segment_bytes % JOURNAL_BLOCK != 0 || segment_bytes < JOURNAL_SEGMENT_MIN ||
        segment_bytes > JOURNAL_SEGMENT_MAX || config->spare_segments > SPARES_MAX) {
        return -EINVAL;
    }
    return strlen(config->dir) + NAME_ROOM > JOURNAL_PATH_MAX ? -ENAMETOOLONG : 0;
}

static int journal_new(const struct journal_config *config, struct journal **out)
{
    uint64_t bytes =
        config->segment_bytes == 0 ? SEGMENT_BYTES_DEFAULT : config->segment_bytes;
    uint64_t seed = config->seed;
    struct journal *journal;
    int rv = check_config(config, bytes);

    if (rv != 0) {
        return rv;
    }
    if (seed == 0 && getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) {
        return -EIO;
    }
    journal = calloc(1, sizeof *journal);
    if (journal == NULL) {
        return -ENOMEM;
    }
    pthread_mutex_init(&journal->control, NULL);
    pthread_mutex_init(&journal->lock, NULL);
    journal->disk = config->disk;
    memcpy(journal->zone_id, config->zone_id, sizeof journal->zone_id);
    journal->segment_bytes = bytes;
    journal->spare_max = config->spare_segments;
    journal->spare_room = config->spare_segments;
    prng_seed(&journal->salts, seed);
    journal->life = (uint32_t)prng_next(&journal->salts);
    journal_index_reset(&journal->index, 0);
    journal->next_seq = 1;
    journal->tail = JOURNAL_BLOCK;
    journal->dir = strdup(config->dir);
    journal->spares = calloc(config->spare_segments + 1, sizeof *journal->spares);
    journal->pack.stage = malloc(JOURNAL_STAGE_BYTES);
    journal->pack.iov = calloc(JOURNAL_IOV_MAX, sizeof *journal->pack.iov);
    if (journal->dir == NULL || journal->spares == NULL || journal->pack.stage == NULL ||
        journal->pack.iov == NULL) {
        journal_free(journal);
        return -ENOMEM;
    }
    *out = journal;
    return 0;
}

/* Heads lie close together where payloads are small: one read for many of them. */
struct ahead {
    uint8_t *bytes; /* AHEAD_BYTES, or what one record needs. */
    struct journal_place place;
    size_t len; /* Read from there; 0: nothing. */
};

enum { AHEAD_BYTES = 64 << 10 };

/* How much to read from @place on. */
static size_t ahead_room(struct journal *journal, struct journal_place place, size_t len)
{
    struct journal_segment *segment = journal_segment_get(journal, place.segment);
    uint64_t left = segment == NULL || place.offset > segment->bytes
                        ? 0
                        : segment->bytes - place.offset;

    if (segment != NULL) {
        journal_segment_put(journal, segment);
    }
    left = left < AHEAD_BYTES ? left : AHEAD_BYTES;
    return left > len ? (size_t)left : len;
}

static int ahead_get(struct journal *journal, struct ahead *ahead,
                     struct journal_place place, size_t len, const uint8_t **out)
{
    uint64_t skip = place.offset - ahead->place.offset;
    int rv = 0;

    if (ahead->len < len || place.segment != ahead->place.segment ||
        place.offset < ahead->place.offset || skip > ahead->len - len) {
        ahead->len = ahead_room(journal, place, len);
        rv = journal_pread(journal, place, ahead->bytes, ahead->len);
        if (rv != 0) { /* Something bad lies behind the record. */
            ahead->len = len;
            rv = journal_pread(journal, place, ahead->bytes, len);
        }
        ahead->place = place;
        skip = 0;
    }
    ahead->len = rv == 0 ? ahead->len : 0;
    *out = ahead->bytes + skip;
    return rv;
}

/* Give every live entry to @each, its head read back from its segment. */
static int tell_entries(struct journal *journal,
                        int (*each)(void *ctx, const struct journal_entry *entry),
                        void *ctx)
{
    struct ahead ahead = {.bytes = malloc(JOURNAL_RECORD_BYTES + JOURNAL_HEAD_MAX)};
    uint64_t last = journal_index_last(&journal->index);
    int rv = ahead.bytes == NULL ? -ENOMEM : 0;

    for (uint64_t at = journal->index.first; rv == 0 && at <= last; at++) {
        const struct journal_slot *slot = journal_index_get(&journal->index, at);
        size_t room = JOURNAL_RECORD_BYTES + slot->head_len;
        struct journal_place place = {.segment = slot->segment, .offset = slot->offset};
        struct journal_record record;
        struct journal_entry entry;
        const uint8_t *bytes;

        rv = ahead_get(journal, &ahead, place, room, &bytes);
        if (rv == 0) {
            rv = journal_record_head_get(bytes, room, &record);
        }
        if (rv != 0) {
            break;
        }
        place.offset += journal_record_payload_at(record.head_len);
        entry = (struct journal_entry){
            .index = at,
            .term = record.term,
            .type = record.entry_type,
            .head = slice_borrow(bytes + JOURNAL_RECORD_BYTES, record.head_len),
            .payload = {.len = record.payload_len},
            .place = place,
        };
        rv = each(ctx, &entry);
    }
    free(ahead.bytes);
    return rv;
}

int journal_open(const struct journal_config *config, struct journal_state *state,
                 int (*each)(void *ctx, const struct journal_entry *entry), void *ctx,
                 struct journal **out)
{
    struct journal *journal = NULL;
    int rv = journal_new(config, &journal);

    if (rv != 0) {
        return rv;
    }
    rv = journal_recover(journal, config->create);
    if (rv == 0 && each != NULL) {
        rv = tell_entries(journal, each, ctx);
    }
    if (rv != 0) {
        journal_free(journal);
        return rv;
    }
    *state = (struct journal_state){
        .term = journal->stream.term,
        .vote = journal->stream.vote,
        .base_index = journal->base_index,
        .base_term = journal->base_term,
        .last_index = journal_index_last(&journal->index),
    };
    *out = journal;
    return 0;
}

void journal_close(struct journal *journal)
{
    if (journal == NULL) {
        return;
    }
    if (journal->fault == 0) {
        (void)journal_mark(journal, true); /* Best effort: nothing is lost without it. */
    }
    journal_free(journal);
}

int journal_floor_write(struct journal *journal, const struct journal_floor *floor)
{
    uint8_t bytes[JOURNAL_FLOOR_BYTES];
    char path[JOURNAL_PATH_MAX];

    journal_floor_put(floor, bytes);
    (void)strcpy(path, journal->dir);
    (void)strcat(path, "/floor");
    return disk_replace_file(journal->disk, path, bytes, sizeof bytes);
}

/* What the file "floor" says now. Under @lock. */
static struct journal_floor floor_now(const struct journal *journal)
{
    struct journal_floor floor = {
        .segment = journal->segments[0]->number,
        .base_index = journal->base_index,
        .base_term = journal->base_term,
        .durable = journal->durable,
    };

    memcpy(floor.zone_id, journal->zone_id, sizeof floor.zone_id);
    return floor;
}

int journal_compact(struct journal *journal, uint64_t index, uint64_t term)
{
    struct journal_floor floor;
    int rv = 0;

    pthread_mutex_lock(&journal->control);
    pthread_mutex_lock(&journal->lock);
    floor = floor_now(journal);
    if (index > journal_index_last(&journal->index)) {
        rv = -EINVAL;
    }
    pthread_mutex_unlock(&journal->lock);
    if (rv != 0 || index <= floor.base_index) {
        goto out;
    }
    floor.base_index = index;
    floor.base_term = term;
    rv = journal_floor_write(journal, &floor);
    if (rv != 0) {
        goto out;
    }
    pthread_mutex_lock(&journal->lock);
    if (index > journal->base_index) { /* Else the log was cut meanwhile. */
        journal->base_index = index;
        journal->base_term = term;
        journal_index_drop(&journal->index, index);
    }
    pthread_mutex_unlock(&journal->lock);
out:
    pthread_mutex_unlock(&journal->control);
    return rv;
}

int journal_release(struct journal *journal, uint64_t segment)
{
    const struct journal_slot *first;
    struct journal_floor floor;
    uint64_t limit;
    int rv = 0;

    pthread_mutex_lock(&journal->control);
    pthread_mutex_lock(&journal->lock);
    floor = floor_now(journal);
    /* Not the current one: until its first batch, which says what all older ones did, is
     * durable, a power cut leaves nothing of it. */
    limit = journal->durable_segment;
    first = journal_index_get(&journal->index, journal->index.first);
    if (first != NULL && first->segment < limit) {
        limit = first->segment;
    }
    pthread_mutex_unlock(&journal->lock);
    segment = segment < limit ? segment : limit;
    if (segment > floor.segment) {
        floor.segment = segment;
        rv = journal_floor_write(journal, &floor);
        if (rv == 0) {
            rv = journal_segments_drop(journal, segment);
        }
    }
    pthread_mutex_unlock(&journal->control);
    return rv;
}

/* The locks are no part of what a const journal promises to leave alone. */
static struct journal *locked(const struct journal *journal)
{
    struct journal *self = (struct journal *)(uintptr_t)journal;

    pthread_mutex_lock(&self->lock);
    return self;
}

uint64_t journal_segment(const struct journal *journal)
{
    struct journal *self = locked(journal);
    uint64_t number = self->segments[self->current]->number;

    pthread_mutex_unlock(&self->lock);
    return number;
}

uint64_t journal_floor_segment(const struct journal *journal)
{
    struct journal *self = locked(journal);
    uint64_t number = self->segments[0]->number;

    pthread_mutex_unlock(&self->lock);
    return number;
}

/* The last entry that lies in segment @number or before: they lie in order. */
static uint64_t last_in(const struct journal_index *index, uint64_t number)
{
    uint64_t low = index->first;
    uint64_t high = journal_index_last(index) + 1;

    while (low < high) {
        uint64_t at = low + (high - low) / 2;

        if (journal_index_get(index, at)->segment <= number) {
            low = at + 1;
        } else {
            high = at;
        }
    }
    return low > index->first ? low - 1 : 0;
}

bool journal_bad(const struct journal *journal, uint64_t *index)
{
    struct journal *self = locked(journal);
    size_t i = self->current + 1;
    bool bad;

    while (i > 0 && !self->segments[i - 1]->bad) {
        i--;
    }
    bad = i > 0;
    *index = bad ? last_in(&self->index, self->segments[i - 1]->number) : 0;
    pthread_mutex_unlock(&self->lock);
    return bad;
}

uint64_t journal_bytes(const struct journal *journal)
{
    struct journal *self = locked(journal);
    uint64_t bytes = 0;

    for (size_t i = 0; i <= self->current; i++) {
        bytes += self->segments[i]->bytes;
    }
    pthread_mutex_unlock(&self->lock);
    return bytes;
}

uint64_t journal_first_index(const struct journal *journal)
{
    struct journal *self = locked(journal);
    uint64_t first = self->index.first;

    pthread_mutex_unlock(&self->lock);
    return first;
}

uint64_t journal_last_index(const struct journal *journal)
{
    struct journal *self = locked(journal);
    uint64_t last = journal_index_last(&self->index);

    pthread_mutex_unlock(&self->lock);
    return last;
}
