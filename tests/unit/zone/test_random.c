/* Random sequences: apply is deterministic however the log is cut. */
#include "base/crc32c.h"
#include "base/outcome.h"
#include "base/prng.h"
#include "base/wire.h"
#include "fixture.h"

#include <string.h>

enum {
    N_NAMES = 8,
    N_OPS = 1500, /* Of one sequence. */
    POOL_MAX = 24,
    BATCH_MAX = 40,
};

static uint8_t noise[400000];

static void noise_fill(struct prng *prng)
{
    for (size_t i = 0; i < sizeof noise; i += 8) {
        wire_store_u64(noise + i, prng_next(prng) | 0x0101010101010101ull);
    }
}

static struct slice some_name(struct prng *prng)
{
    static const char names[N_NAMES + 1] = "abcdefgh";

    return slice_borrow(&names[prng_below(prng, N_NAMES)], 1);
}

/* Handles that were seen, dead ones among them. */
struct pool {
    struct zone_handle obj[POOL_MAX];
    uint32_t n;
};

static struct zone_handle pick(const struct pool *pool, struct prng *prng)
{
    uint64_t i = prng_below(prng, pool->n + 1);

    return i == pool->n ? fx_root : pool->obj[i];
}

static void keep(struct pool *pool, struct prng *prng, const struct zone_result *result)
{
    struct zone_handle obj = {.ino = result->obj.ino, .gen = result->obj.gen};

    if (!result->has_obj) {
        return;
    }
    if (pool->n < POOL_MAX) {
        pool->obj[pool->n++] = obj;
    } else {
        pool->obj[prng_below(prng, POOL_MAX)] = obj;
    }
}

static void some_sattr(struct prng *prng, struct zone_sattr *sattr)
{
    static const uint32_t modes[] = {0755, 0777, 0600, 02775, 01777, 06777, 0};

    sattr->set = (uint32_t)prng_below(prng, 16);
    sattr->mode = modes[prng_below(prng, 7)];
    sattr->uid = (uint32_t)prng_below(prng, 3);
    sattr->gid = (uint32_t)prng_below(prng, 3);
    sattr->size = prng_below(prng, 3) == 0 ? 0 : prng_below(prng, 300000);
    sattr->set_atime = (enum zone_set_time)prng_below(prng, 3);
    sattr->set_mtime = (enum zone_set_time)prng_below(prng, 3);
    sattr->mtime.sec = (int64_t)prng_below(prng, 2000000000);
}

static void some_kv(struct prng *prng, struct zone_op *op)
{
    op->n_kv = 1 + (uint32_t)prng_below(prng, 3);
    for (uint32_t i = 0; i < op->n_kv; i++) {
        op->kv[i].key = some_name(prng);
        op->kv[i].value = slice_borrow(noise, prng_below(prng, 2000));
        op->kv[i].version = prng_below(prng, 2) == 0 ? 0 : ZONE_KV_ANY;
        op->kv[i].remove = prng_below(prng, 4) == 0;
    }
}

static struct zone_op some_op(struct prng *prng, const struct pool *pool)
{
    static const enum zone_op_type types[] = {
        ZONE_OP_SETATTR, ZONE_OP_WRITE,  ZONE_OP_WRITE,   ZONE_OP_CREATE, ZONE_OP_CREATE,
        ZONE_OP_MKDIR,   ZONE_OP_MKDIR,  ZONE_OP_SYMLINK, ZONE_OP_MKNOD,  ZONE_OP_REMOVE,
        ZONE_OP_RMDIR,   ZONE_OP_RENAME, ZONE_OP_RENAME,  ZONE_OP_LINK,   ZONE_OP_KV,
    };
    struct zone_op op = {0};

    op.type = types[prng_below(prng, sizeof types / sizeof types[0])];
    op.cred.uid = (uint32_t)prng_below(prng, 3);
    op.cred.gid = (uint32_t)prng_below(prng, 3);
    op.obj = pick(pool, prng);
    op.to = pick(pool, prng);
    op.name = some_name(prng);
    op.to_name = some_name(prng);
    some_sattr(prng, &op.sattr);
    op.how = (enum zone_create_how)prng_below(prng, 3);
    op.verf[0] = (uint8_t)prng_below(prng, 2);
    op.node_type = (enum zone_type)(3 + prng_below(prng, 5));
    op.offset = prng_below(prng, 300000);
    if (op.type == ZONE_OP_WRITE) {
        op.data = slice_borrow(
            noise + prng_below(prng, 1000),
            prng_below(prng, 4) == 0 ? prng_below(prng, 200000) : prng_below(prng, 6000));
    }
    some_kv(prng, &op);
    return op;
}

static uint64_t seq[4]; /* Of the origins, by node. */

/* Three origins; now and then an op that was sent before. */
static void some_origin(struct prng *prng, struct zone_origin *origin)
{
    uint64_t node = prng_below(prng, 4);
    uint64_t back = prng_below(prng, 4) == 0 ? prng_below(prng, 4) : 0;

    if (node == 0) {
        memset(origin, 0, sizeof *origin);
        return;
    }
    origin->node = node;
    origin->boot = 1;
    if (back == 0 || back >= seq[node]) {
        seq[node]++;
        back = 0;
    }
    origin->seq = seq[node] - back;
    origin->floor = origin->seq > 2 ? origin->seq - 2 : 1;
}

struct log {
    struct fx_entry entries[N_OPS];
    struct zone_result results[N_OPS];
    bool duplicates[N_OPS];
};

/* A sequence of entries, each built on what the ones before did to @fx. */
static void make_log(struct fx *fx, struct prng *prng, struct log *log)
{
    struct pool pool = {0};

    for (uint32_t i = 0; i < N_OPS; i++) {
        struct zone_op op = some_op(prng, &pool);
        struct fx_batch batch = {.entries = &log->entries[i],
                                 .n = 1,
                                 .here = true,
                                 .results = &log->results[i],
                                 .duplicates = &log->duplicates[i]};

        some_origin(prng, &fx->origin);
        fx->time_ns += (int64_t)prng_below(prng, 5 * FX_SECOND);
        fx_make(fx, &op, i + 1, fx->time_ns, &log->entries[i]);
        CHECK_INT(fx_apply(fx, &batch), 0);
        keep(&pool, prng, &log->results[i]);
    }
}

static void same_result(const struct zone_result *one, const struct zone_result *other)
{
    struct buf *a = NULL;
    struct buf *b = NULL;

    CHECK_INT(zone_result_encode(one, &a), 0);
    CHECK_INT(zone_result_encode(other, &b), 0);
    CHECK_UINT(a->len, b->len);
    CHECK_MEM(a->data, b->data, a->len);
    CHECK_UINT(one->data.len, other->data.len);
    CHECK_MEM(one->data.data, other->data.data, one->data.len);
    buf_unref(a);
    buf_unref(b);
}

/* Apply @n entries from @first in one batch; entries from before may come again. */
static void apply_some(struct fx *fx, const struct log *log, uint32_t first, uint32_t n,
                       bool here)
{
    struct zone_result results[BATCH_MAX];
    bool duplicates[BATCH_MAX];
    uint64_t applied = zone_applied_index(fx->zone);
    struct fx_batch batch = {.entries = &log->entries[first], .n = n, .here = here};

    batch.results = results;
    batch.duplicates = duplicates;
    CHECK_INT(fx_apply(fx, &batch), 0);
    for (uint32_t i = 0; i < n; i++) {
        if (first + i + 1 > applied) {
            same_result(&results[i], &log->results[first + i]);
            CHECK_INT(duplicates[i], log->duplicates[first + i]);
        }
        zone_result_clear(&results[i]);
    }
}

/* Batches of random sizes, with restarts, replays of old entries, faults in the middle,
 * data that settles, and payloads read back from the journal. */
static void replay_log(struct fx *fx, struct prng *prng, const struct log *log)
{
    uint32_t at = 0;

    while (at < N_OPS) {
        uint32_t n = 1 + (uint32_t)prng_below(prng, BATCH_MAX / 2);
        uint32_t again = (uint32_t)prng_below(prng, 10);

        n = n < N_OPS - at ? n : N_OPS - at;
        again = again < at ? again : at;
        if (prng_below(prng, 10) == 0) {
            struct fx_batch batch = {.entries = &log->entries[at], .n = n};

            log->entries[at + n - 1].head->data[0] ^= 0x40;
            CHECK(fx_apply(fx, &batch) < 0);
            log->entries[at + n - 1].head->data[0] ^= 0x40;
        }
        if (prng_below(prng, 10) == 0) {
            fx_reopen(fx);
        }
        if (prng_below(prng, 5) == 0) {
            fx_settle(fx);
        }
        apply_some(fx, log, at - again, again + n, prng_below(prng, 2) == 0);
        at += n;
    }
}

/* Every file that ever was has the same bytes, or is gone, in both. */
static void same_files(struct fx *one, struct fx *two, const struct log *log)
{
    for (uint32_t i = 0; i < N_OPS; i++) {
        const struct zone_attr *attr = &log->results[i].obj;
        struct zone_op op = {.type = ZONE_OP_READ, .obj = {attr->ino, attr->gen}};

        if (!log->results[i].has_obj) {
            continue;
        }
        op.count = ZONE_IO_MAX;
        CHECK_INT(fx_read(two, op), fx_read(one, op));
        same_result(&two->result, &one->result);
    }
}

static void deterministic(uint64_t seed)
{
    static struct fx one;
    static struct fx two;
    static struct log log;
    struct prng prng;
    uint8_t a[32];
    uint8_t b[32];

    prng_seed(&prng, seed);
    memset(seq, 0, sizeof seq);
    noise_fill(&prng);
    fx_open(&one, "one", 4 << 20);
    fx_open(&two, "two", 4 << 20);
    make_log(&one, &prng, &log);
    replay_log(&two, &prng, &log);
    CHECK_UINT(zone_applied_index(two.zone), N_OPS);
    CHECK_UINT(fx_used(&two), fx_used(&one));
    fx_digest(&one, a);
    fx_digest(&two, b);
    CHECK_MEM(b, a, 32);
    same_files(&one, &two, &log);
    for (uint32_t i = 0; i < N_OPS; i++) {
        fx_free(&log.entries[i]);
        zone_result_clear(&log.results[i]);
    }
    fx_close(&one);
    fx_close(&two);
}

/* One log, one state: however it is cut into batches, restarted, replayed, and whether
 * payloads are in memory or read back, results and digest are equal. */
static void apply_is_deterministic(void)
{
    deterministic(1);
}

/* The same with another sequence. */
static void apply_is_deterministic_again(void)
{
    deterministic(2);
}

/* What a read of @obj answers, in one number. */
struct answer {
    int outcome;
    uint32_t nlink; /* 1 if there is no object. */
    uint32_t crc;
};

static struct answer answer_to(struct fx *fx, enum zone_op_type type,
                               struct zone_handle obj)
{
    struct zone_op op = {.type = type, .obj = obj};
    struct answer answer;
    struct buf *head = NULL;

    CHECK_UINT(zone_op_reads(&op).ino, obj.ino);
    op.access = 0x3f;
    op.count = type == ZONE_OP_READ ? ZONE_IO_MAX : 0;
    answer.outcome = fx_read(fx, op);
    answer.nlink = fx->result.has_obj ? fx->result.obj.nlink : 1;
    fx->result.index = 0;
    CHECK_INT(zone_result_encode(&fx->result, &head), 0);
    answer.crc = crc32c(0, head->data, head->len);
    answer.crc = crc32c(answer.crc, fx->result.data.data, fx->result.data.len);
    buf_unref(head);
    return answer;
}

static bool touches(const struct zone_op *op, uint64_t ino)
{
    uint64_t touched[ZONE_TOUCH_MAX];
    uint32_t n = zone_op_touches(op, touched);

    for (uint32_t i = 0; n != ZONE_TOUCH_ANY && i < n; i++) {
        if (touched[i] == ino) {
            return true;
        }
    }
    return n == ZONE_TOUCH_ANY;
}

enum { TOUCH_TYPES = 5 };

struct answers {
    struct zone_handle obj[POOL_MAX];
    struct answer of[POOL_MAX][TOUCH_TYPES];
    uint32_t n;
};

static void ask_all(struct fx *fx, struct answers *all)
{
    static const enum zone_op_type types[TOUCH_TYPES] = {
        ZONE_OP_GETATTR, ZONE_OP_ACCESS, ZONE_OP_READLINK, ZONE_OP_READ, ZONE_OP_COMMIT};

    for (uint32_t k = 0; k < all->n; k++) {
        for (uint32_t t = 0; t < TOUCH_TYPES; t++) {
            all->of[k][t] = answer_to(fx, types[t], all->obj[k]);
        }
    }
}

/* One entry with @op: how many answers changed about inodes that are not in its handles.
 * None may, unless the op says that it touches anything. */
static uint32_t check_touched(struct fx *fx, const struct zone_op *op, uint64_t index,
                              struct pool *pool, struct prng *prng)
{
    static struct answers before;
    static struct answers after;
    struct fx_entry entry;
    struct zone_result result;
    bool duplicate;
    struct fx_batch batch = {.entries = &entry,
                             .n = 1,
                             .here = true,
                             .results = &result,
                             .duplicates = &duplicate};
    uint32_t changed = 0;

    memcpy(before.obj, pool->obj, sizeof before.obj);
    before.n = pool->n;
    ask_all(fx, &before);
    fx_make(fx, op, index, fx->time_ns, &entry);
    CHECK_INT(fx_apply(fx, &batch), 0);
    after = before;
    ask_all(fx, &after);
    for (uint32_t k = 0; k < before.n; k++) {
        uint64_t ino = before.obj[k].ino;

        for (uint32_t t = 0; t < TOUCH_TYPES; t++) {
            bool same = before.of[k][t].crc == after.of[k][t].crc;

            CHECK(same || touches(op, ino) || before.of[k][t].nlink == 0);
            changed += !same && ino != op->obj.ino && ino != op->to.ino;
        }
    }
    keep(pool, prng, &result);
    fx_free(&entry);
    zone_result_clear(&result);
    return changed;
}

/* An op changes no answer about an inode that it does not say it touches, but for files
 * without a name: reads under a lease rest on that (docs/adr/0004-leases.md). The quota is
 * small, so that such files are purged, and the clock runs. */
static void ops_touch_what_they_say(void)
{
    static struct fx fx;
    struct pool pool = {0};
    struct prng prng;
    uint32_t changed = 0;

    prng_seed(&prng, 3);
    memset(seq, 0, sizeof seq);
    noise_fill(&prng);
    fx_open(&fx, "touch", 2 << 20);
    for (uint32_t i = 0; i < 1500; i++) {
        struct zone_op op = some_op(&prng, &pool);

        if (prng_below(&prng, 4) != 0) { /* So that most names are there. */
            op.to = fx_root;
            op.obj = op.type == ZONE_OP_SETATTR || op.type == ZONE_OP_WRITE ||
                             op.type == ZONE_OP_LINK
                         ? op.obj
                         : fx_root;
            op.cred = (struct zone_cred){0};
        }
        some_origin(&prng, &fx.origin);
        fx.time_ns += (int64_t)prng_below(&prng, 60 * FX_SECOND);
        changed += check_touched(&fx, &op, i + 1, &pool, &prng);
    }
    CHECK(changed > 200); /* There was something to find. */
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(ops_touch_what_they_say), CHECK_TEST(apply_is_deterministic),
          CHECK_TEST(apply_is_deterministic_again))
