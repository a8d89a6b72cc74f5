/*
 * store_priv: what the files of store share, and nobody else sees.
 *
 * Layers, lowest first: store_db (one sqlite connection and its cached statements),
 * store_rows and store_extent (rows, each with a CRC of its own), store_read and
 * store_data (bytes), store_settle, store_stream and store_shadow (pull).
 */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>

#define STORE_PULL_FORMAT 2u /* Of pull records. */
#define STORE_NAME_MAX 255u
#define STORE_VALUE_MAX (4u << 20) /* Bytes of any value read back. */
#define STORE_INO_MAX ((uint64_t)INT64_MAX)
#define STORE_OFFSET_MAX STORE_FILE_MAX
#define STORE_SIZE_UNKNOWN UINT64_MAX
#define STORE_SUBBLOCKS (STORE_BLOCK / STORE_SUBBLOCK)
#define STORE_CRCS_BYTES (4 * STORE_SUBBLOCKS)
#define STORE_PATH_MAX 4096u
#define STORE_NAME_BYTES 64u /* Room for a file's path below the dataset. */
#define STORE_FOLDERS 256u   /* data/00 to data/ff, and as many below a pull's folder. */

enum store_sql {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_INODE_GET,
    SQL_INODE_PUT,
    SQL_INODE_DEL,
    SQL_INODE_ALL,
    SQL_DIRENT_GET,
    SQL_DIRENT_PUT,
    SQL_DIRENT_DEL,
    SQL_DIRENT_EACH,
    SQL_DIRENT_ALL,
    SQL_NUMBER_GET,
    SQL_NUMBER_PUT,
    SQL_NUMBER_ALL,
    SQL_KV_GET,
    SQL_KV_PUT,
    SQL_KV_DEL,
    SQL_KV_FROM,
    SQL_REPLY_GET,
    SQL_REPLY_PUT,
    SQL_REPLY_PRUNE,
    SQL_REPLY_NEXT,
    SQL_REPLY_LAST,
    SQL_REPLY_DROP,
    SQL_REPLY_ALL,
    SQL_RPC_PUT,
    SQL_RPC_GET,
    SQL_RPC_DROP,
    SQL_RPC_ALL,
    SQL_ORPHAN_PUT,
    SQL_ORPHAN_DEL,
    SQL_ORPHAN_EACH,
    SQL_ORPHAN_OLDEST,
    SQL_ORPHAN_ALL,
    SQL_EXTENT_PUT,
    SQL_EXTENT_DEL,
    SQL_EXTENT_DEL_FROM,
    SQL_EXTENT_BEFORE,
    SQL_EXTENT_RANGE,
    SQL_EXTENT_OLDEST,
    SQL_EXTENT_FLOOR,
    SQL_EXTENT_OF,
    SQL_EXTENT_ALL,
    SQL_EXTENT_FROM,
    SQL_BLOCK_GET,
    SQL_BLOCK_PUT,
    SQL_BLOCK_DEL,
    SQL_BLOCK_DEL_FROM,
    SQL_BLOCK_FIRST,
    SQL_BLOCK_SKIP,
    SQL_BLOCK_CUT,
    SQL_BLOCK_LAST,
    SQL_BLOCK_ALL,
    SQL_BLOCK_FROM,
    SQL_CUT_PUT,
    SQL_CUT_DEL,
    SQL_CUT_DEL_FROM,
    SQL_CUT_ALL,
    SQL_INLINE_GET,
    SQL_INLINE_PUT,
    SQL_INLINE_DEL,
    SQL_INLINE_ALL,
    SQL_INLINE_FROM,
    SQL_MARK_GET,
    SQL_MARK_PUT,
    SQL_MARK_DEL,
    SQL_MARK_ANY,
    SQL_MARK_ALL,
    SQL_GARBAGE_PUT,
    SQL_GARBAGE_INTEND,
    SQL_GARBAGE_DEL,
    SQL_GARBAGE_ALL,
    SQL_DATA_ANY,
    SQL_PAGES,
    SQL_FREE_PAGES,
    SQL_LIST_PUT,
    SQL_LIST_GET,
    SQL_LIST_WANTS,
    SQL_MAX
};

/* One connection. Used by one thread at a time. */
struct store_db {
    sqlite3 *handle;
    sqlite3_stmt *stmts[SQL_MAX];
    int wal_fault; /* Of a checkpoint that a commit made: no sync counts any more. */
    bool faulted;  /* The disk gave an error: it is closed as by a crash. */
};

/* @path as sqlite's VFS knows it. -ENOENT unless @create. */
int store_db_open(struct store_db *db, const char *path, const char *vfs, bool create);
/* The last one to close a database checkpoints it, unless it met a fault of its disk: then
 * frames that a failed sync lost would be copied, and half of that could be on the disk when
 * the power goes. store_wal_renew comes first. */
void store_db_close(struct store_db *db);
/* Run SQL text without rows. */
int store_db_exec(struct store_db *db, const char *sql);
/* Make the tables, if they are not there. */
int store_db_schema(struct store_db *db);
/* Add the indexes that a database of this version may lack: what they order is read in
 * the same order without them, only slower. */
int store_db_indexes(struct store_db *db);
/* Sync the WAL: everything committed so far is durable. */
int store_db_sync(struct store_db *db);
/* Copy of the WAL into the database what no reader needs. After a fault the connection
 * does not know what is on the disk: whoever relies on it must stop. */
int store_db_checkpoint(struct store_db *db);
/* Keep the WAL short; of a connection that stays where it is. store_db_open does it. */
void store_db_watch_wal(struct store_db *db);
/* Log and convert a result of sqlite to a fault. */
int store_db_fault(struct store_db *db, int rc);
/*
 * Bind and run to the end / to the first row. @types: 'i' a uint64_t, 'b' a pointer
 * and a size_t, 's' a C string. Row: 0 and *@stmt stands on it, to be left with
 * store_db_done; OUT_NOENT or a fault need no store_db_done.
 */
int store_db_run(struct store_db *db, enum store_sql sql, const char *types, ...);
int store_db_row(struct store_db *db, sqlite3_stmt **stmt, enum store_sql sql,
                 const char *types, ...);
/* On to the next row: 0, or OUT_NOENT or a fault as above. */
int store_db_next(struct store_db *db, sqlite3_stmt *stmt);
void store_db_done(sqlite3_stmt *stmt);
uint64_t store_db_u64(sqlite3_stmt *stmt, int column);
/* Borrowed until the statement moves. */
struct slice store_db_blob(sqlite3_stmt *stmt, int column);
/* CRC of numbers and bytes, as rows carry it. */
uint32_t store_row_crc(const uint64_t *numbers, size_t n, struct slice bytes);
/* A row that cannot be: log it and give -EUCLEAN. */
int store_row_bad(const char *table, uint64_t key);
/* Something bad was met: 0 if the log need not hear of it now, else how often it was since it
 * heard last. By thread. */
uint32_t store_news(uint64_t what, uint64_t place);

/* Rows, on any connection. Same answers as their namesakes in store.h. */
#define STORE_INODE_BYTES 120u
/* Decode: quiet, since the bytes may be a peer's. */
void store_inode_encode(const struct store_inode *inode, uint8_t *out);
int store_inode_decode(const void *row, size_t len, uint64_t ino,
                       struct store_inode *out);
int store_rows_inode_put(struct store_db *db, const struct store_inode *inode);
int store_rows_dirent_put(struct store_db *db, const struct store_dirent *entry);
int store_rows_dirent(sqlite3_stmt *stmt, struct store_dirent *out);
int store_rows_number_get(struct store_db *db, const char *name, uint64_t *out);
int store_rows_number_put(struct store_db *db, const char *name, uint64_t value);
int store_rows_number(sqlite3_stmt *stmt, struct slice *name, uint64_t *value);
/* The applied index (0: none yet). OUT_TRY_LATER: it is not at STORE_SERVE_FROM yet. */
int store_rows_applied(struct store_db *db, uint64_t *applied);
int store_rows_kv_put(struct store_db *db, const struct store_kv *pair);
int store_rows_kv(sqlite3_stmt *stmt, struct store_kv *out);
int store_rows_reply_put(struct store_db *db, const struct store_reply *reply);
int store_rows_reply(sqlite3_stmt *stmt, struct store_reply *out);
int store_rows_rpc_put(struct store_db *db, const struct store_rpc *rpc);
int store_rows_rpc(sqlite3_stmt *stmt, struct store_rpc *out);
int store_rows_orphan_put(struct store_db *db, uint64_t ino, int64_t time_ns);
int store_rows_orphan(sqlite3_stmt *stmt, uint64_t *ino, int64_t *time_ns);
bool store_is_local(struct slice name);

/* Bytes over a block's base. */
enum store_extent_kind {
    STORE_DATA = 1, /* In the journal: @segment and @place. */
    STORE_ZERO = 2,
    STORE_PULLED = 3, /* In pull.<place>/xx/<ino>, where it is in the file; or kept. */
    STORE_LOST = 4,   /* What was written here is gone: it reads as bad. */
};
/*
 * What holds the journal and cannot settle, because the block under it is bad, is carried
 * to kept.<n>/xx/<ino>, n being 0 or 1: an extent of kind STORE_PULLED with this place. A
 * block's extents lie in one of the two, and are carried together to the other. Another
 * member's copy of the block goes to kept.2 or kept.3: to the one that none of the block's
 * extents lie in.
 */
#define STORE_KEPT (UINT64_C(1) << 62)
#define STORE_HEALED (STORE_KEPT + 2)
struct store_extent {
    uint64_t ino;
    uint64_t offset; /* In the file; the extent lies within one block. */
    uint64_t version;
    uint64_t segment; /* 0 unless STORE_DATA: nothing else holds the journal. */
    uint64_t place;
    uint32_t len;
    enum store_extent_kind kind;
    uint32_t piece_len; /* Of the piece as it was written; @crc is over all of it. */
    uint32_t skip;      /* Where in the piece this extent begins. */
    uint32_t crc;
};
struct store_extents {
    struct store_extent *all;
    size_t n;
    size_t cap;
};
void store_extents_free(struct store_extents *extents);
int store_extent_put(struct store_db *db, const struct store_extent *extent);
/* From columns ino, offset, segment, row. */
int store_extent_row(sqlite3_stmt *stmt, struct store_extent *out);
/* Put the extents of one block into @out, by offset. */
int store_extent_load(struct store_db *db, uint64_t ino, uint64_t block,
                      struct store_extents *out);

/* Add, remove the row, counted. */
int store_extent_add(struct store *store, const struct store_extent *extent);
int store_extent_remove(struct store *store, const struct store_extent *extent);

/* The lowest segment of all extents as they are now; UINT64_MAX: none. */
int store_extent_lowest(struct store *store, uint64_t *segment);

/* The base of a block. */
struct store_block {
    uint64_t ino;
    uint64_t block;
    uint64_t version;
    uint32_t crcs[STORE_SUBBLOCKS];
    bool bad; /* As read: version and CRCs are not what the row's own CRC says. */
};
int store_block_get(struct store_db *db, uint64_t ino, uint64_t block,
                    struct store_block *out);
int store_block_put(struct store_db *db, const struct store_block *block);
int store_block_row(sqlite3_stmt *stmt, struct store_block *out);
/* Remove the rows of the inode's blocks from @block on, as of @version: at once if they are
 * few, else step by step later. *@few: at once, and there were some. */
int store_cut(struct store *store, const struct store_block *from, bool *few);
/* One step. *@did: there was one to do. */
int store_cut_step(struct store *store, bool *did);
/* store_vacuum.c: give pages of meta.db that hold nothing back to the file system, one
 * step, if they are many. *@did: there was one to do. */
int store_vacuum_step(struct store *store, bool *did);
/* Remove a row that a cut took, if there is one: another takes its place. */
int store_cut_one(struct store *store, uint64_t ino, uint64_t block);
struct store_inline {
    uint64_t ino;
    uint64_t version;
    uint32_t len;
    bool bad; /* As read: version and bytes are not what the row's CRC says. */
    uint8_t data[STORE_INLINE_MAX];
};
int store_inline_get(struct store_db *db, uint64_t ino, struct store_inline *out);
int store_inline_put(struct store_db *db, const struct store_inline *blob);
int store_inline_row(sqlite3_stmt *stmt, struct store_inline *out);
/* The inode's row is bad, and an entry of @version is about to change what lies there:
 * put lost bytes in its place, up to @len. As a write or a cut, it counts for the row's
 * being touched, so that no copy from before it is ever taken for what was there. */
int store_inline_lost(struct store *store, uint64_t ino, uint32_t len, uint64_t version);

/* All layers of one block. The version of a bad row is 0: it is not known. */
struct store_layers {
    bool has_block;
    bool has_inline;
    struct store_block block;
    struct store_inline small;
    struct store_extents extents;
};
int store_layers_load(struct store_db *db, uint64_t ino, uint64_t block,
                      struct store_layers *out);
/* The block's version: the highest of all layers; 0: the block does not exist. */
uint64_t store_layers_version(const struct store_layers *layers);
/* The block does not exist. */
bool store_block_absent(const struct store_layers *layers);

/* Reads extents' pieces, keeping the last. One per thread. */
struct store_pieces {
    struct store *store;
    uint8_t *bytes; /* STORE_BLOCK. */
    uint64_t segment;
    uint64_t place;
    uint64_t ino;
    uint64_t begin; /* Of the piece, in the file. */
    uint32_t len;
    uint32_t crc;
    int fault;                   /* Of the last read; 0: it was read, and maybe bad. */
    enum store_extent_kind kind; /* 0: nothing kept. */
};
/* store_parts.c: the piece's bytes, which match its CRC, are @bytes. */
#define STORE_PART 4096u
#define STORE_PARTS (STORE_BLOCK / STORE_PART)
struct store_part_range {
    uint32_t from; /* In the piece. */
    uint32_t len;
};
struct store_parts;
void store_parts_note(struct store *store, const struct store_extent *extent,
                      const uint8_t *bytes);
/* Part of a piece, checked. 0, or OUT_NOENT: the whole piece must be read. */
int store_parts_read(struct store *store, const struct store_extent *extent,
                     struct store_part_range want, uint8_t *out);
void store_parts_free(struct store *store);

int store_pieces_init(struct store_pieces *pieces, struct store *store);
void store_pieces_deinit(struct store_pieces *pieces);
/* The whole piece that the extent lies in, unchecked. 0 or a fault. */
int store_piece_pread(struct store *store, const struct store_extent *extent,
                      uint8_t *out);
/* The extent's bytes, borrowed until the next call. OUT_IO: bad or unreadable. */
int store_pieces_get(struct store_pieces *pieces, const struct store_extent *extent,
                     const uint8_t **out);

/* Files of settled data kept open for reading, by the owner thread. */
#define STORE_FILES_MAX 64u
struct store_open_file {
    uint64_t ino;
    uint64_t used;
    struct disk_file *file;
};
struct store_files {
    struct store_open_file slots[STORE_FILES_MAX];
    uint64_t clock;
};
void store_files_drop(struct store *store, uint64_t ino); /* 0: all. */
/* "<dir>/data/xx/<ino>", of a pull @generation > 0, or of STORE_KEPT and what follows. */
void store_data_path(const struct store *store, uint64_t generation, uint64_t ino,
                     char *out);
/* Open for writing; folders are made, and *@made is set if anything was. */
int store_data_create(struct store *store, uint64_t generation, uint64_t ino,
                      struct disk_file **out, bool *made);
/* Make that file's name durable. */
int store_data_syncdir(struct store *store, uint64_t generation, uint64_t ino);
/* 0, or -EFBIG if the dataset's file system cannot hold the largest file. Other faults of
 * the trial count only for a new dataset (@strict): an old one shows them when it matters. */
int store_check_sizes(struct store *store, bool strict);
/* Read what the file has of [@offset, @offset + @len); zeros beyond its end. */
int store_file_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                     uint64_t offset);

struct store_settle_block;

/* Blocks found bad or refused by the file system, so that each is logged once and not
 * settled again and again. One goes from the list when it is settled, or cut off. */
#define STORE_BAD_MAX 1024u
struct store_bad {
    uint64_t ino[STORE_BAD_MAX];
    uint64_t block[STORE_BAD_MAX];
    uint64_t tried[STORE_BAD_MAX]; /* The version that a settle failed at; 0: none. */
    uint64_t again[STORE_BAD_MAX]; /* The plan that may try it again all the same. */
    uint32_t n;
    uint64_t plans; /* Made so far. */
};
bool store_bad_has(const struct store *store, uint64_t ino, uint64_t block);
void store_bad_add(struct store *store, uint64_t ino, uint64_t block);
/* A settle of the block at @version failed: up to that version it is not worth another,
 * but for a later plan if something could not be read (@b->again). */
void store_bad_tried(struct store *store, const struct store_settle_block *b);
bool store_bad_hopeless(const struct store *store, uint64_t ino, uint64_t block,
                        uint64_t version);
void store_bad_del(struct store *store, uint64_t ino, uint64_t block);
/* All of the inode's blocks from @block on. */
void store_bad_del_from(struct store *store, uint64_t ino, uint64_t block);

struct store_counts {
    uint64_t unsettled; /* Bytes of extents. */
    uint64_t blocks;    /* Block rows. */
};

/* store_stale.c: what is known of sub-blocks that a settle was changing when it was broken
 * off. As the file "settling", whole; or that without its end, while it is made. */
struct store_stale {
    uint8_t *data; /* NULL: nothing. */
    size_t len;
    size_t cap;
    bool strict; /* What is not noted is bad; else nothing was ever noted. */
};
struct store_sub {
    uint64_t ino;
    uint64_t block;
    uint32_t sub;
    uint32_t crc; /* As its row has it. */
};

struct store {
    struct disk *disk;
    struct journal *journal;
    char *dir;
    char *vfs;
    uint8_t zone_id[16];
    uint64_t generation; /* Of meta.db; rises with each switch. */
    bool marker_rotten;  /* As found: see store_marker_mend. */
    struct store_db db;
    bool in_txn;
    bool held;               /* There is a transaction, and nobody is in it. */
    void (*redo)(void *arg); /* Of what was held and is lost. */
    void *redo_arg;
    int broken; /* A sync failed: the fault that every commit gives from then on. */
    struct store_counts now;
    struct store_counts before; /* As of store_begin. */
    uint64_t durable_floor;     /* Lowest segment that the durable state points into. */
    uint64_t stamp;             /* Of garbage rows; rises for ever. */
    bool rest;                  /* store_settle_plan_rest may find something. */
    bool more;                  /* It found more than it took. */
    uint64_t epoch;             /* Counts changes of file data since the start. */
    _Atomic int wal_frames;
    _Atomic int wal_checked; /* wal_frames at the last checkpoint. */
    uint32_t n_cursors;
    struct store_settle *settle; /* The plan in flight. */
    struct store_stale stale;    /* Changed only while there is none. */
    /* Names in data/xx are durable, for all this life knows. The settle's thread. */
    bool synced_folders[STORE_FOLDERS];
    struct store_files files;
    struct store_pieces pieces;
    struct store_parts *parts;  /* NULL: no part of a piece was read yet. */
    struct store_layers layers; /* Scratch of reads. */
    uint8_t *scratch;           /* STORE_BLOCK. */
    uint8_t *scrubbed;          /* STORE_BLOCK. */
    bool mends;                 /* Reads set a flipped bit right: store_mend.c. */
    uint64_t n_mended;
    bool from_disk; /* Reads of settled data are not to be the page cache's. */
    struct store_bad bad;
    struct store_touched touched;
    struct buf *kept; /* The value that store_kv_get gave last. */
};

/* The inode's row changes. */
void store_touch(struct store *store, uint64_t ino);
/* "<dir>/meta.db" or "<dir>/meta.<generation>.db". */
void store_meta_path(const struct store *store, uint64_t generation, char *out);
int store_marker_write(struct store *store, uint64_t generation);
/* Before the database @path is opened: write its WAL again, as it is, and sync it and its
 * name. If the last process died of a failed sync, it is only in the page cache, clean,
 * and no sync would put it on the disk. Takes as long as writing what is in use of the WAL:
 * 64 MiB at most, seldom more; a store that was closed has none. */
int store_wal_renew(struct store *store, const char *path);
/* After a checkpoint beside the owner: copy the little that came meanwhile, so that the
 * file is used from its beginning again. 0, or the store is broken. */
int store_wal_restart(struct store *store);
/* Follow the length of the WAL. */
void store_watch_wal(struct store *store);
/* Count anew what is counted in memory. */
int store_recount(struct store *store);
/* What only a shadow has goes, once it is live. */
int store_shadow_forget(struct store_db *db);
int store_garbage_put(struct store *store, struct store_db *db, uint64_t generation,
                      uint64_t ino);
/* Remove generations of meta.db and folders of pulls that nothing needs. */
int store_sweep(struct store *store);
/* Remove a folder of pulled data with all its files. */
int store_pull_remove(struct store *store, uint64_t generation);

/*
 * Bytes [@from, @to) of a block into @out, holes as zeros. @layers are
 * the block's. OUT_IO: bad.
 */
struct store_range {
    uint64_t ino;
    uint64_t block;
    uint32_t from;
    uint32_t to;
};
int store_read_range(struct store *store, const struct store_range *range,
                     const struct store_layers *layers, uint8_t *out);
/* If it may, and one bit is all that keeps the CRC from matching: set it right. */
bool store_mend_bit(struct store *store, uint8_t *bytes, size_t len, uint32_t crc);
/* The whole block into store->layers and @out, STORE_BLOCK bytes; OUT_IO is noted. */
int store_read_block(struct store *store, uint64_t ino, uint64_t block, uint8_t *out);

/* The block as the settle in flight has or will have it. */
struct store_settle_block {
    uint64_t ino;
    uint64_t block;
    uint64_t version; /* The highest that the plan takes in. */
    uint64_t size;    /* Of the file, at the plan; STORE_SIZE_UNKNOWN. */
    bool has_block;
    bool bad;
    bool known_bad; /* And logged. */
    bool kept;      /* @extents are as carried away from the journal. */
    bool again;     /* Something could not be read now: no reason to give it up. */
    bool torn;      /* Bad because writing it failed: it may be written in part. */
    bool base_lost; /* The row of the base is bad: nothing of it can be read. */
    uint8_t mask;   /* Sub-blocks that are written. */
    uint8_t stale;  /* Sub-blocks that a plan lost in a crash may have changed. */
    uint8_t noted;  /* Sub-blocks of which store_stale_note was told. */
    uint32_t crcs[STORE_SUBBLOCKS];
    uint32_t fresh[STORE_SUBBLOCKS];
    _Atomic bool published; /* @fresh is filled in. */
    struct store_inline *small;
    struct store_extents extents;
};
struct store_garbage {
    uint64_t generation; /* 0: data/, else a pull's. */
    uint64_t ino;
    uint64_t stamp;
    bool keep;   /* Still in use: nothing to do. */
    bool failed; /* The file system refused: the row stays. */
    bool remove; /* Unlink; else cut to @length. */
    uint64_t length;
};
struct store_settle {
    struct store *store;
    struct store_settle_block *blocks; /* By ino and block. */
    uint32_t n_blocks;
    struct store_garbage *garbage;
    uint32_t n_garbage;
    uint64_t floor;  /* Lowest segment that is read from. */
    bool checkpoint; /* The WAL is long. */
    bool wal;        /* And that is all. */
    bool cut;        /* The plan's transaction did a step of a cut, or of a vacuum. */
    bool unread;     /* As store_settle_unread says. */
    struct store_stale stale; /* What run notes, */
    _Atomic bool noted;       /* and that it is on the disk: changed no more. */
    _Atomic bool started;
    pthread_mutex_t write_lock; /* Held while one block, or a length, is changed. */
};
/* A new dataset's: nothing is noted. */
int store_stale_create(struct store *store);
/* 0, or -ENOMEM. A file that cannot be read knows nothing, strictly. */
int store_stale_load(struct store *store);
void store_stale_free(struct store_stale *stale);
/* A marked sub-block does not match its row: are the bytes right that no extent covers? */
bool store_stale_is_right(const struct store_stale *stale, const struct store_sub *sub,
                          const uint8_t *bytes);
/* Of a plan that is made: keep the notes of blocks outside of it that are marked. */
int store_stale_plan(struct store_settle *settle);
/* Of run, before it writes into files: note each sub-block whose base @bytes are right and
 * only changed in part; write, with what is needed of the notes before. */
int store_stale_note(struct store_stale *stale, const struct store_settle_block *b,
                     uint32_t sub, const uint8_t *bytes);
int store_stale_write(struct store_settle *settle);
/* The settle is over, whatever became of it. */
void store_stale_adopt(struct store *store, struct store_settle *settle);
/* NULL: not part of the plan in flight. */
struct store_settle_block *store_settle_find(struct store_settle *settle, uint64_t ino,
                                             uint64_t block);
void store_settle_free(struct store_settle *settle);
/* What store_settle_run does with blocks that were written whole. */
#define STORE_WHOLE_MAX 8u /* At a time. */
struct store_whole {
    struct store_settle *settle;
    uint8_t *bytes; /* DIRECT_BYTES. */
};
int store_whole_init(struct store_whole *whole, struct store_settle *settle);
void store_whole_deinit(struct store_whole *whole);
/* As many of the @n blocks, which are one file's, from the first on as can be done at once:
 * *@done, 0 if another way is to be tried. 0 or a fault that is not the file's own. */
int store_whole_run(struct store_whole *whole, struct disk_file *file,
                    struct store_settle_block *blocks, uint32_t n, uint32_t *done);
/* Carry the block's extents out of the journal; see STORE_KEPT. Sets b->kept, unless the
 * file system refuses. 0 or a fault of the member. */
int store_keep_run(struct store_pieces *pieces, struct store_settle_block *b);
/* Put the rows of what store_keep_run carried, as far as it is still there. */
int store_keep_finish(struct store *store, const struct store_settle_block *b);
/* A fault of one file, not of the member. */
bool store_is_own_fault(int rv);

/*
 * All replicated rows in one order, as records. One walks tables of a connection that
 * holds a read transaction.
 */
enum store_record {
    RECORD_HEAD = 1,
    RECORD_NUMBER = 2,
    RECORD_INODE = 3,
    RECORD_DIRENT = 4,
    RECORD_KV = 5,
    RECORD_REPLY = 6,
    RECORD_ORPHAN = 7,
    RECORD_BLOCK = 8,
    RECORD_INLINE = 9,
    RECORD_END = 10,
    RECORD_RPC = 11,
};
#define STORE_RECORD_HEADER 6u /* u8 type, u8 version, u32 length. */
struct store_stream {
    struct store_db *db;
    bool versions_only; /* Inline data as RECORD_BLOCK: for the digest. */
    bool skip;          /* The record is of a local row. */
    int table;
    sqlite3_stmt *stmt; /* On the row to come; NULL: the table is not begun. */
    struct store_merge {
        sqlite3_stmt *stmt; /* NULL: at its end. */
        uint64_t ino;
        uint64_t block;
        uint64_t version;
    } merge[3];      /* Block rows, extents, inline data. */
    uint8_t *record; /* The last one made. */
    size_t cap;
    size_t len;
};
void store_stream_init(struct store_stream *stream, struct store_db *db);
void store_stream_deinit(struct store_stream *stream);
/* Make the next record, in stream->record. OUT_NOENT after the last. */
int store_stream_next(struct store_stream *stream);

#endif
