/* When a scrub reads, how fast, what it counts, and that it goes on after a restart. */
#include "daemon/scrub.h"
#include "lib/check.h"

#include <string.h>

static const struct scrub_config config = {.rate_bytes = 1u << 20, .every_s = 1000};
static struct scrub scrub;

static void read_done(uint64_t ino, uint32_t n_bad, bool end, uint64_t now_ms)
{
    scrub_read_done(&scrub,
                    &(struct scrub_read){.next = {.ino = ino, .block = 3},
                                         .blocks = 2,
                                         .bytes = 256u << 10,
                                         .n_bad = n_bad,
                                         .end = end},
                    now_ms);
}

/* The schedule's, begun: the first thing is that this is kept. */
static void begun(void)
{
    scrub_init(&scrub, &config, NULL, 0, 5000);
    CHECK_INT(scrub_next(&scrub, 5000, 100000), SCRUB_DO_SAVE);
    scrub_saved(&scrub, 0, 100000);
    CHECK_INT(scrub_next(&scrub, 5999, 100100), SCRUB_DO_NOTHING);
    CHECK_INT(scrub_next(&scrub, 6000, 100200), SCRUB_DO_SAVE);
    CHECK_INT(scrub_next(&scrub, 6000, 100200), SCRUB_DO_NOTHING); /* One at a time. */
    scrub_saved(&scrub, 0, 100200);
}

/* One that never was scrubbed waits its time; then it reads no faster than it may. */
static void schedule_and_pace(void)
{
    uint64_t now_ms = 100200;
    uint32_t reads = 0;

    begun();
    while (now_ms < 104200) {
        switch (scrub_next(&scrub, 6000, now_ms)) {
        case SCRUB_DO_READ:
            reads++;
            read_done(reads, 0, false, now_ms);
            break;
        case SCRUB_DO_SAVE:
            scrub_saved(&scrub, 0, now_ms);
            break;
        default:
            break;
        }
        now_ms += 10;
    }
    CHECK(reads >= 16 && reads <= 17); /* 4 s of 1 MiB. */
    CHECK_UINT(scrub.state.bytes, reads * (256u << 10));
    /* Time in which it could not read is not made up for. */
    CHECK_INT(scrub_next(&scrub, 6000, 200000), SCRUB_DO_SAVE);
    scrub_saved(&scrub, 0, 200000);
    CHECK_INT(scrub_next(&scrub, 6000, 200000), SCRUB_DO_READ);
    read_done(99, 0, false, 200000);
    CHECK_INT(scrub_next(&scrub, 6000, 200100), SCRUB_DO_NOTHING);
}

/* Where clients keep the disk busy it takes no more than its part, whatever its rate. */
static void gives_way(void)
{
    struct scrub_read slow = {.next = {.ino = 9}, .bytes = 1000, .took_ms = 400};

    begun();
    CHECK_INT(scrub_next(&scrub, 6000, 100300), SCRUB_DO_READ);
    scrub_read_done(&scrub, &slow, 100700);
    CHECK_INT(scrub_next(&scrub, 6000, 101899), SCRUB_DO_NOTHING);
    CHECK_INT(scrub_next(&scrub, 6000, 101900), SCRUB_DO_READ);
}

/* It does not go on before what was bad is healed or given up. */
static void bad_blocks(void)
{
    begun();
    CHECK_INT(scrub_next(&scrub, 6000, 100300), SCRUB_DO_READ);
    read_done(7, 2, false, 100300);
    CHECK_INT(scrub_next(&scrub, 6000, 103000), SCRUB_DO_NOTHING);
    scrub_block_done(&scrub, &(struct scrub_place){7, 1}, true);
    CHECK_INT(scrub_next(&scrub, 6000, 103000), SCRUB_DO_NOTHING);
    scrub_block_done(&scrub, &(struct scrub_place){7, 2}, false);
    CHECK_INT(scrub_next(&scrub, 6000, 103000), SCRUB_DO_READ);
    CHECK_UINT(scrub.state.bad, 2);
    CHECK_UINT(scrub.state.healed, 1);
    CHECK_UINT(scrub.state.unhealed, 1);
    CHECK_UINT(scrub.state.names[0].ino, 7);
    CHECK_UINT(scrub.state.names[0].block, 2);
    for (uint32_t i = 0; i < 2 * SCRUB_NAMES_MAX; i++) { /* More than have a name. */
        read_done(7, 1, false, 103000);
        scrub_block_done(&scrub, &(struct scrub_place){8, i}, false);
        scrub.busy = true;
    }
    CHECK_UINT(scrub.state.unhealed, 1 + 2 * SCRUB_NAMES_MAX);
}

/* After a restart it goes on at its place; what is no state begins anew. */
static void goes_on(void)
{
    uint8_t bytes[SCRUB_STATE_MAX];
    size_t len;

    begun();
    CHECK_INT(scrub_next(&scrub, 6000, 100300), SCRUB_DO_READ);
    read_done(7, 1, false, 100300);
    scrub_block_done(&scrub, &(struct scrub_place){7, 1}, false);
    len = scrub_encode(&scrub, bytes);
    scrub_init(&scrub, &config, bytes, len, 9000);
    CHECK_INT(scrub_next(&scrub, 9000, 50), SCRUB_DO_READ);
    CHECK_UINT(scrub.state.next.ino, 7);
    CHECK_UINT(scrub.state.next.block, 3);
    CHECK_UINT(scrub.state.begun_s, 6000);
    CHECK_UINT(scrub.state.unhealed, 1);
    for (size_t cut = 0; cut < len; cut++) {
        scrub_init(&scrub, &config, bytes, cut, 9000);
        CHECK_INT(scrub.state.phase, SCRUB_IDLE);
    }
    bytes[1] = 9;
    scrub_init(&scrub, &config, bytes, len, 9000);
    CHECK_INT(scrub.state.phase, SCRUB_IDLE);
    CHECK_UINT(scrub.state.ended_s, 9000);
}

/* The digests are asked for until all could be compared, a few times; one that differs ends
 * it at once. Then the next is due in its time. */
static void compares(void)
{
    for (int way = 0; way < 3; way++) {
        struct scrub_compare open = {.equal = 1, .open = 1, .index = 40};
        struct scrub_compare last = {.equal = 2, .index = 50};

        begun();
        CHECK_INT(scrub_next(&scrub, 6000, 100300), SCRUB_DO_READ);
        read_done(7, 0, true, 100300);
        for (uint32_t i = 1; i < SCRUB_COMPARE_TRIES; i++) {
            CHECK_INT(scrub_next(&scrub, 6000, 100300 + i * SCRUB_COMPARE_MS),
                      i == 5 ? SCRUB_DO_SAVE : SCRUB_DO_COMPARE);
            if (i == 5) {
                scrub_saved(&scrub, 0, 100300 + i * SCRUB_COMPARE_MS);
                CHECK_INT(scrub_next(&scrub, 6000, 100300 + i * SCRUB_COMPARE_MS),
                          SCRUB_DO_COMPARE);
            }
            scrub_compared(&scrub, &open, 6000, 100300 + i * SCRUB_COMPARE_MS);
            CHECK_INT(scrub.state.phase, SCRUB_COMPARING);
        }
        last.differs = way == 1 ? 33 : 0;
        last = way == 2 ? open : last;
        scrub.busy = true;
        scrub_compared(&scrub, &last, 6100, 120000);
        CHECK_INT(scrub.state.phase, SCRUB_IDLE);
        CHECK_INT(scrub.state.verdict, way == 1 ? SCRUB_DIFFERS : SCRUB_EQUAL);
        CHECK_UINT(scrub.state.compared, way == 0 ? 2 : way == 1 ? 3 : 1);
        CHECK_UINT(scrub.state.other, way == 1 ? 33 : 0);
        CHECK_INT(scrub_next(&scrub, 6100, 120001), SCRUB_DO_SAVE);
        scrub_saved(&scrub, 0, 120001);
        CHECK_INT(scrub_next(&scrub, 7099, 120002), SCRUB_DO_NOTHING);
        CHECK_INT(scrub_next(&scrub, 7100, 120003), SCRUB_DO_SAVE);
        CHECK_INT(scrub.state.phase, SCRUB_READING);
    }
}

/* Nobody asked and no schedule: never. Stopped: what is under way changes nothing. */
static void stopped(void)
{
    struct scrub_config never = {.rate_bytes = 1u << 20};

    scrub_init(&scrub, &never, NULL, 0, 5000);
    scrub_saved((scrub.busy = true, &scrub), 0, 0);
    CHECK_INT(scrub_next(&scrub, UINT64_MAX, 900000), SCRUB_DO_NOTHING);
    scrub_start(&scrub, 6000, 900000);
    scrub_saved((scrub.busy = true, &scrub), 0, 900000);
    CHECK_INT(scrub_next(&scrub, 6000, 900000), SCRUB_DO_READ);
    scrub_start(&scrub, 6001, 900000); /* One is under way. */
    CHECK_UINT(scrub.state.begun_s, 6000);
    scrub_stop(&scrub, 6002);
    read_done(7, 1, true, 900000);
    CHECK_INT(scrub.state.phase, SCRUB_IDLE);
    CHECK_UINT(scrub.state.bad, 0);
    CHECK_UINT(scrub_wake_ms(&scrub), UINT64_MAX);
}

TEST_MAIN(CHECK_TEST(schedule_and_pace), CHECK_TEST(gives_way), CHECK_TEST(bad_blocks),
          CHECK_TEST(goes_on), CHECK_TEST(compares), CHECK_TEST(stopped))
