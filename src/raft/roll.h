/*
 * roll: is this member's log still what it acknowledged?
 *
 * A member whose disk was put back to an earlier state has forgotten votes and entries
 * that others count on. So members remember of each other the highest point that was
 * acknowledged, and whoever starts calls the roll before it takes part: it asks what the
 * others remember of it, and what they know to be committed.
 *
 * Pure: no clock, no I/O. Used by replica_roll.c and by the simulator. roll_wire.c: answers
 * as bytes.
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

/*
 * The voters by whom a member would count its votes, if it stood for election. @index is
 * that of the configuration's entry, 0 if there is none or it was not told; @committed is
 * that of the last configuration that the member knows to be committed, this or the one
 * before it.
 */
struct roll_conf {
    uint64_t index;
    uint64_t committed;
    uint32_t n;
    uint64_t voters[RGROUP_MEMBERS_MAX]; /* Raft ids, each once. */
};
/* Those of @conf; @index and @committed are left alone. */
void roll_voters(struct roll_conf *out, const struct rgroup_conf *conf);

/* What another knows. */
struct roll_answer {
    uint64_t life; /* The question's. */
    struct roll_point mark;
    struct roll_point floor;
    bool leads; /* In touch with a majority without the asker. */
    bool bare;  /* As the version before gives it and understands it: without the rest. */
    struct roll_point end; /* Of the answerer's log: the last entry. */
    struct roll_conf conf;
};
#define ROLL_ANSWER_BYTES_MAX (8u * (11u + RGROUP_MEMBERS_MAX))
/* To bytes and from all that is left of them. 0 or -EPROTO. */
struct wire_enc;
struct wire_dec;
void roll_answer_put(struct wire_enc *enc, const struct roll_answer *answer);
int roll_answer_get(struct wire_dec *dec, bool bare, struct roll_answer *out);

/* One call. Zero is one that is over. */
struct roll {
    bool open;
    uint64_t life;     /* Answers to another life's question count for nothing. */
    uint64_t until_ms; /* So long it waits for those beyond a majority. */
    struct roll_point floor;
    uint64_t committed; /* A configuration below this index is superseded; */
    bool untold;        /* but not the own one: somebody answered who tells none. */
    uint32_t n;
    uint64_t answered[RGROUP_MEMBERS_MAX];
};
void roll_begin(struct roll *roll, uint64_t life, uint64_t until_ms);
/* @from answered. If it leads the call is over. */
void roll_answer(struct roll *roll, uint64_t from, const struct roll_answer *answer);
/* Over, unless @own is superseded, if all its voters have answered, or by @now_ms a
 * majority of them with @self. */
void roll_count(struct roll *roll, const struct roll_conf *own, uint64_t self,
                uint64_t now_ms);
/* By the configuration of @told, somebody who has just answered: over, unless that is
 * superseded or its teller below the floor, if by @now_ms a majority of its voters with
 * @self has answered. */
void roll_count_told(struct roll *roll, const struct roll_answer *told, uint64_t self,
                     uint64_t now_ms);
bool roll_has_answered(const struct roll *roll, uint64_t id);

#endif
