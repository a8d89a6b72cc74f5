/*
 * Handing leadership over: at rest (guard G14), to one voter.
 *
 * From the request on no proposal goes to raft; when the target has everything, raft is
 * told. Proposals that came meanwhile go with the hint, or on here if it fails. Before
 * raft is told, all read leases are over and the leader's own is given up for the rest of
 * its term: the target's election is not held back by those who answered our pings.
 */
#include "base/outcome.h"
#include "raft/replica_impl.h"

/* The voter that has most; 0 if there is none but us. One that is about to sleep would
 * not take it. */
static uint64_t best_target(struct replica *r, bool with_room)
{
    uint64_t best = 0;
    uint64_t best_match = 0;

    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        const struct rgroup_server *server = &r->conf.servers[i];
        struct replica_peer *peer = replica_peer_find(r, server->id, false);
        uint64_t match = 0;

        if (server->role != RGROUP_VOTER || peer == NULL || !peer->up || peer->sleeps ||
            (with_room && peer->full) ||
            rgroup_match_index(r->group, server->id, &match) != 0) {
            continue;
        }
        if (best == 0 || match > best_match) {
            best = server->id;
            best_match = match;
        }
    }
    return best;
}

static uint64_t best_of_all(struct replica *r)
{
    uint64_t target = best_target(r, true);

    return target != 0 ? target : best_target(r, false);
}

static bool is_voter(struct replica *r, uint64_t id)
{
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        if (r->conf.servers[i].id == id) {
            return r->conf.servers[i].role == RGROUP_VOTER;
        }
    }
    return false;
}

void replica_transfer_start(struct replica *r, uint64_t target, uint64_t token)
{
    replica_submit_flush(r);
    r->transfer = (struct replica_transfer){
        .active = true,
        .target = target,
        .token = token,
        .deadline_ms = r->now_ms + 2u * r->config.election_ms,
    };
    replica_note(r);
}

void replica_transfer_begin(struct replica *r, const struct replica_event *event)
{
    const struct replica_peer *peer;
    uint64_t target = event->from;

    if (r->failed || !replica_is_leader(r)) {
        replica_answer(r, event->token, OUT_NOT_LEADER);
        return;
    }
    if (r->transfer.active) {
        replica_answer(r, event->token, OUT_BUSY);
        return;
    }
    if (target == 0) {
        target = best_of_all(r);
    }
    if (target == r->config.self) {
        replica_answer(r, event->token, 0);
        return;
    }
    if (target == 0 || !is_voter(r, target)) {
        replica_answer(r, event->token, OUT_INVAL);
        return;
    }
    peer = replica_peer_find(r, target, false);
    if (peer != NULL && peer->sleeps) {
        replica_answer(r, event->token, OUT_TRY_LATER);
        return;
    }
    replica_transfer_start(r, target, event->token);
}

bool replica_transfer_away(struct replica *r)
{
    uint64_t target = best_of_all(r);

    if (target != 0) {
        replica_transfer_start(r, target, 0);
    }
    return target != 0;
}

void replica_transfer_for_room(struct replica *r)
{
    uint64_t target;

    if (!replica_is_leader(r) || r->stopping || r->transfer.active ||
        !replica_disk_full(r) || r->now_ms < r->give_way_ms) {
        return;
    }
    r->give_way_ms = r->now_ms + REPLICA_GIVE_WAY_MS;
    target = best_target(r, true);
    if (target != 0) {
        replica_transfer_start(r, target, 0);
    }
}

uint64_t replica_transfer_refuge(struct replica *r)
{
    return r->sleeps && replica_is_leader(r) ? best_of_all(r) : 0;
}

/* Again and again, if it fails: there is little time, and nothing else to do in it. */
void replica_transfer_for_sleep(struct replica *r)
{
    uint64_t target;

    if (!r->sleeps || r->stopping || r->transfer.active) {
        return;
    }
    target = replica_transfer_refuge(r);
    if (target != 0) {
        replica_transfer_start(r, target, 0);
    }
}

static void transfer_end(struct replica *r, int outcome)
{
    uint64_t token = r->transfer.token;

    r->transfer = (struct replica_transfer){0};
    replica_answer(r, token, outcome);
    replica_note(r);
    replica_submit_flush(r);
}

void replica_transfer_go_on(struct replica *r)
{
    struct rgroup_event step = {.type = RGROUP_EV_TRANSFER, .target = r->transfer.target};
    uint64_t match = 0;
    bool quiet;

    if (!r->transfer.active) {
        return;
    }
    if (!replica_is_leader(r)) {
        if (r->leader != 0 || r->now_ms >= r->transfer.deadline_ms) {
            transfer_end(
                r, r->leader != 0 && r->leader != r->config.self ? 0 : OUT_TRY_LATER);
        }
        return;
    }
    if (r->transfer.fired) {
        if (!rgroup_transferring(r->group)) {
            transfer_end(r, OUT_TRY_LATER); /* raft gave up. */
        }
        return;
    }
    if (r->now_ms >= r->transfer.deadline_ms) {
        transfer_end(r, OUT_TRY_LATER);
        return;
    }
    if (rgroup_match_index(r->group, r->transfer.target, &match) != 0) {
        transfer_end(r, OUT_INVAL);
        return;
    }
    quiet = replica_lease_quiet(r);
    if (match == r->log.last && quiet) {
        int rv = replica_group_step(r, &step, NULL);

        r->transfer.fired = true;
        if (rv > 0) {
            transfer_end(r, rv);
        } else {
            replica_lease_give_up(r);
        }
    }
}
