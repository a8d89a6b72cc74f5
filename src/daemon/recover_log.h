/*
 * recover_log: the log of a member with which a recovered zone goes on.
 *
 * The member that leads applies all that its log holds, which becomes committed by that,
 * and goes on from there as from a snapshot, with the configuration in which it is the only
 * voter, under its new raft id, in a new term: it is its own majority. The others write
 * nothing: under their new raft ids they are in no configuration yet, follow, and are
 * added like new members, but have their data.
 *
 * That snapshot's index is one that no entry ever had, far above all of them: indexes are
 * in filehandles (generations), versions of blocks and rows, replies; those of entries that
 * were lost must not come to mean something else. It is the time of the recovery, in
 * units of 2^-20 s: no zone writes a million entries a second, so at no time has any
 * life of it, known or not, had an index as high.
 *
 * Done again after a crash it does what is left: rows first, in one step, then the journal.
 */
#ifndef DAEMON_RECOVER_LOG_H
#define DAEMON_RECOVER_LOG_H

#include "raft/replica.h"
#include "store/journal.h"
#include "zone/zone.h"

struct recover_log {
    uint64_t raft_id; /* The new one. */
    const char *label;
    bool lead;
    uint64_t term_above; /* Its term is above this one and the journal's. */
    uint64_t index_max;  /* The highest index that anybody knew to be committed. */
    uint64_t time_s;     /* When the recovery was decided, since 1970. */
    struct journal_state state;
    const struct replica_entry *entries; /* All of the journal, */
    uint32_t n_entries;
    uint64_t conf_index; /* The newest configuration in the journal, */
    struct slice conf;   /* borrowed; empty: it has none. */
};

/*
 * Before a carried member begins. 0; *@forced: journal and rows were changed, and must be
 * opened again. -ESTALE: it has applied, or pulled, more than the one that leads may have.
 * -EUCLEAN: it is to lead, and lacks what it was chosen for. Else a fault. Blocks.
 */
int recover_log(const struct recover_log *what, struct journal *journal,
                struct zone *zone, bool *forced);

#define RECOVER_SECOND (UINT64_C(1) << 20) /* Indexes of a second, */
#define RECOVER_STEP (UINT64_C(1) << 40)   /* and left out if the clock is not right. */
/* The index at which a zone goes on whose last entry is @last. */
uint64_t recover_index(uint64_t last, uint64_t time_s);

#endif
