/*
 * Leases, with the decisions of raft/lease.c: leaders ping, members ask for read leases.
 * Nobody reads here; what is checked is what every use of a lease rests on: while one is
 * valid on its own clock, nobody leads in a later term.
 */
#include "sim.h"

#include "base/assert.h"

#include <stdlib.h>

static uint32_t length_ms(const struct sim *sim)
{
    return lease_length_ms(sim->election_ms);
}

static void send(struct sim *sim, struct sim_node *node, enum sim_msg_kind kind,
                 uint64_t to, const uint64_t *values)
{
    struct sim_msg *msg = calloc(1, sizeof *msg);

    ASSERT(msg != NULL);
    msg->kind = kind;
    msg->to = (uint32_t)to;
    msg->need_seq = node->meta_seq;
    for (uint32_t i = 0; i < 4; i++) {
        msg->lease[i] = values[i];
    }
    net_send(sim, node, msg);
}

void lease_boot(struct sim *sim, struct sim_node *node)
{
    struct rgroup_conf conf;

    node->lease = (struct lease){0};
    node->own = (struct lease_own){.number = prng_next(&sim->prng) >> 1};
    node->lease_wait_ms = 0;
    node->lease_pause_us = 0;
    rgroup_conf_now(node->group, &conf);
    if (conf.n > 1 && sim->options.mutation != SIM_MUT_NO_WAIT) {
        node->lease_wait_ms = node_clock_ms(sim, node) + lease_hold_ms(length_ms(sim));
    }
    sim_at(sim, 1000 + sim_below(sim, 20000), SIM_EV_LEASE, node->id, node->epoch);
}

void lease_role(struct sim_node *node)
{
    bool leads = node->role == RGROUP_LEADER;

    if (node->lease.term != (leads ? node->term : 0)) {
        lease_begin(&node->lease, leads ? node->term : 0);
    }
}

static uint64_t end_ms(const struct sim *sim, const struct sim_node *node)
{
    uint64_t now_ms = node_clock_ms(sim, node);
    struct rgroup_conf conf;

    if (!node->up || node->role != RGROUP_LEADER || now_ms < node->lease_wait_ms ||
        node->commit < rgroup_read_floor(node->group)) {
        return 0;
    }
    if (sim->options.mutation == SIM_MUT_LEASE_ALONE) {
        return now_ms + length_ms(sim);
    }
    rgroup_conf_now(node->group, &conf);
    return lease_end_ms(&node->lease, &conf, node->id, now_ms, length_ms(sim));
}

static void check_other(struct sim *sim, const struct sim_node *node,
                        const struct sim_node *other)
{
    uint64_t now_ms = node_clock_ms(sim, other);

    if (other == node || !other->up) {
        return;
    }
    if (other->lease.term < node->term && now_ms < end_ms(sim, other)) {
        sim_fail(sim, "lease: node %u leads term %lu while node %u of term %lu has one",
                 node->id, node->term, other->id, other->term);
    }
    if (other->own.term < node->term && lease_is_held(&other->own, now_ms)) {
        sim_fail(sim,
                 "read lease: node %u leads term %lu while node %u has one of term %lu",
                 node->id, node->term, other->id, other->own.term);
    }
}

void check_leases(struct sim *sim, const struct sim_node *node)
{
    if (node->role != RGROUP_LEADER || node_clock_ms(sim, node) < node->lease_wait_ms) {
        return;
    }
    for (uint32_t id = 1; id <= sim->n_nodes; id++) {
        check_other(sim, node, &sim->nodes[id]);
    }
}

bool lease_quiet(struct sim *sim, struct sim_node *leader)
{
    uint64_t now_ms = node_clock_ms(sim, leader);

    if (sim->options.mutation == SIM_MUT_LEASE_KEPT) {
        return true;
    }
    if (now_ms < leader->lease_wait_ms) {
        return false; /* What a life before granted may be out. */
    }
    if (lease_out(&leader->lease, now_ms) == 0) {
        return true;
    }
    leader->lease_pause_us = sim->now_us + 1000000;
    for (uint32_t i = 0; i < leader->lease.n_holders; i++) {
        uint64_t values[4] = {leader->term};

        leader->lease.holders[i].revoked = true;
        send(sim, leader, SIM_MSG_REVOKE, leader->lease.holders[i].id, values);
    }
    return false;
}

static void ping(struct sim *sim, struct sim_node *node)
{
    uint64_t values[4] = {node->term, 0, length_ms(sim)};
    struct rgroup_conf conf;

    values[1] = lease_ping(&node->lease, node_clock_ms(sim, node));
    rgroup_conf_now(node->group, &conf);
    for (uint32_t i = 0; i < conf.n; i++) {
        if (conf.servers[i].role == RGROUP_VOTER && conf.servers[i].id != node->id) {
            send(sim, node, SIM_MSG_PING, conf.servers[i].id, values);
        }
    }
}

void lease_timer(struct sim *sim, struct sim_node *node)
{
    uint64_t values[4] = {node->term};

    sim_at(sim, 1000 * (uint64_t)length_ms(sim) / 8 + sim_below(sim, 40000), SIM_EV_LEASE,
           node->id, node->epoch);
    check_leases(sim, node);
    if (node->role == RGROUP_LEADER) {
        ping(sim, node);
    } else if (node->leader != 0 && node->role == RGROUP_FOLLOWER) {
        values[1] =
            lease_ask(&node->own, node->term, node->leader, node_clock_ms(sim, node));
        send(sim, node, SIM_MSG_ASK, node->leader, values);
    }
}

/* Is a change in the log that is not applied yet? */
static bool change_pending(const struct sim_node *node)
{
    for (uint64_t i = log_last(&node->log); i > node->replayed; i--) {
        const struct sim_entry *entry = log_at(&node->log, i);

        if (entry != NULL && entry->type == RGROUP_CHANGE) {
            return true;
        }
    }
    return false;
}

static bool is_member(const struct sim_node *node, uint64_t id)
{
    struct rgroup_conf conf;

    rgroup_conf_now(node->group, &conf);
    for (uint32_t i = 0; i < conf.n; i++) {
        if (conf.servers[i].id == id) {
            return true;
        }
    }
    return false;
}

static void on_ask(struct sim *sim, struct sim_node *node, const struct sim_msg *msg)
{
    uint64_t now_ms = node_clock_ms(sim, node);
    uint64_t until_ms = end_ms(sim, node);
    uint64_t values[4] = {node->term, msg->lease[1]};
    struct lease_holder *holder = NULL;

    if (node->role == RGROUP_LEADER && msg->lease[0] == node->term &&
        until_ms > now_ms + 1 && is_member(node, msg->from) &&
        node->lease_pause_us <= sim->now_us &&
        (!change_pending(node) || sim->options.mutation == SIM_MUT_LEASE_KEPT)) {
        holder = lease_grant(&node->lease, msg->from, msg->lease[1], until_ms);
    }
    if (holder == NULL) {
        return;
    }
    rgroup_hold(node->group, holder->until_ms);
    values[2] = until_ms - now_ms - 1;
    sim->counts.leases++;
    send(sim, node, SIM_MSG_GRANT, msg->from, values);
}

static void on_ping(struct sim *sim, struct sim_node *node, const struct sim_msg *msg)
{
    if (node->role == RGROUP_FOLLOWER && node->leader == msg->from &&
        node->term == msg->lease[0]) {
        rgroup_hold(node->group, node_clock_ms(sim, node) + lease_hold_ms(msg->lease[2]));
        send(sim, node, SIM_MSG_PONG, msg->from, msg->lease);
    }
}

void lease_receive(struct sim *sim, struct sim_node *node, const struct sim_msg *msg)
{
    uint64_t values[4] = {node->own.term, node->own.number};

    switch (msg->kind) {
    case SIM_MSG_PING:
        on_ping(sim, node, msg);
        break;
    case SIM_MSG_PONG:
        if (node->role == RGROUP_LEADER && msg->lease[0] == node->term) {
            (void)lease_answer(&node->lease, msg->from, msg->lease[1]);
        }
        break;
    case SIM_MSG_ASK:
        on_ask(sim, node, msg);
        break;
    case SIM_MSG_GRANT:
        if (msg->lease[0] == node->own.term) {
            (void)lease_granted(&node->own, msg->lease[1], msg->lease[2], 0,
                                node_clock_ms(sim, node));
        }
        break;
    case SIM_MSG_REVOKE:
        if (msg->lease[0] == node->own.term) {
            lease_drop(&node->own);
            send(sim, node, SIM_MSG_RETURN, msg->from, values);
        }
        break;
    case SIM_MSG_RETURN:
        if (node->role == RGROUP_LEADER && msg->lease[0] == node->term) {
            lease_returned(&node->lease, msg->from, msg->lease[1]);
        }
        break;
    default:
        ASSERT_NEVER("another message of leases");
    }
}
