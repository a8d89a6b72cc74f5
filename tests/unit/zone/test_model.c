/* A plain model of a file system in memory, and random ops as root without a quota: apply
 * answers and keeps what the model does. */
#include "base/outcome.h"
#include "base/prng.h"
#include "base/wire.h"
#include "fixture.h"

#include <string.h>

enum {
    N_NAMES = 8,
    NODES_MAX = 200,
    SIZE_MAX_MODEL = 24000,
    MODEL_OPS = 4000,
};

static uint8_t noise[SIZE_MAX_MODEL];

static void noise_fill(struct prng *prng)
{
    for (size_t i = 0; i < sizeof noise; i += 8) {
        wire_store_u64(noise + i, prng_next(prng) | 0x0101010101010101ull);
    }
}

struct node {
    bool alive;
    struct zone_handle obj;
    enum zone_type type;
    uint32_t nlink;
    uint32_t mode;
    uint64_t size;
    uint64_t used;
    int64_t mtime;
    int64_t ctime;
    int64_t orphaned;
    int parent;
    uint32_t entries;
    int child[N_NAMES];    /* -1: none. */
    uint64_t seq[N_NAMES]; /* In which order the names are listed. */
    uint8_t data[SIZE_MAX_MODEL];
};

struct model {
    struct node nodes[NODES_MAX];
    uint64_t next_seq;
    int64_t last_ns;
    int made; /* By the last op; -1: nothing. */
};

static struct model model;

static int node_new(enum zone_type type, uint32_t mode, int64_t now)
{
    for (int i = 0; i < NODES_MAX; i++) {
        struct node *node = &model.nodes[i];

        if (!node->alive) {
            memset(node, 0, sizeof *node);
            node->alive = true;
            node->type = type;
            node->mode = mode;
            node->nlink = type == ZONE_DIR ? 2 : 1;
            node->mtime = now;
            node->ctime = now;
            memset(node->child, 0xff, sizeof node->child);
            return i;
        }
    }
    return -1;
}

static void touch(struct node *node, int64_t now)
{
    node->mtime = now;
    node->ctime = now;
}

static void name_set(struct node *dir, int name, int child, int64_t now)
{
    dir->entries += dir->child[name] < 0 && child >= 0 ? 1 : 0;
    dir->entries -= dir->child[name] >= 0 && child < 0 ? 1 : 0;
    dir->child[name] = child;
    dir->seq[name] = model.next_seq++;
    touch(dir, now);
}

static void node_unlink(struct node *node, int64_t now)
{
    if (node->type == ZONE_DIR) {
        node->alive = false;
        return;
    }
    node->nlink--;
    node->ctime = now;
    if (node->nlink == 0) {
        node->alive = node->type == ZONE_REG;
        node->orphaned = now;
    }
}

static void model_resize(struct node *node, uint64_t size, int64_t now)
{
    uint64_t most = (size + 4095) / 4096 * 4096;

    if (size < node->size) {
        memset(node->data + size, 0, SIZE_MAX_MODEL - size);
    }
    node->size = size;
    node->used = node->used < most ? node->used : most;
    touch(node, now);
}

struct step {
    enum zone_op_type type;
    int obj; /* Nodes. */
    int to;
    int name;
    int to_name;
    bool guarded;
    uint64_t offset;
    uint64_t len;
    int64_t now;
};

static int model_make(const struct step *step, enum zone_type type)
{
    struct node *dir = &model.nodes[step->obj];
    int i;

    if (dir->type != ZONE_DIR) {
        return OUT_NOTDIR;
    }
    if (dir->child[step->name] >= 0) {
        struct node *old = &model.nodes[dir->child[step->name]];

        if (step->type == ZONE_OP_CREATE && !step->guarded && old->type == ZONE_REG) {
            model.made = dir->child[step->name];
            return 0;
        }
        return OUT_EXIST;
    }
    i = node_new(type, type == ZONE_LNK ? 0777 : 0755, step->now);
    CHECK(i >= 0);
    model.nodes[i].parent = step->obj;
    dir->nlink += type == ZONE_DIR ? 1 : 0;
    if (type == ZONE_LNK) {
        model.nodes[i].size = step->len;
        model.nodes[i].used = (step->len + 511) / 512 * 512;
        memcpy(model.nodes[i].data, noise, step->len);
    }
    name_set(dir, step->name, i, step->now);
    model.made = i;
    return 0;
}

static int model_remove(const struct step *step)
{
    struct node *dir = &model.nodes[step->obj];
    struct node *victim;

    if (dir->type != ZONE_DIR) {
        return OUT_NOTDIR;
    }
    if (dir->child[step->name] < 0) {
        return OUT_NOENT;
    }
    victim = &model.nodes[dir->child[step->name]];
    if (step->type == ZONE_OP_REMOVE && victim->type == ZONE_DIR) {
        return OUT_ISDIR;
    }
    if (step->type == ZONE_OP_RMDIR) {
        if (victim->type != ZONE_DIR) {
            return OUT_NOTDIR;
        }
        if (victim->entries > 0) {
            return OUT_NOTEMPTY;
        }
        dir->nlink--;
    }
    name_set(dir, step->name, -1, step->now);
    node_unlink(victim, step->now);
    return 0;
}

static int model_link(const struct step *step)
{
    struct node *file = &model.nodes[step->obj];
    struct node *dir = &model.nodes[step->to];

    if (dir->type != ZONE_DIR) {
        return OUT_NOTDIR;
    }
    if (file->type == ZONE_DIR) {
        return OUT_INVAL;
    }
    if (dir->child[step->to_name] >= 0) {
        return OUT_EXIST;
    }
    if (file->nlink == 0) {
        return OUT_NOENT;
    }
    file->nlink++;
    file->ctime = step->now;
    name_set(dir, step->to_name, step->obj, step->now);
    return 0;
}

static bool is_below(int node, int ancestor)
{
    while (node != 0 && node != ancestor) {
        node = model.nodes[node].parent;
    }
    return node == ancestor;
}

static int model_rename(const struct step *step)
{
    struct node *from = &model.nodes[step->obj];
    struct node *to = &model.nodes[step->to];
    uint64_t seq;
    int child;
    int victim;
    bool dir;

    if (from->type != ZONE_DIR || to->type != ZONE_DIR) {
        return OUT_NOTDIR;
    }
    child = from->child[step->name];
    victim = to->child[step->to_name];
    if (child < 0) {
        return OUT_NOENT;
    }
    if (child == victim) {
        return 0;
    }
    dir = model.nodes[child].type == ZONE_DIR;
    if (dir && is_below(step->to, child)) {
        return OUT_INVAL;
    }
    if (victim >= 0) {
        struct node *old = &model.nodes[victim];

        if (dir != (old->type == ZONE_DIR)) {
            return dir ? OUT_NOTDIR : OUT_ISDIR;
        }
        if (dir && old->entries > 0) {
            return OUT_NOTEMPTY;
        }
        to->nlink -= dir ? 1 : 0;
        node_unlink(old, step->now);
    }
    seq = victim >= 0 ? to->seq[step->to_name] : from->seq[step->name];
    name_set(from, step->name, -1, step->now);
    name_set(to, step->to_name, child, step->now);
    if (victim >= 0 || from == to) {
        to->seq[step->to_name] = seq; /* It keeps a place in the listing. */
    }
    model.nodes[child].ctime = step->now;
    if (dir) {
        model.nodes[child].parent = step->to;
        from->nlink--;
        to->nlink++;
    }
    return 0;
}

static int model_data(const struct step *step)
{
    struct node *node = &model.nodes[step->obj];
    uint64_t end = step->offset + step->len;
    uint64_t units = (end + 4095) / 4096 * 4096 - step->offset / 4096 * 4096;
    uint64_t most;

    if (node->type != ZONE_REG) {
        return node->type == ZONE_DIR ? OUT_ISDIR : OUT_INVAL;
    }
    if (step->type == ZONE_OP_SETATTR) {
        model_resize(node, step->offset, step->now);
        return 0;
    }
    if (step->len == 0) {
        return 0;
    }
    memcpy(node->data + step->offset, noise, step->len);
    node->size = end > node->size ? end : node->size;
    most = (node->size + 4095) / 4096 * 4096;
    node->used = node->used + units < most ? node->used + units : most;
    touch(node, step->now);
    return 0;
}

static int model_step(const struct step *step)
{
    model.made = -1;
    if (!model.nodes[step->obj].alive) {
        return OUT_STALE;
    }
    if ((step->type == ZONE_OP_RENAME || step->type == ZONE_OP_LINK) &&
        !model.nodes[step->to].alive) {
        return step->type == ZONE_OP_RENAME && model.nodes[step->obj].type != ZONE_DIR
                   ? OUT_NOTDIR
                   : OUT_STALE;
    }
    switch ((int)step->type) {
    case ZONE_OP_CREATE:
        return model_make(step, ZONE_REG);
    case ZONE_OP_MKDIR:
        return model_make(step, ZONE_DIR);
    case ZONE_OP_SYMLINK:
        return model_make(step, ZONE_LNK);
    case ZONE_OP_MKNOD:
        return model_make(step, ZONE_FIFO);
    case ZONE_OP_REMOVE:
    case ZONE_OP_RMDIR:
        return model_remove(step);
    case ZONE_OP_LINK:
        return model_link(step);
    case ZONE_OP_RENAME:
        return model_rename(step);
    default:
        return model_data(step);
    }
}

/* Orphans of ten minutes ago go when a second of zone time begins. */
static void model_pass(int64_t now)
{
    if (now / FX_SECOND != model.last_ns / FX_SECOND) {
        for (int i = 0; i < NODES_MAX; i++) {
            struct node *node = &model.nodes[i];

            if (node->alive && node->nlink == 0 &&
                node->orphaned < now - 600 * FX_SECOND) {
                node->alive = false;
            }
        }
    }
    model.last_ns = now;
}

static struct zone_op op_of(const struct step *step)
{
    static const char names[N_NAMES + 1] = "abcdefgh";
    struct zone_op op = {.type = step->type, .obj = model.nodes[step->obj].obj};

    op.to = model.nodes[step->to].obj;
    op.name = slice_borrow(&names[step->name], 1);
    op.to_name = step->type == ZONE_OP_SYMLINK ? slice_borrow(noise, step->len)
                                               : slice_borrow(&names[step->to_name], 1);
    op.how = step->guarded ? ZONE_GUARDED : ZONE_UNCHECKED;
    op.node_type = ZONE_FIFO;
    op.sattr.set = ZONE_SET_MODE;
    op.sattr.mode = 0755;
    if (step->type == ZONE_OP_SETATTR) {
        op.sattr.set = ZONE_SET_SIZE;
        op.sattr.size = step->offset;
    }
    if (step->type == ZONE_OP_WRITE) {
        op.offset = step->offset;
        op.data = slice_borrow(noise, step->len);
    }
    return op;
}

static int64_t ns_of(struct zone_time time)
{
    return time.sec * FX_SECOND + time.nsec;
}

static void check_node(struct fx *fx, const struct node *node)
{
    struct zone_op read = {.type = ZONE_OP_READ, .obj = node->obj};

    if (!node->alive) {
        CHECK_INT(fx_getattr(fx, node->obj), OUT_STALE);
        return;
    }
    CHECK_INT(fx_getattr(fx, node->obj), 0);
    CHECK_INT(fx->result.obj.type, node->type);
    CHECK_UINT(fx->result.obj.nlink, node->nlink);
    CHECK_UINT(fx->result.obj.mode, node->mode);
    CHECK_INT(ns_of(fx->result.obj.mtime), node->mtime);
    CHECK_INT(ns_of(fx->result.obj.ctime), node->ctime);
    if (node->type == ZONE_DIR) {
        CHECK_INT(fx_lookup(fx, node->obj, ".."), 0);
        CHECK_UINT(fx->result.obj.ino, model.nodes[node->parent].obj.ino);
        return;
    }
    CHECK_UINT(fx->result.obj.size, node->size);
    CHECK_UINT(fx->result.obj.used, node->used);
    if (node->type == ZONE_FIFO) {
        return;
    }
    read.type = node->type == ZONE_LNK ? ZONE_OP_READLINK : ZONE_OP_READ;
    read.count = SIZE_MAX_MODEL;
    CHECK_INT(fx_read(fx, read), 0);
    CHECK_UINT(fx->result.data.len, node->size);
    CHECK_MEM(fx->result.data.data, node->data, node->size);
}

/* The directory lists exactly its names, in the order in which they were made; a rename
 * keeps a place. */
static void check_list(struct fx *fx, const struct node *dir)
{
    struct zone_op op = {.type = ZONE_OP_READDIR, .obj = dir->obj, .count = 1 << 16};
    struct zone_dirent entry;
    struct wire_dec dec;
    uint64_t last = 0;
    uint32_t n = 0;

    CHECK_INT(fx_read(fx, op), 0);
    CHECK(fx->result.eof);
    dec = wire_dec(fx->result.data.data, fx->result.data.len);
    while (zone_dirent_get(&dec, &entry)) {
        int name = entry.name.data[0] - 'a';

        CHECK(name >= 0 && name < N_NAMES && dir->child[name] >= 0);
        CHECK_UINT(entry.attr.ino, model.nodes[dir->child[name]].obj.ino);
        CHECK(n == 0 || dir->seq[name] > last);
        last = dir->seq[name];
        n++;
    }
    CHECK(!dec.failed);
    CHECK_UINT(n, dir->entries);
}

static void check_all(struct fx *fx)
{
    uint64_t used = 0;

    for (int i = 0; i < NODES_MAX; i++) {
        const struct node *node = &model.nodes[i];

        if (node->obj.ino == 0) {
            continue; /* Never was. */
        }
        check_node(fx, node);
        if (!node->alive) {
            continue;
        }
        used += 512 + node->used + 512ull * node->entries;
        if (node->type == ZONE_DIR) {
            check_list(fx, node);
        }
    }
    CHECK_UINT(fx_used(fx), used);
}

static int alive_nodes(void)
{
    int n = 0;

    for (int i = 0; i < NODES_MAX; i++) {
        n += model.nodes[i].alive;
    }
    return n;
}

/* Mostly a live one of the kind that makes sense. */
static int some_node(struct prng *prng, bool dir)
{
    int i = 0;

    for (int tries = 0; tries < 30; tries++) {
        const struct node *node;

        i = (int)prng_below(prng, NODES_MAX);
        node = &model.nodes[i];
        if (node->obj.ino != 0 && (prng_below(prng, 10) == 0 ||
                                   (node->alive && (node->type == ZONE_DIR) == dir))) {
            return i;
        }
    }
    return 0;
}

/* A name, for half of the cases one that is there. */
static int some_name_of(struct prng *prng, int dir)
{
    int name = (int)prng_below(prng, N_NAMES);

    for (int i = 0; i < N_NAMES && prng_below(prng, 2) == 0; i++) {
        if (model.nodes[dir].child[name] >= 0) {
            break;
        }
        name = (name + 1) % N_NAMES;
    }
    return name;
}

/* The name of a directory that is perhaps empty. */
static void aim_at_directory(struct prng *prng, struct step *step)
{
    int child = some_node(prng, true);
    int dir = model.nodes[child].parent;

    for (int name = 0; name < N_NAMES; name++) {
        if (model.nodes[dir].alive && model.nodes[dir].child[name] == child) {
            step->obj = dir;
            step->name = name;
        }
    }
}

static struct step some_step(struct prng *prng)
{
    static const enum zone_op_type types[] = {
        ZONE_OP_REMOVE, ZONE_OP_RMDIR,   ZONE_OP_RENAME,  ZONE_OP_RENAME, ZONE_OP_LINK,
        ZONE_OP_WRITE,  ZONE_OP_WRITE,   ZONE_OP_SETATTR, ZONE_OP_CREATE, ZONE_OP_CREATE,
        ZONE_OP_MKDIR,  ZONE_OP_SYMLINK, ZONE_OP_MKNOD,
    };
    bool full = alive_nodes() > NODES_MAX - 2;
    struct step step = {.type = types[prng_below(prng, full ? 4 : 13)]};

    step.obj =
        some_node(prng, step.type != ZONE_OP_WRITE && step.type != ZONE_OP_SETATTR &&
                            step.type != ZONE_OP_LINK);
    step.to = some_node(prng, true);
    step.name = some_name_of(prng, step.obj);
    step.to_name = some_name_of(prng, step.to);
    if (step.type == ZONE_OP_RMDIR && prng_below(prng, 2) == 0) {
        aim_at_directory(prng, &step);
    }
    step.guarded = prng_below(prng, 2) == 0;
    step.offset = prng_below(prng, SIZE_MAX_MODEL / 2);
    step.len = prng_below(prng, SIZE_MAX_MODEL / 2);
    if (step.type == ZONE_OP_SYMLINK) {
        step.len = 1 + prng_below(prng, ZONE_PATH_MAX);
    }
    return step;
}

static void model_begin(void)
{
    memset(&model, 0, sizeof model);
    model.last_ns = FX_TIME;
    CHECK_INT(node_new(ZONE_DIR, 0777, FX_TIME), 0);
    model.nodes[0].obj = fx_root;
}

/* Four thousand random ops as root: every answer, and every so often every attribute,
 * byte, name and the sum of charges, is what the model says. */
static void apply_equals_the_model(void)
{
    static struct fx fx;
    struct prng prng;

    prng_seed(&prng, 7);
    noise_fill(&prng);
    fx_open(&fx, "z", FX_QUOTA);
    model_begin();
    for (int i = 0; i < MODEL_OPS; i++) {
        struct step step = some_step(&prng);
        struct zone_op op;
        int expected;

        if (prng_below(&prng, 20) == 0) {
            fx.time_ns += (int64_t)prng_below(&prng, 200 * FX_SECOND);
        }
        step.now = fx.time_ns + 1000000; /* As fx_run will stamp it. */
        op = op_of(&step);
        model_pass(step.now);
        expected = model_step(&step);
        CHECK_INT(fx_run(&fx, op), expected);
        if (model.made >= 0) {
            model.nodes[model.made].obj = fx_obj(&fx);
        }
        check_node(&fx, &model.nodes[step.obj]);
        if (prng_below(&prng, 20) == 0) {
            fx_settle(&fx);
        }
        if (i % 200 == 199) {
            fx_reopen(&fx);
            check_all(&fx);
        }
    }
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(apply_equals_the_model))
