/*
 * replica: life, dispatch of events, and the turn that follows each.
 */
#include "base/assert.h"
#include "base/outcome.h"
#include "raft/replica_impl.h"
#include "zone/op.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define JOURNAL_BYTES_DEFAULT (256ull << 20)

static void action_clear(struct replica_action *action)
{
    slice_unref(&action->head);
    slice_unref(&action->body);
    slice_unref(&action->result);
    slice_unref(&action->data);
    for (uint32_t i = 0; action->entries != NULL && i < action->n; i++) {
        replica_entry_clear(&action->entries[i]);
    }
    free(action->entries);
    action->entries = NULL;
}

void replica_actions_clear(struct replica_actions *actions)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        action_clear(&actions->items[i]);
    }
    actions->n = 0;
}

void replica_actions_deinit(struct replica_actions *actions)
{
    replica_actions_clear(actions);
    free(actions->items);
    *actions = (struct replica_actions){0};
}

struct replica_action *replica_act(struct replica *r, enum replica_action_type type)
{
    struct replica_actions *out = r->out;
    struct replica_action *action = &r->scratch;

    if (out->n == out->cap) {
        uint32_t cap = out->cap == 0 ? 64 : out->cap * 2;
        struct replica_action *items = realloc(out->items, cap * sizeof *items);

        if (items != NULL) {
            out->items = items;
            out->cap = cap;
        }
    }
    if (out->n < out->cap) {
        action = &out->items[out->n++];
    } else {
        action_clear(&r->scratch);
        replica_fault(r, -ENOMEM);
    }
    *action = (struct replica_action){.type = type};
    return action;
}

void replica_fault(struct replica *r, int rv)
{
    ASSERT(rv < 0);
    if (r->rv == 0) {
        r->rv = rv;
    }
}

void replica_note(struct replica *r)
{
    r->noted = true;
}

/* Everything that waits ends, in doubt. */
static void fail(struct replica *r)
{
    struct replica_action *action = replica_act(r, REPLICA_DO_FAIL);

    action->rv = r->rv;
    r->failed = true;
    replica_propose_lost(r);
    replica_read_fail_all(r);
    replica_held_clear(r);
    if (r->transfer.active) {
        replica_answer(r, r->transfer.token, OUT_TRY_LATER);
        r->transfer.active = false;
    }
    if (r->change.active) {
        replica_answer(r, r->change.token, OUT_NOT_LEADER);
        r->change.active = false;
    }
}

static void report_applied(struct replica *r)
{
    uint64_t values[3] = {r->term, r->applied, 0};

    values[2] |= replica_disk_full(r) ? REPLICA_REPORT_FULL : 0;
    values[2] |= r->sleeps ? REPLICA_REPORT_SLEEPS : 0;
    if (r->leader != 0 && r->leader != r->config.self) {
        replica_control(r, r->leader, REPLICA_FRAME_REPORT,
                        replica_put_u64s(r, values, 3), 0);
    }
}

static void tick(struct replica *r, int64_t wall_ns)
{
    struct rgroup_event event = {.type = RGROUP_EV_TICK};

    if (r->now_ms >= r->wake_ms && !replica_deaf(r)) {
        (void)replica_group_step(r, &event, NULL); /* A fault is latched. */
    }
    replica_submit_flush(r);
    if (r->now_ms - r->tick_ms < r->config.heartbeat_ms) {
        return;
    }
    r->tick_ms = r->now_ms;
    replica_roll_tick(r);
    replica_wall_tick(r);
    replica_lease_tick(r);
    replica_read_tick(r);
    report_applied(r);
    replica_slow_tick(r);
    replica_housekeep(r);
    replica_pass_time(r, replica_wall_time(r, wall_ns));
}

/* Whoever leads hears of it at once: it is to choose nobody who sleeps. */
static void sleep_or_wake(struct replica *r, bool sleeps)
{
    if (r->sleeps == sleeps) {
        return;
    }
    r->sleeps = sleeps;
    rgroup_abstain(r->group, sleeps);
    if (sleeps) {
        replica_lease_return(r);
    }
    report_applied(r);
    replica_note(r);
}

/* Carry on whatever the event made possible. What may step raft comes first. */
static void turn(struct replica *r)
{
    replica_apply_replay(r);
    replica_transfer_for_sleep(r);
    replica_transfer_go_on(r);
    replica_change_go_on(r);
    replica_mend_go_on(r);
    replica_pull_go_on(r);
    replica_lease_go_on(r);
    replica_read_go_on(r);
    replica_journal_issue(r);
    replica_held_release(r);
    replica_apply_issue(r);
    replica_send_pump(r);
    replica_slow_go_on(r);
    replica_compact_go_on(r);
    replica_log_evict(r);
    if (r->noted && r->rv == 0) {
        r->noted = false;
        replica_act(r, REPLICA_DO_NOTE);
    }
}

static void take_event(struct replica *r, const struct replica_event *event)
{
    switch (event->type) {
    case REPLICA_EV_TICK:
        tick(r, event->wall_ns);
        break;
    case REPLICA_EV_FRAME:
        replica_frame(r, event);
        break;
    case REPLICA_EV_PEER:
        replica_peer_set(r, event->from, event->up);
        break;
    case REPLICA_EV_WRITABLE:
        break; /* The turn goes on sending. */
    case REPLICA_EV_SUBMIT:
        replica_submit(r, event);
        break;
    case REPLICA_EV_READ:
        replica_read_new(r, event);
        break;
    case REPLICA_EV_CANCEL:
        replica_propose_cancel(r, event->token);
        replica_read_cancel(r, event->token);
        break;
    case REPLICA_EV_JOURNALED:
        replica_journal_done(r, event);
        break;
    case REPLICA_EV_APPLIED:
        replica_apply_done(r, event);
        break;
    case REPLICA_EV_APPLY_TO:
        r->apply_to = event->index;
        break;
    case REPLICA_EV_FETCHED:
        replica_fetched(r, event);
        break;
    case REPLICA_EV_SNAPSHOT:
        replica_snapshot_done(r, event);
        break;
    case REPLICA_EV_PULLED:
        replica_pull_done(r, event);
        break;
    case REPLICA_EV_DISK:
        replica_disk(r, event);
        break;
    case REPLICA_EV_CHANGE:
        replica_change(r, event);
        break;
    case REPLICA_EV_TRANSFER:
        replica_transfer_begin(r, event);
        break;
    case REPLICA_EV_STOP:
        replica_lease_stop(r);
        r->stopping = true;
        break;
    case REPLICA_EV_FLUSH:
        replica_submit_flush(r);
        break;
    case REPLICA_EV_ABANDON:
        replica_fault(r, -ECANCELED);
        break;
    case REPLICA_EV_SLEEP:
        sleep_or_wake(r, !event->up);
        break;
    }
}

/* After a fault only the askers are served: with "in doubt". */
static void take_failed(struct replica *r, const struct replica_event *event)
{
    if (event->type == REPLICA_EV_SUBMIT || event->type == REPLICA_EV_CHANGE ||
        event->type == REPLICA_EV_TRANSFER) {
        replica_answer(r, event->token, OUT_NOT_LEADER);
    } else if (event->type == REPLICA_EV_READ) {
        replica_answer(r, event->token, OUT_TRY_LATER);
    }
}

int replica_step(struct replica *replica, const struct replica_event *event,
                 struct replica_actions *actions)
{
    struct replica *r = replica;

    r->out = actions;
    if (r->failed) {
        take_failed(r, event);
        return 0;
    }
    if (event->now_ms > r->now_ms) {
        r->now_ms = event->now_ms;
    }
    if (event->wall_ns != 0 && event->type != REPLICA_EV_PULLED) {
        replica_wall_own(r, event->wall_ns);
    }
    take_event(r, event);
    if (event->type != REPLICA_EV_SUBMIT && event->type != REPLICA_EV_READ &&
        r->rv == 0) {
        turn(r);
    }
    if (r->rv != 0) {
        fail(r);
    }
    return r->rv;
}

uint64_t replica_wake_ms(const struct replica *replica)
{
    uint64_t wake_ms = replica->tick_ms + replica->config.heartbeat_ms;
    uint64_t lease_ms = replica_lease_wake_ms(replica);
    uint64_t apply_ms = replica_apply_wake_ms(replica);

    if (replica->failed) {
        return UINT64_MAX;
    }
    wake_ms = lease_ms < wake_ms ? lease_ms : wake_ms;
    wake_ms = apply_ms < wake_ms ? apply_ms : wake_ms;
    if (replica_deaf(replica)) {
        return wake_ms;
    }
    return replica->wake_ms < wake_ms ? replica->wake_ms : wake_ms;
}

/* Entries from disk: index and term only, but configurations whole. */
static int load_log(struct replica *r, const struct replica_start *start)
{
    int rv = 0;

    replica_log_reset(r, start->base_index, start->base_term);
    for (uint32_t i = 0; rv == 0 && i < start->n_entries; i++) {
        const struct replica_entry *entry = &start->entries[i];
        struct zone_entry decoded;

        if (entry->index != r->log.last + 1) {
            return -EUCLEAN;
        }
        rv = replica_log_append(r, entry, entry->type == RGROUP_CHANGE);
        if (entry->type == RGROUP_CHANGE) {
            r->change_index = entry->index;
        }
        if (rv == 0 && entry->type == RGROUP_COMMAND &&
            zone_entry_decode(entry->head.data, entry->head.len, &decoded) == 0 &&
            decoded.time_ns > r->last_time_ns) {
            r->last_time_ns = decoded.time_ns;
        }
    }
    return rv;
}

static int load(struct replica *r, const struct replica_start *start)
{
    int rv;

    r->term = start->term;
    r->vote = start->vote;
    r->applied = start->applied_index;
    r->applied_term = start->applied_term;
    r->last_time_ns = start->zone_time_ns;
    rv = load_log(r, start);
    if (rv != 0) {
        return rv;
    }
    if (start->has_snapshot) {
        rv = replica_descriptor_set(r, &start->snapshot);
        if (rv != 0) {
            return rv;
        }
    }
    rv = replica_group_start(r);
    if (rv != 0) {
        return rv;
    }
    /* The zone never runs ahead of the log: if it does, the journal lost something. */
    return r->applied > r->log.last ? -EUCLEAN : 0;
}

static void fifos_init(struct replica *r)
{
    replica_fifo_init(&r->held, sizeof(struct replica_held));
    replica_fifo_init(&r->submits, sizeof(struct replica_submit));
    replica_fifo_init(&r->waits, sizeof(struct replica_wait));
    replica_fifo_init(&r->reads_new, sizeof(struct replica_read));
    replica_fifo_init(&r->reads_round, sizeof(struct replica_read));
    replica_fifo_init(&r->reads_ready, sizeof(struct replica_read));
}

static void default_to(uint64_t *value, uint64_t bytes)
{
    *value = *value == 0 ? bytes : *value;
}

static void fill_in(struct replica_config *config)
{
    default_to(&config->journal_bytes_max, JOURNAL_BYTES_DEFAULT);
    default_to(&config->window_bytes, REPLICA_WINDOW_BYTES);
    default_to(&config->cache_bytes, REPLICA_CACHE_BYTES);
    default_to(&config->pending_bytes_max, REPLICA_PENDING_BYTES);
}

int replica_new(const struct replica_config *config, const struct replica_start *start,
                struct replica_actions *actions, struct replica **out)
{
    struct replica *r = calloc(1, sizeof *r);
    int rv;

    if (r == NULL) {
        return -ENOMEM;
    }
    ASSERT(config->self != 0 && config->heartbeat_ms > 0);
    r->config = *config;
    r->settle_rest = true;
    fill_in(&r->config);
    r->attrs.keeps_stale = r->config.mutation == REPLICA_MUT_KEEP_ATTRS;
    r->attrs.keeps_told = r->config.mutation == REPLICA_MUT_KEEP_TOLD;
    attrs_forget(&r->attrs); /* Stamps begin at 1. */
    fifos_init(r);
    r->out = actions;
    r->now_ms = start->now_ms;
    r->tick_ms = start->now_ms;
    r->state = RGROUP_FOLLOWER;
    /* A leader may still answer what an earlier life asked: the numbers must differ. */
    r->read_seq = (config->seed + start->now_ms) * 0x9e3779b97f4a7c15ull;
    rv = load(r, start);
    if (rv == 0) {
        replica_lease_start(r);
        replica_roll_start(r, start);
        replica_note(r);
        turn(r);
        rv = r->rv;
    }
    if (rv != 0) {
        replica_free(r);
        return rv;
    }
    *out = r;
    return 0;
}

void replica_free(struct replica *replica)
{
    if (replica == NULL) {
        return;
    }
    rgroup_free(replica->group);
    replica_held_clear(replica);
    replica_fifo_deinit(&replica->held);
    replica_propose_deinit(replica);
    replica_fifo_deinit(&replica->reads_new);
    replica_fifo_deinit(&replica->reads_round);
    replica_fifo_deinit(&replica->reads_ready);
    replica_log_deinit(replica);
    attrs_deinit(&replica->attrs);
    buf_unref(replica->snapshot.conf);
    for (uint32_t i = 0; i < replica->n_peers; i++) {
        free(replica->peers[i]);
    }
    action_clear(&replica->scratch);
    free(replica);
}
