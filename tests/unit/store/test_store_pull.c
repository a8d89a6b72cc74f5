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
    CHECK_INT(store_begin(puller.store), 0);
    CHECK_INT(store_number_set(puller.store, STORE_APPLIED, ENTRIES), 0);
    store_hold(puller.store); /* It goes with the rows that are replaced. */
    CHECK_INT(store_shadow_switch(puller.store, shadow), 0);
    CHECK(!store_is_held(puller.store));
    store_shadow_close(shadow);
    go_on(&puller, &source, index);
    member_deinit(&puller);
    member_deinit(&source);
    entries_free();
}

/* A puller that has asked for some blocks looks for those behind them, while the answers
 * are on their way: each is given once, in order, and what was not given yet is still
 * wanted from the first on. */
static void wants_behind_what_was_asked_for(void)
{
    struct prng prng;
    struct member source;
    struct member puller;
    struct store_cursor *cursor;
    struct store_shadow *shadow;
    struct store_want all[MODEL_FILES * MODEL_BLOCKS];
    struct store_want part[3];
    struct store_want after = {0};
    uint64_t index;
    uint32_t n_all = 0;
    uint32_t seen = 0;
    uint32_t n;

    prng_seed(&prng, 10);
    entries_make(&prng);
    member_init(&source);
    member_init(&puller);
    apply_to(&source, ENTRIES, NULL);
    CHECK_INT(store_shadow_open(puller.store, &shadow), 0);
    CHECK_INT(store_cursor_open(source.store, &cursor, &index), 0);
    load(shadow, cursor, 1 << 20);
    store_cursor_close(cursor);
    CHECK_INT(store_shadow_wants(shadow, all, MODEL_FILES * MODEL_BLOCKS, &n_all), 0);
    CHECK(n_all > 7);
    do {
        CHECK_INT(store_shadow_wants_after(shadow, &after, part, 3, &n), 0);
        for (uint32_t i = 0; i < n; i++) {
            CHECK_MEM(&part[i], &all[seen++], sizeof part[i]);
            after = part[i];
        }
    } while (n > 0);
    CHECK_UINT(seen, n_all);
    CHECK(!feed(shadow, source.store, 1));
    after = (struct store_want){0};
    CHECK_INT(store_shadow_wants_after(shadow, &after, part, 1, &n), 0);
    CHECK_UINT(n, 1);
    CHECK_MEM(&part[0], &all[7], sizeof part[0]); /* feed gave the first seven. */
    CHECK(feed(shadow, source.store, 100));
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

/* The live store goes on beyond the view: what was taken over from it has other bytes by
 * now, in the same files. None of it may be trusted; it comes from the source. */
static void live_goes_beyond_the_view(void)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
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
        apply_to(&puller, VIEW, &prng);
        settle_all(puller.store);
        CHECK_INT(store_shadow_open(puller.store, &shadow), 0);
        CHECK_INT(store_cursor_open(source.store, &cursor, &index), 0);
        load(shadow, cursor, 1 << 20);
        store_cursor_close(cursor);
        CHECK(feed(shadow, source.store, 1000));
        apply_to(&puller, ENTRIES, &prng);
        settle_all(puller.store);
        CHECK_INT(store_shadow_switch(puller.store, shadow), OUT_TRY_LATER);
        CHECK(feed(shadow, source.store, 1000));
        CHECK_INT(store_shadow_switch(puller.store, shadow), 0);
        store_shadow_close(shadow);
        model_deinit(&puller.model);
        model_init(&puller.model);
        go_on(&puller, &source, index);
        apply_to(&source, ENTRIES, NULL);
        apply_to(&puller, ENTRIES, NULL);
        check_same(&source, &puller);
        member_deinit(&puller);
        member_deinit(&source);
        entries_free();
    }
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

/* A store with one file of 50,000 bytes, written by entry @version. */
static struct store *one_file(struct journal *journal, const char *name, uint64_t version)
{
    static uint8_t bytes[50000];
    struct store_piece piece = {.ino = 10, .len = sizeof bytes, .version = version};
    struct store_inode inode = {.ino = 10, .type = 1, .nlink = 1, .size = sizeof bytes};
    struct store *store;
    char dir[512];

    (void)snprintf(dir, sizeof dir, "%s/%s", check_tmpdir(), name);
    store = fake_open(journal, dir, true);
    memset(bytes, 0x66, sizeof bytes);
    piece.crc = crc32c(0, bytes, sizeof bytes);
    piece.place = journal_add(journal, bytes, sizeof bytes);
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_data_write(store, &piece), 0);
    CHECK_INT(store_inode_put(store, &inode), 0);
    CHECK_INT(store_number_set(store, STORE_APPLIED, version), 0);
    CHECK_INT(store_commit(store, true), 0);
    return store;
}

/* A shadow of @target with all rows of @source. */
static struct store_shadow *shadow_of(struct store *target, struct store *source)
{
    struct store_shadow *shadow = NULL;
    struct store_cursor *cursor = NULL;
    uint64_t index;

    CHECK_INT(store_shadow_open(target, &shadow), 0);
    CHECK_INT(store_cursor_open(source, &cursor, &index), 0);
    load(shadow, cursor, 2000);
    store_cursor_close(cursor);
    return shadow;
}

/* A source that lost power after it gave its rows has not applied again what makes a
 * block: its "gone" is not believed. From the view's index on it is. */
static void an_older_source_knows_nothing_gone(void)
{
    struct journal a = {0};
    struct journal b = {0};
    struct store *source = one_file(&a, "gone-source", 95);
    struct store *target = one_file(&b, "gone-target", 50);
    struct store_shadow *shadow = shadow_of(target, source);
    struct store_want want;
    uint32_t n;

    CHECK_INT(store_shadow_wants(shadow, &want, 1, &n), 0);
    CHECK_UINT(n, 1);
    CHECK_INT(store_shadow_block(shadow, &want, 94, (struct slice){0}), -EPROTO);
    CHECK_INT(store_shadow_wants(shadow, &want, 1, &n), 0);
    CHECK_UINT(n, 1);
    CHECK_INT(store_shadow_block(shadow, &want, 95, (struct slice){0}), 0);
    store_shadow_close(shadow);
    store_close(source);
    store_close(target);
    journal_clear(&a);
    journal_clear(&b);
}

/* Right after a switch a store may hold blocks that are newer than its rows: it gives
 * none to another, opens no view and makes no digest. */
static void not_ready_gives_nothing(void)
{
    struct journal journal = {0};
    struct store *store = one_file(&journal, "not-ready", 95);
    struct store_cursor *cursor;
    struct buf *buf = NULL;
    uint8_t digest[32];
    uint64_t version;

    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_number_set(store, STORE_SERVE_FROM, 96), 0);
    CHECK_INT(store_commit(store, false), 0);
    CHECK_INT(store_pull_block(store, 10, 0, &buf, &version), OUT_TRY_LATER);
    CHECK_INT(store_cursor_open(store, &cursor, &version), OUT_TRY_LATER);
    CHECK_INT(store_digest(store, digest), OUT_TRY_LATER);
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_number_set(store, STORE_APPLIED, 96), 0);
    CHECK_INT(store_commit(store, false), 0);
    CHECK_INT(store_digest(store, digest), 0);
    CHECK_INT(store_pull_block(store, 10, 0, &buf, &version), 0);
    buf_unref(buf);
    store_close(store);
    journal_clear(&journal);
}

/* The sync of @dir gives @rv while its marker says @at. */
static struct deny {
    const struct disk_ops *real;
    struct disk_ops ops;
    const char *dir;
    const char *at;
    int rv;
} deny;

static int deny_syncdir(struct disk *disk, const char *path)
{
    char marker[600];
    char text[512] = "";
    FILE *file;

    if (strcmp(path, deny.dir) == 0) {
        (void)snprintf(marker, sizeof marker, "%s/marker", path);
        file = fopen(marker, "r");
        CHECK(file != NULL);
        CHECK(fread(text, 1, sizeof text - 1, file) > 0);
        (void)fclose(file);
        if (strstr(text, deny.at) != NULL) {
            return deny.rv;
        }
    }
    return deny.real->syncdir(disk, path);
}

static void deny_sync(const char *dir, const char *at, int rv)
{
    struct disk *disk = disk_posix();

    deny = (struct deny){
        .real = disk->ops, .ops = *disk->ops, .dir = dir, .at = at, .rv = rv};
    deny.ops.syncdir = deny_syncdir;
    disk->ops = &deny.ops;
}

static void allow_sync(void)
{
    disk_posix()->ops = deny.real;
}

/* The last step of a switch fails: the marker may name the shadow or not. The store is
 * broken, and no other pull may empty what the marker names. */
static void a_broken_store_has_no_shadow(void)
{
    struct journal a = {0};
    struct journal b = {0};
    struct store *source = one_file(&a, "broken-source", 95);
    struct store *target = one_file(&b, "broken-target", 95);
    struct store_shadow *shadow = shadow_of(target, source);
    char dir[512];
    uint64_t applied;

    (void)snprintf(dir, sizeof dir, "%s/broken-target", check_tmpdir());
    CHECK(feed(shadow, source, 2));
    deny_sync(dir, "generation 1", -EIO);
    CHECK_INT(store_shadow_switch(target, shadow), -EIO);
    store_shadow_close(shadow);
    shadow = NULL;
    CHECK_INT(store_shadow_open(target, &shadow), -EIO);
    store_shadow_close(shadow);
    allow_sync();
    store_close(target);
    target = fake_open(&b, dir, false);
    CHECK_INT(store_number_get(target, STORE_APPLIED, &applied), 0);
    CHECK_UINT(applied, 95);
    store_close(source);
    store_close(target);
    journal_clear(&a);
    journal_clear(&b);
}

/* A marker that names a shadow which never was switched to: the rows are gone, which is
 * damage and not an empty zone. */
static void an_unfinished_pull_is_no_zone(void)
{
    struct journal journal = {0};
    struct store *store = one_file(&journal, "unfinished", 95);
    struct store_config config = {
        .disk = disk_posix(), .journal = &journal, .zone_id = {1, 2, 3}};
    struct store_shadow *shadow = NULL;
    char dir[512];
    char path[600];
    char text[512] = "";
    char *at;
    FILE *file;

    CHECK_INT(store_shadow_open(store, &shadow), 0);
    store_shadow_close(shadow);
    store_close(store);
    (void)snprintf(dir, sizeof dir, "%s/unfinished", check_tmpdir());
    (void)snprintf(path, sizeof path, "%s/marker", dir);
    file = fopen(path, "r+");
    CHECK(file != NULL);
    CHECK(fread(text, 1, sizeof text - 32, file) > 0);
    at = strstr(text, "generation 0\n");
    CHECK(at != NULL);
    at[11] = '1';
    at += 13;
    (void)sprintf(at, "check %08x\n", crc32c(0, text, (size_t)(at - text)));
    rewind(file);
    CHECK(fwrite(text, 1, strlen(text), file) == strlen(text));
    (void)fclose(file);
    config.dir = dir;
    CHECK_INT(store_open(&config, &store), -EUCLEAN);
    journal_clear(&journal);
}

/* A full disk before the marker is touched ends the attempt, not the store. */
static void a_full_disk_ends_only_the_pull(void)
{
    struct journal a = {0};
    struct journal b = {0};
    struct store *source = one_file(&a, "full-source", 95);
    struct store *target = one_file(&b, "full-target", 50);
    struct store_shadow *shadow = shadow_of(target, source);
    char dir[512];
    uint64_t applied;

    (void)snprintf(dir, sizeof dir, "%s/full-target", check_tmpdir());
    CHECK(feed(shadow, source, 2));
    deny_sync(dir, "generation 0", -ENOSPC);
    CHECK_INT(store_shadow_switch(target, shadow), -ENOSPC);
    store_shadow_close(shadow);
    allow_sync();
    CHECK_INT(store_begin(target), 0);
    CHECK_INT(store_number_set(target, STORE_APPLIED, 51), 0);
    CHECK_INT(store_commit(target, true), 0);
    shadow = shadow_of(target, source);
    CHECK(feed(shadow, source, 2));
    CHECK_INT(store_shadow_switch(target, shadow), 0);
    store_shadow_close(shadow);
    CHECK_INT(store_number_get(target, STORE_APPLIED, &applied), 0);
    CHECK_UINT(applied, 95);
    store_close(source);
    store_close(target);
    journal_clear(&a);
    journal_clear(&b);
}

/* Cut all of @ino off, as entry @index. */
static void cut_all(struct store *store, uint64_t ino, uint64_t index)
{
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_data_resize(store, ino, MODEL_BLOCKS * STORE_BLOCK, 0, index), 0);
    CHECK_INT(store_number_set(store, STORE_APPLIED, index), 0);
    CHECK_INT(store_commit(store, true), 0);
}

static int note_ino(void *ctx, uint64_t ino)
{
    uint64_t *last = ctx;

    *last = ino;
    return 0;
}

/* Blocks that the source had no more when they were asked for are no zeros: they read as
 * bad until the entry that took them away is applied, and if it never comes their file is
 * known for that. */
static void what_is_gone_is_no_zeros(void)
{
    struct member source;
    struct member puller;
    struct store_cursor *cursor;
    struct store_shadow *shadow;
    struct store_want want;
    struct prng prng;
    struct buf *buf = NULL;
    uint64_t torn = 0;
    uint64_t index;
    uint64_t bad;
    uint32_t n;
    uint8_t a[32];
    uint8_t b[32];

    prng_seed(&prng, 7);
    entries_make(&prng);
    member_init(&source);
    member_init(&puller);
    apply_to(&source, VIEW, NULL);
    CHECK_INT(store_shadow_open(puller.store, &shadow), 0);
    CHECK_INT(store_cursor_open(source.store, &cursor, &index), 0);
    load(shadow, cursor, 1 << 20);
    store_cursor_close(cursor);
    CHECK_INT(store_shadow_wants(shadow, &want, 1, &n), 0);
    CHECK_UINT(n, 1);
    cut_all(source.store, want.ino, VIEW + 1);
    CHECK(feed(shadow, source.store, 1000));
    CHECK_INT(store_shadow_switch(puller.store, shadow), 0);
    store_shadow_close(shadow);
    CHECK_INT(
        store_data_read(puller.store, want.ino, want.block * STORE_BLOCK, 16, &buf, &bad),
        OUT_IO);
    CHECK_INT(store_torn_each(puller.store, VIEW + 1, note_ino, &torn), 0);
    CHECK_UINT(torn, want.ino);
    cut_all(puller.store, want.ino, VIEW + 1);
    torn = 0;
    CHECK_INT(store_torn_each(puller.store, VIEW + 1, note_ino, &torn), 0);
    CHECK_UINT(torn, 0);
    CHECK_INT(store_digest(source.store, a), 0);
    CHECK_INT(store_digest(puller.store, b), 0);
    CHECK_MEM(a, b, sizeof a);
    member_deinit(&puller);
    member_deinit(&source);
    entries_free();
}

/* A block of zeros is there, as of its own entry: it is given, and nothing waits for it. */
static void zeros_are_given(void)
{
    static const uint8_t zeros[STORE_BLOCK];
    struct store_want want = {.ino = 77};
    struct member source;
    struct buf *buf = NULL;
    uint64_t version = 0;
    uint64_t torn = 0;

    member_init(&source);
    CHECK_INT(store_begin(source.store), 0);
    CHECK_INT(store_data_write(source.store,
                               &(struct store_piece){
                                   .ino = want.ino,
                                   .len = 20000,
                                   .crc = crc32c(0, zeros, 20000),
                                   .data = slice_borrow(zeros, 20000),
                                   .place = journal_add(&source.journal, zeros, 20000),
                                   .version = 3}),
              0);
    CHECK_INT(store_number_set(source.store, STORE_APPLIED, 5), 0);
    CHECK_INT(store_commit(source.store, true), 0);
    CHECK_INT(store_pull_block(source.store, want.ino, 0, &buf, &version), 0);
    CHECK_UINT(version, 3);
    CHECK_UINT(buf->len, 1);
    buf_unref(buf);
    CHECK_INT(store_pull_block(source.store, want.ino, 1, &buf, &version), OUT_NOENT);
    CHECK_UINT(version, 5);
    CHECK_INT(store_torn_each(source.store, 2, note_ino, &torn), 0);
    CHECK_UINT(torn, want.ino); /* It is newer than that. */
    torn = 0;
    CHECK_INT(store_torn_each(source.store, 3, note_ino, &torn), 0);
    CHECK_UINT(torn, 0);
    member_deinit(&source);
}

TEST_MAIN(CHECK_TEST(what_is_gone_is_no_zeros), CHECK_TEST(zeros_are_given),
          CHECK_TEST(a_full_disk_ends_only_the_pull),
          CHECK_TEST(an_unfinished_pull_is_no_zone),
          CHECK_TEST(an_older_source_knows_nothing_gone),
          CHECK_TEST(not_ready_gives_nothing), CHECK_TEST(a_broken_store_has_no_shadow),
          CHECK_TEST(into_empty), CHECK_TEST(into_older),
          CHECK_TEST(same_state_wants_nothing),
          CHECK_TEST(wants_behind_what_was_asked_for), CHECK_TEST(live_changes_meanwhile),
          CHECK_TEST(live_goes_beyond_the_view), CHECK_TEST(malformed_records))
