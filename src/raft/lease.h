/*
 * lease: who may answer reads without asking anybody, and until when.
 *
 * Pure: no clock, no I/O; time is an argument, in milliseconds of the member's own
 * CLOCK_BOOTTIME. Three parts, used by replica_lease.c and by the simulator:
 *
 * - the leader's lease: it numbers pings; while a majority of its voters has answered
 *   pings that are young enough, no other leader can have been elected;
 * - the read leases that it grants to members within its own;
 * - a member's own read lease.
 *
 * Promises (proof: docs/adr/0004-leases.md), if the clocks of any two members run at
 * rates that differ by at most 1 %, if whoever answered a ping was held by rgroup_hold
 * for lease_hold_ms (rgroup's G12 and G16), and if the voters change only while no read
 * lease is out: while lease_end_ms lies ahead on the leader's clock, or a read lease on
 * its holder's, no leader of a later term has been elected.
 */
#ifndef RAFT_LEASE_H
#define RAFT_LEASE_H

#include "raft/rgroup.h"

#include <stdbool.h>
#include <stdint.h>

#define LEASE_PINGS_MAX 16u

/* What one ping is worth, nine tenths of an election timeout: a follower's hold is over
 * before its election timer, started at the same time, can fire. */
uint32_t lease_length_ms(uint32_t election_ms);
/* How much of @ms of another member's clock has passed for certain: less 1 %. */
uint64_t lease_short_ms(uint64_t ms);
/* How long a voter holds after it answered a ping worth @length_ms: one more, since
 * clocks are read in whole milliseconds. */
uint64_t lease_hold_ms(uint64_t length_ms);

struct lease_voter {
    uint64_t id;
    uint64_t sent_ms; /* When the newest ping that it answered was sent. */
};

/* A read lease that was granted, on the leader's clock. */
struct lease_holder {
    uint64_t id;
    uint64_t number;     /* Of the question that it was granted for. */
    uint64_t until_ms;   /* Past it the holder's own lease is over for certain. */
    uint64_t received;   /* It has entries of this term's log up to here. */
    uint64_t late_index; /* What it was first seen to lack, 0: nothing; */
    uint64_t late_ms;    /* and when. */
    bool revoked;        /* It was told to give it back. */
};

/* The leader's side. Zero is no lease. */
struct lease {
    uint64_t term;
    bool given_up; /* For the rest of the term. */
    uint64_t seq;
    uint64_t sent_ms[LEASE_PINGS_MAX]; /* By number. */
    uint64_t ping_ms;                  /* When the newest was sent; 0: none. */
    uint32_t n_voters;
    struct lease_voter voters[RGROUP_MEMBERS_MAX];
    uint32_t n_holders;
    struct lease_holder holders[RGROUP_MEMBERS_MAX];
};

/* A new leadership, or none (@term 0): nothing is left of the one before. */
void lease_begin(struct lease *lease, uint64_t term);
/* A ping is about to be sent: its number. */
uint64_t lease_ping(struct lease *lease, uint64_t now_ms);
/* @from answered ping @seq. False if that is no news. */
bool lease_answer(struct lease *lease, uint64_t from, uint64_t seq);
/* The leader's lease lasts until then (not at that time itself); 0: there is none.
 * @length_ms is what the pings were said to be worth. */
uint64_t lease_end_ms(const struct lease *lease, const struct rgroup_conf *conf,
                      uint64_t self, uint64_t now_ms, uint32_t length_ms);
/* Before leadership is handed over. No read lease may be out. */
void lease_give_up(struct lease *lease);

/* Grant @id a read lease that ends by @until_ms, for its question @number; one it has is
 * prolonged. NULL: it was told to give one back and has not, or there is no room. */
struct lease_holder *lease_grant(struct lease *lease, uint64_t id, uint64_t number,
                                 uint64_t until_ms);
/* @id holds nothing that it asked for with @number or an earlier one. */
void lease_returned(struct lease *lease, uint64_t id, uint64_t number);
struct lease_holder *lease_find(struct lease *lease, uint64_t id);
/* Forget what is over; how many read leases are out. */
uint32_t lease_out(struct lease *lease, uint64_t now_ms);
/* The first of them to be over; UINT64_MAX: none is out. */
uint64_t lease_next_ms(const struct lease *lease);

/* A member's own read lease. Zero is none. */
struct lease_own {
    uint64_t term;
    uint64_t leader;
    uint64_t asked;    /* Number of the open question, 0: none; */
    uint64_t asked_ms; /* when it was asked. */
    uint64_t number;   /* Of the last one asked in this life. */
    uint64_t end_ms;   /* The lease lasts until then; 0: none. */
    uint64_t held;     /* Number of the question it was granted for. */
    uint64_t index;    /* It serves nothing before it has the log up to here. */
};

/* Ask @leader of @term now; returns the question's number. What is held stays. */
uint64_t lease_ask(struct lease_own *own, uint64_t term, uint64_t leader,
                   uint64_t now_ms);
/* The answer to question @number: @ms long, 0: none. True if there is a lease now. */
bool lease_granted(struct lease_own *own, uint64_t number, uint64_t ms, uint64_t index,
                   uint64_t now_ms);
bool lease_is_held(const struct lease_own *own, uint64_t now_ms);
/* No lease, and no question: an answer that is still to come counts for nothing. */
void lease_drop(struct lease_own *own);

#endif
