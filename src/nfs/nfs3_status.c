#include "nfs/nfs3_status.h"

#include "base/outcome.h"

enum nfsstat3 nfs3_status(int outcome)
{
    static const enum nfsstat3 table[OUT_MAX] = {
        [OUT_OK] = NFS3_OK,
        [OUT_PERM] = NFS3ERR_PERM,
        [OUT_NOENT] = NFS3ERR_NOENT,
        [OUT_IO] = NFS3ERR_IO,
        [OUT_ACCES] = NFS3ERR_ACCES,
        [OUT_EXIST] = NFS3ERR_EXIST,
        [OUT_XDEV] = NFS3ERR_XDEV,
        [OUT_NOTDIR] = NFS3ERR_NOTDIR,
        [OUT_ISDIR] = NFS3ERR_ISDIR,
        [OUT_INVAL] = NFS3ERR_INVAL,
        [OUT_FBIG] = NFS3ERR_FBIG,
        [OUT_ROFS] = NFS3ERR_ROFS,
        [OUT_MLINK] = NFS3ERR_MLINK,
        [OUT_NAMETOOLONG] = NFS3ERR_NAMETOOLONG,
        [OUT_NOTEMPTY] = NFS3ERR_NOTEMPTY,
        [OUT_DQUOT] = NFS3ERR_DQUOT,
        [OUT_STALE] = NFS3ERR_STALE,
        [OUT_BADHANDLE] = NFS3ERR_BADHANDLE,
        [OUT_NOT_SYNC] = NFS3ERR_NOT_SYNC,
        [OUT_BAD_COOKIE] = NFS3ERR_BAD_COOKIE,
        [OUT_NOTSUPP] = NFS3ERR_NOTSUPP,
        [OUT_TOOSMALL] = NFS3ERR_TOOSMALL,
        [OUT_BADTYPE] = NFS3ERR_BADTYPE,
        [OUT_TRY_LATER] = NFS3ERR_JUKEBOX,
        [OUT_MISMATCH] = NFS3ERR_SERVERFAULT,
        [OUT_FULL] = NFS3ERR_JUKEBOX,
        [OUT_NOT_LEADER] = NFS3ERR_JUKEBOX,
        [OUT_BUSY] = NFS3ERR_JUKEBOX,
        [OUT_IN_DOUBT] = NFS3ERR_JUKEBOX, /* Not sent: see nfs3_reply. */
    };

    if (outcome < 0 || outcome >= OUT_MAX) {
        return NFS3ERR_SERVERFAULT;
    }
    return table[outcome];
}

enum mnt3_stat mnt3_status(int outcome)
{
    switch (outcome) {
    case OUT_OK:
        return MNT3_OK;
    case OUT_NOENT:
    case OUT_STALE:
        return MNT3ERR_NOENT;
    case OUT_IO:
        return MNT3ERR_IO;
    case OUT_PERM:
    case OUT_ACCES:
        return MNT3ERR_ACCES;
    case OUT_NOTDIR:
        return MNT3ERR_NOTDIR;
    case OUT_INVAL:
        return MNT3ERR_INVAL;
    case OUT_NAMETOOLONG:
        return MNT3ERR_NAMETOOLONG;
    default:
        return MNT3ERR_SERVERFAULT;
    }
}
