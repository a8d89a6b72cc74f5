#include "zone/state.h"

#include <sys/stat.h>

bool zone_in_group(const struct zone_cred *cred, uint32_t gid)
{
    if (cred->gid == gid) {
        return true;
    }
    for (uint32_t i = 0; i < cred->n_groups; i++) {
        if (cred->groups[i] == gid) {
            return true;
        }
    }
    return false;
}

/* uid 0 may everything, but execute only what somebody may execute. */
static bool root_may(const struct store_inode *inode, unsigned want)
{
    return (want & ZONE_MAY_EXEC) == 0 || inode->type == ZONE_DIR ||
           (inode->mode & (S_IXUSR | S_IXGRP | S_IXOTH)) != 0;
}

int zone_may(const struct store_inode *inode, const struct zone_cred *cred, unsigned want)
{
    unsigned bits;

    if (cred->uid == 0) {
        return root_may(inode, want) ? 0 : OUT_ACCES;
    }
    if (cred->uid == inode->uid) {
        bits = inode->mode >> 6;
    } else if (zone_in_group(cred, inode->gid)) {
        bits = inode->mode >> 3;
    } else {
        bits = inode->mode;
    }
    return (bits & want) == want ? 0 : OUT_ACCES;
}

int zone_may_data(const struct store_inode *inode, const struct zone_cred *cred,
                  unsigned want)
{
    /* A client that opened a file keeps it open when its mode changes, and pages an
     * executable in that it may not read (RFC 1813 4.4). */
    if (cred->uid == inode->uid || zone_may(inode, cred, want) == 0) {
        return 0;
    }
    return want == ZONE_MAY_READ ? zone_may(inode, cred, ZONE_MAY_EXEC) : OUT_ACCES;
}

int zone_may_remove(const struct store_inode *dir, const struct store_inode *victim,
                    const struct zone_cred *cred)
{
    if (zone_may(dir, cred, ZONE_MAY_WRITE | ZONE_MAY_EXEC) != 0) {
        return OUT_ACCES;
    }
    if ((dir->mode & S_ISVTX) != 0 && cred->uid != 0 && cred->uid != dir->uid &&
        cred->uid != victim->uid) {
        return OUT_PERM;
    }
    return 0;
}

uint32_t zone_mode_written(const struct store_inode *inode, const struct zone_cred *cred)
{
    uint32_t mode = inode->mode;

    if (cred->uid == 0) {
        return mode;
    }
    mode &= ~(uint32_t)S_ISUID;
    if ((mode & S_IXGRP) != 0) {
        mode &= ~(uint32_t)S_ISGID;
    }
    return mode;
}
