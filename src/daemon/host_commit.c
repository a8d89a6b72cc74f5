/*
 * host_commit: the rows of what was applied are committed in a pause (zone_flush).
 *
 * A job of the zone's thread like any other, and not what that thread does by itself when
 * it is idle: while it has no job the loop reads from the zone (host_read.c).
 */
#include "daemon/host_internal.h"

#include <errno.h>
#include <stdlib.h>

#define COMMIT_PAUSE_MS 50u
#define COMMIT_FULL_MS 1000u /* On a full disk, so often. */

void host_commit_later(struct host *host, uint64_t now_ms)
{
    host->commit_ms = now_ms + COMMIT_PAUSE_MS;
}

static void run_commit(struct job *base)
{
    struct host_job *job = (struct host_job *)base;

    job->rv = zone_flush(job->host->disk.zone);
}

static void done_commit(struct job *base)
{
    struct host_job *job = (struct host_job *)base;
    struct host *host = job->host;

    if (host_no_room(host, job->rv)) {
        if (host->commit_ms == 0) {
            host->commit_ms = host_now_ms() + COMMIT_FULL_MS;
        }
    } else if (job->rv != 0) {
        host_fault(host, job->rv, "committing what was applied: %s",
                   host_fault_text(job->rv));
    }
    host_job_end(job);
}

void host_commit_tick(struct host *host, uint64_t now_ms)
{
    struct host_job *job;

    if (host->commit_ms == 0 || now_ms < host->commit_ms || host->state == HOST_FAILED ||
        host->closing) {
        return;
    }
    if (host->zone_jobs > 0) {
        host_commit_later(host, now_ms); /* This is no pause. */
        return;
    }
    job = calloc(1, sizeof *job);
    if (job == NULL) {
        return; /* The next tick is another try. */
    }
    host->commit_ms = 0;
    host_post_zone(host, job, run_commit, done_commit);
}
