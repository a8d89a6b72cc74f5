/*
 * A member of a zone that misbehaves: three replicas, of which one says whatever the bytes
 * want: any type, term, index, entries and configuration, beside what it says in earnest. The
 * two others may stop their zone; they must not abort, and what they do to their disk and zone
 * must keep the contract, which the rig checks.
 *
 * Each byte is one choice; a value is taken from around what the group is at.
 */
#include "base/wire.h"
#include "choices.h"
#include "unit/raft/replica_rig.h"

#include <string.h>

enum { STEPS_MAX = 48, EVIL = 2, HEAD_BYTES = 4096 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct rig rig;
static bool calls_roll; /* A forged mark stops a zone at once: not in each input. */

/* Around @base, or at an end of the range. */
static uint64_t value(struct choices *from, uint64_t base)
{
    static const uint64_t ends[] = {
        0, 1, UINT64_MAX, INT64_MAX, UINT64_MAX / 4, UINT64_MAX / 4 + 1, 1ull << 32, 2};
    uint8_t byte = next(from);

    if (byte < 192) {
        return base + byte % 8 - 3;
    }
    return byte < 224 ? base + byte : ends[byte % 8];
}

static size_t put_conf(struct choices *from, uint8_t *out, size_t cap)
{
    struct rgroup_conf conf = {.n = 1 + next(from) % 4};
    size_t len = 0;

    for (uint32_t i = 0; i < conf.n; i++) {
        conf.servers[i].id = i + 1;
        conf.servers[i].role = next(from) % 4 == 0 ? RGROUP_STANDBY : RGROUP_VOTER;
    }
    (void)rgroup_conf_encode(&conf, out, cap, &len);
    if (next(from) % 16 == 0) {
        out[next(from) % len] ^= next(from);
    }
    return len;
}

static void put_entry(struct choices *from, struct wire_enc *enc, uint64_t term)
{
    struct zone_op op = {.type = ZONE_OP_SET_QUOTA, .offset = 1};
    struct zone_entry entry = {.origin = {.node = EVIL, .boot = 1, .seq = 1}};
    struct buf *body = NULL;
    struct buf *head = NULL;
    uint8_t conf[512];
    uint8_t type = next(from) % 8;
    size_t len = 0;

    type = type == 0 ? RGROUP_CHANGE : type < 4 ? RGROUP_BARRIER : RGROUP_COMMAND;
    wire_put_u64(enc, value(from, term));
    wire_put_u8(enc, type);
    wire_put_u8(enc, 0);
    if (type == RGROUP_CHANGE) {
        len = put_conf(from, conf, sizeof conf);
        wire_put_u32(enc, (uint32_t)len);
        wire_put_u32(enc, 0);
        wire_put_bytes(enc, conf, len);
        return;
    }
    if (type == RGROUP_COMMAND && zone_op_encode(&op, &body) == 0) {
        entry.op = slice_borrow(body->data, body->len);
        (void)zone_entry_encode(&entry, &head);
        len = head->len;
    }
    wire_put_u32(enc, (uint32_t)len);
    wire_put_u32(enc, 0);
    wire_put_bytes(enc, len > 0 ? head->data : NULL, len);
    buf_unref(body);
    buf_unref(head);
}

static void put_msg(struct choices *from, struct wire_enc *enc, uint8_t frame,
                    const struct replica_status *status)
{
    static const uint32_t versions[] = {0, 2, 2, 0, 2, 0, 0};
    struct rgroup_msg msg = {.type = (enum rgroup_msg_type)(1 + next(from) % 6)};
    uint64_t term = status->term;
    uint8_t conf[512];
    uint8_t flags = next(from);

    if (frame == REPLICA_FRAME_APPEND) {
        msg.type = RGROUP_MSG_APPEND;
        msg.n = next(from) % 8;
    }
    msg.version = versions[msg.type];
    msg.term = value(from, term + 2);
    msg.index = value(from, status->last_index);
    msg.index_term = value(from, term + 2);
    msg.commit = value(from, status->last_index);
    msg.rejected = flags % 3 == 0 ? value(from, status->last_index) : 0;
    msg.conf_index = value(from, 3);
    msg.candidate = flags % 32 == 31 ? 3 : EVIL;
    msg.features = flags % 8;
    msg.capacity = flags;
    msg.pre_vote = (flags & 64) != 0;
    msg.granted = (flags & 128) != 0;
    msg.disrupt = (flags & 32) != 0;
    if (msg.type == RGROUP_MSG_SNAPSHOT) {
        msg.conf = conf;
        msg.conf_len = put_conf(from, conf, sizeof conf);
    }
    wire_put_u8(enc, 1);
    rgroup_msg_put(enc, &msg);
    for (uint32_t i = 0; frame == REPLICA_FRAME_APPEND && i < msg.n; i++) {
        put_entry(from, enc, msg.term);
    }
}

/* Frames of 64-bit numbers. */
static void put_numbers(struct choices *from, struct wire_enc *enc,
                        const struct replica_status *status)
{
    uint32_t n = next(from) % 12;

    wire_put_u8(enc, next(from) % 32 == 31 ? 2 : 1);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t bases[] = {status->term + 2, status->last_index, 3, 4};

        wire_put_u64(enc, value(from, bases[next(from) % 4]));
    }
    for (uint32_t i = next(from) % 16 == 0 ? next(from) % 8 : 0; i > 0; i--) {
        wire_put_u8(enc, next(from));
    }
}

static void say(struct choices *from, uint64_t to)
{
    uint8_t bytes[HEAD_BYTES];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);
    struct replica_event event = {.type = REPLICA_EV_FRAME, .from = EVIL};
    struct replica_status status;

    if (rig.nodes[to].replica == NULL) {
        return;
    }
    rig_status(&rig, to, &status);
    event.frame_type = (uint8_t)(1 + next(from) % (2 * REPLICA_FRAME_LAST));
    if (event.frame_type > REPLICA_FRAME_LAST) {
        event.frame_type = 1 + event.frame_type % 2; /* Half of all are raft's own. */
    }
    if (event.frame_type == REPLICA_FRAME_ROLL && !calls_roll) {
        event.frame_type = REPLICA_FRAME_MSG;
    }
    if (event.frame_type <= REPLICA_FRAME_APPEND) {
        put_msg(from, &enc, event.frame_type, &status);
    } else {
        put_numbers(from, &enc, &status);
    }
    if (enc.failed) {
        return;
    }
    event.head = slice_borrow(bytes, enc.len);
    (void)rig_step(&rig, to, &event);
}

static void step(struct choices *from, uint64_t token)
{
    uint64_t id = next(from) % 2 == 0 ? 1 : 3;
    uint8_t kind = next(from) % 16;

    if (kind < 11) {
        say(from, id);
    } else if (kind == 11) {
        rig_run(&rig, 10 + 10 * (uint64_t)(next(from) % 64));
    } else if (kind == 12) {
        rig_submit(&rig, id, token, 1 + next(from));
        rig_flush(&rig, id);
    } else if (kind == 13) {
        rig_read(&rig, id, token);
    } else if (kind == 14) {
        rig_connect(&rig, id, EVIL, next(from) % 2 == 0);
    } else {
        rig_settle(&rig);
    }
    (void)rig_trace(&rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choices from = {.data = data, .len = size};
    uint8_t first = next(&from);

    memset(&rig, 0, sizeof rig);
    rig.leases = (first & 1) != 0;
    rig.roll_call = (first & 2) != 0;
    calls_roll = first >= 224;
    rig_init(&rig, 3);
    if ((first & 4) != 0) {
        rig_elect(&rig, 1 + first / 8 % 3);
    }
    for (uint32_t i = 0; i < STEPS_MAX && from.at < from.len; i++) {
        step(&from, 100 + i);
    }
    rig_run(&rig, 100);
    rig_deinit(&rig);
    return 0;
}
