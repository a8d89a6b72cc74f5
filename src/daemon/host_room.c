/*
 * host_room: what happens when there is little or no room on this member's disks.
 *
 * A full disk is a state, not an end: what met it does nothing and is tried again. Spare
 * segments of the journal are removed at once; settling in small steps and releasing the
 * journal make the rest.
 */
#include "daemon/host_internal.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB ((double)(1u << 20))

struct room_job {
    struct host_job base;
    uint64_t free_bytes;
    uint64_t total_bytes;
};

/* The disk with less of it: journal and dataset may lie on two. */
static int space_left(struct host *host, uint64_t *free_bytes, uint64_t *total_bytes)
{
    struct disk *disk = host->config.disk;
    uint64_t other_free = 0;
    uint64_t other_total = 0;
    int rv = disk->ops->space(disk, host->config.dir, free_bytes, total_bytes);

    if (rv == 0) {
        rv = disk->ops->space(disk, host->config.journal, &other_free, &other_total);
    }
    if (rv == 0 && other_free < *free_bytes) {
        *free_bytes = other_free;
        *total_bytes = other_total;
    }
    return rv;
}

static void run_room(struct job *base)
{
    struct room_job *job = (struct room_job *)base;
    struct host *host = job->base.host;

    journal_keep_spares(host->disk.journal, 0);
    job->base.rv = space_left(host, &job->free_bytes, &job->total_bytes);
}

static void done_room(struct job *base)
{
    struct room_job *job = (struct room_job *)base;
    struct host *host = job->base.host;

    host->making_room = false;
    if (job->base.rv == 0) {
        host->free_bytes = job->free_bytes;
    }
    host_job_end(&job->base);
}

bool host_no_room(struct host *host, int rv)
{
    struct room_job *job;

    if (rv != -ENOSPC) {
        return false;
    }
    host->settle_from_ms = host_now_ms() + HOST_SETTLE_PAUSE_MS;
    if (host->making_room || host->closing) {
        return true;
    }
    job = calloc(1, sizeof *job);
    if (job != NULL) {
        host->making_room = true;
        host_post_zone(host, &job->base, run_room, done_room);
    }
    return true;
}

bool host_is_full(const struct host *host)
{
    struct replica_status status = {0};

    if (host->state != HOST_RUNNING || host->replica == NULL) {
        return false;
    }
    replica_status(host->replica, host_now_ms(), &status);
    return status.full;
}

void host_room_note(struct host *host)
{
    bool full = host_is_full(host);

    if (full) {
        (void)snprintf(host->reason, sizeof host->reason,
                       "no space on pool %s (%.0f MiB left): remove files or make it "
                       "larger; it goes on by itself",
                       host->config.pool, (double)host->free_bytes / MIB);
    }
    if (full == host->told_full) {
        return;
    }
    host->told_full = full;
    if (full) {
        log_warn("daemon", "msg=\"disk is full\" zone=%s reason=\"%s\"",
                 host->config.label, host->reason);
    } else {
        log_info("daemon", "msg=\"disk has room again\" zone=%s", host->config.label);
        if (host->state == HOST_RUNNING) {
            host->reason[0] = '\0';
        }
    }
}
