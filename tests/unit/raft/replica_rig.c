#include "replica_rig.h"

#include "base/outcome.h"
#include "lib/check.h"
#include "zone/op.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ELECTION_MS 1000u
#define HEARTBEAT_MS 100u
#define APPEND_HEAD_BYTES 80u /* Of an APPEND without entries. */

static void trace(struct rig *rig, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void trace(struct rig *rig, const char *format, ...)
{
    size_t room = sizeof rig->trace - rig->trace_len;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(rig->trace + rig->trace_len, room, format, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < room);
    rig->trace_len += (size_t)n;
}

const char *rig_trace(struct rig *rig)
{
    static char copy[sizeof rig->trace];

    memcpy(copy, rig->trace, rig->trace_len);
    copy[rig->trace_len] = '\0';
    rig->trace_len = 0;
    return copy;
}

static void entry_drop(struct rig_entry *entry)
{
    slice_unref(&entry->head);
    slice_unref(&entry->payload);
}

static void log_cut(struct rig_node *node, uint64_t index)
{
    while (node->last >= index && node->last > node->base_index) {
        entry_drop(&node->log[node->last % RIG_LOG_MAX]);
        node->last--;
    }
}

static void log_base(struct rig_node *node, uint64_t index, uint64_t term)
{
    log_cut(node, 0);
    node->base_index = index;
    node->base_term = term;
    node->last = index;
}

static void do_journal(struct rig *rig, uint64_t id, const struct replica_action *action)
{
    struct rig_node *node = &rig->nodes[id];

    node->journals++;
    if (node->no_meta) {
        return;
    }
    node->unread += action->unread;
    node->metas += action->has_meta;
    node->bases += action->has_base;
    node->calms += action->calm;
    if (action->has_meta) {
        node->term = action->term;
        node->vote = action->vote;
    }
    if (action->has_base) {
        log_base(node, action->base_index, action->base_term);
    }
    for (uint32_t i = 0; i < action->n; i++) {
        const struct replica_entry *entry = &action->entries[i];

        log_cut(node, entry->index);
        CHECK_UINT(entry->index, node->last + 1);
        node->last = entry->index;
        entry_drop(&node->log[entry->index % RIG_LOG_MAX]); /* Of a turn before. */
        node->log[entry->index % RIG_LOG_MAX] =
            (struct rig_entry){.term = entry->term,
                               .type = entry->type,
                               .head = slice_ref(entry->head),
                               .payload = slice_ref(entry->payload)};
    }
    CHECK(node->n_tickets < 64);
    node->tickets[node->n_tickets++] =
        (struct rig_ticket){.ticket = action->ticket, .n = action->n};
}

void rig_journal_one(struct rig *rig, uint64_t id, int rv)
{
    struct rig_node *node = &rig->nodes[id];
    struct rig_ticket ticket = node->tickets[0];
    static struct replica_place places[65536];
    struct replica_event event = {.type = REPLICA_EV_JOURNALED,
                                  .ticket = ticket.ticket,
                                  .rv = rv,
                                  .places = places,
                                  .n_entries = ticket.n};

    CHECK(node->n_tickets > 0);
    for (uint32_t i = 0; i < ticket.n; i++) {
        places[i] = (struct replica_place){.segment = 1, .offset = i};
    }
    memmove(&node->tickets[0], &node->tickets[1],
            --node->n_tickets * sizeof node->tickets[0]);
    (void)rig_step(rig, id, &event);
}

void rig_journal_done(struct rig *rig, uint64_t id)
{
    struct rig_node *node = &rig->nodes[id];

    while (node->n_tickets > 0 && node->replica != NULL) {
        int rv = node->full_journal ? -ENOSPC : node->fail_journal ? -EIO : 0;

        node->fail_journal = false;
        rig_journal_one(rig, id, rv);
    }
}

void rig_zone_done(struct rig *rig, uint64_t id)
{
    struct rig_node *node = &rig->nodes[id];
    static struct replica_result results[REPLICA_APPLY_MAX];
    struct replica_event event = {.type = REPLICA_EV_APPLIED,
                                  .index = node->apply_to,
                                  .results = results,
                                  .due_ns = node->due_ns,
                                  .n_entries = node->apply_n};

    if (node->apply_n == 0) {
        return;
    }
    for (uint32_t i = 0; i < node->apply_n; i++) {
        results[i] = (struct replica_result){.touched = node->touched,
                                             .n_touched = node->n_touched};
    }
    if (node->full_zone) {
        event.rv = -ENOSPC;
        node->apply_n = 0;
        (void)rig_step(rig, id, &event);
        return;
    }
    node->applied = node->apply_to;
    node->applied_term = node->log[node->applied % RIG_LOG_MAX].term;
    node->apply_n = 0;
    (void)rig_step(rig, id, &event);
}

static void do_apply(struct rig *rig, uint64_t id, const struct replica_action *action)
{
    struct rig_node *node = &rig->nodes[id];

    CHECK_UINT(node->apply_n, 0);
    CHECK(action->n > 0 && action->n <= REPLICA_APPLY_MAX);
    CHECK_UINT(action->entries[0].index, node->applied + 1);
    for (uint32_t i = 0; i < action->n; i++) {
        const struct replica_entry *entry = &action->entries[i];

        CHECK(entry->index <= node->last); /* Durable here. */
        CHECK_UINT(entry->term, node->log[entry->index % RIG_LOG_MAX].term);
        if (entry->type == RGROUP_COMMAND) {
            struct zone_entry decoded;

            CHECK(entry->head.len > 0 && entry->segment == 1);
            CHECK_INT(zone_entry_decode(entry->head.data, entry->head.len, &decoded), 0);
            node->zone_time_ns = decoded.time_ns;
        }
        if (entry->type == RGROUP_CHANGE) {
            CHECK(entry->head.len <= sizeof node->conf);
            memcpy(node->conf, entry->head.data, entry->head.len);
            node->conf_len = entry->head.len;
            node->conf_index = entry->index;
        }
    }
    node->apply_n = action->n;
    node->apply_to = action->entries[action->n - 1].index;
    if (!node->hold_zone) {
        rig_zone_done(rig, id);
    }
}

void rig_fetch_done(struct rig *rig, uint64_t id)
{
    struct rig_node *node = &rig->nodes[id];
    static struct replica_entry entries[REPLICA_APPLY_MAX];
    struct replica_event event = {
        .type = REPLICA_EV_FETCHED, .index = node->fetch_index, .entries = entries};
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < node->fetch_n && (i == 0 || bytes < node->fetch_bytes);
         i++) {
        uint64_t index = node->fetch_index + i;
        const struct rig_entry *entry = &node->log[index % RIG_LOG_MAX];

        CHECK(index > node->base_index && index <= node->last);
        if (index == node->bad_index) {
            event.rv = i == 0 ? -EIO : 0;
            break;
        }
        entries[i] = (struct replica_entry){.index = index,
                                            .term = entry->term,
                                            .type = entry->type,
                                            .head = entry->head,
                                            .payload = entry->payload,
                                            .segment = 1};
        bytes += entry->payload.len;
        event.n_entries++;
    }
    node->fetch_n = 0;
    (void)rig_step(rig, id, &event);
}

static void do_fetch(struct rig *rig, uint64_t id, const struct replica_action *action)
{
    struct rig_node *node = &rig->nodes[id];

    node->fetches++;
    CHECK(action->n > 0 && action->n <= REPLICA_APPLY_MAX);
    CHECK_UINT(node->fetch_n, 0);
    node->fetch_index = action->index;
    node->fetch_n = action->n;
    node->fetch_bytes = action->bytes;
    if (!node->hold_fetch) {
        rig_fetch_done(rig, id);
    }
}

static void take_snapshot(struct rig_node *node)
{
    memcpy(node->snapshot_conf, node->conf, node->conf_len);
    node->has_snapshot = true;
    node->snapshot = (struct rgroup_snapshot){.index = node->applied,
                                              .term = node->applied_term,
                                              .conf_index = node->conf_index,
                                              .conf = node->snapshot_conf,
                                              .conf_len = node->conf_len};
}

void rig_snapshot_done(struct rig *rig, uint64_t id)
{
    struct rig_node *node = &rig->nodes[id];
    struct replica_event event = {.type = REPLICA_EV_SNAPSHOT};

    take_snapshot(node);
    event.snapshot = node->snapshot;
    (void)rig_step(rig, id, &event);
}

void rig_pull_done(struct rig *rig, uint64_t id, uint64_t from, int rv)
{
    struct rig_node *node = &rig->nodes[id];
    const struct rig_node *source = &rig->nodes[from];
    struct replica_event event = {.type = REPLICA_EV_PULLED, .rv = rv};

    if (rv == 0) {
        node->applied = source->applied;
        node->applied_term = source->applied_term;
        node->conf_index = source->conf_index;
        node->conf_len = source->conf_len;
        node->zone_time_ns = source->zone_time_ns;
        event.wall_ns = source->zone_time_ns;
        memcpy(node->conf, source->conf, source->conf_len);
        take_snapshot(node);
        event.snapshot = node->snapshot;
    }
    (void)rig_step(rig, id, &event);
}

static void do_compact(struct rig *rig, uint64_t id, const struct replica_action *action)
{
    struct rig_node *node = &rig->nodes[id];

    node->compactions++;
    CHECK(node->has_snapshot && action->index <= node->snapshot.index);
    CHECK_UINT(action->term, node->log[action->index % RIG_LOG_MAX].term);
    for (uint64_t i = node->base_index + 1; i <= action->index; i++) {
        entry_drop(&node->log[i % RIG_LOG_MAX]);
    }
    node->base_index = action->index;
    node->base_term = action->term;
}

static void do_send(struct rig *rig, uint64_t id, const struct replica_action *action)
{
    CHECK(action->head.len + action->body.len <= 4u << 20);
    if (rig->cut[id][action->to] || rig->nodes[action->to].replica == NULL) {
        return;
    }
    if (rig->nodes[action->to].no_entries && action->frame_type == REPLICA_FRAME_APPEND &&
        action->head.len > APPEND_HEAD_BYTES) {
        return;
    }
    if ((rig->nodes[action->to].no_appends &&
         action->frame_type == REPLICA_FRAME_APPEND) ||
        (rig->nodes[action->to].no_msgs && action->frame_type == REPLICA_FRAME_MSG)) {
        return;
    }
    CHECK(rig->n_frames < RIG_FRAMES_MAX);
    rig->appends += action->frame_type == REPLICA_FRAME_APPEND &&
                    action->head.len > APPEND_HEAD_BYTES;
    rig->frames[(rig->at + rig->n_frames++) % RIG_FRAMES_MAX] =
        (struct rig_frame){.from = id,
                           .to = action->to,
                           .channel = action->channel,
                           .type = action->frame_type,
                           .head = slice_ref(action->head),
                           .body = slice_ref(action->body)};
}

static void do_note(struct rig *rig, uint64_t id)
{
    struct replica_status status;

    rig_status(rig, id, &status);
    if (status.slow) {
        rig->nodes[id].slow_notes++;
        rig->nodes[id].slow = status;
    }
}

static void carry_out(struct rig *rig, uint64_t id, const struct replica_action *action)
{
    struct rig_node *node = &rig->nodes[id];

    switch (action->type) {
    case REPLICA_DO_JOURNAL:
        do_journal(rig, id, action);
        break;
    case REPLICA_DO_SEND:
        do_send(rig, id, action);
        break;
    case REPLICA_DO_APPLY:
        do_apply(rig, id, action);
        break;
    case REPLICA_DO_READ:
        trace(rig, "%u read %u at %u\n", (unsigned)id, (unsigned)action->token,
              (unsigned)node->applied);
        node->read_stamp = action->stamp;
        break;
    case REPLICA_DO_ANSWER:
        trace(rig, "%u answer %u %s", (unsigned)id, (unsigned)action->token,
              outcome_name(action->outcome));
        if (action->outcome == OUT_NOT_LEADER) {
            trace(rig, " leader %u", (unsigned)action->leader);
        }
        trace(rig, "\n");
        break;
    case REPLICA_DO_FETCH:
        do_fetch(rig, id, action);
        break;
    case REPLICA_DO_SNAPSHOT:
        node->snapshots++;
        if (!node->hold_snapshot) {
            rig_snapshot_done(rig, id);
        }
        break;
    case REPLICA_DO_COMPACT:
        do_compact(rig, id, action);
        break;
    case REPLICA_DO_PULL:
        CHECK(node->n_tickets == 0 && node->apply_n == 0);
        node->pulls++;
        node->pull_index = action->index;
        node->pull_from = action->to;
        if (!node->hold_pull) {
            rig_pull_done(rig, id, action->to, 0);
        }
        break;
    case REPLICA_DO_SETTLE:
        node->settles += action->rest ? 0 : 1;
        node->unread += action->unread;
        node->rests += action->rest ? 1 : 0;
        node->quiet_rests += action->rest && action->quiet ? 1 : 0;
        break;
    case REPLICA_DO_NOTE:
        do_note(rig, id);
        break;
    case REPLICA_DO_FAIL:
        node->failed++;
        trace(rig, "%u fail %d\n", (unsigned)id, action->rv);
        break;
    }
}

/* Actions are carried out in order; those that answer at once step the replica again,
 * with actions of their own. */
static void carry_out_all(struct rig *rig, uint64_t id, struct replica_actions *actions)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        if (rig->nodes[id].replica != NULL) {
            carry_out(rig, id, &actions->items[i]);
        }
    }
    replica_actions_deinit(actions);
}

int rig_step(struct rig *rig, uint64_t id, struct replica_event *event)
{
    struct replica_actions actions = {0};
    struct replica_status status;
    int rv;

    event->now_ms = rig->now_ms;
    rv = replica_step(rig->nodes[id].replica, event, &actions);
    replica_status(rig->nodes[id].replica, rig->now_ms, &status);
    if (status.cache_bytes > rig->nodes[id].peak_cache) {
        rig->nodes[id].peak_cache = status.cache_bytes;
    }
    carry_out_all(rig, id, &actions);
    if (!rig->nodes[id].hold_journal) {
        rig_journal_done(rig, id);
    }
    return rv;
}

static void deliver(struct rig *rig)
{
    struct rig_frame frame = rig->frames[rig->at];
    struct replica_event event = {.type = REPLICA_EV_FRAME,
                                  .from = frame.from,
                                  .frame_type = frame.type,
                                  .head = frame.head,
                                  .body = frame.body};

    rig->at = (rig->at + 1) % RIG_FRAMES_MAX;
    rig->n_frames--;
    if (rig->nodes[frame.to].replica != NULL && !rig->cut[frame.from][frame.to]) {
        (void)rig_step(rig, frame.to, &event);
    }
    slice_unref(&frame.head);
    slice_unref(&frame.body);
}

struct slice rig_take(struct rig *rig, uint64_t from, uint64_t to, uint8_t type)
{
    for (; rig->n_frames > 0; deliver(rig)) {
        struct rig_frame *frame = &rig->frames[rig->at];

        if (frame->from == from && frame->to == to && frame->type == type) {
            struct slice head = frame->head;

            slice_unref(&frame->body);
            rig->at = (rig->at + 1) % RIG_FRAMES_MAX;
            rig->n_frames--;
            return head;
        }
    }
    CHECK_FAIL("no such frame");
    return (struct slice){0};
}

void rig_settle(struct rig *rig)
{
    while (rig->n_frames > 0) {
        deliver(rig);
    }
}

void rig_run(struct rig *rig, uint64_t ms)
{
    for (uint64_t end = rig->now_ms + ms; rig->now_ms < end; rig->now_ms += 10) {
        for (uint64_t id = 1; id <= rig->n; id++) {
            struct replica_event event = {
                .type = REPLICA_EV_TICK,
                .wall_ns = (int64_t)rig->now_ms * 1000000 + rig->nodes[id].wall_ahead_ns};

            if (rig->nodes[id].replica != NULL &&
                replica_wake_ms(rig->nodes[id].replica) <= rig->now_ms) {
                (void)rig_step(rig, id, &event);
            }
        }
        rig_settle(rig);
    }
}

void rig_cut(struct rig *rig, uint64_t a, uint64_t b, bool is_cut)
{
    rig->cut[a][b] = is_cut;
    rig->cut[b][a] = is_cut;
}

void rig_connect(struct rig *rig, uint64_t a, uint64_t b, bool up)
{
    uint64_t pair[2] = {a, b};

    rig->cut[a][b] = !up;
    rig->cut[b][a] = !up;
    for (unsigned i = 0; i < 2; i++) {
        struct replica_event event = {
            .type = REPLICA_EV_PEER, .from = pair[1 - i], .up = up};

        if (rig->nodes[pair[i]].replica != NULL) {
            (void)rig_step(rig, pair[i], &event);
        }
    }
}

int rig_start(struct rig *rig, uint64_t id)
{
    struct rig_node *node = &rig->nodes[id];
    static struct replica_entry entries[RIG_LOG_MAX];
    struct replica_config config = {.self = id,
                                    .election_ms = ELECTION_MS,
                                    .heartbeat_ms = HEARTBEAT_MS,
                                    .seed = 77 * id,
                                    .journal_bytes_max = rig->journal_bytes_max,
                                    .leases = rig->leases,
                                    .roll_call = rig->roll_call,
                                    .cache_bytes = rig->cache_bytes,
                                    .pending_bytes_max = rig->pending_bytes,
                                    .apply_wait_ms = rig->apply_wait_ms,
                                    .mutation = rig->mutation};
    struct replica_start start = {.now_ms = rig->now_ms,
                                  .term = node->term,
                                  .vote = node->vote,
                                  .has_snapshot = node->has_snapshot,
                                  .snapshot = node->snapshot,
                                  .base_index = node->base_index,
                                  .base_term = node->base_term,
                                  .entries = entries,
                                  .n_entries = (uint32_t)(node->last - node->base_index),
                                  .applied_index = node->applied,
                                  .applied_term = node->applied_term,
                                  .zone_time_ns = node->zone_time_ns,
                                  .marks = &node->marks};
    struct replica_actions actions = {0};
    int rv;

    for (uint32_t i = 0; i < start.n_entries; i++) {
        const struct rig_entry *entry =
            &node->log[(node->base_index + 1 + i) % RIG_LOG_MAX];

        entries[i] = (struct replica_entry){.index = node->base_index + 1 + i,
                                            .term = entry->term,
                                            .type = entry->type,
                                            .head = entry->head};
    }
    rv = replica_new(&config, &start, &actions, &node->replica);
    if (rv != 0) {
        replica_actions_deinit(&actions);
        return rv;
    }
    carry_out_all(rig, id, &actions);
    rig_journal_done(rig, id);
    for (uint64_t other = 1; other <= rig->n; other++) {
        if (other != id && rig->nodes[other].replica != NULL) {
            rig_connect(rig, id, other, true);
        }
    }
    return 0;
}

void rig_stop(struct rig *rig, uint64_t id)
{
    struct rig_node *node = &rig->nodes[id];

    replica_free(node->replica);
    node->replica = NULL;
    node->n_tickets = 0;
    node->apply_n = 0;
    node->fetch_n = 0;
    for (uint64_t other = 1; other <= rig->n; other++) {
        if (other != id && rig->nodes[other].replica != NULL) {
            rig_connect(rig, other, id, false);
        }
    }
    rig->cut[id][id] = false;
}

void rig_lose(struct rig *rig, uint64_t id, uint64_t index)
{
    CHECK(rig->nodes[id].replica == NULL && rig->nodes[id].applied < index);
    log_cut(&rig->nodes[id], index);
}

/* The first entry of the group, equal on all members. */
static void bootstrap(struct rig *rig, uint64_t id)
{
    struct rig_node *node = &rig->nodes[id];
    struct rgroup_conf conf = {.n = rig->n};
    struct buf *bytes = buf_new(512);
    size_t len = 0;

    for (uint32_t i = 0; i < rig->n; i++) {
        conf.servers[i] = (struct rgroup_server){.id = i + 1, .role = RGROUP_VOTER};
    }
    CHECK_INT(rgroup_conf_encode(&conf, bytes->data, bytes->cap, &len), 0);
    node->term = 1;
    node->last = 1;
    node->log[1] = (struct rig_entry){
        .term = 1, .type = RGROUP_CHANGE, .head = slice_of(bytes, 0, len)};
    buf_unref(bytes);
}

void rig_init(struct rig *rig, uint32_t n)
{
    CHECK(n <= RIG_MAX);
    rig->n = n;
    rig->now_ms = 1000;
    rig->frames = calloc(RIG_FRAMES_MAX, sizeof *rig->frames);
    for (uint64_t id = 1; id <= n; id++) {
        bootstrap(rig, id);
        CHECK_INT(rig_start(rig, id), 0);
    }
}

void rig_deinit(struct rig *rig)
{
    while (rig->n_frames > 0) {
        struct rig_frame *frame = &rig->frames[rig->at];

        slice_unref(&frame->head);
        slice_unref(&frame->body);
        rig->at = (rig->at + 1) % RIG_FRAMES_MAX;
        rig->n_frames--;
    }
    for (uint64_t id = 1; id <= rig->n; id++) {
        replica_free(rig->nodes[id].replica);
        log_cut(&rig->nodes[id], 0);
    }
    free(rig->frames);
}

/* Only @id ticks until it leads: nobody else's timer fires. */
void rig_elect(struct rig *rig, uint64_t id)
{
    struct replica_status status = {0};

    for (int i = 0; i < 2000 && status.state != RGROUP_LEADER; i++) {
        struct replica_event event = {.type = REPLICA_EV_TICK};

        rig->now_ms += 10;
        (void)rig_step(rig, id, &event);
        rig_settle(rig);
        rig_status(rig, id, &status);
    }
    CHECK_INT(status.state, RGROUP_LEADER);
    rig_run(rig, 300);
    (void)rig_trace(rig);
}

void rig_submit(struct rig *rig, uint64_t id, uint64_t token, size_t len)
{
    struct zone_op op = {.type = ZONE_OP_WRITE, .obj = {.ino = 2, .gen = 1}};
    struct zone_entry entry = {
        .origin = {.node = 9, .boot = 1, .seq = token, .floor = 1}};
    struct replica_event event = {.type = REPLICA_EV_SUBMIT, .token = token};
    struct buf *payload = buf_new(len);
    struct buf *op_bytes = NULL;
    struct buf *head = NULL;

    memset(payload->data, (int)token, len);
    payload->len = len;
    op.data = slice_of(payload, 0, len);
    zone_op_seal(&op);
    CHECK_INT(zone_op_encode(&op, &op_bytes), 0);
    entry.op = slice_borrow(op_bytes->data, op_bytes->len);
    CHECK_INT(zone_entry_encode(&entry, &head), 0);
    event.wall_ns =
        (int64_t)rig->now_ms * 1000000 - rig->wall_back_ns + rig->nodes[id].wall_ahead_ns;
    event.head = slice_borrow(NULL, 0);
    event.head = slice_of(head, 0, head->len);
    event.body = op.data;
    (void)rig_step(rig, id, &event);
    slice_unref(&event.head);
    slice_unref(&op.data);
    buf_unref(op_bytes);
    buf_unref(head);
    buf_unref(payload);
}

void rig_flush(struct rig *rig, uint64_t id)
{
    struct replica_event event = {.type = REPLICA_EV_FLUSH};

    (void)rig_step(rig, id, &event);
}

void rig_write(struct rig *rig, uint64_t id, uint64_t first, uint32_t n, size_t len)
{
    for (uint64_t token = first; token < first + n; token++) {
        rig_submit(rig, id, token, len);
        rig_flush(rig, id);
        rig_settle(rig);
    }
}

void rig_read_of(struct rig *rig, uint64_t id, uint64_t token, uint64_t ino, uint64_t gen)
{
    struct replica_event event = {
        .type = REPLICA_EV_READ, .token = token, .ino = ino, .gen = gen};

    (void)rig_step(rig, id, &event);
    rig_flush(rig, id);
}

void rig_read(struct rig *rig, uint64_t id, uint64_t token)
{
    rig_read_of(rig, id, token, 0, 0);
}

void rig_disk(struct rig *rig, uint64_t id, uint64_t journal_bytes)
{
    struct replica_event event = {.type = REPLICA_EV_DISK,
                                  .journal_bytes = journal_bytes};

    (void)rig_step(rig, id, &event);
}

uint64_t rig_applied(const struct rig *rig, uint64_t id)
{
    return rig->nodes[id].applied;
}

void rig_status(const struct rig *rig, uint64_t id, struct replica_status *out)
{
    replica_status(rig->nodes[id].replica, rig->now_ms, out);
}
