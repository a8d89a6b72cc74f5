/* Rows: they come back as they were put, in order, and survive only with their
 * transaction. The marker guards the dataset. */
#include "base/prng.h"
#include "store/pages.h"
#include "store/store_priv.h"
#include "store/store_sha256.h"
#include "store/walfile.h"
#include "test_store_fake.h"

static struct journal journal;

static struct store *new_store(const char *name, char *dir)
{
    (void)snprintf(dir, 512, "%s/%s", check_tmpdir(), name);
    return fake_open(&journal, dir, true);
}

static struct slice text(const char *s)
{
    return slice_borrow(s, strlen(s));
}

/* All fields of an inode come back, with extreme values too. */
static void inode_round_trip(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    struct store_inode in = {.ino = INT64_MAX,
                             .gen = UINT64_MAX,
                             .type = 7,
                             .mode = 07777,
                             .nlink = UINT32_MAX,
                             .uid = 1,
                             .gid = 2,
                             .rdev_major = 3,
                             .rdev_minor = 4,
                             .size = STORE_FILE_MAX,
                             .used = 5,
                             .parent = 6,
                             .entries = 7,
                             .verf = UINT64_MAX,
                             .atime = -1,
                             .mtime = INT64_MIN,
                             .ctime = INT64_MAX,
                             .version = 8};
    struct store_inode out;

    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_inode_put(store, &in), 0);
    CHECK_INT(store_commit(store, true), 0);
    memset(&out, 0, sizeof out);
    CHECK_INT(store_inode_get(store, in.ino, &out), 0);
    CHECK(out.gen == in.gen && out.type == in.type && out.mode == in.mode &&
          out.nlink == in.nlink && out.uid == in.uid && out.gid == in.gid &&
          out.rdev_major == in.rdev_major && out.rdev_minor == in.rdev_minor &&
          out.size == in.size && out.used == in.used && out.parent == in.parent &&
          out.entries == in.entries && out.verf == in.verf && out.atime == in.atime &&
          out.mtime == in.mtime && out.ctime == in.ctime && out.version == in.version);
    CHECK_INT(store_inode_get(store, 1, &out), OUT_NOENT);
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_inode_del(store, in.ino), 0);
    CHECK_INT(store_commit(store, false), 0);
    CHECK_INT(store_inode_get(store, in.ino, &out), OUT_NOENT);
    store_close(store);
}

struct seen {
    char names[64];
    int n;
};

static int see(void *ctx, const struct store_dirent *entry)
{
    struct seen *seen = ctx;

    (void)strncat(seen->names, (const char *)entry->name.data, entry->name.len);
    return ++seen->n == 2 ? 77 : 0;
}

/* A listing goes by cookie, goes on after one, and stops when told; names are bytes. */
static void dirents_by_cookie(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    struct seen seen = {0};
    struct store_dirent entry = {.dir = 1, .version = 3};
    const char *names[] = {"d", "a", "c", "b"};

    CHECK_INT(store_begin(store), 0);
    for (uint64_t i = 0; i < 4; i++) {
        entry.name = text(names[i]);
        entry.ino = 10 + i;
        entry.cookie = 100 + i;
        CHECK_INT(store_dirent_put(store, &entry), 0);
    }
    CHECK_INT(store_commit(store, false), 0);
    CHECK_INT(store_dirent_get(store, 1, text("c"), &entry), 0);
    CHECK_UINT(entry.ino, 12);
    CHECK_UINT(entry.cookie, 102);
    CHECK_INT(store_dirent_get(store, 2, text("c"), &entry), OUT_NOENT);
    CHECK_INT(store_dirent_get(store, 1, text("C"), &entry), OUT_NOENT);
    CHECK_INT(store_dirent_each(store, 1, 0, see, &seen), 77);
    CHECK_STR(seen.names, "da");
    memset(&seen, 0, sizeof seen);
    CHECK_INT(store_dirent_each(store, 1, 102, see, &seen), 0);
    CHECK_STR(seen.names, "b");
    CHECK_INT(store_dirent_each(store, 1, UINT64_MAX, see, &seen), 0);
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_dirent_del(store, 1, text("c")), 0);
    CHECK_INT(store_dirent_del(store, 1, text("c")), OUT_NOENT);
    CHECK_INT(store_commit(store, false), 0);
    store_close(store);
}

static int count_pair(void *ctx, const struct store_kv *pair)
{
    *(uint64_t *)ctx += pair->version;
    return 0;
}

/* Numbers and pairs; a prefix walk ends where the prefix does. */
static void numbers_and_pairs(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    const char *keys[] = {"a", "zone/1", "zone/2", "zonf"};
    struct store_kv pair;
    uint64_t value = 0;

    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_number_get(store, "quota", &value), OUT_NOENT);
    CHECK_INT(store_number_set(store, "quota", UINT64_MAX), 0);
    for (uint64_t i = 0; i < 4; i++) {
        pair = (struct store_kv){text(keys[i]), text("value"), 1ull << i};
        CHECK_INT(store_kv_put(store, &pair), 0);
    }
    pair = (struct store_kv){text("empty"), {0}, 1000};
    CHECK_INT(store_kv_put(store, &pair), 0);
    CHECK_INT(store_commit(store, false), 0);
    CHECK_INT(store_number_get(store, "quota", &value), 0);
    CHECK_UINT(value, UINT64_MAX);
    CHECK_INT(store_kv_get(store, text("zone/2"), &pair), 0);
    CHECK_UINT(pair.version, 4);
    CHECK_UINT(pair.value.len, 5);
    CHECK_MEM(pair.value.data, "value", 5);
    CHECK_INT(store_kv_get(store, text("empty"), &pair), 0);
    CHECK_UINT(pair.value.len, 0);
    value = 0;
    CHECK_INT(store_kv_each(store, text("zone/"), count_pair, &value), 0);
    CHECK_UINT(value, 6);
    value = 0;
    CHECK_INT(store_kv_each(store, text(""), count_pair, &value), 0);
    CHECK_UINT(value, 1015);
    store_close(store);
}

static void put_reply(struct store *store, uint64_t boot, uint64_t seq, uint64_t index)
{
    struct store_reply reply = {1, boot, seq, index, text("reply")};

    CHECK_INT(store_reply_put(store, &reply), 0);
}

/* Replies are pruned by sequence and expired by last use, but a node's latest session
 * stays however old it is. */
static void replies(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    struct buf *buf = NULL;

    CHECK_INT(store_begin(store), 0);
    put_reply(store, UINT64_MAX, 1, 10); /* Oldest boot; ids are in no order. */
    put_reply(store, 7, 1, 20);
    put_reply(store, 7, 2, 30);
    put_reply(store, 3, 1, 40);
    CHECK_INT(store_reply_get(store, 1, 7, 2, &buf), 0);
    CHECK_MEM(buf->data, "reply", 5);
    buf_unref(buf);
    CHECK_INT(store_reply_prune(store, 1, 7, 2), 0);
    CHECK_INT(store_reply_get(store, 1, 7, 1, &buf), OUT_NOENT);
    CHECK_INT(store_reply_expire(store, 30), 0);
    CHECK_INT(store_reply_get(store, 1, UINT64_MAX, 1, &buf), OUT_NOENT);
    CHECK_INT(store_reply_get(store, 1, 7, 2, &buf), 0);
    buf_unref(buf);
    CHECK_INT(store_reply_expire(store, 1000), 0);
    CHECK_INT(store_reply_get(store, 1, 7, 2, &buf), OUT_NOENT);
    CHECK_INT(store_reply_get(store, 1, 3, 1, &buf), 0);
    buf_unref(buf);
    CHECK_INT(store_commit(store, false), 0);
    store_close(store);
}

static int see_rpc(void *ctx, const struct store_rpc *rpc)
{
    uint64_t *seen = ctx;

    CHECK_UINT(rpc->key[15], 9);
    CHECK_INT(rpc->time_ns, (int64_t)(100 * rpc->index));
    *seen = *seen * 10 + rpc->index;
    return rpc->index == 4 ? 7 : 0;
}

/* Clients' replies go by rising index, and the walk tells key and time of each. */
static void rpcs(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    struct store_rpc rpc = {.key = {[15] = 9}, .bytes = text("reply")};
    struct buf *buf = NULL;
    uint64_t seen = 0;

    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_rpc_drop(store, 1), 0);
    for (uint64_t i = 1; i <= 3; i++) {
        rpc.index = i;
        rpc.time_ns = (int64_t)(100 * i);
        CHECK_INT(store_rpc_put(store, &rpc), 0);
    }
    CHECK_INT(store_rpc_get(store, 2, &buf), 0);
    CHECK_UINT(buf->len, 5);
    CHECK_MEM(buf->data, "reply", 5);
    buf_unref(buf);
    CHECK_INT(store_rpc_drop(store, 2), 0);
    CHECK_INT(store_rpc_get(store, 1, &buf), OUT_NOENT);
    CHECK_INT(store_rpc_each(store, see_rpc, &seen), 0);
    CHECK_UINT(seen, 23);
    rpc.index = 4;
    rpc.time_ns = 400;
    rpc.bytes = (struct slice){0};
    CHECK_INT(store_rpc_put(store, &rpc), 0);
    rpc.index = 5;
    CHECK_INT(store_rpc_put(store, &rpc), 0);
    CHECK_INT(store_rpc_each(store, see_rpc, &seen), 7);
    CHECK_UINT(seen, 23234);
    CHECK_INT(store_commit(store, false), 0);
    store_close(store);
}

static int drop_orphan(void *ctx, uint64_t ino)
{
    return store_orphan_del(ctx, ino);
}

static int count_orphan(void *ctx, uint64_t ino)
{
    *(uint64_t *)ctx += ino;
    return 0;
}

static int list_orphan(void *ctx, uint64_t ino)
{
    uint64_t *seen = ctx;

    *seen = *seen * 10 + ino;
    return *seen < 100 ? 0 : 1;
}

/* The oldest orphans come first, whatever their inode numbers, and the walk stops when
 * told: what it costs does not grow with how many there are. */
static void oldest_orphans_first(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    uint64_t seen = 0;

    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_orphan_put(store, 1, 400), 0);
    CHECK_INT(store_orphan_put(store, 2, 200), 0);
    CHECK_INT(store_orphan_put(store, 3, 300), 0);
    CHECK_INT(store_orphan_put(store, 4, 100), 0);
    CHECK_INT(store_orphan_each(store, 200, list_orphan, &seen), 0);
    CHECK_UINT(seen, 4);
    seen = 0;
    CHECK_INT(store_orphan_each(store, INT64_MAX, list_orphan, &seen), 1);
    CHECK_UINT(seen, 423);
    CHECK_INT(store_commit(store, false), 0);
    store_close(store);
}

/* A dataset that was made before orphans had an index gets it when it is opened. */
static void orphan_index_is_added(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    sqlite3_stmt *stmt = NULL;

    CHECK_INT(store_db_exec(&store->db, "DROP INDEX orphan_time"), 0);
    store_close(store);
    store = fake_open(&journal, dir, false);
    CHECK_INT(sqlite3_prepare_v2(store->db.handle,
                                 "SELECT ino FROM orphan INDEXED BY orphan_time", -1,
                                 &stmt, NULL),
              SQLITE_OK);
    (void)sqlite3_finalize(stmt);
    store_close(store);
}

/* Orphans can be dropped while they are walked, however many. */
static void orphans(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    uint64_t left = 0;

    CHECK_INT(store_begin(store), 0);
    for (uint64_t i = 1; i <= 1000; i++) {
        CHECK_INT(store_orphan_put(store, i, (int64_t)i), 0);
    }
    CHECK_INT(store_orphan_each(store, 900, drop_orphan, store), 0);
    CHECK_INT(store_orphan_each(store, INT64_MAX, count_orphan, &left), 0);
    CHECK_UINT(left, (900 + 1000) * 101 / 2); /* 900 to 1000 are left. */
    CHECK_INT(store_commit(store, false), 0);
    store_close(store);
}

/* A rollback takes everything back, counts too. */
static void rollback(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    static uint8_t bytes[20000];
    struct store_piece piece = {.ino = 5,
                                .len = sizeof bytes,
                                .crc = crc32c(0, bytes, sizeof bytes),
                                .version = 1,
                                .place = {.segment = 1}};
    uint64_t value;

    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_number_set(store, "n", 1), 0);
    CHECK_INT(store_data_write(store, &piece), 0);
    CHECK_UINT(store_unsettled_bytes(store), sizeof bytes);
    store_rollback(store);
    store_rollback(store);
    CHECK_UINT(store_unsettled_bytes(store), 0);
    CHECK_INT(store_number_get(store, "n", &value), OUT_NOENT);
    store_close(store);
}

/* An unmounted disk is not an empty zone; another zone's dataset is not ours; a new
 * zone is not laid over an old one; another version's is left alone. */
static void marker(void)
{
    char dir[512];
    struct store *store = new_store("s", dir);
    struct store_config config = {
        .disk = disk_posix(), .dir = dir, .journal = &journal, .zone_id = {1, 2, 3}};
    char path[600];
    FILE *file;

    store_close(store);
    config.create = true;
    CHECK_INT(store_open(&config, &store), -EEXIST);
    config.create = false;
    config.zone_id[0] = 9;
    CHECK_INT(store_open(&config, &store), -EEXIST);
    config.zone_id[0] = 1;
    CHECK_INT(store_open(&config, &store), 0);
    store_close(store);

    (void)snprintf(path, sizeof path, "%s/marker", dir);
    file = fopen(path, "r+");
    CHECK(file != NULL);
    CHECK(fseek(file, 30, SEEK_SET) == 0 && fputc('f', file) == 'f');
    (void)fclose(file);
    CHECK_INT(store_open(&config, &store), -EUCLEAN);
    file = fopen(path, "w");
    CHECK(file != NULL && fputs("grapevinefs dataset 4\nnew\n", file) >= 0);
    (void)fclose(file);
    CHECK_INT(store_open(&config, &store), -EPROTONOSUPPORT);
    file = fopen(path, "w");
    CHECK(file != NULL && fputs("grapevinefs dataset 2\nold\n", file) >= 0);
    (void)fclose(file);
    CHECK_INT(store_open(&config, &store), -EPROTONOSUPPORT);
    CHECK_INT(unlink(path), 0);
    CHECK_INT(store_open(&config, &store), -ENOENT);
}

/* The version in the marker rots: the checksum tells that it was this one, and the dataset
 * is opened and the marker made good. Where the rest of it changed too, or the checksum is
 * that of another version, it is not taken for this. */
static void marker_whose_version_rots(void)
{
    static const char *const firsts[] = {
        "grapevinefs dataset 7\n", "grapevinefs dataset s\n", "grapevinefs dataset 2\n",
        "grapewinefs dataset 3\n"};
    char dir[512];
    char path[600];
    char good[512] = "";
    char text[512];
    char mended[STORE_MARKER_MAX];
    struct store *store = new_store("s", dir);
    struct store_config config = {
        .disk = disk_posix(), .dir = dir, .journal = &journal, .zone_id = {1, 2, 3}};
    FILE *file;
    int n;

    store_close(store);
    (void)snprintf(path, sizeof path, "%s/marker", dir);
    file = fopen(path, "r");
    CHECK(file != NULL && fread(good, 1, sizeof good - 1, file) > 60);
    (void)fclose(file);
    CHECK(!store_marker_mend(good, strlen(good), mended));
    for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++) {
        (void)snprintf(text, sizeof text, "%s%s", firsts[i], strchr(good, '\n') + 1);
        CHECK(store_marker_mend(text, strlen(text), mended));
        CHECK_STR(mended, good);
        file = fopen(path, "w");
        CHECK(file != NULL && fputs(text, file) >= 0);
        (void)fclose(file);
        CHECK_INT(store_open(&config, &store), 0);
        store_close(store);
        memset(text, 0, sizeof text);
        file = fopen(path, "r");
        CHECK(file != NULL && fread(text, 1, sizeof text - 1, file) > 60);
        (void)fclose(file);
        CHECK_STR(text, good);
    }
    (void)snprintf(text, sizeof text, "%s%s", firsts[0], strchr(good, '\n') + 1);
    memcpy(strstr(text, "generation 0"), "GENER", 5);
    CHECK(!store_marker_mend(text, strlen(text), mended));
    n = (int)(strstr(good, "check ") - strchr(good, '\n') - 1);
    (void)snprintf(text, sizeof text, "%s%.*s", firsts[0], n, strchr(good, '\n') + 1);
    n = (int)strlen(text);
    (void)snprintf(text + n, sizeof text - (size_t)n, "check %08x\n",
                   crc32c(0, text, (size_t)n));
    CHECK(!store_marker_mend(text, strlen(text), mended));
    file = fopen(path, "w");
    CHECK(file != NULL && fputs(text, file) >= 0);
    (void)fclose(file);
    CHECK_INT(store_open(&config, &store), -EPROTONOSUPPORT);
}

static void turn(char *text, size_t bit)
{
    text[bit / 8] = (char)(text[bit / 8] ^ 1 << bit % 8);
}

/* Any bit of the marker flips, or any two: what was written is known, and nothing else is
 * ever taken for it. Three are damage. */
static void marker_whose_bits_flip(void)
{
    static const char good[] = "grapevinefs dataset 3\n"
                               "zone 0102030405060708090a0b0c0d0e0f10\n"
                               "generation 12\n"
                               "check 4f646e71\n";
    const size_t n_bits = 8 * (sizeof good - 1);
    struct prng prng;
    char text[STORE_MARKER_MAX];
    char mended[STORE_MARKER_MAX];

    prng_seed(&prng, 7);
    CHECK(store_marker_checks(good));
    for (uint32_t i = 0; i < 40 + n_bits; i++) {
        size_t one = i < n_bits ? i : prng_below(&prng, n_bits);
        size_t other = i < n_bits ? one : prng_below(&prng, n_bits);

        memcpy(text, good, sizeof good);
        turn(text, one);
        if (other != one) {
            turn(text, other);
        }
        if (strlen(text) == sizeof good - 1 && store_marker_checks(text)) {
            continue; /* Of the digits' case, or behind the last. */
        }
        CHECK(store_marker_mend(text, sizeof good - 1, mended));
        CHECK(strncmp(mended, good, 74) == 0 && store_marker_checks(mended));
    }
    for (uint32_t i = 0; i < 20; i++) {
        memcpy(text, good, sizeof good);
        for (uint32_t bit = 0; bit < 3; bit++) {
            turn(text, (30 + 15 * bit) * 8 + prng_below(&prng, 100));
        }
        CHECK(!store_marker_mend(text, sizeof good - 1, mended));
    }
}

/* The digest is a real SHA-256: FIPS 180-4's examples, the second of them given in
 * pieces and over more than one block. */
static void sha256_vectors(void)
{
    static const uint8_t abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
                                    0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
                                    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
                                    0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const uint8_t longer[32] = {0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8,
                                       0xe5, 0xc0, 0x26, 0x93, 0x0c, 0x3e, 0x60, 0x39,
                                       0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff, 0x21, 0x67,
                                       0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1};
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    struct store_sha256 sha;
    uint8_t out[32];

    store_sha256_init(&sha);
    store_sha256_add(&sha, "abc", 3);
    store_sha256_end(&sha, out);
    CHECK_MEM(out, abc, sizeof abc);
    store_sha256_init(&sha);
    store_sha256_add(&sha, two, 50);
    store_sha256_add(&sha, two + 50, 6);
    store_sha256_end(&sha, out);
    CHECK_MEM(out, longer, sizeof longer);
}

static int exec(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    int reserved = PAGES_RESERVED;
    int rc;

    CHECK_INT(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, pages_vfs(walfile_vfs())),
              SQLITE_OK);
    (void)sqlite3_file_control(db, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
    rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
    CHECK_INT(sqlite3_close(db), SQLITE_OK);
    return rc;
}

/* A meta.db that somebody else prepared: what it wants to have run when a row is put does
 * not run, a view is no table, and a value of any size is not taken into memory. */
static void prepared_by_somebody_else(void)
{
    char dir[512];
    struct store *store = new_store("prepared", dir);
    struct store_config config = {
        .disk = disk_posix(), .dir = dir, .journal = &journal, .zone_id = {1, 2, 3}};
    struct store_inode inode = {.ino = 5, .type = 1, .nlink = 1};
    struct store_inode out;
    char path[600];

    store_close(store);
    (void)snprintf(path, sizeof path, "%s/meta.db", dir);
    CHECK_INT(exec(path, "INSERT INTO inode VALUES(9, zeroblob(20000000));"
                         "CREATE TRIGGER t AFTER INSERT ON inode BEGIN "
                         "DELETE FROM inode; END;"
                         "DROP TABLE number; CREATE VIEW number AS "
                         "SELECT x'61' AS name, 1 AS value, 2 AS crc;"),
              SQLITE_OK);
    CHECK_INT(store_open(&config, &store), -EUCLEAN);
    CHECK_INT(exec(path, "DROP VIEW number;"
                         "CREATE TABLE number(name BLOB PRIMARY KEY, value INT, crc INT)"
                         " WITHOUT ROWID;"),
              SQLITE_OK);
    CHECK_INT(store_open(&config, &store), 0);
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_inode_put(store, &inode), 0);
    CHECK_INT(store_commit(store, true), 0);
    CHECK_INT(store_inode_get(store, 5, &out), 0);
    CHECK_INT(store_inode_get(store, 9, &out), -EUCLEAN);
    store_close(store);
}

TEST_MAIN(CHECK_TEST(inode_round_trip), CHECK_TEST(dirents_by_cookie),
          CHECK_TEST(numbers_and_pairs), CHECK_TEST(replies), CHECK_TEST(rpcs),
          CHECK_TEST(oldest_orphans_first), CHECK_TEST(orphan_index_is_added),
          CHECK_TEST(orphans), CHECK_TEST(rollback), CHECK_TEST(marker),
          CHECK_TEST(marker_whose_version_rots), CHECK_TEST(marker_whose_bits_flip),
          CHECK_TEST(sha256_vectors), CHECK_TEST(prepared_by_somebody_else))
