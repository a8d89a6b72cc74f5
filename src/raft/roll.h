/*
 * roll: is this member's log still what it acknowledged?
 *
 * A member whose disk was put back to an earlier state has forgotten votes and entries
 * that others count on. So members remember of each other the highest point that was
 * acknowledged, and whoever starts calls the roll before it takes part: it asks what the
 * others remember of it, and what they know to be committed.
 *
 * Pure: no clock, no I/O. Used by replica_roll.c and by the simulator.
 *
 * Promises (proof: docs/adr/0005-rolled-back-members.md): a state whose point is below
 * its mark has been rolled back; one that was not never is. Whoever votes only at or above
 * the floor keeps nobody from being elected who could be elected by Raft's own rule.
 */
#ifndef RAFT_ROLL_H
#define RAFT_ROLL_H

#include "raft/rgroup.h"

#include <stdbool.h>
#include <stdint.h>

#define ROLL_MARKS_MAX RGROUP_MEMBERS_MAX

/*
 * Ordered by term, then index. As a mark: in this term the member was sure to have that
 * term's leader's log up to the index, on its disk (0: it was in the term). As a floor:
 * an entry that is committed.
 */
struct roll_point {
    uint64_t term;
    uint64_t index;
};
bool roll_is_below(struct roll_point a, struct roll_point b);

/* What is remembered of the members. Zero is nothing. */
struct roll_mark {
    uint64_t id; /* Raft id. */
    struct roll_point point;
};
struct roll_marks {
    uint32_t n;
    struct roll_mark items[ROLL_MARKS_MAX];
};
/* Raise the mark of @id. True if that is news. Where there is no room, the mark of the
 * oldest term goes. */
bool roll_note(struct roll_marks *marks, uint64_t id, struct roll_point point);
/* Zero if nothing is known. */
struct roll_point roll_find(const struct roll_marks *marks, uint64_t id);

/* One call. Zero is one that is over. */
struct roll {
    bool open;
    uint64_t life;     /* Answers to another life's question count for nothing. */
    uint64_t until_ms; /* So long it waits for those beyond a majority. */
    struct roll_point floor;
    uint32_t n;
    uint64_t answered[RGROUP_MEMBERS_MAX];
};
void roll_begin(struct roll *roll, uint64_t life, uint64_t until_ms);
/* @from answered; it knows @floor to be committed. @leads: it leads, in touch with a
 * majority: then the call is over. */
void roll_answer(struct roll *roll, uint64_t from, struct roll_point floor, bool leads);
/* Over, if all voters of @conf have answered, or by @now_ms a majority with @self. */
void roll_count(struct roll *roll, const struct rgroup_conf *conf, uint64_t self,
                uint64_t now_ms);
bool roll_has_answered(const struct roll *roll, uint64_t id);

#endif
