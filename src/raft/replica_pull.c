/*
 * Catching up beyond the log: raft has accepted a snapshot at S; the state itself is
 * pulled by the driver from some member.
 *
 * The old log and state stay untouched until the pulled state (index P >= S) has been
 * switched in durably; then the journal is cut to base P and raft goes on from there.
 * A crash in between is put right at the next start (replica_group_start). While the
 * pull runs this member neither votes nor applies; if it fails again and again the old
 * state is taken up once more, so that a vote is not missing for ever.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"

#include <errno.h>

void replica_pull_cut_unissued(struct replica *r)
{
    if (r->gather_first != 0 && r->gather_first <= r->log.last) {
        replica_log_truncate(r, r->gather_first);
    }
    r->gather_first = 0;
}

void replica_pull_begin(struct replica *r, uint64_t index, uint64_t term)
{
    ASSERT(r->pull.state == PULL_NONE);
    ASSERT(index > r->log.base_index || index > r->applied);
    r->pull = (struct replica_pull){
        .state = PULL_DRAIN, .index = index, .term = term, .leader = r->leader};
    replica_pull_cut_unissued(r);
    r->compact_due = false;
    attrs_forget(&r->attrs);
    replica_lease_stop(r);
    replica_read_fail_all(r);
    replica_note(r);
}

/* The leader first, then each other member that can be reached, in turn: what any of them
 * has applied is the zone's state, and if it is not enough it says so. Who led when the pull
 * began may have left since, and a new member knows of nobody else. 0: nobody is. */
static uint64_t pull_source(struct replica *r)
{
    uint32_t n = 0;
    uint64_t ids[RGROUP_MEMBERS_MAX];

    if (r->leader != 0 && r->leader != r->config.self && r->leader != r->pull.leader) {
        r->pull.leader = r->leader;
        r->pull.tries_before = r->pull.tries;
    }
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        uint64_t id = r->conf.servers[i].id;
        const struct replica_peer *peer = replica_peer_find(r, id, false);

        if (id == r->config.self || peer == NULL || !peer->up) {
            continue;
        }
        ids[n++] = id;
        if (id == r->pull.leader) {
            ids[n - 1] = ids[0];
            ids[0] = id;
        }
    }
    return n == 0 ? r->pull.leader : ids[(r->pull.tries - r->pull.tries_before) % n];
}

static void pull_failed(struct replica *r)
{
    r->pull.state = PULL_PAUSE;
    r->pull.tries++;
    r->pull.retry_ms = r->now_ms + REPLICA_PULL_RETRY_MS;
}

static void pull_start(struct replica *r)
{
    struct replica_action *action;
    uint64_t from;

    if (r->n_tickets != 0 || r->meta_dirty || r->apply_n != 0 || r->fetch_busy ||
        r->snapshot_busy) {
        return;
    }
    replica_pull_cut_unissued(r); /* A full disk may have sent some back meanwhile. */
    from = pull_source(r);
    if (from == 0) {
        pull_failed(r);
        return;
    }
    action = replica_act(r, REPLICA_DO_PULL);
    action->index = r->pull.index;
    action->to = from;
    r->pull.state = PULL_RUNNING;
}

/* Back to what is on disk; a later offer of the leader begins again. */
static void pull_abandon(struct replica *r)
{
    int rv;

    if (r->n_tickets != 0 || r->meta_dirty || r->apply_n != 0 || r->fetch_busy ||
        r->snapshot_busy) {
        return;
    }
    if (r->pull.own) {
        replica_mend_gave_up(r);
    }
    r->pull = (struct replica_pull){0};
    attrs_forget(&r->attrs);
    rv = replica_group_start(r);
    if (rv != 0) {
        replica_fault(r, rv);
    }
    replica_note(r);
}

static void pull_cut_done(struct replica *r)
{
    struct rgroup_event step = {
        .type = RGROUP_EV_SNAPSHOT_INSTALLED,
        .snapshot = {.index = r->snapshot.index,
                     .term = r->snapshot.term,
                     .conf_index = r->snapshot.conf_index,
                     .conf = r->snapshot.conf->data,
                     .conf_len = r->snapshot.conf->len},
    };

    r->reported = r->snapshot.index;
    r->replayed = r->snapshot.index;
    r->pull = (struct replica_pull){0};
    attrs_forget(&r->attrs);
    (void)replica_group_step(r, &step, NULL); /* A fault is latched. */
    replica_note(r);
}

void replica_pull_go_on(struct replica *r)
{
    switch (r->pull.state) {
    case PULL_DRAIN:
        pull_start(r);
        break;
    case PULL_PAUSE:
        if (r->pull.aside ? r->now_ms >= r->pull.retry_ms
                          : r->pull.tries >= REPLICA_PULL_TRIES) {
            pull_abandon(r);
        } else if (r->pull.aside) {
            break;
        } else if (r->now_ms >= r->pull.retry_ms) {
            r->pull.state = PULL_DRAIN;
            pull_start(r);
        }
        break;
    case PULL_CUT:
        if (r->pull.ticket != 0 && r->pull.ticket <= r->ticket_done) {
            pull_cut_done(r);
        }
        break;
    case PULL_NONE:
    case PULL_RUNNING:
        break;
    }
}

void replica_pull_done(struct replica *r, const struct replica_event *event)
{
    int rv;

    ASSERT(r->pull.state == PULL_RUNNING);
    if (event->rv != 0 || event->snapshot.index < r->pull.index) {
        pull_failed(r);
        return;
    }
    rv = replica_descriptor_set(r, &event->snapshot);
    if (rv != 0) {
        replica_fault(r, rv);
        return;
    }
    r->applied = event->snapshot.index;
    r->applied_term = event->snapshot.term;
    if (event->wall_ns > r->last_time_ns) {
        r->last_time_ns = event->wall_ns;
    }
    if (r->pull.own) {
        replica_mend_done(r);
        return;
    }
    replica_log_reset(r, r->snapshot.index, r->snapshot.term);
    r->base_dirty = true;
    r->base_index = r->snapshot.index;
    r->base_term = r->snapshot.term;
    r->pull.state = PULL_CUT;
    r->pull.ticket = 0;
    r->settle_rest = true; /* Pulled blocks lie beside until they settle. */
}
