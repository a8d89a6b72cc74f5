/*
 * node_net: frames between nodes: what arrives goes to the host or op it is for.
 */
#include "daemon/node.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/wire.h"
#include "daemon/event.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPLICA_HEAD_BYTES 33u /* Zone id, from, to, frame type. */
#define OP_HEAD_BYTES 25u      /* Zone id, seq, is_read. */
#define ANSWER_HEAD_BYTES 20u  /* Seq, outcome, leader's node. */
#define PULL_HEAD_BYTES 32u    /* Zone id, from, to. */
#define QUEUE_BYTES_MARK (8u << 20)
#define READ_OP_BYTES_MAX 8192u /* A read names an object, two names at most. */
#define READ_COSTS_BYTES 512u   /* Beside the op, while it is under way. */
#define REMOTE_READ_BYTES_MAX (64u << 20)

/* A fixed part, then @rest, in one new buffer. */
static struct slice with_head(const uint8_t *fixed, size_t n_fixed, struct slice rest)
{
    struct buf *buf = buf_new(n_fixed + rest.len);
    struct slice slice;

    if (buf == NULL) {
        return (struct slice){0};
    }
    memcpy(buf->data, fixed, n_fixed);
    if (rest.len > 0) {
        memcpy(buf->data + n_fixed, rest.data, rest.len);
    }
    buf->len = n_fixed + rest.len;
    slice = slice_of(buf, 0, buf->len);
    buf_unref(buf);
    return slice;
}

/* The part of @head behind its first @n bytes; keeps the buffer's name. */
static struct slice after(struct slice head, size_t n)
{
    return (struct slice){.buf = head.buf, .data = head.data + n, .len = head.len - n};
}

int node_send(struct node *node, const struct peer_message *message)
{
    if (node->peers == NULL || (message->head.len == 0 && message->body.len == 0)) {
        return OUT_TRY_LATER;
    }
    return peer_send(node->peers, message);
}

static void on_send(void *ctx, struct host *host, const struct host_message *message)
{
    struct node *node = ctx;
    uint8_t fixed[REPLICA_HEAD_BYTES];
    struct peer_message frame = {
        .node = directory_raft_node(message->to),
        .channel = message->channel == 0 ? PEER_CONTROL : PEER_LOG,
        .type = NODE_FRAME_REPLICA,
        .body = message->body,
    };

    memcpy(fixed, host_zone_id(host), 16);
    wire_store_u64(fixed + 16, host_raft_id(host));
    wire_store_u64(fixed + 24, message->to);
    fixed[32] = message->type;
    frame.head = with_head(fixed, sizeof fixed, message->head);
    if (node_send(node, &frame) != 0) {
        log_debug("daemon", "msg=\"frame dropped\" zone=%s type=%u", host_label(host),
                  message->type);
    }
    slice_unref(&frame.head);
}

static int on_pull_send(void *ctx, struct host *host, uint64_t raft_id, struct slice head)
{
    struct peer_message frame = {.node = directory_raft_node(raft_id),
                                 .channel = PEER_BULK,
                                 .type = NODE_FRAME_PULL};
    uint8_t fixed[PULL_HEAD_BYTES];
    int rv;

    memcpy(fixed, host_zone_id(host), 16);
    wire_store_u64(fixed + 16, host_raft_id(host));
    wire_store_u64(fixed + 24, raft_id);
    frame.head = with_head(fixed, sizeof fixed, head);
    rv = node_send(ctx, &frame);
    slice_unref(&frame.head);
    return rv;
}

static bool on_pull_room(void *ctx, struct host *host, uint64_t raft_id)
{
    const struct node *node = ctx;

    (void)host;
    return peer_queued_bytes(node->peers, directory_raft_node(raft_id), PEER_BULK) <=
           QUEUE_BYTES_MARK;
}

static void on_note(void *ctx, struct host *host)
{
    struct node *node = ctx;
    struct router_event event = {.type = ROUTER_EV_LEADER};
    uint64_t leader = host_leader(host);

    if (leader != 0 && host_state(host) == HOST_RUNNING) {
        memcpy(event.zone_id, host_zone_id(host), 16);
        event.node = directory_raft_node(leader);
        node_router_event(node, &event);
    }
    if (host_state(host) == HOST_RUNNING) {
        node_zone_noted(node, host);
        /* A node that comes back up to date applies nothing, perhaps for days. */
        if (host == node->home && node->directory.nodes == NULL) {
            node_directory_refresh(node);
        }
    }
    if (host == node->home) {
        node_home_noted(node);
    } else if (host_lost(host) != HOST_LOST_NOT) {
        node_repair_noted(node, host);
    }
    if (host_changed(host)) {
        log_info("daemon", "msg=\"zone state\" zone=%s state=%s leader=%s",
                 host_label(host), host_state_name(host_state(host)),
                 node_name_of(node, directory_raft_node(leader)));
    }
}

static void on_applied(void *ctx, struct host *host)
{
    struct node *node = ctx;

    if (host == node->home) {
        node_directory_refresh(node);
    }
}

void node_host_callbacks(struct node *node, struct host_callbacks *out)
{
    *out = (struct host_callbacks){
        .ctx = node,
        .send = on_send,
        .answer = node_answer,
        .note = on_note,
        .applied = on_applied,
        .pull_send = on_pull_send,
        .pull_room = on_pull_room,
    };
}

/* True if @sender, a raft id of the node @from, may speak in the host's group: the
 * directory lists it, or raft's configuration has it (either may be the newer one). In
 * the grapevine's own group every node is a member. */
static bool is_member(struct node *node, const struct host *host, uint64_t sender,
                      uint64_t from)
{
    const struct directory_zone *zone;
    const struct directory_member *member;

    if (directory_raft_node(sender) != from) {
        return false;
    }
    if (host == node->home) {
        return true; /* In whichever life: nobody else has that node's key. */
    }
    zone = directory_zone(&node->directory, host_zone_id(host));
    member = zone == NULL ? NULL : directory_member(zone, from);
    return (member != NULL && member->raft_id == sender) || host_has_member(host, sender);
}

static void frame_replica(struct node *node, uint64_t from, struct slice head,
                          struct slice body)
{
    struct host *host;
    uint64_t sender;

    if (head.len < REPLICA_HEAD_BYTES) {
        return;
    }
    sender = wire_load_u64(head.data + 16);
    host = node_host(node, head.data);
    if (host == NULL || wire_load_u64(head.data + 24) != host_raft_id(host) ||
        !is_member(node, host, sender, from)) {
        return;
    }
    host_frame(host, sender, head.data[32], after(head, REPLICA_HEAD_BYTES), body);
}

static void refuse_op(struct node *node, uint64_t token)
{
    node_answer(node, &(struct host_answer){.token = token, .outcome = OUT_NOT_LEADER});
}

/* Other nodes' reads wait here for the zone, each of them in memory. */
static void read_remote(struct node *node, struct host *host, struct slice op,
                        uint64_t token)
{
    struct asker *asker = (struct asker *)(uintptr_t)token;
    size_t bytes = op.len + READ_COSTS_BYTES;

    if (node->remote_bytes + bytes > REMOTE_READ_BYTES_MAX) {
        node_answer(node, &(struct host_answer){.token = token, .outcome = OUT_FULL});
        return;
    }
    asker->bytes = bytes;
    node->remote_bytes += bytes;
    host_read(host, op, token);
}

static void frame_op(struct node *node, uint64_t from, struct slice head,
                     struct slice body)
{
    struct zone_entry entry;
    struct slice op;
    struct host *host;
    bool is_read;
    uint64_t token;

    if (head.len < OP_HEAD_BYTES) {
        return;
    }
    op = after(head, OP_HEAD_BYTES);
    is_read = head.data[24] != 0;
    if (is_read ? op.len > READ_OP_BYTES_MAX
                : zone_entry_decode(op.data, op.len, &entry) != 0 ||
                      entry.origin.node != from) {
        return; /* Numbers are each node's own. */
    }
    token = asker_new(node, ASKER_REMOTE, from, wire_load_u64(head.data + 16));
    host = node_host(node, head.data);
    if (host == NULL || node->stopping) {
        refuse_op(node, token);
    } else if (is_read) {
        read_remote(node, host, op, token);
    } else {
        /* The leader stamps the entry: it needs bytes of its own. */
        struct buf *own = buf_copy(op.data, op.len);
        struct slice whole;

        if (own == NULL) {
            refuse_op(node, token);
            return;
        }
        whole = slice_of(own, 0, own->len);
        buf_unref(own);
        host_submit(host, whole, body, token);
        slice_unref(&whole);
    }
}

static void frame_answer(struct node *node, uint64_t from, struct slice head,
                         struct slice body)
{
    struct router_event event = {.type = ROUTER_EV_ANSWER, .node = from};

    if (head.len < ANSWER_HEAD_BYTES) {
        return;
    }
    event.seq = wire_load_u64(head.data);
    event.outcome = (int)wire_load_u32(head.data + 8);
    event.leader_node = wire_load_u64(head.data + 12);
    event.result = after(head, ANSWER_HEAD_BYTES);
    event.data = body;
    if (event.outcome < 0 || event.outcome >= OUT_MAX) {
        return;
    }
    node_router_event(node, &event);
}

/* The answer's fixed part, kept while the zone's thread works. */
struct pull_reply {
    struct node *node;
    uint8_t fixed[PULL_HEAD_BYTES];
};

static void pull_reply(void *ctx, uint64_t to, struct slice head, struct slice body)
{
    struct pull_reply *box = ctx;
    struct peer_message frame = {
        .node = directory_raft_node(to),
        .channel = PEER_BULK,
        .type = NODE_FRAME_PULL_ANSWER,
        .head = with_head(box->fixed, sizeof box->fixed, head),
        .body = body,
    };

    if (head.len > 0 && node_send(box->node, &frame) != 0) {
        log_debug("daemon", "msg=\"pull answer dropped\"");
    }
    slice_unref(&frame.head);
    free(box);
}

static void frame_pull(struct node *node, uint64_t from, struct slice head,
                       struct slice body, bool is_answer)
{
    struct pull_reply *box;
    struct host *host;
    uint64_t sender;

    if (head.len < PULL_HEAD_BYTES) {
        return;
    }
    sender = wire_load_u64(head.data + 16);
    host = node_host(node, head.data);
    if (host == NULL || wire_load_u64(head.data + 24) != host_raft_id(host) ||
        !is_member(node, host, sender, from)) {
        return;
    }
    if (is_answer) {
        host_pull_answer(host, sender, after(head, PULL_HEAD_BYTES), body);
        return;
    }
    box = calloc(1, sizeof *box);
    if (box == NULL) {
        return;
    }
    box->node = node;
    memcpy(box->fixed, head.data, 16);
    wire_store_u64(box->fixed + 16, host_raft_id(host));
    wire_store_u64(box->fixed + 24, sender);
    host_pull_request(host, sender, after(head, PULL_HEAD_BYTES), pull_reply, box);
}

static void on_frame(void *ctx, const struct peer_message *message)
{
    struct node *node = ctx;
    uint64_t from = message->node;
    struct slice head = message->head;
    struct slice body = message->body;

    switch (message->type) {
    case NODE_FRAME_REPLICA:
        frame_replica(node, from, head, body);
        break;
    case NODE_FRAME_OP:
        frame_op(node, from, head, body);
        break;
    case NODE_FRAME_ANSWER:
        frame_answer(node, from, head, body);
        break;
    case NODE_FRAME_PULL:
        frame_pull(node, from, head, body, false);
        break;
    case NODE_FRAME_PULL_ANSWER:
        frame_pull(node, from, head, body, true);
        break;
    case NODE_FRAME_ASK:
        admin_ask_frame(node, from, head, body);
        break;
    case NODE_FRAME_ASK_ANSWER:
        admin_ask_answer(node, from, head, body);
        break;
    default:
        log_warn("daemon", "msg=\"unknown frame\" from=%s type=%u",
                 node_name_of(node, from), message->type);
    }
}

static int known_place(const struct node *node, uint64_t number)
{
    for (uint32_t i = 0; i < node->n_known; i++) {
        if (node->known[i].number == number) {
            return (int)i;
        }
    }
    return -1;
}

bool node_link_up(const struct node *node, uint64_t number)
{
    int place = known_place(node, number);

    return number == node->number || (place >= 0 && node->link_up[place]);
}

int64_t node_link_since_ns(const struct node *node, uint64_t number)
{
    int place = known_place(node, number);

    return place < 0 ? 0 : node->link_ns[place];
}

const char *node_name_of(const struct node *node, uint64_t number)
{
    const struct directory_node *row = directory_node(&node->directory, number);
    int place;

    if (number == node->number && number != 0) {
        return node->config.name;
    }
    if (row != NULL) {
        return row->name;
    }
    place = known_place(node, number);
    return place >= 0 ? node->known_names[place] : "";
}

/* The raft id that @number has in the host's zone; 0: none. */
static uint64_t raft_id_in(struct node *node, struct host *host, uint64_t number)
{
    const struct directory_zone *zone;
    const struct directory_member *member;

    if (host == node->home) {
        return node_home_id(node, number);
    }
    zone = directory_zone(&node->directory, host_zone_id(host));
    member = zone == NULL ? NULL : directory_member(zone, number);
    return member == NULL ? 0 : member->raft_id;
}

static void tell_link(struct node *node, uint64_t number, bool up)
{
    const char *name = node_name_of(node, number);
    int place = known_place(node, number);
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (place >= 0) {
        node->link_ns[place] = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }
    if (up) {
        event_tell(EVENT_PEER_UP, NULL, "node %s is reached", name);
    } else {
        event_tell(
            EVENT_PEER_DOWN, NULL, "node %s is out of reach: %s", name,
            node->peers == NULL ? "this node stops" : peer_fault(node->peers, number));
    }
}

static void link_changed(struct node *node, uint64_t number, bool up)
{
    struct router_event event = {.type = ROUTER_EV_NODE, .node = number, .up = up};

    tell_link(node, number, up);
    for (uint32_t i = 0; i <= node->n_zones; i++) {
        struct host *host = i == node->n_zones ? node->home : node->zones[i].host;
        uint64_t raft_id = host == NULL ? 0 : raft_id_in(node, host, number);

        if (raft_id != 0) {
            host_peer(host, raft_id, up);
        }
    }
    node_router_event(node, &event);
}

void node_net_distances(struct node *node)
{
    for (uint32_t i = 0; i < node->directory.n_nodes && node->peers != NULL; i++) {
        struct router_event event = {.type = ROUTER_EV_DISTANCE,
                                     .node = node->directory.nodes[i].peer.number};
        uint64_t rtt_us = peer_rtt_us(node->peers, event.node);

        event.rtt_us = rtt_us > UINT32_MAX ? UINT32_MAX : (uint32_t)rtt_us;
        if (event.node != node->number) {
            node_router_event(node, &event);
        }
    }
}

static void on_state(void *ctx, uint64_t number, enum peer_channel channel, bool up,
                     uint64_t boot)
{
    struct node *node = ctx;
    int place = known_place(node, number);
    bool both;

    (void)boot;
    if (place < 0 || channel == PEER_BULK) {
        return;
    }
    both = up && peer_is_up(node->peers, number, PEER_CONTROL) &&
           peer_is_up(node->peers, number, PEER_LOG);
    if (!up && node->link_up[place]) {
        node->link_up[place] = false;
        link_changed(node, number, false);
    } else if (both && !node->link_up[place]) {
        node->link_up[place] = true;
        link_changed(node, number, true);
    }
}

static void on_writable(void *ctx, uint64_t number, enum peer_channel channel)
{
    struct node *node = ctx;

    for (uint32_t i = 0; i <= node->n_zones; i++) {
        struct host *host = i == node->n_zones ? node->home : node->zones[i].host;
        uint64_t raft_id = host == NULL ? 0 : raft_id_in(node, host, number);

        if (raft_id != 0 && channel == PEER_LOG) {
            host_writable(host, raft_id);
        } else if (raft_id != 0 && channel == PEER_BULK) {
            host_pull_room(host);
        }
    }
}

static void on_stranger(void *ctx, const char *host, const char *why)
{
    (void)ctx;
    event_tell(EVENT_STRANGER, NULL, "refused a connection from %s: %s", host, why);
}

static void stop_host(struct node *node, struct host *host)
{
    (void)node;
    host_twin(host);
}

/* Another daemon has this one's key and number, and is alive: what this one does from here
 * on, it may do twice. A restart asks again. */
static void on_refused(void *ctx, uint64_t number, const struct peer_refusal *refusal)
{
    struct node *node = ctx;

    if (refusal->reason != PEER_REFUSED_TWIN || node->twin) {
        return;
    }
    node->twin = true;
    event_tell(
        EVENT_TWIN, NULL,
        "another daemon is this node: this one stops its zones. Stop one of the two, "
        "give it a state folder of its own, and restart the other (told by %s)",
        node_name_of(node, number));
    node_each_host(node, stop_host);
}

int node_net_open(struct node *node, char error[CONFIG_ERROR_MAX])
{
    struct peer_callbacks callbacks = {
        .ctx = node,
        .frame = on_frame,
        .state = on_state,
        .writable = on_writable,
        .join = admin_join_request,
        .epoch = node_epoch_told,
        .stranger = on_stranger,
        .refused = on_refused,
    };
    struct peer_config config = {
        .address = node->config.peer.host,
        .port = node->config.peer.port,
        .self = node->number,
        .boot = node->session, /* Not the count of starts: a copied disk has the same. */
        .epoch = node->epoch,
        .queue_bytes_mark = QUEUE_BYTES_MARK,
    };
    int rv;

    memcpy(config.grapevine_id, node->grapevine_id, sizeof config.grapevine_id);
    rv = peer_net_open(node->loop, &config, node->identity, &callbacks, &node->peers);
    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "cannot listen for other nodes on %s port %u: %s (%s)",
                 node->config.peer.host, node->config.peer.port, strerror(-rv),
                 rv == -EADDRNOTAVAIL
                     ? "this machine does not have that address: see [listen] peer"
                     : "another daemon? change [listen] peer");
        return rv;
    }
    node_net_refresh(node);
    return 0;
}

/* Nodes that left the directory: no report of them will come any more. */
static void links_gone(struct node *node)
{
    for (uint32_t i = 0; i < node->n_known; i++) {
        if (node->link_up[i] &&
            directory_node(&node->directory, node->known[i].number) == NULL) {
            node->link_up[i] = false;
            link_changed(node, node->known[i].number, false);
        }
    }
}

/* One line for each row, however often the directory is read. */
static void tell_fault(struct node *node, const struct directory_node *row,
                       const char *fault, uint64_t told_version)
{
    if (row->version > told_version) {
        log_error("daemon",
                  "msg=\"this node's row cannot be used: see gvraft node remove\" "
                  "node=%s reason=\"%s\"",
                  row->name, fault);
    }
    if (row->version > node->faulty_version) {
        node->faulty_version = row->version;
    }
}

/* The directory's rows as the table of peers. */
static void take_rows(struct node *node)
{
    const struct directory *directory = &node->directory;
    struct peer_node fresh[DIRECTORY_NODES_MAX];
    const char *names[DIRECTORY_NODES_MAX];
    bool link_up[DIRECTORY_NODES_MAX] = {false};
    int64_t link_ns[DIRECTORY_NODES_MAX] = {0};
    uint64_t told_version = node->faulty_version;
    uint32_t n = 0;

    for (uint32_t i = 0; i < directory->n_nodes; i++) {
        const struct directory_node *row = &directory->nodes[i];
        const char *fault = peer_node_fault(&row->peer, fresh, n);
        int place = known_place(node, row->peer.number);

        if (fault != NULL) {
            tell_fault(node, row, fault, told_version);
            continue;
        }
        fresh[n] = row->peer;
        node_address_tried(node, row, &fresh[n]);
        names[n] = row->name;
        link_up[n] = place >= 0 && node->link_up[place];
        link_ns[n] = place >= 0 ? node->link_ns[place] : 0;
        n++;
    }
    if (n == node->n_known && memcmp(fresh, node->known, n * sizeof fresh[0]) == 0) {
        return;
    }
    memcpy(node->known, fresh, n * sizeof fresh[0]);
    memcpy(node->link_up, link_up, sizeof link_up);
    memcpy(node->link_ns, link_ns, sizeof link_ns);
    for (uint32_t i = 0; i < n; i++) {
        strcpy(node->known_names[i], names[i]);
    }
    node->n_known = n;
    node_known_save(node);
}

/* The table that the directory now gives; before it is known, the one from the file. */
void node_net_refresh(struct node *node)
{
    int rv;

    if (directory_node(&node->directory, node->number) != NULL) {
        links_gone(node);
        take_rows(node);
    }
    if (node->peers != NULL) {
        rv = peer_net_nodes(node->peers, node->known, node->n_known);
        if (rv != 0) {
            log_error("daemon", "msg=\"peer table\" error=\"%s\"", strerror(-rv));
        }
    }
}
