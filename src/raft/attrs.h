/*
 * attrs: what is known of inodes' attributes beside the zone's rows, so that a read that
 * asks for nothing else needs no turn of the zone's thread.
 *
 * Pure: no clock, no I/O. What is applied is counted: attrs_touch counts one entry as it
 * is handed over to be applied, and a stamp is that count. Attributes that were read at a
 * stamp (after everything counted until then, and before anything counted later) may be
 * put at any time after: they are taken only if nothing has touched the inode since.
 *
 * Of an entry that may change anything (a REMOVE: only the zone finds whose name it is)
 * it is told when it was applied what it did change, by attrs_told. Until then nothing is
 * known; then all but that is known again.
 *
 * Promises: attrs_get gives attributes as the zone has them after every entry that was
 * counted, or nothing. Does not promise to know anything: of an inode whose place is
 * taken it forgets what was not asked for longest.
 *
 * A file without a name is not kept: it may go with any entry (zone/op_touch.c).
 */
#ifndef RAFT_ATTRS_H
#define RAFT_ATTRS_H

#include "zone/op.h"

#include <stdbool.h>
#include <stdint.h>

#define ATTRS_WAYS 4u
#define ATTRS_SETS 16384u  /* With ATTRS_WAYS inodes each: 8 MiB. */
#define ATTRS_PLACES 4096u /* By inode: when it, or one beside it, was touched last. */

struct attrs_known {
    uint64_t stamp; /* They were right then; 0: the place is free. */
    struct zone_attr attr;
};

/* All zero is empty. */
struct attrs {
    uint64_t clock;   /* Entries counted. */
    uint64_t forgot;  /* What is older than this stamp is not known any more. */
    bool waits;       /* An entry counted may change anything, and has not told yet. */
    bool keeps_stale; /* Tests only: nothing is ever forgotten; */
    bool keeps_told;  /* likewise, but for what attrs_touch was given. */
    uint64_t touched[ATTRS_PLACES];
    struct attrs_known (*sets)[ATTRS_WAYS]; /* NULL until somebody has read. */
};

void attrs_deinit(struct attrs *attrs);
/* The present stamp. */
uint64_t attrs_stamp(const struct attrs *attrs);
/* True if anything was ever put: else an entry need not be looked at. */
bool attrs_used(const struct attrs *attrs);
/* Count one entry, which may change the @n inodes of @ino; ZONE_TOUCH_ANY: whichever,
 * and attrs_told follows. Its own results may be put with the stamp after it. */
void attrs_touch(struct attrs *attrs, const uint64_t *ino, uint32_t n);
/* The entry whose counting gave @stamp was applied: it changed the @n inodes of @ino, or
 * ZONE_TOUCH_ANY: it is not known which. */
void attrs_told(struct attrs *attrs, uint64_t stamp, const uint64_t *ino, uint32_t n);
/* All that was counted has told, or did nothing and is counted again if it is to. */
void attrs_told_all(struct attrs *attrs);
/* Count one entry that may change anything; or the zone's state is another one. */
void attrs_forget(struct attrs *attrs);
bool attrs_get(struct attrs *attrs, struct zone_handle obj, struct zone_attr *out);
/* @attr was read at @stamp. @first: make room for them, if that was not done yet. */
void attrs_put(struct attrs *attrs, uint64_t stamp, const struct zone_attr *attr,
               bool first);

#endif
