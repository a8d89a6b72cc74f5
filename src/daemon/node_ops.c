/*
 * node_ops: requests on their way: NFS front and admin → router → host or other node,
 * and their answers back.
 */
#include "daemon/node.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/wire.h"
#include "zone/zone.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OP_HEAD_BYTES 25u
#define ANSWER_HEAD_BYTES 20u
#define BULK_FROM_BYTES 65536u

/* Who waits for an op: what the router's token points at. */
struct pending {
    void (*done)(void *arg, const struct zone_result *result); /* NULL: nobody. */
    void *arg;
};

uint64_t asker_new(struct node *node, enum asker_kind kind, uint64_t remote, uint64_t seq)
{
    struct asker *asker = calloc(1, sizeof *asker);

    ASSERT(asker != NULL);
    asker->node = node;
    asker->kind = kind;
    asker->remote = remote;
    asker->seq = seq;
    return (uint64_t)(uintptr_t)asker;
}

uint64_t asker_callback(struct node *node,
                        void (*done)(void *arg, int outcome, uint64_t leader_raft_id),
                        void *arg)
{
    uint64_t token = asker_new(node, ASKER_CALLBACK, 0, 0);
    struct asker *asker = (struct asker *)(uintptr_t)token;

    asker->done = done;
    asker->arg = arg;
    return token;
}

static void answer_remote(struct node *node, const struct asker *asker,
                          const struct host_answer *answer)
{
    struct buf *head = buf_new(ANSWER_HEAD_BYTES + answer->result.len);
    struct peer_message frame = {
        .node = asker->remote,
        .channel = answer->data.len > BULK_FROM_BYTES ? PEER_BULK : PEER_LOG,
        .type = NODE_FRAME_ANSWER,
        .body = answer->data,
    };

    if (head == NULL) {
        return; /* The origin asks again. */
    }
    wire_store_u64(head->data, asker->seq);
    wire_store_u32(head->data + 8, (uint32_t)answer->outcome);
    wire_store_u64(head->data + 12, directory_raft_node(answer->leader));
    if (answer->result.len > 0) {
        memcpy(head->data + ANSWER_HEAD_BYTES, answer->result.data, answer->result.len);
    }
    head->len = ANSWER_HEAD_BYTES + answer->result.len;
    frame.head = slice_of(head, 0, head->len);
    buf_unref(head);
    if (node_send(node, &frame) != 0) {
        log_debug("daemon", "msg=\"answer dropped\" to=%s",
                  node_name_of(node, asker->remote));
    }
    slice_unref(&frame.head);
}

void node_answer(void *ctx, const struct host_answer *answer)
{
    struct asker *asker = (struct asker *)(uintptr_t)answer->token;
    struct node *node = ctx;

    switch (asker->kind) {
    case ASKER_ROUTER:
        node_router_event(node, &(struct router_event){
                                    .type = ROUTER_EV_ANSWER,
                                    .node = node->number,
                                    .seq = asker->seq,
                                    .outcome = answer->outcome,
                                    .leader_node = directory_raft_node(answer->leader),
                                    .result = answer->result,
                                    .data = answer->data});
        break;
    case ASKER_REMOTE:
        answer_remote(node, asker, answer);
        break;
    case ASKER_CALLBACK:
        asker->done(asker->arg, answer->outcome, answer->leader);
        break;
    }
    node->remote_bytes -= asker->bytes;
    free(asker);
}

static void send_refused(struct node *node, const struct router_action *action)
{
    node_router_event(node, &(struct router_event){.type = ROUTER_EV_ANSWER,
                                                   .node = action->node,
                                                   .seq = action->seq,
                                                   .outcome = OUT_NOT_LEADER});
}

static void send_remote(struct node *node, const struct router_action *action)
{
    struct buf *head = buf_new(OP_HEAD_BYTES + action->head.len);
    struct peer_message frame = {
        .node = action->node,
        .channel = action->payload.len > BULK_FROM_BYTES ? PEER_BULK : PEER_LOG,
        .type = NODE_FRAME_OP,
        .body = action->payload,
    };
    int rv;

    if (head == NULL) {
        send_refused(node, action);
        return;
    }
    memcpy(head->data, action->zone_id, 16);
    wire_store_u64(head->data + 16, action->seq);
    head->data[24] = action->is_read ? 1 : 0;
    memcpy(head->data + OP_HEAD_BYTES, action->head.data, action->head.len);
    head->len = OP_HEAD_BYTES + action->head.len;
    frame.head = slice_of(head, 0, head->len);
    buf_unref(head);
    rv = node_send(node, &frame);
    slice_unref(&frame.head);
    if (rv != 0) {
        send_refused(node, action); /* It certainly did not leave. */
    }
}

static void act_send(struct node *node, const struct router_action *action)
{
    struct host *host;
    uint64_t token;

    if (action->node != node->number) {
        send_remote(node, action);
        return;
    }
    host = node_host(node, action->zone_id);
    if (host == NULL) {
        send_refused(node, action);
        return;
    }
    token = asker_new(node, ASKER_ROUTER, 0, action->seq);
    if (action->is_read) {
        host_read(host, action->head, token);
    } else {
        host_submit(host, action->head, action->payload, token);
    }
}

static void act_answer(const struct router_action *action)
{
    struct pending *pending = (struct pending *)(uintptr_t)action->token;
    struct zone_result result = {.outcome = action->outcome};

    if (action->outcome == 0 &&
        zone_result_decode(action->result.data, action->result.len, action->data,
                           &result) != 0) {
        result = (struct zone_result){.outcome = OUT_TRY_LATER};
    }
    if (pending->done != NULL) {
        pending->done(pending->arg, &result);
    }
    zone_result_clear(&result);
    free(pending);
}

static void router_timer_arm(struct node *node);

/* Not from within a call of the front's. */
static bool comes_from_loop(const struct router_event *event)
{
    return event->type != ROUTER_EV_MUTATE && event->type != ROUTER_EV_READ &&
           event->type != ROUTER_EV_CANCEL;
}

void node_router_event(struct node *node, struct router_event *event)
{
    int rv;

    if (!node->routing && node->front != NULL && comes_from_loop(event)) {
        (void)nfs_front_check(node->front); /* Before anything is sent for its clients. */
    }
    if (event->type != ROUTER_EV_CANCEL) {
        event->now_ms = host_now_ms(); /* A cancel is to make nothing else due. */
    }
    rv = router_step(node->router, event, &node->router_actions);
    if (rv != 0) {
        log_error("daemon", "msg=\"router\" error=\"%s\"", strerror(-rv));
    }
    if (node->routing) {
        return; /* The outer call carries the actions out. */
    }
    node->routing = true;
    for (uint32_t i = 0; i < node->router_actions.n; i++) {
        struct router_action action = node->router_actions.items[i];

        node->router_actions.items[i] = (struct router_action){0};
        if (action.type == ROUTER_DO_SEND) {
            act_send(node, &action);
        } else {
            act_answer(&action);
        }
        slice_unref(&action.head);
        slice_unref(&action.payload);
        slice_unref(&action.result);
        slice_unref(&action.data);
    }
    node->router_actions.n = 0;
    node->routing = false;
    router_timer_arm(node);
}

static void on_router_timer(uv_timer_t *timer)
{
    node_router_event(timer->data, &(struct router_event){.type = ROUTER_EV_TICK});
}

static void router_timer_arm(struct node *node)
{
    uint64_t wake = router_wake_ms(node->router);
    uint64_t now = host_now_ms();

    if (uv_is_closing((uv_handle_t *)&node->router_timer)) {
        return;
    }
    if (wake == UINT64_MAX) {
        uv_timer_stop(&node->router_timer);
        return;
    }
    uv_timer_start(&node->router_timer, on_router_timer, wake > now ? wake - now : 1, 0);
}

void node_submit(struct node *node, const struct nfs_submit *submit,
                 void (*done)(void *arg, const struct zone_result *result), void *arg)
{
    const struct zone_op *op = submit->op;
    struct pending *pending = calloc(1, sizeof *pending);
    struct router_event event = {.payload = op->data};
    struct buf *bytes = NULL;

    if (pending == NULL || zone_op_encode(op, &bytes) != 0) {
        struct zone_result result = {.outcome = OUT_TRY_LATER};

        free(pending);
        done(arg, &result);
        return;
    }
    *pending = (struct pending){.done = done, .arg = arg};
    if (submit->token != NULL) {
        *submit->token = (uint64_t)(uintptr_t)pending;
    }
    event.type = zone_op_is_mutation(op->type) ? ROUTER_EV_MUTATE : ROUTER_EV_READ;
    event.token = (uint64_t)(uintptr_t)pending;
    event.read_bytes = op->type == ZONE_OP_READ ? op->count : 0;
    event.op = slice_of(bytes, 0, bytes->len);
    buf_unref(bytes);
    memcpy(event.zone_id, submit->zone_id, 16);
    memcpy(event.rpc_key, submit->rpc_key, 16);
    node_router_event(node, &event);
    slice_unref(&event.op);
}

/* True if the router has answered already, but the answer waits its turn. */
static bool answer_waits(const struct node *node, uint64_t token)
{
    for (uint32_t i = 0; i < node->router_actions.n; i++) {
        const struct router_action *action = &node->router_actions.items[i];

        if (action->type == ROUTER_DO_ANSWER && action->token == token) {
            return true;
        }
    }
    return false;
}

void node_cancel(struct node *node, uint64_t token)
{
    struct pending *pending = (struct pending *)(uintptr_t)token;

    ASSERT(pending->done != NULL);
    pending->done = NULL;
    if (answer_waits(node, token)) {
        return; /* It frees. */
    }
    node_router_event(node,
                      &(struct router_event){.type = ROUTER_EV_CANCEL, .token = token});
    free(pending); /* The router has forgotten it, without an answer. */
}

/* The NFS front's view. */

static void zone_out(const struct directory_zone *zone, struct nfs_zone *out)
{
    *out = (struct nfs_zone){.fsid = wire_load_u64(zone->id) | 1};
    memcpy(out->id, zone->id, sizeof out->id);
    strcpy(out->slug, zone->slug);
}

static uint32_t backend_zones(void *ctx, struct nfs_zone *out, uint32_t max)
{
    const struct directory *directory = &((struct node *)ctx)->directory;

    for (uint32_t i = 0; i < directory->n_zones && i < max; i++) {
        zone_out(&directory->zones[i], &out[i]);
    }
    return directory->n_zones;
}

static bool backend_by_id(void *ctx, const uint8_t id[16], struct nfs_zone *out)
{
    const struct directory_zone *zone =
        directory_zone(&((struct node *)ctx)->directory, id);

    if (zone != NULL) {
        zone_out(zone, out);
    }
    return zone != NULL;
}

static bool backend_by_slug(void *ctx, const char *slug, struct nfs_zone *out)
{
    const struct directory_zone *zone =
        directory_zone_named(&((struct node *)ctx)->directory, slug);

    if (zone != NULL) {
        zone_out(zone, out);
    }
    return zone != NULL;
}

static void backend_rule(void *ctx, const char *address, const struct nfs_zone *zone,
                         struct nfs_export_rule *out)
{
    const struct config *config = &((struct node *)ctx)->config;

    export_rule(config->exports, address, zone == NULL ? EXPORT_ROOT : zone->slug, out);
}

static bool backend_client(void *ctx, const struct nfs_zone *zone, uint32_t i,
                           char out[NFS_CLIENT_TEXT_MAX])
{
    const struct config *config = &((struct node *)ctx)->config;

    return export_client(config->exports, zone == NULL ? EXPORT_ROOT : zone->slug, i,
                         out);
}

static void backend_submit(void *ctx, const struct nfs_submit *submit,
                           void (*done)(void *arg, const struct zone_result *result),
                           void *arg)
{
    node_submit(ctx, submit, done, arg);
}

static void backend_cancel(void *ctx, uint64_t token)
{
    node_cancel(ctx, token);
}

static const uint8_t *backend_key(void *ctx)
{
    return ((struct node *)ctx)->directory.handle_key;
}

void node_backend_init(struct node *node)
{
    node->backend = (struct nfs_backend){
        .ctx = node,
        .zones = backend_zones,
        .zone_by_id = backend_by_id,
        .zone_by_slug = backend_by_slug,
        .export_rule = backend_rule,
        .export_client = backend_client,
        .submit = backend_submit,
        .cancel = backend_cancel,
        .handle_key = backend_key,
    };
}
