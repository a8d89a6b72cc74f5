#include "nfs/rpc_xdr.h"

#include "base/assert.h"

#include <string.h>

static void create(struct rpc_xdr *xdr, struct buf *buf, size_t at, size_t end,
                   enum xdr_op op)
{
    ASSERT(at <= end && end <= buf->cap && end - at <= UINT32_MAX / 2);
    *xdr = (struct rpc_xdr){.buf = buf, .base = at};
    xdrmem_create(&xdr->xdrs, (char *)buf->data + at, (u_int)(end - at), op);
}

void rpc_xdr_decode(struct rpc_xdr *xdr, struct buf *buf, size_t at)
{
    create(xdr, buf, at, buf->len, XDR_DECODE);
}

void rpc_xdr_encode(struct rpc_xdr *xdr, struct buf *buf, size_t at)
{
    create(xdr, buf, at, buf->cap, XDR_ENCODE);
}

size_t rpc_xdr_pos(struct rpc_xdr *xdr)
{
    return xdr->base + xdr_getpos(&xdr->xdrs);
}

uint32_t rpc_get_u32(struct rpc_xdr *xdr)
{
    uint32_t value = 0;

    if (xdr->failed || !xdr_uint32_t(&xdr->xdrs, &value)) {
        xdr->failed = true;
        return 0;
    }
    return value;
}

uint64_t rpc_get_u64(struct rpc_xdr *xdr)
{
    uint64_t high = rpc_get_u32(xdr);

    return high << 32 | rpc_get_u32(xdr);
}

bool rpc_get_bool(struct rpc_xdr *xdr)
{
    uint32_t value = rpc_get_u32(xdr);

    if (value > 1) {
        xdr->failed = true;
    }
    return !xdr->failed && value == 1;
}

void rpc_get_fixed(struct rpc_xdr *xdr, void *out, uint32_t len)
{
    if (xdr->failed || !xdr_opaque(&xdr->xdrs, out, len)) {
        xdr->failed = true;
        memset(out, 0, len);
    }
}

struct slice rpc_get_opaque(struct rpc_xdr *xdr, uint32_t max)
{
    uint32_t len = rpc_get_u32(xdr);
    size_t at = rpc_xdr_pos(xdr);
    size_t left = xdr->buf->len - at;

    /* xdr_bytes would copy into memory of its own. */
    if (xdr->failed || len > max || len > left || rpc_xdr_pad(len) > left - len ||
        !xdr_setpos(&xdr->xdrs, (u_int)(at - xdr->base + len + rpc_xdr_pad(len)))) {
        xdr->failed = true;
        return (struct slice){0};
    }
    return (struct slice){.buf = xdr->buf, .data = xdr->buf->data + at, .len = len};
}

void rpc_put_u32(struct rpc_xdr *xdr, uint32_t value)
{
    if (xdr->failed || !xdr_uint32_t(&xdr->xdrs, &value)) {
        xdr->failed = true;
    }
}

void rpc_put_u64(struct rpc_xdr *xdr, uint64_t value)
{
    rpc_put_u32(xdr, (uint32_t)(value >> 32));
    rpc_put_u32(xdr, (uint32_t)value);
}

void rpc_put_bool(struct rpc_xdr *xdr, bool value)
{
    rpc_put_u32(xdr, value ? 1 : 0);
}

void rpc_put_fixed(struct rpc_xdr *xdr, const void *data, uint32_t len)
{
    /* xdr_opaque reads only, when it encodes. */
    union {
        const void *in;
        char *xdr;
    } at = {.in = data};

    if (xdr->failed || !xdr_opaque(&xdr->xdrs, at.xdr, len)) {
        xdr->failed = true;
    }
}

void rpc_put_opaque(struct rpc_xdr *xdr, const void *data, size_t len)
{
    if (len > UINT32_MAX / 2) {
        xdr->failed = true;
        return;
    }
    rpc_put_u32(xdr, (uint32_t)len);
    rpc_put_fixed(xdr, data, (uint32_t)len);
}
