/* router's containers: ops by number and by due time, zones, nodes. */
#include "base/assert.h"
#include "raft/router_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool slots_grow(struct router *router)
{
    uint32_t n = router->n_slots == 0 ? 256 : router->n_slots * 2;
    struct router_op **slots = realloc(router->slots, n * sizeof *slots);
    uint32_t *free_slots;
    struct router_op **heap;

    if (slots == NULL) {
        return false;
    }
    router->slots = slots;
    free_slots = realloc(router->free_slots, n * sizeof *free_slots);
    if (free_slots == NULL) {
        return false;
    }
    router->free_slots = free_slots;
    heap = realloc(router->heap, n * sizeof(struct router_op *));
    if (heap == NULL) {
        return false;
    }
    router->heap = heap;
    for (uint32_t i = n; i > router->n_slots; i--) {
        router->slots[i - 1] = NULL;
        router->free_slots[router->n_free++] = i - 1;
    }
    router->n_slots = n;
    return true;
}

static void heap_put(struct router *router, uint32_t at, struct router_op *op)
{
    router->heap[at] = op;
    op->heap_at = at;
}

static void heap_up(struct router *router, uint32_t at)
{
    struct router_op *op = router->heap[at];

    while (at > 0 && router->heap[(at - 1) / 2]->due_ms > op->due_ms) {
        heap_put(router, at, router->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(router, at, op);
}

static void heap_down(struct router *router, uint32_t at)
{
    struct router_op *op = router->heap[at];

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= router->heap_n) {
            break;
        }
        if (child + 1 < router->heap_n &&
            router->heap[child + 1]->due_ms < router->heap[child]->due_ms) {
            child++;
        }
        if (router->heap[child]->due_ms >= op->due_ms) {
            break;
        }
        heap_put(router, at, router->heap[child]);
        at = child;
    }
    heap_put(router, at, op);
}

void router_op_moved(struct router *router, struct router_op *op)
{
    heap_up(router, op->heap_at);
    heap_down(router, op->heap_at);
}

struct router_op *router_op_new(struct router *router)
{
    struct router_op *op;

    if (router->n_free == 0 && !slots_grow(router)) {
        return NULL;
    }
    op = calloc(1, sizeof *op);
    if (op == NULL) {
        return NULL;
    }
    op->slot = router->free_slots[--router->n_free];
    ASSERT(op->slot < ROUTER_OPS_MAX);
    op->seq = ++router->counter << ROUTER_SLOT_BITS | op->slot;
    router->slots[op->slot] = op;
    router->n_ops++;
    op->due_ms = UINT64_MAX;
    heap_put(router, router->heap_n++, op);
    return op;
}

void router_op_free(struct router *router, struct router_op *op)
{
    uint32_t at = op->heap_at;

    ASSERT(router->slots[op->slot] == op && router->heap[at] == op);
    router->heap_n--;
    if (at != router->heap_n) {
        heap_put(router, at, router->heap[router->heap_n]);
        router_op_moved(router, router->heap[at]);
    }
    router->slots[op->slot] = NULL;
    router->free_slots[router->n_free++] = op->slot;
    router->n_ops--;
    router_op_place(router, op, 0);
    slice_unref(&op->op);
    slice_unref(&op->payload);
    free(op);
}

struct router_op *router_op_find(struct router *router, uint64_t seq)
{
    uint64_t slot = seq & (ROUTER_OPS_MAX - 1);
    struct router_op *op = slot < router->n_slots ? router->slots[slot] : NULL;

    return op != NULL && op->seq == seq ? op : NULL;
}

struct router_zone_state *router_zone_find(struct router *router, const uint8_t *id,
                                           bool create)
{
    struct router_zone_state **link = &router->zones;
    struct router_zone_state *zone;

    for (; *link != NULL; link = &(*link)->next) {
        zone = *link;
        if (memcmp(zone->id, id, 16) == 0) {
            *link = zone->next; /* To the front: few zones are busy at a time. */
            zone->next = router->zones;
            router->zones = zone;
            return zone;
        }
    }
    if (!create || router->n_zones == ROUTER_ZONES_MAX) {
        return NULL;
    }
    zone = calloc(1, sizeof *zone);
    if (zone == NULL) {
        router_fault(router, -ENOMEM);
        return NULL;
    }
    memcpy(zone->id, id, 16);
    zone->next_seq = 1;
    zone->next = router->zones;
    router->zones = zone;
    router->n_zones++;
    return zone;
}

void router_zone_trim(struct router *router, struct router_zone_state *zone)
{
    struct router_zone_state **link = &router->zones;

    if (zone->known || zone->n_ops > 0 || zone->next_seq > 1) {
        return;
    }
    while (*link != zone) {
        link = &(*link)->next;
    }
    *link = zone->next;
    router->n_zones--;
    free(zone);
}

struct router_node *router_node_find(const struct router *router, uint64_t node)
{
    for (uint32_t i = 0; i < router->n_nodes; i++) {
        if (router->nodes[i].node == node) {
            return &router->nodes[i];
        }
    }
    return NULL;
}

struct router_node *router_node_get(struct router *router, uint64_t node)
{
    struct router_node *found = router_node_find(router, node);
    struct router_node *nodes;
    uint32_t cap;

    if (found != NULL) {
        return found;
    }
    if (router->n_nodes == router->cap_nodes) {
        cap = router->cap_nodes == 0 ? 16 : router->cap_nodes * 2;
        nodes = realloc(router->nodes, cap * sizeof *nodes);
        if (nodes == NULL) {
            router_fault(router, -ENOMEM);
            return NULL;
        }
        router->nodes = nodes;
        router->cap_nodes = cap;
    }
    found = &router->nodes[router->n_nodes++];
    *found = (struct router_node){.node = node, .up = node == router->config.self};
    return found;
}

bool router_node_up(const struct router *router, uint64_t node)
{
    const struct router_node *found = router_node_find(router, node);

    return found != NULL && found->up;
}

void router_mutation_link(struct router_op *op)
{
    struct router_zone_state *zone = op->zone;

    op->origin_seq = zone->next_seq++;
    op->prev = zone->mutations_last;
    if (op->prev != NULL) {
        op->prev->next = op;
    } else {
        zone->mutations = op;
    }
    zone->mutations_last = op;
}

void router_mutation_unlink(struct router_op *op)
{
    struct router_zone_state *zone = op->zone;

    if (op->prev != NULL) {
        op->prev->next = op->next;
    } else {
        zone->mutations = op->next;
    }
    if (op->next != NULL) {
        op->next->prev = op->prev;
    } else {
        zone->mutations_last = op->prev;
    }
}

uint64_t router_zone_floor(const struct router_zone_state *zone)
{
    return zone->mutations != NULL ? zone->mutations->origin_seq : zone->next_seq;
}
