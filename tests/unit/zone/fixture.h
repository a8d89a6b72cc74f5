/*
 * fixture: a zone on a real store and journal in a folder of the test, fed with entries
 * as a log would.
 *
 * Syncs are left out: no test here cuts the power. What fails in a helper fails the
 * running test.
 */
#pragma once

#include "lib/check.h"
#include "store/store.h"
#include "zone/op.h"
#include "zone/zone.h"

#define FX_TIME 1700000000000000000ll /* Zone time of the genesis, ns. */
#define FX_QUOTA (1ull << 40)
#define FX_SECOND 1000000000ll

struct fx {
    char dir[4096];
    char journal_dir[4200];
    struct journal *journal;
    struct store *store;
    struct zone *zone;
    uint64_t quota;
    uint64_t index;  /* Of the last entry. */
    int64_t time_ns; /* Of the last entry; each new one is 1 ms later. */
    struct zone_cred cred;
    struct zone_origin origin;    /* Of the next entries; node 0: none. */
    uint8_t rpc_key[16];          /* Of the next entries; zero: none. */
    struct zone_result result;    /* Of the last entry or read. */
    bool duplicate;               /* Of the last entry. */
    struct store_touched touched; /* Likewise. */
};

/* A new zone, or the one in the test's folder @name. Runs as uid 0. */
void fx_open(struct fx *fx, const char *name, uint64_t quota);
void fx_close(struct fx *fx);
/* As the daemon would after a restart. */
void fx_reopen(struct fx *fx);

/* An entry as the log has it. */
struct fx_entry {
    uint64_t index;
    struct buf *head;
    struct buf *payload; /* NULL: none. */
};
/* @cred, @origin and @rpc_key of the fixture, @time_ns and @index as given. */
void fx_make(struct fx *fx, const struct zone_op *op, uint64_t index, int64_t time_ns,
             struct fx_entry *out);
void fx_free(struct fx_entry *entry);
/*
 * Write to the journal what it has not yet and apply as one batch. Results into
 * @results and @duplicates if not NULL. @here: payloads are at hand, not only in the
 * journal. Returns what zone_apply returns.
 */
struct fx_batch {
    const struct fx_entry *entries;
    uint32_t n;
    bool here;
    struct zone_result *results;
    bool *duplicates;
    struct store_touched *touched; /* Into it, likewise. */
};
int fx_apply(struct fx *fx, const struct fx_batch *batch);

/* Make the entry and apply it: its outcome, the rest in fx->result. Faults fail. */
int fx_run(struct fx *fx, struct zone_op op);
/* Answer a read likewise. */
int fx_read(struct fx *fx, struct zone_op op);

/* Move recent data to its place, as the daemon does in the background. */
void fx_settle(struct fx *fx);

/* Short forms. All give the outcome, the object in fx->result.obj. */
extern const struct zone_handle fx_root;
struct slice fx_str(const char *text);
struct zone_handle fx_obj(const struct fx *fx); /* Of the last result. */
int fx_create(struct fx *fx, struct zone_handle dir, const char *name, uint32_t mode);
int fx_mkdir(struct fx *fx, struct zone_handle dir, const char *name, uint32_t mode);
int fx_symlink(struct fx *fx, struct zone_handle dir, const char *name,
               const char *target);
int fx_remove(struct fx *fx, struct zone_handle dir, const char *name);
int fx_rmdir(struct fx *fx, struct zone_handle dir, const char *name);
int fx_rename(struct fx *fx, struct zone_handle dir, const char *name,
              struct zone_handle to, const char *to_name);
int fx_link(struct fx *fx, struct zone_handle obj, struct zone_handle dir,
            const char *name);
int fx_write(struct fx *fx, struct zone_handle obj, uint64_t offset, struct slice data);
int fx_chmod(struct fx *fx, struct zone_handle obj, uint32_t mode);
int fx_truncate(struct fx *fx, struct zone_handle obj, uint64_t size);
int fx_lookup(struct fx *fx, struct zone_handle dir, const char *name);
int fx_getattr(struct fx *fx, struct zone_handle obj);
int fx_get(struct fx *fx, struct zone_handle obj, uint64_t offset, uint32_t count);
/* Created ones: must succeed; the handle. */
struct zone_handle fx_file(struct fx *fx, struct zone_handle dir, const char *name);
struct zone_handle fx_dir(struct fx *fx, struct zone_handle dir, const char *name);
/* From now on as @uid with group @gid and no others. */
void fx_as(struct fx *fx, uint32_t uid, uint32_t gid);
uint64_t fx_used(struct fx *fx);
void fx_digest(struct fx *fx, uint8_t out[32]);
