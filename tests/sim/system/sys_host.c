/* One zone on one member: replica's events and actions. Nothing it does steps the same
 * replica again before it returns: answers come through the queue of events. */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void tick(struct sys *sys, void *ptr, uint64_t a, uint64_t b);

static struct sys_host *host_of(struct sys *sys, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 8];

    struct sys_host *host = node->up ? node->hosts[a & 0xff] : NULL;

    return host != NULL && host->serial == b ? host : NULL;
}

static uint64_t host_name(const struct sys_host *host)
{
    return host->node->number << 8 | host->zone_nr;
}

/* Arm the timer for the replica's next tick. */
static void arm(struct sys_host *host)
{
    struct sys *sys = host->sys;
    uint64_t wake_ms = replica_wake_ms(host->replica);
    uint64_t now_ms = sys_node_ms(host->node);
    uint64_t at_us;

    if (wake_ms == UINT64_MAX) {
        return;
    }
    at_us = sys->now_us + (wake_ms > now_ms ? (wake_ms - now_ms) * SYS_US : 0) + 100;
    if (at_us < host->tick_at_us) {
        host->tick_at_us = at_us;
        sys_at(sys, at_us,
               (struct sys_event){.fn = tick, .a = host_name(host), .b = host->serial});
    }
}

static void tick(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_host *host = host_of(sys, a, b);
    struct replica_event event = {.type = REPLICA_EV_TICK};

    (void)ptr;
    if (host == NULL || sys->now_us < host->tick_at_us) {
        return; /* Another one is due later. */
    }
    if (host->node->asleep_us > sys->now_us) {
        host->tick_at_us = host->node->asleep_us;
        sys_at(sys, host->node->asleep_us,
               (struct sys_event){.fn = tick, .a = a, .b = b});
        return;
    }
    host->tick_at_us = UINT64_MAX;
    event.wall_ns = sys_node_wall(host->node);
    sys_host_step(host, &event);
}

static void flush(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_host *host = host_of(sys, a, b);
    struct replica_event event = {.type = REPLICA_EV_FLUSH};

    (void)ptr;
    if (host != NULL &&
        !sys_node_sleeps(host->node, (struct sys_event){.fn = flush, .a = a, .b = b})) {
        host->flush_due = false;
        sys_host_step(host, &event);
    }
}

void sys_host_flush_soon(struct sys_host *host)
{
    if (!host->flush_due) {
        host->flush_due = true;
        sys_in(host->sys, sys_rand(host->sys, 300),
               (struct sys_event){.fn = flush, .a = host_name(host), .b = host->serial});
    }
}

/* An answer for this node's own router, one event later. */
struct local_answer {
    uint64_t epoch;
    struct router_event event;
};

static void local_answer(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct local_answer *answer = ptr;
    struct sys_node *node = &sys->nodes[a];
    bool there = node->up && node->epoch == answer->epoch;

    (void)b;
    if (there && sys_node_sleeps(
                     node, (struct sys_event){
                               .fn = local_answer, .ptr = ptr, .a = a, .frees = true})) {
        return;
    }
    if (there) {
        sys_router_step(node, &answer->event);
    }
    slice_unref(&answer->event.result);
    slice_unref(&answer->event.data);
    free(answer);
}

static void answer_here(struct sys_host *host, const struct router_event *event)
{
    struct local_answer *answer = sys_alloc(1, sizeof *answer);

    answer->epoch = host->node->epoch;
    answer->event = *event;
    answer->event.result = slice_ref(event->result);
    answer->event.data = slice_ref(event->data);
    sys_in(
        host->sys, 1,
        (struct sys_event){
            .fn = local_answer, .ptr = answer, .a = host->node->number, .frees = true});
}

static void answer_there(struct sys_host *host, uint64_t to,
                         const struct router_event *event)
{
    struct buf *head = buf_new(20 + event->result.len);
    struct wire_enc enc = wire_enc(head->data, head->cap);

    wire_put_u64(&enc, event->seq);
    wire_put_u32(&enc, (uint32_t)event->outcome);
    wire_put_u64(&enc, event->leader_node);
    wire_put_bytes(&enc, event->result.data, event->result.len);
    head->len = enc.len;
    sys_net_send(host->sys, (struct sys_msg){.from = host->node->number,
                                             .to = to,
                                             .channel = 1,
                                             .type = SYS_FRAME_ANSWER,
                                             .zone_nr = (uint8_t)host->zone_nr,
                                             .head = slice_of(head, 0, head->len),
                                             .body = slice_ref(event->data)});
    buf_unref(head);
}

void sys_host_answer(struct sys_ask *ask, int outcome, uint64_t leader,
                     struct slice result, struct slice data)
{
    struct sys_host *host = ask->host;
    struct router_event event = {.type = ROUTER_EV_ANSWER,
                                 .node = host->node->number,
                                 .seq = ask->seq,
                                 .outcome = outcome,
                                 .leader_node = leader,
                                 .result = result,
                                 .data = data};

    if (ask->origin == host->node->number) {
        answer_here(host, &event);
    } else {
        answer_there(host, ask->origin, &event);
    }
    if (ask->prev != NULL) {
        ask->prev->next = ask->next;
    } else {
        host->asks = ask->next;
    }
    if (ask->next != NULL) {
        ask->next->prev = ask->prev;
    }
    slice_unref(&ask->op);
    free(ask);
}

/* Break a rule of the entry, to see that it is missed. */
static void mutate_entry(struct sys *sys, struct slice *head)
{
    struct zone_entry entry;
    struct buf *copy = NULL;

    if ((sys->options.mutation != SYS_MUT_NO_DEDUP &&
         sys->options.mutation != SYS_MUT_NO_KEYS &&
         sys->options.mutation != SYS_MUT_EARLY_FLOOR) ||
        zone_entry_decode(head->data, head->len, &entry) != 0) {
        return;
    }
    if (sys->options.mutation == SYS_MUT_NO_DEDUP) {
        entry.origin = (struct zone_origin){0};
    } else if (sys->options.mutation == SYS_MUT_NO_KEYS) {
        memset(entry.rpc_key, 0, sizeof entry.rpc_key);
    } else {
        entry.origin.floor = entry.origin.seq + 1;
    }
    ASSERT(zone_entry_encode(&entry, &copy) == 0);
    slice_unref(head);
    *head = slice_of(copy, 0, copy->len);
    buf_unref(copy);
}

void sys_host_read(struct sys_ask *ask, bool named)
{
    struct replica_event event = {.type = REPLICA_EV_READ,
                                  .token = (uint64_t)(uintptr_t)ask};
    struct sys_host *host = ask->host; /* The step may answer. */
    struct zone_handle obj;
    struct zone_op op;

    ASSERT(zone_op_decode(ask->op.data, ask->op.len, (struct slice){0}, &op) == 0);
    obj = zone_op_reads(&op);
    if (named) {
        event.ino = obj.ino;
        event.gen = obj.gen;
    }
    sys_host_step(host, &event);
    sys_host_flush_soon(host);
}

void sys_host_op(struct sys_host *host, struct sys_ask ask, struct slice head,
                 struct slice payload)
{
    struct sys_ask *copy = sys_alloc(1, sizeof *copy);
    struct replica_event event = {.type = REPLICA_EV_SUBMIT};

    *copy = ask;
    copy->host = host;
    copy->prev = NULL;
    copy->next = host->asks;
    if (host->asks != NULL) {
        host->asks->prev = copy;
    }
    host->asks = copy;
    event.token = (uint64_t)(uintptr_t)copy;
    if (ask.is_read) {
        copy->op = slice_ref(head);
        sys_host_read(copy, true);
    } else {
        event.wall_ns = sys_node_wall(host->node);
        event.head = slice_ref(head);
        event.body = payload;
        mutate_entry(host->sys, &event.head);
        sys_host_step(host, &event);
        slice_unref(&event.head);
    }
    sys_host_flush_soon(host);
}

static void do_answer(struct replica_action *action)
{
    sys_host_answer((struct sys_ask *)(uintptr_t)action->token, action->outcome,
                    directory_raft_node(action->leader), action->result, action->data);
}

/* The router of this node hears who leads. */
static void do_note(struct sys_host *host)
{
    struct replica_status status;
    struct router_event event = {.type = ROUTER_EV_LEADER};

    replica_status(host->replica, sys_node_ms(host->node), &status);
    sys_trace(host->sys, "n%u z%u state %d term %u leader %u commit %u applied %u%s",
              (unsigned)host->node->number, host->zone_nr, status.state,
              (unsigned)status.term, (unsigned)status.leader,
              (unsigned)status.commit_index, (unsigned)status.applied_index,
              status.pulling ? " pulling" : "");
    host->sys->counts.leaders += status.state == RGROUP_LEADER;
    if (status.slow && status.transferring && !host->giving_way) {
        host->sys->counts.handed_over++;
    }
    host->giving_way = status.slow && status.transferring;
    host->sys->counts.unreadable +=
        status.unreadable_index != 0 && status.unreadable_index != host->unreadable;
    host->sys->counts.mended += status.unreadable_index == 0 && host->unreadable != 0;
    host->unreadable = status.unreadable_index;
    if (status.leader != host->leader && host->node->router != NULL) {
        host->leader = status.leader;
        memcpy(event.zone_id, host->sys->zones[host->zone_nr].id, 16);
        event.node = directory_raft_node(status.leader);
        if (event.node != 0) {
            sys_router_step(host->node, &event);
        }
    }
}

static void do_send(struct sys_host *host, struct replica_action *action)
{
    sys_net_send(host->sys, (struct sys_msg){.from = host->node->number,
                                             .to = directory_raft_node(action->to),
                                             .from_id = host->raft_id,
                                             .to_id = action->to,
                                             .channel = action->channel,
                                             .type = action->frame_type,
                                             .zone_nr = (uint8_t)host->zone_nr,
                                             .head = slice_ref(action->head),
                                             .body = slice_ref(action->body)});
}

static void halt(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a];

    (void)ptr;
    if (node->up && node->epoch == b) {
        sys_node_halt(node, true);
    }
}

void sys_host_fault(struct sys_host *host, const char *what, int rv)
{
    struct sys_node *node = host->node;
    bool first = !host->failed;

    host->failed = true;
    /* A pull that met a full disk is ended with the node, as by a broken one; there may be
     * room again by now. */
    if (rv == -ENOSPC && host->pull.active) {
        node->broken = true;
    }
    if (!node->broken && !sys_damage_shows(host, rv)) {
        sys_fail(host->sys, "n%u z%u %s: %d", (unsigned)node->number, host->zone_nr, what,
                 rv);
        return;
    }
    sys_trace(host->sys, "n%u z%u %s: %d, as its disk is broken", (unsigned)node->number,
              host->zone_nr, what, rv);
    if (!first) {
        return; /* Something is done about it. */
    }
    if (host->replica != NULL && sys_chance(host->sys, 2)) {
        sys_reopen(host);
        return;
    }
    sys_in(host->sys, sys_rand(host->sys, 200 * SYS_US),
           (struct sys_event){.fn = halt, .a = node->number, .b = node->epoch});
}

static void do_read(struct sys_host *host, const struct replica_action *action)
{
    struct sys_ask *ask = (struct sys_ask *)(uintptr_t)action->token;
    struct replica_status status;

    replica_status(host->replica, sys_node_ms(host->node), &status);
    host->sys->counts.leased += status.read_lease_ms > 0;
    ask->named = action->named;
    sys_do_read(host, ask, action->stamp);
}

static void act(struct sys_host *host, struct replica_action *action)
{
    switch (action->type) {
    case REPLICA_DO_JOURNAL:
        sys_do_journal(host, action);
        break;
    case REPLICA_DO_SEND:
        do_send(host, action);
        break;
    case REPLICA_DO_APPLY:
        sys_do_apply(host, action);
        break;
    case REPLICA_DO_READ:
        do_read(host, action);
        break;
    case REPLICA_DO_ANSWER:
        if (action->token > 1) {
            do_answer(action);
        }
        break;
    case REPLICA_DO_FETCH:
        sys_do_fetch(host, action);
        break;
    case REPLICA_DO_SNAPSHOT:
        sys_do_snapshot(host);
        break;
    case REPLICA_DO_COMPACT:
        sys_do_compact(host, action->index, action->term);
        break;
    case REPLICA_DO_PULL:
        sys_do_pull(host, action);
        break;
    case REPLICA_DO_SETTLE:
        sys_do_settle(host, action->unread);
        break;
    case REPLICA_DO_NOTE:
        do_note(host);
        break;
    case REPLICA_DO_FAIL:
        if (action->rv != -ECANCELED) { /* See sys_member.c. */
            sys_host_fault(host, "stopped", action->rv);
        }
        break;
    }
}

void sys_host_actions(struct sys_host *host, struct replica_actions *actions)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        act(host, &actions->items[i]);
    }
    replica_actions_deinit(actions);
    if (!host->failed) {
        arm(host);
    }
}

void sys_host_step(struct sys_host *host, struct replica_event *event)
{
    struct replica_actions actions = {0};
    int rv;

    ASSERT(!host->stepping);
    if (host->failed) {
        return;
    }
    host->stepping = true;
    event->now_ms = sys_node_ms(host->node);
    rv = replica_step(host->replica, event, &actions);
    ASSERT(rv <= 0);
    /* A real member keeps them now and then: whatever they are, an honest restart is
     * never taken for a rollback. */
    replica_marks(host->replica, &host->node->marks[host->zone_nr]);
    sys_clock_stepped(host);
    sys_host_actions(host, &actions);
    host->stepping = false;
}
