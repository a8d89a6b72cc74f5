#include "raft/wall.h"

#include "base/assert.h"

#include <stddef.h>

bool wall_heard(struct wall_clock *clock, uint64_t ms, uint64_t now_ms)
{
    if (ms > (uint64_t)WALL_MS_MAX) {
        return false;
    }
    *clock = (struct wall_clock){
        .known = true, .start_ms = (int64_t)ms - (int64_t)now_ms, .at_ms = now_ms};
    return true;
}

bool wall_is_fresh(const struct wall_clock *clock, uint64_t now_ms)
{
    return clock->known && now_ms - clock->at_ms <= WALL_FRESH_MS;
}

bool wall_is_off(int64_t start_ms, int64_t from_ms)
{
    return start_ms - from_ms > WALL_OFF_MS || from_ms - start_ms > WALL_OFF_MS;
}

static void sort(int64_t *starts, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        int64_t start = starts[i];
        uint32_t at = i;

        for (; at > 0 && starts[at - 1] > start; at--) {
            starts[at] = starts[at - 1];
        }
        starts[at] = start;
    }
}

struct wall_verdict wall_judge(int64_t *starts, uint32_t n, uint64_t now_ms,
                               int64_t zone_ms)
{
    struct wall_verdict verdict = {.n = n};
    uint32_t unset = 0;
    int64_t low;
    int64_t high;

    ASSERT(n > 0);
    sort(starts, n);
    while (unset < n && starts[unset] + (int64_t)now_ms < WALL_SET_MS) {
        unset++;
    }
    unset = unset == n ? 0 : unset; /* If none was ever set, they are all there is. */
    low = starts[unset + (n - unset - 1) / 2];
    high = starts[unset + (n - unset) / 2];
    verdict.divided = wall_is_off(low, high);
    verdict.start_ms = low;
    if (verdict.divided && low + (int64_t)now_ms < zone_ms - WALL_OFF_MS) {
        verdict.start_ms = high;
    }
    return verdict;
}
