/* Jobs' ends on the loop, and which of them wake it. Threads, but no clock: a thread that
 * is to have got somewhere says so, and one that is to wait is let go. */
#include "daemon/worker.h"
#include "lib/check.h"

#include <poll.h>

#define JOBS 24

static struct fixture {
    uv_loop_t loop;
    struct inbox inbox;
    struct worker worker;
    sem_t begun;
    sem_t go;
    unsigned order[JOBS]; /* Which jobs are done. */
    unsigned n_done;
    struct item {
        struct job job;
        unsigned nr;
    } items[JOBS];
} f;

static void run_at_once(struct job *job)
{
    (void)job;
}

static void run_when_told(struct job *job)
{
    (void)job;
    (void)sem_post(&f.begun);
    (void)sem_wait(&f.go);
}

static void done(struct job *job)
{
    f.order[f.n_done++] = ((struct item *)job)->nr;
}

static struct job *job_of(unsigned nr, void (*run)(struct job *job))
{
    f.items[nr].nr = nr;
    f.items[nr].job.run = run;
    f.items[nr].job.done = done;
    return &f.items[nr].job;
}

static void setup(void)
{
    f = (struct fixture){0};
    CHECK_INT(uv_loop_init(&f.loop), 0);
    CHECK_INT(inbox_open(&f.inbox, &f.loop), 0);
    CHECK_INT(worker_start(&f.worker, &f.inbox, NULL, NULL), 0);
    CHECK_INT(sem_init(&f.begun, 0, 0), 0);
    CHECK_INT(sem_init(&f.go, 0, 0), 0);
}

static void teardown(void)
{
    worker_stop(&f.worker);
    inbox_close(&f.inbox, NULL);
    (void)uv_run(&f.loop, UV_RUN_DEFAULT);
    CHECK_INT(uv_loop_close(&f.loop), 0);
    (void)sem_destroy(&f.begun);
    (void)sem_destroy(&f.go);
}

/* Has anybody woken the loop, and it has not run since? */
static bool is_woken(void)
{
    struct pollfd fd = {.fd = f.inbox.fd, .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static void run_until(unsigned n_done)
{
    while (f.n_done < n_done) {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
    CHECK_UINT(f.n_done, n_done);
}

/* Ends come in the order of the posting, and wake a loop that waits. */
static void ends_come_in_order(void)
{
    setup();
    for (unsigned i = 0; i < JOBS; i++) {
        worker_post(&f.worker, job_of(i, run_at_once));
    }
    run_until(JOBS);
    for (unsigned i = 0; i < JOBS; i++) {
        CHECK_UINT(f.order[i], i);
    }
    teardown();
}

/* Post items 1 to @n, of which the @n_later first are for later, while the worker is
 * busy with item 0. */
static void post_behind_the_first(unsigned n_later, unsigned n)
{
    worker_post(&f.worker, job_of(0, run_when_told));
    (void)sem_wait(&f.begun);
    for (unsigned i = 1; i <= n; i++) {
        if (i <= n_later) {
            worker_post_later(&f.worker, job_of(i, run_at_once));
        } else {
            worker_post(&f.worker, job_of(i, run_at_once));
        }
    }
    (void)sem_post(&f.go);
    run_until(n + 1);
}

/* What others posted goes first, though it came later; each queue keeps its order. */
static void later_is_behind_the_others(void)
{
    static const unsigned order[] = {0, 3, 4, 5, 1, 2};

    setup();
    post_behind_the_first(2, 5);
    CHECK_MEM(f.order, order, sizeof order);
    teardown();
}

/* But it is not left waiting: after eight others it is its turn, and the next one's after
 * eight more. */
static void later_is_not_left_waiting(void)
{
    setup();
    post_behind_the_first(2, 22);
    for (unsigned i = 0; i < WORKER_PASSED_MAX; i++) {
        CHECK_UINT(f.order[1 + i], 3 + i);
    }
    CHECK_UINT(f.order[1 + WORKER_PASSED_MAX], 1);
    CHECK_UINT(f.order[2 + 2 * WORKER_PASSED_MAX], 2);
    CHECK_UINT(f.order[22], 22);
    teardown();
}

/* A worker that is told to stop does all that was posted before, this too. */
static void later_before_the_end(void)
{
    setup();
    worker_post(&f.worker, job_of(0, run_when_told));
    (void)sem_wait(&f.begun);
    worker_post_later(&f.worker, job_of(1, run_at_once));
    worker_post_later(&f.worker, job_of(2, run_at_once));
    (void)sem_post(&f.go);
    teardown();
    CHECK_UINT(f.n_done, 3);
}

/* A calm job's end wakes nobody; it is there when the loop turns for something else. */
static void calm_end_waits_for_a_turn(void)
{
    setup();
    inbox_calm(&f.inbox, job_of(0, run_at_once));
    worker_post(&f.worker, &f.items[0].job);
    worker_post(&f.worker, job_of(1, run_when_told));
    (void)sem_wait(&f.begun); /* So the first has ended. */
    CHECK(!is_woken());
    (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    CHECK_UINT(f.n_done, 1);
    (void)sem_post(&f.go);
    run_until(2);
    teardown();
}

/* Behind a calm one, another's end wakes the loop, and brings both in order. */
static void other_end_brings_the_calm(void)
{
    setup();
    inbox_calm(&f.inbox, job_of(0, run_at_once));
    worker_post(&f.worker, &f.items[0].job);
    worker_post(&f.worker, job_of(1, run_at_once));
    run_until(2);
    CHECK_UINT(f.order[0], 0);
    CHECK_UINT(f.order[1], 1);
    teardown();
}

/* A calm job that is still at work when the loop turns wakes it when it ends: what the
 * loop turned for may be what the others had to say. */
static void calm_job_late_for_a_turn(void)
{
    setup();
    inbox_calm(&f.inbox, job_of(0, run_when_told));
    worker_post(&f.worker, &f.items[0].job);
    (void)sem_wait(&f.begun);
    (void)uv_run(&f.loop, UV_RUN_NOWAIT);
    CHECK_UINT(f.n_done, 0);
    (void)sem_post(&f.go);
    run_until(1); /* Nothing else would end the wait. */
    teardown();
}

/* Hurry: what has ended wakes the loop now, and what has not, later. */
static void hurry(void)
{
    setup();
    inbox_calm(&f.inbox, job_of(0, run_at_once));
    inbox_calm(&f.inbox, job_of(1, run_when_told));
    worker_post(&f.worker, &f.items[0].job);
    worker_post(&f.worker, &f.items[1].job);
    (void)sem_wait(&f.begun);
    CHECK(!is_woken());
    inbox_hurry(&f.inbox);
    CHECK(is_woken());
    run_until(1);
    (void)sem_post(&f.go);
    run_until(2);
    teardown();
}

/* More calm jobs than the inbox keeps account of: the rest are like any other. */
static void too_many_are_not_calm(void)
{
    static struct item more[INBOX_CALM_MAX + 1];

    setup();
    for (unsigned i = 0; i < INBOX_CALM_MAX + 1; i++) {
        more[i] = (struct item){0};
        inbox_calm(&f.inbox, &more[i].job);
        CHECK(more[i].job.calm == (i < INBOX_CALM_MAX));
    }
    inbox_hurry(&f.inbox);
    CHECK(!more[0].job.calm);
    CHECK(!is_woken());
    teardown();
}

TEST_MAIN(CHECK_TEST(ends_come_in_order), CHECK_TEST(later_is_behind_the_others),
          CHECK_TEST(later_is_not_left_waiting), CHECK_TEST(later_before_the_end),
          CHECK_TEST(calm_end_waits_for_a_turn), CHECK_TEST(other_end_brings_the_calm),
          CHECK_TEST(calm_job_late_for_a_turn), CHECK_TEST(hurry),
          CHECK_TEST(too_many_are_not_calm))
