#include "raft/lease.h"

#include "base/assert.h"

#include <string.h>

uint32_t lease_length_ms(uint32_t election_ms)
{
    return (uint32_t)((uint64_t)election_ms * 9 / 10);
}

uint64_t lease_short_ms(uint64_t ms)
{
    return ms - (ms + 99) / 100;
}

uint64_t lease_hold_ms(uint64_t length_ms)
{
    return length_ms + 1;
}

void lease_begin(struct lease *lease, uint64_t term)
{
    uint64_t seq = lease->seq;

    memset(lease, 0, sizeof *lease);
    lease->term = term;
    lease->seq = seq; /* Answers to an earlier leadership fit nothing. */
}

uint64_t lease_ping(struct lease *lease, uint64_t now_ms)
{
    lease->seq++;
    lease->sent_ms[lease->seq % LEASE_PINGS_MAX] = now_ms;
    lease->ping_ms = now_ms;
    return lease->seq;
}

static struct lease_voter *voter_of(struct lease *lease, uint64_t id)
{
    for (uint32_t i = 0; i < lease->n_voters; i++) {
        if (lease->voters[i].id == id) {
            return &lease->voters[i];
        }
    }
    if (lease->n_voters == RGROUP_MEMBERS_MAX) {
        return NULL;
    }
    lease->voters[lease->n_voters] = (struct lease_voter){.id = id};
    return &lease->voters[lease->n_voters++];
}

bool lease_answer(struct lease *lease, uint64_t from, uint64_t seq)
{
    struct lease_voter *voter;
    uint64_t sent_ms;

    if (lease->ping_ms == 0 || seq == 0 || seq > lease->seq ||
        lease->seq - seq >= LEASE_PINGS_MAX) {
        return false;
    }
    sent_ms = lease->sent_ms[seq % LEASE_PINGS_MAX];
    voter = voter_of(lease, from);
    if (voter == NULL || sent_ms <= voter->sent_ms) {
        return false;
    }
    voter->sent_ms = sent_ms;
    return true;
}

/* When the newest ping that @id answered was sent; 0: it answered none. */
static uint64_t answered_ms(const struct lease *lease, uint64_t id)
{
    for (uint32_t i = 0; i < lease->n_voters; i++) {
        if (lease->voters[i].id == id) {
            return lease->voters[i].sent_ms;
        }
    }
    return 0;
}

uint64_t lease_end_ms(const struct lease *lease, const struct rgroup_conf *conf,
                      uint64_t self, uint64_t now_ms, uint32_t length_ms)
{
    uint64_t newest[RGROUP_MEMBERS_MAX]; /* Falling. */
    uint32_t n = 0;

    if (lease->term == 0 || lease->given_up) {
        return 0;
    }
    for (uint32_t i = 0; i < conf->n; i++) {
        uint64_t id = conf->servers[i].id;
        uint64_t ms = id == self ? now_ms : answered_ms(lease, id);
        uint32_t at = n;

        if (conf->servers[i].role != RGROUP_VOTER) {
            continue;
        }
        for (; at > 0 && newest[at - 1] < ms; at--) {
            newest[at] = newest[at - 1];
        }
        newest[at] = ms;
        n++;
    }
    /* The sent time that a majority has reached, ourselves at present. */
    return n == 0 || newest[n / 2] == 0 ? 0 : newest[n / 2] + lease_short_ms(length_ms);
}

void lease_give_up(struct lease *lease)
{
    lease->given_up = true;
}

struct lease_holder *lease_find(struct lease *lease, uint64_t id)
{
    for (uint32_t i = 0; i < lease->n_holders; i++) {
        if (lease->holders[i].id == id) {
            return &lease->holders[i];
        }
    }
    return NULL;
}

struct lease_holder *lease_grant(struct lease *lease, uint64_t id, uint64_t number,
                                 uint64_t until_ms)
{
    struct lease_holder *holder = lease_find(lease, id);

    ASSERT(lease->term != 0 && !lease->given_up);
    if (holder == NULL) {
        if (lease->n_holders == RGROUP_MEMBERS_MAX) {
            return NULL;
        }
        holder = &lease->holders[lease->n_holders++];
        *holder = (struct lease_holder){.id = id};
    }
    if (holder->revoked) {
        return NULL;
    }
    holder->number = number;
    if (until_ms > holder->until_ms) {
        holder->until_ms = until_ms;
    }
    return holder;
}

void lease_returned(struct lease *lease, uint64_t id, uint64_t number)
{
    struct lease_holder *holder = lease_find(lease, id);

    if (holder != NULL && number >= holder->number) {
        *holder = lease->holders[--lease->n_holders];
    }
}

uint32_t lease_out(struct lease *lease, uint64_t now_ms)
{
    uint32_t i = 0;

    while (i < lease->n_holders) {
        if (lease->holders[i].until_ms <= now_ms) {
            lease->holders[i] = lease->holders[--lease->n_holders];
        } else {
            i++;
        }
    }
    return lease->n_holders;
}

uint64_t lease_next_ms(const struct lease *lease)
{
    uint64_t next_ms = UINT64_MAX;

    for (uint32_t i = 0; i < lease->n_holders; i++) {
        if (lease->holders[i].until_ms < next_ms) {
            next_ms = lease->holders[i].until_ms;
        }
    }
    return next_ms;
}

uint64_t lease_ask(struct lease_own *own, uint64_t term, uint64_t leader, uint64_t now_ms)
{
    if (own->term != term || own->leader != leader) {
        lease_drop(own);
        own->term = term;
        own->leader = leader;
    }
    own->asked = ++own->number;
    own->asked_ms = now_ms;
    return own->asked;
}

bool lease_granted(struct lease_own *own, uint64_t number, uint64_t ms, uint64_t index,
                   uint64_t now_ms)
{
    uint64_t end_ms;

    if (own->asked == 0 || number != own->asked) {
        return lease_is_held(own, now_ms);
    }
    own->asked = 0;
    end_ms = own->asked_ms + lease_short_ms(ms);
    if (ms > 0 && end_ms > now_ms) {
        if (!lease_is_held(own, now_ms)) {
            own->index = index; /* There was a time in which nobody waited for us. */
        }
        own->end_ms = end_ms > own->end_ms ? end_ms : own->end_ms;
        own->held = number;
    }
    return lease_is_held(own, now_ms);
}

bool lease_is_held(const struct lease_own *own, uint64_t now_ms)
{
    return now_ms < own->end_ms;
}

void lease_drop(struct lease_own *own)
{
    own->asked = 0;
    own->end_ms = 0;
    own->index = 0;
}
