/*
 * The log in memory: index and term of every entry, and the bytes of the recent ones.
 *
 * Entries leave the cache from the low end once they are in the journal. What is not
 * applied yet stays a while longer (up to REPLICA_PENDING_BYTES more), since apply is
 * what needs it next. Configurations always stay: raft may have to start anew.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY_OVERHEAD 160u /* Of a cached entry, in memory. */

static struct replica_slot *slot_raw(struct replica_log *log, uint64_t index)
{
    return &log->slots[index & (log->cap - 1)];
}

struct replica_slot *replica_log_slot(struct replica *r, uint64_t index)
{
    if (index <= r->log.base_index || index > r->log.last) {
        return NULL;
    }
    return slot_raw(&r->log, index);
}

uint64_t replica_log_term(struct replica *r, uint64_t index)
{
    struct replica_slot *slot = replica_log_slot(r, index);

    if (slot != NULL) {
        return slot->term;
    }
    return index == r->log.base_index ? r->log.base_term : 0;
}

static uint64_t cached_bytes(const struct replica_cached *cached)
{
    return cached->head.len + cached->payload.len + ENTRY_OVERHEAD;
}

static void slot_uncache(struct replica *r, struct replica_slot *slot)
{
    if (slot->cached == NULL) {
        return;
    }
    ASSERT(r->log.cache_bytes >= cached_bytes(slot->cached));
    r->log.cache_bytes -= cached_bytes(slot->cached);
    slice_unref(&slot->cached->head);
    slice_unref(&slot->cached->payload);
    free(slot->cached);
    slot->cached = NULL;
}

/* The entry leaves the log. */
static void slot_drop(struct replica *r, struct replica_slot *slot)
{
    slot_uncache(r, slot);
    ASSERT(r->log.disk_bytes >= slot->bytes);
    r->log.disk_bytes -= slot->bytes;
}

static int log_grow(struct replica *r)
{
    struct replica_log *log = &r->log;
    uint64_t cap = log->cap == 0 ? 1024 : log->cap * 2;
    struct replica_slot *old = log->slots;
    struct replica_slot *slots = calloc(cap, sizeof *slots);

    if (slots == NULL) {
        return -ENOMEM;
    }
    for (uint64_t i = log->base_index + 1; i <= log->last; i++) {
        slots[i & (cap - 1)] = *slot_raw(log, i);
    }
    log->slots = slots;
    log->cap = cap;
    free(old);
    return 0;
}

static int slot_cache(struct replica *r, struct replica_slot *slot,
                      const struct replica_entry *entry)
{
    struct replica_cached *cached = calloc(1, sizeof *cached);

    if (cached == NULL) {
        return -ENOMEM;
    }
    cached->head = slice_ref(entry->head);
    cached->payload = slice_ref(entry->payload);
    cached->segment = entry->segment;
    cached->offset = entry->offset;
    cached->crc = entry->crc;
    slot->cached = cached;
    r->log.cache_bytes += cached_bytes(cached);
    return 0;
}

int replica_log_append(struct replica *r, const struct replica_entry *entry, bool cache)
{
    struct replica_log *log = &r->log;
    struct replica_slot *slot;
    int rv = 0;

    ASSERT(entry->index == log->last + 1);
    if (log->cap == 0 || log->last - log->base_index + 1 >= log->cap) {
        rv = log_grow(r);
        if (rv != 0) {
            return rv;
        }
    }
    slot = slot_raw(log, entry->index);
    *slot = (struct replica_slot){
        .term = entry->term,
        .type = (uint8_t)entry->type,
        .bytes = (uint32_t)(entry->head.len + entry->payload.len + 64),
    };
    if (cache) {
        rv = slot_cache(r, slot, entry);
        if (rv != 0) {
            return rv;
        }
    }
    log->last = entry->index;
    log->disk_bytes += slot->bytes;
    return 0;
}

void replica_log_truncate(struct replica *r, uint64_t index)
{
    struct replica_log *log = &r->log;

    ASSERT(index > log->base_index);
    while (log->last >= index) {
        slot_drop(r, slot_raw(log, log->last));
        log->last--;
    }
    if (log->cache_low > index) {
        log->cache_low = index;
    }
    if (r->unreadable >= index) {
        r->unreadable = 0; /* Another entry takes its place. */
    }
}

void replica_log_compact(struct replica *r, uint64_t index)
{
    struct replica_log *log = &r->log;
    uint64_t term = replica_log_term(r, index);

    ASSERT(index >= log->base_index && index <= log->last);
    for (uint64_t i = log->base_index + 1; i <= index; i++) {
        slot_drop(r, slot_raw(log, i));
    }
    log->base_index = index;
    log->base_term = term;
    if (log->cache_low <= index) {
        log->cache_low = index + 1;
    }
}

void replica_log_reset(struct replica *r, uint64_t base_index, uint64_t base_term)
{
    struct replica_log *log = &r->log;

    for (uint64_t i = log->base_index + 1; i <= log->last; i++) {
        slot_drop(r, slot_raw(log, i));
    }
    ASSERT(log->cache_bytes == 0);
    r->unreadable = 0;
    log->base_index = base_index;
    log->base_term = base_term;
    log->last = base_index;
    log->cache_low = base_index + 1;
}

void replica_log_deinit(struct replica *r)
{
    if (r->log.slots != NULL) {
        replica_log_reset(r, r->log.base_index, 0);
    }
    free(r->log.slots);
    r->log.slots = NULL;
    r->log.cap = 0;
}

/* May the entry's bytes be dropped? They must be in the journal to be had again. */
static bool slot_evictable(const struct replica *r, const struct replica_slot *slot,
                           uint64_t index)
{
    if (slot->ticket == REPLICA_UNISSUED || slot->ticket > r->ticket_done) {
        return false;
    }
    return index <= r->applied ||
           r->log.cache_bytes > r->config.cache_bytes + r->config.pending_bytes_max;
}

void replica_log_evict(struct replica *r)
{
    struct replica_log *log = &r->log;

    while (log->cache_bytes > r->config.cache_bytes && log->cache_low <= log->last) {
        struct replica_slot *slot = replica_log_slot(r, log->cache_low);

        if (slot != NULL && slot->cached != NULL && slot->type != RGROUP_CHANGE) {
            if (!slot_evictable(r, slot, log->cache_low)) {
                return;
            }
            slot_uncache(r, slot);
        }
        log->cache_low++;
    }
}

bool replica_log_get(struct replica *r, uint64_t index, struct replica_entry *out)
{
    struct replica_slot *slot = replica_log_slot(r, index);

    if (slot == NULL || slot->cached == NULL) {
        return false;
    }
    *out = (struct replica_entry){
        .index = index,
        .term = slot->term,
        .type = (enum rgroup_entry_type)slot->type,
        .head = slice_ref(slot->cached->head),
        .payload = slice_ref(slot->cached->payload),
        .segment = slot->cached->segment,
        .offset = slot->cached->offset,
        .crc = slot->cached->crc,
    };
    return true;
}

void replica_entry_clear(struct replica_entry *entry)
{
    slice_unref(&entry->head);
    slice_unref(&entry->payload);
}
