/* Power cuts at any moment, on a disk that loses and tears what was not synced. The
 * journal is not part of it: an entry is durable there before it is applied. */
#include "test_store_node.h"

/* The power is gone: what comes back holds every durable commit whole, and no half of
 * any other. */
static void node_power_cut(struct node *node)
{
    simdisk_crash(node->sim, &node->prng);
    if (node->settle != NULL) {
        store_settle_abandon(node->store, node->settle);
        node->settle = NULL;
    }
    store_close(node->store);
    node->store = NULL;
    simdisk_power_on(node->sim);
    CHECK_INT(node_open(node, false), 0);
    node->applied = 0;
    (void)store_number_get(node->store, STORE_APPLIED, &node->applied);
    CHECK(node->applied >= node->durable);
    model_at(&node->model, node->applied);
    check_files(node->store, &node->model);
}

/* Whatever the store was doing, a power cut leaves a state that was once committed, not
 * before the last durable commit, and all its bytes. */
static void power_cuts_anywhere(void)
{
    const char *env = getenv("GV_STORE_SEEDS");
    uint64_t seeds = env != NULL ? strtoull(env, NULL, 10) : 15;

    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct node node;

        node_init(&node, "crash", seed);
        entries_make(&node.prng);
        while (node.applied < ENTRIES) {
            int rv;

            if (simdisk_is_on(node.sim) && prng_below(&node.prng, 10) == 0) {
                simdisk_power_off_after(node.sim, 1 + prng_below(&node.prng, 40));
            }
            rv = prng_below(&node.prng, 3) == 0 ? settle_step(&node) : apply_next(&node);
            if (rv != 0 || !simdisk_is_on(node.sim)) {
                node_power_cut(&node);
                simdisk_power_off_after(node.sim, 0);
            }
            forget(&node);
        }
        simdisk_power_off_after(node.sim, 0);
        if (node.settle != NULL) {
            store_settle_abandon(node.store, node.settle);
            node.settle = NULL;
        }
        settle_all(node.store); /* No block was taken for a bad one. */
        CHECK_UINT(store_unsettled_bytes(node.store), 0);
        check_files(node.store, &node.model);
        entries_free();
        node_deinit(&node);
    }
}

/* One try at a whole pull; a fault of the disk may end it anywhere. */
static int try_pull(struct node *node, struct store *source, uint64_t *index)
{
    struct store_shadow *shadow = NULL;
    struct store_cursor *cursor = NULL;
    struct buf *run = NULL;
    struct store_want want;
    uint32_t n = 1;
    int rv;

    rv = store_shadow_open(node->store, &shadow);
    if (rv != 0) {
        return rv;
    }
    CHECK_INT(store_cursor_open(source, &cursor, index), 0);
    while (rv == 0 && store_cursor_next(cursor, 2000, &run) == 0) {
        rv = store_shadow_load(shadow, run->data, run->len);
        buf_unref(run);
    }
    store_cursor_close(cursor);
    while (rv == 0 && (rv = store_shadow_wants(shadow, &want, 1, &n)) == 0 && n > 0) {
        struct buf *buf = NULL;
        uint64_t version = 0;
        int got = store_pull_block(source, want.ino, want.block, &buf, &version);

        rv = store_shadow_block(
            shadow, &want, version,
            got == 0 ? slice_borrow(buf->data, buf->len) : (struct slice){0});
        buf_unref(buf);
    }
    if (rv == 0) {
        rv = store_shadow_switch(node->store, shadow);
    }
    store_shadow_close(shadow);
    return rv;
}

/* A power cut in a pull leaves the old state or, if it came late, the pulled one; and
 * trying again gets there. */
static void power_cuts_in_a_pull(void)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct node source;
        struct node node;
        uint64_t index = 0;
        uint64_t left = 0;
        int rv;

        node_init(&source, "source", seed);
        entries_make(&source.prng);
        node_init(&node, "puller", seed + 1000);
        while (source.applied < ENTRIES) {
            CHECK_INT(apply_next(&source), 0);
        }
        while (node.applied < 60) {
            CHECK_INT(apply_next(&node), 0);
            CHECK_INT(settle_step(&node), 0);
        }
        if (node.settle != NULL) {
            store_settle_abandon(node.store, node.settle);
            node.settle = NULL;
        }
        for (;;) {
            simdisk_power_off_after(node.sim, left += 7);
            rv = try_pull(&node, source.store, &index);
            if (rv == 0 && simdisk_is_on(node.sim)) {
                break;
            }
            node_power_cut(&node);
            CHECK(node.applied == ENTRIES || node.applied >= node.durable);
        }
        simdisk_power_off_after(node.sim, 0);
        journal_clear(node.journal);
        model_at(&node.model, ENTRIES);
        check_files(node.store, &node.model);
        node.durable = ENTRIES;
        node_power_cut(&node);
        settle_all(node.store);
        node_power_cut(&node);
        CHECK_UINT(node.applied, ENTRIES);
        entries_free();
        node_deinit(&node);
        node_deinit(&source);
    }
}

TEST_MAIN(CHECK_TEST(power_cuts_anywhere), CHECK_TEST(power_cuts_in_a_pull))
