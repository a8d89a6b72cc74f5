#include "sim.h"

#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

struct sim_entry *log_at(const struct sim_log *log, uint64_t index)
{
    if (index < log->first || index >= log->first + log->n) {
        return NULL;
    }
    return &log->entries[index - log->first];
}

uint64_t log_last(const struct sim_log *log)
{
    return log->first + log->n - 1;
}

void log_cut_from(struct sim_log *log, uint64_t index)
{
    if (index < log->first) {
        log->n = 0;
    } else if (index - log->first < log->n) {
        log->n = index - log->first;
    }
}

void log_cut_below(struct sim_log *log, uint64_t first)
{
    uint64_t drop;

    if (first <= log->first) {
        return;
    }
    drop = first - log->first < log->n ? first - log->first : log->n;
    memmove(log->entries, log->entries + drop, (log->n - drop) * sizeof *log->entries);
    log->n -= drop;
    log->first = first;
}

void log_add(struct sim_log *log, const struct sim_entry *entry)
{
    log->entries = sim_grow(log->entries, &log->cap, log->n + 1, sizeof *log->entries);
    log->entries[log->n++] = *entry;
}

void log_reset(struct sim_log *log, uint64_t first)
{
    log->first = first;
    log->n = 0;
}

void log_copy(struct sim_log *to, const struct sim_log *from)
{
    uint64_t i;

    log_reset(to, from->first);
    for (i = 0; i < from->n; i++) {
        log_add(to, &from->entries[i]);
        to->entries[i].seq = 0;
    }
}

void log_free(struct sim_log *log)
{
    free(log->entries);
    memset(log, 0, sizeof *log);
}

static uint64_t write_us(struct sim *sim, const struct sim_node *node)
{
    uint64_t us = 100 + sim_below(sim, 2000);

    if (node->slow_disk) {
        us = 5000 + sim_below(sim, 400000);
    } else if (sim_chance(sim, 2)) {
        us += sim_below(sim, 200000);
    }
    return us;
}

/* One batch is being written; what comes meanwhile makes up the next one. */
struct sim_op *disk_write(struct sim *sim, struct sim_node *node, enum sim_op_kind kind)
{
    struct sim_op *op = calloc(1, sizeof *op);

    ASSERT(op != NULL);
    op->kind = kind;
    op->seq = ++node->seq;
    if (node->batch_us <= sim->now_us) {
        node->batch_us = node->batch_next_us;
        node->batch_next_us = 0;
    }
    if (node->batch_us <= sim->now_us) {
        node->batch_us = sim->now_us + write_us(sim, node);
        op->done_us = node->batch_us;
    } else {
        if (node->batch_next_us == 0) {
            node->batch_next_us = node->batch_us + write_us(sim, node);
        }
        op->done_us = node->batch_next_us;
    }
    *node->ops_tail = op;
    node->ops_tail = &op->next;
    sim_at(sim, op->done_us - sim->now_us, SIM_EV_DISK, node->id, node->epoch);
    return op;
}

void op_free(struct sim_op *op)
{
    free(op->entries);
    free(op);
}

static void op_apply(struct sim *sim, struct sim_node *node, const struct sim_op *op)
{
    struct sim_log *log = &node->durable.log;
    const struct sim_entry *prev;
    uint64_t i;

    switch (op->kind) {
    case SIM_OP_META:
        node->durable.term = op->term;
        node->durable.vote = op->vote;
        break;
    case SIM_OP_APPEND:
        log_cut_from(log, op->index);
        if (op->index != log_last(log) + 1) {
            sim_fail(sim, "node %u: journal has a gap before %lu", node->id, op->index);
        }
        for (i = 0; i < op->n; i++) {
            prev = log_at(log, op->index + i - 1);
            check_entry(sim, node, op->index + i, &op->entries[i],
                        prev == NULL ? 0 : prev->term);
            log_add(log, &op->entries[i]);
        }
        break;
    case SIM_OP_SNAP:
        node->durable.snap = op->snap;
        break;
    case SIM_OP_BASE:
        log_reset(log, op->index + 1);
        break;
    case SIM_OP_COMPACT:
        log_cut_below(log, op->index + 1);
        break;
    }
}

static struct sim_op *op_pop(struct sim_node *node)
{
    struct sim_op *op = node->ops;

    node->ops = op->next;
    if (node->ops == NULL) {
        node->ops_tail = &node->ops;
    }
    return op;
}

void disk_done(struct sim *sim, struct sim_node *node)
{
    uint64_t epoch = node->epoch;

    while (node->ops != NULL && node->ops->done_us <= sim->now_us) {
        struct sim_op *op = op_pop(node);

        op_apply(sim, node, op);
        node->seq_done = op->seq;
        node_written(sim, node, op);
        op_free(op);
        if (node->epoch != epoch) {
            return;
        }
    }
    node_report(sim, node);
    net_release(sim, node);
    if (node->renew && node->ops == NULL) {
        node->renew = false;
        node_crash(sim, node);
        node_boot(sim, node);
    }
}

void disk_crash(struct sim *sim, struct sim_node *node)
{
    bool kept = true;

    while (node->ops != NULL) {
        struct sim_op *op = op_pop(node);

        kept = kept && sim_chance(sim, 40);
        if (kept) {
            op_apply(sim, node, op);
        }
        op_free(op);
    }
}
