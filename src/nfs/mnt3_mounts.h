/*
 * mnt3_mounts: who has mounted what through this node, as far as MOUNT tells: for DUMP.
 *
 * An entry begins with a MNT that was answered with a handle and ends with UMNT or
 * UMNTALL from the same address. It is a hint, as in every server (RFC 1813 5.2.2): a
 * client that died, or that moved to another node, did not say so, and one that came from
 * another node never mounted here. Nothing is decided by it, and nothing outlives the
 * process. Full, it forgets the oldest entry.
 */
#ifndef NFS_MNT3_MOUNTS_H
#define NFS_MNT3_MOUNTS_H

#include "base/buf.h"

#include <stdint.h>

#define MNT3_MOUNTS_MAX 1024u

struct mnt3_mount {
    char *client; /* Address, text. */
    char *path;   /* "/zone/folder": no empty names, no ".", no slash at the end. */
};

/* All zero is an empty one. */
struct mnt3_mounts {
    uint32_t n;
    struct mnt3_mount *items[MNT3_MOUNTS_MAX]; /* The oldest first. */
};

/* Without memory it is not noted. The same again becomes the newest. */
void mnt3_mounts_add(struct mnt3_mounts *mounts, const char *client, struct slice path);
void mnt3_mounts_remove(struct mnt3_mounts *mounts, const char *client,
                        struct slice path);
void mnt3_mounts_remove_all(struct mnt3_mounts *mounts, const char *client);
void mnt3_mounts_deinit(struct mnt3_mounts *mounts);

#endif
