/*
 * outcome: the normal answers of the file system, the same on every replica.
 *
 * Functions return 0 for success, an outcome (> 0) for a normal refusal, or a fault
 * (< 0, a negated errno) when this node could not. See docs/hacking.md.
 * The numbers are written into replicated replies: never renumber, only append.
 */
#ifndef BASE_OUTCOME_H
#define BASE_OUTCOME_H

#include <stdbool.h>

enum outcome {
    OUT_OK = 0,
    OUT_PERM = 1,
    OUT_NOENT = 2,
    OUT_IO = 3, /* This data cannot be had from any member. */
    OUT_ACCES = 4,
    OUT_EXIST = 5,
    OUT_XDEV = 6,
    OUT_NOTDIR = 7,
    OUT_ISDIR = 8,
    OUT_INVAL = 9,
    OUT_FBIG = 10,
    OUT_ROFS = 11,
    OUT_MLINK = 12,
    OUT_NAMETOOLONG = 13,
    OUT_NOTEMPTY = 14,
    OUT_DQUOT = 15,
    OUT_STALE = 16,
    OUT_BADHANDLE = 17,
    OUT_NOT_SYNC = 18, /* A guarded SETATTR lost its race (RFC 1813 3.3.2). */
    OUT_BAD_COOKIE = 19,
    OUT_NOTSUPP = 20,
    OUT_TOOSMALL = 21,
    OUT_BADTYPE = 22,
    OUT_TRY_LATER = 23, /* NFS3ERR_JUKEBOX: ask again with a new xid. */
    OUT_MISMATCH = 24,  /* A compare-and-set found another version. */
    OUT_FULL = 25,      /* A bounded table or queue has no room. */
    OUT_NOT_LEADER = 26,
    OUT_BUSY = 27, /* A change of the same kind is still under way. */
    OUT_IN_DOUBT =
        28, /* Carried out or not, nobody can say: ask again as the same call. */
    OUT_MAX
};

/* A short name for logs and messages, such as "EXIST". */
const char *outcome_name(int outcome);

#endif
