/*
 * The checks. While it runs: what is applied at an index is the same everywhere, and no
 * answer is older than one that was given before the question. At the end the whole log
 * is applied once more, in order, to a zone that never failed: every answer must be the
 * one that this zone gives at that index, every mutation must have happened at most
 * once, every acknowledged one exactly once, and all members must have its digest.
 */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "store/vfs.h"

#include <stdlib.h>
#include <string.h>

static bool same(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Where in the log @index is: there is none between what is left and where it goes on. */
static uint64_t slot(const struct sys_zone *zone, uint64_t index)
{
    return zone->leap.index == 0 || index <= zone->leap.last
               ? index - 1
               : index - zone->leap.index - 1 + zone->leap.last;
}

static void log_grow(struct sys_zone *zone, uint64_t index)
{
    if (index > zone->cap_log) {
        uint64_t cap = zone->cap_log == 0 ? 1024 : zone->cap_log;

        while (cap < index) {
            cap *= 2;
        }
        zone->log = realloc(zone->log, cap * sizeof *zone->log);
        ASSERT(zone->log != NULL);
        memset(zone->log + zone->cap_log, 0, (cap - zone->cap_log) * sizeof *zone->log);
        zone->cap_log = cap;
    }
}

void sys_check_applied(struct sys_host *host, const struct replica_entry *entry)
{
    struct sys_zone *zone = &host->sys->zones[host->zone_nr];
    struct sys_logged *logged;

    log_grow(zone, slot(zone, entry->index) + 1);
    logged = &zone->log[slot(zone, entry->index)];
    if (logged->term == 0) {
        *logged = (struct sys_logged){.term = entry->term,
                                      .type = entry->type,
                                      .head = slice_ref(entry->head),
                                      .payload = slice_ref(entry->payload)};
        zone->n_log = entry->index > zone->n_log ? entry->index : zone->n_log;
        host->sys->counts.entries++;
        return;
    }
    if (logged->term != entry->term || logged->type != entry->type ||
        !same(logged->head, entry->head) || !same(logged->payload, entry->payload)) {
        sys_fail(host->sys, "n%u z%u applies another entry at %u (term %u, not %u)",
                 (unsigned)host->node->number, host->zone_nr, (unsigned)entry->index,
                 (unsigned)entry->term, (unsigned)logged->term);
    }
}

/* The zone that never fails. */
struct reference {
    struct sys *sys;
    uint32_t zone_nr;
    struct simdisk *disk;
    struct journal *journal;
    struct store *store;
    struct zone *zone;
    struct sys_op **reads; /* By index. */
    uint64_t n_reads;
    uint64_t read_at;
};

static int ignore(void *ctx, const struct journal_entry *entry)
{
    (void)ctx;
    (void)entry;
    return 0;
}

static void reference_open(struct reference *ref)
{
    struct journal_state state;
    struct disk *disk;
    struct journal_config journal = {
        .dir = "/ref/journal", .segment_bytes = 4u << 20, .create = true};
    struct store_config store = {.dir = "/ref", .vfs = "simref", .create = true};
    struct zone_genesis genesis = {
        .quota_bytes = 1ull << 40, .root_mode = 0777, .time_ns = 1600000000000000000};

    ref->disk = simdisk_new(0);
    disk = simdisk_disk(ref->disk);
    ASSERT(vfs_register(disk, "simref") == 0);
    ASSERT(disk->ops->mkdir(disk, "/ref") == 0);
    memcpy(journal.zone_id, ref->sys->zones[ref->zone_nr].id, 16);
    memcpy(store.zone_id, ref->sys->zones[ref->zone_nr].id, 16);
    journal.disk = disk;
    store.disk = disk;
    ASSERT(journal_open(&journal, &state, ignore, NULL, &ref->journal) == 0);
    store.journal = ref->journal;
    ASSERT(store_open(&store, &ref->store) == 0);
    ASSERT(zone_open(ref->store, &genesis, &ref->zone) == 0);
}

static void reference_close(struct reference *ref)
{
    zone_close(ref->zone);
    store_close(ref->store);
    journal_close(ref->journal);
    vfs_unregister("simref");
    simdisk_free(ref->disk);
    free(ref->reads);
}

static int by_index(const void *a, const void *b)
{
    const struct sys_op *x = *(struct sys_op *const *)a;
    const struct sys_op *y = *(struct sys_op *const *)b;

    if (x->at != y->at) {
        return x->at < y->at ? -1 : 1;
    }
    return x->nr < y->nr ? -1 : 1;
}

static void collect_reads(struct reference *ref)
{
    struct sys *sys = ref->sys;

    ref->reads = sys_alloc(sys->n_ops, sizeof *ref->reads);
    for (uint64_t i = 0; i < sys->n_ops; i++) {
        struct sys_op *op = &sys->ops[i];

        if (op->zone_nr == ref->zone_nr && op->is_read && op->acked) {
            ref->reads[ref->n_reads++] = op;
        }
    }
    qsort(ref->reads, ref->n_reads, sizeof *ref->reads, by_index);
}

/* A file of which a recovery left a part of a write that is lost: the log does not say what
 * is in it. */
static bool is_torn(const struct reference *ref, const struct zone_op *op, uint64_t index)
{
    const struct sys_leap *leap = &ref->sys->zones[ref->zone_nr].leap;

    for (uint64_t i = 0; i < leap->n_torn && index >= leap->index; i++) {
        if (op->type == ZONE_OP_READ && op->obj.ino == leap->torn[i]) {
            return true;
        }
    }
    return false;
}

/* The answer to @op must be what the reference answers now: at the index that it saw, or
 * at the last that was answered before it began, if that is higher. */
static void check_read(struct reference *ref, const struct sys_op *record)
{
    struct zone_result result = {0};
    struct buf *head = NULL;
    struct zone_op op;

    ASSERT(zone_op_decode(record->op.data, record->op.len, (struct slice){0}, &op) == 0);
    if (is_torn(ref, &op, record->index)) {
        return;
    }
    ASSERT(zone_read(ref->zone, &op, &result) == 0);
    result.index = record->index;
    ASSERT(zone_result_encode(&result, &head) == 0);
    if (!same(record->result, slice_borrow(head->data, head->len)) ||
        !same(record->data, result.data)) {
        sys_fail(ref->sys,
                 "read %u (type %d), which saw %u, is not the state of zone %u at %u: "
                 "%s, not %s",
                 (unsigned)record->nr, op.type, (unsigned)record->index, ref->zone_nr,
                 (unsigned)record->at, outcome_name(record->outcome),
                 outcome_name(result.outcome));
    }
    buf_unref(head);
    zone_result_clear(&result);
}

static void check_reads_at(struct reference *ref, uint64_t index)
{
    while (ref->read_at < ref->n_reads && ref->reads[ref->read_at]->at == index) {
        check_read(ref, ref->reads[ref->read_at++]);
    }
}

/* The reference executed an entry: whose was it, and what did its asker hear? */
static void check_executed(struct reference *ref, const struct zone_apply_item *item)
{
    struct sys *sys = ref->sys;
    struct zone_entry entry;
    struct zone_op op;
    struct sys_op *record;
    struct buf *head = NULL;

    if (item->kind != ZONE_APPLY_COMMAND) {
        return;
    }
    if (item->duplicate) {
        sys->counts.duplicates++;
        return;
    }
    ASSERT(zone_entry_decode(item->head.data, item->head.len, &entry) == 0);
    ASSERT(zone_op_decode(entry.op.data, entry.op.len, item->payload, &op) == 0);
    if (op.type == ZONE_OP_KV && op.n_kv == 0) {
        return; /* A leader's, for its time. */
    }
    record = &sys->ops[op.cred.groups[0] - 1];
    record->executed++;
    if (record->executed > 1) {
        sys_fail(sys, "op %u was executed twice, the second time at %u of zone %u",
                 (unsigned)record->nr, (unsigned)item->index, ref->zone_nr);
        return;
    }
    if (!same(entry.op, record->op) || !same(item->payload, record->payload)) {
        sys_fail(sys, "op %u is not in the log as it was asked", (unsigned)record->nr);
        return;
    }
    if (!record->acked) {
        return;
    }
    ASSERT(zone_result_encode(&item->result, &head) == 0);
    if (record->index != item->index ||
        !same(record->result, slice_borrow(head->data, head->len))) {
        sys_fail(sys, "op %u was answered %s at %u, but is %s at %u",
                 (unsigned)record->nr, outcome_name(record->outcome),
                 (unsigned)record->index, outcome_name(item->result.outcome),
                 (unsigned)item->index);
    }
    buf_unref(head);
}

static void apply_one(struct reference *ref, uint64_t index)
{
    struct sys_zone *zone = &ref->sys->zones[ref->zone_nr];
    struct sys_logged *logged = &zone->log[slot(zone, index)];
    struct journal_entry entry = {.index = index,
                                  .term = logged->term,
                                  .type = (uint8_t)logged->type,
                                  .head = logged->head,
                                  .payload = logged->payload};
    struct journal_batch batch = {.entries = &entry, .n_entries = 1};
    struct zone_apply_item item = {.index = index,
                                   .term = logged->term,
                                   .head = logged->head,
                                   .payload = logged->payload};

    if (logged->term == 0) {
        sys_fail(ref->sys, "nobody applied %u of zone %u", (unsigned)index, ref->zone_nr);
        return;
    }
    ASSERT(journal_append(ref->journal, &batch) == 0);
    item.place = entry.place;
    item.kind = logged->type == RGROUP_COMMAND  ? ZONE_APPLY_COMMAND
                : logged->type == RGROUP_CHANGE ? ZONE_APPLY_CHANGE
                                                : ZONE_APPLY_BARRIER;
    ASSERT(zone_apply(ref->zone, &item, 1) == 0);
    check_executed(ref, &item);
    zone_result_clear(&item.result);
}

/* As recover_log does it. */
static void leap(struct reference *ref)
{
    const struct sys_leap *leap = &ref->sys->zones[ref->zone_nr].leap;
    struct zone_leap to = {.index = leap->index,
                           .term = leap->term,
                           .time_ns = (int64_t)leap->time_s * 1000000000,
                           .conf = slice_borrow(leap->conf->data, leap->conf->len)};

    struct journal_batch batch = {
        .has_base = true, .base_index = leap->index, .base_term = leap->term};

    ASSERT(zone_leap(ref->zone, &to) == 0);
    ASSERT(journal_append(ref->journal, &batch) == 0);
}

static void check_members(struct reference *ref)
{
    uint8_t want[32];

    bool has_want = ref->sys->zones[ref->zone_nr].leap.n_torn == 0;

    ASSERT(store_digest(ref->store, want) == 0);
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        struct sys_host *host = ref->sys->nodes[number].hosts[ref->zone_nr];
        uint8_t digest[32];

        if (host == NULL) {
            continue;
        }
        ASSERT(store_digest(host->store, digest) == 0);
        if (ref->sys->rotten != 0 && sys_heal_scrub(host) > 0) {
            sys_fail(ref->sys, "n%u still has bad blocks of zone %u", (unsigned)number,
                     ref->zone_nr);
        }
        if (!has_want) { /* Of torn files only the members know, and all the same. */
            memcpy(want, digest, sizeof want);
            has_want = true;
        }
        if (memcmp(digest, want, sizeof digest) != 0) {
            sys_fail(ref->sys, "the state of n%u differs from zone %u's log at %u",
                     (unsigned)number, ref->zone_nr,
                     (unsigned)zone_applied_index(host->zone));
        }
    }
}

static void check_zone(struct sys *sys, uint32_t zone_nr)
{
    const struct sys_zone *zone = &sys->zones[zone_nr];
    struct reference ref = {.sys = sys, .zone_nr = zone_nr};

    reference_open(&ref);
    collect_reads(&ref);
    check_reads_at(&ref, 0);
    for (uint64_t i = 1; i <= zone->n_log && !sys->failing; i++) {
        if (zone->leap.index != 0 && i == zone->leap.last + 1) {
            i = zone->leap.index;
            leap(&ref);
        } else {
            apply_one(&ref, i);
        }
        check_reads_at(&ref, i);
    }
    if (!sys->failing && ref.read_at != ref.n_reads) {
        sys_fail(sys, "read %u saw index %u, beyond the log",
                 (unsigned)ref.reads[ref.read_at]->nr,
                 (unsigned)ref.reads[ref.read_at]->at);
    }
    if (!sys->failing) {
        check_members(&ref);
    }
    reference_close(&ref);
}

void sys_check_all(struct sys *sys)
{
    for (uint32_t z = 0; z < sys->n_zones && !sys->failing; z++) {
        check_zone(sys, z);
    }
    for (uint64_t i = 0; i < sys->n_ops && !sys->failing; i++) {
        const struct sys_op *op = &sys->ops[i];

        if (!op->is_read && op->acked && op->executed == 0) {
            sys_fail(sys, "op %u was acknowledged at %u of zone %u and is lost",
                     (unsigned)op->nr, (unsigned)op->index, op->zone_nr);
        }
    }
}
