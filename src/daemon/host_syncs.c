/*
 * host_syncs: how long the journal's disk takes, and when that is worth telling.
 *
 * Only the loop looks at these: a batch is followed from the moment it was posted, so a
 * disk that never answers shows too.
 */
#include "daemon/host_internal.h"

#include "daemon/event.h"

#include <string.h>

#define SLOW_US 1000000u
#define TELL_EVERY_MS 60000u
#define MINUTE_MS 60000u

static void tell(struct host *host, uint64_t us, const char *what)
{
    uint64_t now_ms = host_now_ms();

    if (us < SLOW_US ||
        (host->sync_told_ms != 0 && now_ms < host->sync_told_ms + TELL_EVERY_MS)) {
        return;
    }
    host->sync_told_ms = now_ms;
    event_tell(EVENT_SLOW_DISK, host->config.label, "%s %.1f s in %s", what,
               (double)us / 1e6, host->config.journal);
}

void host_sync_begun(struct host *host)
{
    if (host->n_syncs < HOST_SYNCS_MAX) {
        host->sync_begun_ms[host->n_syncs] = host_now_ms();
    }
    host->n_syncs++;
}

void host_sync_ended(struct host *host, uint64_t us)
{
    struct host_syncs *syncs = &host->syncs;

    host->n_syncs--;
    memmove(host->sync_begun_ms, host->sync_begun_ms + 1,
            (HOST_SYNCS_MAX - 1) * sizeof host->sync_begun_ms[0]);
    if (host->n_syncs >= HOST_SYNCS_MAX) {
        host->sync_begun_ms[HOST_SYNCS_MAX - 1] = host_now_ms();
    }
    syncs->mean_us = syncs->count == 0 ? us : (15 * syncs->mean_us + us) / 16;
    syncs->count++;
    syncs->last_us = us;
    if (us > host->sync_worst_us[0]) {
        host->sync_worst_us[0] = us;
    }
    tell(host, us, "writing and syncing the journal took");
}

void host_syncs_tick(struct host *host, uint64_t now_ms)
{
    if (now_ms >= host->sync_minute_ms + MINUTE_MS) {
        bool last = now_ms < host->sync_minute_ms + 2 * MINUTE_MS;

        host->sync_worst_us[1] = last ? host->sync_worst_us[0] : 0;
        host->sync_worst_us[0] = 0;
        host->sync_minute_ms = now_ms;
    }
    if (host->n_syncs > 0 && now_ms > host->sync_begun_ms[0]) {
        tell(host, (now_ms - host->sync_begun_ms[0]) * 1000,
             "the journal has waited for its disk for");
    }
}

void host_syncs_report(const struct host *host, struct host_syncs *out)
{
    *out = host->syncs;
    out->worst_us = host->sync_worst_us[0] > host->sync_worst_us[1]
                        ? host->sync_worst_us[0]
                        : host->sync_worst_us[1];
    out->since_ms = host->n_syncs > 0 ? host->sync_begun_ms[0] : 0;
}
