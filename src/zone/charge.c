#include "base/assert.h"
#include "zone/state.h"

/*
 * A file is charged for the 4 KiB units that were written, as far as that is known from
 * its row alone: every write adds the units it touches, and the sum is never more than
 * the size rounded up. So a file written without holes is charged its size, a hole costs
 * nothing, and a file with holes that is overwritten again and again may come to cost
 * what it would without holes, never more. A member needs no map of what is allocated,
 * and the charge never falls below what is.
 */

uint64_t zone_round_up(uint64_t bytes, uint64_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static uint64_t smaller(uint64_t one, uint64_t other)
{
    return one < other ? one : other;
}

void zone_charge(struct zone *zone, uint64_t before, uint64_t after)
{
    uint64_t *used = &zone->number[ZN_USED];

    /* The rows came from a disk: one that is too low must not take the member down. */
    *used = (*used >= before ? *used - before : 0) + after;
}

uint64_t zone_used_written(const struct store_inode *inode, uint64_t offset, uint64_t len)
{
    uint64_t end = offset + len;
    uint64_t size = end > inode->size ? end : inode->size;
    uint64_t units = zone_round_up(end, ZONE_CHARGE_UNIT) -
                     offset / ZONE_CHARGE_UNIT * ZONE_CHARGE_UNIT;

    ASSERT(len > 0 && end <= ZONE_FILE_SIZE_MAX);
    return smaller(inode->used + units, zone_round_up(size, ZONE_CHARGE_UNIT));
}

uint64_t zone_used_resized(const struct store_inode *inode, uint64_t size)
{
    return smaller(inode->used, zone_round_up(size, ZONE_CHARGE_UNIT));
}
