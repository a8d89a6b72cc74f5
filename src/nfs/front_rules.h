/*
 * front_rules: what the NFS listener decides about its clients' connections; pure.
 *
 * Times are in milliseconds of CLOCK_BOOTTIME, which goes on while a machine sleeps.
 */
#ifndef NFS_FRONT_RULES_H
#define NFS_FRONT_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* From before a loop waited until now. */
struct front_wait {
    uint64_t begun_ms;
    uint64_t now_ms;
};

/* True if the loop stood still (a stopped process, a sleeping machine): what its clients
 * sent may be so old that they have gone elsewhere with it. */
bool front_stood_still(const struct front_wait *wait, uint32_t stall_ms_max);

#endif
