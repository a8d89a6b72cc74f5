#include "base/outcome.h"

#include "base/assert.h"

static const char *const names[] = {
    [OUT_OK] = "OK",
    [OUT_PERM] = "PERM",
    [OUT_NOENT] = "NOENT",
    [OUT_IO] = "IO",
    [OUT_ACCES] = "ACCES",
    [OUT_EXIST] = "EXIST",
    [OUT_XDEV] = "XDEV",
    [OUT_NOTDIR] = "NOTDIR",
    [OUT_ISDIR] = "ISDIR",
    [OUT_INVAL] = "INVAL",
    [OUT_FBIG] = "FBIG",
    [OUT_ROFS] = "ROFS",
    [OUT_MLINK] = "MLINK",
    [OUT_NAMETOOLONG] = "NAMETOOLONG",
    [OUT_NOTEMPTY] = "NOTEMPTY",
    [OUT_DQUOT] = "DQUOT",
    [OUT_STALE] = "STALE",
    [OUT_BADHANDLE] = "BADHANDLE",
    [OUT_NOT_SYNC] = "NOT_SYNC",
    [OUT_BAD_COOKIE] = "BAD_COOKIE",
    [OUT_NOTSUPP] = "NOTSUPP",
    [OUT_TOOSMALL] = "TOOSMALL",
    [OUT_BADTYPE] = "BADTYPE",
    [OUT_TRY_LATER] = "TRY_LATER",
    [OUT_MISMATCH] = "MISMATCH",
    [OUT_FULL] = "FULL",
    [OUT_NOT_LEADER] = "NOT_LEADER",
    [OUT_BUSY] = "BUSY",
    [OUT_IN_DOUBT] = "IN_DOUBT",
};

_Static_assert(sizeof names / sizeof names[0] == OUT_MAX, "every outcome has a name");

const char *outcome_name(int outcome)
{
    return outcome >= 0 && outcome < OUT_MAX ? names[outcome] : "?";
}
