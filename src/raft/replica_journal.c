/*
 * What goes into the journal, in which batches, and what waits for it.
 *
 * Group commit: at most REPLICA_TICKETS_MAX batches are outstanding; what comes
 * meanwhile goes into the next one. A message may leave only when the term and vote of
 * its step are durable; entries of the log travel while they are written.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"

#include <errno.h>
#include <stdlib.h>

#define BATCH_ALIGN 4096u

static bool has_entries(const struct replica *r)
{
    return r->gather_first != 0 && r->gather_first <= r->log.last;
}

/* A leader's own copy is one of a majority: with another voter an entry is not committed
 * before that one's word comes, so that who drives us may wait for this before it tells of
 * the batch. Not so a change, which travels only once it is durable here (G10). */
static bool is_calm(struct replica *r, const struct replica_action *action)
{
    uint32_t voters = 0;

    if (!replica_is_leader(r) || action->has_meta || action->has_base) {
        return false;
    }
    for (uint32_t i = 0; i < action->n; i++) {
        if (action->entries[i].type != RGROUP_COMMAND) {
            return false;
        }
    }
    rgroup_conf_now(r->group, &r->conf);
    for (uint32_t i = 0; i < r->conf.n; i++) {
        voters += r->conf.servers[i].role == RGROUP_VOTER ? 1 : 0;
    }
    return voters > 1;
}

/* Put the gathered entries into @action, up to a batch. */
static void issue_entries(struct replica *r, struct replica_action *action)
{
    uint64_t n = r->log.last - r->gather_first + 1;
    uint64_t bytes = 64;
    struct replica_slot *slot = NULL;

    n = n < REPLICA_BATCH_ENTRIES ? n : REPLICA_BATCH_ENTRIES;
    r->append_ms = r->now_ms;
    action->entries = calloc(n, sizeof *action->entries);
    if (action->entries == NULL) {
        replica_fault(r, -ENOMEM);
        return;
    }
    for (uint64_t i = 0; i < n && bytes < REPLICA_BATCH_BYTES; i++) {
        bool cached = replica_log_get(r, r->gather_first + i, &action->entries[i]);

        ASSERT(cached); /* Not durable yet, so never evicted. */
        slot = replica_log_slot(r, r->gather_first + i);
        slot->ticket = action->ticket;
        bytes += slot->bytes;
        action->n++;
    }
    /* The padding of the batch counts as its last entry's. */
    bytes = (BATCH_ALIGN - bytes % BATCH_ALIGN) % BATCH_ALIGN;
    slot->bytes += (uint32_t)bytes;
    r->log.disk_bytes += bytes;
    r->tickets[r->n_tickets].fill = (uint32_t)bytes;
    r->tickets[r->n_tickets].first = r->gather_first;
    r->tickets[r->n_tickets].n = action->n;
    r->gather_first += action->n;
    if (r->gather_first > r->log.last) {
        r->gather_first = 0;
    }
}

/* After a full disk nothing is issued before all that was under way has come back. */
static bool may_issue(const struct replica *r)
{
    return !r->stalled || r->n_tickets == 0 || r->tickets[0].ticket > r->void_to;
}

void replica_journal_issue(struct replica *r)
{
    if (r->stalled && r->n_tickets == 0 && !r->meta_dirty && !r->base_dirty &&
        !has_entries(r)) {
        r->stalled = false; /* What there was no room for was cut off. */
        replica_note(r);
    }
    if (r->stalled && r->now_ms < r->room_retry_ms) {
        return;
    }
    while (may_issue(r) && r->n_tickets < REPLICA_TICKETS_MAX && r->rv == 0 &&
           !r->failed && (r->meta_dirty || r->base_dirty || has_entries(r))) {
        struct replica_action *action = replica_act(r, REPLICA_DO_JOURNAL);

        action->ticket = ++r->ticket_last;
        action->unread = replica_is_unread(r);
        r->tickets[r->n_tickets] = (struct replica_ticket){.ticket = action->ticket};
        if (r->meta_dirty) {
            action->has_meta = true;
            action->term = r->term;
            action->vote = r->vote;
            r->meta_dirty = false;
            r->tickets[r->n_tickets].has_meta = true;
            r->meta_ticket = action->ticket;
        }
        if (r->base_dirty) {
            action->has_base = true;
            action->base_index = r->base_index;
            action->base_term = r->base_term;
            r->base_dirty = false;
            r->tickets[r->n_tickets].has_base = true;
            r->pull.ticket = action->ticket;
        }
        if (has_entries(r)) {
            issue_entries(r, action);
        }
        action->calm = is_calm(r, action);
        r->n_tickets++;
    }
}

/* Where the payloads of the batch's entries went; entries cut off since are skipped. */
static void set_places(struct replica *r, const struct replica_ticket *ticket,
                       const struct replica_event *event)
{
    for (uint32_t i = 0; i < ticket->n; i++) {
        struct replica_slot *slot = replica_log_slot(r, ticket->first + i);

        if (slot == NULL || slot->ticket != ticket->ticket || slot->cached == NULL) {
            continue;
        }
        if (i < event->n_entries && event->places != NULL) {
            slot->cached->segment = event->places[i].segment;
            slot->cached->offset = event->places[i].offset;
            slot->cached->crc = event->places[i].crc;
        }
    }
}

/*
 * Entry i is durable when the batch that wrote the present entry i is done: index and
 * term are not enough, since a log can go from A to B and back to A.
 */
static void report(struct replica *r)
{
    uint64_t durable = r->reported;
    uint64_t done =
        r->config.mutation == REPLICA_MUT_EARLY_REPORT ? r->ticket_last : r->ticket_done;
    struct replica_slot *slot;

    if (r->pull.state != PULL_NONE) {
        return;
    }
    for (;;) {
        slot = replica_log_slot(r, durable + 1);
        if (slot == NULL || slot->ticket > done) {
            break;
        }
        durable++;
    }
    if (durable > r->reported) {
        struct rgroup_event event = {.type = RGROUP_EV_PERSISTED, .index = durable};

        r->reported = durable;
        (void)replica_group_step(r, &event, NULL); /* A fault is latched. */
    }
}

/* What is in the batch counts as not issued; entries cut off since are skipped. All that
 * follows an entry is issued again with it. */
static void issue_again(struct replica *r, const struct replica_ticket *ticket)
{
    r->meta_dirty = r->meta_dirty || ticket->has_meta;
    if (ticket->has_base) {
        r->base_dirty = true;
        r->pull.ticket = 0;
    }
    for (uint32_t i = ticket->n; i > 0; i--) {
        uint64_t index = ticket->first + i - 1;
        struct replica_slot *slot = replica_log_slot(r, index);

        if (slot == NULL || slot->ticket != ticket->ticket) {
            continue;
        }
        slot->ticket = REPLICA_UNISSUED;
        if (i == ticket->n) {
            slot->bytes -= ticket->fill;
            r->log.disk_bytes -= ticket->fill;
        }
        if (r->gather_first == 0 || r->gather_first > index) {
            r->gather_first = index;
        }
    }
}

/*
 * No room, and nothing of the batch was written. Others that were issued behind it may
 * have been refused for the gap, or taken: they count for nothing, so that everything is
 * durable in the order in which it was decided.
 */
static bool meets_full_disk(struct replica *r, const struct replica_ticket *ticket,
                            int rv)
{
    if (rv == -ENOSPC) {
        r->stalled = true;
        r->void_to = r->ticket_last;
        replica_no_room(r);
    }
    if (!r->stalled || ticket->ticket > r->void_to ||
        (rv != 0 && rv != -ENOSPC && rv != -EINVAL)) {
        return false;
    }
    issue_again(r, ticket);
    return true;
}

void replica_journal_done(struct replica *r, const struct replica_event *event)
{
    struct replica_ticket ticket = r->tickets[0];

    ASSERT(r->n_tickets > 0 && ticket.ticket == event->ticket);
    r->n_tickets--;
    r->tickets[0] = r->tickets[1];
    if (meets_full_disk(r, &ticket, event->rv)) {
        return;
    }
    if (event->rv != 0) {
        replica_fault(r, event->rv < 0 ? event->rv : -EIO);
        return;
    }
    if (r->stalled) {
        r->stalled = false;
        replica_note(r);
    }
    r->ticket_done = ticket.ticket;
    set_places(r, &ticket, event);
    report(r);
}

uint64_t replica_journal_gate(const struct replica *r)
{
    return r->meta_dirty ? r->ticket_last + 1 : r->meta_ticket;
}

bool replica_gate_open(const struct replica *r, uint64_t gate, uint64_t after_index)
{
    if (r->config.mutation == REPLICA_MUT_EARLY_SEND) {
        return true;
    }
    return gate <= r->ticket_done && after_index <= r->reported;
}

static void send_control(struct replica *r, uint64_t to, uint8_t frame_type,
                         struct slice head)
{
    struct replica_action *action = replica_act(r, REPLICA_DO_SEND);

    action->to = to;
    action->channel = 0;
    action->frame_type = frame_type;
    action->head = head; /* Takes the reference. */
}

void replica_control(struct replica *r, uint64_t to, uint8_t frame_type, struct buf *head,
                     uint64_t after_index)
{
    uint64_t gate = replica_journal_gate(r);
    struct replica_held *held;

    if (head == NULL) {
        return; /* The fault is latched. */
    }
    if (r->held.n == 0 && replica_gate_open(r, gate, after_index)) {
        send_control(r, to, frame_type, slice_of(head, 0, head->len));
        buf_unref(head);
        return;
    }
    if (r->held.n < REPLICA_HELD_MAX) { /* Else dropped, as the network may. */
        held = replica_fifo_push(r, &r->held);
        if (held != NULL) {
            *held = (struct replica_held){.gate = gate,
                                          .to = to,
                                          .after_index = after_index,
                                          .frame_type = frame_type,
                                          .head = slice_of(head, 0, head->len)};
        }
    }
    buf_unref(head);
}

void replica_held_release(struct replica *r)
{
    while (r->held.n > 0) {
        struct replica_held *held = replica_fifo_at(&r->held, 0);

        if (held->after_index > r->log.last) {
            slice_unref(&held->head); /* What it waits for was cut off. */
            replica_fifo_pop(&r->held);
            continue;
        }
        if (!replica_gate_open(r, held->gate, held->after_index)) {
            return;
        }
        send_control(r, held->to, held->frame_type, held->head);
        replica_fifo_pop(&r->held);
    }
}

void replica_held_clear(struct replica *r)
{
    while (r->held.n > 0) {
        struct replica_held *held = replica_fifo_at(&r->held, 0);

        slice_unref(&held->head);
        replica_fifo_pop(&r->held);
    }
}
