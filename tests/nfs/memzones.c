#include "nfs/memzones.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/siphash.h"
#include "base/wire.h"
#include "zone/zone.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum {
    BATCH_MAX = 256, /* Mutations made durable together. */
    ENTRY_COMMAND = 1,
    TERM = 1,
    ROOT_MODE = 0777,
};

struct queued {
    struct queued *next;
    bool mutation;
    struct buf *bytes; /* Mutations: the encoded entry. */
    struct buf *names; /* Reads: what op's names borrow from. */
    struct zone_op op; /* Reads. */
    struct slice payload;
    void (*done)(void *arg, const struct zone_result *result);
    void *arg;
};

struct memzone {
    struct nfs_zone shown;
    struct journal *journal;
    struct store *store;
    struct zone *zone;
    struct queued *first;
    struct queued **last;
    uint64_t index; /* Of the last entry. */
    int64_t time_ns;
    int fault; /* 0: it works. */
};

struct memzones {
    struct nfs_backend backend;
    struct nfs_export_rule rule;
    struct memzone zones[MEMZONES_MAX];
    uint32_t n_zones;
};

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The backend's calls. */

static uint32_t show_zones(void *ctx, struct nfs_zone *out, uint32_t max)
{
    const struct memzones *zones = ctx;

    for (uint32_t i = 0; i < zones->n_zones && i < max; i++) {
        out[i] = zones->zones[i].shown;
    }
    return zones->n_zones;
}

static struct memzone *find(struct memzones *zones, const uint8_t id[16])
{
    for (uint32_t i = 0; i < zones->n_zones; i++) {
        if (memcmp(zones->zones[i].shown.id, id, 16) == 0) {
            return &zones->zones[i];
        }
    }
    return NULL;
}

static bool zone_by_id(void *ctx, const uint8_t id[16], struct nfs_zone *out)
{
    const struct memzone *zone = find(ctx, id);

    if (zone == NULL) {
        return false;
    }
    *out = zone->shown;
    return true;
}

static bool zone_by_slug(void *ctx, const char *slug, struct nfs_zone *out)
{
    const struct memzones *zones = ctx;

    for (uint32_t i = 0; i < zones->n_zones; i++) {
        if (strcmp(zones->zones[i].shown.slug, slug) == 0) {
            *out = zones->zones[i].shown;
            return true;
        }
    }
    return false;
}

static void export_rule(void *ctx, const char *address, const struct nfs_zone *zone,
                        struct nfs_export_rule *out)
{
    const struct memzones *zones = ctx;

    (void)address;
    (void)zone;
    *out = zones->rule;
}

static const uint8_t *handle_key(void *ctx)
{
    static const uint8_t key[32] = "the same key in every test, ok?";

    (void)ctx;
    return key;
}

static void answer(struct queued *queued, const struct zone_result *result)
{
    queued->done(queued->arg, result);
    buf_unref(queued->bytes);
    buf_unref(queued->names);
    slice_unref(&queued->payload);
    free(queued);
}

static void answer_later(struct queued *queued)
{
    struct zone_result later = {.outcome = OUT_TRY_LATER};

    answer(queued, &later);
}

static int keep_mutation(struct queued *queued, const struct zone_op *op,
                         const uint8_t rpc_key[16])
{
    struct zone_entry entry = {0};
    struct buf *bytes = NULL;
    int rv;

    rv = zone_op_encode(op, &bytes);
    if (rv != 0) {
        return rv;
    }
    memcpy(entry.rpc_key, rpc_key, sizeof entry.rpc_key);
    entry.op = (struct slice){.buf = bytes, .data = bytes->data, .len = bytes->len};
    rv = zone_entry_encode(&entry, &queued->bytes);
    buf_unref(bytes);
    queued->payload = slice_ref(op->data);
    return rv;
}

/* The op is borrowed for the call only: keep copies of its names. */
static int keep_read(struct queued *queued, const struct zone_op *op)
{
    queued->op = *op;
    if (op->name.len > 0) {
        queued->names = buf_copy(op->name.data, op->name.len);
        if (queued->names == NULL) {
            return -ENOMEM;
        }
        queued->op.name = slice_borrow(queued->names->data, op->name.len);
    }
    return 0;
}

static void submit(void *ctx, const struct nfs_submit *call,
                   void (*done)(void *arg, const struct zone_result *result), void *arg)
{
    struct memzone *zone = find(ctx, call->zone_id);
    struct queued *queued = calloc(1, sizeof *queued);
    int rv;

    ASSERT(zone != NULL && queued != NULL);
    queued->done = done;
    queued->arg = arg;
    *call->token = (uint64_t)(uintptr_t)queued;
    queued->mutation = zone_op_is_mutation(call->op->type);
    rv = queued->mutation ? keep_mutation(queued, call->op, call->rpc_key)
                          : keep_read(queued, call->op);
    if (rv != 0 || zone->fault != 0) {
        answer_later(queued);
        return;
    }
    *zone->last = queued;
    zone->last = &queued->next;
}

static void answer_nobody(void *arg, const struct zone_result *result)
{
    (void)arg;
    (void)result;
}

/* It is still carried out, as an op may be that was begun. */
static void cancel(void *ctx, uint64_t token)
{
    struct queued *queued = (struct queued *)(uintptr_t)token;

    (void)ctx;
    queued->done = answer_nobody;
}

/* Opening. */

static int no_entries(void *ctx, const struct journal_entry *entry)
{
    (void)ctx;
    (void)entry;
    return 0;
}

static int make_dirs(const char *dir, const char *journal, bool *create)
{
    *create = mkdir(dir, 0700) == 0;
    if (!*create && errno != EEXIST) {
        return -errno;
    }
    if (mkdir(journal, 0700) != 0 && errno != EEXIST) {
        return -errno;
    }
    return 0;
}

static int open_zone(struct memzone *zone, const char *dir, uint64_t quota_bytes)
{
    char path[PATH_MAX];
    char journal_path[PATH_MAX];
    struct journal_config journal = {.disk = disk_posix(), .dir = journal_path};
    struct store_config store = {.disk = disk_posix(), .dir = path};
    struct zone_genesis genesis = {
        .quota_bytes = quota_bytes, .root_mode = ROOT_MODE, .time_ns = now_ns()};
    struct journal_state state;
    int rv;

    if (snprintf(path, sizeof path, "%s/%s", dir, zone->shown.slug) >= PATH_MAX ||
        snprintf(journal_path, sizeof journal_path, "%s/%s/journal", dir,
                 zone->shown.slug) >= PATH_MAX) {
        return -ENAMETOOLONG;
    }
    rv = make_dirs(path, journal_path, &store.create);
    if (rv != 0) {
        return rv;
    }
    journal.create = store.create;
    memcpy(journal.zone_id, zone->shown.id, sizeof journal.zone_id);
    memcpy(store.zone_id, zone->shown.id, sizeof store.zone_id);
    rv = journal_open(&journal, &state, no_entries, NULL, &zone->journal);
    if (rv != 0) {
        return rv;
    }
    store.journal = zone->journal;
    rv = store_open(&store, &zone->store);
    if (rv != 0) {
        return rv;
    }
    rv = zone_open(zone->store, &genesis, &zone->zone);
    if (rv != 0) {
        return rv;
    }
    zone->index = state.last_index;
    /* Without a clean close the rows may be behind; tests close cleanly. */
    return zone_applied_index(zone->zone) == zone->index ? 0 : -EUCLEAN;
}

static void name_zone(struct memzone *zone, const char *slug)
{
    static const uint8_t key[SIPHASH_KEY_BYTES] = "zone id";

    (void)snprintf(zone->shown.slug, sizeof zone->shown.slug, "%s", slug);
    siphash128(key, slug, strlen(slug), zone->shown.id);
    zone->shown.fsid = wire_load_u64(zone->shown.id) | 1;
    zone->last = &zone->first;
}

int memzones_open(const struct memzones_config *config, struct memzones **out)
{
    struct memzones *zones = calloc(1, sizeof *zones);
    int rv = 0;

    if (zones == NULL || config->n_slugs > MEMZONES_MAX) {
        free(zones);
        return -ENOMEM;
    }
    zones->rule = config->rule;
    zones->backend = (struct nfs_backend){
        .ctx = zones,
        .zones = show_zones,
        .zone_by_id = zone_by_id,
        .zone_by_slug = zone_by_slug,
        .export_rule = export_rule,
        .submit = submit,
        .cancel = cancel,
        .handle_key = handle_key,
    };
    for (uint32_t i = 0; i < config->n_slugs && rv == 0; i++) {
        name_zone(&zones->zones[i], config->slugs[i]);
        zones->n_zones++;
        rv = open_zone(&zones->zones[i], config->dir, config->quota_bytes);
    }
    if (rv != 0) {
        memzones_close(zones);
        return rv;
    }
    *out = zones;
    return 0;
}

static void answer_all_later(struct memzone *zone)
{
    struct queued *queued = zone->first;

    zone->first = NULL;
    zone->last = &zone->first;
    while (queued != NULL) {
        struct queued *next = queued->next;

        answer_later(queued);
        queued = next;
    }
}

void memzones_close(struct memzones *zones)
{
    if (zones == NULL) {
        return;
    }
    for (uint32_t i = 0; i < zones->n_zones; i++) {
        struct memzone *zone = &zones->zones[i];

        answer_all_later(zone);
        if (zone->zone != NULL) {
            zone_close(zone->zone);
        }
        if (zone->store != NULL) {
            store_close(zone->store);
        }
        if (zone->journal != NULL) {
            journal_close(zone->journal);
        }
    }
    free(zones);
}

const struct nfs_backend *memzones_backend(struct memzones *zones)
{
    return &zones->backend;
}

bool memzones_queued(const struct memzones *zones)
{
    for (uint32_t i = 0; i < zones->n_zones; i++) {
        if (zones->zones[i].first != NULL) {
            return true;
        }
    }
    return false;
}

/* Working. */

static struct queued *dequeue(struct memzone *zone)
{
    struct queued *queued = zone->first;

    zone->first = queued->next;
    if (zone->first == NULL) {
        zone->last = &zone->first;
    }
    return queued;
}

static int run_read(struct memzone *zone, struct queued *queued)
{
    struct zone_result result = {0};
    int rv = zone_read(zone->zone, &queued->op, &result);

    if (rv != 0) {
        answer_later(queued);
        return rv;
    }
    answer(queued, &result);
    zone_result_clear(&result);
    return 0;
}

struct batch {
    struct queued *queued[BATCH_MAX];
    struct journal_entry entries[BATCH_MAX];
    struct zone_apply_item items[BATCH_MAX];
    uint32_t n;
};

static void batch_add(struct memzone *zone, struct batch *batch, struct queued *queued)
{
    struct journal_entry *entry = &batch->entries[batch->n];
    int64_t now = now_ns();

    zone->time_ns = now > zone->time_ns ? now : zone->time_ns + 1;
    zone_entry_stamp(queued->bytes->data, queued->bytes->len, zone->time_ns);
    *entry = (struct journal_entry){
        .index = zone->index + batch->n + 1,
        .term = TERM,
        .type = ENTRY_COMMAND,
        .head = {.buf = queued->bytes,
                 .data = queued->bytes->data,
                 .len = queued->bytes->len},
        .payload = queued->payload,
    };
    batch->queued[batch->n] = queued;
    batch->n++;
}

/* All of the batch durable, then all of it applied, then all answers. */
static int run_batch(struct memzone *zone, struct batch *batch)
{
    struct journal_batch append = {
        .has_meta = true, .term = TERM, .entries = batch->entries, .n_entries = batch->n};
    int rv;

    rv = journal_append(zone->journal, &append);
    for (uint32_t i = 0; i < batch->n; i++) {
        batch->items[i] = (struct zone_apply_item){
            .index = batch->entries[i].index,
            .term = TERM,
            .kind = ZONE_APPLY_COMMAND,
            .head = batch->entries[i].head,
            .payload = batch->entries[i].payload,
            .place = batch->entries[i].place,
        };
    }
    if (rv == 0) {
        rv = zone_apply(zone->zone, batch->items, batch->n);
    }
    if (rv == 0) {
        zone->index += batch->n;
    }
    for (uint32_t i = 0; i < batch->n; i++) {
        if (rv == 0) {
            answer(batch->queued[i], &batch->items[i].result);
        } else {
            answer_later(batch->queued[i]);
        }
        zone_result_clear(&batch->items[i].result);
    }
    return rv;
}

static int flush_zone(struct memzone *zone)
{
    static struct batch batch;
    int rv = 0;

    while (rv == 0 && zone->first != NULL) {
        batch.n = 0;
        while (zone->first != NULL && zone->first->mutation && batch.n < BATCH_MAX) {
            batch_add(zone, &batch, dequeue(zone));
        }
        rv = batch.n > 0 ? run_batch(zone, &batch) : run_read(zone, dequeue(zone));
    }
    if (rv != 0) {
        log_error("memzones", "msg=\"zone stopped\" zone=%s error=%d", zone->shown.slug,
                  rv);
        zone->fault = rv;
        answer_all_later(zone);
    }
    return rv;
}

int memzones_flush(struct memzones *zones)
{
    int rv = 0;

    for (uint32_t i = 0; i < zones->n_zones; i++) {
        int one = flush_zone(&zones->zones[i]);

        rv = rv == 0 ? one : rv;
    }
    return rv;
}
