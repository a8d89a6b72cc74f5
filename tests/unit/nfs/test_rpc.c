/* RPC headers: what is accepted, and how the rest is refused (RFC 5531 section 9). */
#include "lib/check.h"
#include "nfs/nfs3_proto.h"
#include "unit/nfs/stub.h"

#include <errno.h>

static struct stub stub;

/* Program, procedure: what comes back in accept_stat. */
static uint32_t accept_stat_of(uint32_t prog, uint32_t proc, struct reply *reply)
{
    struct call call = call_begin(prog, proc);

    stub_init(&stub);
    call_run(&stub, &call, reply);
    CHECK_UINT(reply_u32(reply), REPLY);
    CHECK_UINT(reply_u32(reply), MSG_ACCEPTED);
    CHECK_UINT(reply_u32(reply), AUTH_NONE);
    CHECK_UINT(reply_u32(reply), 0);
    return reply_u32(reply);
}

/* NULL of both programs is answered with nothing. */
static void null_is_answered(void)
{
    struct reply reply;

    CHECK_UINT(accept_stat_of(NFS3_PROGRAM, NFSPROC3_NULL, &reply), SUCCESS);
    reply_end(&reply);
    CHECK_UINT(accept_stat_of(MNT3_PROGRAM, MOUNTPROC3_NULL, &reply), SUCCESS);
    reply_end(&reply);
}

/* Linux asks for ACLs (100227) at the same port and needs to hear that there are none. */
static void other_programs_are_unavailable(void)
{
    struct reply reply;

    CHECK_UINT(accept_stat_of(100227, 0, &reply), PROG_UNAVAIL);
    reply_end(&reply);
    CHECK_UINT(accept_stat_of(100000, 0, &reply), PROG_UNAVAIL);
    reply_end(&reply);
}

/* Procedures past either table's end are refused, not looked up. */
static void unknown_procedures_are_unavailable(void)
{
    struct reply reply;

    CHECK_UINT(accept_stat_of(NFS3_PROGRAM, NFSPROC3_COUNT, &reply), PROC_UNAVAIL);
    reply_end(&reply);
    CHECK_UINT(accept_stat_of(MNT3_PROGRAM, MOUNTPROC3_COUNT, &reply), PROC_UNAVAIL);
    reply_end(&reply);
    CHECK_UINT(accept_stat_of(NFS3_PROGRAM, UINT32_MAX, &reply), PROC_UNAVAIL);
    reply_end(&reply);
}

/* A client of another version learns which one there is. */
static void other_versions_are_a_mismatch(void)
{
    struct call call = call_begin(NFS3_PROGRAM, 0);
    struct reply reply;

    stub_init(&stub);
    call.buf->data[19] = 4; /* vers */
    call_run(&stub, &call, &reply);
    for (unsigned i = 0; i < 4; i++) {
        (void)reply_u32(&reply);
    }
    CHECK_UINT(reply_u32(&reply), PROG_MISMATCH);
    CHECK_UINT(reply_u32(&reply), 3);
    CHECK_UINT(reply_u32(&reply), 3);
    reply_end(&reply);
}

/* Nothing after the RPC version may be read if it is not 2. */
static void other_rpc_versions_are_denied(void)
{
    struct call call = call_begin(NFS3_PROGRAM, 0);
    struct reply reply;

    stub_init(&stub);
    call.buf->data[11] = 3; /* rpcvers */
    call_run(&stub, &call, &reply);
    CHECK_UINT(reply_u32(&reply), REPLY);
    CHECK_UINT(reply_u32(&reply), MSG_DENIED);
    CHECK_UINT(reply_u32(&reply), RPC_MISMATCH);
    CHECK_UINT(reply_u32(&reply), 2);
    CHECK_UINT(reply_u32(&reply), 2);
    reply_end(&reply);
}

/* Arguments that end early are garbage, and no op comes of them. */
static void short_arguments_are_garbage(void)
{
    struct reply reply;

    CHECK_UINT(accept_stat_of(NFS3_PROGRAM, NFSPROC3_GETATTR, &reply), GARBAGE_ARGS);
    reply_end(&reply);
    CHECK_UINT(accept_stat_of(MNT3_PROGRAM, MOUNTPROC3_MNT, &reply), GARBAGE_ARGS);
    reply_end(&reply);
    CHECK_UINT(stub.n_ops, 0);
}

static void check_denied(uint8_t flavor, uint8_t groups, uint32_t why)
{
    struct call call = call_begin(NFS3_PROGRAM, 0);
    struct reply reply;

    stub_init(&stub);
    call.buf->data[27] = flavor;
    call.buf->data[55] = groups;
    call_run(&stub, &call, &reply);
    CHECK_UINT(reply_u32(&reply), REPLY);
    CHECK_UINT(reply_u32(&reply), MSG_DENIED);
    CHECK_UINT(reply_u32(&reply), AUTH_ERROR);
    CHECK_UINT(reply_u32(&reply), why);
    reply_end(&reply);
}

/* Credentials that are not AUTH_SYS are refused; so are those that lie about their
 * groups, and those with more than there may be. */
static void bad_credentials_are_denied(void)
{
    check_denied(6 /* RPCSEC_GSS */, 2, AUTH_TOOWEAK);
    check_denied(AUTH_SHORT, 2, AUTH_REJECTEDCRED);
    check_denied(AUTH_SYS, 3, AUTH_BADCRED);
    check_denied(AUTH_SYS, 17, AUTH_BADCRED);
}

static int decode(const void *bytes, size_t len)
{
    struct rpc_source source = {.backend = &stub.backend, .address = "10.0.0.1"};
    struct rpc_request *request = NULL;
    struct buf *record = buf_copy(bytes, len);
    int rv = rpc_request_new(&source, record, &request);

    rpc_request_free(request);
    buf_unref(record);
    return rv;
}

/* What is not a call at all has no xid to answer to: the connection goes. */
static void not_a_call_is_malformed(void)
{
    static const uint8_t reply[40] = {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2};
    uint8_t long_cred[40] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2};

    stub_init(&stub);
    CHECK_INT(decode(reply, sizeof reply), -EPROTO);
    CHECK_INT(decode("abcdefgh", 8), -EPROTO);
    CHECK_INT(decode(long_cred, 24), -EPROTO);
    long_cred[28] = 0x7f; /* The credential's length. */
    CHECK_INT(decode(long_cred, sizeof long_cred), -EPROTO);
}

/* A client that went away is not answered, and the backend is told, so that what it did
 * not begin is not done behind the client's back. */
static void cancel_before_the_answer(void)
{
    struct call call = call_begin(NFS3_PROGRAM, NFSPROC3_GETATTR);
    struct reply reply;
    struct rpc_request *request;

    stub_init(&stub);
    stub.hold = true;
    call_put_fh(&call, "alpha", 2);
    request = call_start(&stub, &call, &reply);
    CHECK(!reply.done);
    rpc_request_cancel(request);
    CHECK_UINT(stub.n_cancelled, 1);
    stub_answer(&stub);
    CHECK(!reply.done);
}

/* The same for a call of two ops, whether or not one of them was answered. */
static void cancel_of_two(void)
{
    for (unsigned answered = 0; answered < 2; answered++) {
        struct call call = call_begin(NFS3_PROGRAM, NFSPROC3_READDIR);
        struct reply reply;
        struct rpc_request *request;

        stub_init(&stub);
        stub.hold = true;
        call_put_fh(&call, "alpha", 2);
        rpc_put_u64(&call.xdr, 0);
        rpc_put_u64(&call.xdr, 0);
        rpc_put_u32(&call.xdr, 4096);
        request = call_start(&stub, &call, &reply);
        CHECK_UINT(stub.n_ops, 2);
        if (answered > 0) {
            stub_answer(&stub);
        }
        rpc_request_cancel(request);
        CHECK_UINT(stub.n_cancelled, 2 - answered);
        CHECK(!reply.done);
    }
}

TEST_MAIN(CHECK_TEST(null_is_answered), CHECK_TEST(other_programs_are_unavailable),
          CHECK_TEST(unknown_procedures_are_unavailable),
          CHECK_TEST(other_versions_are_a_mismatch),
          CHECK_TEST(other_rpc_versions_are_denied),
          CHECK_TEST(short_arguments_are_garbage), CHECK_TEST(bad_credentials_are_denied),
          CHECK_TEST(not_a_call_is_malformed), CHECK_TEST(cancel_before_the_answer),
          CHECK_TEST(cancel_of_two))
