/*
 * Leases at work: what is released, pings, read leases granted and held.
 *
 * Nobody applies an entry before it is released: committed, and received by everybody
 * who holds a read lease. The leader works out the released index and tells it as the
 * commit index of its APPENDs, so that nothing applied anywhere, and nothing answered,
 * lies above it. Why this is linearizable: docs/adr/0004-leases.md.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"

static uint32_t length_ms(const struct replica *r)
{
    return lease_length_ms(r->config.election_ms);
}

/* --- The leader's lease. --- */

uint64_t replica_lease_end_ms(struct replica *r)
{
    if (!replica_is_leader(r) || !r->config.leases || r->stopping ||
        r->released < rgroup_read_floor(r->group)) {
        return 0;
    }
    if (r->config.mutation == REPLICA_MUT_LEASE_ALONE) {
        return r->now_ms + length_ms(r);
    }
    rgroup_conf_now(r->group, &r->conf);
    return lease_end_ms(&r->lease, &r->conf, r->config.self, r->now_ms, length_ms(r));
}

static void ping(struct replica *r)
{
    uint64_t values[3] = {r->term, 0, length_ms(r)};

    values[1] = lease_ping(&r->lease, r->now_ms);
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        const struct rgroup_server *server = &r->conf.servers[i];

        if (server->role == RGROUP_VOTER && server->id != r->config.self) {
            replica_control(r, server->id, REPLICA_FRAME_PING,
                            replica_put_u64s(r, values, 3), 0);
        }
    }
}

/* The first as soon as a lease would be of use, then four for its length. */
static void ping_when_due(struct replica *r)
{
    bool useful = replica_is_leader(r) && r->config.leases && !r->lease.given_up &&
                  r->released >= rgroup_read_floor(r->group);

    if (useful &&
        (r->lease.ping_ms == 0 ||
         r->now_ms - r->lease.ping_ms + r->config.heartbeat_ms / 2 >= length_ms(r) / 4)) {
        ping(r);
    }
}

/* A voter's promise: it votes for nobody else while the ping is worth something. What it
 * forgets in a restart, guard G12 keeps: so not longer than that. */
static void frame_ping(struct replica *r, uint64_t from, const uint64_t *values)
{
    if (r->state != RGROUP_FOLLOWER || r->leader != from || r->term != values[0] ||
        values[2] >= r->config.election_ms ||
        lease_hold_ms(values[2]) >= r->config.election_ms) {
        return;
    }
    rgroup_hold(r->group, r->now_ms + lease_hold_ms(values[2]));
    replica_control(r, from, REPLICA_FRAME_PONG, replica_put_u64s(r, values, 2), 0);
}

/* --- Read leases, the leader's side. --- */

/* How far @id has this term's log, as far as is known. */
static uint64_t received(const struct replica *r, const struct lease_holder *holder)
{
    uint64_t match = 0;

    (void)rgroup_match_index(r->group, holder->id, &match);
    return match > holder->received ? match : holder->received;
}

static void revoke(struct replica *r, struct lease_holder *holder)
{
    uint64_t values[2] = {r->term, holder->number};

    if (!holder->revoked) {
        holder->revoked = true;
        replica_control(r, holder->id, REPLICA_FRAME_LEASE_REVOKE,
                        replica_put_u64s(r, values, 2), 0);
    }
}

/* What an earlier life granted as sole voter may be out still: no other kind of leader
 * is elected so early. */
static bool must_wait(struct replica *r)
{
    return r->now_ms < r->lease_wait_ms && r->config.mutation != REPLICA_MUT_NO_WAIT;
}

bool replica_lease_quiet(struct replica *r)
{
    if (!replica_is_leader(r) || r->config.mutation == REPLICA_MUT_LEASE_KEPT) {
        return true;
    }
    if (must_wait(r)) {
        return false; /* There is no asking back what is not known. */
    }
    if (lease_out(&r->lease, r->now_ms) == 0) {
        return true;
    }
    for (uint32_t i = 0; i < r->lease.n_holders; i++) {
        revoke(r, &r->lease.holders[i]);
    }
    return false;
}

void replica_lease_give_up(struct replica *r)
{
    if (r->config.mutation != REPLICA_MUT_LEASE_KEPT) {
        lease_give_up(&r->lease);
    }
}

bool replica_lease_is_out(struct replica *r, uint64_t id)
{
    const struct lease_holder *holder = lease_find(&r->lease, id);

    return holder != NULL && holder->until_ms > r->now_ms;
}

/* Who lacks a committed entry for long makes every writer wait: it reads by asking. */
static void check_late(struct replica *r, struct lease_holder *holder, uint64_t has)
{
    struct replica_peer *peer;

    if (has >= holder->late_index) {
        holder->late_index = has < r->commit ? r->commit : 0;
        holder->late_ms = r->now_ms;
    } else if (r->now_ms - holder->late_ms >= r->config.heartbeat_ms) {
        peer = replica_peer_find(r, holder->id, false);
        if (peer != NULL) {
            peer->lease_after_ms = r->now_ms + 4u * r->config.election_ms;
        }
        revoke(r, holder);
    }
}

static void release(struct replica *r)
{
    uint64_t bound = r->commit;

    if (!replica_is_leader(r) || must_wait(r)) {
        return;
    }
    (void)lease_out(&r->lease, r->now_ms);
    for (uint32_t i = 0; i < r->lease.n_holders; i++) {
        struct lease_holder *holder = &r->lease.holders[i];
        uint64_t has = received(r, holder);

        check_late(r, holder, has);
        if (has < bound && r->config.mutation != REPLICA_MUT_NO_RECEIPT) {
            bound = has;
        }
    }
    if (bound > r->released) {
        r->released = bound;
    }
}

static bool is_member(struct replica *r, uint64_t id)
{
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        if (r->conf.servers[i].id == id) {
            return true;
        }
    }
    return false;
}

/* May @from hold a read lease now? No lease outlives a change of the voters (ADR 4). */
static bool may_hold(struct replica *r, const struct replica_peer *peer, uint64_t has)
{
    return r->now_ms >= peer->lease_after_ms && !must_wait(r) && !r->transfer.active &&
           !r->change.active && r->change_index <= r->applied &&
           has + REPLICA_INFLIGHT >= r->commit && is_member(r, peer->id);
}

/* For how long, and remember it; 0: not at all. */
static uint64_t grant(struct replica *r, struct replica_peer *peer, uint64_t number,
                      uint64_t has)
{
    uint64_t end_ms = replica_lease_end_ms(r);
    uint64_t ms = length_ms(r) / 2;
    struct lease_holder *holder;

    /* Our clock is read in whole milliseconds: one is lost. */
    if (end_ms < r->now_ms + ms / 4 + 1 || !may_hold(r, peer, has)) {
        return 0;
    }
    if (end_ms - r->now_ms - 1 < ms) {
        ms = end_ms - r->now_ms - 1;
    }
    holder = lease_grant(&r->lease, peer->id, number, r->now_ms + ms + 1);
    if (holder == NULL) {
        return 0;
    }
    /* Not the higher of both: what it said in a life before may have died with it. */
    holder->received = has;
    /* If we are deposed, our vote must not end it. */
    rgroup_hold(r->group, holder->until_ms);
    return ms;
}

static void frame_ask(struct replica *r, uint64_t from, const uint64_t *values)
{
    struct replica_peer *peer = replica_peer_find(r, from, false);
    uint64_t answer[4] = {r->term, values[1], 0, r->released};
    uint64_t has = 0;

    if (peer == NULL || !replica_is_leader(r) || values[0] != r->term) {
        return;
    }
    (void)rgroup_match_index(r->group, from, &has);
    if (values[2] > has && values[2] <= r->log.last) {
        has = values[2];
    }
    answer[2] = grant(r, peer, values[1], has);
    replica_control(r, from, REPLICA_FRAME_LEASE_GRANT, replica_put_u64s(r, answer, 4),
                    0);
}

static void frame_received(struct replica *r, uint64_t from, const uint64_t *values)
{
    struct lease_holder *holder = lease_find(&r->lease, from);

    if (replica_is_leader(r) && values[0] == r->term && holder != NULL &&
        values[1] <= r->log.last && values[1] > holder->received) {
        holder->received = values[1];
    }
}

/* --- A read lease of our own. --- */

bool replica_lease_wanted(const struct replica *r)
{
    return r->own.asked != 0 || lease_is_held(&r->own, r->now_ms);
}

bool replica_lease_serves(const struct replica *r)
{
    return lease_is_held(&r->own, r->now_ms) && r->state == RGROUP_FOLLOWER &&
           r->own.term == r->term && r->own.leader == r->leader &&
           r->matched >= r->own.index && r->pull.state == PULL_NONE && !r->stopping;
}

static bool ask_is_due(const struct replica *r)
{
    uint32_t part_ms = length_ms(r) / 8;

    if (!r->config.leases || r->stopping || r->sleeps || r->state != RGROUP_FOLLOWER ||
        r->leader == 0 || r->pull.state != PULL_NONE || r->now_ms < r->own_after_ms ||
        r->read_ms == 0 || r->now_ms - r->read_ms > length_ms(r)) {
        return false;
    }
    /* Whatever came of the last question, it is not asked at the pace of the answers. */
    if (r->own.asked_ms != 0 && r->now_ms - r->own.asked_ms < part_ms) {
        return false;
    }
    return !lease_is_held(&r->own, r->now_ms + 2 * part_ms);
}

static void ask_when_due(struct replica *r)
{
    struct replica_peer *peer;
    uint64_t values[3] = {r->term, 0, 0};

    if (!ask_is_due(r)) {
        return;
    }
    peer = replica_peer_find(r, r->leader, false);
    if (peer == NULL || !peer->up) {
        return;
    }
    values[1] = lease_ask(&r->own, r->term, r->leader, r->now_ms);
    values[2] = r->matched;
    r->received_told = r->matched;
    replica_control(r, r->leader, REPLICA_FRAME_LEASE_ASK, replica_put_u64s(r, values, 3),
                    0);
}

static void frame_grant(struct replica *r, uint64_t from, const uint64_t *values)
{
    if (values[0] != r->term || from != r->leader || r->state != RGROUP_FOLLOWER ||
        r->own.term != r->term || r->own.leader != from || values[1] != r->own.asked) {
        return;
    }
    (void)lease_granted(&r->own, values[1], values[2], values[3], r->now_ms);
    if (values[2] == 0) {
        r->own_after_ms = r->now_ms + length_ms(r);
    }
}

void replica_lease_return(struct replica *r)
{
    uint64_t values[2] = {r->own.term, r->own.number};
    bool any = r->own.end_ms != 0 || r->own.asked != 0;

    lease_drop(&r->own);
    if (any && r->own.term == r->term && r->leader == r->own.leader && r->leader != 0) {
        replica_control(r, r->leader, REPLICA_FRAME_LEASE_RETURN,
                        replica_put_u64s(r, values, 2), 0);
    }
}

static void frame_revoke(struct replica *r, uint64_t from, const uint64_t *values)
{
    if (values[0] == r->term && from == r->leader) {
        replica_lease_return(r);
        r->own_after_ms = r->now_ms + length_ms(r) / 2;
    }
}

void replica_lease_stop(struct replica *r)
{
    replica_lease_return(r);
    r->matched = 0;
    r->received_told = 0;
}

/* Up to @last, of term @last_term, our log may now be the leader's. */
void replica_lease_matched(struct replica *r, const struct rgroup_msg *msg,
                           uint64_t last_term)
{
    uint64_t last = msg->index + msg->n;
    uint64_t told = msg->commit < last ? msg->commit : last;
    uint64_t values[2] = {r->term, 0};

    if (r->state != RGROUP_FOLLOWER || r->term != msg->term || r->leader != msg->peer ||
        r->pull.state != PULL_NONE ||
        (last > r->log.base_index && replica_log_term(r, last) != last_term)) {
        return;
    }
    r->matched = last > r->matched ? last : r->matched;
    r->released = told > r->released ? told : r->released;
    if (replica_lease_wanted(r) && r->matched > r->received_told) {
        r->received_told = r->matched;
        values[1] = r->matched;
        replica_control(r, r->leader, REPLICA_FRAME_RECEIVED,
                        replica_put_u64s(r, values, 2), 0);
    }
}

/* --- Both. --- */

void replica_lease_start(struct replica *r)
{
    r->own.number = r->read_seq; /* Another number than in a life before. */
    r->named_any = r->log.last;
    replica_lease_wait(r);
}

void replica_lease_wait(struct replica *r)
{
    rgroup_conf_now(r->group, &r->conf);
    if (r->conf.n > 1) {
        r->lease_wait_ms = r->now_ms + lease_hold_ms(length_ms(r));
    } /* Else nobody is there who could hold one: see replica_change_go_on. */
}

void replica_lease_changed(struct replica *r)
{
    lease_begin(&r->lease, replica_is_leader(r) ? r->term : 0);
    lease_drop(&r->own);
    r->matched = 0;
    r->received_told = 0;
    r->own_after_ms = 0;
}

void replica_lease_go_on(struct replica *r)
{
    release(r);
    if (r->lease.ping_ms == 0) {
        ping_when_due(r);
    }
    ask_when_due(r);
}

void replica_lease_tick(struct replica *r)
{
    ping_when_due(r);
}

/* Somebody waits for a read lease to be over, or for the wait after a start. */
uint64_t replica_lease_wake_ms(const struct replica *r)
{
    uint64_t next_ms;

    if (!replica_is_leader(r) ||
        (r->commit == r->released && !r->transfer.active && !r->change.active)) {
        return UINT64_MAX;
    }
    next_ms = lease_next_ms(&r->lease);
    if (r->lease_wait_ms > r->now_ms && r->lease_wait_ms < next_ms) {
        next_ms = r->lease_wait_ms;
    }
    return next_ms;
}

void replica_lease_frame(struct replica *r, const struct replica_event *event)
{
    static const uint8_t counts[] = {
        [REPLICA_FRAME_PING] = 3,         [REPLICA_FRAME_PONG] = 2,
        [REPLICA_FRAME_LEASE_ASK] = 3,    [REPLICA_FRAME_LEASE_GRANT] = 4,
        [REPLICA_FRAME_LEASE_REVOKE] = 2, [REPLICA_FRAME_LEASE_RETURN] = 2,
        [REPLICA_FRAME_RECEIVED] = 2,
    };
    uint64_t values[4] = {0};

    ASSERT(event->frame_type < sizeof counts);
    if (replica_get_u64s(event->head, values, counts[event->frame_type]) != 0) {
        return;
    }
    switch (event->frame_type) {
    case REPLICA_FRAME_PING:
        frame_ping(r, event->from, values);
        break;
    case REPLICA_FRAME_PONG:
        if (replica_is_leader(r) && values[0] == r->term) {
            (void)lease_answer(&r->lease, event->from, values[1]);
        }
        break;
    case REPLICA_FRAME_LEASE_ASK:
        frame_ask(r, event->from, values);
        break;
    case REPLICA_FRAME_LEASE_GRANT:
        frame_grant(r, event->from, values);
        break;
    case REPLICA_FRAME_LEASE_REVOKE:
        frame_revoke(r, event->from, values);
        break;
    case REPLICA_FRAME_LEASE_RETURN:
        if (replica_is_leader(r) && values[0] == r->term) {
            lease_returned(&r->lease, event->from, values[1]);
        }
        break;
    default:
        frame_received(r, event->from, values);
        break;
    }
}
