#include "daemon/recover.h"

static bool is_later(const struct replica_log_end *a, const struct replica_log_end *b)
{
    return a->last_term != b->last_term ? a->last_term > b->last_term
                                        : a->last_index > b->last_index;
}

static bool is_torn(const struct recover_member *member)
{
    return member->ahead_index > member->end.last_index;
}

/* True if @other should begin rather than @self. @ahead: the highest ahead_index. */
static bool is_better(const struct recover_member *other,
                      const struct recover_member *self, uint64_t ahead)
{
    bool has = self->end.last_index >= ahead;

    if (!other->held || !other->holds) {
        return !other->held;
    }
    if (has != (other->end.last_index >= ahead)) {
        return !has;
    }
    return is_later(&other->end, &self->end) ||
           (is_torn(self) && !is_torn(other) && !is_later(&self->end, &other->end));
}

/* The highest index as of which any that answers has blocks. */
static uint64_t ahead_of(const struct recover_group *group)
{
    uint64_t ahead = 0;

    for (uint32_t i = 0; i < group->n; i++) {
        if (group->members[i].answers && group->members[i].ahead_index > ahead) {
            ahead = group->members[i].ahead_index;
        }
    }
    return ahead;
}

void recover_decide(const struct recover_group *group, struct recover_plan *plan)
{
    const struct recover_member *self = &group->members[group->self];
    const struct recover_member *reached = NULL;
    const struct recover_member *better = NULL;
    const struct recover_member *opens = NULL;
    uint64_t ahead = ahead_of(group);
    uint32_t voters = 0;
    uint32_t alive = 0;

    *plan = (struct recover_plan){0};
    for (uint32_t i = 0; i < group->n; i++) {
        const struct recover_member *member = &group->members[i];

        voters += member->voter ? 1 : 0;
        if (!member->answers) {
            reached = member->heard_by && !member->told ? member : reached;
            opens = member->opens ? member : opens;
            continue;
        }
        alive += member->voter ? 1 : 0;
        plan->term = member->end.term > plan->term ? member->end.term : plan->term;
        if (member->end.commit_index > plan->index) {
            plan->index = member->end.commit_index;
        }
        if (i != group->self && is_better(member, self, ahead) &&
            (better == NULL || (better->held && !member->held) ||
             (better->held == member->held && is_later(&member->end, &better->end)))) {
            better = member;
        }
    }
    plan->torn = is_torn(self);
    if (!self->answers || self->end.last_index == 0) {
        plan->verdict = RECOVER_EMPTY;
    } else if (alive > voters / 2) {
        plan->verdict = RECOVER_MAJORITY;
    } else if (reached != NULL) {
        plan->verdict = RECOVER_REACHED;
        plan->other = reached;
    } else if (better != NULL) {
        plan->verdict = RECOVER_BEHIND;
        plan->other = better;
    } else if (opens != NULL) {
        plan->verdict = RECOVER_OPENS;
        plan->other = opens;
    }
}

/* The member of @group that goes on as @member; @group->n: none does. */
static uint32_t goes_on(const struct recover_group *group,
                        const struct directory_member *member)
{
    uint32_t i = 0;

    while (i < group->n &&
           (group->members[i].raft_id != member->raft_id || !group->members[i].answers ||
            (member->leaving && i != group->self))) {
        i++;
    }
    return i;
}

void recover_row(const struct directory_zone *zone, const struct recover_group *group,
                 const struct recover_plan *plan, uint64_t time_s,
                 struct directory_zone *out)
{
    *out = *zone;
    out->n_members = 0;
    out->recovery = (struct directory_recovery){
        .time_s = time_s,
        .life = zone->next_life,
        .term = plan->term,
        .index = plan->index,
    };
    for (uint32_t i = 0; i < zone->n_members; i++) {
        struct directory_member member = zone->members[i];
        uint32_t place = goes_on(group, &member);

        if (place == group->n) {
            continue;
        }
        member.from = member.raft_id;
        member.raft_id = directory_raft_id(member.node, (uint16_t)zone->next_life);
        member.leaving = false;
        member.replaces = 0;
        if (place == group->self) {
            out->recovery.lead = member.raft_id;
        }
        out->members[out->n_members++] = member;
    }
    out->next_life = zone->next_life + 1;
}
