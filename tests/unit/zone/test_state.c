/* The zone's own state: quota, orphans, pairs, snapshots. */
#include "base/outcome.h"
#include "base/wire.h"
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ROW = 512 };

static struct fx fx;
static uint8_t bytes[ZONE_IO_MAX];

/* Let @ns of zone time pass: it passes with entries only. */
static void pass(int64_t ns)
{
    fx.time_ns += ns;
    CHECK_INT(fx_chmod(&fx, fx_root, 0777), 0);
}

/* A file costs its size rounded up to 4096, and 512 each for inode and name; what was
 * written twice costs once, and all of it comes back in the end. */
static void quota_is_counted(void)
{
    struct zone_handle f;
    uint64_t empty;

    fx_open(&fx, "z", FX_QUOTA);
    empty = fx_used(&fx);
    CHECK_UINT(empty, ROW);
    f = fx_file(&fx, fx_root, "f");
    CHECK_UINT(fx_used(&fx), empty + 2 * ROW);
    CHECK_INT(fx_write(&fx, f, 0, slice_borrow(bytes, 1)), 0);
    CHECK_UINT(fx_used(&fx), empty + 2 * ROW + 4096);
    CHECK_INT(fx_write(&fx, f, 0, slice_borrow(bytes, 300000)), 0);
    CHECK_UINT(fx.result.obj.used, 303104);
    CHECK_INT(fx_write(&fx, f, 5000, slice_borrow(bytes, 100000)), 0);
    CHECK_UINT(fx_used(&fx), empty + 2 * ROW + 303104);
    CHECK_INT(fx_truncate(&fx, f, 4097), 0);
    CHECK_UINT(fx_used(&fx), empty + 2 * ROW + 8192);
    CHECK_INT(fx_symlink(&fx, fx_root, "l", "target"), 0);
    CHECK_UINT(fx_used(&fx), empty + 2 * ROW + 8192 + 3 * ROW);
    CHECK_INT(fx_remove(&fx, fx_root, "l"), 0);
    CHECK_INT(fx_link(&fx, f, fx_root, "g"), 0);
    CHECK_UINT(fx_used(&fx), empty + 3 * ROW + 8192);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    CHECK_INT(fx_remove(&fx, fx_root, "g"), 0);
    CHECK_UINT(fx_used(&fx), empty + ROW + 8192);
    pass(601 * FX_SECOND);
    CHECK_UINT(fx_used(&fx), empty);
    fx_close(&fx);
}

/* An op that would exceed the quota is refused and changes nothing; what needs no more
 * room, and every deletion, still goes. */
static void quota_is_kept(void)
{
    struct zone_handle f;
    uint64_t used;

    fx_open(&fx, "z", 3 * ROW + 2 * 4096 + 100);
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_write(&fx, f, 0, slice_borrow(bytes, 8192)), 0);
    used = fx_used(&fx);
    CHECK_INT(fx_write(&fx, f, 8192, slice_borrow(bytes, 1)), OUT_DQUOT);
    CHECK_UINT(fx.result.dir.after.size, 8192);
    CHECK_INT(fx_create(&fx, fx_root, "g", 0644), OUT_DQUOT);
    CHECK_INT(fx_mkdir(&fx, fx_root, "g", 0755), OUT_DQUOT);
    CHECK_INT(fx_symlink(&fx, fx_root, "g", "x"), OUT_DQUOT);
    CHECK_INT(fx_link(&fx, f, fx_root, "g"), OUT_DQUOT);
    CHECK_UINT(fx_used(&fx), used);
    CHECK_INT(fx_lookup(&fx, fx_root, "g"), OUT_NOENT);
    CHECK_INT(fx_write(&fx, f, 4000, slice_borrow(bytes, 1000)), 0);
    CHECK_INT(fx_rename(&fx, fx_root, "f", fx_root, "h"), 0);
    CHECK_INT(fx_truncate(&fx, f, 100), 0);
    CHECK_INT(fx_create(&fx, fx_root, "g", 0644), 0);
    CHECK_INT(fx_remove(&fx, fx_root, "h"), 0);
    fx_close(&fx);
}

/* The last byte of the quota can be used, and not one more. */
static void quota_is_exact(void)
{
    fx_open(&fx, "z", 3 * ROW);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    fx_close(&fx);
    fx_open(&fx, "y", 3 * ROW - 1);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), OUT_DQUOT);
    CHECK_UINT(fx_used(&fx), ROW);
    fx_close(&fx);
}

/* The quota changes through the log; below what is used, only deletions go. */
static void quota_changes(void)
{
    struct zone_op op = {.type = ZONE_OP_SET_QUOTA, .offset = 600};
    struct zone_usage usage;

    fx_open(&fx, "z", FX_QUOTA);
    (void)fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_run(&fx, op), 0);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.quota_bytes, 600);
    CHECK_INT(fx_create(&fx, fx_root, "g", 0644), OUT_DQUOT);
    op.type = ZONE_OP_FSSTAT;
    op.obj = fx_root;
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.free_bytes, 0);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    fx_reopen(&fx);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.quota_bytes, 600);
    fx_close(&fx);
}

/* An unlinked file is readable, and writable, through its handle for ten minutes of
 * zone time, over a restart too, and then is gone for good. */
static void orphans_live_ten_minutes(void)
{
    struct zone_handle f;
    struct zone_usage usage;

    fx_open(&fx, "z", FX_QUOTA);
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_write(&fx, f, 0, fx_str("kept")), 0);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    pass(599 * FX_SECOND);
    fx_reopen(&fx);
    CHECK_INT(fx_write(&fx, f, 4, fx_str("!")), 0);
    CHECK_INT(fx_get(&fx, f, 0, 10), 0);
    CHECK_UINT(fx.result.count, 5);
    CHECK_MEM(fx.result.data.data, "kept!", 5);
    pass(2 * FX_SECOND);
    CHECK_INT(fx_get(&fx, f, 0, 10), OUT_STALE);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.inodes, 1);
    fx_close(&fx);
}

/* The search for what is due happens once in a second of zone time, so an orphan may
 * live up to a second longer: it is part of the rules that members share. */
static void purge_begins_with_a_second(void)
{
    struct zone_handle f;

    fx_open(&fx, "z", FX_QUOTA);
    fx.time_ns = FX_TIME + FX_SECOND / 2;
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    pass(600 * FX_SECOND - FX_SECOND / 4);
    CHECK_INT(fx_getattr(&fx, f), 0);
    pass(FX_SECOND / 2);
    CHECK_INT(fx_getattr(&fx, f), 0);
    pass(FX_SECOND / 2);
    CHECK_INT(fx_getattr(&fx, f), OUT_STALE);
    fx_close(&fx);
}

/* An entry without pairs, as a leader proposes it for its time alone. */
static void pass_to(int64_t time_ns)
{
    fx.time_ns = time_ns - 1000000; /* Entries are 1 ms apart. */
    CHECK_INT(fx_run(&fx, (struct zone_op){.type = ZONE_OP_KV}), 0);
}

static int64_t due(void)
{
    int64_t due_ns = -1;

    CHECK_INT(zone_due(fx.zone, &due_ns), 0);
    return due_ns;
}

/* A zone that nobody writes to says when an entry would free something: not before, else
 * entries would come for nothing; and as long as something is due, over a restart too. */
static void says_when_time_frees_something(void)
{
    struct zone_usage usage;
    char name[16];
    int64_t at_ns;

    fx_open(&fx, "z", FX_QUOTA);
    CHECK_INT(due(), 0);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        (void)fx_file(&fx, fx_root, name);
        CHECK_INT(fx_remove(&fx, fx_root, name), 0);
    }
    at_ns = due();
    CHECK(at_ns > FX_TIME + 600 * FX_SECOND && at_ns <= fx.time_ns + 601 * FX_SECOND);
    fx_reopen(&fx);
    CHECK_INT(due(), at_ns);
    pass_to(at_ns - FX_SECOND);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.inodes, 1 + 100);
    CHECK_INT(due(), at_ns);
    pass_to(at_ns);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.inodes, 1 + 100 - 64);
    CHECK(due() <= fx.time_ns);
    pass_to(fx.time_ns + FX_SECOND / 100);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.inodes, 1);
    CHECK_INT(due(), 0);
    fx_close(&fx);
}

/* After a switch to pulled state some data is newer than the rows: nothing is read until
 * the log has caught up with it. */
static void pulled_state_is_not_served_early(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    (void)fx_file(&fx, fx_root, "f");
    CHECK_INT(store_begin(fx.store), 0);
    CHECK_INT(store_number_set(fx.store, STORE_SERVE_FROM, 2), 0);
    CHECK_INT(store_commit(fx.store, false), 0);
    CHECK_INT(zone_reload(fx.zone), 0);
    CHECK_INT(fx_lookup(&fx, fx_root, "f"), OUT_TRY_LATER);
    pass(0);
    CHECK_INT(fx_lookup(&fx, fx_root, "f"), 0);
    fx_close(&fx);
}

static const char leap_conf[] = "a configuration";

static int leap_to(uint64_t index, int64_t time_ns)
{
    return zone_leap(fx.zone, &(struct zone_leap){.index = index,
                                                  .term = 9,
                                                  .time_ns = time_ns,
                                                  .conf = slice_borrow(leap_conf, 15)});
}

/* A zone that goes on after a loss has its state, at an index that nobody had: what is made
 * from there on has generations, versions and times of its own. */
static void a_leap_leaves_indexes_and_times_out(void)
{
    struct zone_snapshot snapshot;
    struct zone_attr before;
    struct zone_handle f;

    fx_open(&fx, "z", FX_QUOTA);
    f = fx_file(&fx, fx_root, "f");
    before = fx.result.obj;
    CHECK_INT(leap_to(5000000, 0), 0);
    CHECK_UINT(zone_applied_index(fx.zone), 5000000);
    CHECK_UINT(zone_applied_term(fx.zone), 9);
    CHECK_INT(zone_time_ns(fx.zone), fx.time_ns + FX_SECOND);
    CHECK_INT(zone_snapshot_get(fx.zone, &snapshot), 0);
    CHECK_UINT(snapshot.index, 5000000);
    CHECK_UINT(snapshot.term, 9);
    CHECK_UINT(snapshot.conf_index, 5000000);
    CHECK_UINT(snapshot.conf->len, 15);
    CHECK_MEM(snapshot.conf->data, leap_conf, 15);
    buf_unref(snapshot.conf);
    zone_close(fx.zone); /* It is durable, and all of it. */
    CHECK_INT(zone_open(fx.store, NULL, &fx.zone), 0);
    CHECK_UINT(zone_applied_index(fx.zone), 5000000);
    CHECK_INT(fx_getattr(&fx, f), 0);
    CHECK_UINT(fx.result.obj.gen, before.gen);
    CHECK_INT(leap_to(6000000, fx.time_ns + 5 * FX_SECOND), 0);
    CHECK_INT(zone_time_ns(fx.zone), fx.time_ns + 6 * FX_SECOND);
    fx_close(&fx);
}

struct torn_seen {
    char text[256];
};

static int torn_path(void *ctx, uint64_t ino, const char *path)
{
    struct torn_seen *seen = ctx;
    size_t len = strlen(seen->text);

    (void)ino;
    (void)snprintf(seen->text + len, sizeof seen->text - len, "%s\n", path);
    return 0;
}

/* Files with something newer than an index are named by their paths, one a line whatever
 * is in a name; one that was unlinked is nobody's any more. */
static void torn_files_are_named(void)
{
    struct torn_seen seen = {.text = ""};
    struct zone_torn torn = {.max = 10, .each = torn_path, .ctx = &seen};
    struct zone_handle dir;
    struct zone_handle old;
    struct zone_handle f[3];
    uint64_t above;

    fx_open(&fx, "z", FX_QUOTA);
    dir = fx_dir(&fx, fx_dir(&fx, fx_root, "a"), "b");
    old = fx_file(&fx, dir, "old");
    f[0] = fx_file(&fx, dir, "two\nlines\\");
    f[1] = fx_file(&fx, fx_root, "t\xc3\xb6p\xc3x\xe9");
    f[2] = fx_file(&fx, fx_root, "gone");
    CHECK_INT(fx_write(&fx, old, 0, slice_borrow(bytes, 20000)), 0);
    above = fx.index;
    for (int i = 0; i < 3; i++) {
        CHECK_INT(fx_write(&fx, f[i], 0, slice_borrow(bytes, 20000)), 0);
    }
    CHECK_INT(fx_remove(&fx, fx_root, "gone"), 0);
    CHECK_INT(zone_torn(fx.zone, above, &torn), 0);
    CHECK_STR(seen.text, "/a/b/two\\x0alines\\x5c\n/t\xc3\xb6p\\xc3x\\xe9\n");
    CHECK_UINT(torn.count, 2);
    seen.text[0] = '\0';
    torn.max = 1;
    CHECK_INT(zone_torn(fx.zone, above, &torn), 0);
    CHECK_STR(seen.text, "/a/b/two\\x0alines\\x5c\n");
    CHECK_INT(zone_torn(fx.zone, fx.index, &torn), 0);
    CHECK_UINT(torn.count, 0);
    fx_close(&fx);
}

static int torn_long_path(void *ctx, uint64_t ino, const char *path)
{
    (void)ino;
    (void)snprintf(ctx, ZONE_PATH_MAX, "%s", path);
    return 0;
}

/* @depth folders with names of @len bytes that are told as so many, and a file in them. */
static void check_torn_path(uint32_t depth, const char *name, size_t len, bool whole)
{
    char path[ZONE_PATH_MAX] = "";
    struct zone_torn torn = {.max = 1, .each = torn_long_path, .ctx = path};
    struct zone_handle dir = fx_root;
    struct zone_handle file;
    uint64_t above;
    char folder[16];

    (void)snprintf(folder, sizeof folder, "z%u.%zu", depth, len);
    fx_open(&fx, folder, FX_QUOTA);
    for (uint32_t i = 0; i < depth; i++) {
        dir = fx_dir(&fx, dir, name);
    }
    file = fx_file(&fx, dir, "file");
    above = fx.index;
    CHECK_INT(fx_write(&fx, file, 0, slice_borrow(bytes, 20000)), 0);
    CHECK_INT(zone_torn(fx.zone, above, &torn), 0);
    CHECK_STR(path + strlen(path) - 5, "/file");
    CHECK_INT(strncmp(path, "...", 3) != 0, whole);
    CHECK(!whole || strlen(path) == depth * (len + 1) + 5);
    fx_close(&fx);
}

/* A path has an end in bytes and in depth: what does not fit is left out in front. */
static void torn_paths_are_bounded(void)
{
    char name[ZONE_NAME_MAX + 1] = "";

    check_torn_path(64, "d", 1, true);
    check_torn_path(65, "d", 1, false);
    memset(name, 'n', sizeof name - 1);
    check_torn_path(15, name, ZONE_NAME_MAX, true); /* 3845 bytes. */
    check_torn_path(16, name, ZONE_NAME_MAX, false);
    memset(name, 1, sizeof name - 1);
    check_torn_path(4, name, 4 * ZONE_NAME_MAX, true);
    check_torn_path(5, name, 4 * ZONE_NAME_MAX, false);
}

/* Many orphans are purged over several entries, with some time between them, so that
 * neither a single one takes long nor all of them; a restart in between forgets none. */
static void many_orphans_go_in_steps(void)
{
    struct zone_usage usage;
    char name[16];

    fx_open(&fx, "z", FX_QUOTA);
    for (int i = 0; i < 150; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        (void)fx_file(&fx, fx_root, name);
        CHECK_INT(fx_remove(&fx, fx_root, name), 0);
    }
    pass(700 * FX_SECOND);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.inodes, 1 + 150 - 64);
    fx_reopen(&fx);
    pass(0); /* 1 ms: too early for the next step. */
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.inodes, 1 + 150 - 64);
    pass(4 * FX_SECOND / 1000);
    pass(4 * FX_SECOND / 1000);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.inodes, 1);
    fx_close(&fx);
}

/* Who deletes to make room gets it at once: when the quota is spent, orphans go early,
 * but not the one that is being written to. */
static void orphans_give_way(void)
{
    struct zone_handle f;
    struct zone_handle g;

    fx_open(&fx, "z", 5 * ROW + 2 * 4096);
    f = fx_file(&fx, fx_root, "f");
    CHECK_INT(fx_write(&fx, f, 0, slice_borrow(bytes, 8192)), 0);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    CHECK_INT(fx_write(&fx, f, 8192, slice_borrow(bytes, 4096)), OUT_DQUOT);
    CHECK_INT(fx_get(&fx, f, 0, 1), 0);
    g = fx_file(&fx, fx_root, "g");
    CHECK_INT(fx_write(&fx, g, 0, slice_borrow(bytes, 8192)), 0);
    CHECK_INT(fx_get(&fx, f, 0, 1), OUT_STALE);
    CHECK_INT(fx_get(&fx, g, 8000, 500), 0);
    CHECK_UINT(fx.result.count, 192);
    fx_close(&fx);
}

/* The largest write gets the room that small orphans leave, however many have to go. */
static void many_small_orphans_give_way(void)
{
    static uint8_t megabyte[ZONE_IO_MAX];
    struct zone_handle f;
    char name[16];

    fx_open(&fx, "z", FX_QUOTA);
    f = fx_file(&fx, fx_root, "f");
    for (int i = 0; i < 2200; i++) {
        (void)snprintf(name, sizeof name, "f%d", i);
        (void)fx_file(&fx, fx_root, name);
        CHECK_INT(fx_remove(&fx, fx_root, name), 0);
    }
    CHECK_INT(
        fx_run(&fx, (struct zone_op){.type = ZONE_OP_SET_QUOTA, .offset = fx_used(&fx)}),
        0);
    CHECK_INT(fx_write(&fx, f, 100, slice_borrow(megabyte, sizeof megabyte)), 0);
    fx_close(&fx);
}

static struct zone_op kv(const char *key, const char *value, uint64_t version)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};

    op.kv[0].key = fx_str(key);
    op.kv[0].value = fx_str(value);
    op.kv[0].version = version;
    return op;
}

static void kv_add(struct zone_op *op, const char *key, const char *value,
                   uint64_t version)
{
    struct zone_op one = kv(key, value, version);

    op->kv[op->n_kv++] = one.kv[0];
}

/* Records as "key=value@version ". */
static const char *kv_list(const char *prefix, const char *after, uint32_t count)
{
    static char text[4096];
    struct zone_op op = {.type = ZONE_OP_KV_GET, .count = count};
    struct zone_kv pair;
    struct wire_dec dec;
    size_t at = 0;

    op.name = fx_str(prefix);
    op.to_name = fx_str(after);
    CHECK_INT(fx_read(&fx, op), 0);
    dec = wire_dec(fx.result.data.data, fx.result.data.len);
    text[0] = '\0';
    while (zone_kv_get(&dec, &pair)) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%.*s=%.*s@%d ",
                               (int)pair.key.len, (const char *)pair.key.data,
                               (int)pair.value.len, (const char *)pair.value.data,
                               (int)pair.version);
    }
    CHECK(!dec.failed);
    return text;
}

/* Compare-and-set: 0 expects nothing there, a version exactly that, ANY whatever; the
 * new version is the entry's index. */
static void pairs_compare_and_set(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    CHECK_INT(fx_run(&fx, kv("a", "1", 0)), 0);
    CHECK_INT(fx_run(&fx, kv("a", "2", 0)), OUT_MISMATCH);
    CHECK_INT(fx_run(&fx, kv("a", "2", 7)), OUT_MISMATCH);
    CHECK_STR(kv_list("", "", 0), "a=1@1 ");
    CHECK_INT(fx_run(&fx, kv("a", "2", 1)), 0);
    CHECK_INT(fx_run(&fx, kv("a", "3", ZONE_KV_ANY)), 0);
    CHECK_STR(kv_list("", "", 0), "a=3@5 ");
    fx_reopen(&fx);
    CHECK_STR(kv_list("a", "", 0), "a=3@5 ");
    CHECK_STR(kv_list("b", "", 0), "");
    fx_close(&fx);
}

/* Several pairs change together or not at all; the answer names the first that differs
 * and the version it has. */
static void pairs_change_together(void)
{
    struct zone_op op;
    struct wire_dec dec;
    struct zone_kv pair;

    fx_open(&fx, "z", FX_QUOTA);
    CHECK_INT(fx_run(&fx, kv("b", "1", 0)), 0);
    op = kv("a", "x", 0);
    kv_add(&op, "b", "y", 9);
    CHECK_INT(fx_run(&fx, op), OUT_MISMATCH);
    CHECK_UINT(fx.result.count, 1);
    dec = wire_dec(fx.result.data.data, fx.result.data.len);
    CHECK(zone_kv_get(&dec, &pair));
    CHECK_UINT(pair.key.len, 1);
    CHECK_UINT(pair.key.data[0], 'b');
    CHECK_UINT(pair.version, 1);
    CHECK_STR(kv_list("", "", 0), "b=1@1 ");
    op.kv[1].version = 1;
    op.kv[1].remove = true;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_STR(kv_list("", "", 0), "a=x@3 ");
    kv_add(&op, "a", "z", ZONE_KV_ANY);
    CHECK_INT(fx_run(&fx, op), OUT_INVAL);
    fx_close(&fx);
}

/* A pair costs its key and value rounded up to 512, once however often it is set. */
static void pairs_are_charged(void)
{
    struct zone_op op;

    fx_open(&fx, "z", 2 * ROW);
    CHECK_INT(fx_run(&fx, kv("a", "1", 0)), 0);
    CHECK_INT(fx_run(&fx, kv("a", "2", ZONE_KV_ANY)), 0);
    CHECK_UINT(fx_used(&fx), 2 * ROW);
    op = kv("a", "", ZONE_KV_ANY);
    op.kv[0].value = slice_borrow(bytes, 512);
    CHECK_INT(fx_run(&fx, op), OUT_DQUOT);
    CHECK_STR(kv_list("", "", 0), "a=2@2 ");
    CHECK_INT(fx_run(&fx, kv("b", "1", 0)), OUT_DQUOT);
    op.kv[0].remove = true;
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK_UINT(fx_used(&fx), ROW);
    fx_close(&fx);
}

/* Pairs come by prefix in key order, in bites, and never the zone's own rows. */
static void pairs_are_listed(void)
{
    struct zone_op op = {.type = ZONE_OP_KV_GET, .count = 10};

    fx_open(&fx, "z", FX_QUOTA);
    fx.origin = (struct zone_origin){1, 1, 1, 1}; /* Makes a session's row. */
    CHECK_INT(fx_run(&fx, kv("n/2", "x", 0)), 0);
    fx.origin.node = 0;
    CHECK_INT(fx_run(&fx, kv("n/1", "y", 0)), 0);
    CHECK_INT(fx_run(&fx, kv("n/10", "", 0)), 0);
    CHECK_INT(fx_run(&fx, kv("m", "z", 0)), 0);
    CHECK_STR(kv_list("n/", "", 0), "n/1=y@2 n/10=@3 n/2=x@1 ");
    CHECK(fx.result.eof);
    CHECK_STR(kv_list("n/", "", 17 + 4), "n/1=y@2 ");
    CHECK(!fx.result.eof);
    CHECK_STR(kv_list("n/", "n/1", 0), "n/10=@3 n/2=x@1 ");
    CHECK(fx.result.eof);
    CHECK_STR(kv_list("", "", 0), "m=z@4 n/1=y@2 n/10=@3 n/2=x@1 ");
    CHECK_INT(fx_read(&fx, op), OUT_TOOSMALL);
    fx_close(&fx);
}

/* Zone time rises by at least a nanosecond per entry, even if a leader's stamp did not,
 * so that every change has a ctime of its own. */
static void time_rises(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    (void)fx_file(&fx, fx_root, "f");
    fx.time_ns -= 3600 * FX_SECOND;
    CHECK_INT(fx_chmod(&fx, fx_root, 0700), 0);
    CHECK_INT(zone_time_ns(fx.zone), FX_TIME + 1000000 + 1);
    CHECK_UINT(fx.result.obj.ctime.nsec, 1000001);
    fx_close(&fx);
}

/* Barriers and changes only move the applied index; a change is kept as the zone's
 * configuration, and a snapshot names index, term and configuration, over a restart. */
static void snapshots_and_changes(void)
{
    struct zone_apply_item items[2] = {
        {.index = 1, .term = 4, .kind = ZONE_APPLY_CHANGE},
        {.index = 2, .term = 5, .kind = ZONE_APPLY_BARRIER},
    };
    struct zone_snapshot snapshot;
    struct buf *conf = NULL;
    uint64_t index;
    uint8_t before[32];
    uint8_t after[32];

    fx_open(&fx, "z", FX_QUOTA);
    CHECK_INT(zone_conf_get(fx.zone, &index, &conf), OUT_NOENT);
    CHECK_INT(zone_snapshot_get(fx.zone, &snapshot), OUT_NOENT);
    items[0].head = fx_str("members");
    CHECK_INT(zone_apply(fx.zone, items, 2), 0);
    CHECK_UINT(zone_applied_index(fx.zone), 2);
    CHECK_UINT(zone_applied_term(fx.zone), 5);
    CHECK_INT(zone_conf_get(fx.zone, &index, &conf), 0);
    CHECK_UINT(index, 1);
    CHECK_UINT(conf->len, 7);
    buf_unref(conf);
    fx_digest(&fx, before);
    CHECK_INT(zone_snapshot(fx.zone, &snapshot), 0);
    fx_digest(&fx, after);
    CHECK_MEM(after, before, 32); /* A snapshot is this member's affair. */
    buf_unref(snapshot.conf);
    items[1].index = 3;
    CHECK_INT(zone_apply(fx.zone, &items[1], 1), 0);
    fx_reopen(&fx);
    CHECK_INT(zone_snapshot_get(fx.zone, &snapshot), 0);
    CHECK_UINT(snapshot.index, 2);
    CHECK_UINT(snapshot.term, 5);
    CHECK_UINT(snapshot.conf_index, 1);
    CHECK_MEM(snapshot.conf->data, "members", 7);
    buf_unref(snapshot.conf);
    CHECK_INT(zone_reload(fx.zone), 0);
    CHECK_INT(zone_snapshot_get(fx.zone, &snapshot), 0);
    CHECK_UINT(snapshot.index, 3);
    buf_unref(snapshot.conf);
    fx_close(&fx);
}

/* The genesis is read once: a later open with another one changes nothing. */
static void genesis_only_once(void)
{
    struct zone_usage usage;

    fx_open(&fx, "z", 1 << 20);
    (void)fx_file(&fx, fx_root, "f");
    fx.quota = 5;
    fx_reopen(&fx);
    zone_usage(fx.zone, &usage);
    CHECK_UINT(usage.quota_bytes, 1 << 20);
    CHECK_INT(fx_lookup(&fx, fx_root, "f"), 0);
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(quota_is_counted), CHECK_TEST(quota_is_kept),
          CHECK_TEST(quota_is_exact), CHECK_TEST(quota_changes),
          CHECK_TEST(orphans_live_ten_minutes), CHECK_TEST(purge_begins_with_a_second),
          CHECK_TEST(pulled_state_is_not_served_early),
          CHECK_TEST(a_leap_leaves_indexes_and_times_out),
          CHECK_TEST(torn_files_are_named), CHECK_TEST(torn_paths_are_bounded),
          CHECK_TEST(says_when_time_frees_something),
          CHECK_TEST(many_orphans_go_in_steps), CHECK_TEST(orphans_give_way),
          CHECK_TEST(many_small_orphans_give_way), CHECK_TEST(pairs_compare_and_set),
          CHECK_TEST(pairs_change_together), CHECK_TEST(pairs_are_charged),
          CHECK_TEST(pairs_are_listed), CHECK_TEST(time_rises),
          CHECK_TEST(snapshots_and_changes), CHECK_TEST(genesis_only_once))
