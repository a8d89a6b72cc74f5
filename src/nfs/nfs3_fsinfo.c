/* NFSv3 FSINFO (RFC 1813 3.3.19). */
#include "nfs/nfs3_procs.h"

enum {
    IO_MULT = 4096,    /* Transfers are best multiples of this. */
    DTPREF = 64 << 10, /* Bytes of a good READDIR. */
    TIME_DELTA_NSEC = 1,
};

void nfs3_fsinfo_decode(struct nfs3_call *call, struct rpc_xdr *args)
{
    call->op.type = ZONE_OP_GETATTR;
    call->fh = nfs3_get_fh(args);
}

void nfs3_fsinfo_encode(struct rpc_request *request, const struct zone_result *result,
                        struct rpc_xdr *xdr)
{
    uint32_t properties = NFS3_FSF_LINK | NFS3_FSF_SYMLINK | NFS3_FSF_HOMOGENEOUS;

    nfs3_put_obj_attr(&request->nfs3, result, xdr);
    if (result->outcome != 0) {
        return;
    }
    /* NFSv3 has no property "read-only"; that times cannot be set is what it can say. */
    if (!request->nfs3.read_only) {
        properties |= NFS3_FSF_CANSETTIME;
    }
    rpc_put_u32(xdr, ZONE_IO_MAX); /* rtmax */
    rpc_put_u32(xdr, ZONE_IO_MAX); /* rtpref */
    rpc_put_u32(xdr, IO_MULT);     /* rtmult */
    rpc_put_u32(xdr, ZONE_IO_MAX); /* wtmax */
    rpc_put_u32(xdr, ZONE_IO_MAX); /* wtpref */
    rpc_put_u32(xdr, IO_MULT);     /* wtmult */
    rpc_put_u32(xdr, DTPREF);
    rpc_put_u64(xdr, ZONE_FILE_SIZE_MAX);
    nfs3_put_time(xdr, (struct zone_time){.nsec = TIME_DELTA_NSEC});
    rpc_put_u32(xdr, properties);
}
