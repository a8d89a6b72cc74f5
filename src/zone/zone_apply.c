#include "base/assert.h"
#include "base/log.h"
#include "zone/codec.h"
#include "zone/state.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct apply_row {
    uint16_t type; /* enum zone_op_type */
    int (*run)(struct apply *apply);
};

static const struct apply_row apply_rows[] = {
    {ZONE_OP_SETATTR, zone_run_setattr}, {ZONE_OP_WRITE, zone_run_write},
    {ZONE_OP_CREATE, zone_run_create},   {ZONE_OP_MKDIR, zone_run_mkdir},
    {ZONE_OP_SYMLINK, zone_run_symlink}, {ZONE_OP_MKNOD, zone_run_mknod},
    {ZONE_OP_REMOVE, zone_run_remove},   {ZONE_OP_RMDIR, zone_run_rmdir},
    {ZONE_OP_RENAME, zone_run_rename},   {ZONE_OP_LINK, zone_run_link},
    {ZONE_OP_KV, zone_run_kv},           {ZONE_OP_SET_QUOTA, zone_run_set_quota},
};

int zone_run_set_quota(struct apply *apply)
{
    apply->zone->number[ZN_QUOTA] = apply->op->offset;
    apply->result->total_bytes = apply->op->offset;
    return 0;
}

/* Run the procedure; its outcome goes into the result. 0 or a fault. */
static int run_op(struct apply *apply)
{
    int rv = OUT_NOTSUPP; /* A read in the log: nothing to change, nothing to show. */

    for (size_t i = 0; i < sizeof apply_rows / sizeof apply_rows[0]; i++) {
        if (apply_rows[i].type == apply->op->type) {
            rv = apply_rows[i].run(apply);
            break;
        }
    }
    if (rv < 0) {
        return rv;
    }
    apply->result->outcome = rv;
    apply->result->index = apply->index;
    return 0;
}

static int decode(const struct zone_apply_item *item, struct zone_entry *entry,
                  struct zone_op *op)
{
    int rv = zone_entry_decode(item->head.data, item->head.len, entry);

    if (rv != 0) {
        return rv;
    }
    if (!zone_op_supported(entry->op.data, entry->op.len)) {
        return -EPROTONOSUPPORT;
    }
    rv = zone_op_decode(entry->op.data, entry->op.len, item->payload, op);
    if (rv != 0) {
        return rv;
    }
    if (op->data.data != NULL && item->place.crc != 0 &&
        item->place.crc == zone_op_crc(op)) {
        return 0; /* The journal went over these bytes just now. */
    }
    if (op->data.data != NULL) {
        return zone_op_check(op) == 0 ? 0 : -EUCLEAN;
    }
    /* The store reads the payload back, and checks its CRCs, when it needs it. */
    return op->data.len > 0 && item->place.segment == 0 ? -EUCLEAN : 0;
}

/* What happens by the passing of zone time alone. At most once a second, else the
 * search for what is due would cost more than the entries; and while much is due, in
 * steps with room for entries between them. */
static int pass_time(struct zone *zone, int64_t now_ns)
{
    const int64_t second = ZONE_NSEC;
    int64_t before_ns = (int64_t)zone->number[ZN_TIME];
    bool new_second = before_ns / second != now_ns / second;
    bool new_step = before_ns / ZONE_PURGE_NS != now_ns / ZONE_PURGE_NS;
    int rv;

    zone->number[ZN_TIME] = (uint64_t)now_ns;
    zone->number[ZN_WORKED] +=
        (uint64_t)(now_ns - before_ns < ZONE_PAUSE_NS ? now_ns - before_ns
                                                      : ZONE_PAUSE_NS);
    rv = zone_session_expire(zone, now_ns);
    if (rv == 0) {
        rv = zone_rpc_expire(zone, new_second);
    }
    if (rv != 0) {
        return rv;
    }
    if (new_second || (new_step && zone->number[ZN_PURGE_MORE] != 0)) {
        return zone_orphan_purge(zone, now_ns);
    }
    return 0;
}

int zone_due(struct zone *zone, int64_t *due_ns)
{
    int rv = zone_orphan_find(zone);

    *due_ns = 0;
    if (rv != 0 || zone->orphan_ns == INT64_MAX) {
        return rv > 0 ? -EUCLEAN : rv;
    }
    /* As pass_time looks for it: with the first entry of a second. */
    *due_ns = zone->orphan_ns + ZONE_ORPHAN_NS + 1;
    if (zone->number[ZN_PURGE_MORE] == 0) {
        *due_ns = (*due_ns / ZONE_NSEC + 1) * ZONE_NSEC;
    }
    return 0;
}

/* The op has its result, which is kept for its origin and, if it is new, for the client. */
static int keep_result(struct apply *apply, const struct zone_origin *origin, bool is_new)
{
    struct buf *buf = NULL;
    struct slice reply;
    int rv;

    rv = zone_reply_encode(apply->result, &buf);
    if (rv != 0) {
        return rv;
    }
    reply = slice_borrow(buf->data, buf->len);
    if (origin->node != 0) {
        rv = zone_session_leave(apply, origin, reply);
    }
    if (rv == 0 && is_new && apply->rpc_key != NULL) {
        rv = zone_rpc_put(apply, reply);
    }
    buf_unref(buf);
    return rv;
}

/* The result of the same call of the client, or OUT_NOENT. */
static int recall(struct apply *apply)
{
    struct buf *buf = NULL;
    struct slice reply;
    int rv;

    if (apply->rpc_key == NULL) {
        return OUT_NOENT;
    }
    rv = zone_rpc_get(apply, &buf);
    if (rv != 0) {
        return rv;
    }
    reply = slice_of(buf, 0, buf->len);
    rv = zone_reply_decode(reply, apply->result);
    slice_unref(&reply);
    buf_unref(buf);
    return rv == -EPROTO ? -EUCLEAN : rv;
}

/* An op that its origin or its client counts: once, and its result is kept. */
static int run_once(struct apply *apply, const struct zone_origin *origin,
                    bool *duplicate)
{
    enum zone_verdict verdict = ZONE_RUN;
    int rv = 0;

    if (origin->node != 0) {
        rv = zone_session_enter(apply->zone, origin, apply, &verdict);
    }
    if (rv != 0) {
        return rv;
    }
    if (verdict != ZONE_RUN) {
        *duplicate = true;
        if (verdict == ZONE_GHOST) {
            apply->result->outcome = OUT_TRY_LATER;
            apply->result->index = apply->index;
        }
        return 0;
    }
    rv = recall(apply);
    *duplicate = rv == 0;
    if (rv == OUT_NOENT) {
        rv = run_op(apply);
    }
    return rv == 0 ? keep_result(apply, origin, !*duplicate) : rv;
}

static bool is_zero(const uint8_t key[16])
{
    return (wire_load_u64(key) | wire_load_u64(key + 8)) == 0;
}

static int apply_command(struct zone *zone, struct zone_apply_item *item)
{
    int64_t last_ns = (int64_t)zone->number[ZN_TIME];
    struct zone_entry entry;
    struct zone_op op;
    struct apply apply = {
        .zone = zone,
        .op = &op,
        .result = &item->result,
        .index = item->index,
        .place = item->place,
    };
    int rv;

    rv = decode(item, &entry, &op);
    if (rv != 0) {
        return rv;
    }
    apply.now_ns = entry.time_ns > last_ns ? entry.time_ns : last_ns + 1;
    rv = pass_time(zone, apply.now_ns);
    if (rv != 0) {
        return rv;
    }
    store_touched_begin(zone->store);
    if (zone_op_once(op.type) && !is_zero(entry.rpc_key)) {
        apply.rpc_key = entry.rpc_key;
    }
    if (entry.origin.node == 0 && apply.rpc_key == NULL) {
        return run_op(&apply);
    }
    return run_once(&apply, &entry.origin, &item->duplicate);
}

/* An entry that was applied in an earlier life. */
static int skip(struct zone *zone, struct zone_apply_item *item)
{
    struct zone_entry entry;
    int rv;

    item->result.index = item->index;
    item->duplicate = true;
    if (item->kind != ZONE_APPLY_COMMAND ||
        zone_entry_decode(item->head.data, item->head.len, &entry) != 0) {
        return 0;
    }
    rv = zone_session_reply(zone, &entry.origin, &item->result);
    if (rv == OUT_NOENT) {
        item->result.index = item->index;
        rv = 0;
    }
    return rv;
}

static int apply_item(struct zone *zone, struct zone_apply_item *item)
{
    int rv = 0;

    if (item->index <= zone->number[ZN_APPLIED]) {
        return skip(zone, item);
    }
    ASSERT(item->index == zone->number[ZN_APPLIED] + 1);
    item->result.index = item->index;
    if (item->kind == ZONE_APPLY_COMMAND) {
        rv = apply_command(zone, item);
        item->touched = *store_touched(zone->store);
    } else if (item->kind == ZONE_APPLY_CHANGE) {
        rv = zone_conf_put(zone, item->index, item->head);
    }
    if (rv != 0) {
        return rv;
    }
    zone->number[ZN_APPLIED] = item->index;
    zone->number[ZN_TERM] = item->term;
    return 0;
}

static int apply_batch(struct zone *zone, struct zone_apply_item *items, uint32_t n)
{
    int rv;

    for (uint32_t i = 0; i < n; i++) {
        rv = apply_item(zone, &items[i]);
        if (rv != 0) {
            log_error("zone",
                      "msg=\"entry cannot be applied\" index=%" PRIu64 " error=%d",
                      items[i].index, rv);
            return rv;
        }
    }
    return zone_write_back(zone);
}

static void held_cut(struct zone *zone, uint32_t n)
{
    while (zone->n_held > n) {
        struct zone_apply_item *item = &zone->held[--zone->n_held];

        zone->held_bytes -= item->head.len + item->payload.len;
        slice_unref(&item->head);
        slice_unref(&item->payload);
    }
}

void zone_held_drop(struct zone *zone)
{
    held_cut(zone, 0);
}

/* What was just applied is known for a redo, and can wait for its commit. A configuration is
 * rare, and raft goes by it: it waits for nothing. */
static bool keep(struct zone *zone, const struct zone_apply_item *items, uint32_t n)
{
    uint32_t before = zone->n_held;
    bool kept = n < ZONE_HOLD_ENTRIES - before;

    for (uint32_t i = 0; i < n && kept; i++) {
        struct zone_apply_item *item = &zone->held[zone->n_held++];

        *item = (struct zone_apply_item){
            .index = items[i].index,
            .term = items[i].term,
            .kind = items[i].kind,
            .head = slice_keep(items[i].head),
            .payload = slice_keep(items[i].payload),
            .place = items[i].place,
        };
        zone->held_bytes += item->head.len + item->payload.len;
        kept = item->kind != ZONE_APPLY_CHANGE && item->head.len == items[i].head.len &&
               item->payload.len == items[i].payload.len &&
               zone->held_bytes < ZONE_HOLD_BYTES;
    }
    if (!kept) {
        held_cut(zone, before);
    }
    return kept;
}

/* The rows are as of the last commit. What was shown since is done again, with the same
 * result, since apply is deterministic, and without room on the disk: nothing is written. */
static int redo(struct zone *zone)
{
    int rv = zone_load(zone);

    if (rv == 0 && zone->n_held > 0) {
        rv = store_begin_more(zone->store);
        if (rv == 0) {
            rv = apply_batch(zone, zone->held, zone->n_held);
        }
        for (uint32_t i = 0; i < zone->n_held; i++) {
            zone_result_clear(&zone->held[i].result);
        }
        if (rv == 0) {
            store_hold(zone->store);
        }
    }
    if (rv != 0) {
        store_rollback(zone->store);
        zone_held_drop(zone);
    }
    return rv;
}

void zone_redo(void *arg)
{
    struct zone *zone = arg;

    zone->broken = redo(zone) != 0;
}

int zone_flush(struct zone *zone)
{
    int rv = zone->broken ? -EIO : store_flush(zone->store);

    if (rv == 0) {
        zone_held_drop(zone);
    }
    return rv;
}

int zone_apply(struct zone *zone, struct zone_apply_item *items, uint32_t n)
{
    bool waits;
    int rv;

    for (uint32_t i = 0; i < n; i++) {
        memset(&items[i].result, 0, sizeof items[i].result);
        items[i].duplicate = false;
        items[i].touched.n = 0;
    }
    if (zone->broken) {
        return -EIO;
    }
    if (n == 0) {
        return 0;
    }
    if (!store_is_held(zone->store)) {
        zone_held_drop(zone); /* Somebody had it committed. */
    }
    rv = store_begin_more(zone->store);
    if (rv != 0) {
        return rv;
    }
    rv = apply_batch(zone, items, n);
    waits = rv == 0 && keep(zone, items, n);
    if (rv == 0 && !waits) {
        rv = store_commit(zone->store, false);
    }
    if (rv != 0) {
        store_rollback(zone->store);
        for (uint32_t i = 0; i < n; i++) {
            zone_result_clear(&items[i].result);
        }
        zone_redo(zone);
        return rv > 0 ? -EUCLEAN : rv;
    }
    if (waits) {
        store_hold(zone->store);
    } else {
        zone_held_drop(zone);
    }
    return 0;
}
