/* NFSv3 procedures, from the call's bytes to the op, and from the result to the reply. */
#include "base/outcome.h"
#include "lib/check.h"
#include "nfs/nfs3_proto.h"
#include "nfs/nfs3_status.h"
#include "unit/nfs/stub.h"

#include <string.h>

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

static uint32_t status_only(struct call *call)
{
    struct reply reply;
    uint32_t status = status_of(call, &reply);

    reply_free(&reply);
    return status;
}

/* Attributes show the inode as fileid and the zone's fsid. */
static void getattr_shows_the_zone(void)
{
    struct call call = start(NFSPROC3_GETATTR);
    struct reply reply;
    uint64_t fsid;

    call_put_fh(&call, "beta", 42);
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_REG, 42);
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    CHECK_UINT(reply_fattr(&reply, &fsid), 42);
    CHECK_UINT(fsid, 0xb2);
    reply_end(&reply);
    CHECK_UINT(stub_last(&stub)->op.type, ZONE_OP_GETATTR);
    CHECK_UINT(stub_last(&stub)->op.obj.ino, 42);
    CHECK_UINT(stub_last(&stub)->op.obj.gen, 5);
    CHECK_UINT(stub_last(&stub)->zone_id[0], 0xb2);
}

/* Times that nfstime3 cannot say become the nearest ones that it can. */
static void times_are_clamped(void)
{
    struct call call = start(NFSPROC3_GETATTR);
    struct reply reply;

    call_put_fh(&call, "alpha", 42);
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_REG, 42);
    stub.result.obj.atime.sec = -5;
    stub.result.obj.mtime.sec = 1ll << 40;
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    for (unsigned i = 0; i < 15; i++) {
        (void)reply_u32(&reply);
    }
    CHECK_UINT(reply_u32(&reply), 0);
    (void)reply_u32(&reply);
    CHECK_UINT(reply_u32(&reply), UINT32_MAX);
    reply_free(&reply);
}

/* A handle that was tampered with reaches no zone. */
static void forged_handle(void)
{
    struct call call = start(NFSPROC3_GETATTR);

    call_put_fh(&call, "alpha", 42);
    call.buf->data[rpc_xdr_pos(&call.xdr) - 20] ^= 1;
    CHECK_UINT(status_only(&call), NFS3ERR_BADHANDLE);
    CHECK_UINT(stub.n_ops, 0);
}

/* A zone that was deleted is like a file that was deleted. */
static void handle_of_a_deleted_zone(void)
{
    struct call call = start(NFSPROC3_GETATTR);
    struct nfs3_fh fh = {.zone_id = {0xcc}, .obj = {1, 1}};
    uint8_t bytes[NFS3_FH_BYTES];

    nfs3_fh_encode(&fh, stub.backend.handle_key(NULL), bytes);
    rpc_put_opaque(&call.xdr, bytes, sizeof bytes);
    CHECK_UINT(status_only(&call), NFS3ERR_STALE);
}

/* A handle opens nothing for a client that the export does not allow. */
static void export_is_checked_per_call(void)
{
    struct call call = start(NFSPROC3_GETATTR);

    call.address = "10.9.9.9";
    call_put_fh(&call, "beta", 1);
    CHECK_UINT(status_only(&call), NFS3ERR_ACCES);
    CHECK_UINT(stub.n_ops, 0);
}

static struct zone_cred cred_seen(struct call call, enum nfs_squash squash)
{
    stub_init(&stub);
    stub.rule.squash = squash;
    call_put_fh(&call, "alpha", 1);
    CHECK_UINT(status_only(&call), NFS3_OK);
    return stub_last(&stub)->op.cred;
}

/* Nobody becomes root by saying so, in any of the three places where one can. */
static void root_is_squashed(void)
{
    struct zone_cred cred =
        cred_seen(call_begin_root(NFS3_PROGRAM, NFSPROC3_GETATTR), NFS_SQUASH_ROOT);

    CHECK_UINT(cred.uid, 65534);
    CHECK_UINT(cred.gid, 65534);
    CHECK_UINT(cred.n_groups, 0);
    cred = cred_seen(call_begin(NFS3_PROGRAM, NFSPROC3_GETATTR), NFS_SQUASH_ROOT);
    CHECK_UINT(cred.uid, 1000);
    CHECK_UINT(cred.gid, 100);
    CHECK_UINT(cred.n_groups, 2);
    CHECK_UINT(cred.groups[0], 7);
    CHECK_UINT(cred.groups[1], 65534);
}

/* Each of the sixteen groups is looked at, the first and the last too, and those that are
 * not root's stay. */
static void all_groups_are_squashed(void)
{
    struct zone_cred cred = cred_seen(
        call_begin_groups(NFS3_PROGRAM, NFSPROC3_GETATTR, 1000, 0), NFS_SQUASH_ROOT);

    CHECK_UINT(cred.uid, 1000);
    CHECK_UINT(cred.gid, 65534);
    CHECK_UINT(cred.n_groups, ZONE_GROUPS_MAX);
    CHECK_UINT(cred.groups[0], 65534);
    for (uint32_t i = 1; i < ZONE_GROUPS_MAX - 1; i++) {
        CHECK_UINT(cred.groups[i], i);
    }
    CHECK_UINT(cred.groups[ZONE_GROUPS_MAX - 1], 65534);
    /* Who is taken for the anonymous user brings no groups along, whatever they are. */
    cred = cred_seen(call_begin_groups(NFS3_PROGRAM, NFSPROC3_GETATTR, 0, 5),
                     NFS_SQUASH_ROOT);
    CHECK_UINT(cred.uid, 65534);
    CHECK_UINT(cred.gid, 65534);
    CHECK_UINT(cred.n_groups, 0);
    cred = cred_seen(call_begin_groups(NFS3_PROGRAM, NFSPROC3_GETATTR, 1000, 5),
                     NFS_SQUASH_ALL);
    CHECK_UINT(cred.uid, 65534);
    CHECK_UINT(cred.gid, 65534);
    CHECK_UINT(cred.n_groups, 0);
}

/* Without squashing, root is root: a trusted host's backups need it. */
static void nobody_is_squashed_without_a_rule(void)
{
    struct zone_cred cred =
        cred_seen(call_begin_root(NFS3_PROGRAM, NFSPROC3_GETATTR), NFS_SQUASH_NONE);

    CHECK_UINT(cred.uid, 0);
    CHECK_UINT(cred.gid, 0);
    CHECK_UINT(cred.n_groups, 2);
}

/* With squash all, and without a credential, everyone is the anonymous user. */
static void everyone_and_the_anonymous_are_squashed(void)
{
    struct zone_cred cred =
        cred_seen(call_begin(NFS3_PROGRAM, NFSPROC3_GETATTR), NFS_SQUASH_ALL);

    CHECK_UINT(cred.uid, 65534);
    cred =
        cred_seen(call_begin_anonymous(NFS3_PROGRAM, NFSPROC3_GETATTR), NFS_SQUASH_NONE);
    CHECK_UINT(cred.uid, 65534);
    CHECK_UINT(cred.n_groups, 0);
}

/* A read-only export lets reads through, refuses changes, and ACCESS says so. */
static void read_only_export(void)
{
    struct call call = start(NFSPROC3_REMOVE);
    struct reply reply;

    call.address = "10.0.0.9";
    call_put_fh(&call, "beta", 1);
    call_put_str(&call, "file");
    CHECK_UINT(status_only(&call), NFS3ERR_ROFS);
    CHECK_UINT(stub.n_ops, 0);
    call = start(NFSPROC3_ACCESS);
    call.address = "10.0.0.9";
    call_put_fh(&call, "beta", 1);
    rpc_put_u32(&call.xdr, 0x3f);
    stub.result.access = 0x3f;
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    CHECK_UINT(reply_u32(&reply), 0);
    CHECK_UINT(reply_u32(&reply),
               NFS3_ACCESS_READ | NFS3_ACCESS_LOOKUP | NFS3_ACCESS_EXECUTE);
    reply_end(&reply);
}

/* Arguments of @proc, behind its handle, as far as the decoder needs them. */
static void put_rest(struct call *call, uint32_t proc)
{
    switch (proc) {
    case NFSPROC3_SETATTR:
        call_put_no_sattr(call);
        rpc_put_u32(&call->xdr, 0);
        break;
    case NFSPROC3_WRITE:
        rpc_put_u64(&call->xdr, 0);
        rpc_put_u32(&call->xdr, 1);
        rpc_put_u32(&call->xdr, NFS3_FILE_SYNC);
        call_put_str(call, "x");
        break;
    case NFSPROC3_CREATE:
        call_put_str(call, "f");
        rpc_put_u32(&call->xdr, 0);
        call_put_no_sattr(call);
        break;
    case NFSPROC3_MKDIR:
        call_put_str(call, "f");
        call_put_no_sattr(call);
        break;
    case NFSPROC3_SYMLINK:
        call_put_str(call, "f");
        call_put_no_sattr(call);
        call_put_str(call, "to");
        break;
    case NFSPROC3_MKNOD:
        call_put_str(call, "f");
        rpc_put_u32(&call->xdr, ZONE_FIFO);
        call_put_no_sattr(call);
        break;
    case NFSPROC3_RENAME:
        call_put_str(call, "f");
        call_put_fh(call, "beta", 1);
        call_put_str(call, "g");
        break;
    case NFSPROC3_LINK:
        call_put_fh(call, "beta", 1);
        call_put_str(call, "g");
        break;
    default: /* REMOVE, RMDIR. */
        call_put_str(call, "f");
        break;
    }
}

/* What the export does not let a client change, none of the ten procedures that change
 * something changes; and a client that may not even look is not told that. */
static void every_change_is_refused(void)
{
    static const uint32_t procs[] = {
        NFSPROC3_SETATTR, NFSPROC3_WRITE, NFSPROC3_CREATE, NFSPROC3_MKDIR,
        NFSPROC3_SYMLINK, NFSPROC3_MKNOD, NFSPROC3_REMOVE, NFSPROC3_RMDIR,
        NFSPROC3_RENAME,  NFSPROC3_LINK,
    };

    for (size_t i = 0; i < sizeof procs / sizeof procs[0]; i++) {
        struct call call = start(procs[i]);

        call.address = "10.0.0.9";
        call_put_fh(&call, "beta", 1);
        put_rest(&call, procs[i]);
        CHECK_UINT(status_only(&call), NFS3ERR_ROFS);
        call = start(procs[i]);
        call.address = "10.9.9.9";
        call_put_fh(&call, "beta", 1);
        put_rest(&call, procs[i]);
        CHECK_UINT(status_only(&call), NFS3ERR_ACCES);
        CHECK_UINT(stub.n_ops, 0);
    }
}

/* FSINFO has one bit that tells of it: times cannot be set there. */
static void fsinfo_of_a_read_only_export(void)
{
    struct call call = start(NFSPROC3_FSINFO);
    struct reply reply;

    call.address = "10.0.0.9";
    call_put_fh(&call, "beta", 1);
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    for (unsigned i = 0; i < 12; i++) {
        (void)reply_u32(&reply);
    }
    CHECK_UINT(reply_u32(&reply),
               NFS3_FSF_LINK | NFS3_FSF_SYMLINK | NFS3_FSF_HOMOGENEOUS);
    reply_end(&reply);
}

/* Whoever may not use a zone learns nothing of it by naming it beside another. */
static void forbidden_before_across(void)
{
    struct call call = start(NFSPROC3_RENAME);

    call.address = "10.9.9.9";
    call_put_fh(&call, "beta", 1);
    call_put_str(&call, "a");
    call_put_fh(&call, "alpha", 1);
    call_put_str(&call, "b");
    CHECK_UINT(status_only(&call), NFS3ERR_ACCES);
    CHECK_UINT(stub.n_ops, 0);
}

/* A rename or link between zones is between file systems. */
static void across_zones_is_xdev(void)
{
    struct call call = start(NFSPROC3_RENAME);

    call_put_fh(&call, "alpha", 1);
    call_put_str(&call, "a");
    call_put_fh(&call, "beta", 1);
    call_put_str(&call, "b");
    CHECK_UINT(status_only(&call), NFS3ERR_XDEV);
    call = start(NFSPROC3_LINK);
    call_put_fh(&call, "alpha", 2);
    call_put_fh(&call, "/", 0);
    call_put_str(&call, "b");
    CHECK_UINT(status_only(&call), NFS3ERR_XDEV);
    CHECK_UINT(stub.n_ops, 0);
}

static uint32_t named(uint32_t proc, const char *name, size_t len)
{
    struct call call = start(proc);

    call_put_fh(&call, "alpha", 1);
    rpc_put_opaque(&call.xdr, name, len);
    call_put_no_sattr(&call);
    return status_only(&call);
}

/* No name that cannot be a file's reaches a zone. */
static void impossible_names(void)
{
    static char name[300];

    memset(name, 'n', sizeof name);
    CHECK_UINT(named(NFSPROC3_MKDIR, name, 255), NFS3_OK);
    CHECK_UINT(named(NFSPROC3_MKDIR, name, 256), NFS3ERR_NAMETOOLONG);
    CHECK_UINT(named(NFSPROC3_LOOKUP, name, 256), NFS3ERR_NAMETOOLONG);
    CHECK_UINT(named(NFSPROC3_MKDIR, "", 0), NFS3ERR_INVAL);
    CHECK_UINT(named(NFSPROC3_MKDIR, "a/b", 3), NFS3ERR_INVAL);
    CHECK_UINT(named(NFSPROC3_MKDIR, "a\0b", 3), NFS3ERR_INVAL);
    CHECK_UINT(named(NFSPROC3_MKDIR, ".", 1), NFS3ERR_EXIST);
    CHECK_UINT(named(NFSPROC3_MKDIR, "..", 2), NFS3ERR_EXIST);
    CHECK_UINT(named(NFSPROC3_RMDIR, ".", 1), NFS3ERR_INVAL);
    CHECK_UINT(named(NFSPROC3_RMDIR, "..", 2), NFS3ERR_EXIST);
    CHECK_UINT(named(NFSPROC3_REMOVE, "..", 2), NFS3ERR_INVAL);
}

static struct call begin_write(const char *data, uint32_t count)
{
    struct call call = start(NFSPROC3_WRITE);

    call_put_fh(&call, "alpha", 9);
    rpc_put_u64(&call.xdr, 4096);
    rpc_put_u32(&call.xdr, count);
    rpc_put_u32(&call.xdr, NFS3_UNSTABLE);
    call_put_str(&call, data);
    return call;
}

/* The payload is a part of the record, not a copy; it goes on with its CRC; and the
 * reply never asks the client for a COMMIT. */
static void write_is_in_place_and_stable(void)
{
    struct call call = begin_write("hello", 5);
    const uint8_t *record = call.buf->data;
    struct buf *buf = buf_ref(call.buf);
    struct reply reply;
    const struct zone_op *op;

    stub.result.count = 5;
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    op = &stub_last(&stub)->op;
    CHECK_PTR(op->data.buf, buf);
    CHECK(op->data.data > record && op->data.data < record + buf->len);
    CHECK_MEM(op->data.data, "hello", 5);
    CHECK_UINT(op->data.len, 5);
    CHECK_UINT(op->offset, 4096);
    CHECK_INT(zone_op_check(op), 0);
    CHECK_UINT(reply_u64(&reply), 0); /* No wcc known. */
    CHECK_UINT(reply_u32(&reply), 5);
    CHECK_UINT(reply_u32(&reply), NFS3_FILE_SYNC);
    (void)reply_u64(&reply);
    reply_end(&reply);
    buf_unref(buf);
}

/* count decides, where there is more data; less is garbage. */
static void write_count_and_data(void)
{
    struct call call = begin_write("hello", 3);
    struct reply reply;

    CHECK_UINT(status_only(&call), NFS3_OK);
    CHECK_UINT(stub_last(&stub)->op.data.len, 3);
    call = begin_write("hello", 6);
    call_run(&stub, &call, &reply);
    for (unsigned i = 0; i < 4; i++) {
        (void)reply_u32(&reply);
    }
    CHECK_UINT(reply_u32(&reply), GARBAGE_ARGS);
    reply_end(&reply);
    CHECK_UINT(stub.n_ops, 0);
}

/* MKDIR @name, setting mode 0755 and atime @sec: the last of the arguments. */
static struct call mkdir_with(struct call call, const char *name, uint32_t sec)
{
    call_put_fh(&call, "alpha", 1);
    call_put_str(&call, name);
    rpc_put_u32(&call.xdr, 1);
    rpc_put_u32(&call.xdr, 0755);
    for (unsigned i = 0; i < 3; i++) {
        rpc_put_u32(&call.xdr, 0);
    }
    rpc_put_u32(&call.xdr, ZONE_TIME_KEEP);
    rpc_put_u32(&call.xdr, ZONE_TIME_CLIENT);
    rpc_put_u32(&call.xdr, sec);
    rpc_put_u32(&call.xdr, 0);
    return call;
}

static void key_of(struct call call, uint8_t key[16])
{
    struct reply reply;

    call_run(&stub, &call, &reply);
    reply_free(&reply);
    memcpy(key, stub_last(&stub)->rpc_key, 16);
}

/* A retransmission has the same key, so that the zone can tell; nothing else has: another
 * argument up to the last, address, user or xid makes another call. */
static void rpc_key_is_the_call(void)
{
    struct call others[5];
    uint8_t one[16];
    uint8_t two[16];

    key_of(mkdir_with(start(NFSPROC3_MKDIR), "d", 7), one);
    key_of(mkdir_with(start(NFSPROC3_MKDIR), "d", 7), two);
    CHECK_MEM(one, two, 16);
    others[0] = mkdir_with(start(NFSPROC3_MKDIR), "e", 7);
    others[1] = mkdir_with(start(NFSPROC3_MKDIR), "d", 8);
    others[2] = mkdir_with(start(NFSPROC3_MKDIR), "d", 7);
    others[2].address = "10.0.0.2";
    others[3] = mkdir_with(call_begin_root(NFS3_PROGRAM, NFSPROC3_MKDIR), "d", 7);
    others[4] = mkdir_with(start(NFSPROC3_MKDIR), "d", 7);
    others[4].buf->data[3] ^= 1; /* Of the xid. */
    for (unsigned i = 0; i < 5; i++) {
        key_of(others[i], two);
        CHECK(memcmp(one, two, 16) != 0);
    }
}

/* What may be done twice has none. */
static void rpc_key_only_where_needed(void)
{
    static const uint8_t none[16];
    struct call call = start(NFSPROC3_GETATTR);
    uint8_t key[16];

    call_put_fh(&call, "alpha", 9);
    key_of(call, key);
    CHECK_MEM(key, none, 16);
}

/* Of a WRITE, the data is a part of the call, too. */
static void rpc_key_of_a_write(void)
{
    uint8_t one[16];
    uint8_t two[16];

    key_of(begin_write("hello", 5), one);
    key_of(begin_write("hello", 5), two);
    CHECK_MEM(one, two, 16);
    key_of(begin_write("hellp", 5), two);
    CHECK(memcmp(one, two, 16) != 0);
}

/* READ data follows with its padding, from a buffer or from borrowed bytes. */
static void read_data(void)
{
    for (unsigned borrowed = 0; borrowed < 2; borrowed++) {
        struct call call = start(NFSPROC3_READ);
        struct buf *buf = buf_copy("seven..", 7);
        struct reply reply;
        char data[8];

        call_put_fh(&call, "alpha", 9);
        rpc_put_u64(&call.xdr, 123);
        rpc_put_u32(&call.xdr, UINT32_MAX);
        stub.result.data = borrowed ? slice_borrow("seven..", 7) : slice_of(buf, 0, 7);
        stub.result.count = 7;
        stub.result.eof = true;
        CHECK_UINT(status_of(&call, &reply), NFS3_OK);
        CHECK_UINT(stub_last(&stub)->op.count, ZONE_IO_MAX);
        CHECK_UINT(stub_last(&stub)->op.offset, 123);
        CHECK_UINT(reply_u32(&reply), 0);
        CHECK_UINT(reply_u32(&reply), 7);
        CHECK_UINT(reply_u32(&reply), 1);
        CHECK_UINT(reply_u32(&reply), 7);
        rpc_get_fixed(&reply.xdr, data, 8);
        CHECK_MEM(data, "seven..", 8);
        reply_end(&reply);
        if (!borrowed) {
            slice_unref(&stub.result.data);
        }
        buf_unref(buf);
    }
}

/* A member that answers with more than was asked for cannot harm who asked. */
static void too_much_data(void)
{
    static const uint8_t zeros[ZONE_PATH_MAX + 1];
    struct call call = start(NFSPROC3_READ);

    call_put_fh(&call, "alpha", 9);
    rpc_put_u64(&call.xdr, 0);
    rpc_put_u32(&call.xdr, 6);
    stub.result.data = slice_borrow("seven..", 7);
    CHECK_UINT(status_only(&call), NFS3ERR_IO);
    call = start(NFSPROC3_READLINK);
    call_put_fh(&call, "alpha", 9);
    stub.result.data = slice_borrow(zeros, sizeof zeros);
    CHECK_UINT(status_only(&call), NFS3ERR_IO);
}

/* When nobody knows whether it was done, the client must not be told to make another call
 * of it: it gets no answer, and its connection goes. */
static void doubt_is_not_answered(void)
{
    struct call call = mkdir_with(start(NFSPROC3_MKDIR), "d", 7);
    struct reply reply;

    stub.result.outcome = OUT_IN_DOUBT;
    call_run(&stub, &call, &reply);
    CHECK(reply.done && reply.left);
}

static struct call begin_create(uint32_t how)
{
    struct call call = start(NFSPROC3_CREATE);

    call_put_fh(&call, "alpha", 1);
    call_put_str(&call, "new");
    rpc_put_u32(&call.xdr, how);
    return call;
}

/* All three ways to create; the reply has a handle that works. */
static void create_in_three_ways(void)
{
    struct call call = begin_create(ZONE_GUARDED);
    struct reply reply;
    struct slice bytes;
    struct nfs3_fh fh;
    uint64_t fsid;

    rpc_put_u32(&call.xdr, 1); /* mode */
    rpc_put_u32(&call.xdr, 0100640);
    for (unsigned i = 0; i < 4; i++) {
        rpc_put_u32(&call.xdr, 0);
    }
    rpc_put_u32(&call.xdr, ZONE_TIME_SERVER);
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_REG, 77);
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    CHECK_UINT(stub_last(&stub)->op.how, ZONE_GUARDED);
    CHECK_UINT(stub_last(&stub)->op.sattr.set, ZONE_SET_MODE);
    CHECK_UINT(stub_last(&stub)->op.sattr.mode, 0640);
    CHECK_UINT(stub_last(&stub)->op.sattr.set_mtime, ZONE_TIME_SERVER);
    CHECK_UINT(reply_u32(&reply), 1);
    bytes = rpc_get_opaque(&reply.xdr, 64);
    CHECK_INT(nfs3_fh_decode(bytes, stub.backend.handle_key(NULL), &fh), 0);
    CHECK_UINT(fh.obj.ino, 77);
    CHECK_UINT(fh.zone_id[0], 0xa1);
    CHECK_UINT(reply_u32(&reply), 1);
    CHECK_UINT(reply_fattr(&reply, &fsid), 77);
    CHECK_UINT(reply_u64(&reply), 0);
    reply_end(&reply);

    call = begin_create(ZONE_UNCHECKED);
    call_put_no_sattr(&call);
    CHECK_UINT(status_only(&call), NFS3_OK);
    CHECK_UINT(stub_last(&stub)->op.how, ZONE_UNCHECKED);
    call = begin_create(ZONE_EXCLUSIVE);
    rpc_put_fixed(&call.xdr, "verifier", 8);
    CHECK_UINT(status_only(&call), NFS3_OK);
    CHECK_UINT(stub_last(&stub)->op.how, ZONE_EXCLUSIVE);
    CHECK_MEM(stub_last(&stub)->op.verf, "verifier", 8);
}

/* Devices, sockets and pipes can be made, and nothing else (RFC 1813 3.3.11). */
static void mknod_types(void)
{
    for (uint32_t type = ZONE_REG; type <= ZONE_FIFO; type++) {
        struct call call = start(NFSPROC3_MKNOD);
        bool special = type != ZONE_REG && type != ZONE_DIR && type != ZONE_LNK;

        call_put_fh(&call, "alpha", 1);
        call_put_str(&call, "node");
        rpc_put_u32(&call.xdr, type);
        call_put_no_sattr(&call);
        rpc_put_u32(&call.xdr, 8);
        rpc_put_u32(&call.xdr, 17);
        CHECK_UINT(status_only(&call), special ? NFS3_OK : NFS3ERR_BADTYPE);
        if (type == ZONE_BLK || type == ZONE_CHR) {
            CHECK_UINT(stub_last(&stub)->op.node_type, type);
            CHECK_UINT(stub_last(&stub)->op.rdev_major, 8);
            CHECK_UINT(stub_last(&stub)->op.rdev_minor, 17);
        }
    }
}

/* The guard travels to the zone, which alone can compare it. */
static void setattr_guard(void)
{
    struct call call = start(NFSPROC3_SETATTR);
    const struct zone_op *op;

    call_put_fh(&call, "alpha", 1);
    call_put_no_sattr(&call);
    rpc_put_u32(&call.xdr, 1);
    rpc_put_u32(&call.xdr, 123);
    rpc_put_u32(&call.xdr, 456);
    stub.result.outcome = OUT_NOT_SYNC;
    CHECK_UINT(status_only(&call), NFS3ERR_NOT_SYNC);
    op = &stub_last(&stub)->op;
    CHECK(op->guarded);
    CHECK_INT(op->guard.sec, 123);
    CHECK_UINT(op->guard.nsec, 456);
}

/* wcc data is there in failures too: clients keep their caches by it. */
static void wcc_in_success_and_failure(void)
{
    for (unsigned fails = 0; fails < 2; fails++) {
        struct call call = start(NFSPROC3_REMOVE);
        struct reply reply;
        uint64_t fsid;

        call_put_fh(&call, "alpha", 1);
        call_put_str(&call, "file");
        stub.result.outcome = fails ? OUT_NOENT : 0;
        stub.result.dir = (struct zone_wcc){.has_before = true,
                                            .has_after = true,
                                            .before_size = 99,
                                            .before_mtime = {.sec = 5, .nsec = 6},
                                            .before_ctime = {.sec = 7, .nsec = 8},
                                            .after = stub_attr(ZONE_DIR, 1)};
        CHECK_UINT(status_of(&call, &reply), fails ? NFS3ERR_NOENT : NFS3_OK);
        CHECK_UINT(reply_u32(&reply), 1);
        CHECK_UINT(reply_u64(&reply), 99);
        CHECK_UINT(reply_u32(&reply), 5);
        CHECK_UINT(reply_u32(&reply), 6);
        CHECK_UINT(reply_u32(&reply), 7);
        CHECK_UINT(reply_u32(&reply), 8);
        CHECK_UINT(reply_u32(&reply), 1);
        CHECK_UINT(reply_fattr(&reply, &fsid), 1);
        reply_end(&reply);
    }
}

/* LOOKUP of "." asks for nothing but the directory, and only a directory has one. */
static void lookup_dot(void)
{
    struct call call = start(NFSPROC3_LOOKUP);

    call_put_fh(&call, "alpha", 3);
    call_put_str(&call, ".");
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_DIR, 3);
    CHECK_UINT(status_only(&call), NFS3_OK);
    CHECK_UINT(stub_last(&stub)->op.type, ZONE_OP_GETATTR);
    call = start(NFSPROC3_LOOKUP);
    call_put_fh(&call, "alpha", 3);
    call_put_str(&call, ".");
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_REG, 3);
    CHECK_UINT(status_only(&call), NFS3ERR_NOTDIR);
}

/* Every outcome has a status of its own meaning; faults are not shown to clients. */
static void statuses(void)
{
    CHECK_UINT(nfs3_status(OUT_OK), NFS3_OK);
    CHECK_UINT(nfs3_status(OUT_TRY_LATER), NFS3ERR_JUKEBOX);
    CHECK_UINT(nfs3_status(OUT_NOT_LEADER), NFS3ERR_JUKEBOX);
    CHECK_UINT(nfs3_status(OUT_DQUOT), NFS3ERR_DQUOT);
    CHECK_UINT(nfs3_status(OUT_STALE), NFS3ERR_STALE);
    CHECK_UINT(nfs3_status(-5), NFS3ERR_SERVERFAULT);
    CHECK_UINT(nfs3_status(OUT_MAX), NFS3ERR_SERVERFAULT);
    for (int outcome = 1; outcome < OUT_MAX; outcome++) {
        CHECK(nfs3_status(outcome) != NFS3_OK);
        CHECK(mnt3_status(outcome) != MNT3_OK);
    }
}

/* What clients size their transfers by. */
static void fsinfo(void)
{
    struct call call = start(NFSPROC3_FSINFO);
    struct reply reply;

    call_put_fh(&call, "alpha", 1);
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    CHECK_UINT(reply_u32(&reply), 0);
    CHECK_UINT(reply_u32(&reply), 1 << 20);
    CHECK_UINT(reply_u32(&reply), 1 << 20);
    (void)reply_u32(&reply);
    CHECK_UINT(reply_u32(&reply), 1 << 20);
    CHECK_UINT(reply_u32(&reply), 1 << 20);
    (void)reply_u64(&reply);
    CHECK_UINT(reply_u64(&reply), ZONE_FILE_SIZE_MAX);
    CHECK_UINT(reply_u64(&reply), 1);
    CHECK_UINT(reply_u32(&reply), 0x1b);
    reply_end(&reply);
}

/* The verifier of COMMIT is that of WRITE. */
static void commit_has_the_writes_verifier(void)
{
    struct call call = begin_write("x", 1);
    struct reply reply;
    uint64_t verf;

    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    (void)reply_u64(&reply);
    (void)reply_u64(&reply);
    verf = reply_u64(&reply);
    reply_end(&reply);
    call = start(NFSPROC3_COMMIT);
    call_put_fh(&call, "alpha", 9);
    rpc_put_u64(&call.xdr, 0);
    rpc_put_u32(&call.xdr, 0);
    CHECK_UINT(status_of(&call, &reply), NFS3_OK);
    (void)reply_u64(&reply);
    CHECK_UINT(reply_u64(&reply), verf);
    reply_end(&reply);
}

TEST_MAIN(CHECK_TEST(getattr_shows_the_zone), CHECK_TEST(times_are_clamped),
          CHECK_TEST(forged_handle), CHECK_TEST(handle_of_a_deleted_zone),
          CHECK_TEST(export_is_checked_per_call), CHECK_TEST(root_is_squashed),
          CHECK_TEST(all_groups_are_squashed),
          CHECK_TEST(nobody_is_squashed_without_a_rule),
          CHECK_TEST(everyone_and_the_anonymous_are_squashed),
          CHECK_TEST(read_only_export), CHECK_TEST(across_zones_is_xdev),
          CHECK_TEST(impossible_names), CHECK_TEST(write_is_in_place_and_stable),
          CHECK_TEST(write_count_and_data), CHECK_TEST(rpc_key_is_the_call),
          CHECK_TEST(rpc_key_only_where_needed), CHECK_TEST(rpc_key_of_a_write),
          CHECK_TEST(read_data), CHECK_TEST(too_much_data),
          CHECK_TEST(doubt_is_not_answered), CHECK_TEST(create_in_three_ways),
          CHECK_TEST(mknod_types), CHECK_TEST(setattr_guard),
          CHECK_TEST(wcc_in_success_and_failure), CHECK_TEST(lookup_dot),
          CHECK_TEST(statuses), CHECK_TEST(fsinfo), CHECK_TEST(every_change_is_refused),
          CHECK_TEST(fsinfo_of_a_read_only_export), CHECK_TEST(forbidden_before_across),
          CHECK_TEST(commit_has_the_writes_verifier))
