/*
 * retry: when a member that failed is opened anew.
 *
 * A pure state machine, one for each group of this node. It owns no host, clock or disk:
 * node_retry.c tells it what a look at the member found, and carries out what it answers.
 * Time is an argument, in milliseconds of CLOCK_BOOTTIME.
 *
 * By itself a member is opened anew after faults that may pass while nobody looks: the disk
 * was away, gave an error, turned read-only, or the machine had no memory or descriptors.
 * What it then finds is judged as at any start of the daemon, so that to try is never worse
 * than a restart. Not by itself, where something is there that the daemon must not use as it
 * is: another zone's dataset, another version's, contradictions. What is damaged or older
 * than what was acknowledged never comes here: it is quarantined.
 *
 * The first try comes after RETRY_FIRST_MS; each that fails doubles the wait, up to
 * RETRY_PAUSE_MS, and so does a member that runs and fails again before it has run for
 * RETRY_CALM_MS.
 */
#ifndef DAEMON_RETRY_H
#define DAEMON_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#define RETRY_FIRST_MS 2000u
#define RETRY_PAUSE_MS 60000u
#define RETRY_CALM_MS 600000u

/* All zeros: it never failed. */
struct retry {
    uint32_t tries;     /* Failures since it last ran for long. */
    bool waits;         /* It failed, and this is known. */
    uint64_t next_ms;   /* Since it waits: when to open it; 0: not by itself. */
    uint64_t failed_ms; /* When it failed first; 0: it runs. */
    uint64_t runs_ms;   /* Since when it runs; 0: it does not. */
};

enum retry_event_type {
    RETRY_EV_FAILED = 1, /* It is in state failed, because of .fault. */
    RETRY_EV_RUNS = 2,
    RETRY_EV_ASKED = 3, /* A person wants it to be tried now. */
};

struct retry_event {
    enum retry_event_type type;
    uint64_t now_ms;
    int fault; /* FAILED: a negated errno; 0: none that a start could get rid of. */
};

enum retry_action {
    RETRY_DO_NOTHING = 0,
    RETRY_DO_OPEN = 1, /* Now. If it fails, FAILED is told again once that is over. */
    RETRY_DO_TELL = 2, /* It is back. */
};

/* What was seen, as often as somebody looks. */
enum retry_action retry_step(struct retry *retry, const struct retry_event *event);

/* True if it is opened by itself, in *@left_ms. */
bool retry_waits(const struct retry *retry, uint64_t now_ms, uint64_t *left_ms);

/* May the fault (a negated errno) pass by itself? */
bool retry_may_pass(int fault);

#endif
