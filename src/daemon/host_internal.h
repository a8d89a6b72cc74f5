/*
 * host_internal: the host's inside, shared by host*.c only.
 */
#ifndef DAEMON_HOST_INTERNAL_H
#define DAEMON_HOST_INTERNAL_H

#include "base/seldom.h"
#include "daemon/host.h"
#include "raft/heal.h"

#include <stdatomic.h>

#define PULL_VERSION 1
#define PULL_HEAD_MAX 4096u
#define PULL_BAD UINT32_MAX /* Bytes of a block that is bad at the source. */
#define HOST_CURSORS_MAX 4u
#define HOST_PULL_WANTS 64u       /* Blocks looked up at a time. */
#define HOST_PULL_BATCH 8u        /* Blocks in one request: 1 MiB. */
#define HOST_PULL_WINDOW 24u      /* Requests for blocks on their way or being written. */
#define HOST_PULL_ROWS_AHEAD 2u   /* Answers with rows that wait to be loaded. */
#define HOST_PULL_ROWS (1u << 20) /* Bytes of rows in one answer. */
#define HOST_PULL_SILENCE_MS 10000u
#define HOST_SETTLE_BYTES (16u << 20)
#define HOST_SETTLE_BYTES_QUIET (64u << 20) /* Of the rest, while clients pause. */
#define HOST_SETTLE_REST_SHARE 3u /* Else it rests three times as long as it took. */
#define HOST_PAIRS_BYTES_MAX (64u << 20)
/* At 1,000 entries a second a follower that nobody reads from applies 20 at a time. */
#define HOST_APPLY_WAIT_MS 20u
#define HOST_SEGMENT_BYTES (16u << 20) /* Of the journal. */
#define HOST_SPARES_MAX 256u           /* Recycled ones: 4 GiB. */
#define HOST_SETTLE_PAUSE_MS 500u
#define HOST_SYNCS_MAX 64u                /* Batches whose times are followed at once. */
#define HOST_SETTLE_BYTES_FULL (4u << 20) /* Room for more may not be there. */
#define HOST_SOURCES_MAX 64u              /* Requests of pullers at one time, */
#define HOST_SOURCES_POSTED 3u            /* and of these on the zone's thread. */

enum pull_kind {
    PULL_OPEN = 1,
    PULL_NEXT = 2,
    PULL_BLOCKS = 3,
    PULL_CLOSE = 4,
    PULL_COPY = 5,
    PULL_DIGEST = 6,
};

/* What one journal and store open; used by the zone thread, but for append. */
struct host_disk {
    struct journal *journal;
    struct store *store;
    struct zone *zone;
};

struct host_cursor {
    uint64_t id;
    uint64_t puller; /* Its raft id; it has one cursor at a time. */
    uint64_t used_ms;
    struct store_cursor *cursor;
};

struct pull;       /* host_pull.c */
struct healing;    /* host_heal.c */
struct scrubbing;  /* host_scrub.c */
struct source_job; /* host_source.c */

/* A digest that waits for its index. */
#define HOST_FREEZES_MAX 8u
struct host_freeze {
    uint64_t index;
    uint64_t until_ms;
    void (*done)(void *arg, int rv, const struct host_digest *digest);
    void *arg;
};

struct host {
    struct host_config config;
    struct host_callbacks callbacks;
    struct slice bootstrap;
    enum host_state state;
    enum host_lost lost;
    char reason[HOST_REASON_MAX];
    size_t reason_len; /* Without what host_repairing added. */
    int fault;         /* Since it failed: the fault, or 0. */
    bool opened;       /* It opened its dataset. */
    bool opening;      /* It is at that, for the first time or again. */
    uv_timer_t timer;
    struct worker zone_worker;
    struct worker journal_worker;
    uint32_t jobs;      /* Posted and not done. */
    uint32_t zone_jobs; /* Of them, those that the zone's thread has or had. */
    struct {
        uint32_t rest;   /* So many go to the zone's thread untried, */
        uint32_t missed; /* after so many in a row that were not in memory. */
    } now[2];            /* Reads that the loop tries: of rows, of data. */
    struct host_disk disk;
    _Atomic(struct journal *) idle_journal; /* Set once the journal is open for good. */
    struct replica *replica;
    struct replica_actions actions;
    /* The peers that the replica was told are up: only changes are events. */
    uint64_t links[RGROUP_MEMBERS_MAX];
    uint32_t n_links;
    uint64_t commit_ms; /* What was applied is to be committed then; 0: it is. */
    bool stepping;
    bool dirty; /* Proposals wait for host_flush. */
    bool settling;
    bool settle_rest; /* The replica believes so at the start, and hears of it. */
    bool settle_more;
    uint64_t rest_from_ms; /* When the rest may be settled again while clients write. */
    bool stale;
    bool closing;
    bool ending;                     /* run_end has the last word. */
    uint32_t sources;                /* Requests of pullers under way, */
    struct source_job *source_first; /* and those that wait for their turn. */
    struct source_job *source_last;
    uint32_t sources_posted; /* Of the zone's thread, behind all else. */
    struct {
        enum host_state state;
        uint64_t leader;
        uint64_t term;
    } seen; /* At the last host_changed. */
    void (*closed)(void *arg);
    void *closed_arg;
    /* Copies for reports, refreshed by jobs' ends. */
    struct zone_usage usage;
    uint64_t dataset_bytes;
    uint64_t ahead_index; /* zone_ahead_index when it was opened, or pulled last. */
    uint64_t journal_bytes;
    bool journal_bad; /* Something in it: it is to go. */
    uint64_t unsettled_bytes;
    uint64_t report_ms;
    uint64_t free_bytes;     /* On the fuller of its disks, when last looked. */
    bool low;                /* And that is little. */
    uint64_t looked_ms;      /* When it was last asked for by a tick, */
    uint64_t append_look_ms; /* and by an append; of the journal's thread. */
    bool making_room;
    bool has_ballast;
    bool making_ballast;
    int folders
        [2]; /* Zone thread: of the dataset and its journal, or -1: host_there.c. */
    bool looking_there;
    _Atomic bool told_full;   /* The last host_is_full. */
    struct seldom told_bad;   /* Blocks: host_tell_bad; and reads that failed. */
    bool told_slow;           /* The last that was said of the disk's pace, */
    uint64_t told_unreadable; /* and of an entry that cannot be read; 0: none. */
    uint64_t settle_from_ms;  /* After a full disk: when to settle again. */
    uint64_t owed_index;      /* A compaction that met a full disk; 0 none. */
    uint64_t owed_term;
    struct pull *pull;
    struct host_cursor cursors[HOST_CURSORS_MAX]; /* Zone thread. */
    uint64_t next_cursor;                         /* Zone thread. */
    _Atomic uint32_t n_cursors;                   /* Open ones. */
    bool sweeping;                                /* Their sweep is under way. */
    uint64_t swept_ms;
    /* Times of the journal's disk; the loop's. */
    struct host_syncs syncs;
    uint64_t sync_begun_ms[HOST_SYNCS_MAX]; /* Of the batches under way, oldest first. */
    uint32_t n_syncs;
    uint64_t sync_minute_ms;   /* When the present minute began. */
    uint64_t sync_worst_us[2]; /* Of the present minute and the one before. */
    uint64_t sync_told_ms;     /* When a slow disk was told last; 0 never. */
    struct healing *healing;   /* NULL: no block was ever bad. */
    uint64_t heal_told_ms;
    uint64_t heal_looked_ms;
    struct scrubbing *scrubbing; /* NULL: its state is not loaded yet. */
    bool scrub_loading;
    struct host_torn torn; /* The last that was looked for. */
    bool torn_busy;
    struct host_freeze freezes[HOST_FREEZES_MAX];
    uint32_t n_freezes;
    uint32_t bad_at; /* Zone thread: in the store's list, where the next look begins. */
};

/* A job of a host; embedded first in each kind. */
struct host_job {
    struct job job;
    struct host *host;
    void (*done)(struct job *job); /* Zone's thread: what follows its run. */
    int rv;
};

/* Run on the zone's (journal's) thread; @done on the loop. Counts host->jobs. */
void host_post_zone(struct host *host, struct host_job *job, void (*run)(struct job *job),
                    void (*done)(struct job *job));
/* Behind the others: see worker_post_later. */
void host_post_zone_later(struct host *host, struct host_job *job,
                          void (*run)(struct job *job), void (*done)(struct job *job));
void host_post_journal(struct host *host, struct host_job *job,
                       void (*run)(struct job *job), void (*done)(struct job *job));
/* The same; the job is calm (daemon/worker.h). */
void host_post_calm(struct host *host, struct host_job *job, void (*run)(struct job *job),
                    void (*done)(struct job *job));
/* At the end of every done(): frees @job and lets a closing host go on. */
void host_job_end(struct host_job *job);

/* Zone thread: name the files that have something of entries above @above in the dataset;
 * *@count: how many there are. 0 or a fault. */
int host_torn_write(struct host *host, uint64_t above, uint64_t *count);
void host_torn_clear(struct host_torn *torn);

/* host_commit.c: something was applied; and the commit that it waits for, in a pause. */
void host_commit_later(struct host *host, uint64_t now_ms);
void host_commit_tick(struct host *host, uint64_t now_ms);

/* Zone thread: the folders are these, until they are closed. */
void host_there_open(struct host *host);
void host_there_close(struct host *host);
/* Loop: look whether they still are; the member stops if not. */
void host_there_look(struct host *host);

/* One replica step and what it asks for. */
void host_step(struct host *host, struct replica_event *event);
/* Carry out host->actions. */
void host_act(struct host *host);
void host_fail(struct host *host, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* As host_fail, because of the fault @rv: damage means that the data is lost. */
void host_fault(struct host *host, int rv, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* @rv in words. */
const char *host_fault_text(int rv);

/* host_open.c */
void host_begin_opening(struct host *host);
/* host_jobs.c */
void host_do_journal(struct host *host, struct replica_action *action);
void host_do_apply(struct host *host, struct replica_action *action);
void host_do_fetch(struct host *host, const struct replica_action *action);
void host_do_read(struct host *host, const struct replica_action *action);
void host_cancel_read(struct host *host, uint64_t token, int outcome);
bool host_token_is_read(uint64_t token);
void host_do_snapshot(struct host *host);
void host_do_compact(struct host *host, const struct replica_action *action);
void host_do_settle(struct host *host, const struct replica_action *action);
/* host_room.c: true if @rv is a full disk, which stops nothing: room is made, and the
 * caller leaves it to whoever asks again. */
bool host_no_room(struct host *host, int rv);
/* Space on the fuller of the disks; blocks. 0 or a fault. */
struct host_space {
    uint64_t free_bytes;
    uint64_t total_bytes; /* 0: not looked at. */
};
int host_space(struct host *host, struct host_space *out);
/* It was looked at. */
void host_room_seen(struct host *host, const struct host_space *space);
/* Zone thread, before the dataset is opened. */
void host_room_for_opening(struct host *host);
void host_room_tick(struct host *host, uint64_t now_ms);
/* Tell the replica about the disk. */
void host_report_disk(struct host *host, uint64_t extent_segment);
/* How many recycled segments of the journal to keep: so that a burst finds those that the
 * last one had, but for the tail of the log, which stays in use. */
uint32_t host_spares(const struct host *host);
/* The replica may have become full, or no longer be. */
void host_room_note(struct host *host);
/* Tell of an entry that cannot be read, and when it is past. */
void host_mend_note(struct host *host);
/* Tell of a block that is bad here: at once, then with how often it was met, as long as it is
 * not healed. */
#define HOST_TELL_EVERY_MS 600000u
enum host_bad { HOST_BAD_READ = 0, HOST_BAD_HOPELESS = 1 };
void host_tell_bad(struct host *host, enum host_bad what, const struct store_want *block);
void host_tell_healed(struct host *host, const struct store_want *block);
/* host_syncs.c: a batch was given to the journal's thread, and came back. */
void host_sync_begun(struct host *host);
void host_sync_ended(struct host *host, uint64_t us);
void host_syncs_tick(struct host *host, uint64_t now_ms);
void host_syncs_report(const struct host *host, struct host_syncs *out);
/* host_pull.c */
void host_do_pull(struct host *host, uint64_t index, uint64_t from);
/* The connection to a member is gone: if that is the source, so is the attempt. */
void host_pull_lost(struct host *host, uint64_t raft_id);
void host_pull_tick(struct host *host, uint64_t now_ms);
void host_pull_free(struct host *host);
/* No settle is in flight any more: a switch that met one is tried again. */
void host_pull_settled(struct host *host);
/* True if a switch waits for that: then no other settle should begin. */
bool host_pull_waits(const struct host *host);
/* host_heal.c */
/* A read that met a bad block: taken over until the block is healed, or given up. */
struct host_bad_read {
    struct slice op;
    uint64_t token;
    struct slice result; /* The answer if it is given up. */
    uint32_t tries;
};
/* @want->version: what this member had applied when it was found bad. */
void host_heal_want(struct host *host, const struct store_want *want);
/* The same for scrub, which hears of the end: host_scrub_block_done. */
void host_heal_scrub(struct host *host, const struct store_want *want);
/* Takes @read, unless it returns false. */
bool host_heal_read(struct host *host, const struct store_want *want,
                    const struct host_bad_read *read);
void host_heal_answer(struct host *host, uint64_t from, struct slice head,
                      struct slice body);
void host_heal_applied(struct host *host, uint64_t index);
void host_heal_settled(struct host *host);
/* True if a copy waits for a settle to end: then no other should begin. */
bool host_heal_waits(const struct host *host);
/* Zone thread: some of the blocks that the store knows are bad; all of them in turn. */
#define HOST_BAD_LOOK 32u
uint32_t host_heal_look(struct host *host, struct store_want *out, uint32_t max);
/* No member that can be asked had a good copy of it lately. */
bool host_heal_gave_up(const struct host *host, const struct store_want *want);
void host_heal_tick(struct host *host, uint64_t now_ms);
uint64_t host_heal_wake_ms(const struct host *host);
void host_heal_stop(struct host *host);
void host_heal_free(struct host *host);
void host_heal_counts(const struct host *host, uint64_t *healed, uint64_t *given_up);
/* host_digest.c: as of just @index, which may be still to come: -ESTALE if it is passed,
 * -ETIMEDOUT if it does not come soon. */
void host_digest_at(struct host *host, uint64_t index,
                    void (*done)(void *arg, int rv, const struct host_digest *digest),
                    void *arg);
/* Before the replica hears of it, and so before anything after it is applied. */
void host_digest_applied(struct host *host, uint64_t index);
void host_digest_tick(struct host *host, uint64_t now_ms);
void host_digest_stop(struct host *host);
/* host_scrub.c */
void host_scrub_tick(struct host *host, uint64_t now_ms);
uint64_t host_scrub_wake_ms(const struct host *host);
void host_scrub_answer(struct host *host, uint64_t from, struct slice head);
void host_scrub_block_done(struct host *host, const struct store_want *block,
                           bool healed);
void host_scrub_free(struct host *host);
/* host_read.c: do it again (0, or OUT_TRY_LATER: let somebody else), or give its error. */
void host_read_healed(struct host *host, struct host_bad_read *read, int outcome);
/* host_source.c */
void host_source_tick(struct host *host, uint64_t now_ms);
/* Zone thread. */
void host_cursors_close(struct host *host);

#endif
