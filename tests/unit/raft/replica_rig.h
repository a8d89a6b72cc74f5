/*
 * replica_rig: a few replicas in one program, each with a pretended disk and zone, and a
 * network that delivers when it is told to. Events in, trace out; no clock.
 */
#pragma once

#include "raft/replica.h"

#include <stdbool.h>

#define RIG_MAX 4u
#define RIG_LOG_MAX 4096u
#define RIG_FRAMES_MAX 65536u

/* An entry as the pretended journal keeps it. */
struct rig_entry {
    uint64_t term;
    enum rgroup_entry_type type;
    struct slice head;
    struct slice payload;
};

struct rig_ticket {
    uint64_t ticket;
    uint32_t n;
};

struct rig_node {
    struct replica *replica;
    bool up;
    bool hold_journal;  /* Tickets wait for rig_journal_done. */
    bool hold_zone;     /* Applies wait for rig_zone_done. */
    bool fail_journal;  /* The next append ends with -EIO. */
    bool full_journal;  /* Appends end with -ENOSPC. */
    bool full_zone;     /* Applies end with -ENOSPC. */
    bool no_meta;       /* What is journaled now is lost. */
    uint64_t bad_index; /* The journal cannot give this entry back. */
    bool no_entries;    /* APPENDs with entries to it are lost. */
    bool no_appends;    /* All APPENDs to it are. */
    bool no_msgs;       /* Raft's other messages to it are. */
    struct rig_ticket tickets[64];
    uint32_t n_tickets;

    /* Durable: what was journaled, whether or not its ticket was answered. */
    uint64_t term;
    uint64_t vote;
    uint64_t base_index;
    uint64_t base_term;
    uint64_t last;
    struct rig_entry log[RIG_LOG_MAX]; /* By index. */

    /* The zone: the index applied, and the last apply not answered. */
    uint64_t applied;
    uint64_t applied_term;
    uint64_t conf_index;
    uint8_t conf[512];
    size_t conf_len;
    int64_t due_ns;          /* What it says with each apply; */
    const uint64_t *touched; /* likewise, and each entry; NULL: whichever. */
    uint32_t n_touched;
    uint64_t apply_to;
    uint32_t apply_n;
    bool has_snapshot;
    struct rgroup_snapshot snapshot;
    uint8_t snapshot_conf[512];

    /* Counters. */
    uint32_t journals;
    uint32_t unread; /* Of them, and of the settles. */
    uint32_t fetches;
    uint64_t read_stamp; /* Of the last read given. */
    uint32_t snapshots;
    uint32_t pulls;
    uint32_t settles;
    uint32_t rests;
    uint32_t quiet_rests;
    uint32_t failed;
    uint32_t slow_notes;        /* That its disk is slow; */
    struct replica_status slow; /* its status then. */
    uint64_t pull_index;
    uint64_t pull_from;
    bool hold_pull;
    bool hold_snapshot; /* Snapshots wait for rig_snapshot_done. */
    bool hold_fetch;    /* Entries read back wait for rig_fetch_done. */
    uint64_t fetch_index;
    uint32_t fetch_n; /* 0: none is waited for. */
    uint64_t fetch_bytes;
    uint32_t metas; /* Journal batches with term and vote, */
    uint32_t bases; /* with a cut, */
    uint32_t calms; /* and whose end may be told late. */
    uint32_t compactions;
    int64_t zone_time_ns; /* Of the last entry applied. */
    uint64_t peak_cache;
    struct roll_marks marks; /* Given to its next start. */
    int64_t wall_ahead_ns;   /* Its clock of the day, of the others'. */
};

struct rig_frame {
    uint64_t from;
    uint64_t to;
    uint8_t channel;
    uint8_t type;
    struct slice head;
    struct slice body;
};

struct rig {
    uint64_t now_ms;
    uint32_t n;
    uint64_t journal_bytes_max;
    uint32_t mutation;
    bool leases;
    bool roll_call;
    uint64_t cache_bytes;
    uint64_t pending_bytes;
    int64_t wall_back_ns; /* How far clocks of the day are behind. */
    uint32_t apply_wait_ms;
    struct rig_node nodes[RIG_MAX + 1]; /* By raft id. */
    bool cut[RIG_MAX + 1][RIG_MAX + 1]; /* Frames from, to are dropped. */
    struct rig_frame *frames;
    uint32_t at;
    uint32_t n_frames;
    uint32_t appends; /* APPEND frames with entries, sent. */
    char trace[65536];
    size_t trace_len;
};

/* @n voters, all connected, none started a term. */
void rig_init(struct rig *rig, uint32_t n);
void rig_deinit(struct rig *rig);
/* Make the replica of @id from its disk. 0 or a fault. */
int rig_start(struct rig *rig, uint64_t id);
void rig_stop(struct rig *rig, uint64_t id);
/* Of a stopped one, as if the power had gone: entries from @index on never got there. */
void rig_lose(struct rig *rig, uint64_t id, uint64_t index);
/* One event into one replica; carries out the actions. The time is filled in. */
int rig_step(struct rig *rig, uint64_t id, struct replica_event *event);
/* Deliver frames until the next one is of this type, from @from to @to, and take its head
 * out: it will not arrive. */
struct slice rig_take(struct rig *rig, uint64_t from, uint64_t to, uint8_t type);
/* Deliver frames until none is left. */
void rig_settle(struct rig *rig);
/* Let @ms pass in steps of 10 ms, ticking and delivering. */
void rig_run(struct rig *rig, uint64_t ms);
/* Run until @id leads and has committed in its term; it alone ticks at first. */
void rig_elect(struct rig *rig, uint64_t id);
/* What they send each other is lost, @is_cut, and nobody is told. */
void rig_cut(struct rig *rig, uint64_t a, uint64_t b, bool is_cut);
void rig_connect(struct rig *rig, uint64_t a, uint64_t b, bool up);
void rig_journal_done(struct rig *rig, uint64_t id);
/* Answer the oldest ticket alone, with @rv. */
void rig_journal_one(struct rig *rig, uint64_t id, int rv);
void rig_zone_done(struct rig *rig, uint64_t id);
void rig_fetch_done(struct rig *rig, uint64_t id);
/* Take the snapshot that was held back. */
void rig_snapshot_done(struct rig *rig, uint64_t id);
/* Answer the DO_PULL of @id with the state of @from, or with @rv. */
void rig_pull_done(struct rig *rig, uint64_t id, uint64_t from, int rv);
/* Submit a WRITE of @len bytes; answers appear in the trace as "<id> answer <token>
 * <OUTCOME>". */
void rig_submit(struct rig *rig, uint64_t id, uint64_t token, size_t len);
void rig_flush(struct rig *rig, uint64_t id);
/* @n such, with tokens from @first on: each is delivered before the next is submitted. */
void rig_write(struct rig *rig, uint64_t id, uint64_t first, uint32_t n, size_t len);
void rig_read(struct rig *rig, uint64_t id, uint64_t token);
/* One that depends on inode @ino of generation @gen alone. */
void rig_read_of(struct rig *rig, uint64_t id, uint64_t token, uint64_t ino,
                 uint64_t gen);
void rig_disk(struct rig *rig, uint64_t id, uint64_t journal_bytes);
uint64_t rig_applied(const struct rig *rig, uint64_t id);
void rig_status(const struct rig *rig, uint64_t id, struct replica_status *out);
/* The trace since the last call. */
const char *rig_trace(struct rig *rig);
