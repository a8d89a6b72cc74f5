#include "daemon/worker.h"

#include "base/assert.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* The default, a process's stack limit, is some 8 MiB of address space for each thread,
 * of which these use a hundredth. */
#define STACK_BYTES (1u << 20)

/* So long without a job counts as idle. */
#define IDLE_AFTER_NS 50000000u

static void queue_push(struct job **head, struct job **tail, struct job *job)
{
    job->next = NULL;
    if (*tail != NULL) {
        (*tail)->next = job;
    } else {
        *head = job;
    }
    *tail = job;
}

/* A counter that is not read is as good as one more wake: only that would block. */
static void wake_loop(struct inbox *inbox)
{
    const uint64_t one = 1;
    ssize_t n;

    do {
        n = write(inbox->fd, &one, sizeof one);
    } while (n < 0 && errno == EINTR);
    ASSERT(n == sizeof one || errno == EAGAIN);
}

static void inbox_put(struct inbox *inbox, struct job *job)
{
    bool was_empty;

    uv_mutex_lock(&inbox->lock);
    was_empty = inbox->head == NULL;
    queue_push(&inbox->head, &inbox->tail, job);
    uv_mutex_unlock(&inbox->lock);
    if (was_empty) {
        wake_loop(inbox);
    }
}

static void inbox_drain(struct inbox *inbox)
{
    struct job *job;

    uv_mutex_lock(&inbox->lock);
    job = inbox->head;
    inbox->head = NULL;
    inbox->tail = NULL;
    uv_mutex_unlock(&inbox->lock);
    while (job != NULL) {
        struct job *next = job->next;

        job->done(job);
        job = next;
    }
    if (inbox->drained != NULL) {
        inbox->drained(inbox->arg);
    }
}

/* The counter is reset before the jobs are taken: who puts one afterwards wakes again. */
static void on_wake(uv_poll_t *poll, int status, int events)
{
    struct inbox *inbox = poll->data;
    uint64_t counter;

    (void)status;
    (void)events;
    while (read(inbox->fd, &counter, sizeof counter) < 0 && errno == EINTR) {
    }
    inbox_drain(inbox);
}

int inbox_open(struct inbox *inbox, uv_loop_t *loop, void (*drained)(void *arg),
               void *arg)
{
    int rv;

    *inbox = (struct inbox){.drained = drained, .arg = arg};
    inbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (inbox->fd < 0) {
        return -errno;
    }
    rv = uv_mutex_init(&inbox->lock);
    if (rv != 0) {
        goto out_fd;
    }
    rv = uv_poll_init(loop, &inbox->poll, inbox->fd);
    if (rv != 0) {
        goto out_lock;
    }
    inbox->poll.data = inbox;
    rv = uv_poll_start(&inbox->poll, UV_READABLE, on_wake);
    ASSERT(rv == 0); /* It is not closing. */
    return 0;
out_lock:
    uv_mutex_destroy(&inbox->lock);
out_fd:
    (void)close(inbox->fd);
    return rv;
}

void inbox_close(struct inbox *inbox, uv_close_cb closed)
{
    inbox_drain(inbox);
    uv_poll_stop(&inbox->poll); /* Before its descriptor is somebody else's. */
    (void)close(inbox->fd);
    uv_mutex_destroy(&inbox->lock);
    uv_close((uv_handle_t *)&inbox->poll, closed);
}

/* Wait for a job; with an idle function, only for a while the first time. */
static bool wait_once(struct worker *worker, bool idle_done)
{
    int rv = 0;

    worker->waiting = true;
    if (worker->idle == NULL || idle_done) {
        uv_cond_wait(&worker->wake, &worker->lock);
    } else {
        rv = uv_cond_timedwait(&worker->wake, &worker->lock, IDLE_AFTER_NS);
    }
    worker->waiting = false;
    return rv == 0;
}

/* The next job, or NULL when the worker is to end. */
static struct job *worker_next(struct worker *worker)
{
    bool idle_done = false;
    struct job *job;

    uv_mutex_lock(&worker->lock);
    while (worker->head == NULL && !worker->stopping) {
        if (!wait_once(worker, idle_done)) {
            uv_mutex_unlock(&worker->lock);
            worker->idle(worker->arg);
            idle_done = true;
            uv_mutex_lock(&worker->lock);
        }
    }
    job = worker->head;
    if (job != NULL) {
        worker->head = job->next;
        if (worker->head == NULL) {
            worker->tail = NULL;
        }
    }
    uv_mutex_unlock(&worker->lock);
    return job;
}

static void worker_main(void *arg)
{
    struct worker *worker = arg;
    struct job *job;

    while ((job = worker_next(worker)) != NULL) {
        job->run(job);
        inbox_put(worker->inbox, job);
    }
}

int worker_start(struct worker *worker, struct inbox *inbox, void (*idle)(void *arg),
                 void *arg)
{
    const uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE,
                                         .stack_size = STACK_BYTES};
    int rv;

    *worker = (struct worker){.inbox = inbox, .idle = idle, .arg = arg};
    rv = uv_mutex_init(&worker->lock);
    if (rv != 0) {
        return rv;
    }
    rv = uv_cond_init(&worker->wake);
    if (rv != 0) {
        uv_mutex_destroy(&worker->lock);
        return rv;
    }
    rv = uv_thread_create_ex(&worker->thread, &options, worker_main, worker);
    if (rv != 0) {
        uv_cond_destroy(&worker->wake);
        uv_mutex_destroy(&worker->lock);
    }
    return rv;
}

/* Unlock, and wake the thread if it sleeps: after unlocking, or it would find the lock
 * taken and sleep once more. */
static void unlock_and_wake(struct worker *worker)
{
    bool wake = worker->waiting;

    worker->waiting = false;
    uv_mutex_unlock(&worker->lock);
    if (wake) {
        uv_cond_signal(&worker->wake);
    }
}

void worker_post(struct worker *worker, struct job *job)
{
    ASSERT(job->run != NULL && job->done != NULL);
    uv_mutex_lock(&worker->lock);
    ASSERT(!worker->stopping);
    queue_push(&worker->head, &worker->tail, job);
    unlock_and_wake(worker);
}

void worker_stop(struct worker *worker)
{
    uv_mutex_lock(&worker->lock);
    worker->stopping = true;
    unlock_and_wake(worker);
    uv_thread_join(&worker->thread);
    uv_cond_destroy(&worker->wake);
    uv_mutex_destroy(&worker->lock);
}
