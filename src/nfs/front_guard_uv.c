/* front_guard_uv: what the listener does against clients that cost too much, and against
 * its own absence. */
#include "nfs/front_impl_uv.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG_DROPS_MAX = 4 * NFS_BACKLOG,
    SWEEP_MS = 1000,
    STRANGERS_SHARES = 4, /* Of all bytes strangers may hold one when room is short. */
    COMPLAINTS_MAX = 10,  /* Log lines in each window. */
    COMPLAINTS_MS = 10000,
};

uint64_t nfs_front_boot_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Who connected meanwhile may have sent its calls already: it is as the others. */
static void drop_backlog(struct nfs_front *front)
{
    uv_os_fd_t listener;

    if (uv_fileno((uv_handle_t *)&front->listener, &listener) != 0) {
        return;
    }
    for (unsigned i = 0; i < BACKLOG_DROPS_MAX; i++) {
        int fd = accept(listener, NULL, NULL);

        if (fd >= 0) {
            close(fd);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return; /* There is nobody left. */
        }
    }
}

bool nfs_front_check(struct nfs_front *front)
{
    struct front_wait wait = {.begun_ms = front->turn_ms,
                              .now_ms = front->config.now_ms()};

    if (!front_stood_still(&wait, front->config.stall_ms_max)) {
        return false;
    }
    front->turn_ms = wait.now_ms;
    log_warn("nfs",
             "msg=\"this process stood still, closing all clients' connections\" "
             "ms=%" PRIu64 " connections=%u",
             wait.now_ms - wait.begun_ms, front->n_conns);
    if (front->waiting) {
        front->waiting = false;
        nfs_conn_accept(front); /* To be closed with the others. */
    }
    nfs_front_close_connections(front, false);
    if (!front->closing) {
        drop_backlog(front);
    }
    return true;
}

/* Strangers can make as many mistakes as they like; the log does not grow with them. */
void nfs_front_complain(struct nfs_front *front, const char *address, const char *why)
{
    struct front_complaints *complaints = &front->complaints;

    if (front->turn_ms >= complaints->since_ms + COMPLAINTS_MS) {
        if (complaints->n_dropped > 0) {
            log_warn("nfs", "msg=\"more connections were closed\" count=%u",
                     complaints->n_dropped);
        }
        *complaints = (struct front_complaints){.since_ms = front->turn_ms};
    }
    if (complaints->n >= COMPLAINTS_MAX) {
        complaints->n_dropped++;
        return;
    }
    complaints->n++;
    log_warn("nfs", "msg=\"connection closed\" client=%s reason=\"%s\"", address, why);
}

/* Close so that the kernel does not go on holding replies that nobody takes. */
static void cut(struct nfs_conn *conn, const char *why)
{
    const struct linger none = {.l_onoff = 1};
    uv_os_fd_t fd;

    nfs_front_complain(conn->front, conn->address, why);
    if (uv_fileno((uv_handle_t *)&conn->tcp, &fd) == 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    nfs_conn_close(conn);
}

static struct front_seat seat_of(struct nfs_conn *conn, uint64_t weight)
{
    return (struct front_seat){
        .who = conn->who,
        .weight = weight,
        .since_ms = conn->done_ms,
        .what = conn,
        .served = conn->served,
        .busy = conn->n_running > 0 || (conn->n_calls > 0 && !conn->slow),
    };
}

/* The same for both: close the one that front_victim names. */
static bool close_victim(struct nfs_front *front, uint32_t n, const char *why)
{
    uint32_t found = front_victim(front->seats, n);

    if (found == n) {
        return false;
    }
    cut(front->seats[found].what, why);
    return true;
}

bool nfs_front_make_place(struct nfs_front *front, const struct nfs_conn *but)
{
    uint32_t n = 0;

    for (struct nfs_conn *conn = front->conns; conn != NULL; conn = conn->next) {
        if (!conn->closing && conn != but) {
            ASSERT(n < front->config.connections_max);
            front->seats[n++] = seat_of(conn, 1);
        }
    }
    return close_victim(front, n, "others want the place");
}

/* Fill the seats with who holds bytes; only strangers, if @strangers. */
static uint32_t seat_holders(struct nfs_front *front, bool strangers)
{
    uint32_t n = 0;

    for (struct nfs_conn *conn = front->conns; conn != NULL; conn = conn->next) {
        if (!conn->closing && conn->bytes > 0 && !(strangers && conn->served)) {
            ASSERT(n < front->config.connections_max);
            front->seats[n++] = seat_of(conn, conn->bytes);
        }
    }
    return n;
}

static uint64_t weight_of(const struct front_seat *seats, uint32_t n)
{
    uint64_t weight = 0;

    for (uint32_t i = 0; i < n; i++) {
        weight += seats[i].busy ? 0 : seats[i].weight;
    }
    return weight;
}

void nfs_front_shed(struct nfs_front *front)
{
    uint64_t max = front->config.inflight_bytes_max;

    while (front->bytes >= front->shed_bytes) {
        bool strangers = front->bytes < 2 * max;
        uint32_t n = seat_holders(front, strangers);

        if (strangers && weight_of(front->seats, n) < max / STRANGERS_SHARES) {
            n = 0; /* It is not they who fill it: clients come anew, too. */
        }
        if (!close_victim(front, n, "it holds bytes, and others want room")) {
            front->shed_bytes = strangers ? 2 * max : UINT64_MAX; /* In this turn. */
        }
    }
}

/* All that a client has taken is progress, also of a reply of many bytes. */
static void step_pace(struct nfs_conn *conn)
{
    uint64_t left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->tcp);

    ASSERT(left <= conn->given);
    conn->slow =
        front_pace_step(&conn->pace, conn->given - left, left, conn->front->turn_ms);
}

static struct front_state state_of(const struct nfs_conn *conn)
{
    const struct nfs_front *front = conn->front;
    bool receiving = rpc_record_begun(&conn->record);
    uint64_t since_ms = conn->done_ms;

    if (receiving && conn->served && conn->read_ms > since_ms) {
        since_ms = conn->read_ms; /* Before that we did not let it. */
    }
    return (struct front_state){
        .room_short = nfs_front_full(front),
        .served = conn->served,
        .working = conn->n_calls > 0,
        .slow = conn->slow,
        .receiving = receiving && conn->reading,
        .idle_ms = front->turn_ms > since_ms ? front->turn_ms - since_ms : 0,
    };
}

static void sweep(struct nfs_front *front)
{
    struct nfs_conn *next;

    for (struct nfs_conn *conn = front->conns; conn != NULL; conn = next) {
        struct front_state state;
        const char *why;

        next = conn->next;
        if (conn->closing) {
            continue;
        }
        step_pace(conn);
        state = state_of(conn);
        why = front_overdue(&state);
        if (why != NULL) {
            cut(conn, why);
        }
    }
}

/* Just before the loop waits. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct nfs_front *front = prepare->data;

    (void)nfs_front_check(front); /* It may have stood still while it worked, too. */
    front->turn_ms = front->config.now_ms();
    front->shed_bytes = front->config.inflight_bytes_max;
    if (front->waiting && !front->config.held && !front->closing) {
        front->waiting = false;
        (void)nfs_conn_accept(front); /* Perhaps there is memory now. */
    }
    if (front->turn_ms >= front->sweep_ms + SWEEP_MS) {
        front->sweep_ms = front->turn_ms;
        sweep(front);
    }
}

static void on_turn(uv_timer_t *timer)
{
    (void)timer; /* The loop turns, and that is all. */
}

void nfs_front_guard(struct nfs_front *front)
{
    front->turn_ms = front->config.now_ms();
    front->shed_bytes = front->config.inflight_bytes_max;
    (void)uv_prepare_start(&front->prepare, on_prepare);
    (void)uv_timer_start(&front->turn, on_turn, NFS_TURN_MS, NFS_TURN_MS);
}
