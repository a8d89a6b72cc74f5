/*
 * The journal on a simulated disk: lives from a seed that end in a crash, a fault or an
 * orderly close, and then a flipped bit. A model of what was acknowledged, and of the one
 * batch that was not, says what may be found afterwards.
 */
#include "base/outcome.h"
#include "base/prng.h"
#include "lib/check.h"
#include "lib/simdisk.h"
#include "store/journal.h"
#include "store/journal_format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOG_MAX = 3000, /* Entries in the model's log. */
    BATCH_MAX = 12, /* Entries in one batch. */
    HEAD_MAX = 300,
    PAYLOAD_MAX = 9000,
    PINS_MAX = 64,
    SEGMENT_BYTES = 65536,
};

/* An entry's bytes follow from its nonce. */
struct item {
    uint64_t index;
    uint64_t term;
    uint64_t nonce;
    uint32_t head_len;
    uint32_t payload_len;
};

struct model {
    uint64_t term;
    uint64_t vote;
    uint64_t base;
    uint64_t base_term;
    uint64_t n;
    struct item log[LOG_MAX]; /* base + 1 and on. */
};

struct pin {
    struct item item;
    struct journal_place place;
};

/* A batch given to the journal, not yet acknowledged. */
struct pending {
    bool is;
    bool has_meta;
    uint64_t term;
    uint64_t vote;
    bool has_base;
    uint64_t base;
    uint64_t base_term;
    uint32_t n;
    struct item items[BATCH_MAX];
    /* Or a compaction. */
    bool compacts;
};

struct world {
    struct simdisk *sim;
    struct prng prng;
    struct journal_config config;
    struct journal *journal;
    struct journal_state state;
    struct model model; /* Acknowledged. */
    struct model found; /* By the last open. */
    struct pending pending;
    struct pin pins[PINS_MAX];
    uint32_t n_pins;
    uint64_t nonce;
    uint64_t term;
    const char *why; /* What is wrong, NULL nothing. */
};

static bool wrong(struct world *w, const char *why)
{
    w->why = w->why == NULL ? why : w->why;
    return false;
}

static void fill(uint8_t *out, size_t len, uint64_t nonce)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = (uint8_t)(nonce * 2654435761u >> (i % 24) ^ i * 31);
    }
}

static uint64_t last_of(const struct model *model)
{
    return model->base + model->n;
}

static void model_put(struct model *model, const struct item *item)
{
    model->n = item->index - model->base - 1;
    model->log[model->n] = *item;
    model->n++;
}

static void model_compact(struct model *model, uint64_t base, uint64_t base_term)
{
    uint64_t n = base - model->base;

    memmove(model->log, model->log + n, (model->n - n) * sizeof model->log[0]);
    model->n -= n;
    model->base = base;
    model->base_term = base_term;
}

static bool item_is(const struct item *a, const struct item *b)
{
    return a->index == b->index && a->term == b->term && a->nonce == b->nonce &&
           a->head_len == b->head_len && a->payload_len == b->payload_len;
}

static bool model_is(const struct model *a, const struct model *b)
{
    if (a->term != b->term || a->vote != b->vote || a->base != b->base ||
        a->base_term != b->base_term || a->n != b->n) {
        return false;
    }
    for (uint64_t i = 0; i < a->n; i++) {
        if (!item_is(&a->log[i], &b->log[i])) {
            return false;
        }
    }
    return true;
}

/* Whether what was found is what was acknowledged, with the first so many records of the
 * unacknowledged batch on top. */
static bool found_is_allowed(const struct world *w)
{
    static struct model model;
    const struct pending *p = &w->pending;

    model = w->model;
    if (model_is(&model, &w->found)) {
        return true;
    }
    if (!p->is) {
        return false;
    }
    if (p->compacts) {
        model_compact(&model, p->base, p->base_term);
        return model_is(&model, &w->found);
    }
    if (p->has_meta) {
        model.term = p->term;
        model.vote = p->vote;
        if (model_is(&model, &w->found)) {
            return true;
        }
    }
    if (p->has_base) {
        model.base = p->base;
        model.base_term = p->base_term;
        model.n = 0;
        if (model_is(&model, &w->found)) {
            return true;
        }
    }
    for (uint32_t i = 0; i < p->n; i++) {
        model_put(&model, &p->items[i]);
        if (model_is(&model, &w->found)) {
            return true;
        }
    }
    return false;
}

static int take_found(void *ctx, const struct journal_entry *entry)
{
    struct world *w = ctx;
    struct item item = {.index = entry->index,
                        .term = entry->term,
                        .head_len = (uint32_t)entry->head.len,
                        .payload_len = (uint32_t)entry->payload.len};
    uint8_t head[HEAD_MAX];

    if (item.head_len < sizeof item.nonce || item.head_len > HEAD_MAX ||
        w->found.n == LOG_MAX) {
        (void)wrong(w, "an entry that nobody wrote");
        return 0;
    }
    memcpy(&item.nonce, entry->head.data, sizeof item.nonce);
    fill(head, item.head_len, item.nonce);
    if (memcmp(head + sizeof item.nonce, entry->head.data + sizeof item.nonce,
               item.head_len - sizeof item.nonce) != 0) {
        (void)wrong(w, "a head that nobody wrote");
    }
    w->found.log[w->found.n] = item;
    w->found.n++;
    return 0;
}

static bool payload_is(const struct item *item, const uint8_t *bytes)
{
    uint8_t payload[PAYLOAD_MAX];

    fill(payload, item->payload_len, item->nonce + 1);
    return memcmp(payload, bytes, item->payload_len) == 0;
}

/* Every entry's payload by fetch, every pinned one by its place. */
static bool check_payloads(struct world *w)
{
    const struct model *m = &w->found;
    uint8_t bytes[PAYLOAD_MAX];

    for (uint64_t at = 0; at < m->n;) {
        struct journal_entry got[7];
        uint32_t n = 0;

        if (journal_fetch(w->journal, m->base + 1 + at, 7, 30000, got, &n) != 0 ||
            n == 0) {
            return wrong(w, "a live entry cannot be fetched");
        }
        for (uint32_t i = 0; i < n; i++, at++) {
            if (got[i].index != m->log[at].index || got[i].term != m->log[at].term ||
                got[i].payload.len != m->log[at].payload_len ||
                !payload_is(&m->log[at], got[i].payload.data)) {
                (void)wrong(w, "fetched something else");
            }
            slice_unref(&got[i].head);
            slice_unref(&got[i].payload);
        }
    }
    for (uint32_t i = 0; i < w->n_pins; i++) {
        const struct pin *pin = &w->pins[i];

        if (journal_pread(w->journal, pin->place, bytes, pin->item.payload_len) != 0 ||
            !payload_is(&pin->item, bytes)) {
            return wrong(w, "a pinned payload is gone");
        }
    }
    return w->why == NULL;
}

static int open_journal(struct world *w)
{
    int rv;

    w->found.n = 0;
    w->config.seed = prng_next(&w->prng);
    rv = journal_open(&w->config, &w->state, take_found, w, &w->journal);
    if (rv != 0) {
        w->journal = NULL;
        return rv;
    }
    w->found.term = w->state.term;
    w->found.vote = w->state.vote;
    w->found.base = w->state.base_index;
    w->found.base_term = w->state.base_term;
    if (w->state.last_index != last_of(&w->found)) {
        (void)wrong(w, "last index and entries differ");
    }
    return 0;
}

static struct item new_item(struct world *w, uint64_t index)
{
    bool large = prng_below(&w->prng, 4) == 0;

    w->nonce++;
    return (struct item){
        .index = index,
        .term = w->term,
        .nonce = w->nonce,
        .head_len = 8 + (uint32_t)prng_below(&w->prng, HEAD_MAX - 8),
        .payload_len = (uint32_t)prng_below(&w->prng, large ? PAYLOAD_MAX : 200),
    };
}

static void plan_batch(struct world *w)
{
    struct pending *p = &w->pending;
    uint64_t next = last_of(&w->model) + 1;
    uint64_t base = w->model.base;

    *p = (struct pending){.is = true};
    if (prng_below(&w->prng, 6) == 0) {
        w->term++;
        p->has_meta = true;
        p->term = w->term;
        p->vote = prng_below(&w->prng, 5);
    }
    if (prng_below(&w->prng, 60) == 0) {
        p->has_base = true;
        p->base = next - 1 + prng_below(&w->prng, 5);
        p->base_term = w->term;
        next = p->base + 1;
        base = p->base;
    } else if (prng_below(&w->prng, 8) == 0) {
        next = base + 1 + prng_below(&w->prng, w->model.n + 1);
    }
    p->n = (uint32_t)prng_below(&w->prng, BATCH_MAX + 1);
    if (next - base + p->n > LOG_MAX) {
        p->n = 0;
    }
    for (uint32_t i = 0; i < p->n; i++) {
        /* Sometimes the batch goes back over itself. */
        if (i > 0 && prng_below(&w->prng, 30) == 0) {
            next--;
        }
        p->items[i] = new_item(w, next);
        next++;
    }
}

static void acknowledge(struct world *w, const struct journal_entry *entries)
{
    struct model *m = &w->model;
    struct pending *p = &w->pending;

    if (p->has_meta) {
        m->term = p->term;
        m->vote = p->vote;
    }
    if (p->has_base) {
        m->base = p->base;
        m->base_term = p->base_term;
        m->n = 0;
    }
    for (uint32_t i = 0; i < p->n; i++) {
        model_put(m, &p->items[i]);
        if (w->n_pins < PINS_MAX && prng_below(&w->prng, 8) == 0) {
            w->pins[w->n_pins] =
                (struct pin){.item = p->items[i], .place = entries[i].place};
            w->n_pins++;
        }
    }
    p->is = false;
}

static int do_append(struct world *w)
{
    static uint8_t heads[BATCH_MAX][HEAD_MAX];
    static uint8_t payloads[BATCH_MAX][PAYLOAD_MAX];
    struct journal_entry entries[BATCH_MAX];
    struct pending *p = &w->pending;
    struct journal_batch batch;
    int rv;

    plan_batch(w);
    batch = (struct journal_batch){.has_meta = p->has_meta,
                                   .term = p->term,
                                   .vote = p->vote,
                                   .has_base = p->has_base,
                                   .base_index = p->base,
                                   .base_term = p->base_term,
                                   .entries = entries,
                                   .n_entries = p->n};
    for (uint32_t i = 0; i < p->n; i++) {
        const struct item *item = &p->items[i];

        fill(heads[i], item->head_len, item->nonce);
        memcpy(heads[i], &item->nonce, sizeof item->nonce);
        fill(payloads[i], item->payload_len, item->nonce + 1);
        entries[i] = (struct journal_entry){
            .index = item->index,
            .term = item->term,
            .type = 1,
            .head = slice_borrow(heads[i], item->head_len),
            .payload = slice_borrow(payloads[i], item->payload_len),
        };
    }
    rv = journal_append(w->journal, &batch);
    if (rv == 0) {
        acknowledge(w, entries);
    }
    return rv;
}

static int do_compact(struct world *w)
{
    uint64_t n = prng_below(&w->prng, w->model.n + 1);
    int rv;

    if (n == 0) {
        return 0;
    }
    w->pending = (struct pending){
        .is = true,
        .compacts = true,
        .base = w->model.base + n,
        .base_term = w->model.log[n - 1].term,
    };
    rv = journal_compact(w->journal, w->pending.base, w->pending.base_term);
    if (rv == 0) {
        model_compact(&w->model, w->pending.base, w->pending.base_term);
        w->pending.is = false;
    }
    return rv;
}

/* Settling: the oldest pins go, and with them what only they kept. */
static int do_release(struct world *w)
{
    uint32_t drop = (uint32_t)prng_below(&w->prng, w->n_pins + 1);
    uint64_t floor = journal_segment(w->journal);

    w->n_pins -= drop;
    memmove(w->pins, w->pins + drop, w->n_pins * sizeof w->pins[0]);
    for (uint32_t i = 0; i < w->n_pins; i++) {
        floor = w->pins[i].place.segment < floor ? w->pins[i].place.segment : floor;
    }
    return journal_release(w->journal, floor);
}

static int do_something(struct world *w)
{
    switch (prng_below(&w->prng, 12)) {
    case 0:
        return do_compact(w);
    case 1:
        return do_release(w);
    case 2:
    case 3:
        return journal_prepare(w->journal);
    default:
        return do_append(w);
    }
}

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->sim = simdisk_new(0);
    prng_seed(&w->prng, seed);
    w->config = (struct journal_config){
        .disk = simdisk_disk(w->sim),
        .dir = "zone/journal",
        .zone_id = {1},
        .segment_bytes = SEGMENT_BYTES,
        .spare_segments = 2,
        .create = true,
    };
    w->term = 1;
    CHECK_INT(w->config.disk->ops->mkdir(w->config.disk, "zone"), 0);
    CHECK_INT(w->config.disk->ops->syncdir(w->config.disk, "/"), 0);
}

static void world_deinit(struct world *w)
{
    journal_close(w->journal);
    simdisk_free(w->sim);
}

/* Open again, whatever it takes, and hold what is found against the model. */
static bool recover(struct world *w)
{
    int rv;

    for (;;) {
        rv = open_journal(w);
        if (rv == 0 || (simdisk_is_on(w->sim) && rv != -EIO)) {
            break;
        }
        /* The power went in the middle of recovery, or a fault struck there. */
        simdisk_crash(w->sim, &w->prng);
        simdisk_power_on(w->sim);
        for (int op = 0; op < SIMDISK_OPS; op++) {
            simdisk_fail(w->sim, (enum simdisk_op)op, 0, -EIO, false);
        }
    }
    if (rv != 0) {
        return wrong(w, rv == -EUCLEAN ? "called damaged" : "cannot be opened");
    }
    if (!found_is_allowed(w)) {
        return wrong(w, "acknowledged entries are missing, or others are there");
    }
    w->model = w->found;
    w->pending.is = false;
    return check_payloads(w);
}

/* One life: from a recovered journal to its end. */
static bool live(struct world *w)
{
    enum {
        CRASH,
        FAULT,
        CLOSE
    } ending = (int)prng_below(&w->prng, 8) == 0 ? CLOSE
               : prng_below(&w->prng, 4) == 0    ? FAULT
                                                 : CRASH;
    uint64_t n = prng_below(&w->prng, 60);
    int rv = 0;

    if (ending == CRASH) {
        simdisk_power_off_after(w->sim, 1 + prng_below(&w->prng, 100));
        n = 1000;
    } else if (ending == FAULT) {
        simdisk_fail(w->sim, (enum simdisk_op)prng_below(&w->prng, SIMDISK_OPS),
                     1 + prng_below(&w->prng, 30), -EIO, prng_below(&w->prng, 2) == 0);
    }
    for (uint64_t i = 0; i < n && rv == 0; i++) {
        rv = do_something(w);
    }
    if (rv != 0 && rv != -EIO) {
        return wrong(w, "an unexpected fault");
    }
    if (ending != CLOSE && prng_below(&w->prng, 3) > 0) {
        simdisk_crash(w->sim, &w->prng);
    }
    journal_close(w->journal);
    w->journal = NULL;
    if (!simdisk_is_on(w->sim)) {
        simdisk_crash(w->sim, &w->prng);
        simdisk_power_on(w->sim);
    }
    for (int op = 0; op < SIMDISK_OPS; op++) {
        simdisk_fail(w->sim, (enum simdisk_op)op, 0, -EIO, false);
    }
    if (prng_below(&w->prng, 10) == 0) {
        simdisk_power_off_after(w->sim, 1 + prng_below(&w->prng, 10));
    }
    rv = recover(w) ? 0 : -1;
    simdisk_power_off_after(w->sim, 0);
    return rv == 0;
}

/* @n lives from one seed; what is wrong, or NULL. */
static const char *lives(struct world *w, uint64_t seed, int n, bool lie)
{
    bool ok;

    world_init(w, seed);
    ok = recover(w);
    simdisk_lie(w->sim, lie);
    while (ok && n > 0) {
        ok = live(w);
        n--;
    }
    return w->why;
}

/* The seeds to run: GV_SEEDS, or enough for a look. */
static uint64_t seeds(uint64_t normal)
{
    const char *text = getenv("GV_SEEDS");

    return text == NULL ? normal : strtoull(text, NULL, 10);
}

static struct world world;

/* Whatever happens to the machine, what was acknowledged is there afterwards, with every
 * byte of it, and nothing else but the start of the one batch that was under way. */
static void acknowledged_entries_survive(void)
{
    for (uint64_t seed = 1; seed <= seeds(1000); seed++) {
        const char *why = lives(&world, seed, 6, false);

        if (why != NULL) {
            printf("# seed %" PRIu64 ": %s\n", seed, why);
        }
        CHECK_STR(why, NULL);
        world_deinit(&world);
    }
}

/* The same notices a disk whose syncs do nothing: else it would prove nothing. */
static void a_lying_disk_is_noticed(void)
{
    uint64_t n = 0;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        n += lives(&world, seed, 6, true) != NULL ? 1 : 0;
        world_deinit(&world);
    }
    CHECK(n >= 45);
}

struct files {
    char names[64][64];
    uint32_t n;
};

static int take_file(void *ctx, const char *name)
{
    struct files *files = ctx;

    CHECK(files->n < 64);
    (void)snprintf(files->names[files->n], sizeof files->names[0], "%s", name);
    files->n++;
    return 0;
}

/* What was met, of a rotten journal each. */
struct met {
    uint64_t refused; /* Something needed was damaged; */
    uint64_t passed;  /* or nothing. */
    uint64_t bad;     /* Entries of these of which reading shows that they are damaged; */
    uint64_t bad_short; /* short enough for one flipped bit to be set right. */
};

/* Each entry can be fetched as it was written, or is called damaged. */
static bool check_each(struct world *w, struct met *met)
{
    const struct model *m = &w->found;

    for (uint64_t at = 0; at < m->n; at++) {
        struct journal_entry got;
        uint32_t n = 0;
        int rv = journal_fetch(w->journal, m->base + 1 + at, 1, 1, &got, &n);

        if (rv == -EUCLEAN || rv == -EIO) {
            met->bad++;
            met->bad_short += m->log[at].payload_len <= JOURNAL_FLIP_MAX ? 1 : 0;
            continue;
        }
        if (rv != 0 || n != 1 || got.term != m->log[at].term ||
            got.payload.len != m->log[at].payload_len ||
            !payload_is(&m->log[at], got.payload.data)) {
            (void)wrong(w, "fetched something else");
        }
        if (rv == 0) {
            slice_unref(&got.head);
            slice_unref(&got.payload);
        }
    }
    return w->why == NULL;
}

/* What rots: a bit, two bits of a byte, or a sector that cannot be read any more. */
enum rot { ROT_BIT, ROT_BITS, ROT_SECTOR };

static void rot(struct world *w, enum rot rot, const char *path, uint64_t offset)
{
    unsigned bit = (unsigned)prng_below(&w->prng, 8);

    if (rot == ROT_SECTOR) {
        (void)simdisk_bad(w->sim, path, offset);
        return;
    }
    (void)simdisk_flip(w->sim, path, offset, bit);
    if (rot == ROT_BITS) {
        bit = (bit + 1 + (unsigned)prng_below(&w->prng, 7)) % 8;
        (void)simdisk_flip(w->sim, path, offset, bit);
    }
}

/* Life goes on with what is rotten: more is written, the journal is closed and opened
 * again; and as soon as what is bad is compacted, nothing of it is left. */
static bool outlive(struct world *w, struct met *met)
{
    for (int i = 0; i < 20 && w->why == NULL; i++) {
        if (do_append(w) != 0) {
            return wrong(w, "an append fails");
        }
    }
    journal_close(w->journal);
    w->journal = NULL;
    if (open_journal(w) != 0) {
        return wrong(w, "not opened again");
    }
    if (!model_is(&w->model, &w->found)) {
        return wrong(w, "opened again, it is another");
    }
    if (!check_each(w, met)) {
        return false;
    }
    if (w->model.n > 0) {
        const struct item *last = &w->model.log[w->model.n - 1];
        uint64_t base_term = last->term;

        if (journal_compact(w->journal, last->index, base_term) != 0 ||
            journal_release(w->journal, journal_segment(w->journal)) != 0) {
            return wrong(w, "not compacted");
        }
        model_compact(&w->model, last_of(&w->model), base_term);
    }
    journal_close(w->journal);
    w->journal = NULL;
    if (open_journal(w) != 0 || !model_is(&w->model, &w->found)) {
        return wrong(w, "compacted, it is another");
    }
    return true;
}

/* Let some of one of the journal's files rot and open it. Right is: an error
 * that names damage and changes nothing, so that flipping the bits back heals it; or
 * success with no record missing that is needed: what is left are entries that reading
 * them shows, and what is in use no more. */
static bool rot_is_noticed(struct world *w, enum rot how, struct met *met)
{
    struct disk *disk = w->config.disk;
    struct files files = {0};
    struct disk_file *file = NULL;
    char path[128];
    uint64_t size = 0;
    uint64_t offset;
    uint64_t changes;
    int rv;

    (void)disk->ops->list(disk, w->config.dir, take_file, &files);
    (void)snprintf(path, sizeof path, "%s/%s", w->config.dir,
                   files.names[prng_below(&w->prng, files.n)]);
    if (disk->ops->open(disk, path, DISK_READ, &file) != 0 ||
        disk->ops->size(disk, file, &size) != 0) {
        return wrong(w, "a file cannot be opened");
    }
    disk->ops->close(disk, file);
    offset = prng_below(&w->prng, size);
    if (prng_below(&w->prng, 2) == 0 && size > 4096) {
        offset = offset / 4096 * 4096 + prng_below(&w->prng, 200); /* Headers. */
    }
    rot(w, how, path, offset);
    changes = simdisk_changes(w->sim);
    rv = open_journal(w);
    if (rv != 0) {
        met->refused++;
        if (rv != -EUCLEAN && rv != -EPROTONOSUPPORT &&
            (rv != -EIO || strstr(path, "floor") == NULL)) {
            return wrong(w, "damage has another name");
        }
        if (simdisk_changes(w->sim) != changes) {
            return wrong(w, "finding damage changes something");
        }
        return true;
    }
    met->passed++;
    if (!model_is(&w->model, &w->found)) {
        return wrong(w, "damage went unnoticed");
    }
    /* Payload that only pins keep is checked by who reads it. */
    w->n_pins = 0;
    return outlive(w, met);
}

/* After an orderly close everything lies below the durable mark: what rots anywhere is
 * found out, or does no harm. */
static struct met rots(enum rot rot)
{
    struct met met = {0};

    for (uint64_t seed = 1; seed <= seeds(1000); seed++) {
        const char *why = lives(&world, seed, 2, false);

        journal_close(world.journal);
        world.journal = NULL;
        if (why == NULL) {
            (void)rot_is_noticed(&world, rot, &met);
            why = world.why;
        }
        if (why != NULL) {
            printf("# seed %" PRIu64 ": %s\n", seed, why);
        }
        CHECK_STR(why, NULL);
        world_deinit(&world);
    }
    printf("# refused %" PRIu64 ", passed %" PRIu64 ", with bad entries %" PRIu64
           ", %" PRIu64 " short\n",
           met.refused, met.passed, met.bad, met.bad_short);
    return met;
}

static void two_flipped_bits_are_noticed(void)
{
    struct met met = rots(ROT_BITS);

    CHECK(met.refused > seeds(1000) / 20);
    CHECK(met.bad > seeds(1000) / 200);
}

/* One bit, wherever it is: nothing is refused, and what is bad is long payload alone. */
static void a_flipped_bit_is_set_right(void)
{
    struct met met = rots(ROT_BIT);

    CHECK_UINT(met.refused, 0);
    CHECK_UINT(met.bad_short, 0);
    CHECK(met.bad > seeds(1000) / 200);
}

/* A sector that cannot be read is damage, like any other; not a fault that stays. */
static void a_bad_sector_is_noticed(void)
{
    struct met met = rots(ROT_SECTOR);

    CHECK(met.refused > seeds(1000) / 20);
    CHECK(met.bad > seeds(1000) / 200);
}

TEST_MAIN(CHECK_TEST(acknowledged_entries_survive), CHECK_TEST(a_lying_disk_is_noticed),
          CHECK_TEST(a_flipped_bit_is_set_right),
          CHECK_TEST(two_flipped_bits_are_noticed), CHECK_TEST(a_bad_sector_is_noticed))
