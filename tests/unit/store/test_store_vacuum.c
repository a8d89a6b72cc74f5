/* meta.db gives its room back. */
#include "store/store_priv.h"
#include "test_store_fake.h"

#include <sys/stat.h>

static struct journal journal;

static const char *check_dir(const char *name)
{
    static char dir[4200];

    (void)snprintf(dir, sizeof dir, "%s/%s", check_tmpdir(), name);
    return dir;
}

static uint64_t meta_bytes(const char *dir)
{
    char path[4300];
    struct stat st;

    (void)snprintf(path, sizeof path, "%s/meta.db", dir);
    CHECK_INT(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

/* Files [@from, @to), each with a row of inline data, as one batch. */
static void make(struct store *store, uint64_t from, uint64_t to)
{
    static uint8_t bytes[1500];

    CHECK_INT(store_begin(store), 0);
    for (uint64_t ino = from; ino < to; ino++) {
        struct store_inode inode = {
            .ino = ino, .gen = 1, .type = 1, .nlink = 1, .size = 1500};
        struct store_inline blob = {.ino = ino, .version = 1, .len = sizeof bytes};

        memset(blob.data, (int)ino, sizeof bytes);
        CHECK_INT(store_inode_put(store, &inode), 0);
        CHECK_INT(store_inline_put(&store->db, &blob), 0);
    }
    CHECK_INT(store_commit(store, false), 0);
}

static void drop(struct store *store, uint64_t from, uint64_t to)
{
    CHECK_INT(store_begin(store), 0);
    for (uint64_t ino = from; ino < to; ino++) {
        CHECK_INT(store_inode_del(store, ino), 0);
    }
    CHECK_INT(store_commit(store, false), 0);
}

/* Plans of the rest, as the daemon makes them, until there is nothing left to do. */
static unsigned settle_rest(struct store *store)
{
    unsigned steps = 0;

    while (store_settle_rest(store)) {
        struct store_settle *settle = NULL;
        int rv = store_settle_plan_rest(store, 1 << 20, &settle);

        if (rv == OUT_NOENT) {
            break;
        }
        CHECK_INT(rv, 0);
        CHECK_INT(store_settle_run(settle), 0);
        CHECK_INT(store_settle_finish(store, settle), 0);
        CHECK(++steps < 1000);
    }
    return steps;
}

/* A zone that had many files and has few keeps no room for the many; what it still has is
 * unharmed by the move, also over a restart. */
static void many_files_leave_no_room_taken(void)
{
    enum { N = 20000, LEFT = 500 };
    struct store *store = fake_open(&journal, check_dir("vacuum"), true);
    uint8_t before[32];
    uint8_t after[32];
    uint64_t peak;

    for (uint64_t ino = 100; ino < 100 + N; ino += 1000) {
        make(store, ino, ino + 1000);
    }
    (void)settle_rest(store);
    store_close(store);
    peak = meta_bytes(check_dir("vacuum"));
    CHECK(peak > 20u << 20);
    store = fake_open(&journal, check_dir("vacuum"), false);
    drop(store, 100, 100 + N - LEFT); /* The last ones stay: they have to move. */
    CHECK_INT(store_digest(store, before), 0);
    CHECK(settle_rest(store) > 1); /* In steps. */
    CHECK_INT(store_digest(store, after), 0);
    CHECK_MEM(after, before, sizeof before);
    CHECK(meta_bytes(check_dir("vacuum")) < peak / 4); /* Not only once it is closed. */
    store_close(store);
    store = fake_open(&journal, check_dir("vacuum"), false);
    CHECK_INT(store_digest(store, after), 0);
    CHECK_MEM(after, before, sizeof before);
    store_close(store);
    journal_clear(&journal);
}

/* With the journal above its mark the daemon makes no plans of the rest, and at rest it may
 * stay there: those that find nothing to settle do it too, not every one of them. */
static void plans_that_find_nothing_give_room_back(void)
{
    struct store *store = fake_open(&journal, check_dir("nothing"), true);
    struct store_settle *settle = NULL;
    unsigned found = 0;
    uint64_t peak;

    for (uint64_t ino = 100; ino < 10100; ino += 1000) {
        make(store, ino, ino + 1000);
    }
    (void)settle_rest(store);
    peak = meta_bytes(check_dir("nothing"));
    drop(store, 100, 10100);
    for (unsigned i = 0; i < 1000; i++) {
        int rv = store_settle_plan(store, 1 << 20, &settle);

        if (rv == 0) {
            found++;
            CHECK_INT(store_settle_run(settle), 0);
            CHECK_INT(store_settle_finish(store, settle), 0);
        } else {
            CHECK_INT(rv, OUT_NOENT);
        }
    }
    CHECK(found > 1 && found < 1000 / 8);
    CHECK(meta_bytes(check_dir("nothing")) < peak / 2);
    store_close(store);
    journal_clear(&journal);
}

/* Few free pages are for what comes: nothing is moved for them. */
static void a_little_room_is_kept(void)
{
    struct store *store = fake_open(&journal, check_dir("little"), true);

    make(store, 100, 1100);
    (void)settle_rest(store);
    drop(store, 100, 600);
    CHECK_UINT(settle_rest(store), 0);
    store_close(store);
    journal_clear(&journal);
}

TEST_MAIN(CHECK_TEST(many_files_leave_no_room_taken),
          CHECK_TEST(plans_that_find_nothing_give_room_back),
          CHECK_TEST(a_little_room_is_kept))
