/*
 * rgroup_rig: a few rgroups in one program, driven by hand.
 *
 * Every member has a log in memory that counts as durable at once, unless the member is
 * `slow`: then rig_persist says when. Messages wait in one queue, in the order in which
 * they were sent, until rig_deliver or rig_deliver_one takes them; cut[a][b] drops what
 * goes from a to b. Time stands still between calls that name it.
 */
#ifndef RGROUP_RIG_H
#define RGROUP_RIG_H

#include "raft/rgroup.h"

#define RIG_MEMBERS_MAX 7 /* Ids are 1 to 7. */
#define RIG_LOG_MAX 512
#define RIG_QUEUE_MAX 4096
#define RIG_ELECTION_MS 1000
#define RIG_HEARTBEAT_MS 100

struct rig_entry {
    uint64_t term;
    enum rgroup_entry_type type;
    uint8_t conf[512];
    size_t conf_len;
};

struct rig_member {
    struct rgroup *group;
    struct rgroup_update update;       /* Of the last step; its arrays too. */
    int rv;                            /* Of the last step. */
    struct rig_entry log[RIG_LOG_MAX]; /* By index; 0 is unused. */
    uint64_t first;                    /* Lowest index still in the log. */
    uint64_t last;
    uint64_t durable; /* Reported. */
    uint64_t applied;
    bool slow;      /* Nothing is durable before rig_persist. */
    bool no_apply;  /* Committed changes are not applied. */
    uint64_t metas; /* How often term and vote were to be written. */
    uint64_t vote;  /* Durable. */
    uint64_t term;  /* Durable. */
    bool has_snapshot;
    struct rgroup_snapshot snapshot;
    uint8_t snapshot_conf[512];
};

struct rig_msg {
    uint64_t from;
    struct rgroup_msg msg;
    uint8_t conf[512];
    struct rig_entry *entries;
};

struct rig {
    uint64_t now_ms;
    struct rig_member members[RIG_MEMBERS_MAX + 1];
    struct rig_msg queue[RIG_QUEUE_MAX];
    uint32_t queue_head;
    uint32_t queue_tail;
    bool cut[RIG_MEMBERS_MAX + 1][RIG_MEMBERS_MAX + 1];
    uint32_t guards_off;
};

struct rig *rig_new(uint32_t guards_off);
void rig_free(struct rig *rig);

/* A configuration with voters 1 to @voters, then standbys up to @members. */
struct rgroup_conf rig_conf(uint32_t voters, uint32_t members);
/* An entry of the log. @conf only for CHANGE. */
struct rig_entry rig_entry(uint64_t term, enum rgroup_entry_type type,
                           const struct rgroup_conf *conf);

/* Give member @id a log of @n entries of @term after its first configuration. */
void rig_log(struct rig *rig, uint64_t id, const struct rgroup_conf *conf, uint32_t n,
             uint64_t term);
/* Start member @id from its log, term and vote. */
void rig_start(struct rig *rig, uint64_t id);
/* As if the process died: what was not durable is gone. Its messages stay. */
void rig_stop(struct rig *rig, uint64_t id);

/* One step; the log, the queue and what follows from it are brought up to date. */
int rig_step(struct rig *rig, uint64_t id, struct rgroup_event *event);
int rig_receive(struct rig *rig, uint64_t id, const struct rgroup_msg *msg,
                const struct rig_entry *entries);
int rig_submit(struct rig *rig, uint64_t id, uint32_t n);
int rig_change(struct rig *rig, uint64_t id, const struct rgroup_conf *conf);
int rig_transfer(struct rig *rig, uint64_t id, uint64_t target);
void rig_persist(struct rig *rig, uint64_t id);
int rig_snapshot(struct rig *rig, uint64_t id, uint64_t index, uint64_t trailing);
/* The snapshot that member @id was told to install is now there, up to @index. */
int rig_installed(struct rig *rig, uint64_t id, uint64_t from, uint64_t index);

/* Deliver the oldest message; false if there is none. Skips what is cut. */
bool rig_deliver_one(struct rig *rig);
/* Until the queue is empty. */
void rig_deliver(struct rig *rig);
/* Throw away what waits. */
void rig_drop(struct rig *rig);
/* Go on by @ms in steps of 10 ms: ticks, and all messages. */
void rig_run(struct rig *rig, uint64_t ms);
/* Let only member @id tick, until it is candidate or leader; messages are delivered. */
void rig_elect(struct rig *rig, uint64_t id);
/* The last message in the queue of this type and destination; NULL if none. */
const struct rgroup_msg *rig_find(const struct rig *rig, enum rgroup_msg_type type,
                                  uint64_t to);
/* The member that leads the highest term; 0 if none. */
uint64_t rig_leader(const struct rig *rig);

/* Does @run end in an assertion? In a child, whose noise nobody sees. */
bool rig_asserts(void (*run)(uint32_t guards_off), uint32_t guards_off);

#endif
