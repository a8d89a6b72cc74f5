#include "base/assert.h"
#include "base/wire.h"
#include "zone/codec.h"
#include "zone/state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Rows are kept and dropped in the order of their entries, so a ring in memory knows all
 * of them, and chains through it find the one of a key. Which rows there are follows from
 * the entries alone. Keys are hashes under the grapevine's secret: chains stay short.
 *
 * Age is time at work: a client waits out a pause without a leader, however long, and must
 * then still be known.
 */
enum {
    MASK = ZONE_RPC_MAX - 1,
    NONE = 0, /* Of a link: others are a slot + 1. */
};

struct rpc_slot {
    uint8_t key[16];
    uint64_t index;
    int64_t time_ns;
    uint32_t next; /* In the key's chain, older. */
};

struct zone_rpcs {
    uint32_t first; /* The oldest slot. */
    uint32_t n;
    uint32_t chains[ZONE_RPC_MAX];
    struct rpc_slot slots[ZONE_RPC_MAX];
};

int zone_rpc_new(struct zone_rpcs **out)
{
    *out = calloc(1, sizeof **out);
    return *out == NULL ? -ENOMEM : 0;
}

void zone_rpc_free(struct zone_rpcs *rpcs)
{
    free(rpcs);
}

static uint32_t *chain_of(struct zone_rpcs *rpcs, const uint8_t key[16])
{
    return &rpcs->chains[wire_load_u64(key) & MASK];
}

static struct rpc_slot *slot_at(struct zone_rpcs *rpcs, uint32_t i)
{
    return &rpcs->slots[(rpcs->first + i) & MASK];
}

/* The newest of a key comes first in its chain. */
static void push(struct zone_rpcs *rpcs, const struct store_rpc *row)
{
    struct rpc_slot *slot = slot_at(rpcs, rpcs->n);
    uint32_t *chain = chain_of(rpcs, row->key);

    ASSERT(rpcs->n < ZONE_RPC_MAX);
    memcpy(slot->key, row->key, sizeof slot->key);
    slot->index = row->index;
    slot->time_ns = row->time_ns;
    slot->next = *chain;
    *chain = (uint32_t)(slot - rpcs->slots) + 1;
    rpcs->n++;
}

static void pop(struct zone_rpcs *rpcs)
{
    struct rpc_slot *slot = slot_at(rpcs, 0);
    uint32_t *link = chain_of(rpcs, slot->key);

    ASSERT(rpcs->n > 0);
    while (*link != rpcs->first + 1) {
        ASSERT(*link != NONE);
        link = &rpcs->slots[*link - 1].next;
    }
    *link = slot->next; /* The oldest is the last of its chain: NONE. */
    rpcs->first = (rpcs->first + 1) & MASK;
    rpcs->n--;
}

static int load_one(void *ctx, const struct store_rpc *row)
{
    struct zone *zone = ctx;
    struct zone_rpcs *rpcs = zone->rpcs;
    int64_t last_ns = rpcs->n == 0 ? -1 : slot_at(rpcs, rpcs->n - 1)->time_ns;

    if (rpcs->n == ZONE_RPC_MAX || row->time_ns <= last_ns ||
        row->index > zone->number[ZN_APPLIED]) {
        return -EUCLEAN;
    }
    push(rpcs, row);
    return 0;
}

int zone_rpc_load(struct zone *zone)
{
    struct zone_rpcs *rpcs = zone->rpcs;

    rpcs->first = 0;
    rpcs->n = 0;
    memset(rpcs->chains, 0, sizeof rpcs->chains);
    return store_rpc_each(zone->store, load_one, zone);
}

/* Forget the @n oldest. */
static int drop(struct zone *zone, uint32_t n)
{
    struct zone_rpcs *rpcs = zone->rpcs;
    uint64_t below;

    ASSERT(n > 0 && n <= rpcs->n);
    below = slot_at(rpcs, n - 1)->index + 1;
    for (uint32_t i = 0; i < n; i++) {
        pop(rpcs);
    }
    return store_rpc_drop(zone->store, below);
}

static int64_t worked_ns(const struct zone *zone)
{
    return (int64_t)zone->number[ZN_WORKED];
}

static bool due(const struct rpc_slot *slot, int64_t now_ns)
{
    return now_ns - slot->time_ns >= ZONE_RPC_NS;
}

int zone_rpc_expire(struct zone *zone, bool new_second)
{
    struct zone_rpcs *rpcs = zone->rpcs;
    int64_t now_ns = worked_ns(zone);
    uint32_t n = 0;

    if (rpcs->n == 0 || !due(slot_at(rpcs, 0), now_ns)) {
        return 0;
    }
    if (!new_second &&
        (rpcs->n < ZONE_RPC_DROP || !due(slot_at(rpcs, ZONE_RPC_DROP - 1), now_ns))) {
        return 0;
    }
    while (n < rpcs->n && n < ZONE_RPC_DROP && due(slot_at(rpcs, n), now_ns)) {
        n++;
    }
    return drop(zone, n);
}

int zone_rpc_get(const struct apply *apply, struct buf **reply)
{
    struct zone_rpcs *rpcs = apply->zone->rpcs;
    uint32_t at = *chain_of(rpcs, apply->rpc_key);
    const struct rpc_slot *slot;
    int rv;

    while (at != NONE &&
           memcmp(rpcs->slots[at - 1].key, apply->rpc_key, sizeof slot->key) != 0) {
        at = rpcs->slots[at - 1].next;
    }
    slot = at == NONE ? NULL : &rpcs->slots[at - 1];
    if (slot == NULL || due(slot, worked_ns(apply->zone))) {
        return OUT_NOENT;
    }
    rv = store_rpc_get(apply->zone->store, slot->index, reply);
    return rv == OUT_NOENT ? -EUCLEAN : rv;
}

int zone_rpc_put(const struct apply *apply, struct slice reply)
{
    struct store_rpc row = {
        .index = apply->index,
        .time_ns = worked_ns(apply->zone),
        .bytes = reply,
    };
    int rv = 0;

    if (apply->zone->rpcs->n == ZONE_RPC_MAX) {
        rv = drop(apply->zone, ZONE_RPC_DROP);
    }
    if (rv != 0) {
        return rv;
    }
    memcpy(row.key, apply->rpc_key, sizeof row.key);
    push(apply->zone->rpcs, &row);
    return store_rpc_put(apply->zone->store, &row);
}
