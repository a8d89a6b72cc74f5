#include "raft/rgroup_impl.h"

#include "base/assert.h"

#include <errno.h>
#include <raft.h>
#include <stdlib.h>
#include <string.h>

/* What a group begins with, once it was checked: the event without what is void. */
struct beginning {
    uint64_t term;
    uint64_t vote;
    const struct rgroup_snapshot *snap; /* NULL: none. */
    uint64_t first_index;
    const struct rgroup_entry *entries;
    uint32_t n_entries;
};

static bool snapshot_valid(const struct rgroup *group, const struct rgroup_snapshot *snap)
{
    return snap->index > 0 && snap->index <= RGROUP_INDEX_MAX && snap->term > 0 &&
           snap->term <= RGROUP_INDEX_MAX && snap->conf_index > 0 &&
           snap->conf_index <= snap->index &&
           conf_valid(snap->conf, snap->conf_len, !guarded(group, RGROUP_OFF_G6));
}

/* The log may be older than the snapshot, if the crash came between the two: then it is
 * void, unless it holds the snapshot's last entry. */
static void begin_log(const struct rgroup_event *event, struct beginning *out)
{
    uint64_t at;

    out->first_index = event->n_entries == 0 ? 1 : event->first_index;
    out->entries = event->entries;
    out->n_entries = event->n_entries;
    if (out->snap == NULL || out->first_index == out->snap->index + 1) {
        return;
    }
    at = out->snap->index - out->first_index;
    if (out->first_index > out->snap->index || at >= out->n_entries ||
        out->entries[at].term != out->snap->term) {
        out->first_index = out->snap->index + 1;
        out->entries = NULL;
        out->n_entries = 0;
    }
}

static bool entry_valid(const struct rgroup *group, const struct rgroup_entry *entry)
{
    if (entry->type == RGROUP_CHANGE) {
        return conf_valid(entry->conf, entry->conf_len, !guarded(group, RGROUP_OFF_G6));
    }
    return entry->type == RGROUP_COMMAND || entry->type == RGROUP_BARRIER;
}

/* All that the engine takes for granted. 0 or -EUCLEAN. */
static int begin_check(const struct rgroup *group, const struct rgroup_event *event,
                       struct beginning *out)
{
    uint64_t term = 1;
    uint32_t i;

    *out = (struct beginning){.term = event->term, .vote = event->vote};
    if (event->term > RGROUP_INDEX_MAX || (event->term == 0 && event->vote != 0)) {
        return -EUCLEAN;
    }
    if (event->has_snapshot) {
        if (!snapshot_valid(group, &event->snapshot)) {
            return -EUCLEAN;
        }
        out->snap = &event->snapshot;
    }
    if (event->n_entries > 0 &&
        (event->first_index == 0 || event->first_index > RGROUP_INDEX_MAX ||
         event->first_index > (event->has_snapshot ? event->snapshot.index + 1 : 1))) {
        return -EUCLEAN; /* Entries are missing in between. */
    }
    begin_log(event, out);
    for (i = 0; i < out->n_entries; i++) {
        const struct rgroup_entry *entry = &out->entries[i];

        if (entry->term < term || entry->term > event->term ||
            !entry_valid(group, entry)) {
            return -EUCLEAN;
        }
        term = entry->term;
    }
    if (out->snap == NULL && out->n_entries > 0 &&
        out->entries[0].type != RGROUP_CHANGE) {
        return -EUCLEAN;
    }
    return 0;
}

/* The last configuration, committed or not. NULL if there is none yet. */
static const uint8_t *begin_conf(const struct beginning *from, size_t *len)
{
    uint64_t known = from->snap == NULL ? 0 : from->snap->conf_index;
    uint32_t i;

    for (i = from->n_entries; i > 0; i--) {
        if (from->entries[i - 1].type == RGROUP_CHANGE &&
            from->first_index + i - 1 > known) {
            *len = from->entries[i - 1].conf_len;
            return from->entries[i - 1].conf;
        }
    }
    *len = from->snap == NULL ? 0 : from->snap->conf_len;
    return from->snap == NULL ? NULL : from->snap->conf;
}

static int snapshot_keep(struct rgroup *group, const struct rgroup_snapshot *snap)
{
    uint8_t *conf = malloc(snap->conf_len);

    if (conf == NULL) {
        return -ENOMEM;
    }
    memcpy(conf, snap->conf, snap->conf_len);
    free(group->snap_conf);
    group->snap_conf = conf;
    group->snap = *snap;
    group->snap.conf = conf;
    group->base_index = snap->index;
    group->base_term = snap->term;
    return 0;
}

static int metadata_of(const struct rgroup_snapshot *snap,
                       struct raft_snapshot_metadata *out)
{
    *out = (struct raft_snapshot_metadata){.index = snap->index,
                                           .term = snap->term,
                                           .configuration_index = snap->conf_index};
    return conf_to_engine(snap->conf, snap->conf_len, &out->configuration);
}

/* The engine's form of the log: terms, and configurations. */
static struct raft_entry *begin_entries(const struct beginning *from, void *token)
{
    struct raft_entry *entries = raft_calloc(from->n_entries, sizeof *entries);
    uint32_t i;

    for (i = 0; entries != NULL && i < from->n_entries; i++) {
        const struct rgroup_entry *entry = &from->entries[i];

        entries[i].term = entry->term;
        entries[i].type = (enum raft_entry_type)entry->type;
        entries[i].batch = token;
        if (entry->type == RGROUP_CHANGE) {
            entries[i].buf.base = (void *)(uintptr_t)entry->conf;
            entries[i].buf.len = entry->conf_len;
        }
    }
    return entries;
}

/* Hand the log to the fresh engine. */
static int begin_engine(struct rgroup *group, const struct beginning *from,
                        struct rgroup_update *update)
{
    struct raft_event event = {.type = RAFT_START};
    struct raft_snapshot_metadata metadata;
    struct raft_entry *entries = NULL;
    void *token = NULL;
    int rv;

    if (from->n_entries > 0) {
        token = raft_malloc(1);
        entries = token == NULL ? NULL : begin_entries(from, token);
        if (entries == NULL) {
            raft_free(token);
            return -ENOMEM;
        }
    }
    event.start.term = from->term;
    event.start.voted_for = from->vote;
    event.start.start_index = from->first_index;
    event.start.entries = entries;
    event.start.n_entries = from->n_entries;
    if (from->snap != NULL) {
        rv = metadata_of(from->snap, &metadata);
        if (rv != 0) {
            raft_free(entries);
            raft_free(token);
            return rv;
        }
        event.start.metadata = &metadata;
    }
    rv = engine_step(group, &event, RGROUP_FROM_ENGINE, update, NULL);
    if (rv == 0) {
        raft_free(entries);
        raft_free(token);
    } /* Else the engine freed them, in most places; lost memory beats freeing twice. */
    return rv;
}

static int begin(struct rgroup *group, struct beginning *from,
                 struct rgroup_update *update)
{
    size_t conf_len;
    const uint8_t *conf = begin_conf(from, &conf_len);
    int rv;

    if (from->snap != NULL && from->snap->term > from->term) {
        from->term = from->snap->term; /* A pulled state of a term not heard of yet. */
        from->vote = 0;
        update->meta = true;
    }
    if (guarded(group, RGROUP_OFF_G1) && conf != NULL &&
        guard_starts_alone(group, conf, conf_len)) {
        from->term++;
        from->vote = group->config.self;
        update->meta = true;
    }
    if (from->snap != NULL) {
        rv = snapshot_keep(group, from->snap);
        if (rv != 0) {
            return rv;
        }
        group->last_term = from->snap->term;
        group->persisted = from->snap->index;
    }
    if (from->n_entries > 0) {
        group->last_term = from->entries[from->n_entries - 1].term;
        group->persisted = from->first_index + from->n_entries - 1;
    }
    return begin_engine(group, from, update);
}

int engine_start(struct rgroup *group, const struct rgroup_event *event,
                 struct rgroup_update *update)
{
    struct beginning from;
    int rv;

    rv = begin_check(group, event, &from);
    if (rv != 0) {
        return rv;
    }
    group->started_ms = group->now_ms;
    return begin(group, &from, update);
}

int engine_snapshot_taken(struct rgroup *group, const struct rgroup_event *event,
                          struct rgroup_update *update)
{
    const struct rgroup_snapshot *snap = &event->snapshot;
    struct raft_event step = {.type = RAFT_SNAPSHOT};
    uint64_t pending = group->engine->configuration_uncommitted_index;
    int rv;

    if (group->installing || snap->index <= group->snap.index) {
        return 0; /* Superseded while it was being written. */
    }
    if (!snapshot_valid(group, snap) || snap->term != guard_term_of(group, snap->index)) {
        return -EUCLEAN;
    }
    if (snap->index > group->commit) {
        group->commit = snap->index; /* Applied in an earlier life. */
    }
    /* A change below it may not be seen again: its entry goes with the log. */
    if (pending != 0 && pending <= snap->index) {
        rv = engine_applied_change(group, pending, update);
        if (rv != 0) {
            return rv;
        }
    }
    rv = metadata_of(snap, &step.snapshot.metadata);
    if (rv != 0) {
        return rv;
    }
    rv = snapshot_keep(group, snap);
    if (rv != 0) {
        raft_configuration_close(&step.snapshot.metadata.configuration);
        return rv;
    }
    step.snapshot.trailing =
        event->trailing > UINT32_MAX ? UINT32_MAX : (unsigned)event->trailing;
    return engine_step(group, &step, RGROUP_FROM_ENGINE, update, NULL);
}

/* The pulled state went beyond what the leader offered. The engine has no word for that,
 * but starting anew from durable state is always allowed. */
static int install_beyond(struct rgroup *group, const struct rgroup_snapshot *snap,
                          struct rgroup_update *update)
{
    struct beginning from = {.term = raft_current_term(group->engine),
                             .vote = raft_voted_for(group->engine),
                             .snap = snap,
                             .first_index = snap->index + 1};
    int rv;

    rv = engine_renew(group);
    if (rv != 0) {
        return rv;
    }
    return begin(group, &from, update);
}

int engine_snapshot_installed(struct rgroup *group, const struct rgroup_snapshot *snap,
                              struct rgroup_update *update)
{
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    int rv;

    ASSERT(group->installing && group->state == RGROUP_FOLLOWER);
    if (!snapshot_valid(group, snap) || snap->index < group->base_index ||
        (snap->index == group->base_index && snap->term != group->base_term)) {
        return -EUCLEAN;
    }
    group->installing = false;
    if (snap->index > group->base_index) {
        return install_beyond(group, snap, update);
    }
    rv = metadata_of(snap, &event.persisted_snapshot.metadata);
    if (rv != 0) {
        return rv;
    }
    rv = snapshot_keep(group, snap);
    if (rv != 0) {
        raft_configuration_close(&event.persisted_snapshot.metadata.configuration);
        return rv;
    }
    group->last_term = snap->term;
    group->persisted = snap->index;
    event.persisted_snapshot.last = true;
    return engine_step(group, &event, RGROUP_FROM_ENGINE, update, NULL);
}
