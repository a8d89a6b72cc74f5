/* When a member that failed is opened anew. */
#include "daemon/retry.h"
#include "lib/check.h"

#include <errno.h>

static struct retry retry;
static uint64_t now_ms;

static enum retry_action failed(int fault)
{
    return retry_step(
        &retry,
        &(struct retry_event){.type = RETRY_EV_FAILED, .now_ms = now_ms, .fault = fault});
}

static enum retry_action runs(void)
{
    return retry_step(&retry,
                      &(struct retry_event){.type = RETRY_EV_RUNS, .now_ms = now_ms});
}

static enum retry_action asked(void)
{
    return retry_step(&retry,
                      &(struct retry_event){.type = RETRY_EV_ASKED, .now_ms = now_ms});
}

static void begin(void)
{
    retry = (struct retry){0};
    now_ms = 5000;
}

/* Looks at a member that fails, every 250 ms. How long until it is to be opened? */
static uint64_t waited(int fault)
{
    uint64_t from_ms = now_ms;

    while (failed(fault) != RETRY_DO_OPEN && now_ms < from_ms + 3600000) {
        now_ms += 250;
    }
    return now_ms - from_ms;
}

/* A disk that stays bad is tried less and less often, but always again; and nobody is told
 * that the member is back before it is. */
static void backs_off(void)
{
    static const uint64_t waits_ms[] = {2000, 4000, 8000, 16000, 32000, 60000, 60000};

    begin();
    for (size_t i = 0; i < sizeof waits_ms / sizeof waits_ms[0]; i++) {
        CHECK_UINT(waited(-EIO), waits_ms[i]);
        now_ms += 100; /* The open took that long. */
    }
    CHECK_INT(runs(), RETRY_DO_TELL);
    CHECK_INT(runs(), RETRY_DO_NOTHING);
}

/* One that opens and fails again soon is as bad as one that does not open; after ten minutes
 * without a failure it is as if there had been none. */
static void flaps(void)
{
    begin();
    for (uint64_t wait_ms = 2000; wait_ms <= 32000; wait_ms *= 2) {
        CHECK_UINT(waited(-EIO), wait_ms);
        CHECK_INT(runs(), RETRY_DO_TELL);
        now_ms += RETRY_CALM_MS - 250;
        CHECK_INT(runs(), RETRY_DO_NOTHING);
    }
    CHECK_UINT(waited(-EIO), RETRY_PAUSE_MS);
    CHECK_INT(runs(), RETRY_DO_TELL);
    now_ms += RETRY_CALM_MS;
    CHECK_UINT(waited(-EIO), RETRY_FIRST_MS);
}

/* A member that never failed is not told to be back. */
static void a_start_is_no_return(void)
{
    begin();
    CHECK_INT(runs(), RETRY_DO_NOTHING);
}

/* What a person has to look at is not touched until somebody says so, once. */
static void waits_for_a_person(void)
{
    static const int faults[] = {0,       -EEXIST, -EPROTONOSUPPORT, -EFBIG,
                                 -EINVAL, -EPROTO, -EUCLEAN,         -ESTALE};

    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        uint64_t left_ms;

        begin();
        CHECK_UINT(waited(faults[i]), 3600000);
        CHECK(!retry_waits(&retry, now_ms, &left_ms));
        CHECK_INT(asked(), RETRY_DO_NOTHING);
        CHECK_INT(failed(faults[i]), RETRY_DO_OPEN);
        CHECK_UINT(waited(faults[i]), 3600000); /* It failed again. */
    }
}

/* Who cannot wait for the next try asks for it; the one that runs is left alone. */
static void asked_for(void)
{
    uint64_t left_ms = 0;

    begin();
    for (int i = 0; i < 8; i++) {
        (void)waited(-EROFS);
    }
    CHECK_INT(failed(-EROFS), RETRY_DO_NOTHING);
    CHECK(retry_waits(&retry, now_ms + 1000, &left_ms));
    CHECK_UINT(left_ms, RETRY_PAUSE_MS - 1000);
    now_ms += 1000;
    CHECK_INT(asked(), RETRY_DO_NOTHING);
    CHECK_INT(failed(-EROFS), RETRY_DO_OPEN);
    CHECK_INT(runs(), RETRY_DO_TELL);
    CHECK_INT(asked(), RETRY_DO_NOTHING);
    CHECK_INT(runs(), RETRY_DO_NOTHING);
    CHECK(!retry_waits(&retry, now_ms, &left_ms));
}

TEST_MAIN(CHECK_TEST(backs_off), CHECK_TEST(flaps), CHECK_TEST(a_start_is_no_return),
          CHECK_TEST(waits_for_a_person), CHECK_TEST(asked_for))
