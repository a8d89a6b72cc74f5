/*
 * node_clock: clocks of the day that are wrong, told once, and once they are right again.
 *
 * Each zone's replica compares those of its members (raft/wall.h). A node tells of its own
 * clock; the leader of a zone tells of all its members'. One clock may be seen in many
 * zones: what is told is the furthest off of them.
 */
#include "daemon/node.h"

#include "daemon/event.h"
#include "raft/wall.h"

#include <stdio.h>

#define RIGHT_MS (WALL_OFF_MS / 2) /* Not told off and right again at the edge. */

static int64_t distance(int64_t ms)
{
    return ms < 0 ? -ms : ms;
}

static struct node_clock *clock_of(struct node *node, uint64_t number)
{
    for (uint32_t i = 0; i < node->n_clocks; i++) {
        if (node->clocks[i].number == number) {
            return &node->clocks[i];
        }
    }
    if (node->n_clocks == DIRECTORY_NODES_MAX) {
        return NULL;
    }
    node->clocks[node->n_clocks] = (struct node_clock){.number = number};
    return &node->clocks[node->n_clocks++];
}

void node_clock_look(struct node *node, const struct replica_status *status)
{
    if (status->n_clocks < 2) {
        return; /* Nothing to compare with. */
    }
    for (uint32_t i = 0; i < status->n_members; i++) {
        const struct replica_member *member = &status->members[i];
        uint64_t number = directory_raft_node(member->id);
        struct node_clock *clock;

        if (!member->clock_known ||
            (number != node->number && status->state != RGROUP_LEADER)) {
            continue;
        }
        clock = clock_of(node, number);
        if (clock != NULL &&
            (!clock->seen || distance(member->clock_off_ms) > distance(clock->off_ms))) {
            clock->seen = true;
            clock->off_ms = member->clock_off_ms;
            clock->n = status->n_clocks;
            clock->divided = status->clocks_divided;
        }
    }
}

static void tell_off(const struct node *node, const struct node_clock *clock)
{
    char others[64];

    if (clock->divided) {
        (void)snprintf(others, sizeof others, "another's: one of them is wrong");
    } else {
        (void)snprintf(others, sizeof others, "most of %u members'", (unsigned)clock->n);
    }
    event_tell(
        EVENT_CLOCK, NULL,
        "%s's clock of the day is %lld s %s %s; set what is wrong, and run a time "
        "service on every node",
        clock->number == node->number ? "this node" : node_name_of(node, clock->number),
        (long long)(distance(clock->off_ms) / 1000),
        clock->off_ms < 0 ? "behind" : "ahead of", others);
}

void node_clock_tell(struct node *node)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < node->n_clocks; i++) {
        struct node_clock *clock = &node->clocks[i];

        if (clock->seen && !clock->told && distance(clock->off_ms) > WALL_OFF_MS) {
            clock->told = true;
            tell_off(node, clock);
        } else if (clock->seen && clock->told && distance(clock->off_ms) < RIGHT_MS) {
            clock->told = false;
            event_tell(EVENT_CLOCK, NULL, "%s's clock of the day is right again",
                       clock->number == node->number ? "this node"
                                                     : node_name_of(node, clock->number));
        }
        clock->seen = false;
        if (clock->told) {
            node->clocks[n++] = *clock; /* Of the others there is nothing to remember. */
        }
    }
    node->n_clocks = n;
}
