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

TEST_MAIN(CHECK_TEST(stood_still), CHECK_TEST(clock_goes_back))
