/*
 * The majority of a zone's members is destroyed, for good, and a person recovers the zone
 * on what is left (docs/adr/0006-recover.md): the daemon's own steps decide who may lead,
 * make the row and force the log. In some seeds, once; whether it happens comes from a
 * generator of its own, so that the other seeds are what they were.
 *
 * What the one that leads has in its log stays, and that is all that any member that is
 * left knew to be committed. The rest is forgotten here too: answers that tell of it count
 * for nothing, and what was on its way may have happened or not.
 */
#include "sys.h"

#include "base/assert.h"
#include "daemon/recover.h"

#include <string.h>

#define AGAIN_US (100 * SYS_US)
#define BEHIND_US (400 * SYS_US) /* For so long at most they fall behind. */
#define ONE_SEED_OF 10u

struct left {
    struct recover_member members[DIRECTORY_MEMBERS_MAX + RGROUP_MEMBERS_MAX];
    uint32_t n;
};

/* A member that a person would hear of by asking its node. */
static struct sys_host *answering(struct sys *sys, uint32_t zone_nr, uint64_t number)
{
    struct sys_node *node = &sys->nodes[number];
    struct sys_host *host = node->up ? node->hosts[zone_nr] : NULL;
    struct replica_status status;

    if (host == NULL || host->replica == NULL || host->failed ||
        node->asleep_us > sys->now_us ||
        host->raft_id != sys_member_id(&sys->zones[zone_nr], number)) {
        return NULL;
    }
    replica_status(host->replica, sys_node_ms(node), &status);
    return status.pulling ? NULL : host;
}

static bool is_voter(const struct replica_status *status, uint64_t raft_id)
{
    for (uint32_t i = 0; i < status->n_members; i++) {
        if (status->members[i].id == raft_id) {
            return status->members[i].role == RGROUP_VOTER;
        }
    }
    return false;
}

static void add(struct left *left, uint64_t raft_id, const struct replica_status *status)
{
    for (uint32_t i = 0; i < left->n; i++) {
        if (left->members[i].raft_id == raft_id) {
            return;
        }
    }
    left->members[left->n++] =
        (struct recover_member){.node = directory_raft_node(raft_id),
                                .raft_id = raft_id,
                                .voter = is_voter(status, raft_id)};
}

static bool has(const struct sys_host *host, const struct replica_log_end *end)
{
    struct replica_log_end own;

    replica_log_end(host->replica, &own);
    return end->commit_index <= own.commit_index ||
           replica_term_at(host->replica, end->commit_index) == end->commit_term;
}

/* As admin_recover.c: who there is, as @self sees it; of the nodes in @who. */
static void look(struct sys_host *self, uint32_t who, struct left *left,
                 struct recover_group *group)
{
    const struct sys_zone *zone = &self->sys->zones[self->zone_nr];
    struct replica_log_end own;
    struct replica_status status;

    left->n = 0;
    replica_log_end(self->replica, &own);
    replica_status(self->replica, sys_node_ms(self->node), &status);
    for (uint32_t i = 0; i < status.n_members; i++) {
        add(left, status.members[i].id, &status);
    }
    for (uint32_t i = 0; i < zone->row.n_members; i++) {
        add(left, zone->row.members[i].raft_id, &status);
    }
    add(left, self->raft_id, &status);
    *group = (struct recover_group){.members = left->members, .n = left->n};
    for (uint32_t i = 0; i < left->n; i++) {
        struct recover_member *member = &left->members[i];
        struct sys_host *host = (who >> member->node & 1) != 0
                                    ? answering(self->sys, self->zone_nr, member->node)
                                    : NULL;

        if (host != NULL && host->raft_id == member->raft_id) {
            member->answers = true;
            member->told = true;
            member->ahead_index = zone_ahead_index(host->zone);
            replica_log_end(host->replica, &member->end);
            member->held = has(self, &member->end);
            member->holds = has(host, &own);
        }
        group->self = host == self ? i : group->self;
    }
}

/* --- Loss. --- */

/* True if these nodes' members can be what is left: all are there, and are no majority. */
static bool may_be_left(struct sys *sys, uint32_t zone_nr, uint32_t who)
{
    struct recover_group group;
    struct recover_plan plan;
    struct left left;

    if (sys->zones[zone_nr].damaged != 0) {
        return false;
    }
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        struct sys_host *host = answering(sys, zone_nr, number);

        if ((who >> number & 1) == 0) {
            continue;
        }
        if (host == NULL) {
            return false;
        }
        look(host, who, &left, &group);
        recover_decide(&group, &plan);
        if (plan.verdict == RECOVER_MAJORITY || plan.verdict == RECOVER_EMPTY) {
            return false;
        }
    }
    return true;
}

/* Some of them hear nothing any more, so that what is left does not have all, and not all
 * the same. */
static void fall_behind(struct sys *sys, uint32_t who, uint64_t until_us)
{
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        if ((who >> number & 1) == 0 || sys_chance(sys, 3)) {
            continue;
        }
        for (uint64_t other = 1; other <= SYS_NODES; other++) {
            if (other < number) {
                sys->links[other][number].stalled_us[0] = until_us;
            } else if (other > number) {
                sys->links[number][other].stalled_us[1] = until_us;
            }
        }
    }
}

static void close_member(struct sys_host *host)
{
    struct replica_event event = {.type = REPLICA_EV_ABANDON};

    sys_host_step(host, &event);
    host->node->hosts[host->zone_nr] = NULL;
    sys_host_close(host);
}

static void destroy(struct sys_node *node, uint32_t zone_nr)
{
    node->destroyed[zone_nr] = true;
    node->sys->counts.destroyed++;
    sys_trace(node->sys, "node %u: its member of zone %u is destroyed",
              (unsigned)node->number, zone_nr);
    if (node->hosts[zone_nr] != NULL) {
        close_member(node->hosts[zone_nr]);
    }
}

/* --- Recovery. --- */

/* How much of what was applied anywhere is in the log of the one that leads. */
static uint64_t kept(const struct sys_host *lead)
{
    const struct sys_zone *zone = &lead->sys->zones[lead->zone_nr];
    struct replica_log_end end;
    uint64_t index = zone_applied_index(lead->zone);

    replica_log_end(lead->replica, &end);
    while (index < zone->n_log && index < end.last_index &&
           replica_term_at(lead->replica, index + 1) == zone->log[index].term) {
        index++;
    }
    return index;
}

/* What is above @index did not happen. */
static void forget(struct sys *sys, uint32_t zone_nr, uint64_t index)
{
    struct sys_zone *zone = &sys->zones[zone_nr];

    for (uint64_t i = index; i < zone->n_log; i++) {
        slice_unref(&zone->log[i].head);
        slice_unref(&zone->log[i].payload);
        zone->log[i] = (struct sys_logged){0};
    }
    sys->counts.forgotten += zone->n_log > index ? zone->n_log - index : 0;
    zone->n_log = index < zone->n_log ? index : zone->n_log;
    zone->seen = index < zone->seen ? index : zone->seen;
    for (uint64_t i = 0; i < sys->n_ops; i++) {
        struct sys_op *op = &sys->ops[i];

        if (op->zone_nr != zone_nr) {
            continue;
        }
        op->doubtful = op->doubtful || !op->ended;
        if (op->acked && (op->is_read ? op->at : op->index) > index) {
            op->acked = false;
        }
    }
}

static void reopen(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 8];
    uint32_t zone_nr = (uint32_t)(a & 0xff);

    (void)ptr;
    if (node->up && node->hosts[zone_nr] == NULL &&
        sys_member_id(&sys->zones[zone_nr], node->number) == b) {
        sys_node_open_zone(node, zone_nr);
    }
}

/* Every node reads the row: its member goes on as another, or its dataset is put aside. */
static void follow_row(struct sys *sys, uint32_t zone_nr)
{
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        struct sys_node *node = &sys->nodes[number];
        uint64_t raft_id = sys_member_id(&sys->zones[zone_nr], number);

        if (node->hosts[zone_nr] != NULL) {
            close_member(node->hosts[zone_nr]);
        }
        node->destroyed[zone_nr] = false;
        if (raft_id == 0) {
            node->made[zone_nr] = false;
            sys_damage_over(node, zone_nr);
        } else {
            sys_in(sys, sys_rand(sys, 150 * SYS_US),
                   (struct sys_event){
                       .fn = reopen, .a = number << 8 | zone_nr, .b = raft_id});
        }
    }
    sys_members_changed(sys, zone_nr);
}

static void recover(struct sys_host *lead, const struct recover_group *group,
                    const struct recover_plan *plan)
{
    struct sys *sys = lead->sys;
    struct sys_zone *zone = &sys->zones[lead->zone_nr];
    uint32_t zone_nr = lead->zone_nr;
    uint64_t index = kept(lead);
    struct directory_zone row;

    if (index < plan->index && index < zone->n_log) {
        sys_fail(sys, "zone %u is recovered up to %u only, and %u was committed", zone_nr,
                 (unsigned)index, (unsigned)plan->index);
        return;
    }
    recover_row(&zone->row, group, plan, 1 + sys->now_us / 1000000, &row);
    ASSERT(row.recovery.lead != 0 && row.n_members > 0);
    zone->row = row;
    zone->losing = false;
    sys->counts.recovered++;
    sys_trace(sys, "zone %u is recovered by n%u as %llx: %u of %u entries are kept",
              zone_nr, (unsigned)lead->node->number,
              (unsigned long long)row.recovery.lead, (unsigned)index,
              (unsigned)zone->n_log);
    forget(sys, zone_nr, index);
    follow_row(sys, zone_nr);
}

/* What is left elects a leader by itself after all: a change of members that was under way
 * left out who is lost. A person takes the dead out. */
static void take_out(struct sys *sys, uint32_t zone_nr)
{
    struct sys_zone *zone = &sys->zones[zone_nr];

    for (uint32_t i = 0; i < zone->row.n_members; i++) {
        struct directory_member *member = &zone->row.members[i];

        member->leaving = member->leaving || sys->nodes[member->node].destroyed[zone_nr];
    }
    zone->losing = false;
    sys_trace(sys, "zone %u has a majority all the same", zone_nr);
}

/* Whoever is left is asked again and again, as by a person, until no leader is heard. */
static void ask(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    uint32_t zone_nr = (uint32_t)a;
    struct recover_group group;
    struct recover_plan plan;
    struct replica_status status;
    struct left left;

    (void)ptr;
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        struct sys_host *host = answering(sys, zone_nr, number);

        if (host == NULL) {
            continue;
        }
        replica_status(host->replica, sys_node_ms(host->node), &status);
        if (status.has_quorum && status.n_members > 1) {
            break;
        }
        look(host, UINT32_MAX, &left, &group);
        recover_decide(&group, &plan);
        if (plan.verdict == RECOVER_GO) {
            recover(host, &group, &plan);
            return;
        }
        if (plan.verdict == RECOVER_MAJORITY) {
            take_out(sys, zone_nr);
            return;
        }
    }
    sys_in(sys, AGAIN_US, (struct sys_event){.fn = ask, .a = a, .b = b});
}

static void lose(struct sys *sys, void *ptr, uint64_t a, uint64_t b);

/* Now, with the nodes @b left. */
static void lost(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    uint32_t zone_nr = (uint32_t)a;
    struct sys_zone *zone = &sys->zones[zone_nr];

    (void)ptr;
    if (!may_be_left(sys, zone_nr, (uint32_t)b)) {
        lose(sys, NULL, 0, 0);
        return;
    }
    zone->losing = true;
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        if ((b >> number & 1) == 0 && (sys_member_id(zone, number) != 0 ||
                                       sys->nodes[number].hosts[zone_nr] != NULL)) {
            destroy(&sys->nodes[number], zone_nr);
        }
    }
    sys_in(sys, AGAIN_US, (struct sys_event){.fn = ask, .a = zone_nr});
}

static void lose(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    uint32_t zone_nr = (uint32_t)sys_rand(sys, sys->n_zones);
    uint32_t who = 1u << (1 + sys_rand(sys, SYS_NODES));
    uint64_t delay_us = sys_rand(sys, BEHIND_US);

    (void)ptr;
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        if (sys_chance(sys, 3) && answering(sys, zone_nr, number) != NULL) {
            who |= 1u << number;
        }
    }
    if (sys->calm) {
        return;
    }
    if (sys->zones[zone_nr].row.n_members < 2 || !may_be_left(sys, zone_nr, who)) {
        sys_in(sys, AGAIN_US, (struct sys_event){.fn = lose, .a = a, .b = b});
        return;
    }
    fall_behind(sys, who, sys->now_us + delay_us + 2 * SYS_ELECTION_MS * SYS_US);
    sys_in(sys, delay_us, (struct sys_event){.fn = lost, .a = zone_nr, .b = who});
}

void sys_recover_choose(struct sys *sys)
{
    struct prng prng;

    prng_seed(&prng, sys->seed + 0xdead);
    sys->loses = sys_with(sys, SYS_KIND_RECOVER) && sys_with(sys, SYS_KIND_MEMBERS) &&
                 (sys->options.lose || prng_below(&prng, ONE_SEED_OF) == 0);
    if (sys->loses) {
        sys->rotten = 0; /* Whoever is left must have it all. */
    }
}

void sys_recover_start(struct sys *sys, uint64_t until_us)
{
    if (sys->loses) {
        sys_at(sys, until_us / 4 + sys_rand(sys, until_us / 2),
               (struct sys_event){.fn = lose});
    }
}
