/*
 * state: what the procedures of apply and read share. Internal to zone/.
 *
 * A procedure checks everything first and changes rows only when nothing can refuse any
 * more: an outcome means that no row changed. Row functions that answer OUT_NOENT where
 * a row must be are a fault (-EUCLEAN).
 *
 * Quota. What is charged, in logical bytes, the same on all members:
 *   - 512 for every inode and 512 for every name (ZONE_CHARGE_ROW);
 *   - a file: see charge.c, never more than its size rounded up to 4096, and exactly
 *     that for a file without holes; holes are free;
 *   - a symlink: its target rounded up to 512;
 *   - a pair: key and value rounded up to 512.
 * An op that would make the sum exceed the quota and grow it is OUT_DQUOT.
 */
#ifndef ZONE_STATE_H
#define ZONE_STATE_H

#include "base/outcome.h"
#include "store/store.h"
#include "zone/op.h"
#include "zone/zone.h"

_Static_assert(ZONE_FILE_SIZE_MAX == STORE_FILE_MAX, "what a zone takes, a store holds");

#define ZONE_LINK_MAX 65000u            /* Hard links of a file; as ext4. */
#define ZONE_SESSIONS_MAX 1024u         /* Origins remembered. */
#define ZONE_NODE_SESSIONS_MAX 16u      /* Of them of one node: its last lives. */
#define ZONE_SESSION_SPAN 1048576u      /* Sequence numbers above a floor at most. */
#define ZONE_SEQ_MAX (1ull << 62)       /* What no origin counts up to. */
#define ZONE_SESSION_NS 3600000000000ll /* An idle session is forgotten after. */
#define ZONE_RPC_MAX 65536u             /* Clients' replies kept; a power of two. */
#define ZONE_RPC_DROP 64u               /* Of them dropped in one step at most. */
#define ZONE_RPC_NS 120000000000ll      /* A client's reply is kept for, at work. */
#define ZONE_PAUSE_NS 1000000000ll      /* More between two entries is a pause. */
#define ZONE_LEAP_NS 1000000000ll       /* Zone time that a recovery leaves out. */
#define ZONE_ORPHAN_NS 600000000000ll   /* An unlinked file is kept for. */
#define ZONE_PURGE_MAX 64u              /* Orphans purged by one entry in passing. */
#define ZONE_PURGE_NS 4000000ll         /* While more are due, so often at most. */
/* Rounds of that when the quota needs the room: enough for the largest WRITE, whatever
 * the orphans are, since each gives ZONE_CHARGE_ROW at least. */
#define ZONE_PURGE_STEPS_MAX 33u
#define ZONE_CHARGE_ROW 512u
/* Entries whose rows are committed together, and their bytes, at most. */
#define ZONE_HOLD_ENTRIES 32u
#define ZONE_HOLD_BYTES 262144u
#define ZONE_CHARGE_UNIT 4096u
#define ZONE_DIR_SIZE 4096u /* What a directory reports as its size. */
#define ZONE_FIRST_COOKIE 3u
#define ZONE_KEY_USER 'u' /* Begins the store's key of a client's pair. */

/* Kept in memory, written once per batch. All are replicated. */
enum zone_number {
    ZN_APPLIED,
    ZN_TERM,
    ZN_TIME,
    ZN_NEXT_INO,
    ZN_NEXT_COOKIE,
    ZN_QUOTA,
    ZN_USED,
    ZN_INODES,
    ZN_PURGE_MORE, /* 1: the last purge left something due. */
    ZN_WORKED,     /* Zone time, ns, without what passed in pauses: see ZONE_PAUSE_NS. */
    ZN_MAX
};

/* One origin's place in the request table. */
struct zone_session {
    uint64_t node;
    uint64_t boot;
    uint64_t floor;    /* Replies below are gone: such an op must not run. */
    uint64_t last_seq; /* The highest that ran. */
    uint64_t index;    /* The entry that used it last. */
    int64_t time_ns;   /* Zone time of that. */
    uint64_t pruned;   /* Replies below were deleted from the store. Memory only. */
    bool dirty;        /* Memory only. */
};

struct zone {
    struct store *store;
    uint64_t number[ZN_MAX];
    uint64_t stored[ZN_MAX]; /* As the rows have them. */
    struct zone_session *sessions;
    uint32_t n_sessions;
    struct zone_rpcs *rpcs;
    int64_t session_due_ns; /* No session expires before. */
    int64_t orphan_ns;      /* When the oldest orphan was unlinked; INT64_MAX: there is
                               none, -1: not known. */
    uint64_t serve_from;    /* Nothing is read before this index is applied. */
    bool broken;            /* Rows could not be read again after a fault. */
    /* What the store holds, to be done again if it is lost; nothing if it holds nothing. */
    struct zone_apply_item held[ZONE_HOLD_ENTRIES];
    uint32_t n_held;
    uint64_t held_bytes;
};

/* One entry on its way through apply. */
struct apply {
    struct zone *zone;
    const struct zone_op *op;
    struct zone_result *result;
    uint64_t index;
    int64_t now_ns;
    const uint8_t *rpc_key; /* NULL: the call's reply is not kept by its key. */
    struct journal_place place;
};

/* The procedures: 0, an outcome, or a fault. */
int zone_run_setattr(struct apply *apply);
int zone_run_write(struct apply *apply);
int zone_run_create(struct apply *apply);
int zone_run_mkdir(struct apply *apply);
int zone_run_symlink(struct apply *apply);
int zone_run_mknod(struct apply *apply);
int zone_run_remove(struct apply *apply);
int zone_run_rmdir(struct apply *apply);
int zone_run_rename(struct apply *apply);
int zone_run_link(struct apply *apply);
int zone_run_kv(struct apply *apply);
int zone_run_set_quota(struct apply *apply);

/* zone_apply.c: what is held is committed: no more is known of it. */
void zone_held_drop(struct zone *zone);
/* The store lost what it held: @arg is the zone. */
void zone_redo(void *arg);

/* zone.c: rows of the zone itself. */
int zone_load(struct zone *zone);
int zone_write_back(struct zone *zone);
int zone_conf_put(struct zone *zone, uint64_t index, struct slice conf);

/* session.c: exactly once. */
enum zone_verdict { ZONE_RUN, ZONE_REPLAY, ZONE_GHOST };
int zone_session_load(struct zone *zone);
int zone_session_write(struct zone *zone);
/*
 * What to do with an op from @origin. REPLAY: the first execution's result is in
 * *@result. GHOST: its reply was already given up by its origin, or it is too far ahead:
 * it must not run. RUN may create the session and raises its floor.
 */
int zone_session_enter(struct zone *zone, const struct zone_origin *origin,
                       struct apply *apply, enum zone_verdict *verdict);
/* Keep the encoded result of the op, for its origin. */
int zone_session_leave(const struct apply *apply, const struct zone_origin *origin,
                       struct slice reply);
/* The reply of @origin if it is kept; OUT_NOENT. */
int zone_session_reply(struct zone *zone, const struct zone_origin *origin,
                       struct zone_result *result);
/* Forget the sessions that were idle for too long at @now_ns. */
int zone_session_expire(struct zone *zone, int64_t now_ns);

/* rpc.c: a client's call that comes again, from another origin. */
struct zone_rpcs;
int zone_rpc_new(struct zone_rpcs **out);
void zone_rpc_free(struct zone_rpcs *rpcs);
int zone_rpc_load(struct zone *zone);
/* The encoded result that is kept for apply->rpc_key, or OUT_NOENT. */
int zone_rpc_get(const struct apply *apply, struct buf **reply);
int zone_rpc_put(const struct apply *apply, struct slice reply);
/* Drop what is too old, a bounded number: at once in a @new_second of zone time, else
 * when there is enough of it. */
int zone_rpc_expire(struct zone *zone, bool new_second);

/* perm.c: AUTH_SYS permission. 0, OUT_ACCES or OUT_PERM. */
enum { ZONE_MAY_EXEC = 1, ZONE_MAY_WRITE = 2, ZONE_MAY_READ = 4 };
bool zone_in_group(const struct zone_cred *cred, uint32_t gid);
int zone_may(const struct store_inode *inode, const struct zone_cred *cred,
             unsigned want);
/* As zone_may, for a file's data: its owner always may, and who may execute may read. */
int zone_may_data(const struct store_inode *inode, const struct zone_cred *cred,
                  unsigned want);
/* A name may be taken from @dir: writable, and sticky is respected. */
int zone_may_remove(const struct store_inode *dir, const struct store_inode *victim,
                    const struct zone_cred *cred);
/* The mode that is left after a change of the data by @cred. */
uint32_t zone_mode_written(const struct store_inode *inode, const struct zone_cred *cred);

/* inode.c: finding and showing. */
int zone_get(struct zone *zone, struct zone_handle handle, struct store_inode *out);
/* OUT_STALE, OUT_NOTDIR. Fills both sides of @wcc with the present state. */
int zone_get_dir(struct zone *zone, struct zone_handle handle, struct store_inode *out,
                 struct zone_wcc *wcc);
/* A row that must be there. */
int zone_get_ino(struct zone *zone, uint64_t ino, struct store_inode *out);
/* The child @name of @dir: 0 or OUT_NOENT. */
int zone_child(struct zone *zone, uint64_t dir, struct slice name,
               struct store_inode *out);
/* 0, OUT_INVAL (empty, or with a slash or NUL inside), OUT_NAMETOOLONG. */
int zone_name_check(struct slice name);
bool zone_name_is_dot(struct slice name);
bool zone_name_is_dotdot(struct slice name);
void zone_attr_of(const struct store_inode *inode, struct zone_attr *out);
void zone_show_obj(struct zone_result *result, const struct store_inode *inode);
void zone_wcc_begin(struct zone_wcc *wcc, const struct store_inode *inode);
void zone_wcc_end(struct zone_wcc *wcc, const struct store_inode *inode);
struct zone_time zone_time_of(int64_t ns);
/* 0, or OUT_INVAL beyond what 64 bits of ns hold. */
int zone_time_to_ns(struct zone_time time, int64_t *ns);

/* name.c: changing names and links. */
/* @ino gets the name @name in @dir, whose row is changed but not put. */
int zone_name_add(struct apply *apply, struct store_inode *dir, struct slice name,
                  uint64_t ino);
/* As zone_name_add, in the listing's place of a name that is gone from @dir. */
int zone_name_put(struct apply *apply, struct store_inode *dir, struct slice name,
                  uint64_t ino, uint64_t cookie);
int zone_name_del(struct apply *apply, struct store_inode *dir, struct slice name);
/* One name less: the inode is put, kept as an orphan, or deleted. Directories must be
 * empty and are deleted. */
int zone_unlink(struct apply *apply, struct store_inode *inode);
/* Delete orphans whose time has come, at most ZONE_PURGE_MAX. */
int zone_orphan_purge(struct zone *zone, int64_t now_ns);
/* Look the oldest orphan up, unless zone->orphan_ns says. */
int zone_orphan_find(struct zone *zone);

/* charge.c: the quota. */
/* 0 if @more bytes fit, else OUT_DQUOT. May purge orphans early, but not @keep. */
int zone_room(struct zone *zone, uint64_t more, uint64_t keep);
/* The sum goes from @before to @after bytes for something. */
void zone_charge(struct zone *zone, uint64_t before, uint64_t after);
uint64_t zone_round_up(uint64_t bytes, uint64_t unit);
/* What the file would be charged after a write or a resize. */
uint64_t zone_used_written(const struct store_inode *inode, uint64_t offset,
                           uint64_t len);
uint64_t zone_used_resized(const struct store_inode *inode, uint64_t size);

/* zone_setattr.c. Sets size, charge, times and mode of @inode; the caller puts it. */
int zone_resize(struct apply *apply, struct store_inode *inode, uint64_t size);

/* readdir.c and zone_kv.c. */
int zone_read_dir(struct zone *zone, const struct zone_op *op,
                  const struct store_inode *dir, struct zone_result *result);
int zone_read_kv(struct zone *zone, const struct zone_op *op, struct zone_result *result);

#endif
