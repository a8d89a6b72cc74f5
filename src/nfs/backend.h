/*
 * backend: what the NFS front asks of whoever has the zones.
 *
 * The daemon implements it with the router; tests implement it with a zone in memory.
 * All calls and callbacks happen on the front's loop thread.
 */
#ifndef NFS_BACKEND_H
#define NFS_BACKEND_H

#include "zone/op.h"

#include <stdbool.h>
#include <stdint.h>

#define NFS_ZONES_MAX 1024u
#define NFS_SLUG_MAX 63u
#define NFS_CLIENT_TEXT_MAX 64u

/* A zone as the root folder shows it. */
struct nfs_zone {
    uint8_t id[16];
    char slug[NFS_SLUG_MAX + 1];
    uint64_t
        fsid; /* From the zone's id, never 0; the root folder's fsid is 0x67760001. */
    bool read_only;
};

enum nfs_squash { NFS_SQUASH_NONE = 0, NFS_SQUASH_ROOT = 1, NFS_SQUASH_ALL = 2 };
struct nfs_export_rule {
    enum nfs_squash squash;
    uint32_t anon_uid;
    uint32_t anon_gid;
    bool allowed;
    bool read_only;
};

/* One op on its way to a zone; all borrowed for the call. */
struct nfs_submit {
    const uint8_t *zone_id;   /* 16 bytes. */
    const struct zone_op *op; /* A WRITE is sealed. */
    const uint8_t *rpc_key;   /* 16 bytes that identify the client's call; zero: none. */
    uint64_t *token; /* Set before done is called: for cancel. NULL: never cancelled. */
};

struct nfs_backend {
    void *ctx;
    /* Copies up to @max zones in rising slug order; returns how many there are. */
    uint32_t (*zones)(void *ctx, struct nfs_zone *out, uint32_t max);
    /* By id or by slug. False: no such zone. */
    bool (*zone_by_id)(void *ctx, const uint8_t id[16], struct nfs_zone *out);
    bool (*zone_by_slug)(void *ctx, const char *slug, struct nfs_zone *out);
    /* What the client at @address (text, without port) may do with the zone (NULL: with
     * the root folder). */
    void (*export_rule)(void *ctx, const char *address, const struct nfs_zone *zone,
                        struct nfs_export_rule *out);
    /* The @i-th client that the zone's (NULL: the root folder's) export names, as text for
     * people. False: there are not so many. NULL instead of a function: everyone. */
    bool (*export_client)(void *ctx, const struct nfs_zone *zone, uint32_t i,
                          char out[NFS_CLIENT_TEXT_MAX]);
    /*
     * Do the op in the zone, once, and call @done with its result (borrowed for the
     * call), possibly before returning. The backend takes copies or references of what
     * it keeps. Never fails: what cannot be done ends as OUT_TRY_LATER. @arg stays good
     * until @done was called, or the op cancelled.
     */
    void (*submit)(void *ctx, const struct nfs_submit *submit,
                   void (*done)(void *arg, const struct zone_result *result), void *arg);
    /*
     * Whoever the op with @token was for is gone, perhaps to another node with the same
     * call: do not begin it any more. What was begun may still be carried out. Its done,
     * which has not been called, never is. Not to be called from within submit.
     */
    void (*cancel)(void *ctx, uint64_t token);
    /* The 32-byte key for the MAC in filehandles; the same on all nodes. */
    const uint8_t *(*handle_key)(void *ctx);
};

#endif
