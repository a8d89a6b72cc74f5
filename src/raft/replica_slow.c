/*
 * A leader whose disk is slow hands over.
 *
 * A slow follower slows nobody: a majority commits without it, and it gets no read lease.
 * A slow leader slows everybody, since what is answered is applied there first. So the
 * leader follows one entry at a time: how long until it is released, which is what the
 * others' disks and the network take, how much longer until it is on its own disk, and
 * how much longer again until it is applied. If its own part is the larger one for long,
 * and a voter does clearly better, that one is to lead.
 *
 * If all are slow then so is the release, and the leader stays. With two voters the
 * release waits for both disks: only a slow zone counts there.
 */
#include "raft/replica_impl.h"

#define MIN_MS(r) ((r)->config.election_ms / 10) /* Less is not worth an election. */
#define LONG_MS(r) (5u * (r)->config.election_ms)
#define FIRST_MS(r) (10u * (r)->config.election_ms) /* As leader, before it hands over. */
#define EVERY_MS(r) (20u * (r)->config.election_ms) /* Between two attempts. */
#define SAMPLES_MIN 4u

static void average(struct replica_average *average, uint64_t ms)
{
    if (average->n == 8) {
        average->sum_ms -= average->sum_ms / 8;
    } else {
        average->n++;
    }
    average->sum_ms += ms;
}

static uint64_t mean(const struct replica_average *average)
{
    return average->n == 0 ? 0 : average->sum_ms / average->n;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void peer_sample(struct replica_peer *peer, uint64_t age_ms)
{
    average(&peer->acks, peer->acked ? peer->ack_ms : age_ms);
    average(&peer->applies, peer->shown ? peer->apply_ms : age_ms);
}

static void follow(struct replica *r, uint64_t index)
{
    r->pace.index = index;
    r->pace.at_ms = r->now_ms;
    r->pace.is_released = false;
    r->pace.is_durable = false;
    for (uint32_t i = 0; i < r->n_peers; i++) {
        r->peers[i]->acked = false;
        r->peers[i]->shown = false;
    }
}

static void look_at_peers(struct replica *r, uint64_t age_ms)
{
    for (uint32_t i = 0; i < r->n_peers; i++) {
        struct replica_peer *peer = r->peers[i];
        uint64_t match = 0;

        if (!peer->acked && rgroup_match_index(r->group, peer->id, &match) == 0 &&
            match >= r->pace.index) {
            peer->acked = true;
            peer->ack_ms = age_ms;
        }
        if (!peer->shown && peer->applied >= r->pace.index) {
            peer->shown = true;
            peer->apply_ms = age_ms;
        }
    }
}

/* How long each part of the entry under way has taken so far. */
static struct replica_parts parts(const struct replica *r)
{
    const struct replica_pace *pace = &r->pace;
    uint64_t age_ms = r->now_ms - pace->at_ms;
    uint64_t released_ms = pace->is_released ? pace->released_ms : age_ms;
    uint64_t durable_ms = pace->is_durable ? pace->durable_ms : age_ms;
    uint64_t both_ms = durable_ms > released_ms ? durable_ms : released_ms;

    return (struct replica_parts){.release_ms = released_ms,
                                  .journal_ms = both_ms - released_ms,
                                  .apply_ms = age_ms - both_ms};
}

void replica_slow_go_on(struct replica *r)
{
    struct replica_pace *pace = &r->pace;
    uint64_t age_ms = r->now_ms - pace->at_ms;
    struct replica_parts now;

    if (!replica_is_leader(r) || r->pull.state != PULL_NONE) {
        return;
    }
    if (pace->index == 0) {
        if (r->log.last > r->commit) {
            follow(r, r->log.last);
        }
        return;
    }
    look_at_peers(r, age_ms);
    if (!pace->is_released && r->released >= pace->index) {
        pace->is_released = true;
        pace->released_ms = age_ms;
    }
    if (!pace->is_durable && r->reported >= pace->index) {
        pace->is_durable = true;
        pace->durable_ms = age_ms;
    }
    if (r->applied < pace->index) {
        return;
    }
    now = parts(r);
    average(&pace->release, now.release_ms);
    average(&pace->journal, now.journal_ms);
    average(&pace->apply, now.apply_ms);
    for (uint32_t i = 0; i < r->n_peers; i++) {
        peer_sample(r->peers[i], age_ms);
    }
    pace->done_ms = r->now_ms;
    pace->index = 0;
}

void replica_slow_changed(struct replica *r)
{
    struct replica_pace before = r->pace;

    r->pace = (struct replica_pace){
        .after_ms = larger(before.after_ms, r->now_ms + FIRST_MS(r)),
        .slow_until_ms = before.slow_until_ms,
        .slow = before.slow,
    };
    for (uint32_t i = 0; i < r->n_peers; i++) {
        r->peers[i]->acks = (struct replica_average){0};
        r->peers[i]->applies = (struct replica_average){0};
    }
}

/* On average, or at this very moment if that is worse: a disk may stand still. */
static void own_parts(const struct replica *r, struct replica_parts *out)
{
    const struct replica_pace *pace = &r->pace;

    *out = (struct replica_parts){.release_ms = mean(&pace->release),
                                  .journal_ms = mean(&pace->journal),
                                  .apply_ms = mean(&pace->apply)};
    if (pace->index != 0 && pace->is_released) {
        struct replica_parts now = parts(r);

        out->journal_ms = larger(out->journal_ms, now.journal_ms);
        out->apply_ms = larger(out->apply_ms, now.apply_ms);
    }
}

/* Once slow, it is so down to half of what makes it so. */
static bool is_much(const struct replica *r, uint64_t own_ms, uint64_t release_ms)
{
    uint64_t least_ms = larger(MIN_MS(r), release_ms);

    return own_ms >= (r->pace.since_ms != 0 ? least_ms / 2 : least_ms);
}

/* Of the entry under way if there were none before it. */
static uint64_t ack_ms(const struct replica *r, const struct replica_peer *peer)
{
    if (peer->acks.n > 0) {
        return mean(&peer->acks);
    }
    return r->pace.index != 0 && peer->acked ? peer->ack_ms : UINT64_MAX;
}

static uint64_t apply_ms(const struct replica *r, const struct replica_peer *peer)
{
    if (peer->applies.n > 0) {
        return mean(&peer->applies);
    }
    return r->pace.index != 0 && peer->shown ? peer->apply_ms : UINT64_MAX;
}

static bool is_better(struct replica *r, const struct replica_peer *peer,
                      const struct replica_parts *own)
{
    uint64_t durable_ms = own->release_ms + own->journal_ms;
    uint64_t applied_ms = durable_ms + own->apply_ms;
    /* What a follower has applied is heard of once a heartbeat, and it is told as late. */
    uint64_t late_ms = 2u * r->config.heartbeat_ms;
    uint64_t match = 0;

    if (!peer->up || peer->full || peer->sleeps || !peer->heard ||
        r->now_ms - peer->heard_ms > r->config.election_ms ||
        rgroup_match_index(r->group, peer->id, &match) != 0 || match < r->commit) {
        return false;
    }
    if (is_much(r, own->journal_ms, own->release_ms)) {
        return ack_ms(r, peer) <= durable_ms / 2 &&
               apply_ms(r, peer) <= applied_ms + late_ms;
    }
    return ack_ms(r, peer) <= durable_ms + late_ms && peer->applied > r->applied &&
           apply_ms(r, peer) <= applied_ms / 2;
}

/* The quickest voter that is clearly better; 0: there is none. */
static uint64_t better_voter(struct replica *r, const struct replica_parts *own)
{
    uint64_t best = 0;
    uint64_t best_ms = UINT64_MAX;

    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        const struct rgroup_server *server = &r->conf.servers[i];
        const struct replica_peer *peer = replica_peer_find(r, server->id, false);

        if (server->role == RGROUP_VOTER && peer != NULL && is_better(r, peer, own) &&
            ack_ms(r, peer) < best_ms) {
            best = server->id;
            best_ms = ack_ms(r, peer);
        }
    }
    return best;
}

/* Nothing was written lately: nobody waits, and nothing is known. */
static bool is_stale(const struct replica *r)
{
    const struct replica_pace *pace = &r->pace;

    if (pace->index != 0 && r->now_ms - pace->at_ms >= MIN_MS(r)) {
        return false;
    }
    return pace->release.n < SAMPLES_MIN || r->now_ms - pace->done_ms > LONG_MS(r);
}

bool replica_slow_was(const struct replica *r, uint64_t now_ms, struct replica_parts *out)
{
    *out = r->pace.slow;
    if (replica_is_leader(r)) {
        own_parts(r, out);
    }
    return now_ms < r->pace.slow_until_ms;
}

/* Since when, and for status. */
static void judge(struct replica *r, const struct replica_parts *own)
{
    struct replica_pace *pace = &r->pace;
    bool was_slow = r->now_ms < pace->slow_until_ms;

    if (is_stale(r) || (!is_much(r, own->journal_ms, own->release_ms) &&
                        !is_much(r, own->apply_ms, own->release_ms))) {
        pace->since_ms = 0;
        pace->slow_until_ms = 0;
    } else if (pace->since_ms == 0) {
        pace->since_ms = r->now_ms;
    } else if (r->now_ms - pace->since_ms >= LONG_MS(r)) {
        pace->slow_until_ms = r->now_ms + EVERY_MS(r);
        pace->slow = *own;
    }
    if (was_slow != (r->now_ms < pace->slow_until_ms)) {
        replica_note(r);
    }
}

void replica_slow_tick(struct replica *r)
{
    struct replica_parts own;
    uint64_t target;

    if (!replica_is_leader(r) || r->stopping) {
        return;
    }
    own_parts(r, &own);
    judge(r, &own);
    if (r->now_ms >= r->pace.slow_until_ms || r->transfer.active ||
        r->now_ms < r->pace.after_ms) {
        return;
    }
    target = better_voter(r, &own);
    if (target != 0) {
        r->pace.after_ms = r->now_ms + EVERY_MS(r);
        replica_transfer_start(r, target, 0);
    }
}
