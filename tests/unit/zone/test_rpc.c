/* A client's call that comes again through another node, or through the same one after a
 * restart: another origin, but the same key. */
#include "base/outcome.h"
#include "base/prng.h"
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    RPC_MAX = 65536, /* As docs/formats/entry.md says. */
    BATCH = 64,
};

static struct fx fx;

/* The next entries are the client's call @key, by way of node @node. */
static void call_by(struct fx *f, uint64_t key, uint64_t node)
{
    memset(f->rpc_key, 0, sizeof f->rpc_key);
    memcpy(f->rpc_key, &key, sizeof key);
    f->origin = (struct zone_origin){.node = node, .boot = 1, .seq = key, .floor = 1};
}

static void no_call(struct fx *f)
{
    call_by(f, 0, 0);
    f->origin = (struct zone_origin){0};
}

static struct buf *encoded(const struct zone_result *result)
{
    struct buf *buf = NULL;

    CHECK_INT(zone_result_encode(result, &buf), 0);
    return buf;
}

static void check_equal(const struct zone_result *a, const struct zone_result *b)
{
    struct buf *one = encoded(a);
    struct buf *two = encoded(b);

    CHECK_UINT(one->len, two->len);
    CHECK_MEM(one->data, two->data, two->len);
    buf_unref(one);
    buf_unref(two);
}

static int count_one(void *ctx, const struct store_rpc *rpc)
{
    (void)rpc;
    (*(uint32_t *)ctx)++;
    return 0;
}

static uint32_t n_kept(struct fx *f)
{
    uint32_t n = 0;

    CHECK_INT(store_rpc_each(f->store, count_one, &n), 0);
    return n;
}

/* Run @op as call @key by node 1, let the object's folder change, and send it again by
 * node 2 and, as that node's router would, once more: all get the first answer. */
static void twice(struct zone_op op, uint64_t key, int outcome)
{
    struct zone_result first;
    uint64_t used;

    call_by(&fx, key, 1);
    CHECK_INT(fx_run(&fx, op), outcome);
    CHECK(!fx.duplicate);
    first = fx.result; /* Without data. */
    no_call(&fx);
    CHECK_INT(fx_chmod(&fx, fx_root, 0700 + (uint32_t)key % 64), 0);
    used = fx_used(&fx);
    call_by(&fx, key, 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_INT(fx_run(&fx, op), outcome);
        CHECK(fx.duplicate);
        check_equal(&fx.result, &first);
    }
    CHECK_UINT(fx_used(&fx), used);
    no_call(&fx);
}

/* Every procedure that changes names or attributes has one effect, and the second answer
 * is byte for byte the first, with the attributes as of then. */
static void one_effect_one_answer(void)
{
    struct zone_op op = {.obj = fx_root, .to = fx_root};
    struct zone_handle file;
    uint64_t key = 1;

    fx_open(&fx, "z", FX_QUOTA);
    file = fx_file(&fx, fx_root, "file");
    op.name = fx_str("a");
    op.type = ZONE_OP_CREATE;
    op.how = ZONE_GUARDED;
    twice(op, key++, 0);
    op.name = fx_str("d");
    op.type = ZONE_OP_MKDIR;
    twice(op, key++, 0);
    op.type = ZONE_OP_RMDIR;
    twice(op, key++, 0);
    op.type = ZONE_OP_MKNOD;
    op.name = fx_str("p");
    op.node_type = ZONE_FIFO;
    twice(op, key++, 0);
    op.type = ZONE_OP_SYMLINK;
    op.name = fx_str("l");
    op.to_name = fx_str("target");
    twice(op, key++, 0);
    op.type = ZONE_OP_RENAME;
    op.to_name = fx_str("m");
    twice(op, key++, 0);
    op.type = ZONE_OP_REMOVE;
    op.name = fx_str("a");
    twice(op, key++, 0);
    op.type = ZONE_OP_LINK;
    op.obj = file;
    op.to_name = fx_str("hard");
    twice(op, key++, 0);
    op.type = ZONE_OP_SETATTR;
    CHECK_INT(fx_getattr(&fx, file), 0);
    op.guarded = true;
    op.guard = fx.result.obj.ctime;
    op.sattr = (struct zone_sattr){.set = ZONE_SET_SIZE, .size = 9};
    twice(op, key++, 0);
    fx_close(&fx);
}

/* A late copy of a truncation does not cut off what was written since. */
static void truncation_is_not_repeated(void)
{
    struct zone_handle file;

    fx_open(&fx, "z", FX_QUOTA);
    file = fx_file(&fx, fx_root, "file");
    call_by(&fx, 1, 1);
    CHECK_INT(fx_truncate(&fx, file, 0), 0);
    no_call(&fx);
    CHECK_INT(fx_write(&fx, file, 0, fx_str("new")), 0);
    call_by(&fx, 1, 2);
    CHECK_INT(fx_truncate(&fx, file, 0), 0);
    CHECK(fx.duplicate);
    CHECK_UINT(fx.result.obj.size, 0);
    CHECK_INT(fx_getattr(&fx, file), 0);
    CHECK_UINT(fx.result.obj.size, 3);
    fx_close(&fx);
}

/* A refusal is the answer too, a spent quota's among them, although the reason went. */
static void refusals_are_kept(void)
{
    struct zone_op op = {.type = ZONE_OP_REMOVE, .obj = fx_root};

    fx_open(&fx, "z", 3 * 512);
    op.name = fx_str("f");
    twice(op, 1, OUT_NOENT);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    op.type = ZONE_OP_MKDIR;
    op.name = fx_str("d");
    twice(op, 2, OUT_DQUOT);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    call_by(&fx, 2, 3);
    CHECK_INT(fx_run(&fx, op), OUT_DQUOT);
    CHECK(fx.duplicate);
    fx_close(&fx);
}

/* A late copy of a WRITE does not undo what was written after the first. */
static void write_is_not_repeated(void)
{
    struct zone_op op = {.type = ZONE_OP_READ, .count = 9};
    struct zone_handle file;

    fx_open(&fx, "z", FX_QUOTA);
    file = fx_file(&fx, fx_root, "file");
    call_by(&fx, 1, 1);
    CHECK_INT(fx_write(&fx, file, 0, fx_str("one")), 0);
    call_by(&fx, 2, 2);
    CHECK_INT(fx_write(&fx, file, 0, fx_str("two")), 0);
    CHECK(!fx.duplicate);
    call_by(&fx, 1, 2);
    CHECK_INT(fx_write(&fx, file, 0, fx_str("one")), 0);
    CHECK(fx.duplicate);
    CHECK_UINT(fx.result.count, 3);
    op.obj = file;
    CHECK_INT(fx_read(&fx, op), 0);
    CHECK_UINT(fx.result.data.len, 3);
    CHECK_MEM(fx.result.data.data, "two", 3);
    zone_result_clear(&fx.result);
    no_call(&fx);
    fx_close(&fx);
}

/* The same op as another call is another op: nobody gets an answer to what another one
 * asked. Without a key, and for what no client asks, nothing is kept. */
static void other_calls_run(void)
{
    struct zone_op kv = {.type = ZONE_OP_KV, .n_kv = 1};

    fx_open(&fx, "z", FX_QUOTA);
    call_by(&fx, 1, 1);
    (void)fx_file(&fx, fx_root, "f");
    call_by(&fx, 2, 1);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), OUT_EXIST);
    CHECK(!fx.duplicate);
    CHECK_UINT(n_kept(&fx), 2);
    no_call(&fx);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), OUT_NOENT);
    call_by(&fx, 4, 1);
    kv.kv[0].key = fx_str("k");
    CHECK_INT(fx_run(&fx, kv), 0);
    call_by(&fx, 4, 2);
    CHECK_INT(fx_run(&fx, kv), OUT_MISMATCH);
    CHECK_UINT(n_kept(&fx), 2);
    fx_close(&fx);
}

/* An op that no origin counts, but a client does, runs once as well. */
static void key_without_origin(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    call_by(&fx, 1, 0);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    CHECK(fx.duplicate);
    fx_close(&fx);
}

/* @n entries, each a second after the last one. */
static void work(unsigned n)
{
    no_call(&fx);
    for (unsigned i = 0; i < n; i++) {
        fx.time_ns += FX_SECOND - 1000000;
        CHECK_INT(fx_chmod(&fx, fx_root, 0777), 0);
    }
}

/* After 120 s of zone time, and not before, the same call is taken for a new one, whose
 * answer then counts. */
static void kept_for_two_minutes(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    call_by(&fx, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    work(119);
    fx.time_ns += FX_SECOND - 1000000 - 1;
    call_by(&fx, 1, 2);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    CHECK(fx.duplicate);
    fx.time_ns -= 1000000 - 1;
    call_by(&fx, 1, 3);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), OUT_EXIST);
    CHECK(!fx.duplicate);
    call_by(&fx, 1, 4);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), OUT_EXIST);
    CHECK(fx.duplicate);
    fx_close(&fx);
}

/* While a zone stands still, for want of a majority, nobody is forgotten: whoever waited
 * all the time gets the answer. */
static void pauses_do_not_count(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    call_by(&fx, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    work(100);
    fx_reopen(&fx);
    fx.time_ns += 86400 * FX_SECOND;
    call_by(&fx, 1, 2);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    CHECK(fx.duplicate);
    work(20);
    call_by(&fx, 1, 3);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), OUT_EXIST);
    CHECK(!fx.duplicate);
    fx_close(&fx);
}

/* Old replies go in steps of 64: at the beginning of a second, and else when there are as
 * many. What is too old but still there does not count. */
static void old_ones_go_in_steps(void)
{
    struct zone_op op = {.type = ZONE_OP_REMOVE, .obj = fx_root};
    static const uint32_t left[] = {136, 72, 8, 8};

    fx_open(&fx, "z", FX_QUOTA);
    op.name = fx_str("none");
    for (uint64_t key = 1; key <= 200; key++) {
        call_by(&fx, key, 1);
        CHECK_INT(fx_run(&fx, op), OUT_NOENT);
    }
    no_call(&fx);
    work(119);
    CHECK_UINT(n_kept(&fx), 200);
    for (unsigned i = 0; i < 4; i++) {
        fx.time_ns += i == 0 ? FX_SECOND : 0;
        CHECK_INT(fx_chmod(&fx, fx_root, 0777), 0);
        CHECK_UINT(n_kept(&fx), left[i]);
    }
    call_by(&fx, 200, 2);
    CHECK_INT(fx_run(&fx, op), OUT_NOENT);
    CHECK(!fx.duplicate);
    fx.time_ns += FX_SECOND;
    no_call(&fx);
    CHECK_INT(fx_chmod(&fx, fx_root, 0777), 0);
    CHECK_UINT(n_kept(&fx), 1);
    fx_close(&fx);
}

/* @n new calls, refused ones, from @key on; all within a second. */
static void many(uint64_t key, uint32_t n)
{
    struct zone_op op = {.type = ZONE_OP_REMOVE, .obj = fx_root};
    struct fx_entry entries[BATCH];
    struct fx_batch batch = {.entries = entries};

    op.name = fx_str("none");
    while (n > 0) {
        batch.n = n < BATCH ? n : BATCH;
        for (uint32_t i = 0; i < batch.n; i++) {
            call_by(&fx, key++, 0);
            fx_make(&fx, &op, ++fx.index, ++fx.time_ns, &entries[i]);
        }
        CHECK_INT(fx_apply(&fx, &batch), 0);
        for (uint32_t i = 0; i < batch.n; i++) {
            fx_free(&entries[i]);
        }
        n -= batch.n;
    }
}

/* However many calls come, at most 65,536 answers are kept; the oldest give way. The
 * ring that knows them goes round, and is the same after a restart. */
static void bounded(void)
{
    struct zone_op op = {.type = ZONE_OP_REMOVE, .obj = fx_root};

    fx_open(&fx, "z", FX_QUOTA);
    many(1, RPC_MAX);
    CHECK_UINT(n_kept(&fx), RPC_MAX);
    many(RPC_MAX + 1, 1);
    CHECK_UINT(n_kept(&fx), RPC_MAX - 63);
    op.name = fx_str("none");
    fx_reopen(&fx);
    for (uint64_t key = 64; key <= RPC_MAX + 1; key += 32736) {
        call_by(&fx, key, 2);
        CHECK_INT(fx_run(&fx, op), OUT_NOENT);
        CHECK_INT(fx.duplicate, key > 64);
    }
    many(RPC_MAX + 2, 200);
    CHECK_UINT(n_kept(&fx), RPC_MAX + 202 - 4 * 64);
    fx_close(&fx);
}

/* The answers outlive a restart, and a batch that failed leaves none behind. */
static void restart_and_rollback(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root, .how = ZONE_GUARDED};
    struct fx_entry entries[2];
    struct fx_batch batch = {.entries = entries, .n = 2};
    bool duplicates[2];

    fx_open(&fx, "z", FX_QUOTA);
    op.name = fx_str("f");
    call_by(&fx, 1, 1);
    CHECK_INT(fx_run(&fx, op), 0);
    fx_reopen(&fx);
    call_by(&fx, 1, 2);
    CHECK_INT(fx_run(&fx, op), 0);
    CHECK(fx.duplicate);

    op.name = fx_str("g");
    call_by(&fx, 2, 1);
    fx_make(&fx, &op, 3, fx.time_ns + 1, &entries[0]);
    call_by(&fx, 2, 2);
    fx_make(&fx, &op, 4, fx.time_ns + 2, &entries[1]);
    entries[1].head->data[0]++;
    CHECK_INT(fx_apply(&fx, &batch), -EPROTONOSUPPORT);
    CHECK_UINT(n_kept(&fx), 1);
    entries[1].head->data[0]--;
    batch.duplicates = duplicates;
    CHECK_INT(fx_apply(&fx, &batch), 0);
    CHECK(!duplicates[0] && duplicates[1]);
    fx_free(&entries[0]);
    fx_free(&entries[1]);
    fx_close(&fx);
}

/* Everything of @from's rows into @to, as a pull does. There is no file data. */
static void pull(struct fx *to, struct fx *from)
{
    struct store_cursor *cursor;
    struct store_shadow *shadow;
    struct buf *run = NULL;
    uint64_t index;
    int rv;

    CHECK_INT(store_shadow_open(to->store, &shadow), 0);
    CHECK_INT(store_cursor_open(from->store, &cursor, &index), 0);
    while ((rv = store_cursor_next(cursor, 1000, &run)) == 0) {
        CHECK_INT(store_shadow_load(shadow, run->data, run->len), 0);
        buf_unref(run);
    }
    CHECK_INT(rv, OUT_NOENT);
    store_cursor_close(cursor);
    CHECK_INT(store_shadow_switch(to->store, shadow), 0);
    store_shadow_close(shadow);
    CHECK_INT(zone_reload(to->zone), 0);
}

/* A member that pulled the state knows the answers too, and not those of its own past:
 * else it would apply the next retransmission differently. */
static void pull_carries_them(void)
{
    static struct fx other;
    uint8_t one[32];
    uint8_t two[32];

    fx_open(&fx, "z", FX_QUOTA);
    fx_open(&other, "y", FX_QUOTA);
    call_by(&other, 9, 1);
    CHECK_INT(fx_mkdir(&other, fx_root, "gone", 0755), 0);
    CHECK_INT(fx_chmod(&other, fx_root, 0700), 0);
    call_by(&fx, 1, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "d", 0755), 0);
    call_by(&fx, 2, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "d", 0755), OUT_EXIST);
    pull(&other, &fx);
    fx_digest(&fx, one);
    fx_digest(&other, two);
    CHECK_MEM(two, one, 32);
    CHECK_UINT(n_kept(&other), 2);
    call_by(&other, 1, 2);
    other.index = fx.index;
    other.time_ns = fx.time_ns;
    CHECK_INT(fx_mkdir(&other, fx_root, "d", 0755), 0);
    CHECK(other.duplicate);
    call_by(&other, 9, 2);
    CHECK_INT(fx_mkdir(&other, fx_root, "gone", 0755), 0);
    CHECK(!other.duplicate);
    fx_close(&other);
    fx_close(&fx);
}

/* Calls that repeat, and time that passes. */
static void random_entry(struct prng *prng, struct fx_entry *out)
{
    struct zone_op op = {.obj = fx_root, .how = ZONE_GUARDED};
    uint64_t key = 1 + prng_below(prng, 40);
    char name[8];

    (void)snprintf(name, sizeof name, "f%u", (unsigned)(key % 7));
    op.name = fx_str(name);
    op.type = key % 2 == 0 ? ZONE_OP_CREATE : ZONE_OP_REMOVE;
    call_by(&fx, key, 1 + prng_below(prng, 3));
    fx.time_ns += (int64_t)prng_below(prng, 10) * FX_SECOND + 1;
    fx_make(&fx, &op, ++fx.index, fx.time_ns, out);
}

/* However the log is cut into batches, and wherever a restart comes between: the same
 * results and the same rows. */
static void any_batches(void)
{
    enum { ENTRIES = 400 };
    static struct fx_entry entries[ENTRIES];
    static struct zone_result results[2][ENTRIES];
    static bool duplicates[2][ENTRIES];
    static struct fx members[2];
    struct prng prng;
    uint32_t n_duplicates = 0;
    uint8_t digest[2][32];

    prng_seed(&prng, 11);
    fx_open(&fx, "x", FX_QUOTA);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        random_entry(&prng, &entries[i]);
    }
    for (uint32_t m = 0; m < 2; m++) {
        fx_open(&members[m], m == 0 ? "y" : "z", FX_QUOTA);
        for (uint32_t at = 0, n; at < ENTRIES; at += n) {
            n = m == 0 ? 1 : 1 + (uint32_t)prng_below(&prng, 50);
            n = n < ENTRIES - at ? n : ENTRIES - at;
            CHECK_INT(fx_apply(&members[m],
                               &(struct fx_batch){.entries = entries + at,
                                                  .n = n,
                                                  .results = results[m] + at,
                                                  .duplicates = duplicates[m] + at}),
                      0);
            if (prng_below(&prng, 10) == 0) {
                fx_reopen(&members[m]);
            }
        }
        fx_digest(&members[m], digest[m]);
        fx_close(&members[m]);
    }
    CHECK_MEM(digest[1], digest[0], 32);
    for (uint32_t i = 0; i < ENTRIES; i++) {
        check_equal(&results[1][i], &results[0][i]);
        CHECK_INT(duplicates[1][i], duplicates[0][i]);
        n_duplicates += duplicates[0][i] ? 1 : 0;
        fx_free(&entries[i]);
    }
    CHECK(n_duplicates > 50 && n_duplicates < ENTRIES - 50);
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(one_effect_one_answer), CHECK_TEST(truncation_is_not_repeated),
          CHECK_TEST(write_is_not_repeated), CHECK_TEST(refusals_are_kept),
          CHECK_TEST(other_calls_run), CHECK_TEST(key_without_origin),
          CHECK_TEST(kept_for_two_minutes), CHECK_TEST(pauses_do_not_count),
          CHECK_TEST(old_ones_go_in_steps), CHECK_TEST(bounded),
          CHECK_TEST(restart_and_rollback), CHECK_TEST(pull_carries_them),
          CHECK_TEST(any_batches))
