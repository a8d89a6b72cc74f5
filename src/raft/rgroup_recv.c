#include "raft/rgroup_impl.h"

#include "base/assert.h"

#include <errno.h>
#include <raft.h>
#include <string.h>

/* The engine's message versions. Both ends are the same release of it. */
static const uint32_t msg_versions[] = {
    [RGROUP_MSG_VOTE] = 2,     [RGROUP_MSG_VOTE_RESULT] = 2,
    [RGROUP_MSG_APPEND] = 0,   [RGROUP_MSG_APPEND_RESULT] = 2,
    [RGROUP_MSG_SNAPSHOT] = 0, [RGROUP_MSG_TIMEOUT_NOW] = 0,
};

static bool entries_valid(const struct rgroup *group, const struct rgroup_event *event)
{
    const struct rgroup_msg *msg = event->msg;
    uint64_t term = msg->index == 0 ? 1 : msg->index_term;
    uint32_t i;

    if (msg->n != event->n_entries || msg->n > RGROUP_ENTRIES_MAX ||
        (msg->n > 0 && event->entries == NULL)) {
        return false;
    }
    for (i = 0; i < msg->n; i++) {
        const struct rgroup_entry *entry = &event->entries[i];

        if (entry->term < term || entry->term > msg->term) {
            return false;
        }
        term = entry->term;
        if (entry->type == RGROUP_CHANGE) {
            if (!conf_valid(entry->conf, entry->conf_len,
                            !guarded(group, RGROUP_OFF_G6))) {
                return false;
            }
        } else if (entry->type != RGROUP_COMMAND && entry->type != RGROUP_BARRIER) {
            return false;
        }
    }
    /* A log begins with its first configuration. */
    return msg->index != 0 || msg->n == 0 || event->entries[0].type == RGROUP_CHANGE;
}

/* Each election raises the term by one, so no group comes this far within a member's
 * absence. A term near the end of its range would leave no room for a next election, and
 * stop the group for good. Who has no log yet cannot judge: any group may be this old. */
static bool term_believable(const struct rgroup *group, uint64_t term)
{
    uint64_t own = raft_current_term(group->engine);

    return group->last_term == 0 || term <= own || term - own <= RGROUP_TERM_JUMP_MAX;
}

/* Everything that a well-behaved member never sends. */
static bool msg_valid(const struct rgroup *group, const struct rgroup_event *event)
{
    const struct rgroup_msg *msg = event->msg;
    bool place = (msg->index == 0) == (msg->index_term == 0);

    if (msg->type < RGROUP_MSG_VOTE || msg->type > RGROUP_MSG_TIMEOUT_NOW ||
        msg->version != msg_versions[msg->type] || msg->peer == 0 ||
        msg->peer == group->config.self || msg->term == 0 ||
        msg->term > RGROUP_INDEX_MAX || !term_believable(group, msg->term) ||
        msg->index > RGROUP_INDEX_MAX || msg->rejected > RGROUP_INDEX_MAX ||
        msg->features > UINT16_MAX || msg->capacity > UINT16_MAX) {
        return false;
    }
    switch (msg->type) {
    case RGROUP_MSG_VOTE:
        return msg->candidate == msg->peer && place && msg->index_term < msg->term;
    case RGROUP_MSG_APPEND:
        return place && msg->index_term <= msg->term && entries_valid(group, event);
    case RGROUP_MSG_SNAPSHOT:
        return msg->index > 0 && place && msg->index_term <= msg->term &&
               msg->conf_index > 0 && msg->conf_index <= msg->index &&
               conf_valid(msg->conf, msg->conf_len, !guarded(group, RGROUP_OFF_G6));
    case RGROUP_MSG_TIMEOUT_NOW:
        return msg->index > 0 && place && msg->index_term <= msg->term;
    case RGROUP_MSG_VOTE_RESULT:
    case RGROUP_MSG_APPEND_RESULT:
        break;
    }
    return true;
}

static struct raft_message message_to(const struct rgroup_msg *msg, int type)
{
    struct raft_message message;

    memset(&message, 0, sizeof message);
    message.type = (enum raft_message_type)type;
    message.server_id = msg->peer;
    message.server_address = "peer"; /* Members are known by their id alone. */
    return message;
}

static int feed(struct rgroup *group, struct raft_message *message,
                enum rgroup_source source, struct rgroup_update *update,
                struct engine_trace *trace)
{
    struct raft_event event = {.type = RAFT_RECEIVE};

    event.receive.message = message;
    return engine_step(group, &event, source, update, trace);
}

/* The engine forgets a leader when it stands for election itself. Who abstains never does,
 * and is to vote all the same once an election timeout is over (Raft thesis 4.2.3). */
static bool leader_is_silent(const struct rgroup *group)
{
    return group->abstains && (!group->leader_heard || group->now_ms - group->leader_ms >=
                                                           group->config.election_ms);
}

static int recv_vote(struct rgroup *group, const struct rgroup_msg *msg,
                     struct rgroup_update *update)
{
    struct raft_message message = message_to(msg, RAFT_REQUEST_VOTE);
    int rv;

    /* G12: it has forgotten whom it promised to follow. */
    if (guarded(group, RGROUP_OFF_G12) &&
        group->now_ms - group->started_ms < group->config.election_ms) {
        return 0;
    }
    if (!msg->disrupt && guard_holds(group)) {
        return 0;
    }
    if (guard_vote(group, msg, update, &rv)) {
        return rv;
    }
    message.request_vote = (struct raft_request_vote){
        .version = (unsigned char)msg->version,
        .term = msg->term,
        .candidate_id = msg->candidate,
        .last_log_index = msg->index,
        .last_log_term = msg->index_term,
        .disrupt_leader = msg->disrupt || leader_is_silent(group),
        .pre_vote = msg->pre_vote};
    return feed(group, &message, RGROUP_FROM_ENGINE, update, NULL);
}

static int recv_vote_result(struct rgroup *group, const struct rgroup_msg *msg,
                            struct rgroup_update *update)
{
    struct raft_message message = message_to(msg, RAFT_REQUEST_VOTE_RESULT);
    uint64_t term = raft_current_term(group->engine);

    /* The engine looks at a candidate's state whether it is one or not. */
    if (group->state != RGROUP_CANDIDATE || group->abstains) {
        return 0;
    }
    if (msg->granted && msg->term > term + (msg->pre_vote ? 1 : 0)) {
        return -EPROTO; /* Nobody asked for that. */
    }
    message.request_vote_result =
        (struct raft_request_vote_result){.version = (unsigned char)msg->version,
                                          .term = msg->term,
                                          .vote_granted = msg->granted,
                                          .pre_vote = msg->pre_vote,
                                          .features = (unsigned short)msg->features,
                                          .capacity = (unsigned short)msg->capacity};
    return feed(group, &message, RGROUP_FROM_ENGINE, update, NULL);
}

/* A message that only a leader sends: is this server a leader of that term itself? */
static bool from_second_leader(const struct rgroup *group, const struct rgroup_msg *msg)
{
    return group->state == RGROUP_LEADER && msg->term == raft_current_term(group->engine);
}

static void heard_leader(struct rgroup *group, const struct rgroup_msg *msg)
{
    if (msg->term == raft_current_term(group->engine)) {
        group->leader_heard = true;
        group->leader_term = msg->term;
        group->leader_ms = group->now_ms;
    }
}

/* Step entries scratch[@from .. @from + @n) as one message. */
static int append_part(struct rgroup *group, struct raft_message *message, uint32_t from,
                       uint32_t n, struct rgroup_update *update)
{
    struct raft_append_entries *args = &message->append_entries;
    struct engine_trace trace = {0};
    void *token = NULL;
    uint32_t i;
    int rv;

    args->entries = n == 0 ? NULL : &group->scratch[from];
    args->n_entries = n;
    if (n > 0) {
        token = raft_malloc(1);
        if (token == NULL) {
            return -ENOMEM;
        }
        for (i = 0; i < n; i++) {
            args->entries[i].batch = token;
        }
        if (guarded(group, RGROUP_OFF_G3) && args->entries[0].type == RAFT_CHANGE) {
            rv = guard_settle_change(group, args->term, args->prev_log_index,
                                     args->prev_log_term, update);
            if (rv != 0) {
                raft_free(token);
                return rv;
            }
        }
    }
    rv = feed(group, message, RGROUP_FROM_EVENT, update, &trace);
    if (trace.entries) {
        raft_free(token); /* Else the engine freed it, with an error or without. */
    }
    return rv;
}

/* How many entries from @from on go into one message: a change only as the first (G3). */
static uint32_t append_run(const struct rgroup *group, uint32_t from, uint32_t n)
{
    uint32_t to = from + 1;

    if (from >= n) {
        return 0;
    }
    while (to < n &&
           (!guarded(group, RGROUP_OFF_G3) || group->scratch[to].type != RAFT_CHANGE)) {
        to++;
    }
    return to - from;
}

/* Did the last part fail, so that the next would be refused as well? */
static bool append_refused(const struct rgroup_update *update, uint32_t messages_before,
                           uint64_t term)
{
    const struct rgroup_msg *answer;

    if (update->n_messages == messages_before) {
        return false;
    }
    answer = &update->messages[update->n_messages - 1];
    return answer->type == RGROUP_MSG_APPEND_RESULT &&
           (answer->rejected > 0 || answer->term != term);
}

static void append_entries_to(struct rgroup *group, const struct rgroup_event *event)
{
    uint32_t i;

    for (i = 0; i < event->n_entries; i++) {
        const struct rgroup_entry *entry = &event->entries[i];

        group->scratch[i] = (struct raft_entry){
            .term = entry->term, .type = (enum raft_entry_type)entry->type};
        if (entry->type == RGROUP_CHANGE) {
            group->scratch[i].buf.base = (void *)(uintptr_t)entry->conf;
            group->scratch[i].buf.len = entry->conf_len;
        }
    }
}

static int recv_append(struct rgroup *group, const struct rgroup_event *event,
                       struct rgroup_update *update)
{
    const struct rgroup_msg *msg = event->msg;
    struct raft_message message = message_to(msg, RAFT_APPEND_ENTRIES);
    uint64_t prev = msg->index;
    uint64_t prev_term = msg->index_term;
    uint32_t at;
    int rv;

    if (from_second_leader(group, msg)) {
        return -EPROTO;
    }
    append_entries_to(group, event);
    at = guard_append_below(group, msg->term, msg->n, &prev, &prev_term);
    message.append_entries.version = (unsigned char)msg->version;
    message.append_entries.term = msg->term;
    message.append_entries.leader_commit = msg->commit;
    do {
        uint32_t n = append_run(group, at, msg->n);
        uint32_t messages = update->n_messages;

        message.append_entries.prev_log_index = prev;
        message.append_entries.prev_log_term = prev_term;
        rv = append_part(group, &message, at, n, update);
        if (rv != 0) {
            return rv;
        }
        if (append_refused(update, messages, msg->term) || group->installing) {
            break;
        }
        at += n;
        prev += n;
        prev_term = n == 0 ? prev_term : group->scratch[at - 1].term;
    } while (at < msg->n);
    heard_leader(group, msg);
    return 0;
}

static int recv_append_result(struct rgroup *group, const struct rgroup_msg *msg,
                              struct rgroup_update *update)
{
    struct raft_message message = message_to(msg, RAFT_APPEND_ENTRIES_RESULT);

    if (guard_stale_rejection(group, msg)) {
        return 0;
    }
    message.append_entries_result =
        (struct raft_append_entries_result){.version = (unsigned char)msg->version,
                                            .term = msg->term,
                                            .rejected = msg->rejected,
                                            .last_log_index = msg->index,
                                            .features = (unsigned short)msg->features,
                                            .capacity = (unsigned short)msg->capacity};
    return feed(group, &message, RGROUP_FROM_ENGINE, update, NULL);
}

static int recv_snapshot(struct rgroup *group, const struct rgroup_msg *msg,
                         struct rgroup_update *update)
{
    struct raft_message message = message_to(msg, RAFT_INSTALL_SNAPSHOT);
    struct raft_install_snapshot *args = &message.install_snapshot;
    struct engine_trace trace = {0};
    int rv;

    if (from_second_leader(group, msg)) {
        return -EPROTO;
    }
    args->version = (unsigned char)msg->version;
    args->term = msg->term;
    args->last_index = msg->index;
    args->last_term = msg->index_term;
    args->conf_index = msg->conf_index;
    args->data.base = raft_malloc(1);
    args->data.len = 0;
    if (args->data.base == NULL) {
        return -ENOMEM;
    }
    rv = conf_to_engine(msg->conf, msg->conf_len, &args->conf);
    if (rv != 0) {
        raft_free(args->data.base);
        return rv;
    }
    rv = feed(group, &message, RGROUP_FROM_ENGINE, update, &trace);
    if (rv != 0) {
        return rv; /* Lost memory beats freeing it twice. */
    }
    if (!trace.install && !trace.messages) {
        raft_configuration_close(&args->conf); /* One is being installed already. */
        raft_free(args->data.base);
    }
    heard_leader(group, msg);
    return 0;
}

static int recv_timeout_now(struct rgroup *group, const struct rgroup_msg *msg,
                            struct rgroup_update *update)
{
    struct raft_message message = message_to(msg, RAFT_TIMEOUT_NOW);

    if (group->abstains) {
        return 0; /* Whoever handed over finds out by its own timer. */
    }
    message.timeout_now =
        (struct raft_timeout_now){.version = (unsigned char)msg->version,
                                  .term = msg->term,
                                  .last_log_index = msg->index,
                                  .last_log_term = msg->index_term};
    group->timeout_now_seen = true;
    group->timeout_now_ms = group->now_ms;
    group->timeout_now_term = msg->term;
    return feed(group, &message, RGROUP_FROM_ENGINE, update, NULL);
}

static int receive(struct rgroup *group, const struct rgroup_event *event,
                   struct rgroup_update *update)
{
    switch (event->msg->type) {
    case RGROUP_MSG_VOTE:
        return recv_vote(group, event->msg, update);
    case RGROUP_MSG_VOTE_RESULT:
        return recv_vote_result(group, event->msg, update);
    case RGROUP_MSG_APPEND:
        return recv_append(group, event, update);
    case RGROUP_MSG_APPEND_RESULT:
        return recv_append_result(group, event->msg, update);
    case RGROUP_MSG_SNAPSHOT:
        return recv_snapshot(group, event->msg, update);
    case RGROUP_MSG_TIMEOUT_NOW:
        return recv_timeout_now(group, event->msg, update);
    }
    return -EPROTO;
}

int rgroup_receive(struct rgroup *group, const struct rgroup_event *event,
                   struct rgroup_update *update)
{
    uint32_t messages = update->n_messages;
    int rv;

    ASSERT(event->msg != NULL);
    if (!msg_valid(group, event)) {
        return -EPROTO;
    }
    rv = receive(group, event, update);
    guard_old_term(group, event->msg, messages, update);
    return rv;
}
