/*
 * Where the power goes. What a node is at is known while it is at it, so that a run can
 * say which moments it has hit, and a trap can wait for one that is rare.
 */
#include "sys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const names[SYS_POINTS] = {
    [SYS_AT_REST] = "rest",         [SYS_AT_FIRST_START] = "first-start",
    [SYS_AT_START] = "start",       [SYS_AT_APPEND] = "append",
    [SYS_AT_SEGMENT] = "segment",   [SYS_AT_APPLY] = "apply",
    [SYS_AT_SNAPSHOT] = "snapshot", [SYS_AT_COMPACT] = "compact",
    [SYS_AT_PLAN] = "plan",         [SYS_AT_SETTLE] = "settle",
    [SYS_AT_FINISH] = "finish",     [SYS_AT_SHADOW] = "shadow",
    [SYS_AT_ROWS] = "rows",         [SYS_AT_BLOCKS] = "blocks",
    [SYS_AT_SWITCH] = "switch",     [SYS_AT_CUT] = "cut",
    [SYS_AT_SOURCE] = "source",     [SYS_AT_PLACE] = "place",
};

void sys_point_enter(struct sys_node *node, enum sys_point point)
{
    struct sys *sys = node->sys;

    node->at = point;
    if (point == SYS_AT_SOURCE && node->trap == point) {
        node->trap = SYS_AT_REST;
        node->ends = true; /* It only reads: there is no call for the power to go in. */
        return;
    }
    if (point != SYS_AT_REST && node->trap == point) {
        node->trap = SYS_AT_REST;
        simdisk_power_off_after(node->disk,
                                1 + sys_rand(sys, point == SYS_AT_SETTLE ? 12 : 4));
    }
    if (point == SYS_AT_APPEND && node->trap == SYS_AT_SEGMENT) {
        node->trap = SYS_AT_REST;
        simdisk_power_off_in(node->disk, SIMDISK_NAME, 1 + sys_rand(sys, 2));
    }
}

/* Calls that change names, in an append, make a new segment. */
static enum sys_point point_of(const struct sys_node *node)
{
    bool in_call = !simdisk_is_on(node->disk);

    if (in_call && node->at == SYS_AT_APPEND &&
        simdisk_off_op(node->disk) == SIMDISK_NAME) {
        return SYS_AT_SEGMENT;
    }
    return node->at;
}

void sys_point_lost(struct sys_node *node)
{
    struct sys *sys = node->sys;

    sys->counts.lost[point_of(node)]++;
    for (uint32_t z = 0; z < SYS_ZONES; z++) {
        const struct sys_host *host = node->hosts[z];

        sys->counts.lost_pulling += host != NULL && host->pull.active;
        sys->counts.lost_settling += host != NULL && host->settling;
    }
}

/* The next time that some node comes to a rare point, it loses power there. */
void sys_point_trap(struct sys *sys)
{
    static const enum sys_point rare[] = {
        SYS_AT_SHADOW,  SYS_AT_ROWS,   SYS_AT_PLACE,    SYS_AT_SWITCH,  SYS_AT_SWITCH,
        SYS_AT_CUT,     SYS_AT_SOURCE, SYS_AT_SNAPSHOT, SYS_AT_COMPACT, SYS_AT_FINISH,
        SYS_AT_SEGMENT, SYS_AT_PLAN,   SYS_AT_SEGMENT,
    };
    enum sys_point point = rare[sys_rand(sys, sizeof rare / sizeof rare[0])];

    point = sys->options.trap != SYS_AT_REST ? sys->options.trap : point;

    sys_trace(sys, "a trap waits for: %s", names[point]);
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys->nodes[number].trap = point;
    }
}

void sys_points_print(const struct sys_counts *total)
{
    printf("power lost:");
    for (unsigned i = 0; i < SYS_POINTS; i++) {
        printf("%s %s %" PRIu64, i == 0 ? "" : ",", names[i], total->lost[i]);
    }
    printf("; while a pull was under way %" PRIu64 ", while settling %" PRIu64 "\n",
           total->lost_pulling, total->lost_settling);
    printf("pulled blocks placed %" PRIu64 ", by an attempt before %" PRIu64
           ", beside %" PRIu64 "\n",
           total->placed, total->kept, total->beside);
}

const char *sys_point_name(enum sys_point point)
{
    return names[point];
}

enum sys_point sys_point_named(const char *name)
{
    for (unsigned i = 0; i < SYS_POINTS; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (enum sys_point)i;
        }
    }
    return SYS_POINTS;
}

uint64_t sys_sight(const struct sys_counts *total, const char *name)
{
    enum sys_point point = sys_point_named(name);
    struct {
        const char *name;
        uint64_t n;
    } others[] = {{"given-up", total->given_up},
                  {"gave-way", total->handed_over},
                  {"read-error", total->read_errors},
                  {"moved", total->moved_done},
                  {"left", total->left},
                  {"mended", total->mended},
                  {"stepped", total->stepped},
                  {"placed", total->placed},
                  {"beside", total->beside},
                  {"kept", total->kept},
                  {"stood-still", total->still_disks},
                  {"recovered", total->recovered},
                  {"reopened", total->reopened},
                  {"forgotten", total->forgotten},
                  {"torn", total->torn},
                  {"wrong-clock", total->wrong_clocks}};

    if (point != SYS_POINTS) {
        return total->lost[point];
    }
    for (unsigned i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(name, others[i].name) == 0) {
            return others[i].n;
        }
    }
    return UINT64_MAX;
}

void sys_sights_print(uint64_t seed, const struct sys_counts *counts)
{
    printf("seed %" PRIu64 ":", seed);
    for (unsigned i = SYS_AT_FIRST_START; i < SYS_POINTS; i++) {
        if (counts->lost[i] > 0) {
            printf(" %s %" PRIu64, names[i], counts->lost[i]);
        }
    }
    printf("; pulls %" PRIu64 " left %" PRIu64 " moved %" PRIu64 " gave-way %" PRIu64
           " given-up %" PRIu64 " read-error %" PRIu64 "\n",
           counts->pulls, counts->left, counts->moved_done, counts->handed_over,
           counts->given_up, counts->read_errors);
}
