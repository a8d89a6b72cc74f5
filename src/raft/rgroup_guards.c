#include "raft/rgroup_impl.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <errno.h>
#include <raft.h>

enum {
    WAKE_MS_MIN = 5,         /* G6 */
    HURRY_PART = 3,          /* guard_hurry */
    VOTE_RESULT_VERSION = 2, /* Of the engine's messages: the first with pre_vote. */
    FEATURE_CAPACITY = 1 << 0,
};

uint64_t guard_term_of(const struct rgroup *group, uint64_t index)
{
    const struct raft_trail *trail = &group->engine->trail;
    unsigned at = trail->front;

    if (index > trail->offset) {
        for (; at != trail->back; at = (at + 1) % trail->size) {
            if (index <= trail->records[at].index) {
                return trail->records[at].term;
            }
        }
    }
    return index != 0 && index == trail->snapshot.index ? trail->snapshot.term : 0;
}

bool guard_starts_alone(const struct rgroup *group, const uint8_t *conf, size_t len)
{
    struct rgroup_conf decoded;

    return rgroup_conf_decode(conf, len, &decoded) == 0 && conf_voters(&decoded) == 1 &&
           conf_votes(&decoded, group->config.self);
}

/* Is @conf well-formed, and exactly one server away from @now? */
static bool change_is_single(const struct rgroup_conf *now,
                             const struct rgroup_conf *conf, bool spares)
{
    uint32_t differences = 0;
    uint32_t i;

    if (conf->n == 0 || conf->n > RGROUP_MEMBERS_MAX) {
        return false;
    }
    for (i = 0; i < conf->n; i++) {
        const struct rgroup_server *server = &conf->servers[i];
        const struct rgroup_server *before = conf_find(now, server->id);

        if (server->id == 0 || conf_find(conf, server->id) != server ||
            conf_engine_role(server->role, spares) < 0) {
            return false;
        }
        differences += before == NULL || before->role != server->role;
    }
    for (i = 0; i < now->n; i++) {
        differences += conf_find(conf, now->servers[i].id) == NULL;
    }
    return differences == 1;
}

/*
 * The other half of G9: a server becomes a voter only once it has acknowledged an entry
 * of this term. One with an empty log does not vote at all, and one that is far behind
 * may be needed for a majority.
 */
static int change_promotes(const struct rgroup *group, const struct rgroup_conf *now,
                           const struct rgroup_conf *conf)
{
    uint64_t match = 0;
    uint32_t i;

    for (i = 0; i < conf->n; i++) {
        const struct rgroup_server *server = &conf->servers[i];

        if (server->role != RGROUP_VOTER || conf_votes(now, server->id)) {
            continue;
        }
        if (conf_find(now, server->id) == NULL) {
            return OUT_INVAL;
        }
        if (rgroup_match_index(group, server->id, &match) != 0 ||
            match < group->read_floor) {
            return OUT_BUSY;
        }
    }
    return 0;
}

int guard_change(const struct rgroup *group, const struct rgroup_conf *conf)
{
    struct rgroup_conf now;

    ASSERT(conf != NULL);
    if (group->state != RGROUP_LEADER) {
        return OUT_NOT_LEADER;
    }
    if (raft_transferee(group->engine) != 0 ||
        group->engine->configuration_uncommitted_index != 0) {
        return OUT_BUSY;
    }
    /* Raft thesis 4.1 as corrected in 2015: the read floor is the leader's barrier, the
     * first entry of its term. */
    if (guarded(group, RGROUP_OFF_G11) && group->commit < group->read_floor) {
        return OUT_BUSY;
    }
    conf_from_engine(&group->engine->configuration, &now);
    if (!change_is_single(&now, conf, !guarded(group, RGROUP_OFF_G6)) ||
        conf_voters(conf) == 0) {
        return OUT_INVAL;
    }
    if (guarded(group, RGROUP_OFF_G2) && conf_voters(conf) == 1 &&
        !conf_votes(conf, group->config.self)) {
        return OUT_INVAL;
    }
    return guarded(group, RGROUP_OFF_G9) ? change_promotes(group, &now, conf) : 0;
}

int guard_transfer(const struct rgroup *group, uint64_t *target)
{
    const struct raft_configuration *conf = &group->engine->configuration;
    uint64_t last = raft_last_index(group->engine);
    bool known = false;
    unsigned i;

    if (group->state != RGROUP_LEADER) {
        return OUT_NOT_LEADER;
    }
    if (raft_transferee(group->engine) != 0) {
        return OUT_BUSY;
    }
    for (i = 0; i < conf->n; i++) {
        const struct raft_server *server = &conf->servers[i];
        raft_index match = 0;

        if (server->id == group->config.self || server->role != RAFT_VOTER ||
            (*target != 0 && *target != server->id)) {
            continue;
        }
        known = true;
        if (raft_match_index(group->engine, server->id, &match) == 0 && match == last) {
            *target = server->id;
            return 0;
        }
    }
    if (!known) {
        return OUT_INVAL;
    }
    return guarded(group, RGROUP_OFF_G14) ? OUT_BUSY : 0;
}

uint32_t guard_append_below(const struct rgroup *group, uint64_t msg_term, uint32_t n,
                            uint64_t *prev, uint64_t *prev_term)
{
    uint64_t below;

    if (!guarded(group, RGROUP_OFF_G4) || msg_term < raft_current_term(group->engine) ||
        *prev >= group->base_index) {
        return 0;
    }
    /* All of it is committed, so it is the leader's too. */
    below = group->base_index - *prev;
    *prev = group->base_index;
    *prev_term = group->base_term;
    return below > n ? n : (uint32_t)below;
}

/* The engine takes a log to end where the refusal says, below what was acknowledged too. An
 * honest one that says so is late; else the member's log is not what it acknowledged
 * (docs/adr/0005-rolled-back-members.md), and that is not for the engine to find out. */
bool guard_stale_rejection(const struct rgroup *group, const struct rgroup_msg *msg)
{
    raft_index match = 0;

    return guarded(group, RGROUP_OFF_G5) && group->state == RGROUP_LEADER &&
           msg->term == raft_current_term(group->engine) && msg->rejected > 0 &&
           raft_match_index(group->engine, msg->peer, &match) == 0 &&
           (msg->rejected <= match || msg->index < match);
}

void guard_old_term(const struct rgroup *group, const struct rgroup_msg *msg,
                    uint32_t from, struct rgroup_update *update)
{
    uint32_t i;

    for (i = from; guarded(group, RGROUP_OFF_G17) && i < update->n_messages; i++) {
        struct rgroup_msg *answer = &update->messages[i];

        if (answer->type == RGROUP_MSG_APPEND_RESULT && answer->term > msg->term) {
            answer->index = 0;
        }
    }
}

void guard_outgoing(const struct rgroup *group, struct rgroup_msg *msg)
{
    uint64_t term = raft_current_term(group->engine);

    switch (msg->type) {
    case RGROUP_MSG_VOTE_RESULT:
        if (guarded(group, RGROUP_OFF_G7) && msg->pre_vote && !msg->granted &&
            term > msg->term) {
            msg->term = term;
        }
        break;
    case RGROUP_MSG_VOTE:
        if (guarded(group, RGROUP_OFF_G8) &&
            (!group->timeout_now_seen || msg->term != group->timeout_now_term + 1 ||
             group->now_ms - group->timeout_now_ms > group->config.election_ms)) {
            msg->disrupt = false;
        }
        break;
    case RGROUP_MSG_APPEND:
        if (guarded(group, RGROUP_OFF_G10) && group->change > group->persisted &&
            msg->index + msg->n >= group->change) {
            msg->after_index = group->change;
        }
        break;
    case RGROUP_MSG_APPEND_RESULT:
    case RGROUP_MSG_SNAPSHOT:
    case RGROUP_MSG_TIMEOUT_NOW:
        break;
    }
}

/* Let the engine adopt the term of a VOTE, and say nothing: it would only refuse. */
static int vote_adopt_term(struct rgroup *group, const struct rgroup_msg *msg,
                           struct rgroup_update *update)
{
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE, .server_id = msg->peer, .server_address = "peer"};
    struct raft_event event = {.type = RAFT_RECEIVE};
    int rv;

    message.request_vote =
        (struct raft_request_vote){.version = (unsigned char)msg->version,
                                   .term = msg->term,
                                   .candidate_id = msg->candidate,
                                   .last_log_index = msg->index,
                                   .last_log_term = msg->index_term,
                                   .disrupt_leader = true};
    event.receive.message = &message;
    group->muted = true;
    rv = engine_step(group, &event, RGROUP_FROM_ENGINE, update, NULL);
    group->muted = false;
    ASSERT(rv != 0 || raft_current_term(group->engine) == msg->term);
    return rv;
}

static int vote_answer(struct rgroup *group, const struct rgroup_msg *msg, bool granted,
                       struct rgroup_update *update)
{
    struct rgroup_msg *answer = update_message(group, update);

    if (answer == NULL) {
        return -ENOMEM;
    }
    answer->type = RGROUP_MSG_VOTE_RESULT;
    answer->peer = msg->peer;
    answer->version = VOTE_RESULT_VERSION;
    answer->term = msg->pre_vote ? msg->term : raft_current_term(group->engine);
    answer->pre_vote = msg->pre_vote;
    answer->granted = granted;
    answer->features = FEATURE_CAPACITY;
    answer->capacity = UINT16_MAX;
    return 0;
}

/* Raft thesis 4.2.2: a server votes without consulting its own configuration; the
 * candidate counts only its voters. */
bool guard_vote(struct rgroup *group, const struct rgroup_msg *msg,
                struct rgroup_update *update, int *rv)
{
    struct raft *engine = group->engine;
    uint64_t last = raft_last_index(engine);
    bool granted;

    if (!guarded(group, RGROUP_OFF_G9) || raft_role(engine) == RAFT_VOTER ||
        group->state != RGROUP_FOLLOWER || group->installing || last == 0) {
        return false;
    }
    *rv = 0;
    if (!msg->disrupt && group->leader_heard &&
        group->now_ms - group->leader_ms < group->config.election_ms) {
        return true;
    }
    if (msg->term < raft_current_term(engine)) {
        return false;
    }
    granted = msg->index_term > group->last_term ||
              (msg->index_term == group->last_term && msg->index >= last);
    if (!msg->pre_vote) {
        if (msg->term > raft_current_term(engine)) {
            *rv = vote_adopt_term(group, msg, update);
            if (*rv != 0) {
                return true;
            }
        }
        if (raft_voted_for(engine) != 0 && raft_voted_for(engine) != msg->candidate) {
            granted = false;
        } else if (granted) {
            engine->voted_for = msg->candidate;
            update->meta = true;
        }
    }
    *rv = vote_answer(group, msg, granted, update);
    return true;
}

/*
 * The engine tracks one pending configuration and rolls back to the one before it. A
 * follower can receive a change before it applied the one before: rolled back, it would
 * be left with the last but one, or with none. But who proposed the second had committed
 * the first, so where the new one follows our log, the pending one is committed.
 */
int guard_settle_change(struct rgroup *group, uint64_t msg_term, uint64_t prev,
                        uint64_t prev_term, struct rgroup_update *update)
{
    uint64_t pending = group->engine->configuration_uncommitted_index;

    if (!guarded(group, RGROUP_OFF_G15) || group->installing || pending == 0 ||
        pending > prev || msg_term < raft_current_term(group->engine) ||
        guard_term_of(group, prev) != prev_term) {
        return 0;
    }
    return engine_applied_change(group, pending, update);
}

bool guard_holds(const struct rgroup *group)
{
    return guarded(group, RGROUP_OFF_G16) && group->now_ms < group->hold_ms;
}

/*
 * No sooner than the hold ends, and still spread, over a third of what the engine drew:
 * members whose timers run out together split their votes. Nothing is asked of the engine
 * but to have begun its wait earlier; a message of the leader begins it anew.
 */
void guard_hurry(struct rgroup *group)
{
    struct raft *engine = group->engine;
    uint64_t drawn_ms = engine->follower_state.randomized_election_timeout;
    uint64_t at_ms = group->hold_ms > group->now_ms ? group->hold_ms : group->now_ms;

    at_ms += 1 + (drawn_ms - group->config.election_ms) / HURRY_PART;
    if (at_ms < raft_timeout(engine) && at_ms > drawn_ms) {
        engine->election_timer_start = at_ms - drawn_ms;
    }
}

uint64_t guard_wake(const struct rgroup *group)
{
    uint64_t wake = raft_timeout(group->engine);
    uint64_t pause = group->config.heartbeat_ms / 2;

    if (group->state != RGROUP_LEADER && guard_holds(group) && wake < group->hold_ms) {
        wake = group->hold_ms;
    }
    if (group->state != RGROUP_LEADER && group->abstains &&
        wake < group->now_ms + group->config.election_ms) {
        wake = group->now_ms + group->config.election_ms; /* There is nothing to do. */
    }
    if (!guarded(group, RGROUP_OFF_G6)) {
        return wake;
    }
    if (pause > WAKE_MS_MIN) {
        pause = WAKE_MS_MIN;
    } else if (pause == 0) {
        pause = 1;
    }
    return wake < group->now_ms + pause ? group->now_ms + pause : wake;
}
