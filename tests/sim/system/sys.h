/*
 * sys: a whole grapevine in one process, from a seed.
 *
 * Nodes with a disk, a clock, a router and replicas; zones over the real journal, store
 * and sqlite on simulated disks; a network of ordered channels that break and stall;
 * clients. One thread, virtual time, one generator: a seed replays.
 *
 * sys_host.c, sys_jobs.c, sys_open.c and sys_pull.c are the driver: they do for the
 * simulator what src/daemon/host*.c does for the machine.
 */
#pragma once

#include "base/prng.h"
#include "daemon/reconcile.h"
#include "lib/simdisk.h"
#include "raft/heal.h"
#include "raft/replica.h"
#include "raft/router.h"
#include "store/store.h"
#include "zone/zone.h"

#include <stdbool.h>
#include <stdint.h>

#define SYS_NODES 4u /* Numbers 1 to 4; 4 is no member of any zone at first. */
#define SYS_ZONES 2u
#define SYS_CLIENTS 6u
#define SYS_NAMES 8u
#define SYS_CHANNELS 3u
#define SYS_US 1000ull /* Microseconds in a millisecond. */
#define SYS_ELECTION_MS 300u
#define SYS_HEARTBEAT_MS 40u
#define SYS_SEGMENT_BYTES (256u << 10)
/* Each clock is off by at most half of what leases allow for between two (ADR 4). */
#define SYS_DRIFT_PPM 5000u
#define SYS_DRIFT_WILD_PPM 250000u

/* Frames of the driver; replica's own numbers are below. */
enum sys_frame {
    SYS_FRAME_OP = 32,
    SYS_FRAME_ANSWER = 33,
    SYS_FRAME_PULL = 34,
    SYS_FRAME_PULLED = 35,
    SYS_FRAME_COPY = 36,
    SYS_FRAME_COPIED = 37,
};

enum sys_mutation {
    SYS_MUT_NONE = 0,
    SYS_MUT_REPLY_EARLY = 1, /* These six are enum replica_mutation. */
    SYS_MUT_READ_LOCAL = 2,
    SYS_MUT_APPLY_UNDURABLE = 3,
    SYS_MUT_NO_FLOOR = 4,
    SYS_MUT_EARLY_SEND = 5,
    SYS_MUT_EARLY_REPORT = 6,
    SYS_MUT_NO_SYNC = 7,      /* The disk says yes and does nothing. */
    SYS_MUT_NO_DEDUP = 8,     /* Entries lose their origin. */
    SYS_MUT_EARLY_FLOOR = 9,  /* Entries carry a floor above unanswered ones. */
    SYS_MUT_LEASE_ALONE = 10, /* These too are enum replica_mutation, less 3. */
    SYS_MUT_NO_WAIT = 11,
    SYS_MUT_NO_RECEIPT = 12,
    SYS_MUT_NO_NAMES = 13,
    SYS_MUT_LEASE_KEPT = 14,
    SYS_MUT_WILD_CLOCKS = 15, /* Clocks run apart by far more than leases allow for. */
    SYS_MUT_NO_KEYS = 16,     /* Entries lose their client's call. */
    SYS_MUT_KEEP_ATTRS = 17,  /* REPLICA_MUT_KEEP_ATTRS. */
    SYS_MUT_KEEP_TOLD = 18,   /* REPLICA_MUT_KEEP_TOLD. */
    SYS_MUT_OWN_CLOCK = 19,   /* REPLICA_MUT_OWN_CLOCK. */
    SYS_MUTS = 20,
};

/* What a node's disk is at: see sys_points.c. */
enum sys_point {
    SYS_AT_REST = 0,
    SYS_AT_FIRST_START = 1,
    SYS_AT_START = 2,
    SYS_AT_APPEND = 3,
    SYS_AT_SEGMENT = 4,
    SYS_AT_APPLY = 5,
    SYS_AT_SNAPSHOT = 6,
    SYS_AT_COMPACT = 7,
    SYS_AT_PLAN = 8,
    SYS_AT_SETTLE = 9,
    SYS_AT_FINISH = 10,
    SYS_AT_SHADOW = 11,
    SYS_AT_ROWS = 12,
    SYS_AT_BLOCKS = 13,
    SYS_AT_SWITCH = 14,
    SYS_AT_CUT = 15,
    SYS_AT_SOURCE = 16,
    SYS_AT_PLACE = 17,
    SYS_POINTS = 18,
};

/* Kinds of faults that --without switches off. */
enum sys_kind {
    SYS_KIND_SLOW = 0,    /* Disks that are slow for long, or stand still. */
    SYS_KIND_FRAMES = 1,  /* Connections that break at any frame. */
    SYS_KIND_SMALL = 2,   /* Small windows, caches and queues. */
    SYS_KIND_TRAPS = 3,   /* Power lost at rare points. */
    SYS_KIND_MEMBERS = 4, /* Members that come and go. */
    SYS_KIND_MOVES = 5,   /* Clients that go to another node with a call. */
    SYS_KIND_DAMAGE = 6,  /* Bits that flip, sectors that cannot be read. */
    SYS_KIND_BASE = 7,    /* All others: crashes, cuts, stalls, clocks, full disks. */
    SYS_KIND_RECOVER = 8, /* A majority destroyed, and the zone recovered. */
    SYS_KINDS = 9,
};

struct sys;
struct sys_node;
struct sys_host;

typedef void sys_fn(struct sys *sys, void *ptr, uint64_t a, uint64_t b);

struct sys_event {
    uint64_t at_us;
    uint64_t order;
    sys_fn *fn;
    void *ptr;
    uint64_t a;
    uint64_t b;
    bool frees; /* @fn frees @ptr. */
};

/* Work for a host's journal (0) or zone (1) thread, or the pool (2). */
#define SYS_PULL_WANTS 4u /* Blocks in one request of a pull. */
struct sys_job {
    struct sys_host *host;
    unsigned thread;
    uint64_t epoch;
    enum sys_point point;
    bool calm; /* Its end may be told late. */
    int rv;
    void (*run)(struct sys_job *job);
    void (*done)(struct sys_job *job);
    void (*drop)(struct sys_job *job); /* Frees what it holds; always called last. */
    struct sys_job *next;

    /* What the different jobs need. */
    uint64_t ticket;
    struct journal_batch batch;
    struct replica_entry *entries;
    uint32_t n;
    struct zone_apply_item *items;
    struct replica_result *results;
    int64_t due_ns;
    uint64_t index;
    uint64_t term;
    uint64_t bytes;
    struct journal_entry *fetched;
    uint32_t got;
    struct zone_snapshot snapshot;
    struct store_settle *settle;
    uint64_t from;
    uint64_t segment;
    struct slice head;
    struct slice body;
    struct sys_ask *ask;
    uint64_t stamp;        /* Of DO_READ, */
    struct zone_attr seen; /* and what it saw; .ino 0: nothing. */
    bool again;
    bool unread;
    bool is_bad; /* A read that met the block .bad. */
    struct store_want bad;
    struct store_want source_bad[SYS_PULL_WANTS]; /* Met for a puller. */
    uint32_t n_source_bad;
};

/* An op that reached a member: who wants the answer. */
struct sys_ask {
    struct sys_host *host;
    struct sys_ask *prev;
    struct sys_ask *next;
    uint64_t origin; /* Node. */
    uint64_t seq;    /* Of the origin's router. */
    bool is_read;
    bool named; /* See REPLICA_DO_READ. */
    bool waits; /* For a block to be healed. */
    uint64_t bad_ino;
    uint64_t bad_block;
    struct slice op;
};

struct sys_thread {
    struct sys_job *first;
    struct sys_job *last;
    bool busy;
};

/* The puller's side. */
struct sys_pull {
    bool active;
    uint64_t number; /* Of the attempt: answers of another one are ignored. */
    uint64_t index;
    uint64_t from;
    uint64_t cursor;
    unsigned phase;
    struct store_shadow *shadow;
};

#define SYS_CURSORS 3u
struct sys_cursor {
    struct store_cursor *cursor;
    uint64_t id;
    uint64_t used_us;
};

/* Another member's copy of a bad block. */
#define SYS_COPIES 8u
struct sys_copy {
    uint64_t number; /* Of the ask; 0: free. */
    struct store_copy copy;
};

/* One zone on one member. */
struct sys_host {
    struct sys *sys;
    struct sys_node *node;
    uint32_t zone_nr;
    uint64_t raft_id;
    uint64_t serial; /* Of all hosts that ever were: events of another one are void. */
    struct journal *journal;
    struct store *store;
    struct zone *zone;
    struct replica *replica;
    bool failed;
    bool stepping;
    bool flush_due;
    uint64_t tick_at_us;
    bool settling;
    struct sys_thread threads[3];
    struct sys_pull pull;
    struct sys_cursor cursors[SYS_CURSORS];
    struct heal *heal; /* NULL: nothing was bad yet. */
    bool heal_armed;
    struct sys_copy copies[SYS_COPIES];
    struct sys_ask *asks;
    uint64_t leader;     /* As last told to the router. */
    bool giving_way;     /* Since its disk is slow. */
    uint64_t unreadable; /* The entry that it could not read, as last seen. */
    uint64_t leave_us;   /* As leader: since when somebody cannot go. */
    struct reconcile_mark mark;
    uint64_t links[SYS_NODES + 1]; /* Raft id of whoever it was told is up; 0: nobody. */
};

struct sys_node {
    struct sys *sys;
    uint64_t number;
    bool up;
    uint64_t epoch; /* Rises with every start and every crash. */
    struct simdisk *disk;
    char vfs[24];
    struct router *router;
    uint64_t router_at_us;
    struct sys_host *hosts[SYS_ZONES];
    int64_t clock_ppm;       /* Drift of both clocks. */
    uint64_t clock_ms;       /* Boot time at sim time 0; jumps forward. */
    int64_t wall_ns;         /* Wall clock less sim time; jumps both ways. */
    uint64_t last_ms;        /* Never back. */
    uint64_t asleep_us;      /* Suspended until then. */
    bool broken;             /* Its disk gave an error: faults are no surprise. */
    uint64_t error_us;       /* When one showed last. */
    bool reopens[SYS_ZONES]; /* Closed since, and to be opened anew. */
    bool full;               /* Its disk takes no more, for a while. */
    uint64_t slow_us;        /* The disk is slow until then. */
    bool damaged[SYS_ZONES];
    uint32_t damage_faults[SYS_ZONES]; /* That it led to. */
    bool made[SYS_ZONES];              /* Its dataset was whole once. */
    bool destroyed[SYS_ZONES];         /* And is no more. */
    uint64_t opened_as[SYS_ZONES];     /* As zones.json: the raft id that it has; */
    uint64_t made_as[SYS_ZONES];       /* and the one that it was made under. */
    bool sees[SYS_NODES + 1];          /* Connected, as far as it knows. */
    uint64_t slower_us; /* Each call of it takes up to so much more, for good. */
    uint64_t still_us;  /* It stands still until then. */
    enum sys_point at;
    enum sys_point trap; /* There the power goes; */
    bool ends;           /* and does so at the end of this job. */
    uint64_t next_cursor;
    uint64_t next_pull;
    struct roll_marks marks[SYS_ZONES]; /* Kept apart from the disk. */
};

struct sys_msg {
    struct sys_msg *next;
    uint64_t at_us;
    uint64_t from;
    uint64_t to;
    uint64_t from_id; /* Raft ids; 0: it is not between members. */
    uint64_t to_id;
    uint8_t channel;
    uint8_t type;
    uint8_t zone_nr;
    struct slice head;
    struct slice body;
};

struct sys_channel {
    struct sys_msg *first;
    struct sys_msg *last;
    bool armed; /* A delivery event is scheduled. */
};

/* A pair of nodes. */
struct sys_link {
    bool up;
    uint64_t epoch;
    bool cut;               /* Cannot come up. */
    bool waiting;           /* A connect is scheduled. */
    uint64_t known_us;      /* Both ends know of the last break by then. */
    uint64_t stalled_us[2]; /* Direction lower-to-higher, and back: nothing arrives. */
    uint64_t log_stalled_us[2]; /* The same for the log channel alone. */
    struct sys_channel channels[2][SYS_CHANNELS];
};

struct sys_client {
    struct sys *sys;
    uint32_t nr;
    uint64_t node;
    bool busy;
    uint32_t zone_nr;
    uint64_t op_nr; /* Of the op under way. */
    struct zone_handle handles[SYS_ZONES][SYS_NAMES];
};

/* Everything a client ever asked. */
struct sys_op {
    uint64_t nr; /* From 1; also in the op's group list. */
    uint32_t client;
    uint32_t zone_nr;
    bool is_read;
    bool ended;
    bool acked;       /* With a result. */
    uint32_t attempt; /* At the present node. */
    bool lost;        /* With the node that had it; it goes on elsewhere. */
    unsigned name;
    struct slice op;
    struct slice payload;
    uint64_t floor; /* No result may be of a lower index. */
    uint64_t begun_us;
    struct slice result;
    struct slice data;
    int outcome; /* In the result. */
    uint64_t index;
    uint64_t at;       /* A read: the index at which it must be the reference's. */
    uint32_t executed; /* Times, in the reference. */
    bool doubtful;     /* Under way when the zone was recovered. */
};

/* An entry as first applied anywhere. */
struct sys_logged {
    uint64_t term;
    enum rgroup_entry_type type;
    struct slice head;
    struct slice payload;
};

struct sys_zone {
    uint8_t id[16];
    struct directory_zone row;
    struct rgroup_conf first;
    uint64_t damaged;       /* The node whose member may give errors; 0: none. */
    struct sys_logged *log; /* slot() says where an index is. */
    uint64_t n_log;
    uint64_t cap_log;
    uint64_t seen;   /* Highest index in a result that a client has. */
    bool wall_alone; /* Led by who has a wrong clock and knows no other. */
    bool losing;     /* Its majority is destroyed, and it is not recovered yet. */
    /* Once it is recovered: behind the entry @last it goes on with @index. */
    struct sys_leap {
        bool begun;
        uint64_t last;
        uint64_t index; /* 0: not yet. */
        uint64_t term;
        uint64_t time_s;
        struct buf *conf;
        uint64_t *torn; /* Inodes with blocks of entries that are lost. */
        uint64_t n_torn;
    } leap;
};

struct sys_counts {
    uint64_t events;
    uint64_t frames;
    uint64_t writes;
    uint64_t reads;
    uint64_t wrong_clocks; /* Entries applied while somebody's clock was wrong. */
    uint64_t later;        /* Ops that ended with "try later". */
    uint64_t entries;
    uint64_t duplicates;
    uint64_t crashes;
    uint64_t link_faults;
    uint64_t transfers;
    uint64_t changes;
    uint64_t disk_faults;
    uint64_t reopened; /* Members that met one, and were opened anew. */
    uint64_t full_disks;
    uint64_t pulls;
    uint64_t snapshots;
    uint64_t settles;
    uint64_t fetches;
    uint64_t leaders;
    uint64_t leased;       /* Reads given while a read lease was held, */
    uint64_t older;        /* and those that saw less than what was answered by then. */
    uint64_t known;        /* Reads answered by what the replica knew, */
    uint64_t now;          /* and by the loop from memory. */
    uint64_t frame_breaks; /* Connections that broke at a frame. */
    uint64_t slow_disks;
    uint64_t still_disks;
    uint64_t flips;
    uint64_t bad_sectors;
    uint64_t journals_damaged;
    uint64_t unapplied_damaged; /* Entries that were still to be applied; */
    uint64_t unreadable;        /* members that found such a one, */
    uint64_t mended;            /* and got past it. */
    uint64_t stepped;           /* Starts that found damage in a journal, and no harm. */
    uint64_t read_errors;       /* That clients saw. */
    uint64_t given_up;
    uint64_t joined;
    uint64_t left;
    uint64_t torn;        /* Files with part of what was lost in a recovery. */
    uint64_t moved;       /* Calls that went on at another node, */
    uint64_t moved_done;  /* and were answered there. */
    uint64_t handed_over; /* Leaders whose disk was slow. */
    uint64_t lost[SYS_POINTS];
    uint64_t lost_pulling;
    uint64_t lost_settling;
    uint64_t placed;     /* Pulled blocks, by attempts that ended: where they stay, */
    uint64_t beside;     /* beside, */
    uint64_t kept;       /* and placed by an attempt before. */
    uint64_t bad_blocks; /* Found, each time. */
    uint64_t healed;
    uint64_t destroyed;   /* Members; */
    uint64_t recovered;   /* zones; */
    uint64_t forgotten;   /* and entries that only the lost ones had. */
    uint64_t sleeps_told; /* Nodes that heard before they slept. */
    uint64_t again;       /* Reads of a file without a name that were asked again. */
};

struct sys_options {
    enum sys_mutation mutation;
    bool trace;
    uint32_t seconds;    /* Of faults. */
    uint32_t without;    /* Bits of enum sys_kind. */
    bool lose;           /* In every seed a zone loses its majority. */
    enum sys_point trap; /* Traps wait here; SYS_AT_REST: anywhere. */
};

struct sys {
    uint64_t seed;
    struct sys_options options;
    struct prng prng;
    uint64_t now_us;
    uint64_t order;
    uint64_t serial;
    struct sys_event *events; /* A heap. */
    uint32_t n_events;
    uint32_t cap_events;
    bool failing;
    bool calm; /* Faults are over. */
    uint64_t calm_us;
    bool stop; /* Clients start nothing new. */
    char failure[512];
    struct sys_node nodes[SYS_NODES + 1];
    struct sys_link links[SYS_NODES + 1][SYS_NODES + 1]; /* [lower][higher] */
    uint32_t n_zones;
    struct sys_zone zones[SYS_ZONES];
    struct sys_client clients[SYS_CLIENTS];
    struct sys_op *ops;
    uint64_t n_ops;
    uint64_t cap_ops;
    struct sys_counts counts;
    uint32_t frame_delay_us;
    uint32_t think_us;
    uint64_t journal_bytes;
    uint64_t window_bytes;
    uint64_t cache_bytes;
    uint64_t pending_bytes;
    uint64_t frames_each; /* One frame of so many breaks its connection; 0: none. */
    bool leases;
    uint64_t rotten; /* The node whose disk rots; 0 none. */
    struct prng rot;
    uint64_t wrong_clock; /* The node whose clock of the day may be wrong; 0 none. */
    int64_t wall_max_ns;  /* What the others have shown. */
    struct prng clocks;
    bool loses;             /* A zone loses its majority. */
    uint32_t apply_wait_ms; /* See replica_config. */
};

/* sys_clock.c */
void sys_clock_init(struct sys *sys);
/* The clock of @node jumped, or its turn to be wrong has come. */
void sys_clock_jump(struct sys_node *node);
void sys_clock_stepped(struct sys_host *host);
void sys_clock_applied(struct sys_host *host, const struct replica_entry *entry);
/* How far a zone may be ahead of the clock that leads it in the end, if a wrong one led it
 * alone. */
int64_t sys_clock_ahead_ns(const struct sys *sys);

/* sys_event.c */
void sys_at(struct sys *sys, uint64_t at_us, struct sys_event event);
void sys_in(struct sys *sys, uint64_t delay_us, struct sys_event event);
/* Run until @until_us, or until @done says so. */
void sys_go(struct sys *sys, uint64_t until_us, bool (*done)(struct sys *sys));
uint64_t sys_rand(struct sys *sys, uint64_t bound);
/* True once in @n. */
bool sys_chance(struct sys *sys, uint64_t n);
void sys_fail(struct sys *sys, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void sys_trace(struct sys *sys, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void *sys_alloc(size_t n, size_t size);
struct slice sys_slice_copy(struct slice in);

/* sys_net.c */
void sys_net_send(struct sys *sys, struct sys_msg msg); /* Takes the references. */
void sys_net_start(struct sys *sys);
/* Break the connections of a pair; they come back by themselves. */
void sys_net_break(struct sys *sys, uint64_t a, uint64_t b);
void sys_net_node_down(struct sys *sys, uint64_t number);
void sys_net_node_up(struct sys *sys, uint64_t number);
void sys_net_heal(struct sys *sys);
bool sys_net_is_up(struct sys *sys, uint64_t a, uint64_t b);
void sys_net_clear(struct sys *sys);

/* sys_node.c */
void sys_node_init(struct sys *sys, uint64_t number);
void sys_node_boot(struct sys_node *node);
/* @power: what was not durable is lost or not; else everything is closed in order. */
void sys_node_halt(struct sys_node *node, bool power);
void sys_node_free(struct sys_node *node);
uint64_t sys_node_ms(struct sys_node *node);
int64_t sys_node_wall(const struct sys_node *node);
/* True if the node is stopped or suspended: @event, just begun, then comes when it goes
 * on. */
bool sys_node_sleeps(struct sys_node *node, struct sys_event event);
void sys_node_link(struct sys_node *node, uint64_t other, bool up);
void sys_node_frame(struct sys_node *node, struct sys_msg *msg);
void sys_router_step(struct sys_node *node, struct router_event *event);
/* The power went inside a call: the node is gone. */
bool sys_node_lost_power(struct sys_node *node);
/* The node's member of the zone, which it has by its row, begins to run. */
void sys_node_open_zone(struct sys_node *node, uint32_t zone_nr);
/* The router hears who the members are, the replica whom of them it can reach. */
void sys_node_tell_zone(struct sys_node *node, uint32_t zone_nr);
void sys_node_tell_links(struct sys_host *host);

/* A fault of this host's disk: expected if an error was made, then the node restarts, or
 * this host alone is opened anew; else a failure. */
void sys_host_fault(struct sys_host *host, const char *what, int rv);

/* sys_reopen.c: it failed; it is closed, and opened anew in the same life of its node. */
void sys_reopen(struct sys_host *host);

/* sys_recover.c */
void sys_recover_choose(struct sys *sys);
void sys_recover_start(struct sys *sys, uint64_t until_us);

/* sys_open.c */
int sys_host_open(struct sys_node *node, uint32_t zone_nr);
void sys_host_close(struct sys_host *host);

/* sys_host.c */
void sys_host_step(struct sys_host *host, struct replica_event *event);
void sys_host_actions(struct sys_host *host, struct replica_actions *actions);
void sys_host_op(struct sys_host *host, struct sys_ask ask, struct slice head,
                 struct slice payload);
/* @named: only what touches its inode counts. */
void sys_host_read(struct sys_ask *ask, bool named);
void sys_host_answer(struct sys_ask *ask, int outcome, uint64_t leader,
                     struct slice result, struct slice data);
void sys_host_flush_soon(struct sys_host *host);

/* sys_jobs.c */
void sys_job_post(struct sys_host *host, unsigned thread, struct sys_job job);
void sys_jobs_drop(struct sys_host *host);
void sys_do_journal(struct sys_host *host, struct replica_action *action);
void sys_do_apply(struct sys_host *host, struct replica_action *action);
void sys_do_fetch(struct sys_host *host, const struct replica_action *action);
/* @stamp: of DO_READ. */
void sys_do_read(struct sys_host *host, struct sys_ask *ask, uint64_t stamp);
void sys_do_snapshot(struct sys_host *host);
void sys_do_compact(struct sys_host *host, uint64_t index, uint64_t term);
void sys_do_settle(struct sys_host *host, bool unread);

/* sys_pull.c */
void sys_do_pull(struct sys_host *host, const struct replica_action *action);
void sys_pull_request(struct sys_host *host, const struct sys_msg *msg);
void sys_pull_refuse(struct sys_node *node, const struct sys_msg *msg);
/* The connection to @node is gone. */
void sys_pull_lost(struct sys_host *host, uint64_t node);
void sys_pull_answer(struct sys_host *host, struct slice head, struct slice body);
void sys_pull_close(struct sys_host *host);

/* sys_heal.c */
bool sys_heal_gave_up(const struct sys_host *host, const struct store_want *want);
void sys_heal_want(struct sys_host *host, const struct store_want *want, bool waited);
void sys_heal_read(struct sys_ask *ask, const struct store_want *want);
void sys_heal_request(struct sys_host *host, uint64_t from, struct slice head);
void sys_heal_answer(struct sys_host *host, uint64_t from, struct slice head,
                     struct slice body);
void sys_heal_applied(struct sys_host *host, uint64_t index);
void sys_heal_settled(struct sys_host *host);
void sys_heal_close(struct sys_host *host);
bool sys_heal_quiet(const struct sys_host *host);
uint32_t sys_heal_scrub(struct sys_host *host);
void sys_rot_choose(struct sys *sys);
void sys_rot_start(struct sys *sys);

/* sys_client.c */
void sys_clients_start(struct sys *sys);
void sys_client_answer(struct sys *sys, uint64_t token, int outcome, struct slice result,
                       struct slice data);
/* The node that it asked is gone. */
void sys_client_lost(struct sys_client *client);

/* sys_member.c */
/* The raft id of the zone's member on @node; 0: it has none. */
uint64_t sys_member_id(const struct sys_zone *zone, uint64_t node);
/* Its row; NULL: it has none. */
const struct directory_member *sys_member_of(const struct sys_zone *zone, uint64_t node);
/* The row is another: routers and replicas hear of it. */
void sys_members_changed(struct sys *sys, uint32_t zone_nr);
void sys_members_init(struct sys_zone *zone, const uint64_t *nodes, uint32_t n);
void sys_members_start(struct sys *sys);
void sys_members_fault(struct sys *sys);
bool sys_members_quiet(struct sys *sys, uint32_t zone_nr);

/* sys_damage.c */
void sys_damage(struct sys *sys);
/* The dataset was just opened: an entry of the journal that is not applied yet, of
 * @entries, goes bad. */
void sys_damage_unapplied(struct sys_host *host, const struct replica_entry *entries,
                          uint32_t n);
/* Is the fault of this host what was to be expected of its damaged disk? */
bool sys_damage_shows(struct sys_host *host, int rv);
/* It was seen often enough: this member does not start any more, */
bool sys_damage_is_end(const struct sys_node *node, uint32_t zone_nr);
/* and leaves; */
void sys_damage_give_up(struct sys_node *node, uint32_t zone_nr);
/* and is gone. */
void sys_damage_over(struct sys_node *node, uint32_t zone_nr);

/* sys_points.c */
void sys_point_enter(struct sys_node *node, enum sys_point point);
/* The node lost power, where it is. */
void sys_point_lost(struct sys_node *node);
void sys_point_trap(struct sys *sys);
void sys_points_print(const struct sys_counts *total);
/* The point of this name; SYS_POINTS: there is none. */
enum sys_point sys_point_named(const char *name);
/* How often what is called @name was seen: a point, or another rare thing. UINT64_MAX:
 * nothing is called so. */
uint64_t sys_sight(const struct sys_counts *total, const char *name);
/* One line about one seed. */
void sys_sights_print(uint64_t seed, const struct sys_counts *counts);
const char *sys_point_name(enum sys_point point);

/* sys_fault.c */
bool sys_with(const struct sys *sys, enum sys_kind kind);
void sys_faults_start(struct sys *sys, uint64_t until_us);

/* sys_check.c */
void sys_check_applied(struct sys_host *host, const struct replica_entry *entry);
void sys_check_all(struct sys *sys);

/* sys_run.c */
bool sys_run(struct sys *sys, const struct sys_options *options, uint64_t seed);
void sys_clear(struct sys *sys);
