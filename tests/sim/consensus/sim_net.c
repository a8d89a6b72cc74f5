#include "sim.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

void msg_free(struct sim_msg *msg)
{
    if (msg != NULL) {
        free(msg->entries);
        free(msg);
    }
}

static void fifo_put(struct sim_fifo *fifo, struct sim_msg *msg)
{
    msg->next = NULL;
    if (fifo->tail == NULL) {
        fifo->head = msg;
    } else {
        fifo->tail->next = msg;
    }
    fifo->tail = msg;
}

static struct sim_msg *fifo_get(struct sim_fifo *fifo)
{
    struct sim_msg *msg = fifo->head;

    fifo->head = msg->next;
    if (fifo->head == NULL) {
        fifo->tail = NULL;
    }
    return msg;
}

static void fifo_clear(struct sim_fifo *fifo)
{
    while (fifo->head != NULL) {
        msg_free(fifo_get(fifo));
    }
}

/* The entries of an APPEND are taken when it leaves, not when it was decided. False if
 * they are not there any more. */
static bool fill_entries(struct sim *sim, const struct sim_node *from,
                         struct sim_msg *msg)
{
    bool stale = from->role != RGROUP_LEADER || from->term != msg->raft.term;
    uint64_t i;

    if (stale && sim->options.mutation != SIM_MUT_STALE_SEND) {
        return false;
    }
    if (msg->raft.n == 0) {
        return true;
    }
    msg->entries = calloc(msg->raft.n, sizeof *msg->entries);
    ASSERT(msg->entries != NULL);
    for (i = 0; i < msg->raft.n; i++) {
        const struct sim_entry *entry = log_at(&from->log, msg->raft.index + 1 + i);

        if (entry == NULL) {
            return false;
        }
        msg->entries[i] = *entry;
    }
    return true;
}

static void put_on_wire(struct sim *sim, const struct sim_node *from, struct sim_msg *msg)
{
    struct sim_link *link = &sim->links[msg->from][msg->to];
    uint64_t due;

    sim->counts.messages++;
    roll_sent(&sim->nodes[msg->from], msg);
    if (link->cut || sim_below(sim, 1000000) < sim->loss_ppm ||
        (msg->kind == SIM_MSG_RAFT && msg->raft.type == RGROUP_MSG_APPEND &&
         (link->log_cut || !fill_entries(sim, from, msg)))) {
        msg_free(msg);
        return;
    }
    due = sim->now_us + 50 + sim_below(sim, sim->delay_us_max);
    if (sim_chance(sim, 1)) {
        due += sim_below(sim, 50000);
    }
    msg->due_us = due > link->last_due_us ? due : link->last_due_us + 1;
    link->last_due_us = msg->due_us;
    fifo_put(&link->wire, msg);
    sim_at_link(sim, msg->due_us, msg->from, msg->to);
}

static void link_release(struct sim *sim, struct sim_node *from, struct sim_link *link)
{
    while (link->gate.head != NULL && link->gate.head->need_seq <= from->seq_done) {
        put_on_wire(sim, from, fifo_get(&link->gate));
    }
}

void net_send(struct sim *sim, struct sim_node *from, struct sim_msg *msg)
{
    struct sim_link *link = &sim->links[from->id][msg->to];

    ASSERT(msg->to >= 1 && msg->to <= SIM_NODES_MAX && msg->to != from->id);
    msg->from = from->id;
    fifo_put(&link->gate, msg);
    link_release(sim, from, link);
}

void net_release(struct sim *sim, struct sim_node *from)
{
    uint32_t to;

    for (to = 1; to <= sim->n_nodes; to++) {
        link_release(sim, from, &sim->links[from->id][to]);
    }
}

void net_deliver(struct sim *sim, uint32_t from, uint32_t to)
{
    struct sim_link *link = &sim->links[from][to];
    struct sim_msg *msg;

    if (link->wire.head == NULL || link->wire.head->due_us > sim->now_us) {
        return; /* It was lost with its connection. */
    }
    msg = fifo_get(&link->wire);
    if (sim->nodes[to].up) {
        node_receive(sim, &sim->nodes[to], msg);
    }
    msg_free(msg);
}

void net_cut(struct sim *sim, uint32_t from, uint32_t to)
{
    struct sim_link *link = &sim->links[from][to];

    if (from != to) {
        link->cut = true;
        fifo_clear(&link->gate);
        fifo_clear(&link->wire);
        sim_at_lost(sim, from, to);
    }
}

void net_heal(struct sim *sim)
{
    uint32_t from;
    uint32_t to;

    for (from = 1; from <= sim->n_nodes; from++) {
        for (to = 1; to <= sim->n_nodes; to++) {
            sim->links[from][to].cut = false;
            sim->links[from][to].log_cut = false;
        }
    }
}

void net_reset_node(struct sim *sim, uint32_t id)
{
    uint32_t peer;

    for (peer = 1; peer <= SIM_NODES_MAX; peer++) {
        fifo_clear(&sim->links[id][peer].gate);
        fifo_clear(&sim->links[peer][id].wire);
        /* What the kernel already took may still arrive. */
        if (sim->links[id][peer].wire.head != NULL && sim_chance(sim, 50)) {
            fifo_clear(&sim->links[id][peer].wire);
        }
        if (peer != id && peer <= sim->n_nodes) {
            sim_at_lost(sim, id, peer);
        }
    }
}

void net_clear_node(struct sim *sim, uint32_t id)
{
    uint32_t peer;

    for (peer = 1; peer <= SIM_NODES_MAX; peer++) {
        fifo_clear(&sim->links[id][peer].gate);
        fifo_clear(&sim->links[id][peer].wire);
    }
}
