/* The times of reads, which this node alone keeps. */
#include "base/outcome.h"
#include "base/wire.h"
#include "lib/check.h"
#include "nfs/nfs3_atime.h"
#include "nfs/nfs3_proto.h"
#include "unit/nfs/stub.h"

#include <string.h>

static struct stub stub;
static struct nfs3_atimes *atimes;
static int64_t clock_sec;

static const uint8_t zone_a[16] = {1};
static const uint8_t zone_b[16] = {2};

static struct zone_time now(void)
{
    return (struct zone_time){.sec = clock_sec, .nsec = 5};
}

static void setup(void)
{
    clock_sec = 1000;
    CHECK_INT(nfs3_atimes_new(now, &atimes), 0);
}

/* Inode @ino as a zone has it: made at 900, read never. */
static struct zone_attr attr_of(uint64_t ino)
{
    return (struct zone_attr){.ino = ino,
                              .gen = 7,
                              .atime = {.sec = 900},
                              .mtime = {.sec = 900},
                              .ctime = {.sec = 900}};
}

static int64_t shown(const uint8_t zone[16], struct zone_attr attr)
{
    nfs3_atime_show(atimes, zone, &attr);
    return attr.atime.sec;
}

static void read_it(struct zone_attr attr)
{
    nfs3_atime_read(atimes, zone_a, &attr);
}

/* What was read shows when, and nothing else does: not the same number in another zone
 * or of another generation. */
static void reading_moves_atime(void)
{
    struct zone_attr attr = attr_of(42);

    setup();
    CHECK_INT(shown(zone_a, attr), 900);
    read_it(attr);
    CHECK_INT(shown(zone_a, attr), 1000);
    clock_sec = 1010;
    CHECK_INT(shown(zone_a, attr), 1000);
    read_it(attr);
    CHECK_INT(shown(zone_a, attr), 1010);
    CHECK_INT(shown(zone_b, attr), 900);
    CHECK_INT(shown(zone_a, attr_of(43)), 900);
    attr.gen++;
    CHECK_INT(shown(zone_a, attr), 900);
    nfs3_atimes_free(atimes);
}

/* A write does not touch the time of the last read, which is then before the write: so
 * programs see what is new. */
static void writing_keeps_atime(void)
{
    struct zone_attr attr = attr_of(42);

    setup();
    read_it(attr);
    attr.mtime.sec = 1005;
    attr.ctime.sec = 1005;
    CHECK_INT(shown(zone_a, attr), 1000);
    nfs3_atimes_free(atimes);
}

/* A node whose clock is behind does not show that a file was read before it was written. */
static void never_before_the_last_change(void)
{
    struct zone_attr attr = attr_of(42);

    setup();
    attr.mtime.sec = 1300;
    attr.ctime.sec = 1200;
    read_it(attr);
    CHECK_INT(shown(zone_a, attr), 1300);
    nfs3_atimes_free(atimes);
}

/* An atime that was set counts, earlier or later than the read, through any node. */
static void setting_wins(void)
{
    struct zone_attr attr = attr_of(42);

    setup();
    read_it(attr);
    attr.atime.sec = 5;
    CHECK_INT(shown(zone_a, attr), 5);
    attr.atime.sec = 2000;
    CHECK_INT(shown(zone_a, attr), 2000);
    read_it(attr);
    CHECK_INT(shown(zone_a, attr), 2000);
    nfs3_atimes_free(atimes);
}

/* Set to what the zone has already, it is forgotten: a backup puts back what it saw. */
static void setting_to_the_same_wins(void)
{
    struct zone_attr attr = attr_of(42);

    setup();
    read_it(attr);
    nfs3_atime_forget(atimes, zone_a, (struct zone_handle){.ino = 42, .gen = 7});
    CHECK_INT(shown(zone_a, attr), 900);
    nfs3_atimes_free(atimes);
}

/* More objects than there is room for: the last ones read are known. */
static void bounded(void)
{
    uint32_t known = 0;

    setup();
    for (uint64_t ino = 1; ino <= 3 * NFS3_ATIMES_MAX; ino++) {
        clock_sec = 1000 + (int64_t)ino;
        read_it(attr_of(ino));
    }
    CHECK_INT(shown(zone_a, attr_of(3 * NFS3_ATIMES_MAX)), clock_sec);
    for (uint64_t ino = 1; ino <= 3 * NFS3_ATIMES_MAX; ino++) {
        known += shown(zone_a, attr_of(ino)) != 900;
    }
    CHECK(known > NFS3_ATIMES_MAX / 2 && known <= NFS3_ATIMES_MAX);
    nfs3_atimes_free(atimes);
}

static void begin(void)
{
    setup();
    stub_init(&stub);
    stub.atimes = atimes;
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_REG, 42);
}

/* Skip to the atime of the fattr3 that comes next; its seconds. */
static uint32_t next_atime(struct reply *reply)
{
    uint32_t sec;

    for (unsigned i = 0; i < 15; i++) {
        (void)reply_u32(reply);
    }
    sec = reply_u32(reply);
    for (unsigned i = 0; i < 5; i++) {
        (void)reply_u32(reply);
    }
    return sec;
}

static uint32_t atime_by_getattr(void)
{
    struct call call = call_begin(NFS3_PROGRAM, NFSPROC3_GETATTR);
    struct reply reply;
    uint32_t sec;

    call_put_fh(&call, "alpha", 42);
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    CHECK_UINT(reply_u32(&reply), NFS3_OK);
    sec = next_atime(&reply);
    reply_end(&reply);
    return sec;
}

static void run_read(uint32_t want_atime)
{
    struct call call = call_begin(NFS3_PROGRAM, NFSPROC3_READ);
    struct reply reply;

    call_put_fh(&call, "alpha", 42);
    rpc_put_u64(&call.xdr, 0);
    rpc_put_u32(&call.xdr, 100);
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    (void)reply_u32(&reply);
    CHECK_UINT(reply_u32(&reply), 1);
    CHECK_UINT(next_atime(&reply), want_atime);
    reply_free(&reply);
}

/* READ shows its own time at once and later calls do too; one that fails is none. */
static void read_is_shown(void)
{
    begin();
    stub.result.outcome = OUT_ACCES;
    run_read(0);
    stub.result.outcome = 0;
    CHECK_UINT(atime_by_getattr(), 0);
    run_read(1000);
    CHECK_UINT(atime_by_getattr(), 1000);
    nfs3_atimes_free(atimes);
}

/* SETATTR forgets if it sets the atime, and only then. */
static void setattr_forgets(void)
{
    static const uint32_t how[] = {ZONE_TIME_KEEP, ZONE_TIME_SERVER};

    for (unsigned i = 0; i < 2; i++) {
        struct call call;
        struct reply reply;

        begin();
        run_read(1000);
        call = call_begin(NFS3_PROGRAM, NFSPROC3_SETATTR);
        call_put_fh(&call, "alpha", 42);
        for (unsigned field = 0; field < 4; field++) {
            rpc_put_u32(&call.xdr, 0);
        }
        rpc_put_u32(&call.xdr, how[i]);
        rpc_put_u32(&call.xdr, ZONE_TIME_SERVER);
        rpc_put_u32(&call.xdr, 0);
        call_run(&stub, &call, &reply);
        reply_free(&reply);
        CHECK_UINT(atime_by_getattr(), how[i] == ZONE_TIME_KEEP ? 1000 : 0);
        nfs3_atimes_free(atimes);
    }
}

/* READLINK and READDIR are reads of the link and the directory. */
static void links_and_directories(void)
{
    static const uint32_t procs[] = {NFSPROC3_READLINK, NFSPROC3_READDIR};

    for (unsigned i = 0; i < 2; i++) {
        struct call call;
        struct reply reply;

        begin();
        stub.listing = stub.result;
        stub.listing.eof = true;
        call = call_begin(NFS3_PROGRAM, procs[i]);
        call_put_fh(&call, "alpha", 42);
        rpc_put_u64(&call.xdr, 0);
        rpc_put_u64(&call.xdr, 0);
        rpc_put_u32(&call.xdr, 4096);
        call_run(&stub, &call, &reply);
        reply_free(&reply);
        CHECK_UINT(atime_by_getattr(), 1000);
        nfs3_atimes_free(atimes);
    }
}

/* A listing with attributes and a lookup show what was read, as GETATTR does. */
static void listings_and_lookups_show(void)
{
    static uint8_t records[512];
    struct wire_enc enc = wire_enc(records, sizeof records);
    struct zone_dirent entry = {.cookie = 3, .attr = stub_attr(ZONE_REG, 42)};
    struct call call;
    struct reply reply;

    begin();
    run_read(1000);
    entry.name = slice_borrow("file", 4);
    zone_dirent_put(&enc, &entry);
    stub.listing.data = slice_borrow(records, enc.len);
    call = call_begin(NFS3_PROGRAM, NFSPROC3_READDIRPLUS);
    call_put_fh(&call, "alpha", 6);
    rpc_put_u64(&call.xdr, 2);
    rpc_put_u64(&call.xdr, 0);
    rpc_put_u32(&call.xdr, 4096);
    rpc_put_u32(&call.xdr, 4096);
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    for (unsigned i = 0; i < 11; i++) { /* Status to post_op_attr of the entry. */
        (void)reply_u32(&reply);
    }
    CHECK_UINT(reply_u32(&reply), 1);
    CHECK_UINT(next_atime(&reply), 1000);
    reply_free(&reply);

    call = call_begin(NFS3_PROGRAM, NFSPROC3_LOOKUP);
    call_put_fh(&call, "alpha", 6);
    call_put_str(&call, "file");
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    CHECK_UINT(reply_u32(&reply), NFS3_OK);
    (void)rpc_get_opaque(&reply.xdr, 64);
    CHECK_UINT(reply_u32(&reply), 1);
    CHECK_UINT(next_atime(&reply), 1000);
    reply_free(&reply);
    nfs3_atimes_free(atimes);
}

TEST_MAIN(CHECK_TEST(reading_moves_atime), CHECK_TEST(writing_keeps_atime),
          CHECK_TEST(never_before_the_last_change), CHECK_TEST(setting_wins),
          CHECK_TEST(setting_to_the_same_wins), CHECK_TEST(bounded),
          CHECK_TEST(read_is_shown), CHECK_TEST(setattr_forgets),
          CHECK_TEST(links_and_directories), CHECK_TEST(listings_and_lookups_show))
