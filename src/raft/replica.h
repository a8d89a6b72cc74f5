/*
 * replica: one zone's group on one member: consensus, log, ops, reads; a pure step.
 *
 * Sits between rgroup (who leads, what is committed) and the three things with a disk:
 * the journal, the zone (apply, read) and the pull. It decides what is written, sent,
 * applied and answered, and when; its driver (daemon/zone_uv.c, or the simulator) does
 * it and reports back. No clock, socket, disk or randomness inside.
 *
 * Promises:
 * - a submitted op is answered with its result only after its entry is committed (on
 *   disk on a majority) and applied here; with OUT_NOT_LEADER only if it was certainly
 *   not proposed, else it stays open until decided or leadership ends
 *   (OUT_TRY_LATER: in doubt, ask again with the same origin).
 * - REPLICA_DO_READ is given for a read only when the zone's applied state contains
 *   every op answered anywhere before the read began that may touch what it asks for
 *   (leases, docs/adr/0004-leases.md, or read index, Raft thesis 6.4).
 * - memory is bounded: REPLICA_CACHE_BYTES of entries, REPLICA_PENDING_BYTES of
 *   proposals (then OUT_FULL: the driver stops reading sockets), per-follower queues
 *   hold ranges, not copies.
 *
 * A full disk is not the end: what met it (-ENOSPC from the journal, an apply or a
 * snapshot, which then did nothing) is done again once there is room; meanwhile settling
 * and compaction go before all else. Any other fault stops the zone on this member.
 *
 * A leader whose disk is low takes no op that makes the zone grow (OUT_FULL), but those
 * that remove, and hands leadership to a voter that has room. A follower without room
 * stops nobody.
 *
 * Nor does a clock that is wrong, be it the leader's: entries are stamped by the members'
 * median if the leader's own is more than a minute off it (raft/wall.h, replica_wall.c).
 *
 * Nor does one with a slow disk. A leader with a slow one hands leadership to a voter
 * whose disk is clearly quicker, at most once in 20 election timeouts (replica_slow.c).
 *
 * A member that starts takes part in nothing until it has heard from the others whether
 * its log is what it acknowledged (replica_roll.c). If it is not, replica_new or a step
 * gives -ESTALE: this state must never be started again under this raft id.
 *
 * Entries are applied in order, one batch outstanding, only when durable here too.
 * Frames between replicas: docs/formats/replica.md.
 */
#ifndef RAFT_REPLICA_H
#define RAFT_REPLICA_H

#include "base/buf.h"
#include "raft/rgroup.h"
#include "raft/roll.h"
#include "zone/op.h"

#include <stdbool.h>
#include <stdint.h>

#define REPLICA_CACHE_BYTES (24u << 20)
#define REPLICA_PENDING_BYTES (32u << 20)
#define REPLICA_APPLY_MAX 256u /* Entries in one apply batch. */
#define REPLICA_APPLY_BYTES (8u << 20)
#define REPLICA_FRAME_BYTES (1536u << 10) /* Aim for one frame's size at most. */
#define REPLICA_INLINE_BYTES 16384u       /* Payloads up to this travel in the head. */
#define REPLICA_READS_MAX 65536u          /* Reads waiting at one time. */

struct replica;

/* Frames between replicas (docs/formats/replica.md). A driver's own types begin above. */
enum replica_frame {
    REPLICA_FRAME_MSG = 1,          /* Votes, results, snapshots: control. */
    REPLICA_FRAME_APPEND = 2,       /* Entries and heartbeats: log. */
    REPLICA_FRAME_PROBE = 3,        /* Leader to voters: am I still leader? */
    REPLICA_FRAME_PROBE_ACK = 4,    /* Yes, as far as I know. */
    REPLICA_FRAME_READ_INDEX = 5,   /* Member to leader: from where may I read? */
    REPLICA_FRAME_READ_ANSWER = 6,  /* From this index, or: ask somebody else. */
    REPLICA_FRAME_REPORT = 7,       /* Member to leader: how far it has applied. */
    REPLICA_FRAME_PING = 8,         /* Leader to voters, for its lease. */
    REPLICA_FRAME_PONG = 9,         /* It follows, and votes for nobody else meanwhile. */
    REPLICA_FRAME_LEASE_ASK = 10,   /* Member to leader: a read lease? */
    REPLICA_FRAME_LEASE_GRANT = 11, /* So long from the question on, or none. */
    REPLICA_FRAME_LEASE_REVOKE = 12, /* Leader to member: give it back. */
    REPLICA_FRAME_LEASE_RETURN = 13, /* It holds none any more. */
    REPLICA_FRAME_RECEIVED = 14,     /* Holder to leader: its log reaches so far. */
    REPLICA_FRAME_ROLL = 15,         /* What is remembered of a member, asked and told. */
    REPLICA_FRAME_CLOCK = 16,        /* A member's clock of the day. */
    REPLICA_FRAME_LAST = 16,
};

/* One log entry as the driver sees it. Slices hold references while the replica or an
 * action names them. */
struct replica_entry {
    uint64_t index;
    uint64_t term;
    enum rgroup_entry_type type;
    struct slice head; /* COMMAND: encoded zone_entry. CHANGE: configuration. */
    struct slice payload;
    uint64_t segment; /* Where the payload lies in the journal; 0 until durable. */
    uint64_t offset;
    uint32_t crc; /* Of the payload there; 0: not known. */
};

struct replica_config {
    uint64_t self; /* Raft id. */
    uint32_t election_ms;
    uint32_t heartbeat_ms;
    uint64_t seed;
    uint64_t journal_bytes_max; /* Default 256 MiB. */
    bool leases;                /* Reads under leases; else each batch asks. */
    bool roll_call;             /* Ask the others before taking part. */
    uint64_t window_bytes;      /* In flight to a follower, default 8 MiB; */
    uint64_t cache_bytes;       /* of entries in memory, REPLICA_CACHE_BYTES; */
    uint64_t pending_bytes_max; /* of proposals, REPLICA_PENDING_BYTES. */
    uint32_t apply_wait_ms;     /* A follower gathers entries to apply, at most so long,
                                   while nobody reads from it; 0: never. */
    uint32_t guards_off;        /* Tests only. */
    uint32_t mutation;          /* Tests only: enum replica_mutation. */
};

/* Rules that a test switches off, to show that the checks catch it. */
enum replica_mutation {
    REPLICA_MUT_NONE = 0,
    REPLICA_MUT_REPLY_EARLY = 1,     /* Answer when proposed, not when committed. */
    REPLICA_MUT_READ_LOCAL = 2,      /* Read without read index. */
    REPLICA_MUT_APPLY_UNDURABLE = 3, /* Apply what is committed but not on disk here. */
    REPLICA_MUT_NO_FLOOR = 4,        /* A new leader reads before its own barrier. */
    REPLICA_MUT_EARLY_SEND = 5,      /* Send before term and vote are on disk. */
    REPLICA_MUT_EARLY_REPORT = 6,    /* Report as durable what is only being written. */
    REPLICA_MUT_LEASE_ALONE = 7,     /* Being leader is taken for a lease. */
    REPLICA_MUT_NO_WAIT = 8,    /* Read leases of a life before are not waited for, nor do
                                voters hold (G16). */
    REPLICA_MUT_NO_RECEIPT = 9, /* Release without the holders' having it. */
    REPLICA_MUT_NO_NAMES = 10,  /* A holder reads what entries above R touch. */
    REPLICA_MUT_LEASE_KEPT = 11, /* Hand over, or change voters, with leases out. */
    REPLICA_MUT_TRUST_ROLLED_BACK = 12, /* Marks above the own state mean nothing. */
    REPLICA_MUT_KEEP_ATTRS = 13, /* Attributes are kept when an entry touches them; */
    REPLICA_MUT_KEEP_TOLD = 14,  /* or when it says so once it was applied. */
    REPLICA_MUT_OWN_CLOCK = 15, /* A leader stamps with its own clock, however far off. */
};

/* The durable state that the driver found: what journal_open and zone_snapshot_get say.
 * Entries are handed over one by one (heads in memory; payloads only by place). */
struct replica_start {
    uint64_t now_ms;
    uint64_t term;
    uint64_t vote;
    bool has_snapshot;
    struct rgroup_snapshot snapshot;
    uint64_t base_index; /* The entries begin at base_index + 1. */
    uint64_t base_term;
    const struct replica_entry *entries; /* References are taken. */
    uint32_t n_entries;
    uint64_t applied_index; /* Of the zone's rows. */
    uint64_t applied_term;
    int64_t zone_time_ns; /* Of the last applied entry; later stamps lie above it. */
    const struct roll_marks *marks; /* What replica_marks gave an earlier life, kept
                                       elsewhere than the log; NULL: nothing. */
};

enum replica_event_type {
    REPLICA_EV_TICK = 1,
    REPLICA_EV_FRAME = 2,     /* From member .from: .frame_type, .head, .body. */
    REPLICA_EV_PEER = 3,      /* The connection to member .from went .up or down. */
    REPLICA_EV_WRITABLE = 4,  /* The log channel to .from has room again. */
    REPLICA_EV_SUBMIT = 5,    /* .head: encoded zone_entry (unshared: it is stamped),
                                 .body: payload, .token. */
    REPLICA_EV_READ = 6,      /* .token: wants to read .ino of .gen, which alone decide
                                 the answer; .ino 0: anything may. */
    REPLICA_EV_CANCEL = 7,    /* .token of a read or submit: nobody waits any more. */
    REPLICA_EV_JOURNALED = 8, /* .ticket done with .rv; .places for its entries. */
    REPLICA_EV_APPLIED = 9,   /* .index, .results (as many as the batch), .due_ns, .rv. */
    REPLICA_EV_FETCHED = 10,  /* .entries, .n_entries from the journal, .rv. */
    REPLICA_EV_SNAPSHOT = 11, /* The descriptor is durable: .snapshot, .rv. */
    REPLICA_EV_PULLED = 12,   /* Switched to a pulled state: .snapshot is the state's
                                 own (index P), .wall_ns its zone time, .rv. */
    REPLICA_EV_DISK = 13,     /* .journal_bytes, .extent_segment, .settle_rest, .low,
                                 .bad: after changes. */
    REPLICA_EV_CHANGE = 14,   /* .conf, .token: membership change at the leader. */
    REPLICA_EV_TRANSFER = 15, /* .from: raft id to lead (0: best), .token. */
    REPLICA_EV_STOP = 16,     /* Refuse new ops from now on (shutdown after transfer). */
    REPLICA_EV_FLUSH = 17,    /* End of the driver's loop turn: SUBMITs and READs that
                                 came since the last one go on as one batch. */
    REPLICA_EV_ABANDON = 18,  /* The driver gives the zone up: whoever waits is answered
                                 in doubt, then DO_FAIL with -ECANCELED. */
    REPLICA_EV_APPLY_TO = 19, /* .index: one batch to be applied is to end there, so that
                                 the zone can be seen as of it. */
    REPLICA_EV_SLEEP = 20,    /* The machine is about to sleep (.up false), or is awake
                                 (.up). Until it is, this member holds no read lease, hands
                                 over what it leads to who is awake, and becomes leader of
                                 nothing. Told again, it does nothing. */
};

struct replica_place {
    uint64_t segment;
    uint64_t offset;
    uint32_t crc; /* CRC32C of the payload there; 0: not known. */
};

/* One applied entry's answer. @result: encoded zone_result (head), @data beside it. */
struct replica_result {
    struct slice result;
    struct slice data;
    const struct zone_result *own; /* What this entry did, decoded; NULL: it did nothing,
                                      or was carried out before. */
    const uint64_t *touched;       /* The inodes that it changed; NULL: whichever. */
    uint32_t n_touched;
};

struct replica_event {
    enum replica_event_type type;
    uint64_t now_ms; /* CLOCK_BOOTTIME, never back. */
    int64_t
        wall_ns; /* This node's clock of the day, as often as it is at hand, always with
                        SUBMIT and TICK; 0: not said. PULLED: zone time. */
    int64_t due_ns; /* When zone time alone changes something; 0: never. */
    uint64_t from;
    bool up;
    uint8_t frame_type;
    struct slice head; /* Borrowed for the step; references are taken. */
    struct slice body;
    uint64_t token;
    uint64_t ino;
    uint64_t gen;
    uint64_t ticket;
    int rv;
    uint64_t index;
    const struct replica_place *places;
    const struct replica_result *results;
    const struct replica_entry *entries;
    uint32_t n_entries; /* Of entries, places or results. */
    struct rgroup_snapshot snapshot;
    uint64_t journal_bytes;
    uint64_t extent_segment;
    bool settle_rest; /* There may be something for a DO_SETTLE of the .rest, */
    bool settle_more; /* and there is more of it than one takes. */
    bool low;         /* Little is free on this member's disk: take nothing that grows. */
    bool bad;         /* Something in the journal is bad: it is to go soon, */
    uint64_t bad_index; /* and entries up to here with it. */
    const struct rgroup_conf *conf;
};

enum replica_action_type {
    /* Append to the journal: has_meta/term/vote, has_base/base_*, entries. Answer with
     * JOURNALED(ticket). Several may be outstanding; they are done in order. */
    REPLICA_DO_JOURNAL = 1,
    /* Send to member .to on .channel (0 control, 1 log): .frame_type, .head, .body. May
     * be dropped when the connection is down. */
    REPLICA_DO_SEND = 2,
    /* Apply .entries (in order, from applied + 1). Answer with APPLIED. One outstanding. */
    REPLICA_DO_APPLY = 3,
    /* The read .token may be executed now on the zone, at or after everything applied.
     * .named: what is under way was looked through for its inode only. Then an answer
     * about a file without a name (nlink 0) is not good, since any op may purge it: ask
     * again, with .ino 0. What replica_attrs_get gives is as good as what the zone says,
     * and what the zone says may be told with .stamp: replica_attrs_seen. */
    REPLICA_DO_READ = 4,
    /* Answer .token: .outcome 0 with .result, or OUT_NOT_LEADER (.leader is the hint, 0
     * unknown), OUT_TRY_LATER (in doubt), OUT_FULL, OUT_BUSY, OUT_INVAL. */
    REPLICA_DO_ANSWER = 5,
    /* Read entries [.index, .index + .n) back from the journal, at most .bytes. Answer
     * with FETCHED. One outstanding. */
    REPLICA_DO_FETCH = 6,
    /* Make a snapshot descriptor (zone_snapshot). Answer with SNAPSHOT. */
    REPLICA_DO_SNAPSHOT = 7,
    /* journal_compact(.index, .term), then journal_release up to the extents' floor. */
    REPLICA_DO_COMPACT = 8,
    /* Pull a state with index >= .index from a member (.to: best first guess; any will
     * do). No journal, apply or read is outstanding then. Answer with PULLED when the
     * shadow was switched durably. Reads and applies are suspended meanwhile. */
    REPLICA_DO_PULL = 9,
    /* Settle some data: the journal is past its mark; or, with .rest, only what is not
     * in the journal and takes room for nothing. Driver's own pace; no answer. */
    REPLICA_DO_SETTLE = 10,
    /* Leader, term or state changed: for status, log, beacons. */
    REPLICA_DO_NOTE = 11,
    /* This member must stop this zone: .rv says why (journal fault, damaged log). */
    REPLICA_DO_FAIL = 12,
};

struct replica_action {
    enum replica_action_type type;
    uint64_t ticket;
    uint64_t to;
    uint8_t channel;
    uint8_t frame_type;
    struct slice head; /* The action holds a reference: see replica_actions_clear. */
    struct slice body;
    bool calm; /* JOURNAL: its end lets nobody go on before another event does. */
    bool has_meta;
    uint64_t term;
    uint64_t vote;
    bool has_base;
    uint64_t base_index;
    uint64_t base_term;
    struct replica_entry *entries; /* Own copies, with references. */
    uint32_t n;
    uint64_t index;
    uint64_t bytes;
    bool rest;
    bool quiet;  /* Clients pause: there is no need to spare the disk. */
    bool unread; /* JOURNAL, SETTLE: nobody is going to read that here soon. */
    uint64_t token;
    bool named;
    uint64_t stamp;
    int outcome;
    int rv;
    struct slice result;
    struct slice data;
    uint64_t leader;
};

/* A growing array that the caller owns, reused over steps. Zero is empty. */
struct replica_actions {
    struct replica_action *items;
    uint32_t n;
    uint32_t cap;
};
/* Drop the references and set n to 0. _deinit also frees the array. */
void replica_actions_clear(struct replica_actions *actions);
void replica_actions_deinit(struct replica_actions *actions);

/* 0 or a fault; -ESTALE: the state is older than what this member acknowledged. */
int replica_new(const struct replica_config *config, const struct replica_start *start,
                struct replica_actions *actions, struct replica **out);
void replica_free(struct replica *replica);

/* One event. Appends to @actions (which the caller cleared). 0 or a fault, after which
 * the replica must be freed and made anew from disk. */
int replica_step(struct replica *replica, const struct replica_event *event,
                 struct replica_actions *actions);
/* When the next TICK is due, ms; never in the past by more than the last step. */
uint64_t replica_wake_ms(const struct replica *replica);
/* Reads that wait for a FLUSH, for other members or for applies. */
uint32_t replica_reads_waiting(const struct replica *replica);

/*
 * Attributes that the replica knows beside the zone (raft/attrs.h). No step, since they
 * decide nothing: a read that was given (DO_READ) may be answered by _get's attributes,
 * which are those at replica_status's applied index, and at what is handed over. _seen:
 * a read given with @stamp found @attr in the zone.
 */
bool replica_attrs_get(struct replica *replica, struct zone_handle obj,
                       struct zone_attr *out, uint64_t *index);
void replica_attrs_seen(struct replica *replica, uint64_t stamp,
                        const struct zone_attr *attr);

struct replica_member {
    uint64_t id;
    enum rgroup_role role;
    uint64_t match_index;   /* Leader only; else 0. */
    uint64_t applied_index; /* Leader only: as last reported by the member. */
    uint64_t heard_ms_ago;  /* UINT64_MAX: never. */
    uint64_t lease_ms;      /* Leader only: its read lease is out for so long yet. */
    bool clock_known;       /* Its clock was heard lately, or is our own: */
    int64_t clock_off_ms;   /* so far ahead of the one that zone time goes by. */
};
struct replica_status {
    enum rgroup_state state;
    uint64_t term;
    uint64_t leader; /* Raft id, 0 unknown. */
    uint64_t commit_index;
    uint64_t applied_index;
    uint64_t last_index;
    uint64_t first_index;
    bool pulling;
    bool calling; /* It asks the others whether its log is what it acknowledged. */
    bool transferring;
    bool sleeps;  /* Its machine is about to sleep; */
    bool leaving; /* and it leads yet, while another could. */
    uint64_t
        unreadable_index; /* The journal cannot give back this entry, which is next to
                                  be applied: another member's state is to replace it; */
    int unreadable_rv;    /* that is what reading it gave. 0: none. */
    bool full;            /* No room on this member's disk: it takes nothing new. */
    bool slow;            /* Lately its own disk held writers up, for long, as leader. */
    uint64_t release_ms;  /* Then, or as leader now: until a write is released; */
    uint64_t own_ms;      /* and until its own disk and zone are there, too. */
    uint64_t released_index; /* Nothing above it was applied or answered. */
    uint64_t lease_ms;       /* Leader: its lease lasts so long yet; 0: none. */
    uint64_t read_lease_ms;  /* Others: their read lease, likewise. */
    bool has_quorum;         /* Heard from a majority within two election timeouts. */
    uint32_t n_clocks;       /* Of members, that were compared: raft/wall.h. */
    bool clocks_divided;     /* They contradict each other, without a majority. */
    uint64_t pending_bytes;
    uint64_t cache_bytes;
    uint32_t n_members;
    struct replica_member members[RGROUP_MEMBERS_MAX];
};
void replica_status(const struct replica *replica, uint64_t now_ms,
                    struct replica_status *out);
/* What this member remembers of all, itself included. To be kept on a disk now and then,
 * not with the log: what puts the log back must not take it along. */
void replica_marks(const struct replica *replica, struct roll_marks *out);

/* How far this member's log goes on its disk, whatever of it is committed: what is only in
 * memory may be gone before anything comes of the answer. */
struct replica_log_end {
    uint64_t term; /* The current one. */
    uint64_t last_index;
    uint64_t last_term;
    uint64_t commit_index; /* As far as is known here. */
    uint64_t commit_term;
    int64_t time_ns; /* Zone time of the last entry that has one. */
};
void replica_log_end(const struct replica *replica, struct replica_log_end *out);
/* Term of the log's entry at @index; 0: it is not there, or no longer. */
uint64_t replica_term_at(const struct replica *replica, uint64_t index);

#endif
