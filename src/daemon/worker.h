/*
 * worker: one thread with a queue of jobs, whose ends come back to the loop.
 *
 * A job's run() happens on the worker's thread, in posting order (but for
 * worker_post_later); its done() happens on the loop afterwards. The inbox is the way back: one per loop, shared by all workers.
 * A job is owned by the worker from worker_post until done() is called; done() usually
 * frees it.
 *
 * The end of a job wakes the loop, unless the job is calm: then it is taken when the loop
 * next wakes for anything, and if it has not come to its end by then, it wakes the loop
 * after all. For a job whose end alone lets nobody go on.
 *
 * The inbox has an eventfd of its own. A uv_async_t would do, but its loop spins, for up
 * to 50 us, until the sender has left uv_async_send; with fewer cores than threads the
 * sender is what the loop has just displaced, and every job paid for that.
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define INBOX_CALM_MAX 16u

struct job {
    struct job *next;
    bool calm; /* The inbox's, under its lock. */
    void (*run)(struct job *job);
    void (*done)(struct job *job);
};

struct inbox {
    uv_poll_t poll;
    uv_check_t check;
    int fd;
    uv_mutex_t lock;
    struct job *head;
    struct job *tail;
    struct job *calm[INBOX_CALM_MAX]; /* Posted since the loop last woke, not drained. */
    unsigned n_calm;
    bool woken; /* Since it was last drained. */
    uv_close_cb closed;
};

int inbox_open(struct inbox *inbox, uv_loop_t *loop);
/* No worker may be running any more. Memory is free after @closed of the poll handle. */
void inbox_close(struct inbox *inbox, uv_close_cb closed);

struct worker {
    uv_thread_t thread;
    uv_mutex_t lock;
    sem_t told; /* So many jobs, and the end, are to be looked for. */
    struct job *head;
    struct job *tail;
    struct job *later_head; /* Of worker_post_later. */
    struct job *later_tail;
    uint32_t passed; /* Jobs that went before the first of those. */
    struct inbox *inbox;
    bool stopping;
    /* On the worker's thread, once in each pause of 50 ms or more; may be NULL. */
    void (*idle)(void *arg);
    void *arg;
};

/* 0 or a negated errno. */
int worker_start(struct worker *worker, struct inbox *inbox, void (*idle)(void *arg),
                 void *arg);
void worker_post(struct worker *worker, struct job *job);
/* Behind all that others have posted when its turn comes; but no more than
 * WORKER_PASSED_MAX of them go before the first such job that waits. These jobs keep their
 * order among themselves. */
#define WORKER_PASSED_MAX 8u
void worker_post_later(struct worker *worker, struct job *job);
/* From the loop, for a job that is about to be posted: it is calm. */
void inbox_calm(struct inbox *inbox, struct job *job);
/* From the loop: none that is under way is any more. */
void inbox_hurry(struct inbox *inbox);
/* Finish every queued job, then join the thread. The done() calls still come from the
 * inbox afterwards. */
void worker_stop(struct worker *worker);

#endif
