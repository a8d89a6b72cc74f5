/* What goes wrong, and when. */
#include "sys.h"

#include <errno.h>

static uint64_t end_us;

bool sys_with(const struct sys *sys, enum sys_kind kind)
{
    /* Where a disk rots, every other copy is needed to be there, and good. */
    if (sys->rotten != 0 && (kind == SYS_KIND_MEMBERS || kind == SYS_KIND_DAMAGE)) {
        return false;
    }
    return (sys->options.without >> kind & 1) == 0;
}

static struct sys_node *some_node(struct sys *sys)
{
    return &sys->nodes[1 + sys_rand(sys, SYS_NODES)];
}

static void break_link(struct sys *sys)
{
    uint64_t a = 1 + sys_rand(sys, SYS_NODES);
    uint64_t b = 1 + sys_rand(sys, SYS_NODES);

    if (a != b) {
        sys->counts.link_faults++;
        sys_net_break(sys, a, b);
    }
}

/* One direction of a pair, or all of a node's in or out. */
static void stall(struct sys *sys)
{
    uint64_t a = 1 + sys_rand(sys, SYS_NODES);
    uint64_t until_us = sys->now_us + sys_rand(sys, 3000 * SYS_US);
    bool all = sys_chance(sys, 2);
    bool out = sys_chance(sys, 2);
    bool log = sys_chance(sys, 3);
    uint64_t only = 1 + sys_rand(sys, SYS_NODES);

    for (uint64_t b = 1; b <= SYS_NODES; b++) {
        if (b != a && (all || b == only)) {
            struct sys_link *link = a < b ? &sys->links[a][b] : &sys->links[b][a];

            (log ? link->log_stalled_us : link->stalled_us)[(a < b) == out ? 0 : 1] =
                until_us;
            sys->counts.link_faults++;
            sys_trace(sys, "net %u %s %u stalls until %u%s", (unsigned)a,
                      out ? "to" : "from", (unsigned)b, (unsigned)(until_us / SYS_US),
                      log ? ", the log" : "");
        }
    }
}

static void mend(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    (void)ptr;
    (void)b;
    for (uint64_t other = 1; other <= SYS_NODES; other++) {
        if (other != a) {
            struct sys_link *link =
                a < other ? &sys->links[a][other] : &sys->links[other][a];

            link->cut = false;
        }
    }
}

static void isolate(struct sys *sys)
{
    uint64_t a = 1 + sys_rand(sys, 3);

    for (uint64_t other = 1; other <= SYS_NODES; other++) {
        if (other != a && (other != SYS_NODES || sys_chance(sys, 2))) {
            struct sys_link *link =
                a < other ? &sys->links[a][other] : &sys->links[other][a];

            link->cut = true;
            sys_net_break(sys, a, other);
        }
    }
    sys->counts.link_faults++;
    sys_in(sys, sys_rand(sys, 4000 * SYS_US), (struct sys_event){.fn = mend, .a = a});
}

static void crash_all(struct sys *sys)
{
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys_node_halt(&sys->nodes[number], true);
    }
}

static void crash_soon(struct sys *sys)
{
    struct sys_node *node = some_node(sys);

    if (node->up) {
        simdisk_power_off_after(node->disk, 1 + sys_rand(sys, 40));
    }
}

/* A disk that goes on being slow, or stands still for seconds: up to half a minute, or
 * until the faults are over. */
static void slow_disk(struct sys *sys)
{
    struct sys_node *node = some_node(sys);

    if (!sys_with(sys, SYS_KIND_SLOW) || sys_chance(sys, 3)) {
        node->slow_us = sys->now_us + sys_rand(sys, 2000 * SYS_US);
        return;
    }
    if (sys_chance(sys, 2)) {
        node->slower_us = node->slower_us > 0 ? 0 : sys_rand(sys, 150 * SYS_US);
        sys->counts.slow_disks += node->slower_us > 0;
        sys_trace(sys, "node %u: each call takes %u ms more", (unsigned)node->number,
                  (unsigned)(node->slower_us / SYS_US));
    } else {
        node->still_us =
            sys->now_us + sys_rand(sys, (sys_chance(sys, 3) ? 30000 : 5000) * SYS_US);
        sys->counts.still_disks++;
        sys_trace(sys, "node %u: its disk stands still until %u", (unsigned)node->number,
                  (unsigned)(node->still_us / SYS_US));
    }
}

static void tell_sleep(struct sys *sys, struct sys_node *node, bool awake)
{
    for (uint32_t zone_nr = 0; node->up && zone_nr < sys->n_zones; zone_nr++) {
        struct sys_host *host = node->hosts[zone_nr];
        struct replica_event event = {.type = REPLICA_EV_SLEEP, .up = awake};

        if (host != NULL && host->replica != NULL) {
            sys_host_step(host, &event);
        }
    }
}

static void fall_asleep(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a];

    (void)ptr;
    node->asleep_us = b;
    sys_trace(sys, "node %u sleeps until %u", (unsigned)node->number,
              (unsigned)(node->asleep_us / SYS_US));
}

static void awake(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a];

    (void)ptr;
    if (!sys_node_sleeps(node, (struct sys_event){.fn = awake, .a = a, .b = b})) {
        tell_sleep(sys, node, true);
    }
}

/* Without a warning, or as a laptop does it: its members hear of it some time before, which
 * may be too short, and once it is awake, not always at once. */
static void sleep_node(struct sys *sys)
{
    struct sys_node *node = some_node(sys);
    uint64_t until_us = sys->now_us + sys_rand(sys, 2500 * SYS_US);

    if (!sys_chance(sys, 2)) {
        fall_asleep(sys, NULL, node->number, until_us);
        return;
    }
    sys_trace(sys, "node %u is about to sleep", (unsigned)node->number);
    sys->counts.sleeps_told++;
    tell_sleep(sys, node, false);
    sys_in(sys, sys_rand(sys, 400 * SYS_US),
           (struct sys_event){.fn = fall_asleep, .a = node->number, .b = until_us});
    sys_at(sys, until_us + sys_rand(sys, 1000 * SYS_US),
           (struct sys_event){.fn = awake, .a = node->number});
}

static void jump(struct sys *sys)
{
    struct sys_node *node = some_node(sys);

    sys_clock_jump(node); /* What it showed counts, too. */
    node->wall_ns += ((int64_t)sys_rand(sys, 20000) - 10000) * 1000000;
    if (sys->options.mutation == SYS_MUT_WILD_CLOCKS && sys_chance(sys, 2)) {
        node->clock_ms += sys_rand(sys, 2000); /* What CLOCK_BOOTTIME never does. */
    }
}

static void transfer(struct sys *sys)
{
    uint32_t zone_nr = (uint32_t)sys_rand(sys, sys->n_zones);

    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        struct sys_host *host = sys->nodes[number].hosts[zone_nr];
        struct replica_event event = {.type = REPLICA_EV_TRANSFER, .token = 1};
        struct replica_status status;

        if (host == NULL || host->replica == NULL || !sys->nodes[number].up) {
            continue;
        }
        replica_status(host->replica, sys_node_ms(host->node), &status);
        if (status.state == RGROUP_LEADER) {
            sys->counts.transfers++;
            sys_host_step(host, &event);
        }
    }
}

/* The disk refuses a call: what then fails, stops; the node is restarted. */
static void disk_error(struct sys *sys)
{
    struct sys_node *node = some_node(sys);

    if (node->up) {
        node->broken = true;
        sys->counts.disk_faults++;
        simdisk_fail(node->disk, (enum simdisk_op)sys_rand(sys, SIMDISK_OPS),
                     1 + sys_rand(sys, 30), -EIO, sys_chance(sys, 2));
        sys_trace(sys, "node %u: its disk will fail", (unsigned)node->number);
    }
}

static void make_room(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a];

    (void)ptr;
    if (node->epoch == b && node->full) {
        node->full = false;
        simdisk_set_capacity(node->disk, 0);
        sys_trace(sys, "node %u: its disk has room", (unsigned)node->number);
    }
}

/* The disk is full for some seconds. That stops nothing for good. */
static void full_disk(struct sys *sys)
{
    struct sys_node *node = some_node(sys);

    if (node->up && !node->full) {
        node->full = true;
        sys->counts.full_disks++;
        simdisk_set_capacity(node->disk,
                             simdisk_used(node->disk) + 1 + sys_rand(sys, 1 << 18));
        sys_trace(sys, "node %u: its disk fills up", (unsigned)node->number);
        sys_in(sys, sys_rand(sys, 3000 * SYS_US),
               (struct sys_event){.fn = make_room, .a = node->number, .b = node->epoch});
    }
}

/* One member of a zone changes its role: voter to stand-by, or back. */
static void change_role(struct sys *sys)
{
    uint32_t zone_nr = (uint32_t)sys_rand(sys, sys->n_zones);
    uint64_t whose = sys_rand(sys, 8);

    if (sys->zones[zone_nr].damaged != 0) {
        return; /* The others must be able to do without that one. */
    }
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        struct sys_host *host = sys->nodes[number].hosts[zone_nr];
        struct rgroup_conf conf = {0};
        struct replica_event event = {
            .type = REPLICA_EV_CHANGE, .token = 1, .conf = &conf};
        struct replica_status status;

        if (host == NULL || host->replica == NULL || !sys->nodes[number].up) {
            continue;
        }
        replica_status(host->replica, sys_node_ms(host->node), &status);
        if (status.state != RGROUP_LEADER) {
            continue;
        }
        conf.n = status.n_members;
        for (uint32_t i = 0; i < conf.n; i++) {
            enum rgroup_role role = status.members[i].role;

            if (i == whose % conf.n) {
                role = role == RGROUP_VOTER ? RGROUP_STANDBY : RGROUP_VOTER;
            }
            conf.servers[i] =
                (struct rgroup_server){.id = status.members[i].id, .role = role};
        }
        sys->counts.changes++;
        sys_host_step(host, &event);
    }
}

static void rare_fault(struct sys *sys)
{
    switch (sys_rand(sys, 5)) {
    case 0:
    case 1:
        if (sys_with(sys, SYS_KIND_TRAPS)) {
            sys_point_trap(sys);
        }
        break;
    case 2:
    case 3:
        if (sys_with(sys, SYS_KIND_MEMBERS)) {
            sys_members_fault(sys);
        }
        break;
    default:
        if (sys_with(sys, SYS_KIND_DAMAGE)) {
            sys_damage(sys);
        }
        break;
    }
}

/* Without what always was. */
static void other_fault(struct sys *sys)
{
    if (sys_with(sys, SYS_KIND_SLOW) && sys_chance(sys, 2)) {
        slow_disk(sys);
    } else {
        rare_fault(sys);
    }
}

static void one_fault(struct sys *sys)
{
    switch (sys_rand(sys, 26)) {
    case 0:
    case 1:
        break_link(sys);
        break;
    case 2:
    case 3:
    case 4:
        stall(sys);
        break;
    case 5:
        isolate(sys);
        break;
    case 6:
    case 7:
        sys_node_halt(some_node(sys), true);
        break;
    case 8:
    case 9:
        crash_soon(sys);
        break;
    case 10:
        sys_node_halt(some_node(sys), false);
        break;
    case 11:
        if (sys_chance(sys, 2)) {
            crash_all(sys);
        }
        break;
    case 12:
        slow_disk(sys);
        break;
    case 13:
        sleep_node(sys);
        break;
    case 14:
        jump(sys);
        break;
    case 15:
        disk_error(sys);
        break;
    case 19:
    case 20:
        full_disk(sys);
        break;
    case 16:
    case 17:
        change_role(sys);
        break;
    case 21:
    case 22:
    case 23:
    case 24:
    case 25:
        rare_fault(sys);
        break;
    default:
        transfer(sys);
        break;
    }
}

static void fault(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    (void)ptr;
    (void)a;
    (void)b;
    if (sys->now_us >= end_us) {
        return;
    }
    if (sys->options.trap != SYS_AT_REST) {
        sys_point_trap(sys);
    }
    if (sys_with(sys, SYS_KIND_BASE)) {
        one_fault(sys);
    } else {
        other_fault(sys);
    }
    sys_in(sys, sys_rand(sys, 700 * SYS_US), (struct sys_event){.fn = fault});
}

void sys_faults_start(struct sys *sys, uint64_t until_us)
{
    end_us = until_us;
    sys_in(sys, sys_rand(sys, 1500 * SYS_US), (struct sys_event){.fn = fault});
}
