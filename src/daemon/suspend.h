/*
 * suspend: what a node does before its machine sleeps, and once it is awake.
 *
 * A pure state machine. logind_uv.c tells it what the machine's manager says and carries
 * out what it answers. Times are milliseconds of the time that the machine was awake, an
 * argument.
 *
 * A lock is held while the node is awake; the machine does not sleep before the lock is
 * given up. So when sleep begins, first everything is handed over and given back, then the
 * lock goes. Promises: it goes within SUSPEND_LEAVE_MS of the beginning, or with the first
 * LOOK after that. And who was told that sleep begins but never that it ended goes on as
 * usual after SUSPEND_STUCK_MS of being awake: a node that never leads again for want of
 * one message would be worse than one that leads.
 */
#ifndef DAEMON_SUSPEND_H
#define DAEMON_SUSPEND_H

#include <stdbool.h>
#include <stdint.h>

#define SUSPEND_LEAVE_MS 2000u /* The machine's manager waits for 5 s as a rule. */
#define SUSPEND_LOOK_MS 50u    /* Between two looks at what is still to be handed over. */
#define SUSPEND_STUCK_MS 60000u /* About to sleep for so long, and awake. */

/* Why the machine is about to stop; bits, since both may come. */
enum suspend_why { SUSPEND_SLEEP = 1, SUSPEND_SHUTDOWN = 2 };

enum suspend_event_type {
    SUSPEND_EV_BUS = 1,     /* The manager can be spoken to, */
    SUSPEND_EV_LOST = 2,    /* or not any more. */
    SUSPEND_EV_LOCKED = 3,  /* It gave a lock, */
    SUSPEND_EV_REFUSED = 4, /* or none. */
    SUSPEND_EV_BEGINS = 5,  /* The machine is about to sleep or shut down: .why. */
    SUSPEND_EV_ENDS = 6,    /* It is awake, or does not shut down: .why. */
    SUSPEND_EV_LOOK = 7,    /* .leaving: zones that are still to be handed over. */
};

struct suspend_event {
    enum suspend_event_type type;
    uint64_t now_ms;
    enum suspend_why why;
    uint32_t leaving;
};

/* What to do, in this order. */
enum suspend_action {
    SUSPEND_DO_LEAVE = 1,   /* Hand over, give back, become leader of nothing. */
    SUSPEND_DO_RELEASE = 2, /* Give the lock up: from then on the machine may sleep. */
    SUSPEND_DO_WAKE = 4,    /* Be as usual. */
    SUSPEND_DO_LOCK = 8,    /* Ask for a lock. */
};

enum suspend_state {
    SUSPEND_AWAKE = 0,
    SUSPEND_LEAVING = 1, /* Being handed over. */
    SUSPEND_LEFT = 2,    /* The machine may sleep at any moment. */
};

/* Zero is awake, with nobody to speak to. */
struct suspend {
    enum suspend_state state;
    bool bus;
    bool asking; /* For a lock. */
    bool locked;
    bool quiet;        /* At the last look nothing was left. */
    uint32_t why;      /* Bits of suspend_why; 0: awake. */
    uint64_t since_ms; /* Of the state. */
    uint32_t leaving;  /* At the last look. */
};

/* Advance by one event. Returns the bits of what is to be done. */
uint32_t suspend_step(struct suspend *suspend, const struct suspend_event *event);
/* When a LOOK is due; UINT64_MAX: none is. */
uint64_t suspend_look_ms(const struct suspend *suspend, uint64_t now_ms);

#endif
