/*
 * rgroup_impl: what the parts of rgroup share. Nobody else includes this.
 *
 * Names libraft's types without their header: only the .c files include <raft.h>.
 *
 * rgroup.c        life, dispatch of events, the update, what the caller may ask
 * rgroup_engine.c one step of the engine and what it leaves in the update
 * rgroup_recv.c   messages received: checked whole before the engine sees any of it
 * rgroup_guards.c the guards that decide something (G1, G2, G4, G6 to G11, G15, G17)
 * rgroup_conf.c   configurations
 * rgroup_msg.c    messages on the wire
 *
 * Memory (libraft 0.22.1): entries given to the engine carry a one-byte token as their
 * batch and never a payload, so its changing ownership of batches costs nothing.
 */
#ifndef RAFT_RGROUP_IMPL_H
#define RAFT_RGROUP_IMPL_H

#include "raft/rgroup.h"

struct raft;
struct raft_configuration;
struct raft_entry;
struct raft_event;
struct raft_message;

#define RGROUP_INDEX_MAX (UINT64_MAX / 4) /* Of terms and indexes; no overflow below. */
#define RGROUP_TERM_JUMP_MAX (1ull << 32) /* Above a member's own, in one message. */

struct rgroup {
    struct rgroup_config config;
    struct raft *engine;
    bool started;
    bool broken; /* A fault left the engine in doubt: only rgroup_free is left. */
    uint64_t now_ms;
    uint64_t started_ms;

    uint64_t last_term;  /* Term of the last entry; 0 if the log is empty. */
    uint64_t persisted;  /* Highest index reported durable. */
    uint64_t commit;     /* Never falls (G13). */
    uint64_t read_floor; /* Last index when this leader was elected, with its barrier. */
    uint64_t change;     /* Last change made here as leader (G10); 0 none. */
    enum rgroup_state state;

    /* The engine's snapshot; snap.conf is @snap_conf, owned. @base is where its log
     * begins to matter: beyond @snap while a received one is being installed. */
    struct rgroup_snapshot snap;
    uint8_t *snap_conf;
    uint64_t base_index;
    uint64_t base_term;
    bool installing;

    bool leader_heard;     /* Ever; then: */
    uint64_t leader_term;  /* - the term whose leader was heard last, */
    uint64_t leader_ms;    /* - and when. */
    bool timeout_now_seen; /* Ever; then: */
    uint64_t timeout_now_ms;
    uint64_t timeout_now_term;
    uint64_t hold_ms; /* G16: votes for nobody before that. */
    bool abstains;    /* Does not become leader. */

    /* The update under construction, and what it borrows. */
    bool muted; /* Messages of the engine are dropped (G9). */
    struct rgroup_append appends[RGROUP_APPENDS_MAX];
    struct rgroup_msg *messages;
    uint32_t messages_cap;
    uint8_t *own_conf; /* Of own_entry; the engine's allocation. */

    struct raft_entry *scratch; /* For one event's entries, RGROUP_ENTRIES_MAX. */
    char *token;                /* Batch of entries that the engine never frees. */
};

/* Where the entries come from that an engine step hands back. */
enum rgroup_source {
    RGROUP_FROM_EVENT,  /* Of the event: scratch[i] stands for the event's entry i. */
    RGROUP_FROM_ENGINE, /* A barrier that the engine made and allocated. */
    RGROUP_FROM_SELF,   /* Made here, in scratch[0]: a barrier or a change. */
};

static inline bool guarded(const struct rgroup *group, uint32_t off)
{
    return (group->config.guards_off & off) == 0;
}

/* --- rgroup_engine.c --- */

/* A new engine in place of the present one (or none). 0 or -ENOMEM. */
int engine_renew(struct rgroup *group);
void engine_close(struct rgroup *group);
/* What the engine did with a message, as far as its memory needs to know. */
struct engine_trace {
    bool entries;  /* It took the entries. */
    bool install;  /* It took the snapshot. */
    bool messages; /* It answered something. */
};
/* One step of the engine; on success all it asks for is added to @update. Returns what
 * rgroup_step does. @trace may be NULL. */
int engine_step(struct rgroup *group, struct raft_event *event, enum rgroup_source source,
                struct rgroup_update *update, struct engine_trace *trace);
/* The events that rgroup.c hands on. Each returns what rgroup_step does. */
int engine_start(struct rgroup *group, const struct rgroup_event *event,
                 struct rgroup_update *update);
int engine_persisted(struct rgroup *group, uint64_t index, struct rgroup_update *update);
int engine_submit(struct rgroup *group, const struct rgroup_entry *entries, uint32_t n,
                  struct rgroup_update *update);
int engine_change(struct rgroup *group, const struct rgroup_conf *conf,
                  struct rgroup_update *update);
int engine_applied_change(struct rgroup *group, uint64_t index,
                          struct rgroup_update *update);
int engine_tick(struct rgroup *group, struct rgroup_update *update);
int engine_transfer(struct rgroup *group, uint64_t target, struct rgroup_update *update);
int engine_snapshot_taken(struct rgroup *group, const struct rgroup_event *event,
                          struct rgroup_update *update);
int engine_snapshot_installed(struct rgroup *group, const struct rgroup_snapshot *snap,
                              struct rgroup_update *update);
/* A leader that has no entry of its own term yet gets a barrier. */
int engine_barrier(struct rgroup *group, struct rgroup_update *update);
/* Room for one more message in the update. NULL without memory. */
struct rgroup_msg *update_message(struct rgroup *group, struct rgroup_update *update);

/* --- rgroup_recv.c --- */

/* A received message. Returns what rgroup_step does. */
int rgroup_receive(struct rgroup *group, const struct rgroup_event *event,
                   struct rgroup_update *update);

/* --- rgroup_guards.c --- */

/* Term of the entry at @index in the engine's log or snapshot; 0 if it has none. */
uint64_t guard_term_of(const struct rgroup *group, uint64_t index);
/* G1: is this member the only voter of its last configuration? */
bool guard_starts_alone(const struct rgroup *group, const uint8_t *conf, size_t len);
/* G2, G11 and the shape of a change: 0, OUT_NOT_LEADER, OUT_BUSY or OUT_INVAL. */
int guard_change(const struct rgroup *group, const struct rgroup_conf *conf);
/* G14: 0, OUT_NOT_LEADER, OUT_BUSY or OUT_INVAL. @target: 0 is replaced by a member. */
int guard_transfer(const struct rgroup *group, uint64_t *target);
/* G4: how many entries of an APPEND to leave out; moves its previous index and term. */
uint32_t guard_append_below(const struct rgroup *group, uint64_t msg_term, uint32_t n,
                            uint64_t *prev, uint64_t *prev_term);
/* G5: is this rejection one that must not reach the engine? */
bool guard_stale_rejection(const struct rgroup *group, const struct rgroup_msg *msg);
/* G17: the answers to @msg from @from on. To an old term the engine gives the index that was
 * in its memory by chance: one out of range, and the receiver does not hear of the term. */
void guard_old_term(const struct rgroup *group, const struct rgroup_msg *msg,
                    uint32_t from, struct rgroup_update *update);
/* G7, G8, G10: what a message of the engine needs before it leaves. */
void guard_outgoing(const struct rgroup *group, struct rgroup_msg *msg);
/* G9: does the shim, not the engine, answer this VOTE? Then *@rv is the step's result. */
bool guard_vote(struct rgroup *group, const struct rgroup_msg *msg,
                struct rgroup_update *update, int *rv);
/* G15: the change at @prev + 1 of an APPEND is about to reach the engine. */
int guard_settle_change(struct rgroup *group, uint64_t msg_term, uint64_t prev,
                        uint64_t prev_term, struct rgroup_update *update);
/* G16: must this member neither vote nor stand for election now? */
bool guard_holds(const struct rgroup *group);
/* The leader is probably gone: a follower's election timer runs out soon. */
void guard_hurry(struct rgroup *group);
/* G6: when to wake. */
uint64_t guard_wake(const struct rgroup *group);

/* --- rgroup_conf.c --- */

/* Is this Raft's encoding of a configuration, canonical, within bounds? */
bool conf_valid(const uint8_t *bytes, size_t len, bool spares);
/* To the engine's form; the caller closes it. Bytes must be valid. 0 or -ENOMEM. */
int conf_to_engine(const uint8_t *bytes, size_t len, struct raft_configuration *out);
void conf_from_engine(const struct raft_configuration *from, struct rgroup_conf *out);
/* Add one server. 0, or the engine's error. */
int conf_engine_add(struct raft_configuration *conf, uint64_t id, int role);
/* The engine's role for ours; -1 for none. */
int conf_engine_role(enum rgroup_role role, bool spares);
const struct rgroup_server *conf_find(const struct rgroup_conf *conf, uint64_t id);
uint32_t conf_voters(const struct rgroup_conf *conf);
bool conf_votes(const struct rgroup_conf *conf, uint64_t id);

#endif
