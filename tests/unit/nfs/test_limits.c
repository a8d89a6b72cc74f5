/* Limits: what clients are told of them, to the byte, and a value beyond. */
#include "lib/check.h"
#include "nfs/nfs3_proto.h"
#include "unit/nfs/stub.h"

static struct stub stub;

static struct call start(uint32_t proc)
{
    stub_init(&stub);
    return call_begin(NFS3_PROGRAM, proc);
}

/* Run it; the reply's status. */
static uint32_t status_of(struct call *call, struct reply *reply)
{
    call_run(&stub, call, reply);
    reply_accepted(reply);
    return reply_u32(reply);
}

/* The quota is the size of the file system, and what is free of it is anybody's; files
 * there may be as many as the free bytes have room for. */
static void fsstat_shows_the_quota(void)
{
    struct call call = start(NFSPROC3_FSSTAT);
    struct reply reply;

    call_put_fh(&call, "alpha", 1);
    stub.result.total_bytes = 1ull << 40;
    stub.result.free_bytes = 1ull << 30;
    stub.result.used_inodes = 77;
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    CHECK_UINT(reply_u32(&reply), 0);
    CHECK_UINT(reply_u64(&reply), 1ull << 40);
    CHECK_UINT(reply_u64(&reply), 1ull << 30);
    CHECK_UINT(reply_u64(&reply), 1ull << 30);
    CHECK_UINT(reply_u64(&reply), 77 + (1 << 18));
    CHECK_UINT(reply_u64(&reply), 1 << 18);
    CHECK_UINT(reply_u64(&reply), 1 << 18);
    CHECK_UINT(reply_u32(&reply), 0);
    reply_end(&reply);
}

/* Names up to 255 bytes, longer ones refused and not cut, case kept and told apart. */
static void pathconf_limits(void)
{
    struct call call = start(NFSPROC3_PATHCONF);
    struct reply reply;

    call_put_fh(&call, "alpha", 1);
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    CHECK_UINT(reply_u32(&reply), 0);
    CHECK_UINT(reply_u32(&reply), 65000);
    CHECK_UINT(reply_u32(&reply), 255);
    CHECK_UINT(reply_u32(&reply), 1);
    CHECK_UINT(reply_u32(&reply), 1);
    CHECK_UINT(reply_u32(&reply), 0);
    CHECK_UINT(reply_u32(&reply), 1);
    reply_end(&reply);
}

/* Nanoseconds of a whole second or more are no time: the argument is refused, and the call
 * is not taken for a garbled one. */
static void impossible_times(void)
{
    for (unsigned field = 0; field < 3; field++) { /* atime, mtime, guard */
        struct call call = start(NFSPROC3_SETATTR);
        struct reply reply;

        call_put_fh(&call, "alpha", 1);
        for (unsigned i = 0; i < 4; i++) {
            rpc_put_u32(&call.xdr, 0);
        }
        for (unsigned i = 0; i < 2; i++) {
            rpc_put_u32(&call.xdr, ZONE_TIME_CLIENT);
            rpc_put_u32(&call.xdr, 5);
            rpc_put_u32(&call.xdr, 999999999 + (i == field));
        }
        rpc_put_u32(&call.xdr, 1);
        rpc_put_u32(&call.xdr, 5);
        rpc_put_u32(&call.xdr, 999999999 + (field == 2));
        CHECK_UINT(status_of(&call, &reply), NFS3ERR_INVAL);
        reply_free(&reply);
        CHECK_UINT(stub.n_ops, 0);
    }
}

TEST_MAIN(CHECK_TEST(fsstat_shows_the_quota), CHECK_TEST(pathconf_limits),
          CHECK_TEST(impossible_times))
