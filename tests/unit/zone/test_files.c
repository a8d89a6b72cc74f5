/* Data, attributes and permissions of files. */
#include "base/outcome.h"
#include "fixture.h"

#include <string.h>

static struct fx fx;
static uint8_t bytes[ZONE_IO_MAX];

static void setup(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
}

static void check_zeros(struct zone_handle file, uint64_t offset, uint32_t len)
{
    static const uint8_t zeros[65536];

    CHECK(len <= sizeof zeros);
    CHECK_INT(fx_get(&fx, file, offset, len), 0);
    CHECK_UINT(fx.result.count, len);
    CHECK_MEM(fx.result.data.data, zeros, len);
}

static struct zone_op setattr(struct zone_handle obj)
{
    return (struct zone_op){.type = ZONE_OP_SETATTR, .obj = obj};
}

/* What was written is read back; the end of the file is told; size, times and both wcc
 * sides are those of this write. */
static void write_and_read(void)
{
    struct zone_handle f;

    setup();
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_write(&fx, f, 0, slice_borrow(bytes, 300000)), 0);
    CHECK_UINT(fx.result.count, 300000);
    CHECK_UINT(fx.result.dir.before_size, 0);
    CHECK_UINT(fx.result.dir.after.size, 300000);
    CHECK_UINT(fx.result.dir.after.mtime.nsec, fx.time_ns % FX_SECOND);
    CHECK_INT(fx_write(&fx, f, 100, slice_borrow(bytes, 10)), 0);
    CHECK_UINT(fx.result.obj.size, 300000);
    CHECK_INT(fx_get(&fx, f, 110, 200000), 0);
    CHECK_UINT(fx.result.count, 200000);
    CHECK(!fx.result.eof);
    CHECK_MEM(fx.result.data.data, bytes + 110, 200000);
    CHECK_INT(fx_get(&fx, f, 100, 10), 0);
    CHECK_MEM(fx.result.data.data, bytes, 10);
    CHECK_INT(fx_get(&fx, f, 299990, 100), 0);
    CHECK_UINT(fx.result.count, 10);
    CHECK(fx.result.eof);
    CHECK_INT(fx_get(&fx, f, 300000, 100), 0);
    CHECK_UINT(fx.result.count, 0);
    CHECK(fx.result.eof);
    CHECK_INT(fx_get(&fx, fx_root, 0, 1), OUT_ISDIR);
    CHECK_INT(fx_write(&fx, fx_root, 0, slice_borrow(bytes, 1)), OUT_ISDIR);
    fx_close(&fx);
}

/* A write of nothing succeeds and changes nothing. */
static void write_of_nothing(void)
{
    struct zone_handle f;

    setup();
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_write(&fx, f, 1000, (struct slice){0}), 0);
    CHECK_UINT(fx.result.obj.size, 0);
    CHECK_UINT(fx.result.obj.change, 1);
    fx_close(&fx);
}

/* An entry whose payload is only in the journal has the same effect. */
static void payload_from_the_journal(void)
{
    struct zone_op op = {.type = ZONE_OP_WRITE, .offset = 5};
    struct fx_entry entry;
    struct fx_batch batch = {.entries = &entry, .n = 1, .here = false};

    setup();
    op.obj = fx_file(&fx, fx_root, "f");
    op.data = slice_borrow(bytes, 200000);
    fx_make(&fx, &op, ++fx.index, fx.time_ns + 1, &entry);
    CHECK_INT(fx_apply(&fx, &batch), 0);
    fx_free(&entry);
    CHECK_INT(fx_get(&fx, op.obj, 5, 200000), 0);
    CHECK_MEM(fx.result.data.data, bytes, 200000);
    check_zeros(op.obj, 0, 5);
    fx_close(&fx);
}

/* Holes read as zeros, beyond 4 GiB as well, and survive a restart. */
static void sparse_files(void)
{
    struct zone_handle f;
    uint64_t far = (5ull << 30) + 12345;

    setup();
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_write(&fx, f, far, slice_borrow(bytes, 1000)), 0);
    CHECK_UINT(fx.result.obj.size, far + 1000);
    CHECK_UINT(fx.result.obj.used, 4096);
    CHECK_INT(fx_write(&fx, f, 0, slice_borrow(bytes, 10)), 0);
    fx_reopen(&fx);
    CHECK_INT(fx_get(&fx, f, far, 2000), 0);
    CHECK_UINT(fx.result.count, 1000);
    CHECK_MEM(fx.result.data.data, bytes, 1000);
    check_zeros(f, 4ull << 30, 65536);
    check_zeros(f, 10, 1000);
    fx_close(&fx);
}

/* The largest size can be set, reads as zeros and costs nothing; one more byte is too
 * large, for SETATTR, CREATE and WRITE. */
static void largest_file(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root};
    struct zone_handle f;

    setup();
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_truncate(&fx, f, ZONE_FILE_SIZE_MAX), 0);
    CHECK_UINT(fx.result.obj.size, ZONE_FILE_SIZE_MAX);
    CHECK_UINT(fx.result.obj.used, 0);
    check_zeros(f, ZONE_FILE_SIZE_MAX - 4096, 4096);
    CHECK_INT(fx_truncate(&fx, f, ZONE_FILE_SIZE_MAX + 1), OUT_FBIG);
    CHECK_INT(fx_write(&fx, f, ZONE_FILE_SIZE_MAX - 1, fx_str("xy")), OUT_FBIG);
    CHECK_INT(fx_write(&fx, f, UINT64_MAX, fx_str("x")), OUT_FBIG);
    CHECK_INT(fx_write(&fx, f, ZONE_FILE_SIZE_MAX - 1, fx_str("x")), 0);
    CHECK_INT(fx_get(&fx, f, ZONE_FILE_SIZE_MAX - 1, 5), 0);
    CHECK_UINT(fx.result.count, 1);
    op.name = fx_str("g");
    op.sattr.set = ZONE_SET_SIZE;
    op.sattr.size = ZONE_FILE_SIZE_MAX + 1;
    CHECK_INT(fx_run(&fx, op), OUT_FBIG);
    CHECK_INT(fx_lookup(&fx, fx_root, "g"), OUT_NOENT);
    op.sattr.size = 10000;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.size, 10000);
    check_zeros(fx_obj(&fx), 0, 10000);
    fx_close(&fx);
}

/* What is cut off stays cut off: when the file grows again it is zeros. */
static void truncate_zeroes(void)
{
    struct zone_handle f;

    setup();
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_write(&fx, f, 0, slice_borrow(bytes, 300000)), 0);
    CHECK_INT(fx_truncate(&fx, f, 1000), 0);
    CHECK_INT(fx_truncate(&fx, f, 300000), 0);
    CHECK_INT(fx_get(&fx, f, 0, 1000), 0);
    CHECK_MEM(fx.result.data.data, bytes, 1000);
    check_zeros(f, 1000, 65536);
    check_zeros(f, 200000, 65536);
    CHECK_INT(fx_truncate(&fx, fx_root, 0), OUT_ISDIR);
    fx_close(&fx);
}

/* SETATTR sets what it was asked for, ctime becomes the entry's time, and
 * SET_TO_SERVER_TIME too. */
static void setattr_sets(void)
{
    struct zone_op op;

    setup();
    op = setattr(fx_file(&fx, fx_root, "f"));
    op.sattr.set = ZONE_SET_MODE | ZONE_SET_UID | ZONE_SET_GID | ZONE_SET_SIZE;
    op.sattr.mode = 0604;
    op.sattr.uid = 5;
    op.sattr.gid = 6;
    op.sattr.size = 77;
    op.sattr.set_atime = ZONE_TIME_CLIENT;
    op.sattr.atime = (struct zone_time){.sec = -2, .nsec = 999999999};
    op.sattr.set_mtime = ZONE_TIME_SERVER;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.mode, 0604);
    CHECK_UINT(fx.result.obj.uid, 5);
    CHECK_UINT(fx.result.obj.gid, 6);
    CHECK_UINT(fx.result.obj.size, 77);
    CHECK_INT(fx.result.obj.atime.sec, -2);
    CHECK_UINT(fx.result.obj.atime.nsec, 999999999);
    CHECK_UINT(fx.result.obj.mtime.nsec, fx.time_ns % FX_SECOND);
    CHECK_UINT(fx.result.obj.ctime.nsec, fx.time_ns % FX_SECOND);
    op.sattr = (struct zone_sattr){.set_atime = ZONE_TIME_CLIENT};
    op.sattr.atime.sec = INT64_MAX;
    CHECK_INT(fx_run(&fx, op), OUT_INVAL);
    fx_close(&fx);
}

/* A guard that is not the ctime refuses the whole SETATTR (RFC 1813 3.3.2). */
static void guarded_setattr(void)
{
    struct zone_op op;

    setup();
    op = setattr(fx_file(&fx, fx_root, "f"));
    op.guarded = true;
    op.guard = fx.result.obj.ctime;
    op.sattr.set = ZONE_SET_MODE;
    op.sattr.mode = 0600;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_INT(fx_run(&fx, op), OUT_NOT_SYNC);
    CHECK_UINT(fx.result.dir.after.mode, 0600);
    op.guard.nsec = fx.result.dir.after.ctime.nsec + 1;
    CHECK_INT(fx_run(&fx, op), OUT_NOT_SYNC);
    fx_close(&fx);
}

/* Modes decide for others, group and owner by the first class that matches; further
 * groups count; uid 0 may everything. */
static void classes(void)
{
    struct zone_op op = {.type = ZONE_OP_ACCESS, .access = 0x3f};

    setup();
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0461), 0);
    op.obj = fx_obj(&fx);
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.access, 0x01);
    fx_as(&fx, 1001, 100);
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.access, 0x0d);
    fx_as(&fx, 1001, 101);
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.access, 0x20);
    fx.cred.n_groups = 2;
    fx.cred.groups[1] = 100;
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.access, 0x0d);
    fx_as(&fx, 0, 0);
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.access, 0x2d);
    CHECK_INT(fx_chmod(&fx, op.obj, 0), 0);
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.access, 0x0d);
    CHECK_INT(fx_mkdir(&fx, fx_root, "d", 0), 0);
    op.obj = fx_obj(&fx);
    op.access = 0x3f;
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.access, 0x1f);
    fx_close(&fx);
}

/* All of the groups that AUTH_SYS has room for count, the last like the first. */
static void sixteen_groups(void)
{
    struct zone_op op = {.type = ZONE_OP_ACCESS, .access = 0x3f};

    setup();
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0040), 0);
    op.obj = fx_obj(&fx);
    for (uint32_t i = 0; i < ZONE_GROUPS_MAX; i++) {
        fx_as(&fx, 1001, 7);
        fx.cred.n_groups = ZONE_GROUPS_MAX;
        for (uint32_t group = 0; group < ZONE_GROUPS_MAX; group++) {
            fx.cred.groups[group] = group == i ? 100 : 2000 + group;
        }
        CHECK_INT(fx_read(&fx, op), 0);
        CHECK_UINT(fx.result.access, 0x01);
        fx.cred.groups[i] = 101;
        CHECK_INT(fx_read(&fx, op), 0);
        CHECK_UINT(fx.result.access, 0);
    }
    fx_close(&fx);
}

/* The owner of an open file goes on reading and writing whatever its mode became, and
 * who may execute a file may read it, as clients need; others may not. */
static void owner_keeps_open_files(void)
{
    struct zone_handle f;

    setup();
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0), 0);
    f = fx_obj(&fx);
    CHECK_INT(fx_write(&fx, f, 0, fx_str("mine")), 0);
    CHECK_INT(fx_get(&fx, f, 0, 4), 0);
    CHECK_INT(fx_truncate(&fx, f, 2), 0);
    fx_as(&fx, 1001, 100);
    CHECK_INT(fx_get(&fx, f, 0, 4), OUT_ACCES);
    CHECK_INT(fx_write(&fx, f, 0, fx_str("his")), OUT_ACCES);
    CHECK_INT(fx_truncate(&fx, f, 0), OUT_ACCES);
    fx_as(&fx, 0, 0);
    CHECK_INT(fx_chmod(&fx, f, 0001), 0);
    fx_as(&fx, 1001, 101);
    CHECK_INT(fx_get(&fx, f, 0, 4), 0);
    CHECK_INT(fx_write(&fx, f, 0, fx_str("his")), OUT_ACCES);
    fx_close(&fx);
}

/* Directories: x to pass, r to list, wx to change. */
static void directory_permission(void)
{
    struct zone_op list = {.type = ZONE_OP_READDIR, .count = 4096};
    struct zone_handle d;
    struct zone_handle f;

    setup();
    d = fx_dir(&fx, fx_root, "d");
    f = fx_file(&fx, d, "f");
    list.obj = d;
    CHECK_INT(fx_chmod(&fx, d, 0704), 0);
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_lookup(&fx, d, "f"), OUT_ACCES);
    CHECK_INT(fx_create(&fx, d, "g", 0644), OUT_ACCES);
    CHECK_INT(fx_read(&fx, list), 0);
    CHECK_INT(fx_link(&fx, f, d, "g"), OUT_ACCES);
    fx_as(&fx, 0, 0);
    CHECK_INT(fx_chmod(&fx, d, 0701), 0);
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_lookup(&fx, d, "f"), 0);
    CHECK_INT(fx_read(&fx, list), OUT_ACCES);
    CHECK_INT(fx_remove(&fx, d, "f"), OUT_ACCES);
    CHECK_INT(fx_create(&fx, d, "g", 0644), OUT_ACCES);
    CHECK_INT(fx_create(&fx, d, "f", 0644), OUT_EXIST);
    CHECK_INT(fx_rename(&fx, d, "f", fx_root, "f"), OUT_ACCES);
    fx_as(&fx, 0, 0);
    CHECK_INT(fx_chmod(&fx, d, 0703), 0);
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_rename(&fx, d, "f", fx_root, "f"), 0);
    CHECK_INT(fx_create(&fx, d, "g", 0644), 0);
    fx_close(&fx);
}

/* rename needs to search and change the directory that it puts the name into, too. */
static void rename_needs_both_directories(void)
{
    struct zone_handle to;

    setup();
    to = fx_dir(&fx, fx_root, "to");
    fx_as(&fx, 1000, 100);
    (void)fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_rename(&fx, fx_root, "f", to, "f"), OUT_ACCES);
    fx_as(&fx, 0, 0);
    CHECK_INT(fx_chmod(&fx, to, 0776), 0);
    (void)fx_file(&fx, to, "f");
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_rename(&fx, fx_root, "none", to, "f"), OUT_ACCES);
    CHECK_INT(fx_rename(&fx, fx_root, "f", to, "f"), OUT_ACCES);
    fx_close(&fx);
}

/* Truncating by CREATE takes the same permission as by SETATTR. */
static void create_truncates_own_files_only(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root, .how = ZONE_UNCHECKED};

    setup();
    (void)fx_file(&fx, fx_root, "f");
    fx_as(&fx, 1000, 100);
    op.name = fx_str("f");
    CHECK_INT(fx_run(&fx, op), 0);
    op.sattr.set = ZONE_SET_SIZE;
    CHECK_INT(fx_run(&fx, op), OUT_ACCES);
    op.sattr.size = ZONE_FILE_SIZE_MAX + 1;
    CHECK_INT(fx_run(&fx, op), OUT_FBIG);
    fx_close(&fx);
}

/* In a sticky directory only the owners of file or directory remove and rename. */
static void sticky_directories(void)
{
    struct zone_op op;
    struct zone_handle d;

    setup();
    d = fx_dir(&fx, fx_root, "tmp");
    CHECK_INT(fx_chmod(&fx, d, 01777), 0);
    fx_as(&fx, 1000, 100);
    (void)fx_file(&fx, d, "his");
    fx_as(&fx, 1001, 100);
    (void)fx_file(&fx, d, "mine");
    CHECK_INT(fx_remove(&fx, d, "his"), OUT_PERM);
    CHECK_INT(fx_rename(&fx, d, "his", d, "other"), OUT_PERM);
    CHECK_INT(fx_rename(&fx, d, "mine", d, "his"), OUT_PERM);
    CHECK_INT(fx_rename(&fx, d, "mine", d, "other"), 0);
    CHECK_INT(fx_remove(&fx, d, "other"), 0);
    fx_as(&fx, 0, 0);
    CHECK_INT(fx_remove(&fx, d, "his"), 0);
    (void)fx_file(&fx, d, "root's");
    op = setattr(d);
    op.sattr.set = ZONE_SET_UID;
    op.sattr.uid = 1001;
    CHECK_INT(fx_run(&fx, op), 0);
    fx_as(&fx, 1001, 100);
    CHECK_INT(fx_remove(&fx, d, "root's"), 0);
    fx_close(&fx);
}

/* Who moves a directory to another parent writes its "..", so must be able to. */
static void moving_a_directory_writes_it(void)
{
    struct zone_handle to;

    setup();
    CHECK_INT(fx_mkdir(&fx, fx_root, "d", 0555), 0);
    CHECK_INT(fx_mkdir(&fx, fx_root, "to", 0777), 0);
    to = fx_obj(&fx);
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_rename(&fx, fx_root, "d", to, "d"), OUT_ACCES);
    CHECK_INT(fx_rename(&fx, fx_root, "d", fx_root, "e"), 0);
    fx_close(&fx);
}

/* What is made in a set-gid directory has its group, and directories hand the bit on. */
static void setgid_directories(void)
{
    struct zone_op op;
    struct zone_handle d;

    setup();
    d = fx_dir(&fx, fx_root, "d");
    op = setattr(d);
    op.sattr.set = ZONE_SET_GID | ZONE_SET_MODE;
    op.sattr.gid = 500;
    op.sattr.mode = 02777;
    CHECK_INT(fx_run(&fx, op), 0);
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_create(&fx, d, "f", 02755), 0);
    CHECK_UINT(fx.result.obj.gid, 500);
    CHECK_UINT(fx.result.obj.mode, 0755);
    CHECK_INT(fx_mkdir(&fx, d, "sub", 0755), 0);
    CHECK_UINT(fx.result.obj.gid, 500);
    CHECK_UINT(fx.result.obj.mode, 02755);
    fx_close(&fx);
}

/* chown is root's; chgrp to an own group is the owner's; chmod the owner's; client times
 * the owner's, "now" anybody's who may write. */
static void who_may_setattr(void)
{
    struct zone_op op;

    setup();
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0666), 0);
    op = setattr(fx_obj(&fx));
    op.sattr.set = ZONE_SET_UID;
    op.sattr.uid = 1001;
    CHECK_INT(fx_run(&fx, op), OUT_PERM);
    op.sattr.uid = 1000;
    CHECK_INT(fx_run(&fx, op), 0);
    op.sattr.set = ZONE_SET_GID;
    op.sattr.gid = 101;
    CHECK_INT(fx_run(&fx, op), OUT_PERM);
    fx.cred.n_groups = 1;
    fx.cred.groups[0] = 101;
    CHECK_INT(fx_run(&fx, op), 0);
    fx_as(&fx, 1001, 101);
    CHECK_INT(fx_chmod(&fx, op.obj, 0600), OUT_PERM);
    op.sattr = (struct zone_sattr){.set_mtime = ZONE_TIME_SERVER};
    CHECK_INT(fx_run(&fx, op), 0);
    op.sattr.set_mtime = ZONE_TIME_CLIENT;
    CHECK_INT(fx_run(&fx, op), OUT_PERM);
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_INT(fx_chmod(&fx, op.obj, 0600), 0);
    fx_as(&fx, 1001, 101);
    op.sattr.set_mtime = ZONE_TIME_SERVER;
    CHECK_INT(fx_run(&fx, op), OUT_ACCES);
    fx_close(&fx);
}

/* A write, a truncation and a chown take set-id bits away, so that nobody slips code
 * into another's program; root's write leaves them. Group-id without group execution
 * is no privilege and stays. */
static void set_id_bits_go(void)
{
    struct zone_op op;
    struct zone_handle f;

    setup();
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_create(&fx, fx_root, "f", 06777), 0);
    f = fx_obj(&fx);
    CHECK_UINT(fx.result.obj.mode, 06777);
    fx_as(&fx, 0, 0);
    CHECK_INT(fx_write(&fx, f, 0, fx_str("x")), 0);
    CHECK_UINT(fx.result.obj.mode, 06777);
    fx_as(&fx, 1001, 101);
    CHECK_INT(fx_write(&fx, f, 0, fx_str("x")), 0);
    CHECK_UINT(fx.result.obj.mode, 0777);
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_chmod(&fx, f, 06767), 0);
    CHECK_INT(fx_truncate(&fx, f, 0), 0);
    CHECK_UINT(fx.result.obj.mode, 02767);
    CHECK_INT(fx_chmod(&fx, f, 06755), 0);
    fx_as(&fx, 0, 0);
    op = setattr(f);
    op.sattr.set = ZONE_SET_UID;
    op.sattr.uid = 7;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.mode, 0755);
    fx_close(&fx);
}

/* chmod cannot give the group-id of a group that one is not in. */
static void foreign_setgid_is_dropped(void)
{
    struct zone_op op;

    setup();
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0755), 0);
    op = setattr(fx_obj(&fx));
    fx_as(&fx, 0, 0);
    op.sattr.set = ZONE_SET_GID;
    op.sattr.gid = 999;
    CHECK_INT(fx_run(&fx, op), 0);
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_chmod(&fx, op.obj, 06755), 0);
    CHECK_UINT(fx.result.obj.mode, 04755);
    fx_close(&fx);
}

/* COMMIT confirms with the file's attributes; FSSTAT shows the quota. */
static void commit_and_fsstat(void)
{
    struct zone_op op = {.type = ZONE_OP_COMMIT};

    setup();
    op.obj = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK(fx.result.dir.has_before && fx.result.dir.has_after);
    op.obj = fx_root;
    CHECK_INT(fx_read(&fx, op), OUT_ISDIR);
    op.type = ZONE_OP_FSSTAT;
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.total_bytes, FX_QUOTA);
    CHECK_UINT(fx.result.free_bytes, FX_QUOTA - 3 * 512);
    CHECK_UINT(fx.result.used_inodes, 2);
    CHECK_UINT(fx.result.index, fx.index);
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(write_and_read), CHECK_TEST(write_of_nothing),
          CHECK_TEST(payload_from_the_journal), CHECK_TEST(sparse_files),
          CHECK_TEST(largest_file), CHECK_TEST(truncate_zeroes), CHECK_TEST(setattr_sets),
          CHECK_TEST(guarded_setattr), CHECK_TEST(classes), CHECK_TEST(sixteen_groups),
          CHECK_TEST(owner_keeps_open_files), CHECK_TEST(directory_permission),
          CHECK_TEST(rename_needs_both_directories),
          CHECK_TEST(create_truncates_own_files_only), CHECK_TEST(sticky_directories),
          CHECK_TEST(moving_a_directory_writes_it), CHECK_TEST(setgid_directories),
          CHECK_TEST(who_may_setattr), CHECK_TEST(set_id_bits_go),
          CHECK_TEST(foreign_setgid_is_dropped), CHECK_TEST(commit_and_fsstat))
