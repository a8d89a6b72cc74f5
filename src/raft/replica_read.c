/*
 * Reads that see every write answered before they began.
 *
 * Leader, under its lease or as sole voter: they wait until the released index is applied
 * here. Member, under a read lease: until the last entry of its log that may touch what
 * is asked for is applied; mostly there is none. Without a lease (Raft thesis 6.4):
 *
 * Leader: all waiting reads form one round: the released index is kept, a probe goes to
 * the voters, and when a majority has answered from a term not above ours, nobody else
 * can have led since the round began. Others ask the leader for its index, one batch
 * at a time. Then the read waits until that index is applied here.
 *
 * A server whose term is below the probe's may answer too: it has not moved to any
 * later term either.
 */
#include "base/assert.h"
#include "base/outcome.h"
#include "raft/replica_impl.h"

static void read_fail(struct replica *r, const struct replica_read *read)
{
    uint64_t values[3] = {read->token, 0, 0};

    if (read->from == 0) {
        replica_answer(r, read->token, OUT_TRY_LATER);
    } else {
        replica_control(r, read->from, REPLICA_FRAME_READ_ANSWER,
                        replica_put_u64s(r, values, 3), 0);
    }
}

static void push(struct replica *r, struct replica_fifo *fifo,
                 const struct replica_read *read)
{
    struct replica_read *item = replica_fifo_push(r, fifo);

    if (item != NULL) {
        *item = *read;
    }
}

uint32_t replica_reads_waiting(const struct replica *r)
{
    return r->reads_new.n + r->reads_round.n + r->reads_ready.n;
}

static void read_add(struct replica *r, struct replica_read read)
{
    read.since_ms = r->now_ms;
    if (r->failed || r->stopping || r->pull.state != PULL_NONE ||
        replica_reads_waiting(r) >= REPLICA_READS_MAX) {
        read_fail(r, &read);
        return;
    }
    push(r, &r->reads_new, &read);
}

static void give(struct replica *r, const struct replica_read *read)
{
    struct replica_action *action;

    if (read->token != 0) {
        action = replica_act(r, REPLICA_DO_READ);
        action->token = read->token;
        action->named = read->named;
        action->stamp = attrs_stamp(&r->attrs);
    }
}

/* As leader: must nobody be asked before a read? */
static bool is_certain(struct replica *r)
{
    return rgroup_is_sole_voter(r->group) || r->now_ms < replica_lease_end_ms(r);
}

/* As leader: what earlier ones released may be above what this one knows so far. */
static bool below_floor(const struct replica *r)
{
    return r->released < rgroup_read_floor(r->group) &&
           r->config.mutation != REPLICA_MUT_NO_FLOOR;
}

/* As member, under a read lease: what @read waits for. */
static void serve_one(const struct replica *r, struct replica_read *read)
{
    read->index = replica_names_wait(r, read);
    read->named = read->ino != 0 && read->index < r->log.last;
}

/* A read that nothing has to be waited for needs no turn of the loop. */
static bool at_once(struct replica *r, struct replica_read *read)
{
    if (r->failed || r->stopping || r->pull.state != PULL_NONE) {
        return false;
    }
    if (replica_is_leader(r)) {
        if (below_floor(r) || !is_certain(r)) {
            return false;
        }
        read->index = r->released;
    } else {
        replica_lease_go_on(r); /* It may have to be asked for anew. */
        if (!replica_lease_serves(r)) {
            return false;
        }
        serve_one(r, read);
    }
    if (read->index > r->applied) {
        return false;
    }
    give(r, read);
    return true;
}

void replica_read_new(struct replica *r, const struct replica_event *event)
{
    struct replica_read read = {.token = event->token,
                                .since_ms = r->now_ms,
                                .ino = event->ino,
                                .gen = event->gen};

    if (r->config.mutation == REPLICA_MUT_READ_LOCAL) {
        give(r, &read);
        return;
    }
    r->read_ms = r->now_ms;
    if (!at_once(r, &read)) {
        read_add(r, read);
    }
}

bool replica_is_unread(const struct replica *r)
{
    return !replica_is_leader(r) && replica_reads_waiting(r) == 0 &&
           (r->read_ms == 0 || r->now_ms - r->read_ms >= REPLICA_UNREAD_MS);
}

static void cancel_in(struct replica_fifo *fifo, uint64_t token)
{
    for (uint32_t i = 0; i < fifo->n; i++) {
        struct replica_read *read = replica_fifo_at(fifo, i);

        if (read->from == 0 && read->token == token) {
            read->token = 0; /* Nobody waits: dropped when its turn comes. */
        }
    }
}

void replica_read_cancel(struct replica *r, uint64_t token)
{
    cancel_in(&r->reads_new, token);
    cancel_in(&r->reads_round, token);
    cancel_in(&r->reads_ready, token);
}

static void forget_in(struct replica *r, struct replica_fifo *fifo, uint64_t from)
{
    uint32_t n = fifo->n;

    for (uint32_t i = 0; i < n; i++) {
        struct replica_read read = *(struct replica_read *)replica_fifo_at(fifo, 0);

        replica_fifo_pop(fifo);
        if (read.from != from) {
            push(r, fifo, &read);
        }
    }
}

void replica_read_forget(struct replica *r, uint64_t from)
{
    forget_in(r, &r->reads_new, from);
    forget_in(r, &r->reads_round, from);
}

/* A leader's word is over: other members' reads are refused, ours wait again. */
static void put_back(struct replica *r, const struct replica_read *read)
{
    if (read->from != 0 && !replica_is_leader(r)) {
        read_fail(r, read);
    } else {
        push(r, &r->reads_new, read);
    }
}

void replica_read_again(struct replica *r)
{
    uint32_t n = r->reads_new.n;

    r->round.open = false;
    r->asked = false;
    for (uint32_t i = 0; i < n; i++) {
        struct replica_read read =
            *(struct replica_read *)replica_fifo_at(&r->reads_new, 0);

        replica_fifo_pop(&r->reads_new);
        put_back(r, &read);
    }
    while (r->reads_round.n > 0) {
        struct replica_read read =
            *(struct replica_read *)replica_fifo_at(&r->reads_round, 0);

        replica_fifo_pop(&r->reads_round);
        put_back(r, &read);
    }
    n = r->reads_ready.n;
    for (uint32_t i = 0; i < n; i++) {
        struct replica_read read =
            *(struct replica_read *)replica_fifo_at(&r->reads_ready, 0);

        /* What it waits for may be cut off, if it is not committed. */
        replica_fifo_pop(&r->reads_ready);
        push(r, read.index > r->commit ? &r->reads_new : &r->reads_ready, &read);
    }
}

/* The reads of @fifo may be answered from @index on. */
static void ready(struct replica *r, struct replica_fifo *fifo, uint64_t index)
{
    while (fifo->n > 0) {
        struct replica_read read = *(struct replica_read *)replica_fifo_at(fifo, 0);

        replica_fifo_pop(fifo);
        if (read.from == 0) {
            read.index = index;
            read.named = false;
            push(r, &r->reads_ready, &read);
        } else {
            uint64_t values[3] = {read.token, 1, index};
            struct replica_peer *peer = replica_peer_find(r, read.from, false);

            if (peer != NULL) {
                peer->read_index = index; /* It will wait for just this. */
                replica_send_commit(r, peer);
            }
            replica_control(r, read.from, REPLICA_FRAME_READ_ANSWER,
                            replica_put_u64s(r, values, 3), 0);
        }
    }
}

static void round_send(struct replica *r)
{
    uint64_t values[2] = {r->round.term, r->round.seq};

    r->round.sent_ms = r->now_ms;
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        const struct rgroup_server *server = &r->conf.servers[i];

        if (server->role == RGROUP_VOTER && server->id != r->config.self) {
            replica_control(r, server->id, REPLICA_FRAME_PROBE,
                            replica_put_u64s(r, values, 2), 0);
        }
    }
}

/* As leader. */
static void round_begin(struct replica *r)
{
    if (r->reads_new.n == 0 || below_floor(r)) {
        return;
    }
    if (is_certain(r)) {
        ready(r, &r->reads_new, r->released);
        return;
    }
    if (r->round.open) {
        return;
    }
    ASSERT(r->reads_round.n == 0);
    struct replica_fifo swap = r->reads_round;
    r->reads_round = r->reads_new;
    r->reads_new = swap;
    r->round = (struct replica_round){
        .open = true, .seq = ++r->read_seq, .term = r->term, .index = r->released};
    round_send(r);
}

/* Has a majority of the voters, ourselves counted if we are one, answered? */
static bool round_complete(struct replica *r)
{
    uint32_t voters = 0;
    uint32_t yes = 0;

    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        uint64_t id = r->conf.servers[i].id;

        if (r->conf.servers[i].role != RGROUP_VOTER) {
            continue;
        }
        voters++;
        yes += id == r->config.self;
        for (uint32_t k = 0; k < r->round.n_acks; k++) {
            yes += r->round.acks[k] == id;
        }
    }
    return yes > voters / 2;
}

/* Also without an answer: a leader that has become the only voter needs nobody's. */
static void round_end(struct replica *r)
{
    if (r->round.open && r->round.term == r->term && round_complete(r)) {
        r->round.open = false;
        ready(r, &r->reads_round, r->round.index);
    }
}

static void round_ack(struct replica *r, uint64_t from, const uint64_t *values)
{
    if (!r->round.open || !replica_is_leader(r) || values[0] != r->term ||
        values[0] != r->round.term || values[1] != r->round.seq) {
        return;
    }
    for (uint32_t k = 0; k < r->round.n_acks; k++) {
        if (r->round.acks[k] == from) {
            return;
        }
    }
    if (r->round.n_acks < RGROUP_MEMBERS_MAX) {
        r->round.acks[r->round.n_acks++] = from;
    }
    round_end(r);
}

/* Ask the leader for an index on behalf of all that wait. */
static void ask(struct replica *r)
{
    struct replica_peer *peer;
    uint64_t seq;

    if (r->asked || r->reads_new.n == 0 || r->leader == 0 ||
        r->now_ms < r->ask_after_ms) {
        return;
    }
    peer = replica_peer_find(r, r->leader, false);
    if (peer == NULL || !peer->up) {
        return;
    }
    ASSERT(r->reads_round.n == 0);
    struct replica_fifo swap = r->reads_round;
    r->reads_round = r->reads_new;
    r->reads_new = swap;
    seq = ++r->read_seq;
    r->asked = true;
    r->asked_leader = r->leader;
    r->asked_seq = seq;
    r->asked_ms = r->now_ms;
    replica_control(r, r->leader, REPLICA_FRAME_READ_INDEX, replica_put_u64s(r, &seq, 1),
                    0);
}

/* As member, under a read lease. */
static void serve(struct replica *r)
{
    while (r->reads_new.n > 0) {
        struct replica_read read =
            *(struct replica_read *)replica_fifo_at(&r->reads_new, 0);

        replica_fifo_pop(&r->reads_new);
        serve_one(r, &read);
        if (read.index <= r->applied) {
            give(r, &read);
        } else {
            push(r, &r->reads_ready, &read);
        }
    }
}

static void release(struct replica *r)
{
    while (r->reads_ready.n > 0 && r->pull.state == PULL_NONE) {
        struct replica_read *read = replica_fifo_at(&r->reads_ready, 0);

        if (read->index > r->applied) {
            return;
        }
        give(r, read);
        replica_fifo_pop(&r->reads_ready);
    }
}

void replica_read_go_on(struct replica *r)
{
    if (replica_is_leader(r)) {
        round_end(r);
        round_begin(r);
    } else if (replica_lease_serves(r)) {
        serve(r);
    } else {
        ask(r);
    }
    release(r);
}

/* Drop from @fifo what has waited too long. */
static void expire(struct replica *r, struct replica_fifo *fifo)
{
    uint32_t n = fifo->n;

    for (uint32_t i = 0; i < n; i++) {
        struct replica_read read = *(struct replica_read *)replica_fifo_at(fifo, 0);
        uint64_t age_ms = r->now_ms - read.since_ms;

        replica_fifo_pop(fifo);
        if (age_ms >= REPLICA_READ_MAX_MS ||
            (age_ms >= REPLICA_READ_WAIT_MS && r->leader == 0)) {
            read_fail(r, &read);
        } else {
            push(r, fifo, &read);
        }
    }
}

void replica_read_tick(struct replica *r)
{
    if (r->round.open && r->now_ms - r->round.sent_ms >= r->config.heartbeat_ms) {
        round_send(r);
    }
    if (r->asked && r->now_ms - r->asked_ms >= r->config.election_ms) {
        replica_read_again(r);
    }
    expire(r, &r->reads_new);
    expire(r, &r->reads_ready);
}

static void fail_in(struct replica *r, struct replica_fifo *fifo)
{
    while (fifo->n > 0) {
        struct replica_read read = *(struct replica_read *)replica_fifo_at(fifo, 0);

        replica_fifo_pop(fifo);
        read_fail(r, &read);
    }
}

void replica_read_fail_all(struct replica *r)
{
    r->round.open = false;
    r->asked = false;
    fail_in(r, &r->reads_new);
    fail_in(r, &r->reads_round);
    fail_in(r, &r->reads_ready);
}

static void frame_probe(struct replica *r, uint64_t from, const uint64_t *values)
{
    if (r->term <= values[0]) {
        replica_control(r, from, REPLICA_FRAME_PROBE_ACK, replica_put_u64s(r, values, 2),
                        0);
    }
}

static void frame_answer(struct replica *r, uint64_t from, const uint64_t *values)
{
    if (!r->asked || from != r->asked_leader || values[0] != r->asked_seq) {
        return;
    }
    r->asked = false;
    if (values[1] == 1) {
        ready(r, &r->reads_round, values[2]);
    } else {
        r->ask_after_ms = r->now_ms + r->config.heartbeat_ms / 2;
        replica_read_again(r);
    }
}

void replica_read_frame(struct replica *r, const struct replica_event *event)
{
    uint64_t values[3];
    struct replica_peer *peer;

    switch (event->frame_type) {
    case REPLICA_FRAME_PROBE:
        if (replica_get_u64s(event->head, values, 2) == 0) {
            frame_probe(r, event->from, values);
        }
        break;
    case REPLICA_FRAME_PROBE_ACK:
        if (replica_get_u64s(event->head, values, 2) == 0) {
            round_ack(r, event->from, values);
        }
        break;
    case REPLICA_FRAME_READ_INDEX:
        if (replica_get_u64s(event->head, values, 1) == 0) {
            struct replica_read read = {.from = event->from, .token = values[0]};

            if (replica_is_leader(r)) {
                read_add(r, read);
            } else {
                read_fail(r, &read);
            }
        }
        break;
    case REPLICA_FRAME_READ_ANSWER:
        if (replica_get_u64s(event->head, values, 3) == 0) {
            frame_answer(r, event->from, values);
        }
        break;
    case REPLICA_FRAME_REPORT:
        peer = replica_peer_find(r, event->from, false);
        if (peer != NULL && replica_get_u64s(event->head, values, 3) == 0) {
            peer->applied = values[1];
            peer->full = (values[2] & REPLICA_REPORT_FULL) != 0;
            peer->sleeps = (values[2] & REPLICA_REPORT_SLEEPS) != 0;
        }
        break;
    default:
        break; /* From a newer version, maybe. */
    }
}
