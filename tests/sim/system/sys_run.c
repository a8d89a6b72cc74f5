/* One seed: boot, faults, calm, checks. */
#include "sys.h"

#include "base/assert.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#define CALM_MS_MAX 20000u
#define ROTTEN_MS_MAX 80000u /* Blocks without a good copy are given up after 8 s each. */
#define UNLINKED_S 1000      /* More than unlinked files stay, and clocks differ. */

static void make_zones(struct sys *sys)
{
    sys->n_zones = 1 + (uint32_t)sys_rand(sys, SYS_ZONES);
    for (uint32_t z = 0; z < sys->n_zones; z++) {
        struct sys_zone *zone = &sys->zones[z];
        uint64_t nodes[3];
        uint32_t n = z == 0 ? 3 : 1 + (uint32_t)sys_rand(sys, 3);

        memcpy(zone->id, "sim-zone-", 9);
        zone->id[9] = (uint8_t)('0' + z);
        for (uint32_t i = 0; i < n; i++) {
            nodes[i] = 1 + (i + z) % 3;
        }
        sys_members_init(zone, nodes, n);
    }
}

static bool idle(struct sys *sys)
{
    for (uint32_t i = 0; i < SYS_CLIENTS; i++) {
        if (sys->clients[i].busy) {
            return false;
        }
    }
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        if (!sys->nodes[number].up) {
            return false;
        }
    }
    return true;
}

/* Nobody asks any more, all nodes are up, and all members of a zone are at one index. */
static bool quiet(struct sys *sys)
{
    if (!idle(sys)) {
        return false;
    }
    for (uint32_t z = 0; z < sys->n_zones; z++) {
        uint64_t first = 0;

        if (!sys_members_quiet(sys, z)) {
            return false;
        }
        for (uint64_t number = 1; number <= SYS_NODES; number++) {
            struct sys_host *host = sys->nodes[number].hosts[z];
            struct replica_status status;

            if (host == NULL) {
                continue;
            }
            if (host->failed || host->replica == NULL) {
                return false;
            }
            replica_status(host->replica, sys_node_ms(host->node), &status);
            first = first == 0 ? status.applied_index : first;
            if (status.leader == 0 || status.pulling || status.transferring ||
                status.applied_index != first ||
                status.applied_index != status.last_index ||
                status.commit_index != status.applied_index || host->settling ||
                !sys_heal_quiet(host) || zone_applied_index(host->zone) != first) {
                return false;
            }
        }
    }
    return true;
}

/* And no zone waits for time to pass. */
static bool over(struct sys *sys)
{
    if (!quiet(sys)) {
        return false;
    }
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        for (uint32_t z = 0; z < sys->n_zones; z++) {
            struct sys_host *host = sys->nodes[number].hosts[z];
            int64_t due_ns = 0;

            if (host != NULL && (zone_due(host->zone, &due_ns) != 0 || due_ns != 0)) {
                return false;
            }
        }
    }
    return true;
}

static void calm(struct sys *sys)
{
    sys->calm = true;
    sys->calm_us = sys->now_us;
    sys_trace(sys, "calm");
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        if (sys->nodes[number].broken) {
            sys_node_halt(&sys->nodes[number], true);
        }
    }
    sys_net_heal(sys);
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys->nodes[number].asleep_us = 0;
        sys->nodes[number].slow_us = 0;
        sys->nodes[number].slower_us = 0;
        sys->nodes[number].still_us = 0;
        sys->nodes[number].trap = SYS_AT_REST;
        sys->nodes[number].full = false;
        simdisk_set_capacity(sys->nodes[number].disk, 0);
        simdisk_power_off_after(sys->nodes[number].disk, 0);
        for (int op = 0; op < SIMDISK_OPS; op++) {
            simdisk_fail(sys->nodes[number].disk, (enum simdisk_op)op, 0, -EIO, false);
        }
    }
}

/* What nobody read is found, and healed before the end. */
static void scrub_rotten(struct sys *sys)
{
    for (uint32_t z = 0; z < sys->n_zones && sys->rotten != 0; z++) {
        for (uint64_t number = 1; number <= SYS_NODES; number++) {
            if (sys->nodes[number].up && sys->nodes[number].hosts[z] != NULL) {
                (void)sys_heal_scrub(sys->nodes[number].hosts[z]);
            }
        }
    }
}

/* What was unlinked is past its time, and nobody writes: it goes all the same. */
static void pass_wall_time(struct sys *sys)
{
    int64_t pass_ns = UNLINKED_S * INT64_C(1000000000) + sys_clock_ahead_ns(sys);

    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys->nodes[number].wall_ns += pass_ns;
    }
}

static uint64_t calm_ms(const struct sys *sys)
{
    return sys->rotten != 0 ? ROTTEN_MS_MAX : CALM_MS_MAX;
}

static void say_why(struct sys *sys)
{
    for (uint32_t i = 0; i < SYS_CLIENTS; i++) {
        if (sys->clients[i].busy) {
            sys_trace(sys, "client %u waits for op %u", i,
                      (unsigned)sys->clients[i].op_nr);
        }
    }
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        for (uint32_t z = 0; z < sys->n_zones; z++) {
            struct sys_host *host = sys->nodes[number].hosts[z];
            struct replica_status s;
            int64_t due_ns = 0;

            if (host == NULL || host->replica == NULL || !sys->nodes[number].up) {
                continue;
            }
            replica_status(host->replica, sys_node_ms(host->node), &s);
            (void)zone_due(host->zone, &due_ns);
            sys_trace(sys, "n%u z%u zone time %.3f s, due %.3f s, clock %.3f s, heals %d",
                      (unsigned)number, z, (double)zone_time_ns(host->zone) / 1e9,
                      (double)due_ns / 1e9, (double)sys->nodes[number].wall_ns / 1e9,
                      !sys_heal_quiet(host));
            sys_trace(sys,
                      "n%u z%u state %d term %u leader %u first %u last %u commit %u "
                      "applied %u pulling %d settling %d journal %u",
                      (unsigned)number, z, s.state, (unsigned)s.term, (unsigned)s.leader,
                      (unsigned)s.first_index, (unsigned)s.last_index,
                      (unsigned)s.commit_index, (unsigned)s.applied_index, s.pulling,
                      host->settling, (unsigned)journal_bytes(host->journal));
        }
    }
    sys_fail(sys, "not at rest %u s after the last fault",
             (unsigned)(calm_ms(sys) / 1000));
}

bool sys_run(struct sys *sys, const struct sys_options *options, uint64_t seed)
{
    uint64_t end_us = options->seconds * 1000 * SYS_US;

    memset(sys, 0, sizeof *sys);
    sys->seed = seed;
    sys->options = *options;
    sys_rot_choose(sys);
    sys_recover_choose(sys);
    prng_seed(&sys->prng, seed);
    (void)sqlite3_test_control(SQLITE_TESTCTRL_PRNG_SEED, (int)(seed & 0x7fffffff) | 1,
                               NULL);
    sys->frame_delay_us =
        200 + (uint32_t)sys_rand(sys, sys_chance(sys, 3) ? 20000 : 2000);
    sys->think_us = (sys_chance(sys, 3) ? 15 : 70) * (uint32_t)SYS_US;
    sys->journal_bytes = (sys_chance(sys, 2) ? 900u : 1536u) << 10;
    sys->apply_wait_ms = sys_chance(sys, 2) ? 20 : 0;
    sys->leases = options->mutation >= SYS_MUT_LEASE_ALONE || !sys_chance(sys, 8);
    if (sys_with(sys, SYS_KIND_SMALL) && sys_chance(sys, 2)) {
        sys->window_bytes = 16384u << sys_rand(sys, 5);
        sys->cache_bytes = 16384u << sys_rand(sys, 6);
        sys->pending_bytes = 262144u << sys_rand(sys, 4);
    }
    if (sys_with(sys, SYS_KIND_FRAMES) && sys_chance(sys, 2)) {
        sys->frames_each = 100u << sys_rand(sys, 7);
    }
    make_zones(sys);
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys_node_init(sys, number);
    }
    sys_clock_init(sys);
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys_node_boot(&sys->nodes[number]);
    }
    sys_net_start(sys);
    sys_clients_start(sys);
    sys_members_start(sys);
    sys_faults_start(sys, end_us);
    sys_recover_start(sys, end_us);
    sys_rot_start(sys);
    sys_go(sys, end_us, NULL);
    calm(sys);
    sys_go(sys, sys->now_us + 6000 * SYS_US, NULL);
    scrub_rotten(sys);
    sys->stop = true;
    sys_go(sys, end_us + calm_ms(sys) * SYS_US, quiet);
    pass_wall_time(sys);
    sys_go(sys, end_us + calm_ms(sys) * SYS_US, over);
    if (!sys->failing && !over(sys)) {
        say_why(sys);
    }
    if (!sys->failing) {
        sys_check_all(sys);
    }
    return !sys->failing;
}

/* What is still to come is carried out for nodes that are gone: it frees what it holds. */
static void drain(struct sys *sys)
{
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys->nodes[number].epoch += 2;
        sys->nodes[number].up = false;
    }
    sys->stop = true;
    for (uint32_t i = 0; i < sys->n_events; i++) {
        struct sys_event *event = &sys->events[i];

        if (event->frees) {
            event->fn(sys, event->ptr, event->a, event->b);
        }
    }
}

void sys_clear(struct sys *sys)
{
    bool up[SYS_NODES + 1];

    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        up[number] = sys->nodes[number].up;
    }
    drain(sys);
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys->nodes[number].up = up[number];
    }
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys_node_free(&sys->nodes[number]);
    }
    sys_net_clear(sys);
    for (uint32_t z = 0; z < SYS_ZONES; z++) {
        for (uint64_t i = 0; i < sys->zones[z].cap_log; i++) {
            slice_unref(&sys->zones[z].log[i].head);
            slice_unref(&sys->zones[z].log[i].payload);
        }
        free(sys->zones[z].log);
        buf_unref(sys->zones[z].leap.conf);
        free(sys->zones[z].leap.torn);
    }
    for (uint64_t i = 0; i < sys->n_ops; i++) {
        slice_unref(&sys->ops[i].op);
        slice_unref(&sys->ops[i].payload);
        slice_unref(&sys->ops[i].result);
        slice_unref(&sys->ops[i].data);
    }
    free(sys->ops);
    free(sys->events);
    memset(sys, 0, sizeof *sys);
}
