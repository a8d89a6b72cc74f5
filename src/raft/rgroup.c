#include "raft/rgroup_impl.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <errno.h>
#include <raft.h>
#include <stdlib.h>
#include <string.h>

int rgroup_new(const struct rgroup_config *config, struct rgroup **out)
{
    struct rgroup *group = NULL;
    int rv;

    if (config->self == 0 || config->heartbeat_ms == 0 ||
        config->election_ms <= config->heartbeat_ms ||
        config->election_ms > UINT32_MAX / 4 || config->inflight_max == 0 ||
        config->inflight_max > RGROUP_ENTRIES_MAX) {
        return -EINVAL;
    }
    group = calloc(1, sizeof *group);
    if (group == NULL) {
        return -ENOMEM;
    }
    group->config = *config;
    group->state = RGROUP_FOLLOWER;
    group->token = raft_malloc(1);
    group->scratch = calloc(RGROUP_ENTRIES_MAX, sizeof *group->scratch);
    rv = -ENOMEM;
    if (group->token == NULL || group->scratch == NULL) {
        goto out;
    }
    rv = engine_renew(group);
    if (rv != 0) {
        goto out;
    }
    *out = group;
    group = NULL;
out:
    rgroup_free(group);
    return rv;
}

void rgroup_free(struct rgroup *group)
{
    if (group == NULL) {
        return;
    }
    engine_close(group);
    raft_free(group->own_conf);
    raft_free(group->token);
    free(group->scratch);
    free(group->snap_conf);
    free(group->messages);
    free(group);
}

/* Only a leader of the current term, not one that the term has left behind. */
static uint64_t leader_now(const struct rgroup *group)
{
    const char *address;
    raft_id id = 0;

    raft_leader(group->engine, &id, &address);
    if (group->state == RGROUP_FOLLOWER &&
        (!group->leader_heard ||
         group->leader_term != raft_current_term(group->engine))) {
        return 0;
    }
    return id;
}

static int dispatch(struct rgroup *group, const struct rgroup_event *event,
                    struct rgroup_update *update)
{
    switch (event->type) {
    case RGROUP_EV_START:
        return engine_start(group, event, update);
    case RGROUP_EV_RECEIVE:
        return rgroup_receive(group, event, update);
    case RGROUP_EV_PERSISTED:
        return engine_persisted(group, event->index, update);
    case RGROUP_EV_APPLIED_CHANGE:
        return engine_applied_change(group, event->index, update);
    case RGROUP_EV_SNAPSHOT_TAKEN:
        return engine_snapshot_taken(group, event, update);
    case RGROUP_EV_SNAPSHOT_INSTALLED:
        return engine_snapshot_installed(group, &event->snapshot, update);
    case RGROUP_EV_TICK:
        return engine_tick(group, update);
    case RGROUP_EV_SUBMIT:
        return engine_submit(group, event->entries, event->n_entries, update);
    case RGROUP_EV_CHANGE:
        return engine_change(group, event->conf, update);
    case RGROUP_EV_TRANSFER:
        return engine_transfer(group, event->target, update);
    case RGROUP_EV_LOST:
        if (group->state == RGROUP_FOLLOWER && leader_now(group) == event->target) {
            guard_hurry(group);
        }
        return 0;
    }
    ASSERT_NEVER("another type of event");
}

static void update_begin(struct rgroup *group, struct rgroup_update *update)
{
    memset(update, 0, sizeof *update);
    update->appends = group->appends;
    update->messages = group->messages;
    raft_free(group->own_conf);
    group->own_conf = NULL;
}

static void update_end(const struct rgroup *group, struct rgroup_update *update)
{
    update->commit = group->commit;
    update->state = group->state;
    if (group->engine != NULL) {
        update->term = raft_current_term(group->engine);
        update->vote = raft_voted_for(group->engine);
        update->leader = leader_now(group);
        update->wake_ms = guard_wake(group);
    }
}

int rgroup_step(struct rgroup *group, const struct rgroup_event *event,
                struct rgroup_update *update)
{
    int rv = -EUCLEAN;

    ASSERT(event->now_ms >= group->now_ms);
    ASSERT(group->started == (event->type != RGROUP_EV_START));
    update_begin(group, update);
    group->now_ms = event->now_ms;
    group->started = true;
    if (!group->broken) {
        rv = dispatch(group, event, update);
        if (rv == 0 && update->state_changed && group->state == RGROUP_LEADER) {
            rv = engine_barrier(group, update);
        }
    }
    if (rv != 0) {
        group->broken = group->broken || (rv < 0 && rv != -EPROTO);
        ASSERT(group->broken || (!update->meta && update->n_appends == 0 &&
                                 !update->install && update->n_messages == 0));
        update_begin(group, update);
    }
    update_end(group, update);
    return rv;
}

int rgroup_match_index(const struct rgroup *group, uint64_t id, uint64_t *out)
{
    raft_index match;

    if (raft_match_index(group->engine, id, &match) != 0) {
        return OUT_NOENT;
    }
    *out = match;
    return 0;
}

void rgroup_conf_now(const struct rgroup *group, struct rgroup_conf *out)
{
    conf_from_engine(&group->engine->configuration, out);
}

struct rgroup_conf_place rgroup_conf_place(const struct rgroup *group)
{
    const struct raft *engine = group->engine;
    struct rgroup_conf_place place = {.index = engine->configuration_uncommitted_index,
                                      .committed = engine->configuration_committed_index};

    if (place.index == 0) {
        place.index = place.committed;
    }
    return place;
}

uint64_t rgroup_term(const struct rgroup *group)
{
    return raft_current_term(group->engine);
}

uint64_t rgroup_last_index(const struct rgroup *group)
{
    return raft_last_index(group->engine);
}

uint64_t rgroup_read_floor(const struct rgroup *group)
{
    return group->state == RGROUP_LEADER ? group->read_floor : UINT64_MAX;
}

bool rgroup_is_sole_voter(const struct rgroup *group)
{
    struct rgroup_conf conf;

    conf_from_engine(&group->engine->configuration, &conf);
    return conf_voters(&conf) == 1 && conf_votes(&conf, group->config.self);
}

void rgroup_hold(struct rgroup *group, uint64_t until_ms)
{
    if (until_ms > group->hold_ms) {
        group->hold_ms = until_ms;
    }
}

void rgroup_abstain(struct rgroup *group, bool abstains)
{
    group->abstains = abstains;
}

bool rgroup_transferring(const struct rgroup *group)
{
    return raft_transferee(group->engine) != 0;
}
