/*
 * nfs3_atime: when objects were last read through this node.
 *
 * A read must not make a log entry, so the times of reads stay in this node's memory
 * (ADR 3). Every attribute that leaves goes past here: an object that was read has the
 * time of its last read as its atime, until somebody sets its atime. Other nodes do not
 * know of it, and a restart forgets it: then the atime in the zone counts again.
 *
 * Bounded: NFS3_ATIMES_MAX objects; what was not read for longest is forgotten first.
 */
#ifndef NFS_NFS3_ATIME_H
#define NFS_NFS3_ATIME_H

#include "zone/op.h"

#include <stdint.h>

#define NFS3_ATIMES_MAX 65536u

struct rpc_request;
struct nfs3_atimes;

/* @now gives the present time of day. Returns 0 or -ENOMEM. */
int nfs3_atimes_new(struct zone_time (*now)(void), struct nfs3_atimes **out);
void nfs3_atimes_free(struct nfs3_atimes *atimes);

/* The object of @attr, as its zone has it, is read now. The time is no earlier than its
 * last change, wherever the clocks of two nodes stand. */
void nfs3_atime_read(struct nfs3_atimes *atimes, const uint8_t zone_id[16],
                     const struct zone_attr *attr);
/* Its atime was set: what was read before does not count any more. */
void nfs3_atime_forget(struct nfs3_atimes *atimes, const uint8_t zone_id[16],
                       struct zone_handle obj);
/* Put the time of the last read into @attr, if it was read since its atime was set. */
void nfs3_atime_show(const struct nfs3_atimes *atimes, const uint8_t zone_id[16],
                     struct zone_attr *attr);

/* The answer to @request passes: note what it read or set, and show. */
void nfs3_atime_pass(const struct rpc_request *request, struct zone_result *result);

#endif
