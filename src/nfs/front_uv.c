#include "nfs/front_uv.h"

#include "nfs/front_impl_uv.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <uv.h>

enum {
    CONNECTIONS_DEFAULT = 1024,
    STALL_MS_DEFAULT = 10000,
    FILES_PER_CONNECTION = 2, /* That this process may have; zones and peers need some. */
};
#define INFLIGHT_BYTES_DEFAULT (256ull << 20)

static void on_handle_closed(uv_handle_t *handle);

static void front_free(struct nfs_front *front)
{
    mnt3_mounts_deinit(&front->mounts);
    nfs3_atimes_free(front->atimes);
    free(front->seats);
    free(front);
}

static void close_own_handles(struct nfs_front *front)
{
    if (!uv_is_closing((uv_handle_t *)&front->drain)) {
        uv_close((uv_handle_t *)&front->drain, on_handle_closed);
        uv_close((uv_handle_t *)&front->idle, on_handle_closed);
        uv_close((uv_handle_t *)&front->turn, on_handle_closed);
        uv_close((uv_handle_t *)&front->prepare, on_handle_closed);
    }
}

/* Close what is left when the connections are gone; free when that is gone, too. */
static void maybe_free(struct nfs_front *front)
{
    if (!front->closing || front->n_conns > 0) {
        return;
    }
    close_own_handles(front);
    if (front->n_handles > 0) {
        return;
    }
    if (front->closed != NULL) {
        front->closed(front->arg);
    }
    front_free(front);
}

void nfs_front_conn_gone(struct nfs_front *front)
{
    ASSERT(front->n_conns > 0);
    front->n_conns--;
    maybe_free(front);
}

bool nfs_front_full(const struct nfs_front *front)
{
    return front->bytes >= front->config.inflight_bytes_max;
}

static void on_idle(uv_idle_t *idle)
{
    struct nfs_front *front = idle->data;
    struct nfs_conn *next;

    uv_idle_stop(idle);
    if (!nfs_front_full(front)) {
        front->starved = false;
    }
    for (struct nfs_conn *conn = front->conns; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->doomed) {
            nfs_conn_close(conn);
        }
        nfs_conn_flush(conn);
        if (nfs_conn_may_work(conn)) {
            nfs_conn_work(conn);
        }
    }
}

void nfs_front_soon(struct nfs_front *front)
{
    uv_idle_start(&front->idle, on_idle);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct nfs_front *front = listener->data;
    bool stood_still = nfs_front_check(front);
    struct nfs_conn *conn;

    if (front->closing) {
        return;
    }
    if (status != 0) {
        /* Others of this process took the file descriptors: give one back. */
        if (status == UV_EMFILE || status == UV_ENFILE) {
            (void)nfs_front_make_place(front, NULL);
        }
        return;
    }
    if (front->config.held) {
        front->waiting = true; /* libuv calls again only after an accept. */
        return;
    }
    conn = nfs_conn_accept(front);
    if (conn != NULL && stood_still) {
        nfs_conn_close(conn);
    }
}

void nfs_front_release(struct nfs_front *front)
{
    front->config.held = false;
    if (front->waiting) {
        front->waiting = false;
        (void)nfs_conn_accept(front);
    }
}

static int parse_address(const struct nfs_front_config *config,
                         struct sockaddr_storage *address)
{
    if (uv_ip4_addr(config->address, config->port, (struct sockaddr_in *)address) == 0) {
        return 0;
    }
    return uv_ip6_addr(config->address, config->port, (struct sockaddr_in6 *)address);
}

static int front_listen(struct nfs_front *front)
{
    struct sockaddr_storage address = {0};
    int len = sizeof address;
    int rv;

    rv = parse_address(&front->config, &address);
    if (rv == 0) {
        rv = uv_tcp_bind(&front->listener, (const struct sockaddr *)&address, 0);
    }
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&front->listener, NFS_BACKLOG, on_connection);
    }
    if (rv == 0) {
        rv = uv_tcp_getsockname(&front->listener, (struct sockaddr *)&address, &len);
    }
    if (rv == 0) {
        /* The port is at the same place in both families. */
        front->port = ntohs(((const struct sockaddr_in *)&address)->sin_port);
    }
    return rv;
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct nfs_front *front = handle->data;

    ASSERT(front->n_handles > 0);
    front->n_handles--;
    maybe_free(front);
}

static struct zone_time time_of_day(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (struct zone_time){.sec = now.tv_sec, .nsec = (uint32_t)now.tv_nsec};
}

static void config_defaults(struct nfs_front_config *config)
{
    struct rlimit files;

    if (config->connections_max == 0) {
        config->connections_max = CONNECTIONS_DEFAULT;
    }
    /* Past it not the best victim would be closed, but whoever comes next. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 &&
        config->connections_max > files.rlim_cur / FILES_PER_CONNECTION) {
        config->connections_max = (uint32_t)(files.rlim_cur / FILES_PER_CONNECTION) + 1;
        log_warn("nfs", "msg=\"few file descriptors, so few connections\" max=%u",
                 config->connections_max);
    }
    if (config->inflight_bytes_max == 0) {
        config->inflight_bytes_max = INFLIGHT_BYTES_DEFAULT;
    }
    if (config->stall_ms_max == 0) {
        config->stall_ms_max = STALL_MS_DEFAULT;
    }
    if (config->now_ms == NULL) {
        config->now_ms = nfs_front_boot_ms;
    }
}

/* None of these can fail. */
static void init_own_handles(struct nfs_front *front)
{
    int rv;

    rv = uv_timer_init(front->loop, &front->drain);
    ASSERT(rv == 0);
    rv = uv_timer_init(front->loop, &front->turn);
    ASSERT(rv == 0);
    rv = uv_idle_init(front->loop, &front->idle);
    ASSERT(rv == 0);
    rv = uv_prepare_init(front->loop, &front->prepare);
    ASSERT(rv == 0);
    front->drain.data = front;
    front->turn.data = front;
    front->idle.data = front;
    front->prepare.data = front;
    front->n_handles += 4;
}

/* All of a front but its handles. */
static int front_new(const struct nfs_front_config *config, struct nfs_front **out)
{
    struct nfs_front *front = calloc(1, sizeof *front);
    int rv;

    if (front == NULL) {
        return -ENOMEM;
    }
    rv = nfs3_atimes_new(time_of_day, &front->atimes);
    if (rv != 0) {
        free(front);
        return rv;
    }
    front->config = *config;
    config_defaults(&front->config);
    front->seats = calloc(front->config.connections_max, sizeof *front->seats);
    if (front->seats == NULL) {
        front_free(front);
        return -ENOMEM;
    }
    *out = front;
    return 0;
}

int nfs_front_open(struct uv_loop_s *loop, const struct nfs_front_config *config,
                   const struct nfs_backend *backend, struct nfs_front **out)
{
    struct nfs_front *front = NULL;
    int rv;

    rv = front_new(config, &front);
    if (rv != 0) {
        return rv;
    }
    front->loop = loop;
    front->backend = backend;
    rv = uv_tcp_init(loop, &front->listener);
    if (rv != 0) {
        front_free(front);
        return rv;
    }
    front->listener.data = front;
    front->n_handles = 1;
    init_own_handles(front);
    rv = front_listen(front);
    if (rv != 0) {
        front->closing = true; /* Frees itself, in the loop. */
        uv_close((uv_handle_t *)&front->listener, on_handle_closed);
        close_own_handles(front);
        return rv;
    }
    nfs_front_guard(front);
    front->config.address = NULL; /* Borrowed for this call only. */
    *out = front;
    return 0;
}

uint16_t nfs_front_port(const struct nfs_front *front)
{
    return front->port;
}

void nfs_front_close_connections(struct nfs_front *front, bool only_idle)
{
    struct nfs_conn *next;

    for (struct nfs_conn *conn = front->conns; conn != NULL; conn = next) {
        next = conn->next;
        if (!only_idle || conn->n_calls == 0) {
            nfs_conn_close(conn);
        }
    }
}

static void on_drain_over(uv_timer_t *timer)
{
    nfs_front_close_connections(timer->data, false);
}

void nfs_front_close(struct nfs_front *front, uint32_t drain_ms,
                     void (*closed)(void *arg), void *arg)
{
    ASSERT(!front->closing);
    front->closing = true;
    front->closed = closed;
    front->arg = arg;
    uv_close((uv_handle_t *)&front->listener, on_handle_closed);
    for (struct nfs_conn *conn = front->conns; conn != NULL; conn = conn->next) {
        nfs_conn_stop(conn);
    }
    nfs_front_close_connections(front, drain_ms > 0);
    (void)uv_timer_start(&front->drain, on_drain_over, drain_ms, 0);
    maybe_free(front);
}
