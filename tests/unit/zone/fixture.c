#include "fixture.h"

#include "base/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    SEGMENT_BYTES = 4 << 20,
    BATCH_MAX = 256,
};

const struct zone_handle fx_root = {.ino = ZONE_ROOT_INO, .gen = ZONE_ROOT_GEN};

static const struct zone_genesis genesis_base = {
    .root_mode = 0777,
    .time_ns = FX_TIME,
};

static int no_sync(struct disk *disk, struct disk_file *file)
{
    (void)disk;
    (void)file;
    return 0;
}

static struct disk *lazy_disk(void)
{
    static struct disk_ops ops;
    static struct disk disk;

    ops = *disk_posix()->ops;
    ops.datasync = no_sync;
    disk.ops = &ops;
    return &disk;
}

static int ignore(void *ctx, const struct journal_entry *entry)
{
    (void)ctx;
    (void)entry;
    return 0;
}

static void open_all(struct fx *fx, bool create)
{
    struct journal_config journal = {
        .disk = lazy_disk(),
        .dir = fx->journal_dir,
        .segment_bytes = SEGMENT_BYTES,
        .spare_segments = 1,
        .create = create,
    };
    struct journal_state state;
    struct store_config config = {
        .disk = lazy_disk(),
        .dir = fx->dir,
        .create = create,
    };
    struct zone_genesis genesis = genesis_base;

    genesis.quota_bytes = fx->quota;
    CHECK_INT(journal_open(&journal, &state, ignore, NULL, &fx->journal), 0);
    config.journal = fx->journal;
    CHECK_INT(store_open(&config, &fx->store), 0);
    CHECK_INT(zone_open(fx->store, &genesis, &fx->zone), 0);
}

void fx_open(struct fx *fx, const char *name, uint64_t quota)
{
    memset(fx, 0, sizeof *fx);
    fx->quota = quota;
    fx->time_ns = FX_TIME;
    (void)snprintf(fx->dir, sizeof fx->dir, "%s/%s", check_tmpdir(), name);
    (void)snprintf(fx->journal_dir, sizeof fx->journal_dir, "%s/journal", fx->dir);
    CHECK_INT(mkdir(fx->dir, 0700), 0);
    open_all(fx, true);
}

static void close_all(struct fx *fx)
{
    zone_close(fx->zone);
    store_close(fx->store);
    journal_close(fx->journal);
}

void fx_close(struct fx *fx)
{
    zone_result_clear(&fx->result);
    close_all(fx);
}

void fx_reopen(struct fx *fx)
{
    uint64_t index = zone_applied_index(fx->zone);

    close_all(fx);
    open_all(fx, false);
    CHECK_UINT(zone_applied_index(fx->zone), index);
}

void fx_make(struct fx *fx, const struct zone_op *op, uint64_t index, int64_t time_ns,
             struct fx_entry *out)
{
    struct zone_entry entry = {.origin = fx->origin};
    struct zone_op sealed = *op;
    struct buf *body = NULL;

    memset(out, 0, sizeof *out);
    memcpy(entry.rpc_key, fx->rpc_key, sizeof entry.rpc_key);
    if (op->type == ZONE_OP_WRITE) {
        zone_op_seal(&sealed);
    }
    CHECK_INT(zone_op_encode(&sealed, &body), 0);
    entry.op = slice_borrow(body->data, body->len);
    CHECK_INT(zone_entry_encode(&entry, &out->head), 0);
    zone_entry_stamp(out->head->data, out->head->len, time_ns);
    buf_unref(body);
    if (op->data.len > 0) {
        out->payload = buf_copy(op->data.data, op->data.len);
        CHECK(out->payload != NULL);
    }
    out->index = index;
}

void fx_free(struct fx_entry *entry)
{
    buf_unref(entry->head);
    buf_unref(entry->payload);
    memset(entry, 0, sizeof *entry);
}

int fx_apply(struct fx *fx, const struct fx_batch *batch)
{
    static struct zone_apply_item items[BATCH_MAX];
    static struct journal_entry entries[BATCH_MAX];
    struct journal_batch append = {0};
    uint32_t old = 0; /* Entries that are applied, so in the journal for good. */
    int rv;

    CHECK(batch->n <= BATCH_MAX);
    memset(items, 0, sizeof items);
    memset(entries, 0, sizeof entries);
    for (uint32_t i = 0; i < batch->n; i++) {
        const struct fx_entry *from = &batch->entries[i];

        old += from->index <= zone_applied_index(fx->zone) ? 1 : 0;
        entries[i].index = from->index;
        entries[i].term = 1;
        entries[i].type = 1;
        entries[i].head = slice_borrow(from->head->data, from->head->len);
        if (from->payload != NULL) {
            entries[i].payload = slice_borrow(from->payload->data, from->payload->len);
        }
    }
    append.entries = entries + old;
    append.n_entries = batch->n - old;
    CHECK_INT(journal_append(fx->journal, &append), 0);
    for (uint32_t i = 0; i < batch->n; i++) {
        items[i].index = entries[i].index;
        items[i].term = 1;
        items[i].kind = ZONE_APPLY_COMMAND;
        items[i].head = entries[i].head;
        items[i].payload = batch->here ? entries[i].payload : (struct slice){0};
        items[i].place = entries[i].place;
    }
    rv = zone_apply(fx->zone, items, batch->n);
    for (uint32_t i = 0; i < batch->n; i++) {
        if (batch->duplicates != NULL) {
            batch->duplicates[i] = items[i].duplicate;
        }
        if (batch->touched != NULL) {
            batch->touched[i] = items[i].touched;
        }
        if (batch->results != NULL) {
            batch->results[i] = items[i].result;
        } else {
            zone_result_clear(&items[i].result);
        }
    }
    return rv;
}

/* What is told of an op before it is applied (zone/op_touch.c) covers what it changes,
 * but for the inode that it makes and unlinked files that made room. */
static void check_touched(const struct fx *fx, const struct zone_op *op,
                          const struct zone_result *result)
{
    uint64_t may[ZONE_TOUCH_MAX];
    uint32_t n_may = zone_op_touches(op, may);

    CHECK(result->outcome == 0 || fx->touched.n == 0 || fx->duplicate);
    for (uint32_t i = 0; i < fx->touched.n && i < STORE_TOUCHED_MAX; i++) {
        uint64_t ino = fx->touched.ino[i];
        bool covered =
            n_may == ZONE_TOUCH_ANY ||
            (result->has_obj && ino == result->obj.ino && result->obj.gen == fx->index);
        struct store_inode inode;

        for (uint32_t k = 0; n_may != ZONE_TOUCH_ANY && k < n_may; k++) {
            covered = covered || may[k] == ino;
        }
        CHECK(covered || store_inode_get(fx->store, ino, &inode) == OUT_NOENT);
    }
}

int fx_run(struct fx *fx, struct zone_op op)
{
    struct fx_entry entry;
    struct zone_result result;
    struct fx_batch batch = {.entries = &entry, .n = 1, .here = true};

    batch.results = &result;
    batch.duplicates = &fx->duplicate;
    batch.touched = &fx->touched;
    op.cred = fx->cred;
    fx->time_ns += 1000000;
    fx_make(fx, &op, ++fx->index, fx->time_ns, &entry);
    CHECK_INT(fx_apply(fx, &batch), 0);
    check_touched(fx, &op, &result);
    fx_free(&entry);
    zone_result_clear(&fx->result);
    fx->result = result;
    return result.outcome;
}

int fx_read(struct fx *fx, struct zone_op op)
{
    op.cred = fx->cred;
    zone_result_clear(&fx->result);
    CHECK_INT(zone_read(fx->zone, &op, &fx->result), 0);
    return fx->result.outcome;
}

void fx_settle(struct fx *fx)
{
    struct store_settle *settle = NULL;
    int rv = store_settle_plan(fx->store, 4 << 20, &settle);

    if (rv == OUT_NOENT) {
        return;
    }
    CHECK_INT(rv, 0);
    CHECK_INT(store_settle_run(settle), 0);
    CHECK_INT(store_settle_finish(fx->store, settle), 0);
}

struct slice fx_str(const char *text)
{
    return slice_borrow(text, strlen(text));
}

struct zone_handle fx_obj(const struct fx *fx)
{
    CHECK(fx->result.has_obj);
    return (struct zone_handle){.ino = fx->result.obj.ino, .gen = fx->result.obj.gen};
}

static struct zone_op make(enum zone_op_type type, struct zone_handle dir,
                           const char *name)
{
    struct zone_op op = {.type = type, .obj = dir};

    op.name = fx_str(name);
    return op;
}

int fx_create(struct fx *fx, struct zone_handle dir, const char *name, uint32_t mode)
{
    struct zone_op op = make(ZONE_OP_CREATE, dir, name);

    op.how = ZONE_GUARDED;
    op.sattr.set = ZONE_SET_MODE;
    op.sattr.mode = mode;
    return fx_run(fx, op);
}

int fx_mkdir(struct fx *fx, struct zone_handle dir, const char *name, uint32_t mode)
{
    struct zone_op op = make(ZONE_OP_MKDIR, dir, name);

    op.sattr.set = ZONE_SET_MODE;
    op.sattr.mode = mode;
    return fx_run(fx, op);
}

int fx_symlink(struct fx *fx, struct zone_handle dir, const char *name,
               const char *target)
{
    struct zone_op op = make(ZONE_OP_SYMLINK, dir, name);

    op.to_name = fx_str(target);
    return fx_run(fx, op);
}

int fx_remove(struct fx *fx, struct zone_handle dir, const char *name)
{
    return fx_run(fx, make(ZONE_OP_REMOVE, dir, name));
}

int fx_rmdir(struct fx *fx, struct zone_handle dir, const char *name)
{
    return fx_run(fx, make(ZONE_OP_RMDIR, dir, name));
}

int fx_rename(struct fx *fx, struct zone_handle dir, const char *name,
              struct zone_handle to, const char *to_name)
{
    struct zone_op op = make(ZONE_OP_RENAME, dir, name);

    op.to = to;
    op.to_name = fx_str(to_name);
    return fx_run(fx, op);
}

int fx_link(struct fx *fx, struct zone_handle obj, struct zone_handle dir,
            const char *name)
{
    struct zone_op op = {.type = ZONE_OP_LINK, .obj = obj, .to = dir};

    op.to_name = fx_str(name);
    return fx_run(fx, op);
}

int fx_write(struct fx *fx, struct zone_handle obj, uint64_t offset, struct slice data)
{
    struct zone_op op = {.type = ZONE_OP_WRITE, .obj = obj, .offset = offset};

    op.data = data;
    return fx_run(fx, op);
}

int fx_chmod(struct fx *fx, struct zone_handle obj, uint32_t mode)
{
    struct zone_op op = {.type = ZONE_OP_SETATTR, .obj = obj};

    op.sattr.set = ZONE_SET_MODE;
    op.sattr.mode = mode;
    return fx_run(fx, op);
}

int fx_truncate(struct fx *fx, struct zone_handle obj, uint64_t size)
{
    struct zone_op op = {.type = ZONE_OP_SETATTR, .obj = obj};

    op.sattr.set = ZONE_SET_SIZE;
    op.sattr.size = size;
    return fx_run(fx, op);
}

int fx_lookup(struct fx *fx, struct zone_handle dir, const char *name)
{
    return fx_read(fx, make(ZONE_OP_LOOKUP, dir, name));
}

int fx_getattr(struct fx *fx, struct zone_handle obj)
{
    return fx_read(fx, (struct zone_op){.type = ZONE_OP_GETATTR, .obj = obj});
}

int fx_get(struct fx *fx, struct zone_handle obj, uint64_t offset, uint32_t count)
{
    return fx_read(
        fx, (struct zone_op){
                .type = ZONE_OP_READ, .obj = obj, .offset = offset, .count = count});
}

struct zone_handle fx_file(struct fx *fx, struct zone_handle dir, const char *name)
{
    CHECK_INT(fx_create(fx, dir, name, 0644), 0);
    return fx_obj(fx);
}

struct zone_handle fx_dir(struct fx *fx, struct zone_handle dir, const char *name)
{
    CHECK_INT(fx_mkdir(fx, dir, name, 0755), 0);
    return fx_obj(fx);
}

void fx_as(struct fx *fx, uint32_t uid, uint32_t gid)
{
    fx->cred = (struct zone_cred){.uid = uid, .gid = gid};
}

uint64_t fx_used(struct fx *fx)
{
    struct zone_usage usage;

    zone_usage(fx->zone, &usage);
    return usage.used_bytes;
}

void fx_digest(struct fx *fx, uint8_t out[32])
{
    CHECK_INT(store_digest(fx->store, out), 0);
}
