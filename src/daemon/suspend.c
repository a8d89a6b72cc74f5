#include "daemon/suspend.h"

#include "base/assert.h"

static uint32_t ask(struct suspend *s)
{
    if (!s->bus || s->asking || s->locked) {
        return 0;
    }
    s->asking = true;
    return SUSPEND_DO_LOCK;
}

static uint32_t release(struct suspend *s)
{
    uint32_t todo = s->locked ? SUSPEND_DO_RELEASE : 0;

    s->locked = false;
    return todo;
}

static uint32_t wake(struct suspend *s, uint64_t now_ms)
{
    uint32_t todo = s->state == SUSPEND_AWAKE ? 0 : SUSPEND_DO_WAKE;

    s->state = SUSPEND_AWAKE;
    s->since_ms = now_ms;
    s->why = 0;
    s->leaving = 0;
    return todo | ask(s);
}

static uint32_t begin(struct suspend *s, const struct suspend_event *event)
{
    s->why |= event->why;
    if (s->state != SUSPEND_AWAKE) {
        return 0;
    }
    s->state = SUSPEND_LEAVING;
    s->since_ms = event->now_ms;
    s->quiet = false;
    return SUSPEND_DO_LEAVE;
}

static uint32_t end(struct suspend *s, const struct suspend_event *event)
{
    s->why &= ~(uint32_t)event->why;
    return s->why != 0 ? 0 : wake(s, event->now_ms);
}

/* The second look that finds nothing left is the good one: what was said last, such as
 * that a lease is given back, has left this machine by then. */
static uint32_t look(struct suspend *s, const struct suspend_event *event)
{
    uint64_t waited_ms = event->now_ms - s->since_ms;
    bool done;

    s->leaving = event->leaving;
    switch (s->state) {
    case SUSPEND_LEAVING:
        done = s->quiet && event->leaving == 0;
        s->quiet = event->leaving == 0;
        if (!done && waited_ms < SUSPEND_LEAVE_MS) {
            return 0;
        }
        s->state = SUSPEND_LEFT;
        s->since_ms = event->now_ms;
        return release(s);
    case SUSPEND_LEFT:
        return waited_ms < SUSPEND_STUCK_MS ? 0 : wake(s, event->now_ms);
    case SUSPEND_AWAKE:
        break;
    }
    return 0;
}

uint32_t suspend_step(struct suspend *suspend, const struct suspend_event *event)
{
    struct suspend *s = suspend;

    switch (event->type) {
    case SUSPEND_EV_BUS:
        s->bus = true;
        return ask(s);
    case SUSPEND_EV_LOST:
        /* Nobody would tell that the machine is awake. */
        s->bus = false;
        s->asking = false;
        return release(s) | wake(s, event->now_ms);
    case SUSPEND_EV_LOCKED:
        s->asking = false;
        s->locked = true;
        /* Given too late, it would be taken for one that was never given up. */
        return s->state == SUSPEND_LEFT ? release(s) : 0;
    case SUSPEND_EV_REFUSED:
        s->asking = false;
        return 0;
    case SUSPEND_EV_BEGINS:
        return begin(s, event);
    case SUSPEND_EV_ENDS:
        return end(s, event);
    case SUSPEND_EV_LOOK:
        return look(s, event);
    }
    ASSERT_NEVER("another type of event");
}

uint64_t suspend_look_ms(const struct suspend *suspend, uint64_t now_ms)
{
    switch (suspend->state) {
    case SUSPEND_LEAVING:
        return now_ms + SUSPEND_LOOK_MS;
    case SUSPEND_LEFT:
        return suspend->since_ms + SUSPEND_STUCK_MS;
    case SUSPEND_AWAKE:
        break;
    }
    return UINT64_MAX;
}
