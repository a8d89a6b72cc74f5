/*
 * rpc_record: calls cut out of a TCP stream (RFC 5531 section 11, record marking).
 *
 * Pure: bytes in, whole records out. Each record is one new buffer that starts with the
 * call's xid, so that what is decoded may point into it. Bounded: a record's bytes and
 * its fragments; a peer that goes past a bound, or sends an empty record, is malformed.
 * A record's buffer grows in steps as its bytes arrive: announcing many costs nothing.
 */
#ifndef NFS_RPC_RECORD_H
#define NFS_RPC_RECORD_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define RPC_RECORD_MAX ((1u << 20) + (64u << 10)) /* A WRITE of 1 MiB and its header. */
#define RPC_FRAGMENTS_MAX 1024u
#define RPC_MARK_BYTES 4u
#define RPC_MARK_LAST 0x80000000u

/* All zero is the beginning of a stream. */
struct rpc_record {
    struct buf *buf;        /* The record so far; NULL before its first byte. */
    uint32_t fragment_left; /* Bytes of the present fragment still to come. */
    uint32_t n_fragments;   /* Of the present record. */
    uint32_t mark_bytes;    /* How much of the next mark is known. */
    uint8_t mark[RPC_MARK_BYTES];
    bool last; /* The present fragment ends the record. */
};

/*
 * Use bytes until a record is whole or none are left; *@used says how many. A whole
 * record is given to the caller in *@out (else NULL). Returns 0, -EPROTO if the stream
 * is malformed (it cannot go on), or -ENOMEM.
 */
int rpc_record_feed(struct rpc_record *record, const void *data, size_t len, size_t *used,
                    struct buf **out);
/*
 * Where the next bytes of the present fragment belong, so that a long one is received
 * in place; returns how many. 0: a mark comes next, or another step of the buffer; use
 * rpc_record_feed.
 */
size_t rpc_record_room(struct rpc_record *record, uint8_t **at);
/* @len bytes, at most the room, have been put there. *@out as in rpc_record_feed. */
void rpc_record_filled(struct rpc_record *record, size_t len, struct buf **out);
/* Memory that the unfinished record has. */
size_t rpc_record_bytes(const struct rpc_record *record);
/* True if a part of a record is there. */
bool rpc_record_begun(const struct rpc_record *record);
/* Drop a record that will not be finished. */
void rpc_record_deinit(struct rpc_record *record);

#endif
