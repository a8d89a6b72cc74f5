/* Virtual time: a heap of events, in order of time, then of making. */
#include "sys.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 200u /* Between two looks whether a run is over, at most. */

void *sys_alloc(size_t n, size_t size)
{
    void *memory = calloc(n == 0 ? 1 : n, size);

    ASSERT(memory != NULL);
    return memory;
}

struct slice sys_slice_copy(struct slice in)
{
    struct buf *copy;
    struct slice out = {0};

    if (in.len == 0) {
        return out;
    }
    copy = buf_copy(in.data, in.len);
    ASSERT(copy != NULL);
    out = slice_of(copy, 0, copy->len);
    buf_unref(copy);
    return out;
}

static bool before(const struct sys_event *a, const struct sys_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

void sys_at(struct sys *sys, uint64_t at_us, struct sys_event event)
{
    uint32_t at = sys->n_events;

    if (sys->n_events == sys->cap_events) {
        sys->cap_events = sys->cap_events == 0 ? 1024 : sys->cap_events * 2;
        sys->events = realloc(sys->events, sys->cap_events * sizeof *sys->events);
        ASSERT(sys->events != NULL);
    }
    event.at_us = at_us > sys->now_us ? at_us : sys->now_us;
    event.order = ++sys->order;
    sys->n_events++;
    while (at > 0 && before(&event, &sys->events[(at - 1) / 2])) {
        sys->events[at] = sys->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sys->events[at] = event;
}

void sys_in(struct sys *sys, uint64_t delay_us, struct sys_event event)
{
    sys_at(sys, sys->now_us + delay_us, event);
}

static struct sys_event pop(struct sys *sys)
{
    struct sys_event first = sys->events[0];
    struct sys_event last = sys->events[--sys->n_events];
    uint32_t at = 0;

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= sys->n_events) {
            break;
        }
        if (child + 1 < sys->n_events &&
            before(&sys->events[child + 1], &sys->events[child])) {
            child++;
        }
        if (!before(&sys->events[child], &last)) {
            break;
        }
        sys->events[at] = sys->events[child];
        at = child;
    }
    sys->events[at] = last;
    return first;
}

void sys_go(struct sys *sys, uint64_t until_us, bool (*done)(struct sys *sys))
{
    uint64_t looked_us = sys->now_us;

    while (!sys->failing && sys->n_events > 0 && sys->events[0].at_us <= until_us) {
        struct sys_event event = pop(sys);

        sys->now_us = event.at_us;
        sys->counts.events++;
        event.fn(sys, event.ptr, event.a, event.b);
        if (done == NULL || (sys->counts.events % 256 != 0 &&
                             sys->now_us - looked_us < LOOK_MS * SYS_US)) {
            continue;
        }
        looked_us = sys->now_us;
        if (done(sys)) {
            return;
        }
    }
    if (!sys->failing && sys->now_us < until_us) {
        sys->now_us = until_us;
    }
}

uint64_t sys_rand(struct sys *sys, uint64_t bound)
{
    return prng_below(&sys->prng, bound);
}

bool sys_chance(struct sys *sys, uint64_t n)
{
    return prng_below(&sys->prng, n) == 0;
}

void sys_fail(struct sys *sys, const char *format, ...)
{
    va_list args;

    if (sys->failing) {
        return;
    }
    sys->failing = true;
    va_start(args, format);
    (void)vsnprintf(sys->failure, sizeof sys->failure, format, args);
    va_end(args);
    sys_trace(sys, "FAILURE: %s", sys->failure);
}

void sys_trace(struct sys *sys, const char *format, ...)
{
    va_list args;

    if (!sys->options.trace) {
        return;
    }
    printf("[%10.3f] ", (double)sys->now_us / 1000.0);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    printf("\n");
}
