/* What is done later, or at once, and for how many entries: applying, settling. */
#include "lib/check.h"
#include "replica_rig.h"

#include <string.h>

static struct rig rig;

static void begin_gathering(void)
{
    memset(&rig, 0, sizeof rig);
    rig_init(&rig, 3);
    rig.apply_wait_ms = 20;
    for (uint64_t id = 1; id <= 3; id++) {
        rig_stop(&rig, id);
        CHECK_INT(rig_start(&rig, id), 0);
    }
    for (uint64_t id = 1; id <= 3; id++) {
        for (uint64_t other = 1; other < id; other++) {
            rig_connect(&rig, other, id, true);
        }
    }
    rig_elect(&rig, 1);
    rig_run(&rig, 200);
    CHECK_UINT(rig_applied(&rig, 2), rig_applied(&rig, 1));
}

/* One client that waits for each of its calls: the leader applies them one by one and
 * answers, a follower all of them in one transaction, a while later. */
static void a_follower_gathers(void)
{
    uint64_t before;

    begin_gathering();
    before = rig_applied(&rig, 2);
    for (uint64_t i = 0; i < 10; i++) {
        rig_write(&rig, 1, 100 + i, 1, 10);
        CHECK_UINT(rig_applied(&rig, 1), before + 1 + i);
        CHECK_UINT(rig_applied(&rig, 2), before);
    }
    rig_run(&rig, 30);
    CHECK(rig_applied(&rig, 2) >= before + 9); /* Of the last one it may not know yet. */
    rig_run(&rig, 100);
    CHECK_UINT(rig_applied(&rig, 2), before + 10);
    rig_deinit(&rig);
}

/* Many entries, or large ones, are worth a transaction at once: there the work of the
 * members has to keep pace. */
static void much_is_not_gathered(void)
{
    uint64_t before;

    begin_gathering();
    before = rig_applied(&rig, 2);
    rig_write(&rig, 1, 100, 65, 10);
    CHECK_UINT(rig_applied(&rig, 2), before + 64);
    rig_run(&rig, 200);
    before = rig_applied(&rig, 2);
    rig_write(&rig, 1, 200, 2, 300000);
    CHECK_UINT(rig_applied(&rig, 2), before + 1);
    rig_deinit(&rig);
}

/* Who reads from a member does not pay for what it gathered, nor gathers it more as long
 * as somebody reads. */
static void a_read_ends_gathering(void)
{
    uint64_t before;
    uint64_t now_ms;

    begin_gathering();
    before = rig_applied(&rig, 2);
    rig_write(&rig, 1, 90, 1, 10);
    now_ms = rig.now_ms;
    CHECK_UINT(rig_applied(&rig, 2), before);
    (void)rig_trace(&rig);
    rig_read(&rig, 2, 91);
    rig_settle(&rig);
    CHECK_UINT(rig_applied(&rig, 2), before + 1);
    CHECK(strstr(rig_trace(&rig), "2 read 91") != NULL);
    rig_write(&rig, 1, 92, 1, 10);
    rig_write(&rig, 1, 93, 1, 10);
    CHECK_UINT(rig_applied(&rig, 2), before + 2);
    CHECK_UINT(rig.now_ms, now_ms);
    rig_deinit(&rig);
}

static uint32_t unread_of_write(uint64_t id)
{
    rig.nodes[id].unread = 0;
    rig_write(&rig, 1, rig.now_ms, 1, 10);
    return rig.nodes[id].unread;
}

/* What a follower writes is worth memory only if somebody reads from it, or did within ten
 * seconds; what a leader writes always is. */
static void a_follower_that_nobody_reads_from(void)
{
    begin_gathering();
    CHECK_UINT(unread_of_write(1), 0);
    CHECK(unread_of_write(2) > 0);
    rig_read(&rig, 2, 91);
    rig_settle(&rig);
    CHECK_UINT(unread_of_write(2), 0);
    CHECK(unread_of_write(3) > 0);
    rig_run(&rig, 9000);
    CHECK_UINT(unread_of_write(2), 0);
    rig_run(&rig, 1100);
    CHECK(unread_of_write(2) > 0);
    rig.nodes[2].unread = 0;
    rig_disk(&rig, 2, 200u << 20);
    CHECK_UINT(rig.nodes[2].unread, rig.nodes[2].settles);
    CHECK(rig.nodes[2].settles > 0);
    rig_deinit(&rig);
}

/* Clients have the disk: up to half of the journal settling waits for a pause of theirs. */
static void settling_gives_way(void)
{
    memset(&rig, 0, sizeof rig);
    rig.journal_bytes_max = 1u << 20;
    rig_init(&rig, 3);
    rig_elect(&rig, 1);
    for (uint64_t token = 1; token <= 10; token++) {
        rig_write(&rig, 1, token, 1, 4000);
        rig_disk(&rig, 1, 300u << 10);
        rig_disk(&rig, 2, 300u << 10);
        rig_run(&rig, 100);
    }
    CHECK_UINT(rig.nodes[1].settles, 0);
    CHECK_UINT(rig.nodes[2].settles, 0);
    rig_disk(&rig, 1, 600u << 10);
    CHECK_UINT(rig.nodes[1].settles, 1);
    rig_run(&rig, 300);
    CHECK(rig.nodes[2].settles > 0);
    rig_deinit(&rig);
}

/* Who reads after a write has the disk, too, but not for ever: somebody may always read. */
static void settling_gives_way_to_reads(void)
{
    memset(&rig, 0, sizeof rig);
    rig.journal_bytes_max = 1u << 20;
    rig_init(&rig, 3);
    rig_elect(&rig, 1);
    rig_write(&rig, 1, 1, 1, 4000);
    rig_disk(&rig, 1, 300u << 10);
    rig_disk(&rig, 2, 300u << 10);
    for (uint64_t token = 10; token < 18; token++) {
        rig_read(&rig, 1, token);
        rig_run(&rig, 100);
    }
    CHECK_UINT(rig.nodes[1].settles, 0);
    CHECK(rig.nodes[2].settles > 0); /* Nobody reads there. */
    for (uint64_t token = 18; token < 28; token++) {
        rig_read(&rig, 1, token);
        rig_run(&rig, 100);
    }
    CHECK(rig.nodes[1].settles > 0);
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(a_follower_gathers), CHECK_TEST(much_is_not_gathered),
          CHECK_TEST(a_read_ends_gathering), CHECK_TEST(settling_gives_way),
          CHECK_TEST(settling_gives_way_to_reads),
          CHECK_TEST(a_follower_that_nobody_reads_from))
