/*
 * Keeping the journal within its bytes: settle, snapshot, compact, and in the end let
 * writers wait.
 *
 * The log keeps a tail below the snapshot, about a quarter of the journal's bytes, so
 * that a follower that is a little behind does not have to pull; while there is room,
 * also what the slowest live follower still needs.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"

#include <errno.h>

#define CUT_MIN 64u         /* Entries: less is not worth a snapshot. */
#define QUIET_MS 200u       /* Nothing was appended or read for so long: clients pause; */
#define QUIET_READ_MS 1000u /* or nothing was appended, whatever is read. */
#define REST_EVERY_MS 1000u /* What does not press is settled at this pace, */
#define BAD_EVERY_MS 60000u /* at this in the end if it does not go, */
#define REST_MORE_MS 250u   /* or at this if there is much of it and clients write. */

bool replica_journal_full(const struct replica *r)
{
    return r->journal_bytes > r->config.journal_bytes_max;
}

bool replica_disk_full(const struct replica *r)
{
    return r->disk_low || r->stalled || r->applied_full;
}

void replica_no_room(struct replica *r)
{
    r->room_retry_ms = r->now_ms + REPLICA_ROOM_RETRY_MS;
    replica_note(r);
}

int replica_descriptor_set(struct replica *r, const struct rgroup_snapshot *snapshot)
{
    struct buf *conf = buf_copy(snapshot->conf, snapshot->conf_len);

    if (conf == NULL) {
        return -ENOMEM;
    }
    buf_unref(r->snapshot.conf);
    r->snapshot = (struct replica_descriptor){
        .present = true,
        .index = snapshot->index,
        .term = snapshot->term,
        .conf_index = snapshot->conf_index,
        .conf = conf,
    };
    return 0;
}

/* The lowest index that a live follower has acknowledged; UINT64_MAX: none. */
static uint64_t slowest(struct replica *r)
{
    uint64_t lowest = UINT64_MAX;

    for (uint32_t i = 0; replica_is_leader(r) && i < r->n_peers; i++) {
        const struct replica_peer *peer = r->peers[i];
        uint64_t match;

        if (peer->up && peer->heard &&
            r->now_ms - peer->heard_ms < 2u * r->config.election_ms &&
            rgroup_match_index(r->group, peer->id, &match) == 0 && match < lowest) {
            lowest = match;
        }
    }
    return lowest;
}

/* Above it nothing counts but making room. */
static bool is_tight(const struct replica *r)
{
    return replica_disk_full(r) ||
           r->journal_bytes >= r->config.journal_bytes_max / 4 * 3;
}

/* How much of the log, by its own count, is the tail to keep. That count is too low for
 * what was there at the start, so it is measured against the disk's. */
static uint64_t keep_bytes(const struct replica *r)
{
    uint64_t part = replica_disk_full(r) ? 64 : is_tight(r) ? 16 : 4;
    uint64_t keep = r->config.journal_bytes_max / part;

    if (r->journal_bytes > r->log.disk_bytes) {
        keep = (uint64_t)((double)keep * (double)r->log.disk_bytes /
                          (double)r->journal_bytes);
    }
    return keep;
}

/* Up to where the log may go when there is a snapshot at @index. */
static uint64_t cut_point(struct replica *r, uint64_t index)
{
    uint64_t keep = keep_bytes(r);
    uint64_t bytes = 0;
    uint64_t cut = index;

    while (cut > r->log.base_index && cut != r->bad_index &&
           index - cut < REPLICA_LOG_ENTRIES / 2) {
        bytes += replica_log_slot(r, cut)->bytes;
        if (bytes > keep) {
            break;
        }
        cut--;
    }
    if (!is_tight(r)) {
        uint64_t match = slowest(r);

        /* The entry that it has stays, too: raft names its term before the next one. */
        if (match <= cut) {
            cut = match == 0 ? 0 : match - 1;
        }
    }
    if (cut < r->unreadable && r->unreadable <= index) {
        cut = r->unreadable; /* Who needs it must not wait for it. */
    }
    return cut > r->log.base_index ? cut : r->log.base_index;
}

static bool snapshot_due(struct replica *r)
{
    uint64_t entries = r->log.last - r->log.base_index;

    if (r->snapshot_busy || r->compact_due || r->pull.state != PULL_NONE ||
        r->apply_n != 0 || r->replayed != r->applied || r->applied <= r->snapshot.index ||
        r->applied <= r->log.base_index || r->now_ms < r->room_retry_ms) {
        return false;
    }
    if (r->unreadable > r->log.base_index && r->applied >= r->unreadable) {
        return true;
    }
    if (r->bad_index > r->log.base_index && r->applied >= r->bad_index &&
        cut_point(r, r->applied) >= r->bad_index) {
        return true;
    }
    if (!replica_disk_full(r) && r->journal_bytes <= r->config.journal_bytes_max / 2 &&
        entries <= REPLICA_LOG_ENTRIES) {
        return false;
    }
    return cut_point(r, r->applied) >= r->log.base_index + (is_tight(r) ? 1 : CUT_MIN);
}

static bool is_quiet(const struct replica *r)
{
    uint64_t append_ms = r->now_ms - r->append_ms;

    return append_ms >= QUIET_READ_MS ||
           (append_ms >= QUIET_MS &&
            (r->read_ms == 0 || r->now_ms - r->read_ms >= QUIET_MS));
}

/* Settling is a second write of all that clients write: up to half of the journal it waits
 * for a pause of theirs. What they overwrite or remove meanwhile never needs it. Who reads
 * what was just written meets it in the page cache, and competes with settling for disk
 * and processors; but somebody may always read. */
static void settle(struct replica *r)
{
    uint64_t max = r->config.journal_bytes_max;

    if (replica_disk_full(r) || r->journal_bytes > max / 2 ||
        (is_quiet(r) && r->journal_bytes > max / 4)) {
        replica_act(r, REPLICA_DO_SETTLE)->unread = replica_is_unread(r);
    }
}

/* Garbage, and pulled blocks that lie beside, take room although the journal is short.
 * They are no hurry: clients have the disk. But there may be as much of it as a zone is
 * large, and then a pause of theirs is used. */
static void settle_rest(struct replica *r)
{
    bool quiet = is_quiet(r);
    uint64_t every_ms = !r->settle_more ? REST_EVERY_MS : quiet ? 0 : REST_MORE_MS;

    if (r->settle_rest && r->journal_bytes <= r->config.journal_bytes_max / 4 &&
        r->pull.state == PULL_NONE && r->now_ms - r->rest_ms >= every_ms) {
        struct replica_action *action = replica_act(r, REPLICA_DO_SETTLE);

        r->rest_ms = r->now_ms;
        action->rest = true;
        action->quiet = quiet;
    }
}

/* What lies in a bad part of the journal: it is to go before more of it is bad. What cannot
 * be had from there must be healed first, which may take long, or for ever. */
static void settle_bad(struct replica *r)
{
    if (!r->bad) {
        r->bad_wait_ms = REST_EVERY_MS;
    } else if (r->now_ms - r->bad_ms >= r->bad_wait_ms) {
        r->bad_ms = r->now_ms;
        r->bad_wait_ms =
            2 * r->bad_wait_ms < BAD_EVERY_MS ? 2 * r->bad_wait_ms : BAD_EVERY_MS;
        replica_act(r, REPLICA_DO_SETTLE)->unread = replica_is_unread(r);
    }
}

/* Once a heartbeat. */
void replica_housekeep(struct replica *r)
{
    settle(r);
    settle_bad(r);
    settle_rest(r);
    replica_transfer_for_room(r);
    if (snapshot_due(r)) {
        r->snapshot_busy = true;
        replica_act(r, REPLICA_DO_SNAPSHOT);
    }
}

void replica_disk(struct replica *r, const struct replica_event *event)
{
    if (event->journal_bytes < r->journal_bytes) {
        r->room_retry_ms = r->now_ms; /* Something was freed. */
    }
    if (event->low != r->disk_low) {
        r->disk_low = event->low;
        replica_note(r);
    }
    r->journal_bytes = event->journal_bytes;
    r->extent_segment = event->extent_segment;
    r->settle_rest = event->settle_rest;
    r->settle_more = event->settle_more;
    r->bad = event->bad;
    r->bad_index = event->bad_index;
    settle(r);
}

void replica_compact(struct replica *r, uint64_t cut)
{
    struct replica_action *action = replica_act(r, REPLICA_DO_COMPACT);

    action->index = cut;
    action->term = replica_log_term(r, cut);
    replica_log_compact(r, cut);
}

void replica_snapshot_done(struct replica *r, const struct replica_event *event)
{
    struct rgroup_event step = {.type = RGROUP_EV_SNAPSHOT_TAKEN,
                                .snapshot = event->snapshot};
    uint64_t cut;
    int rv;

    ASSERT(r->snapshot_busy);
    r->snapshot_busy = false;
    if (event->rv == -ENOSPC) {
        replica_no_room(r);
        return;
    }
    if (event->rv != 0) {
        replica_fault(r, event->rv < 0 ? event->rv : -EIO);
        return;
    }
    if (event->snapshot.index <= r->snapshot.index) {
        return;
    }
    rv = replica_descriptor_set(r, &event->snapshot);
    if (rv != 0) {
        replica_fault(r, rv);
        return;
    }
    if (r->pull.state != PULL_NONE) {
        return; /* raft's log is void already. */
    }
    ASSERT(event->snapshot.index == r->applied);
    cut = cut_point(r, event->snapshot.index);
    step.trailing = event->snapshot.index - cut;
    if (replica_group_step(r, &step, NULL) == 0 && cut > r->log.base_index) {
        r->compact_due = true;
        r->compact_index = cut;
    }
}

/* The log is cut when nobody is reading from what goes. */
void replica_compact_go_on(struct replica *r)
{
    if (!r->compact_due || r->fetch_busy || r->pull.state != PULL_NONE) {
        return;
    }
    r->compact_due = false;
    if (r->compact_index > r->log.base_index) {
        replica_compact(r, r->compact_index);
    }
}
