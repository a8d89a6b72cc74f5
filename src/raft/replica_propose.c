/*
 * Proposals: gathered over a loop turn, given to raft as one batch, answered when their
 * entries are applied, or when leadership ends.
 */
#include "base/assert.h"
#include "base/outcome.h"
#include "raft/replica_impl.h"
#include "zone/op.h"

#include <errno.h>

static void answer_hint(struct replica *r, uint64_t token, int outcome, uint64_t hint)
{
    struct replica_action *action;

    if (token == 0) {
        return; /* Nobody waits. */
    }
    action = replica_act(r, REPLICA_DO_ANSWER);
    action->token = token;
    action->outcome = outcome;
    action->leader = hint;
}

void replica_answer(struct replica *r, uint64_t token, int outcome)
{
    answer_hint(r, token, outcome, r->leader);
}

/* It needs room that stays taken. The others are let through when there is little: it
 * is by them that there is more again. */
static bool grows(enum zone_op_type type)
{
    switch (type) {
    case ZONE_OP_WRITE:
    case ZONE_OP_CREATE:
    case ZONE_OP_MKDIR:
    case ZONE_OP_SYMLINK:
    case ZONE_OP_MKNOD:
    case ZONE_OP_LINK:
        return true;
    default:
        return false;
    }
}

/* What apply would choke on must never get into the log. */
static int check(const struct replica *r, const struct replica_event *event)
{
    struct zone_entry entry;
    struct zone_op op;

    if (event->head.len > REPLICA_HEAD_MAX || event->body.len > ZONE_IO_MAX ||
        zone_entry_decode(event->head.data, event->head.len, &entry) != 0 ||
        zone_op_decode(entry.op.data, entry.op.len, event->body, &op) != 0 ||
        !zone_op_is_mutation(op.type) || zone_op_check(&op) != 0) {
        return OUT_INVAL;
    }
    return r->disk_low && grows(op.type) ? OUT_FULL : 0;
}

static int admit(const struct replica *r, const struct replica_event *event)
{
    if (r->failed || r->stopping || !replica_is_leader(r)) {
        return OUT_NOT_LEADER;
    }
    if (replica_journal_full(r) || r->stalled || r->applied_full ||
        r->pending_bytes + event->head.len + event->body.len >
            r->config.pending_bytes_max) {
        return OUT_FULL;
    }
    return check(r, event);
}

/* The head is stamped, so it must be ours alone; the payload is only read. */
static int own(struct slice in, struct slice *out)
{
    *out = slice_keep(in);
    return out->len == in.len ? 0 : -ENOMEM;
}

void replica_submit(struct replica *r, const struct replica_event *event)
{
    struct replica_submit *submit;
    int rv = admit(r, event);

    if (rv != 0) {
        replica_answer(r, event->token, rv);
        return;
    }
    submit = replica_fifo_push(r, &r->submits);
    if (submit == NULL) {
        return;
    }
    submit->token = event->token;
    submit->wall_ns = event->wall_ns;
    submit->bytes = event->head.len + event->body.len;
    rv = own(event->head, &submit->head);
    if (rv == 0 && event->body.len > 0) {
        rv = own(event->body, &submit->payload);
    }
    if (rv != 0) {
        replica_fault(r, rv);
    }
    r->pending_bytes += submit->bytes;
}

static void submit_drop(struct replica *r, int outcome, uint64_t hint)
{
    struct replica_submit *submit = replica_fifo_at(&r->submits, 0);

    ASSERT(r->pending_bytes >= submit->bytes);
    r->pending_bytes -= submit->bytes;
    answer_hint(r, submit->token, outcome, hint);
    slice_unref(&submit->head);
    slice_unref(&submit->payload);
    replica_fifo_pop(&r->submits);
}

static void refuse_all(struct replica *r, uint64_t hint)
{
    while (r->submits.n > 0) {
        submit_drop(r, OUT_NOT_LEADER, hint);
    }
}

/* Stamp: strictly rising in the log, and near the leader's clock when that is ahead, unless
 * it is far off the others'. */
static void stamp(struct replica *r, struct replica_submit *submit)
{
    int64_t time_ns = replica_wall_time(r, submit->wall_ns);
    uint8_t *bytes;

    if (time_ns <= r->last_time_ns) {
        time_ns = r->last_time_ns + 1;
    }
    r->last_time_ns = time_ns;
    bytes = submit->head.buf->data + (submit->head.data - submit->head.buf->data);
    zone_entry_stamp(bytes, submit->head.len, time_ns);
}

/* Test only (REPLICA_MUT_REPLY_EARLY): say yes before it is true. */
static void answer_early(struct replica *r, struct replica_wait *wait)
{
    struct zone_result result = {.index = wait->index};
    struct replica_action *action;
    struct buf *head = NULL;

    if (zone_result_encode(&result, &head) != 0) {
        return;
    }
    action = replica_act(r, REPLICA_DO_ANSWER);
    action->token = wait->token;
    action->result = slice_of(head, 0, head->len);
    buf_unref(head);
    wait->token = 0;
}

static void wait_push(struct replica *r, uint64_t index, uint64_t token, uint64_t bytes)
{
    struct replica_wait *wait = replica_fifo_push(r, &r->waits);

    if (wait != NULL) {
        *wait = (struct replica_wait){
            .index = index, .term = r->term, .token = token, .bytes = bytes};
        if (r->config.mutation == REPLICA_MUT_REPLY_EARLY && bytes > 0) {
            answer_early(r, wait);
        }
    }
}

/* Up to REPLICA_CHUNK submits as one step of raft. */
static int flush_chunk(struct replica *r)
{
    uint32_t n = r->submits.n < REPLICA_CHUNK ? r->submits.n : REPLICA_CHUNK;
    struct rgroup_event event = {
        .type = RGROUP_EV_SUBMIT, .entries = r->raft_entries, .n_entries = n};
    uint64_t first = r->log.last + 1;
    int rv;

    for (uint32_t i = 0; i < n; i++) {
        struct replica_submit *submit = replica_fifo_at(&r->submits, i);

        stamp(r, submit);
        r->raft_entries[i] =
            (struct rgroup_entry){.term = r->term, .type = RGROUP_COMMAND};
        r->incoming[i] = (struct replica_entry){.term = r->term,
                                                .type = RGROUP_COMMAND,
                                                .head = submit->head,
                                                .payload = submit->payload};
    }
    rv = replica_group_step(r, &event, r->incoming);
    if (rv != 0) {
        return rv;
    }
    ASSERT(r->log.last == first + n - 1);
    for (uint32_t i = 0; i < n; i++) {
        struct replica_submit *submit = replica_fifo_at(&r->submits, 0);

        wait_push(r, first + i, submit->token, submit->bytes);
        slice_unref(&submit->head);
        slice_unref(&submit->payload);
        replica_fifo_pop(&r->submits);
    }
    return 0;
}

void replica_submit_flush(struct replica *r)
{
    int rv = 0;

    if (r->transfer.active) {
        return; /* Held back until it is decided. */
    }
    while (r->submits.n > 0 && rv == 0 && r->rv == 0) {
        rv = replica_is_leader(r) ? flush_chunk(r) : OUT_NOT_LEADER;
    }
    if (rv > 0) {
        refuse_all(r, r->leader == r->config.self ? 0 : r->leader);
    }
}

static void change_now(struct replica *r, const struct rgroup_conf *conf, uint64_t token)
{
    struct rgroup_event step = {.type = RGROUP_EV_CHANGE, .conf = conf};
    uint64_t before;
    int rv;

    replica_submit_flush(r);
    before = r->log.last;
    rv = replica_group_step(r, &step, NULL);
    if (rv == 0 && r->log.last > before) {
        wait_push(r, r->log.last, token, 0);
    } else {
        replica_answer(r, token, rv > 0 ? rv : rv == 0 ? 0 : OUT_INVAL);
    }
}

/* No read lease outlives a change of the voters that it rests on: they are asked back
 * first. None is granted before the change is applied. */
void replica_change_go_on(struct replica *r)
{
    if (!r->change.active) {
        return;
    }
    if (!replica_is_leader(r) || r->transfer.active) {
        r->change.active = false;
        replica_answer(r, r->change.token, OUT_NOT_LEADER);
    } else if (replica_lease_quiet(r)) {
        r->change.active = false;
        change_now(r, &r->change.conf, r->change.token);
    }
}

void replica_change(struct replica *r, const struct replica_event *event)
{
    if (r->failed || r->stopping || !replica_is_leader(r)) {
        replica_answer(r, event->token, OUT_NOT_LEADER);
        return;
    }
    if (r->transfer.active || r->change.active || event->conf == NULL) {
        replica_answer(r, event->token, event->conf == NULL ? OUT_INVAL : OUT_BUSY);
        return;
    }
    if (event->conf->n > RGROUP_MEMBERS_MAX) {
        replica_answer(r, event->token, OUT_INVAL);
        return;
    }
    r->change = (struct replica_change){
        .active = true, .token = event->token, .conf = *event->conf};
    replica_change_go_on(r);
}

static void wait_drop(struct replica *r, struct replica_wait *wait)
{
    ASSERT(r->pending_bytes >= wait->bytes);
    r->pending_bytes -= wait->bytes;
}

/* The entries from @index on were cut off: whoever waits was not executed. */
void replica_propose_truncated(struct replica *r, uint64_t index)
{
    while (r->waits.n > 0) {
        struct replica_wait *wait = replica_fifo_at(&r->waits, r->waits.n - 1);

        if (wait->index < index) {
            return;
        }
        wait_drop(r, wait);
        replica_answer(r, wait->token, OUT_TRY_LATER);
        replica_fifo_pop_back(&r->waits);
    }
}

void replica_propose_lost(struct replica *r)
{
    while (r->waits.n > 0) {
        struct replica_wait *wait = replica_fifo_at(&r->waits, 0);

        wait_drop(r, wait);
        replica_answer(r, wait->token, OUT_TRY_LATER);
        replica_fifo_pop(&r->waits);
    }
    refuse_all(r, r->transfer.active ? r->transfer.target : r->leader);
}

void replica_propose_result(struct replica *r, uint64_t index,
                            const struct replica_result *result)
{
    struct replica_wait *wait;
    struct replica_action *action;

    if (r->waits.n == 0) {
        return;
    }
    wait = replica_fifo_at(&r->waits, 0);
    ASSERT(wait->index >= index);
    if (wait->index != index) {
        return;
    }
    ASSERT(wait->term == replica_log_term(r, index));
    wait_drop(r, wait);
    if (wait->token != 0) {
        action = replica_act(r, REPLICA_DO_ANSWER);
        action->token = wait->token;
        action->leader = r->leader;
        if (result != NULL) {
            action->result = slice_ref(result->result);
            action->data = slice_ref(result->data);
        }
    }
    replica_fifo_pop(&r->waits);
}

void replica_propose_cancel(struct replica *r, uint64_t token)
{
    for (uint32_t i = 0; i < r->submits.n; i++) {
        struct replica_submit *submit = replica_fifo_at(&r->submits, i);

        if (submit->token == token) {
            submit->token = 0;
        }
    }
    for (uint32_t i = 0; i < r->waits.n; i++) {
        struct replica_wait *wait = replica_fifo_at(&r->waits, i);

        if (wait->token == token) {
            wait->token = 0;
        }
    }
}

void replica_propose_deinit(struct replica *r)
{
    while (r->submits.n > 0) {
        struct replica_submit *submit = replica_fifo_at(&r->submits, 0);

        slice_unref(&submit->head);
        slice_unref(&submit->payload);
        replica_fifo_pop(&r->submits);
    }
    replica_fifo_deinit(&r->submits);
    replica_fifo_deinit(&r->waits);
}
