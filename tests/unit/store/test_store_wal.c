/* The write-ahead log of meta.db on a disk whose syncs fail: a commit that was called
 * durable is there after a power cut, or was never called so. */
#include "lib/simdisk.h"
#include "store/store_priv.h"
#include "store/vfs.h"
#include "test_store_fake.h"

enum { SEEDS = 8 };

struct node {
    struct simdisk *sim;
    struct journal journal;
    struct prng prng;
    const char *vfs;
};

static struct store *node_open(struct node *node, bool create)
{
    struct store_config config = {.disk = simdisk_disk(node->sim),
                                  .dir = "/set",
                                  .vfs = node->vfs,
                                  .journal = &node->journal,
                                  .zone_id = {4},
                                  .create = create};
    struct store *store = NULL;

    CHECK_INT(store_open(&config, &store), 0);
    return store;
}

static struct store *node_init(struct node *node, const char *vfs, uint64_t seed)
{
    *node = (struct node){.sim = simdisk_new(0), .vfs = vfs};
    prng_seed(&node->prng, seed);
    CHECK_INT(vfs_register(simdisk_disk(node->sim), vfs), 0);
    return node_open(node, true);
}

static void node_deinit(struct node *node)
{
    vfs_unregister(node->vfs);
    simdisk_free(node->sim);
}

static int set_applied(struct store *store, uint64_t index, bool durable)
{
    int rv = store_begin(store);

    if (rv == 0) {
        rv = store_number_set(store, STORE_APPLIED, index);
        rv = rv == 0 ? store_commit(store, durable) : rv;
    }
    store_rollback(store);
    return rv;
}

/* What a power cut leaves. Closes @store and, if there is one, @dead. */
static uint64_t after_crash(struct node *node, struct store *store, struct store *dead)
{
    uint64_t applied = 0;

    simdisk_crash(node->sim, &node->prng);
    store_close(store);
    store_close(dead);
    simdisk_power_on(node->sim);
    store = node_open(node, false);
    CHECK_INT(store_number_get(store, STORE_APPLIED, &applied), 0);
    store_close(store);
    return applied;
}

/* The process dies of a failed sync and is started again: its frames are in the page
 * cache only. What is committed on top of them is durable all the same. */
static void a_failed_sync_survives_a_restart(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct node node;
        struct store *dead = node_init(&node, "wal-restart", seed);
        struct store *store;

        simdisk_fail(node.sim, SIMDISK_SYNC, 1, -EIO, false);
        CHECK_INT(set_applied(dead, 1, true), -EIO);
        CHECK_INT(set_applied(dead, 2, true), -EIO);
        store = node_open(&node, false); /* @dead was killed: it did not close. */
        CHECK_INT(set_applied(store, 100, true), 0);
        CHECK_UINT(after_crash(&node, store, dead), 100);
        node_deinit(&node);
    }
}

enum { PAIRS = 8, PAIR_BYTES = 3000, CUTS = 16 };

/* One entry whose rows are on many pages. */
static int put_pairs(struct store *store, uint64_t index, bool durable)
{
    static uint8_t bytes[PAIR_BYTES];
    int rv = store_begin(store);

    memset(bytes, (int)index, sizeof bytes);
    for (uint64_t i = 0; rv == 0 && i < PAIRS; i++) {
        struct store_kv pair = {.key = slice_borrow(&i, sizeof i),
                                .value = slice_borrow(bytes, sizeof bytes)};

        rv = store_kv_put(store, &pair);
    }
    rv = rv == 0 ? store_number_set(store, STORE_APPLIED, index) : rv;
    rv = rv == 0 ? store_commit(store, durable) : rv;
    store_rollback(store);
    return rv;
}

/* Which entry there is; the whole of it. */
static uint64_t whole_pairs(struct store *store)
{
    uint64_t index = 0;

    CHECK_INT(store_number_get(store, STORE_APPLIED, &index), 0);
    for (uint64_t i = 0; i < PAIRS; i++) {
        struct store_kv pair = {0};

        CHECK_INT(store_kv_get(store, slice_borrow(&i, sizeof i), &pair), 0);
        CHECK_UINT(pair.value.len, PAIR_BYTES);
        CHECK_UINT(pair.value.data[0], index);
    }
    return index;
}

/* A sync fails, and the store is closed in a process that lives on: nothing of what that sync
 * lost may come into meta.db by the way, since the power may go at any moment of that. It is
 * opened again then, power cut or not, and all that was durable is there. */
static void closed_after_a_failed_sync(bool dropped, uint64_t seed, uint64_t cut)
{
    struct node node;
    struct store *store = node_init(&node, "wal-closed", seed);
    uint64_t index;

    CHECK_INT(put_pairs(store, 1, true), 0);
    store_close(store); /* All of it is in meta.db. */
    store = node_open(&node, false);
    CHECK_INT(put_pairs(store, 2, false), 0);
    simdisk_fail(node.sim, SIMDISK_SYNC, 1, -EIO, false);
    CHECK_INT(put_pairs(store, 3, true), -EIO);
    simdisk_power_off_after(node.sim, cut);
    if (dropped) {
        store_drop(store);
    } else {
        store_close(store);
    }
    if (!simdisk_is_on(node.sim)) {
        simdisk_crash(node.sim, &node.prng);
        simdisk_power_on(node.sim);
    }
    simdisk_power_off_after(node.sim, 0);
    store = node_open(&node, false);
    index = whole_pairs(store);
    CHECK(index >= 1 && index <= 3);
    CHECK_INT(put_pairs(store, 100, true), 0);
    CHECK_UINT(after_crash(&node, store, NULL), 100);
    node_deinit(&node);
}

static void a_close_after_a_failed_sync_writes_nothing(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        for (uint64_t cut = 0; cut <= CUTS; cut++) {
            closed_after_a_failed_sync(false, seed, cut);
            closed_after_a_failed_sync(true, seed, cut);
        }
    }
}

/* Somebody else met the fault, of the journal say: the store is dropped though it knows of
 * none, and what it held is replayed. */
static void a_dropped_store_writes_nothing(void)
{
    struct node node;
    struct store *store = node_init(&node, "wal-dropped", 1);
    uint64_t changes;

    CHECK_INT(put_pairs(store, 1, true), 0);
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_number_set(store, STORE_APPLIED, 2), 0);
    store_hold(store);
    changes = simdisk_changes(node.sim);
    store_drop(store);
    CHECK_UINT(simdisk_changes(node.sim), changes);
    store = node_open(&node, false);
    CHECK_UINT(whole_pairs(store), 1);
    store_close(store);
    node_deinit(&node);
}

/* A process that ends before its first sync leaves a WAL whose name is not durable, and the
 * next one finds it there. */
static void the_name_survives_a_restart(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct node node;
        struct store *store = node_init(&node, "wal-name", seed);
        struct store *dead;

        store_close(store); /* Takes the WAL away. */
        dead = node_open(&node, false);
        simdisk_fail(node.sim, SIMDISK_SYNC, 1, -EIO, false); /* Of the new WAL's head. */
        CHECK_INT(set_applied(dead, 1, false), -EIO);
        store = node_open(&node, false);
        CHECK_INT(set_applied(store, 100, true), 0);
        CHECK_UINT(after_crash(&node, store, dead), 100);
        node_deinit(&node);
    }
}

/* While a reader holds the WAL back, commits checkpoint by themselves. A sync that fails
 * there is told once: it must not be swallowed. */
static void a_checkpoint_swallows_no_fault(void)
{
    static uint8_t big[1 << 20];

    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct node node;
        struct store *store = node_init(&node, "wal-checkpoint", seed);
        struct store_cursor *cursor = NULL;
        uint64_t index = 0;
        int rv = 0;

        CHECK_INT(set_applied(store, 1, true), 0);
        CHECK_INT(store_cursor_open(store, &cursor, &index), 0);
        for (uint64_t i = 2; rv == 0 && i < 80; i++) {
            struct store_kv pair = {.key = slice_borrow(&i, 8),
                                    .value = slice_borrow(big, sizeof big)};

            memset(big, (int)i, sizeof big);
            rv = store_begin(store);
            if (rv == 0) {
                CHECK_INT(store_kv_put(store, &pair), 0);
                CHECK_INT(store_number_set(store, STORE_APPLIED, i), 0);
                simdisk_fail(node.sim, SIMDISK_SYNC, i == 60 + seed ? 1 : 0, -EIO, false);
                rv = store_commit(store, false);
                simdisk_fail(node.sim, SIMDISK_SYNC, 0, -EIO, false);
            }
        }
        if (rv == 0) {
            rv = set_applied(store, 1000, true);
        }
        store_cursor_close(cursor);
        CHECK(after_crash(&node, store, NULL) == 1000 || rv == -EIO);
        node_deinit(&node);
    }
}

static struct {
    const struct disk_ops *real;
    struct disk_ops ops;
    uint64_t written;
} counting;

static int count_pwritev(struct disk *disk, struct disk_file *file,
                         const struct iovec *iov, int n, uint64_t offset)
{
    for (int i = 0; i < n; i++) {
        counting.written += iov[i].iov_len;
    }
    return counting.real->pwritev(disk, file, iov, n, offset);
}

/* The WAL's file is kept as long as it once was. What a start writes again is what is in
 * use of it, and all of that: to the last frame of this life of the file. */
static void only_what_is_in_use_is_written_again(void)
{
    static uint8_t big[1 << 20];
    struct node node;
    struct store *store = node_init(&node, "wal-length", 1);
    struct disk *disk = simdisk_disk(node.sim);
    struct disk_file *file = NULL;
    uint64_t size = 0;
    uint64_t used;
    struct store *dead;

    for (uint64_t i = 1; i <= 20; i++) {
        struct store_kv pair = {.key = slice_borrow(&i, 8),
                                .value = slice_borrow(big, sizeof big)};

        memset(big, (int)i, sizeof big);
        CHECK_INT(store_begin(store), 0);
        CHECK_INT(store_kv_put(store, &pair), 0);
        CHECK_INT(store_commit(store, true), 0);
    }
    CHECK_INT(store_db_checkpoint(&store->db), 0);
    for (uint64_t i = 1; i <= 300; i++) { /* From the beginning of the file. */
        CHECK_INT(set_applied(store, i, false), 0);
    }
    used = store_wal_bytes(store);
    CHECK(used >= 300 * 4096 && used < 4 << 20);
    CHECK_INT(disk->ops->open(disk, "/set/meta.db-wal", DISK_READ, &file), 0);
    CHECK_INT(disk->ops->size(disk, file, &size), 0);
    disk->ops->close(disk, file);
    CHECK(size > 20u << 20);
    counting.real = disk->ops;
    counting.ops = *disk->ops;
    counting.ops.pwritev = count_pwritev;
    counting.written = 0;
    disk->ops = &counting.ops;
    CHECK_INT(store_wal_renew(store, "/set/meta.db"), 0);
    disk->ops = counting.real;
    CHECK(counting.written >= used && counting.written < used + (64 << 10));
    dead = store;
    store = node_open(&node, false);
    CHECK_UINT(after_crash(&node, store, dead), 300);
    node_deinit(&node);
}

/* @mib commits of a MiB each; the last is index @last. */
static void fill(struct store *store, uint64_t last, uint64_t mib)
{
    static uint8_t big[1 << 20];

    for (uint64_t i = last - mib + 1; i <= last; i++) {
        struct store_kv pair = {.key = slice_borrow(&i, 8),
                                .value = slice_borrow(big, sizeof big)};

        memset(big, (int)i, sizeof big);
        CHECK_INT(store_begin(store), 0);
        CHECK_INT(store_kv_put(store, &pair), 0);
        CHECK_INT(store_number_set(store, STORE_APPLIED, i), 0);
        CHECK_INT(store_commit(store, false), 0);
    }
}

/* A long WAL is copied while the owner goes on committing, and then used from its
 * beginning again. What came meanwhile is not lost with it. */
static void a_long_wal_is_copied_beside(void)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct node node;
        struct store *store = node_init(&node, "wal-beside", seed);
        struct store_settle *settle = NULL;
        struct store_cursor *cursor =
            NULL; /* What comes after it is not copied beside. */
        uint64_t index = 0;

        fill(store, 10, 10);
        CHECK_INT(store_settle_plan_wal(store, &settle), OUT_NOENT);
        fill(store, 20, 10);
        CHECK(store_wal_is_long(store));
        CHECK_INT(store_settle_plan_wal(store, &settle), 0);
        CHECK_INT(store_cursor_open(store, &cursor, &index), 0);
        fill(store, 22, 2);
        CHECK_INT(store_settle_run(settle), 0);
        store_cursor_close(cursor);
        fill(store, 24, 2);
        if (seed % 2 == 0) {
            CHECK_INT(store_begin(store), 0);
            CHECK_INT(store_number_set(store, STORE_APPLIED, 24), 0);
            store_hold(store); /* sqlite copies nothing while it is in a transaction. */
        }
        CHECK_INT(store_settle_finish(store, settle), 0);
        CHECK(!store_wal_is_long(store));
        CHECK(store_wal_bytes(store) > 20u << 20);
        CHECK_INT(set_applied(store, 25, true), 0);
        CHECK(store_wal_bytes(store) < 1u << 20);
        CHECK_UINT(after_crash(&node, store, NULL), 25);
        node_deinit(&node);
    }
}

/* A plan that was dropped before it ran has left nothing behind. */
static void a_dropped_plan(void)
{
    struct node node;
    struct store *store = node_init(&node, "wal-dropped", 1);
    struct store_settle *settle = NULL;

    fill(store, 20, 20);
    CHECK_INT(store_settle_plan_wal(store, &settle), 0);
    store_settle_abandon(store, settle);
    CHECK_INT(store_settle_plan_wal(store, &settle), 0);
    CHECK_INT(store_settle_run(settle), 0);
    CHECK_INT(store_settle_finish(store, settle), 0);
    CHECK_UINT(after_crash(&node, store, NULL), 20);
    node_deinit(&node);
}

/* A sync that fails is told, beside the owner and in the owner's part, after which no
 * commit is called durable. */
static void a_copy_beside_swallows_no_fault(void)
{
    for (int own = 0; own < 2; own++) {
        struct node node;
        struct store *store = node_init(&node, "wal-beside-fault", 1);
        struct store_settle *settle = NULL;
        struct store_cursor *cursor = NULL;
        uint64_t index = 0;

        fill(store, 20, 20);
        CHECK_INT(store_settle_plan_wal(store, &settle), 0);
        CHECK_INT(store_cursor_open(store, &cursor, &index), 0);
        fill(store, 22, 2);
        simdisk_fail(node.sim, SIMDISK_SYNC, own == 0 ? 1 : 0, -EIO, false);
        CHECK_INT(store_settle_run(settle), own == 0 ? -EIO : 0);
        store_cursor_close(cursor);
        if (own == 0) {
            store_settle_abandon(store, settle);
        } else {
            simdisk_fail(node.sim, SIMDISK_SYNC, 1, -EIO, false);
            CHECK_INT(store_settle_finish(store, settle), -EIO);
            CHECK_INT(set_applied(store, 30, true), -EIO);
        }
        simdisk_fail(node.sim, SIMDISK_SYNC, 0, -EIO, false);
        store_close(store);
        node_deinit(&node);
    }
}

TEST_MAIN(CHECK_TEST(only_what_is_in_use_is_written_again),
          CHECK_TEST(a_failed_sync_survives_a_restart),
          CHECK_TEST(the_name_survives_a_restart),
          CHECK_TEST(a_close_after_a_failed_sync_writes_nothing),
          CHECK_TEST(a_dropped_store_writes_nothing),
          CHECK_TEST(a_checkpoint_swallows_no_fault),
          CHECK_TEST(a_long_wal_is_copied_beside), CHECK_TEST(a_dropped_plan),
          CHECK_TEST(a_copy_beside_swallows_no_fault))
