/* File data against a model of bytes: whatever is settled, cut, interrupted. */
#include "test_store_fake.h"

/* One store with a settle in some stage. */
struct rig {
    struct journal journal;
    struct model model;
    struct prng prng;
    struct store *store;
    struct store_settle *settle;
    bool ran;
    char dir[512];
};

static void rig_dir(struct rig *rig, char *out)
{
    static int n_dirs;

    (void)snprintf(out, sizeof rig->dir, "%s/d%d", check_tmpdir(), n_dirs++);
}

static void rig_init(struct rig *rig, uint64_t seed)
{
    memset(rig, 0, sizeof *rig);
    prng_seed(&rig->prng, seed);
    model_init(&rig->model);
    rig_dir(rig, rig->dir);
    rig->store = fake_open(&rig->journal, rig->dir, true);
}

static void rig_deinit(struct rig *rig)
{
    if (rig->settle != NULL) {
        store_settle_abandon(rig->store, rig->settle);
    }
    store_close(rig->store);
    model_deinit(&rig->model);
    journal_clear(&rig->journal);
}

/* The process is killed where it stands, and another one opens what it left. */
static void rig_crash(struct rig *rig)
{
    char dir[sizeof rig->dir];

    rig_dir(rig, dir);
    copy_dataset(rig->dir, dir);
    if (rig->settle != NULL) {
        store_settle_abandon(rig->store, rig->settle);
        rig->settle = NULL;
    }
    store_close(rig->store);
    memcpy(rig->dir, dir, sizeof dir);
    rig->store = fake_open(&rig->journal, rig->dir, false);
}

static void rig_settle(struct rig *rig)
{
    uint64_t floor;
    int rv;

    if (rig->settle == NULL) {
        rv = store_settle_plan(rig->store, 1 + prng_below(&rig->prng, 1 << 20),
                               &rig->settle);
        CHECK(rv == 0 || rv == OUT_NOENT);
        rig->ran = false;
    } else if (prng_below(&rig->prng, 8) == 0) {
        store_settle_abandon(rig->store, rig->settle);
        rig->settle = NULL;
    } else if (!rig->ran) {
        if (rig->model.version % 2 == 0) {
            store_settle_unread(rig->settle);
        }
        CHECK_INT(store_settle_run(rig->settle), 0);
        rig->ran = true;
    } else {
        CHECK_INT(store_settle_finish(rig->store, rig->settle), 0);
        rig->settle = NULL;
        CHECK_INT(store_extent_floor(rig->store, &floor), 0);
        journal_forget(&rig->journal, floor);
    }
}

static void rig_step(struct rig *rig)
{
    struct write w;
    uint64_t old_size;
    int file;

    switch (prng_below(&rig->prng, 20)) {
    default:
        w = random_write(&rig->prng);
        old_size = model_write(&rig->model, &rig->prng, &w);
        store_apply_write(rig->store, &rig->journal, &rig->model, &w, old_size);
        break;
    case 8:
    case 9:
    case 10:
        file = (int)prng_below(&rig->prng, MODEL_FILES);
        old_size = model_resize(&rig->model, file, random_size(&rig->prng));
        store_apply_resize(rig->store, &rig->model, file, old_size);
        break;
    case 11:
    case 12:
    case 13:
    case 14:
    case 15:
    case 16:
        rig_settle(rig);
        break;
    case 17:
    case 18:
        check_file(rig->store, &rig->model, (int)prng_below(&rig->prng, MODEL_FILES));
        break;
    case 19:
        if (prng_below(&rig->prng, 4) == 0) {
            rig_crash(rig);
        }
        break;
    }
}

/* Any mix of writes, cuts, settle steps and kills leaves the bytes that the model has,
 * and the journal below the floor is never asked for again. */
static void random_histories(void)
{
    const char *env = getenv("GV_STORE_SEEDS");
    uint64_t seeds = env != NULL ? strtoull(env, NULL, 10) : 6;

    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct rig rig;
        uint64_t unsettled;

        rig_init(&rig, seed);
        for (int i = 0; i < 400; i++) {
            rig_step(&rig);
            if (i % 20 == 0) {
                check_files(rig.store, &rig.model);
            }
        }
        unsettled = store_unsettled_bytes(rig.store);
        rig_crash(&rig);
        CHECK_UINT(store_unsettled_bytes(rig.store), unsettled);
        settle_all(rig.store);
        CHECK_UINT(store_unsettled_bytes(rig.store), 0);
        check_files(rig.store, &rig.model);
        rig_deinit(&rig);
    }
}

/* Two members apply the same entries; one settles and crashes, the other never does.
 * Their digests are equal, since versions do not tell where bytes lie. */
static void digest_ignores_settling(void)
{
    struct rig rig;
    struct store *other;
    char dir[512];

    rig_init(&rig, 77);
    rig_dir(&rig, dir);
    other = fake_open(&rig.journal, dir, true);
    for (int i = 0; i < 300; i++) {
        uint8_t a[32];
        uint8_t b[32];

        if (prng_below(&rig.prng, 3) == 0) {
            int file = (int)prng_below(&rig.prng, MODEL_FILES);
            uint64_t old = model_resize(&rig.model, file, random_size(&rig.prng));

            store_apply_resize(rig.store, &rig.model, file, old);
            store_apply_resize(other, &rig.model, file, old);
        } else {
            struct write w = random_write(&rig.prng);
            uint64_t old = model_write(&rig.model, &rig.prng, &w);

            store_apply_write(rig.store, &rig.journal, &rig.model, &w, old);
            w.at_hand = true;
            store_apply_write(other, &rig.journal, &rig.model, &w, old);
        }
        if (rig.settle == NULL && prng_below(&rig.prng, 4) == 0) {
            CHECK_INT(store_settle_plan(rig.store, 1 << 20, &rig.settle), 0);
            CHECK_INT(store_settle_run(rig.settle), 0);
        } else if (rig.settle != NULL && prng_below(&rig.prng, 2) == 0) {
            CHECK_INT(store_settle_finish(rig.store, rig.settle), 0);
            rig.settle = NULL;
        }
        CHECK_INT(store_digest(rig.store, a), 0);
        CHECK_INT(store_digest(other, b), 0);
        CHECK_MEM(a, b, sizeof a);
    }
    check_files(other, &rig.model);
    store_close(other);
    rig_deinit(&rig);
}

/* A file that was cut inside a block: settling another of its blocks must not shorten the
 * data file into that one, whose row still tells of the bytes before the cut. */
static void settling_beside_a_cut_block(void)
{
    struct rig rig;
    struct write all = {.len = 3 * STORE_BLOCK};
    struct write first = {.len = 5000};
    struct store_settle *settle;
    uint64_t old_size;

    rig_init(&rig, 1);
    old_size = model_write(&rig.model, &rig.prng, &all);
    store_apply_write(rig.store, &rig.journal, &rig.model, &all, old_size);
    settle_all(rig.store);
    old_size = model_resize(&rig.model, 0, 2 * STORE_BLOCK + 1000);
    store_apply_resize(rig.store, &rig.model, 0, old_size);
    old_size = model_write(&rig.model, &rig.prng, &first);
    store_apply_write(rig.store, &rig.journal, &rig.model, &first, old_size);
    CHECK_INT(store_settle_plan(rig.store, 1, &settle), 0);
    CHECK_INT(store_settle_run(settle), 0);
    check_files(rig.store, &rig.model);
    CHECK_INT(store_settle_finish(rig.store, settle), 0);
    check_files(rig.store, &rig.model);
    CHECK(store_unsettled_bytes(rig.store) > 0); /* The cut is still to be settled. */
    settle_all(rig.store);
    rig_crash(&rig);
    check_files(rig.store, &rig.model);
    rig_deinit(&rig);
}

static uint64_t floor_of(struct rig *rig)
{
    uint64_t floor;

    CHECK_INT(store_extent_floor(rig->store, &floor), 0);
    return floor;
}

static void write_block(struct rig *rig)
{
    struct write w = {.len = STORE_BLOCK}; /* Fills one segment. */
    uint64_t old_size = model_write(&rig->model, &rig->prng, &w);

    store_apply_write(rig->store, &rig->journal, &rig->model, &w, old_size);
}

static void commit_durably(struct rig *rig)
{
    CHECK_INT(store_begin(rig->store), 0);
    CHECK_INT(store_commit(rig->store, true), 0);
}

/* What was overwritten still holds the journal until a power cut cannot bring it back,
 * and until a settle that planned with it is over. */
static void floor_of_the_journal(void)
{
    struct rig rig;
    struct store_settle *settle;

    rig_init(&rig, 1);
    CHECK_UINT(floor_of(&rig), 0); /* Nothing is durable yet. */
    write_block(&rig);
    commit_durably(&rig);
    CHECK_UINT(floor_of(&rig), 1);
    write_block(&rig);
    CHECK_UINT(floor_of(&rig), 1);
    commit_durably(&rig);
    CHECK_UINT(floor_of(&rig), 2);
    CHECK_INT(store_settle_plan(rig.store, 1, &settle), 0);
    write_block(&rig);
    commit_durably(&rig);
    CHECK_UINT(floor_of(&rig), 2);
    CHECK_INT(store_settle_run(settle), 0);
    CHECK_INT(store_settle_finish(rig.store, settle), 0);
    CHECK_UINT(floor_of(&rig), 3);
    settle_all(rig.store);
    CHECK_UINT(floor_of(&rig), UINT64_MAX);
    check_files(rig.store, &rig.model);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(random_histories), CHECK_TEST(settling_beside_a_cut_block),
          CHECK_TEST(digest_ignores_settling), CHECK_TEST(floor_of_the_journal))
