/*
 * store: one member's copy of one zone: metadata rows in sqlite, file data as recent
 * extents that point into the journal and as settled blocks in sparse files.
 *
 * Layout of a dataset: marker (zone id), meta.db (after the n-th pull meta.<n>.db),
 * data/xx/<inode>, pull.<n>/ until it has settled, kept.<n>/ what lies over bad blocks and
 * heals them,
 * journal/ (see journal.h, may lie
 * elsewhere). Formats and why settling is safe: docs/formats/store.md.
 *
 * One owner thread, except store_settle_run, which may run on one other thread at the
 * same time. All changes happen between store_begin and store_commit; the applied
 * index is one of the rows, so an entry's effect and "it is applied" are one
 * transaction. A commit is atomic but durable only with @durable (or a later durable
 * one): what a power cut takes back is replayed from the journal.
 *
 * Row functions return 0, OUT_NOENT (no such row), or a fault. They decide nothing:
 * POSIX rules, quota and versions are zone/'s.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/disk.h"
#include "store/journal.h"

#include <stdbool.h>
#include <stdint.h>

#define STORE_FORMAT 3u        /* Version of a dataset: of marker and tables. */
#define STORE_BLOCK 131072u    /* Bytes of a settled block. */
#define STORE_SUBBLOCK 16384u  /* Bytes that share one CRC in a settled block. */
#define STORE_INLINE_MAX 8192u /* A file up to this size may live in meta.db. */
/*
 * A file's largest size, 8 TiB. Settled data lies in files as long as the user's, so this
 * is what every pool's file system must hold: ext4 with blocks of 4 KiB holds 16 TiB less
 * a block; XFS, btrfs and ZFS far more. A dataset is not opened where it does not fit.
 */
#define STORE_FILE_MAX (1ull << 43)

struct store;

struct store_config {
    struct disk *disk;
    const char *dir;         /* The dataset. */
    const char *vfs;         /* sqlite VFS name; NULL: the system's. */
    struct journal *journal; /* Borrowed; payload is read from it. */
    uint8_t zone_id[16];
    bool create; /* Make marker and tables; -EEXIST if there is a marker. */
};

/*
 * -ENOENT: no marker here (an unmounted disk is not an empty zone). -EEXIST: another
 * zone's. -EUCLEAN: meta.db is damaged. -EPROTONOSUPPORT: made by another version.
 * -EFBIG: the file system cannot hold a file of STORE_FILE_MAX bytes.
 */
int store_open(const struct store_config *config, struct store **out);
/* The marker @text is as it was written. */
bool store_marker_checks(const char *text);
/*
 * True if the marker @text, of @len bytes and a NUL, is not what was written, but says by its
 * checksum what that was: all but its first line is, which can only have been that of this
 * version; or one bit or two of it flipped. @out: as it was. store_open writes it anew.
 */
#define STORE_MARKER_MAX 512u
bool store_marker_mend(const char *text, size_t len, char out[STORE_MARKER_MAX]);
void store_close(struct store *store);
/* As store_close, after a fault of whatever it lies on: as if the process had ended here.
 * Nothing is written or synced any more, what was not committed is replayed by the next
 * start. */
void store_drop(struct store *store);

int store_begin(struct store *store);
int store_commit(struct store *store, bool durable);
void store_rollback(struct store *store); /* No-op outside a transaction. */
/*
 * Transactions that are committed as one. store_hold ends one without a commit; the next
 * store_begin_more goes on with it. Everybody sees what is held, but for cursors and
 * whoever comes after a crash: it is committed by store_flush, or by any other function here
 * that begins a transaction, opens a view, copies or replaces rows, before all else.
 *
 * If that fails, or what went on with it is rolled back, all that was held is lost. Then
 * store_flush and those others call @redo, which makes it anew and holds it, before they
 * return the fault. (After a store_commit or store_rollback of its own the owner knows
 * without being called.) It may fail: then nothing is held.
 */
int store_begin_more(struct store *store);
void store_hold(struct store *store);
bool store_is_held(const struct store *store);
int store_flush(struct store *store);
/* A fault of some statement took what is held with it (sqlite rolls back by itself): what is
 * read now is older. store_flush has it made anew first. */
bool store_hold_is_lost(const struct store *store);
void store_on_lost(struct store *store, void (*redo)(void *arg), void *arg);

/* Inodes. Times in ns since 1970 (int64). */
struct store_inode {
    uint64_t ino;
    uint64_t gen;
    uint8_t type; /* enum zone_type */
    uint32_t mode;
    uint32_t nlink;
    uint32_t uid;
    uint32_t gid;
    uint32_t rdev_major;
    uint32_t rdev_minor;
    uint64_t size;
    uint64_t used;    /* Logical bytes charged to the quota. */
    uint64_t parent;  /* Directories: the parent's ino. */
    uint64_t entries; /* Directories: number of names in it. */
    uint64_t verf;    /* EXCLUSIVE create's verifier, 0 none. */
    int64_t atime;
    int64_t mtime;
    int64_t ctime;
    uint64_t version; /* Index of the entry that last changed this row or its data. */
};
int store_inode_get(struct store *store, uint64_t ino, struct store_inode *out);
int store_inode_put(struct store *store, const struct store_inode *inode);
/* The row, its data, extents and blocks. */
int store_inode_del(struct store *store, uint64_t ino);

/* The inodes whose rows were put or deleted since store_touched_begin. */
#define STORE_TOUCHED_MAX 6u
struct store_touched {
    uint32_t n; /* Above STORE_TOUCHED_MAX: more than are listed. */
    uint64_t ino[STORE_TOUCHED_MAX];
};
void store_touched_begin(struct store *store);
const struct store_touched *store_touched(const struct store *store);

/* Directory entries. @cookie is permanent and unique within the zone. */
struct store_dirent {
    uint64_t dir;
    struct slice name; /* Borrowed until the next call when read. */
    uint64_t ino;
    uint64_t cookie;
    uint64_t version;
};
int store_dirent_get(struct store *store, uint64_t dir, struct slice name,
                     struct store_dirent *out);
int store_dirent_put(struct store *store, const struct store_dirent *entry);
int store_dirent_del(struct store *store, uint64_t dir, struct slice name);
/* Entries of @dir with cookie > @after in rising cookie order; stops when @each
 * returns != 0, whose value is returned. @each may read inodes. */
int store_dirent_each(struct store *store, uint64_t dir, uint64_t after,
                      int (*each)(void *ctx, const struct store_dirent *entry),
                      void *ctx);

/* The entries of all directories. */
int store_dirent_all(struct store *store,
                     int (*each)(void *ctx, const struct store_dirent *entry), void *ctx);

/*
 * Small values of the zone itself: counters (u64) and pairs (KV). The applied index is
 * the number STORE_APPLIED. A name or key that begins with STORE_LOCAL belongs to this
 * member alone (its snapshot descriptor): not pulled, not in the digest, kept by a
 * switch.
 */
#define STORE_APPLIED "applied"
#define STORE_LOCAL "local."
/* Set by a switch: some pulled blocks are as of up to this index, so nothing may be
 * read by clients, and no digest compared, before it is applied. Absent: 0. */
#define STORE_SERVE_FROM "local.serve_from"
/* 1 from a switch on, in the same step, until the zone has made its descriptor of the
 * pulled state durable. Absent: 0. */
#define STORE_SWITCHED "local.switched"
int store_number_get(struct store *store, const char *name, uint64_t *out);
int store_number_set(struct store *store, const char *name, uint64_t value);
struct store_kv {
    struct slice key;
    struct slice value;
    uint64_t version;
};
/* The value is borrowed until the next store_kv_get. */
int store_kv_get(struct store *store, struct slice key, struct store_kv *out);
int store_kv_put(struct store *store, const struct store_kv *pair);
int store_kv_del(struct store *store, struct slice key);
int store_kv_each(struct store *store, struct slice prefix,
                  int (*each)(void *ctx, const struct store_kv *pair), void *ctx);

/* The request table: replies by origin {node, boot, seq}. */
int store_reply_get(struct store *store, uint64_t node, uint64_t boot, uint64_t seq,
                    struct buf **reply);
struct store_reply {
    uint64_t node;
    uint64_t boot;
    uint64_t seq;
    uint64_t index; /* The entry's: the last use of the session {node, boot}. */
    struct slice bytes;
};
int store_reply_put(struct store *store, const struct store_reply *reply);
/* Forget the replies of {node, boot} with seq < @floor. */
int store_reply_prune(struct store *store, uint64_t node, uint64_t boot, uint64_t floor);
/* Forget every session {node, boot} whose last use is before @index, unless it is the
 * latest of its node. */
int store_reply_expire(struct store *store, uint64_t index);

/*
 * The same replies by the client's call, for a client that asks again through another
 * node. @index, the entry's, is the row's name; a key may come again at a higher one.
 */
#define STORE_RPC_REPLY_MAX 1024u
struct store_rpc {
    uint64_t index;
    int64_t time_ns; /* Zone time of the entry. */
    uint8_t key[16];
    struct slice bytes; /* At most STORE_RPC_REPLY_MAX. */
};
int store_rpc_put(struct store *store, const struct store_rpc *rpc);
int store_rpc_get(struct store *store, uint64_t index, struct buf **reply);
/* Forget the rows whose index is lower than @below. */
int store_rpc_drop(struct store *store, uint64_t below);
/* All rows in rising order; stops when @each returns != 0, whose value is returned. */
int store_rpc_each(struct store *store,
                   int (*each)(void *ctx, const struct store_rpc *rpc), void *ctx);

/* Unlinked inodes kept for a while, by the time of the removal: the oldest come first,
 * and what a walk costs is what it gives. @each may delete what it is given. */
int store_orphan_put(struct store *store, uint64_t ino, int64_t time_ns);
int store_orphan_each(struct store *store, int64_t before_ns,
                      int (*each)(void *ctx, uint64_t ino), void *ctx);
int store_orphan_del(struct store *store, uint64_t ino);
/* When the oldest was unlinked; OUT_NOENT if there is none. */
int store_orphan_oldest(struct store *store, int64_t *time_ns);

/*
 * File data. A piece never crosses a multiple of STORE_BLOCK. @place is where its first
 * byte lies in the journal, @data the bytes if they are at hand (else empty: read back
 * when needed). Small files may be taken into meta.db at once. @version is the entry's
 * index. The inode's size before the call is @old_size.
 */
struct store_piece {
    uint64_t ino;
    uint64_t offset;
    uint32_t len;
    uint32_t crc;
    struct journal_place place;
    struct slice data;
    uint64_t version;
    uint64_t old_size;
};
int store_data_write(struct store *store, const struct store_piece *piece);
/* Size goes from @old_size to @new_size; what is cut off reads as zeros ever after. */
int store_data_resize(struct store *store, uint64_t ino, uint64_t old_size,
                      uint64_t new_size, uint64_t version);
/*
 * The bytes [@offset, @offset + @len) merged from settled blocks and extents, each CRC
 * checked, into a new buffer. The caller has clipped the range to the file's size.
 * OUT_IO: a bad or unreadable block (named in *@bad if not NULL); never wrong bytes.
 */
int store_data_read(struct store *store, uint64_t ino, uint64_t offset, size_t len,
                    struct buf **out, uint64_t *bad);

/* The first block from @from on in which the file may have something; OUT_NOENT: none. For
 * reading it whole, holes and all, at the cost of what is in it. */
int store_data_next(struct store *store, uint64_t ino, uint64_t from, uint64_t *block);
/*
 * Settling. plan: choose up to @max_bytes of blocks with extents, oldest journal
 * segments first, and mark them (one durable transaction). run: write them in place and
 * sync; touches no row; may run on another thread. finish: turn them into block rows
 * (one durable transaction). A plan is dropped with finish or abandon. OUT_NOENT from
 * plan: nothing to settle.
 */
struct store_settle;
/* No transaction may be open at plan, finish, abandon; and one plan at a time. run gives
 * 0 or a fault, after which the plan must be abandoned (its marks stay, and the next
 * plan does it again). Blocks whose old data is bad are left as they are, and so are those
 * that the file system refuses one by one; what they have in the journal is carried out
 * of it. A failed sync is a fault. */
int store_settle_plan(struct store *store, size_t max_bytes, struct store_settle **out);
/* Only what does not hold the journal: files and room that nothing reads any more, pulled
 * blocks, and what a settle before left marked. */
int store_settle_plan_rest(struct store *store, size_t max_bytes,
                           struct store_settle **out);
/* False: that would give OUT_NOENT. */
bool store_settle_rest(const struct store *store);
/* The last plan of the rest was full: there is more of it. */
bool store_settle_more(const struct store *store);
/* Before run: nobody is going to read what it writes soon, so that large pieces need not go
 * through the page cache. */
void store_settle_unread(struct store_settle *settle);
/* Only the rows' write-ahead log, when it is long: it is copied while run is at work, and
 * not by a commit that would hold up whoever waits for it. */
bool store_wal_is_long(const struct store *store);
int store_settle_plan_wal(struct store *store, struct store_settle **out);
int store_settle_run(struct store_settle *settle);
int store_settle_finish(struct store *store, struct store_settle *settle);
void store_settle_abandon(struct store *store, struct store_settle *settle);
/* The lowest journal segment that an extent points into, now, in the last durable state
 * or in the plan in flight; UINT64_MAX: none. 0 before the first durable commit after an
 * open: nothing may be released yet. */
int store_extent_floor(struct store *store, uint64_t *segment);
/* Bytes of recent extents not yet settled. */
uint64_t store_unsettled_bytes(const struct store *store);

/*
 * Pull, the source's side: a cursor over a frozen view of all rows, on a connection of
 * its own. Rows come as opaque versioned records in runs of at most @max bytes;
 * OUT_NOENT when there are no more. The view is at applied index *@index.
 * Block lists come among the rows as {ino, block, version}; the data itself is asked
 * for by store_pull_block (the present, merged content, never older than the view).
 * OUT_TRY_LATER from open: this store itself is not at STORE_SERVE_FROM yet, or has no room
 * to commit what it holds. A single record longer than @max comes alone. No cursor may be
 * open at store_close.
 */
struct store_cursor;
int store_cursor_open(struct store *store, struct store_cursor **out, uint64_t *index);
int store_cursor_next(struct store_cursor *cursor, size_t max, struct buf **out);
void store_cursor_close(struct store_cursor *cursor);
/* OUT_NOENT: the block is gone by now. *@version: of the content given (a block of zeros
 * has one byte), or with OUT_NOENT the applied index: hand it to store_shadow_block in
 * either case.
 * OUT_IO: it is bad here; another member may have it. */
int store_pull_block(struct store *store, uint64_t ino, uint64_t block, struct buf **out,
                     uint64_t *version);
/* It is going to be asked for: read what of it has settled into memory, without waiting. */
void store_pull_expect(struct store *store, uint64_t ino, uint64_t block);

/*
 * Pull, the puller's side: a shadow beside the live rows in the same dataset. Rows are
 * loaded; blocks that the live store has at the same version are taken over, the others
 * are listed by store_shadow_wants and given by store_shadow_block. Those of files of which
 * the live store has nothing are written to where they stay; the others lie beside, and
 * settle after the switch. switch replaces the
 * live rows by the shadow in one atomic, durable step. A shadow survives a restart: its
 * loading begins again, blocks already there are not asked for again. Records may be
 * loaded in any cut between records; a new first record begins the loading anew.
 * -EPROTO: what a peer sent is malformed. The live store may change meanwhile: then
 * switch gives OUT_TRY_LATER and there are wants again (or a settle is in flight: finish
 * it first). -EAGAIN: rows or blocks are
 * missing. After switch (whatever it returned but these two) close the shadow; read
 * STORE_SERVE_FROM. Entries from the view's index on are applied again over the pulled
 * state, which may hold blocks newer than the view: that converges.
 */
struct store_shadow;
int store_shadow_open(struct store *store, struct store_shadow **out);
int store_shadow_load(struct store_shadow *shadow, const void *records, size_t len);
struct store_want {
    uint64_t ino;
    uint64_t block;
    uint64_t version;
};
/* Up to @max blocks still missing. *@n is 0 when everything is there. */
int store_shadow_wants(struct store_shadow *shadow, struct store_want *out, uint32_t max,
                       uint32_t *n);
/* @data shorter than a block: zeros follow. Empty: the block is gone. */
/* Those behind @after in their order: others may be on their way. All zero: from the
 * first. */
int store_shadow_wants_after(struct store_shadow *shadow, const struct store_want *after,
                             struct store_want *out, uint32_t max, uint32_t *n);
int store_shadow_block(struct store_shadow *shadow, const struct store_want *want,
                       uint64_t version, struct slice data);
/* The source's copy is bad: the block is there, of the version wanted, and bad here too. */
int store_shadow_lost(struct store_shadow *shadow, const struct store_want *want);
/* Of the blocks that are here: written to where they stay; beside, to be settled once the
 * shadow is live; and placed by earlier loadings, and kept. */
struct store_pulled {
    uint64_t placed;
    uint64_t beside;
    uint64_t kept;
};
void store_shadow_pulled(const struct store_shadow *shadow, struct store_pulled *out);
int store_shadow_switch(struct store *store, struct store_shadow *shadow);
void store_shadow_close(struct store_shadow *shadow);

/*
 * Every file, in rising order, that has a block as of an entry above @above, or one that the
 * source of a pull had no more. If these entries never come, it is of no one state. Stops
 * when @each returns != 0, whose value is returned.
 */
int store_torn_each(struct store *store, uint64_t above,
                    int (*each)(void *ctx, uint64_t ino), void *ctx);

/*
 * Healing a block that is bad here with another member's copy of it.
 *
 * get, at the other member: the block as it is now, without the zeros at its end, and its
 * version, if this member has applied @want->version entries: which is what the bad one's
 * owner had applied when it found it bad. OUT_TRY_LATER: not so far. OUT_NOENT: there is no
 * such block. OUT_IO: it is bad here too. copied->applied is set for all of these.
 */
struct store_copied {
    uint64_t version;
    uint64_t applied; /* By the giver. */
};
int store_copy_get(struct store *store, const struct store_want *want, struct buf **out,
                   struct store_copied *copied);
struct store_copy {
    uint64_t ino;
    uint64_t block;
    uint64_t version;
    struct slice data; /* Zeros follow. */
};
/*
 * Put the copy in the place of what is here, below what was written after it; durable when
 * it returns. What was bad and newer than the copy stays bad. No transaction may be open.
 * OUT_TRY_LATER: this member has not applied as much as the copy holds, or a settle is at
 * work on the block. OUT_MISMATCH: the copy is too old by now. OUT_NOENT: there is no such
 * block any more. A fault: nothing was changed, unless the store is broken by a sync.
 */
int store_heal(struct store *store, const struct store_copy *copy);
/* From now on reads set one flipped bit of a sub-block or short piece right, in what they
 * return only: for an export from a store that nobody is going to heal. */
void store_mend_reads(struct store *store);
uint64_t store_mended(const struct store *store); /* So many were. */
/* The @i-th of the blocks that were found bad and are not healed; false: there are not so
 * many. Reads, settling and scrubbing find them. */
bool store_bad_get(const struct store *store, uint32_t i, struct store_want *out);

/*
 * Scrubbing: look at the blocks from scrub->next on, in order, for @max_bytes or a little
 * more, reading from the disk what the page cache has. scrub->next goes on; bad blocks are
 * named (their version: what was applied then), and count as looked at. OUT_TRY_LATER:
 * this member is not at STORE_SERVE_FROM.
 */
#define STORE_SCRUB_BLOCKS 64u
#define STORE_SCRUB_BAD 8u
struct store_scrub {
    struct store_want next; /* All zeros: from the beginning. */
    uint32_t blocks;
    uint64_t bytes;
    struct store_want bad[STORE_SCRUB_BAD];
    uint32_t n_bad;
    bool end; /* There are no more. */
};
int store_scrub(struct store *store, size_t max_bytes, struct store_scrub *scrub);

/* A digest of all replicated rows and data versions: equal on all members at one
 * applied index. Local rows (extents' places, marks) do not count. OUT_TRY_LATER: the
 * store is not at STORE_SERVE_FROM yet, so its rows are of no one index. */
int store_digest(struct store *store, uint8_t out[32]);
/* The digest as of a cursor's view, of which nothing was read yet. On any thread. */
int store_cursor_digest(struct store_cursor *cursor, uint8_t out[32]);
/* Bytes of the WAL of meta.db that are in use; it only grows while a cursor is open. */
uint64_t store_wal_bytes(const struct store *store);
/* Bytes that the dataset takes on disk: meta.db, data, without the journal. */
int store_disk_bytes(struct store *store, uint64_t *out);

#endif
