/*
 * host_retry: what is said of a member that stands still, and its way back: node_retry.c.
 */
#include "daemon/host_internal.h"

#include <stdio.h>
#include <string.h>

void host_repairing(struct host *host, const char *what)
{
    snprintf(host->reason + host->reason_len, sizeof host->reason - host->reason_len,
             ": %s", what);
}

void host_twin(struct host *host)
{
    if (!host->opened && host->lost == HOST_LOST_NOT) {
        host->state = HOST_OPENING; /* From here on this is why. */
    }
    if (!host->closing) {
        host_fail(host, "another daemon is this node: stop one of the two, then restart "
                        "the other");
    }
}

void host_retry(struct host *host)
{
    if (host->state == HOST_NO_DATA && host->jobs == 0 && !host->closing) {
        host_begin_opening(host);
    }
    host_there_look(host);
}

bool host_is_open(const struct host *host)
{
    return host->opened;
}

bool host_is_opening(const struct host *host)
{
    return host->opening;
}

bool host_is_idle(const struct host *host)
{
    return host->jobs == 0;
}

void host_reopen(struct host *host)
{
    if (host->state == HOST_FAILED && !host->opened && !host->opening && !host->closing &&
        host->lost == HOST_LOST_NOT) {
        host_begin_opening(host);
    }
}

int host_fault_of(const struct host *host)
{
    return host->fault;
}

void host_failure(const struct host *host, struct host_failure *out)
{
    *out = (struct host_failure){.fault = host->fault};
    memcpy(out->reason, host->reason, host->reason_len);
}
