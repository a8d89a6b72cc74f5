#include "base/assert.h"
#include "peer/peer_conn_uv.h"
#include "peer/peer_table.h"

#include <errno.h>
#include <stdlib.h>

enum { JOIN_MS_MAX = 15000 }; /* From the call to the answer. */

/* One request; it frees itself after it told the result. */
struct join {
    struct peer_conn conn; /* First: the events' argument. */
    struct peer_io io;
    uv_timer_t timer;
    unsigned refs; /* The timer, and the connection once it is begun. */
    bool ended;
    bool asked;
    struct sockaddr_storage address;
    struct peer_node inviter;
    struct slice body;
    int rv;
    struct slice answer;
    void (*done)(void *arg, int rv, struct slice answer);
    void *arg;
};

static void on_io_closed(void *arg)
{
    struct join *join = arg;

    join->done(join->arg, join->rv, join->answer);
    slice_unref(&join->answer);
    slice_unref(&join->body);
    free(join);
}

static void unref(struct join *join)
{
    ASSERT(join->refs > 0);
    join->refs--;
    if (join->refs == 0) {
        peer_io_close(&join->io, on_io_closed, join);
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    unref(handle->data);
}

/* The result stands; what is left is to close everything. */
static void end(struct join *join, int rv)
{
    if (join->ended) {
        return;
    }
    join->ended = true;
    join->rv = rv;
    if (join->asked) {
        peer_conn_close(&join->conn);
    }
    uv_close((uv_handle_t *)&join->timer, on_timer_closed);
}

static void on_secured(struct peer_conn *conn)
{
    struct join *join = (struct join *)conn;
    struct peer_header header = {.kind = PEER_KIND_JOIN};
    int rv;

    peer_conn_expect(conn, PEER_KIND_BIT(PEER_KIND_JOIN_ANSWER));
    header.body_len = (uint32_t)join->body.len;
    rv = peer_conn_send(conn, &header, (struct slice){0}, join->body);
    if (rv != 0) {
        end(join, rv);
    }
}

static void on_frame(struct peer_conn *conn, const struct peer_frame *frame)
{
    struct join *join = (struct join *)conn;

    ASSERT(frame->kind == PEER_KIND_JOIN_ANSWER);
    join->answer = slice_ref(frame->body);
    end(join, 0);
}

static void on_drained(struct peer_conn *conn)
{
    (void)conn;
}

static void on_pong(struct peer_conn *conn, uint64_t rtt_ns)
{
    (void)conn;
    (void)rtt_ns;
}

static void on_lost(struct peer_conn *conn, int fault, const char *why)
{
    (void)why;
    end((struct join *)conn, fault);
}

static void on_freed(struct peer_conn *conn)
{
    unref((struct join *)conn);
}

static const struct peer_conn_events join_events = {
    .secured = on_secured,
    .frame = on_frame,
    .drained = on_drained,
    .pong = on_pong,
    .lost = on_lost,
    .freed = on_freed,
};

/* It begins in the loop and not in the call, so that `done` never comes from inside. */
static void on_timer(uv_timer_t *timer)
{
    struct join *join = timer->data;
    int rv;

    if (join->asked) {
        end(join, -ETIMEDOUT);
        return;
    }
    rv = join->rv;
    if (rv == 0) {
        rv = peer_address(join->inviter.host, join->inviter.port, &join->address);
    }
    if (rv == 0) {
        join->asked = true;
        join->refs++;
        uv_timer_start(&join->timer, on_timer, JOIN_MS_MAX, 0);
        rv = peer_conn_dial(&join->conn, &join->io, &join_events,
                            (const struct sockaddr *)&join->address,
                            join->inviter.fingerprint);
    }
    if (rv != 0) {
        end(join, rv);
    }
}

void peer_join(struct uv_loop_s *loop, const struct peer_join_request *request,
               void (*done)(void *arg, int rv, struct slice answer), void *arg)
{
    struct join *join = calloc(1, sizeof *join);
    int rv = join == NULL ? -ENOMEM : peer_io_init(&join->io, loop, request->identity);

    if (rv != 0) {
        /* Without memory nothing can come later; the only case of a call inside. */
        free(join);
        done(arg, rv, (struct slice){0});
        return;
    }
    join->inviter = *request->inviter;
    join->done = done;
    join->arg = arg;
    if (request->body.len > PEER_JOIN_MAX) {
        join->rv = -EMSGSIZE;
    } else {
        struct buf *copy = buf_copy(request->body.data, request->body.len);

        join->rv = copy == NULL ? -ENOMEM : 0;
        join->body = copy == NULL ? (struct slice){0} : slice_of(copy, 0, copy->len);
        buf_unref(copy);
    }
    join->refs = 1;
    uv_timer_init(loop, &join->timer);
    join->timer.data = join;
    uv_timer_start(&join->timer, on_timer, 0, 0);
}
