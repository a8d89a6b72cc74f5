/* Nothing that waits waits for ever: a follower that let frames fall, a leader that
 * becomes the only voter. */
#include "lib/check.h"
#include "replica_rig.h"

#include <string.h>

enum {
    ENTRIES = 20,
    ENTRY_BYTES = 1 << 20, /* Together more than what may be under way. */
    MINUTE_MS = 60000,
};

static struct rig rig;

static void write_entries(size_t len)
{
    rig_write(&rig, 1, 1, ENTRIES, len);
}

/* A follower whose disk is full lets entries fall while its connection stands. Once there
 * is room, it gets them, and a zone of two commits again. */
static void follower_without_room(void)
{
    struct replica_status status;

    for (uint32_t n = 2; n <= 3; n++) {
        memset(&rig, 0, sizeof rig);
        rig_init(&rig, n);
        rig_elect(&rig, 1);
        rig_disk(&rig, n, 1ull << 40);
        write_entries(ENTRY_BYTES);
        rig_run(&rig, MINUTE_MS);
        rig_disk(&rig, n, 0);
        rig_run(&rig, MINUTE_MS);
        rig_status(&rig, 1, &status);
        CHECK_UINT(status.commit_index, status.last_index);
        CHECK_UINT(rig_applied(&rig, n), status.last_index);
        rig_deinit(&rig);
    }
}

/* The other voter dies with a read on its way, and is then removed: the leader alone is
 * a majority, and answers this read and the next. */
static void read_of_who_becomes_sole_voter(void)
{
    struct rgroup_conf conf = {.n = 1, .servers = {{.id = 1, .role = RGROUP_VOTER}}};
    struct replica_event change = {.type = REPLICA_EV_CHANGE, .token = 50, .conf = &conf};

    memset(&rig, 0, sizeof rig);
    rig_init(&rig, 2);
    rig_elect(&rig, 1);
    (void)rig_trace(&rig);
    rig.cut[2][1] = true;
    rig_read(&rig, 1, 5);
    CHECK_INT(rig_step(&rig, 1, &change), 0);
    rig_run(&rig, MINUTE_MS);
    rig_read(&rig, 1, 7);
    rig_run(&rig, MINUTE_MS);
    CHECK_STR(rig_trace(&rig), "1 read 5 at 2\n1 answer 50 OK\n1 read 7 at 3\n");
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(follower_without_room), CHECK_TEST(read_of_who_becomes_sole_voter))
