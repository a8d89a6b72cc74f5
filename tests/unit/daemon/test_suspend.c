/* What is done in which order when a machine is about to sleep, and once it is awake. */
#include "daemon/suspend.h"
#include "lib/check.h"

#include <string.h>

static struct suspend suspend;
static uint64_t now_ms;

/* What is to be done, in the order in which it is done. */
static const char *does(struct suspend_event event)
{
    static char text[64];
    uint32_t todo;

    event.now_ms = now_ms;
    todo = suspend_step(&suspend, &event);
    text[0] = '\0';
    strcat(text, (todo & SUSPEND_DO_LEAVE) != 0 ? "leave " : "");
    strcat(text, (todo & SUSPEND_DO_RELEASE) != 0 ? "release " : "");
    strcat(text, (todo & SUSPEND_DO_WAKE) != 0 ? "wake " : "");
    strcat(text, (todo & SUSPEND_DO_LOCK) != 0 ? "lock " : "");
    return text;
}

static const char *event(enum suspend_event_type type)
{
    return does((struct suspend_event){.type = type});
}

static const char *begins(enum suspend_why why)
{
    return does((struct suspend_event){.type = SUSPEND_EV_BEGINS, .why = why});
}

static const char *ends(enum suspend_why why)
{
    return does((struct suspend_event){.type = SUSPEND_EV_ENDS, .why = why});
}

/* When the next look is due. */
static const char *look(uint32_t leaving)
{
    uint64_t at_ms = suspend_look_ms(&suspend, now_ms);

    CHECK(at_ms != UINT64_MAX);
    now_ms = at_ms;
    return does((struct suspend_event){.type = SUSPEND_EV_LOOK, .leaving = leaving});
}

static void ready(void)
{
    suspend = (struct suspend){0};
    now_ms = 1000;
    CHECK_UINT(suspend_look_ms(&suspend, now_ms), UINT64_MAX);
    CHECK_STR(event(SUSPEND_EV_BUS), "lock ");
    CHECK_STR(event(SUSPEND_EV_LOCKED), "");
    CHECK_UINT(suspend_look_ms(&suspend, now_ms), UINT64_MAX);
}

/* The lock goes once nothing is left to hand over, and one look later, so that what was
 * said last is out; awake, it is taken again. */
static void sleep_and_wake(void)
{
    ready();
    CHECK_STR(begins(SUSPEND_SLEEP), "leave ");
    CHECK_STR(look(2), "");
    CHECK_STR(look(1), "");
    CHECK_STR(look(0), "");
    CHECK_STR(look(0), "release ");
    CHECK_INT(suspend.state, SUSPEND_LEFT);
    CHECK_STR(ends(SUSPEND_SLEEP), "wake lock ");
    CHECK_STR(event(SUSPEND_EV_LOCKED), "");
    CHECK_UINT(suspend_look_ms(&suspend, now_ms), UINT64_MAX);
    CHECK_STR(begins(SUSPEND_SLEEP), "leave ");
}

/* What is quiet and then is not (a zone that was opened just now) is waited for. */
static void quiet_is_not_done(void)
{
    ready();
    (void)begins(SUSPEND_SLEEP);
    CHECK_STR(look(0), "");
    CHECK_STR(look(1), "");
    CHECK_STR(look(0), "");
    CHECK_STR(look(0), "release ");
}

/* The machine is not held up for long, whatever cannot be handed over. */
static void bounded(void)
{
    uint64_t begun_ms;

    ready();
    begun_ms = now_ms;
    (void)begins(SUSPEND_SLEEP);
    while (suspend.state == SUSPEND_LEAVING) {
        const char *text = look(3);

        CHECK_STR(text, suspend.state == SUSPEND_LEAVING ? "" : "release ");
    }
    CHECK_UINT(now_ms - begun_ms, SUSPEND_LEAVE_MS);
    CHECK_UINT(suspend.leaving, 3);
}

/* It may end before all is handed over: the lock is kept. */
static void ends_early(void)
{
    ready();
    (void)begins(SUSPEND_SLEEP);
    (void)look(1);
    CHECK_STR(ends(SUSPEND_SLEEP), "wake ");
    CHECK_INT(suspend.state, SUSPEND_AWAKE);
    CHECK(suspend.locked);
}

/* Told twice, it is done once; told of both, it is over when both are. */
static void two_reasons(void)
{
    ready();
    CHECK_STR(begins(SUSPEND_SHUTDOWN), "leave ");
    CHECK_STR(begins(SUSPEND_SHUTDOWN), "");
    CHECK_STR(begins(SUSPEND_SLEEP), "");
    CHECK_STR(ends(SUSPEND_SHUTDOWN), "");
    CHECK_STR(look(0), "");
    CHECK_STR(look(0), "release ");
    CHECK_STR(ends(SUSPEND_SLEEP), "wake lock ");
    CHECK_STR(ends(SUSPEND_SLEEP), "");
}

/* Without a lock the machine does not wait, but as much as can be is done all the same; a
 * lock that was refused is asked for again after waking. */
static void without_a_lock(void)
{
    ready();
    suspend = (struct suspend){0};
    CHECK_STR(event(SUSPEND_EV_BUS), "lock ");
    CHECK_STR(event(SUSPEND_EV_REFUSED), "");
    CHECK_STR(begins(SUSPEND_SLEEP), "leave ");
    CHECK_STR(look(0), "");
    CHECK_STR(look(0), "");
    CHECK_INT(suspend.state, SUSPEND_LEFT);
    CHECK_STR(ends(SUSPEND_SLEEP), "wake lock ");
}

/* A lock that comes while the machine may sleep already is given up at once, and one that
 * comes before is kept until then. One question at a time. */
static void late_lock(void)
{
    ready();
    suspend = (struct suspend){0};
    (void)event(SUSPEND_EV_BUS);
    (void)begins(SUSPEND_SLEEP);
    CHECK_STR(event(SUSPEND_EV_LOCKED), "");
    (void)look(0);
    CHECK_STR(look(0), "release ");
    CHECK_STR(ends(SUSPEND_SLEEP), "wake lock ");
    CHECK_STR(ends(SUSPEND_SLEEP), "");
    (void)begins(SUSPEND_SLEEP);
    (void)look(0);
    CHECK_STR(look(0), "");
    CHECK_STR(event(SUSPEND_EV_LOCKED), "release ");
}

/* Whoever told that sleep begins cannot tell any more that it ended: so it has. */
static void bus_lost(void)
{
    ready();
    CHECK_STR(event(SUSPEND_EV_LOST), "release ");
    CHECK_STR(event(SUSPEND_EV_BUS), "lock ");
    CHECK_STR(event(SUSPEND_EV_LOST), "");
    CHECK_STR(event(SUSPEND_EV_BUS), "lock ");
    CHECK_STR(event(SUSPEND_EV_LOCKED), "");
    (void)begins(SUSPEND_SLEEP);
    CHECK_STR(event(SUSPEND_EV_LOST), "release wake ");
    CHECK_UINT(suspend_look_ms(&suspend, now_ms), UINT64_MAX);
}

/* A machine that was said to sleep and is awake all the time: the node does not keep off
 * for ever. */
static void never_slept(void)
{
    uint64_t left_ms;

    ready();
    (void)begins(SUSPEND_SLEEP);
    (void)look(0);
    CHECK_STR(look(0), "release ");
    left_ms = now_ms;
    CHECK_STR(look(0), "wake lock ");
    CHECK_UINT(now_ms - left_ms, SUSPEND_STUCK_MS);
    CHECK_STR(ends(SUSPEND_SLEEP), "");
}

TEST_MAIN(CHECK_TEST(sleep_and_wake), CHECK_TEST(quiet_is_not_done), CHECK_TEST(bounded),
          CHECK_TEST(ends_early), CHECK_TEST(two_reasons), CHECK_TEST(without_a_lock),
          CHECK_TEST(late_lock), CHECK_TEST(bus_lost), CHECK_TEST(never_slept))
