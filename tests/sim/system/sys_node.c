/* A node: its clock, its disk, its router, and what comes from the network. */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "store/vfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t sys_node_ms(struct sys_node *node)
{
    int64_t us = (int64_t)node->sys->now_us;
    uint64_t ms =
        node->clock_ms + (uint64_t)((us + us * node->clock_ppm / 1000000) / 1000);

    if (ms < node->last_ms) {
        ms = node->last_ms;
    }
    node->last_ms = ms;
    return ms;
}

bool sys_node_sleeps(struct sys_node *node, struct sys_event event)
{
    if (node->asleep_us <= node->sys->now_us) {
        return false;
    }
    sys_at(node->sys, node->asleep_us, event);
    return true;
}

int64_t sys_node_wall(const struct sys_node *node)
{
    int64_t us = (int64_t)node->sys->now_us;

    return 1700000000000000000 + node->wall_ns +
           (us + us * node->clock_ppm / 1000000) * 1000;
}

void sys_node_init(struct sys *sys, uint64_t number)
{
    struct sys_node *node = &sys->nodes[number];
    uint64_t drift =
        sys->options.mutation == SYS_MUT_WILD_CLOCKS ? SYS_DRIFT_WILD_PPM : SYS_DRIFT_PPM;

    *node = (struct sys_node){.sys = sys, .number = number};
    node->disk = simdisk_new(0);
    node->clock_ppm = (int64_t)sys_rand(sys, 2 * drift) - (int64_t)drift;
    node->clock_ms = 1000 + sys_rand(sys, 100000);
    node->wall_ns = ((int64_t)sys_rand(sys, 4000) - 2000) * 1000000;
    (void)snprintf(node->vfs, sizeof node->vfs, "sim%u", (unsigned)number);
    simdisk_lie(node->disk, false);
}

bool sys_node_lost_power(struct sys_node *node)
{
    if (node->up && !simdisk_is_on(node->disk)) {
        sys_node_halt(node, true);
        return true;
    }
    return !node->up;
}

static void boot_event(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    (void)sys;
    (void)b;
    if (a == ((struct sys_node *)ptr)->epoch) {
        sys_node_boot(ptr);
    }
}

/* False: the node is gone, or going. */
static bool open_zone(struct sys_node *node, uint32_t z)
{
    int rv = sys_host_open(node, z);

    if (sys_node_lost_power(node)) {
        return false;
    }
    if (rv != 0 && !node->broken && sys_damage_shows(node->hosts[z], rv)) {
        sys_host_close(node->hosts[z]);
        node->hosts[z] = NULL;
        sys_damage_give_up(node, z);
        return true; /* The node's other zones go on. */
    }
    /* A dataset that there was no room to make is made by the next start. */
    node->broken = node->broken || (rv == -ENOSPC && node->full);
    if (rv != 0 && node->broken) {
        sys_host_fault(node->hosts[z], "cannot open", rv);
        return false;
    }
    if (rv != 0) {
        sys_fail(node->sys, "node %u cannot open zone %u: %d", (unsigned)node->number, z,
                 rv);
        return false;
    }
    return true;
}

static bool open_hosts(struct sys_node *node)
{
    struct sys *sys = node->sys;

    for (uint32_t z = 0; z < sys->n_zones; z++) {
        if (sys_member_id(&sys->zones[z], node->number) == 0 || node->destroyed[z]) {
            continue;
        }
        if (sys_damage_is_end(node, z)) {
            sys_damage_give_up(node, z);
        } else if (!open_zone(node, z)) {
            return false;
        }
    }
    return true;
}

void sys_node_open_zone(struct sys_node *node, uint32_t zone_nr)
{
    struct sys *sys = node->sys;

    if (!node->up) {
        return; /* When it starts. */
    }
    sys_point_enter(node, SYS_AT_FIRST_START);
    if (!sys->calm && sys_with(sys, SYS_KIND_TRAPS) && sys_chance(sys, 4)) {
        simdisk_power_off_after(node->disk, 1 + sys_rand(sys, 50));
    }
    if (open_zone(node, zone_nr) && node->hosts[zone_nr] != NULL) {
        sys_point_enter(node, SYS_AT_REST);
        sys_node_tell_links(node->hosts[zone_nr]);
    }
}

void sys_node_tell_zone(struct sys_node *node, uint32_t zone_nr)
{
    const struct directory_zone *row = &node->sys->zones[zone_nr].row;
    struct router_zone zone = {.n_members = row->n_members};
    struct router_event event = {.type = ROUTER_EV_ZONE, .zone = &zone};

    memcpy(zone.id, row->id, 16);
    for (uint32_t i = 0; i < zone.n_members; i++) {
        zone.nodes[i] = row->members[(i + node->number) % zone.n_members].node;
    }
    sys_router_step(node, &event);
}

/* Once for each that comes up or goes down. */
static void tell_link(struct sys_host *host, uint64_t other, bool up)
{
    uint64_t id = sys_member_id(&host->sys->zones[host->zone_nr], other);
    struct replica_event event = {.type = REPLICA_EV_PEER, .from = id, .up = up};

    if (!up) {
        event.from = host->links[other];
    }
    if (event.from == 0 || (up && host->links[other] == id)) {
        return;
    }
    host->links[other] = up ? id : 0;
    if (!up) {
        sys_pull_lost(host, other);
    }
    sys_host_step(host, &event);
}

void sys_node_tell_links(struct sys_host *host)
{
    for (uint64_t other = 1; other <= SYS_NODES; other++) {
        if (other != host->node->number && host->node->sees[other]) {
            tell_link(host, other, true);
        }
    }
}

void sys_node_boot(struct sys_node *node)
{
    struct sys *sys = node->sys;
    struct router_config config = {.self = node->number};
    bool create = node->epoch == 0;

    ASSERT(!node->up);
    node->epoch++;
    node->up = true;
    simdisk_power_on(node->disk);
    node->broken = false;
    memset(node->reopens, 0, sizeof node->reopens);
    node->full = false;
    node->at = SYS_AT_REST;
    node->ends = false;
    memset(node->sees, 0, sizeof node->sees);
    simdisk_set_capacity(node->disk, 0);
    for (int op = 0; op < SIMDISK_OPS; op++) {
        simdisk_fail(node->disk, (enum simdisk_op)op, 0, -EIO, false);
    }
    simdisk_lie(node->disk, sys->options.mutation == SYS_MUT_NO_SYNC && !create);
    ASSERT(vfs_register(simdisk_disk(node->disk), node->vfs) == 0);
    config.boot = node->epoch;
    ASSERT(router_new(&config, &node->router) == 0);
    node->router_at_us = UINT64_MAX;
    sys_trace(sys, "node %u boots", (unsigned)node->number);
    sys_point_enter(node, create ? SYS_AT_FIRST_START : SYS_AT_START);
    if (!sys->calm && sys_with(sys, SYS_KIND_TRAPS) && sys_chance(sys, create ? 5 : 12)) {
        simdisk_power_off_after(node->disk, 1 + sys_rand(sys, 50));
    }
    if (!open_hosts(node)) {
        return;
    }
    sys_point_enter(node, SYS_AT_REST);
    for (uint32_t z = 0; z < sys->n_zones; z++) {
        sys_node_tell_zone(node, z);
    }
    sys_net_node_up(sys, node->number);
}

static void close_router(struct sys_node *node)
{
    struct sys *sys = node->sys;

    router_free(node->router);
    node->router = NULL;
    for (uint32_t i = 0; i < SYS_CLIENTS; i++) {
        struct sys_client *client = &sys->clients[i];

        if (client->node == node->number && client->busy) {
            sys_client_lost(client);
        }
    }
}

void sys_node_halt(struct sys_node *node, bool power)
{
    struct sys *sys = node->sys;
    uint64_t delay_us;

    if (!node->up) {
        return;
    }
    sys_trace(sys, "node %u %s", (unsigned)node->number,
              power ? "loses power" : "is stopped");
    sys->counts.crashes++;
    node->up = false;
    node->epoch++;
    if (power) {
        sys_point_lost(node);
        simdisk_crash(node->disk, &sys->prng);
    }
    for (uint32_t z = 0; z < SYS_ZONES; z++) {
        sys_host_close(node->hosts[z]);
        node->hosts[z] = NULL;
    }
    close_router(node);
    vfs_unregister(node->vfs);
    sys_net_node_down(sys, node->number);
    /* Sometimes so soon that nobody has noticed, and leases are out still. */
    delay_us = sys_chance(sys, 3) ? 5 * SYS_US + sys_rand(sys, 60 * SYS_US)
                                  : 100 * SYS_US + sys_rand(sys, 2000 * SYS_US);
    sys_in(sys, sys->calm ? 100 * SYS_US + sys_rand(sys, 200 * SYS_US) : delay_us,
           (struct sys_event){.fn = boot_event, .ptr = node, .a = node->epoch});
}

void sys_node_free(struct sys_node *node)
{
    for (uint32_t z = 0; z < SYS_ZONES; z++) {
        sys_host_close(node->hosts[z]);
        node->hosts[z] = NULL;
    }
    router_free(node->router);
    node->router = NULL;
    if (node->up) {
        vfs_unregister(node->vfs);
    }
    if (node->disk != NULL) {
        simdisk_free(node->disk);
    }
    node->disk = NULL;
}

/* The log channel of a connection came up or went down. */
void sys_node_link(struct sys_node *node, uint64_t other, bool up)
{
    struct router_event to_router = {.type = ROUTER_EV_NODE, .node = other, .up = up};
    struct router_event distance = {.type = ROUTER_EV_DISTANCE, .node = other};

    node->sees[other] = up;
    for (uint32_t z = 0; z < SYS_ZONES; z++) {
        if (node->hosts[z] != NULL && node->up) {
            tell_link(node->hosts[z], other, up);
        }
    }
    if (node->up) {
        /* Any will do: the router only chooses by it. */
        distance.rtt_us = (uint32_t)(100 + node->sys->now_us / 1000 * other % 1000);
        sys_router_step(node, &distance);
        sys_router_step(node, &to_router);
    }
}

/* Ops between nodes: seq, kind, then the op; answers: seq, outcome, leader, result. */
static void send_op(struct sys_node *node, const struct router_action *action,
                    uint8_t zone_nr)
{
    struct buf *head = buf_new(9 + action->head.len);
    struct wire_enc enc = wire_enc(head->data, head->cap);

    wire_put_u64(&enc, action->seq);
    wire_put_u8(&enc, action->is_read);
    wire_put_bytes(&enc, action->head.data, action->head.len);
    head->len = enc.len;
    sys_net_send(node->sys, (struct sys_msg){.from = node->number,
                                             .to = action->node,
                                             .channel = 1,
                                             .type = SYS_FRAME_OP,
                                             .zone_nr = zone_nr,
                                             .head = slice_of(head, 0, head->len),
                                             .body = slice_ref(action->payload)});
    buf_unref(head);
}

static uint8_t zone_of(const struct sys *sys, const uint8_t *id)
{
    for (uint32_t z = 0; z < sys->n_zones; z++) {
        if (memcmp(sys->zones[z].id, id, 16) == 0) {
            return (uint8_t)z;
        }
    }
    ASSERT(false); /* A zone that nobody made. */
    return 0;
}

/* An op for the local replica, one event later. */
struct local_op {
    uint64_t epoch;
    struct sys_ask ask;
    uint32_t zone_nr;
    struct slice head;
    struct slice payload;
};

/* It is closed for a moment, or not a member any more. */
static int no_host(const struct sys_node *node, uint32_t zone_nr)
{
    return node->reopens[zone_nr] ? OUT_NOT_LEADER : OUT_STALE;
}

static void local_op(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct local_op *op = ptr;
    struct sys_node *node = &sys->nodes[a];
    bool there = node->up && node->epoch == op->epoch;

    (void)b;
    if (there &&
        sys_node_sleeps(node, (struct sys_event){
                                  .fn = local_op, .ptr = ptr, .a = a, .frees = true})) {
        return;
    }
    if (there) {
        if (node->hosts[op->zone_nr] != NULL) {
            sys_host_op(node->hosts[op->zone_nr], op->ask, op->head, op->payload);
        } else {
            struct router_event event = {.type = ROUTER_EV_ANSWER,
                                         .node = a,
                                         .seq = op->ask.seq,
                                         .outcome = no_host(node, op->zone_nr)};

            sys_router_step(node, &event);
        }
    }
    slice_unref(&op->head);
    slice_unref(&op->payload);
    free(op);
}

static void op_here(struct sys_node *node, const struct router_action *action,
                    uint8_t zone_nr)
{
    struct local_op *op = sys_alloc(1, sizeof *op);

    op->epoch = node->epoch;
    op->zone_nr = zone_nr;
    op->ask = (struct sys_ask){
        .origin = node->number, .seq = action->seq, .is_read = action->is_read};
    op->head = slice_ref(action->head);
    op->payload = slice_ref(action->payload);
    sys_in(
        node->sys, 1,
        (struct sys_event){.fn = local_op, .ptr = op, .a = node->number, .frees = true});
}

static void router_tick(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = ptr;
    struct router_event event = {.type = ROUTER_EV_TICK};

    (void)b;
    if (!node->up || node->epoch != a) {
        return;
    }
    if (node->asleep_us > sys->now_us) {
        sys_at(sys, node->asleep_us,
               (struct sys_event){.fn = router_tick, .ptr = node, .a = a});
        return;
    }
    node->router_at_us = UINT64_MAX;
    sys_router_step(node, &event);
}

static void router_arm(struct sys_node *node)
{
    uint64_t wake_ms = router_wake_ms(node->router);
    uint64_t now_ms = sys_node_ms(node);
    uint64_t at_us;

    if (wake_ms == UINT64_MAX) {
        return;
    }
    at_us = node->sys->now_us + (wake_ms > now_ms ? (wake_ms - now_ms) * SYS_US : 0) + 1;
    if (at_us < node->router_at_us) {
        node->router_at_us = at_us;
        sys_at(node->sys, at_us,
               (struct sys_event){.fn = router_tick, .ptr = node, .a = node->epoch});
    }
}

void sys_router_step(struct sys_node *node, struct router_event *event)
{
    struct sys *sys = node->sys;
    struct router_actions actions = {0};

    event->now_ms = sys_node_ms(node);
    ASSERT(router_step(node->router, event, &actions) == 0);
    for (uint32_t i = 0; i < actions.n; i++) {
        struct router_action *action = &actions.items[i];

        sys_trace(sys, "n%u router %s %u: seq %llx to n%u %s", (unsigned)node->number,
                  action->type == ROUTER_DO_ANSWER ? "answers" : "sends",
                  (unsigned)action->token, (unsigned long long)action->seq,
                  (unsigned)action->node, outcome_name(action->outcome));
        if (action->type == ROUTER_DO_ANSWER) {
            sys_client_answer(sys, action->token, action->outcome, action->result,
                              action->data);
        } else if (action->node == node->number) {
            op_here(node, action, zone_of(sys, action->zone_id));
        } else {
            send_op(node, action, zone_of(sys, action->zone_id));
        }
    }
    router_actions_deinit(&actions);
    router_arm(node);
}

/* The asker's view of the zone is an old one. */
static void no_member(struct sys_node *node, const struct sys_msg *msg, uint64_t seq)
{
    struct buf *head = buf_new(20);
    struct wire_enc enc = wire_enc(head->data, head->cap);

    wire_put_u64(&enc, seq);
    wire_put_u32(&enc, (uint32_t)no_host(node, msg->zone_nr));
    wire_put_u64(&enc, 0);
    head->len = enc.len;
    sys_net_send(node->sys, (struct sys_msg){.from = node->number,
                                             .to = msg->from,
                                             .channel = 1,
                                             .type = SYS_FRAME_ANSWER,
                                             .zone_nr = msg->zone_nr,
                                             .head = slice_of(head, 0, head->len)});
    buf_unref(head);
}

static void frame_op(struct sys_node *node, struct sys_msg *msg)
{
    struct wire_dec dec = wire_dec(msg->head.data, msg->head.len);
    struct sys_ask ask = {.origin = msg->from};
    struct slice head = {0};

    ask.seq = wire_get_u64(&dec);
    ask.is_read = wire_get_u8(&dec) != 0;
    head = sys_slice_copy(slice_borrow(msg->head.data + 9, msg->head.len - 9));
    if (node->hosts[msg->zone_nr] != NULL) {
        sys_host_op(node->hosts[msg->zone_nr], ask, head, msg->body);
    } else {
        no_member(node, msg, ask.seq);
    }
    slice_unref(&head);
}

static void frame_answer(struct sys_node *node, struct sys_msg *msg)
{
    struct wire_dec dec = wire_dec(msg->head.data, msg->head.len);
    struct router_event event = {.type = ROUTER_EV_ANSWER, .node = msg->from};

    event.seq = wire_get_u64(&dec);
    event.outcome = (int)wire_get_u32(&dec);
    event.leader_node = wire_get_u64(&dec);
    event.result = (struct slice){
        .buf = msg->head.buf, .data = msg->head.data + 20, .len = msg->head.len - 20};
    event.data = msg->body;
    sys_router_step(node, &event);
}

void sys_node_frame(struct sys_node *node, struct sys_msg *msg)
{
    struct sys_host *host = node->hosts[msg->zone_nr];
    struct replica_event event = {.type = REPLICA_EV_FRAME,
                                  .from = msg->from_id,
                                  .frame_type = msg->type,
                                  .head = msg->head,
                                  .body = msg->body};

    if (host != NULL && msg->to_id != 0 && msg->to_id != host->raft_id) {
        return; /* For a member that was here before. */
    }
    switch (msg->type) {
    case SYS_FRAME_OP:
        frame_op(node, msg);
        break;
    case SYS_FRAME_ANSWER:
        frame_answer(node, msg);
        break;
    case SYS_FRAME_PULL:
        if (host != NULL) {
            sys_pull_request(host, msg);
        } else {
            sys_pull_refuse(node, msg);
        }
        break;
    case SYS_FRAME_PULLED:
        if (host != NULL) {
            sys_pull_answer(host, msg->head, msg->body);
        }
        break;
    case SYS_FRAME_COPY:
        if (host != NULL) {
            sys_heal_request(host, msg->from, msg->head);
        }
        break;
    case SYS_FRAME_COPIED:
        if (host != NULL) {
            sys_heal_answer(host, msg->from, msg->head, msg->body);
        }
        break;
    default:
        if (host != NULL) {
            sys_host_step(host, &event);
        }
        break;
    }
}
