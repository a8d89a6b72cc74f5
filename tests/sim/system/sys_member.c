/*
 * Members come and go: the rows of a directory that everybody sees at once, and what the
 * daemon's own steps (reconcile) make of them. A member has a new life, and so a new raft
 * id and a new dataset, each time that it comes.
 */
#include "sys.h"

#include "base/assert.h"

#include <string.h>

#define STEP_US (60 * SYS_US)
#define RECENT_MS (2u * SYS_ELECTION_MS)

const struct directory_member *sys_member_of(const struct sys_zone *zone, uint64_t node)
{
    for (uint32_t i = 0; i < zone->row.n_members; i++) {
        if (zone->row.members[i].node == node) {
            return &zone->row.members[i];
        }
    }
    return NULL;
}

uint64_t sys_member_id(const struct sys_zone *zone, uint64_t node)
{
    const struct directory_member *member = sys_member_of(zone, node);

    return member == NULL ? 0 : member->raft_id;
}

static void put(struct sys_zone *zone, uint64_t node)
{
    struct directory_member *member = &zone->row.members[zone->row.n_members++];

    *member = (struct directory_member){
        .node = node, .raft_id = directory_raft_id(node, (uint16_t)zone->row.next_life)};
}

void sys_members_init(struct sys_zone *zone, const uint64_t *nodes, uint32_t n)
{
    memcpy(zone->row.id, zone->id, sizeof zone->id);
    zone->row.next_life = 1;
    for (uint32_t i = 0; i < n; i++) {
        put(zone, nodes[i]);
        zone->first.servers[i] = (struct rgroup_server){
            .id = zone->row.members[i].raft_id, .role = RGROUP_VOTER};
    }
    zone->first.n = n;
    zone->row.next_life = 2;
}

void sys_members_changed(struct sys *sys, uint32_t zone_nr)
{
    sys->zones[zone_nr].row.version++;
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        struct sys_node *node = &sys->nodes[number];

        if (!node->up) {
            continue;
        }
        sys_node_tell_zone(node, zone_nr);
        if (node->hosts[zone_nr] != NULL) {
            sys_node_tell_links(node->hosts[zone_nr]);
        }
    }
}

/* A member without a row closes, and takes its dataset along. */
static void gone(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 8];
    struct sys_host *host = node->hosts[a & 0xff];
    struct replica_event event = {.type = REPLICA_EV_ABANDON};

    (void)ptr;
    if (host == NULL || host->raft_id != b || !node->up) {
        return;
    }
    sys_host_step(host, &event);
    sys_host_close(host);
    node->hosts[a & 0xff] = NULL;
    sys_trace(sys, "n%u z%u: its member %llx is closed", (unsigned)node->number,
              (unsigned)(a & 0xff), (unsigned long long)b);
}

static void drop(struct sys *sys, uint32_t zone_nr, const struct directory_zone *rest)
{
    struct sys_zone *zone = &sys->zones[zone_nr];
    struct directory_zone before = zone->row;

    zone->row = *rest;
    for (uint32_t i = 0; i < before.n_members; i++) {
        const struct directory_member *member = &before.members[i];

        if (sys_member_id(zone, member->node) == member->raft_id) {
            continue;
        }
        sys->counts.left++;
        sys->nodes[member->node].made[zone_nr] = false;
        sys->nodes[member->node].destroyed[zone_nr] = false;
        sys_damage_over(&sys->nodes[member->node], zone_nr);
        sys_trace(sys, "zone %u has lost its member %llx", zone_nr,
                  (unsigned long long)member->raft_id);
        sys_in(sys, sys_rand(sys, 100 * SYS_US),
               (struct sys_event){
                   .fn = gone, .a = member->node << 8 | zone_nr, .b = member->raft_id});
    }
    sys_members_changed(sys, zone_nr);
}

/* How long ago somebody must have been heard to count, from when somebody was to go. */
static uint64_t recent_ms(struct sys_host *host)
{
    uint64_t since_ms =
        host->leave_us == 0 ? 0 : (host->sys->now_us - host->leave_us) / SYS_US;

    return since_ms < RECENT_MS ? since_ms : RECENT_MS;
}

/* As the daemon's node_reconcile.c does. */
static void reconcile(struct sys_host *host, const struct replica_status *status)
{
    struct sys *sys = host->sys;
    struct sys_zone *zone = &sys->zones[host->zone_nr];
    struct replica_event event = {.type = REPLICA_EV_CHANGE, .token = 1};
    struct reconcile_wanted wanted;
    struct reconcile_plan plan;
    struct directory_zone rest;

    reconcile_zone(&zone->row, recent_ms(host), &wanted);
    reconcile_next(status, host->raft_id, &wanted, &plan);
    if (plan.type != RECONCILE_WAIT) {
        host->leave_us = 0;
    } else if (host->leave_us == 0) {
        host->leave_us = sys->now_us;
    }
    if (plan.type == RECONCILE_CHANGE || plan.type == RECONCILE_ADD) {
        host->mark = (struct reconcile_mark){0};
        event.conf = &plan.conf;
        sys_host_step(host, &event);
    } else if (plan.type == RECONCILE_TRANSFER) {
        host->mark = (struct reconcile_mark){0};
        event.type = REPLICA_EV_TRANSFER;
        event.from = plan.successor;
        sys_host_step(host, &event);
    } else if (reconcile_dropped(&zone->row, status, &host->mark, &rest)) {
        drop(sys, host->zone_nr, &rest);
    }
}

static void step(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    for (uint32_t z = 0; z < sys->n_zones; z++) {
        for (uint64_t number = 1; number <= SYS_NODES; number++) {
            struct sys_host *host = sys->nodes[number].hosts[z];
            struct replica_status status;

            if (host == NULL || host->replica == NULL || host->failed ||
                sys->nodes[number].asleep_us > sys->now_us) {
                continue;
            }
            replica_status(host->replica, sys_node_ms(host->node), &status);
            if (status.state == RGROUP_LEADER) {
                reconcile(host, &status);
            } else {
                host->mark = (struct reconcile_mark){0};
                host->leave_us = 0;
            }
        }
    }
    (void)ptr;
    sys_in(sys, STEP_US / 2 + sys_rand(sys, STEP_US),
           (struct sys_event){.fn = step, .a = a, .b = b});
}

void sys_members_start(struct sys *sys)
{
    if (sys_with(sys, SYS_KIND_MEMBERS)) {
        sys_in(sys, STEP_US, (struct sys_event){.fn = step});
    }
}

static uint64_t outsider(struct sys *sys, const struct sys_zone *zone)
{
    uint64_t first = sys_rand(sys, SYS_NODES);

    for (uint64_t i = 0; i < SYS_NODES; i++) {
        uint64_t node = 1 + (first + i) % SYS_NODES;

        if (sys_member_id(zone, node) == 0) {
            return node;
        }
    }
    return 0;
}

static void join(struct sys *sys, uint32_t zone_nr, uint64_t node)
{
    struct sys_zone *zone = &sys->zones[zone_nr];

    ASSERT(!sys->nodes[node].made[zone_nr]);
    put(zone, node);
    zone->row.next_life++;
    sys->counts.joined++;
    sys_trace(sys, "zone %u gets a member on node %u", zone_nr, (unsigned)node);
    sys_members_changed(sys, zone_nr);
    sys_node_open_zone(&sys->nodes[node], zone_nr);
}

/* One comes, one goes, or both. One at a time goes, and somebody stays. */
void sys_members_fault(struct sys *sys)
{
    uint32_t zone_nr = (uint32_t)sys_rand(sys, sys->n_zones);
    struct sys_zone *zone = &sys->zones[zone_nr];
    uint64_t in = outsider(sys, zone);
    uint64_t what = sys_rand(sys, 3);
    struct directory_member *out = &zone->row.members[sys_rand(sys, zone->row.n_members)];
    /* Whose last member there is still closing does not come, and so relieves nobody. */
    bool comes = what != 1 && in != 0 && sys->nodes[in].hosts[zone_nr] == NULL;

    for (uint32_t i = 0; i < zone->row.n_members; i++) {
        if (zone->row.members[i].leaving) {
            return;
        }
    }
    if (zone->losing) {
        return; /* A person looks after it. */
    }
    if (zone->damaged != 0 && out->node != zone->damaged) {
        return; /* Whoever stays must have it all. */
    }
    if (what != 0 && zone->row.n_members + comes > 1) {
        out->leaving = true;
        sys_trace(sys, "member %llx is to leave zone %u",
                  (unsigned long long)out->raft_id, zone_nr);
    }
    if (comes) {
        join(sys, zone_nr, in);
    }
}

bool sys_members_quiet(struct sys *sys, uint32_t zone_nr)
{
    const struct sys_zone *zone = &sys->zones[zone_nr];

    for (uint32_t i = 0; i < zone->row.n_members; i++) {
        const struct directory_member *member = &zone->row.members[i];
        const struct sys_host *host = sys->nodes[member->node].hosts[zone_nr];

        if (member->leaving || host == NULL || host->raft_id != member->raft_id) {
            return false;
        }
    }
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        struct sys_host *host = sys->nodes[number].hosts[zone_nr];
        struct replica_status status;

        if (host == NULL) {
            continue;
        }
        if (host->failed || host->replica == NULL) {
            return false;
        }
        replica_status(host->replica, sys_node_ms(host->node), &status);
        if (host->raft_id != sys_member_id(zone, number) ||
            (sys_with(sys, SYS_KIND_MEMBERS) &&
             status.n_members != zone->row.n_members)) {
            return false;
        }
        for (uint32_t i = 0; sys_with(sys, SYS_KIND_MEMBERS) && i < status.n_members;
             i++) {
            if (status.members[i].role != RGROUP_VOTER) {
                return false;
            }
        }
    }
    return true;
}
