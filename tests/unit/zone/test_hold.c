/* Rows that are applied and not yet committed: who sees them, and that they stay shown on a
 * disk that takes no commit. */
#include "base/disk.h"
#include "base/outcome.h"
#include "fixture.h"
#include "lib/simdisk.h"
#include "store/vfs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VFS "hold"

static struct fx fx;
static struct simdisk *rows;
static struct simdisk *log_disk;

static int ignore(void *ctx, const struct journal_entry *entry)
{
    (void)ctx;
    (void)entry;
    return 0;
}

static void open_zone(bool create)
{
    static const struct zone_genesis genesis = {
        .quota_bytes = FX_QUOTA, .root_mode = 0777, .time_ns = FX_TIME};
    struct journal_config journal = {.disk = simdisk_disk(log_disk),
                                     .dir = "/journal",
                                     .segment_bytes = 4 << 20,
                                     .spare_segments = 1,
                                     .create = create};
    struct store_config config = {
        .disk = simdisk_disk(rows), .dir = "/set", .vfs = VFS, .create = create};
    struct journal_state state;

    CHECK_INT(journal_open(&journal, &state, ignore, NULL, &fx.journal), 0);
    config.journal = fx.journal;
    CHECK_INT(store_open(&config, &fx.store), 0);
    CHECK_INT(zone_open(fx.store, &genesis, &fx.zone), 0);
}

static void close_zone(void)
{
    zone_result_clear(&fx.result);
    memset(&fx.result, 0, sizeof fx.result);
    zone_close(fx.zone);
    store_close(fx.store);
    journal_close(fx.journal);
}

static void begin(void)
{
    memset(&fx, 0, sizeof fx);
    fx.quota = FX_QUOTA;
    fx.time_ns = FX_TIME;
    rows = simdisk_new(0);
    log_disk = simdisk_new(0);
    CHECK_INT(vfs_register(simdisk_disk(rows), VFS), 0);
    open_zone(true);
}

static void end(void)
{
    close_zone();
    vfs_unregister(VFS);
    simdisk_free(rows);
    simdisk_free(log_disk);
}

/* Without room for a commit, what was shown stays, goes on to change, and is there after a
 * restart once there is room again. */
static void a_full_disk_takes_nothing_back(void)
{
    static const char text[] = "in meta.db or in the journal";
    struct zone_snapshot snapshot = {0};
    struct zone_handle file;
    uint8_t before[32];
    uint8_t after[32];

    begin();
    file = fx_file(&fx, fx_root, "a");
    CHECK_INT(fx_write(&fx, file, 0, fx_str(text)), 0);
    CHECK_INT(zone_flush(fx.zone), 0);
    CHECK(!store_is_held(fx.store));
    (void)fx_file(&fx, fx_root, "b");
    CHECK_INT(fx_write(&fx, file, 5, fx_str("META")), 0);
    CHECK_INT(fx_remove(&fx, fx_root, "a"), 0);
    fx_digest(&fx, before);
    simdisk_fail(rows, SIMDISK_WRITE, 1, -ENOSPC, true);
    CHECK_INT(zone_flush(fx.zone), -ENOSPC);
    CHECK(store_is_held(fx.store));
    fx_digest(&fx, after);
    CHECK_MEM(after, before, 32);
    CHECK_UINT(zone_applied_index(fx.zone), fx.index);
    CHECK_INT(zone_snapshot(fx.zone, &snapshot), -ENOSPC);
    CHECK_INT(fx_lookup(&fx, fx_root, "b"), 0);
    CHECK_INT(fx_lookup(&fx, fx_root, "a"), OUT_NOENT);
    (void)fx_file(&fx, fx_root, "c");
    fx_digest(&fx, before);
    CHECK_INT(zone_flush(fx.zone), -ENOSPC);
    simdisk_fail(rows, SIMDISK_WRITE, 0, -EIO, false);
    CHECK_INT(zone_flush(fx.zone), 0);
    CHECK(!store_is_held(fx.store));
    close_zone();
    open_zone(false);
    CHECK_UINT(zone_applied_index(fx.zone), fx.index);
    fx_digest(&fx, after);
    CHECK_MEM(after, before, 32);
    end();
}

/* Batches of which all or some do not wait for a commit: too many, or too large. */
enum { MANY = 32, LARGE = 6, LARGE_BYTES = 60000 };

static uint32_t make_batch(struct zone_handle file, bool many, struct fx_entry *entries)
{
    static const uint8_t data[LARGE_BYTES];
    struct zone_op create = {
        .type = ZONE_OP_CREATE, .obj = fx_root, .name = fx_str("b"), .how = ZONE_GUARDED};
    struct zone_op write = {
        .type = ZONE_OP_WRITE, .obj = file, .data = slice_borrow(data, sizeof data)};
    uint32_t n = many ? MANY : LARGE;

    zone_op_seal(&write);
    for (uint32_t i = 0; i < n; i++) {
        fx_make(&fx, many ? &create : &write, fx.index + 1 + i, fx.time_ns + 1 + i,
                &entries[i]);
    }
    return n;
}

/* The batch whose commit fails is refused, all of it; what was shown before it stays. */
static void a_refused_batch_leaves_what_was_held(void)
{
    struct fx_entry entries[MANY];

    for (int many = 0; many < 2; many++) {
        struct fx_batch batch = {.entries = entries, .here = true};
        struct zone_handle file;
        uint8_t before[32];
        uint8_t after[32];
        uint64_t index;

        begin();
        file = fx_file(&fx, fx_root, "a");
        fx_digest(&fx, before);
        index = fx.index;
        batch.n = make_batch(file, many == 1, entries);
        simdisk_fail(rows, SIMDISK_WRITE, 1, -ENOSPC, true);
        CHECK_INT(fx_apply(&fx, &batch), -ENOSPC);
        fx_digest(&fx, after);
        CHECK_MEM(after, before, 32);
        CHECK_UINT(zone_applied_index(fx.zone), index);
        simdisk_fail(rows, SIMDISK_WRITE, 0, -EIO, false);
        CHECK_INT(fx_apply(&fx, &batch), 0);
        CHECK_UINT(zone_applied_index(fx.zone), index + batch.n);
        CHECK_INT(fx_lookup(&fx, fx_root, "b"), many == 1 ? 0 : OUT_NOENT);
        for (uint32_t i = 0; i < batch.n; i++) {
            fx_free(&entries[i]);
        }
        end();
    }
}

/* A view for a puller has what was applied before it was opened, and a power cut what a
 * snapshot names. */
static void views_and_snapshots_have_it(void)
{
    struct zone_snapshot snapshot = {0};
    struct store_cursor *cursor = NULL;
    struct prng prng;
    uint64_t index = 0;

    begin();
    (void)fx_file(&fx, fx_root, "a");
    CHECK(store_is_held(fx.store));
    CHECK_INT(store_cursor_open(fx.store, &cursor, &index), 0);
    CHECK_UINT(index, fx.index);
    store_cursor_close(cursor);
    (void)fx_file(&fx, fx_root, "b");
    CHECK(store_is_held(fx.store));
    CHECK_INT(zone_snapshot(fx.zone, &snapshot), 0);
    CHECK_UINT(snapshot.index, fx.index);
    buf_unref(snapshot.conf);
    (void)fx_file(&fx, fx_root, "c");
    prng_seed(&prng, 1);
    simdisk_crash(rows, &prng);
    close_zone();
    simdisk_power_on(rows);
    open_zone(false);
    CHECK(zone_applied_index(fx.zone) >= snapshot.index);
    CHECK_INT(fx_lookup(&fx, fx_root, "b"), 0);
    end();
}

/* However long nobody pauses, no more than so many entries wait, or so many bytes; and a
 * configuration never. */
static void bounded(void)
{
    static const uint8_t data[60000];
    struct zone_apply_item change = {
        .term = 1, .kind = ZONE_APPLY_CHANGE, .head = slice_borrow("conf", 4)};
    struct zone_handle file = {0};
    uint32_t longest = 0;
    uint32_t waiting = 0;
    char name[16];

    begin();
    for (uint32_t i = 0; i < 200; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        file = fx_file(&fx, fx_root, name);
        waiting = store_is_held(fx.store) ? waiting + 1 : 0;
        longest = waiting > longest ? waiting : longest;
    }
    CHECK(longest > 8 && longest < 32);
    CHECK_INT(zone_flush(fx.zone), 0);
    waiting = 0;
    do {
        CHECK_INT(fx_write(&fx, file, 0, slice_borrow(data, sizeof data)), 0);
        waiting++;
    } while (store_is_held(fx.store) && waiting < 32);
    CHECK_UINT(waiting, 5); /* Of 256 KiB. */
    (void)fx_file(&fx, fx_root, "held");
    CHECK(store_is_held(fx.store));
    change.index = ++fx.index;
    CHECK_INT(zone_apply(fx.zone, &change, 1), 0);
    CHECK(!store_is_held(fx.store));
    end();
}

/* Rows that are not in memory, for who must not wait for a disk, and on a disk that gives none:
 * neither takes back what was shown, although sqlite gives up a whole transaction for the latter. */
static void a_failed_read_takes_nothing_back(void)
{
    enum { FILES = 400 };

    for (int waits = 0; waits < 2; waits++) {
        struct zone_op op = {.type = ZONE_OP_LOOKUP, .obj = fx_root};
        unsigned n_failed = 0;
        char name[16];

        begin();
        for (int i = 0; i < FILES; i++) {
            snprintf(name, sizeof name, "f%d", i);
            (void)fx_file(&fx, fx_root, name);
        }
        close_zone();
        open_zone(false);
        (void)fx_file(&fx, fx_root, "shown");
        CHECK(store_is_held(fx.store));
        disk_nowait(!waits);
        for (int i = 0; i < FILES; i += 7) {
            int rv;

            snprintf(name, sizeof name, "f%d", i);
            op.name = fx_str(name);
            op.cred = fx.cred;
            simdisk_fail(rows, SIMDISK_READ, waits ? 1 : 0, -EIO, true);
            rv = zone_read(fx.zone, &op, &fx.result);
            zone_result_clear(&fx.result);
            CHECK(rv == 0 || rv == (waits ? -EIO : -EAGAIN));
            n_failed += rv != 0;
            simdisk_fail(rows, SIMDISK_READ, 0, -EIO, false);
            disk_nowait(false);
            CHECK_INT(fx_lookup(&fx, fx_root, "shown"), 0);
            disk_nowait(!waits);
        }
        disk_nowait(false);
        CHECK(n_failed > 0);
        CHECK_INT(zone_flush(fx.zone), 0);
        close_zone();
        open_zone(false);
        CHECK_INT(fx_lookup(&fx, fx_root, "shown"), 0);
        end();
    }
}

TEST_MAIN(CHECK_TEST(a_full_disk_takes_nothing_back),
          CHECK_TEST(a_failed_read_takes_nothing_back),
          CHECK_TEST(a_refused_batch_leaves_what_was_held),
          CHECK_TEST(views_and_snapshots_have_it), CHECK_TEST(bounded))
