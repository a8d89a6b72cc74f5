/*
 * wall: by which of the members' clocks of the day zone time goes.
 *
 * Pure: no clock, no I/O. Clocks are compared by their start: what a clock showed, in
 * milliseconds since 1970, when CLOCK_BOOTTIME of the member that compares was 0. So what
 * was heard a while ago stays comparable, and a jump of the own clock is seen at once.
 *
 * Promises (why, and what was rejected: docs/adr/0009-clocks.md): as long as a majority of
 * the clocks given is right to within WALL_OFF_MS, so is what is chosen. Of two that
 * contradict each other the earlier is chosen, unless zone time is past it: zone time that
 * is behind catches up, zone time that is ahead stays so. Something is chosen always:
 * nobody waits for a clock.
 */
#ifndef RAFT_WALL_H
#define RAFT_WALL_H

#include <stdbool.h>
#include <stdint.h>

#define WALL_OFF_MS 60000    /* A clock further off than that is not stamped with. */
#define WALL_MOVED_MS 1000   /* A jump that others are told of at once. */
#define WALL_TELL_MS 5000u   /* They are told again and again. */
#define WALL_FRESH_MS 30000u /* What was not told for so long is forgotten. */
/* 2020-01-01: a clock that shows an earlier time was never set. */
#define WALL_SET_MS INT64_C(1577836800000)
#define WALL_MS_MAX (INT64_C(1) << 53) /* Of what is told. */

struct wall_clock {
    bool known;
    int64_t start_ms;
    uint64_t at_ms; /* When it was heard. */
};

struct wall_verdict {
    uint32_t n;       /* Clocks that were compared; below 2 there is nothing to say. */
    int64_t start_ms; /* Of the one that zone time goes by. */
    bool divided;     /* They contradict each other, and none has a majority. */
};

/* What @ms, shown at @now_ms, says. False: no time at all. */
bool wall_heard(struct wall_clock *clock, uint64_t ms, uint64_t now_ms);
bool wall_is_fresh(const struct wall_clock *clock, uint64_t now_ms);
bool wall_is_off(int64_t start_ms, int64_t from_ms);
/* Judge @n > 0 clocks by their starts, which are put in order. */
struct wall_verdict wall_judge(int64_t *starts, uint32_t n, uint64_t now_ms,
                               int64_t zone_ms);

#endif
