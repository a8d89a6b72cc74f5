/*
 * gvsim-consensus: one to seven rgroups under virtual time, from a seed.
 *
 * Everything around rgroup is simulated: a journal per node whose writes complete in
 * order and of which a crash keeps a random prefix; ordered connections that are cut,
 * lose and delay; clocks that run apart and suspend; crashes, changes of membership,
 * transfers, snapshots, pulls and reads. The same seed does the same again.
 *
 * sim_main.c   options, seeds
 * sim_run.c    one run: virtual time, the queue of things to happen
 * sim_node.c   one node: steps its rgroup and carries the update out
 * sim_disk.c   its journal
 * sim_net.c    the connections
 * sim_lease.c  leases
 * sim_roll.c   members whose disk is put back to an earlier state
 * sim_load.c   who works on it and who breaks it
 * sim_check.c  what must hold after every step
 */
#ifndef GVSIM_CONSENSUS_H
#define GVSIM_CONSENSUS_H

#include "base/prng.h"
#include "raft/lease.h"
#include "raft/rgroup.h"
#include "raft/roll.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_NODES_MAX 7
#define SIM_CONF_BYTES_MAX 512

enum sim_mutation {
    SIM_MUT_NONE,
    SIM_MUT_EARLY_SEND,        /* Messages leave before term and vote are durable. */
    SIM_MUT_EARLY_PERSIST,     /* Entries are reported durable when they are written. */
    SIM_MUT_NO_FLOOR,          /* A new leader reads before its barrier is committed. */
    SIM_MUT_NO_PROBE,          /* Being leader is taken for a lease. */
    SIM_MUT_STALE_SEND,        /* A queued APPEND is filled from a log that was cut. */
    SIM_MUT_LEASE_ALONE,       /* A leader takes itself for a majority. */
    SIM_MUT_NO_WAIT,           /* One that starts alone does not wait. */
    SIM_MUT_LEASE_KEPT,        /* Handing over and changing voters with leases out. */
    SIM_MUT_WILD_CLOCKS,       /* Clocks run apart by more than leases allow for. */
    SIM_MUT_TRUST_ROLLED_BACK, /* Whoever starts takes part. */
};

struct sim_options {
    uint32_t guards_off;
    enum sim_mutation mutation;
    bool trace;
    bool rollback;    /* A member's disk may be put back. */
    uint32_t seconds; /* Of faults; then comes the calm. */
};

struct sim_entry {
    uint64_t term;
    uint64_t hash; /* Of the payload. */
    uint64_t seq;  /* Of the write that put it there; 0: read back at the start. */
    uint32_t conf; /* CHANGE: number of its configuration. */
    uint8_t type;
};

struct sim_log {
    uint64_t first;
    uint64_t n;
    uint64_t cap;
    struct sim_entry *entries;
};

struct sim_snap {
    uint64_t index; /* 0: none. */
    uint64_t term;
    uint64_t conf_index;
    uint64_t state;
    uint32_t conf;
};

enum sim_op_kind {
    SIM_OP_META,
    SIM_OP_APPEND,
    SIM_OP_SNAP,    /* The descriptor of a state. */
    SIM_OP_BASE,    /* The log is dropped and begins after .index. */
    SIM_OP_COMPACT, /* The log up to .index is dropped. */
};

struct sim_op {
    enum sim_op_kind kind;
    uint64_t seq;
    uint64_t done_us;
    uint64_t term;
    uint64_t vote;
    uint64_t index;
    uint64_t n;
    struct sim_entry *entries;
    struct sim_snap snap;
    bool pulled; /* SNAP and BASE of a pulled state. */
    uint64_t trailing;
    struct sim_op *next;
};

enum sim_msg_kind {
    SIM_MSG_RAFT,
    SIM_MSG_PROBE,
    SIM_MSG_PROBE_ACK,
    SIM_MSG_PING, /* This one and the next are of sim_lease.c. */
    SIM_MSG_PONG,
    SIM_MSG_ASK,
    SIM_MSG_GRANT,
    SIM_MSG_REVOKE,
    SIM_MSG_RETURN,
};

struct sim_msg {
    enum sim_msg_kind kind;
    uint32_t from;
    uint32_t to;
    uint64_t need_seq; /* The write that must be durable before it leaves. */
    uint64_t due_us;
    struct rgroup_msg raft;
    struct sim_snap snap;
    struct sim_entry *entries;
    uint64_t probe_term;
    uint64_t probe;
    uint64_t lease[4]; /* As in docs/formats/replica.md. */
    struct sim_msg *next;
};

struct sim_fifo {
    struct sim_msg *head;
    struct sim_msg *tail;
};

struct sim_link {
    struct sim_fifo gate; /* At the sender, waiting for its disk. */
    struct sim_fifo wire;
    uint64_t last_due_us;
    bool cut;
    bool log_cut; /* For APPENDs only. */
};

/* What a crash leaves. */
struct sim_durable {
    uint64_t term;
    uint64_t vote;
    struct sim_log log;
    struct sim_snap snap;
    struct sim_snap applied; /* The state has its own transactions. */
};

struct sim_node {
    uint32_t id;
    bool up;
    bool in_step; /* The group is being stepped: a failed check leaves it unusable. */
    uint64_t epoch;
    struct rgroup *group;

    struct sim_durable durable;
    struct sim_durable image; /* Of an earlier time, */
    bool image_there;         /* if there is one, */
    bool image_old;           /* and @kept is of a later one. */
    struct roll_point vouched;
    struct roll_point kept; /* @vouched as it was kept last. */

    struct sim_log log;
    struct sim_snap snap;
    uint64_t seq;      /* Of the last write begun, */
    uint64_t seq_done; /* and of the last one durable. */
    uint64_t meta_seq;
    uint64_t reported;
    struct sim_op *ops;
    struct sim_op **ops_tail;
    uint64_t batch_us; /* End of the disk's present batch, */
    uint64_t batch_next_us;
    bool slow_disk;
    bool doomed; /* Crash soon after the next term or vote. */
    bool renew;  /* Start anew from disk as soon as nothing is being written. */

    uint64_t commit;
    uint64_t replayed; /* Up to here the group knows of applied changes. */
    uint64_t applied;  /* May be beyond what is known to be committed, after a start. */
    uint64_t state;    /* Digest of all that was applied. */
    uint32_t applied_conf;
    uint64_t applied_conf_index;
    bool apply_waits;

    bool installing;
    struct sim_snap offer;
    bool snap_busy;

    enum rgroup_state role;
    uint64_t term;
    uint64_t leader;
    uint64_t wake_ms;
    uint64_t timer_us; /* Armed; 0: not. */
    uint64_t frozen_us;
    int64_t clock_ppm;
    uint64_t clock_base_ms;

    bool probing;
    uint64_t probe;
    uint64_t probe_term;
    uint64_t probe_commit;
    uint64_t probe_need;
    uint32_t probe_acks; /* A bit for each id. */

    struct lease lease;
    struct lease_own own;
    uint64_t lease_wait_ms;
    uint64_t lease_pause_us; /* Grants none until then: it is to change something. */
};

enum sim_event_kind {
    SIM_EV_TIMER,
    SIM_EV_LEASE,
    SIM_EV_LINK,
    SIM_EV_LOST,
    SIM_EV_DISK,
    SIM_EV_APPLY,
    SIM_EV_PULL,
    SIM_EV_CRASH,
    SIM_EV_RESTART,
    SIM_EV_CLIENT,
    SIM_EV_READ,
    SIM_EV_ADMIN,
    SIM_EV_SNAP,
    SIM_EV_FAULT,
    SIM_EV_ROLL,
    SIM_EV_HEAL,
    SIM_EV_CALM,
    SIM_EV_END,
};

struct sim_event {
    uint64_t at_us;
    uint64_t order;
    enum sim_event_kind kind;
    uint32_t node;
    uint32_t peer;
    uint64_t epoch; /* 0, or the node's: else the event is stale. */
};

struct sim_commit {
    uint64_t term;
    uint64_t hash;
    uint64_t by_term; /* Of who was first to see it committed. */
};

struct sim_seen {
    uint64_t index; /* 0: empty slot. */
    uint64_t term;
    uint64_t hash;
    uint64_t prev_term;
};

struct sim_conf {
    uint8_t bytes[SIM_CONF_BYTES_MAX];
    size_t len;
    uint64_t hash;
};

struct sim_counts {
    uint64_t steps, messages, commits, elections, crashes, changes, reads, transfers;
    uint64_t installs, beyond, giveups, snapshots, leases, quarantined;
};

struct sim {
    struct sim_options options;
    uint64_t seed;
    struct prng prng;
    uint64_t now_us;
    struct sim_event *heap;
    uint64_t heap_n;
    uint64_t heap_cap;
    uint64_t order;

    uint32_t n_nodes;
    struct sim_node nodes[SIM_NODES_MAX + 1];
    struct sim_link links[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];
    uint64_t loss_ppm;
    uint64_t delay_us_max;

    uint32_t election_ms;
    uint32_t heartbeat_ms;
    uint32_t inflight_max;
    bool membership;
    bool slow_apply;
    bool no_trailing;
    bool busy; /* Many clients. */
    bool dead_minority;
    bool rolled_back; /* One was; */
    uint32_t lost;    /* and it stays away. */
    bool calm;
    uint64_t calm_commit;

    struct sim_conf *confs;
    uint32_t n_confs;
    uint32_t confs_cap;

    struct sim_commit *commits; /* By index. */
    uint64_t commits_n;
    uint64_t commits_cap;
    uint64_t acked;    /* Highest index that a leader saw committed. */
    uint32_t *leaders; /* By term. */
    uint64_t leaders_cap;
    struct sim_seen *seen;
    uint64_t seen_n;
    uint64_t seen_cap;
    uint64_t *states; /* Digest after applying an index; 0 unknown. */
    uint64_t states_cap;

    struct sim_counts counts;
    char failure[512];
};

/* --- sim_run.c --- */

/* Run one seed. True if all checks held; else sim->failure says which did not. */
bool sim_run(struct sim *sim, const struct sim_options *options, uint64_t seed);
/* Free what a run left. */
void sim_clear(struct sim *sim);
_Noreturn void sim_fail(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void sim_trace(const struct sim *sim, const struct sim_node *node, const char *format,
               ...) __attribute__((format(printf, 3, 4)));
void sim_at(struct sim *sim, uint64_t delay_us, enum sim_event_kind kind, uint32_t node,
            uint64_t epoch);
void sim_at_link(struct sim *sim, uint64_t at_us, uint32_t from, uint32_t to);
/* Soon @to is told that its connection to @from broke. */
void sim_at_lost(struct sim *sim, uint32_t from, uint32_t to);
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, uint32_t percent);
void *sim_grow(void *array, uint64_t *cap, uint64_t need, size_t size);
/* The number of a configuration, the same for the same bytes. */
uint32_t sim_conf_number(struct sim *sim, const uint8_t *bytes, size_t len);
uint64_t sim_mix(uint64_t x);
/* A random node that is up and leads; NULL if there is none. */
struct sim_node *sim_leader(struct sim *sim);

/* --- sim_node.c --- */

void node_boot(struct sim *sim, struct sim_node *node);
void node_crash(struct sim *sim, struct sim_node *node);
/* Step the node's group and do what follows. What rgroup_step returned; faults fail. */
int node_step(struct sim *sim, struct sim_node *node, struct rgroup_event *event);
void node_receive(struct sim *sim, struct sim_node *node, struct sim_msg *msg);
void node_timer(struct sim *sim, struct sim_node *node);
/* Its connection to @peer broke. */
void node_lost(struct sim *sim, struct sim_node *node, uint64_t peer);
void node_apply(struct sim *sim, struct sim_node *node);
void node_pull(struct sim *sim, struct sim_node *node);
/* A write of the node is durable. */
void node_written(struct sim *sim, struct sim_node *node, const struct sim_op *op);
/* Report what is durable now. */
void node_report(struct sim *sim, struct sim_node *node);
void node_take_snapshot(struct sim *sim, struct sim_node *node);
uint64_t node_clock_ms(const struct sim *sim, const struct sim_node *node);

/* --- sim_disk.c --- */

struct sim_entry *log_at(const struct sim_log *log, uint64_t index);
uint64_t log_last(const struct sim_log *log);
void log_cut_from(struct sim_log *log, uint64_t index);
void log_cut_below(struct sim_log *log, uint64_t first);
void log_add(struct sim_log *log, const struct sim_entry *entry);
void log_reset(struct sim_log *log, uint64_t first);
void log_copy(struct sim_log *to, const struct sim_log *from);
void log_free(struct sim_log *log);

/* Begin a write; the caller fills it in before anything else happens. */
struct sim_op *disk_write(struct sim *sim, struct sim_node *node, enum sim_op_kind kind);
/* Complete what is due. */
void disk_done(struct sim *sim, struct sim_node *node);
/* Keep a random prefix of what was being written. */
void disk_crash(struct sim *sim, struct sim_node *node);
void op_free(struct sim_op *op);

/* --- sim_net.c --- */

/* Takes @msg: it leaves once its write is durable. */
void net_send(struct sim *sim, struct sim_node *from, struct sim_msg *msg);
/* The node's disk went on: let go what waited for it. */
void net_release(struct sim *sim, struct sim_node *from);
void net_deliver(struct sim *sim, uint32_t from, uint32_t to);
void net_cut(struct sim *sim, uint32_t from, uint32_t to);
void net_heal(struct sim *sim);
/* The node is gone, with all its connections. */
void net_reset_node(struct sim *sim, uint32_t id);
/* Free all messages from and to it. */
void net_clear_node(struct sim *sim, uint32_t id);
void msg_free(struct sim_msg *msg);

/* --- sim_lease.c --- */

void lease_boot(struct sim *sim, struct sim_node *node);
/* The node's role or term may be another. */
void lease_role(struct sim_node *node);
void lease_timer(struct sim *sim, struct sim_node *node);
void lease_receive(struct sim *sim, struct sim_node *node, const struct sim_msg *msg);
/* True if no read lease of the leader is out; else all are asked back. */
bool lease_quiet(struct sim *sim, struct sim_node *leader);
/* The node leads: nobody has a lease of an earlier term. */
void check_leases(struct sim *sim, const struct sim_node *node);

/* --- sim_roll.c --- */

/* A message left the node; something is durable at it. */
void roll_sent(struct sim_node *node, const struct sim_msg *msg);
void roll_reported(struct sim_node *node);
/* Keep what a node vouched for, or take an image of its disk. */
void roll_event(struct sim *sim);
/* Put the node's disk back to an earlier state, if that may be. */
bool roll_back(struct sim *sim, struct sim_node *node);
/* True if the node, which is about to start, is known as rolled back: it never starts. */
bool roll_known(struct sim *sim, struct sim_node *node);

/* --- sim_load.c --- */

void load_client(struct sim *sim);
void load_read(struct sim *sim);
void load_read_answer(struct sim *sim, struct sim_node *node, const struct sim_msg *msg);
void load_admin(struct sim *sim);
void load_snapshot(struct sim *sim);
void load_fault(struct sim *sim);
/* Crash the node, to come back some time later. */
void load_crash(struct sim *sim, struct sim_node *node);
void load_calm(struct sim *sim);

/* --- sim_check.c --- */

/* An entry is durable at a node, or was received by it; the one before it is of
 * @prev_term, 0 if that is not known. What neither left a node's memory nor reached its
 * disk never was: a sole voter may restart in a term that was lost with it. */
void check_entry(struct sim *sim, const struct sim_node *node, uint64_t index,
                 const struct sim_entry *entry, uint64_t prev_term);
/* The node sees entries up to @commit committed. */
void check_commit(struct sim *sim, const struct sim_node *node, uint64_t from,
                  uint64_t to);
void check_leader(struct sim *sim, const struct sim_node *node);
/* The node applied @index and has this digest. */
void check_applied(struct sim *sim, const struct sim_node *node, uint64_t index,
                   uint64_t state);
/* After the faults: true once all is well again; if @last, fails instead of false. */
bool check_end(struct sim *sim, bool last);

#endif
