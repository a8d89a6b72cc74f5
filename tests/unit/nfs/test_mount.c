/* MOUNTv3, and the root folder that is mounted as "/". */
#include "base/outcome.h"
#include "lib/check.h"
#include "nfs/mnt3_mounts.h"
#include "nfs/nfs3_proto.h"
#include "nfs/nfs3_root.h"
#include "unit/nfs/stub.h"

#include <stdio.h>
#include <string.h>

static struct stub stub;

/* MNT of @path; its status, and the handle if it is OK. */
static uint32_t mount_bytes(struct slice path, const char *address, struct nfs3_fh *fh)
{
    struct call call = call_begin(MNT3_PROGRAM, MOUNTPROC3_MNT);
    struct reply reply;
    uint32_t status;

    call.address = address;
    rpc_put_opaque(&call.xdr, path.data, path.len);
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    status = reply_u32(&reply);
    if (status == MNT3_OK) {
        struct slice bytes = rpc_get_opaque(&reply.xdr, 64);

        CHECK_INT(nfs3_fh_decode(bytes, stub.backend.handle_key(NULL), fh), 0);
        CHECK_UINT(reply_u32(&reply), 1);
        CHECK_UINT(reply_u32(&reply), AUTH_SYS);
    }
    reply_end(&reply);
    return status;
}

static uint32_t mount(const char *path, const char *address, struct nfs3_fh *fh)
{
    return mount_bytes(slice_borrow(path, strlen(path)), address, fh);
}

/* "/" and every zone can be mounted, without asking any zone: a mount works while a
 * zone has no leader. */
static void exports_are_mounted(void)
{
    struct nfs3_fh fh;

    stub_init(&stub);
    CHECK_UINT(mount("/", NULL, &fh), MNT3_OK);
    CHECK(fh.root);
    CHECK_UINT(mount("/beta/", NULL, &fh), MNT3_OK);
    CHECK(!fh.root);
    CHECK_UINT(fh.zone_id[0], 0xb2);
    CHECK_UINT(fh.obj.ino, ZONE_ROOT_INO);
    CHECK_UINT(fh.obj.gen, ZONE_ROOT_GEN);
    CHECK_UINT(stub.n_ops, 0);
}

/* A folder in a zone is found name by name. */
static void folders_are_walked_to(void)
{
    struct nfs3_fh fh;

    stub_init(&stub);
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_DIR, 33);
    CHECK_UINT(mount("/alpha/some//./folder", NULL, &fh), MNT3_OK);
    CHECK_UINT(stub.n_ops, 2);
    CHECK_UINT(stub.ops[0].op.obj.ino, ZONE_ROOT_INO);
    CHECK_UINT(stub.ops[1].op.obj.ino, 33);
    CHECK_UINT(fh.obj.ino, 33);
}

/* Every path that leads nowhere is refused with the reason that mount can show. */
static void bad_paths(void)
{
    static char path[512];
    struct nfs3_fh fh;

    stub_init(&stub);
    CHECK_UINT(mount("", NULL, &fh), MNT3ERR_NOENT);
    CHECK_UINT(mount("alpha", NULL, &fh), MNT3ERR_NOENT);
    CHECK_UINT(mount("/none", NULL, &fh), MNT3ERR_NOENT);
    CHECK_UINT(mount("/alpha/../beta", NULL, &fh), MNT3ERR_INVAL);
    memset(path, 'p', 400);
    path[0] = '/';
    CHECK_UINT(mount(path, NULL, &fh), MNT3ERR_NOENT);
    memcpy(path, "/alpha/", 7);
    CHECK_UINT(mount(path, NULL, &fh), MNT3ERR_NAMETOOLONG);
    memcpy(path, "/alpha\0x", 8); /* More than the name of a zone. */
    CHECK_UINT(mount_bytes(slice_borrow(path, 8), NULL, &fh), MNT3ERR_NOENT);
    stub.result.outcome = OUT_NOENT;
    CHECK_UINT(mount("/alpha/x", NULL, &fh), MNT3ERR_NOENT);
    stub.result.outcome = OUT_TRY_LATER;
    CHECK_UINT(mount("/alpha/x", NULL, &fh), MNT3ERR_SERVERFAULT);
    stub.result.outcome = 0;
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_LNK, 5);
    CHECK_UINT(mount("/alpha/x", NULL, &fh), MNT3ERR_NOTDIR);
}

/* What a client may not use it cannot mount, and the list does not show it. */
static void exports_are_per_client(void)
{
    struct call call = call_begin(MNT3_PROGRAM, MOUNTPROC3_EXPORT);
    struct reply reply;
    struct nfs3_fh fh;
    struct slice path;

    stub_init(&stub);
    CHECK_UINT(mount("/", "10.9.9.9", &fh), MNT3ERR_ACCES);
    CHECK_UINT(mount("/alpha", "10.9.9.9", &fh), MNT3_OK);
    CHECK_UINT(mount("/beta", "10.9.9.9", &fh), MNT3ERR_ACCES);
    call.address = "10.9.9.9";
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    CHECK_UINT(reply_u32(&reply), 1);
    path = rpc_get_opaque(&reply.xdr, 1024);
    CHECK_UINT(path.len, 6);
    CHECK_MEM(path.data, "/alpha", 6);
    CHECK_UINT(reply_u32(&reply), 0);
    CHECK_UINT(reply_u32(&reply), 0);
    reply_end(&reply);
}

static bool two_clients(void *ctx, const struct nfs_zone *zone, uint32_t i,
                        char out[NFS_CLIENT_TEXT_MAX])
{
    (void)ctx;
    strcpy(out, i == 0 ? "10.0.0.0/8" : zone == NULL ? "*" : zone->slug);
    return i < 2;
}

/* A list of the strings in a reply, and of its marks: "+" another one, "." the end. */
static void read_list(struct reply *reply, unsigned strings, char *out)
{
    *out = '\0';
    while (reply_u32(reply) == 1) {
        strcat(out, "+");
        for (unsigned i = 0; i < strings; i++) {
            struct slice text = rpc_get_opaque(&reply->xdr, 1024);

            CHECK(!reply->xdr.failed);
            strcat(out, " ");
            strncat(out, (const char *)text.data, text.len);
        }
        if (strings == 1) { /* Groups follow. */
            while (reply_u32(reply) == 1) {
                struct slice text = rpc_get_opaque(&reply->xdr, 255);

                CHECK(!reply->xdr.failed);
                strcat(out, " ");
                strncat(out, (const char *)text.data, text.len);
            }
        }
    }
    strcat(out, ".");
    reply_end(reply);
}

/* showmount -e sees every export with its clients. */
static void exports_tell_their_clients(void)
{
    struct call call = call_begin(MNT3_PROGRAM, MOUNTPROC3_EXPORT);
    struct reply reply;
    char list[200];

    stub_init(&stub);
    stub.backend.export_client = two_clients;
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    read_list(&reply, 1, list);
    CHECK_STR(list, "+ / 10.0.0.0/8 *+ /alpha 10.0.0.0/8 alpha+ /beta 10.0.0.0/8 beta.");
}

/* DUMP, as the client at @address sees it. */
static const char *dump(const char *address)
{
    static char list[300];
    struct call call = call_begin(MNT3_PROGRAM, MOUNTPROC3_DUMP);
    struct reply reply;

    call.address = address;
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    read_list(&reply, 2, list);
    return list;
}

static void unmount(const char *path, const char *address)
{
    struct call call =
        call_begin(MNT3_PROGRAM, path == NULL ? MOUNTPROC3_UMNTALL : MOUNTPROC3_UMNT);
    struct reply reply;

    call.address = address;
    if (path != NULL) {
        call_put_str(&call, path);
    }
    call_run(&stub, &call, &reply);
    reply_accepted(&reply);
    reply_end(&reply);
}

/* What was mounted and not unmounted is told, once, however it was spelled; what was
 * refused is not. */
static void mounts_are_noted(void)
{
    struct mnt3_mounts mounts = {0};
    struct nfs3_fh fh;

    stub_init(&stub);
    CHECK_STR(dump(NULL), ".");
    stub.mounts = &mounts;
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_DIR, 33);
    CHECK_STR(dump(NULL), ".");
    CHECK_UINT(mount("/alpha//x/.", "10.0.0.2", &fh), MNT3_OK);
    CHECK_UINT(mount("/", "10.0.0.2", &fh), MNT3_OK);
    CHECK_UINT(mount("/alpha/x/", "10.0.0.2", &fh), MNT3_OK);
    CHECK_UINT(mount("/beta", "10.0.0.3", &fh), MNT3_OK);
    CHECK_UINT(mount("/gone", "10.0.0.3", &fh), MNT3ERR_NOENT);
    CHECK_UINT(mount("/beta", "10.9.9.9", &fh), MNT3ERR_ACCES);
    CHECK_STR(dump(NULL), "+ 10.0.0.2 /+ 10.0.0.2 /alpha/x+ 10.0.0.3 /beta.");
    /* As with EXPORT: no more than the client may mount itself. */
    CHECK_STR(dump("10.9.9.9"), "+ 10.0.0.2 /alpha/x.");
    unmount("/beta", "10.0.0.2"); /* It never was. */
    unmount("/alpha/x", "10.0.0.2");
    CHECK_STR(dump(NULL), "+ 10.0.0.2 /+ 10.0.0.3 /beta.");
    unmount(NULL, "10.0.0.2");
    CHECK_STR(dump(NULL), "+ 10.0.0.3 /beta.");
    mnt3_mounts_deinit(&mounts);
}

/* However many there are, what is kept is bounded, and the newest is in it. */
static void mounts_are_bounded(void)
{
    struct mnt3_mounts mounts = {0};
    char client[32];

    for (unsigned i = 0; i < MNT3_MOUNTS_MAX + 10; i++) {
        snprintf(client, sizeof client, "10.0.%u.%u", i / 256, i % 256);
        mnt3_mounts_add(&mounts, client, slice_borrow("/a", 2));
    }
    CHECK_UINT(mounts.n, MNT3_MOUNTS_MAX);
    CHECK_STR(mounts.items[0]->client, "10.0.0.10");
    CHECK_STR(mounts.items[MNT3_MOUNTS_MAX - 1]->client, client);
    mnt3_mounts_deinit(&mounts);
}

static struct call on_root(uint32_t proc)
{
    struct call call = call_begin(NFS3_PROGRAM, proc);

    call_put_fh(&call, "/", 0);
    return call;
}

static uint32_t root_status(struct call *call, struct reply *reply)
{
    call_run(&stub, call, reply);
    reply_accepted(reply);
    return reply_u32(reply);
}

/* The root folder is a read-only directory with an fsid of its own. */
static void root_folder_attributes(void)
{
    struct call call = on_root(NFSPROC3_GETATTR);
    struct reply reply;

    stub_init(&stub);
    CHECK_UINT(root_status(&call, &reply), NFS3_OK);
    CHECK_UINT(reply_u32(&reply), ZONE_DIR);
    CHECK_UINT(reply_u32(&reply), 0755);
    CHECK_UINT(reply_u32(&reply), 4); /* nlink: itself, "." and two zones. */
    for (unsigned i = 0; i < 8; i++) {
        (void)reply_u32(&reply);
    }
    CHECK_UINT(reply_u64(&reply), NFS3_ROOT_FSID);
    reply_free(&reply);
    call = on_root(NFSPROC3_MKDIR);
    call_put_str(&call, "new");
    call_put_no_sattr(&call);
    CHECK_UINT(root_status(&call, &reply), NFS3ERR_ROFS);
    reply_free(&reply);
    CHECK_UINT(stub.n_ops, 0);
}

/* A zone's name in it leads to the zone's root: another handle, another fsid. */
static void root_folder_lookup(void)
{
    struct call call = on_root(NFSPROC3_LOOKUP);
    struct reply reply;
    struct nfs3_fh fh;
    uint64_t fsid;

    stub_init(&stub);
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_DIR, ZONE_ROOT_INO);
    call_put_str(&call, "beta");
    CHECK_UINT(root_status(&call, &reply), NFS3_OK);
    CHECK_INT(nfs3_fh_decode(rpc_get_opaque(&reply.xdr, 64),
                             stub.backend.handle_key(NULL), &fh),
              0);
    CHECK(!fh.root);
    CHECK_UINT(fh.zone_id[0], 0xb2);
    CHECK_UINT(reply_u32(&reply), 1);
    (void)reply_fattr(&reply, &fsid);
    CHECK_UINT(fsid, 0xb2);
    CHECK_UINT(reply_u32(&reply), 1);
    (void)reply_fattr(&reply, &fsid);
    CHECK_UINT(fsid, NFS3_ROOT_FSID);
    reply_end(&reply);
    call = on_root(NFSPROC3_LOOKUP);
    call_put_str(&call, "gamma");
    CHECK_UINT(root_status(&call, &reply), NFS3ERR_NOENT);
    reply_free(&reply);
}

static void alpha_only(void *ctx, const char *address, const struct nfs_zone *zone,
                       struct nfs_export_rule *out)
{
    struct stub *from = ctx;

    (void)address;
    *out = from->rule;
    out->allowed = zone == NULL || strcmp(zone->slug, "alpha") == 0;
    out->squash = zone == NULL ? NFS_SQUASH_NONE : NFS_SQUASH_ALL;
}

/* A client sees the zones that it may use, cannot cross into another, and is in a zone who
 * that zone's export makes of it. */
static void root_folder_per_client(void)
{
    struct call call = on_root(NFSPROC3_LOOKUP);
    struct reply reply;
    uint64_t fsid;
    unsigned n = 0;

    stub_init(&stub);
    stub.backend.export_rule = alpha_only;
    stub.result.has_obj = true;
    stub.result.obj = stub_attr(ZONE_DIR, ZONE_ROOT_INO);
    call_put_str(&call, "beta");
    CHECK_UINT(root_status(&call, &reply), NFS3ERR_ACCES);
    reply_free(&reply);
    CHECK_UINT(stub.n_ops, 0);
    call = on_root(NFSPROC3_LOOKUP);
    call_put_str(&call, "alpha");
    CHECK_UINT(root_status(&call, &reply), NFS3_OK);
    reply_free(&reply);
    CHECK_UINT(stub_last(&stub)->op.cred.uid, 65534);
    call = on_root(NFSPROC3_READDIR);
    rpc_put_u64(&call.xdr, 2);
    rpc_put_u64(&call.xdr, 0);
    rpc_put_u32(&call.xdr, 4096);
    CHECK_UINT(root_status(&call, &reply), NFS3_OK);
    CHECK_UINT(reply_u32(&reply), 1);
    (void)reply_fattr(&reply, &fsid);
    (void)reply_u64(&reply);
    while (reply_u32(&reply) == 1) {
        (void)reply_u64(&reply);
        CHECK_MEM(rpc_get_opaque(&reply.xdr, 255).data, "alpha", 5);
        (void)reply_u64(&reply);
        n++;
    }
    CHECK_UINT(n, 1);
    CHECK_UINT(reply_u32(&reply), 1);
    reply_end(&reply);
}

/* ".." of a zone's root leads back. */
static void dotdot_of_a_zone(void)
{
    struct call call = call_begin(NFS3_PROGRAM, NFSPROC3_LOOKUP);
    struct reply reply;
    struct nfs3_fh fh;

    stub_init(&stub);
    call_put_fh(&call, "alpha", ZONE_ROOT_INO);
    call_put_str(&call, "..");
    CHECK_UINT(root_status(&call, &reply), NFS3_OK);
    CHECK_INT(nfs3_fh_decode(rpc_get_opaque(&reply.xdr, 64),
                             stub.backend.handle_key(NULL), &fh),
              0);
    CHECK(fh.root);
    reply_free(&reply);
    CHECK_UINT(stub.n_ops, 0);
}

/* The listing shows every zone once, however small its parts are. */
static void root_folder_listing(void)
{
    uint64_t cookie = 0;
    unsigned seen = 0;

    stub_init(&stub);
    for (bool eof = false; !eof;) {
        struct call call = on_root(NFSPROC3_READDIR);
        struct reply reply;
        uint64_t fsid;

        rpc_put_u64(&call.xdr, cookie);
        rpc_put_u64(&call.xdr, 0);
        rpc_put_u32(&call.xdr, 88 + 8 + 32 + 8); /* Room for one. */
        CHECK_UINT(root_status(&call, &reply), NFS3_OK);
        CHECK_UINT(reply_u32(&reply), 1);
        (void)reply_fattr(&reply, &fsid);
        (void)reply_u64(&reply);
        CHECK_UINT(reply_u32(&reply), 1);
        CHECK(reply_u64(&reply) != 0);
        (void)rpc_get_opaque(&reply.xdr, 255);
        cookie = reply_u64(&reply);
        seen++;
        CHECK_UINT(reply_u32(&reply), 0);
        eof = reply_u32(&reply) != 0;
        reply_end(&reply);
        CHECK(seen <= 4);
    }
    CHECK_UINT(seen, 4);
}

TEST_MAIN(CHECK_TEST(exports_are_mounted), CHECK_TEST(folders_are_walked_to),
          CHECK_TEST(bad_paths), CHECK_TEST(exports_are_per_client),
          CHECK_TEST(exports_tell_their_clients), CHECK_TEST(mounts_are_noted),
          CHECK_TEST(mounts_are_bounded), CHECK_TEST(root_folder_per_client),
          CHECK_TEST(root_folder_attributes), CHECK_TEST(root_folder_lookup),
          CHECK_TEST(dotdot_of_a_zone), CHECK_TEST(root_folder_listing))
