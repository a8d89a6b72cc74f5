/* Settling, the part that decides: which blocks, and what their rows become. */
#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"
#include "store/store_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    BLOCKS_MAX = 4096,      /* Of one plan. */
    SEEN_SLOTS = 16384,     /* Of the table of what a plan has. */
    EXTENTS_MAX = 65536,    /* Of one plan; the last block may exceed it. */
    GARBAGE_MAX = 1024,     /* Of one plan. */
    VACUUM_PLANS = 16,      /* One in so many that find nothing vacuums. */
    CHECKPOINT_PAGES = 2000 /* 8 MiB of WAL are worth a checkpoint. */
};

/* A plan being made. */
struct making {
    struct store *store;
    struct store_settle *settle;
    uint32_t *seen; /* Slots with 1 + place in settle->blocks; 0 free. */
    size_t cost;
    size_t max_bytes;
    size_t n_extents;
    bool rest; /* Leave what only holds the journal. */
    struct store_layers layers;
    struct store_inode inode; /* The last one looked up. */
};

struct store_settle_block *store_settle_find(struct store_settle *settle, uint64_t ino,
                                             uint64_t block)
{
    uint32_t low = 0;
    uint32_t high = settle != NULL ? settle->n_blocks : 0;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct store_settle_block *at = &settle->blocks[middle];

        if (at->ino == ino && at->block == block) {
            return at;
        }
        if (at->ino < ino || (at->ino == ino && at->block < block)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void store_settle_free(struct store_settle *settle)
{
    if (settle == NULL) {
        return;
    }
    for (uint32_t i = 0; i < settle->n_blocks; i++) {
        store_extents_free(&settle->blocks[i].extents);
        free(settle->blocks[i].small);
    }
    (void)pthread_mutex_destroy(&settle->write_lock);
    free(settle->blocks);
    free(settle->garbage);
    store_stale_free(&settle->stale);
    free(settle);
}

/* The block's slot in making->seen: taken, or the free one where it belongs. */
static uint32_t *seen_slot(struct making *making, uint64_t ino, uint64_t block)
{
    uint64_t hash = (ino * 0x9e3779b97f4a7c15u) ^ (block * 0xc2b2ae3d27d4eb4fu);
    uint32_t at = (uint32_t)(hash >> 32) % SEEN_SLOTS;

    for (;;) {
        uint32_t *slot = &making->seen[at];
        const struct store_settle_block *b;

        if (*slot == 0) {
            return slot;
        }
        b = &making->settle->blocks[*slot - 1];
        if (b->ino == ino && b->block == block) {
            return slot;
        }
        at = (at + 1) % SEEN_SLOTS; /* There are more slots than blocks. */
    }
}

static uint8_t covered_mask(const struct store_layers *layers)
{
    uint32_t mask = 0;

    for (size_t i = 0; i < layers->extents.n; i++) {
        const struct store_extent *e = &layers->extents.all[i];
        uint32_t first = (uint32_t)(e->offset % STORE_BLOCK) / STORE_SUBBLOCK;
        uint32_t last = (uint32_t)(e->offset % STORE_BLOCK + e->len - 1) / STORE_SUBBLOCK;

        for (uint32_t sub = first; sub <= last; sub++) {
            mask |= 1u << sub;
        }
    }
    return (uint8_t)mask;
}

static int inode_size(struct making *making, uint64_t ino, uint64_t *size)
{
    int rv = 0;

    if (making->inode.ino != ino) {
        rv = store_inode_get(making->store, ino, &making->inode);
        if (rv == OUT_NOENT) { /* Not this module's business; then by whole blocks. */
            making->inode = (struct store_inode){.ino = ino, .size = STORE_SIZE_UNKNOWN};
            rv = 0;
        }
    }
    *size = making->inode.size;
    return rv;
}

static int fill(struct making *making, struct store_settle_block *b)
{
    struct store_layers *layers = &making->layers;

    b->version = store_layers_version(layers);
    b->has_block = layers->has_block;
    b->mask = 0xff;
    b->base_lost = (layers->has_block && layers->block.bad) ||
                   (layers->has_inline && layers->small.bad);
    if (layers->has_block && !layers->block.bad) {
        memcpy(b->crcs, layers->block.crcs, sizeof b->crcs);
        b->mask = (uint8_t)(covered_mask(layers) | b->stale);
    } else {
        b->stale = 0; /* Nothing is read from the file. */
    }
    if (layers->has_inline && !layers->small.bad) {
        b->small = malloc(sizeof *b->small);
        if (b->small == NULL) {
            return -ENOMEM;
        }
        *b->small = layers->small;
    }
    return inode_size(making, b->ino, &b->size);
}

/* Sub-blocks whose bytes a plan before this one may have changed. */
static int stale_mask(struct making *making, uint64_t ino, uint64_t block, uint8_t *mask)
{
    sqlite3_stmt *stmt = NULL;
    int rv = store_db_row(&making->store->db, &stmt, SQL_MARK_GET, "ii", ino, block);

    *mask = 0;
    if (rv == 0) {
        *mask = (uint8_t)store_db_u64(stmt, 0);
        store_db_done(stmt);
    }
    return rv == OUT_NOENT ? 0 : rv;
}

/* Take the block into the plan, unless it is in it. */
static int take(struct making *making, uint64_t ino, uint64_t block)
{
    struct store_settle *settle = making->settle;
    struct store_settle_block *b = &settle->blocks[settle->n_blocks];
    uint32_t *slot = seen_slot(making, ino, block);
    uint8_t stale;
    int rv;

    if (*slot != 0) {
        return 0;
    }
    rv = store_layers_load(&making->store->db, ino, block, &making->layers);
    if (rv != 0) {
        return rv;
    }
    if (making->layers.extents.n == 0) {
        /* A mark whose block was dropped since. */
        return store_db_run(&making->store->db, SQL_MARK_DEL, "ii", ino, block);
    }
    /* A bad block is tried again when it was written to, or by the next life. */
    if (store_bad_hopeless(making->store, ino, block,
                           store_layers_version(&making->layers))) {
        return 0;
    }
    rv = stale_mask(making, ino, block, &stale);
    if (rv != 0) {
        return rv;
    }
    b->ino = ino;
    b->block = block;
    b->stale = stale;
    b->known_bad = store_bad_has(making->store, ino, block);
    rv = fill(making, b);
    settle->n_blocks++; /* From here on it is freed with the plan. */
    *slot = settle->n_blocks;
    b->extents = making->layers.extents;
    making->layers.extents = (struct store_extents){0};
    making->n_extents += b->extents.n;
    for (size_t i = 0; i < b->extents.n; i++) {
        const struct store_extent *e = &b->extents.all[i];

        if (e->kind == STORE_DATA && e->segment < settle->floor) {
            settle->floor = e->segment;
        }
    }
    making->cost += (size_t)__builtin_popcount(b->mask) * STORE_SUBBLOCK;
    return rv != 0 ? rv
                   : store_db_run(&making->store->db, SQL_MARK_PUT, "iii", ino, block,
                                  (uint64_t)(b->has_block ? b->mask : 0));
}

static bool full(const struct making *making)
{
    return making->cost >= making->max_bytes || making->settle->n_blocks == BLOCKS_MAX ||
           making->n_extents >= EXTENTS_MAX;
}

/* What a crash or a fault left marked. */
static int take_marks(struct making *making)
{
    struct marked {
        uint64_t ino;
        uint64_t block;
    } * marked;
    sqlite3_stmt *stmt = NULL;
    uint32_t n = 0;
    int rv;

    marked = calloc(BLOCKS_MAX, sizeof *marked);
    if (marked == NULL) {
        return -ENOMEM;
    }
    rv = store_db_row(&making->store->db, &stmt, SQL_MARK_ALL, "");
    while (rv == 0 && n < BLOCKS_MAX) {
        marked[n].ino = store_db_u64(stmt, 0);
        marked[n++].block = store_db_u64(stmt, 1);
        rv = store_db_next(&making->store->db, stmt);
    }
    if (rv == 0) {
        store_db_done(stmt);
    }
    rv = rv == OUT_NOENT ? 0 : rv;
    for (uint32_t i = 0; i < n && rv == 0 && !full(making); i++) {
        rv = take(making, marked[i].ino, marked[i].block);
    }
    free(marked);
    return rv;
}

/* Extents of segments from @segment on; only of that one if it is 0, the extents that
 * lie in no segment. */
static int take_extents(struct making *making, uint64_t segment)
{
    sqlite3_stmt *stmt = NULL;
    int rv = 0;

    if (full(making)) {
        return 0;
    }
    rv = store_db_row(&making->store->db, &stmt, SQL_EXTENT_OLDEST, "i", segment);
    while (rv == 0) {
        if (full(making) || (segment == 0 && store_db_u64(stmt, 0) != 0)) {
            break;
        }
        rv = take(making, store_db_u64(stmt, 1), store_db_u64(stmt, 2) / STORE_BLOCK);
        if (rv == 0) {
            rv = store_db_next(&making->store->db, stmt);
        }
    }
    if (rv == OUT_NOENT) {
        return 0;
    }
    store_db_done(stmt);
    return rv;
}

/* True if the inode has data in that pull's folder. */
static int still_pulled(struct store *store, const struct store_garbage *garbage,
                        bool *used)
{
    sqlite3_stmt *stmt = NULL;
    struct store_extent extent;
    int rv;

    *used = false;
    rv = store_db_row(&store->db, &stmt, SQL_EXTENT_OF, "i", garbage->ino);
    while (rv == 0) {
        rv = store_extent_row(stmt, &extent);
        if (rv != 0 ||
            (extent.kind == STORE_PULLED && extent.place == garbage->generation)) {
            *used = true;
            store_db_done(stmt);
            return rv;
        }
        rv = store_db_next(&store->db, stmt);
    }
    return rv == OUT_NOENT ? 0 : rv;
}

static int judge_garbage(struct store *store, struct store_garbage *garbage)
{
    sqlite3_stmt *stmt = NULL;
    struct store_block last;
    int rv;

    if (garbage->generation != 0) {
        garbage->remove = true;
        return still_pulled(store, garbage, &garbage->keep);
    }
    rv = store_db_row(&store->db, &stmt, SQL_BLOCK_LAST, "i", garbage->ino);
    if (rv == OUT_NOENT) {
        garbage->remove = true; /* No row reads from the file. */
        store_files_drop(store, garbage->ino);
        return 0;
    }
    if (rv == 0) {
        rv = store_block_row(stmt, &last);
        store_db_done(stmt);
    }
    if (rv == 0) {
        garbage->length = (last.block + 1) * STORE_BLOCK;
    }
    return rv;
}

static int take_garbage(struct making *making)
{
    struct store_settle *settle = making->settle;
    sqlite3_stmt *stmt = NULL;
    int rv;

    rv = store_db_row(&making->store->db, &stmt, SQL_GARBAGE_ALL, "");
    while (rv == 0 && settle->n_garbage < GARBAGE_MAX) {
        settle->garbage[settle->n_garbage++] =
            (struct store_garbage){.generation = store_db_u64(stmt, 0),
                                   .ino = store_db_u64(stmt, 1),
                                   .stamp = store_db_u64(stmt, 2)};
        rv = store_db_next(&making->store->db, stmt);
    }
    if (rv == 0) {
        store_db_done(stmt);
    }
    rv = rv == OUT_NOENT ? 0 : rv;
    for (uint32_t i = 0; i < settle->n_garbage && rv == 0; i++) {
        rv = judge_garbage(making->store, &settle->garbage[i]);
    }
    return rv;
}

static int by_place(const void *a, const void *b)
{
    const struct store_settle_block *x = a;
    const struct store_settle_block *y = b;

    if (x->ino != y->ino) {
        return x->ino < y->ino ? -1 : 1;
    }
    return x->block < y->block ? -1 : x->block > y->block;
}

/* While there is data to settle, meta.db's room has to wait. Plans that are not of the rest
 * come as often as entries, also when they find nothing. */
static bool has_time(const struct making *making)
{
    const struct store_settle *settle = making->settle;

    return making->rest || (settle->n_blocks == 0 && settle->n_garbage == 0 &&
                            !settle->cut && making->store->bad.plans % VACUUM_PLANS == 0);
}

static int vacuum(struct making *making)
{
    bool did = false;
    int rv = store_vacuum_step(making->store, &did);

    making->settle->cut = making->settle->cut || did;
    making->settle->checkpoint = did; /* It is what cuts the file. */
    return rv;
}

static int choose(struct making *making)
{
    int rv = store_cut_step(making->store, &making->settle->cut);

    if (rv == 0) {
        rv = take_garbage(making);
    }
    if (rv == 0) {
        rv = take_marks(making);
    }
    /* Garbage goes before new blocks of the same file come, so that cutting it off
     * never has to look for them. */
    if (rv == 0 && !making->rest && making->settle->n_garbage < GARBAGE_MAX) {
        rv = take_extents(making, 1);
    }
    if (rv == 0 && making->settle->n_garbage < GARBAGE_MAX) {
        rv = take_extents(making, 0);
    }
    return rv == 0 && has_time(making) ? vacuum(making) : rv;
}

static struct store_settle *settle_new(struct store *store)
{
    struct store_settle *settle = calloc(1, sizeof *settle);

    if (settle == NULL) {
        return NULL;
    }
    (void)pthread_mutex_init(&settle->write_lock, NULL);
    settle->store = store;
    settle->floor = UINT64_MAX;
    settle->blocks = calloc(BLOCKS_MAX, sizeof *settle->blocks);
    settle->garbage = calloc(GARBAGE_MAX, sizeof *settle->garbage);
    if (settle->blocks == NULL || settle->garbage == NULL) {
        store_settle_free(settle);
        return NULL;
    }
    return settle;
}

static bool wants_checkpoint(struct store *store)
{
    int frames = store->wal_frames;

    if (frames < store->wal_checked) {
        store->wal_checked = 0; /* The WAL began anew. */
    }
    return frames - store->wal_checked > CHECKPOINT_PAGES;
}

/*
 * Between the view of a pull and STORE_SERVE_FROM, a pulled block may hold bytes beyond
 * its file's end: they belong to a write that is not applied yet. Cutting the file to its
 * length (fit_length) would take them from under their CRC. OUT_NOENT until then.
 */
static int may_settle(struct store *store)
{
    uint64_t serve_from = 0;
    uint64_t applied = 0;
    int rv = store_number_get(store, STORE_SERVE_FROM, &serve_from);

    if (rv == OUT_NOENT) {
        return 0;
    }
    if (rv == 0) {
        rv = store_number_get(store, STORE_APPLIED, &applied);
    }
    return rv == 0 && applied < serve_from ? OUT_NOENT : rv;
}

static int plan(struct store *store, size_t max_bytes, bool rest,
                struct store_settle **out)
{
    struct making making = {.store = store, .max_bytes = max_bytes, .rest = rest};
    int rv;

    ASSERT(!store->in_txn && store->settle == NULL);
    store->bad.plans++;
    rv = may_settle(store);
    if (rv != 0) {
        return rv;
    }
    making.settle = settle_new(store);
    making.seen = calloc(SEEN_SLOTS, sizeof *making.seen);
    if (making.settle == NULL || making.seen == NULL) {
        rv = -ENOMEM;
        goto out;
    }
    rv = store_begin(store);
    if (rv == 0) {
        rv = choose(&making);
    }
    making.settle->checkpoint = making.settle->checkpoint || wants_checkpoint(store);
    if (rv == 0 && making.settle->n_blocks == 0 && making.settle->n_garbage == 0 &&
        !making.settle->checkpoint && !making.settle->cut) {
        rv = OUT_NOENT;
    }
    if (rv == 0) {
        rv = store_commit(store, true);
    }
    if (rv != 0) {
        goto out;
    }
    store->more = rest && (full(&making) || making.settle->n_garbage == GARBAGE_MAX);
    qsort(making.settle->blocks, making.settle->n_blocks, sizeof *making.settle->blocks,
          by_place);
    rv = store_stale_plan(making.settle);
    if (rv != 0) {
        goto out; /* The marks stay. */
    }
    store->settle = making.settle;
    *out = making.settle;
    making.settle = NULL;
out:
    store_rollback(store);
    store_extents_free(&making.layers.extents);
    free(making.seen);
    store_settle_free(making.settle);
    return rv;
}

int store_settle_plan(struct store *store, size_t max_bytes, struct store_settle **out)
{
    return plan(store, max_bytes, false, out);
}

int store_settle_plan_rest(struct store *store, size_t max_bytes,
                           struct store_settle **out)
{
    int rv;

    store->more = false;
    rv = plan(store, max_bytes, true, out);
    if (rv == OUT_NOENT) {
        int later = may_settle(store);

        store->rest = later == OUT_NOENT;
        return later < 0 ? later : rv;
    }
    return rv;
}

bool store_settle_rest(const struct store *store)
{
    return store->rest;
}

int store_settle_plan_wal(struct store *store, struct store_settle **out)
{
    struct store_settle *settle;

    ASSERT(!store->in_txn && store->settle == NULL);
    if (!store_wal_is_long(store)) {
        return OUT_NOENT;
    }
    settle = settle_new(store);
    if (settle == NULL) {
        return -ENOMEM;
    }
    settle->checkpoint = true;
    settle->wal = true;
    store->settle = settle;
    *out = settle;
    return 0;
}

bool store_settle_more(const struct store *store)
{
    return store->more;
}

/*
 * The planned block now lies in the file. It becomes the base if anything that the plan
 * took in is still part of the block; if all of it was cut off or overwritten since, and
 * there was no base before, nothing below the newer extents may come back.
 */
static int install(struct store *store, const struct store_settle_block *b)
{
    struct store_layers *layers = &store->layers;
    struct store_block row = {.ino = b->ino, .block = b->block, .version = b->version};
    bool alive;
    int rv;

    rv = store_layers_load(&store->db, b->ino, b->block, layers);
    if (rv != 0) {
        return rv;
    }
    alive =
        layers->has_block || (layers->has_inline && layers->small.version <= b->version);
    for (size_t i = 0; i < layers->extents.n && rv == 0; i++) {
        const struct store_extent *e = &layers->extents.all[i];

        if (e->version <= b->version) {
            alive = true;
            rv = store_extent_remove(store, e);
        }
    }
    if (rv != 0 || !alive) {
        return rv;
    }
    if (layers->has_inline) {
        rv = store_db_run(&store->db, SQL_INLINE_DEL, "i", b->ino);
    }
    if (rv == 0 && !layers->has_block) {
        rv = store_cut_one(store, b->ino, b->block);
    }
    memcpy(row.crcs, b->fresh, sizeof row.crcs);
    store->now.blocks += layers->has_block ? 0 : 1;
    return rv == 0 ? store_block_put(&store->db, &row) : rv;
}

/* A bad block is left as it was: its mark too, if bytes of it may have changed. */
static int finish_block(struct store *store, const struct store_settle_block *b)
{
    uint8_t changed = b->stale;
    int rv = 0;

    if (b->bad) {
        store_bad_tried(store, b);
        rv = b->kept ? store_keep_finish(store, b) : 0;
        if (rv != 0) {
            return rv;
        }
        changed |= b->torn && b->has_block ? b->mask : 0;
        if (changed != 0 || b->torn) {
            return store_db_run(&store->db, SQL_MARK_PUT, "iii", b->ino, b->block,
                                (uint64_t)changed);
        }
    } else {
        store_bad_del(store, b->ino, b->block);
        rv = install(store, b);
    }
    return rv == 0 ? store_db_run(&store->db, SQL_MARK_DEL, "ii", b->ino, b->block) : rv;
}

int store_settle_finish(struct store *store, struct store_settle *settle)
{
    int rv;

    ASSERT(store->settle == settle && settle != NULL && !store->in_txn);
    if (settle->wal) {
        store->settle = NULL;
        store_settle_free(settle);
        return store_wal_restart(store);
    }
    rv = store_begin(store);
    for (uint32_t i = 0; i < settle->n_blocks && rv == 0; i++) {
        rv = finish_block(store, &settle->blocks[i]);
    }
    for (uint32_t i = 0; i < settle->n_garbage && rv == 0; i++) {
        const struct store_garbage *g = &settle->garbage[i];

        rv = g->failed ? 0
                       : store_db_run(&store->db, SQL_GARBAGE_DEL, "iii", g->generation,
                                      g->ino, g->stamp);
    }
    if (rv == 0) {
        rv = store_commit(store, true);
    }
    store_rollback(store);
    store_stale_adopt(store, settle);
    store->settle = NULL;
    store_settle_free(settle);
    return rv;
}

/* Marks stay: the next plan takes their blocks first and knows what may have changed.
 * A plan that was never run has changed nothing beyond what was marked before it. */
void store_settle_abandon(struct store *store, struct store_settle *settle)
{
    int rv = 0;

    ASSERT(store->settle == settle && settle != NULL);
    if (!settle->started && !settle->wal && !store->in_txn) {
        rv = store_begin(store);
        for (uint32_t i = 0; i < settle->n_blocks && rv == 0; i++) {
            const struct store_settle_block *b = &settle->blocks[i];

            rv = b->stale != 0
                     ? store_db_run(&store->db, SQL_MARK_PUT, "iii", b->ino, b->block,
                                    (uint64_t)b->stale)
                     : store_db_run(&store->db, SQL_MARK_DEL, "ii", b->ino, b->block);
        }
        if (rv == 0) {
            rv = store_commit(store, false);
        }
        store_rollback(store);
        if (rv != 0) {
            log_warn("store", "msg=\"marks of a plan stay\" fault=%d", rv);
        }
    }
    store_stale_adopt(store, settle);
    store->settle = NULL;
    store_settle_free(settle);
}
