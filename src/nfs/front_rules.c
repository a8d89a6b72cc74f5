#include "nfs/front_rules.h"

#include <stdlib.h>

bool front_stood_still(const struct front_wait *wait, uint32_t stall_ms_max)
{
    /* A clock that goes back says nothing. */
    return wait->now_ms > wait->begun_ms && wait->now_ms - wait->begun_ms > stall_ms_max;
}

bool front_pace_step(struct front_pace *pace, uint64_t taken_bytes, uint64_t left_bytes,
                     uint64_t now_ms)
{
    if (left_bytes == 0 || taken_bytes - pace->taken_bytes >= FRONT_SLOW_BYTES) {
        *pace = (struct front_pace){.taken_bytes = taken_bytes, .since_ms = now_ms};
        return false;
    }
    return now_ms >= pace->since_ms + FRONT_SLOW_MS;
}

const char *front_overdue(const struct front_state *state)
{
    if (!state->served && !state->working) {
        if (!state->receiving && state->idle_ms >= FRONT_FIRST_MS) {
            return "no call came";
        }
        if (state->idle_ms >= FRONT_RECORD_MS) {
            return "the first call does not end";
        }
    }
    if (state->room_short && state->receiving && state->idle_ms >= FRONT_RECORD_MS) {
        return "a call does not end, and others wait for room";
    }
    if (state->room_short && state->slow) {
        return "it does not take its replies, and others wait for room";
    }
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    uint64_t left = ((const struct front_seat *)a)->who;
    uint64_t right = ((const struct front_seat *)b)->who;

    return left < right ? -1 : left > right;
}

/* The place of the oldest in [@from, @to) that may go; @to if there is none. */
static uint32_t oldest(const struct front_seat *seats, uint32_t from, uint32_t to,
                       bool only_unserved)
{
    uint32_t found = to;

    for (uint32_t i = from; i < to; i++) {
        if (!seats[i].busy && !(only_unserved && seats[i].served) &&
            (found == to || seats[i].since_ms < seats[found].since_ms)) {
            found = i;
        }
    }
    return found;
}

uint32_t front_victim(struct front_seat *seats, uint32_t n)
{
    uint32_t found = oldest(seats, 0, n, true);
    uint64_t most = 0;
    uint32_t end;

    if (found < n) {
        return found;
    }
    qsort(seats, n, sizeof *seats, by_address);
    for (uint32_t at = 0; at < n; at = end) {
        uint64_t weight = 0;
        uint32_t first;

        for (end = at; end < n && seats[end].who == seats[at].who; end++) {
            weight += seats[end].weight;
        }
        first = oldest(seats, at, end, false);
        if (first < end && weight > most) {
            most = weight;
            found = first;
        }
    }
    return found;
}
