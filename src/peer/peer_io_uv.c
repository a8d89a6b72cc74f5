#include "base/assert.h"
#include "peer/peer_conn_uv.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

void peer_io_dirty(struct peer_io *io, struct peer_conn *conn)
{
    if (conn->dirty || conn->closing) {
        return;
    }
    conn->dirty = true;
    conn->dirty_turn = io->turn;
    TAILQ_INSERT_TAIL(&io->dirty[conn->priority], conn, dirty_entry);
    uv_idle_start(&io->idle, io->idle_cb);
}

void peer_io_clean(struct peer_io *io, struct peer_conn *conn)
{
    if (conn->dirty) {
        conn->dirty = false;
        TAILQ_REMOVE(&io->dirty[conn->priority], conn, dirty_entry);
    }
}

/* One round over who has to send: whoever becomes dirty meanwhile, or stays so, waits
 * for the next turn. */
static bool flush_round(struct peer_io *io)
{
    bool left = false;

    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        struct peer_conn_list *list = &io->dirty[channel];
        struct peer_conn *conn = TAILQ_FIRST(list);

        while (conn != NULL && conn->dirty_turn != io->turn) {
            peer_io_clean(io, conn);
            peer_conn_flush(conn);
            conn = TAILQ_FIRST(list);
        }
    }
    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        left = left || !TAILQ_EMPTY(&io->dirty[channel]);
    }
    return left;
}

void peer_io_flush(struct peer_io *io)
{
    io->turn++;
    if (!flush_round(io) && !uv_is_closing((uv_handle_t *)&io->idle)) {
        uv_idle_stop(&io->idle);
    }
}

/* The end of a turn: what was queued in it goes out, and who had its share may read on.
 * Runs before and after poll, so that nothing queued anywhere waits for an event. */
static void turn_end(struct peer_io *io)
{
    if (io->turned != NULL) {
        io->turned(io->turned_arg);
    }
    while (!TAILQ_EMPTY(&io->paused)) {
        peer_conn_resume(TAILQ_FIRST(&io->paused));
    }
    peer_io_flush(io);
}

static void on_prepare(uv_prepare_t *handle)
{
    turn_end(handle->data);
}

static void on_check(uv_check_t *handle)
{
    turn_end(handle->data);
}

/* It is active only to keep poll from blocking. */
static void on_idle(uv_idle_t *handle)
{
    (void)handle;
}

int peer_io_out_get(struct peer_io *io, struct peer_out *out)
{
    if (io->spare_n > 0) {
        io->spare_n--;
        *out = io->spare[io->spare_n];
        return 0;
    }
    out->data = malloc(PEER_OUT_BYTES);
    if (out->data == NULL) {
        return -ENOMEM;
    }
    out->len = 0;
    out->cap = PEER_OUT_BYTES;
    return 0;
}

void peer_io_out_put(struct peer_io *io, struct peer_out *out)
{
    if (out->cap == PEER_OUT_BYTES && io->spare_n < PEER_IO_SPARE_MAX) {
        out->len = 0;
        io->spare[io->spare_n] = *out;
        io->spare_n++;
    } else {
        free(out->data);
    }
    *out = (struct peer_out){0};
}

static void release(struct peer_io *io)
{
    for (unsigned i = 0; i < io->spare_n; i++) {
        free(io->spare[i].data);
    }
    io->spare_n = 0;
    free(io->received);
    free(io->plain);
    free(io->record);
    peer_tls_ctx_free(io->tls);
    io->received = NULL;
    io->plain = NULL;
    io->record = NULL;
    io->tls = NULL;
}

/* libuv writes with write(2): a connection that the other side has just closed would end
 * the process. Whoever handles the signal is left alone. */
static void ignore_sigpipe(void)
{
    struct sigaction action;

    if (sigaction(SIGPIPE, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
        action.sa_handler == SIG_DFL) {
        (void)signal(SIGPIPE, SIG_IGN);
    }
}

int peer_io_init(struct peer_io *io, uv_loop_t *loop,
                 const struct peer_identity *identity)
{
    int rv = peer_tls_ctx_new(identity, &io->tls);

    if (rv != 0) {
        return rv;
    }
    ignore_sigpipe();
    io->received = malloc(PEER_RECEIVED_BYTES);
    io->plain = malloc(PEER_TLS_RECORD_MAX);
    io->record = malloc(PEER_TLS_RECORD_MAX);
    if (io->received == NULL || io->plain == NULL || io->record == NULL) {
        release(io);
        return -ENOMEM;
    }
    for (unsigned channel = 0; channel < PEER_CHANNELS; channel++) {
        TAILQ_INIT(&io->dirty[channel]);
    }
    TAILQ_INIT(&io->paused);
    io->loop = loop;
    io->idle_cb = on_idle;
    uv_prepare_init(loop, &io->prepare);
    uv_check_init(loop, &io->check);
    uv_idle_init(loop, &io->idle);
    io->prepare.data = io;
    io->check.data = io;
    io->idle.data = io;
    uv_prepare_start(&io->prepare, on_prepare);
    uv_check_start(&io->check, on_check);
    io->handles = 3;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct peer_io *io = handle->data;

    ASSERT(io->handles > 0);
    io->handles--;
    if (io->handles == 0) {
        release(io);
        io->closed(io->closed_arg);
    }
}

void peer_io_close(struct peer_io *io, void (*closed)(void *arg), void *arg)
{
    io->closed = closed;
    io->closed_arg = arg;
    io->turned = NULL;
    uv_close((uv_handle_t *)&io->prepare, on_closed);
    uv_close((uv_handle_t *)&io->check, on_closed);
    uv_close((uv_handle_t *)&io->idle, on_closed);
}
