/*
 * rgroup: one member of one Raft group, as a pure step over libraft's raft_step.
 *
 * Engine-neutral: no libraft type appears here, <raft.h> is included in this folder's
 * .c files only. Every hazard of the engine is closed inside (guards G1 to G17, see
 * docs/architecture.md). No clock, socket, disk or randomness: time is an argument in
 * milliseconds of CLOCK_BOOTTIME and never goes back; elections draw from a seed.
 *
 * The caller owns the log (indexes, terms, payloads), the journal and the wire. It
 * feeds events and carries out the update, in the order of its fields, before the next
 * step. Connections between members deliver in order and replay nothing.
 *
 * Promises (given a journal that keeps what it reported): one leader a term, log
 * matching, leader completeness, a commit index that never goes back, liveness when a
 * majority can talk. Does not promise a lease: being leader is none (Raft thesis 6.4);
 * raft/lease.h makes one with rgroup_hold.
 */
#ifndef RAFT_RGROUP_H
#define RAFT_RGROUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RGROUP_MEMBERS_MAX 128u
#define RGROUP_ENTRIES_MAX 4096u /* Entries in one message or one submit. */
#define RGROUP_CONF_BYTES_MAX 16384u

struct rgroup;

enum rgroup_entry_type { RGROUP_COMMAND = 1, RGROUP_BARRIER = 2, RGROUP_CHANGE = 3 };
enum rgroup_role { RGROUP_VOTER = 1, RGROUP_STANDBY = 2 };
enum rgroup_state { RGROUP_FOLLOWER = 1, RGROUP_CANDIDATE = 2, RGROUP_LEADER = 3 };

/* What raft needs to know of an entry. @conf only for CHANGE (encoded, borrowed). */
struct rgroup_entry {
    uint64_t term;
    enum rgroup_entry_type type;
    const uint8_t *conf;
    size_t conf_len;
};

struct rgroup_server {
    uint64_t id; /* Not 0. */
    enum rgroup_role role;
};
struct rgroup_conf {
    uint32_t n;
    struct rgroup_server servers[RGROUP_MEMBERS_MAX];
};
/* Raft's encoding of a configuration, for the first entry of a new group (index 1, term
 * 1, byte-identical on all first members). 0, or -EINVAL/-ENOMEM/-ENOBUFS. */
int rgroup_conf_encode(const struct rgroup_conf *conf, uint8_t *out, size_t cap,
                       size_t *len);
int rgroup_conf_decode(const uint8_t *bytes, size_t len, struct rgroup_conf *out);

enum rgroup_msg_type {
    RGROUP_MSG_VOTE = 1,
    RGROUP_MSG_VOTE_RESULT = 2,
    RGROUP_MSG_APPEND = 3,
    RGROUP_MSG_APPEND_RESULT = 4,
    RGROUP_MSG_SNAPSHOT = 5,
    RGROUP_MSG_TIMEOUT_NOW = 6,
};

/*
 * A message between members. @peer is the destination when sending, the sender when
 * receiving. Every scalar travels. For APPEND, entries [index+1, index+n] travel beside
 * it: the sender takes them from its log when the socket can take them (dropping the
 * message unless it still leads in .term: its log may have been cut anywhere in the
 * range, so the term at index + 1 tells nothing; that at index + n would do), the
 * receiver puts them into event.entries. APPENDs may be split into consecutive ones.
 */
struct rgroup_msg {
    enum rgroup_msg_type type;
    uint64_t peer;
    uint64_t term;
    uint64_t index; /* VOTE: last. APPEND: previous. RESULT: last. SNAPSHOT: last. */
    uint64_t index_term;
    uint64_t commit;     /* APPEND: leader's commit. */
    uint64_t rejected;   /* APPEND_RESULT: 0, or the index refused. */
    uint64_t conf_index; /* SNAPSHOT. */
    uint64_t candidate;
    uint32_t version;
    uint32_t n; /* APPEND: entries. */
    uint32_t features;
    uint32_t capacity;
    bool pre_vote;
    bool granted;
    bool disrupt;
    const uint8_t *conf; /* SNAPSHOT: encoded configuration of the snapshot. Borrowed. */
    size_t conf_len;
    /* Sending: hold back until the entry at this index is durable here (guard G10); 0:
     * only term and vote must be durable first, which holds for every message. */
    uint64_t after_index;
};
/* Scalars and conf to and from bytes, versioned. Bytes written, or -ENOBUFS. */
struct wire_enc;
struct wire_dec;
void rgroup_msg_put(struct wire_enc *enc, const struct rgroup_msg *msg);
/* 0 or -EPROTO; conf borrows from the decoder's bytes. */
int rgroup_msg_get(struct wire_dec *dec, struct rgroup_msg *msg);

enum rgroup_event_type {
    RGROUP_EV_START = 1, /* Once, first. A log without the snapshot's last entry is void:
                            rgroup_last_index then is the snapshot's; cut the journal. */
    RGROUP_EV_RECEIVE = 2,
    RGROUP_EV_PERSISTED = 3, /* Log durable up to .index, strictly rising (see doc). */
    RGROUP_EV_APPLIED_CHANGE = 4, /* The CHANGE at .index was applied; also on replay. */
    RGROUP_EV_SNAPSHOT_TAKEN = 5, /* Own descriptor durable; log may be cut below. */
    RGROUP_EV_SNAPSHOT_INSTALLED =
        6, /* A pull finished: .snapshot describes it, index >= install_index. The log
              is empty and begins after .snapshot.index. */
    RGROUP_EV_TICK = 7, /* Before wake_ms it does nothing. */
    /* Leader: append .entries, COMMAND and BARRIER only, in its own term: .term of an
     * entry is not looked at. */
    RGROUP_EV_SUBMIT = 8,
    /* Leader: one membership change, checked (G2, G11). A server comes in as a standby
     * (else OUT_INVAL) and is promoted once it has acknowledged an entry of this term. */
    RGROUP_EV_CHANGE = 9,
    RGROUP_EV_TRANSFER = 10, /* Leader, quiesced (G14): .target, 0 any. */
    /* The connection to .target broke. If that is the leader it has probably died: this
     * member stands for election soon after its hold, and not only when its timer runs
     * out. A hint: others who still hear the leader refuse their pre-votes. */
    RGROUP_EV_LOST = 11,
};

struct rgroup_snapshot {
    uint64_t index;
    uint64_t term;
    uint64_t conf_index;
    const uint8_t *conf; /* Encoded, borrowed for the call. */
    size_t conf_len;
};

struct rgroup_event {
    enum rgroup_event_type type;
    uint64_t now_ms;
    /* START */
    uint64_t term;
    uint64_t vote;
    bool has_snapshot;
    struct rgroup_snapshot snapshot; /* START, SNAPSHOT_TAKEN, SNAPSHOT_INSTALLED */
    uint64_t first_index; /* START: of entries; without: snapshot index + 1, or 1. */
    const struct rgroup_entry *entries; /* START, RECEIVE APPEND, SUBMIT, CHANGE (one). */
    uint32_t n_entries;
    const struct rgroup_msg *msg;   /* RECEIVE */
    uint64_t index;                 /* PERSISTED, APPLIED_CHANGE */
    uint64_t trailing;              /* SNAPSHOT_TAKEN: entries kept below the snapshot. */
    const struct rgroup_conf *conf; /* CHANGE: the complete new configuration. */
    uint64_t target;                /* TRANSFER, LOST */
};

/*
 * What the caller must now do. Arrays live until the next step.
 * 1. meta: write term and vote; no message of this or a later update leaves before it is
 *    durable. 2. appends, in order: each voids the log from .index on, then adds the
 *    entries (from the event's array at .from, or, for .own, the one in .own_entry: a
 *    barrier or a change made here; conf bytes borrowed). May be written while sending.
 *    Every new leader appends a barrier of its own in the step in which it is elected.
 * 3. install: a snapshot was accepted: report nothing durable any more, pull a state
 *    >= .install_index, make it durable with the log cut to the state's index, then
 *    send SNAPSHOT_INSTALLED. To give up: free the rgroup and start anew from disk.
 * 4. messages, each after meta (and after_index). 5. commit: apply up to
 *    min(commit, reported durable). 6. state.
 */
struct rgroup_append {
    uint64_t index;
    uint32_t from;
    uint32_t n;
    bool own;
    struct rgroup_entry own_entry;
};
#define RGROUP_APPENDS_MAX 64u
struct rgroup_update {
    bool meta;
    uint64_t term;
    uint64_t vote;
    uint32_t n_appends;
    struct rgroup_append *appends;
    bool install;
    uint64_t install_index;
    uint64_t install_term;
    uint32_t n_messages;
    struct rgroup_msg *messages;
    uint64_t commit; /* Always valid, never falls. */
    enum rgroup_state state;
    bool state_changed;
    uint64_t leader;  /* 0 unknown. Only a leader of the current term is named. */
    uint64_t wake_ms; /* Absolute: send TICK then, or earlier. Never in the past. */
};

/* Each bit switches one guard off, for tests that show that it is needed. */
enum rgroup_guard_off {
    RGROUP_OFF_G1 = 1 << 1,
    RGROUP_OFF_G2 = 1 << 2,
    RGROUP_OFF_G3 = 1 << 3,
    RGROUP_OFF_G4 = 1 << 4,
    RGROUP_OFF_G5 = 1 << 5,
    RGROUP_OFF_G6 = 1 << 6,
    RGROUP_OFF_G7 = 1 << 7,
    RGROUP_OFF_G8 = 1 << 8,
    RGROUP_OFF_G9 = 1 << 9,
    RGROUP_OFF_G10 = 1 << 10,
    RGROUP_OFF_G11 = 1 << 11,
    RGROUP_OFF_G12 = 1 << 12,
    RGROUP_OFF_G13 = 1 << 13,
    RGROUP_OFF_G14 = 1 << 14,
    RGROUP_OFF_G15 = 1 << 15,
    RGROUP_OFF_G16 = 1 << 16,
    RGROUP_OFF_G17 = 1 << 17,
};

struct rgroup_config {
    uint64_t self;
    uint32_t election_ms; /* T: timers are drawn from [T, 2T]. Same on all members. */
    uint32_t heartbeat_ms;
    uint32_t inflight_max; /* Entries sent and not acknowledged, per follower. */
    uint64_t seed;
    uint32_t guards_off; /* Tests only. */
};
int rgroup_new(const struct rgroup_config *config, struct rgroup **out);
void rgroup_free(struct rgroup *group);

/*
 * One step. 0; OUT_NOT_LEADER, OUT_BUSY (a change or transfer pending, no entry of this
 * term committed yet, or the target of a transfer or promotion not up to date), OUT_INVAL
 * (a change of more than one server, or one that is forbidden) for SUBMIT, CHANGE,
 * TRANSFER: nothing happened. A fault (-EPROTO: malformed message, ignored, nothing changed;
 * -ENOMEM, -EUCLEAN: free the group and start anew from disk).
 */
int rgroup_step(struct rgroup *group, const struct rgroup_event *event,
                struct rgroup_update *update);

/* Leader only: a member's acknowledged index (own: durable index). OUT_NOENT. */
int rgroup_match_index(const struct rgroup *group, uint64_t id, uint64_t *out);
void rgroup_conf_now(const struct rgroup *group, struct rgroup_conf *out);
/* The entries of configurations: of the one of now (0: there is none), and of the last one
 * that is known here to be committed, which is that or the one before it. */
struct rgroup_conf_place {
    uint64_t index;
    uint64_t committed;
};
struct rgroup_conf_place rgroup_conf_place(const struct rgroup *group);
uint64_t rgroup_term(const struct rgroup *group);
uint64_t rgroup_last_index(const struct rgroup *group);
/* No read may be served below this commit index in this term. UINT64_MAX if not leader. */
uint64_t rgroup_read_floor(const struct rgroup *group);
bool rgroup_is_sole_voter(const struct rgroup *group);
/* A transfer is under way: submits are refused. */
bool rgroup_transferring(const struct rgroup *group);
/*
 * Until @until_ms this member helps nobody to become leader, itself included, unless the
 * leader of the term before has handed over (guard G16). Never shortened. A restart does
 * not know of it: what a member may have promised before is covered by G12, so a hold
 * must end within one election timeout.
 */
void rgroup_hold(struct rgroup *group, uint64_t until_ms);
/*
 * While @abstains this member does not become leader: it asks for no vote, counts none
 * that was asked for before, and takes no leadership that is handed over. It follows and
 * votes as ever, and if it leads, it goes on.
 */
void rgroup_abstain(struct rgroup *group, bool abstains);

#endif
