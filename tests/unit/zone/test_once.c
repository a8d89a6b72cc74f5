/* Exactly once: an op that its origin counted has one effect and one answer. */
#include "base/outcome.h"
#include "fixture.h"

#include <stdio.h>
#include <string.h>

static struct fx fx;

static void origin(uint64_t node, uint64_t boot, uint64_t seq, uint64_t floor)
{
    fx.origin =
        (struct zone_origin){.node = node, .boot = boot, .seq = seq, .floor = floor};
}

static uint64_t entries_in_root(void)
{
    struct zone_usage usage;

    zone_usage(fx.zone, &usage);
    return usage.inodes - 1;
}

/* The same op again, at another index, gives the first answer, attributes and all, and
 * changes nothing: neither a second file nor OUT_EXIST. */
static void retry_gets_first_answer(void)
{
    struct zone_attr first;

    fx_open(&fx, "z", FX_QUOTA);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    CHECK(!fx.duplicate);
    first = fx.result.obj;
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    CHECK(fx.duplicate);
    CHECK_MEM(&fx.result.obj, &first, sizeof first);
    CHECK_UINT(fx.result.index, 1);
    fx_reopen(&fx);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), 0);
    CHECK(fx.duplicate);
    CHECK_UINT(entries_in_root(), 1);
    fx_close(&fx);
}

/* A refusal is an answer too: the retry of a create that failed does not succeed later,
 * when the reason is gone. */
static void refusals_are_kept(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    (void)fx_file(&fx, fx_root, "f");
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), OUT_EXIST);
    origin(1, 7, 2, 1);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "f", 0644), OUT_EXIST);
    CHECK(fx.duplicate);
    origin(1, 7, 2, 1);
    CHECK_INT(fx_remove(&fx, fx_root, "f"), 0);
    CHECK(fx.duplicate);
    fx_close(&fx);
}

/* The data of an answer is kept with it: a mismatch names its pair the second time too. */
static void data_is_kept(void)
{
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    uint8_t first[64];
    size_t len;

    fx_open(&fx, "z", FX_QUOTA);
    op.kv[0].key = fx_str("k");
    op.kv[0].version = 3;
    origin(1, 7, 1, 1);
    CHECK_INT(fx_run(&fx, op), OUT_MISMATCH);
    len = fx.result.data.len;
    CHECK(len > 0 && len <= sizeof first);
    memcpy(first, fx.result.data.data, len);
    CHECK_INT(fx_run(&fx, op), OUT_MISMATCH);
    CHECK(fx.duplicate);
    CHECK_UINT(fx.result.data.len, len);
    CHECK_MEM(fx.result.data.data, first, len);
    fx_close(&fx);
}

/* Ops of one origin may arrive in any order; each runs once. */
static void any_order(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    origin(1, 7, 3, 1);
    CHECK_INT(fx_create(&fx, fx_root, "c", 0644), 0);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), 0);
    CHECK(!fx.duplicate);
    origin(1, 7, 2, 1);
    CHECK_INT(fx_create(&fx, fx_root, "b", 0644), 0);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), 0);
    CHECK(fx.duplicate);
    CHECK_UINT(entries_in_root(), 3);
    fx_close(&fx);
}

/* Below the floor the origin has answered and forgotten: a copy of such an op that comes
 * late, its reply long pruned, must not run. The floor survives a restart, and does not
 * sink. */
static void ghosts_do_not_run(void)
{
    struct buf *reply = NULL;

    fx_open(&fx, "z", FX_QUOTA);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), 0);
    CHECK_INT(store_reply_get(fx.store, 1, 7, 1, &reply), 0);
    buf_unref(reply);
    origin(1, 7, 2, 2);
    CHECK_INT(fx_remove(&fx, fx_root, "a"), 0);
    CHECK_INT(store_reply_get(fx.store, 1, 7, 1, &reply), OUT_NOENT);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), OUT_TRY_LATER);
    CHECK(fx.duplicate);
    fx_reopen(&fx);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), OUT_TRY_LATER);
    CHECK_INT(fx_lookup(&fx, fx_root, "a"), OUT_NOENT);
    origin(1, 7, 2, 1);
    CHECK_INT(fx_remove(&fx, fx_root, "a"), 0);
    CHECK(fx.duplicate);
    fx_close(&fx);
}

/* A floor above the op itself is nonsense from the wire; the op still runs once. */
static void floor_beyond_op(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    origin(1, 7, 1, 100);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), 0);
    CHECK(!fx.duplicate);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), 0);
    CHECK(fx.duplicate);
    origin(1, 7, 2, 1);
    CHECK_INT(fx_create(&fx, fx_root, "b", 0644), 0);
    fx_close(&fx);
}

/* Other nodes, and the same node after a restart, count for themselves. */
static void origins_are_apart(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), 0);
    origin(1, 8, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), OUT_EXIST);
    origin(2, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), OUT_EXIST);
    CHECK(!fx.duplicate);
    fx_close(&fx);
}

/* An op without an origin is never taken for a duplicate. */
static void no_origin_no_table(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), 0);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), OUT_EXIST);
    CHECK(!fx.duplicate);
    fx_close(&fx);
}

/* A sequence number absurdly far ahead does not run: what a session may hold is bounded. */
static void far_ahead_is_refused(void)
{
    fx_open(&fx, "z", FX_QUOTA);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_create(&fx, fx_root, "a", 0644), 0);
    origin(1, 7, 1ull << 40, 1);
    CHECK_INT(fx_create(&fx, fx_root, "b", 0644), OUT_TRY_LATER);
    origin(1, 7, UINT64_MAX, UINT64_MAX);
    CHECK_INT(fx_create(&fx, fx_root, "b", 0644), OUT_TRY_LATER);
    CHECK_INT(fx_lookup(&fx, fx_root, "b"), OUT_NOENT);
    origin(1, 7, 2, 2);
    CHECK_INT(fx_create(&fx, fx_root, "b", 0644), 0);
    fx_close(&fx);
}

/* An hour of zone time without an op ends a session and its rows; the state then equals
 * that of a zone where it never was, but for what it did. */
static void idle_sessions_expire(void)
{
    static struct fx other;
    uint8_t one[32];
    uint8_t two[32];

    fx_open(&fx, "z", FX_QUOTA);
    fx_open(&other, "y", FX_QUOTA);
    origin(1, 7, 1, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "a", 0755), 0);
    CHECK_INT(fx_mkdir(&other, fx_root, "a", 0755), 0);
    origin(0, 0, 0, 0);
    fx_digest(&fx, one);
    fx_digest(&other, two);
    CHECK(memcmp(one, two, 32) != 0);
    fx.time_ns += 3600 * FX_SECOND;
    other.time_ns = fx.time_ns;
    CHECK_INT(fx_chmod(&fx, fx_root, 0700), 0);
    CHECK_INT(fx_chmod(&other, fx_root, 0700), 0);
    fx_digest(&fx, one);
    fx_digest(&other, two);
    CHECK_MEM(one, two, 32);
    fx_close(&other);
    fx_close(&fx);
}

/* More origins than there is room for: the one idle longest makes room. */
static void sessions_are_bounded(void)
{
    char name[16];

    fx_open(&fx, "z", FX_QUOTA);
    for (uint64_t node = 1; node <= 1025; node++) {
        (void)snprintf(name, sizeof name, "f%u", (unsigned)node);
        origin(node, 1, 1, 1);
        CHECK_INT(fx_mkdir(&fx, fx_root, name, 0755), 0);
    }
    origin(2, 1, 1, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "f2", 0755), 0);
    CHECK(fx.duplicate);
    origin(1, 1, 1, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "f1", 0755), OUT_EXIST);
    CHECK(!fx.duplicate);
    fx_reopen(&fx);
    fx_close(&fx);
}

/* A node that makes up lives loses its own, and nobody else's. */
static void sessions_of_one_node_are_bounded(void)
{
    char name[16];

    fx_open(&fx, "z", FX_QUOTA);
    origin(2, 1, 1, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "other", 0755), 0);
    for (uint64_t boot = 1; boot <= 2000; boot++) {
        (void)snprintf(name, sizeof name, "f%u", (unsigned)boot);
        origin(1, boot, 1, 1);
        CHECK_INT(fx_mkdir(&fx, fx_root, name, 0755), 0);
    }
    origin(2, 1, 1, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "other", 0755), 0);
    CHECK(fx.duplicate);
    origin(1, 2000 - 15, 1, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "f1985", 0755), 0);
    CHECK(fx.duplicate);
    origin(1, 2000 - 16, 1, 1);
    CHECK_INT(fx_mkdir(&fx, fx_root, "f1984", 0755), OUT_EXIST);
    CHECK(!fx.duplicate);
    fx_close(&fx);
}

/* Entries that were applied in an earlier life are skipped, with the answer from the
 * table; what comes after them in the same batch is applied. */
static void replay_skips(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root, .how = ZONE_GUARDED};
    struct zone_result results[3];
    struct fx_entry entries[3];
    struct fx_batch batch = {.entries = entries, .n = 2, .results = results};
    static const char *const names[] = {"a", "b", "c"};

    fx_open(&fx, "z", FX_QUOTA);
    for (unsigned i = 0; i < 3; i++) {
        op.name = fx_str(names[i]);
        origin(i == 1 ? 0 : 1, 7, i + 1, 1);
        fx_make(&fx, &op, i + 1, FX_TIME + i + 1, &entries[i]);
    }
    CHECK_INT(fx_apply(&fx, &batch), 0);
    fx_reopen(&fx);
    batch.n = 3;
    CHECK_INT(fx_apply(&fx, &batch), 0);
    CHECK(results[0].has_obj);
    CHECK_INT(results[0].outcome, 0);
    CHECK_INT(results[1].outcome, 0);
    CHECK(!results[1].has_obj);
    CHECK(results[2].has_obj);
    CHECK_UINT(results[2].index, 3);
    CHECK_UINT(entries_in_root(), 3);
    for (unsigned i = 0; i < 3; i++) {
        fx_free(&entries[i]);
    }
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(retry_gets_first_answer), CHECK_TEST(refusals_are_kept),
          CHECK_TEST(data_is_kept), CHECK_TEST(any_order), CHECK_TEST(ghosts_do_not_run),
          CHECK_TEST(floor_beyond_op), CHECK_TEST(origins_are_apart),
          CHECK_TEST(no_origin_no_table), CHECK_TEST(far_ahead_is_refused),
          CHECK_TEST(idle_sessions_expire), CHECK_TEST(sessions_are_bounded),
          CHECK_TEST(sessions_of_one_node_are_bounded), CHECK_TEST(replay_skips))
