#include "peer/peer_net_uv.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const channel_names[PEER_CHANNELS] = {"control", "log", "bulk"};

static void set_phase(struct peer_session *session, enum peer_phase phase)
{
    ASSERT(session->net->phases[session->phase] > 0);
    session->net->phases[session->phase]--;
    session->net->phases[phase]++;
    session->phase = phase;
}

/* Strangers can make as many mistakes as they like; the log does not grow with them. */
void peer_net_complain(struct peer_net *net, const char *host, const char *why)
{
    uint64_t now = uv_now(net->loop);

    if (now >= net->complaints_since + PEER_COMPLAINTS_MS) {
        if (net->complaints_dropped > 0) {
            log_warn("peer", "msg=\"more connections were refused\" count=%u",
                     net->complaints_dropped);
        }
        net->complaints_since = now;
        net->complaints = 0;
        net->complaints_dropped = 0;
    }
    if (net->complaints >= PEER_COMPLAINTS_MAX) {
        net->complaints_dropped++;
        return;
    }
    net->complaints++;
    log_warn("peer", "msg=\"connection refused\" from=\"%s\" reason=\"%s\"", host, why);
    if (net->callbacks.stranger != NULL) {
        net->callbacks.stranger(net->callbacks.ctx, host, why);
    }
}

static bool is_ours_to_dial(const struct peer_net *net, const struct peer_link *link)
{
    return net->config.self < link->state->node.number;
}

/* Plan the next try: between half and all of the present backoff, then twice as long. */
static void plan_dial(struct peer_net *net, struct peer_link *link)
{
    uint64_t half = link->backoff_ms / 2;

    link->dial_at = uv_now(net->loop) + half + prng_below(&net->prng, half + 1);
    link->backoff_ms *= 2;
    if (link->backoff_ms > PEER_BACKOFF_MS_MAX) {
        link->backoff_ms = PEER_BACKOFF_MS_MAX;
    }
    peer_net_arm(net, link->dial_at);
}

/* Tell that the link is down, if the user thinks it is up. The user may change all. */
static void tell_down(struct peer_net *net, struct peer_link *link)
{
    link->up = false;
    link->full = false;
    if (link->channel == PEER_CONTROL) {
        link->state->rtt_ns = 0;
    }
    if (link->announced) {
        link->announced = false;
        log_info("peer", "msg=\"channel down\" node=%" PRIu64 " channel=%s",
                 link->state->node.number, channel_names[link->channel]);
        net->callbacks.state(net->callbacks.ctx, link->state->node.number, link->channel,
                             false, link->boot);
    }
}

/* Take the session off its link and out of every count. */
static struct peer_link *detach(struct peer_session *session)
{
    struct peer_link *link = session->link;

    set_phase(session, PEER_GONE);
    session->link = NULL;
    session->deadline = UINT64_MAX;
    if (link != NULL) {
        ASSERT(link->session == session);
        link->session = NULL;
    }
    return link;
}

void peer_session_drop(struct peer_session *session)
{
    if (session->phase == PEER_GONE) {
        return;
    }
    (void)detach(session);
    peer_conn_close(&session->conn);
}

void peer_session_fail(struct peer_session *session, int fault, const char *why)
{
    struct peer_net *net = session->net;
    enum peer_phase phase = session->phase;
    struct peer_link *link;

    if (phase == PEER_GONE) {
        return;
    }
    if (phase == PEER_STRANGER || phase == PEER_JOINING) {
        peer_net_complain(net, session->host, why);
    }
    link = detach(session);
    peer_conn_close(&session->conn);
    if (link == NULL) {
        return;
    }
    if (phase == PEER_UP || link->fault != fault) {
        log_info("peer",
                 "msg=\"connection lost\" node=%" PRIu64
                 " channel=%s reason=\"%s\" error=\"%s\"",
                 link->state->node.number, channel_names[link->channel], why,
                 strerror(-fault));
    }
    link->fault = fault;
    (void)snprintf(link->why, sizeof link->why, "%s (%s)", why, strerror(-fault));
    if (is_ours_to_dial(net, link)) {
        plan_dial(net, link);
    }
    tell_down(net, link);
}

static void on_lost(struct peer_conn *conn, int fault, const char *why)
{
    peer_session_fail((struct peer_session *)conn, fault, why);
}

static void on_freed(struct peer_conn *conn)
{
    struct peer_session *session = (struct peer_session *)conn;
    struct peer_net *net = session->net;

    ASSERT(session->phase == PEER_GONE);
    net->phases[PEER_GONE]--;
    TAILQ_REMOVE(&net->sessions, session, entry);
    free(session);
    peer_net_unref(net);
}

static int send_hello(struct peer_session *session, const struct peer_link *link,
                      uint64_t attempt)
{
    struct peer_net *net = session->net;
    struct peer_header header = {.kind = PEER_KIND_HELLO, .body_len = PEER_HELLO_BYTES};
    struct peer_hello hello = {
        .sender = net->config.self,
        .receiver = link->state->node.number,
        .boot = net->config.boot,
        .attempt = attempt,
        .channel = link->channel,
        .epoch = net->config.epoch,
    };
    uint8_t bytes[PEER_HELLO_BYTES];

    memcpy(hello.grapevine_id, net->config.grapevine_id, sizeof hello.grapevine_id);
    peer_hello_encode(&hello, bytes);
    return peer_conn_send(&session->conn, &header, (struct slice){0},
                          slice_borrow(bytes, sizeof bytes));
}

static void on_secured(struct peer_conn *conn)
{
    struct peer_session *session = (struct peer_session *)conn;
    int rv;

    if (session->phase == PEER_STRANGER) {
        peer_conn_expect(conn,
                         PEER_KIND_BIT(PEER_KIND_HELLO) | PEER_KIND_BIT(PEER_KIND_JOIN));
        return;
    }
    ASSERT(session->phase == PEER_DIALLED);
    peer_conn_expect(conn,
                     PEER_KIND_BIT(PEER_KIND_HELLO) | PEER_KIND_BIT(PEER_KIND_REFUSAL));
    rv = send_hello(session, session->link, session->link->attempt);
    if (rv != 0) {
        peer_session_fail(session, rv, "no memory");
    }
}

/* The session is its link's from here on. The user is told last: it may change all. */
static void go_up(struct peer_session *session, const struct peer_hello *hello)
{
    struct peer_net *net = session->net;
    struct peer_link *link;

    /* What is still to be told of this node's earlier row comes first. */
    peer_net_tell_removed(net);
    if (session->phase == PEER_GONE) {
        return;
    }
    link = session->link;
    set_phase(session, PEER_UP);
    session->deadline = UINT64_MAX;
    session->ping_at = uv_now(net->loop);
    session->conn.heard_ms = uv_now(net->loop);
    peer_conn_priority(&session->conn, link->channel);
    peer_conn_expect(&session->conn, PEER_KIND_BIT(PEER_KIND_DATA) |
                                         PEER_KIND_BIT(PEER_KIND_PING) |
                                         PEER_KIND_BIT(PEER_KIND_PONG));
    peer_net_arm(net, session->ping_at);
    link->up = true;
    link->announced = true;
    link->full = false;
    link->fault = 0;
    link->boot = hello->boot;
    link->backoff_ms = PEER_BACKOFF_MS_MIN;
    log_info("peer", "msg=\"channel up\" node=%" PRIu64 " channel=%s",
             link->state->node.number, channel_names[link->channel]);
    net->callbacks.state(net->callbacks.ctx, link->state->node.number, link->channel,
                         true, link->boot);
}

static void tell_epoch(struct peer_net *net, uint64_t node, uint64_t epoch)
{
    if (net->callbacks.epoch != NULL) {
        net->callbacks.epoch(net->callbacks.ctx, node, epoch);
    }
}

/* The answer of the node that this one dialled. Its key was checked by TLS. */
static void on_hello_answer(struct peer_session *session, const struct peer_hello *hello)
{
    struct peer_net *net = session->net;
    struct peer_link *link = session->link;

    if (memcmp(hello->grapevine_id, net->config.grapevine_id, 16) != 0 ||
        hello->sender != link->state->node.number ||
        hello->receiver != net->config.self || hello->channel != link->channel ||
        hello->attempt != link->attempt) {
        peer_session_fail(session, -EPROTO, "wrong hello");
        return;
    }
    if (hello->epoch != net->config.epoch) {
        uint64_t number = link->state->node.number;

        peer_session_fail(session, -EPROTONOSUPPORT, "another epoch of the grapevine");
        tell_epoch(net, number, hello->epoch);
        return;
    }
    go_up(session, hello);
}

/* Say why, then close. */
static void refuse(struct peer_session *session, enum peer_reason reason, const char *why)
{
    struct peer_header header = {.kind = PEER_KIND_REFUSAL,
                                 .body_len = PEER_REFUSAL_BYTES};
    struct peer_refusal refusal = {.reason = reason,
                                   .version_min = PEER_WIRE_VERSION,
                                   .version_max = PEER_WIRE_VERSION};
    uint8_t bytes[PEER_REFUSAL_BYTES];
    int rv;

    peer_refusal_encode(&refusal, bytes);
    rv = peer_conn_send(&session->conn, &header, (struct slice){0},
                        slice_borrow(bytes, sizeof bytes));
    if (rv != 0) {
        peer_session_fail(session, rv, why);
        return;
    }
    peer_net_complain(session->net, session->host, why);
    peer_session_answered(session);
}

static void on_refusal(struct peer_session *session, const struct peer_refusal *refusal)
{
    struct peer_net *net = session->net;
    struct peer_link *link = session->link;
    uint64_t node = link->state->node.number;
    int fault = refusal->reason == PEER_REFUSED_VERSION ? -EPROTONOSUPPORT
                : refusal->reason == PEER_REFUSED_TWIN  ? -EEXIST
                                                        : -EBUSY;
    bool news = link->fault != fault;

    if (news && fault == -EPROTONOSUPPORT) {
        log_error(
            "peer",
            "msg=\"a node speaks another version of the node-to-node protocol: update "
            "one of the two\" node=%" PRIu64 " theirs=%u-%u ours=%u",
            node, refusal->version_min, refusal->version_max, PEER_WIRE_VERSION);
    }
    peer_session_fail(session, fault,
                      fault == -EPROTONOSUPPORT ? "another version"
                      : fault == -EEXIST        ? "another daemon is this node"
                                                : "to come later");
    if (news && net->callbacks.refused != NULL) {
        net->callbacks.refused(net->callbacks.ctx, node, refusal);
    }
}

/* The link that a stranger's hello names, or NULL with the reason. */
static struct peer_link *hello_link(struct peer_session *session,
                                    const struct peer_hello *hello, const char **why)
{
    struct peer_net *net = session->net;
    struct peer_row *row = peer_table_find(&net->table, hello->sender);
    struct peer_state *state = row == NULL ? NULL : row->state;
    struct peer_link *link;

    *why = "another grapevine";
    if (memcmp(hello->grapevine_id, net->config.grapevine_id, 16) != 0) {
        return NULL;
    }
    *why = "meant for another node";
    if (hello->receiver != net->config.self) {
        return NULL;
    }
    *why = "unknown node";
    if (state == NULL) {
        return NULL;
    }
    *why = "not that node's key";
    if (memcmp(state->node.fingerprint, peer_conn_fingerprint(&session->conn),
               PEER_FINGERPRINT_BYTES) != 0) {
        return NULL;
    }
    link = &state->links[hello->channel];
    *why = "dialled the wrong way";
    if (is_ours_to_dial(net, link)) {
        return NULL;
    }
    *why = "older than the present connection";
    if (link->up && link->boot == hello->boot && hello->attempt <= link->attempt) {
        return NULL;
    }
    return link;
}

/* The other side is told this one's epoch; then the connection is closed. */
static void refuse_epoch(struct peer_session *session, const struct peer_link *link,
                         const struct peer_hello *hello)
{
    struct peer_net *net = session->net;

    if (send_hello(session, link, hello->attempt) != 0) {
        peer_session_fail(session, -ENOMEM, "no memory");
        return;
    }
    peer_session_answered(session);
    tell_epoch(net, hello->sender, hello->epoch);
}

/* When a connected session of another life of this node was last heard; 0: there is
 * none. */
static uint64_t other_life_heard(const struct peer_state *state, uint64_t boot)
{
    uint64_t heard_ms = 0;

    for (int i = 0; i < PEER_CHANNELS; i++) {
        const struct peer_link *link = &state->links[i];

        if (link->up && link->boot != boot && link->session->conn.heard_ms > heard_ms) {
            heard_ms = link->session->conn.heard_ms;
        }
    }
    return heard_ms;
}

/*
 * A life that ended closes its connections, mostly; else it is silent from then on. So one
 * that is heard well after another one came is alive: the two are different daemons.
 */
static bool keeps_out(struct peer_session *session, struct peer_state *state,
                      const struct peer_hello *hello)
{
    uint64_t heard_ms = other_life_heard(state, hello->boot);
    uint64_t now = uv_now(session->net->loop);

    if (heard_ms == 0) {
        return false;
    }
    if (state->rival_boot != hello->boot || state->rival_ms <= session->net->stalled_ms) {
        state->rival_boot = hello->boot;
        state->rival_ms = now;
    }
    if (heard_ms >= state->rival_ms + PEER_RIVAL_MS / 2) {
        log_error("peer",
                  "msg=\"two daemons are the same node: was a disk copied?\" "
                  "node=%" PRIu64 " refused=\"%s\"",
                  state->node.number, session->host);
        refuse(session, PEER_REFUSED_TWIN, "another daemon with this key is connected");
        return true;
    }
    if (now < state->rival_ms + PEER_RIVAL_MS) {
        refuse(session, PEER_REFUSED_LATER, "its former life may still be connected");
        return true;
    }
    return false;
}

static void on_hello(struct peer_session *session, const struct peer_hello *hello)
{
    const char *why;
    struct peer_link *link = hello_link(session, hello, &why);
    int rv;

    if (link == NULL) {
        peer_session_fail(session, -EACCES, why);
        return;
    }
    if (hello->epoch != session->net->config.epoch) {
        refuse_epoch(session, link, hello);
        return;
    }
    if (keeps_out(session, link->state, hello)) {
        return;
    }
    link->state->rival_boot = 0;
    if (link->session != NULL) {
        peer_session_drop(link->session);
        tell_down(session->net, link);
        /* The user may have replaced the table: look again. */
        link = session->phase == PEER_GONE ? NULL : hello_link(session, hello, &why);
        if (link == NULL) {
            peer_session_fail(session, -EACCES, "no longer in the table");
            return;
        }
    }
    rv = send_hello(session, link, hello->attempt);
    if (rv != 0) {
        peer_session_fail(session, rv, "no memory");
        return;
    }
    link->session = session;
    link->attempt = hello->attempt;
    session->link = link;
    go_up(session, hello);
}

/* At @max sessions in @phase the one longest in it goes: whoever comes is served, and a
 * crowd can only push out its own kind. */
static void evict_oldest(struct peer_net *net, enum peer_phase phase, unsigned max,
                         const char *why)
{
    struct peer_session *oldest = NULL;
    struct peer_session *session;

    if (net->phases[phase] < max) {
        return;
    }
    TAILQ_FOREACH(session, &net->sessions, entry)
    {
        if (session->phase == phase &&
            (oldest == NULL || session->deadline < oldest->deadline)) {
            oldest = session;
        }
    }
    peer_session_fail(oldest, -EBUSY, why);
}

/* The user answers at once what is no good, so what waits is few and was looked at. */
static void on_join(struct peer_session *session, struct slice body)
{
    struct peer_net *net = session->net;

    if (net->callbacks.join == NULL) {
        peer_session_fail(session, -EACCES, "joining is not possible here");
        return;
    }
    evict_oldest(net, PEER_JOINING, PEER_JOINS_MAX, "too many join requests");
    set_phase(session, PEER_JOINING);
    session->deadline = uv_now(net->loop) + PEER_JOIN_MS_MAX;
    peer_conn_expect(&session->conn, 0);
    net->requests++;
    session->request = net->requests;
    net->callbacks.join(net->callbacks.ctx, session->request,
                        peer_conn_fingerprint(&session->conn), session->host, body);
}

void peer_session_answered(struct peer_session *session)
{
    evict_oldest(session->net, PEER_ANSWERED, PEER_ANSWERED_MAX,
                 "too many join requests");
    set_phase(session, PEER_ANSWERED);
    session->deadline = uv_now(session->net->loop) + PEER_HELLO_MS_MAX;
}

static void on_frame(struct peer_conn *conn, const struct peer_frame *frame)
{
    struct peer_session *session = (struct peer_session *)conn;
    struct peer_net *net = session->net;
    struct peer_hello hello;
    int rv;

    if (frame->kind == PEER_KIND_DATA) {
        ASSERT(session->phase == PEER_UP && session->link->up);
        net->callbacks.frame(
            net->callbacks.ctx,
            &(struct peer_message){.node = session->link->state->node.number,
                                   .channel = session->link->channel,
                                   .type = frame->type,
                                   .head = frame->head,
                                   .body = frame->body});
        return;
    }
    if (frame->kind == PEER_KIND_JOIN) {
        on_join(session, frame->body);
        return;
    }
    if (frame->kind == PEER_KIND_REFUSAL) {
        struct peer_refusal refusal;

        ASSERT(session->phase == PEER_DIALLED);
        peer_conn_expect(conn, 0);
        if (peer_refusal_decode(frame->body.data, frame->body.len, &refusal) == 0) {
            on_refusal(session, &refusal);
        }
        return;
    }
    ASSERT(frame->kind == PEER_KIND_HELLO);
    peer_conn_expect(conn, 0);
    rv = peer_hello_decode(frame->body.data, frame->body.len, &hello);
    if (rv == -EPROTONOSUPPORT) {
        log_warn("peer",
                 "msg=\"another version of the node-to-node protocol\" from=\"%s\" "
                 "theirs=%u ours=%u",
                 session->host, peer_hello_version(frame->body.data, frame->body.len),
                 PEER_WIRE_VERSION);
    }
    if (rv == -EPROTONOSUPPORT && session->phase == PEER_STRANGER) {
        refuse(session, PEER_REFUSED_VERSION, "another version");
    } else if (rv != 0) {
        peer_session_fail(session, rv,
                          rv == -EPROTONOSUPPORT ? "another version" : "malformed hello");
    } else if (session->phase == PEER_DIALLED) {
        on_hello_answer(session, &hello);
    } else {
        on_hello(session, &hello);
    }
}

static void on_drained(struct peer_conn *conn)
{
    struct peer_session *session = (struct peer_session *)conn;
    struct peer_net *net = session->net;
    struct peer_link *link = session->link;

    if (session->phase == PEER_ANSWERED && peer_conn_queued(conn) == 0) {
        peer_session_drop(session); /* The socket has it; closing sends it first. */
        return;
    }
    if (session->phase != PEER_UP || !link->full ||
        peer_conn_queued(conn) > net->config.queue_bytes_mark) {
        return;
    }
    link->full = false;
    if (net->callbacks.writable != NULL) {
        net->callbacks.writable(net->callbacks.ctx, link->state->node.number,
                                link->channel);
    }
}

/* RFC 6298 2: an eighth of each new sample. */
static void on_pong(struct peer_conn *conn, uint64_t rtt_ns)
{
    struct peer_session *session = (struct peer_session *)conn;
    struct peer_state *state;

    if (session->phase != PEER_UP || session->link->channel != PEER_CONTROL) {
        return;
    }
    state = session->link->state;
    state->rtt_ns = state->rtt_ns == 0 ? rtt_ns : state->rtt_ns / 8 * 7 + rtt_ns / 8;
}

static const struct peer_conn_events session_events = {
    .secured = on_secured,
    .frame = on_frame,
    .drained = on_drained,
    .pong = on_pong,
    .lost = on_lost,
    .freed = on_freed,
};

static void session_init(struct peer_session *session, struct peer_net *net,
                         enum peer_phase phase)
{
    session->net = net;
    session->phase = phase;
    session->deadline = uv_now(net->loop) + PEER_HELLO_MS_MAX;
    net->phases[phase]++;
    net->refs++;
    TAILQ_INSERT_TAIL(&net->sessions, session, entry);
    peer_net_arm(net, session->deadline);
}

void peer_session_dial(struct peer_net *net, struct peer_link *link)
{
    struct peer_session *session = calloc(1, sizeof *session);
    int rv;

    ASSERT(link->session == NULL && is_ours_to_dial(net, link));
    if (session == NULL) {
        plan_dial(net, link);
        return;
    }
    link->dial_at = UINT64_MAX;
    link->attempt = uv_hrtime();
    link->session = session;
    session->link = link;
    session_init(session, net, PEER_DIALLED);
    rv = peer_conn_dial(&session->conn, &net->io, &session_events,
                        (const struct sockaddr *)&link->state->address,
                        link->state->node.fingerprint);
    if (rv != 0) {
        peer_session_fail(session, rv, "cannot connect");
    }
}

void peer_session_accept(struct peer_net *net)
{
    struct peer_session *session = calloc(1, sizeof *session);
    int rv;

    net->accept_waits = session == NULL;
    if (session == NULL) {
        peer_net_arm(net, uv_now(net->loop) + PEER_BACKOFF_MS_MAX);
        return;
    }
    /* Who belongs here says hello within milliseconds, so a flood of silent connections
     * does not shut the door on it. */
    evict_oldest(net, PEER_STRANGER, PEER_STRANGERS_MAX, "too many strangers");
    session_init(session, net, PEER_STRANGER);
    rv = peer_conn_accept(&session->conn, &net->io, &session_events,
                          (uv_stream_t *)&net->listener);
    if (rv != 0) {
        peer_session_drop(session);
        return;
    }
    peer_conn_host(&session->conn, session->host);
}
