#include "raft/heal.h"

#include "base/assert.h"
#include "base/outcome.h"

#include <errno.h>
#include <stdlib.h>

#define FAILED_MAX 256u /* Blocks given up that are remembered. */

enum want_state {
    WANT_IDLE = 1,   /* Somebody is to be asked, as soon as there is room. */
    WANT_ASKED = 2,  /* Of .to, until .due_ms. */
    WANT_HELD = 3,   /* The copy is here and waits: for entries, or for a settle. */
    WANT_PUT = 4,    /* The driver is at it. */
    WANT_PAUSED = 5, /* Until .due_ms, then everybody is asked once more. */
};

struct want {
    enum want_state state;
    uint64_t ino;
    uint64_t block;
    uint64_t index; /* Applied here when it was found bad. */
    bool waited;
    uint64_t begun_ms;
    uint64_t due_ms;
    uint64_t number;
    uint64_t to;
    uint64_t needs;    /* To be applied here before the copy fits. */
    bool gone;         /* The other has no such block: there is nothing to put. */
    bool settle;       /* The last put met a settle. */
    uint64_t asked;    /* Members of this round, by their place in heal->ids. */
    uint64_t also_bad; /* Members that said that theirs is bad. */
};

struct failed {
    uint64_t ino;
    uint64_t block;
    uint64_t at_ms;
};

struct heal {
    struct want wants[HEAL_WANTS_MAX]; /* The oldest first. */
    uint32_t n;
    uint64_t number;
    uint64_t applied;
    uint64_t now_ms;
    /* All members ever told of, at places that stay. */
    uint64_t ids[HEAL_MEMBERS_MAX];
    uint32_t n_ids;
    struct heal_member members[HEAL_MEMBERS_MAX];
    uint32_t n_members;
    struct failed failed[FAILED_MAX];
    uint32_t n_failed; /* Ever; the newest FAILED_MAX are there. */
    struct heal_actions *out;
};

int heal_new(uint64_t first, struct heal **out)
{
    struct heal *heal = calloc(1, sizeof *heal);

    if (heal == NULL) {
        return -ENOMEM;
    }
    heal->number = first;
    *out = heal;
    return 0;
}

void heal_free(struct heal *heal)
{
    free(heal);
}

static struct heal_action *act(struct heal *heal, enum heal_action_type type,
                               const struct want *want)
{
    struct heal_action *action = &heal->out->items[heal->out->n++];

    ASSERT(heal->out->n <= HEAL_ACTIONS_MAX);
    *action = (struct heal_action){.type = type,
                                   .number = want->number,
                                   .to = want->to,
                                   .ino = want->ino,
                                   .block = want->block,
                                   .index = want->index,
                                   .waited = want->waited};
    return action;
}

static bool holds(const struct want *want)
{
    return (want->state == WANT_HELD && !want->gone) || want->state == WANT_PUT;
}

static bool is_busy(const struct want *want)
{
    return want->state == WANT_ASKED || want->state == WANT_HELD ||
           want->state == WANT_PUT;
}

static uint32_t n_busy(const struct heal *heal)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < heal->n; i++) {
        n += is_busy(&heal->wants[i]);
    }
    return n;
}

/* The want is over. It leaves its place to those behind it. */
static void end(struct heal *heal, struct want *want, int outcome)
{
    uint32_t at = (uint32_t)(want - heal->wants);

    if (holds(want)) {
        act(heal, HEAL_DO_DROP, want);
    }
    act(heal, HEAL_DO_DONE, want)->outcome = outcome;
    if (outcome == OUT_IO) {
        heal->failed[heal->n_failed++ % FAILED_MAX] = (struct failed){
            .ino = want->ino, .block = want->block, .at_ms = heal->now_ms};
    }
    for (uint32_t i = at; i + 1 < heal->n; i++) {
        heal->wants[i] = heal->wants[i + 1];
    }
    heal->n--;
}

static uint64_t bit_of(const struct heal *heal, uint64_t id)
{
    for (uint32_t i = 0; i < heal->n_ids; i++) {
        if (heal->ids[i] == id) {
            return 1ull << i;
        }
    }
    return 0;
}

/* The next that may have a good one; NULL: all of them were asked in this round. */
static const struct heal_member *next_member(const struct heal *heal,
                                             const struct want *want)
{
    for (uint32_t i = 0; i < heal->n_members; i++) {
        uint64_t bit = bit_of(heal, heal->members[i].id);

        if (heal->members[i].up && ((want->asked | want->also_bad) & bit) == 0) {
            return &heal->members[i];
        }
    }
    return NULL;
}

/* Nobody is left who could ever have a good one. */
static bool is_hopeless(const struct heal *heal, const struct want *want)
{
    for (uint32_t i = 0; i < heal->n_members; i++) {
        if ((want->also_bad & bit_of(heal, heal->members[i].id)) == 0) {
            return false;
        }
    }
    return true;
}

static void pause_want(struct heal *heal, struct want *want)
{
    want->state = WANT_PAUSED;
    want->due_ms = heal->now_ms + HEAL_RETRY_MS;
}

static void ask(struct heal *heal, struct want *want)
{
    const struct heal_member *member = next_member(heal, want);

    if (member == NULL) {
        pause_want(heal, want);
        return;
    }
    want->state = WANT_ASKED;
    want->to = member->id;
    want->asked |= bit_of(heal, member->id);
    want->number = ++heal->number;
    want->due_ms = heal->now_ms + HEAL_ANSWER_MS;
    act(heal, HEAL_DO_ASK, want);
}

/* The copy is here: put it, unless entries that it holds are still to come. */
static void go_on_held(struct heal *heal, struct want *want)
{
    if (heal->applied < want->needs || heal->now_ms < want->due_ms) {
        return;
    }
    if (want->gone) {
        end(heal, want, 0);
        return;
    }
    want->state = WANT_PUT;
    want->settle = false;
    act(heal, HEAL_DO_PUT, want);
}

static bool is_over(const struct heal *heal, const struct want *want)
{
    return want->state != WANT_PUT &&
           (heal->now_ms >= want->begun_ms + HEAL_PATIENCE_MS ||
            (want->state != WANT_HELD && is_hopeless(heal, want)));
}

/* Every want that can go on does. */
static void go_on(struct heal *heal)
{
    uint32_t i = 0;

    while (i < heal->n) {
        struct want *want = &heal->wants[i];
        uint32_t before = heal->n;

        if (is_over(heal, want)) {
            /* A copy that was had is none that cannot be had. */
            end(heal, want, want->state == WANT_HELD ? OUT_TRY_LATER : OUT_IO);
            continue;
        }
        if (want->state == WANT_ASKED && heal->now_ms >= want->due_ms) {
            want->state = WANT_IDLE;
        }
        if (want->state == WANT_PAUSED && heal->now_ms >= want->due_ms) {
            want->state = WANT_IDLE;
            want->asked = 0;
        }
        if (want->state == WANT_HELD) {
            go_on_held(heal, want);
        } else if (want->state == WANT_IDLE && n_busy(heal) < HEAL_BUSY_MAX) {
            ask(heal, want);
        }
        i += heal->n == before ? 1 : 0;
    }
}

bool heal_gave_up(const struct heal *heal, uint64_t ino, uint64_t block)
{
    for (uint32_t i = 0; i < FAILED_MAX && i < heal->n_failed; i++) {
        const struct failed *failed = &heal->failed[i];

        if (failed->ino == ino && failed->block == block &&
            heal->now_ms < failed->at_ms + HEAL_AGAIN_MS) {
            return true;
        }
    }
    return false;
}

static void want_begin(struct heal *heal, const struct heal_event *event)
{
    struct want want = {.state = WANT_IDLE,
                        .ino = event->ino,
                        .block = event->block,
                        .index = event->index,
                        .waited = event->waited,
                        .begun_ms = heal->now_ms};

    for (uint32_t i = 0; i < heal->n; i++) {
        struct want *at = &heal->wants[i];

        if (at->ino == event->ino && at->block == event->block) {
            at->waited = at->waited || event->waited;
            return;
        }
    }
    if (!event->waited && heal_gave_up(heal, event->ino, event->block)) {
        return;
    }
    if (heal->n == HEAL_WANTS_MAX) {
        act(heal, HEAL_DO_DONE, &want)->outcome = OUT_TRY_LATER;
        return;
    }
    heal->wants[heal->n++] = want;
}

static void take_members(struct heal *heal, const struct heal_event *event)
{
    uint32_t n =
        event->n_members < HEAL_MEMBERS_MAX ? event->n_members : HEAL_MEMBERS_MAX;

    for (uint32_t i = 0; i < n; i++) {
        heal->members[i] = event->members[i];
        if (bit_of(heal, event->members[i].id) != 0) {
            continue;
        }
        if (heal->n_ids == HEAL_MEMBERS_MAX) {
            /* Members came and went for long: begin the count of places anew. */
            heal->n_ids = 0;
            for (uint32_t k = 0; k < heal->n; k++) {
                heal->wants[k].asked = 0;
                heal->wants[k].also_bad = 0;
            }
            take_members(heal, event);
            return;
        }
        heal->ids[heal->n_ids++] = event->members[i].id;
    }
    heal->n_members = n;
}

static struct want *find(struct heal *heal, uint64_t number, enum want_state state)
{
    for (uint32_t i = 0; i < heal->n; i++) {
        if (heal->wants[i].number == number && heal->wants[i].state == state) {
            return &heal->wants[i];
        }
    }
    return NULL;
}

static void answered(struct heal *heal, const struct heal_event *event)
{
    struct want *want = find(heal, event->number, WANT_ASKED);

    if (want == NULL || want->to != event->from) {
        if (event->outcome == 0) {
            act(heal, HEAL_DO_DROP, &(struct want){.number = event->number});
        }
        return;
    }
    if (event->outcome == 0 || event->outcome == OUT_NOENT) {
        want->state = WANT_HELD;
        want->gone = event->outcome == OUT_NOENT;
        want->needs = want->gone ? event->index : event->version;
        want->due_ms = heal->now_ms;
        return;
    }
    if (event->outcome == OUT_IO) {
        want->also_bad |= bit_of(heal, event->from);
    }
    want->state = WANT_IDLE; /* The next one. */
}

static void put_done(struct heal *heal, const struct heal_event *event)
{
    struct want *want = find(heal, event->number, WANT_PUT);

    ASSERT(want != NULL);
    switch (event->outcome) {
    case 0:
    case OUT_NOENT:
        end(heal, want, 0);
        break;
    case OUT_TRY_LATER:
        want->state = WANT_HELD;
        want->settle = true;
        want->due_ms = heal->now_ms + HEAL_RETRY_MS;
        break;
    case OUT_MISMATCH: /* Newer writes settled meanwhile. */
        act(heal, HEAL_DO_DROP, want);
        pause_want(heal, want);
        break;
    default:
        end(heal, want, OUT_IO);
        break;
    }
}

static void settled(struct heal *heal)
{
    for (uint32_t i = 0; i < heal->n; i++) {
        if (heal->wants[i].state == WANT_HELD && heal->wants[i].settle) {
            heal->wants[i].due_ms = heal->now_ms;
        }
    }
}

static void stop(struct heal *heal)
{
    uint32_t i = 0;

    while (i < heal->n) {
        if (heal->wants[i].state == WANT_PUT) {
            i++; /* Its end is still to come. */
        } else {
            end(heal, &heal->wants[i], OUT_TRY_LATER);
        }
    }
}

void heal_step(struct heal *heal, const struct heal_event *event,
               struct heal_actions *actions)
{
    heal->out = actions;
    actions->n = 0;
    heal->now_ms = event->now_ms > heal->now_ms ? event->now_ms : heal->now_ms;
    switch (event->type) {
    case HEAL_EV_WANT:
        want_begin(heal, event);
        break;
    case HEAL_EV_MEMBERS:
        take_members(heal, event);
        break;
    case HEAL_EV_ANSWER:
        answered(heal, event);
        break;
    case HEAL_EV_PUT:
        put_done(heal, event);
        break;
    case HEAL_EV_APPLIED:
        heal->applied = event->index > heal->applied ? event->index : heal->applied;
        break;
    case HEAL_EV_SETTLED:
        settled(heal);
        break;
    case HEAL_EV_TICK:
        break;
    case HEAL_EV_STOP:
        stop(heal);
        return;
    }
    go_on(heal);
}

uint64_t heal_wake_ms(const struct heal *heal)
{
    uint64_t wake = UINT64_MAX;

    for (uint32_t i = 0; i < heal->n; i++) {
        const struct want *want = &heal->wants[i];
        uint64_t due = want->begun_ms + HEAL_PATIENCE_MS;

        if (want->state == WANT_PUT) {
            continue;
        }
        if ((want->state == WANT_ASKED || want->state == WANT_PAUSED ||
             (want->state == WANT_HELD && want->settle)) &&
            want->due_ms < due) {
            due = want->due_ms;
        }
        wake = due < wake ? due : wake;
    }
    return wake;
}

uint32_t heal_pending(const struct heal *heal)
{
    return heal->n;
}

bool heal_waits(const struct heal *heal)
{
    for (uint32_t i = 0; i < heal->n; i++) {
        if (heal->wants[i].state == WANT_HELD && heal->wants[i].settle) {
            return true;
        }
    }
    return false;
}

bool heal_asked(const struct heal *heal, uint64_t number, uint64_t from, uint64_t *ino,
                uint64_t *block)
{
    for (uint32_t i = 0; i < heal->n; i++) {
        const struct want *want = &heal->wants[i];

        if (want->state == WANT_ASKED && want->number == number && want->to == from) {
            *ino = want->ino;
            *block = want->block;
            return true;
        }
    }
    return false;
}
