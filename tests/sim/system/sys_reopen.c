/*
 * A member whose disk gave an error is closed, and opened anew in the same life of its node,
 * as the daemon does (daemon/node_retry.c). No power was lost: what a failed sync lost is
 * still read as if it were on the disk, and goes with the next cut.
 */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <errno.h>

#define CLOSE_US (200 * SYS_US)
#define OPEN_US (1500 * SYS_US)
#define WELL_US (2000 * SYS_US) /* No job that met the error is under way any more. */

static void repair(struct sys_node *node)
{
    for (int op = 0; op < SIMDISK_OPS; op++) {
        simdisk_fail(node->disk, (enum simdisk_op)op, 0, -EIO, false);
    }
}

static uint64_t name_of(const struct sys_node *node, uint32_t zone_nr)
{
    return node->number << 8 | zone_nr;
}

static void open_soon(struct sys_node *node, uint32_t zone_nr);

/* Who waits hears of it, as when the daemon's host fails. */
static void abandon(struct sys_host *host)
{
    struct replica_event event = {.type = REPLICA_EV_ABANDON,
                                  .now_ms = sys_node_ms(host->node)};
    struct replica_actions actions = {0};

    if (host->replica != NULL) {
        (void)replica_step(host->replica, &event, &actions);
        sys_host_actions(host, &actions);
    }
    while (host->asks != NULL) {
        /* A read under way, or what came after the fault. */
        sys_host_answer(host->asks, host->asks->is_read ? OUT_TRY_LATER : OUT_NOT_LEADER,
                        0, (struct slice){0}, (struct slice){0});
    }
}

static void close_failed(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 8];
    uint32_t zone_nr = a & 0xff;
    struct sys_host *host = node->hosts[zone_nr];

    (void)ptr;
    if (!node->up || host == NULL || host->serial != b ||
        sys_node_sleeps(node, (struct sys_event){.fn = close_failed, .a = a, .b = b})) {
        return;
    }
    ASSERT(host->failed);
    sys_trace(sys, "n%u z%u is closed, to be opened anew", (unsigned)node->number,
              zone_nr);
    abandon(host);
    node->hosts[zone_nr] = NULL;
    sys_host_close(host);
    if (!sys_node_lost_power(node)) {
        node->reopens[zone_nr] = true;
        open_soon(node, zone_nr);
    }
}

/* The disk is well: from here on an error would be somebody's fault. */
static void well(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a];

    (void)ptr;
    if (!node->up || node->epoch != b || node->error_us + WELL_US > sys->now_us) {
        return;
    }
    if (node->still_us > sys->now_us || node->asleep_us > sys->now_us) {
        sys_in(sys, WELL_US, (struct sys_event){.fn = well, .a = a, .b = b});
        return;
    }
    for (uint32_t z = 0; z < sys->n_zones; z++) {
        if (node->reopens[z] || (node->hosts[z] != NULL && node->hosts[z]->failed)) {
            return; /* Once that one is open. */
        }
    }
    repair(node); /* An error may be set that nothing met. */
    node->broken = false;
}

/* True if it runs. */
static bool open_zone(struct sys_node *node, uint32_t zone_nr)
{
    int rv = sys_host_open(node, zone_nr);
    struct sys_host *host = node->hosts[zone_nr];

    if (sys_node_lost_power(node)) {
        return false;
    }
    if (rv == 0) {
        return true;
    }
    sys_trace(node->sys, "n%u z%u cannot be opened anew: %d", (unsigned)node->number,
              zone_nr, rv);
    host->failed = true;
    node->hosts[zone_nr] = NULL;
    if (node->broken) {
        node->error_us = node->sys->now_us;
        node->reopens[zone_nr] = true;
        open_soon(node, zone_nr);
    } else if (sys_damage_shows(host, rv)) {
        sys_damage_give_up(node, zone_nr);
    } else {
        sys_fail(node->sys, "n%u z%u cannot be opened anew: %d", (unsigned)node->number,
                 zone_nr, rv);
    }
    sys_host_close(host);
    return false;
}

static void open_again(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 8];
    uint32_t zone_nr = a & 0xff;

    (void)ptr;
    if (!node->up || node->epoch != b || !node->reopens[zone_nr] ||
        sys_node_sleeps(node, (struct sys_event){.fn = open_again, .a = a, .b = b})) {
        return;
    }
    node->reopens[zone_nr] = false;
    if (sys_member_id(&sys->zones[zone_nr], node->number) == 0 ||
        node->destroyed[zone_nr] || node->hosts[zone_nr] != NULL) {
        return; /* It left meanwhile. */
    }
    if (sys_damage_is_end(node, zone_nr)) {
        sys_damage_give_up(node, zone_nr);
        return;
    }
    if (sys->calm || !sys_chance(sys, 4)) {
        repair(node);
    }
    sys->counts.reopened++;
    sys_point_enter(node, SYS_AT_START);
    if (!sys->calm && sys_with(sys, SYS_KIND_TRAPS) && sys_chance(sys, 12)) {
        simdisk_power_off_after(node->disk, 1 + sys_rand(sys, 50));
    }
    if (open_zone(node, zone_nr)) {
        sys_point_enter(node, SYS_AT_REST);
        sys_node_tell_links(node->hosts[zone_nr]);
        sys_in(sys, WELL_US,
               (struct sys_event){.fn = well, .a = node->number, .b = node->epoch});
    }
}

static void open_soon(struct sys_node *node, uint32_t zone_nr)
{
    sys_in(node->sys, sys_rand(node->sys, OPEN_US),
           (struct sys_event){
               .fn = open_again, .a = name_of(node, zone_nr), .b = node->epoch});
}

void sys_reopen(struct sys_host *host)
{
    host->node->error_us = host->sys->now_us;
    sys_in(host->sys, sys_rand(host->sys, CLOSE_US),
           (struct sys_event){.fn = close_failed,
                              .a = name_of(host->node, host->zone_nr),
                              .b = host->serial});
}
