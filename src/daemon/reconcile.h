/*
 * reconcile: the next single step from raft's members to those that the directory names.
 *
 * Pure. A view of the directory may be old, so nothing is taken away without positive
 * evidence: a row that says "leaving", a raft id below the row's next life that the row
 * no longer lists, or a view that is known to be whole.
 */
#ifndef DAEMON_RECONCILE_H
#define DAEMON_RECONCILE_H

#include "daemon/directory.h"
#include "raft/replica.h"

/* Nodes that vote in the grapevine's own group; the others stand by. */
#define RECONCILE_HOME_VOTERS 5u

struct reconcile_wanted {
    bool whole;         /* Who is not listed is to go. */
    uint64_t next_life; /* Who is not listed and has a life below is to go; 0: nobody. */
    uint32_t n;
    struct {
        uint64_t id; /* Raft id. */
        bool voter;
        bool leaving;
    } members[RGROUP_MEMBERS_MAX];
};

enum reconcile_type {
    RECONCILE_NONE = 0,
    RECONCILE_CHANGE = 1,   /* Make .conf the group's configuration. */
    RECONCILE_TRANSFER = 2, /* Hand leadership to .successor. */
};

struct reconcile_plan {
    enum reconcile_type type;
    struct rgroup_conf conf;
    uint64_t successor;
};

/* What the directory wants of a zone's group. */
void reconcile_zone(const struct directory_zone *zone, struct reconcile_wanted *out);
/* What it wants of the grapevine's own group. @last_index: of that group's log. */
void reconcile_home(const struct directory *directory, uint64_t last_index,
                    struct reconcile_wanted *out);

/*
 * What the leader @self does next: add one as stand-by, promote one that has caught up,
 * remove one (never itself: it hands over first, to a voter that stays, if there is one).
 * NONE for who is no leader, or hands over already.
 */
void reconcile_next(const struct replica_status *status, uint64_t self,
                    const struct reconcile_wanted *wanted, struct reconcile_plan *plan);

/* When a configuration that lacks a member is certainly committed. Zero: not begun. */
struct reconcile_mark {
    uint64_t term;
    uint64_t index;
};
/*
 * The row without the members that are leaving and that raft no longer has, once that is
 * committed: a configuration in a new leader's log may still be taken back, and a member
 * without a row removes its data. Call with a zeroed @mark after every change and every
 * turn as somebody else than the leader. False: nothing to drop (yet).
 */
bool reconcile_dropped(const struct directory_zone *zone,
                       const struct replica_status *status, struct reconcile_mark *mark,
                       struct directory_zone *rest);

#endif
