/*
 * Stepping rgroup and carrying out what it says, in the order of its fields.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"
#include "zone/op.h"

#include <errno.h>
#include <stdlib.h>

bool replica_is_leader(const struct replica *r)
{
    return r->state == RGROUP_LEADER;
}

/* Zone time never goes back, whoever stamps: remember the highest in the log. */
static void note_time(struct replica *r, const struct replica_entry *entry)
{
    struct zone_entry decoded;

    if (entry->type == RGROUP_COMMAND &&
        zone_entry_decode(entry->head.data, entry->head.len, &decoded) == 0 &&
        decoded.time_ns > r->last_time_ns) {
        r->last_time_ns = decoded.time_ns;
    }
}

static int append_one(struct replica *r, struct replica_entry *entry)
{
    int rv;

    rv = replica_log_append(r, entry, true);
    if (rv != 0) {
        return rv;
    }
    replica_log_slot(r, entry->index)->ticket = REPLICA_UNISSUED;
    if (r->gather_first == 0) {
        r->gather_first = entry->index;
    }
    if (entry->type == RGROUP_CHANGE) {
        r->change_index = entry->index;
    }
    note_time(r, entry);
    replica_names_add(r, entry);
    return 0;
}

/* The entry that rgroup made itself: a barrier or a configuration. */
static int append_own(struct replica *r, const struct rgroup_append *append)
{
    struct replica_entry entry = {
        .index = append->index,
        .term = append->own_entry.term,
        .type = append->own_entry.type,
    };
    struct buf *conf = NULL;
    int rv;

    if (append->own_entry.conf_len > 0) {
        conf = buf_copy(append->own_entry.conf, append->own_entry.conf_len);
        if (conf == NULL) {
            return -ENOMEM;
        }
        entry.head = slice_of(conf, 0, conf->len);
    }
    rv = append_one(r, &entry);
    slice_unref(&entry.head);
    buf_unref(conf);
    return rv;
}

static int take_truncate(struct replica *r, uint64_t index)
{
    if (index > r->log.last) {
        return index == r->log.last + 1 ? 0 : -EUCLEAN;
    }
    if (index <= r->applied || index <= r->log.base_index) {
        return -EUCLEAN; /* Applied entries are committed: the log is damaged. */
    }
    replica_log_truncate(r, index);
    replica_propose_truncated(r, index);
    if (r->reported >= index) {
        r->reported = index - 1;
    }
    if (r->gather_first > index) {
        r->gather_first = index;
    }
    return 0;
}

static int take_append(struct replica *r, const struct rgroup_append *append,
                       const struct replica_entry *incoming)
{
    int rv;

    rv = take_truncate(r, append->index);
    if (rv != 0 || append->own) {
        return rv != 0 ? rv : append_own(r, append);
    }
    for (uint32_t i = 0; i < append->n; i++) {
        struct replica_entry entry = incoming[append->from + i];

        ASSERT(append->from + i < REPLICA_CHUNK);
        entry.index = append->index + i;
        entry.segment = 0;
        entry.offset = 0;
        entry.crc = 0;
        rv = append_one(r, &entry);
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static void take_state(struct replica *r, const struct rgroup_update *update,
                       uint64_t term_before)
{
    bool was_leader = replica_is_leader(r);
    bool is_leader = update->state == RGROUP_LEADER;
    bool same_term = term_before == r->term;

    if (update->state == r->state && update->leader == r->leader && same_term) {
        return;
    }
    r->state = update->state;
    r->leader = update->leader;
    replica_note(r);
    if (was_leader && !(is_leader && same_term)) {
        replica_propose_lost(r);
    }
    if (was_leader != is_leader || !same_term) {
        replica_send_reset(r);
    }
    replica_lease_changed(r);
    replica_slow_changed(r);
    replica_read_again(r);
}

void replica_group_leave(struct replica *r)
{
    struct rgroup_update update = {.state = RGROUP_FOLLOWER};

    take_state(r, &update, r->term);
}

static void take_messages(struct replica *r, const struct rgroup_update *update)
{
    for (uint32_t i = 0; i < update->n_messages; i++) {
        const struct rgroup_msg *msg = &update->messages[i];
        struct buf *head;

        if (msg->type == RGROUP_MSG_APPEND) {
            replica_send_queue(r, msg);
            continue;
        }
        if (msg->type == RGROUP_MSG_VOTE && replica_roll_waits(r)) {
            continue;
        }
        head = replica_put_msg(r, msg);
        replica_control(r, msg->peer, REPLICA_FRAME_MSG, head, msg->after_index);
    }
}

static int take_update(struct replica *r, const struct rgroup_update *update,
                       const struct replica_entry *incoming)
{
    uint64_t term_before = r->term;
    int rv = 0;

    if (update->meta) {
        r->term = update->term;
        r->vote = update->vote;
        r->meta_dirty = true;
    }
    r->commit = update->commit;
    /* Before the appends: proposals of an ended leadership are answered as such. */
    take_state(r, update, term_before);
    for (uint32_t i = 0; rv == 0 && i < update->n_appends; i++) {
        rv = take_append(r, &update->appends[i], incoming);
    }
    if (rv != 0) {
        return rv;
    }
    if (update->install) {
        replica_pull_begin(r, update->install_index, update->install_term);
    }
    take_messages(r, update);
    r->wake_ms = update->wake_ms;
    return 0;
}

int replica_group_step(struct replica *r, struct rgroup_event *event,
                       const struct replica_entry *incoming)
{
    int rv;

    event->now_ms = r->now_ms;
    rv = rgroup_step(r->group, event, &r->update);
    if (rv > 0 || rv == -EPROTO) {
        return rv;
    }
    if (rv == 0) {
        rv = take_update(r, &r->update, incoming);
    }
    if (rv != 0) {
        replica_fault(r, rv);
    }
    return rv;
}

static void fill_entries(struct replica *r, struct rgroup_entry *entries)
{
    for (uint64_t i = r->log.base_index + 1; i <= r->log.last; i++) {
        struct replica_slot *slot = replica_log_slot(r, i);
        struct rgroup_entry *entry = &entries[i - r->log.base_index - 1];

        *entry = (struct rgroup_entry){.term = slot->term,
                                       .type = (enum rgroup_entry_type)slot->type};
        if (slot->type == RGROUP_CHANGE && slot->cached != NULL) {
            entry->conf = slot->cached->head.data;
            entry->conf_len = slot->cached->head.len;
        }
    }
}

/*
 * A state that was switched in just before a crash may lie beyond the log, or beside it
 * (the log's entry there was never committed): then the log is dropped and begins anew
 * after the state, in the journal too.
 */
static int fit_log(struct replica *r)
{
    const struct replica_descriptor *snapshot = &r->snapshot;

    if (!snapshot->present) {
        return r->log.base_index == 0 ? 0 : -EUCLEAN;
    }
    if (snapshot->index < r->log.base_index) {
        return -EUCLEAN; /* The log was compacted beyond what is known. */
    }
    if (replica_log_term(r, snapshot->index) == snapshot->term) {
        return 0;
    }
    if (r->applied < snapshot->index) {
        return -EUCLEAN;
    }
    replica_log_reset(r, snapshot->index, snapshot->term);
    r->base_dirty = true;
    r->base_index = snapshot->index;
    r->base_term = snapshot->term;
    return 0;
}

/*
 * Make rgroup from the log in memory, all of which is durable. Also the way back from a
 * pull that cannot succeed: then the old rgroup is thrown away.
 */
int replica_group_start(struct replica *r)
{
    struct rgroup_config config = {
        .self = r->config.self,
        .election_ms = r->config.election_ms,
        .heartbeat_ms = r->config.heartbeat_ms,
        .inflight_max = REPLICA_INFLIGHT,
        .seed = r->config.seed + r->now_ms,
        .guards_off = r->config.guards_off,
    };
    struct rgroup_event event = {
        .type = RGROUP_EV_START,
        .term = r->term,
        .vote = r->vote,
    };
    struct rgroup_entry *entries = NULL;
    int rv;

    ASSERT(r->n_tickets == 0);
    if (r->gather_first != 0 && r->gather_first <= r->log.last) {
        /* A full disk sent them back: they are not durable, and nobody was told. */
        replica_log_truncate(r, r->gather_first);
    }
    if (r->config.mutation == REPLICA_MUT_NO_WAIT) {
        config.guards_off |= RGROUP_OFF_G16;
    }
    rgroup_free(r->group);
    r->group = NULL;
    rv = fit_log(r);
    if (rv != 0) {
        return rv;
    }
    event.first_index = r->log.base_index + 1;
    event.n_entries = (uint32_t)(r->log.last - r->log.base_index);
    entries = calloc(event.n_entries + 1u, sizeof *entries);
    if (entries == NULL) {
        return -ENOMEM;
    }
    fill_entries(r, entries);
    event.entries = entries;
    if (r->snapshot.present) {
        event.has_snapshot = true;
        event.snapshot = (struct rgroup_snapshot){
            .index = r->snapshot.index,
            .term = r->snapshot.term,
            .conf_index = r->snapshot.conf_index,
            .conf = r->snapshot.conf->data,
            .conf_len = r->snapshot.conf->len,
        };
    }
    r->reported = r->log.last;
    r->replayed = r->snapshot.present ? r->snapshot.index : 0;
    r->gather_first = 0;
    rv = rgroup_new(&config, &r->group);
    if (rv == 0) {
        rgroup_abstain(r->group, r->sleeps);
        rv = replica_group_step(r, &event, NULL);
    }
    free(entries);
    return rv;
}
