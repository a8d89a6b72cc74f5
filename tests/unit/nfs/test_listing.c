/* READDIR and READDIRPLUS: cookies, and sizes to the byte. */
#include "base/outcome.h"
#include "base/wire.h"
#include "lib/check.h"
#include "nfs/nfs3_proto.h"
#include "unit/nfs/stub.h"

#include <stdio.h>
#include <string.h>

static struct stub stub;
static uint8_t records[65536];

/* @n entries f03, f04... with inode = cookie * 10, in the zone's form. */
static void fill(uint64_t first_cookie, uint32_t n, bool eof)
{
    struct wire_enc enc = wire_enc(records, sizeof records);

    for (uint64_t cookie = first_cookie; n > 0; cookie++, n--) {
        char name[8];
        struct zone_dirent entry = {.cookie = cookie};

        (void)snprintf(name, sizeof name, "f%02u", (unsigned)cookie);
        entry.attr = stub_attr(ZONE_REG, cookie * 10);
        entry.name = slice_borrow(name, strlen(name));
        zone_dirent_put(&enc, &entry);
    }
    CHECK(!enc.failed);
    stub.listing.data = slice_borrow(records, enc.len);
    stub.listing.eof = eof;
}

static void setup(void)
{
    stub_init(&stub);
    stub.listing.dir.has_after = true;
    stub.listing.dir.after = stub_attr(ZONE_DIR, 6);
    stub.result.has_obj = true; /* LOOKUP "..". */
    stub.result.obj = stub_attr(ZONE_DIR, 4);
}

static struct call begin_readdir(uint64_t ino, uint64_t cookie, uint32_t count)
{
    struct call call = call_begin(NFS3_PROGRAM, NFSPROC3_READDIR);

    call_put_fh(&call, "alpha", ino);
    rpc_put_u64(&call.xdr, cookie);
    rpc_put_u64(&call.xdr, 0);
    rpc_put_u32(&call.xdr, count);
    return call;
}

static struct call begin_plus(uint64_t cookie, uint32_t dircount, uint32_t maxcount)
{
    struct call call = call_begin(NFS3_PROGRAM, NFSPROC3_READDIRPLUS);

    call_put_fh(&call, "alpha", 6);
    rpc_put_u64(&call.xdr, cookie);
    rpc_put_u64(&call.xdr, 0);
    rpc_put_u32(&call.xdr, dircount);
    rpc_put_u32(&call.xdr, maxcount);
    return call;
}

/* The reply as "name=fileid/cookie ... eof|more"; *@bytes: of resok. */
static const char *listed(struct reply *reply, bool plus, size_t *bytes)
{
    static char text[4096];
    size_t used = 0;
    uint64_t fsid;
    size_t begin;

    reply_accepted(reply);
    CHECK_UINT(reply_u32(reply), NFS3_OK);
    begin = rpc_xdr_pos(&reply->xdr);
    if (reply_u32(reply) != 0) {
        (void)reply_fattr(reply, &fsid);
    }
    (void)reply_u64(reply);
    while (reply_u32(reply) != 0) {
        uint64_t fileid = reply_u64(reply);
        struct slice name = rpc_get_opaque(&reply->xdr, 255);
        uint64_t cookie = reply_u64(reply);

        used += (size_t)snprintf(text + used, sizeof text - used, "%.*s=%u/%u ",
                                 (int)name.len, (const char *)name.data, (unsigned)fileid,
                                 (unsigned)cookie);
        if (plus && reply_u32(reply) != 0) {
            CHECK_UINT(reply_fattr(reply, &fsid), fileid);
        }
        if (plus && reply_u32(reply) != 0) {
            CHECK_UINT(rpc_get_opaque(&reply->xdr, 64).len, NFS3_FH_BYTES);
        }
    }
    (void)snprintf(text + used, sizeof text - used, "%s",
                   reply_u32(reply) ? "eof" : "more");
    *bytes = rpc_xdr_pos(&reply->xdr) - begin;
    reply_end(reply);
    return text;
}

/* From the start: "." and "..", with the parent's fileid, then the zone's entries. */
static void from_the_start(void)
{
    struct call call;
    struct reply reply;
    size_t bytes;

    setup();
    fill(3, 2, true);
    call = begin_readdir(6, 0, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, false, &bytes), ".=6/1 ..=4/2 f03=30/3 f04=40/4 eof");
    CHECK_UINT(stub_last(&stub)->op.type, ZONE_OP_READDIR);
    CHECK_UINT(stub_last(&stub)->op.offset, 0);
}

/* Any cookie that was given out goes on exactly behind it. */
static void from_any_cookie(void)
{
    struct call call;
    struct reply reply;
    size_t bytes;

    setup();
    fill(3, 1, true);
    call = begin_readdir(6, 1, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, false, &bytes), "..=4/2 f03=30/3 eof");
    CHECK_UINT(stub_last(&stub)->op.offset, 0);
    call = begin_readdir(6, 2, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, false, &bytes), "f03=30/3 eof");
    CHECK_UINT(stub_last(&stub)->op.offset, 0);
    fill(8, 1, true);
    call = begin_readdir(6, 7, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, false, &bytes), "f08=80/8 eof");
    CHECK_UINT(stub_last(&stub)->op.offset, 7);
}

/* What no zone gave out is refused, in a zone and in the root folder; everything else is
 * a place to go on from, whatever the verifier says. */
static void garbage_cookies(void)
{
    struct call call;
    struct reply reply;
    size_t bytes;

    setup();
    fill(8, 1, true);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t cookie = i == 0 ? UINT64_MAX : 1ull << 63;

        call = begin_readdir(6, cookie, 4096);
        call_run(&stub, &call, &reply);
        reply_accepted(&reply);
        CHECK_UINT(reply_u32(&reply), NFS3ERR_BAD_COOKIE);
        reply_free(&reply);
    }
    CHECK_UINT(stub.n_ops, 0);
    call = call_begin(NFS3_PROGRAM, NFSPROC3_READDIR);
    call_put_fh(&call, "alpha", 6);
    rpc_put_u64(&call.xdr, 7);
    rpc_put_u64(&call.xdr, 0xdeadbeef);
    rpc_put_u32(&call.xdr, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, false, &bytes), "f08=80/8 eof");
    call = begin_readdir(6, INT64_MAX, 4096);
    fill(3, 0, true);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, false, &bytes), "eof");
}

/* The end is the end, even where nothing is left before it. */
static void nothing_left_is_eof(void)
{
    struct call call;
    struct reply reply;
    size_t bytes;

    setup();
    fill(3, 0, true);
    call = begin_readdir(6, 9, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, false, &bytes), "eof");
}

/* With every limit from nothing to enough, the reply never exceeds it, one more byte
 * than it has never is refused, and following the cookies lists everything once. */
static void sizes_are_exact(void)
{
    for (unsigned plus = 0; plus < 2; plus++) {
        size_t least = 0;

        for (uint32_t max = 0; max < 1200; max++) {
            struct call call;
            struct reply reply;
            size_t bytes;

            setup();
            fill(3, 4, true);
            call = plus ? begin_plus(2, 4096, max) : begin_readdir(6, 2, max);
            call_run(&stub, &call, &reply);
            reply_accepted(&reply);
            if (reply_u32(&reply) == NFS3ERR_TOOSMALL) {
                CHECK_UINT(least, 0); /* Not again, once it was enough. */
                reply_free(&reply);
                continue;
            }
            rpc_xdr_decode(&reply.xdr, reply.buf, 8);
            (void)listed(&reply, plus, &bytes);
            CHECK(bytes <= max);
            if (least == 0) {
                least = max;
                CHECK_UINT(bytes, max); /* The first that fits is filled to the byte. */
            }
        }
        CHECK(least > 0);
    }
}

/* dircount bounds names, fileids and cookies; maxcount everything. */
static void dircount_is_honoured(void)
{
    struct call call;
    struct reply reply;
    size_t bytes;

    setup();
    fill(3, 4, true);
    call = begin_plus(2, 2 * 28, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, true, &bytes), "f03=30/3 f04=40/4 more");
    call = begin_plus(2, 27, 4096);
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    CHECK_UINT(reply_u32(&reply), NFS3ERR_TOOSMALL);
    reply_free(&reply);
}

/* What the zone holds back is no end. */
static void more_in_the_zone_is_not_eof(void)
{
    struct call call;
    struct reply reply;
    size_t bytes;

    setup();
    fill(3, 1, false);
    call = begin_plus(2, 4096, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, true, &bytes), "f03=30/3 more");
}

/* The entries and the parent may come in any order; the entries' bytes are kept. */
static void answers_in_any_order(void)
{
    struct call call;
    struct reply reply;
    size_t bytes;

    setup();
    fill(3, 1, true);
    stub.hold = true;
    call = begin_readdir(6, 0, 4096);
    call_run(&stub, &call, &reply);
    CHECK_UINT(stub.n_ops, 2);
    /* Swap them, so that the entries come first. */
    for (unsigned i = 0; i < 1; i++) {
        struct stub_op op = stub.ops[0];

        stub.ops[0] = stub.ops[1];
        stub.ops[1] = op;
    }
    stub_answer(&stub);
    CHECK(!reply.done);
    memset(records, 0xee, sizeof records);
    stub_answer(&stub);
    CHECK_STR(listed(&reply, false, &bytes), ".=6/1 ..=4/2 f03=30/3 eof");
}

/* Who may list a directory but not search it still gets a listing. */
static void parent_refused(void)
{
    struct call call;
    struct reply reply;
    size_t bytes;

    setup();
    fill(3, 0, true);
    stub.result.outcome = OUT_ACCES;
    call = begin_readdir(6, 0, 4096);
    call_run(&stub, &call, &reply);
    CHECK_STR(listed(&reply, false, &bytes), ".=6/1 ..=6/2 eof");
}

/* A zone's answer that cannot be decoded is an I/O error, not a short listing. */
static void malformed_records(void)
{
    struct call call;
    struct reply reply;

    setup();
    fill(3, 1, true);
    stub.listing.data.len -= 1;
    call = begin_readdir(6, 2, 4096);
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    CHECK_UINT(reply_u32(&reply), NFS3ERR_IO);
    reply_free(&reply);
}

TEST_MAIN(CHECK_TEST(from_the_start), CHECK_TEST(from_any_cookie),
          CHECK_TEST(garbage_cookies), CHECK_TEST(nothing_left_is_eof),
          CHECK_TEST(sizes_are_exact), CHECK_TEST(dircount_is_honoured),
          CHECK_TEST(more_in_the_zone_is_not_eof), CHECK_TEST(answers_in_any_order),
          CHECK_TEST(parent_refused), CHECK_TEST(malformed_records))
