#include "nfs/front_rules.h"

bool front_stood_still(const struct front_wait *wait, uint32_t stall_ms_max)
{
    /* A clock that goes back says nothing. */
    return wait->now_ms > wait->begun_ms && wait->now_ms - wait->begun_ms > stall_ms_max;
}
