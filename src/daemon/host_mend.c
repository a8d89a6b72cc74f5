/* Telling a person of what is bad on this disk: blocks, and an entry that cannot be read,
 * which raft/replica_mend.c has made good. */
#include "daemon/host_internal.h"

#include "daemon/event.h"

#include <inttypes.h>

static const char *const bad_words[] = {
    [HOST_BAD_READ] = "a read met a damaged block on this member",
    [HOST_BAD_HOPELESS] = "no member has a good copy",
};

void host_tell_bad(struct host *host, enum host_bad what, const struct store_want *block)
{
    uint32_t n = seldom_tell(&host->told_bad, block->ino, block->block << 1 | what,
                             host_now_ms(), HOST_TELL_EVERY_MS);

    if (n == 1) {
        event_tell(EVENT_BLOCK_BAD, host->config.label,
                   "%s: inode %" PRIu64 ", block %" PRIu64, bad_words[what], block->ino,
                   block->block);
    } else if (n > 1) {
        event_tell(EVENT_BLOCK_BAD, host->config.label,
                   "%s: inode %" PRIu64 ", block %" PRIu64
                   ", %u times since this was last told",
                   bad_words[what], block->ino, block->block, n);
    }
}

void host_tell_healed(struct host *host, const struct store_want *block)
{
    seldom_forget(&host->told_bad, block->ino, block->block << 1 | HOST_BAD_READ);
    seldom_forget(&host->told_bad, block->ino, block->block << 1 | HOST_BAD_HOPELESS);
    event_tell(EVENT_BLOCK_HEALED, host->config.label,
               "block %" PRIu64 " of inode %" PRIu64
               " was bad here, and was healed with another member's",
               block->block, block->ino);
}

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
