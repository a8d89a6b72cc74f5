/*
 * rpc_xdr: libtirpc's XDR over memory, with a latched error.
 *
 * Like base/wire.h: after the first failure reads give zero and writes are dropped, so
 * that a whole message is decoded or encoded and checked once at its end. Nothing is
 * ever allocated; variable-length bytes are borrowed from the message.
 */
#ifndef NFS_RPC_XDR_H
#define NFS_RPC_XDR_H

#include "base/buf.h"

#include <rpc/rpc.h>
#include <stdbool.h>
#include <stdint.h>

struct rpc_xdr {
    XDR xdrs;
    struct buf *buf; /* The message. */
    size_t base;     /* Where in @buf position 0 is. */
    bool failed;
};

/* Bytes of padding after @len bytes of opaque data (RFC 4506 section 4.10). */
static inline uint32_t rpc_xdr_pad(size_t len)
{
    return (uint32_t)(-len & 3);
}

/* Read @buf from @at to its len. Borrows @buf. */
void rpc_xdr_decode(struct rpc_xdr *xdr, struct buf *buf, size_t at);
/* Write into @buf from @at up to its cap. Borrows @buf; its len is the caller's. */
void rpc_xdr_encode(struct rpc_xdr *xdr, struct buf *buf, size_t at);
/* Where the next byte is in the buffer. */
size_t rpc_xdr_pos(struct rpc_xdr *xdr);

uint32_t rpc_get_u32(struct rpc_xdr *xdr);
uint64_t rpc_get_u64(struct rpc_xdr *xdr);
/* False is 0 and true is 1; anything else fails. */
bool rpc_get_bool(struct rpc_xdr *xdr);
/* @len fixed bytes and their padding into @out; zeroes @out on failure. */
void rpc_get_fixed(struct rpc_xdr *xdr, void *out, uint32_t len);
/* A counted run of bytes of at most @max, borrowed from the message (slice.buf set, no
 * reference taken). */
struct slice rpc_get_opaque(struct rpc_xdr *xdr, uint32_t max);

void rpc_put_u32(struct rpc_xdr *xdr, uint32_t value);
void rpc_put_u64(struct rpc_xdr *xdr, uint64_t value);
void rpc_put_bool(struct rpc_xdr *xdr, bool value);
void rpc_put_fixed(struct rpc_xdr *xdr, const void *data, uint32_t len);
void rpc_put_opaque(struct rpc_xdr *xdr, const void *data, size_t len);

#endif
