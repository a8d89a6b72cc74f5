/* Names: create, link, remove, rename, and what the directories say afterwards. */
#include "base/outcome.h"
#include "base/wire.h"
#include "fixture.h"

#include <string.h>

static struct fx fx;

static void setup(void)
{
    fx_open(&fx, "z", FX_QUOTA);
}

static uint32_t nlink_of(struct zone_handle obj)
{
    CHECK_INT(fx_getattr(&fx, obj), 0);
    return fx.result.obj.nlink;
}

/* A new file has the mode and owner asked for, times of its entry, one link, and a
 * generation that is its entry; the directory shows its change from before to after. */
static void create_gives_attributes(void)
{
    setup();
    fx_as(&fx, 1000, 100);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0640), 0);
    CHECK_INT(fx.result.obj.type, ZONE_REG);
    CHECK_UINT(fx.result.obj.mode, 0640);
    CHECK_UINT(fx.result.obj.uid, 1000);
    CHECK_UINT(fx.result.obj.gid, 100);
    CHECK_UINT(fx.result.obj.nlink, 1);
    CHECK_UINT(fx.result.obj.gen, fx.index);
    CHECK_INT(fx.result.obj.mtime.sec, fx.time_ns / FX_SECOND);
    CHECK_UINT(fx.result.obj.mtime.nsec, fx.time_ns % FX_SECOND);
    CHECK(fx.result.dir.has_before && fx.result.dir.has_after);
    CHECK_INT(fx.result.dir.before_mtime.sec, FX_TIME / FX_SECOND);
    CHECK_UINT(fx.result.dir.before_mtime.nsec, 0);
    CHECK_UINT(fx.result.dir.after.mtime.nsec, 1000000);
    CHECK_UINT(fx.result.dir.after.change, fx.index);
    CHECK_UINT(fx.result.index, fx.index);
    fx_close(&fx);
}

/* Attributes may come with the creation: times of the client's, and owner if it is root. */
static void create_takes_attributes(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root, .how = ZONE_GUARDED};

    setup();
    op.name = fx_str("f");
    op.sattr.set = ZONE_SET_UID | ZONE_SET_GID;
    op.sattr.uid = 5;
    op.sattr.gid = 6;
    op.sattr.set_atime = ZONE_TIME_CLIENT;
    op.sattr.set_mtime = ZONE_TIME_CLIENT;
    op.sattr.atime.sec = 1;
    op.sattr.mtime = (struct zone_time){.sec = 2, .nsec = 3};
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.uid, 5);
    CHECK_UINT(fx.result.obj.gid, 6);
    CHECK_INT(fx.result.obj.atime.sec, 1);
    CHECK_INT(fx.result.obj.mtime.sec, 2);
    CHECK_UINT(fx.result.obj.mtime.nsec, 3);
    CHECK_INT(fx.result.obj.ctime.sec, FX_TIME / FX_SECOND);
    fx_as(&fx, 1000, 100);
    op.name = fx_str("g");
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.uid, 1000);
    CHECK_UINT(fx.result.obj.gid, 100);
    op.name = fx_str("h");
    op.sattr.mtime.sec = INT64_MIN;
    CHECK_INT(fx_run(&fx, op), OUT_INVAL);
    CHECK_INT(fx_lookup(&fx, fx_root, "h"), OUT_NOENT);
    fx_close(&fx);
}

/* GUARDED refuses a name that is taken, and the directory is shown as it is. */
static void guarded_refuses_existing(void)
{
    setup();
    (void)fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_create(&fx, fx_root, "f", 0600), OUT_EXIST);
    CHECK(fx.result.dir.has_after);
    CHECK(!fx.result.has_obj);
    fx_close(&fx);
}

/* UNCHECKED takes the file that is there and only sets its size: the mode stays. */
static void unchecked_truncates_existing(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root, .how = ZONE_UNCHECKED};
    struct zone_handle file;

    setup();
    file = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_write(&fx, file, 0, fx_str("hello")), 0);
    op.name = fx_str("f");
    op.sattr.set = ZONE_SET_MODE;
    op.sattr.mode = 0;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.ino, file.ino);
    CHECK_UINT(fx.result.obj.size, 5);
    op.sattr.set |= ZONE_SET_SIZE;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.size, 0);
    CHECK_UINT(fx.result.obj.mode, 0644);
    (void)fx_dir(&fx, fx_root, "d");
    op.name = fx_str("d");
    CHECK_INT(fx_run(&fx, op), OUT_EXIST);
    fx_close(&fx);
}

/* EXCLUSIVE: the same verifier again finds the file that the first call made, another
 * one is refused; the times are the entry's, not the verifier's; after the creator set
 * the attributes the name is simply taken. */
static void exclusive_is_idempotent(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root, .how = ZONE_EXCLUSIVE};
    struct zone_handle file;

    setup();
    fx_as(&fx, 1000, 100);
    op.name = fx_str("x");
    memcpy(op.verf, "verifier", 8);
    CHECK_INT(fx_run(&fx, op), 0);
    file = fx_obj(&fx);
    CHECK_UINT(fx.result.obj.mode, 0); /* The creator sets it next. */
    CHECK_INT(fx.result.obj.atime.sec, FX_TIME / FX_SECOND);
    CHECK_INT(fx.result.obj.mtime.sec, FX_TIME / FX_SECOND);
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.ino, file.ino);
    op.verf[0] = 'V';
    CHECK_INT(fx_run(&fx, op), OUT_EXIST);
    op.verf[0] = 'v';
    CHECK_INT(fx_chmod(&fx, file, 0600), 0);
    CHECK_INT(fx_run(&fx, op), OUT_EXIST);
    fx_close(&fx);
}

/* The verifier is for the call that made the file: once the file was written to, linked
 * or renamed, its name is simply taken. */
static void verifier_ends_with_use(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root, .how = ZONE_EXCLUSIVE};
    struct zone_handle file;

    setup();
    op.name = fx_str("written");
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_INT(fx_write(&fx, fx_obj(&fx), 0, fx_str("x")), 0);
    CHECK_INT(fx_run(&fx, op), OUT_EXIST);
    op.name = fx_str("linked");
    CHECK_INT(fx_run(&fx, op), 0);
    file = fx_obj(&fx);
    CHECK_INT(fx_link(&fx, file, fx_root, "other"), 0);
    CHECK_INT(fx_run(&fx, op), OUT_EXIST);
    op.name = fx_str("before");
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_INT(fx_rename(&fx, fx_root, "before", fx_root, "after"), 0);
    op.name = fx_str("after");
    CHECK_INT(fx_run(&fx, op), OUT_EXIST);
    fx_close(&fx);
}

/* A verifier of zeros is a verifier too, and does not match files made otherwise. */
static void zero_verifier_is_one(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root, .how = ZONE_EXCLUSIVE};

    setup();
    (void)fx_file(&fx, fx_root, "plain");
    op.name = fx_str("plain");
    CHECK_INT(fx_run(&fx, op), OUT_EXIST);
    op.name = fx_str("x");
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_INT(fx_run(&fx, op), 0);
    fx_close(&fx);
}

/* A directory has 2 + subdirectories links; "..": its parent, and the root's the root. */
static void directories_count_links(void)
{
    struct zone_handle a;
    struct zone_handle b;

    setup();
    a = fx_dir(&fx, fx_root, "a");
    b = fx_dir(&fx, a, "b");
    (void)fx_file(&fx, a, "f");
    CHECK_UINT(nlink_of(fx_root), 3);
    CHECK_UINT(fx.result.obj.size, 4096);
    CHECK_UINT(fx.result.obj.used, 4096);
    CHECK_UINT(nlink_of(a), 3);
    CHECK_UINT(nlink_of(b), 2);
    CHECK_INT(fx_lookup(&fx, b, ".."), 0);
    CHECK_UINT(fx.result.obj.ino, a.ino);
    CHECK_INT(fx_lookup(&fx, fx_root, ".."), 0);
    CHECK_UINT(fx.result.obj.ino, ZONE_ROOT_INO);
    CHECK_INT(fx_lookup(&fx, b, "."), 0);
    CHECK_UINT(fx.result.obj.ino, b.ino);
    CHECK_INT(fx_rmdir(&fx, a, "b"), 0);
    CHECK_UINT(nlink_of(a), 2);
    CHECK_INT(fx_getattr(&fx, b), OUT_STALE);
    CHECK_INT(fx_create(&fx, b, "f", 0644), OUT_STALE);
    fx_close(&fx);
}

/* rmdir takes empty directories only, remove takes anything else only. */
static void remove_and_rmdir_mind_the_type(void)
{
    struct zone_handle d;

    setup();
    d = fx_dir(&fx, fx_root, "d");
    (void)fx_file(&fx, d, "f");
    CHECK_INT(fx_rmdir(&fx, fx_root, "d"), OUT_NOTEMPTY);
    CHECK_INT(fx_remove(&fx, fx_root, "d"), OUT_ISDIR);
    CHECK_INT(fx_rmdir(&fx, d, "f"), OUT_NOTDIR);
    CHECK_INT(fx_remove(&fx, d, "none"), OUT_NOENT);
    CHECK_INT(fx_remove(&fx, d, "f"), 0);
    CHECK_INT(fx_lookup(&fx, d, "f"), OUT_NOENT);
    CHECK_INT(fx_rmdir(&fx, fx_root, "d"), 0);
    CHECK_INT(fx_lookup(&fx, fx_root, "d"), OUT_NOENT);
    fx_close(&fx);
}

/* "." and ".." are nobody's to make or take (RFC 1813 3.3.8, 3.3.13, 3.3.14); names that
 * no Unix has are refused; others, any bytes, are kept as they are up to 255. */
static void odd_names(void)
{
    char longest[257];
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root};

    setup();
    CHECK_INT(fx_create(&fx, fx_root, ".", 0644), OUT_EXIST);
    CHECK_INT(fx_mkdir(&fx, fx_root, "..", 0755), OUT_EXIST);
    CHECK_INT(fx_rmdir(&fx, fx_root, "."), OUT_INVAL);
    CHECK_INT(fx_rmdir(&fx, fx_root, ".."), OUT_EXIST);
    CHECK_INT(fx_remove(&fx, fx_root, ".."), OUT_INVAL);
    CHECK_INT(fx_rename(&fx, fx_root, ".", fx_root, "x"), OUT_INVAL);
    CHECK_INT(fx_create(&fx, fx_root, "", 0644), OUT_INVAL);
    CHECK_INT(fx_create(&fx, fx_root, "a/b", 0644), OUT_INVAL);
    op.name = slice_borrow("a\0b", 3);
    CHECK_INT(fx_run(&fx, op), OUT_INVAL);
    op.name = slice_borrow("\xff\n\\ ...", 7);
    CHECK_INT(fx_run(&fx, op), 0);
    memset(longest, 'n', sizeof longest);
    op.name = slice_borrow(longest, ZONE_NAME_MAX);
    CHECK_INT(fx_run(&fx, op), 0);
    longest[255] = '\0';
    CHECK_INT(fx_lookup(&fx, fx_root, longest), 0);
    longest[255] = 'n';
    longest[256] = '\0';
    CHECK_INT(fx_lookup(&fx, fx_root, longest), OUT_NAMETOOLONG);
    fx_close(&fx);
}

/* Two names, one file: both show the same, and it lives until the last is gone. */
static void hard_links(void)
{
    struct zone_handle f;
    struct zone_handle d;

    setup();
    f = fx_file(&fx, fx_root, "f");
    d = fx_dir(&fx, fx_root, "d");
    CHECK_INT(fx_link(&fx, f, d, "g"), 0);
    CHECK_UINT(fx.result.obj.nlink, 2);
    CHECK(fx.result.to.has_before && fx.result.to.has_after);
    CHECK_INT(fx_link(&fx, f, d, "g"), OUT_EXIST);
    CHECK_INT(fx_link(&fx, d, fx_root, "h"), OUT_INVAL);
    CHECK_INT(fx_link(&fx, f, f, "h"), OUT_NOTDIR);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    CHECK_INT(fx_lookup(&fx, d, "g"), 0);
    CHECK_UINT(fx.result.obj.ino, f.ino);
    CHECK_UINT(fx.result.obj.nlink, 1);
    CHECK_INT(fx_remove(&fx, d, "g"), 0);
    CHECK_INT(fx_link(&fx, f, d, "again"), OUT_NOENT);
    fx_close(&fx);
}

/* A file has at most 65,000 names. */
static void links_are_bounded(void)
{
    struct store_inode inode;
    struct zone_handle f;

    setup();
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(store_begin(fx.store), 0);
    CHECK_INT(store_inode_get(fx.store, f.ino, &inode), 0);
    inode.nlink = 64999; /* Making them one by one takes too long for a test. */
    CHECK_INT(store_inode_put(fx.store, &inode), 0);
    CHECK_INT(store_commit(fx.store, false), 0);
    CHECK_INT(fx_link(&fx, f, fx_root, "g"), 0);
    CHECK_INT(fx_link(&fx, f, fx_root, "h"), OUT_MLINK);
    CHECK_INT(fx_lookup(&fx, fx_root, "h"), OUT_NOENT);
    fx_close(&fx);
}

/* rename to a free name moves the file with its number; the source is gone, ctime and
 * both directories change. */
static void rename_to_free_name(void)
{
    struct zone_handle a;
    struct zone_handle b;
    struct zone_handle f;

    setup();
    a = fx_dir(&fx, fx_root, "a");
    b = fx_dir(&fx, fx_root, "b");
    f = fx_file(&fx, a, "f");
    CHECK_INT(fx_rename(&fx, a, "f", b, "g"), 0);
    CHECK_UINT(fx.result.dir.after.change, fx.index);
    CHECK_UINT(fx.result.to.after.change, fx.index);
    CHECK_UINT(fx.result.to.after.ino, b.ino);
    CHECK_INT(fx_lookup(&fx, a, "f"), OUT_NOENT);
    CHECK_INT(fx_lookup(&fx, b, "g"), 0);
    CHECK_UINT(fx.result.obj.ino, f.ino);
    CHECK_UINT(fx.result.obj.change, fx.index);
    CHECK_INT(fx_rename(&fx, a, "f", b, "g"), OUT_NOENT);
    CHECK_INT(fx_rmdir(&fx, fx_root, "a"), 0);
    fx_close(&fx);
}

/* rename onto a file replaces it in one step; the replaced file stays readable through
 * its handle. */
static void rename_onto_file(void)
{
    struct zone_handle f;
    struct zone_handle g;

    setup();
    f = fx_file(&fx, fx_root, "f");
    g = fx_file(&fx, fx_root, "g");
    CHECK_INT(fx_write(&fx, g, 0, fx_str("old")), 0);
    CHECK_INT(fx_rename(&fx, fx_root, "f", fx_root, "g"), 0);
    CHECK_INT(fx_lookup(&fx, fx_root, "g"), 0);
    CHECK_UINT(fx.result.obj.ino, f.ino);
    CHECK_INT(fx_get(&fx, g, 0, 10), 0);
    CHECK_MEM(fx.result.data.data, "old", 3);
    CHECK_UINT(fx.result.obj.nlink, 0);
    fx_close(&fx);
}

/* Directories replace empty directories only, and files never meet directories. */
static void rename_onto_directory(void)
{
    struct zone_handle full;

    setup();
    (void)fx_dir(&fx, fx_root, "d");
    (void)fx_dir(&fx, fx_root, "empty");
    full = fx_dir(&fx, fx_root, "full");
    (void)fx_file(&fx, full, "x");
    (void)fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_rename(&fx, fx_root, "d", fx_root, "full"), OUT_NOTEMPTY);
    CHECK_INT(fx_rename(&fx, fx_root, "f", fx_root, "empty"), OUT_ISDIR);
    CHECK_INT(fx_rename(&fx, fx_root, "d", fx_root, "f"), OUT_NOTDIR);
    CHECK_UINT(nlink_of(fx_root), 5);
    CHECK_INT(fx_rename(&fx, fx_root, "d", fx_root, "empty"), 0);
    CHECK_UINT(nlink_of(fx_root), 4);
    CHECK_INT(fx_lookup(&fx, fx_root, "d"), OUT_NOENT);
    fx_close(&fx);
}

/* rename of a file onto itself, or onto another name of it, succeeds and does nothing
 * (POSIX): both names stay. */
static void rename_to_itself(void)
{
    struct zone_handle f;

    setup();
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_link(&fx, f, fx_root, "g"), 0);
    CHECK_INT(fx_rename(&fx, fx_root, "f", fx_root, "f"), 0);
    CHECK_INT(fx_rename(&fx, fx_root, "f", fx_root, "g"), 0);
    CHECK_INT(fx_lookup(&fx, fx_root, "f"), 0);
    CHECK_INT(fx_lookup(&fx, fx_root, "g"), 0);
    CHECK_UINT(fx.result.obj.nlink, 2);
    CHECK_UINT(fx.result.obj.change, 2);
    fx_close(&fx);
}

/* A directory cannot become its own descendant, at any depth, nor replace an ancestor. */
static void rename_into_descendant(void)
{
    struct zone_handle a;
    struct zone_handle b;
    struct zone_handle c;

    setup();
    a = fx_dir(&fx, fx_root, "a");
    b = fx_dir(&fx, a, "b");
    c = fx_dir(&fx, b, "c");
    CHECK_INT(fx_rename(&fx, fx_root, "a", a, "x"), OUT_INVAL);
    CHECK_INT(fx_rename(&fx, fx_root, "a", c, "x"), OUT_INVAL);
    CHECK_INT(fx_rename(&fx, b, "c", fx_root, "a"), OUT_NOTEMPTY);
    fx_close(&fx);
}

/* A directory that moves takes its ".." along, and the link counts follow. */
static void rename_directory_across(void)
{
    struct zone_handle a;
    struct zone_handle b;
    struct zone_handle d;

    setup();
    a = fx_dir(&fx, fx_root, "a");
    b = fx_dir(&fx, fx_root, "b");
    d = fx_dir(&fx, a, "d");
    CHECK_INT(fx_rename(&fx, a, "d", b, "e"), 0);
    CHECK_UINT(nlink_of(a), 2);
    CHECK_UINT(nlink_of(b), 3);
    CHECK_INT(fx_lookup(&fx, d, ".."), 0);
    CHECK_UINT(fx.result.obj.ino, b.ino);
    fx_close(&fx);
}

/* A symlink gives back its target, byte for byte, at any length up to 4096; it is not
 * a file to read or write. */
static void symlinks_keep_their_target(void)
{
    static const size_t lengths[] = {1, 60, 4095, 4096};
    static char target[4097];
    struct zone_op op = {.type = ZONE_OP_READLINK};

    setup();
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        char name[8] = "l0";

        memset(target, 'a' + (int)i, sizeof target);
        target[lengths[i]] = '\0';
        name[1] = (char)('0' + i);
        CHECK_INT(fx_symlink(&fx, fx_root, name, target), 0);
        CHECK_INT(fx.result.obj.type, ZONE_LNK);
        CHECK_UINT(fx.result.obj.mode, 0777);
        CHECK_UINT(fx.result.obj.size, lengths[i]);
        op.obj = fx_obj(&fx);
        fx_reopen(&fx);
        CHECK_INT(fx_read(&fx, op), 0);
        CHECK_UINT(fx.result.data.len, lengths[i]);
        CHECK_MEM(fx.result.data.data, target, lengths[i]);
    }
    CHECK_INT(fx_get(&fx, op.obj, 0, 10), OUT_INVAL);
    CHECK_INT(fx_write(&fx, op.obj, 0, fx_str("x")), OUT_INVAL);
    op.obj = fx_root;
    CHECK_INT(fx_read(&fx, op), OUT_INVAL);
    CHECK_INT(fx_symlink(&fx, fx_root, "empty", ""), OUT_INVAL);
    fx_close(&fx);
}

/* Devices are root's to make and keep their numbers; pipes and sockets are anybody's;
 * nothing else is a node. */
static void nodes(void)
{
    struct zone_op op = {.type = ZONE_OP_MKNOD,
                         .obj = fx_root,
                         .node_type = ZONE_CHR,
                         .rdev_major = 4000000000u,
                         .rdev_minor = 3};

    setup();
    op.name = fx_str("tty");
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_INT(fx_lookup(&fx, fx_root, "tty"), 0);
    CHECK_INT(fx.result.obj.type, ZONE_CHR);
    CHECK_UINT(fx.result.obj.rdev_major, 4000000000u);
    CHECK_UINT(fx.result.obj.rdev_minor, 3);
    CHECK_INT(fx_run(&fx, op), OUT_EXIST);
    fx_as(&fx, 1000, 100);
    op.name = fx_str("disk");
    op.node_type = ZONE_BLK;
    CHECK_INT(fx_run(&fx, op), OUT_PERM);
    op.node_type = ZONE_FIFO;
    CHECK_INT(fx_run(&fx, op), 0);
    op.name = fx_str("socket");
    op.node_type = ZONE_SOCK;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx.result.obj.rdev_major, 0);
    op.name = fx_str("dir");
    op.node_type = ZONE_DIR;
    CHECK_INT(fx_run(&fx, op), OUT_BADTYPE);
    fx_close(&fx);
}

/* The directory of the last change shows it: mtime and ctime are the entry's, and before
 * it stands what was there before. */
static void check_dir_moved(const struct zone_wcc *wcc)
{
    uint32_t nsec = (uint32_t)(fx.time_ns % FX_SECOND);

    CHECK(wcc->has_before && wcc->has_after);
    CHECK_UINT(wcc->after.mtime.nsec, nsec);
    CHECK_UINT(wcc->after.ctime.nsec, nsec);
    CHECK(wcc->before_mtime.nsec != nsec && wcc->before_ctime.nsec != nsec);
}

/* Every change of names moves mtime and ctime of its directories, and ctime of what the
 * name stands for if it stays. */
static void changes_move_times(void)
{
    struct zone_op node = {.type = ZONE_OP_MKNOD, .node_type = ZONE_FIFO};
    struct zone_handle d;
    struct zone_handle f;

    setup();
    d = fx_dir(&fx, fx_root, "d");
    check_dir_moved(&fx.result.dir);
    f = fx_file(&fx, d, "f");
    check_dir_moved(&fx.result.dir);
    CHECK_INT(fx_symlink(&fx, d, "s", "t"), 0);
    check_dir_moved(&fx.result.dir);
    node.obj = d;
    node.name = fx_str("p");
    CHECK_INT(fx_run(&fx, node), 0);
    check_dir_moved(&fx.result.dir);
    CHECK_INT(fx_link(&fx, f, d, "g"), 0);
    check_dir_moved(&fx.result.to);
    CHECK_UINT(fx.result.obj.ctime.nsec, fx.time_ns % FX_SECOND);
    CHECK_INT(fx_rename(&fx, d, "g", fx_root, "h"), 0);
    check_dir_moved(&fx.result.dir);
    check_dir_moved(&fx.result.to);
    CHECK_UINT(fx.result.obj.ctime.nsec, fx.time_ns % FX_SECOND);
    CHECK_INT(fx_remove(&fx, fx_root, "h"), 0);
    check_dir_moved(&fx.result.dir);
    CHECK_INT(fx_getattr(&fx, f), 0);
    CHECK_UINT(fx.result.obj.ctime.nsec, fx.time_ns % FX_SECOND);
    (void)fx_dir(&fx, d, "sub");
    CHECK_INT(fx_rmdir(&fx, d, "sub"), 0);
    check_dir_moved(&fx.result.dir);
    fx_close(&fx);
}

/* The directory as it was and is: nothing happened to it. */
static void check_dir_kept(const struct zone_wcc *wcc)
{
    CHECK(wcc->has_before && wcc->has_after);
    CHECK_UINT(wcc->before_ctime.nsec, wcc->after.ctime.nsec);
    CHECK_UINT(wcc->before_mtime.nsec, wcc->after.mtime.nsec);
    CHECK(wcc->after.ctime.nsec != fx.time_ns % FX_SECOND);
}

/* What is refused moves no time, and shows the directories all the same: from that a
 * client knows that what it has of them is good. */
static void refusals_show_the_directories(void)
{
    struct zone_handle d;
    struct zone_handle f;

    setup();
    d = fx_dir(&fx, fx_root, "d");
    f = fx_file(&fx, d, "f");
    CHECK_INT(fx_create(&fx, d, "f", 0644), OUT_EXIST);
    check_dir_kept(&fx.result.dir);
    CHECK_INT(fx_mkdir(&fx, d, "f", 0755), OUT_EXIST);
    check_dir_kept(&fx.result.dir);
    CHECK_INT(fx_symlink(&fx, d, "f", "t"), OUT_EXIST);
    check_dir_kept(&fx.result.dir);
    CHECK_INT(fx_remove(&fx, d, "none"), OUT_NOENT);
    check_dir_kept(&fx.result.dir);
    CHECK_INT(fx_rmdir(&fx, fx_root, "d"), OUT_NOTEMPTY);
    check_dir_kept(&fx.result.dir);
    CHECK_INT(fx_link(&fx, f, d, "f"), OUT_EXIST);
    check_dir_kept(&fx.result.to);
    CHECK(fx.result.has_obj);
    CHECK_INT(fx_rename(&fx, d, "none", fx_root, "x"), OUT_NOENT);
    check_dir_kept(&fx.result.dir);
    check_dir_kept(&fx.result.to);
    CHECK_INT(fx_rename(&fx, d, "f", fx_root, "d"), OUT_ISDIR);
    check_dir_kept(&fx.result.dir);
    check_dir_kept(&fx.result.to);
    CHECK_INT(fx_rename(&fx, d, "f", d, "f"), 0); /* Nothing to do is no change. */
    check_dir_kept(&fx.result.dir);
    fx_close(&fx);
}

/* A handle whose inode number lives on under another generation is stale. */
static void wrong_generation_is_stale(void)
{
    struct zone_handle f;

    setup();
    f = fx_file(&fx, fx_root, "f");
    f.gen++;
    CHECK_INT(fx_getattr(&fx, f), OUT_STALE);
    CHECK_INT(fx_write(&fx, f, 0, fx_str("x")), OUT_STALE);
    CHECK_INT(fx_chmod(&fx, f, 0), OUT_STALE);
    f.ino = 999;
    CHECK_INT(fx_getattr(&fx, f), OUT_STALE);
    fx_close(&fx);
}

static uint32_t list(uint64_t after, uint32_t count, uint64_t *last, char *names)
{
    struct zone_op op = {.type = ZONE_OP_READDIR, .obj = fx_root};
    struct zone_dirent entry;
    struct wire_dec dec;
    uint32_t n = 0;

    op.offset = after;
    op.count = count;
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK(fx.result.data.len <= count);
    dec = wire_dec(fx.result.data.data, fx.result.data.len);
    while (zone_dirent_get(&dec, &entry)) {
        CHECK(entry.cookie >= 3 && entry.cookie > *last);
        *last = entry.cookie;
        names[n++] = (char)entry.name.data[0];
    }
    CHECK(!dec.failed);
    names[n] = '\0';
    return n;
}

/* A listing goes on after its cookie, in small bites too, and each record has the
 * attributes; removing what was listed changes nothing for what follows, and what is
 * made meanwhile comes at the end: cookies are never reused. */
static void readdir_goes_on(void)
{
    char names[32];
    uint64_t last = 0;
    uint32_t count = 2 * (8 + 101 + 4 + 1);

    setup();
    for (char name[2] = "a"; name[0] <= 'e'; name[0]++) {
        (void)fx_file(&fx, fx_root, name);
    }
    CHECK_UINT(list(0, count, &last, names), 2);
    CHECK_STR(names, "ab");
    CHECK(!fx.result.eof);
    CHECK_INT(fx_remove(&fx, fx_root, "b"), 0);
    CHECK_INT(fx_remove(&fx, fx_root, "c"), 0);
    (void)fx_file(&fx, fx_root, "b");
    CHECK_UINT(list(last, count, &last, names), 2);
    CHECK_STR(names, "de");
    CHECK_UINT(list(last, count, &last, names), 1);
    CHECK_STR(names, "b");
    CHECK(fx.result.eof);
    CHECK_UINT(list(last, count, &last, names), 0);
    CHECK(fx.result.eof);
    fx_close(&fx);
}

/* A reply too small for one record says so instead of an end that is none. */
static void readdir_too_small(void)
{
    struct zone_op op = {.type = ZONE_OP_READDIR, .obj = fx_root, .count = 20};

    setup();
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK(fx.result.eof);
    (void)fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_read(&fx, op), OUT_TOOSMALL);
    fx_close(&fx);
}

/* The last entry told of these inodes, and of no others. */
static void check_told(uint32_t n, const struct zone_handle *objs)
{
    CHECK_UINT(fx.touched.n, n);
    for (uint32_t i = 0; i < n; i++) {
        bool told = false;

        for (uint32_t k = 0; k < fx.touched.n && k < STORE_TOUCHED_MAX; k++) {
            told = told || fx.touched.ino[k] == objs[i].ino;
        }
        CHECK(told);
    }
}

/* Who keeps attributes beside the zone forgets what an entry says it changed: both
 * directories of a RENAME, what it moves and what it replaces; nothing, if it is refused. */
static void changes_are_told(void)
{
    struct zone_handle objs[4];

    setup();
    objs[0] = fx_dir(&fx, fx_root, "a");
    objs[1] = fx_dir(&fx, fx_root, "b");
    objs[2] = fx_file(&fx, objs[0], "f");
    check_told(2, (struct zone_handle[]){objs[0], objs[2]});
    objs[3] = fx_file(&fx, objs[1], "g");
    CHECK_INT(fx_link(&fx, objs[3], fx_root, "h"), 0);
    check_told(2, (struct zone_handle[]){objs[3], fx_root});
    CHECK_INT(fx_rename(&fx, objs[0], "f", objs[1], "g"), 0);
    check_told(4, objs);
    CHECK_INT(fx_remove(&fx, fx_root, "h"), 0);
    check_told(2, (struct zone_handle[]){objs[3], fx_root});
    CHECK_INT(fx_rmdir(&fx, fx_root, "b"), OUT_NOTEMPTY);
    check_told(0, NULL);
    CHECK_INT(fx_rmdir(&fx, fx_root, "a"), 0);
    check_told(2, (struct zone_handle[]){objs[0], fx_root});
    CHECK_INT(fx_truncate(&fx, objs[2], 7), 0);
    check_told(1, &objs[2]);
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(create_gives_attributes), CHECK_TEST(create_takes_attributes),
          CHECK_TEST(guarded_refuses_existing), CHECK_TEST(unchecked_truncates_existing),
          CHECK_TEST(exclusive_is_idempotent), CHECK_TEST(verifier_ends_with_use),
          CHECK_TEST(zero_verifier_is_one), CHECK_TEST(directories_count_links),
          CHECK_TEST(remove_and_rmdir_mind_the_type), CHECK_TEST(odd_names),
          CHECK_TEST(hard_links), CHECK_TEST(links_are_bounded),
          CHECK_TEST(rename_to_free_name), CHECK_TEST(rename_onto_file),
          CHECK_TEST(rename_onto_directory), CHECK_TEST(rename_to_itself),
          CHECK_TEST(rename_into_descendant), CHECK_TEST(rename_directory_across),
          CHECK_TEST(symlinks_keep_their_target), CHECK_TEST(nodes),
          CHECK_TEST(changes_move_times), CHECK_TEST(refusals_show_the_directories),
          CHECK_TEST(wrong_generation_is_stale), CHECK_TEST(readdir_goes_on),
          CHECK_TEST(readdir_too_small), CHECK_TEST(changes_are_told))
