/* One sqlite connection: how it is set up, and its statements, each prepared once. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/disk.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "store/pages.h"
#include "store/store_priv.h"
#include "store/walfile.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define EXTENT "SELECT ino, offset, segment, row FROM extent "
#define BLOCK "SELECT ino, block, version, crcs, crc FROM block "
/* Not one that a cut took and nobody has removed yet; see store_cut.c. */
#define ALIVE                                                                          \
    "NOT EXISTS(SELECT 1 FROM cut WHERE cut.ino=block.ino AND cut.block<=block.block " \
    "AND cut.version>=block.version) "
#define DIRENT "SELECT dir, name, ino, cookie, version, crc FROM dirent "
#define REPLY "SELECT node, boot, seq, idx, reply, crc FROM reply "
#define RPC "SELECT idx, key, time, reply, crc FROM rpc "
#define KV "SELECT key, value, version, crc FROM kv "
/* A row with a key and a value, and room for the rest of it. */
#define ROW_BYTES_MAX (2 * (int)STORE_VALUE_MAX + 65536)
#define ORPHAN_TIME "CREATE INDEX IF NOT EXISTS orphan_time ON orphan(time)"

static const char *const texts[SQL_MAX] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_INODE_GET] = "SELECT row FROM inode WHERE ino=?",
    [SQL_INODE_PUT] = "INSERT OR REPLACE INTO inode VALUES(?,?)",
    [SQL_INODE_DEL] = "DELETE FROM inode WHERE ino=?",
    [SQL_INODE_ALL] = "SELECT ino, row FROM inode ORDER BY ino",
    [SQL_DIRENT_GET] = DIRENT "WHERE dir=? AND name=?",
    [SQL_DIRENT_PUT] = "INSERT OR REPLACE INTO dirent VALUES(?,?,?,?,?,?)",
    [SQL_DIRENT_DEL] = "DELETE FROM dirent WHERE dir=? AND name=?",
    [SQL_DIRENT_EACH] = DIRENT "WHERE dir=? AND cookie>? ORDER BY cookie",
    [SQL_DIRENT_ALL] = DIRENT "ORDER BY dir, name",
    [SQL_NUMBER_GET] = "SELECT name, value, crc FROM number WHERE name=?",
    [SQL_NUMBER_PUT] = "INSERT OR REPLACE INTO number VALUES(?,?,?)",
    [SQL_NUMBER_ALL] = "SELECT name, value, crc FROM number ORDER BY name",
    [SQL_KV_GET] = KV "WHERE key=?",
    [SQL_KV_PUT] = "INSERT OR REPLACE INTO kv VALUES(?,?,?,?)",
    [SQL_KV_DEL] = "DELETE FROM kv WHERE key=?",
    [SQL_KV_FROM] = KV "WHERE key>=? ORDER BY key",
    [SQL_REPLY_GET] = REPLY "WHERE node=? AND boot=? AND seq=?",
    [SQL_REPLY_PUT] = "INSERT OR REPLACE INTO reply VALUES(?,?,?,?,?,?)",
    [SQL_REPLY_PRUNE] = "DELETE FROM reply WHERE node=? AND boot=? AND seq<?",
    [SQL_REPLY_NEXT] = REPLY "WHERE (node, boot)>(?,?) ORDER BY node, boot, seq LIMIT 1",
    [SQL_REPLY_LAST] = REPLY "WHERE node=? AND boot=? ORDER BY seq DESC LIMIT 1",
    [SQL_REPLY_DROP] = "DELETE FROM reply WHERE node=? AND boot=?",
    [SQL_REPLY_ALL] = REPLY "ORDER BY node, boot, seq",
    [SQL_RPC_PUT] = "INSERT OR REPLACE INTO rpc VALUES(?,?,?,?,?)",
    [SQL_RPC_GET] = RPC "WHERE idx=?",
    [SQL_RPC_DROP] = "DELETE FROM rpc WHERE idx<?",
    [SQL_RPC_ALL] = RPC "ORDER BY idx",
    [SQL_ORPHAN_PUT] = "INSERT OR REPLACE INTO orphan VALUES(?,?,?)",
    [SQL_ORPHAN_DEL] = "DELETE FROM orphan WHERE ino=?",
    [SQL_ORPHAN_EACH] = "SELECT ino, time, crc FROM orphan WHERE time<? AND "
                        "(time, ino)>(?,?) ORDER BY time, ino LIMIT 64",
    [SQL_ORPHAN_OLDEST] = "SELECT ino, time, crc FROM orphan ORDER BY time LIMIT 1",
    [SQL_ORPHAN_ALL] = "SELECT ino, time, crc FROM orphan ORDER BY ino",
    [SQL_EXTENT_PUT] = "INSERT OR REPLACE INTO extent VALUES(?,?,?,?)",
    [SQL_EXTENT_DEL] = "DELETE FROM extent WHERE ino=? AND offset=?",
    [SQL_EXTENT_DEL_FROM] = "DELETE FROM extent WHERE ino=? AND offset>=?",
    [SQL_EXTENT_BEFORE] = EXTENT "WHERE ino=? AND offset<? ORDER BY offset DESC LIMIT 1",
    [SQL_EXTENT_RANGE] = EXTENT "WHERE ino=? AND offset>=? AND offset<? ORDER BY offset",
    [SQL_EXTENT_OLDEST] = "SELECT segment, ino, offset FROM extent INDEXED BY "
                          "extent_segment WHERE segment>=? ORDER BY segment, ino, "
                          "offset",
    [SQL_EXTENT_FLOOR] = "SELECT segment FROM extent INDEXED BY extent_segment WHERE "
                         "segment>0 ORDER BY segment LIMIT 1",
    [SQL_EXTENT_OF] = EXTENT "WHERE ino=? ORDER BY offset",
    [SQL_EXTENT_ALL] = EXTENT "ORDER BY ino, offset",
    [SQL_EXTENT_FROM] = "SELECT ino, offset FROM extent WHERE (ino, offset)>=(?,?) "
                        "ORDER BY ino, offset LIMIT 1",
    [SQL_BLOCK_GET] = BLOCK "WHERE ino=? AND block=? AND " ALIVE,
    [SQL_BLOCK_PUT] = "INSERT OR REPLACE INTO block VALUES(?,?,?,?,?)",
    [SQL_BLOCK_DEL] = "DELETE FROM block WHERE ino=? AND block=?",
    [SQL_BLOCK_DEL_FROM] = "DELETE FROM block WHERE ino=? AND block>=?",
    [SQL_BLOCK_FIRST] = "SELECT 1 FROM block WHERE ino=? AND block=0 AND " ALIVE,
    [SQL_BLOCK_SKIP] = "SELECT block FROM block WHERE ino=? AND block>=? ORDER BY block "
                       "LIMIT 1 OFFSET ?",
    [SQL_BLOCK_CUT] =
        "DELETE FROM block WHERE ino=? AND block>=? AND block<? AND version<=?",
    [SQL_BLOCK_LAST] = BLOCK "WHERE ino=? ORDER BY block DESC LIMIT 1",
    [SQL_BLOCK_ALL] = BLOCK "WHERE " ALIVE "ORDER BY ino, block",
    [SQL_BLOCK_FROM] = "SELECT ino, block FROM block WHERE (ino, block)>=(?,?) AND " ALIVE
                       "ORDER BY ino, block LIMIT 1",
    [SQL_CUT_PUT] = "INSERT OR REPLACE INTO cut VALUES(?,?,?)",
    [SQL_CUT_DEL] = "DELETE FROM cut WHERE ino=? AND version=?",
    [SQL_CUT_DEL_FROM] = "DELETE FROM cut WHERE ino=? AND block>=?",
    [SQL_CUT_ALL] = "SELECT ino, version, block FROM cut ORDER BY ino, version",
    [SQL_INLINE_GET] = "SELECT ino, version, data, crc FROM inline WHERE ino=?",
    [SQL_INLINE_PUT] = "INSERT OR REPLACE INTO inline VALUES(?,?,?,?)",
    [SQL_INLINE_DEL] = "DELETE FROM inline WHERE ino=?",
    [SQL_INLINE_ALL] = "SELECT ino, version, data, crc FROM inline ORDER BY ino",
    [SQL_INLINE_FROM] = "SELECT ino, 0 FROM inline WHERE ino>=? AND ?=0 ORDER BY ino "
                        "LIMIT 1",
    [SQL_MARK_GET] = "SELECT mask FROM mark WHERE ino=? AND block=?",
    [SQL_MARK_PUT] = "INSERT OR REPLACE INTO mark VALUES(?,?,?)",
    [SQL_MARK_DEL] = "DELETE FROM mark WHERE ino=? AND block=?",
    [SQL_MARK_ANY] = "SELECT 1 FROM mark WHERE ino=? LIMIT 1",
    [SQL_MARK_ALL] = "SELECT ino, block, mask FROM mark",
    [SQL_GARBAGE_PUT] = "INSERT OR REPLACE INTO garbage VALUES(?,?,?)",
    [SQL_GARBAGE_INTEND] = "INSERT OR IGNORE INTO garbage VALUES(0,?,0)",
    [SQL_GARBAGE_DEL] = "DELETE FROM garbage WHERE generation=? AND ino=? AND stamp=?",
    [SQL_GARBAGE_ALL] = "SELECT generation, ino, stamp FROM garbage",
    /* Whatever may make somebody read or change the inode's file in data/. */
    [SQL_DATA_ANY] = "SELECT 1 WHERE EXISTS(SELECT 1 FROM block WHERE ino=?1) OR "
                     "EXISTS(SELECT 1 FROM extent WHERE ino=?1) OR "
                     "EXISTS(SELECT 1 FROM mark WHERE ino=?1) OR "
                     "EXISTS(SELECT 1 FROM cut WHERE ino=?1) OR "
                     "EXISTS(SELECT 1 FROM garbage WHERE generation=0 AND ino=?1)",
    [SQL_PAGES] = "PRAGMA page_count",
    [SQL_FREE_PAGES] = "PRAGMA freelist_count",
    [SQL_LIST_PUT] = "INSERT OR REPLACE INTO list VALUES(?,?,?,?)",
    [SQL_LIST_GET] = "SELECT version, wanted FROM list WHERE ino=? AND block=?",
    [SQL_LIST_WANTS] = "SELECT ino, block, version FROM list INDEXED BY list_wanted "
                       "WHERE wanted=1 AND (ino, block)>(?,?) ORDER BY ino, block",
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS inode(ino INTEGER PRIMARY KEY, row BLOB);"
    "CREATE TABLE IF NOT EXISTS dirent(dir INT, name BLOB, ino INT, cookie INT,"
    " version INT, crc INT, PRIMARY KEY(dir, name)) WITHOUT ROWID;"
    /* Has the whole row, so that a listing does not look each name up. */
    "CREATE INDEX IF NOT EXISTS dirent_cookie ON dirent(dir, cookie, ino, version, crc);"
    "CREATE TABLE IF NOT EXISTS number(name BLOB PRIMARY KEY, value INT, crc INT)"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS kv(key BLOB PRIMARY KEY, value BLOB, version INT,"
    " crc INT) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS reply(node INT, boot INT, seq INT, idx INT,"
    " reply BLOB, crc INT, PRIMARY KEY(node, boot, seq)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS rpc(idx INTEGER PRIMARY KEY, key BLOB, time INT,"
    " reply BLOB, crc INT);"
    "CREATE TABLE IF NOT EXISTS orphan(ino INTEGER PRIMARY KEY, time INT, crc "
    "INT);" ORPHAN_TIME ";"
    "CREATE TABLE IF NOT EXISTS extent(ino INT, offset INT, segment INT, row BLOB,"
    " PRIMARY KEY(ino, offset)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS extent_segment ON extent(segment, ino, offset);"
    "CREATE TABLE IF NOT EXISTS block(ino INT, block INT, version INT, crcs BLOB,"
    " crc INT, PRIMARY KEY(ino, block)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS cut(ino INT, version INT, block INT,"
    " PRIMARY KEY(ino, version)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS inline(ino INTEGER PRIMARY KEY, version INT,"
    " data BLOB, crc INT);"
    "CREATE TABLE IF NOT EXISTS mark(ino INT, block INT, mask INT,"
    " PRIMARY KEY(ino, block)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS garbage(generation INT, ino INT, stamp INT,"
    " PRIMARY KEY(generation, ino)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS list(ino INT, block INT, version INT, wanted INT,"
    " PRIMARY KEY(ino, block)) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS list_wanted ON list(ino, block) WHERE wanted=1;"
    "PRAGMA user_version=3;";

int store_db_fault(struct store_db *db, int rc)
{
    int fault;

    if ((rc & 0xff) == SQLITE_INTERRUPT && disk_is_nowait()) {
        return -EAGAIN; /* pages.c; nobody's fault. */
    }
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* A table is missing: our statements are right. */
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG: /* We put in no such row. */
        fault = -EUCLEAN;
        break;
    case SQLITE_NOMEM:
        fault = -ENOMEM;
        break;
    case SQLITE_FULL:
        fault = -ENOSPC;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        fault = -EBUSY;
        break;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        fault = -EROFS;
        break;
    case SQLITE_IOERR:
        /* A spent quota of the file system is a full disk; sqlite knows only ENOSPC. */
        fault = rc == SQLITE_IOERR_WRITE && db->handle != NULL &&
                        sqlite3_system_errno(db->handle) == EDQUOT
                    ? -ENOSPC
                    : -EIO;
        fault = rc == SQLITE_IOERR_NOMEM ? -ENOMEM : fault;
        fault = rc == SQLITE_IOERR_DATA ? -EUCLEAN : fault; /* pages.c */
        break;
    default:
        fault = -EIO;
        break;
    }
    db->faulted = db->faulted || fault == -EIO;
    log_error("store", "msg=\"sqlite: %s\" code=%d",
              db->handle != NULL ? sqlite3_errmsg(db->handle) : "no connection", rc);
    return fault;
}

int store_db_exec(struct store_db *db, const char *sql)
{
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);

    return rc == SQLITE_OK ? 0 : store_db_fault(db, rc);
}

/* The file may come from somebody else. There is nothing in ours that runs by itself, nor a
 * value larger than this. */
static void distrust(sqlite3 *handle)
{
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    (void)sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_VIEW, 0, NULL);
    (void)sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX);
}

/* unix-excl keeps the file locked against other processes while it is open, and needs
 * no system call per transaction. */
int store_db_open(struct store_db *db, const char *path, const char *vfs, bool create)
{
    const char *pages = pages_vfs(vfs != NULL ? vfs : walfile_vfs());
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    int reserved = PAGES_RESERVED;
    int rc;
    int rv;

    memset(db, 0, sizeof *db);
    if (pages == NULL) {
        return -ENOMEM;
    }
    flags |= create ? SQLITE_OPEN_CREATE : 0;
    rc = sqlite3_open_v2(path, &db->handle, flags, pages);
    if (rc != SQLITE_OK) {
        rv = !create && (rc & 0xff) == SQLITE_CANTOPEN ? -ENOENT : store_db_fault(db, rc);
        goto out;
    }
    (void)sqlite3_extended_result_codes(db->handle, 1);
    (void)sqlite3_busy_timeout(db->handle, 0);
    distrust(db->handle);
    /* Of a database that is yet to be made; one that is there has its own. */
    (void)sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    /* Before there is a page; and not again, since it is written down each time. */
    rv = create
             ? store_db_exec(db, "PRAGMA page_size=4096; PRAGMA auto_vacuum=INCREMENTAL")
             : 0;
    if (rv != 0) {
        goto out;
    }
    rv = store_db_exec(
        db, "PRAGMA page_size=4096; PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF;"
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
            "PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;"
            "PRAGMA mmap_size=0; PRAGMA journal_size_limit=67108864");
    store_db_watch_wal(db);
out:
    if (rv != 0) {
        store_db_close(db);
    }
    return rv;
}

void store_db_close(struct store_db *db)
{
    for (int i = 0; i < SQL_MAX; i++) {
        (void)sqlite3_finalize(db->stmts[i]);
    }
    if (db->handle != NULL) {
        int rc;

        if (db->faulted) {
            (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1,
                                    NULL);
        }
        rc = sqlite3_close(db->handle);

        ASSERT(rc == SQLITE_OK); /* Else a statement of ours is still open. */
    }
    memset(db, 0, sizeof *db);
}

int store_db_schema(struct store_db *db)
{
    return store_db_exec(db, schema);
}

int store_db_indexes(struct store_db *db)
{
    return store_db_exec(db, ORPHAN_TIME);
}

/* PRAGMA synchronous cannot be changed within a transaction, so a commit is made as
 * NORMAL and then the WAL, which holds it and all before it, is synced through sqlite's
 * own file: the same call that FULL would make. */
int store_db_sync(struct store_db *db)
{
    sqlite3_file *file = NULL;
    int rc;

    if (db->wal_fault != 0) {
        return db->wal_fault;
    }
    rc = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
    if (rc == SQLITE_OK && file != NULL && file->pMethods != NULL) {
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    }
    if (rc != SQLITE_OK) {
        log_error("store", "msg=\"the sync of meta.db's WAL failed\" code=%d", rc);
        db->faulted = true;
        return -EIO;
    }
    return 0;
}

static int prepared(struct store_db *db, enum store_sql sql, sqlite3_stmt **out)
{
    ASSERT(sql < SQL_MAX && texts[sql] != NULL);
    if (db->stmts[sql] == NULL) {
        int rc = sqlite3_prepare_v3(db->handle, texts[sql], -1, SQLITE_PREPARE_PERSISTENT,
                                    &db->stmts[sql], NULL);

        if (rc != SQLITE_OK) {
            return store_db_fault(db, rc);
        }
    }
    ASSERT(!sqlite3_stmt_busy(db->stmts[sql])); /* Scans do not nest on one statement. */
    *out = db->stmts[sql];
    return 0;
}

static int bind(sqlite3_stmt *stmt, const char *types, va_list args)
{
    int rc = SQLITE_OK;

    for (int i = 1; types[i - 1] != '\0' && rc == SQLITE_OK; i++) {
        if (types[i - 1] == 'i') {
            rc = sqlite3_bind_int64(stmt, i, (int64_t)va_arg(args, uint64_t));
        } else if (types[i - 1] == 'b') {
            const void *data = va_arg(args, const void *);
            size_t len = va_arg(args, size_t);

            /* A NULL pointer would bind NULL, not the empty blob. */
            rc = sqlite3_bind_blob64(stmt, i, data != NULL ? data : "", len,
                                     SQLITE_STATIC);
        } else {
            const char *text = va_arg(args, const char *);

            ASSERT(types[i - 1] == 's');
            rc = sqlite3_bind_blob64(stmt, i, text, strlen(text), SQLITE_STATIC);
        }
    }
    return rc;
}

int store_db_next(struct store_db *db, sqlite3_stmt *stmt)
{
    int rc = sqlite3_step(stmt);

    if (rc == SQLITE_ROW) {
        return 0;
    }
    rc = rc == SQLITE_DONE ? OUT_NOENT : store_db_fault(db, rc);
    store_db_done(stmt);
    return rc;
}

void store_db_done(sqlite3_stmt *stmt)
{
    if (stmt != NULL) {
        (void)sqlite3_reset(stmt); /* Repeats what the last step already told. */
    }
}

int store_db_row(struct store_db *db, sqlite3_stmt **stmt, enum store_sql sql,
                 const char *types, ...)
{
    va_list args;
    int rv;
    int rc;

    rv = prepared(db, sql, stmt);
    if (rv != 0) {
        return rv;
    }
    va_start(args, types);
    rc = bind(*stmt, types, args);
    va_end(args);
    return rc == SQLITE_OK ? store_db_next(db, *stmt) : store_db_fault(db, rc);
}

int store_db_run(struct store_db *db, enum store_sql sql, const char *types, ...)
{
    sqlite3_stmt *stmt = NULL;
    va_list args;
    int rv;
    int rc;

    rv = prepared(db, sql, &stmt);
    if (rv != 0) {
        return rv;
    }
    va_start(args, types);
    rc = bind(stmt, types, args);
    va_end(args);
    rv = rc == SQLITE_OK ? store_db_next(db, stmt) : store_db_fault(db, rc);
    ASSERT(rv != 0); /* No rows come from these. */
    return rv == OUT_NOENT ? 0 : rv;
}

uint64_t store_db_u64(sqlite3_stmt *stmt, int column)
{
    return (uint64_t)sqlite3_column_int64(stmt, column);
}

struct slice store_db_blob(sqlite3_stmt *stmt, int column)
{
    const void *data = sqlite3_column_blob(stmt, column);

    return slice_borrow(data, (size_t)sqlite3_column_bytes(stmt, column));
}

uint32_t store_row_crc(const uint64_t *numbers, size_t n, struct slice bytes)
{
    uint8_t packed[8 * 8];

    ASSERT(n <= 8);
    for (size_t i = 0; i < n; i++) {
        wire_store_u64(packed + 8 * i, numbers[i]);
    }
    return crc32c(crc32c(0, packed, 8 * n), bytes.data, bytes.len);
}

int store_row_bad(const char *table, uint64_t key)
{
    uint32_t n = store_news(key, (uintptr_t)table);

    if (n > 0) {
        log_error("store",
                  "msg=\"a row of meta.db is damaged\" table=%s key=%llu times=%u", table,
                  (unsigned long long)key, n);
    }
    return -EUCLEAN;
}
