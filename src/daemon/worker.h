/*
 * worker: one thread with a queue of jobs, whose ends come back to the loop.
 *
 * A job's run() happens on the worker's thread, in posting order; its done() happens on
 * the loop afterwards. The inbox is the way back: one per loop, shared by all workers.
 * A job is owned by the worker from worker_post until done() is called; done() usually
 * frees it.
 *
 * The inbox has an eventfd of its own. A uv_async_t would do, but its loop spins, for up
 * to 50 us, until the sender has left uv_async_send; with fewer cores than threads the
 * sender is what the loop has just displaced, and every job paid for that.
 */
#ifndef DAEMON_WORKER_H
#define DAEMON_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct job {
    struct job *next;
    void (*run)(struct job *job);
    void (*done)(struct job *job);
};

struct inbox {
    uv_poll_t poll;
    int fd;
    uv_mutex_t lock;
    struct job *head;
    struct job *tail;
    /* Called on the loop after every drained turn; may be NULL. */
    void (*drained)(void *arg);
    void *arg;
};

int inbox_open(struct inbox *inbox, uv_loop_t *loop, void (*drained)(void *arg),
               void *arg);
/* No worker may be running any more. Memory is free after @closed of the poll handle. */
void inbox_close(struct inbox *inbox, uv_close_cb closed);

struct worker {
    uv_thread_t thread;
    uv_mutex_t lock;
    uv_cond_t wake;
    struct job *head;
    struct job *tail;
    struct inbox *inbox;
    bool stopping;
    bool waiting; /* The thread sleeps, and nobody has woken it yet. */
    /* On the worker's thread, once in each pause of 50 ms or more; may be NULL. */
    void (*idle)(void *arg);
    void *arg;
};

/* 0 or a negated errno. */
int worker_start(struct worker *worker, struct inbox *inbox, void (*idle)(void *arg),
                 void *arg);
void worker_post(struct worker *worker, struct job *job);
/* Finish every queued job, then join the thread. The done() calls still come from the
 * inbox afterwards. */
void worker_stop(struct worker *worker);

#endif
