/*
 * zone: the replicated state machine of one zone: NFSv3 semantics over the store.
 *
 * Apply is deterministic: it reads the entry and the store, nothing else. Inode numbers,
 * cookies, quota and the request table are rows. The same functions run in the daemon
 * (on the zone's owner thread) and in the simulator.
 *
 * An outcome (OUT_NOENT, OUT_DQUOT ...) is a result like any other and the entry counts
 * as applied. A fault (< 0) means that this member could not: nothing of the batch
 * happened, and the zone stops on this member.
 */
#ifndef ZONE_ZONE_H
#define ZONE_ZONE_H

#include "store/store.h"
#include "zone/op.h"

struct zone;

enum zone_apply_kind {
    ZONE_APPLY_COMMAND = 1,
    ZONE_APPLY_BARRIER = 2,
    ZONE_APPLY_CHANGE = 3
};

/* One committed entry, in log order. */
struct zone_apply_item {
    uint64_t index;
    uint64_t term;
    enum zone_apply_kind kind;
    struct slice head;    /* COMMAND: the encoded zone_entry. CHANGE: raft's encoded
                             configuration, kept as a row beside the applied index. */
    struct slice payload; /* May be empty although the op has one: read it from @place. */
    struct journal_place place;
    struct zone_result result;    /* Out. Owned by the caller: zone_result_clear. */
    bool duplicate;               /* Out: @result is an earlier execution's. */
    struct store_touched touched; /* Out: the inodes that it changed, made or removed, but
                                     for files without a name whose time had come. */
};

/* What a new zone begins with: its quota and its root directory. Only read when the
 * store is empty; must be equal on all members. */
struct zone_genesis {
    uint64_t quota_bytes;
    uint32_t root_uid;
    uint32_t root_gid;
    uint32_t root_mode;
    int64_t time_ns;
};
/* @store is borrowed. */
int zone_open(struct store *store, const struct zone_genesis *genesis, struct zone **out);
void zone_close(struct zone *zone);

/*
 * Apply @n consecutive entries in one transaction. items[0].index must be at most
 * applied + 1; those at or below the applied index are skipped (result: from the
 * request table if there, else OUT_OK without attributes). 0 or a fault.
 *
 * Reads, and all else that this zone and its store are asked for, see what was applied at once.
 * Its rows are committed later, a few entries at a time (store_hold), by zone_flush at the
 * latest, which the owner calls when it has nothing else to do. Until then a crash takes back
 * what it would take from a power cut: what is replayed from the log. A disk that is full
 * then takes nothing back: what was applied is done again, in memory, and committed another time.
 */
int zone_apply(struct zone *zone, struct zone_apply_item *items, uint32_t n);
/* 0 or a fault. */
int zone_flush(struct zone *zone);

/* Answer a read op from the present state. 0 (the outcome is in @result) or a fault. */
int zone_read(struct zone *zone, const struct zone_op *op, struct zone_result *result);
/* The same from the attributes of its object alone, at @index. False: they do not say. */
bool zone_read_attr(const struct zone_op *op, const struct zone_attr *attr,
                    uint64_t index, struct zone_result *result);

uint64_t zone_applied_index(const struct zone *zone);
uint64_t zone_applied_term(const struct zone *zone);
/* Zone time of the last applied entry, ns. */
int64_t zone_time_ns(const struct zone *zone);

/*
 * When zone time alone is to change something (unlinked files go): an entry stamped then,
 * or later, will. 0: nothing waits for time. Time passes by entries, and a zone that
 * nobody writes to has none: see raft/replica_due.c. 0 or a fault.
 */
int zone_due(struct zone *zone, int64_t *due_ns);

/* Pulled blocks are as of entries up to this one, which are not applied yet and were
 * committed where they came from; 0: none is. */
uint64_t zone_ahead_index(const struct zone *zone);

struct zone_usage {
    uint64_t quota_bytes;
    uint64_t used_bytes;
    uint64_t inodes;
};
void zone_usage(const struct zone *zone, struct zone_usage *out);

/*
 * A snapshot descriptor: the state that meta.db holds durably. zone_snapshot commits
 * everything applied so far durably, with the descriptor in the same transaction, and
 * gives it; after that the log up to @index may be compacted. zone_snapshot_get gives
 * the last one taken or pulled; OUT_NOENT if there is none. The caller unrefs @conf.
 */
struct zone_snapshot {
    uint64_t index;
    uint64_t term;
    uint64_t conf_index;
    struct buf *conf; /* Raft's encoded configuration as of @index. */
};
int zone_snapshot(struct zone *zone, struct zone_snapshot *out);
int zone_snapshot_get(struct zone *zone, struct zone_snapshot *out);
/* The last configuration applied; OUT_NOENT if none. The caller unrefs @conf. */
int zone_conf_get(struct zone *zone, uint64_t *index, struct buf **conf);

/*
 * The paths of files that have something of entries above @above, which are not there
 * (zone_ahead_index), or lack something because of them: up to @max of them go to @each, which
 * ends it with != 0. A path is UTF-8 without control characters; other bytes are escaped. Reads
 * all names. 0, a fault, or what @each returned.
 */
#define ZONE_PATH_MAX 4096u
struct zone_torn {
    uint32_t max;
    int (*each)(void *ctx, uint64_t ino, const char *path);
    void *ctx;
    uint64_t count; /* Out: of all such files. */
};
int zone_torn(struct zone *zone, uint64_t above, struct zone_torn *out);

/*
 * The zone goes on after a loss (docs/adr/0006-recover.md): all that is applied becomes the
 * state as of entry @index, which no member ever had and whose content is @conf, and is
 * described so (zone_snapshot_get), in one durable step. @index is above the applied one.
 * Zone time goes on at @time_ns or where it is, and a second later: what was lost may have
 * had times up to there, each a nanosecond after the other. 0 or a fault.
 */
struct zone_leap {
    uint64_t index;
    uint64_t term;
    int64_t time_ns;
    struct slice conf;
};
int zone_leap(struct zone *zone, const struct zone_leap *leap);

/* Read the store's rows again after store_shadow_switch changed them. The snapshot
 * descriptor then is the pulled state itself (index, term and conf of the view). */
int zone_reload(struct zone *zone);

#endif
