/* front_guard_uv: what the listener does against clients that cost too much, and against
 * its own absence. */
#include "nfs/front_impl_uv.h"

#include "nfs/front_rules.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG_DROPS_MAX = 4 * NFS_BACKLOG,
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

/* Just before the loop waits. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct nfs_front *front = prepare->data;

    (void)nfs_front_check(front); /* It may have stood still while it worked, too. */
    front->turn_ms = front->config.now_ms();
    if (front->waiting && !front->config.held && !front->closing) {
        front->waiting = false;
        (void)nfs_conn_accept(front); /* Perhaps there is memory now. */
    }
}

static void on_turn(uv_timer_t *timer)
{
    (void)timer; /* The loop turns, and that is all. */
}

void nfs_front_guard(struct nfs_front *front)
{
    front->turn_ms = front->config.now_ms();
    (void)uv_prepare_start(&front->prepare, on_prepare);
    (void)uv_timer_start(&front->turn, on_turn, NFS_TURN_MS, NFS_TURN_MS);
}
