/*
 * Clients: each does one op at a time, most of them small, and remembers the handles
 * that it was given. Every op carries its own number (in the credential's group list),
 * so that its entry in the log can be told from all others.
 */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLED_US (5000 * SYS_US)
#define ATTEMPTS_MAX 200u

static void client_go(struct sys *sys, void *ptr, uint64_t a, uint64_t b);

static void again(struct sys_client *client)
{
    struct sys *sys = client->sys;

    sys_in(sys, SYS_US + sys_rand(sys, sys->think_us),
           (struct sys_event){.fn = client_go, .ptr = client});
}

static struct slice name_of(unsigned nr)
{
    static const char *const names[SYS_NAMES] = {"a", "b",  "c",     "d",
                                                 "e", "ff", "gamma", "a longer name"};

    return slice_borrow(names[nr], strlen(names[nr]));
}

static const struct zone_handle root = {.ino = ZONE_ROOT_INO, .gen = ZONE_ROOT_GEN};

static enum zone_op_type choose(struct sys *sys)
{
    static const enum zone_op_type types[] = {
        ZONE_OP_WRITE,   ZONE_OP_WRITE,  ZONE_OP_WRITE,   ZONE_OP_WRITE,   ZONE_OP_CREATE,
        ZONE_OP_CREATE,  ZONE_OP_REMOVE, ZONE_OP_RENAME,  ZONE_OP_SETATTR, ZONE_OP_LINK,
        ZONE_OP_MKDIR,   ZONE_OP_RMDIR,  ZONE_OP_READ,    ZONE_OP_READ,    ZONE_OP_READ,
        ZONE_OP_LOOKUP,  ZONE_OP_LOOKUP, ZONE_OP_GETATTR, ZONE_OP_READDIR, ZONE_OP_READ,
        ZONE_OP_SYMLINK, ZONE_OP_FSSTAT,
    };

    return types[sys_rand(sys, sizeof types / sizeof types[0])];
}

static uint64_t offset_of(struct sys *sys)
{
    return sys_chance(sys, 6) ? sys_rand(sys, 400000) : sys_rand(sys, 12000);
}

static struct slice payload_of(struct sys *sys, uint64_t op_nr)
{
    size_t len = 1 + sys_rand(sys, sys_chance(sys, 12) ? 150000 : 6000);
    struct buf *buf = buf_new(len);
    struct slice out;

    ASSERT(buf != NULL);
    for (size_t i = 0; i < len; i++) {
        buf->data[i] = (uint8_t)(op_nr * 31 + i * 7 + (i >> 8));
    }
    buf->len = len;
    out = slice_of(buf, 0, len);
    buf_unref(buf);
    return out;
}

static void fill(struct sys_client *client, struct sys_op *record, struct zone_op *op)
{
    struct sys *sys = client->sys;
    unsigned other = (unsigned)sys_rand(sys, SYS_NAMES);
    struct zone_handle file = client->handles[record->zone_nr][record->name];

    op->obj = root;
    op->name = name_of(record->name);
    switch (op->type) {
    case ZONE_OP_WRITE:
        op->obj = file;
        op->name = (struct slice){0};
        op->offset = offset_of(sys);
        record->payload = payload_of(sys, record->nr);
        op->data = record->payload;
        zone_op_seal(op);
        break;
    case ZONE_OP_CREATE:
        op->how = sys_chance(sys, 3) ? ZONE_GUARDED : ZONE_UNCHECKED;
        op->sattr = (struct zone_sattr){.set = ZONE_SET_MODE, .mode = 0644};
        break;
    case ZONE_OP_MKDIR:
        op->sattr = (struct zone_sattr){.set = ZONE_SET_MODE, .mode = 0755};
        break;
    case ZONE_OP_RENAME:
        op->to = root;
        op->to_name = name_of(other);
        break;
    case ZONE_OP_LINK:
        op->obj = file;
        op->name = (struct slice){0};
        op->to = root;
        op->to_name = name_of(other);
        break;
    case ZONE_OP_SYMLINK:
        op->to_name = slice_borrow("elsewhere", 9);
        break;
    case ZONE_OP_SETATTR:
        op->obj = file;
        op->name = (struct slice){0};
        op->sattr = (struct zone_sattr){.set = ZONE_SET_SIZE, .size = offset_of(sys)};
        break;
    case ZONE_OP_READ:
        op->obj = file;
        op->name = (struct slice){0};
        op->offset = offset_of(sys);
        op->count = 1 + (uint32_t)sys_rand(sys, 65536);
        break;
    case ZONE_OP_GETATTR:
        op->obj = file;
        op->name = (struct slice){0};
        break;
    case ZONE_OP_READDIR:
        op->name = (struct slice){0};
        op->count = 8192;
        break;
    case ZONE_OP_FSSTAT:
        op->name = (struct slice){0};
        break;
    default:
        break;
    }
}

static struct sys_op *record_new(struct sys *sys)
{
    if (sys->n_ops == sys->cap_ops) {
        sys->cap_ops = sys->cap_ops == 0 ? 4096 : sys->cap_ops * 2;
        sys->ops = realloc(sys->ops, sys->cap_ops * sizeof *sys->ops);
        ASSERT(sys->ops != NULL);
    }
    memset(&sys->ops[sys->n_ops], 0, sizeof sys->ops[0]);
    sys->ops[sys->n_ops].nr = sys->n_ops + 1;
    return &sys->ops[sys->n_ops++];
}

/* The op goes to the router of the client's node, under a token of this attempt. */
static void client_ask(struct sys_client *client, const struct sys_op *record)
{
    struct router_event event = {
        .type = record->is_read ? ROUTER_EV_READ : ROUTER_EV_MUTATE,
        .token = record->nr << 8 | record->attempt,
        .read_bytes = record->is_read && record->nr % 2 == 0 ? ROUTER_STRIPE_BYTES : 0,
        .op = record->op,
        .payload = record->payload};

    memcpy(event.zone_id, client->sys->zones[record->zone_nr].id, 16);
    if (!record->is_read && sys_with(client->sys, SYS_KIND_MOVES)) {
        memcpy(event.rpc_key, &record->nr, sizeof record->nr);
        event.rpc_key[15] = 1;
    }
    sys_router_step(&client->sys->nodes[client->node], &event);
}

/* Another node that is up; the same if there is none. */
static uint64_t another_node(struct sys_client *client)
{
    uint64_t first = sys_rand(client->sys, SYS_NODES);

    for (uint64_t i = 0; i < SYS_NODES; i++) {
        uint64_t number = 1 + (first + i) % SYS_NODES;

        if (number != client->node && client->sys->nodes[number].up) {
            return number;
        }
    }
    return client->node;
}

/* The client goes to another node with its call. Perhaps the one that it leaves notices,
 * perhaps its answer goes nowhere. */
static void client_move(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_client *client = ptr;
    struct sys_op *record = &sys->ops[a - 1];
    uint64_t to = another_node(client);

    if (!client->busy || client->op_nr != a || record->attempt != b ||
        record->attempt == ATTEMPTS_MAX) {
        return;
    }
    if (!sys->nodes[to].up) {
        sys_in(sys, 50 * SYS_US,
               (struct sys_event){.fn = client_move, .ptr = client, .a = a, .b = b});
        return;
    }
    if (to == client->node && !record->lost) {
        return; /* There is no other, and this one has it. */
    }
    record->attempt++;
    if (!record->lost && sys->nodes[client->node].up && sys_chance(sys, 2)) {
        struct router_event event = {.type = ROUTER_EV_CANCEL,
                                     .token = record->nr << 8 | (record->attempt - 1)};

        sys_router_step(&sys->nodes[client->node], &event);
    }
    record->lost = false;
    sys->counts.moved++;
    sys_trace(sys, "client %u goes from node %u to %u with op %u", client->nr,
              (unsigned)client->node, (unsigned)to, (unsigned)a);
    client->node = to;
    client_ask(client, record);
}

static void client_go(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_client *client = ptr;
    struct sys_node *node = &sys->nodes[client->node];
    struct zone_op op = {.type = choose(sys)};
    struct sys_op *record;
    struct buf *bytes = NULL;

    (void)a;
    (void)b;
    if (sys->stop) {
        return;
    }
    if (!node->up || node->asleep_us > sys->now_us) {
        again(client);
        return;
    }
    record = record_new(sys);
    record->client = client->nr;
    record->zone_nr = (uint32_t)sys_rand(sys, sys->n_zones);
    record->name = (unsigned)sys_rand(sys, SYS_NAMES);
    record->is_read = !zone_op_is_mutation(op.type);
    if (client->handles[record->zone_nr][record->name].ino == 0) {
        op.type = record->is_read ? ZONE_OP_LOOKUP : ZONE_OP_CREATE;
    }
    record->begun_us = sys->now_us;
    record->floor = sys->zones[record->zone_nr].seen;
    op.cred.n_groups = 1;
    op.cred.groups[0] = (uint32_t)record->nr;
    fill(client, record, &op);
    ASSERT(zone_op_encode(&op, &bytes) == 0);
    record->op = slice_of(bytes, 0, bytes->len);
    buf_unref(bytes);
    client->busy = true;
    client->op_nr = record->nr;
    client->zone_nr = record->zone_nr;
    if (sys_with(sys, SYS_KIND_MOVES) && sys_chance(sys, 12)) {
        sys_in(sys, sys_rand(sys, (sys_chance(sys, 2) ? 30 : 1500) * SYS_US),
               (struct sys_event){.fn = client_move, .ptr = client, .a = record->nr});
    }
    client_ask(client, record);
}

/* "Try later" is no answer to what was asked when nothing was wrong any more. */
static void later(struct sys *sys, const struct sys_op *record)
{
    sys->counts.later++;
    if (sys->calm && record->begun_us > sys->calm_us + SETTLED_US) {
        sys_fail(sys, "op %u was not served, with all faults over", (unsigned)record->nr);
    }
}

/* A result that the client now knows of. */
static void got(struct sys_client *client, struct sys_op *record, struct slice result,
                struct slice data)
{
    struct sys *sys = client->sys;
    struct sys_zone *zone = &sys->zones[record->zone_nr];
    struct zone_result decoded;
    struct zone_op op;

    if (record->doubtful) {
        return; /* It may tell of what only those had that were lost. */
    }
    if (zone_result_decode(result.data, result.len, data, &decoded) != 0) {
        sys_fail(sys, "op %u: malformed result", (unsigned)record->nr);
        return;
    }
    record->outcome = decoded.outcome;
    record->index = decoded.index;
    record->result = slice_ref(result);
    record->data = slice_ref(data);
    slice_unref(&decoded.data);
    if (decoded.outcome == OUT_TRY_LATER) {
        later(sys, record);
        if (!record->is_read) { /* It was pending, so its reply must have been kept. */
            sys_fail(sys, "op %u was refused as one that is over", (unsigned)record->nr);
        }
        return;
    }
    if (record->is_read && decoded.outcome == OUT_IO && zone->damaged != 0) {
        sys->counts.read_errors++; /* Never wrong bytes. */
        return;
    }
    record->acked = true;
    record->at = decoded.index;
    if (record->is_read && record->at < record->floor) {
        /* Under a lease, since nothing between them touches it: see check_read. */
        record->at = record->floor;
        sys->counts.older++;
    }
    if (!record->is_read && decoded.index <= record->floor) {
        sys_fail(sys,
                 "op %u of zone %u was carried out at %u, but %u was answered before",
                 (unsigned)record->nr, record->zone_nr, (unsigned)decoded.index,
                 (unsigned)record->floor);
        return;
    }
    zone->seen = decoded.index > zone->seen ? decoded.index : zone->seen;
    ASSERT(zone_op_decode(record->op.data, record->op.len, record->payload, &op) == 0);
    if (decoded.has_obj && decoded.outcome == 0 &&
        (op.type == ZONE_OP_CREATE || op.type == ZONE_OP_LOOKUP ||
         op.type == ZONE_OP_MKDIR)) {
        client->handles[record->zone_nr][record->name] =
            (struct zone_handle){.ino = decoded.obj.ino, .gen = decoded.obj.gen};
    }
}

void sys_client_answer(struct sys *sys, uint64_t token, int outcome, struct slice result,
                       struct slice data)
{
    uint64_t op_nr = token >> 8;
    struct sys_op *record = &sys->ops[op_nr - 1];
    struct sys_client *client = &sys->clients[record->client];

    if ((token & 0xff) != record->attempt) {
        return; /* Of a node that it has left. */
    }
    sys->counts.moved_done += record->attempt > 0 && outcome == 0;
    if (record->ended || client->op_nr != op_nr) {
        sys_fail(sys, "op %u was answered twice", (unsigned)op_nr);
        return;
    }
    record->ended = true;
    client->busy = false;
    if (record->is_read) {
        sys->counts.reads++;
    } else {
        sys->counts.writes++;
    }
    if (outcome == 0) {
        got(client, record, result, data);
    } else if (outcome == OUT_TRY_LATER) {
        later(sys, record);
    } else {
        sys_fail(sys, "op %u ended with %s", (unsigned)op_nr, outcome_name(outcome));
    }
    again(client);
}

void sys_client_lost(struct sys_client *client)
{
    struct sys *sys = client->sys;
    struct sys_op *record = &sys->ops[client->op_nr - 1];

    if (sys_with(sys, SYS_KIND_MOVES) && !sys->stop && record->attempt < ATTEMPTS_MAX &&
        sys_chance(sys, 2)) {
        record->lost = true;
        sys_in(
            sys, sys_rand(sys, 300 * SYS_US),
            (struct sys_event){
                .fn = client_move, .ptr = client, .a = record->nr, .b = record->attempt});
        return;
    }
    sys_client_answer(sys, record->nr << 8 | record->attempt, OUT_TRY_LATER,
                      (struct slice){0}, (struct slice){0});
}

void sys_clients_start(struct sys *sys)
{
    for (uint32_t i = 0; i < SYS_CLIENTS; i++) {
        struct sys_client *client = &sys->clients[i];

        *client = (struct sys_client){.sys = sys, .nr = i, .node = 1 + i % SYS_NODES};
        again(client);
    }
}
