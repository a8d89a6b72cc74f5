#include "nfs/binder_uv.h"

#include "nfs/binder.h"
#include "nfs/rpc_record.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SOCKET_PATH "/run/rpcbind.sock"

/* One connection. */
struct link {
    uv_pipe_t pipe;
    uv_connect_t connect;
    uv_write_t write;
    struct buf *sending;
    struct rpc_record record;
    struct binder_uv *owner;
    bool given_up; /* Its events mean nothing any more. */
    char staging[BINDER_REPLY_BYTES_MAX];
};

struct binder_uv {
    uv_loop_t *loop;
    uv_timer_t timer;
    struct binder binder;
    struct link *link;  /* NULL: there is no connection. */
    uint32_t n_handles; /* Not closed yet. */
    void (*closed)(void *arg);
    void *arg;
};

static void step(struct binder_uv *binder, enum binder_event_type type,
                 struct buf *record);

static void handle_gone(struct binder_uv *binder)
{
    ASSERT(binder->n_handles > 0);
    binder->n_handles--;
    if (binder->n_handles == 0) {
        binder->closed(binder->arg);
        free(binder);
    }
}

static void on_link_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    struct binder_uv *binder = link->owner;

    buf_unref(link->sending);
    rpc_record_deinit(&link->record);
    free(link);
    handle_gone(binder);
}

static void give_up(struct binder_uv *binder)
{
    struct link *link = binder->link;

    binder->link = NULL;
    if (link != NULL) {
        link->given_up = true;
        uv_close((uv_handle_t *)&link->pipe, on_link_closed);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    struct link *link = handle->data;

    (void)suggested;
    *out = uv_buf_init(link->staging, sizeof link->staging);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *from)
{
    struct link *link = stream->data;
    size_t at = 0;
    int rv = n < 0 ? (int)n : 0;

    while (rv == 0 && at < (size_t)n && !link->given_up) {
        struct buf *record = NULL;
        size_t used;

        rv = rpc_record_feed(&link->record, from->base + at, (size_t)n - at, &used,
                             &record);
        at += used;
        if (record != NULL) {
            step(link->owner, BINDER_EV_RECORD, record);
            buf_unref(record);
        }
    }
    if (rv != 0 && !link->given_up) {
        step(link->owner, BINDER_EV_BROKEN, NULL);
    }
}

static void on_connect(uv_connect_t *connect, int status)
{
    struct link *link = connect->data;

    if (link->given_up) {
        return;
    }
    if (status == 0) {
        status = uv_read_start((uv_stream_t *)&link->pipe, on_alloc, on_read);
    }
    step(link->owner, status == 0 ? BINDER_EV_CONNECTED : BINDER_EV_BROKEN, NULL);
}

static void on_written(uv_write_t *write, int status)
{
    struct link *link = write->data;

    if (link->given_up) {
        return; /* What was sent goes with the link. */
    }
    buf_unref(link->sending);
    link->sending = NULL;
    if (status != 0) {
        step(link->owner, BINDER_EV_BROKEN, NULL);
    }
}

/* Without memory the round's time runs out. */
static void do_connect(struct binder_uv *binder)
{
    struct link *link = calloc(1, sizeof *link);

    ASSERT(binder->link == NULL);
    if (link == NULL) {
        return;
    }
    if (uv_pipe_init(binder->loop, &link->pipe, 0) != 0) {
        free(link);
        return;
    }
    link->owner = binder;
    link->pipe.data = link;
    link->connect.data = link;
    link->write.data = link;
    binder->link = link;
    binder->n_handles++;
    uv_pipe_connect(&link->connect, &link->pipe, SOCKET_PATH, on_connect);
}

static void do_send(struct binder_uv *binder, struct buf *buf)
{
    struct link *link = binder->link;
    uv_buf_t bufs[1] = {uv_buf_init((char *)buf->data, (unsigned)buf->len)};

    if (link == NULL || link->sending != NULL) {
        buf_unref(buf); /* It answered before it had the question: let time run out. */
        return;
    }
    link->sending = buf;
    if (uv_write(&link->write, (uv_stream_t *)&link->pipe, bufs, 1, on_written) != 0) {
        buf_unref(link->sending);
        link->sending = NULL;
    }
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_gone(handle->data);
}

static void on_timer(uv_timer_t *timer)
{
    step(timer->data, BINDER_EV_TIMER, NULL);
}

static void step(struct binder_uv *binder, enum binder_event_type type,
                 struct buf *record)
{
    struct binder_event event = {.type = type, .record = record};
    struct binder_actions actions;

    binder_step(&binder->binder, &event, &actions);
    if (actions.note != NULL) {
        log_write(actions.warn ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "nfs", "msg=\"%s\"",
                  actions.note);
    }
    if (actions.close) {
        give_up(binder);
    }
    if (actions.connect) {
        do_connect(binder);
    }
    if (actions.send != NULL) {
        do_send(binder, actions.send);
    }
    if (actions.wait_ms > 0) {
        (void)uv_timer_start(&binder->timer, on_timer, actions.wait_ms, 0);
    }
    if (actions.done) {
        uv_close((uv_handle_t *)&binder->timer, on_timer_closed);
    }
}

int binder_uv_open(struct uv_loop_s *loop, const char *host, uint16_t port,
                   struct binder_uv **out)
{
    struct binder_item items[BINDER_ITEMS_MAX];
    uint32_t n = binder_items(host, port, items);
    struct binder_uv *binder;
    int rv;

    *out = NULL;
    if (n == 0) {
        return 0;
    }
    binder = calloc(1, sizeof *binder);
    if (binder == NULL) {
        return -ENOMEM;
    }
    binder->loop = loop;
    rv = uv_timer_init(loop, &binder->timer);
    ASSERT(rv == 0); /* It cannot fail. */
    binder->timer.data = binder;
    binder->n_handles = 1;
    binder_init(&binder->binder, items, n);
    *out = binder;
    step(binder, BINDER_EV_START, NULL);
    return 0;
}

const char *binder_uv_view(const struct binder_uv *binder)
{
    static const char *const views[] = {[BINDER_UNKNOWN] = "unknown",
                                        [BINDER_ABSENT] = "absent",
                                        [BINDER_REFUSED] = "refused",
                                        [BINDER_REGISTERED] = "registered"};

    return binder == NULL ? "unused" : views[binder->binder.view];
}

void binder_uv_close(struct binder_uv *binder, void (*closed)(void *arg), void *arg)
{
    binder->closed = closed;
    binder->arg = arg;
    step(binder, BINDER_EV_STOP, NULL);
}
