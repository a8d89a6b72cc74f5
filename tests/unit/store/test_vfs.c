/* sqlite over a struct disk: the simulated one here, since that is what it is for. */
#include "store/vfs.h"

#include "base/disk.h"
#include "base/prng.h"
#include "lib/check.h"
#include "lib/simdisk.h"
#include "store/walfile.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sqlite3 *open_db(const char *vfs)
{
    sqlite3 *db = NULL;

    CHECK_INT(
        sqlite3_open_v2("meta.db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, vfs),
        SQLITE_OK);
    return db;
}

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* The first column of the first row; -1 on error. */
static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt = NULL;
    int64_t value;

    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK ||
        sqlite3_step(stmt) != SQLITE_ROW) {
        (void)sqlite3_finalize(stmt);
        return -1;
    }
    value = sqlite3_column_int64(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return value;
}

static bool is_ok(sqlite3 *db)
{
    sqlite3_stmt *stmt = NULL;
    bool ok;

    if (sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL) != SQLITE_OK) {
        return false;
    }
    ok = sqlite3_step(stmt) == SQLITE_ROW &&
         strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0;
    (void)sqlite3_finalize(stmt);
    return ok;
}

/* Two connections in WAL mode: a reader keeps its snapshot while the other writes, a
 * second writer is told to wait, and a checkpoint moves everything into the file. */
static void two_connections_share_a_wal(void)
{
    struct simdisk *sim = simdisk_new(0);
    sqlite3 *a;
    sqlite3 *b;

    CHECK_INT(vfs_register(simdisk_disk(sim), "two"), 0);
    CHECK_INT(vfs_register(simdisk_disk(sim), "two"), -17); /* EEXIST */
    a = open_db("two");
    b = open_db("two");
    CHECK_INT(run(a, "PRAGMA journal_mode=WAL; CREATE TABLE t(x)"), SQLITE_OK);
    CHECK_INT(run(a, "INSERT INTO t VALUES (1)"), SQLITE_OK);
    CHECK_INT(run(b, "BEGIN"), SQLITE_OK);
    CHECK_INT(number(b, "SELECT count(*) FROM t"), 1);
    CHECK_INT(run(a, "BEGIN IMMEDIATE; INSERT INTO t VALUES (2)"), SQLITE_OK);
    CHECK_INT(number(b, "SELECT count(*) FROM t"), 1);
    CHECK_INT(run(b, "INSERT INTO t VALUES (3)"), SQLITE_BUSY);
    CHECK_INT(run(a, "COMMIT"), SQLITE_OK);
    CHECK_INT(number(b, "SELECT count(*) FROM t"), 1);
    CHECK_INT(run(b, "COMMIT"), SQLITE_OK);
    CHECK_INT(number(b, "SELECT count(*) FROM t"), 2);
    CHECK_INT(run(a, "PRAGMA wal_checkpoint(TRUNCATE)"), SQLITE_OK);
    CHECK_INT(number(a, "SELECT sum(x) FROM t"), 3);
    CHECK_INT(sqlite3_close(a), SQLITE_OK);
    CHECK_INT(sqlite3_close(b), SQLITE_OK);
    vfs_unregister("two");
    simdisk_free(sim);
}

/* One life: rows are added one by one until the power goes. Returns the last one whose
 * commit was acknowledged. */
static int64_t live(struct simdisk *sim, struct prng *prng, int64_t from)
{
    sqlite3 *db = open_db("crash");
    char sql[128];

    simdisk_power_off_after(sim, 1 + prng_below(prng, 120));
    if (run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                "PRAGMA wal_autocheckpoint=10;"
                "CREATE TABLE IF NOT EXISTS t(x INTEGER PRIMARY KEY, y)") == SQLITE_OK) {
        for (;; from++) {
            (void)snprintf(sql, sizeof sql, "INSERT INTO t VALUES (%lld, zeroblob(%llu))",
                           (long long)from + 1,
                           (unsigned long long)prng_below(prng, 6000));
            if (run(db, sql) != SQLITE_OK) {
                break;
            }
        }
    }
    simdisk_crash(sim, prng);
    (void)sqlite3_close(db);
    simdisk_power_on(sim);
    return from;
}

/* What is found after a crash is whole and holds rows 1 to *@acknowledged, perhaps one
 * more, which becomes the new *@acknowledged. */
static bool keeps_promise(int64_t *acknowledged)
{
    sqlite3 *db = open_db("crash");
    int64_t n = 0;
    int64_t last = 0;
    bool ok = is_ok(db);

    if (ok && number(db, "SELECT count(*) FROM sqlite_schema") > 0) {
        last = number(db, "SELECT coalesce(max(x), 0) FROM t");
        n = number(db, "SELECT count(*) FROM t");
    }
    ok = ok && n == last && (last == *acknowledged || last == *acknowledged + 1);
    *acknowledged = last;
    (void)sqlite3_close(db);
    return ok;
}

/* Some lives on one disk from a seed. */
static bool lives_keep_promise(uint64_t seed, bool lie)
{
    struct simdisk *sim = simdisk_new(0);
    struct prng prng;
    int64_t acknowledged = 0;
    bool ok = true;

    prng_seed(&prng, seed);
    simdisk_lie(sim, lie);
    CHECK_INT(vfs_register(simdisk_disk(sim), "crash"), 0);
    for (int i = 0; ok && i < 6; i++) {
        acknowledged = live(sim, &prng, acknowledged);
        ok = keeps_promise(&acknowledged);
    }
    vfs_unregister("crash");
    simdisk_free(sim);
    return ok;
}

/* sqlite keeps its promise on the simulated disk through many crashes: with
 * synchronous=FULL each acknowledged row is there and the file is whole. This holds the
 * VFS and the simulated disk to what the store relies on. */
static void acknowledged_rows_survive_crashes(void)
{
    for (uint64_t seed = 1; seed <= 150; seed++) {
        CHECK(lives_keep_promise(seed, false));
    }
}

/* The same notices a disk whose syncs do nothing: else it would prove nothing. */
static void a_lying_disk_is_noticed(void)
{
    uint64_t n = 0;

    for (uint64_t seed = 1; seed <= 20; seed++) {
        n += lives_keep_promise(seed, true) ? 0 : 1;
    }
    CHECK(n >= 10);
}

/* A full disk is SQLITE_FULL and the transaction is gone; with room again it works. */
static void full_disk_is_told(void)
{
    struct simdisk *sim = simdisk_new(1 << 20);
    sqlite3 *db;

    CHECK_INT(vfs_register(simdisk_disk(sim), "full"), 0);
    db = open_db("full");
    CHECK_INT(run(db, "PRAGMA journal_mode=WAL; CREATE TABLE t(x)"), SQLITE_OK);
    CHECK_INT(run(db, "INSERT INTO t VALUES (zeroblob(2000000))"), SQLITE_FULL);
    CHECK_INT(number(db, "SELECT count(*) FROM t"), 0);
    simdisk_set_capacity(sim, 16 << 20);
    CHECK_INT(run(db, "INSERT INTO t VALUES (zeroblob(2000000))"), SQLITE_OK);
    CHECK(is_ok(db));
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    vfs_unregister("full");
    simdisk_free(sim);
}

/* Frames are gathered before they are written. A transaction that does not fit sqlite's
 * cache writes frames before it commits, reads them back, and may go back in the middle. */
static void large_transaction_reads_itself(const char *vfs)
{
    sqlite3 *db = open_db(vfs);
    sqlite3 *other = open_db(vfs);

    CHECK_INT(run(db, "PRAGMA journal_mode=WAL; PRAGMA cache_size=10;"
                      "PRAGMA cache_spill=10; CREATE TABLE t(x INTEGER PRIMARY KEY, y);"
                      "BEGIN IMMEDIATE;"
                      "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n"
                      " LIMIT 2000) INSERT INTO t SELECT i, zeroblob(1000) FROM n"),
              SQLITE_OK);
    CHECK_INT(number(db, "SELECT sum(x)+sum(length(y)) FROM t"), 2001000 + 2000000);
    CHECK_INT(run(db, "SAVEPOINT s; UPDATE t SET y=zeroblob(900); ROLLBACK TO s;"
                      "DELETE FROM t WHERE x>1990"),
              SQLITE_OK);
    CHECK_INT(number(other, "SELECT count(*) FROM t"), 0);
    CHECK_INT(run(db, "COMMIT"), SQLITE_OK);
    CHECK_INT(number(other, "SELECT sum(length(y)) FROM t"), 1990000);
    CHECK_INT(run(db, "BEGIN; DELETE FROM t; ROLLBACK"), SQLITE_OK);
    CHECK(is_ok(db));
    CHECK_INT(run(other, "PRAGMA wal_checkpoint(TRUNCATE)"), SQLITE_OK);
    CHECK(is_ok(other));
    CHECK_INT(number(db, "SELECT count(*) FROM t"), 1990);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    CHECK_INT(sqlite3_close(other), SQLITE_OK);
}

static void frames_are_gathered(void)
{
    struct simdisk *sim = simdisk_new(0);
    char dir[] = "/tmp/gv-walfile-XXXXXX";
    int here = open(".", O_RDONLY | O_DIRECTORY);

    CHECK_INT(vfs_register(simdisk_disk(sim), "large"), 0);
    large_transaction_reads_itself("large");
    vfs_unregister("large");
    simdisk_free(sim);
    CHECK(mkdtemp(dir) != NULL && chdir(dir) == 0);
    CHECK_STR(walfile_vfs(), "grapevine");
    large_transaction_reads_itself(walfile_vfs());
    CHECK_INT(unlink("meta.db"), 0);
    CHECK(fchdir(here) == 0 && close(here) == 0 && rmdir(dir) == 0);
}

TEST_MAIN(CHECK_TEST(frames_are_gathered), CHECK_TEST(two_connections_share_a_wal),
          CHECK_TEST(acknowledged_rows_survive_crashes),
          CHECK_TEST(a_lying_disk_is_noticed), CHECK_TEST(full_disk_is_told))
