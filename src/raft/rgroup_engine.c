#include "raft/rgroup_impl.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <errno.h>
#include <raft.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* In election timeouts: how often a snapshot is offered anew. One that is pulling
     * takes no notice. One that gave up may be found out by nothing else: its refusals
     * name the leader's newest snapshot, and the engine only looks for the one it
     * offered. */
    INSTALL_ELECTIONS = 10,
};

void engine_close(struct rgroup *group)
{
    if (group->engine != NULL) {
        raft_close(group->engine, NULL);
        free(group->engine);
        group->engine = NULL;
    }
}

int engine_renew(struct rgroup *group)
{
    const struct rgroup_config *config = &group->config;
    struct raft *engine;

    engine_close(group);
    engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return -ENOMEM;
    }
    if (raft_init(engine, NULL, NULL, config->self, "self") != 0) {
        free(engine);
        return -ENOMEM;
    }
    engine->tracer =
        NULL; /* The default one formats every line, and not thread-safely. */
    raft_seed(engine, (unsigned)(config->seed ^ config->seed >> 32));
    raft_set_election_timeout(engine, config->election_ms);
    raft_set_heartbeat_timeout(engine, config->heartbeat_ms);
    raft_set_pre_vote(engine, true);
    raft_set_max_inflight_entries(engine, config->inflight_max);
    raft_set_install_snapshot_timeout(engine, INSTALL_ELECTIONS * config->election_ms);
    group->engine = engine;
    return 0;
}

struct rgroup_msg *update_message(struct rgroup *group, struct rgroup_update *update)
{
    struct rgroup_msg *msg;

    if (update->n_messages == group->messages_cap) {
        uint32_t cap = group->messages_cap == 0 ? 16 : 2 * group->messages_cap;
        struct rgroup_msg *grown = realloc(group->messages, cap * sizeof *grown);

        if (grown == NULL) {
            return NULL;
        }
        group->messages = grown;
        group->messages_cap = cap;
        update->messages = grown;
    }
    msg = &update->messages[update->n_messages++];
    memset(msg, 0, sizeof *msg);
    return msg;
}

static void append_from(struct rgroup_msg *msg, const struct raft_append_entries *from)
{
    msg->type = RGROUP_MSG_APPEND;
    msg->version = from->version;
    msg->term = from->term;
    msg->index = from->prev_log_index;
    msg->index_term = from->prev_log_term;
    msg->commit = from->leader_commit;
    msg->n = from->n_entries;
}

static void snapshot_from(const struct rgroup *group, struct rgroup_msg *msg,
                          const struct raft_install_snapshot *from)
{
    msg->type = RGROUP_MSG_SNAPSHOT;
    msg->version = from->version;
    msg->term = from->term;
    msg->index = from->last_index;
    msg->index_term = from->last_term;
    msg->conf_index = from->conf_index;
    ASSERT(msg->index == group->snap.index && msg->conf_index == group->snap.conf_index);
    msg->conf = group->snap.conf;
    msg->conf_len = group->snap.conf_len;
}

static void message_from(const struct rgroup *group, struct rgroup_msg *msg,
                         const struct raft_message *from)
{
    msg->peer = from->server_id;
    switch (from->type) {
    case RAFT_REQUEST_VOTE:
        msg->type = RGROUP_MSG_VOTE;
        msg->version = from->request_vote.version;
        msg->term = from->request_vote.term;
        msg->candidate = from->request_vote.candidate_id;
        msg->index = from->request_vote.last_log_index;
        msg->index_term = from->request_vote.last_log_term;
        msg->disrupt = from->request_vote.disrupt_leader;
        msg->pre_vote = from->request_vote.pre_vote;
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        msg->type = RGROUP_MSG_VOTE_RESULT;
        msg->version = from->request_vote_result.version;
        msg->term = from->request_vote_result.term;
        msg->granted = from->request_vote_result.vote_granted;
        msg->pre_vote = from->request_vote_result.pre_vote;
        msg->features = from->request_vote_result.features;
        msg->capacity = from->request_vote_result.capacity;
        break;
    case RAFT_APPEND_ENTRIES:
        append_from(msg, &from->append_entries);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        msg->type = RGROUP_MSG_APPEND_RESULT;
        msg->version = from->append_entries_result.version;
        msg->term = from->append_entries_result.term;
        msg->rejected = from->append_entries_result.rejected;
        msg->index = from->append_entries_result.last_log_index;
        msg->features = from->append_entries_result.features;
        msg->capacity = from->append_entries_result.capacity;
        break;
    case RAFT_INSTALL_SNAPSHOT:
        snapshot_from(group, msg, &from->install_snapshot);
        break;
    case RAFT_TIMEOUT_NOW:
        msg->type = RGROUP_MSG_TIMEOUT_NOW;
        msg->version = from->timeout_now.version;
        msg->term = from->timeout_now.term;
        msg->index = from->timeout_now.last_log_index;
        msg->index_term = from->timeout_now.last_log_term;
        break;
    default:
        ASSERT_NEVER("another message of the engine");
    }
}

static int absorb_messages(struct rgroup *group, const struct raft_update *from,
                           struct rgroup_update *update)
{
    unsigned i;

    for (i = 0; i < from->messages.n; i++) {
        struct rgroup_msg *msg = update_message(group, update);

        if (msg == NULL) {
            return -ENOMEM;
        }
        message_from(group, msg, &from->messages.batch[i]);
        guard_outgoing(group, msg);
    }
    return 0;
}

static void append_own(struct rgroup *group, const struct raft_entry *entry,
                       struct rgroup_append *append)
{
    append->own = true;
    append->own_entry.term = entry->term;
    append->own_entry.type = (enum rgroup_entry_type)entry->type;
    if (entry->type == RAFT_CHANGE) {
        append->own_entry.conf = group->own_conf;
        append->own_entry.conf_len = entry->buf.len;
        group->change = append->index;
    }
}

static void absorb_entries(struct rgroup *group, const struct raft_update *from,
                           enum rgroup_source source, struct rgroup_update *update)
{
    struct raft_entry *batch = from->entries.batch;
    uint64_t index = from->entries.index;
    uint32_t n = from->entries.n;
    struct rgroup_append *last =
        update->n_appends == 0 ? NULL : &update->appends[update->n_appends - 1];
    struct rgroup_append *append;
    uint32_t at = 0;

    ASSERT(n > 0);
    if (group->persisted >= index) {
        group->persisted = index - 1; /* What was there is void. */
    }
    group->last_term = batch[n - 1].term;
    if (source == RGROUP_FROM_EVENT) {
        ASSERT(batch >= group->scratch &&
               batch + n <= group->scratch + RGROUP_ENTRIES_MAX);
        at = (uint32_t)(batch - group->scratch);
        if (last != NULL && !last->own && last->index + last->n == index &&
            last->from + last->n == at) {
            last->n += n; /* The next part of a message that was split (G3). */
            return;
        }
    }
    ASSERT(update->n_appends < RGROUP_APPENDS_MAX);
    append = &update->appends[update->n_appends++];
    *append = (struct rgroup_append){.index = index, .from = at, .n = n};
    if (source != RGROUP_FROM_EVENT) {
        ASSERT(n == 1);
        append_own(group, batch, append);
    }
    if (source == RGROUP_FROM_ENGINE) {
        ASSERT(batch->type == RAFT_BARRIER);
        raft_free(batch->batch);
    }
}

/* A received snapshot: the engine's log is now empty beyond it. */
static void absorb_snapshot(struct rgroup *group, struct raft_update *from,
                            struct rgroup_update *update)
{
    group->installing = true;
    group->base_index = from->snapshot.metadata.index;
    group->base_term = from->snapshot.metadata.term;
    group->last_term = group->base_term;
    update->install = true;
    update->install_index = group->base_index;
    update->install_term = group->base_term;
    raft_configuration_close(&from->snapshot.metadata.configuration);
    raft_free(from->snapshot.chunk.base);
}

static void absorb_state(struct rgroup *group, struct rgroup_update *update)
{
    static const enum rgroup_state states[] = {[RAFT_FOLLOWER] = RGROUP_FOLLOWER,
                                               [RAFT_CANDIDATE] = RGROUP_CANDIDATE,
                                               [RAFT_LEADER] = RGROUP_LEADER};
    unsigned state = (unsigned)raft_state(group->engine);

    ASSERT(state == RAFT_FOLLOWER || state == RAFT_CANDIDATE || state == RAFT_LEADER);
    group->state = states[state];
    group->change = 0;
    update->state_changed = true;
    if (state == RAFT_LEADER) {
        group->read_floor = raft_last_index(group->engine);
    }
}

static void absorb_commit(struct rgroup *group)
{
    uint64_t commit = raft_commit_index(group->engine);

    if (group->installing) {
        return; /* Heartbeats may raise it to a state that is not here yet. */
    }
    if (commit > group->commit || !guarded(group, RGROUP_OFF_G13)) {
        group->commit = commit;
    }
}

static int engine_error(int rv)
{
    switch (rv) {
    case RAFT_NOTLEADER:
        return OUT_NOT_LEADER;
    case RAFT_CANTCHANGE:
        return OUT_BUSY;
    case RAFT_BADID:
    case RAFT_NOTFOUND:
        return OUT_INVAL;
    case RAFT_NOMEM:
        return -ENOMEM;
    default: /* RAFT_SHUTDOWN: a committed entry conflicts. */
        return -EUCLEAN;
    }
}

int engine_step(struct rgroup *group, struct raft_event *event, enum rgroup_source source,
                struct rgroup_update *update, struct engine_trace *trace)
{
    struct raft_update from;
    int rv;

    memset(&from, 0, sizeof from);
    event->time = group->now_ms;
    event->capacity = UINT16_MAX;
    rv = raft_step(group->engine, event, &from);
    if (rv != 0) {
        return engine_error(rv);
    }
    if (trace != NULL) {
        trace->entries = (from.flags & RAFT_UPDATE_ENTRIES) != 0;
        trace->install = (from.flags & RAFT_UPDATE_SNAPSHOT) != 0;
        trace->messages = (from.flags & RAFT_UPDATE_MESSAGES) != 0;
    }
    if ((from.flags & (RAFT_UPDATE_CURRENT_TERM | RAFT_UPDATE_VOTED_FOR)) != 0) {
        update->meta = true;
    }
    if ((from.flags & RAFT_UPDATE_STATE) != 0) {
        absorb_state(group, update);
    }
    if ((from.flags & RAFT_UPDATE_ENTRIES) != 0) {
        absorb_entries(group, &from, source, update);
    }
    if ((from.flags & RAFT_UPDATE_SNAPSHOT) != 0) {
        absorb_snapshot(group, &from, update);
    }
    absorb_commit(group);
    return group->muted ? 0 : absorb_messages(group, &from, update);
}

int engine_tick(struct rgroup *group, struct rgroup_update *update)
{
    struct raft_event event = {.type = RAFT_TIMEOUT};

    /* Too early, and the engine would take its peers' silence since the last one for
     * absence. */
    if (group->now_ms < raft_timeout(group->engine)) {
        return 0;
    }
    if (group->state != RGROUP_LEADER && (group->abstains || guard_holds(group))) {
        return 0; /* G16: nor does it vote for itself. */
    }
    return engine_step(group, &event, RGROUP_FROM_ENGINE, update, NULL);
}

int engine_persisted(struct rgroup *group, uint64_t index, struct rgroup_update *update)
{
    struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};

    if (group->installing) {
        return 0; /* Of the log that the snapshot replaces. */
    }
    ASSERT(index > group->persisted && index <= raft_last_index(group->engine));
    ASSERT(group->state != RGROUP_CANDIDATE);
    group->persisted = index;
    event.persisted_entries.index = index;
    return engine_step(group, &event, RGROUP_FROM_ENGINE, update, NULL);
}

int engine_submit(struct rgroup *group, const struct rgroup_entry *entries, uint32_t n,
                  struct rgroup_update *update)
{
    struct raft_event event = {.type = RAFT_SUBMIT};
    uint32_t i;

    ASSERT(n > 0 && n <= RGROUP_ENTRIES_MAX);
    if (group->state != RGROUP_LEADER) {
        return OUT_NOT_LEADER;
    }
    if (raft_transferee(group->engine) != 0) {
        return OUT_BUSY;
    }
    for (i = 0; i < n; i++) {
        ASSERT(entries[i].type == RGROUP_COMMAND || entries[i].type == RGROUP_BARRIER);
        group->scratch[i] =
            (struct raft_entry){.term = raft_current_term(group->engine),
                                .type = (enum raft_entry_type)entries[i].type,
                                .batch = group->token};
    }
    event.submit.entries = group->scratch;
    event.submit.n = n;
    return engine_step(group, &event, RGROUP_FROM_EVENT, update, NULL);
}

int engine_barrier(struct rgroup *group, struct rgroup_update *update)
{
    struct raft_event event = {.type = RAFT_SUBMIT};
    int rv;

    ASSERT(group->state == RGROUP_LEADER);
    if (group->last_term == raft_current_term(group->engine)) {
        return 0; /* The engine made one: it had entries not yet committed. */
    }
    group->scratch[0] = (struct raft_entry){.term = raft_current_term(group->engine),
                                            .type = RAFT_BARRIER,
                                            .batch = group->token};
    event.submit.entries = group->scratch;
    event.submit.n = 1;
    rv = engine_step(group, &event, RGROUP_FROM_SELF, update, NULL);
    ASSERT(rv <= 0); /* Just elected: it cannot refuse. */
    group->read_floor = raft_last_index(group->engine);
    return rv;
}

/* The present configuration with @conf's one difference, servers in the same order: the
 * engine keeps its progress by position. */
static int change_build(const struct rgroup *group, const struct rgroup_conf *conf,
                        struct raft_configuration *out)
{
    const struct raft_configuration *now = &group->engine->configuration;
    bool spares = !guarded(group, RGROUP_OFF_G6);
    struct rgroup_conf known;
    int rv = 0;
    uint32_t i;

    raft_configuration_init(out);
    for (i = 0; i < now->n && rv == 0; i++) {
        const struct rgroup_server *server = conf_find(conf, now->servers[i].id);

        if (server != NULL) {
            rv = conf_engine_add(out, server->id, conf_engine_role(server->role, spares));
        }
    }
    conf_from_engine(now, &known);
    for (i = 0; i < conf->n && rv == 0; i++) {
        const struct rgroup_server *server = &conf->servers[i];

        if (conf_find(&known, server->id) == NULL) {
            rv = conf_engine_add(out, server->id, conf_engine_role(server->role, spares));
        }
    }
    ASSERT(rv == 0 || rv == RAFT_NOMEM);
    return rv == 0 ? 0 : -ENOMEM;
}

int engine_change(struct rgroup *group, const struct rgroup_conf *conf,
                  struct rgroup_update *update)
{
    struct raft_event event = {.type = RAFT_SUBMIT};
    struct raft_configuration build;
    struct raft_buffer bytes = {0};
    int rv;

    rv = guard_change(group, conf);
    if (rv != 0) {
        return rv;
    }
    rv = change_build(group, conf, &build);
    if (rv == 0 && raft_configuration_encode(&build, &bytes) != 0) {
        rv = -ENOMEM;
    }
    raft_configuration_close(&build);
    if (rv != 0) {
        return rv;
    }
    ASSERT(group->own_conf == NULL && bytes.len <= RGROUP_CONF_BYTES_MAX);
    group->own_conf = bytes.base;
    group->scratch[0] = (struct raft_entry){.term = raft_current_term(group->engine),
                                            .type = RAFT_CHANGE,
                                            .buf = bytes,
                                            .batch = group->token};
    event.submit.entries = group->scratch;
    event.submit.n = 1;
    return engine_step(group, &event, RGROUP_FROM_SELF, update, NULL);
}

int engine_applied_change(struct rgroup *group, uint64_t index,
                          struct rgroup_update *update)
{
    const struct raft_configuration *now = &group->engine->configuration;
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    struct raft_configuration *copy = &event.configuration.conf;
    unsigned i;

    ASSERT(index > 0 && index <= raft_last_index(group->engine));
    if (group->engine->configuration_uncommitted_index != index) {
        return 0; /* A replay, or a newer one follows: the engine would not look at it. */
    }
    event.configuration.index = index;
    raft_configuration_init(copy);
    for (i = 0; i < now->n; i++) {
        if (conf_engine_add(copy, now->servers[i].id, now->servers[i].role) != 0) {
            raft_configuration_close(copy);
            return -ENOMEM;
        }
    }
    return engine_step(group, &event, RGROUP_FROM_ENGINE, update, NULL);
}

int engine_transfer(struct rgroup *group, uint64_t target, struct rgroup_update *update)
{
    struct raft_event event = {.type = RAFT_TRANSFER};
    int rv;

    rv = guard_transfer(group, &target);
    if (rv != 0) {
        return rv;
    }
    event.transfer.server_id = target;
    return engine_step(group, &event, RGROUP_FROM_ENGINE, update, NULL);
}
