#include "sim.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

uint64_t node_clock_ms(const struct sim *sim, const struct sim_node *node)
{
    int64_t us = (int64_t)sim->now_us;

    return node->clock_base_ms + (uint64_t)((us + us * node->clock_ppm / 1000000) / 1000);
}

static void timer_arm(struct sim *sim, struct sim_node *node)
{
    uint64_t now_ms = node_clock_ms(sim, node);
    uint64_t wait_us =
        (node->wake_ms > now_ms ? node->wake_ms - now_ms : 0) * 1000 + 1000;

    if (node->timer_us > sim->now_us && node->timer_us <= sim->now_us + wait_us) {
        return; /* It fires earlier and arms the next one. */
    }
    node->timer_us = sim->now_us + wait_us;
    sim_at(sim, wait_us, SIM_EV_TIMER, node->id, node->epoch);
}

void node_timer(struct sim *sim, struct sim_node *node)
{
    struct rgroup_event event = {.type = RGROUP_EV_TICK};

    if (node_clock_ms(sim, node) >= node->wake_ms) {
        (void)node_step(sim, node, &event);
    } else {
        timer_arm(sim, node);
    }
}

void node_lost(struct sim *sim, struct sim_node *node, uint64_t peer)
{
    struct rgroup_event event = {.type = RGROUP_EV_LOST, .target = peer};

    if (node->up) {
        (void)node_step(sim, node, &event);
    }
}

static struct sim_snap applied_state(const struct sim_node *node)
{
    const struct sim_entry *entry = log_at(&node->log, node->applied);

    return (struct sim_snap){.index = node->applied,
                             .term = entry != NULL ? entry->term : node->snap.term,
                             .conf_index = node->applied_conf_index,
                             .conf = node->applied_conf,
                             .state = node->state};
}

static void set_applied_state(struct sim *sim, struct sim_node *node,
                              const struct sim_snap *snap)
{
    node->applied = snap->index;
    node->state = snap->state;
    node->applied_conf = snap->conf;
    node->applied_conf_index = snap->conf_index;
    if (snap->index > 0) {
        check_applied(sim, node, snap->index, snap->state);
    }
}

static struct rgroup_snapshot snapshot_out(const struct sim *sim,
                                           const struct sim_snap *snap)
{
    return (struct rgroup_snapshot){.index = snap->index,
                                    .term = snap->term,
                                    .conf_index = snap->conf_index,
                                    .conf = sim->confs[snap->conf].bytes,
                                    .conf_len = sim->confs[snap->conf].len};
}

static void entry_out(const struct sim *sim, const struct sim_entry *from,
                      struct rgroup_entry *to)
{
    *to = (struct rgroup_entry){.term = from->term,
                                .type = (enum rgroup_entry_type)from->type};
    if (from->type == RGROUP_CHANGE) {
        to->conf = sim->confs[from->conf].bytes;
        to->conf_len = sim->confs[from->conf].len;
    }
}

static struct sim_entry entry_own(struct sim *sim, const struct rgroup_entry *from)
{
    struct sim_entry entry = {.term = from->term, .type = (uint8_t)from->type, .hash = 1};

    if (from->type == RGROUP_CHANGE) {
        entry.conf = sim_conf_number(sim, from->conf, from->conf_len);
        entry.hash = sim->confs[entry.conf].hash;
    }
    return entry;
}

/* @source: the entries of the event, as the simulator keeps them. */
static void carry_out_append(struct sim *sim, struct sim_node *node,
                             const struct rgroup_append *append,
                             const struct sim_entry *source)
{
    struct sim_op *op;
    uint32_t i;

    if (append->index <= node->applied) {
        sim_fail(sim, "node %u replaces the applied entry %lu", node->id, append->index);
    }
    log_cut_from(&node->log, append->index);
    if (append->index != log_last(&node->log) + 1) {
        sim_fail(sim, "node %u: append at %lu, log ends at %lu", node->id, append->index,
                 log_last(&node->log));
    }
    if (node->reported >= append->index) {
        node->reported = append->index - 1;
    }
    op = disk_write(sim, node, SIM_OP_APPEND);
    op->index = append->index;
    op->n = append->n;
    op->entries = calloc(append->n, sizeof *op->entries);
    ASSERT(op->entries != NULL);
    for (i = 0; i < append->n; i++) {
        struct sim_entry entry =
            append->own ? entry_own(sim, &append->own_entry) : source[append->from + i];

        if (entry.term == 0) {
            entry.term = node->term; /* Submitted. */
        }
        entry.seq = op->seq;
        op->entries[i] = entry;
        log_add(&node->log, &entry);
    }
    sim_trace(sim, node, "append %lu..%lu term %lu%s", append->index,
              append->index + append->n - 1, op->entries[append->n - 1].term,
              op->entries[0].type == RGROUP_CHANGE ? " change" : "");
}

static void carry_out_message(struct sim *sim, struct sim_node *node,
                              const struct rgroup_msg *from)
{
    struct sim_msg *msg = calloc(1, sizeof *msg);
    const struct sim_entry *entry;

    ASSERT(msg != NULL);
    msg->kind = SIM_MSG_RAFT;
    msg->to = (uint32_t)from->peer;
    msg->raft = *from;
    msg->raft.conf = NULL;
    if (from->type == RGROUP_MSG_SNAPSHOT) {
        ASSERT(node->snap.index == from->index);
        msg->snap = node->snap;
    }
    if (sim->options.mutation != SIM_MUT_EARLY_SEND) {
        msg->need_seq = node->meta_seq;
    }
    entry = log_at(&node->log, from->after_index);
    if (from->after_index != 0 && entry != NULL && entry->seq > msg->need_seq) {
        msg->need_seq = entry->seq;
    }
    net_send(sim, node, msg);
}

static void carry_out_commit(struct sim *sim, struct sim_node *node, uint64_t commit)
{
    if (commit < node->commit) {
        sim_fail(sim, "node %u: the commit index falls from %lu to %lu", node->id,
                 node->commit, commit);
    }
    if (commit > node->commit) {
        check_commit(sim, node, node->commit + 1, commit);
        node->commit = commit;
    }
    if (node->role == RGROUP_LEADER && commit > sim->acked) {
        sim->acked = commit;
    }
}

static void carry_out(struct sim *sim, struct sim_node *node,
                      const struct rgroup_update *update, const struct sim_entry *source)
{
    uint32_t i;

    node->role = update->state;
    node->term = update->term;
    node->leader = update->leader;
    lease_role(node);
    if (update->meta) {
        struct sim_op *op = disk_write(sim, node, SIM_OP_META);

        op->term = update->term;
        op->vote = update->vote;
        node->meta_seq = op->seq;
        sim_trace(sim, node, "term %lu vote %lu", update->term, update->vote);
        if (node->doomed) {
            node->doomed = false;
            sim_at(sim, sim_below(sim, 5000), SIM_EV_CRASH, node->id, node->epoch);
        }
    }
    for (i = 0; i < update->n_appends; i++) {
        carry_out_append(sim, node, &update->appends[i], source);
    }
    if (update->install) {
        node->installing = true;
        sim->counts.installs++;
        sim_trace(sim, node, "installs %lu", update->install_index);
        sim_at(sim, 5000 + sim_below(sim, 1500000), SIM_EV_PULL, node->id, node->epoch);
    }
    for (i = 0; i < update->n_messages; i++) {
        carry_out_message(sim, node, &update->messages[i]);
    }
    if (update->state_changed && update->state == RGROUP_LEADER) {
        sim->counts.elections++;
        node->probing = false;
        sim_trace(sim, node, "leads term %lu", node->term);
        check_leader(sim, node);
        check_leases(sim, node);
    }
    carry_out_commit(sim, node, update->commit);
    node->wake_ms = update->wake_ms;
}

static int step(struct sim *sim, struct sim_node *node, struct rgroup_event *event,
                struct rgroup_update *update)
{
    int rv;

    event->now_ms = node_clock_ms(sim, node);
    sim->counts.steps++;
    node->in_step = true;
    rv = rgroup_step(node->group, event, update);
    node->in_step = false;
    if (rv < 0) {
        sim_fail(sim, "node %u: event %d gives %d", node->id, (int)event->type, rv);
    }
    return rv;
}

static int step_from(struct sim *sim, struct sim_node *node, struct rgroup_event *event,
                     const struct sim_entry *source)
{
    struct rgroup_update update;
    int rv = step(sim, node, event, &update);

    carry_out(sim, node, &update, source);
    if (sim->options.mutation == SIM_MUT_EARLY_PERSIST) {
        node_report(sim, node);
    }
    if (sim->slow_apply) {
        if (!node->apply_waits && node->replayed < node->commit) {
            node->apply_waits = true;
            sim_at(sim, sim_below(sim, 200000), SIM_EV_APPLY, node->id, node->epoch);
        }
    } else {
        node_apply(sim, node);
    }
    timer_arm(sim, node);
    net_release(sim, node);
    return rv;
}

/* SUBMIT is the only event from outside with entries; load_client made them. */
int node_step(struct sim *sim, struct sim_node *node, struct rgroup_event *event)
{
    struct sim_entry source[64];
    uint32_t i;

    ASSERT(event->type != RGROUP_EV_SUBMIT || event->n_entries <= 64);
    for (i = 0; event->type == RGROUP_EV_SUBMIT && i < event->n_entries; i++) {
        source[i] = (struct sim_entry){.type = (uint8_t)event->entries[i].type,
                                       .hash = prng_next(&sim->prng) | 1};
    }
    return step_from(sim, node, event, source);
}

static void apply_one(struct sim *sim, struct sim_node *node,
                      const struct sim_entry *entry)
{
    node->applied++;
    node->state =
        sim_mix(node->state ^ sim_mix(entry->hash + 7 * entry->term + node->applied));
    check_applied(sim, node, node->applied, node->state);
    if (entry->type == RGROUP_CHANGE) {
        node->applied_conf = entry->conf;
        node->applied_conf_index = node->applied;
    }
}

void node_apply(struct sim *sim, struct sim_node *node)
{
    uint64_t to = node->commit < node->reported ? node->commit : node->reported;

    while (!node->installing && node->replayed < to) {
        struct rgroup_event event = {.type = RGROUP_EV_APPLIED_CHANGE};
        const struct sim_entry *entry = log_at(&node->log, node->replayed + 1);

        if (entry == NULL && node->replayed < node->applied) {
            node->replayed++; /* Below a snapshot of a state that was applied before. */
            continue;
        }
        if (entry == NULL) {
            sim_fail(sim, "node %u has no entry %lu to apply", node->id,
                     node->replayed + 1);
        }
        event.index = ++node->replayed;
        check_commit(sim, node, event.index, event.index);
        if (event.index > node->applied) {
            apply_one(sim, node, entry);
        }
        if (entry->type == RGROUP_CHANGE) {
            sim->counts.changes++;
            (void)node_step(sim, node, &event);
        }
    }
}

void node_report(struct sim *sim, struct sim_node *node)
{
    struct rgroup_event event = {.type = RGROUP_EV_PERSISTED};
    const struct sim_entry *entry;
    uint64_t index = node->reported;

    if (node->installing) {
        return;
    }
    while ((entry = log_at(&node->log, index + 1)) != NULL &&
           (entry->seq <= node->seq_done ||
            sim->options.mutation == SIM_MUT_EARLY_PERSIST)) {
        index++;
    }
    if (index > node->reported) {
        node->reported = index;
        event.index = index;
        roll_reported(node);
        (void)node_step(sim, node, &event);
    }
}

static void trace_msg(const struct sim *sim, const struct sim_node *node,
                      const struct rgroup_msg *msg)
{
    static const char *const names[] = {"?",      "vote",     "vote result", "append",
                                        "result", "snapshot", "timeout now"};

    sim_trace(sim, node,
              "< %lu %s%s term %lu at %lu^%lu n %u commit %lu rejected %lu%s%s",
              msg->peer, msg->pre_vote ? "pre-" : "", names[msg->type], msg->term,
              msg->index, msg->index_term, msg->n, msg->commit, msg->rejected,
              msg->granted ? " granted" : "", msg->disrupt ? " disrupt" : "");
}

void node_receive(struct sim *sim, struct sim_node *node, struct sim_msg *msg)
{
    static struct rgroup_entry entries[RGROUP_ENTRIES_MAX];
    struct rgroup_event event = {.type = RGROUP_EV_RECEIVE, .msg = &msg->raft};
    bool was_installing = node->installing;
    uint32_t i;

    if (msg->kind == SIM_MSG_PROBE) {
        struct sim_msg *answer = calloc(1, sizeof *answer);

        ASSERT(answer != NULL);
        answer->kind = SIM_MSG_PROBE_ACK;
        answer->to = msg->from;
        answer->probe = msg->probe;
        answer->probe_term = msg->probe_term;
        answer->need_seq = node->meta_seq;
        if (rgroup_term(node->group) <= msg->probe_term) {
            net_send(sim, node, answer);
        } else {
            msg_free(answer);
        }
        return;
    }
    if (msg->kind == SIM_MSG_PROBE_ACK) {
        load_read_answer(sim, node, msg);
        return;
    }
    if (msg->kind >= SIM_MSG_PING) {
        lease_receive(sim, node, msg);
        return;
    }
    msg->raft.peer = msg->from;
    trace_msg(sim, node, &msg->raft);
    if (msg->raft.type == RGROUP_MSG_SNAPSHOT) {
        msg->raft.conf = sim->confs[msg->snap.conf].bytes;
        msg->raft.conf_len = sim->confs[msg->snap.conf].len;
    }
    for (i = 0; i < msg->raft.n; i++) {
        entry_out(sim, &msg->entries[i], &entries[i]);
        check_entry(sim, node, msg->raft.index + 1 + i, &msg->entries[i],
                    i == 0 ? msg->raft.index_term : msg->entries[i - 1].term);
    }
    event.entries = entries;
    event.n_entries = msg->raft.n;
    (void)step_from(sim, node, &event, msg->entries);
    if (node->installing && !was_installing) {
        node->offer = msg->snap;
    }
}

/* The state is fetched from the leader as offered, or newer from somebody else; or it is
 * given up. */
void node_pull(struct sim *sim, struct sim_node *node)
{
    const struct sim_node *from = &sim->nodes[1 + sim_below(sim, sim->n_nodes)];
    struct sim_snap snap = node->offer;
    struct sim_op *op;

    if (!node->installing || node->renew) {
        return;
    }
    if (sim_chance(sim, 10)) {
        sim->counts.giveups++;
        node->renew = true;
        if (node->ops == NULL) {
            disk_done(sim, node);
        }
        return;
    }
    if (from != node && from->up && !from->installing && from->applied > snap.index &&
        !sim->links[from->id][node->id].cut) {
        snap = applied_state(from);
        sim->counts.beyond++;
    }
    op = disk_write(sim, node, SIM_OP_SNAP);
    op->snap = snap;
    op->pulled = true;
    op = disk_write(sim, node, SIM_OP_BASE);
    op->index = snap.index;
    op->snap = snap;
    op->pulled = true;
}

static void pulled(struct sim *sim, struct sim_node *node, const struct sim_snap *snap)
{
    struct rgroup_event event = {.type = RGROUP_EV_SNAPSHOT_INSTALLED};

    node->installing = false;
    log_reset(&node->log, snap->index + 1);
    node->snap = *snap;
    set_applied_state(sim, node, snap);
    node->replayed = snap->index;
    node->reported = snap->index;
    event.snapshot = snapshot_out(sim, snap);
    (void)node_step(sim, node, &event);
}

void node_take_snapshot(struct sim *sim, struct sim_node *node)
{
    struct sim_op *op;

    if (!node->up || node->installing || node->snap_busy ||
        node->applied <= node->snap.index ||
        (!sim->no_trailing && node->applied < node->log.first + sim->inflight_max)) {
        return;
    }
    op = disk_write(sim, node, SIM_OP_SNAP);
    op->snap = applied_state(node);
    op->trailing = sim_below(sim, 4) * sim_below(sim, 40);
    if (!sim->no_trailing) {
        op->trailing += sim->inflight_max + 1;
    }
    node->snap_busy = true;
}

static void snapshot_taken(struct sim *sim, struct sim_node *node,
                           const struct sim_snap *snap, uint64_t trailing)
{
    struct rgroup_event event = {.type = RGROUP_EV_SNAPSHOT_TAKEN, .trailing = trailing};
    struct sim_op *op;

    node->snap_busy = false;
    if (node->installing || snap->index <= node->snap.index) {
        return;
    }
    sim->counts.snapshots++;
    node->snap = *snap;
    event.snapshot = snapshot_out(sim, snap);
    (void)node_step(sim, node, &event);
    if (snap->index > trailing) {
        log_cut_below(&node->log, snap->index - trailing + 1);
        op = disk_write(sim, node, SIM_OP_COMPACT);
        op->index = snap->index - trailing;
    }
}

void node_written(struct sim *sim, struct sim_node *node, const struct sim_op *op)
{
    if (op->kind == SIM_OP_SNAP && !op->pulled) {
        snapshot_taken(sim, node, &op->snap, op->trailing);
    } else if (op->kind == SIM_OP_BASE && op->pulled) {
        pulled(sim, node, &op->snap);
    }
}

static void boot_state(struct sim *sim, struct sim_node *node)
{
    node->epoch++;
    node->up = true;
    node->renew = false;
    node->seq = node->seq_done = node->meta_seq = 0;
    node->batch_us = node->batch_next_us = 0;
    node->ops_tail = &node->ops;
    node->installing = node->snap_busy = node->apply_waits = node->probing = false;
    node->role = RGROUP_FOLLOWER;
    node->timer_us = 0;
    node->frozen_us = 0;
    log_copy(&node->log, &node->durable.log);
    node->snap = node->durable.snap;
    node->commit = node->replayed = node->snap.index;
    node->reported = log_last(&node->log);
    set_applied_state(sim, node,
                      node->durable.applied.index > node->snap.index
                          ? &node->durable.applied
                          : &node->durable.snap);
}

/* A log that the snapshot overtook begins anew behind it. */
static void boot_log(struct sim *sim, struct sim_node *node,
                     const struct rgroup_update *update)
{
    uint64_t last = update->n_appends > 0 ? update->appends[0].index - 1
                                          : rgroup_last_index(node->group);

    if (last != log_last(&node->log)) {
        log_reset(&node->log, last + 1);
        node->reported = last;
        disk_write(sim, node, SIM_OP_BASE)->index = last;
    }
    if (node->applied > last) {
        sim_fail(sim, "node %u has applied %lu, its log ends at %lu", node->id,
                 node->applied, last);
    }
}

void node_boot(struct sim *sim, struct sim_node *node)
{
    struct rgroup_config config = {.self = node->id,
                                   .election_ms = sim->election_ms,
                                   .heartbeat_ms = sim->heartbeat_ms,
                                   .inflight_max = sim->inflight_max,
                                   .seed = prng_next(&sim->prng),
                                   .guards_off = sim->options.guards_off};
    struct rgroup_event event = {.type = RGROUP_EV_START};
    struct rgroup_update update;
    struct rgroup_entry *entries;
    uint64_t i;

    if (roll_known(sim, node)) {
        return;
    }
    boot_state(sim, node);
    ASSERT(rgroup_new(&config, &node->group) == 0);
    entries = calloc(node->log.n + 1, sizeof *entries);
    ASSERT(entries != NULL);
    for (i = 0; i < node->log.n; i++) {
        entry_out(sim, &node->log.entries[i], &entries[i]);
    }
    event.term = node->durable.term;
    event.vote = node->durable.vote;
    event.has_snapshot = node->snap.index > 0;
    if (event.has_snapshot) {
        event.snapshot = snapshot_out(sim, &node->snap);
    }
    event.first_index = node->log.first;
    event.entries = entries;
    event.n_entries = (uint32_t)node->log.n;
    sim_trace(sim, node, "boots: term %lu vote %lu log %lu..%lu snapshot %lu", event.term,
              event.vote, node->log.first, log_last(&node->log), node->snap.index);
    (void)step(sim, node, &event, &update);
    free(entries);
    lease_boot(sim, node);
    boot_log(sim, node, &update);
    carry_out(sim, node, &update, NULL);
    node_apply(sim, node);
    timer_arm(sim, node);
}

void node_crash(struct sim *sim, struct sim_node *node)
{
    if (!node->up) {
        return;
    }
    sim_trace(sim, node, "crashes");
    sim->counts.crashes++;
    node->up = false;
    node->epoch++;
    node->role = RGROUP_FOLLOWER;
    rgroup_free(node->group);
    node->group = NULL;
    if (node->applied > 0 && sim_chance(sim, 70)) {
        node->durable.applied = applied_state(node);
    }
    disk_crash(sim, node);
    net_reset_node(sim, node->id);
}
