#include "daemon/retry.h"

#include <errno.h>

bool retry_may_pass(int fault)
{
    switch (fault) {
    /* The disk, or the way to it, as the kernel's block layer and file systems say it. */
    case -EIO:
    case -ENXIO:
    case -ENODEV:
    case -ENOLINK:
    case -EREMOTEIO:
    case -ETIMEDOUT:
    case -ENOTCONN:
    case -ESHUTDOWN:
    case -EROFS:
    /* It was put away: what is in its place is found out by opening it. */
    case -ENOENT:
    /* Who may read it, or who has it open. */
    case -EACCES:
    case -EPERM:
    case -EBUSY:
    /* The machine. */
    case -ENOMEM:
    case -ENFILE:
    case -EMFILE:
    case -EAGAIN:
    case -ENOSPC:
        return true;
    default:
        return false;
    }
}

static uint64_t wait_ms(uint32_t tries)
{
    uint64_t ms = RETRY_FIRST_MS;

    for (uint32_t i = 1; i < tries && ms < RETRY_PAUSE_MS; i++) {
        ms *= 2;
    }
    return ms < RETRY_PAUSE_MS ? ms : RETRY_PAUSE_MS;
}

static enum retry_action failed(struct retry *retry, const struct retry_event *event)
{
    if (!retry->waits) {
        if (retry->runs_ms != 0 && event->now_ms - retry->runs_ms >= RETRY_CALM_MS) {
            retry->tries = 0;
        }
        retry->runs_ms = 0;
        retry->tries += retry->tries < UINT32_MAX ? 1 : 0;
        retry->waits = true;
        retry->failed_ms = retry->failed_ms == 0 ? event->now_ms : retry->failed_ms;
        retry->next_ms =
            retry_may_pass(event->fault) ? event->now_ms + wait_ms(retry->tries) : 0;
    }
    if (retry->next_ms == 0 || event->now_ms < retry->next_ms) {
        return RETRY_DO_NOTHING;
    }
    retry->waits = false;
    return RETRY_DO_OPEN;
}

enum retry_action retry_step(struct retry *retry, const struct retry_event *event)
{
    bool back;

    switch (event->type) {
    case RETRY_EV_FAILED:
        return failed(retry, event);
    case RETRY_EV_RUNS:
        back = retry->failed_ms != 0;
        retry->runs_ms = retry->runs_ms == 0 ? event->now_ms : retry->runs_ms;
        retry->waits = false;
        retry->failed_ms = 0;
        return back ? RETRY_DO_TELL : RETRY_DO_NOTHING;
    case RETRY_EV_ASKED:
        retry->next_ms = retry->waits ? event->now_ms : retry->next_ms;
        break;
    }
    return RETRY_DO_NOTHING;
}

bool retry_waits(const struct retry *retry, uint64_t now_ms, uint64_t *left_ms)
{
    *left_ms = retry->next_ms > now_ms ? retry->next_ms - now_ms : 0;
    return retry->waits && retry->next_ms != 0;
}
