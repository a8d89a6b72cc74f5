/*
 * recover_log: the log of a member with which a recovered zone goes on.
 *
 * The member that leads writes one more entry into its own log: the configuration in
 * which it is the only voter, under its new raft id, in a new term. Started from that, it
 * is its own majority, and all that its log holds becomes committed. The others write
 * nothing: under their new raft ids they are in no configuration yet, follow, and are
 * added like new members, but have their data.
 *
 * Done again after a crash it does nothing: the newest configuration then has the new id.
 */
#ifndef DAEMON_RECOVER_LOG_H
#define DAEMON_RECOVER_LOG_H

#include "raft/rgroup.h"
#include "store/journal.h"
#include "zone/zone.h"

struct recover_log {
    uint64_t raft_id; /* The new one. */
    const char *label;
    bool lead;
    uint64_t term_above; /* Its term is above this one and the journal's. */
    uint64_t index_max;  /* The highest index that anybody knew to be committed. */
    struct journal_state state;
    uint64_t conf_index; /* The newest configuration in the journal, */
    struct slice conf;   /* borrowed; empty: it has none. */
};

/*
 * Before a carried member begins. 0; *@forced: the journal was appended to and must be
 * opened again. -ESTALE: it has applied more than the one that leads may have. -EUCLEAN:
 * it is to lead, and lacks what it was chosen for. Else a fault. Blocks.
 */
int recover_log(const struct recover_log *what, struct journal *journal,
                struct zone *zone, bool *forced);

#endif
