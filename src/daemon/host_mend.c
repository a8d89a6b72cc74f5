/* Telling a person of an entry that cannot be read; raft/replica_mend.c has it made good. */
#include "daemon/host_internal.h"

#include "daemon/event.h"

#include <inttypes.h>

void host_mend_note(struct host *host)
{
    struct replica_status status = {0};

    if (host->replica == NULL || host->state == HOST_FAILED) {
        return;
    }
    replica_status(host->replica, host_now_ms(), &status);
    if (status.unreadable_index == host->told_unreadable) {
        return;
    }
    if (status.unreadable_index != 0) {
        event_tell(EVENT_ENTRY_BAD, host->config.label,
                   "entry %" PRIu64 " of the log cannot be read back to be applied (%s): "
                   "this member takes the state from another one",
                   status.unreadable_index, host_fault_text(status.unreadable_rv));
    } else {
        event_tell(EVENT_ENTRY_HEALED, host->config.label,
                   "past entry %" PRIu64 ", which could not be read: this member has "
                   "applied %" PRIu64,
                   host->told_unreadable, status.applied_index);
    }
    host->told_unreadable = status.unreadable_index;
}
