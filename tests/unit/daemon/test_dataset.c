/* A folder is filled and removed only where it is the zone's own. */
#include "base/crc32c.h"
#include "daemon/dataset.h"
#include "daemon/json.h"
#include "lib/check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t zone[16] = {1, 2, 3};
static const uint8_t other[16] = {1, 2, 4};
static char pool[512];
static char journals[1024];

static const char *at(const char *name)
{
    static char paths[4][2048];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", pool, name);
    return path;
}

static void fresh_pool(void)
{
    snprintf(pool, sizeof pool, "%s/pool-XXXXXX", check_tmpdir());
    CHECK(mkdtemp(pool) != NULL);
    snprintf(journals, sizeof journals, "%s-journals", pool);
    CHECK_INT(mkdir(journals, 0755), 0);
}

static void write_file(const char *name, const char *text)
{
    FILE *file = fopen(at(name), "w");

    CHECK(file != NULL);
    fputs(text, file);
    fclose(file);
}

static bool is_there(const char *name)
{
    return access(at(name), F_OK) == 0;
}

/* As the store writes it. */
static void write_marker(const char *dir, const uint8_t id[16])
{
    char hex[33];
    char text[128];
    char name[64];

    hex_put(hex, id, 16);
    snprintf(text, sizeof text, "grapevinefs dataset 2\nzone %s\ngeneration 0\n", hex);
    snprintf(name, sizeof name, "%s/marker", dir);
    write_file(name, text);
}

static int begin(const char *slug, const uint8_t id[16])
{
    char dir[1024];
    char journal[1100];

    snprintf(dir, sizeof dir, "%s/%s", pool, slug);
    snprintf(journal, sizeof journal, "%s/journal", dir);
    return dataset_make_begin(disk_posix(), dir, journal, id);
}

static int take_away(const char *slug, const uint8_t id[16])
{
    char journal[1100];

    snprintf(journal, sizeof journal, "%s/%s/journal", pool, slug);
    return dataset_remove(pool, slug, journal, id);
}

/* Made, and taken away whole; a second time there is nothing to do. */
static void made_and_removed(void)
{
    fresh_pool();
    CHECK_INT(begin("tier-1", zone), 0);
    CHECK(is_there("tier-1/making"));
    write_marker("tier-1", zone);
    dataset_make_end(disk_posix(), at("tier-1"));
    CHECK(!is_there("tier-1/making"));
    CHECK_INT(mkdir(at("tier-1/journal"), 0755), 0);
    write_file("tier-1/journal/1", "x");
    CHECK_INT(take_away("tier-1", zone), 0);
    CHECK(!is_there("tier-1"));
    CHECK_INT(take_away("tier-1", zone), 0);
    CHECK_INT(rmdir(pool), 0);
}

/* A folder with other things in it, or of another zone, is neither filled nor removed,
 * and a path is no name. */
static void what_is_not_ours_stays(void)
{
    fresh_pool();
    CHECK_INT(mkdir(at("photos"), 0755), 0);
    write_file("photos/cat", "x");
    CHECK_INT(begin("photos", zone), -ENOTEMPTY);
    CHECK_INT(take_away("photos", zone), -EEXIST);
    write_marker("photos", other);
    CHECK_INT(take_away("photos", zone), -EEXIST);
    CHECK(is_there("photos/cat"));
    CHECK_INT(take_away("../precious", zone), -EEXIST);
    CHECK_INT(symlink(at("photos"), at("link")), 0);
    write_marker("photos", zone);
    CHECK_INT(take_away("link", zone), -EEXIST);
    CHECK(is_there("photos/cat"));
    CHECK_INT(take_away("absent", zone), 0);
}

/* What a crash left half-made is gone on with by the same zone only, and can be removed
 * by it. */
static void half_made(void)
{
    fresh_pool();
    CHECK_INT(mkdir(at("tier-1"), 0755), 0);
    write_file("tier-1/making.tmp", "");
    CHECK_INT(begin("tier-1", zone), 0);
    write_file("tier-1/meta.db", "x");
    CHECK_INT(begin("tier-1", zone), 0);
    CHECK_INT(begin("tier-1", other), -ENOTEMPTY);
    CHECK_INT(take_away("tier-1", other), -EEXIST);
    CHECK_INT(take_away("tier-1", zone), 0);
    CHECK(!is_there("tier-1"));
}

/* What a crash left half-removed has lost its marker, but not its new name; a zone that
 * has the old name since is not touched. */
static void half_removed(void)
{
    char rest[64] = ".removing-";

    fresh_pool();
    hex_put(rest + strlen(rest), zone, 16);
    CHECK_INT(mkdir(at(rest), 0755), 0);
    CHECK_INT(begin("tier-1", other), 0);
    write_marker("tier-1", other);
    CHECK_INT(mkdir(at("tier-1/journal"), 0755), 0);
    CHECK_INT(take_away("tier-1", zone), 0);
    CHECK(!is_there(rest));
    CHECK(is_there("tier-1/marker"));
    CHECK(is_there("tier-1/journal"));
}

/* A journal on another device goes too, and one that is there keeps a dataset from being
 * made. */
static void journal_elsewhere(void)
{
    char journal[1100];
    char dir[1024];

    fresh_pool();
    snprintf(dir, sizeof dir, "%s/tier-1", pool);
    snprintf(journal, sizeof journal, "%s/tier-1", journals);
    CHECK_INT(mkdir(journal, 0755), 0);
    CHECK_INT(dataset_make_begin(disk_posix(), dir, journal, zone), 0);
    strcat(journal, "/1");
    CHECK_INT(mkdir(journal, 0755), 0);
    *strrchr(journal, '/') = '\0';
    CHECK_INT(dataset_remove(pool, "tier-1", journal, other), -EEXIST);
    CHECK_INT(access(journal, F_OK), 0);
    CHECK_INT(dataset_remove(pool, "tier-1", journal, zone), 0);
    CHECK(access(journal, F_OK) != 0);
    CHECK_INT(mkdir(journal, 0755), 0);
    strcat(journal, "/cat");
    CHECK_INT(mkdir(journal, 0755), 0);
    *strrchr(journal, '/') = '\0';
    CHECK_INT(dataset_make_begin(disk_posix(), dir, journal, zone), -ENOTEMPTY);
}

static int keep(const char *slug, const char *journal)
{
    return dataset_keep(pool, slug, journal, zone, 1793000000u);
}

/* What is kept stands beside the zones, whole, and says what it is; a second one of the
 * same second gets a name of its own. Done again, nothing happens. */
static void kept_aside(void)
{
    char journal[1100];

    fresh_pool();
    snprintf(journal, sizeof journal, "%s/tier-1/journal", pool);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(begin("tier-1", zone), 0);
        write_marker("tier-1", zone);
        CHECK_INT(mkdir(journal, 0755), 0);
        write_file("tier-1/journal/1", "x");
        CHECK_INT(keep("tier-1", journal), 0);
        CHECK_INT(keep("tier-1", journal), 0);
        CHECK(!is_there("tier-1"));
    }
    CHECK(is_there("tier-1.discarded-20261026T073320Z/journal/1"));
    CHECK(is_there("tier-1.discarded-20261026T073320Z/DISCARDED"));
    CHECK(is_there("tier-1.discarded-20261026T073320Z-2/marker"));
}

/* A journal elsewhere goes along, also where a crash came between the two. */
static void kept_with_its_journal(void)
{
    char journal[1100];
    char moved[1200];

    fresh_pool();
    snprintf(journal, sizeof journal, "%s/tier-1", journals);
    snprintf(moved, sizeof moved, "%s.discarded-20261026T073320Z", journal);
    CHECK_INT(dataset_make_begin(disk_posix(), at("tier-1"), journal, zone), 0);
    CHECK_INT(mkdir(journal, 0755), 0);
    write_marker("tier-1", zone);
    CHECK_INT(rename(journal, moved), 0);
    CHECK_INT(keep("tier-1", journal), 0);
    CHECK(is_there("tier-1.discarded-20261026T073320Z/marker"));
    CHECK_INT(rmdir(moved), 0);
    CHECK_INT(dataset_make_begin(disk_posix(), at("tier-1"), journal, zone), 0);
    CHECK_INT(mkdir(journal, 0755), 0);
    write_marker("tier-1", zone);
    CHECK_INT(keep("tier-1", journal), 0);
    CHECK_INT(rmdir(moved), 0);
}

/* Another's folder stays where it is; what was never used is not worth keeping. */
static void kept_only_if_ours(void)
{
    char journal[1100];

    fresh_pool();
    snprintf(journal, sizeof journal, "%s/tier-1/journal", pool);
    CHECK_INT(begin("tier-1", other), 0);
    write_marker("tier-1", other);
    CHECK_INT(keep("tier-1", journal), -EEXIST);
    CHECK(is_there("tier-1/marker"));
    CHECK_INT(keep("../tier-1", journal), -EEXIST);
    CHECK_INT(symlink(at("tier-1"), at("link")), 0);
    write_marker("tier-1", zone);
    CHECK_INT(keep("link", journal), -EEXIST);
    CHECK(is_there("tier-1/marker"));
    CHECK_INT(begin("half", zone), 0);
    snprintf(journal, sizeof journal, "%s/half/journal", pool);
    CHECK_INT(keep("half", journal), 0);
    CHECK(!is_there("half"));
    CHECK(!is_there("half.discarded-20261026T073320Z"));
}

/* Data that is lost is moved, with a journal elsewhere; what is another zone's is not. Its
 * place is free then, and in the end only what is this zone's goes. */
static void set_aside_and_swept(void)
{
    char journal[1100];

    fresh_pool();
    snprintf(journal, sizeof journal, "%s/tier-1", journals);
    CHECK_INT(mkdir(at("tier-1"), 0755), 0);
    write_marker("tier-1", zone);
    CHECK(access(journal, F_OK) == 0 || mkdir(journal, 0755) == 0);
    CHECK_INT(dataset_set_aside(pool, "tier-1", journal, other, "T1"), -EEXIST);
    CHECK(is_there("tier-1/marker") && access(journal, F_OK) == 0);
    CHECK_INT(dataset_set_aside(pool, "tier-1", journal, zone, "T1"), 0);
    CHECK(!is_there("tier-1") && is_there("tier-1.quarantine-T1/marker"));
    CHECK(access(journal, F_OK) != 0);
    CHECK_INT(dataset_set_aside(pool, "tier-1", journal, zone, "T2"), 0);
    CHECK(!is_there("tier-1.quarantine-T2"));

    CHECK_INT(mkdir(at("tier-1"), 0755), 0);
    write_marker("tier-1", zone);
    CHECK_INT(mkdir(at("tier-1.quarantine-T3"), 0755), 0);
    write_marker("tier-1.quarantine-T3", other);
    CHECK_INT(dataset_sweep(pool, "tier-1", journals, zone), 1);
    CHECK(is_there("tier-1/marker") && is_there("tier-1.quarantine-T3/marker"));
    CHECK(!is_there("tier-1.quarantine-T1"));
    strcat(journal, ".quarantine-T1");
    CHECK(access(journal, F_OK) != 0);
    CHECK_INT(dataset_sweep(pool, "tier-1", journals, zone), 0);
}

/* A disk may come with links where the daemon makes and removes files: it leads nowhere
 * through them, and whoever opens a dataset hears of them. */
static void links_lead_nowhere(void)
{
    char path[1200];

    fresh_pool();
    snprintf(path, sizeof path, "%s/tier-1", pool);
    CHECK_INT(dataset_check_links(path), 0); /* Not there. */
    CHECK_INT(mkdir(path, 0755), 0);
    CHECK_INT(mkdir(at("tier-1/data"), 0755), 0);
    CHECK_INT(mkdir(at("tier-1/data/0a"), 0755), 0);
    write_marker("tier-1", zone);
    CHECK_INT(dataset_check_links(path), 0);
    CHECK_INT(symlink(journals, at("tier-1/pull.1")), 0);
    CHECK_INT(dataset_check_links(path), -ELOOP);
    CHECK_INT(unlink(at("tier-1/pull.1")), 0);
    CHECK_INT(symlink(journals, at("tier-1/data/0b")), 0);
    CHECK_INT(dataset_check_links(path), -ELOOP);
    CHECK_INT(unlink(at("tier-1/data/0b")), 0);
    CHECK_INT(dataset_check_links(path), 0);
    CHECK_INT(rename(path, at("elsewhere")), 0); /* The dataset itself may be one. */
    CHECK_INT(symlink(at("elsewhere"), path), 0);
    CHECK_INT(dataset_check_links(path), 0);
    CHECK_INT(unlink(at("elsewhere/marker")), 0);
    CHECK_INT(mkfifo(at("elsewhere/marker"), 0600), 0);
    CHECK(!dataset_is_damaged(pool, "tier-1")); /* It does not wait for a writer. */
}

/* The marker of zone @id, with its checksum and then @n bytes of the id turned. */
static void write_rotten_marker(const char *dir, const uint8_t id[16], uint32_t n)
{
    char hex[33];
    char text[128];
    char name[64];
    size_t len;

    hex_put(hex, id, 16);
    len = (size_t)snprintf(text, sizeof text,
                           "grapevinefs dataset 2\nzone %s\ngeneration 0\n", hex);
    (void)snprintf(text + len, sizeof text - len, "check %08x\n", crc32c(0, text, len));
    for (uint32_t i = 0; i < n; i++) {
        text[27 + i] ^= 4;
    }
    (void)snprintf(name, sizeof name, "%s/marker", dir);
    write_file(name, text);
}

/* A marker of which a bit or two flipped is whose it was. One that is damaged beyond that is
 * put aside like any data that is given up, whosever it was; but it is not removed. */
static void rotten_markers(void)
{
    fresh_pool();
    for (uint32_t n = 0; n <= 3; n++) {
        char aside[64];
        bool damaged = n > 2;

        (void)snprintf(aside, sizeof aside, "%u", n);
        CHECK_INT(mkdir(at("tier-1"), 0755), 0);
        write_rotten_marker("tier-1", zone, n);
        CHECK_INT(dataset_is_damaged(pool, "tier-1"), damaged);
        CHECK_INT(take_away("tier-1", other), -EEXIST);
        CHECK_INT(damaged ? take_away("tier-1", zone) : -EEXIST, -EEXIST);
        if (!damaged) {
            CHECK_INT(dataset_set_aside(pool, "tier-1", at("none"), other, aside),
                      -EEXIST);
        }
        CHECK_INT(dataset_set_aside(pool, "tier-1", at("none"), zone, aside), 0);
        CHECK(!is_there("tier-1"));
        (void)snprintf(aside, sizeof aside, "tier-1.quarantine-%u/marker", n);
        CHECK(is_there(aside));
    }
    CHECK_INT(mkdir(at("tier-1"), 0755), 0);
    write_rotten_marker("tier-1", zone, 2);
    CHECK_INT(take_away("tier-1", zone), 0);
    CHECK(!is_there("tier-1"));
}

TEST_MAIN(CHECK_TEST(made_and_removed), CHECK_TEST(what_is_not_ours_stays),
          CHECK_TEST(half_made), CHECK_TEST(half_removed), CHECK_TEST(journal_elsewhere),
          CHECK_TEST(kept_aside), CHECK_TEST(kept_with_its_journal),
          CHECK_TEST(kept_only_if_ours), CHECK_TEST(set_aside_and_swept),
          CHECK_TEST(links_lead_nowhere), CHECK_TEST(rotten_markers))
