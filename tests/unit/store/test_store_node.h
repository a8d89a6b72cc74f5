/* A member of tests on a disk that can fail: it applies the entries of a log and settles. */
#ifndef TEST_STORE_NODE_H
#define TEST_STORE_NODE_H

#include "lib/simdisk.h"
#include "store/vfs.h"
#include "test_store_fake.h"

/* A member on a disk of its own. */
struct node {
    struct simdisk *sim;
    struct journal *journal;
    struct store *store;
    struct store_settle *settle;
    struct model model; /* As of @applied. */
    uint64_t applied;
    uint64_t durable; /* The last index that a durable commit covered. */
    bool ran;
    const char *vfs;
    struct prng prng;
};

static inline int node_open(struct node *node, bool create)
{
    struct store_config config = {.disk = simdisk_disk(node->sim),
                                  .dir = "/set",
                                  .vfs = node->vfs,
                                  .journal = node->journal,
                                  .zone_id = {4, 5, 6},
                                  .create = create};

    return store_open(&config, &node->store);
}

static inline void node_init(struct node *node, const char *vfs, uint64_t seed)
{
    memset(node, 0, sizeof *node);
    prng_seed(&node->prng, seed);
    node->sim = simdisk_new(0);
    node->vfs = vfs;
    node->journal = calloc(1, sizeof *node->journal);
    CHECK(node->journal != NULL);
    model_init(&node->model);
    CHECK_INT(vfs_register(simdisk_disk(node->sim), vfs), 0);
    CHECK_INT(node_open(node, true), 0);
}

static inline void node_deinit(struct node *node)
{
    if (node->settle != NULL) {
        store_settle_abandon(node->store, node->settle);
    }
    store_close(node->store);
    vfs_unregister(node->vfs);
    simdisk_free(node->sim);
    model_deinit(&node->model);
    journal_clear(node->journal);
    free(node->journal);
}

static inline void model_at(struct model *model, uint64_t index)
{
    model_deinit(model);
    model_init(model);
    while (model->version < index) {
        model_apply(model, model->version + 1);
    }
}

/* Like store_apply_write, but a fault may end it anywhere. */
static inline int put_bytes(struct node *node, const struct entry *e)
{
    uint64_t old_size = e->old_size;
    size_t done = 0;
    int rv = 0;

    while (done < e->w.len && rv == 0) {
        uint64_t at = e->w.offset + done;
        size_t len = STORE_BLOCK - at % STORE_BLOCK;
        struct store_piece piece;

        len = len < e->w.len - done ? len : e->w.len - done;
        piece = (struct store_piece){
            .ino = fake_ino(e->w.file),
            .offset = at,
            .len = (uint32_t)len,
            .crc = crc32c(0, e->bytes + done, len),
            .place = journal_add(node->journal, e->bytes + done, len),
            .version = node->model.version,
            .old_size = old_size};
        rv = store_data_write(node->store, &piece);
        done += len;
        old_size = old_size > at + len ? old_size : at + len;
    }
    return rv;
}

static inline int apply_next(struct node *node)
{
    const struct entry *e = &entries[node->applied + 1];
    bool durable = prng_below(&node->prng, 6) == 0;
    struct store_inode inode = {.ino = fake_ino(e->w.file), .type = 1, .nlink = 1};
    int rv;

    model_apply(&node->model, node->applied + 1);
    inode.size = node->model.size[e->w.file];
    rv = store_begin(node->store);
    if (rv == 0) {
        rv = e->w.len > 0 ? put_bytes(node, e)
                          : store_data_resize(node->store, inode.ino, e->old_size,
                                              e->size, node->model.version);
    }
    if (rv == 0) {
        rv = store_inode_put(node->store, &inode);
    }
    if (rv == 0) {
        rv = store_number_set(node->store, STORE_APPLIED, node->applied + 1);
    }
    if (rv == 0) {
        rv = store_commit(node->store, durable);
    }
    store_rollback(node->store);
    if (rv == 0) {
        node->applied++;
        node->durable = durable ? node->applied : node->durable;
    }
    return rv;
}

static inline int settle_step(struct node *node)
{
    int rv;

    if (node->settle == NULL) {
        rv = store_settle_plan(node->store, 1 + prng_below(&node->prng, 1 << 20),
                               &node->settle);
        node->ran = false;
        if (rv == 0) {
            node->durable = node->applied;
        }
        return rv == OUT_NOENT ? 0 : rv;
    }
    if (!node->ran) {
        node->ran = true;
        return store_settle_run(node->settle);
    }
    rv = store_settle_finish(node->store, node->settle);
    node->settle = NULL;
    if (rv == 0) {
        node->durable = node->applied;
    }
    return rv;
}

/* The journal lets go of all that the store says it does not need: at any moment, since
 * neither a power cut nor the settle in flight may miss it later. */
static inline void forget(struct node *node)
{
    uint64_t floor;

    if (store_extent_floor(node->store, &floor) == 0) {
        journal_forget(node->journal, floor);
    }
}

#endif
