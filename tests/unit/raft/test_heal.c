/* Whom to ask for a bad block, when a copy is put, and when there is none. */
#include "base/outcome.h"
#include "lib/check.h"
#include "raft/heal.h"

#include <stdio.h>
#include <string.h>

static struct heal *heal;
static struct heal_actions actions;
static char trace[65536];
static uint64_t now_ms;

/* What the step asks for, as text. */
static void give(struct heal_event event)
{
    event.now_ms = now_ms;
    heal_step(heal, &event, &actions);
    for (uint32_t i = 0; i < actions.n; i++) {
        const struct heal_action *a = &actions.items[i];
        size_t len = strlen(trace);
        char *to = trace + len;
        size_t room = sizeof trace - len;

        switch (a->type) {
        case HEAL_DO_ASK:
            (void)snprintf(to, room, "ask %d %d/%d as of %d as %d\n", (int)a->to,
                           (int)a->ino, (int)a->block, (int)a->index, (int)a->number);
            break;
        case HEAL_DO_PUT:
            (void)snprintf(to, room, "put %d\n", (int)a->number);
            break;
        case HEAL_DO_DROP:
            (void)snprintf(to, room, "drop %d\n", (int)a->number);
            break;
        case HEAL_DO_DONE:
            (void)snprintf(to, room, "done %d/%d %s\n", (int)a->ino, (int)a->block,
                           a->outcome == 0 ? "good" : outcome_name(a->outcome));
            break;
        }
    }
}

static void is_trace(const char *wanted)
{
    CHECK_STR(trace, wanted);
    trace[0] = '\0';
}

static void members(bool two_up, bool three_up)
{
    struct heal_member all[] = {{.id = 2, .up = two_up}, {.id = 3, .up = three_up}};

    give((struct heal_event){.type = HEAL_EV_MEMBERS, .members = all, .n_members = 2});
}

static void setup(void)
{
    now_ms = 1000;
    trace[0] = '\0';
    CHECK_INT(heal_new(0, &heal), 0);
    members(true, true);
    give((struct heal_event){.type = HEAL_EV_APPLIED, .index = 50});
}

static void want(uint64_t block, bool waited)
{
    give((struct heal_event){
        .type = HEAL_EV_WANT, .ino = 7, .block = block, .index = 50, .waited = waited});
}

static void answer(uint64_t number, uint64_t from, int outcome, uint64_t version)
{
    give((struct heal_event){.type = HEAL_EV_ANSWER,
                             .number = number,
                             .from = from,
                             .outcome = outcome,
                             .version = version,
                             .index = 60});
}

static void put_done(uint64_t number, int outcome)
{
    give((struct heal_event){.type = HEAL_EV_PUT, .number = number, .outcome = outcome});
}

static void wait_ms(uint64_t ms)
{
    now_ms += ms;
    give((struct heal_event){.type = HEAL_EV_TICK});
}

/* The first member has it: asked once, however many want it. */
static void plain(void)
{
    setup();
    want(1, true);
    want(1, false);
    is_trace("ask 2 7/1 as of 50 as 1\n");
    answer(1, 2, 0, 40);
    put_done(1, 0);
    is_trace("put 1\ndrop 1\ndone 7/1 good\n");
    CHECK_UINT(heal_pending(heal), 0);
    CHECK(heal_wake_ms(heal) == UINT64_MAX);
    heal_free(heal);
}

/* One that is bad too, behind, or silent: the next is asked. An answer of somebody who was
 * not asked, or that comes late, counts for nothing. */
static void next_member(void)
{
    setup();
    want(1, true);
    answer(1, 3, 0, 40);
    answer(1, 2, OUT_IO, 0);
    is_trace("ask 2 7/1 as of 50 as 1\ndrop 1\nask 3 7/1 as of 50 as 2\n");
    wait_ms(HEAL_ANSWER_MS - 1);
    is_trace("");
    wait_ms(1);
    wait_ms(HEAL_RETRY_MS); /* Both were asked: a new round, without the bad one. */
    is_trace("ask 3 7/1 as of 50 as 3\n");
    answer(2, 3, 0, 40);
    answer(3, 3, OUT_TRY_LATER, 0);
    is_trace("drop 2\n");
    wait_ms(HEAL_RETRY_MS);
    answer(4, 3, 0, 40);
    is_trace("ask 3 7/1 as of 50 as 4\nput 4\n");
    put_done(4, OUT_NOENT);
    is_trace("drop 4\ndone 7/1 good\n");
    heal_free(heal);
}

/* A copy that holds entries not applied here waits for them; and for a settle. */
static void copy_waits(void)
{
    setup();
    want(1, true);
    answer(1, 2, 0, 55);
    give((struct heal_event){.type = HEAL_EV_APPLIED, .index = 54});
    is_trace("ask 2 7/1 as of 50 as 1\n");
    give((struct heal_event){.type = HEAL_EV_APPLIED, .index = 55});
    put_done(1, OUT_TRY_LATER);
    CHECK(heal_waits(heal));
    is_trace("put 1\n");
    give((struct heal_event){.type = HEAL_EV_SETTLED});
    CHECK(!heal_waits(heal));
    put_done(1, OUT_TRY_LATER);
    wait_ms(HEAL_RETRY_MS);
    put_done(1, 0);
    is_trace("put 1\nput 1\ndrop 1\ndone 7/1 good\n");
    heal_free(heal);
}

/* A newer write settled below a copy: it is asked for anew. */
static void copy_too_old(void)
{
    setup();
    want(1, true);
    answer(1, 2, 0, 40);
    put_done(1, OUT_MISMATCH);
    wait_ms(HEAL_RETRY_MS);
    is_trace("ask 2 7/1 as of 50 as 1\nput 1\ndrop 1\nask 2 7/1 as of 50 as 2\n");
    heal_free(heal);
}

/* A block that the other does not have any more is gone here too, in a while. */
static void block_is_gone(void)
{
    setup();
    want(1, true);
    answer(1, 2, OUT_NOENT, 0);
    is_trace("ask 2 7/1 as of 50 as 1\n");
    give((struct heal_event){.type = HEAL_EV_APPLIED, .index = 60});
    is_trace("done 7/1 good\n");
    heal_free(heal);
}

/* All say that theirs is bad: given up at once; wanted again by who waits for it, and by
 * nobody else for a while. */
static void no_good_copy(void)
{
    setup();
    want(1, true);
    answer(1, 2, OUT_IO, 0);
    answer(2, 3, OUT_IO, 0);
    is_trace("ask 2 7/1 as of 50 as 1\nask 3 7/1 as of 50 as 2\ndone 7/1 IO\n");
    want(1, false);
    is_trace("");
    CHECK(heal_gave_up(heal, 7, 1) && !heal_gave_up(heal, 7, 2));
    want(1, true);
    is_trace("ask 2 7/1 as of 50 as 3\n");
    answer(3, 2, 0, 50);
    put_done(3, 0);
    is_trace("put 3\ndrop 3\ndone 7/1 good\n");
    heal_free(heal);
}

/* Who cannot be reached may have a good one: it is waited for, not for ever. */
static void unreachable(void)
{
    setup();
    members(false, true);
    want(1, true);
    answer(1, 3, OUT_IO, 0);
    is_trace("ask 3 7/1 as of 50 as 1\n");
    wait_ms(1000);
    members(true, true);
    wait_ms(HEAL_RETRY_MS);
    is_trace("ask 2 7/1 as of 50 as 2\n");
    members(false, true);
    wait_ms(HEAL_PATIENCE_MS);
    is_trace("done 7/1 IO\n");
    heal_free(heal);
}

/* A copy that is here and waits is no reason to say that there is none. */
static void patience_ends_with_a_copy(void)
{
    setup();
    want(1, true);
    answer(1, 2, 0, 55);
    wait_ms(HEAL_PATIENCE_MS);
    is_trace("ask 2 7/1 as of 50 as 1\ndrop 1\ndone 7/1 TRY_LATER\n");
    heal_free(heal);
}

/* A sole member has nobody to ask. */
static void alone(void)
{
    setup();
    give((struct heal_event){.type = HEAL_EV_MEMBERS});
    want(1, true);
    is_trace("done 7/1 IO\n");
    heal_free(heal);
}

/* Only a few are under way at one time, the rest in their turn; what does not fit is
 * refused; the end lets all go. */
static void bounds(void)
{
    setup();
    for (uint64_t i = 0; i < HEAL_WANTS_MAX; i++) {
        want(i, false);
    }
    is_trace("ask 2 7/0 as of 50 as 1\nask 2 7/1 as of 50 as 2\n"
             "ask 2 7/2 as of 50 as 3\nask 2 7/3 as of 50 as 4\n");
    want(9999, true);
    is_trace("done 7/9999 TRY_LATER\n");
    answer(2, 2, 0, 10);
    put_done(2, 0);
    is_trace("put 2\ndrop 2\ndone 7/1 good\nask 2 7/4 as of 50 as 5\n");
    answer(1, 2, 0, 10);
    is_trace("put 1\n");
    give((struct heal_event){.type = HEAL_EV_STOP});
    CHECK_UINT(heal_pending(heal), 1);
    CHECK_UINT(actions.n, HEAL_WANTS_MAX - 2);
    for (uint32_t i = 0; i < actions.n; i++) {
        CHECK(actions.items[i].type == HEAL_DO_DONE);
        CHECK_INT(actions.items[i].outcome, OUT_TRY_LATER);
    }
    trace[0] = '\0';
    put_done(1, 0);
    is_trace("drop 1\ndone 7/0 good\n");
    heal_free(heal);
}

TEST_MAIN(CHECK_TEST(plain), CHECK_TEST(next_member), CHECK_TEST(copy_waits),
          CHECK_TEST(copy_too_old), CHECK_TEST(block_is_gone), CHECK_TEST(no_good_copy),
          CHECK_TEST(unreachable), CHECK_TEST(patience_ends_with_a_copy),
          CHECK_TEST(alone), CHECK_TEST(bounds))
