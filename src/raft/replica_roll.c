/*
 * The roll call at the start, and what this member remembers of the others
 * (docs/adr/0005-rolled-back-members.md).
 *
 * While the call is open this member is deaf: it answers others' calls, but takes part in
 * nothing. Then it votes, and stands for election, only at or above the floor that it was
 * told. A leader tells everybody what it knows of everybody, so that it is not alone with
 * that knowledge.
 */
#include "base/assert.h"
#include "base/log.h"
#include "base/wire.h"
#include "raft/replica_impl.h"

#include <errno.h>
#include <inttypes.h>

#define FRAME_VERSION 1u

enum roll_kind {
    ROLL_ASK = 1,
    ROLL_BARE = 2, /* An answer without a configuration. */
    ROLL_TOLD = 3,
    ROLL_ANSWER = 4,
};
enum { TOLD_VALUES = 3 };

/* Where this member's own state is. */
static struct roll_point state_point(const struct replica *r)
{
    return (struct roll_point){.term = r->term, .index = r->log.last};
}

/* What it has vouched for in its present term, and has on its disk. */
static struct roll_point own_point(const struct replica *r)
{
    struct roll_point point = {.term = r->term};

    if (replica_is_leader(r)) {
        point.index = r->reported;
    } else {
        point.index = r->matched < r->reported ? r->matched : r->reported;
    }
    return point;
}

/* The last entry that this member knows to be committed. */
static struct roll_point known_floor(struct replica *r)
{
    struct roll_point floor = {.index = r->commit > r->applied ? r->commit : r->applied};

    if (floor.index > r->log.last) {
        floor.index = r->log.last;
    }
    floor.term = replica_log_term(r, floor.index);
    return floor.term == 0 ? (struct roll_point){0} : floor;
}

/* @mark is what somebody remembers of this member: its state cannot be below it. */
static void check_mark(struct replica *r, struct roll_point mark)
{
    struct roll_point state = state_point(r);

    if (!roll_is_below(state, mark) ||
        r->config.mutation == REPLICA_MUT_TRUST_ROLLED_BACK) {
        return;
    }
    log_error("raft",
              "msg=\"data is older than what this member acknowledged\" id=%" PRIu64
              " term=%" PRIu64 " index=%" PRIu64 " acknowledged_term=%" PRIu64
              " acknowledged_index=%" PRIu64,
              r->config.self, state.term, state.index, mark.term, mark.index);
    replica_fault(r, -ESTALE);
}

void replica_roll_start(struct replica *r, const struct replica_start *start)
{
    if (start->marks != NULL) {
        r->marks = *start->marks;
    }
    check_mark(r, roll_find(&r->marks, r->config.self));
    if (r->config.roll_call && !rgroup_is_sole_voter(r->group) && r->rv == 0) {
        roll_begin(&r->roll, r->read_seq, r->now_ms + 2ull * r->config.election_ms);
        r->roll.floor = known_floor(r);
    }
}

bool replica_roll_open(const struct replica *r)
{
    return r->roll.open;
}

/* Below the floor it would not be elected by those who know it: nor by itself. */
bool replica_roll_waits(const struct replica *r)
{
    struct roll_point own = {.term = 0};

    if (r->roll.open) {
        return true;
    }
    if (r->roll.floor.term == 0 || replica_is_leader(r)) {
        return false;
    }
    own.term = replica_log_term((struct replica *)(uintptr_t)r, r->reported);
    own.index = r->reported;
    return roll_is_below(own, r->roll.floor);
}

bool replica_roll_forbids(const struct replica *r, const struct rgroup_msg *msg)
{
    struct roll_point candidate = {.term = msg->index_term, .index = msg->index};

    if (msg->type == RGROUP_MSG_TIMEOUT_NOW) {
        return replica_roll_waits(r);
    }
    return msg->type == RGROUP_MSG_VOTE && roll_is_below(candidate, r->roll.floor);
}

void replica_roll_heard(struct replica *r, const struct rgroup_msg *msg)
{
    struct roll_point point = {.term = msg->term};
    bool vote = msg->type == RGROUP_MSG_VOTE || msg->type == RGROUP_MSG_VOTE_RESULT;

    if (vote && msg->pre_vote) {
        return; /* Its term is not the sender's. */
    }
    if (msg->type == RGROUP_MSG_APPEND_RESULT && replica_is_leader(r) &&
        msg->term == r->term) {
        (void)rgroup_match_index(r->group, msg->peer, &point.index);
        if (msg->rejected > 0 && msg->index < point.index) {
            r->told_version = 0; /* It has forgotten: say it again. */
        }
    }
    if (roll_note(&r->marks, msg->peer, point)) {
        r->marks_version++;
    }
}

/* Frames. */

static void ask(struct replica *r, uint64_t to)
{
    uint64_t values[2] = {ROLL_ASK, r->roll.life};

    replica_control(r, to, REPLICA_FRAME_ROLL, replica_put_u64s(r, values, 2), 0);
}

/* Does this member lead, in touch with a majority even without @asker? */
static bool leads_without(struct replica *r, uint64_t asker)
{
    uint32_t voters = 0;
    uint32_t there = 0;

    if (!replica_is_leader(r) || r->roll.open) {
        return false;
    }
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        uint64_t id = r->conf.servers[i].id;
        const struct replica_peer *peer = replica_peer_find(r, id, false);

        if (r->conf.servers[i].role != RGROUP_VOTER) {
            continue;
        }
        voters++;
        there +=
            id == r->config.self || (id != asker && peer != NULL && peer->heard &&
                                     r->now_ms - peer->heard_ms < r->config.election_ms)
                ? 1
                : 0;
    }
    return there > voters / 2;
}

/* By what this member would count its votes. */
static void present_conf(struct replica *r, struct roll_conf *out)
{
    struct rgroup_conf_place place = rgroup_conf_place(r->group);

    rgroup_conf_now(r->group, &r->conf);
    roll_voters(out, &r->conf);
    out->index = place.index;
    out->committed = place.committed;
}

static void send_answer(struct replica *r, uint64_t to, const struct roll_answer *answer)
{
    struct buf *head = buf_new(1 + 8 + ROLL_ANSWER_BYTES_MAX);
    struct wire_enc enc;

    if (head == NULL) {
        replica_fault(r, -ENOMEM);
        return;
    }
    enc = wire_enc(head->data, head->cap);
    wire_put_u8(&enc, FRAME_VERSION);
    wire_put_u64(&enc, answer->bare ? ROLL_BARE : ROLL_ANSWER);
    roll_answer_put(&enc, answer);
    ASSERT(!enc.failed);
    head->len = enc.len;
    replica_control(r, to, REPLICA_FRAME_ROLL, head, 0);
}

/* Who comes of an earlier version ignores the one, and all others have it when the other
 * arrives, which then tells them nothing new. */
static void answer(struct replica *r, uint64_t from, uint64_t life)
{
    struct roll_answer answer = {.life = life,
                                 .mark = roll_find(&r->marks, from),
                                 .floor = known_floor(r),
                                 .leads = leads_without(r, from),
                                 .end = {.index = r->log.last}};

    answer.end.term = replica_log_term(r, answer.end.index);
    present_conf(r, &answer.conf);
    send_answer(r, from, &answer);
    answer.bare = true;
    send_answer(r, from, &answer);
}

static void count(struct replica *r, const struct roll_answer *told)
{
    struct roll_conf own = {.n = 0};

    if (!r->roll.open) {
        return;
    }
    present_conf(r, &own);
    roll_count(&r->roll, &own, r->config.self, r->now_ms);
    if (told != NULL) {
        roll_count_told(&r->roll, told, r->config.self, r->now_ms);
    }
    if (!r->roll.open) {
        replica_note(r);
    }
}

static void take_answer(struct replica *r, uint64_t from, struct wire_dec *dec, bool bare)
{
    struct roll_answer answer;

    if (roll_answer_get(dec, bare, &answer) != 0 || answer.life != r->roll.life ||
        !r->roll.open) {
        return;
    }
    check_mark(r, answer.mark);
    if (r->rv != 0) {
        return;
    }
    roll_answer(&r->roll, from, &answer);
    if (!r->roll.open) {
        replica_note(r);
    }
    count(r, &answer);
}

static void take_told(struct replica *r, struct wire_dec *dec)
{
    uint64_t n = wire_get_u64(dec);
    bool news = false;

    for (uint64_t i = 0; i < n && i < ROLL_MARKS_MAX && !dec->failed; i++) {
        uint64_t id = wire_get_u64(dec);
        struct roll_point point = {.term = wire_get_u64(dec)};

        point.index = wire_get_u64(dec);
        if (dec->failed) {
            break;
        }
        if (id == r->config.self) {
            check_mark(r, point);
        } else {
            news = roll_note(&r->marks, id, point) || news;
        }
    }
    r->marks_version += news ? 1 : 0;
}

void replica_roll_frame(struct replica *r, const struct replica_event *event)
{
    struct wire_dec dec = wire_dec(event->head.data, event->head.len);

    if (wire_get_u8(&dec) != FRAME_VERSION) {
        return;
    }
    switch (wire_get_u64(&dec)) {
    case ROLL_ASK: {
        uint64_t life = wire_get_u64(&dec);

        if (wire_done(&dec)) {
            answer(r, event->from, life);
        }
        break;
    }
    case ROLL_ANSWER:
        take_answer(r, event->from, &dec, false);
        break;
    case ROLL_BARE:
        take_answer(r, event->from, &dec, true);
        break;
    case ROLL_TOLD:
        take_told(r, &dec);
        break;
    default:
        break; /* From a newer version, maybe. */
    }
}

void replica_roll_peer(struct replica *r, uint64_t id)
{
    if (r->roll.open && !roll_has_answered(&r->roll, id)) {
        ask(r, id);
    }
}

/* The leader's marks of the members as they are now, itself included. */
static void tell(struct replica *r)
{
    uint64_t values[2 + TOLD_VALUES * RGROUP_MEMBERS_MAX];
    uint32_t n = 2;

    (void)roll_note(&r->marks, r->config.self, own_point(r));
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        struct roll_point point = roll_find(&r->marks, r->conf.servers[i].id);

        if (point.term != 0) {
            values[n++] = r->conf.servers[i].id;
            values[n++] = point.term;
            values[n++] = point.index;
        }
    }
    values[0] = ROLL_TOLD;
    values[1] = (n - 2) / TOLD_VALUES;
    for (uint32_t i = 0; i < r->n_peers; i++) {
        if (r->peers[i]->up) {
            replica_control(r, r->peers[i]->id, REPLICA_FRAME_ROLL,
                            replica_put_u64s(r, values, n), 0);
        }
    }
}

void replica_roll_tick(struct replica *r)
{
    if (r->roll.open) {
        /* Also who has answered: it may have become the leader since, for whom a member
         * without a configuration waits; and each is counted by the configuration of who
         * answers now, since only somebody who is there can be elected. */
        for (uint32_t i = 0; i < r->n_peers; i++) {
            if (r->peers[i]->up) {
                ask(r, r->peers[i]->id);
            }
        }
        count(r, NULL);
        return;
    }
    if (r->config.roll_call && replica_is_leader(r) &&
        r->now_ms - r->told_ms >= r->config.election_ms / 2 &&
        (r->marks_version != r->told_version || r->reported != r->told_reported) &&
        replica_gate_open(r, replica_journal_gate(r), 0)) {
        r->told_ms = r->now_ms;
        tell(r);
        r->told_version = r->marks_version;
        r->told_reported = r->reported;
    }
}

void replica_marks(const struct replica *replica, struct roll_marks *out)
{
    const struct replica *r = replica;

    *out = r->marks;
    if (r->failed) {
        return;
    }
    /* The term may still be on its way to the disk. */
    if (replica_gate_open(r, replica_journal_gate(r), 0)) {
        (void)roll_note(out, r->config.self, own_point(r));
    }
}
