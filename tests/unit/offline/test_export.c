/* Rows that nobody should have written: what is exported stays in its folder, ends, and
 * what is whole is there. */
#include "base/crc32c.h"
#include "base/disk.h"
#include "lib/check.h"
#include "offline/export.h"
#include "store/store.h"
#include "zone/zone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t zone_id[16] = {1, 2, 3, 4};
static char base[1024];
static char dataset[1200];
static char dest[1200];
static unsigned problems;

static int none(void *ctx, const struct journal_entry *entry)
{
    (void)ctx;
    (void)entry;
    return 0;
}

static void problem(void *ctx, const char *line)
{
    (void)ctx;
    CHECK(strlen(line) > 0);
    problems++;
}

struct made {
    struct journal *journal;
    struct store *store;
    struct zone *zone;
};

static void begin(struct made *made)
{
    const struct zone_genesis genesis = {.quota_bytes = 1u << 30, .root_mode = 0755};
    struct journal_config journal = {
        .disk = disk_posix(), .segment_bytes = 1u << 20, .create = true};
    struct store_config store = {.disk = disk_posix(), .dir = dataset, .create = true};
    struct journal_state state;
    char path[1300];

    snprintf(base, sizeof base, "%s/export-XXXXXX", check_tmpdir());
    CHECK(mkdtemp(base) != NULL);
    snprintf(dataset, sizeof dataset, "%s/zone", base);
    snprintf(dest, sizeof dest, "%s/dest", base);
    snprintf(path, sizeof path, "%s/journal", dataset);
    CHECK_INT(mkdir(dataset, 0700), 0);
    memcpy(journal.zone_id, zone_id, sizeof zone_id);
    memcpy(store.zone_id, zone_id, sizeof zone_id);
    journal.dir = path;
    CHECK_INT(journal_open(&journal, &state, none, NULL, &made->journal), 0);
    store.journal = made->journal;
    CHECK_INT(store_open(&store, &made->store), 0);
    CHECK_INT(zone_open(made->store, &genesis, &made->zone), 0);
    CHECK_INT(store_begin(made->store), 0);
}

static void end(struct made *made)
{
    CHECK_INT(store_commit(made->store, true), 0);
    zone_close(made->zone);
    store_close(made->store);
    journal_close(made->journal);
}

static void put_inode(struct made *made, uint64_t ino, enum zone_type type, uint64_t size)
{
    struct store_inode inode = {.ino = ino,
                                .gen = 1,
                                .type = (uint8_t)type,
                                .mode = 0777,
                                .nlink = type == ZONE_DIR ? 2 : 1,
                                .uid = getuid(),
                                .gid = getgid(),
                                .size = size,
                                .parent = ZONE_ROOT_INO};

    CHECK_INT(store_inode_put(made->store, &inode), 0);
}

static void put_name(struct made *made, uint64_t dir, const char *name, size_t len,
                     uint64_t ino)
{
    static uint64_t cookie = 100;
    struct store_dirent dirent = {
        .dir = dir, .name = slice_borrow(name, len), .ino = ino, .cookie = ++cookie};

    CHECK_INT(store_dirent_put(made->store, &dirent), 0);
}

static struct export_result run(void)
{
    const struct export_options options = {
        .dataset = dataset, .dest = dest, .problem = problem};
    struct export_result result;
    char error[EXPORT_ERROR_MAX] = "";

    problems = 0;
    CHECK_INT(export_run(&options, &result, error), 0);
    CHECK_STR(error, "");
    CHECK_INT(result.problems, problems);
    return result;
}

static bool is_there(const char *folder, const char *name)
{
    char path[2500];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return lstat(path, &st) == 0;
}

/* Names that lead out, or nowhere, become others below the destination. */
static void names_stay_inside(void)
{
    struct made made;
    struct export_result result;
    char good[256];

    begin(&made);
    memset(good, 'g', 255);
    for (uint64_t ino = 10; ino < 18; ino++) {
        put_inode(&made, ino, ZONE_REG, 3);
    }
    put_inode(&made, 18, ZONE_DIR, 0);
    put_name(&made, ZONE_ROOT_INO, "../evil", 7, 10);
    put_name(&made, ZONE_ROOT_INO, "..", 2, 18);
    put_name(&made, ZONE_ROOT_INO, ".", 1, 11);
    put_name(&made, ZONE_ROOT_INO, "a/b", 3, 12);
    put_name(&made, ZONE_ROOT_INO, "n\0l", 3, 13);
    put_name(&made, ZONE_ROOT_INO, "/evil", 5, 14);
    put_name(&made, ZONE_ROOT_INO, good, 255, 15);
    put_name(&made, 18, "../evil", 7, 16);
    end(&made);
    result = run();
    CHECK_INT(result.files, 7);
    CHECK_INT(result.folders, 1);
    CHECK_INT(result.problems, 7);
    CHECK(!is_there(base, "evil"));
    CHECK(!is_there("", "evil"));
    good[255] = '\0';
    CHECK(is_there(dest, good));
}

/* A link that comes first does not take what follows with it out of the folder. */
static void no_link_is_followed(void)
{
    struct store_piece target = {
        .ino = 20, .len = 2, .data = slice_borrow("..", 2), .version = 1};
    struct made made;
    struct export_result result;

    begin(&made);
    put_inode(&made, 20, ZONE_LNK, 2);
    target.crc = crc32c(0, "..", 2);
    CHECK_INT(store_data_write(made.store, &target), 0);
    put_inode(&made, 21, ZONE_DIR, 0);
    put_inode(&made, 22, ZONE_REG, 0);
    put_name(&made, ZONE_ROOT_INO, "same", 4, 20);
    put_name(&made, ZONE_ROOT_INO, "samE", 4, 21);
    put_name(&made, 21, "evil", 4, 22);
    put_name(&made, 20, "evil", 4, 22); /* A link with names in it. */
    end(&made);
    result = run();
    CHECK_INT(result.problems, 0);
    CHECK_INT(result.others, 1);
    CHECK(is_there(dest, "samE/evil"));
    CHECK(!is_there(base, "evil"));
}

/* Folders that contain each other, rows that are missing, kinds and sizes that cannot be:
 * told, and it ends. */
static void loops_and_nonsense(void)
{
    struct made made;
    struct export_result result;

    begin(&made);
    put_inode(&made, 30, ZONE_DIR, 0);
    put_inode(&made, 31, ZONE_DIR, 0);
    put_inode(&made, 33, (enum zone_type)9, 0);
    put_inode(&made, 35, ZONE_LNK, 1u << 30);
    put_name(&made, ZONE_ROOT_INO, "a", 1, 30);
    put_name(&made, 30, "b", 1, 31);
    put_name(&made, 31, "a", 1, 30);
    put_name(&made, 31, "root", 4, ZONE_ROOT_INO);
    put_name(&made, 31, "none", 4, 32);
    put_name(&made, 31, "kind", 4, 33);
    put_name(&made, 31, "link", 4, 35);
    end(&made);
    result = run();
    CHECK_INT(result.folders, 2);
    CHECK_INT(result.problems, 5);
    CHECK(is_there(dest, "a/b"));
}

/* A destination in the dataset, or in its journal, by whatever name, is refused and nothing
 * is made; one beside it, with a name that begins like it, is not. */
static void destination_is_outside(void)
{
    const char *inside[] = {
        "zone", "zone/new", "zone/data/",   "zone/journal/new/", "zone/../zone/n",
        "link", "link/new", "link/journal", "zone/sub/deep",     "zone/sub"};
    struct export_options options = {
        .dataset = dataset, .dest = dest, .problem = problem};
    char error[EXPORT_ERROR_MAX];
    struct export_result result;
    char path[1300];
    char away[1300];
    struct made made;

    begin(&made);
    end(&made);
    snprintf(path, sizeof path, "%s/link", base);
    CHECK_INT(symlink("zone", path), 0);
    snprintf(path, sizeof path, "%s/zone/sub", base);
    CHECK_INT(mkdir(path, 0700), 0);
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        snprintf(dest, sizeof dest, "%s/%s", base, inside[i]);
        CHECK_INT(export_run(&options, &result, error), -EINVAL);
        CHECK(strstr(error, "give a folder elsewhere") != NULL);
    }
    CHECK(!is_there(dataset, "new"));
    CHECK(!is_there(dataset, "n"));
    CHECK(!is_there(dataset, "sub/deep"));
    CHECK(!is_there(dataset, "journal/new"));

    snprintf(path, sizeof path, "%s/journal", dataset);
    snprintf(away, sizeof away, "%s/away", base);
    CHECK_INT(rename(path, away), 0);
    options.journal = away;
    snprintf(dest, sizeof dest, "%s/away/new", base);
    CHECK_INT(export_run(&options, &result, error), -EINVAL);
    CHECK(!is_there(away, "new"));
    snprintf(dest, sizeof dest, "%s/zone-out", base);
    CHECK_INT(export_run(&options, &result, error), 0);
    CHECK_UINT(result.problems, 0);
}

TEST_MAIN(CHECK_TEST(names_stay_inside), CHECK_TEST(no_link_is_followed),
          CHECK_TEST(loops_and_nonsense), CHECK_TEST(destination_is_outside))
