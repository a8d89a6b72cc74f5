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

/* Waiting for these, a connection may take so long. */
#define FRONT_FIRST_MS 10000u /* The first byte of its first call. */
#define FRONT_RECORD_MS \
    30000u /* The rest of its first call; of others, if room is short. */

/* So slowly a client may take its replies while others wait for memory. */
#define FRONT_SLOW_MS 5000u
#define FRONT_SLOW_BYTES (256u << 10) /* In that time; or all there are. */

/* What a client has taken of its replies; all zero at first. */
struct front_pace {
    uint64_t taken_bytes; /* At @since_ms. */
    uint64_t since_ms;
};

/*
 * @taken_bytes so far, @left_bytes wait to be taken. Keeps @pace if that is no progress
 * since, else moves it on. True: too slow.
 */
bool front_pace_step(struct front_pace *pace, uint64_t taken_bytes, uint64_t left_bytes,
                     uint64_t now_ms);

/* How a connection stands. */
struct front_state {
    bool room_short; /* Others wait for memory. */
    bool served;     /* It has had a reply. */
    bool working;    /* Calls of its are under way, or their replies. */
    bool slow;       /* It does not take its replies: front_pace_step. */
    bool receiving;  /* A part of a call is there, and the rest is waited for. */
    uint64_t
        idle_ms; /* Since it was made or read again, finished a call, took replies. */
};

/* Why the connection has to go now; NULL: it may stay. */
const char *front_overdue(const struct front_state *state);

/* A connection that might have to go for others. */
struct front_seat {
    uint64_t who;      /* Its address. */
    uint64_t weight;   /* What it costs: 1, or bytes. */
    uint64_t since_ms; /* It has finished nothing since. */
    void *what;        /* The caller's. */
    bool served;
    bool busy; /* It must stay. */
};

/*
 * Who has to go: of those that never had a reply the oldest; else, of the address that
 * costs most, the one that has finished nothing for the longest time. Puts @seats in
 * another order. Returns its place, or @n if all are busy.
 */
uint32_t front_victim(struct front_seat *seats, uint32_t n);

#endif
