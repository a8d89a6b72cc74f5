/* What the listener decides about its clients' connections. */
#include "nfs/front_rules.h"

#include "lib/check.h"

/* A wait up to the limit is one, also of an idle loop; past it the process was away. */
static void stood_still(void)
{
    struct front_wait wait = {.begun_ms = 1000, .now_ms = 1000};

    CHECK(!front_stood_still(&wait, 10000));
    wait.now_ms = 11000;
    CHECK(!front_stood_still(&wait, 10000));
    wait.now_ms = 11001;
    CHECK(front_stood_still(&wait, 10000));
}

/* A clock that goes back is no absence, however far. */
static void clock_goes_back(void)
{
    struct front_wait wait = {.begun_ms = 100000, .now_ms = 1};

    CHECK(!front_stood_still(&wait, 10000));
}

/* A connection has to say something, and then to end what it says; later it may be silent
 * for as long as it likes. */
static void first_call(void)
{
    struct front_state state = {.idle_ms = FRONT_FIRST_MS - 1};

    CHECK(front_overdue(&state) == NULL);
    state.idle_ms++;
    CHECK(front_overdue(&state) != NULL);
    state.receiving = true;
    CHECK(front_overdue(&state) == NULL);
    state.idle_ms = FRONT_RECORD_MS;
    CHECK(front_overdue(&state) != NULL);
    state.working = true; /* It waits for us. */
    CHECK(front_overdue(&state) == NULL);
    state.working = false;
    state.served = true;
    state.receiving = false;
    state.idle_ms = 1u << 30;
    CHECK(front_overdue(&state) == NULL);
}

/* A later call may take its time, unless its bytes are in the way of others. */
static void later_call(void)
{
    struct front_state state = {
        .served = true, .receiving = true, .idle_ms = FRONT_RECORD_MS};

    CHECK(front_overdue(&state) == NULL);
    state.room_short = true;
    CHECK(front_overdue(&state) != NULL);
    state.idle_ms--;
    CHECK(front_overdue(&state) == NULL);
}

/* A client that takes its replies, or has none to take, is not slow; one that takes a few
 * bytes now and then is. */
static void pace(void)
{
    struct front_pace pace = {0};
    uint64_t taken = 0;

    CHECK(!front_pace_step(&pace, taken, 0, 50000));
    for (uint64_t ms = 50000; ms < 100000; ms += 1000) {
        taken += FRONT_SLOW_BYTES / 4;
        CHECK(!front_pace_step(&pace, taken, 1 << 20, ms));
    }
    CHECK(!front_pace_step(&pace, taken, 1 << 20, pace.since_ms + FRONT_SLOW_MS - 1));
    CHECK(front_pace_step(&pace, taken + 1000, 1 << 20, pace.since_ms + FRONT_SLOW_MS));
    CHECK(!front_pace_step(&pace, taken + 2000, 0, pace.since_ms + FRONT_SLOW_MS));
}

/* It goes only where others wait for memory. */
static void slow_reader(void)
{
    struct front_state state = {.served = true, .working = true, .slow = true};

    CHECK(front_overdue(&state) == NULL);
    state.room_short = true;
    CHECK(front_overdue(&state) != NULL);
}

enum { NEW = 0, SERVED = 1, BUSY = 2 };

static struct front_seat seat(uint64_t who, uint64_t since_ms, unsigned how)
{
    return (struct front_seat){.who = who,
                               .since_ms = since_ms,
                               .weight = 1,
                               .served = (how & SERVED) != 0,
                               .busy = (how & BUSY) != 0};
}

/* Strangers go first, the oldest of them, whatever others cost. */
static void strangers_go_first(void)
{
    struct front_seat seats[] = {seat(1, 10, SERVED), seat(1, 11, SERVED),
                                 seat(2, 300, NEW), seat(3, 200, NEW),
                                 seat(4, 100, BUSY)};
    uint32_t found = front_victim(seats, 5);

    CHECK(found < 5 && seats[found].since_ms == 200);
}

/* Then whoever has most, with what it used least; who works stays, but counts. */
static void greedy_go_next(void)
{
    struct front_seat seats[] = {seat(1, 10, SERVED), seat(2, 400, SERVED),
                                 seat(3, 20, SERVED), seat(2, 300, SERVED),
                                 seat(2, 50, SERVED | BUSY)};
    struct front_seat bytes[] = {seat(1, 10, SERVED), seat(1, 20, SERVED),
                                 seat(2, 30, SERVED)};
    uint32_t found = front_victim(seats, 5);

    CHECK(found < 5 && seats[found].since_ms == 300);
    bytes[2].weight = 3;
    found = front_victim(bytes, 3);
    CHECK(found < 3 && bytes[found].since_ms == 30);
}

/* If the greediest is at work with all it has, the next one goes; if all are, nobody. */
static void workers_stay(void)
{
    struct front_seat seats[] = {seat(1, 10, SERVED | BUSY), seat(1, 20, SERVED | BUSY),
                                 seat(2, 30, SERVED)};
    uint32_t found = front_victim(seats, 3);

    CHECK(found < 3 && seats[found].since_ms == 30);
    seats[found].busy = true;
    CHECK_UINT(front_victim(seats, 3), 3);
    CHECK_UINT(front_victim(seats, 0), 0);
}

TEST_MAIN(CHECK_TEST(stood_still), CHECK_TEST(clock_goes_back), CHECK_TEST(first_call),
          CHECK_TEST(later_call), CHECK_TEST(pace), CHECK_TEST(slow_reader),
          CHECK_TEST(strangers_go_first), CHECK_TEST(greedy_go_next),
          CHECK_TEST(workers_stay))
