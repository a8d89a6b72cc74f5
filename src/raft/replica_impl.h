/*
 * replica_impl: what the files of replica share. Nobody else includes it.
 *
 * One step runs so: the event is taken in (replica.c), which may step rgroup and change
 * the log; then replica_turn carries on whatever has become possible: journal, sends,
 * applies, reads. Functions that cannot go on latch a fault (replica_fault) instead of
 * returning one; replica_step returns it.
 */
#ifndef RAFT_REPLICA_IMPL_H
#define RAFT_REPLICA_IMPL_H

#include "raft/attrs.h"
#include "raft/lease.h"
#include "raft/replica.h"
#include "raft/wall.h"

#define REPLICA_TICKETS_MAX 2u          /* Journal batches outstanding. */
#define REPLICA_BATCH_ENTRIES 2048u     /* Entries in one of them, */
#define REPLICA_BATCH_BYTES (8u << 20)  /* and bytes (at least one entry). */
#define REPLICA_CHUNK 512u              /* Entries in one frame or one submit to raft. */
#define REPLICA_RANGES_MAX 16u          /* Queued per follower. */
#define REPLICA_SENT_MAX 64u            /* Frames in flight that are told apart. */
#define REPLICA_WINDOW_BYTES (8u << 20) /* In flight per follower. */
#define REPLICA_HELD_MAX 4096u          /* Messages waiting for durability. */
#define REPLICA_INFLIGHT 1024u          /* Entries, see rgroup_config. */
#define REPLICA_LOG_ENTRIES 131072u /* Past it a snapshot is due, whatever the bytes. */
#define REPLICA_READ_WAIT_MS 2000u  /* For a leader. */
#define REPLICA_READ_MAX_MS 10000u  /* For anything. */
#define REPLICA_PULL_RETRY_MS 500u
#define REPLICA_PULL_TRIES 6u /* Then back to the old state, to vote again. */
#define REPLICA_HEAD_MAX (ZONE_OP_BYTES_MAX + 4096u)
#define REPLICA_ROOM_RETRY_MS 500u /* After a full disk; sooner if something was freed. */
#define REPLICA_MEND_PAUSE_MS 5000u /* Between two rounds of pulls for such an entry. */
#define REPLICA_GIVE_WAY_MS 10000u  /* Between two handings over for room. */
#define REPLICA_GATHER_ENTRIES 64u  /* A follower gathers no more to apply, */
#define REPLICA_GATHER_BYTES (256u << 10) /* nor more of the journal than this, */
#define REPLICA_GATHER_READ_MS 1000u      /* and nothing so soon after a read. */
#define REPLICA_UNREAD_MS \
    10000u                  /* Without a read: what is written is not worth memory. */
#define REPLICA_NAMES 4096u /* Places in the table of touched inodes. */
#define REPLICA_UNISSUED UINT64_MAX
#define REPLICA_REPORT_FULL 1u /* Bits of a REPORT. */
#define REPLICA_REPORT_SLEEPS 2u

/* An entry whose bytes are in memory. */
struct replica_cached {
    struct slice head;
    struct slice payload;
    uint64_t segment;
    uint64_t offset;
    uint32_t crc;
};

/* What is known of every entry of the log. */
struct replica_slot {
    uint64_t term;
    uint64_t ticket; /* The journal batch that wrote it; 0: before this start. */
    struct replica_cached *cached;
    uint32_t bytes; /* On disk, about; too few if it was there at the start. */
    uint8_t type;   /* enum rgroup_entry_type */
};

struct replica_log {
    struct replica_slot *slots; /* A ring; index & (cap - 1). */
    uint64_t cap;               /* A power of two, or 0. */
    uint64_t base_index;
    uint64_t base_term;
    uint64_t last;
    uint64_t cache_low; /* Below it only changes are cached (they stay). */
    uint64_t cache_bytes;
    uint64_t disk_bytes; /* Sum of the slots' bytes. */
};

struct replica_ticket {
    uint64_t ticket;
    uint64_t first;
    uint32_t n;
    uint32_t fill; /* Bytes counted for the end of the batch. */
    bool has_meta;
    bool has_base;
};

/* A control message that must not leave before ticket @gate is done. */
struct replica_held {
    uint64_t gate;
    uint64_t to;
    uint64_t after_index;
    uint8_t frame_type;
    struct slice head;
};

/* Entries to send: msg.index + 1 .. msg.index + msg.n; the heartbeat has n 0. */
struct replica_range {
    struct rgroup_msg msg;
    uint64_t gate;
};

struct replica_sent {
    uint64_t prev; /* The frame held prev + 1 .. last. */
    uint64_t last;
    uint64_t bytes;
};

/* Of the last eight samples or so, the newest an eighth of it. */
struct replica_average {
    uint64_t sum_ms;
    uint32_t n;
};

struct replica_peer {
    uint64_t id;
    bool up;
    bool heard;
    uint64_t heard_ms;
    uint64_t applied;
    bool full;            /* As it last reported; */
    bool sleeps;          /* likewise: it is about to sleep. */
    uint64_t commit_told; /* Highest commit index sent. */
    uint64_t read_index;  /* Highest index that its reads were told to wait for. */
    bool served;          /* rgroup sends to it. */
    uint32_t version;     /* Of the last APPEND from rgroup to this peer. */
    uint32_t n_ranges;
    struct replica_range ranges[REPLICA_RANGES_MAX];
    uint32_t sent_at; /* Ring of frames in flight. */
    uint32_t n_sent;
    struct replica_sent sent[REPLICA_SENT_MAX];
    uint64_t inflight_bytes;
    uint64_t moved_ms;       /* When the first of them got there, or was sent, last. */
    uint64_t sent_ms;        /* Last frame with entries. */
    uint64_t beat_ms;        /* Last frame on the log channel. */
    uint64_t lease_after_ms; /* It was late: no read lease before that. */
    struct wall_clock wall;  /* As it told. */

    /* Of the entry that replica_slow.c follows: did it get there, and after how long? */
    bool acked;
    bool shown; /* Applied, as reported. */
    uint64_t ack_ms;
    uint64_t apply_ms;
    struct replica_average acks; /* Of those before. */
    struct replica_average applies;
};

/* Clocks of the day: replica_wall.c. */
struct replica_wall {
    struct wall_clock own;
    struct wall_verdict verdict; /* n 0: none yet. */
    int64_t judged_ms;           /* The own clock's start at that. */
    uint64_t told_ms;            /* When the others were told last, 0: never; */
    int64_t told_start_ms;       /* and what. */
};

/* The parts of the time that a write takes at the leader. */
struct replica_parts {
    uint64_t release_ms;
    uint64_t journal_ms;
    uint64_t apply_ms;
};

/* What the leader knows of its own disk: replica_slow.c. */
struct replica_pace {
    uint64_t index; /* Of the entry that is followed, 0: none; */
    uint64_t at_ms; /* since when; */
    bool is_released;
    bool is_durable;      /* Here. */
    uint64_t released_ms; /* After so long. */
    uint64_t durable_ms;
    struct replica_average release; /* Of those before: until it is released, */
    struct replica_average journal; /* then until it is durable here too, */
    struct replica_average apply;   /* then until it is applied. */
    uint64_t done_ms;               /* When the last one ended. */
    uint64_t since_ms;              /* Slow since then; 0: it is not. */
    uint64_t after_ms;              /* No handing over before that. */

    uint64_t slow_until_ms;    /* For status: it was slow lately, */
    struct replica_parts slow; /* in this way. */
};

struct replica_submit {
    uint64_t token;
    uint64_t bytes;
    int64_t wall_ns;
    struct slice head;
    struct slice payload;
};

/* A proposal in the log whose asker waits. */
struct replica_wait {
    uint64_t index;
    uint64_t term;
    uint64_t token;
    uint64_t bytes;
};

/* Somebody who wants to read: a local token, or the member @from's batch @token. */
struct replica_read {
    uint64_t from;
    uint64_t token;
    uint64_t index; /* Waits for this applied index. */
    uint64_t since_ms;
    uint64_t ino; /* 0: anything. */
    uint64_t gen;
    bool named; /* See REPLICA_DO_READ. */
};

/* A growing FIFO of fixed-size items. */
struct replica_fifo {
    uint8_t *items;
    uint32_t item_size;
    uint32_t at;
    uint32_t n;
    uint32_t cap;
};

struct replica_round {
    bool open;
    uint64_t seq;
    uint64_t term;
    uint64_t index;
    uint64_t sent_ms;
    uint32_t n_acks;
    uint64_t acks[RGROUP_MEMBERS_MAX];
};

enum replica_pull_state {
    PULL_NONE = 0,
    PULL_DRAIN = 1,   /* Accepted; waiting for journal, zone and fetch to finish. */
    PULL_RUNNING = 2, /* DO_PULL given. */
    PULL_PAUSE = 3,   /* Failed; again at .retry_ms. */
    PULL_CUT = 4,     /* The state is there; the journal's cut is being written. */
};

struct replica_pull {
    enum replica_pull_state state;
    uint64_t index;
    uint64_t term;
    uint64_t retry_ms;
    uint32_t tries;
    uint32_t tries_before; /* Those before @leader was the leader. */
    uint64_t ticket;       /* Of the cut; 0: not issued. */
    uint64_t leader;       /* The last that was known; 0: none was. */
    bool aside;            /* There is nothing to pull: others are to lead meanwhile. */
    bool own; /* Not raft's snapshot, but for an entry that cannot be read. */
};

/* An entry that cannot be read and is not applied: replica_mend.c. */
struct replica_mend {
    uint64_t index;    /* 0: there is none. */
    int rv;            /* What reading it gave. */
    bool waits;        /* For a pull; else it is read again. */
    bool gave_way;     /* As leader: handing over was tried. */
    uint64_t after_ms; /* No pull before that. */
};

enum replica_fetch_for { FETCH_NONE = 0, FETCH_APPLY = 1, FETCH_PEER = 2 };

struct replica_transfer {
    bool active;
    bool fired;
    uint64_t target;
    uint64_t token;
    uint64_t deadline_ms;
};

/* A change of members that waits for read leases to be over. */
struct replica_change {
    bool active;
    uint64_t token;
    struct rgroup_conf conf;
};

/* An own copy of a snapshot descriptor. */
struct replica_descriptor {
    bool present;
    uint64_t index;
    uint64_t term;
    uint64_t conf_index;
    struct buf *conf;
};

struct replica {
    struct replica_config config;
    struct rgroup *group;
    struct replica_actions *out; /* For the step. */
    struct replica_action scratch;
    int rv; /* The latched fault. */
    bool failed;
    bool stopping;
    bool sleeps; /* The machine is about to. */
    uint64_t now_ms;
    uint64_t append_ms; /* When entries were last given to the journal; 0: never. */
    uint64_t tick_ms;   /* When the last periodic work ran. */
    uint64_t wake_ms;   /* rgroup's. */

    enum rgroup_state state;
    uint64_t term;
    uint64_t vote;
    uint64_t leader;
    uint64_t commit;
    uint64_t reported; /* Durable here and told to raft. */
    uint64_t applied;  /* By the zone. */
    uint64_t applied_term;
    uint64_t replayed; /* Changes up to here were told to raft. */
    int64_t last_time_ns;
    int64_t due_ns; /* As the last APPLIED said. */
    struct replica_wall wall;
    bool noted; /* A NOTE is due. */

    struct replica_log log;
    struct replica_descriptor snapshot;

    /* Roll call. */
    struct roll roll;
    struct roll_marks marks;
    uint64_t marks_version; /* Rises with every change of @marks. */
    uint64_t told_version;  /* As leader: what of it was told, */
    uint64_t told_reported; /* and when its own log reached so far; */
    uint64_t told_ms;       /* when. */

    /* Journal. */
    bool meta_dirty;
    bool base_dirty;
    uint64_t base_index; /* To cut to. */
    uint64_t base_term;
    uint64_t ticket_last;
    uint64_t ticket_done;
    uint64_t meta_ticket;
    uint64_t gather_first; /* Entries from here on are not issued; 0: none. */
    bool stalled;          /* The journal had no room for a batch, */
    uint64_t void_to;      /* so that all up to this ticket are issued anew. */
    struct replica_ticket tickets[REPLICA_TICKETS_MAX];
    uint32_t n_tickets;
    struct replica_fifo held;

    /* Peers. */
    struct replica_peer *peers[RGROUP_MEMBERS_MAX];
    uint32_t n_peers;
    uint32_t pump_at; /* Whose turn it is to have entries fetched. */

    /* Proposals. */
    struct replica_fifo submits;
    struct replica_fifo waits;
    uint64_t pending_bytes;
    struct replica_transfer transfer;
    struct replica_change change;
    uint64_t change_index; /* Of the last change in the log. */

    /* Reads. */
    struct replica_fifo reads_new;   /* Not in a round. */
    struct replica_fifo reads_round; /* In the round, or asked of the leader. */
    struct replica_fifo reads_ready; /* Have an index, wait for it to be applied. */
    struct replica_round round;
    bool asked;
    uint64_t asked_leader;
    uint64_t asked_seq;
    uint64_t asked_ms;
    uint64_t ask_after_ms; /* After a refusal. */
    uint64_t read_seq;

    /* Leases. */
    uint64_t released; /* Nothing above it is applied or answered. */
    uint64_t matched;  /* Follower: our log is the leader's up to here. */
    uint64_t received_told;
    uint64_t lease_wait_ms; /* Before that, as leader, nothing is released. */
    struct lease lease;     /* As leader. */
    struct lease_own own;   /* As member. */
    uint64_t own_after_ms;  /* No question before that. */
    uint64_t read_ms;       /* When somebody last wanted to read; 0: never. */
    uint64_t named_any;     /* The last entry that may touch any inode. */
    uint64_t named[REPLICA_NAMES];
    struct attrs attrs;

    /* Apply, fetch, housekeeping. */
    uint32_t apply_n;
    uint64_t apply_stamp;   /* Of the attributes before the batch that is applied. */
    uint64_t apply_from_ms; /* Since when entries are gathered to be applied; 0: none. */
    bool fetch_busy;
    enum replica_fetch_for fetch_for;
    uint64_t fetch_peer;
    uint64_t apply_to;      /* A batch ends there; no matter once it is applied. */
    uint64_t unreadable;    /* The highest entry that the journal could not give back, */
    int unreadable_rv;      /* why, */
    uint64_t unreadable_ms; /* and when that was found. */
    bool bad;               /* A part of the journal is to go, as the driver said, */
    uint64_t bad_index;     /* and entries up to here with it; 0: none. */
    uint64_t bad_ms;        /* When that was last asked for, */
    uint64_t bad_wait_ms;   /* and how long until it is asked for again. */
    bool snapshot_busy;
    uint64_t journal_bytes;
    uint64_t extent_segment;
    bool settle_rest;       /* As the driver says; true until it has spoken. */
    bool settle_more;       /* So much that it takes many. */
    uint64_t rest_ms;       /* When the rest was last asked for. */
    bool disk_low;          /* As the driver said. */
    uint64_t give_way_ms;   /* When leadership may be handed over for room again. */
    bool applied_full;      /* The zone had no room for a batch. */
    uint64_t room_retry_ms; /* When what met a full disk is tried again. */
    bool compact_due;
    uint64_t compact_index;
    struct replica_pull pull;
    struct replica_mend mend;
    struct replica_pace pace;

    struct rgroup_conf conf; /* Scratch: rgroup_conf_now. */
    struct rgroup_update update;
    struct rgroup_entry raft_entries[REPLICA_CHUNK];
    struct replica_entry incoming[REPLICA_CHUNK];
};

/* replica.c */
void replica_fault(struct replica *r, int rv);
/* A new action, zero but for the type. Never NULL: without memory the fault is latched
 * and a scratch action given. */
struct replica_action *replica_act(struct replica *r, enum replica_action_type type);
void replica_answer(struct replica *r, uint64_t token, int outcome);
void replica_note(struct replica *r);
struct slice replica_slice_part(struct slice whole, const uint8_t *data, size_t len);

/* replica_fifo.c: @item_size is fixed at init. push: 0 or a latched -ENOMEM. */
void replica_fifo_init(struct replica_fifo *fifo, size_t item_size);
void replica_fifo_deinit(struct replica_fifo *fifo);
void *replica_fifo_push(struct replica *r, struct replica_fifo *fifo);
void *replica_fifo_at(struct replica_fifo *fifo, uint32_t i);
void replica_fifo_pop(struct replica_fifo *fifo);
void replica_fifo_pop_back(struct replica_fifo *fifo);

/* replica_log.c */
void replica_log_deinit(struct replica *r);
struct replica_slot *replica_log_slot(struct replica *r, uint64_t index);
/* The term of @index, also of the base; 0 if not known. */
uint64_t replica_log_term(struct replica *r, uint64_t index);
/* Adds after the last entry. Takes references when @cache. */
int replica_log_append(struct replica *r, const struct replica_entry *entry, bool cache);
/* Drop @index and all after it. */
void replica_log_truncate(struct replica *r, uint64_t index);
/* Drop everything up to @index; that is the new base. */
void replica_log_compact(struct replica *r, uint64_t index);
/* Empty, with this base. */
void replica_log_reset(struct replica *r, uint64_t base_index, uint64_t base_term);
void replica_log_evict(struct replica *r);
/* Fill @out (own references) if cached. */
bool replica_log_get(struct replica *r, uint64_t index, struct replica_entry *out);
void replica_entry_clear(struct replica_entry *entry);

/* replica_group.c */
/* Make rgroup anew from log and snapshot; what the journal does not have is cut off. */
int replica_group_start(struct replica *r);
/* Step rgroup and carry out its update. Outcomes and -EPROTO are handed back. */
int replica_group_step(struct replica *r, struct rgroup_event *event,
                       const struct replica_entry *incoming);
bool replica_is_leader(const struct replica *r);
/* As if leadership, or the leader, were lost: until rgroup is made anew. */
void replica_group_leave(struct replica *r);

/* replica_journal.c */
void replica_journal_issue(struct replica *r);
void replica_journal_done(struct replica *r, const struct replica_event *event);
/* The ticket that must be done before a message may leave. */
uint64_t replica_journal_gate(const struct replica *r);
bool replica_gate_open(const struct replica *r, uint64_t gate, uint64_t after_index);
/* Send on the control channel, when the gate opens. Takes @head's buffer. */
void replica_control(struct replica *r, uint64_t to, uint8_t frame_type, struct buf *head,
                     uint64_t after_index);
void replica_held_release(struct replica *r);
void replica_held_clear(struct replica *r);

/* replica_wire.c */
struct buf *replica_put_msg(struct replica *r, const struct rgroup_msg *msg);
struct buf *replica_put_u64s(struct replica *r, const uint64_t *values, uint32_t n);
int replica_get_u64s(struct slice head, uint64_t *values, uint32_t n);
/* Put entries of an APPEND into a frame; see replica_send.c. */
size_t replica_entry_wire_bytes(const struct replica_entry *entry, bool body);
struct buf *replica_put_append(struct replica *r, const struct rgroup_msg *msg,
                               const struct replica_entry *entries, bool body);
/* Decode into r->incoming (own references); 0 or -EPROTO. */
int replica_get_append(struct replica *r, const struct replica_event *event,
                       struct rgroup_msg *msg);
void replica_frame(struct replica *r, const struct replica_event *event);

/* replica_send.c */
struct replica_peer *replica_peer_find(struct replica *r, uint64_t id, bool create);
void replica_peer_set(struct replica *r, uint64_t id, bool up);
void replica_send_queue(struct replica *r, const struct rgroup_msg *msg);
void replica_send_acked(struct replica *r, const struct rgroup_msg *msg);
void replica_send_pump(struct replica *r);
void replica_send_fetched(struct replica *r, const struct replica_event *event);
/* Tell @peer the commit index now, as far as its log goes, if that is news to it. */
void replica_send_commit(struct replica *r, struct replica_peer *peer);
void replica_send_reset(struct replica *r);

/* replica_propose.c */
void replica_submit(struct replica *r, const struct replica_event *event);
void replica_submit_flush(struct replica *r);
void replica_change(struct replica *r, const struct replica_event *event);
void replica_change_go_on(struct replica *r);
void replica_propose_truncated(struct replica *r, uint64_t index);
/* Leadership ended. */
void replica_propose_lost(struct replica *r);
void replica_propose_result(struct replica *r, uint64_t index,
                            const struct replica_result *result);
void replica_propose_cancel(struct replica *r, uint64_t token);
void replica_propose_deinit(struct replica *r);

/* replica_wall.c */
/* Our own clock shows @wall_ns. */
void replica_wall_own(struct replica *r, int64_t wall_ns);
/* Member @id can be reached, or wants to lead. */
void replica_wall_peer(struct replica *r, uint64_t id);
void replica_wall_frame(struct replica *r, struct replica_peer *peer, struct slice head);
void replica_wall_tick(struct replica *r);
/* What to stamp with when our own clock shows @wall_ns. */
int64_t replica_wall_time(const struct replica *r, int64_t wall_ns);

/* replica_due.c: once a heartbeat. */
void replica_pass_time(struct replica *r, int64_t wall_ns);

/* replica_transfer.c */
void replica_transfer_begin(struct replica *r, const struct replica_event *event);
void replica_transfer_go_on(struct replica *r);
/* Hand over to voter @target; @token is answered, 0: nobody asked. */
void replica_transfer_start(struct replica *r, uint64_t target, uint64_t token);
/* A leader without room hands over to a voter that has some. Once a heartbeat. */
void replica_transfer_for_room(struct replica *r);
/* Hand over to the voter that has most, one with room if there is one. False: there is
 * nobody. */
bool replica_transfer_away(struct replica *r);
/* Away from a machine that is about to sleep. */
void replica_transfer_for_sleep(struct replica *r);
/* To whom that could be; 0: nobody. */
uint64_t replica_transfer_refuge(struct replica *r);

/* replica_slow.c */
/* State, leader or term is another. */
void replica_slow_changed(struct replica *r);
void replica_slow_go_on(struct replica *r);
/* Judge, and hand over if need be. Once a heartbeat. */
void replica_slow_tick(struct replica *r);
/* Was our own disk the slowest part of a write, for long and as leader, lately? @out: as it
 * was then, or is as leader now. */
bool replica_slow_was(const struct replica *r, uint64_t now_ms,
                      struct replica_parts *out);

/* replica_read.c */
void replica_read_new(struct replica *r, const struct replica_event *event);
void replica_read_cancel(struct replica *r, uint64_t token);
/* The connection to member @from is gone, and its questions with it. */
void replica_read_forget(struct replica *r, uint64_t from);
/* Leader or term changed: what was asked is asked again. */
void replica_read_again(struct replica *r);
void replica_read_go_on(struct replica *r);
/* A follower that nobody reads from, nor did lately. */
bool replica_is_unread(const struct replica *r);
void replica_read_tick(struct replica *r);
void replica_read_fail_all(struct replica *r);
void replica_read_frame(struct replica *r, const struct replica_event *event);

/* replica_lease.c */
/* The log is loaded. */
void replica_lease_start(struct replica *r);
/* What was granted before now may still be held: as leader, nothing is released yet. */
void replica_lease_wait(struct replica *r);
/* State, leader or term is another: all leases are over. */
void replica_lease_changed(struct replica *r);
/* Release what can be, and ask for what is due. */
void replica_lease_go_on(struct replica *r);
void replica_lease_tick(struct replica *r);
void replica_lease_frame(struct replica *r, const struct replica_event *event);
/* The APPEND @msg, whose last entry is of @last_term, was stepped. */
void replica_lease_matched(struct replica *r, const struct rgroup_msg *msg,
                           uint64_t last_term);
/* As leader: our lease's end; 0: none. */
uint64_t replica_lease_end_ms(struct replica *r);
/* As member: may we read by our read lease? */
bool replica_lease_serves(const struct replica *r);
/* As member: a read lease is held or asked for. */
bool replica_lease_wanted(const struct replica *r);
/* As leader: does @id hold a read lease? */
bool replica_lease_is_out(struct replica *r, uint64_t id);
/* As leader: true if no read lease is out; else all are asked back. */
bool replica_lease_quiet(struct replica *r);
/* As leader, quiet: no lease for the rest of the term. */
void replica_lease_give_up(struct replica *r);
/* As member: give back what is held. Also when the log is to be cut: what was received
 * goes with it. */
/* Give back what is held, and what may be granted yet. */
void replica_lease_return(struct replica *r);
void replica_lease_stop(struct replica *r);
uint64_t replica_lease_wake_ms(const struct replica *r);

/* replica_roll.c */
/* rgroup has started. */
void replica_roll_start(struct replica *r, const struct replica_start *start);
/* Deaf yet. */
bool replica_roll_open(const struct replica *r);
/* Nobody is asked for votes: deaf, or below the floor. Its election timer runs out all
 * the same: until then it would refuse its vote to all, for a leader's sake who may be
 * dead. */
bool replica_roll_waits(const struct replica *r);
/* @msg asks for help with an election of, or by, somebody below the floor. */
bool replica_roll_forbids(const struct replica *r, const struct rgroup_msg *msg);
/* A raft message was stepped: what it says of its sender. */
void replica_roll_heard(struct replica *r, const struct rgroup_msg *msg);
void replica_roll_frame(struct replica *r, const struct replica_event *event);
/* Member @id can be reached, or was heard of. */
void replica_roll_peer(struct replica *r, uint64_t id);
void replica_roll_tick(struct replica *r);

/* replica_names.c */
/* An entry was added to the log. */
void replica_names_add(struct replica *r, const struct replica_entry *entry);
/* The last entry of the log that may touch what @read asks for. */
uint64_t replica_names_wait(const struct replica *r, const struct replica_read *read);

/* replica_attrs.c */
/* An entry is handed over to be applied. */
void replica_attrs_touch(struct replica *r, const struct replica_entry *entry);
/* The batch handed over last was applied, and gave @event's results. */
void replica_attrs_applied(struct replica *r, const struct replica_event *event);

/* replica_apply.c */
void replica_apply_issue(struct replica *r);
/* When what is gathered is to be applied; UINT64_MAX: nothing is. */
uint64_t replica_apply_wake_ms(const struct replica *r);
void replica_apply_done(struct replica *r, const struct replica_event *event);
void replica_apply_replay(struct replica *r);
bool replica_fetch(struct replica *r, enum replica_fetch_for purpose, uint64_t index,
                   uint64_t end, uint64_t bytes);
void replica_fetched(struct replica *r, const struct replica_event *event);

/* replica_housekeep.c */
void replica_disk(struct replica *r, const struct replica_event *event);
void replica_housekeep(struct replica *r);
void replica_snapshot_done(struct replica *r, const struct replica_event *event);
int replica_descriptor_set(struct replica *r, const struct rgroup_snapshot *snapshot);
/* This member's journal is at its bound, */
bool replica_journal_full(const struct replica *r);
/* or there is no room on its disk. */
bool replica_disk_full(const struct replica *r);
/* Something met a full disk: what waits for room is tried again in a while. */
void replica_no_room(struct replica *r);
void replica_compact_go_on(struct replica *r);
/* Cut the log and the journal up to @cut, of which there is a snapshot. */
void replica_compact(struct replica *r, uint64_t cut);

/* replica_pull.c */
void replica_pull_begin(struct replica *r, uint64_t index, uint64_t term);
/* Forget what nobody has on a disk, nor will: it was never acknowledged. */
void replica_pull_cut_unissued(struct replica *r);
void replica_pull_go_on(struct replica *r);
void replica_pull_done(struct replica *r, const struct replica_event *event);

/* replica_mend.c */
/* Reading entry @index for the zone gave @rv. False: that is the end, as there is nobody
 * to take the state from. */
bool replica_mend_wanted(struct replica *r, uint64_t index, int rv);
void replica_mend_go_on(struct replica *r);
/* As leader: an entry that nobody is known to have else, and that cannot be read. 0: none. */
uint64_t replica_mend_stuck(const struct replica *r);
/* It ended: nobody gave the state, */
void replica_mend_gave_up(struct replica *r);
/* or it is here, and its descriptor set. */
void replica_mend_done(struct replica *r);
/* It takes part in nothing now: a roll call, or an own pull. */
bool replica_deaf(const struct replica *r);

#endif
