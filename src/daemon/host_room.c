/*
 * host_room: what happens when there is little or no room on this member's disks.
 *
 * A full disk is a state, not an end: what met it does nothing and is tried again. Spare
 * segments of the journal and the ballast, a file that is there for nothing else, are
 * removed at once; settling in small steps and releasing the journal make the rest. The
 * ballast is made anew when there is plenty.
 */
#include "daemon/host_internal.h"

#include "base/prng.h"
#include "daemon/event.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((double)(1u << 20))

#define LOOK_EVERY_MS 1000u
/* Below it, or below a quarter of a small disk, little is free: room for a segment of the
 * journal, a settle, and what ops that remove files take. */
#define RESERVE_BYTES (64ull << 20)

struct room_job {
    struct host_job base;
    bool met_full; /* Something met a full disk. */
    struct host_space space;
};

/* At most; a thirty-second part of a small disk. */
#define BALLAST_BYTES (16ull << 20)
#define OPENING_BYTES (4ull << 20) /* What opening may write. */
#define BALLAST_PIECE (1u << 20)

struct ballast_job {
    struct host_job base;
    uv_work_t work;
    uint64_t bytes;
};

static void ballast_path(const struct host *host, char out[HOST_PATH_MAX + 16])
{
    (void)snprintf(out, HOST_PATH_MAX + 16, "%s/ballast", host->config.dir);
}

/* Not zeros: a file system that compresses would keep nothing for them. */
static int ballast_write(struct host *host, struct disk_file *file, uint64_t bytes)
{
    const struct disk_ops *ops = host->config.disk->ops;
    uint8_t *piece = malloc(BALLAST_PIECE);
    struct iovec iov = {.iov_base = piece, .iov_len = BALLAST_PIECE};
    struct prng prng;
    uint64_t size = 0;
    int rv = piece == NULL ? -ENOMEM : ops->size(host->config.disk, file, &size);

    prng_seed(&prng, host->config.raft_id);
    for (uint64_t at = size == bytes ? bytes : 0; rv == 0 && at < bytes;
         at += BALLAST_PIECE) {
        for (size_t i = 0; i < BALLAST_PIECE / 8; i++) {
            uint64_t number = prng_next(&prng);

            memcpy(piece + 8 * i, &number, sizeof number);
        }
        rv = ops->pwritev(host->config.disk, file, &iov, 1, at);
    }
    if (rv == 0 && size != bytes) {
        rv = ops->datasync(host->config.disk, file);
    }
    free(piece);
    return rv;
}

static void run_ballast(uv_work_t *work)
{
    struct ballast_job *job = work->data;
    struct host *host = job->base.host;
    struct disk *disk = host->config.disk;
    char path[HOST_PATH_MAX + 16];
    struct disk_file *file = NULL;
    int rv;

    ballast_path(host, path);
    rv = disk->ops->open(disk, path, DISK_WRITE | DISK_CREATE, &file);
    if (rv == 0) {
        rv = ballast_write(host, file, job->bytes);
        disk->ops->close(disk, file);
    }
    if (rv != 0) {
        (void)disk->ops->unlink(disk, path);
    }
    job->base.rv = rv;
}

static void done_ballast(uv_work_t *work, int status)
{
    struct ballast_job *job = work->data;
    struct host *host = job->base.host;

    (void)status;
    host->making_ballast = false;
    /* If the disk filled up meanwhile it may have been removed under the writer. */
    host->has_ballast = job->base.rv == 0 && !atomic_load(&host->told_full);
    host_job_end(&job->base);
}

static uint64_t reserve_of(const struct host_space *space)
{
    uint64_t part = space->total_bytes / 4;

    return part < RESERVE_BYTES ? part : RESERVE_BYTES;
}

static void ballast_keep(struct host *host, const struct host_space *space)
{
    uint64_t bytes = space->total_bytes / 32 / BALLAST_PIECE * BALLAST_PIECE;
    struct ballast_job *job = NULL;

    bytes = bytes < BALLAST_BYTES ? bytes : BALLAST_BYTES;
    if (host->has_ballast || host->making_ballast || host->closing || host->low ||
        atomic_load(&host->told_full) ||
        space->free_bytes < 2 * (reserve_of(space) + bytes)) {
        return;
    }
    job = calloc(1, sizeof *job);
    if (job == NULL) {
        return; /* The next look tries again. */
    }
    job->base.host = host;
    job->bytes = bytes;
    job->work.data = job;
    host->making_ballast = true;
    host->jobs++;
    uv_queue_work(host->config.loop, &job->work, run_ballast, done_ballast);
}

/* Journal and dataset may lie on two. */
int host_space(struct host *host, struct host_space *out)
{
    struct disk *disk = host->config.disk;
    struct host_space other = {0};
    int rv =
        disk->ops->space(disk, host->config.dir, &out->free_bytes, &out->total_bytes);

    if (rv == 0) {
        rv = disk->ops->space(disk, host->config.journal, &other.free_bytes,
                              &other.total_bytes);
    }
    if (rv == 0 && other.free_bytes < out->free_bytes) {
        *out = other;
    }
    return rv;
}

void host_room_for_opening(struct host *host)
{
    struct host_space space = {0};
    char path[HOST_PATH_MAX + 16];

    if (host_space(host, &space) == 0 && space.total_bytes > 0 &&
        space.free_bytes < OPENING_BYTES) {
        ballast_path(host, path);
        (void)host->config.disk->ops->unlink(host->config.disk, path);
    }
}

void host_room_seen(struct host *host, const struct host_space *space)
{
    uint64_t reserve = reserve_of(space);
    bool low;

    if (space->total_bytes == 0) {
        return;
    }
    /* A little more is asked for to come out of it than to stay out of it. */
    low = space->free_bytes < reserve + (host->low ? reserve / 4 : 0);
    host->free_bytes = space->free_bytes;
    if (low != host->low) {
        host->low = low;
        host_report_disk(host, UINT64_MAX);
    }
}

uint32_t host_spares(const struct host *host)
{
    uint64_t n = host->config.journal_bytes_max / HOST_SEGMENT_BYTES / 4 * 3;

    return (uint32_t)(n < HOST_SPARES_MAX ? n : HOST_SPARES_MAX);
}

static void run_room(struct job *base)
{
    struct room_job *job = (struct room_job *)base;
    struct host *host = job->base.host;

    if (job->met_full) {
        char path[HOST_PATH_MAX + 16];

        ballast_path(host, path);
        (void)host->config.disk->ops->unlink(host->config.disk, path);
    }
    if (job->met_full || atomic_load(&host->told_full)) {
        journal_keep_spares(host->disk.journal, 0);
    } else {
        journal_keep_spares(host->disk.journal, host_spares(host));
    }
    job->base.rv = host_space(host, &job->space);
}

static void done_room(struct job *base)
{
    struct room_job *job = (struct room_job *)base;
    struct host *host = job->base.host;

    host->making_room = false;
    host->has_ballast = host->has_ballast && !job->met_full;
    if (job->base.rv == 0) {
        host_room_seen(host, &job->space);
        ballast_keep(host, &job->space);
    }
    host_job_end(&job->base);
}

static void post_room(struct host *host, bool met_full)
{
    struct room_job *job = NULL;

    if (!host->making_room && !host->closing) {
        job = calloc(1, sizeof *job);
    }
    if (job != NULL) {
        host->making_room = true;
        job->met_full = met_full;
        host_post_zone(host, &job->base, run_room, done_room);
    }
}

void host_room_tick(struct host *host, uint64_t now_ms)
{
    if (host->state == HOST_RUNNING && now_ms >= host->looked_ms + LOOK_EVERY_MS) {
        host->looked_ms = now_ms;
        post_room(host, false);
    }
}

bool host_no_room(struct host *host, int rv)
{
    if (rv != -ENOSPC) {
        return false;
    }
    host->settle_from_ms = host_now_ms() + HOST_SETTLE_PAUSE_MS;
    post_room(host, true);
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
                       host->low
                           ? "no space on pool %s (%.0f MiB left): remove files or make "
                             "it larger; it goes on by itself"
                           : "pool %s takes no more, though %.0f MiB are free: out of "
                             "inodes (df -i), or a quota of its file system is spent; it "
                             "goes on by itself",
                       host->config.pool, (double)host->free_bytes / MIB);
    }
    if (full == host->told_full) {
        return;
    }
    host->told_full = full;
    if (full) {
        event_tell(EVENT_FULL, host->config.label, "%s", host->reason);
    } else {
        event_tell(EVENT_ROOM, host->config.label, "there is room again on pool %s",
                   host->config.pool);
        if (host->state == HOST_RUNNING) {
            host->reason[0] = '\0';
        }
    }
}
