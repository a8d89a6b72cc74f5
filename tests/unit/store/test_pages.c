/* Checksums on the pages of meta.db: a bit that flips anywhere is seen when it is read. */
#include "store/pages.h"

#include "base/disk.h"
#include "base/prng.h"
#include "lib/check.h"
#include "lib/simdisk.h"
#include "store/vfs.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static struct simdisk *sim;

static sqlite3 *open_db(void)
{
    sqlite3 *db = NULL;
    int reserved = PAGES_RESERVED;

    CHECK_INT(sqlite3_open_v2("meta.db", &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                              pages_vfs("flips")),
              SQLITE_OK);
    (void)sqlite3_extended_result_codes(db, 1);
    (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    return db;
}

static int run(sqlite3 *db, const char *sql)
{
    return sqlite3_exec(db, sql, NULL, NULL, NULL);
}

/* Tables, an index and overflow pages; all in the WAL. */
static sqlite3 *fill(void)
{
    sqlite3 *db = open_db();

    CHECK_INT(run(db, "PRAGMA page_size=4096; PRAGMA journal_mode=WAL;"
                      "PRAGMA wal_autocheckpoint=0;"
                      "CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB);"
                      "CREATE INDEX i ON t(b);"),
              SQLITE_OK);
    CHECK_INT(run(db, "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n"
                      " WHERE x < 400) INSERT INTO t SELECT x, randomblob(20 + x * 20)"
                      " FROM n"),
              SQLITE_OK);
    return db;
}

/* Reads every page. SQLITE_OK only if all is as it was. */
static int read_all(void)
{
    sqlite3_stmt *stmt = NULL;
    sqlite3 *db = open_db();
    int rc;

    rc = sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL);
    if (rc == SQLITE_OK) {
        rc = sqlite3_step(stmt);
        rc = rc == SQLITE_ROW &&
                     strcmp((const char *)sqlite3_column_text(stmt, 0), "ok") == 0
                 ? SQLITE_OK
             : rc == SQLITE_ROW ? SQLITE_CORRUPT
                                : rc;
    }
    (void)sqlite3_finalize(stmt);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    return rc;
}

static void begin(void)
{
    sim = simdisk_new(0);
    CHECK_INT(vfs_register(simdisk_disk(sim), "flips"), 0);
}

static void end(void)
{
    vfs_unregister("flips");
    simdisk_free(sim);
}

static uint64_t size_of(const char *path)
{
    struct disk *disk = simdisk_disk(sim);
    struct disk_file *file = NULL;
    uint64_t size = 0;

    CHECK_INT(disk->ops->open(disk, path, DISK_READ, &file), 0);
    CHECK_INT(disk->ops->size(disk, file, &size), 0);
    disk->ops->close(disk, file);
    return size;
}

/* In every page of the file, wherever the bit is: structure, content, the unused middle,
 * the checksum itself. Flipped back, all is well again. */
static void every_page_of_the_file(void)
{
    struct prng prng;
    uint64_t pages;

    begin();
    CHECK_INT(sqlite3_close(fill()), SQLITE_OK); /* Moves everything into the file. */
    CHECK_INT(read_all(), SQLITE_OK);
    pages = size_of("meta.db") / PAGES_BYTES;
    CHECK(pages > 400);
    prng_seed(&prng, 3);
    for (uint64_t page = 0; page < pages; page += 1 + prng_below(&prng, 20)) {
        uint64_t at = page * PAGES_BYTES + prng_below(&prng, PAGES_BYTES);
        unsigned bit = (unsigned)prng_below(&prng, 8);

        CHECK(simdisk_flip(sim, "meta.db", at, bit));
        CHECK(read_all() != SQLITE_OK);
        CHECK(simdisk_flip(sim, "meta.db", at, bit));
    }
    CHECK_INT(read_all(), SQLITE_OK);
    end();
}

/* A page that was written to another page's place is not that page. */
static void misplaced_page(void)
{
    struct disk *disk;
    struct disk_file *file = NULL;
    uint8_t page[PAGES_BYTES];
    struct iovec iov = {.iov_base = page, .iov_len = sizeof page};

    begin();
    disk = simdisk_disk(sim);
    CHECK_INT(sqlite3_close(fill()), SQLITE_OK);
    CHECK_INT(disk->ops->open(disk, "meta.db", DISK_WRITE, &file), 0);
    CHECK_INT(disk->ops->pread(disk, file, page, sizeof page, 9 * PAGES_BYTES), 0);
    CHECK_INT(disk->ops->pwritev(disk, file, &iov, 1, 10 * PAGES_BYTES), 0);
    disk->ops->close(disk, file);
    CHECK(read_all() != SQLITE_OK);
    end();
}

/* What is in the WAL is checked on each read too, also by a connection that came later. */
static void every_frame_of_the_wal(void)
{
    struct prng prng;
    sqlite3 *db;
    uint64_t frames;

    begin();
    db = fill();
    CHECK_INT(read_all(), SQLITE_OK);
    frames = (size_of("meta.db-wal") - 32) / (24 + PAGES_BYTES);
    CHECK(frames > 400);
    prng_seed(&prng, 4);
    for (uint64_t frame = frames - 400; frame < frames; frame += 40) {
        uint64_t at = 32 + frame * (24 + PAGES_BYTES) + 24 + prng_below(&prng, 4000);

        CHECK(simdisk_flip(sim, "meta.db-wal", at, 5));
        CHECK(read_all() != SQLITE_OK);
        CHECK(simdisk_flip(sim, "meta.db-wal", at, 5));
    }
    CHECK_INT(read_all(), SQLITE_OK);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    CHECK_INT(read_all(), SQLITE_OK);
    end();
}

/* A name stands for one base at a time, and may be used anew. */
static void names_come_again(void)
{
    CHECK(pages_vfs("flips") == NULL);
    for (int i = 0; i < 2; i++) {
        begin();
        CHECK(pages_vfs("flips") == pages_vfs("flips"));
        CHECK_INT(sqlite3_close(fill()), SQLITE_OK);
        CHECK_INT(read_all(), SQLITE_OK);
        end();
    }
}

/* Salvaging: whichever bit of a page flips, the page is read as it was; and of one that is
 * rubbish what is left, with the count of both. */
static void salvaged(void)
{
    struct pages_salvaged found = {0};
    struct prng prng;
    sqlite3 *db;

    begin();
    db = fill();
    CHECK_INT(run(db, "PRAGMA wal_checkpoint(TRUNCATE)"), SQLITE_OK);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    pages_salvage("flips", &found);
    CHECK_INT(read_all(), SQLITE_OK);
    CHECK_UINT(found.mended + found.bad, 0);
    prng_seed(&prng, 5);
    for (uint32_t i = 0; i < 300; i++) {
        uint64_t at = i < 24
                          ? 2 * PAGES_BYTES - 9 + i / 4 /* The end, and the checksum. */
                          : prng_below(&prng, 200 * PAGES_BYTES);

        found = (struct pages_salvaged){0};
        CHECK(simdisk_flip(sim, "meta.db", at, i % 8));
        CHECK_INT(read_all(), SQLITE_OK);
        CHECK(found.mended > 0 && found.bad == 0);
        CHECK(simdisk_flip(sim, "meta.db", at, i % 8));
    }
    found = (struct pages_salvaged){0};
    for (uint32_t i = 0; i < 2; i++) {
        CHECK(simdisk_flip(sim, "meta.db", 100 * PAGES_BYTES + 500 + 900 * i, 3));
    }
    (void)read_all();
    CHECK(found.mended == 0 && found.bad > 0);
    pages_salvage("flips", NULL);
    CHECK(read_all() != SQLITE_OK);
    end();
}

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

/* A rollback journal without pages that says it is one of several, whose list is @list:
 * sqlite's file format, 3. */
static void write_journal(uint32_t pages, const char *list)
{
    static const uint8_t magic[8] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
    uint8_t bytes[700] = {0};
    uint32_t len = (uint32_t)strlen(list);
    uint32_t sum = 0;
    struct disk *disk = simdisk_disk(sim);

    memcpy(bytes, magic, 8);
    put32(bytes + 16, pages);
    put32(bytes + 20, 512); /* A sector, which the header fills; */
    put32(bytes + 24, PAGES_BYTES);
    put32(bytes + 512, 0x40000000 / PAGES_BYTES + 1); /* the page of the locks. */
    memcpy(bytes + 516, list, len);
    for (uint32_t i = 0; i < len; i++) {
        sum += (uint8_t)list[i];
    }
    put32(bytes + 516 + len, len);
    put32(bytes + 520 + len, sum);
    memcpy(bytes + 524 + len, magic, 8);
    CHECK_INT(disk_replace_file(disk, "meta.db-journal", bytes, 532 + len), 0);
}

/* A rollback journal beside a database that came from somebody else may name any file as
 * the list of several: sqlite would remove that when it has rolled back. */
static void no_other_file_goes(void)
{
    struct disk_file *file = NULL;
    struct disk *disk;
    sqlite3 *db;

    begin();
    disk = simdisk_disk(sim);
    db = fill();
    CHECK_INT(run(db, "PRAGMA journal_mode=DELETE"), SQLITE_OK);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    CHECK_INT(disk_replace_file(disk, "victim", "precious", 8), 0);
    write_journal((uint32_t)(size_of("meta.db") / PAGES_BYTES), "victim");
    (void)read_all();
    CHECK_INT(disk->ops->open(disk, "victim", DISK_READ, &file), 0);
    disk->ops->close(disk, file);
    end();
}

TEST_MAIN(CHECK_TEST(salvaged), CHECK_TEST(every_page_of_the_file),
          CHECK_TEST(misplaced_page), CHECK_TEST(every_frame_of_the_wal),
          CHECK_TEST(names_come_again), CHECK_TEST(no_other_file_goes))
