/*
 * Clocks of the day that are wrong: in half of all seeds one node's shows an hour more or
 * less now and then. Zone time must go by the others' (docs/adr/0009-clocks.md): it is
 * never more than what leaders may be off ahead of what a right clock has shown.
 *
 * With draws of its own: other seeds' runs are not changed.
 */
#include "sys.h"

#include "raft/wall.h"
#include "zone/op.h"

#define HOUR_NS (INT64_C(3600) * 1000000000)
/* Beside the minute: right clocks jump by up to 10 s, and are told a heartbeat later. */
#define SPREAD_NS (INT64_C(30) * 1000000000)

static uint64_t draw(struct sys *sys, uint64_t bound)
{
    return prng_below(&sys->clocks, bound);
}

void sys_clock_init(struct sys *sys)
{
    prng_seed(&sys->clocks, sys->seed + 0xc10c);
    if (draw(sys, 2) == 0) {
        sys->wrong_clock = 1 + draw(sys, SYS_NODES);
        sys_clock_jump(&sys->nodes[sys->wrong_clock]);
    }
}

static void look(struct sys *sys)
{
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        int64_t wall_ns = sys_node_wall(&sys->nodes[number]);

        if (number != sys->wrong_clock && wall_ns > sys->wall_max_ns) {
            sys->wall_max_ns = wall_ns;
        }
    }
}

void sys_clock_jump(struct sys_node *node)
{
    struct sys *sys = node->sys;

    if (sys->wrong_clock == node->number) {
        node->wall_ns = ((int64_t)draw(sys, 3) - 1) * HOUR_NS;
        sys_trace(sys, "node %u has a clock of %d h", (unsigned)node->number,
                  (int)(node->wall_ns / HOUR_NS));
    }
    look(sys);
}

/* A sole member has nothing to compare with: its zone may be ahead from then on. */
void sys_clock_stepped(struct sys_host *host)
{
    struct sys *sys = host->sys;
    struct sys_zone *zone = &sys->zones[host->zone_nr];
    struct replica_status status;

    look(sys);
    if (zone->wall_alone || host->node->number != sys->wrong_clock) {
        return;
    }
    replica_status(host->replica, sys_node_ms(host->node), &status);
    zone->wall_alone = status.state == RGROUP_LEADER && status.n_clocks < 2;
}

void sys_clock_applied(struct sys_host *host, const struct replica_entry *entry)
{
    struct sys *sys = host->sys;
    struct zone_entry decoded;

    if (entry->type != RGROUP_COMMAND || sys->zones[host->zone_nr].wall_alone ||
        zone_entry_decode(entry->head.data, entry->head.len, &decoded) != 0) {
        return;
    }
    sys->counts.wrong_clocks += sys->wrong_clock != 0;
    if (decoded.time_ns > sys->wall_max_ns + WALL_OFF_MS * INT64_C(1000000) + SPREAD_NS) {
        sys_fail(sys, "zone %u is %u s ahead of all clocks that are right",
                 (unsigned)host->zone_nr,
                 (unsigned)((decoded.time_ns - sys->wall_max_ns) / 1000000000));
    }
}

int64_t sys_clock_ahead_ns(const struct sys *sys)
{
    for (uint32_t z = 0; z < sys->n_zones; z++) {
        if (sys->zones[z].wall_alone) {
            return 2 * HOUR_NS; /* And the same clock may be an hour behind by now. */
        }
    }
    return 0;
}
