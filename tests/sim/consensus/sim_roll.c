/*
 * A member's disk is put back to an earlier state (docs/adr/0005-rolled-back-members.md).
 *
 * What a member vouched for is kept apart from its log, now and then. Images of its disk
 * are taken at random times; one that is older than what was kept last may be put back, of
 * one member in a run. Such a member must be known at its start, and stays away for good;
 * and no member that just lost what a crash may take is ever taken for one.
 */
#include "sim.h"

#include "base/assert.h"

#include <string.h>

static struct roll_point state_of(const struct sim_node *node)
{
    uint64_t last = log_last(&node->durable.log);

    if (node->durable.snap.index > last) {
        last = node->durable.snap.index;
    }
    return (struct roll_point){.term = node->durable.term, .index = last};
}

static void vouch(struct sim_node *node, uint64_t term, uint64_t index)
{
    struct roll_point point = {.term = term, .index = index};

    if (roll_is_below(node->vouched, point)) {
        node->vouched = point;
    }
}

void roll_sent(struct sim_node *node, const struct sim_msg *msg)
{
    const struct rgroup_msg *raft = &msg->raft;
    bool acked = raft->type == RGROUP_MSG_APPEND_RESULT && raft->rejected == 0;

    if (msg->kind == SIM_MSG_RAFT && !raft->pre_vote) {
        vouch(node, raft->term, acked ? raft->index : 0);
    }
}

void roll_reported(struct sim_node *node)
{
    if (node->role == RGROUP_LEADER && node->seq_done >= node->meta_seq) {
        vouch(node, node->term, node->reported);
    }
}

void roll_event(struct sim *sim)
{
    struct sim_node *node = &sim->nodes[1 + sim_below(sim, sim->n_nodes)];

    if (sim->calm) {
        return;
    }
    sim_at(sim, sim_below(sim, 300000), SIM_EV_ROLL, 0, 0);
    if (sim_chance(sim, 50)) {
        node->kept = node->vouched;
        node->image_old = node->image_there;
    } else if (!node->image_there || sim_chance(sim, 10)) {
        log_free(&node->image.log);
        node->image = node->durable;
        memset(&node->image.log, 0, sizeof node->image.log);
        log_copy(&node->image.log, &node->durable.log);
        node->image_there = true;
        node->image_old = false;
    }
}

/* One of a minority, which is then counted among the dead. */
bool roll_back(struct sim *sim, struct sim_node *node)
{
    struct sim_log log;

    if (!sim->options.rollback || sim->n_nodes < 3 || sim->membership ||
        sim->rolled_back || !node->up || !node->image_old) {
        return false;
    }
    load_crash(sim, node);
    sim_trace(sim, node, "is put back to term %lu last %lu", node->image.term,
              log_last(&node->image.log));
    log = node->durable.log;
    node->durable = node->image;
    node->durable.log = log;
    log_copy(&node->durable.log, &node->image.log);
    sim->rolled_back = true;
    return true;
}

bool roll_known(struct sim *sim, struct sim_node *node)
{
    bool below = roll_is_below(state_of(node), node->kept);

    if (!sim->options.rollback || !below ||
        sim->options.mutation == SIM_MUT_TRUST_ROLLED_BACK) {
        return false;
    }
    if (!sim->rolled_back) {
        sim_fail(sim, "node %u is taken for rolled back: term %lu last %lu, kept %lu %lu",
                 node->id, node->durable.term, state_of(node).index, node->kept.term,
                 node->kept.index);
    }
    sim_trace(sim, node, "is known as rolled back");
    sim->counts.quarantined++;
    node->epoch = 0; /* For ever: no restart of it is due. */
    sim->lost++;
    return true;
}
