/* Pulled blocks that are written to where they stay, on a disk that loses power. */
#include "test_store_node.h"

/* The source's files are of the model's sizes; @node is on a disk of its own. */
static void both_init(struct node *source, struct node *node, uint64_t seed)
{
    node_init(source, "source", seed);
    entries_make(&source->prng);
    node_init(node, "puller", seed + 1000);
}

static void apply_until(struct node *node, uint64_t index)
{
    while (node->applied < index) {
        CHECK_INT(apply_next(node), 0);
    }
}

static void both_deinit(struct node *source, struct node *node)
{
    entries_free();
    node_deinit(node);
    node_deinit(source);
}

/* The power is gone and comes back: what is there was once committed. */
static void cut_power(struct node *node)
{
    simdisk_crash(node->sim, &node->prng);
    store_close(node->store);
    node->store = NULL;
    simdisk_power_on(node->sim);
    simdisk_power_off_after(node->sim, 0);
    CHECK_INT(node_open(node, false), 0);
    node->applied = 0;
    (void)store_number_get(node->store, STORE_APPLIED, &node->applied);
    CHECK(node->applied >= node->durable);
    model_at(&node->model, node->applied);
    check_files(node->store, &node->model);
}

static int load(struct store_shadow *shadow, struct store *source)
{
    struct store_cursor *cursor = NULL;
    struct buf *run = NULL;
    uint64_t index = 0;
    int rv = 0;

    CHECK_INT(store_cursor_open(source, &cursor, &index), 0);
    while (rv == 0 && store_cursor_next(cursor, 2000, &run) == 0) {
        rv = store_shadow_load(shadow, run->data, run->len);
        buf_unref(run);
    }
    store_cursor_close(cursor);
    return rv;
}

/* At most @most blocks; *@n of the last look is 0 if all are there. */
static int feed(struct store_shadow *shadow, struct store *source, uint32_t most,
                uint32_t *n)
{
    struct store_want want;
    int rv = 0;

    *n = 1;
    while (most-- > 0 && rv == 0) {
        struct buf *buf = NULL;
        uint64_t version = 0;
        int got;

        rv = store_shadow_wants(shadow, &want, 1, n);
        if (rv != 0 || *n == 0) {
            break;
        }
        got = store_pull_block(source, want.ino, want.block, &buf, &version);
        rv = store_shadow_block(
            shadow, &want, version,
            got == 0 ? slice_borrow(buf->data, buf->len) : (struct slice){0});
        buf_unref(buf);
    }
    return rv;
}

/* A whole pull; a fault of the disk may end it anywhere. */
static int try_pull(struct node *node, struct store *source, struct store_pulled *pulled)
{
    struct store_shadow *shadow = NULL;
    uint32_t n = 1;
    int rv = store_shadow_open(node->store, &shadow);

    if (rv == 0) {
        rv = load(shadow, source);
    }
    if (rv == 0) {
        rv = feed(shadow, source, UINT32_MAX, &n);
    }
    if (rv == 0) {
        rv = store_shadow_switch(node->store, shadow);
    }
    if (rv == 0 && pulled != NULL) {
        store_shadow_pulled(shadow, pulled);
    }
    store_shadow_close(shadow);
    return rv;
}

/* Some blocks come, then the attempt is given up. */
static void pull_in_part(struct node *node, struct store *source, uint32_t blocks)
{
    struct store_shadow *shadow = NULL;
    uint32_t n;

    CHECK_INT(store_shadow_open(node->store, &shadow), 0);
    CHECK_INT(load(shadow, source), 0);
    CHECK_INT(feed(shadow, source, blocks, &n), 0);
    CHECK_UINT(n, 1);
    /* What came is committed by the next loading's begin at the latest. */
    CHECK_INT(store_shadow_load(shadow, NULL, 0), 0);
    store_shadow_close(shadow);
}

static int count_name(void *ctx, const char *name)
{
    (void)name;
    ++*(uint32_t *)ctx;
    return 0;
}

/* Files in the sub-folders of @folder. */
static uint32_t files_in(struct node *node, const char *folder)
{
    struct disk *disk = simdisk_disk(node->sim);
    uint32_t n = 0;

    for (unsigned i = 0; i < 256; i++) {
        char path[64];

        (void)snprintf(path, sizeof path, "/set/%s/%02x", folder, i);
        (void)disk->ops->list(disk, path, count_name, &n);
    }
    return n;
}

/* Of the file in data/; 0: there is none. */
static uint64_t data_size(struct node *node, int file)
{
    struct disk *disk = simdisk_disk(node->sim);
    uint64_t ino = fake_ino(file);
    struct disk_file *at = NULL;
    uint64_t size = 0;
    char path[64];

    (void)snprintf(path, sizeof path, "/set/data/%02x/%llu", (unsigned)(ino % 256),
                   (unsigned long long)ino);
    if (disk->ops->open(disk, path, DISK_READ, &at) == 0) {
        CHECK_INT(disk->ops->size(disk, at, &size), 0);
        disk->ops->close(disk, at);
    }
    return size;
}

static void check_pulled(struct node *node, uint64_t index)
{
    node->applied = 0;
    CHECK_INT(store_number_get(node->store, STORE_APPLIED, &node->applied), 0);
    CHECK_UINT(node->applied, index);
    model_at(&node->model, index);
    check_files(node->store, &node->model);
}

/* A member that has nothing: each block is written once, and nothing is left to settle. */
static void an_empty_member_writes_once(void)
{
    struct node source;
    struct node node;
    struct store_pulled pulled = {0};

    both_init(&source, &node, 3);
    apply_until(&source, ENTRIES);
    CHECK_INT(try_pull(&node, source.store, &pulled), 0);
    CHECK(pulled.placed > 10);
    CHECK_UINT(pulled.beside, 0);
    CHECK_UINT(store_unsettled_bytes(node.store), 0);
    CHECK_UINT(files_in(&node, "pull.1"), 0);
    check_pulled(&node, ENTRIES);
    node.durable = ENTRIES;
    cut_power(&node);
    settle_all(node.store);
    check_pulled(&node, ENTRIES);
    both_deinit(&source, &node);
}

/* Files that the live store has something of are not touched before the switch: it reads
 * what it had, and what is pulled of them lies beside. */
static void a_file_with_old_content_is_left_alone(void)
{
    struct node source;
    struct node node;
    struct store_shadow *shadow = NULL;
    struct store_pulled pulled;
    uint32_t n;

    both_init(&source, &node, 4);
    apply_until(&node, ENTRIES / 2);
    settle_all(node.store);
    apply_until(&source, ENTRIES);
    CHECK_INT(store_shadow_open(node.store, &shadow), 0);
    CHECK_INT(load(shadow, source.store), 0);
    CHECK_INT(feed(shadow, source.store, UINT32_MAX, &n), 0);
    store_shadow_pulled(shadow, &pulled);
    CHECK(pulled.beside > 0);
    model_at(&node.model, ENTRIES / 2);
    check_files(node.store, &node.model);
    CHECK_INT(store_shadow_switch(node.store, shadow), 0);
    store_shadow_close(shadow);
    journal_clear(node.journal);
    check_pulled(&node, ENTRIES);
    settle_all(node.store);
    CHECK_UINT(store_unsettled_bytes(node.store), 0);
    check_pulled(&node, ENTRIES);
    both_deinit(&source, &node);
}

/* All that is wanted. How many of the blocks are the view's, and the newest of the others. */
static void feed_all(struct store_shadow *shadow, struct store *source, uint64_t *n_same,
                     uint64_t *newest)
{
    struct store_want want;
    uint32_t n = 0;

    *n_same = 0;
    *newest = 0;
    while (store_shadow_wants(shadow, &want, 1, &n) == 0 && n == 1) {
        struct buf *buf = NULL;
        uint64_t version = 0;
        int got = store_pull_block(source, want.ino, want.block, &buf, &version);
        bool some = got == 0 && buf->len > 0;

        *n_same += some && version == want.version ? 1 : 0;
        *newest = some && version > want.version && version > *newest ? version : *newest;
        CHECK_INT(store_shadow_block(
                      shadow, &want, version,
                      some ? slice_borrow(buf->data, buf->len) : (struct slice){0}),
                  0);
        buf_unref(buf);
    }
}

/* A block that was written to after the view holds effects of entries that the puller will
 * apply again: it lies beside, and nobody reads it before they are applied. */
static void a_newer_block_lies_beside(void)
{
    struct node source;
    struct node node;
    struct store_shadow *shadow = NULL;
    struct store_pulled pulled;
    uint64_t serve_from = 0;
    uint64_t n_same;
    uint64_t newest;

    both_init(&source, &node, 9);
    apply_until(&source, 150);
    CHECK_INT(store_shadow_open(node.store, &shadow), 0);
    CHECK_INT(load(shadow, source.store), 0);
    apply_until(&source, ENTRIES);
    feed_all(shadow, source.store, &n_same, &newest);
    CHECK(n_same > 0 && newest > 150);
    store_shadow_pulled(shadow, &pulled);
    CHECK_UINT(pulled.placed, n_same);
    CHECK(pulled.beside > 0);
    CHECK_INT(store_shadow_switch(node.store, shadow), 0);
    store_shadow_close(shadow);
    CHECK_INT(store_number_get(node.store, STORE_SERVE_FROM, &serve_from), 0);
    CHECK(serve_from >= newest);
    node.applied = 150;
    model_at(&node.model, 150);
    apply_until(&node, ENTRIES);
    check_pulled(&node, ENTRIES);
    settle_all(node.store);
    check_pulled(&node, ENTRIES);
    both_deinit(&source, &node);
}

/* What was placed is not asked for again after a restart; unless the live store applied
 * something in between, and may have used the files. */
static void placed_blocks_outlive_a_restart(void)
{
    for (int changed = 0; changed < 2; changed++) {
        struct node source;
        struct node node;
        struct store_pulled pulled = {0};

        both_init(&source, &node, 5);
        apply_until(&source, ENTRIES);
        pull_in_part(&node, source.store, 9);
        cut_power(&node);
        if (changed != 0) {
            /* Its own entries make the same files, and they settle. */
            apply_until(&node, 30);
            settle_all(node.store);
            check_files(node.store, &node.model);
        }
        CHECK_INT(try_pull(&node, source.store, &pulled), 0);
        CHECK_UINT(pulled.kept, changed == 0 ? 9 : 0);
        journal_clear(node.journal);
        check_pulled(&node, ENTRIES);
        settle_all(node.store);
        check_pulled(&node, ENTRIES);
        both_deinit(&source, &node);
    }
}

/* The live store applies an entry while blocks are placed, and settles what the entry wrote
 * into the very files: the placed blocks are pulled again. */
static void the_live_store_moves_on(void)
{
    struct node source;
    struct node node;
    struct store_shadow *shadow = NULL;
    struct store_pulled pulled;
    uint32_t n;

    both_init(&source, &node, 6);
    apply_until(&source, ENTRIES);
    CHECK_INT(store_shadow_open(node.store, &shadow), 0);
    CHECK_INT(load(shadow, source.store), 0);
    CHECK_INT(feed(shadow, source.store, 9, &n), 0);
    apply_until(&node, 40);
    settle_all(node.store);
    CHECK_INT(feed(shadow, source.store, UINT32_MAX, &n), 0);
    store_shadow_pulled(shadow, &pulled);
    CHECK_UINT(pulled.placed, 9);
    CHECK_INT(store_shadow_switch(node.store, shadow), OUT_TRY_LATER);
    check_files(node.store, &node.model);
    CHECK_INT(feed(shadow, source.store, UINT32_MAX, &n), 0);
    CHECK_INT(store_shadow_switch(node.store, shadow), 0);
    store_shadow_close(shadow);
    journal_clear(node.journal);
    check_pulled(&node, ENTRIES);
    settle_all(node.store);
    check_pulled(&node, ENTRIES);
    both_deinit(&source, &node);
}

/* A pull is broken off, and the next one is of a state without these files: they go. */
static void leftovers_are_removed(void)
{
    struct node source;
    struct node node;

    both_init(&source, &node, 7);
    apply_until(&source, ENTRIES);
    pull_in_part(&node, source.store, 12);
    CHECK(files_in(&node, "data") > 0);
    cut_power(&node);
    CHECK_INT(store_begin(source.store), 0);
    for (int i = 0; i < MODEL_FILES; i++) {
        CHECK_INT(store_inode_del(source.store, fake_ino(i)), 0);
    }
    CHECK_INT(store_number_set(source.store, STORE_APPLIED, ENTRIES + 1), 0);
    CHECK_INT(store_commit(source.store, true), 0);
    CHECK_INT(try_pull(&node, source.store, NULL), 0);
    settle_all(node.store);
    CHECK_UINT(files_in(&node, "data"), 0);
    both_deinit(&source, &node);
}

/* The same, of files that became shorter: nothing stays behind their end. */
static void leftovers_behind_the_end_are_cut(void)
{
    struct node source;
    struct node node;
    bool longer = false;

    both_init(&source, &node, 3);
    apply_until(&source, ENTRIES);
    pull_in_part(&node, source.store, 8);
    cut_power(&node);
    for (int i = 0; i < MODEL_FILES; i++) {
        longer = longer || data_size(&node, i) > STORE_BLOCK;
    }
    CHECK(longer);
    CHECK_INT(store_begin(source.store), 0);
    for (int i = 0; i < MODEL_FILES; i++) {
        struct store_inode inode;

        CHECK_INT(store_inode_get(source.store, fake_ino(i), &inode), 0);
        if (inode.size > STORE_BLOCK) {
            CHECK_INT(store_data_resize(source.store, fake_ino(i), inode.size,
                                        STORE_BLOCK, ENTRIES + 1),
                      0);
            inode.size = STORE_BLOCK;
            CHECK_INT(store_inode_put(source.store, &inode), 0);
        }
    }
    CHECK_INT(store_number_set(source.store, STORE_APPLIED, ENTRIES + 1), 0);
    CHECK_INT(store_commit(source.store, true), 0);
    CHECK_INT(try_pull(&node, source.store, NULL), 0);
    settle_all(node.store);
    for (int i = 0; i < MODEL_FILES; i++) {
        CHECK(data_size(&node, i) <= STORE_BLOCK);
    }
    both_deinit(&source, &node);
}

/* The same, of files that became shorter within a block that was there: what it is now is
 * written over longer bytes, and zeros follow it. */
static void placed_over_longer_bytes(void)
{
    const uint64_t end = STORE_BLOCK / 2 + 100;
    struct node source;
    struct node node;
    struct store_pulled pulled;
    uint32_t n_longer = 0;

    both_init(&source, &node, 3);
    apply_until(&source, ENTRIES);
    pull_in_part(&node, source.store, 8);
    cut_power(&node);
    CHECK_INT(store_begin(source.store), 0);
    for (int i = 0; i < MODEL_FILES; i++) {
        struct store_inode inode;

        CHECK_INT(store_inode_get(source.store, fake_ino(i), &inode), 0);
        if (inode.size > end) {
            n_longer += data_size(&node, i) > end ? 1 : 0;
            CHECK_INT(store_data_resize(source.store, fake_ino(i), inode.size, end,
                                        ENTRIES + 1),
                      0);
            inode.size = end;
            CHECK_INT(store_inode_put(source.store, &inode), 0);
        }
    }
    CHECK(n_longer > 0);
    CHECK_INT(store_number_set(source.store, STORE_APPLIED, ENTRIES + 1), 0);
    CHECK_INT(store_commit(source.store, true), 0);
    CHECK_INT(try_pull(&node, source.store, &pulled), 0);
    CHECK(pulled.placed > 0);
    for (int i = 0; i < MODEL_FILES; i++) {
        struct store_inode inode;
        struct buf *want = NULL;
        struct buf *have = NULL;

        CHECK_INT(store_inode_get(source.store, fake_ino(i), &inode), 0);
        CHECK_INT(store_data_read(source.store, fake_ino(i), 0, (size_t)inode.size, &want,
                                  NULL),
                  0);
        CHECK_INT(
            store_data_read(node.store, fake_ino(i), 0, (size_t)inode.size, &have, NULL),
            0);
        CHECK_UINT(have->len, want->len);
        CHECK_MEM(have->data, want->data, want->len);
        buf_unref(want);
        buf_unref(have);
    }
    both_deinit(&source, &node);
}

/*
 * The power goes at each change of the disk in turn, from an empty member's first to the
 * last of its pull: what is there afterwards is nothing or all of it, and the next attempt
 * ends, with no file too many.
 */
static void power_cuts_at_each_step(void)
{
    struct node source;
    struct node node;
    uint64_t changes;
    uint64_t zeros; /* Of blocks that are nothing else, and so need no place. */
    uint64_t kept = 0;

    both_init(&source, &node, 11);
    apply_until(&source, 25);
    changes = simdisk_changes(node.sim);
    CHECK_INT(try_pull(&node, source.store, NULL), 0);
    changes = simdisk_changes(node.sim) - changes;
    CHECK(changes > 40);
    zeros = store_unsettled_bytes(node.store);
    node_deinit(&node);
    for (uint64_t at = 1; at <= changes; at++) {
        struct store_pulled pulled = {0};
        int rv;

        node_init(&node, "puller", 2000 + at);
        simdisk_power_off_after(node.sim, at);
        rv = try_pull(&node, source.store, NULL);
        CHECK(rv != 0 || !simdisk_is_on(node.sim) || at == changes);
        cut_power(&node);
        CHECK(node.applied == 0 || node.applied == 25);
        if (node.applied == 0) {
            CHECK_INT(try_pull(&node, source.store, &pulled), 0);
        }
        kept += pulled.kept;
        check_pulled(&node, 25);
        CHECK_UINT(store_unsettled_bytes(node.store), zeros);
        CHECK_UINT(files_in(&node, "pull.1"), 0);
        settle_all(node.store);
        check_pulled(&node, 25);
        node.durable = 25;
        cut_power(&node);
        check_pulled(&node, 25);
        node_deinit(&node);
    }
    CHECK(kept > 0);
    entries_free();
    node_deinit(&source);
}

TEST_MAIN(CHECK_TEST(an_empty_member_writes_once),
          CHECK_TEST(a_file_with_old_content_is_left_alone),
          CHECK_TEST(a_newer_block_lies_beside),
          CHECK_TEST(placed_blocks_outlive_a_restart),
          CHECK_TEST(the_live_store_moves_on), CHECK_TEST(leftovers_are_removed),
          CHECK_TEST(leftovers_behind_the_end_are_cut),
          CHECK_TEST(placed_over_longer_bytes), CHECK_TEST(power_cuts_at_each_step))
