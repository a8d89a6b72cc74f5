#include "daemon/reconcile.h"

/* A stand-by this close to the leader's end of the log is promoted. */
#define PROMOTE_LAG_MAX 64u

void reconcile_zone(const struct directory_zone *zone, uint64_t recent_ms,
                    struct reconcile_wanted *out)
{
    *out =
        (struct reconcile_wanted){.next_life = zone->next_life, .recent_ms = recent_ms};
    for (uint32_t i = 0; i < zone->n_members; i++) {
        out->members[out->n].id = zone->members[i].raft_id;
        out->members[out->n].voter = true;
        out->members[out->n].leaving = zone->members[i].leaving;
        out->members[out->n].replaces = zone->members[i].replaces;
        out->n++;
    }
}

/* Nodes that are gone have no row. Only a view that has everything in the log may be
 * read that way: an older one would miss rows that are new. */
void reconcile_home(const struct directory *directory, uint64_t self, uint64_t last_index,
                    uint64_t recent_ms, struct reconcile_wanted *out)
{
    bool current = directory->index >= last_index;

    *out = (struct reconcile_wanted){.whole = current && !directory->bad_row &&
                                              directory->n_nodes <= RGROUP_MEMBERS_MAX,
                                     .stale = !current,
                                     .recent_ms = recent_ms};
    for (uint32_t i = 0; i < directory->n_nodes && i < RGROUP_MEMBERS_MAX; i++) {
        out->members[out->n].id = directory_home_id(self, directory->nodes[i].peer.number,
                                                    directory->nodes[i].life);
        out->members[out->n].voter = i < RECONCILE_HOME_VOTERS;
        out->n++;
    }
}

static const struct replica_member *member_of(const struct replica_status *status,
                                              uint64_t id)
{
    for (uint32_t i = 0; i < status->n_members; i++) {
        if (status->members[i].id == id) {
            return &status->members[i];
        }
    }
    return NULL;
}

/* True if @id is to go. */
static bool unwanted(const struct reconcile_wanted *wanted, uint64_t id)
{
    for (uint32_t i = 0; i < wanted->n; i++) {
        if (wanted->members[i].id == id) {
            return wanted->members[i].leaving;
        }
    }
    return wanted->whole || (id & 0xffff) < wanted->next_life;
}

/* True if @id is to go only once another votes, which that does not do yet. */
static bool is_awaited(const struct replica_status *status,
                       const struct reconcile_wanted *wanted, uint64_t id)
{
    for (uint32_t i = 0; i < wanted->n; i++) {
        const struct replica_member *member = member_of(status, wanted->members[i].id);

        if (wanted->members[i].replaces == id && !wanted->members[i].leaving &&
            (member == NULL || member->role != RGROUP_VOTER)) {
            return true;
        }
    }
    return false;
}

static bool caught_up(const struct replica_status *status,
                      const struct replica_member *member)
{
    return member->match_index > 0 &&
           member->match_index + PROMOTE_LAG_MAX >= status->last_index;
}

static void conf_of(const struct replica_status *status, struct rgroup_conf *conf)
{
    *conf = (struct rgroup_conf){0};
    for (uint32_t i = 0; i < status->n_members; i++) {
        conf->servers[conf->n++] = (struct rgroup_server){
            .id = status->members[i].id, .role = status->members[i].role};
    }
}

static void conf_remove(struct rgroup_conf *conf, uint64_t id)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < conf->n; i++) {
        if (conf->servers[i].id != id) {
            conf->servers[n++] = conf->servers[i];
        }
    }
    conf->n = n;
}

/* ADD or CHANGE, with @conf changed: somebody is added, or promoted. NONE: nobody is. */
static enum reconcile_type grow(const struct replica_status *status,
                                const struct reconcile_wanted *wanted,
                                struct rgroup_conf *conf)
{
    for (uint32_t i = 0; i < wanted->n; i++) {
        const struct replica_member *member = member_of(status, wanted->members[i].id);

        if (wanted->members[i].leaving) {
            continue;
        }
        if (member == NULL && conf->n < RGROUP_MEMBERS_MAX && !wanted->stale) {
            conf->servers[conf->n++] = (struct rgroup_server){.id = wanted->members[i].id,
                                                              .role = RGROUP_STANDBY};
            return RECONCILE_ADD;
        }
        if (member != NULL && member->role == RGROUP_STANDBY &&
            wanted->members[i].voter && caught_up(status, member)) {
            conf->servers[member - status->members].role = RGROUP_VOTER;
            return RECONCILE_CHANGE;
        }
    }
    return RECONCILE_NONE;
}

/* True if a majority of @conf's voters is alive, as far as the leader hears. */
static bool can_go_on(const struct replica_status *status,
                      const struct reconcile_wanted *wanted,
                      const struct rgroup_conf *conf)
{
    uint32_t voters = 0;
    uint32_t alive = 0;

    for (uint32_t i = 0; i < conf->n; i++) {
        const struct replica_member *member = member_of(status, conf->servers[i].id);

        if (conf->servers[i].role == RGROUP_VOTER) {
            voters++;
            alive += member->heard_ms_ago <= wanted->recent_ms ? 1 : 0;
        }
    }
    return alive > voters / 2;
}

/* The most advanced living voter that stays, other than @self; 0: there is none. */
static uint64_t successor(const struct replica_status *status, uint64_t self,
                          const struct reconcile_wanted *wanted)
{
    uint64_t best = 0;
    uint64_t best_match = 0;

    for (uint32_t i = 0; i < status->n_members; i++) {
        const struct replica_member *member = &status->members[i];

        if (member->role == RGROUP_VOTER && member->id != self &&
            !unwanted(wanted, member->id) && member->heard_ms_ago <= wanted->recent_ms &&
            member->match_index >= best_match) {
            best = member->id;
            best_match = member->match_index;
        }
    }
    return best;
}

void reconcile_next(const struct replica_status *status, uint64_t self,
                    const struct reconcile_wanted *wanted, struct reconcile_plan *plan)
{
    bool self_goes = false;

    *plan = (struct reconcile_plan){0};
    if (status->state != RGROUP_LEADER || status->transferring || wanted->n == 0) {
        return;
    }
    conf_of(status, &plan->conf);
    plan->type = grow(status, wanted, &plan->conf);
    if (plan->type != RECONCILE_NONE) {
        return;
    }
    for (uint32_t i = 0; i < status->n_members; i++) {
        uint64_t id = status->members[i].id;

        if (!unwanted(wanted, id) || is_awaited(status, wanted, id)) {
            continue;
        }
        if (id == self) {
            self_goes = true;
            continue;
        }
        conf_remove(&plan->conf, id);
        plan->type =
            can_go_on(status, wanted, &plan->conf) ? RECONCILE_CHANGE : RECONCILE_WAIT;
        return;
    }
    if (self_goes) { /* Guard G2: the leader never removes itself. */
        plan->successor = successor(status, self, wanted);
        plan->type = plan->successor == 0 ? RECONCILE_WAIT : RECONCILE_TRANSFER;
    }
}

bool reconcile_dropped(const struct directory_zone *zone,
                       const struct replica_status *status, struct reconcile_mark *mark,
                       struct directory_zone *rest)
{
    *rest = *zone;
    rest->n_members = 0;
    for (uint32_t i = 0; i < zone->n_members; i++) {
        if (!zone->members[i].leaving ||
            member_of(status, zone->members[i].raft_id) != NULL) {
            rest->members[rest->n_members++] = zone->members[i];
        }
    }
    if (rest->n_members == zone->n_members || rest->n_members == 0 ||
        status->state != RGROUP_LEADER) {
        *mark = (struct reconcile_mark){0};
        return false;
    }
    if (mark->term != status->term) {
        *mark =
            (struct reconcile_mark){.term = status->term, .index = status->last_index};
    }
    return status->commit_index >= mark->index;
}
