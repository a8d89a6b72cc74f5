/* Transactions that are held, and committed as one: who does so before all else, and that
 * they are made anew if their commit fails or a fault takes them with it. */
#include "lib/simdisk.h"
#include "store/store_priv.h"
#include "store/vfs.h"
#include "test_store_fake.h"

enum { ROWS = 300 };

static struct simdisk *sim;
static struct journal journal;
static struct store *store;
static uint64_t n_redone;
static uint64_t remembered; /* What is made anew; 0: nothing. */

static void open_store(bool create)
{
    struct store_config config = {.disk = simdisk_disk(sim),
                                  .dir = "/set",
                                  .vfs = "hold",
                                  .journal = &journal,
                                  .zone_id = {4},
                                  .create = create};

    CHECK_INT(store_open(&config, &store), 0);
}

static void begin(void)
{
    sim = simdisk_new(0);
    n_redone = 0;
    remembered = 0;
    CHECK_INT(vfs_register(simdisk_disk(sim), "hold"), 0);
    open_store(true);
}

static void end(void)
{
    store_close(store);
    vfs_unregister("hold");
    simdisk_free(sim);
}

static uint64_t applied(void)
{
    uint64_t index = 0;

    CHECK_INT(store_number_get(store, STORE_APPLIED, &index), 0);
    return index;
}

static int hold(uint64_t index)
{
    int rv = store_begin_more(store);

    if (rv == 0) {
        CHECK_INT(store_number_set(store, STORE_APPLIED, index), 0);
        store_hold(store);
        remembered = index;
    }
    return rv;
}

static void redo(void *arg)
{
    (void)arg;
    n_redone++;
    if (remembered > 0) {
        CHECK_INT(hold(remembered), 0);
    }
}

/* A fault of a read, of rows that are not in memory: sqlite gives up the transaction. */
static void lose(void)
{
    uint8_t value[2000] = {0};

    for (uint64_t i = 1; i <= ROWS; i++) {
        struct store_kv pair = {.key = slice_borrow(&i, 8),
                                .value = slice_borrow(value, sizeof value)};

        CHECK_INT(store_begin(store), 0);
        CHECK_INT(store_kv_put(store, &pair), 0);
        CHECK_INT(store_commit(store, true), 0);
    }
    store_close(store);
    open_store(false);
    store_on_lost(store, redo, NULL);
    CHECK_INT(hold(7), 0);
    simdisk_fail(sim, SIMDISK_READ, 1, -EIO, true);
    for (uint64_t i = 1; i <= ROWS && !store_hold_is_lost(store); i++) {
        struct store_kv pair;

        (void)store_kv_get(store, slice_borrow(&i, 8), &pair);
    }
    simdisk_fail(sim, SIMDISK_READ, 0, -EIO, false);
    CHECK(store_is_held(store) && store_hold_is_lost(store));
    CHECK_UINT(n_redone, 0);
}

/* What is held is seen, goes on, and is committed as one, or rolled back as one. */
static void held_is_one(void)
{
    begin();
    CHECK_INT(hold(1), 0);
    CHECK(store_is_held(store));
    CHECK_UINT(applied(), 1);
    CHECK_INT(hold(2), 0);
    CHECK_INT(store_flush(store), 0);
    CHECK(!store_is_held(store));
    CHECK_INT(hold(3), 0);
    CHECK_INT(store_begin_more(store), 0);
    CHECK_INT(store_number_set(store, STORE_APPLIED, 4), 0);
    store_rollback(store);
    CHECK(!store_is_held(store));
    CHECK_UINT(applied(), 2);
    end();
}

/* Another transaction, a view and an orderly end commit it before all else. */
static void others_commit_it(void)
{
    struct store_cursor *cursor = NULL;
    uint64_t index = 0;

    begin();
    CHECK_INT(hold(1), 0);
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_number_set(store, STORE_APPLIED, 2), 0);
    store_rollback(store);
    CHECK(!store_is_held(store));
    CHECK_UINT(applied(), 1);
    CHECK_INT(hold(3), 0);
    CHECK_INT(store_cursor_open(store, &cursor, &index), 0);
    CHECK_UINT(index, 3);
    store_cursor_close(cursor);
    CHECK_INT(hold(4), 0);
    store_close(store);
    open_store(false);
    CHECK_UINT(applied(), 4);
    end();
}

/* A commit for which there is no room loses it: whoever keeps what was done does it again
 * before the fault is told, as often as that is so. */
static void made_anew_on_a_full_disk(void)
{
    struct store_cursor *cursor = NULL;
    uint64_t index = 0;

    begin();
    store_on_lost(store, redo, NULL);
    CHECK_INT(hold(5), 0);
    simdisk_fail(sim, SIMDISK_WRITE, 1, -ENOSPC, true);
    for (uint64_t i = 1; i <= 2; i++) {
        CHECK_INT(store_flush(store), -ENOSPC);
        CHECK_UINT(n_redone, i);
        CHECK(store_is_held(store));
        CHECK_UINT(applied(), 5);
    }
    CHECK_INT(store_begin(store), -ENOSPC);
    CHECK_INT(store_cursor_open(store, &cursor, &index), OUT_TRY_LATER);
    CHECK_UINT(n_redone, 4);
    CHECK_UINT(applied(), 5);
    simdisk_fail(sim, SIMDISK_WRITE, 0, -EIO, false);
    CHECK_INT(store_flush(store), 0);
    store_close(store);
    open_store(false);
    CHECK_UINT(applied(), 5);
    end();
}

/* A fault that took it with it shows older rows. Whoever flushes, or goes on, has it made
 * anew first; if that cannot be, it is a fault, and nothing is held. */
static void made_anew_after_a_fault(void)
{
    begin();
    lose();
    CHECK_INT(store_flush(store), 0);
    CHECK_UINT(n_redone, 1);
    CHECK_UINT(applied(), 7);
    end();
    begin();
    lose();
    CHECK_INT(hold(8), 0);
    CHECK_UINT(n_redone, 1);
    CHECK(store_is_held(store) && !store_hold_is_lost(store));
    CHECK_INT(store_flush(store), 0);
    CHECK_UINT(applied(), 8);
    end();
    begin();
    lose();
    remembered = 0;
    CHECK_INT(store_flush(store), -EIO);
    CHECK_UINT(n_redone, 1);
    CHECK(!store_is_held(store));
    end();
}

TEST_MAIN(CHECK_TEST(held_is_one), CHECK_TEST(others_commit_it),
          CHECK_TEST(made_anew_on_a_full_disk), CHECK_TEST(made_anew_after_a_fault))
