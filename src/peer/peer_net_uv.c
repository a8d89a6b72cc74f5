#include "peer/peer_net_uv.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    LISTEN_BACKLOG = 128,
    STALL_MS = 1000, /* A timer this late means that this process stood still. */
};

#define QUEUE_BYTES_MARK (8u << 20)
#define QUEUE_MARKS_MAX 4u

static void on_timer(uv_timer_t *timer);

void peer_net_arm(struct peer_net *net, uint64_t at)
{
    uint64_t now = uv_now(net->loop);

    if (net->closing || at >= net->timer_at) {
        return;
    }
    net->timer_at = at;
    uv_timer_start(&net->timer, on_timer, at > now ? at - now : 0, 0);
}

/* After a stall of this process silence and lateness are its own: nobody is to pay. */
static void forgive(struct peer_net *net, uint64_t late)
{
    struct peer_session *session;

    net->stalled_ms = uv_now(net->loop);
    TAILQ_FOREACH(session, &net->sessions, entry)
    {
        session->conn.heard_ms = uv_now(net->loop);
        if (session->deadline != UINT64_MAX) {
            session->deadline += late;
        }
    }
}

/* Returns when this session wants to be looked at again. */
static uint64_t session_tick(struct peer_session *session, uint64_t now)
{
    uint64_t every;

    if (session->phase == PEER_GONE) {
        return UINT64_MAX;
    }
    if (session->deadline <= now) {
        peer_session_fail(session, -ETIMEDOUT, "took too long");
        return UINT64_MAX;
    }
    if (session->phase != PEER_UP) {
        return session->deadline;
    }
    if (now >= session->conn.heard_ms + PEER_SILENCE_MS_MAX) {
        peer_session_fail(session, -ETIMEDOUT, "silent");
        return UINT64_MAX;
    }
    if (session->ping_at <= now) {
        every = session->link->channel == PEER_CONTROL ? PEER_PING_CONTROL_MS
                                                       : PEER_PING_OTHER_MS;
        session->ping_at = now + every;
        peer_conn_ping(&session->conn);
    }
    return session->ping_at;
}

/* Dial what is due; returns when the next is. */
static uint64_t dial_due(struct peer_net *net, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < net->table.n; i++) {
        struct peer_state *state = net->table.rows[i].state;

        for (unsigned channel = 0; state != NULL && channel < PEER_CHANNELS; channel++) {
            struct peer_link *link = &state->links[channel];

            if (link->dial_at <= now) {
                peer_session_dial(net, link);
            }
            if (link->dial_at < next) {
                next = link->dial_at;
            }
        }
    }
    return next;
}

static void on_timer(uv_timer_t *timer)
{
    struct peer_net *net = timer->data;
    uint64_t now = uv_now(net->loop);
    uint64_t next = UINT64_MAX;
    struct peer_session *session;

    if (now > net->timer_at + STALL_MS) {
        forgive(net, now - net->timer_at);
    }
    net->timer_at = UINT64_MAX;
    if (net->accept_waits) {
        peer_session_accept(net);
    }
    /* Sessions leave the list only in their close callback, so it can be walked. */
    TAILQ_FOREACH(session, &net->sessions, entry)
    {
        uint64_t at = session_tick(session, now);

        if (net->closing) {
            return;
        }
        next = at < next ? at : next;
    }
    peer_net_arm(net, next);
    peer_net_arm(net, dial_due(net, now));
}

void peer_net_tell_removed(struct peer_net *net)
{
    while (!STAILQ_EMPTY(&net->removed)) {
        struct peer_state *state = STAILQ_FIRST(&net->removed);

        STAILQ_REMOVE_HEAD(&net->removed, removed_entry);
        for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
            if (state->links[channel].announced && !net->closing) {
                net->callbacks.state(net->callbacks.ctx, state->node.number,
                                     (enum peer_channel)channel, false,
                                     state->links[channel].boot);
            }
        }
        free(state);
    }
}

static void on_turn(void *arg)
{
    peer_net_tell_removed(arg);
}

static void on_io_closed(void *arg)
{
    struct peer_net *net = arg;
    void (*closed)(void *) = net->closed;
    void *closed_arg = net->closed_arg;

    free(net);
    if (closed != NULL) {
        closed(closed_arg);
    }
}

void peer_net_unref(struct peer_net *net)
{
    ASSERT(net->refs > 0);
    net->refs--;
    if (net->refs == 0) {
        ASSERT(net->closing && TAILQ_EMPTY(&net->sessions));
        peer_net_tell_removed(net); /* Only frees by now. */
        peer_io_close(&net->io, on_io_closed, net);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    peer_net_unref(handle->data);
}

/* Give up a node's links. "Down" is told later: the caller may be anywhere. */
static void remove_state(struct peer_net *net, struct peer_state *state)
{
    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        struct peer_session *session = state->links[channel].session;

        if (session != NULL) {
            peer_session_drop(session);
        }
        state->links[channel].up = false;
    }
    STAILQ_INSERT_TAIL(&net->removed, state, removed_entry);
    /* The turn's end tells; this sees to it that the turn ends soon. */
    if (!net->closing) {
        uv_idle_start(&net->io.idle, net->io.idle_cb);
    }
}

static void remove_all(struct peer_net *net, struct peer_table *table)
{
    for (uint32_t i = 0; i < table->n; i++) {
        if (table->rows[i].state != NULL) {
            remove_state(net, table->rows[i].state);
        }
    }
    peer_table_deinit(table);
}

void peer_net_close(struct peer_net *net, void (*closed)(void *arg), void *arg)
{
    struct peer_session *session;

    ASSERT(!net->closing);
    net->closing = true;
    net->closed = closed;
    net->closed_arg = arg;
    remove_all(net, &net->table);
    TAILQ_FOREACH(session, &net->sessions, entry)
    {
        peer_session_drop(session);
    }
    if (net->listening) {
        uv_close((uv_handle_t *)&net->listener, on_handle_closed);
    }
    uv_close((uv_handle_t *)&net->timer, on_handle_closed);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct peer_net *net = listener->data;

    if (status < 0) {
        peer_net_complain(net, "?", uv_strerror(status)); /* Such as no descriptors. */
    } else if (!net->closing) {
        peer_session_accept(net);
    }
}

static int start_listening(struct peer_net *net)
{
    struct sockaddr_storage address;
    int rv = peer_address(net->config.address, net->config.port, &address);

    if (rv != 0) {
        return rv;
    }
    rv = uv_tcp_init(net->loop, &net->listener);
    if (rv != 0) {
        return rv;
    }
    net->listener.data = net;
    net->listening = true;
    net->refs++;
    rv = uv_tcp_bind(&net->listener, (const struct sockaddr *)&address, 0);
    if (rv != 0) {
        return rv;
    }
    return uv_listen((uv_stream_t *)&net->listener, LISTEN_BACKLOG, on_connection);
}

int peer_net_open(struct uv_loop_s *loop, const struct peer_config *config,
                  const struct peer_identity *identity,
                  const struct peer_callbacks *callbacks, struct peer_net **out)
{
    struct peer_net *net = calloc(1, sizeof *net);
    int rv;

    ASSERT(callbacks->frame != NULL && callbacks->state != NULL);
    if (net == NULL) {
        return -ENOMEM;
    }
    net->loop = loop;
    net->config = *config;
    if (net->config.queue_bytes_mark == 0) {
        net->config.queue_bytes_mark = QUEUE_BYTES_MARK;
    }
    net->callbacks = *callbacks;
    net->timer_at = UINT64_MAX;
    STAILQ_INIT(&net->removed);
    TAILQ_INIT(&net->sessions);
    prng_seed(&net->prng, config->boot ^ (config->self << 32));
    rv = peer_io_init(&net->io, loop, identity);
    if (rv != 0) {
        free(net);
        return rv;
    }
    net->io.turned = on_turn;
    net->io.turned_arg = net;
    uv_timer_init(loop, &net->timer);
    net->timer.data = net;
    net->refs = 1;
    rv = config->self == 0 ? 0 : start_listening(net);
    if (rv != 0) {
        peer_net_close(net, NULL, NULL); /* The loop frees it. */
        return rv;
    }
    net->config.address = NULL; /* Was borrowed. */
    *out = net;
    return 0;
}

uint16_t peer_net_port(const struct peer_net *net)
{
    struct sockaddr_storage address;
    int len = sizeof address;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;

    if (!net->listening ||
        uv_tcp_getsockname(&net->listener, (struct sockaddr *)&address, &len) != 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6 ? in6->sin6_port : in4->sin_port);
}

static struct peer_state *state_new(struct peer_net *net, const struct peer_node *node)
{
    struct peer_state *state = calloc(1, sizeof *state);
    int rv;

    if (state == NULL) {
        return NULL;
    }
    state->node = *node;
    rv = peer_address(node->host, node->port, &state->address);
    ASSERT(rv == 0); /* peer_table_init checked it. */
    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        state->links[channel] = (struct peer_link){
            .state = state,
            .channel = (enum peer_channel)channel,
            .dial_at = net->config.self != 0 && net->config.self < node->number
                           ? uv_now(net->loop)
                           : UINT64_MAX,
            .backoff_ms = PEER_BACKOFF_MS_MIN,
        };
    }
    return state;
}

int peer_net_nodes(struct peer_net *net, const struct peer_node *nodes, uint32_t n)
{
    struct peer_table table;
    int rv;

    ASSERT(!net->closing);
    rv = peer_table_init(&table, nodes, n);
    if (rv != 0) {
        return rv;
    }
    /* All memory first: a table is replaced whole or not at all. New states stand in
     * every row, and give way to the old ones that are carried over. */
    for (uint32_t i = 0; i < table.n; i++) {
        if (table.rows[i].node.number != net->config.self) {
            table.rows[i].state = state_new(net, &table.rows[i].node);
            if (table.rows[i].state == NULL) {
                rv = -ENOMEM;
            }
        }
    }
    for (uint32_t i = 0; i < table.n; i++) {
        struct peer_row *row = &table.rows[i];

        if (rv != 0 || peer_table_same(&net->table, row)) {
            free(row->state);
            row->state = NULL;
        }
    }
    if (rv != 0) {
        peer_table_deinit(&table);
        return rv;
    }
    peer_table_carry(&table, &net->table);
    remove_all(net, &net->table);
    net->table = table;
    peer_net_arm(net, uv_now(net->loop));
    return 0;
}

static struct peer_link *find_link(const struct peer_net *net, uint64_t node,
                                   enum peer_channel channel)
{
    struct peer_row *row = peer_table_find(&net->table, node);
    struct peer_state *state = row == NULL ? NULL : row->state;

    ASSERT(channel < PEER_CHANNELS);
    return state == NULL ? NULL : &state->links[channel];
}

int peer_send(struct peer_net *net, const struct peer_message *message)
{
    struct peer_link *link = find_link(net, message->node, message->channel);
    struct peer_header header = {.kind = PEER_KIND_DATA, .type = message->type};
    struct slice head = message->head;
    struct slice body = message->body;
    struct peer_conn *conn;
    int rv;

    if (head.len > PEER_FRAME_MAX || body.len > PEER_FRAME_MAX - head.len) {
        return -EMSGSIZE;
    }
    if (net->closing || link == NULL || !link->up) {
        return OUT_TRY_LATER;
    }
    conn = &link->session->conn;
    if (peer_conn_queued(conn) > QUEUE_MARKS_MAX * net->config.queue_bytes_mark) {
        link->full = true;
        return OUT_FULL;
    }
    header.head_len = (uint32_t)head.len;
    header.body_len = (uint32_t)body.len;
    rv = peer_conn_send(conn, &header, head, body);
    if (peer_conn_queued(conn) > net->config.queue_bytes_mark) {
        link->full = true;
    }
    return rv;
}

void peer_net_flush(struct peer_net *net)
{
    peer_io_flush(&net->io);
}

bool peer_is_up(const struct peer_net *net, uint64_t node, enum peer_channel channel)
{
    const struct peer_link *link = find_link(net, node, channel);

    return link != NULL && link->up;
}

uint64_t peer_queued_bytes(const struct peer_net *net, uint64_t node,
                           enum peer_channel channel)
{
    const struct peer_link *link = find_link(net, node, channel);

    return link != NULL && link->up ? peer_conn_queued(&link->session->conn) : 0;
}

uint64_t peer_rtt_us(const struct peer_net *net, uint64_t node)
{
    const struct peer_link *link = find_link(net, node, PEER_CONTROL);

    if (link == NULL || link->state->rtt_ns == 0) {
        return 0;
    }
    return link->state->rtt_ns < 1000 ? 1 : link->state->rtt_ns / 1000;
}

const char *peer_fault(const struct peer_net *net, uint64_t node)
{
    static const enum peer_channel channels[] = {PEER_CONTROL, PEER_LOG};

    for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++) {
        const struct peer_link *link = find_link(net, node, channels[i]);

        if (link != NULL && !link->up && link->why[0] != '\0') {
            return link->why;
        }
    }
    return "it was never heard of";
}

int peer_join_answer(struct peer_net *net, uint64_t request, struct slice answer)
{
    struct peer_header header = {.kind = PEER_KIND_JOIN_ANSWER};
    struct peer_session *session;
    int rv;

    if (answer.len > PEER_JOIN_ANSWER_MAX) {
        return -EMSGSIZE;
    }
    TAILQ_FOREACH(session, &net->sessions, entry)
    {
        if (session->phase == PEER_JOINING && session->request == request) {
            break;
        }
    }
    if (session == NULL) {
        return OUT_NOENT;
    }
    header.body_len = (uint32_t)answer.len;
    rv = peer_conn_send(&session->conn, &header, (struct slice){0}, answer);
    if (rv == 0) {
        peer_session_answered(session);
    }
    return rv;
}
