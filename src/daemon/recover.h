/*
 * recover: may a group go on without the majority of its voters, and on which member?
 *
 * Pure. A group that lost its majority for good is begun anew by one member, which takes
 * all that its log holds as committed. It must hold every entry that any reachable member
 * knows to be committed: that one may have applied and answered it. Of those that do, the
 * one with the most advanced log loses least. (The most advanced log alone is not enough:
 * it may end in entries of a leader that was deposed before it reached anybody else,
 * Raft figure 8.)
 *
 * A member that had just pulled knows of entries that its log may lack, since it has blocks
 * as of them (docs/adr/0002): who has these entries goes first. If nobody has, it may begin
 * all the same, and the plan says so.
 */
#ifndef DAEMON_RECOVER_H
#define DAEMON_RECOVER_H

#include "daemon/directory.h"
#include "raft/replica.h"

/* One member as it said itself, or as one that does not answer. */
struct recover_member {
    uint64_t node;
    uint64_t raft_id;
    bool voter;    /* In the configuration that the asker has. */
    bool answers;  /* It runs, under this raft id. */
    bool told;     /* Its node answers, be it that its member does not run. */
    bool opens;    /* Its node answers, and is still reading its data. */
    bool heard_by; /* Another node reaches its node. */
    struct replica_log_end end;
    /* Blocks that it pulled are as of entries up to this one, committed where they came from;
     * 0 or in its log: what it has is of one index. */
    uint64_t ahead_index;
    bool held;  /* The asker's log has what this one knows to be committed. */
    bool holds; /* This one's log has what the asker knows to be committed. */
};

struct recover_group {
    const struct recover_member *members;
    uint32_t n;
    uint32_t self; /* The asker's place. */
};

enum recover_verdict {
    RECOVER_GO = 0,
    RECOVER_MAJORITY = 1, /* A majority of the voters answers: it elects a leader. */
    RECOVER_BEHIND = 2,   /* .other has what this one lacks. */
    RECOVER_REACHED = 3,  /* .other is not gone: another node reaches it. */
    RECOVER_EMPTY = 4,    /* The asker does not run, or has nothing yet. */
    RECOVER_OPENS = 5,    /* What .other has is not known yet: look again. */
};

struct recover_plan {
    enum recover_verdict verdict;
    const struct recover_member *other;
    uint64_t term;  /* The highest of all that answer. */
    uint64_t index; /* The highest index that one of them knows to be committed. */
    bool torn;      /* The asker has blocks as of entries that nobody who answers has. */
};

void recover_decide(const struct recover_group *group, struct recover_plan *plan);

/* @zone's row as it is afterwards: who answers goes on, under a new raft id, led by the
 * asker's member. */
void recover_row(const struct directory_zone *zone, const struct recover_group *group,
                 const struct recover_plan *plan, uint64_t time_s,
                 struct directory_zone *out);

#endif
