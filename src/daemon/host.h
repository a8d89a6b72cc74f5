/*
 * host: one zone on this node: the driver of a replica, its journal and its store.
 *
 * The loop thread owns the host and the replica. Two threads serve it: the journal's
 * (append and sync) and the zone's (apply, read, settle plans, pull rows), so that no
 * disk is waited for on the loop and one zone's slow disk stalls no other. Everything
 * here is called on the loop; what it decides is in raft/replica.
 */
#ifndef DAEMON_HOST_H
#define DAEMON_HOST_H

#include "base/disk.h"
#include "daemon/scrub.h"
#include "daemon/worker.h"
#include "raft/replica.h"
#include "zone/zone.h"

#include <stdbool.h>
#include <stdint.h>

#define HOST_PATH_MAX 1024u
#define HOST_REASON_MAX 256u

enum host_state {
    HOST_OPENING = 1, /* Reading journal and store. */
    HOST_RUNNING = 2,
    HOST_PULLING = 3, /* Too far behind the log: pulling a state from a member. */
    HOST_NO_DATA = 4, /* The dataset that was here is not: not mounted, or lost. */
    HOST_FAILED = 5,
};

/* Why the data of a member must never be used again under its raft id. In zones.json. */
enum host_lost {
    HOST_LOST_NOT = 0,
    HOST_LOST_OLD = 1,      /* It is older than what the member acknowledged. */
    HOST_LOST_DAMAGED = 2,  /* It contradicts its checksums, or itself. */
    HOST_LOST_GIVEN_UP = 3, /* A person said that it is gone for good. */
};

/* Why a member failed. */
struct host_failure {
    int fault; /* A negated errno; 0: it did not, or of no fault that may pass. */
    char reason[HOST_REASON_MAX]; /* Empty: it did not. */
};

struct host;

/* The zone was recovered: this member goes on under another raft id than the one its data
 * is from (docs/adr/0006-recover.md). */
struct host_recovery {
    bool carried;
    bool lead;           /* It begins, as the only voter. */
    uint64_t term_above; /* In a term above this one. */
    uint64_t index_max;  /* Others: who has applied more is stale. */
    uint64_t time_s;     /* When it was decided, since 1970. */
};

struct host_config {
    uv_loop_t *loop;
    struct inbox *inbox;
    struct disk *disk;
    uint8_t zone_id[16];
    char label[64];          /* The slug, for the log. */
    char pool[64];           /* The pool's name, for what a person is told. */
    char dir[HOST_PATH_MAX]; /* The dataset. */
    char journal[HOST_PATH_MAX];
    uint64_t raft_id;
    uint64_t seed;
    uint32_t election_ms;
    uint32_t heartbeat_ms;
    uint64_t journal_bytes_max;
    bool leases; /* See replica_config. */
    struct scrub_config scrub;
    bool create;                 /* Make the dataset if it is absent. */
    char mounted[HOST_PATH_MAX]; /* create: only if this file is there; empty: anyhow. */
    char journal_mounted[HOST_PATH_MAX]; /* Likewise, if the journal is elsewhere. */
    struct host_recovery recovery;
    enum host_lost lost;         /* Not HOST_LOST_NOT: do not open it, only say so. */
    struct host_failure failure; /* With a reason: likewise, until host_reopen. */
    struct roll_marks marks;     /* As host_marks gave them in an earlier life. */
    struct zone_genesis genesis;
    struct slice bootstrap; /* create: the first configuration; empty: a joiner. */
};

/* A frame to another member. */
struct host_message {
    uint64_t to;     /* Raft id. */
    uint8_t channel; /* 0 control, 1 log. */
    uint8_t type;    /* enum replica_frame */
    struct slice head;
    struct slice body;
};

/* The answer of host_submit, host_read, host_change or host_transfer; slices are
 * borrowed for the call. */
struct host_answer {
    uint64_t token;
    int outcome;
    uint64_t leader; /* Raft id, a hint; 0 unknown. */
    struct slice result;
    struct slice data;
};

struct host_callbacks {
    void *ctx;
    void (*send)(void *ctx, struct host *host, const struct host_message *message);
    void (*answer)(void *ctx, const struct host_answer *answer);
    /* State, leader or term changed. */
    void (*note)(void *ctx, struct host *host);
    /* Something was applied. */
    void (*applied)(void *ctx, struct host *host);
    /* Ask the member @raft_id for part of its state; see pull.h. */
    int (*pull_send)(void *ctx, struct host *host, uint64_t raft_id, struct slice head);
    /* May another answer to that member be made? If not, host_pull_room is called once
     * there is room, or a tick asks again. NULL: always. */
    bool (*pull_room)(void *ctx, struct host *host, uint64_t raft_id);
};

/* Starts the threads and the opening; never blocks. What goes wrong later shows as
 * HOST_FAILED or HOST_NO_DATA. */
int host_open(const struct host_config *config, const struct host_callbacks *callbacks,
              struct host **out);
/* Answer whoever waits, finish what the threads hold, then close everything and call
 * @closed. */
void host_close(struct host *host, void (*closed)(void *arg), void *arg);

void host_frame(struct host *host, uint64_t from, uint8_t type, struct slice head,
                struct slice body);
/* The member can (not) be reached now; told again, it does nothing. Told before the zone
 * runs, it is lost: tell it at the note that says so. */
void host_peer(struct host *host, uint64_t raft_id, bool up);
void host_writable(struct host *host, uint64_t raft_id);
/* @entry: an encoded zone_entry, not shared with anybody (it is stamped). */
void host_submit(struct host *host, struct slice entry, struct slice payload,
                 uint64_t token);
void host_read(struct host *host, struct slice op, uint64_t token);
/* All key-value pairs as this member has them now (it may be behind), in the records of
 * zone_kv_put; for the directory's own copies. @done once, with a fault or 0. */
void host_read_pairs(struct host *host,
                     void (*done)(void *arg, int rv, struct slice pairs, uint64_t index),
                     void *arg);
/* What this member holds, as of @index: equal bytes on all members at one index. Reads
 * every row, beside the zone's thread. @done once, with 0 or a fault (then no digest). */
struct host_digest {
    uint64_t index;
    uint8_t bytes[32];
};
void host_digest(struct host *host,
                 void (*done)(void *arg, int rv, const struct host_digest *digest),
                 void *arg);
void host_change(struct host *host, const struct rgroup_conf *conf, uint64_t token);
void host_transfer(struct host *host, uint64_t raft_id, uint64_t token);
/* Take no further mutation (before the daemon ends). */
void host_stop(struct host *host);
/* The machine is about to sleep, or @awake: see REPLICA_EV_SLEEP. */
void host_sleep(struct host *host, bool awake);
/* End of a loop turn: gathered proposals go out. */
void host_flush(struct host *host);

/* Pull, source's side: @request from the member @from; the answer goes to @reply, once
 * (empty: there is none). */
void host_pull_request(struct host *host, uint64_t from, struct slice request,
                       void (*reply)(void *ctx, uint64_t to, struct slice head,
                                     struct slice body),
                       void *ctx);
/* There may be room for answers again. */
void host_pull_room(struct host *host);
/* Pull, puller's side: an answer arrived from the member @from. */
void host_pull_answer(struct host *host, uint64_t from, struct slice head,
                      struct slice body);

/* Scrubbing of this member: begin (no-op while one is under way), end, and how it goes
 * (false: not known yet). OUT_TRY_LATER: right after a start, when the member, or what it was
 * at when it last ran, is still being read; -EAGAIN: it does not run. */
int host_scrub_start(struct host *host);
int host_scrub_stop(struct host *host);
bool host_scrub_state(const struct host *host, struct scrub_state *out);

/* CLOCK_BOOTTIME in milliseconds. */
uint64_t host_now_ms(void);

const uint8_t *host_zone_id(const struct host *host);
const char *host_label(const struct host *host);
uint64_t host_raft_id(const struct host *host);
enum host_state host_state(const struct host *host);
/* "opening", "running", "pulling", "no-data", "failed". */
const char *host_state_name(enum host_state state);
/* True while there is no room on this member's disk: it takes nothing new, and goes on by
 * itself when there is some. */
bool host_is_full(const struct host *host);
/* Why it failed or is full, in words; empty if neither. */
const char *host_reason(const struct host *host);
/* Since it failed: must its data be given up? */
enum host_lost host_lost(const struct host *host);
/* What is done about that, in words: shown behind the reason. */
void host_repairing(struct host *host, const char *what);
/* Another daemon has this node's identity: take part in nothing any more. */
void host_twin(struct host *host);
/* HOST_NO_DATA: look for the dataset again. HOST_RUNNING: look whether it is still there. */
void host_retry(struct host *host);
/* HOST_FAILED: did it open its dataset, so that it has to be closed before another one does?
 * Else host_reopen opens it as at a start; meanwhile host_is_opening. If that fails for the
 * same reason, nobody is told again. */
bool host_is_open(const struct host *host);
bool host_is_opening(const struct host *host);
void host_reopen(struct host *host);
/* None of its jobs is under way: it would close at once. */
bool host_is_idle(const struct host *host);
/* HOST_FAILED: because of this fault; see host_failure. */
int host_fault_of(const struct host *host);
void host_failure(const struct host *host, struct host_failure *out);
/* See replica_marks. False: nothing is known. */
bool host_marks(const struct host *host, struct roll_marks *out);
bool host_is_leader(const struct host *host);
/* Raft id of the leader, 0 unknown. */
uint64_t host_leader(const struct host *host);
/* True if it failed since it was carried over with more than the member that leads the
 * recovered zone has: its data is to be kept aside. */
bool host_is_stale(const struct host *host);
/* OUT_NOENT while it does not run. */
int host_log_end(const struct host *host, struct replica_log_end *out);
/* Some of what it pulled is as of entries up to this one; 0: it is not so. */
uint64_t host_ahead_index(const struct host *host);
/*
 * Files that have something of entries above @above, of which its log has none. NULL: not
 * known yet; it is being looked for, ask again.
 */
#define HOST_TORN_MAX 16u
struct host_torn {
    bool known;
    int rv; /* A fault of looking. */
    uint64_t above;
    uint64_t count;
    uint32_t n; /* Of them named. */
    char *paths[HOST_TORN_MAX];
};
const struct host_torn *host_torn(struct host *host, uint64_t above);
/* Where a recovery left the names of such files, until a person removes it. */
void host_torn_path(const struct host *host, char *out, size_t cap);
bool host_torn_listed(const struct host *host);
uint64_t host_term_at(const struct host *host, uint64_t index);
/* True if @raft_id is in the group's configuration as this member knows it. */
bool host_has_member(const struct host *host, uint64_t raft_id);
/* True if state, leader or term are not what they were at the last call. */
bool host_changed(struct host *host);

/* How long the journal's disk takes for a batch: write and sync. */
struct host_syncs {
    uint64_t count;
    uint64_t last_us;
    uint64_t mean_us;  /* Smoothed over some 16 batches. */
    uint64_t worst_us; /* Of the present and the last minute. */
    uint64_t since_ms; /* The batch under way began then; 0: none is. */
};

struct host_report {
    enum host_state state;
    struct replica_status replica;
    struct zone_usage usage;
    uint64_t disk_bytes; /* Dataset and journal. */
    uint64_t journal_bytes;
    uint64_t unsettled_bytes;
    struct host_syncs syncs;
    uint64_t blocks_healed;   /* Since the zone runs here, from other members; */
    uint64_t blocks_given_up; /* and bad, without a good copy anywhere, each time. */
};
/* What is known on the loop: a copy refreshed after every apply. */
void host_report(struct host *host, struct host_report *out);
/* The word a person sees for its state: docs/formats/control.md. */
const char *host_report_word(const struct host_report *report);

#endif
