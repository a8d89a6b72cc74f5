/*
 * Ops from a node that may be any zone's worst enemy: what passes a leader's check goes into the
 * log, and must be applied by every member, whatever it is; what is read must give an answer. A
 * fault would stop the zone for good, on all members at once.
 *
 * The zone is on a real disk and goes on from input to input, since making one takes longer than
 * many ops: what a failure needs may lie before its input, and comes again with the same
 * arguments. Each byte is one choice.
 */
#include "base/assert.h"
#include "base/outcome.h"
#include "choices.h"
#include "store/journal.h"
#include "unit/zone/fixture.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPS_MAX = 24, ENTRIES_MAX = 20000, DATA_MAX = 40000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fx fx;
static bool is_open;
static uint8_t payload[ZONE_IO_MAX];
static struct zone_handle made_last[16]; /* Objects that were made or changed. */
static unsigned n_made;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static void end(void)
{
    if (is_open) {
        fx_close(&fx);
        is_open = false;
        (void)nftw(check_tmpdir(), remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
}

static void begin(void)
{
    static bool registered;
    static unsigned n;
    char name[32];

    if (!registered) {
        registered = true;
        (void)atexit(end);
    }
    if (is_open && fx.index > ENTRIES_MAX) {
        fx_close(&fx);
        (void)nftw(fx.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        is_open = false;
    }
    if (!is_open) {
        (void)snprintf(name, sizeof name, "zone-%u", n++);
        fx_open(&fx, name, 1u << 28);
        is_open = true;
    }
}

static uint64_t number(struct choices *from)
{
    static const uint64_t ends[] = {0,
                                    1,
                                    UINT64_MAX,
                                    INT64_MAX,
                                    ZONE_FILE_SIZE_MAX,
                                    ZONE_FILE_SIZE_MAX - 1,
                                    ZONE_FILE_SIZE_MAX + 1,
                                    (uint64_t)INT64_MAX + 1,
                                    1u << 17,
                                    (1u << 17) - 1,
                                    1u << 24,
                                    UINT32_MAX};
    uint8_t byte = next(from);

    return byte < 160 ? byte : byte < 200 ? byte * 997ull : ends[byte % 12];
}

static struct zone_handle handle(struct choices *from)
{
    uint8_t byte = next(from);

    if (byte < 80) {
        return fx_root;
    }
    if (byte < 240) {
        return made_last[byte % 16];
    }
    return (struct zone_handle){.ino = number(from), .gen = number(from)};
}

static struct slice name(struct choices *from)
{
    static const char *const names[] = {"a", "b", "c", "d",  "e", "f",   "g",       "h",
                                        "i", "j", ".", "..", "",  "a/b", "\xff\x01"};
    uint8_t byte = next(from);

    if (byte >= 250) {
        return slice_borrow(payload, byte % 2 == 0 ? ZONE_NAME_MAX : 3);
    }
    return fx_str(names[byte < 150 ? byte % 10 : byte % 15]);
}

static void attributes(struct choices *from, struct zone_sattr *out)
{
    out->set = next(from) % 16;
    out->mode = (uint32_t)number(from) & 07777;
    out->uid = (uint32_t)number(from);
    out->gid = (uint32_t)number(from);
    out->size = number(from);
    out->set_atime = (enum zone_set_time)(next(from) % 3);
    out->set_mtime = (enum zone_set_time)(next(from) % 3);
    out->mtime.sec = (int64_t)number(from);
    out->atime.sec = (int64_t)number(from);
    out->atime.nsec = next(from);
}

static void pairs(struct choices *from, struct zone_op *op)
{
    op->n_kv = next(from) % 4;
    for (uint32_t i = 0; i < op->n_kv; i++) {
        struct zone_kv *pair = &op->kv[i];

        pair->key = name(from);
        pair->value = slice_borrow(payload, next(from));
        pair->version = next(from) % 4 == 0 ? number(from) : ZONE_KV_ANY;
        pair->remove = next(from) % 4 == 0;
    }
}

static void make_op(struct choices *from, struct zone_op *op)
{
    uint8_t byte = next(from);
    uint8_t len = next(from);

    *op = (struct zone_op){
        .type = byte % 4 == 0 ? (enum zone_op_type)(1 + byte / 4 % ZONE_OP_KV_GET)
                              : (enum zone_op_type)(65 + byte % 12)};
    op->cred.uid = next(from) % 4 == 0 ? 7 : 0;
    op->obj = handle(from);
    op->to = handle(from);
    op->name = name(from);
    op->to_name = name(from);
    attributes(from, &op->sattr);
    op->guarded = next(from) % 8 == 0;
    op->how = (enum zone_create_how)(next(from) % 3);
    op->verf[0] = next(from) % 2;
    op->node_type = (enum zone_type)(next(from) % 9);
    op->offset = number(from);
    if (op->type == ZONE_OP_SET_QUOTA && len < 240) {
        op->offset |= 1u << 28;
    }
    op->count = (uint32_t)number(from);
    op->access = next(from);
    if (op->type == ZONE_OP_WRITE) {
        op->data = slice_borrow(payload, len < 200 ? len : len * 157u % DATA_MAX);
        zone_op_seal(op);
    }
    pairs(from, op);
}

/* Its fields that the type does not have count for nothing. */
static void apply_op(struct choices *from, const struct zone_op *op, struct buf *body)
{
    struct zone_entry entry = {.op = slice_borrow(body->data, body->len)};
    struct zone_result result = {0};
    struct zone_op decoded;
    struct fx_entry made = {.index = fx.index + 1};
    struct fx_batch batch = {.entries = &made, .n = 1, .here = next(from) % 4 != 0};
    uint8_t byte = next(from);

    if (byte % 16 == 0) {
        entry.origin = (struct zone_origin){.node = 1 + byte % 3,
                                            .boot = byte / 64,
                                            .seq = number(from),
                                            .floor = number(from)};
        entry.rpc_key[0] = next(from) % 8;
    }
    if (zone_entry_encode(&entry, &made.head) != 0) {
        return;
    }
    fx.time_ns += 1000000ll << byte % 12;
    zone_entry_stamp(made.head->data, made.head->len, fx.time_ns);
    if (op->data.len > 0) {
        made.payload = buf_copy(op->data.data, op->data.len);
    }
    /* As the leader does (replica_propose.c). */
    if (zone_op_decode(body->data, body->len, op->data, &decoded) == 0 &&
        zone_op_is_mutation(decoded.type) && zone_op_check(&decoded) == 0) {
        fx.index++;
        batch.results = &result;
        ASSERT(fx_apply(&fx, &batch) == 0);
        if (result.has_obj) {
            made_last[n_made++ % 16] =
                (struct zone_handle){.ino = result.obj.ino, .gen = result.obj.gen};
        }
        zone_result_clear(&result);
    }
    fx_free(&made);
}

static void read_op(struct buf *body)
{
    struct zone_result result = {0};
    struct zone_op op;
    struct buf *head = NULL;

    if (zone_op_decode(body->data, body->len, (struct slice){0}, &op) != 0 ||
        zone_op_is_mutation(op.type)) {
        return;
    }
    ASSERT(zone_read(fx.zone, &op, &result) == 0);
    ASSERT(zone_result_encode(&result, &head) == 0);
    buf_unref(head);
    zone_result_clear(&result);
}

static void step(struct choices *from)
{
    struct zone_op op;
    struct buf *body = NULL;
    uint8_t flip;

    make_op(from, &op);
    if (zone_op_encode(&op, &body) != 0) {
        return;
    }
    flip = next(from);
    if (flip % 8 == 7) {
        body->data[flip * 31u % body->len] ^= next(from);
    }
    apply_op(from, &op, body);
    read_op(body);
    buf_unref(body);
    if (flip == 64) {
        fx_settle(&fx);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct choices from = {.data = data, .len = size};

    begin();
    for (uint32_t i = 0; i < OPS_MAX && from.at < from.len; i++) {
        step(&from);
    }
    return 0;
}
