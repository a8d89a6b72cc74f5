#include "daemon/worker.h"

#include "base/assert.h"

#include <errno.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <time.h>
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
    bool wake;

    uv_mutex_lock(&inbox->lock);
    /* Behind a calm one that is not drained nobody has woken the loop yet. */
    wake = !job->calm && !inbox->woken;
    inbox->woken = inbox->woken || wake;
    queue_push(&inbox->head, &inbox->tail, job);
    uv_mutex_unlock(&inbox->lock);
    if (wake) {
        wake_loop(inbox);
    }
}

void inbox_calm(struct inbox *inbox, struct job *job)
{
    uv_mutex_lock(&inbox->lock);
    if (inbox->n_calm < INBOX_CALM_MAX) {
        job->calm = true;
        inbox->calm[inbox->n_calm++] = job;
    }
    uv_mutex_unlock(&inbox->lock);
}

static void calm_end(struct inbox *inbox)
{
    for (unsigned i = 0; i < inbox->n_calm; i++) {
        inbox->calm[i]->calm = false;
    }
    inbox->n_calm = 0;
}

void inbox_hurry(struct inbox *inbox)
{
    bool wake;

    uv_mutex_lock(&inbox->lock);
    calm_end(inbox);
    wake = inbox->head != NULL && !inbox->woken;
    inbox->woken = inbox->woken || wake;
    uv_mutex_unlock(&inbox->lock);
    if (wake) {
        wake_loop(inbox);
    }
}

/* Take all that has come. Whatever is calm and has not, shall wake the loop from now on. */
static void inbox_drain(struct inbox *inbox)
{
    struct job *job;

    uv_mutex_lock(&inbox->lock);
    calm_end(inbox);
    job = inbox->head;
    inbox->head = NULL;
    inbox->tail = NULL;
    inbox->woken = false;
    uv_mutex_unlock(&inbox->lock);
    while (job != NULL) {
        struct job *next = job->next;

        job->done(job);
        job = next;
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

/* The loop is awake, for whatever reason. */
static void on_check(uv_check_t *check)
{
    inbox_drain(check->data);
}

int inbox_open(struct inbox *inbox, uv_loop_t *loop)
{
    int rv;

    *inbox = (struct inbox){.fd = -1};
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
    (void)uv_check_init(loop, &inbox->check);
    inbox->check.data = inbox;
    (void)uv_check_start(&inbox->check, on_check);
    return 0;
out_lock:
    uv_mutex_destroy(&inbox->lock);
out_fd:
    (void)close(inbox->fd);
    return rv;
}

static void on_check_closed(uv_handle_t *handle)
{
    struct inbox *inbox = handle->data;

    uv_close((uv_handle_t *)&inbox->poll, inbox->closed);
}

void inbox_close(struct inbox *inbox, uv_close_cb closed)
{
    inbox_drain(inbox);
    uv_poll_stop(&inbox->poll); /* Before its descriptor is somebody else's. */
    (void)close(inbox->fd);
    uv_mutex_destroy(&inbox->lock);
    inbox->closed = closed;
    uv_close((uv_handle_t *)&inbox->check, on_check_closed);
}

/* Wait to be told of something; with an idle function, only for a while the first time.
 * False: the while is over. A semaphore, and no condition: what it wakes has no lock to
 * take again, nor to tell others of. */
static bool wait_once(struct worker *worker, bool idle_done)
{
    struct timespec until;
    int rv;

    if (worker->idle != NULL && !idle_done) {
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += IDLE_AFTER_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    }
    do {
        rv = worker->idle == NULL || idle_done
                 ? sem_wait(&worker->told)
                 : sem_clockwait(&worker->told, CLOCK_MONOTONIC, &until);
    } while (rv != 0 && errno == EINTR);
    ASSERT(rv == 0 || errno == ETIMEDOUT);
    return rv == 0;
}

static struct job *queue_pop(struct job **head, struct job **tail)
{
    struct job *job = *head;

    *head = job->next;
    if (*head == NULL) {
        *tail = NULL;
    }
    return job;
}

static struct job *choose(struct worker *worker)
{
    if (worker->later_head != NULL &&
        (worker->head == NULL || worker->passed >= WORKER_PASSED_MAX)) {
        worker->passed = 0;
        return queue_pop(&worker->later_head, &worker->later_tail);
    }
    if (worker->head == NULL) {
        return NULL;
    }
    worker->passed += worker->later_head != NULL ? 1 : 0;
    return queue_pop(&worker->head, &worker->tail);
}

/* The next job, or NULL when the worker is to end. */
static struct job *worker_next(struct worker *worker)
{
    bool idle_done = false;
    struct job *job;

    while (!wait_once(worker, idle_done)) {
        worker->idle(worker->arg);
        idle_done = true;
    }
    uv_mutex_lock(&worker->lock);
    job = choose(worker);
    ASSERT(job != NULL || worker->stopping);
    uv_mutex_unlock(&worker->lock);
    return job;
}

static void tell(struct worker *worker)
{
    int rv = sem_post(&worker->told);

    ASSERT(rv == 0);
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
    if (sem_init(&worker->told, 0, 0) != 0) {
        rv = -errno;
        uv_mutex_destroy(&worker->lock);
        return rv;
    }
    rv = uv_thread_create_ex(&worker->thread, &options, worker_main, worker);
    if (rv != 0) {
        (void)sem_destroy(&worker->told);
        uv_mutex_destroy(&worker->lock);
    }
    return rv;
}

static void post(struct worker *worker, struct job *job, struct job **head,
                 struct job **tail)
{
    ASSERT(job->run != NULL && job->done != NULL);
    uv_mutex_lock(&worker->lock);
    ASSERT(!worker->stopping);
    queue_push(head, tail, job);
    uv_mutex_unlock(&worker->lock);
    tell(worker);
}

void worker_post(struct worker *worker, struct job *job)
{
    post(worker, job, &worker->head, &worker->tail);
}

void worker_post_later(struct worker *worker, struct job *job)
{
    post(worker, job, &worker->later_head, &worker->later_tail);
}

void worker_stop(struct worker *worker)
{
    uv_mutex_lock(&worker->lock);
    worker->stopping = true;
    uv_mutex_unlock(&worker->lock);
    tell(worker);
    uv_thread_join(&worker->thread);
    (void)sem_destroy(&worker->told);
    uv_mutex_destroy(&worker->lock);
}
