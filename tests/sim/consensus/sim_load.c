#include "sim.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

void load_client(struct sim *sim)
{
    struct rgroup_entry entries[64] = {0};
    struct rgroup_event event = {.type = RGROUP_EV_SUBMIT, .entries = entries};
    struct sim_node *node = sim_leader(sim);
    uint32_t i;

    sim_at(sim, (sim->busy ? 500 : 5000) + sim_below(sim, sim->busy ? 20000 : 60000),
           SIM_EV_CLIENT, 0, 0);
    if (node == NULL) {
        return;
    }
    event.n_entries = 1 + (uint32_t)sim_below(sim, sim_chance(sim, 10) ? 60 : 6);
    for (i = 0; i < event.n_entries; i++) {
        entries[i].type = RGROUP_COMMAND;
    }
    (void)node_step(sim, node, &event);
}

static void read_done(struct sim *sim, struct sim_node *node)
{
    node->probing = false;
    sim->counts.reads++;
    if (node->probe_commit < node->probe_need) {
        sim_fail(sim, "read index: node %u in term %lu reads at %lu after %lu was acked",
                 node->id, node->probe_term, node->probe_commit, node->probe_need);
    }
}

static bool read_quorum(const struct sim_node *node)
{
    struct rgroup_conf conf;
    uint32_t voters = 0;
    uint32_t acks = 0;
    uint32_t i;

    rgroup_conf_now(node->group, &conf);
    for (i = 0; i < conf.n; i++) {
        if (conf.servers[i].role == RGROUP_VOTER) {
            voters++;
            acks += node->probe_acks >> conf.servers[i].id & 1;
        }
    }
    return acks > voters / 2;
}

/* Raft thesis 6.4, with frames of our own: libraft's results carry no request. */
void load_read(struct sim *sim)
{
    struct sim_node *node = sim_leader(sim);
    struct rgroup_conf conf;
    uint32_t i;

    sim_at(sim, 1000 + sim_below(sim, 50000), SIM_EV_READ, 0, 0);
    if (node == NULL || (sim->options.mutation != SIM_MUT_NO_FLOOR &&
                         node->commit < rgroup_read_floor(node->group))) {
        return;
    }
    node->probing = true;
    node->probe++;
    node->probe_term = node->term;
    node->probe_commit = node->commit;
    node->probe_need = sim->acked;
    node->probe_acks = 1u << node->id;
    if (rgroup_is_sole_voter(node->group) || sim->options.mutation == SIM_MUT_NO_PROBE) {
        read_done(sim, node);
        return;
    }
    rgroup_conf_now(node->group, &conf);
    for (i = 0; i < conf.n; i++) {
        struct sim_msg *msg;

        if (conf.servers[i].role != RGROUP_VOTER || conf.servers[i].id == node->id) {
            continue;
        }
        msg = calloc(1, sizeof *msg);
        ASSERT(msg != NULL);
        msg->kind = SIM_MSG_PROBE;
        msg->to = (uint32_t)conf.servers[i].id;
        msg->need_seq = node->meta_seq;
        msg->probe = node->probe;
        msg->probe_term = node->term;
        net_send(sim, node, msg);
    }
}

void load_read_answer(struct sim *sim, struct sim_node *node, const struct sim_msg *msg)
{
    if (!node->probing || msg->probe != node->probe || node->role != RGROUP_LEADER ||
        node->term != msg->probe_term || node->probe_term != msg->probe_term) {
        return;
    }
    node->probe_acks |= 1u << msg->from;
    if (read_quorum(node)) {
        read_done(sim, node);
    }
}

static struct rgroup_server *find(struct rgroup_conf *conf, uint64_t id)
{
    uint32_t i;

    for (i = 0; i < conf->n; i++) {
        if (conf->servers[i].id == id) {
            return &conf->servers[i];
        }
    }
    return NULL;
}

/* A standby that has nearly everything; NULL if there is none. */
static struct rgroup_server *promotable(const struct sim_node *leader,
                                        struct rgroup_conf *conf)
{
    uint32_t i;

    for (i = 0; i < conf->n; i++) {
        uint64_t match;

        if (conf->servers[i].role == RGROUP_STANDBY &&
            rgroup_match_index(leader->group, conf->servers[i].id, &match) == 0 &&
            match + 4 > rgroup_last_index(leader->group)) {
            return &conf->servers[i];
        }
    }
    return NULL;
}

static void change_member(struct sim *sim, struct sim_node *leader)
{
    struct rgroup_event event = {.type = RGROUP_EV_CHANGE};
    uint64_t target = 1 + sim_below(sim, sim->n_nodes);
    struct rgroup_server *server;
    struct rgroup_conf conf;

    rgroup_conf_now(leader->group, &conf);
    server = promotable(leader, &conf);
    if (server != NULL && sim_chance(sim, 70)) {
        server->role = RGROUP_VOTER;
    } else if ((server = find(&conf, target)) == NULL) {
        conf.servers[conf.n].id = target;
        conf.servers[conf.n++].role = sim_chance(sim, 90) ? RGROUP_STANDBY : RGROUP_VOTER;
    } else if (server->role == RGROUP_VOTER && sim_chance(sim, 50)) {
        server->role = RGROUP_STANDBY;
    } else {
        memmove(server, server + 1,
                (size_t)(&conf.servers[conf.n] - (server + 1)) * sizeof *server);
        conf.n--;
    }
    event.conf = &conf;
    (void)node_step(sim, leader, &event);
}

void load_admin(struct sim *sim)
{
    struct rgroup_event event = {.type = RGROUP_EV_TRANSFER};
    struct sim_node *leader = sim_leader(sim);

    if (sim->calm) {
        return;
    }
    if (leader != NULL && !lease_quiet(sim, leader)) {
        sim_at(sim, sim_below(sim, 500000), SIM_EV_ADMIN, 0, 0);
        return;
    }
    sim_at(sim, 20000 + sim_below(sim, sim->membership ? 800000 : 2500000), SIM_EV_ADMIN,
           0, 0);
    if (leader == NULL) {
        return;
    }
    if (!sim->membership || sim_chance(sim, 20)) {
        event.target = sim_chance(sim, 50) ? 0 : 1 + sim_below(sim, sim->n_nodes);
        if (node_step(sim, leader, &event) == 0) {
            sim->counts.transfers++;
            if (sim->options.mutation != SIM_MUT_LEASE_KEPT) {
                lease_give_up(&leader->lease);
            }
        }
    } else {
        change_member(sim, leader);
    }
}

void load_snapshot(struct sim *sim)
{
    sim_at(sim, 20000 + sim_below(sim, 2000000), SIM_EV_SNAP, 0, 0);
    node_take_snapshot(sim, &sim->nodes[1 + sim_below(sim, sim->n_nodes)]);
}

void load_crash(struct sim *sim, struct sim_node *node)
{
    uint64_t down_us = sim_below(sim, sim_chance(sim, 50) ? 100000 : 6000000);

    if (node->up) {
        node_crash(sim, node);
        sim_at(sim, down_us, SIM_EV_RESTART, node->id, node->epoch);
    }
}

static void partition(struct sim *sim)
{
    uint64_t side = prng_next(&sim->prng);
    uint32_t a;
    uint32_t b;

    for (a = 1; a <= sim->n_nodes; a++) {
        for (b = 1; b <= sim->n_nodes; b++) {
            if ((side >> a & 1) != (side >> b & 1)) {
                net_cut(sim, a, b);
            }
        }
    }
}

void load_fault(struct sim *sim)
{
    uint32_t id = 1 + (uint32_t)sim_below(sim, sim->n_nodes);
    struct sim_node *node = &sim->nodes[id];
    struct sim_node *leader = sim_leader(sim);
    uint32_t other;

    if (sim->calm) {
        return;
    }
    sim_at(sim, 50000 + sim_below(sim, 2500000), SIM_EV_FAULT, 0, 0);
    if (leader != NULL && sim_chance(sim, 40)) {
        node = leader;
        id = node->id;
    }
    if (roll_back(sim, node)) {
        return;
    }
    switch (sim_below(sim, 10)) {
    case 0:
    case 1:
        load_crash(sim, node);
        break;
    case 2: /* Cut off. */
        for (other = 1; other <= sim->n_nodes; other++) {
            net_cut(sim, id, other);
            net_cut(sim, other, id);
        }
        break;
    case 3:
        partition(sim);
        break;
    case 4: /* One way. */
        net_cut(sim, id, 1 + (uint32_t)sim_below(sim, sim->n_nodes));
        break;
    case 5:
        node->slow_disk = true;
        break;
    case 6: /* A power cut. */
        for (other = 1; other <= sim->n_nodes; other++) {
            if (sim_chance(sim, 50)) {
                load_crash(sim, &sim->nodes[other]);
            }
        }
        break;
    case 7: /* It dies with its next term or vote on the way to a slow disk. */
        node->doomed = true;
        node->slow_disk = true;
        break;
    case 8: /* Its log connections hang, the others do not. */
        for (other = 1; other <= sim->n_nodes; other++) {
            sim->links[id][other].log_cut = sim_chance(sim, 70);
        }
        break;
    default: /* The lid is closed: it wakes up with its clock far ahead. */
        node->frozen_us = sim->now_us + 100000 + sim_below(sim, 5000000);
        break;
    }
    if (sim_chance(sim, 60)) {
        sim_at(sim, sim_below(sim, 4000000), SIM_EV_HEAL, 0, 0);
    }
}

void load_calm(struct sim *sim)
{
    uint32_t dead = sim->dead_minority ? (sim->n_nodes - 1) / 2 - sim->lost : 0;
    uint32_t id;

    sim->calm = true;
    sim->loss_ppm = 0;
    sim->delay_us_max = 3000;
    net_heal(sim);
    for (id = 1; id <= sim->n_nodes; id++) {
        sim->nodes[id].slow_disk = false;
        sim->nodes[id].frozen_us = 0;
        sim->nodes[id].doomed = false;
    }
    while (dead > 0) {
        struct sim_node *node = &sim->nodes[1 + sim_below(sim, sim->n_nodes)];

        if (node->up || node->epoch != 0) {
            node_crash(sim, node);
            node->epoch = 0; /* For ever: no restart of it is due. */
            dead--;
        }
    }
    for (id = 1; id <= sim->n_nodes; id++) {
        if (!sim->nodes[id].up && sim->nodes[id].epoch != 0) {
            node_boot(sim, &sim->nodes[id]);
        }
    }
    sim->calm_commit = sim->commits_n;
    sim_trace(sim, &sim->nodes[1], "calm from here on");
}
