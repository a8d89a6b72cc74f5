/*
 * heal: bad blocks of this member, each healed with a copy of another member.
 *
 * A pure step, as replica: it owns no socket, disk or clock. It decides whom to ask for
 * which block, when the copy may be put in place, and when there is none to be had. The
 * driver (daemon/host_heal.c, the simulator) carries the bytes.
 *
 * A copy that holds entries which are not applied here yet waits for them; one that a newer
 * write has passed is asked for anew. Members are asked one after the other, who is likely
 * to be furthest first. When all of them said that theirs is bad too, or nobody had a good
 * one in HEAL_PATIENCE_MS, the block is given up: its readers get OUT_IO, and a later
 * want begins anew. One that nobody waits for is not wanted again for HEAL_AGAIN_MS.
 *
 * Promises: every want that is taken ends with HEAL_DO_DONE. Does not promise: that a block
 * is good for ever after; whoever waited reads it again.
 */
#ifndef RAFT_HEAL_H
#define RAFT_HEAL_H

#include <stdbool.h>
#include <stdint.h>

#define HEAL_WANTS_MAX 256u
#define HEAL_MEMBERS_MAX 63u /* More are not asked. */
#define HEAL_BUSY_MAX 4u     /* Asked for or held at one time: of 128 KiB each. */
#define HEAL_ANSWER_MS 2000u
#define HEAL_RETRY_MS 100u
#define HEAL_PATIENCE_MS 8000u
#define HEAL_AGAIN_MS 60000u
#define HEAL_ACTIONS_MAX (2u * HEAL_WANTS_MAX + 16u)

struct heal;

enum heal_event_type {
    /* .ino .block is bad, found when this member had applied .index entries; .waited:
     * somebody waits for it. */
    HEAL_EV_WANT = 1,
    /* .members, .n_members: the others that have data, who to ask first first. */
    HEAL_EV_MEMBERS = 2,
    /* To ask .number from .from: .outcome (0: a copy of .version, which the driver keeps
     * until HEAL_DO_DROP), .index: what had been applied there. */
    HEAL_EV_ANSWER = 3,
    /* The put of ask .number ended: .outcome as store_heal gave it, faults too. */
    HEAL_EV_PUT = 4,
    /* This member has applied .index entries. */
    HEAL_EV_APPLIED = 5,
    /* No settle is at work any more. */
    HEAL_EV_SETTLED = 6,
    HEAL_EV_TICK = 7,
    HEAL_EV_STOP = 8, /* All wants end with OUT_TRY_LATER. */
};

struct heal_member {
    uint64_t id;
    bool up;
};

struct heal_event {
    enum heal_event_type type;
    uint64_t now_ms;
    uint64_t ino;
    uint64_t block;
    uint64_t index;
    bool waited;
    uint64_t number;
    uint64_t from;
    int outcome;
    uint64_t version;
    const struct heal_member *members;
    uint32_t n_members;
};

enum heal_action_type {
    HEAL_DO_ASK = 1, /* .to for .ino .block, as of .index or later, as ask .number. */
    HEAL_DO_PUT =
        2, /* The copy that came as answer to .number: in the place of the bad. */
    HEAL_DO_DROP = 3, /* That copy is not needed any more. */
    /* .ino .block: 0, read it again; OUT_IO, there is no good copy; OUT_TRY_LATER. */
    HEAL_DO_DONE = 4,
};

struct heal_action {
    enum heal_action_type type;
    uint64_t number;
    uint64_t to;
    uint64_t ino;
    uint64_t block;
    uint64_t index;
    int outcome;
    bool waited;
};
struct heal_actions {
    struct heal_action items[HEAL_ACTIONS_MAX];
    uint32_t n;
};

/* Numbers of asks begin at @first, so that answers to an earlier life fit nothing. */
int heal_new(uint64_t first, struct heal **out);
void heal_free(struct heal *heal);
/* Overwrites @actions with what the driver must now do, in this order. */
void heal_step(struct heal *heal, const struct heal_event *event,
               struct heal_actions *actions);
/* When to give HEAL_EV_TICK; UINT64_MAX: never. */
uint64_t heal_wake_ms(const struct heal *heal);
/* Blocks that are wanted and not done. */
uint32_t heal_pending(const struct heal *heal);
/* True if ask @number went to @from and is not answered: what it was for. */
bool heal_asked(const struct heal *heal, uint64_t number, uint64_t from, uint64_t *ino,
                uint64_t *block);
/* True if the block was given up a short while ago. */
bool heal_gave_up(const struct heal *heal, uint64_t ino, uint64_t block);
/* A copy is at hand and only waits for a settle to end: no other should begin. */
bool heal_waits(const struct heal *heal);

#endif
