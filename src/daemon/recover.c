#include "daemon/recover.h"

static bool is_later(const struct replica_log_end *a, const struct replica_log_end *b)
{
    return a->last_term != b->last_term ? a->last_term > b->last_term
                                        : a->last_index > b->last_index;
}

/* True if @other should begin rather than @self. */
static bool is_better(const struct recover_member *other,
                      const struct recover_member *self)
{
    return !other->held || (other->holds && is_later(&other->end, &self->end));
}

void recover_decide(const struct recover_member *members, uint32_t n, uint32_t self,
                    struct recover_plan *plan)
{
    const struct recover_member *reached = NULL;
    const struct recover_member *better = NULL;
    uint32_t voters = 0;
    uint32_t alive = 0;

    *plan = (struct recover_plan){0};
    for (uint32_t i = 0; i < n; i++) {
        const struct recover_member *member = &members[i];

        voters += member->voter ? 1 : 0;
        if (!member->answers) {
            reached = member->heard_by && !member->told ? member : reached;
            continue;
        }
        alive += member->voter ? 1 : 0;
        plan->term = member->end.term > plan->term ? member->end.term : plan->term;
        if (member->end.commit_index > plan->index) {
            plan->index = member->end.commit_index;
        }
        if (i != self && is_better(member, &members[self]) &&
            (better == NULL || (better->held && !member->held) ||
             (better->held == member->held && is_later(&member->end, &better->end)))) {
            better = member;
        }
    }
    if (!members[self].answers || !members[self].voter) {
        plan->verdict = RECOVER_ALONE;
    } else if (alive > voters / 2) {
        plan->verdict = RECOVER_MAJORITY;
    } else if (reached != NULL) {
        plan->verdict = RECOVER_REACHED;
        plan->other = reached;
    } else if (better != NULL) {
        plan->verdict = RECOVER_BEHIND;
        plan->other = better;
    }
}

void recover_row(const struct directory_zone *zone, const struct recover_member *members,
                 uint32_t n, uint32_t self, const struct recover_plan *plan,
                 uint64_t time_s, struct directory_zone *out)
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
        struct directory_member *member = &out->members[out->n_members];

        *member = zone->members[i];
        for (uint32_t k = 0; k < n; k++) {
            if (members[k].raft_id != zone->members[i].raft_id || !members[k].answers ||
                (member->leaving && k != self)) {
                continue;
            }
            member->from = member->raft_id;
            member->raft_id = directory_raft_id(member->node, (uint16_t)zone->next_life);
            member->leaving = false;
            member->replaces = 0;
            if (k == self) {
                out->recovery.lead = member->raft_id;
            }
            out->n_members++;
            break;
        }
    }
    out->next_life = zone->next_life + 1;
}
