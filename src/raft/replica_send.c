/*
 * Entries to followers: ranges in a queue, frames when there is room.
 *
 * A range names entries; their bytes are taken from the cache, or from the journal,
 * when the follower can take them. At most REPLICA_WINDOW_BYTES are on their way to a
 * follower; while its queue waits, it gets heartbeats so that it stays a follower.
 * Every APPEND's commit index is the released one, held down to the last entry that the
 * message vouches for (Raft thesis figure 3.1), whatever the receiver makes of it.
 */
#include "base/assert.h"
#include "raft/replica_impl.h"

#include <stdlib.h>
#include <string.h>

struct replica_peer *replica_peer_find(struct replica *r, uint64_t id, bool create)
{
    struct replica_peer *peer;

    for (uint32_t i = 0; i < r->n_peers; i++) {
        if (r->peers[i]->id == id) {
            return r->peers[i];
        }
    }
    if (!create || r->n_peers == RGROUP_MEMBERS_MAX || id == 0 || id == r->config.self) {
        return NULL;
    }
    peer = calloc(1, sizeof *peer);
    if (peer != NULL) {
        peer->id = id;
        r->peers[r->n_peers++] = peer;
    }
    return peer;
}

static void inflight_clear(struct replica_peer *peer)
{
    peer->n_sent = 0;
    peer->inflight_bytes = 0;
}

static void peer_reset(struct replica_peer *peer)
{
    peer->n_ranges = 0;
    peer->commit_told = 0;
    peer->read_index = 0;
    inflight_clear(peer);
}

void replica_peer_set(struct replica *r, uint64_t id, bool up)
{
    struct replica_peer *peer = replica_peer_find(r, id, true);

    if (peer == NULL) {
        return;
    }
    peer_reset(peer);
    peer->up = up;
    if (up) {
        replica_roll_peer(r, id);
        replica_wall_peer(r, id);
    } else {
        replica_read_forget(r, id);
        if (r->leader == id) {
            struct rgroup_event lost = {.type = RGROUP_EV_LOST, .target = id};

            (void)replica_group_step(r, &lost, NULL); /* Faults are noted. */
            replica_read_again(r);
        }
    }
}

/* A new term or role: nothing that was queued is of use any more. */
void replica_send_reset(struct replica *r)
{
    for (uint32_t i = 0; i < r->n_peers; i++) {
        peer_reset(r->peers[i]);
    }
}

static void range_drop(struct replica_peer *peer)
{
    peer->n_ranges--;
    memmove(&peer->ranges[0], &peer->ranges[1], peer->n_ranges * sizeof peer->ranges[0]);
}

/* Is all of @msg in the queue already, or on its way? Probes repeat themselves. */
static bool is_queued(const struct replica_peer *peer, const struct rgroup_msg *msg)
{
    for (uint32_t i = 0; i < peer->n_ranges; i++) {
        const struct rgroup_msg *queued = &peer->ranges[i].msg;

        if (queued->term == msg->term && queued->index <= msg->index &&
            queued->index + queued->n >= msg->index + msg->n) {
            return true;
        }
    }
    return false;
}

static bool is_in_flight(const struct replica *r, const struct replica_peer *peer,
                         const struct rgroup_msg *msg)
{
    const struct replica_sent *first;
    const struct replica_sent *last;

    if (peer->n_sent == 0 || r->now_ms - peer->sent_ms >= r->config.election_ms) {
        return false;
    }
    first = &peer->sent[peer->sent_at];
    last = &peer->sent[(peer->sent_at + peer->n_sent - 1) % REPLICA_SENT_MAX];
    return first->prev <= msg->index && last->last >= msg->index + msg->n;
}

void replica_send_queue(struct replica *r, const struct rgroup_msg *msg)
{
    struct replica_peer *peer = replica_peer_find(r, msg->peer, true);
    uint64_t gate = replica_journal_gate(r);
    struct replica_range *tail = NULL;
    struct rgroup_msg copy = *msg;

    if (peer == NULL || !peer->up) {
        return;
    }
    peer->version = msg->version;
    peer->served = true;
    copy.conf = NULL;
    copy.conf_len = 0;
    if (copy.n > 0 && is_in_flight(r, peer, &copy)) {
        copy.n = 0; /* Once is enough; what is left of it is a heartbeat. */
    }
    if (peer->n_ranges > 0) {
        tail = &peer->ranges[peer->n_ranges - 1];
        if (copy.n == 0 || is_queued(peer, &copy)) {
            return;
        }
        if (tail->msg.term == copy.term && tail->msg.index + tail->msg.n == copy.index) {
            tail->msg.n += copy.n;
            tail->gate = tail->gate > gate ? tail->gate : gate;
            if (copy.after_index > tail->msg.after_index) {
                tail->msg.after_index = copy.after_index;
            }
            return;
        }
        peer->n_ranges = 0; /* raft went back: the old queue is of no use. */
    }
    if (copy.n > 0 && peer->n_sent > 0 &&
        copy.index <
            peer->sent[(peer->sent_at + peer->n_sent - 1) % REPLICA_SENT_MAX].last) {
        inflight_clear(peer); /* Sent again: what was under way did not count. */
    }
    peer->ranges[peer->n_ranges++] = (struct replica_range){.msg = copy, .gate = gate};
}

void replica_send_acked(struct replica *r, const struct rgroup_msg *msg)
{
    struct replica_peer *peer = replica_peer_find(r, msg->peer, false);

    if (peer == NULL) {
        return;
    }
    if (msg->rejected != 0) {
        inflight_clear(peer);
        return;
    }
    while (peer->n_sent > 0 && peer->sent[peer->sent_at].last <= msg->index) {
        peer->inflight_bytes -= peer->sent[peer->sent_at].bytes;
        peer->sent_at = (peer->sent_at + 1) % REPLICA_SENT_MAX;
        peer->n_sent--;
        peer->moved_ms = r->now_ms;
    }
}

static void note_sent(struct replica *r, struct replica_peer *peer,
                      const struct rgroup_msg *msg, uint64_t bytes)
{
    struct replica_sent *sent;

    if (peer->n_sent == 0) {
        peer->moved_ms = r->now_ms;
    }
    if (peer->n_sent == REPLICA_SENT_MAX) {
        sent = &peer->sent[(peer->sent_at + peer->n_sent - 1) % REPLICA_SENT_MAX];
        sent->last = msg->index + msg->n;
        sent->bytes += bytes;
    } else {
        sent = &peer->sent[(peer->sent_at + peer->n_sent) % REPLICA_SENT_MAX];
        *sent = (struct replica_sent){
            .prev = msg->index, .last = msg->index + msg->n, .bytes = bytes};
        peer->n_sent++;
    }
    peer->inflight_bytes += bytes;
    peer->sent_ms = r->now_ms;
}

static void send_append(struct replica *r, struct replica_peer *peer,
                        struct rgroup_msg *msg, const struct replica_entry *entries,
                        bool body)
{
    uint64_t vouched = msg->index + msg->n;
    struct replica_action *action;
    struct buf *head;

    msg->commit = r->released < vouched ? r->released : vouched;
    head = replica_put_append(r, msg, entries, body);
    if (head == NULL) {
        return;
    }
    action = replica_act(r, REPLICA_DO_SEND);
    action->to = peer->id;
    action->channel = 1;
    action->frame_type = REPLICA_FRAME_APPEND;
    action->head = slice_of(head, 0, head->len);
    if (body) {
        action->body = slice_ref(entries[msg->n - 1].payload);
    }
    buf_unref(head);
    if (msg->n > 0) {
        note_sent(r, peer, msg, action->head.len + action->body.len);
    }
    if (msg->commit > peer->commit_told) {
        peer->commit_told = msg->commit;
    }
    peer->beat_ms = r->now_ms;
}

/* The window is full and nothing of it has arrived for long: perhaps the follower had no
 * room and let it fall, which no lost connection tells. */
static bool is_stuck(const struct replica *r, const struct replica_peer *peer)
{
    return peer->inflight_bytes >= r->config.window_bytes &&
           r->now_ms - peer->moved_ms >= r->config.election_ms;
}

/*
 * An empty APPEND: heartbeat and commit index. Its prev is what is known to be there, so
 * that it is taken; of a follower that is stuck it is the last that was sent: either it is
 * there, or the refusal makes raft go back and send again.
 */
static void send_beat(struct replica *r, struct replica_peer *peer)
{
    struct rgroup_msg msg = {.type = RGROUP_MSG_APPEND,
                             .peer = peer->id,
                             .term = r->term,
                             .version = peer->version};

    if (rgroup_match_index(r->group, peer->id, &msg.index) != 0) {
        return;
    }
    if (is_stuck(r, peer)) {
        msg.index =
            peer->sent[(peer->sent_at + peer->n_sent - 1) % REPLICA_SENT_MAX].last;
    }
    if (msg.index < r->log.base_index || msg.index > r->log.last) {
        return;
    }
    msg.index_term = replica_log_term(r, msg.index);
    if (replica_gate_open(r, replica_journal_gate(r), 0)) {
        send_append(r, peer, &msg, NULL, false);
    }
}

void replica_send_commit(struct replica *r, struct replica_peer *peer)
{
    uint64_t match;

    if (peer->up && replica_is_leader(r) && peer->served &&
        peer->commit_told < r->released &&
        rgroup_match_index(r->group, peer->id, &match) == 0 &&
        peer->commit_told < match) {
        send_beat(r, peer);
    }
}

/* How many of @entries fit into one frame; *@body: the last payload goes beside it. */
static uint32_t frame_fit(const struct replica_entry *entries, uint32_t n, bool *body)
{
    uint64_t bytes = 0;
    uint32_t i;

    *body = false;
    for (i = 0; i < n && !*body; i++) {
        bool apart = entries[i].payload.len > REPLICA_INLINE_BYTES;

        bytes += replica_entry_wire_bytes(&entries[i], false);
        if (i > 0 && bytes > REPLICA_FRAME_BYTES) {
            break;
        }
        *body = apart;
    }
    return i;
}

/* Send the first of @n entries (those after the range's prev), as many as fit. */
static uint32_t send_entries(struct replica *r, struct replica_peer *peer,
                             const struct replica_entry *entries, uint32_t n)
{
    struct replica_range *range = &peer->ranges[0];
    struct rgroup_msg msg = range->msg;
    bool body;

    ASSERT(n > 0 && n <= range->msg.n && entries[0].index == msg.index + 1);
    n = frame_fit(entries, n, &body);
    msg.n = n;
    send_append(r, peer, &msg, entries, body);
    range->msg.index += n;
    range->msg.n -= n;
    range->msg.index_term = entries[n - 1].term;
    if (range->msg.n == 0) {
        range_drop(peer);
    }
    return n;
}

/* Entries of the range that are in the cache, at most a frame's worth; references. */
static uint32_t collect(struct replica *r, const struct rgroup_msg *msg)
{
    uint64_t bytes = 0;
    uint32_t n = 0;

    while (n < msg->n && n < REPLICA_CHUNK && bytes <= REPLICA_FRAME_BYTES &&
           replica_log_get(r, msg->index + 1 + n, &r->incoming[n])) {
        bytes += replica_entry_wire_bytes(&r->incoming[n], false);
        n++;
        if (r->incoming[n - 1].payload.len > REPLICA_INLINE_BYTES) {
            break;
        }
    }
    return n;
}

/* Is the range still what the log says? Leaders only add, so its prev is enough. */
static bool range_valid(struct replica *r, const struct rgroup_msg *msg)
{
    return replica_is_leader(r) && msg->term == r->term &&
           msg->index >= r->log.base_index && msg->index + msg->n <= r->log.last &&
           replica_log_term(r, msg->index) == msg->index_term;
}

/* One frame of the first range. False if the peer must wait. */
static bool pump_one(struct replica *r, struct replica_peer *peer)
{
    struct replica_range *range = &peer->ranges[0];
    uint32_t n;

    if (range->msg.n == 0) {
        if (!replica_gate_open(r, range->gate, range->msg.after_index)) {
            return false;
        }
        send_append(r, peer, &range->msg, NULL, false);
        range_drop(peer);
        return true;
    }
    if (!range_valid(r, &range->msg)) {
        range_drop(peer);
        return true;
    }
    if (!replica_gate_open(r, range->gate, range->msg.after_index) ||
        peer->inflight_bytes >= r->config.window_bytes) {
        return false;
    }
    n = collect(r, &range->msg);
    if (n == 0) {
        if (replica_fetch(r, FETCH_PEER, range->msg.index + 1,
                          range->msg.index + range->msg.n, r->config.window_bytes / 2)) {
            r->fetch_peer = peer->id;
        }
        return false;
    }
    (void)send_entries(r, peer, r->incoming, n);
    for (uint32_t i = 0; i < n; i++) {
        replica_entry_clear(&r->incoming[i]);
    }
    return true;
}

void replica_send_pump(struct replica *r)
{
    for (uint32_t i = 0; i < r->n_peers && r->rv == 0; i++) {
        struct replica_peer *peer = r->peers[(i + r->pump_at) % r->n_peers];
        bool more = true;

        while (more && peer->up && peer->n_ranges > 0 && r->rv == 0) {
            more = pump_one(r, peer);
        }
        if (!more && replica_is_leader(r) &&
            r->now_ms - peer->beat_ms >= r->config.heartbeat_ms) {
            send_beat(r, peer);
        }
        if (peer->commit_told < peer->read_index || replica_lease_is_out(r, peer->id)) {
            /* Its log did not reach so far before: else its reads wait for a beat. */
            replica_send_commit(r, peer);
        }
    }
}

/* What the journal gave back for a follower goes out at once, as far as it may. */
void replica_send_fetched(struct replica *r, const struct replica_event *event)
{
    struct replica_peer *peer = replica_peer_find(r, r->fetch_peer, false);
    uint32_t at = 0;

    r->pump_at++;
    if (peer == NULL || peer->n_ranges == 0 || !peer->up) {
        return;
    }
    if (event->rv > 0) {
        range_drop(peer); /* No longer in the journal: raft will find another way. */
        return;
    }
    while (at < event->n_entries && peer->n_ranges > 0 &&
           peer->inflight_bytes < r->config.window_bytes) {
        const struct replica_entry *first = &event->entries[at];
        const struct rgroup_msg *msg = &peer->ranges[0].msg;
        uint32_t n = 0;

        if (!range_valid(r, msg) || msg->n == 0 || first->index != msg->index + 1) {
            return;
        }
        while (at + n < event->n_entries && n < msg->n && n < REPLICA_CHUNK &&
               event->entries[at + n].index == msg->index + 1 + n &&
               event->entries[at + n].term ==
                   replica_log_term(r, event->entries[at + n].index)) {
            n++;
        }
        if (n == 0) {
            return;
        }
        at += send_entries(r, peer, first, n);
    }
}
