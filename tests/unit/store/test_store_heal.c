/* Blocks healed with another member's copy: right bytes or none, whatever is damaged, how
 * far the two members are, and wherever the power goes. */
#include "store/store_priv.h"
#include "test_store_node.h"

static struct node sick;
static struct node good;
static struct prng prng;

static void setup(uint64_t seed)
{
    prng_seed(&prng, seed);
    node_init(&sick, "sick", seed);
    node_init(&good, "good", seed + 1000);
    entries_make(&prng);
}

static void teardown(void)
{
    node_deinit(&sick);
    node_deinit(&good);
    entries_free();
}

static void apply_to(struct node *node, uint64_t index)
{
    while (node->applied < index) {
        CHECK_INT(apply_next(node), 0);
    }
}

static void settle_node(struct node *node)
{
    for (int i = 0; i < 3 * 200; i++) {
        CHECK_INT(settle_step(node), 0);
        if (node->settle == NULL && store_unsettled_bytes(node->store) == 0) {
            return;
        }
    }
}

/* What can be read is right. Returns the number of blocks that cannot, of which one chosen
 * at random goes to @bad. */
static uint32_t check_node(struct node *node, struct store_want *bad)
{
    uint32_t n = 0;

    for (int f = 0; f < MODEL_FILES; f++) {
        for (uint64_t at = 0; at < node->model.size[f]; at += STORE_BLOCK) {
            uint64_t left = node->model.size[f] - at;
            size_t len = left < STORE_BLOCK ? (size_t)left : STORE_BLOCK;
            struct buf *buf = NULL;
            int rv = store_data_read(node->store, fake_ino(f), at, len, &buf, NULL);

            if (rv == 0) {
                CHECK_MEM(buf->data, node->model.bytes[f] + at, len);
                buf_unref(buf);
                continue;
            }
            CHECK_INT(rv, OUT_IO);
            n++;
            if (bad != NULL && prng_below(&prng, n) == 0) {
                *bad = (struct store_want){.ino = fake_ino(f),
                                           .block = at / STORE_BLOCK,
                                           .version = node->applied};
            }
        }
    }
    return n;
}

static void flip_sql(const char *format, int file, uint64_t block)
{
    char sql[256];

    (void)snprintf(sql, sizeof sql, format, fake_ino(file), block);
    CHECK_INT(store_db_exec(&sick.store->db, sql), 0);
}

/* Damage one thing: a file's byte, a piece in the journal, a row. */
static void damage(void)
{
    int file = (int)prng_below(&prng, MODEL_FILES);
    uint64_t at = prng_below(&prng, MODEL_BYTES);
    uint64_t segment = 1 + prng_below(&prng, sick.journal->last + 1);
    static const char *const folders[] = {"data", "kept.0", "kept.1", "kept.2", "kept.3"};
    char path[64];

    switch (prng_below(&prng, 5)) {
    case 0:
    case 1:
        (void)snprintf(path, sizeof path, "/set/%s/%02x/%d",
                       folders[prng_below(&prng, 5)], (unsigned)fake_ino(file),
                       (int)fake_ino(file));
        (void)simdisk_flip(sick.sim, path, at, 3);
        break;
    case 2:
        if (sick.journal->segments[segment] != NULL) {
            sick.journal->segments[segment][at % FAKE_SEGMENT_BYTES] ^= 16;
        }
        break;
    case 3:
        flip_sql("UPDATE inline SET data=CAST(x'55' || substr(data,2) AS BLOB) "
                 "WHERE ino=%llu",
                 file, 0);
        break;
    default:
        flip_sql("UPDATE block SET crcs=zeroblob(32) WHERE ino=%llu AND block=%llu", file,
                 at / STORE_BLOCK);
        break;
    }
}

static int heal(const struct store_want *want, struct buf *data, uint64_t version)
{
    struct store_copy copy = {.ino = want->ino,
                              .block = want->block,
                              .version = version,
                              .data = slice_borrow(data->data, data->len)};

    return store_heal(sick.store, &copy);
}

/* Ask for a copy, let both go on, and put it. 1: healed, as far as the copy goes. */
static int try_heal(const struct store_want *want, uint64_t meanwhile)
{
    struct store_copied copied = {0};
    struct buf *buf = NULL;
    int rv = store_copy_get(good.store, want, &buf, &copied);

    if (rv != 0) {
        CHECK(rv == OUT_TRY_LATER || rv == OUT_NOENT);
        CHECK(rv != OUT_TRY_LATER || good.applied < want->version);
        return rv == OUT_NOENT ? OUT_MISMATCH : rv;
    }
    CHECK_UINT(copied.applied, good.applied);
    CHECK(copied.version > 0 && copied.version <= copied.applied);
    while (meanwhile-- > 0 && sick.applied < ENTRIES) {
        CHECK_INT(prng_below(&prng, 3) == 0 ? settle_step(&sick) : apply_next(&sick), 0);
    }
    rv = heal(want, buf, copied.version);
    CHECK(rv == 0 || rv == OUT_TRY_LATER || rv == OUT_NOENT || rv == OUT_MISMATCH);
    buf_unref(buf);
    return rv;
}

/* With both members at one index, everything can be healed. */
static void heal_all(void)
{
    struct store_want want;

    if (sick.settle != NULL) {
        store_settle_abandon(sick.store, sick.settle);
        sick.settle = NULL;
    }
    for (int i = 0; i < MODEL_FILES * MODEL_BLOCKS && check_node(&sick, &want) > 0; i++) {
        CHECK_INT(try_heal(&want, 0), 0);
    }
    CHECK_UINT(check_node(&sick, NULL), 0);
}

static void check_settled(void)
{
    uint8_t mine[32];
    uint8_t other[32];

    settle_node(&sick);
    CHECK_UINT(store_unsettled_bytes(sick.store), 0);
    store_close(sick.store); /* Nothing of it was only in memory. */
    CHECK_INT(node_open(&sick, false), 0);
    CHECK_UINT(check_node(&sick, NULL), 0);
    CHECK_INT(store_digest(sick.store, mine), 0);
    CHECK_INT(store_digest(good.store, other), 0);
    CHECK_MEM(mine, other, 32);
}

/* Damage anywhere, while both members go on at their own pace and settle: what is read is
 * right or refused, entries go on being applied, and at one index all of it heals, for good,
 * with nothing left beside the files. */
static void damage_anywhere(void)
{
    const char *env = getenv("GV_STORE_SEEDS");
    uint64_t seeds = env != NULL ? strtoull(env, NULL, 10) : 8;
    uint32_t healed = 0;

    for (uint64_t seed = 1; seed <= seeds; seed++) {
        setup(seed);
        while (sick.applied < ENTRIES) {
            struct store_want want;

            CHECK_INT(prng_below(&prng, 3) == 0 ? settle_step(&sick) : apply_next(&sick),
                      0);
            apply_to(&good, sick.applied > 6 ? sick.applied - prng_below(&prng, 6) : 1);
            if (prng_below(&prng, 2) == 0 && good.applied < ENTRIES) {
                apply_to(&good, good.applied + 1);
            }
            for (uint64_t i = prng_below(&prng, 6); i > 0; i--) {
                damage();
            }
            for (uint64_t i = prng_below(&prng, 4); i > 0 && check_node(&sick, &want) > 0;
                 i--) {
                healed += try_heal(&want, prng_below(&prng, 3)) == 0;
            }
            forget(&sick);
        }
        apply_to(&good, ENTRIES);
        CHECK_UINT(check_node(&good, NULL), 0);
        heal_all();
        check_settled();
        teardown();
    }
    CHECK(healed > 5 * seeds);
}

/* One that was cut at @left changes, and began anew: no byte is wrong. */
static void flip_settled(const struct store_want *want, uint64_t at)
{
    char path[64];

    (void)snprintf(path, sizeof path, "/set/data/%02x/%d", (unsigned)want->ino,
                   (int)want->ino);
    CHECK(simdisk_flip(sick.sim, path, want->block * STORE_BLOCK + at, 3));
}

/* For who salvages, one flipped bit of a sub-block is read as it was, and of two nothing is
 * guessed; for everybody else either is bad. */
static void one_flipped_bit_is_salvaged(void)
{
    struct store_want want;
    uint32_t n = 0;

    for (uint64_t seed = 1; seed <= 10; seed++) {
        setup(seed);
        apply_to(&sick, ENTRIES);
        settle_node(&sick);
        for (int f = 0; f < MODEL_FILES; f++) {
            want = (struct store_want){.ino = fake_ino(f)};
            if (sick.model.size[f] < STORE_BLOCK ||
                store_layers_load(&sick.store->db, want.ino, 0, &sick.store->layers) !=
                    0 ||
                !sick.store->layers.has_block) {
                continue;
            }
            flip_settled(&want, 5 + seed);
            flip_settled(&want, 6 + seed);
            flip_settled(&want, 3 * STORE_SUBBLOCK - 1);
            sick.store->mends = true;
            CHECK_UINT(check_node(&sick, NULL), 1);
            flip_settled(&want, 6 + seed);
            CHECK_UINT(check_node(&sick, NULL), 0);
            CHECK_UINT(store_mended(sick.store), 2);
            sick.store->mends = false;
            CHECK_UINT(check_node(&sick, NULL), 1);
            n++;
            break;
        }
        teardown();
    }
    CHECK(n > 5);
}

/* In a piece longer than that, other damage would look like one bit too often. */
static void long_pieces_are_not_salvaged(void)
{
    static const uint8_t bytes[STORE_SUBBLOCK + 1] = {1, 2, 3};

    for (uint32_t len = STORE_SUBBLOCK; len <= sizeof bytes; len++) {
        struct store_piece piece = {.ino = 77, .len = len, .version = 3};
        struct buf *buf = NULL;
        uint64_t bad = 0;

        setup(1);
        piece.crc = crc32c(0, bytes, len);
        piece.place = journal_add(sick.journal, bytes, len);
        CHECK_INT(store_begin(sick.store), 0);
        CHECK_INT(store_data_write(sick.store, &piece), 0);
        CHECK_INT(store_commit(sick.store, true), 0);
        sick.journal->segments[piece.place.segment][piece.place.offset + 900] ^= 8;
        sick.store->mends = true;
        CHECK_INT(store_data_read(sick.store, piece.ino, 0, len, &buf, &bad),
                  len > STORE_SUBBLOCK ? OUT_IO : 0);
        buf_unref(buf);
        teardown();
    }
}

static void cut_and_reopen(void)
{
    simdisk_crash(sick.sim, &sick.prng);
    if (sick.settle != NULL) {
        store_settle_abandon(sick.store, sick.settle);
        sick.settle = NULL;
    }
    store_close(sick.store);
    simdisk_power_on(sick.sim);
    simdisk_power_off_after(sick.sim, 0);
    CHECK_INT(node_open(&sick, false), 0);
    sick.applied = 0;
    (void)store_number_get(sick.store, STORE_APPLIED, &sick.applied);
    CHECK(sick.applied >= sick.durable);
    model_at(&sick.model, sick.applied);
}

/* The power goes at each step of a healing and of the settling behind it. Before it the
 * block is bad, after it good, and nothing else changes; once it was said to be healed it
 * stays so. */
static void power_cuts_in_a_healing(void)
{
    for (uint64_t left = 1; left < 40; left++) {
        struct store_want want = {0};
        uint32_t before;
        int rv;

        setup(7);
        apply_to(&good, 80);
        apply_to(&sick, 60);
        settle_node(&sick);
        for (int i = 0; i < 6; i++) {
            flip_sql("UPDATE block SET crcs=zeroblob(32) WHERE ino=%llu AND block=%llu",
                     i, 0);
            (void)simdisk_flip(sick.sim,
                               i % 2 == 0 ? "/set/data/0b/11" : "/set/data/0c/12",
                               (uint64_t)i * 70000, 1);
        }
        apply_to(&sick, 80);
        before = check_node(&sick, &want);
        CHECK(before > 0);
        simdisk_power_off_after(sick.sim, left);
        {
            struct store_copied copied = {0};
            struct buf *buf = NULL;

            CHECK_INT(store_copy_get(good.store, &want, &buf, &copied), 0);
            rv = heal(&want, buf, copied.version);
            buf_unref(buf);
        }
        for (int i = 0; i < 3 && simdisk_is_on(sick.sim); i++) {
            (void)settle_step(&sick);
        }
        sick.durable = rv == 0 ? 80 : sick.durable;
        cut_and_reopen();
        if (rv == 0) {
            struct buf *buf = NULL;
            uint64_t size = sick.model.size[want.ino - 10] - want.block * STORE_BLOCK;

            CHECK_INT(
                store_data_read(sick.store, want.ino, want.block * STORE_BLOCK,
                                size < STORE_BLOCK ? size : STORE_BLOCK, &buf, NULL),
                0);
            buf_unref(buf);
        }
        (void)check_node(&sick, NULL);
        apply_to(&sick, 80);
        heal_all();
        check_settled();
        teardown();
    }
}

/* A piece in the journal that cannot be read at all holds its segment only until the block
 * is healed. */
static void unreadable_piece_lets_go(void)
{
    struct store_want want = {0};
    uint64_t floor;

    setup(3);
    apply_to(&sick, 40);
    apply_to(&good, 40);
    CHECK_INT(store_extent_floor(sick.store, &floor), 0);
    sick.journal->fault = -EIO;
    for (int i = 0; i < 6; i++) {
        CHECK_INT(settle_step(&sick), 0);
    }
    CHECK(store_unsettled_bytes(sick.store) > 0);
    if (sick.settle != NULL) {
        store_settle_abandon(sick.store, sick.settle);
        sick.settle = NULL;
    }
    while (check_node(&sick, &want) > 0) {
        CHECK_INT(try_heal(&want, 0), 0);
    }
    CHECK_INT(store_extent_floor(sick.store, &floor), 0);
    CHECK(floor == UINT64_MAX); /* Zeros and copies need no journal. */
    check_settled();
    teardown();
}

/* A copy that comes when the block was written over and settled since: the newer bytes
 * stay. */
static void copy_that_comes_late(void)
{
    struct write whole = {.len = STORE_BLOCK};
    struct store_want want = {.ino = fake_ino(0)};
    struct store_copied copied = {0};
    struct buf *buf = NULL;

    setup(9);
    (void)model_write(&sick.model, &prng, &whole);
    store_apply_write(sick.store, sick.journal, &sick.model, &whole, 0);
    settle_all(sick.store);
    CHECK_INT(store_copy_get(sick.store, &want, &buf, &copied), 0);
    CHECK_INT(heal(&want, buf, copied.version), 0); /* Nothing newer: it may. */
    (void)model_write(&sick.model, &prng, &whole);
    store_apply_write(sick.store, sick.journal, &sick.model, &whole, STORE_BLOCK);
    CHECK_INT(heal(&want, buf, copied.version), 0); /* Below what is newer. */
    check_file(sick.store, &sick.model, 0);
    settle_all(sick.store);
    CHECK_INT(heal(&want, buf, copied.version), OUT_MISMATCH); /* The base is. */
    check_file(sick.store, &sick.model, 0);
    buf_unref(buf);
    teardown();
}

/* A pull from a member with bad blocks comes to its end; they are bad at the puller too,
 * nothing else is, and they heal. */
static void pulled_from_a_bad_source(void)
{
    struct store_shadow *shadow = NULL;
    struct store_cursor *cursor = NULL;
    struct store_want want;
    struct buf *run = NULL;
    uint32_t lost = 0;
    uint32_t n = 1;
    uint64_t index;

    setup(13);
    apply_to(&good, 90);
    settle_node(&good);
    for (int f = 0; f < MODEL_FILES; f++) {
        char path[64];

        (void)snprintf(path, sizeof path, "/set/data/%02x/%d", (unsigned)fake_ino(f),
                       (int)fake_ino(f));
        (void)simdisk_flip(good.sim, path, 70000, 2);
    }
    CHECK(check_node(&good, NULL) > 0);
    CHECK_INT(store_shadow_open(sick.store, &shadow), 0);
    CHECK_INT(store_cursor_open(good.store, &cursor, &index), 0);
    while (store_cursor_next(cursor, 4000, &run) == 0) {
        CHECK_INT(store_shadow_load(shadow, run->data, run->len), 0);
        buf_unref(run);
    }
    store_cursor_close(cursor);
    while (store_shadow_wants(shadow, &want, 1, &n) == 0 && n > 0) {
        struct buf *buf = NULL;
        uint64_t version = 0;
        int rv = store_pull_block(good.store, want.ino, want.block, &buf, &version);

        if (rv == OUT_IO) {
            lost++;
            rv = store_shadow_lost(shadow, &want);
        } else {
            rv = store_shadow_block(
                shadow, &want, version,
                rv == 0 ? slice_borrow(buf->data, buf->len) : (struct slice){0});
        }
        CHECK_INT(rv, 0);
        buf_unref(buf);
    }
    CHECK_INT(store_shadow_switch(sick.store, shadow), 0);
    store_shadow_close(shadow);
    sick.applied = 90;
    model_at(&sick.model, 90);
    CHECK(lost > 0);
    CHECK_UINT(check_node(&sick, NULL), lost);
    for (int f = 0; f < MODEL_FILES; f++) { /* The source's disk is good again. */
        char path[64];

        (void)snprintf(path, sizeof path, "/set/data/%02x/%d", (unsigned)fake_ino(f),
                       (int)fake_ino(f));
        (void)simdisk_flip(good.sim, path, 70000, 2);
    }
    heal_all();
    check_settled();
    teardown();
}

/* Scrubbing finds each bad block once, wherever it lies, however little is read at a time,
 * and ends. */
static void scrubbing_finds_all(void)
{
    struct store_scrub scrub = {0};
    uint32_t found = 0;
    uint32_t bad;
    uint32_t looked = 0;

    setup(11);
    apply_to(&sick, 60);
    settle_node(&sick);
    apply_to(&sick, 90); /* Some are settled, some recent, some small. */
    CHECK_INT(store_scrub(sick.store, SIZE_MAX, &scrub), 0);
    CHECK(scrub.end && scrub.blocks > 10 && scrub.n_bad == 0);
    for (int i = 0; i < 40; i++) {
        damage();
    }
    bad = check_node(&sick, NULL);
    CHECK(bad > 3);
    scrub = (struct store_scrub){0};
    do {
        CHECK_INT(store_scrub(sick.store, 1, &scrub), 0);
        looked += scrub.blocks;
        for (uint32_t i = 0; i < scrub.n_bad; i++) {
            CHECK_UINT(scrub.bad[i].version, 90);
            found++;
        }
    } while (!scrub.end);
    CHECK(found >= bad); /* Beyond a file's end, too. */
    CHECK(looked > 10 && looked <= MODEL_FILES * MODEL_BLOCKS);
    teardown();
}

/* Copies that do not fit, or are no copies, change nothing. */
static void copies_that_do_not_fit(void)
{
    struct store_copied copied = {0};
    struct store_want want = {.ino = 10, .version = 0};
    struct store_want bad = {.ino = UINT64_MAX, .version = 0};
    uint8_t junk[16] = {1, 2, 3};
    struct store_copy copy = {.data = slice_borrow(junk, sizeof junk)};
    struct buf *buf = NULL;

    setup(5);
    apply_to(&sick, 50);
    CHECK_INT(store_copy_get(sick.store, &bad, &buf, &copied), -EPROTO);
    want.version = 51;
    CHECK_INT(store_copy_get(sick.store, &want, &buf, &copied), OUT_TRY_LATER);
    CHECK_UINT(copied.applied, 50);
    want = (struct store_want){.ino = 999, .block = 4, .version = 50};
    CHECK_INT(store_copy_get(sick.store, &want, &buf, &copied), OUT_NOENT);
    copy.version = 0;
    CHECK_INT(store_heal(sick.store, &copy), -EPROTO);
    copy.version = 51;
    CHECK_INT(store_heal(sick.store, &copy), OUT_TRY_LATER);
    copy.version = 50;
    copy.ino = 999;
    CHECK_INT(store_heal(sick.store, &copy), OUT_NOENT);
    for (int f = 0; f < MODEL_FILES; f++) {
        copy.ino = fake_ino(f);
        copy.version = 1; /* From before nearly all that is there. */
        if (sick.model.size[f] > 0) {
            int rv = store_heal(sick.store, &copy);

            CHECK(rv == OUT_MISMATCH || rv == OUT_NOENT || rv == 0);
            CHECK(rv != 0 || f == entries[1].w.file);
        }
    }
    teardown();
}

TEST_MAIN(CHECK_TEST(damage_anywhere), CHECK_TEST(one_flipped_bit_is_salvaged),
          CHECK_TEST(long_pieces_are_not_salvaged), CHECK_TEST(power_cuts_in_a_healing),
          CHECK_TEST(unreadable_piece_lets_go), CHECK_TEST(copy_that_comes_late),
          CHECK_TEST(scrubbing_finds_all), CHECK_TEST(pulled_from_a_bad_source),
          CHECK_TEST(copies_that_do_not_fit))
