/*
 * Which entries that are not applied yet touch which inode, for reads under a lease.
 *
 * A table of constant size: an inode's place holds the highest index that may touch it.
 * Inodes that share a place wait for each other, and what was cut off counts until it is
 * applied over; both cost time only. Nothing is ever taken out: below the applied index
 * it means nothing.
 */
#include "raft/replica_impl.h"
#include "zone/op.h"

static uint32_t place_of(uint64_t ino)
{
    return (uint32_t)(ino * 0x9e3779b97f4a7c15ull >> 32) % REPLICA_NAMES;
}

/* Without a lease in sight the names are not looked at. */
void replica_names_add(struct replica *r, const struct replica_entry *entry)
{
    uint64_t ino[ZONE_TOUCH_MAX];
    uint32_t n = ZONE_TOUCH_ANY;

    if (entry->type != RGROUP_COMMAND) {
        return;
    }
    if (replica_lease_wanted(r)) {
        n = zone_entry_touches(entry->head, entry->payload, ino);
    }
    if (n == ZONE_TOUCH_ANY) {
        r->named_any = entry->index;
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        r->named[place_of(ino[i])] = entry->index;
    }
}

uint64_t replica_names_wait(const struct replica *r, const struct replica_read *read)
{
    uint64_t index = r->named_any;
    uint64_t named = r->named[place_of(read->ino)];

    if (r->config.mutation == REPLICA_MUT_NO_NAMES) {
        return 0;
    }
    if (read->ino == 0) {
        return r->log.last;
    }
    index = named > index ? named : index;
    /* An inode is of the generation of the entry that made it. */
    index = read->gen > index ? read->gen : index;
    return index < r->log.last ? index : r->log.last;
}
