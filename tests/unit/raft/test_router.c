#include "base/outcome.h"
#include "lib/check.h"
#include "raft/router.h"
#include "zone/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Node 1 runs the router; the trace shows what it did: "send w<number>/<floor> to <node>",
 * "send r to <node>", "answer <token> <OUTCOME>". */
struct fixture {
    struct router *router;
    uint64_t now_ms;
    uint64_t seqs[16]; /* The router's numbers, by order of first sending. */
    uint32_t n_seqs;
    uint8_t rpc_key[16]; /* Of the last entry sent. */
    char trace[16384];
    size_t len;
};

static const uint8_t zone_id[16] = "zone-one";

static void put(struct fixture *f, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put(struct fixture *f, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(f->trace + f->len, sizeof f->trace - f->len, format, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < sizeof f->trace - f->len);
    f->len += (size_t)n;
}

/* The trace since the last call. */
static const char *trace(struct fixture *f)
{
    static char copy[sizeof f->trace];

    memcpy(copy, f->trace, f->len);
    copy[f->len] = '\0';
    f->len = 0;
    return copy;
}

static void note_seq(struct fixture *f, uint64_t seq)
{
    for (uint32_t i = 0; i < f->n_seqs; i++) {
        if (f->seqs[i] == seq) {
            return;
        }
    }
    if (f->n_seqs < 16) {
        f->seqs[f->n_seqs++] = seq;
    }
}

static void show(struct fixture *f, const struct router_action *action)
{
    struct zone_entry entry;

    if (action->type == ROUTER_DO_ANSWER) {
        put(f, "answer %u %s\n", (unsigned)action->token, outcome_name(action->outcome));
        return;
    }
    note_seq(f, action->seq);
    if (action->is_read) {
        put(f, "send r to %u\n", (unsigned)action->node);
        return;
    }
    CHECK_INT(zone_entry_decode(action->head.data, action->head.len, &entry), 0);
    memcpy(f->rpc_key, entry.rpc_key, sizeof f->rpc_key);
    CHECK_UINT(entry.origin.node, 1);
    CHECK_UINT(entry.origin.boot, 5);
    put(f, "send w%u/%u to %u\n", (unsigned)entry.origin.seq,
        (unsigned)entry.origin.floor, (unsigned)action->node);
}

static void step(struct fixture *f, struct router_event *event)
{
    struct router_actions actions = {0};

    event->now_ms = f->now_ms;
    CHECK_INT(router_step(f->router, event, &actions), 0);
    for (uint32_t i = 0; i < actions.n; i++) {
        show(f, &actions.items[i]);
    }
    router_actions_deinit(&actions);
}

static void node(struct fixture *f, uint64_t number, bool up)
{
    struct router_event event = {.type = ROUTER_EV_NODE, .node = number, .up = up};

    step(f, &event);
}

/* Members 2, 3 and 4, node 2 the closest. */
static void zone_known(struct fixture *f)
{
    struct router_zone zone = {.n_members = 3, .nodes = {2, 3, 4}};
    struct router_event event = {.type = ROUTER_EV_ZONE, .zone = &zone};

    memcpy(zone.id, zone_id, 16);
    step(f, &event);
}

static void init(struct fixture *f)
{
    struct router_config config = {.self = 1, .boot = 5};

    CHECK_INT(router_new(&config, &f->router), 0);
    f->now_ms = 1000;
    for (uint64_t number = 2; number <= 4; number++) {
        node(f, number, true);
    }
}

static void ask(struct fixture *f, enum router_event_type type, uint64_t token)
{
    struct router_event event = {
        .type = type, .token = token, .op = slice_borrow("op", 2)};

    memcpy(event.zone_id, zone_id, 16);
    step(f, &event);
}

static void mutate(struct fixture *f, uint64_t token)
{
    ask(f, ROUTER_EV_MUTATE, token);
}

static void read_op(struct fixture *f, uint64_t token)
{
    ask(f, ROUTER_EV_READ, token);
}

static void answer(struct fixture *f, uint32_t nth, uint64_t from, int outcome,
                   uint64_t leader)
{
    struct router_event event = {.type = ROUTER_EV_ANSWER,
                                 .seq = f->seqs[nth],
                                 .node = from,
                                 .outcome = outcome,
                                 .leader_node = leader};

    memcpy(event.zone_id, zone_id, 16);
    step(f, &event);
}

static void pass(struct fixture *f, uint64_t ms)
{
    uint64_t end = f->now_ms + ms;

    while (router_wake_ms(f->router) <= end) {
        struct router_event event = {.type = ROUTER_EV_TICK};

        f->now_ms = router_wake_ms(f->router);
        step(f, &event);
    }
    f->now_ms = end;
}

static void end(struct fixture *f)
{
    router_free(f->router);
}

static void all_down(struct fixture *f)
{
    for (uint64_t number = 2; number <= 4; number++) {
        node(f, number, false);
    }
}

/* Op 70 is given up in @ms, and not before, as one that may have been carried out. */
static void check_doubt(struct fixture *f, uint64_t ms)
{
    pass(f, ms - 1);
    CHECK_STR(trace(f), "");
    pass(f, 1);
    CHECK_STR(trace(f), "answer 70 IN_DOUBT\n");
}

/* A mutation finds the leader by its hint, and the next one goes there at once. */
static void hint_is_followed(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    answer(&f, 0, 2, OUT_NOT_LEADER, 4);
    answer(&f, 0, 4, 0, 0);
    mutate(&f, 71);
    CHECK_STR(trace(&f), "send w1/1 to 2\n"
                         "send w1/1 to 4\n"
                         "answer 70 OK\n"
                         "send w2/2 to 4\n");
    end(&f);
}

/* The number stays the same over every attempt: that is what makes it happen once. */
static void same_number_after_silence(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    pass(&f, ROUTER_RESEND_MS);
    answer(&f, 0, 3, OUT_TRY_LATER, 0);
    pass(&f, ROUTER_BACKOFF_MS);
    answer(&f, 0, 4, 0, 0);
    answer(&f, 0, 2, 0, 0); /* The first copy's answer, late: nobody waits for it. */
    CHECK_STR(trace(&f), "send w1/1 to 2\n"
                         "send w1/1 to 3\n"
                         "send w1/1 to 4\n"
                         "answer 70 OK\n");
    CHECK_UINT(router_pending(f.router), 0);
    end(&f);
}

/* What went down with a connection goes to another member at once. */
static void lost_connection(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    node(&f, 2, false);
    CHECK_STR(trace(&f), "send w1/1 to 2\n"
                         "send w1/1 to 3\n");
    end(&f);
}

/* The floor is the lowest number not answered: the zone keeps replies from there on. */
static void floor_rises_with_answers(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    mutate(&f, 71);
    mutate(&f, 72);
    answer(&f, 1, 2, 0, 0);
    mutate(&f, 73);
    answer(&f, 0, 2, 0, 0);
    mutate(&f, 74);
    CHECK_STR(trace(&f), "send w1/1 to 2\n"
                         "send w2/1 to 2\n"
                         "send w3/1 to 2\n"
                         "answer 71 OK\n"
                         "send w4/1 to 2\n"
                         "answer 70 OK\n"
                         "send w5/3 to 2\n");
    end(&f);
}

/* Reads go to this node if it is a member, else to the closest member that is up, and
 * to the next one when that cannot answer. */
static void reads_go_close(void)
{
    struct fixture f = {0};
    struct router_zone zone = {.n_members = 2, .nodes = {2, 1}};
    struct router_event event = {.type = ROUTER_EV_ZONE, .zone = &zone};

    init(&f);
    zone_known(&f);
    read_op(&f, 80);
    answer(&f, 0, 2, OUT_TRY_LATER, 0);
    pass(&f, ROUTER_BACKOFF_MS);
    answer(&f, 0, 3, 0, 0);
    memcpy(zone.id, zone_id, 16);
    step(&f, &event);
    read_op(&f, 81);
    CHECK_STR(trace(&f), "send r to 2\n"
                         "send r to 3\n"
                         "answer 80 OK\n"
                         "send r to 1\n");
    end(&f);
}

static void distance(struct fixture *f, uint64_t number, uint32_t rtt_us)
{
    struct router_event event = {
        .type = ROUTER_EV_DISTANCE, .node = number, .rtt_us = rtt_us};

    step(f, &event);
}

/* The measured distance decides; a difference of less than a quarter does not. */
static void closest_by_distance(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    distance(&f, 2, 9000);
    distance(&f, 3, 900);
    distance(&f, 4, 800);
    read_op(&f, 80);
    distance(&f, 4, 500);
    read_op(&f, 81);
    node(&f, 4, false);
    CHECK_STR(trace(&f), "send r to 3\nsend r to 4\nsend r to 3\n");
    end(&f);
}

/* A member that is silent costs one read half a second, and the next ones nothing, until
 * it is tried again; its late answer is as good as another's. */
static void silent_member(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    read_op(&f, 80);
    pass(&f, ROUTER_READ_RESEND_MS);
    CHECK_STR(trace(&f), "send r to 2\nsend r to 3\n");
    read_op(&f, 81);
    answer(&f, 1, 3, 0, 0);
    answer(&f, 0, 2, 0, 0);
    CHECK_STR(trace(&f), "send r to 3\nanswer 81 OK\nanswer 80 OK\n");
    pass(&f, ROUTER_QUIET_MS);
    read_op(&f, 82);
    CHECK_STR(trace(&f), "send r to 2\n");
    end(&f);
}

/* A silent member on this node is passed over too. */
static void silent_self(void)
{
    struct fixture f = {0};
    struct router_zone zone = {.n_members = 2, .nodes = {1, 2}};
    struct router_event event = {.type = ROUTER_EV_ZONE, .zone = &zone};

    init(&f);
    memcpy(zone.id, zone_id, 16);
    step(&f, &event);
    read_op(&f, 80);
    pass(&f, ROUTER_READ_RESEND_MS);
    read_op(&f, 81);
    CHECK_STR(trace(&f), "send r to 1\nsend r to 2\nsend r to 2\n");
    end(&f);
}

static void read_much(struct fixture *f, uint64_t token)
{
    struct router_event event = {.type = ROUTER_EV_READ,
                                 .token = token,
                                 .op = slice_borrow("op", 2),
                                 .read_bytes = 1u << 20};

    memcpy(event.zone_id, zone_id, 16);
    step(f, &event);
}

/* Large reads that are under way together come from all members that are about as close;
 * one that fails in the middle is replaced. */
static void striped(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    distance(&f, 2, 300);
    distance(&f, 3, 400);
    distance(&f, 4, 50000);
    read_much(&f, 80);
    read_much(&f, 81);
    read_much(&f, 82);
    answer(&f, 1, 3, 0, 0);
    read_much(&f, 83);
    CHECK_STR(trace(&f), "send r to 2\nsend r to 3\nsend r to 2\nanswer 81 OK\n"
                         "send r to 3\n");
    node(&f, 3, false);
    CHECK_STR(trace(&f), "send r to 2\n");
    end(&f);
}

/* A new leader gets at once what waits and what the old one may have lost. */
static void new_leader(void)
{
    struct fixture f = {0};
    struct router_event event = {.type = ROUTER_EV_LEADER, .node = 3};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    memcpy(event.zone_id, zone_id, 16);
    step(&f, &event);
    CHECK_STR(trace(&f), "send w1/1 to 2\n"
                         "send w1/1 to 3\n");
    end(&f);
}

/* Without a zone or a member the op waits, and ends as "try later", certainly not
 * executed. */
static void bounded_wait(void)
{
    struct fixture f = {0};

    init(&f);
    mutate(&f, 70);
    pass(&f, ROUTER_WAIT_MS - 1);
    CHECK_STR(trace(&f), "");
    pass(&f, 1);
    CHECK_STR(trace(&f), "answer 70 TRY_LATER\n");
    mutate(&f, 71);
    zone_known(&f);
    CHECK_STR(trace(&f), "send w2/2 to 2\n");
    end(&f);
}

/* An op that may have been carried out is not given up before the doubt's bound, and then
 * not as one that was not: whoever asks again as another call would have it done twice. */
static void doubt_is_longer(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    pass(&f, ROUTER_DOUBT_MS - 1);
    CHECK(strstr(trace(&f), "answer") == NULL);
    pass(&f, 1);
    CHECK(strstr(trace(&f), "answer 70 IN_DOUBT\n") != NULL);
    end(&f);
}

/* A connection that broke may have broken after the op was carried out: with nobody to
 * ask any more, it is in doubt and not refused. */
static void lost_connection_leaves_doubt(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    all_down(&f);
    (void)trace(&f);
    check_doubt(&f, ROUTER_DOUBT_MS);
    end(&f);
}

/* So it is when a leader that lost its leadership says that it does not know. */
static void try_later_leaves_doubt(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    answer(&f, 0, 2, OUT_TRY_LATER, 0);
    all_down(&f);
    (void)trace(&f);
    check_doubt(&f, ROUTER_DOUBT_MS);
    end(&f);
}

/* The same when a new leader took over while the old one had it. */
static void new_leader_leaves_doubt(void)
{
    struct router_event event = {.type = ROUTER_EV_LEADER, .node = 3};
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    memcpy(event.zone_id, zone_id, 16);
    step(&f, &event);
    answer(&f, 0, 3, OUT_NOT_LEADER, 0); /* That one has certainly not. */
    all_down(&f);
    (void)trace(&f);
    check_doubt(&f, ROUTER_DOUBT_MS);
    end(&f);
}

/* And when a member said nothing at all, whatever others say of themselves later. */
static void silence_leaves_doubt(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    pass(&f, ROUTER_RESEND_MS);
    answer(&f, 0, 3, OUT_NOT_LEADER, 0);
    all_down(&f);
    CHECK_STR(trace(&f), "send w1/1 to 2\nsend w1/1 to 3\n");
    check_doubt(&f, ROUTER_DOUBT_MS - ROUTER_RESEND_MS);
    end(&f);
}

/* The client's call goes along with each attempt: by it the zone knows a copy that came
 * over another node. */
static void call_goes_along(void)
{
    struct fixture f = {0};
    struct router_event event = {.type = ROUTER_EV_MUTATE,
                                 .token = 70,
                                 .op = slice_borrow("op", 2),
                                 .rpc_key = "the client's one"};

    init(&f);
    zone_known(&f);
    memcpy(event.zone_id, zone_id, 16);
    step(&f, &event);
    CHECK_MEM(f.rpc_key, "the client's one", 16);
    memset(f.rpc_key, 0, sizeof f.rpc_key);
    node(&f, 2, false);
    CHECK_MEM(f.rpc_key, "the client's one", 16);
    end(&f);
}

/* A leader that is full is asked again, more and more slowly. */
static void full_leader(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    for (int i = 0; i < 3; i++) {
        uint64_t before = f.now_ms;

        answer(&f, 0, 2, OUT_FULL, 0);
        pass(&f, router_wake_ms(f.router) - before);
        CHECK_UINT(f.now_ms - before, ROUTER_BACKOFF_MS << i);
    }
    CHECK_STR(trace(&f), "send w1/1 to 2\nsend w1/1 to 2\nsend w1/1 to 2\n"
                         "send w1/1 to 2\n");
    end(&f);
}

/* Two members that name each other are not asked in a tight circle. */
static void circle_of_hints(void)
{
    struct fixture f = {0};
    const char *text;
    unsigned sends = 0;

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    for (unsigned i = 0; i < 10; i++) {
        answer(&f, 0, 2 + i % 2, OUT_NOT_LEADER, 3 - i % 2);
    }
    for (text = trace(&f); (text = strstr(text, "send")) != NULL; text++) {
        sends++;
    }
    CHECK(sends <= 6);
    CHECK(router_wake_ms(f.router) > f.now_ms);
    end(&f);
}

/* The ops of a zone that was deleted end, once. */
static void zone_gone(void)
{
    struct fixture f = {0};
    struct router_event event = {.type = ROUTER_EV_ZONE_GONE};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    read_op(&f, 71);
    (void)trace(&f);
    memcpy(event.zone_id, zone_id, 16);
    step(&f, &event);
    CHECK_STR(trace(&f), "answer 70 STALE\nanswer 71 STALE\n");
    answer(&f, 0, 2, 0, 0);
    CHECK_STR(trace(&f), "");
    CHECK_UINT(router_pending(f.router), 0);
    end(&f);
}

/* The asker is gone, perhaps to another node, and the op with it: it is not sent again,
 * and what is under way falls below the floor of what comes next. */
static void cancelled(void)
{
    struct fixture f = {0};
    struct router_event event = {.type = ROUTER_EV_CANCEL, .token = 70};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    step(&f, &event);
    CHECK_UINT(router_pending(f.router), 0);
    pass(&f, ROUTER_RESEND_MS);
    mutate(&f, 71);
    answer(&f, 0, 2, 0, 0);
    CHECK_STR(trace(&f), "send w1/1 to 2\nsend w2/2 to 2\n");
    CHECK_UINT(router_pending(f.router), 1);
    end(&f);
}

/* Only who was asked can say that it was done: nobody's acknowledgement is another's. */
static void stranger_answers(void)
{
    struct fixture f = {0};

    init(&f);
    zone_known(&f);
    mutate(&f, 70);
    read_op(&f, 71);
    answer(&f, 0, 4, 0, 0);
    answer(&f, 1, 9, 0, 0);
    answer(&f, 0, 9, OUT_NOT_LEADER, 9);
    CHECK_STR(trace(&f), "send w1/1 to 2\nsend r to 2\n");
    pass(&f, ROUTER_RESEND_MS);
    answer(&f, 0, 2, 0, 0); /* The first one's answer, late. */
    CHECK_STR(trace(&f), "send r to 3\nsend r to 4\nsend w1/1 to 3\nanswer 70 OK\n");
    end(&f);
}

/* The number of ops is bounded; past it the answer comes at once. */
static void bounded(void)
{
    struct fixture f = {0};

    init(&f);
    for (uint64_t token = 1; token <= ROUTER_OPS_MAX; token++) {
        mutate(&f, token);
    }
    CHECK_STR(trace(&f), "");
    mutate(&f, 99999);
    CHECK_STR(trace(&f), "answer 99999 TRY_LATER\n");
    CHECK_UINT(router_pending(f.router), ROUTER_OPS_MAX);
    end(&f);
}

TEST_MAIN(CHECK_TEST(hint_is_followed), CHECK_TEST(same_number_after_silence),
          CHECK_TEST(lost_connection), CHECK_TEST(floor_rises_with_answers),
          CHECK_TEST(reads_go_close), CHECK_TEST(closest_by_distance),
          CHECK_TEST(silent_member), CHECK_TEST(silent_self), CHECK_TEST(striped),
          CHECK_TEST(new_leader), CHECK_TEST(bounded_wait), CHECK_TEST(doubt_is_longer),
          CHECK_TEST(lost_connection_leaves_doubt), CHECK_TEST(try_later_leaves_doubt),
          CHECK_TEST(new_leader_leaves_doubt), CHECK_TEST(silence_leaves_doubt),
          CHECK_TEST(call_goes_along), CHECK_TEST(full_leader),
          CHECK_TEST(circle_of_hints), CHECK_TEST(zone_gone), CHECK_TEST(cancelled),
          CHECK_TEST(stranger_answers), CHECK_TEST(bounded))
