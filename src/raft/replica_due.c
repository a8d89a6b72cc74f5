/*
 * Zone time passes by entries. What it changes by itself (unlinked files go ten minutes
 * later) would wait for the next writer in a zone that nobody writes to, and their room
 * with it: so the leader proposes an entry that says nothing but the time, once something
 * is due, and none otherwise.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"
#include "zone/op.h"

/* An op that changes nothing: no pairs. */
static int make_entry(struct buf **out)
{
    struct zone_op op = {.type = ZONE_OP_KV};
    struct zone_entry entry = {0};
    struct buf *bytes = NULL;
    int rv = zone_op_encode(&op, &bytes);

    if (rv != 0) {
        return rv;
    }
    entry.op = slice_borrow(bytes->data, bytes->len);
    rv = zone_entry_encode(&entry, out);
    buf_unref(bytes);
    return rv;
}

/* Nothing is under way: else others' entries bring the time, and one of ours is enough. */
static bool is_idle(const struct replica *r)
{
    return r->applied == r->log.last && r->submits.n == 0 && !r->transfer.active;
}

void replica_pass_time(struct replica *r, int64_t wall_ns)
{
    struct replica_event event = {.type = REPLICA_EV_SUBMIT, .wall_ns = wall_ns};
    struct buf *entry = NULL;

    if (r->due_ns == 0 || wall_ns < r->due_ns || !replica_is_leader(r) || !is_idle(r)) {
        return;
    }
    if (make_entry(&entry) != 0) {
        return; /* No memory: the next heartbeat tries again. */
    }
    event.head = slice_of(entry, 0, entry->len);
    buf_unref(entry);
    replica_submit(r, &event);
    slice_unref(&event.head);
    replica_submit_flush(r);
}
