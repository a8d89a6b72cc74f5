/*
 * Entries to the zone: in order, one batch outstanding, only what is durable here; and
 * reading back from the journal what has left the cache.
 *
 * An entry that is committed by others but not yet on this disk is not applied: after
 * a crash the zone would be newer than the log. Nor is one that is not released: what is
 * applied is shown.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"

#include <errno.h>
#include <stdlib.h>

static uint64_t apply_bound(const struct replica *r)
{
    uint64_t bound = r->commit < r->released ? r->commit : r->released;

    if (r->applied < r->apply_to && r->apply_to < bound) {
        bound = r->apply_to;
    }
    if (r->config.mutation == REPLICA_MUT_APPLY_UNDURABLE) {
        return bound < r->log.last ? bound : r->log.last;
    }
    return bound < r->reported ? bound : r->reported;
}

/* Give @n entries (references are taken) to the zone. */
static void apply_give(struct replica *r, const struct replica_entry *entries, uint32_t n)
{
    struct replica_action *action = replica_act(r, REPLICA_DO_APPLY);

    action->entries = calloc(n, sizeof *action->entries);
    if (action->entries == NULL) {
        replica_fault(r, -ENOMEM);
        return;
    }
    r->apply_stamp = attrs_stamp(&r->attrs);
    for (uint32_t i = 0; i < n; i++) {
        replica_attrs_touch(r, &entries[i]);
        action->entries[i] = entries[i];
        action->entries[i].head = slice_ref(entries[i].head);
        action->entries[i].payload = slice_ref(entries[i].payload);
    }
    action->n = n;
    r->apply_n = n;
}

/* Applying so little is not worth a transaction of its own. */
static bool is_little(struct replica *r, uint64_t bound)
{
    uint64_t bytes = 0;

    if (bound - r->applied >= REPLICA_GATHER_ENTRIES) {
        return false;
    }
    for (uint64_t index = r->applied + 1; index <= bound; index++) {
        const struct replica_slot *slot = replica_log_slot(r, index);

        if (slot == NULL || slot->type != RGROUP_COMMAND) {
            return false;
        }
        bytes += slot->bytes;
    }
    return bytes < REPLICA_GATHER_BYTES;
}

/*
 * Nobody waits for a follower to apply, unless somebody reads here. With one client that
 * waits for each of its calls, the leader applies entries one by one; a follower then
 * gathers them, and spends on one transaction what it would on each.
 */
static bool gathers(struct replica *r, uint64_t bound)
{
    if (r->config.apply_wait_ms == 0 || replica_is_leader(r) || replica_disk_full(r) ||
        replica_reads_waiting(r) > 0 ||
        (r->read_ms != 0 && r->now_ms - r->read_ms < REPLICA_GATHER_READ_MS) ||
        !is_little(r, bound)) {
        return false;
    }
    if (r->apply_from_ms == 0) {
        r->apply_from_ms = r->now_ms;
    }
    return r->now_ms - r->apply_from_ms < r->config.apply_wait_ms;
}

uint64_t replica_apply_wake_ms(const struct replica *r)
{
    return r->apply_from_ms == 0 ? UINT64_MAX
                                 : r->apply_from_ms + r->config.apply_wait_ms;
}

void replica_apply_issue(struct replica *r)
{
    struct replica_entry batch[REPLICA_APPLY_MAX];
    uint64_t bound = apply_bound(r);
    uint64_t bytes = 0;
    uint32_t n = 0;

    if (r->applied_full && r->apply_n == 0 && r->applied >= bound) {
        r->applied_full = false; /* A pulled state holds it. */
        replica_note(r);
    }
    if (r->apply_n != 0 || r->snapshot_busy || r->pull.state != PULL_NONE ||
        r->applied >= bound || r->rv != 0 ||
        (r->applied_full && r->now_ms < r->room_retry_ms)) {
        r->apply_from_ms = 0;
        return;
    }
    if (gathers(r, bound)) {
        return;
    }
    r->apply_from_ms = 0;
    while (n < REPLICA_APPLY_MAX && bytes < REPLICA_APPLY_BYTES &&
           r->applied + 1 + n <= bound &&
           replica_log_get(r, r->applied + 1 + n, &batch[n])) {
        bytes += batch[n].head.len + batch[n].payload.len;
        n++;
    }
    if (n == 0 && r->mend.waits && r->mend.index == r->applied + 1) {
        return; /* It cannot be read: see replica_mend.c. */
    }
    if (n == 0) {
        (void)replica_fetch(r, FETCH_APPLY, r->applied + 1, bound, REPLICA_APPLY_BYTES);
        return;
    }
    apply_give(r, batch, n);
    for (uint32_t i = 0; i < n; i++) {
        replica_entry_clear(&batch[i]);
    }
}

void replica_apply_done(struct replica *r, const struct replica_event *event)
{
    uint64_t first = r->applied + 1;
    uint32_t n = r->apply_n;

    ASSERT(n > 0);
    r->apply_n = 0;
    if (event->rv == -ENOSPC) { /* Nothing of the batch happened. */
        attrs_told_all(&r->attrs);
        r->applied_full = true;
        replica_no_room(r);
        return;
    }
    if (event->rv != 0) {
        replica_fault(r, event->rv < 0 ? event->rv : -EIO);
        return;
    }
    ASSERT(event->index == first + n - 1 && event->n_entries == n);
    if (r->applied_full) {
        r->applied_full = false;
        replica_note(r);
    }
    r->applied = event->index;
    r->due_ns = event->due_ns;
    r->applied_term = replica_log_term(r, event->index);
    replica_attrs_applied(r, event);
    for (uint32_t i = 0; i < n; i++) {
        replica_propose_result(r, first + i, &event->results[i]);
    }
}

/* raft learns of applied configurations in log order, also again after a restart. */
void replica_apply_replay(struct replica *r)
{
    while (r->pull.state == PULL_NONE && r->rv == 0 && r->replayed < r->applied &&
           r->replayed < r->commit) {
        struct rgroup_event event = {.type = RGROUP_EV_APPLIED_CHANGE};
        struct replica_slot *slot = replica_log_slot(r, r->replayed + 1);

        r->replayed++;
        if (slot != NULL && slot->type == RGROUP_CHANGE) {
            event.index = r->replayed;
            (void)replica_group_step(r, &event, NULL); /* A fault is latched. */
        }
    }
}

/* Have entries from @index on, at most to @end, read back. False: not now. */
bool replica_fetch(struct replica *r, enum replica_fetch_for purpose, uint64_t index,
                   uint64_t end, uint64_t bytes)
{
    struct replica_action *action;
    uint64_t n;

    end = end < r->reported ? end : r->reported;
    if (r->fetch_busy || r->pull.state != PULL_NONE || index > end ||
        index <= r->log.base_index || (purpose == FETCH_PEER && index == r->unreadable)) {
        return false;
    }
    n = end - index + 1;
    action = replica_act(r, REPLICA_DO_FETCH);
    action->index = index;
    action->n = (uint32_t)(n < REPLICA_APPLY_MAX ? n : REPLICA_APPLY_MAX);
    action->bytes = bytes;
    r->fetch_busy = true;
    r->fetch_for = purpose;
    return true;
}

static void unreadable_for_apply(struct replica *r, int rv)
{
    if (!replica_mend_wanted(r, r->applied + 1, rv)) {
        replica_fault(r, rv);
    }
}

static void fetched_apply(struct replica *r, const struct replica_event *event)
{
    uint64_t bound = apply_bound(r);
    uint32_t n = 0;

    if (r->apply_n != 0 || r->snapshot_busy || r->pull.state != PULL_NONE) {
        return;
    }
    while (n < event->n_entries && event->entries[n].index == r->applied + 1 + n &&
           event->entries[n].index <= bound &&
           event->entries[n].term == replica_log_term(r, event->entries[n].index)) {
        n++;
    }
    if (n > 0) {
        apply_give(r, event->entries, n);
    } else if (event->n_entries == 0 || event->entries[0].index == r->applied + 1) {
        unreadable_for_apply(r, -EUCLEAN); /* The journal does not hold what it took. */
    }
}

void replica_fetched(struct replica *r, const struct replica_event *event)
{
    enum replica_fetch_for purpose = r->fetch_for;

    ASSERT(r->fetch_busy);
    r->fetch_busy = false;
    r->fetch_for = FETCH_NONE;
    if (event->rv < 0 && event->rv != -ENOMEM && purpose == FETCH_PEER) {
        /* A bad spot on this disk. If this member has applied it, or will, the follower
         * gets a snapshot instead, as soon as one covers the entry. Else: replica_mend.c. */
        if (event->index > r->unreadable) {
            r->unreadable = event->index;
            r->unreadable_rv = event->rv;
            r->unreadable_ms = r->now_ms;
        }
        return;
    }
    if (purpose == FETCH_APPLY && event->rv != 0) {
        if (r->pull.state == PULL_NONE && event->index == r->applied + 1) {
            unreadable_for_apply(r, event->rv < 0 ? event->rv : -EUCLEAN);
        }
        return;
    }
    if (event->rv < 0) {
        replica_fault(r, event->rv);
        return;
    }
    if (purpose == FETCH_APPLY) {
        fetched_apply(r, event);
    } else {
        replica_send_fetched(r, event);
    }
}
