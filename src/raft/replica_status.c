/* What a person may want to know of a replica. */
#include "raft/replica_impl.h"

#include <string.h>

/* How long the read lease of @id is out yet. */
static uint64_t out_for_ms(const struct replica *r, uint64_t id, uint64_t now_ms)
{
    for (uint32_t i = 0; i < r->lease.n_holders; i++) {
        const struct lease_holder *holder = &r->lease.holders[i];

        if (holder->id == id && holder->until_ms > now_ms) {
            return holder->until_ms - now_ms;
        }
    }
    return 0;
}

static void lease_status(const struct replica *r, uint64_t now_ms,
                         const struct rgroup_conf *conf, struct replica_status *out)
{
    uint64_t end_ms = 0;

    if (replica_is_leader(r) && r->config.leases &&
        r->released >= rgroup_read_floor(r->group)) {
        end_ms = lease_end_ms(&r->lease, conf, r->config.self, now_ms,
                              lease_length_ms(r->config.election_ms));
    }
    out->released_index = r->released;
    out->lease_ms = end_ms > now_ms ? end_ms - now_ms : 0;
    out->read_lease_ms = r->own.end_ms > now_ms ? r->own.end_ms - now_ms : 0;
}

/* How far its clock is ahead of the one that zone time goes by. */
static void clock_status(const struct replica *r, uint64_t now_ms,
                         const struct wall_clock *clock, struct replica_member *member)
{
    member->clock_known = r->wall.verdict.n > 0 && wall_is_fresh(clock, now_ms);
    if (member->clock_known) {
        member->clock_off_ms = clock->start_ms - r->wall.verdict.start_ms;
    }
}

static void member_status(const struct replica *r, uint64_t now_ms,
                          struct replica_member *member)
{
    member->heard_ms_ago = UINT64_MAX;
    if (replica_is_leader(r)) {
        (void)rgroup_match_index(r->group, member->id, &member->match_index);
        member->lease_ms = out_for_ms(r, member->id, now_ms);
    }
    if (member->id == r->config.self) {
        member->heard_ms_ago = 0;
        member->applied_index = replica_is_leader(r) ? r->applied : 0;
        clock_status(r, now_ms, &r->wall.own, member);
        return;
    }
    for (uint32_t i = 0; i < r->n_peers; i++) {
        const struct replica_peer *peer = r->peers[i];

        if (peer->id == member->id && peer->heard) {
            member->heard_ms_ago = now_ms > peer->heard_ms ? now_ms - peer->heard_ms : 0;
            member->applied_index = replica_is_leader(r) ? peer->applied : 0;
            clock_status(r, now_ms, &peer->wall, member);
        }
    }
}

/* The leader has heard from a majority; anybody else has heard from the leader. */
static bool has_quorum(const struct replica *r, const struct replica_status *status)
{
    uint64_t limit_ms = 2u * r->config.election_ms;
    uint32_t voters = 0;
    uint32_t heard = 0;
    bool leader_heard = false;

    for (uint32_t i = 0; i < status->n_members; i++) {
        const struct replica_member *member = &status->members[i];
        bool recent = member->heard_ms_ago <= limit_ms;

        voters += member->role == RGROUP_VOTER;
        heard += member->role == RGROUP_VOTER && recent;
        leader_heard = leader_heard || (member->id == r->leader && recent);
    }
    if (replica_is_leader(r)) {
        return heard > voters / 2;
    }
    return r->leader != 0 && leader_heard;
}

void replica_status(const struct replica *replica, uint64_t now_ms,
                    struct replica_status *out)
{
    const struct replica *r = replica;
    struct replica_parts parts;
    struct rgroup_conf conf;

    rgroup_conf_now(r->group, &conf);
    memset(out, 0, sizeof *out);
    out->state = r->state;
    out->term = r->term;
    out->leader = r->leader;
    out->commit_index = r->commit;
    out->applied_index = r->applied;
    out->last_index = r->log.last;
    out->first_index = r->log.base_index + 1;
    lease_status(r, now_ms, &conf, out);
    out->pulling = r->pull.state != PULL_NONE;
    out->calling = r->roll.open;
    out->transferring = r->transfer.active;
    out->unreadable_index = r->mend.index != 0 ? r->mend.index : replica_mend_stuck(r);
    out->unreadable_rv = r->mend.index != 0 ? r->mend.rv : r->unreadable_rv;
    out->sleeps = r->sleeps;
    /* Looking changes nothing. */
    out->leaving = replica_transfer_refuge((struct replica *)(uintptr_t)r) != 0;
    out->full = replica_disk_full(r);
    out->slow = replica_slow_was(r, now_ms, &parts);
    out->release_ms = parts.release_ms;
    out->own_ms = parts.journal_ms + parts.apply_ms;
    out->pending_bytes = r->pending_bytes;
    out->cache_bytes = r->log.cache_bytes;
    out->n_clocks = r->wall.verdict.n;
    out->clocks_divided = r->wall.verdict.divided;
    out->n_members = conf.n;
    for (uint32_t i = 0; i < conf.n; i++) {
        out->members[i].id = conf.servers[i].id;
        out->members[i].role = conf.servers[i].role;
        member_status(r, now_ms, &out->members[i]);
    }
    out->has_quorum = has_quorum(r, out);
}

uint64_t replica_term_at(const struct replica *replica, uint64_t index)
{
    /* Looking changes nothing. */
    return replica_log_term((struct replica *)(uintptr_t)replica, index);
}

/* Up to where the log is on this member's disk: what is applied is. */
static uint64_t durable_index(const struct replica *r)
{
    uint64_t index = r->reported < r->log.last ? r->reported : r->log.last;

    return index > r->applied ? index : r->applied;
}

void replica_log_end(const struct replica *replica, struct replica_log_end *out)
{
    const struct replica *r = replica;
    uint64_t last = durable_index(r);

    *out = (struct replica_log_end){
        .term = r->term,
        .last_index = last,
        .last_term = last == r->applied ? r->applied_term : replica_term_at(r, last),
        .commit_index = r->commit > r->applied ? r->commit : r->applied,
        .time_ns = r->last_time_ns,
    };
    out->commit_index = out->commit_index < last ? out->commit_index : last;
    out->commit_term = out->commit_index == r->applied
                           ? r->applied_term
                           : replica_term_at(r, out->commit_index);
}
