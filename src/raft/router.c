/* router: life and dispatch of events. */
#include "raft/router.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "raft/router_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void action_clear(struct router_action *action)
{
    slice_unref(&action->head);
    slice_unref(&action->payload);
    slice_unref(&action->result);
    slice_unref(&action->data);
}

void router_actions_clear(struct router_actions *actions)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        action_clear(&actions->items[i]);
    }
    actions->n = 0;
}

void router_actions_deinit(struct router_actions *actions)
{
    router_actions_clear(actions);
    free(actions->items);
    *actions = (struct router_actions){0};
}

int router_new(const struct router_config *config, struct router **out)
{
    struct router *router = calloc(1, sizeof *router);

    if (router == NULL) {
        return -ENOMEM;
    }
    router->config = *config;
    /* A member may still answer what an earlier life asked: the numbers must differ. */
    router->counter = config->boot * 0x9e3779b97f4a7c15ull >> (ROUTER_SLOT_BITS + 1);
    if (router_node_get(router, config->self) == NULL) {
        free(router);
        return -ENOMEM;
    }
    *out = router;
    return 0;
}

void router_free(struct router *router)
{
    if (router == NULL) {
        return;
    }
    while (router->heap_n > 0) {
        router_op_free(router, router->heap[0]);
    }
    while (router->zones != NULL) {
        struct router_zone_state *zone = router->zones;

        router->zones = zone->next;
        free(zone);
    }
    action_clear(&router->scratch);
    free(router->slots);
    free(router->free_slots);
    free(router->heap);
    free(router->nodes);
    free(router);
}

static void refuse(struct router *router, const struct router_event *event, int outcome)
{
    struct router_action *action = router_act(router, ROUTER_DO_ANSWER);

    memcpy(action->zone_id, event->zone_id, 16);
    action->token = event->token;
    action->is_read = event->type == ROUTER_EV_READ;
    action->outcome = outcome;
}

/* Bytes that the op may keep: a borrowed slice is copied. */
static struct slice keep(struct router *router, struct slice in)
{
    struct slice out = slice_keep(in);

    if (out.len != in.len) {
        router_fault(router, -ENOMEM);
    }
    return out;
}

static void begin(struct router *router, const struct router_event *event)
{
    bool is_read = event->type == ROUTER_EV_READ;
    struct router_zone_state *zone;
    struct router_op *op = NULL;

    zone = router_zone_find(router, event->zone_id, true);
    if (zone != NULL && router->n_ops < ROUTER_OPS_MAX &&
        (is_read || zone->next_seq - router_zone_floor(zone) < ROUTER_SPAN_MAX)) {
        op = router_op_new(router);
    }
    if (op == NULL) {
        refuse(router, event, OUT_TRY_LATER);
        if (zone != NULL) {
            router_zone_trim(router, zone);
        }
        return;
    }
    op->zone = zone;
    zone->n_ops++;
    op->is_read = is_read;
    op->read_bytes = event->read_bytes;
    op->token = event->token;
    op->begun_ms = router->now_ms;
    op->op = keep(router, event->op);
    if (!is_read) {
        op->payload = keep(router, event->payload);
        memcpy(op->rpc_key, event->rpc_key, sizeof op->rpc_key);
        router_mutation_link(op);
    }
    router_op_try(router, op);
}

/* Try now what waits in @zone (NULL: in all). Slots do not move meanwhile. */
static void wake(struct router *router, const struct router_zone_state *zone)
{
    for (uint32_t i = 0; i < router->n_slots; i++) {
        struct router_op *op = router->slots[i];

        if (op != NULL && op->out == 0 && (zone == NULL || op->zone == zone)) {
            router_op_try(router, op);
        }
    }
}

static void zone_changed(struct router *router, const struct router_zone *zone)
{
    struct router_zone_state *state = router_zone_find(router, zone->id, true);

    if (state == NULL) {
        return;
    }
    ASSERT(zone->n_members <= ROUTER_MEMBERS_MAX);
    state->zone = *zone;
    state->known = true;
    wake(router, state);
}

static void zone_gone(struct router *router, const uint8_t *id)
{
    struct router_zone_state *zone = router_zone_find(router, id, false);

    if (zone == NULL) {
        return;
    }
    for (uint32_t i = 0; i < router->n_slots; i++) {
        struct router_op *op = router->slots[i];

        if (op != NULL && op->zone == zone) {
            zone->known = true; /* Not trimmed with its last op. */
            router_op_end(router, op, OUT_STALE, NULL);
        }
    }
    zone->known = false;
    zone->leader = 0;
    router_zone_trim(router, zone);
}

/* What a lost connection held is in doubt, and goes to somebody else at once. */
static void node_changed(struct router *router, uint64_t node, bool up)
{
    struct router_node *found = router_node_get(router, node);

    if (found == NULL || found->up == up || node == router->config.self) {
        return;
    }
    found->up = up;
    found->quiet_until_ms = 0;
    if (up) {
        wake(router, NULL);
        return;
    }
    for (uint32_t i = 0; i < router->n_slots; i++) {
        struct router_op *op = router->slots[i];

        if (op != NULL && op->out == node) {
            op->in_doubt = true;
            router_op_place(router, op, 0);
            op->turn++;
            router_op_try(router, op);
        }
    }
}

static void distance_changed(struct router *router, uint64_t node, uint32_t rtt_us)
{
    struct router_node *found = router_node_get(router, node);

    if (found != NULL) {
        found->rtt_us = rtt_us;
    }
}

/* Mutations that wait, or that went to somebody else, go to the new leader. */
static void leader_changed(struct router *router, const uint8_t *id, uint64_t node)
{
    struct router_zone_state *zone = router_zone_find(router, id, false);

    if (zone == NULL || zone->leader == node) {
        return;
    }
    zone->leader = node;
    if (node == 0 || !router_node_up(router, node)) {
        return;
    }
    for (struct router_op *op = zone->mutations; op != NULL; op = op->next) {
        if (op->out != node) {
            op->in_doubt = op->in_doubt || op->out != 0;
            router_op_place(router, op, 0);
            router_op_try(router, op);
        }
    }
}

static void cancel(struct router *router, uint64_t token)
{
    for (uint32_t i = 0; i < router->n_slots; i++) {
        struct router_op *op = router->slots[i];

        if (op != NULL && op->token == token) {
            op->token = 0; /* Nobody to answer. */
            router_op_end(router, op, OUT_TRY_LATER, NULL);
            return;
        }
    }
}

static void tick(struct router *router)
{
    while (router->heap_n > 0 && router->heap[0]->due_ms <= router->now_ms &&
           router->rv == 0) {
        router_op_due(router, router->heap[0]);
    }
}

static void take_event(struct router *router, const struct router_event *event)
{
    struct router_op *op;

    switch (event->type) {
    case ROUTER_EV_TICK:
        break; /* What is due is seen to after every event. */
    case ROUTER_EV_ZONE:
        zone_changed(router, event->zone);
        break;
    case ROUTER_EV_ZONE_GONE:
        zone_gone(router, event->zone_id);
        break;
    case ROUTER_EV_NODE:
        node_changed(router, event->node, event->up);
        break;
    case ROUTER_EV_MUTATE:
    case ROUTER_EV_READ:
        begin(router, event);
        break;
    case ROUTER_EV_CANCEL:
        cancel(router, event->token);
        break;
    case ROUTER_EV_ANSWER:
        op = router_op_find(router, event->seq);
        if (op != NULL) {
            router_op_answered(router, op, event);
        }
        break;
    case ROUTER_EV_LEADER:
        leader_changed(router, event->zone_id, event->node);
        break;
    case ROUTER_EV_DISTANCE:
        distance_changed(router, event->node, event->rtt_us);
        break;
    }
}

int router_step(struct router *router, const struct router_event *event,
                struct router_actions *actions)
{
    router->out = actions;
    router->rv = 0;
    if (event->now_ms > router->now_ms) {
        router->now_ms = event->now_ms;
    }
    take_event(router, event);
    tick(router);
    return router->rv;
}

uint64_t router_wake_ms(const struct router *router)
{
    return router->heap_n > 0 ? router->heap[0]->due_ms : UINT64_MAX;
}

uint32_t router_pending(const struct router *router)
{
    return router->n_ops;
}
