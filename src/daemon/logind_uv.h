/*
 * logind_uv: hears of this machine's sleep from logind, over the system bus.
 *
 * Holds a lock of logind's, of the kind that delays sleep, and drives a suspend. Nothing
 * here waits: not for a bus that is not there, nor for a logind that does not answer. The
 * bus is looked for again now and then. Everything runs on the loop thread.
 */
#ifndef DAEMON_LOGIND_UV_H
#define DAEMON_LOGIND_UV_H

#include "daemon/suspend.h"

#include <uv.h>

struct logind_uv;

struct logind_callbacks {
    void *ctx;
    /* The machine is about to sleep: hand over and give back; never blocks. */
    void (*leave)(void *ctx, enum suspend_why why);
    /* How many zones are still to be handed over. */
    uint32_t (*leaving)(void *ctx);
    /* The machine may sleep now, after @ms; @leaving were not handed over in time. */
    void (*left)(void *ctx, uint32_t leaving, uint64_t ms);
    /* It is awake. */
    void (*wake)(void *ctx);
};

/* 0 (also if there is no bus), -ENOSYS: built without it, or a fault. */
int logind_uv_open(uv_loop_t *loop, const struct logind_callbacks *callbacks,
                   struct logind_uv **out);
/* "absent" (no system bus), "refused" (logind gave no lock, or is not there), "asking",
 * "ready", "leaving" (the machine is about to sleep) or "left" (it may sleep now). */
const char *logind_uv_view(const struct logind_uv *logind);
/* Gives the lock up; then @closed is called and the memory is gone. */
void logind_uv_close(struct logind_uv *logind, void (*closed)(void *arg), void *arg);

#endif
