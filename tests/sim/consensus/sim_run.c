#include "sim.h"

#include "base/assert.h"

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALM_US_MAX = 60000000, END_US = 1000000 };

static jmp_buf failed;
static struct sim *running;

_Noreturn void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(sim->failure, sizeof sim->failure, format, args);
    va_end(args);
    longjmp(failed, 1);
}

/* The library's assertions, in place of libc's: a run that trips one has failed. */
_Noreturn void __assert_fail(const char *assertion, const char *file, unsigned line,
                             const char *function);
_Noreturn void __assert_fail(const char *assertion, const char *file, unsigned line,
                             const char *function)
{
    if (running == NULL) {
        abort();
    }
    sim_fail(running, "assertion of the library: %s:%u %s: %s", file, line, function,
             assertion);
}

/* Our own assertions end in abort. */
static void on_abort(int signal_number)
{
    (void)signal_number;
    if (running != NULL) {
        sim_fail(running, "assertion of ours");
    }
}

void sim_trace(const struct sim *sim, const struct sim_node *node, const char *format,
               ...)
{
    va_list args;

    if (!sim->options.trace) {
        return;
    }
    printf("%10.3f n%u ", (double)sim->now_us / 1e3, node->id);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    putchar('\n');
}

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return prng_below(&sim->prng, bound);
}

bool sim_chance(struct sim *sim, uint32_t percent)
{
    return prng_below(&sim->prng, 100) < percent;
}

uint64_t sim_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

void *sim_grow(void *array, uint64_t *cap, uint64_t need, size_t size)
{
    uint64_t grown = *cap == 0 ? 256 : *cap;

    if (need <= *cap) {
        return array;
    }
    while (grown < need) {
        grown *= 2;
    }
    array = realloc(array, grown * size);
    ASSERT(array != NULL);
    *cap = grown;
    return array;
}

uint32_t sim_conf_number(struct sim *sim, const uint8_t *bytes, size_t len)
{
    struct sim_conf *conf;
    uint64_t cap = sim->confs_cap;
    uint32_t i;

    ASSERT(len <= SIM_CONF_BYTES_MAX);
    for (i = sim->n_confs; i > 0; i--) {
        conf = &sim->confs[i - 1];
        if (conf->len == len && memcmp(conf->bytes, bytes, len) == 0) {
            return i - 1;
        }
    }
    sim->confs = sim_grow(sim->confs, &cap, sim->n_confs + 1, sizeof *sim->confs);
    sim->confs_cap = (uint32_t)cap;
    conf = &sim->confs[sim->n_confs];
    conf->len = len;
    conf->hash = 7;
    memcpy(conf->bytes, bytes, len);
    for (i = 0; i < len; i++) {
        conf->hash = conf->hash * 31 + bytes[i];
    }
    return sim->n_confs++;
}

struct sim_node *sim_leader(struct sim *sim)
{
    uint64_t from = sim_below(sim, sim->n_nodes);
    uint32_t i;

    for (i = 0; i < sim->n_nodes; i++) {
        struct sim_node *node = &sim->nodes[1 + (from + i) % sim->n_nodes];

        if (node->up && node->role == RGROUP_LEADER && node->frozen_us <= sim->now_us) {
            return node;
        }
    }
    return NULL;
}

static bool earlier(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

static void heap_push(struct sim *sim, struct sim_event event)
{
    uint64_t at = sim->heap_n;

    sim->heap = sim_grow(sim->heap, &sim->heap_cap, sim->heap_n + 1, sizeof *sim->heap);
    sim->heap_n++;
    event.order = sim->order++;
    while (at > 0 && earlier(&event, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = event;
}

static struct sim_event heap_pop(struct sim *sim)
{
    struct sim_event top = sim->heap[0];
    struct sim_event last;
    uint64_t at = 0;
    uint64_t child;

    ASSERT(sim->heap_n > 0);
    last = sim->heap[--sim->heap_n];
    while ((child = 2 * at + 1) < sim->heap_n) {
        if (child + 1 < sim->heap_n &&
            earlier(&sim->heap[child + 1], &sim->heap[child])) {
            child++;
        }
        if (!earlier(&sim->heap[child], &last)) {
            break;
        }
        sim->heap[at] = sim->heap[child];
        at = child;
    }
    sim->heap[at] = last;
    return top;
}

void sim_at(struct sim *sim, uint64_t delay_us, enum sim_event_kind kind, uint32_t node,
            uint64_t epoch)
{
    heap_push(
        sim,
        (struct sim_event){
            .at_us = sim->now_us + delay_us, .kind = kind, .node = node, .epoch = epoch});
}

void sim_at_link(struct sim *sim, uint64_t at_us, uint32_t from, uint32_t to)
{
    heap_push(sim, (struct sim_event){
                       .at_us = at_us, .kind = SIM_EV_LINK, .node = to, .peer = from});
}

void sim_at_lost(struct sim *sim, uint32_t from, uint32_t to)
{
    /* Some time that draws nothing from the seed. */
    uint64_t delay_us = 100 + (7 * from + 13 * to + sim->now_us) % 5000;

    heap_push(sim, (struct sim_event){.at_us = sim->now_us + delay_us,
                                      .kind = SIM_EV_LOST,
                                      .node = to,
                                      .peer = from});
}

static void event_of_node(struct sim *sim, const struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];

    if (event->kind == SIM_EV_LINK) {
        net_deliver(sim, event->peer, event->node);
        return;
    }
    if (event->kind == SIM_EV_LOST) {
        node_lost(sim, node, event->peer);
        return;
    }
    if (event->epoch != node->epoch) {
        return;
    }
    switch (event->kind) {
    case SIM_EV_TIMER:
        node_timer(sim, node);
        break;
    case SIM_EV_LEASE:
        lease_timer(sim, node);
        break;
    case SIM_EV_DISK:
        disk_done(sim, node);
        break;
    case SIM_EV_APPLY:
        node->apply_waits = false;
        node_apply(sim, node);
        break;
    case SIM_EV_PULL:
        node_pull(sim, node);
        break;
    case SIM_EV_CRASH:
        if (!sim->calm) {
            load_crash(sim, node);
        }
        break;
    case SIM_EV_RESTART:
        if (!node->up) {
            node_boot(sim, node);
        }
        break;
    default:
        ASSERT_NEVER("another event of a node");
    }
}

static void event_of_load(struct sim *sim, const struct sim_event *event)
{
    uint32_t id;

    switch (event->kind) {
    case SIM_EV_CLIENT:
        load_client(sim);
        break;
    case SIM_EV_READ:
        load_read(sim);
        break;
    case SIM_EV_ADMIN:
        load_admin(sim);
        break;
    case SIM_EV_SNAP:
        load_snapshot(sim);
        break;
    case SIM_EV_FAULT:
        load_fault(sim);
        break;
    case SIM_EV_ROLL:
        roll_event(sim);
        break;
    case SIM_EV_HEAL:
        net_heal(sim);
        for (id = 1; id <= sim->n_nodes; id++) {
            sim->nodes[id].slow_disk = false;
        }
        break;
    case SIM_EV_CALM:
        load_calm(sim);
        break;
    default:
        ASSERT_NEVER("another event of the load");
    }
}

static bool frozen(struct sim *sim, const struct sim_event *event)
{
    const struct sim_node *node = &sim->nodes[event->node];

    return event->node != 0 && event->kind != SIM_EV_RESTART && node->up &&
           node->frozen_us > sim->now_us;
}

/* The group's first members, with a first configuration; the others are empty. */
static void found_group(struct sim *sim, uint32_t voters)
{
    struct rgroup_conf conf = {.n = voters};
    uint8_t bytes[SIM_CONF_BYTES_MAX];
    struct sim_entry entry = {.term = 1, .type = RGROUP_CHANGE};
    size_t len;
    uint32_t id;

    for (id = 1; id <= voters; id++) {
        conf.servers[id - 1] = (struct rgroup_server){.id = id, .role = RGROUP_VOTER};
    }
    ASSERT(rgroup_conf_encode(&conf, bytes, sizeof bytes, &len) == 0);
    entry.conf = sim_conf_number(sim, bytes, len);
    entry.hash = sim->confs[entry.conf].hash;
    for (id = 1; id <= sim->n_nodes; id++) {
        struct sim_node *node = &sim->nodes[id];

        node->id = id;
        node->clock_base_ms = 1 + sim_below(sim, 1000000);
        /* At most half of what leases allow for between two (ADR 4). */
        node->clock_ppm = (int64_t)sim_below(sim, 10000) - 5000;
        if (sim->options.mutation == SIM_MUT_WILD_CLOCKS) {
            node->clock_ppm *= 50;
        }
        node->durable.log.first = 1;
        if (id <= voters) {
            node->durable.term = 1;
            log_add(&node->durable.log, &entry);
        }
    }
    for (id = 1; id <= sim->n_nodes; id++) {
        node_boot(sim, &sim->nodes[id]);
    }
}

static void set_up(struct sim *sim)
{
    static const uint32_t inflights[] = {4, 16, 32, 128, 512, RGROUP_ENTRIES_MAX};
    static const uint32_t sizes[] = {1, 2, 3, 3, 3, 4, 5, 5, 7};

    sim->n_nodes = sizes[sim_below(sim, sizeof sizes / sizeof sizes[0])];
    sim->membership = sim->n_nodes == 1 || sim_chance(sim, 50);
    if (sim->membership && sim->n_nodes < 3) {
        sim->n_nodes = 3;
    }
    sim->election_ms = sim_chance(sim, 50) ? 300 : 1000;
    sim->heartbeat_ms = sim->election_ms / 10;
    sim->inflight_max = inflights[sim_below(sim, sizeof inflights / sizeof inflights[0])];
    sim->slow_apply = sim_chance(sim, 30);
    sim->no_trailing = sim_chance(sim, 50);
    sim->busy = sim_chance(sim, 40);
    sim->dead_minority = !sim->membership && sim_chance(sim, 50);
    sim->loss_ppm = sim_chance(sim, 30) ? sim_below(sim, 150000) : 1000;
    sim->delay_us_max = sim_chance(sim, 20) ? 60000 : 3000;
    sim->now_us = 1000000;
    found_group(
        sim, sim->membership ? 1 + (uint32_t)sim_below(sim, sim->n_nodes) : sim->n_nodes);
    sim_at(sim, 1000, SIM_EV_CLIENT, 0, 0);
    sim_at(sim, 2000, SIM_EV_READ, 0, 0);
    sim_at(sim, 900000, SIM_EV_SNAP, 0, 0);
    sim_at(sim, 1200000, SIM_EV_ADMIN, 0, 0);
    sim_at(sim, 1500000, SIM_EV_FAULT, 0, 0);
    sim_at(sim, sim->options.seconds * UINT64_C(1000000), SIM_EV_CALM, 0, 0);
    if (sim->options.rollback) {
        sim_at(sim, 1100000, SIM_EV_ROLL, 0, 0);
    }
}

static void run(struct sim *sim)
{
    uint64_t end_us = 0;

    for (;;) {
        struct sim_event event = heap_pop(sim);

        sim->now_us = event.at_us > sim->now_us ? event.at_us : sim->now_us;
        if (frozen(sim, &event)) {
            event.at_us = sim->nodes[event.node].frozen_us;
            heap_push(sim, event);
        } else if (event.kind == SIM_EV_END) {
            if (check_end(sim, sim->now_us >= end_us)) {
                return;
            }
            sim_at(sim, END_US, SIM_EV_END, 0, 0);
        } else if (event.node != 0) {
            event_of_node(sim, &event);
        } else {
            event_of_load(sim, &event);
            if (event.kind == SIM_EV_CALM) {
                end_us = sim->now_us + CALM_US_MAX;
                sim_at(sim, END_US, SIM_EV_END, 0, 0);
            }
        }
    }
}

bool sim_run(struct sim *sim, const struct sim_options *options, uint64_t seed)
{
    bool ok = true;

    memset(sim, 0, sizeof *sim);
    sim->options = *options;
    sim->seed = seed;
    prng_seed(&sim->prng, seed);
    running = sim;
    (void)signal(SIGABRT, on_abort);
    if (setjmp(failed) == 0) {
        set_up(sim);
        run(sim);
    } else {
        ok = false;
    }
    running = NULL;
    return ok;
}

void sim_clear(struct sim *sim)
{
    uint32_t id;

    for (id = 1; id <= SIM_NODES_MAX; id++) {
        struct sim_node *node = &sim->nodes[id];

        if (!node->in_step) { /* Else it is broken: leave it. */
            rgroup_free(node->group);
        }
        while (node->ops != NULL) {
            struct sim_op *op = node->ops;

            node->ops = op->next;
            op_free(op);
        }
        log_free(&node->log);
        log_free(&node->durable.log);
        log_free(&node->image.log);
        net_clear_node(sim, id);
    }
    free(sim->heap);
    free(sim->confs);
    free(sim->commits);
    free(sim->leaders);
    free(sim->seen);
    free(sim->states);
}
