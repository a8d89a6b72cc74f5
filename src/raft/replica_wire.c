/* Frames between replicas, to and from bytes: docs/formats/replica.md. */
#include "base/assert.h"
#include "base/wire.h"
#include "raft/replica_impl.h"
#include "zone/op.h"

#include <errno.h>
#include <string.h>

#define FRAME_VERSION 1u
#define MSG_BYTES_MAX (256u + RGROUP_CONF_BYTES_MAX)
#define ENTRY_FIXED 18u /* term, type, flags, two lengths. */
#define FLAG_BODY 1u    /* The payload is the frame's body. */

struct buf *replica_put_msg(struct replica *r, const struct rgroup_msg *msg)
{
    struct buf *head = buf_new(256u + msg->conf_len);
    struct wire_enc enc;

    if (head == NULL) {
        replica_fault(r, -ENOMEM);
        return NULL;
    }
    enc = wire_enc(head->data, head->cap);
    wire_put_u8(&enc, FRAME_VERSION);
    rgroup_msg_put(&enc, msg);
    ASSERT(!enc.failed);
    head->len = enc.len;
    return head;
}

struct buf *replica_put_u64s(struct replica *r, const uint64_t *values, uint32_t n)
{
    struct buf *head = buf_new(1u + 8u * n);
    struct wire_enc enc;

    if (head == NULL) {
        replica_fault(r, -ENOMEM);
        return NULL;
    }
    enc = wire_enc(head->data, head->cap);
    wire_put_u8(&enc, FRAME_VERSION);
    for (uint32_t i = 0; i < n; i++) {
        wire_put_u64(&enc, values[i]);
    }
    head->len = enc.len;
    return head;
}

int replica_get_u64s(struct slice head, uint64_t *values, uint32_t n)
{
    struct wire_dec dec = wire_dec(head.data, head.len);

    if (wire_get_u8(&dec) != FRAME_VERSION) {
        return -EPROTO;
    }
    for (uint32_t i = 0; i < n; i++) {
        values[i] = wire_get_u64(&dec);
    }
    return wire_done(&dec) ? 0 : -EPROTO;
}

size_t replica_entry_wire_bytes(const struct replica_entry *entry, bool body)
{
    return ENTRY_FIXED + entry->head.len + (body ? 0 : entry->payload.len);
}

/* msg->n entries; with @body the last one's payload is left to the frame's body. */
struct buf *replica_put_append(struct replica *r, const struct rgroup_msg *msg,
                               const struct replica_entry *entries, bool body)
{
    size_t cap = 256;
    struct buf *head;
    struct wire_enc enc;

    for (uint32_t i = 0; i < msg->n; i++) {
        cap += replica_entry_wire_bytes(&entries[i], body && i == msg->n - 1);
    }
    head = buf_new(cap);
    if (head == NULL) {
        replica_fault(r, -ENOMEM);
        return NULL;
    }
    enc = wire_enc(head->data, head->cap);
    wire_put_u8(&enc, FRAME_VERSION);
    rgroup_msg_put(&enc, msg);
    for (uint32_t i = 0; i < msg->n; i++) {
        const struct replica_entry *entry = &entries[i];
        bool apart = body && i == msg->n - 1;

        wire_put_u64(&enc, entry->term);
        wire_put_u8(&enc, (uint8_t)entry->type);
        wire_put_u8(&enc, apart ? FLAG_BODY : 0);
        wire_put_u32(&enc, (uint32_t)entry->head.len);
        wire_put_u32(&enc, (uint32_t)entry->payload.len);
        wire_put_bytes(&enc, entry->head.data, entry->head.len);
        if (!apart) {
            wire_put_bytes(&enc, entry->payload.data, entry->payload.len);
        }
    }
    ASSERT(!enc.failed);
    head->len = enc.len;
    return head;
}

/* A part of @whole with a reference of its own. */
struct slice replica_slice_part(struct slice whole, const uint8_t *data, size_t len)
{
    return (struct slice){.buf = buf_ref(whole.buf), .data = data, .len = len};
}

static bool type_known(uint8_t type)
{
    return type == RGROUP_COMMAND || type == RGROUP_BARRIER || type == RGROUP_CHANGE;
}

/* One entry of an APPEND. The last one's payload may be the frame's body. */
static int get_entry(struct wire_dec *dec, struct slice frame, struct slice body,
                     struct replica_entry *out)
{
    uint64_t term = wire_get_u64(dec);
    uint8_t type = wire_get_u8(dec);
    uint8_t flags = wire_get_u8(dec);
    uint32_t head_len = wire_get_u32(dec);
    uint32_t payload_len = wire_get_u32(dec);
    const uint8_t *head = NULL;
    const uint8_t *payload = NULL;

    if (dec->failed || !type_known(type) || (flags & ~FLAG_BODY) != 0 ||
        head_len > REPLICA_HEAD_MAX || payload_len > ZONE_IO_MAX) {
        return -EPROTO;
    }
    head = wire_get_view(dec, head_len);
    if (dec->failed) {
        return -EPROTO;
    }
    if ((flags & FLAG_BODY) != 0) {
        if (body.len != payload_len || !wire_done(dec)) {
            return -EPROTO;
        }
        out->payload = slice_ref(body);
    } else {
        payload = wire_get_view(dec, payload_len);
        if (dec->failed) {
            return -EPROTO;
        }
        if (payload_len > 0) {
            out->payload = replica_slice_part(frame, payload, payload_len);
        }
    }
    out->term = term;
    out->type = (enum rgroup_entry_type)type;
    out->head = replica_slice_part(frame, head, head_len);
    return 0;
}

/* @frame owns its bytes, since the entries keep references. */
static int get_entries(struct replica *r, struct slice frame, struct slice body,
                       struct rgroup_msg *msg)
{
    struct wire_dec dec = wire_dec(frame.data, frame.len);
    int rv = 0;

    if (wire_get_u8(&dec) != FRAME_VERSION || rgroup_msg_get(&dec, msg) != 0 ||
        msg->type != RGROUP_MSG_APPEND || msg->n > REPLICA_CHUNK) {
        return -EPROTO;
    }
    memset(r->incoming, 0, msg->n * sizeof r->incoming[0]);
    for (uint32_t i = 0; rv == 0 && i < msg->n; i++) {
        struct replica_entry *entry = &r->incoming[i];

        rv = get_entry(&dec, frame, body, entry);
        entry->index = msg->index + 1 + i;
        r->raft_entries[i] = (struct rgroup_entry){
            .term = entry->term,
            .type = entry->type,
            .conf = entry->type == RGROUP_CHANGE ? entry->head.data : NULL,
            .conf_len = entry->type == RGROUP_CHANGE ? entry->head.len : 0,
        };
    }
    if (rv == 0 && !wire_done(&dec)) {
        rv = -EPROTO;
    }
    if (rv != 0) {
        for (uint32_t i = 0; i < msg->n; i++) {
            replica_entry_clear(&r->incoming[i]);
        }
    }
    return rv;
}

/* A slice that survives the step: a borrowed one is copied. */
static int slice_own(struct slice in, struct slice *out)
{
    *out = slice_keep(in);
    return out->len == in.len ? 0 : -ENOMEM;
}

int replica_get_append(struct replica *r, const struct replica_event *event,
                       struct rgroup_msg *msg)
{
    struct slice frame = {0};
    struct slice body = {0};
    int rv;

    rv = slice_own(event->head, &frame);
    if (rv == 0) {
        rv = slice_own(event->body, &body);
    }
    if (rv == 0) {
        rv = get_entries(r, frame, body, msg);
    } else {
        replica_fault(r, rv);
    }
    slice_unref(&frame);
    slice_unref(&body);
    return rv;
}

static void frame_append(struct replica *r, const struct replica_event *event)
{
    struct rgroup_msg msg = {0};
    struct rgroup_event step = {.type = RGROUP_EV_RECEIVE, .msg = &msg};
    uint64_t last_term;

    if (replica_get_append(r, event, &msg) != 0) {
        return; /* Malformed, from a member whose key we trust: ignored. */
    }
    msg.peer = event->from;
    last_term = msg.n == 0 ? msg.index_term : r->raft_entries[msg.n - 1].term;
    step.entries = r->raft_entries;
    step.n_entries = msg.n;
    /* A member without room keeps answering heartbeats, but takes no more entries. */
    if (msg.n == 0 || r->journal_bytes <= 2 * r->config.journal_bytes_max) {
        if (replica_group_step(r, &step, r->incoming) == 0) {
            replica_roll_heard(r, &msg);
        }
        replica_lease_matched(r, &msg, last_term);
    }
    for (uint32_t i = 0; i < msg.n; i++) {
        replica_entry_clear(&r->incoming[i]);
    }
}

static void frame_msg(struct replica *r, const struct replica_event *event)
{
    struct wire_dec dec = wire_dec(event->head.data, event->head.len);
    struct rgroup_msg msg = {0};
    struct rgroup_event step = {.type = RGROUP_EV_RECEIVE, .msg = &msg};

    if (wire_get_u8(&dec) != FRAME_VERSION || rgroup_msg_get(&dec, &msg) != 0 ||
        !wire_done(&dec) || msg.type == RGROUP_MSG_APPEND) {
        return;
    }
    msg.peer = event->from;
    if (replica_roll_forbids(r, &msg)) {
        return;
    }
    if (msg.type == RGROUP_MSG_APPEND_RESULT) {
        replica_send_acked(r, &msg);
    } else if (msg.type == RGROUP_MSG_VOTE) {
        replica_wall_peer(r, event->from); /* It may have missed what was told before. */
    }
    if (replica_group_step(r, &step, NULL) == 0) {
        replica_roll_heard(r, &msg);
    }
}

void replica_frame(struct replica *r, const struct replica_event *event)
{
    struct replica_peer *peer = replica_peer_find(r, event->from, true);

    if (peer == NULL) {
        return;
    }
    peer->heard = true;
    peer->heard_ms = r->now_ms;
    if (event->frame_type == REPLICA_FRAME_ROLL) {
        replica_roll_frame(r, event);
    } else if (event->frame_type == REPLICA_FRAME_CLOCK) {
        replica_wall_frame(r, peer, event->head);
    } else if (replica_deaf(r)) {
        replica_roll_peer(r, event->from); /* Else as if it had not arrived. */
    } else if (event->frame_type == REPLICA_FRAME_APPEND) {
        frame_append(r, event);
    } else if (event->frame_type == REPLICA_FRAME_MSG) {
        frame_msg(r, event);
    } else if (event->frame_type >= REPLICA_FRAME_PING &&
               event->frame_type <= REPLICA_FRAME_RECEIVED) {
        replica_lease_frame(r, event);
    } else {
        replica_read_frame(r, event);
    }
}
