/* Rows are another node's word: what could do harm is left out of the view. */
#include "base/wire.h"
#include "daemon/config.h"
#include "daemon/directory.h"
#include "daemon/json.h"
#include "lib/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    uint8_t bytes[1 << 20];
    struct wire_enc enc;
    struct directory directory;
};

static struct fixture f;

static void begin(void)
{
    directory_deinit(&f.directory);
    f.enc = wire_enc(f.bytes, sizeof f.bytes);
}

static void put(const char *key, uint64_t version, const char *value)
{
    zone_kv_put(&f.enc, &(struct zone_kv){.key = slice_borrow(key, strlen(key)),
                                          .value = slice_borrow(value, strlen(value)),
                                          .version = version});
}

static void parse(void)
{
    CHECK(!f.enc.failed);
    CHECK_INT(directory_parse(&f.directory, slice_borrow(f.bytes, f.enc.len), 9), 0);
}

static struct directory_zone a_zone(uint8_t id)
{
    struct directory_zone zone = {.next_life = 2, .n_members = 2};

    zone.id[0] = id;
    for (uint32_t i = 0; i < 2; i++) {
        zone.members[i] = (struct directory_member){
            .node = i + 1, .raft_id = directory_raft_id(i + 1, 1)};
        strcpy(zone.members[i].pool, "tank");
        zone.genesis.first[i] = zone.members[i].raft_id;
    }
    zone.genesis.n_first = 2;
    return zone;
}

static void put_zone(const char *slug, uint64_t version,
                     const struct directory_zone *zone)
{
    char *text = directory_zone_json(zone);
    char key[128];

    snprintf(key, sizeof key, "zone/%s", slug);
    put(key, version, text);
    free(text);
}

static void put_node(const char *name, uint64_t version, uint64_t number)
{
    struct directory_node node = {.peer = {.number = number}};
    char *text = directory_node_json(&node);
    char key[128];

    snprintf(key, sizeof key, "node/%s", name);
    put(key, version, text);
    free(text);
}

/* A slug or pool becomes a folder's name: nothing else than a name will do. */
static void names_are_names(void)
{
    struct directory_zone zone = a_zone(1);
    struct directory_zone other = a_zone(2);

    begin();
    put_zone("../../../precious", 1, &zone);
    put_zone("a/b", 1, &zone);
    put_zone(".", 1, &zone);
    put_zone("", 1, &zone);
    put_zone("Caps", 1, &zone);
    strcpy(other.members[1].pool, "../pool");
    put_zone("pool", 1, &other);
    other.members[1].pool[0] = '\0';
    put_zone("no-pool", 1, &other);
    put_node("../a", 1, 1);
    put_node("", 1, 1);
    parse();
    CHECK_UINT(f.directory.n_zones, 0);
    CHECK_UINT(f.directory.n_nodes, 0);
    put_zone("tier-1", 1, &zone);
    put_node("orval", 1, 1);
    parse();
    CHECK_UINT(f.directory.n_zones, 1);
    CHECK_UINT(f.directory.n_nodes, 1);
}

/* A node is a member of a zone once, under an id that is its own. */
static void members_are_distinct(void)
{
    struct directory_zone zone = a_zone(1);

    begin();
    zone.members[1] = zone.members[0];
    put_zone("twice", 1, &zone);
    zone.members[1].raft_id = directory_raft_id(1, 2);
    put_zone("two-lives", 1, &zone);
    zone = a_zone(1);
    zone.members[1].raft_id = directory_raft_id(1, 1);
    put_zone("other-id", 1, &zone);
    zone = a_zone(1);
    zone.members[1] = (struct directory_member){.pool = "tank"};
    put_zone("nobody", 1, &zone);
    zone = a_zone(1);
    zone.genesis.first[1] = zone.genesis.first[0];
    put_zone("first-twice", 1, &zone);
    zone.genesis.n_first = 0;
    put_zone("first-nobody", 1, &zone);
    zone = a_zone(1);
    zone.genesis.election_ms = CONFIG_ELECTION_MS_MAX + 1;
    put_zone("slow", 1, &zone);
    parse();
    CHECK_UINT(f.directory.n_zones, 0);
}

/* Whoever claims a number or an id that is taken does not get it. */
static void first_row_stays(void)
{
    struct directory_zone zone = a_zone(7);

    begin();
    put_zone("a-thief", 20, &zone);
    put_zone("tier-1", 10, &zone);
    put_zone("z-thief", 30, &zone);
    put_node("a-thief", 20, 3);
    put_node("orval", 10, 3);
    put_node("westmalle", 11, 2);
    put_node("z-thief", 30, 3);
    parse();
    CHECK_UINT(f.directory.n_zones, 1);
    CHECK_STR(f.directory.zones[0].slug, "tier-1");
    CHECK_UINT(f.directory.n_nodes, 2);
    CHECK_STR(directory_node(&f.directory, 3)->name, "orval");
    CHECK_STR(directory_node(&f.directory, 2)->name, "westmalle");
}

/* Deleted zones are remembered, however many and in whatever order they come. */
static void all_gone_are_known(void)
{
    enum { N = 5000 };
    uint8_t id[16] = {0};
    char key[64];

    begin();
    for (unsigned i = 0; i < N; i++) {
        id[0] = (uint8_t)(i * 37);
        id[1] = (uint8_t)(i >> 8);
        id[2] = (uint8_t)i;
        strcpy(key, "gone/");
        hex_put(key + 5, id, sizeof id);
        put(key, 1, "{}");
    }
    parse();
    CHECK_UINT(f.directory.n_gone, N);
    for (unsigned i = 0; i < N; i++) {
        id[0] = (uint8_t)(i * 37);
        id[1] = (uint8_t)(i >> 8);
        id[2] = (uint8_t)i;
        CHECK(directory_is_gone(&f.directory, id));
    }
    id[3] = 1;
    CHECK(!directory_is_gone(&f.directory, id));
    begin();
    parse();
    CHECK(!directory_is_gone(&f.directory, id));
    directory_deinit(&f.directory);
}

/* What a recovery and a replacement say comes back as it was written; a member that goes on
 * with another node's data is malformed. */
static void recovery_round_trip(void)
{
    struct directory_zone zone = a_zone(3);
    const struct directory_zone *out;

    zone.recovery = (struct directory_recovery){
        .time_s = 5, .life = 2, .lead = 7, .term = 9, .index = 11};
    zone.members[0].from = directory_raft_id(1, 1);
    zone.members[0].raft_id = directory_raft_id(1, 2);
    zone.members[1].replaces = directory_raft_id(1, 2);
    begin();
    put_zone("tier-1", 1, &zone);
    zone = a_zone(4);
    zone.members[0].from = directory_raft_id(2, 1);
    put_zone("tier-2", 2, &zone);
    zone = a_zone(5);
    put_zone("tier-3", 3, &zone);
    put("epoch", 8, "{\"epoch\":\"4294967301\"}");
    parse();
    CHECK_UINT(f.directory.n_zones, 2);
    out = directory_zone_named(&f.directory, "tier-1");
    CHECK_UINT(out->recovery.time_s, 5);
    CHECK_UINT(out->recovery.life, 2);
    CHECK_UINT(out->recovery.lead, 7);
    CHECK_UINT(out->recovery.term, 9);
    CHECK_UINT(out->recovery.index, 11);
    CHECK_UINT(out->members[0].from, directory_raft_id(1, 1));
    CHECK_UINT(out->members[1].from, 0);
    CHECK_UINT(out->members[1].replaces, directory_raft_id(1, 2));
    CHECK_UINT(directory_zone_named(&f.directory, "tier-3")->recovery.time_s, 0);
    CHECK_UINT(f.directory.epoch, 4294967301u);
    CHECK_UINT(f.directory.epoch_version, 8);
}

/* Whoever asked for the node's pools and now adds it may find that another did: a row with
 * one node twice would be none. There are as many lives as a raft id has room for. */
static void joins_once(void)
{
    struct directory_member third = {.node = 3, .pool = "tank"};
    struct directory_zone zone = a_zone(1);

    CHECK_INT(directory_zone_join(&zone, &third), 0);
    CHECK_INT(directory_zone_join(&zone, &third), OUT_EXIST);
    CHECK_UINT(zone.n_members, 3);
    CHECK_UINT(zone.next_life, 3);
    CHECK_UINT(zone.members[2].raft_id, directory_raft_id(3, 2));
    zone.next_life = UINT16_MAX;
    third.node = 4;
    CHECK_INT(directory_zone_join(&zone, &third), 0);
    CHECK_UINT(zone.members[3].raft_id, directory_raft_id(4, UINT16_MAX));
    third.node = 5;
    CHECK_INT(directory_zone_join(&zone, &third), OUT_FULL);
    zone.next_life = 9;
    while (zone.n_members < DIRECTORY_MEMBERS_MAX) {
        CHECK_INT(directory_zone_join(&zone, &third), 0);
        third.node++;
    }
    CHECK_INT(directory_zone_join(&zone, &third), OUT_FULL);
}

/* Each node's row "taken" has a version, by which it shows that it became a member. */
static void taken_is_known(void)
{
    begin();
    put_node("a", 3, 1);
    put("taken/a", 7, "{}");
    put("taken/gone", 8, "{}");
    parse();
    CHECK_UINT(f.directory.n_nodes, 1);
    CHECK_UINT(f.directory.nodes[0].version, 3);
    CHECK_UINT(f.directory.nodes[0].taken_version, 7);
    CHECK(!f.directory.bad_row);
}

TEST_MAIN(CHECK_TEST(joins_once), CHECK_TEST(taken_is_known), CHECK_TEST(names_are_names),
          CHECK_TEST(members_are_distinct), CHECK_TEST(first_row_stays),
          CHECK_TEST(all_gone_are_known), CHECK_TEST(recovery_round_trip))
