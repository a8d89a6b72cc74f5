/* Pulling a store into another one that is empty or behind. */
#include "test_store_fake.h"

enum {
    VIEW = 110, /* The source is here when the pull begins. */
};

/* One member: its store, and the model of its state. */
struct member {
    struct journal journal;
    struct model model;
    struct store *store;
    uint64_t applied;
    char dir[512];
};

static void member_init(struct member *member)
{
    static int n;

    memset(member, 0, sizeof *member);
    model_init(&member->model);
    (void)snprintf(member->dir, sizeof member->dir, "%s/m%d", check_tmpdir(), n++);
    member->store = fake_open(&member->journal, member->dir, true);
}

static void member_deinit(struct member *member)
{
    store_close(member->store);
    model_deinit(&member->model);
    journal_clear(&member->journal);
}

static void member_restart(struct member *member)
{
    store_close(member->store);
    member->store = fake_open(&member->journal, member->dir, false);
}

static void apply_to(struct member *member, uint64_t to, struct prng *prng)
{
    while (member->applied < to) {
        const struct entry *e = &entries[++member->applied];

        model_apply(&member->model, member->applied);
        if (e->w.len == 0) {
            store_apply_resize(member->store, &member->model, e->w.file, e->old_size);
        } else {
            store_apply_write(member->store, &member->journal, &member->model, &e->w,
                              e->old_size);
        }
        if (prng != NULL && prng_below(prng, 20) == 0) {
            struct store_settle *settle;

            if (store_settle_plan(member->store, 1 << 20, &settle) == 0) {
                CHECK_INT(store_settle_run(settle), 0);
                CHECK_INT(store_settle_finish(member->store, settle), 0);
            }
        }
    }
}

/* The source's rows, all, and its index. */
static void load(struct store_shadow *shadow, struct store_cursor *cursor, size_t max)
{
    struct buf *run = NULL;
    int rv;

    while ((rv = store_cursor_next(cursor, max, &run)) == 0) {
        CHECK_INT(store_shadow_load(shadow, run->data, run->len), 0);
        buf_unref(run);
    }
    CHECK_INT(rv, OUT_NOENT);
}

/* Up to @most rounds of blocks. True: all are there. */
static bool feed(struct store_shadow *shadow, struct store *source, int most)
{
    struct store_want wants[7];
    uint32_t n;

    while (most-- > 0) {
        CHECK_INT(store_shadow_wants(shadow, wants, 7, &n), 0);
        if (n == 0) {
            return true;
        }
        for (uint32_t i = 0; i < n; i++) {
            struct buf *buf = NULL;
            uint64_t version = 0;
            int rv =
                store_pull_block(source, wants[i].ino, wants[i].block, &buf, &version);

            CHECK(rv == 0 || rv == OUT_NOENT);
            CHECK_INT(store_shadow_block(
                          shadow, &wants[i], version,
                          rv == 0 ? slice_of(buf, 0, buf->len) : (struct slice){0}),
                      0);
            if (rv == 0) { /* slice_of took a reference. */
                buf_unref(buf);
                buf_unref(buf);
            }
        }
    }
    return false;
}

static void check_same(struct member *a, struct member *b)
{
    uint8_t x[32];
    uint8_t y[32];

    CHECK_INT(store_digest(a->store, x), 0);
    CHECK_INT(store_digest(b->store, y), 0);
    CHECK_MEM(x, y, sizeof x);
    check_files(a->store, &a->model);
    check_files(b->store, &a->model);
}

/* After the switch: the state is the view's, and entries from there on bring it to the
 * source's. The old journal of the puller is not needed any more. */
static void go_on(struct member *puller, struct member *source, uint64_t index)
{
    uint64_t applied;
    uint64_t floor;
    uint64_t serve_from = 0;

    journal_clear(&puller->journal);
    CHECK_INT(store_number_get(puller->store, STORE_APPLIED, &applied), 0);
    CHECK_UINT(applied, index);
    (void)store_number_get(puller->store, STORE_SERVE_FROM, &serve_from);
    CHECK(serve_from <= source->applied);
    CHECK_INT(store_extent_floor(puller->store, &floor), 0);
    CHECK_UINT(floor, UINT64_MAX);
    while (puller->model.version < index) {
        model_apply(&puller->model, puller->model.version + 1);
    }
    puller->applied = index;
    apply_to(puller, source->applied, NULL);
    check_same(source, puller);
    settle_all(puller->store);
    check_same(source, puller);
    member_restart(puller);
    check_same(source, puller);
}

static void pull(uint64_t seed, uint64_t behind)
{
    struct prng prng;
    struct member source;
    struct member puller;
    struct store_cursor *cursor;
    struct store_shadow *shadow;
    uint64_t index;

    prng_seed(&prng, seed);
    entries_make(&prng);
    member_init(&source);
    member_init(&puller);
    apply_to(&source, VIEW, &prng);
    apply_to(&puller, behind, &prng);

    /* A first attempt is broken off. */
    CHECK_INT(store_shadow_open(puller.store, &shadow), 0);
    CHECK_INT(store_cursor_open(source.store, &cursor, &index), 0);
    CHECK_UINT(index, VIEW);
    load(shadow, cursor, 700);
    store_cursor_close(cursor);
    (void)feed(shadow, source.store, 2);
    store_shadow_close(shadow);
    member_restart(&puller);

    /* The second ends, although the source goes on. */
    CHECK_INT(store_shadow_open(puller.store, &shadow), 0);
    CHECK_INT(store_cursor_open(source.store, &cursor, &index), 0);
    apply_to(&source, VIEW + 20, &prng);
    load(shadow, cursor, 4000);
    (void)feed(shadow, source.store, 1);
    apply_to(&source, ENTRIES, &prng);
    store_cursor_close(cursor);
    CHECK(feed(shadow, source.store, 1000));
    CHECK_INT(store_shadow_switch(puller.store, shadow), 0);
    store_shadow_close(shadow);
    go_on(&puller, &source, index);

    member_deinit(&puller);
    member_deinit(&source);
    entries_free();
}

/* A new member has nothing: everything comes. */
static void into_empty(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        pull(seed, 0);
    }
}

/* A member that was away takes over what it has. */
static void into_older(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        pull(seed, 40 + 10 * seed);
    }
}

/* Nothing is asked for that the puller has at the same version already. */
static void same_state_wants_nothing(void)
{
    struct prng prng;
    struct member source;
    struct member puller;
    struct store_cursor *cursor;
    struct store_shadow *shadow;
    struct store_want want;
    uint64_t index;
    uint32_t n = 1;

    prng_seed(&prng, 9);
    entries_make(&prng);
    member_init(&source);
    member_init(&puller);
    apply_to(&source, ENTRIES, NULL);
    apply_to(&puller, ENTRIES, &prng);
    CHECK_INT(store_shadow_open(puller.store, &shadow), 0);
    CHECK_INT(store_shadow_wants(shadow, &want, 1, &n), -EAGAIN);
    CHECK_INT(store_cursor_open(source.store, &cursor, &index), 0);
    load(shadow, cursor, 1 << 20);
    store_cursor_close(cursor);
    CHECK_INT(store_shadow_wants(shadow, &want, 1, &n), 0);
    CHECK_UINT(n, 0);
    CHECK_INT(store_shadow_switch(puller.store, shadow), 0);
    store_shadow_close(shadow);
    go_on(&puller, &source, index);
    member_deinit(&puller);
    member_deinit(&source);
    entries_free();
}

/* The live store goes on applying while the shadow loads: what was taken over from it
 * and changed since is pulled after all. */
static void live_changes_meanwhile(void)
{
    struct prng prng;
    struct member source;
    struct member puller;
    struct store_cursor *cursor;
    struct store_shadow *shadow;
    uint64_t index;
    int rv;

    prng_seed(&prng, 12);
    entries_make(&prng);
    member_init(&source);
    member_init(&puller);
    apply_to(&source, VIEW, &prng);
    apply_to(&puller, VIEW - 5, &prng);
    settle_all(puller.store);
    CHECK_INT(store_shadow_open(puller.store, &shadow), 0);
    CHECK_INT(store_cursor_open(source.store, &cursor, &index), 0);
    load(shadow, cursor, 1 << 20);
    store_cursor_close(cursor);
    CHECK(feed(shadow, source.store, 1000));
    apply_to(&puller, VIEW, &prng);
    settle_all(puller.store);
    while ((rv = store_shadow_switch(puller.store, shadow)) == OUT_TRY_LATER) {
        CHECK(feed(shadow, source.store, 1000));
    }
    CHECK_INT(rv, 0);
    store_shadow_close(shadow);
    go_on(&puller, &source, index);
    member_deinit(&puller);
    member_deinit(&source);
    entries_free();
}

/* What a peer sends is not believed: cut short, flipped, of another zone. */
static void malformed_records(void)
{
    struct prng prng;
    struct member source;
    struct member puller;
    struct store_cursor *cursor;
    struct buf *run = NULL;
    uint64_t index;

    prng_seed(&prng, 5);
    entries_make(&prng);
    member_init(&source);
    member_init(&puller);
    apply_to(&source, 60, &prng);
    CHECK_INT(store_cursor_open(source.store, &cursor, &index), 0);
    CHECK_INT(store_cursor_next(cursor, 1 << 20, &run), 0);
    store_cursor_close(cursor);
    for (int i = 0; i < 200; i++) {
        struct store_shadow *shadow;
        uint8_t *copy = malloc(run->len);
        size_t len = run->len;
        size_t at = prng_below(&prng, run->len);
        int rv;

        CHECK(copy != NULL);
        memcpy(copy, run->data, run->len);
        if (i % 2 == 0) {
            len = at;
        } else {
            copy[at] ^= (uint8_t)(1u << prng_below(&prng, 8));
        }
        CHECK_INT(store_shadow_open(puller.store, &shadow), 0);
        rv = store_shadow_load(shadow, copy, len);
        CHECK(rv < 0 || i % 2 == 0);
        CHECK(store_shadow_switch(puller.store, shadow) < 0);
        store_shadow_close(shadow);
        free(copy);
        if (i % 50 == 0) {
            member_restart(&puller);
        }
    }
    buf_unref(run);
    member_deinit(&puller);
    member_deinit(&source);
    entries_free();
}

TEST_MAIN(CHECK_TEST(into_empty), CHECK_TEST(into_older),
          CHECK_TEST(same_state_wants_nothing), CHECK_TEST(live_changes_meanwhile),
          CHECK_TEST(malformed_records))
