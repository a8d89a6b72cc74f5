/*
 * reconcile: the next single step from raft's members to those that the directory names.
 *
 * Pure. A view of the directory may be old, so nothing is taken away without positive
 * evidence: a row that says "leaving", a raft id below the row's next life that the row
 * no longer lists, or a view that is known to be whole. Nor is anybody added on an old
 * view's word, which may name a member that was removed since: see RECONCILE_ADD.
 */
#ifndef DAEMON_RECONCILE_H
#define DAEMON_RECONCILE_H

#include "daemon/directory.h"
#include "raft/replica.h"

/* Nodes that vote in the grapevine's own group; the others stand by. */
#define RECONCILE_HOME_VOTERS 5u

struct reconcile_wanted {
    bool whole;         /* Who is not listed is to go. */
    bool stale;         /* Who is listed is not to be added yet. */
    uint64_t recent_ms; /* A member heard within counts as alive. */
    uint64_t next_life; /* Who is not listed and has a life below is to go; 0: nobody. */
    uint32_t n;
    struct {
        uint64_t id; /* Raft id. */
        bool voter;
        bool leaving;
        uint64_t replaces; /* Who leaves once this one votes, not before; 0: nobody. */
    } members[RGROUP_MEMBERS_MAX];
};

enum reconcile_type {
    RECONCILE_NONE = 0,
    RECONCILE_CHANGE = 1,   /* Make .conf the group's configuration. */
    RECONCILE_TRANSFER = 2, /* Hand leadership to .successor. */
    RECONCILE_ADD = 3,      /* As CHANGE, if the row, read by this leader in this term in
                               a way that sees every earlier change, still is the same: a
                               raft id that was taken out of it never comes back. */
    RECONCILE_WAIT = 4,     /* Somebody is to go, but too few of those that would be left
                               are alive: the group would stand still. */
};

struct reconcile_plan {
    enum reconcile_type type;
    struct rgroup_conf conf;
    uint64_t successor;
};

/* What the directory wants of a zone's group. @recent_ms as in reconcile_wanted. */
void reconcile_zone(const struct directory_zone *zone, uint64_t recent_ms,
                    struct reconcile_wanted *out);
/* What it wants of the grapevine's own group, whose log ends at @last_index. All raft ids
 * in it have the life of @self. */
void reconcile_home(const struct directory *directory, uint64_t self, uint64_t last_index,
                    uint64_t recent_ms, struct reconcile_wanted *out);

/*
 * What the leader @self does next: add one as stand-by, promote one that has caught up,
 * remove one (never itself: it hands over first, to a living voter that stays, if there
 * is one). NONE for who is no leader, or hands over already.
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
