/*
 * host_heal: the driver of raft/heal: bad blocks get another member's copy.
 *
 * A read that meets a bad block waits here, is done again when the block is healed, and is
 * answered with OUT_IO only if no member has a good copy. What settling, scrubbing and other
 * members' questions find bad is healed the same way, with nobody waiting. Questions and
 * answers are pull frames of kind COPY (docs/formats/pull.md).
 */
#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "daemon/event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A copy that arrived, until heal says drop. */
struct held {
    struct held *next;
    uint64_t number;
    struct store_copy copy; /* Its data keeps the frame. */
};

/* A read that waits for a block. */
struct waiter {
    struct waiter *next;
    uint64_t ino;
    uint64_t block;
    struct host_bad_read read;
};

struct healing {
    struct heal *step;
    struct held *held;
    struct waiter *waiters;
    uint64_t n_healed;
    uint64_t n_given_up;
};

struct put_job {
    struct host_job base;
    uint64_t number;
    struct store_copy copy;
    bool settle_rest;
};

static void heal_event(struct host *host, struct heal_event *event);

/* The bytes stay the frame's; in the list they are kept. */
static struct held **held_find(struct healing *healing, uint64_t number)
{
    struct held **at = &healing->held;

    while (*at != NULL && (*at)->number != number) {
        at = &(*at)->next;
    }
    return at;
}

static void held_drop(struct healing *healing, uint64_t number)
{
    struct held **at = held_find(healing, number);
    struct held *held = *at;

    if (held != NULL) {
        *at = held->next;
        slice_unref(&held->copy.data);
        free(held);
    }
}

static void run_put(struct job *base)
{
    struct put_job *job = (struct put_job *)base;
    struct store *store = job->base.host->disk.store;

    job->base.rv = store_heal(store, &job->copy);
    job->settle_rest = store_settle_rest(store);
}

static void done_put(struct job *base)
{
    struct put_job *job = (struct put_job *)base;
    struct host *host = job->base.host;

    if (job->base.rv < 0 && !host_no_room(host, job->base.rv)) {
        log_error("daemon", "msg=\"a copy could not be put\" zone=%s error=\"%s\"",
                  host->config.label, strerror(-job->base.rv));
    }
    slice_unref(&job->copy.data);
    heal_event(host,
               &(struct heal_event){
                   .type = HEAL_EV_PUT, .number = job->number, .outcome = job->base.rv});
    if (job->settle_rest != host->settle_rest) {
        host->settle_rest = job->settle_rest; /* It lies beside until it settles. */
        host_report_disk(host, UINT64_MAX);
    }
    host_job_end(&job->base);
}

static void act_put(struct host *host, uint64_t number)
{
    struct held *held = *held_find(host->healing, number);
    struct put_job *job = calloc(1, sizeof *job);

    ASSERT(held != NULL && job != NULL);
    job->number = number;
    job->copy = held->copy;
    job->copy.data = slice_ref(held->copy.data);
    host_post_zone(host, &job->base, run_put, done_put);
}

static void act_ask(struct host *host, const struct heal_action *action)
{
    uint8_t bytes[PULL_HEAD_MAX];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);

    wire_put_u8(&enc, PULL_VERSION);
    wire_put_u8(&enc, PULL_COPY);
    wire_put_u64(&enc, action->number);
    wire_put_u64(&enc, action->ino);
    wire_put_u64(&enc, action->block);
    wire_put_u64(&enc, action->index);
    ASSERT(!enc.failed);
    /* One that does not leave is one that is not answered. */
    (void)host->callbacks.pull_send(host->callbacks.ctx, host, action->to,
                                    slice_borrow(bytes, enc.len));
}

/* The block's readers: again, or their error. */
static void act_done(struct host *host, const struct heal_action *action)
{
    struct healing *healing = host->healing;
    const struct store_want block = {.ino = action->ino, .block = action->block};
    struct waiter **at = &healing->waiters;
    struct waiter *mine = NULL;

    if (action->outcome == OUT_IO) {
        healing->n_given_up++;
        host_tell_bad(host, HOST_BAD_HOPELESS, &block);
    } else if (action->outcome == 0) {
        healing->n_healed++;
        host_tell_healed(host, &block);
    }
    host_scrub_block_done(host, &block, action->outcome == 0);
    while (*at != NULL) {
        struct waiter *waiter = *at;

        if (waiter->ino == action->ino && waiter->block == action->block) {
            *at = waiter->next;
            waiter->next = mine;
            mine = waiter;
        } else {
            at = &waiter->next;
        }
    }
    while (mine != NULL) {
        struct waiter *waiter = mine;

        mine = waiter->next;
        host_read_healed(host, &waiter->read, action->outcome);
        free(waiter);
    }
}

static void heal_act(struct host *host, const struct heal_actions *actions)
{
    for (uint32_t i = 0; i < actions->n; i++) {
        const struct heal_action *action = &actions->items[i];

        switch (action->type) {
        case HEAL_DO_ASK:
            act_ask(host, action);
            break;
        case HEAL_DO_PUT:
            act_put(host, action->number);
            break;
        case HEAL_DO_DROP:
            held_drop(host->healing, action->number);
            break;
        case HEAL_DO_DONE:
            act_done(host, action);
            break;
        }
    }
}

static void heal_event(struct host *host, struct heal_event *event)
{
    struct heal_actions *actions;

    if (host->healing == NULL) {
        return;
    }
    actions = malloc(sizeof *actions); /* Readers may come back with another event. */
    ASSERT(actions != NULL);
    event->now_ms = host_now_ms();
    heal_step(host->healing->step, event, actions);
    heal_act(host, actions);
    free(actions);
}

static bool link_is_up(const struct host *host, uint64_t id)
{
    for (uint32_t i = 0; i < host->n_links; i++) {
        if (host->links[i] == id) {
            return true;
        }
    }
    return false;
}

/* The other members; the leader, which has everything, first. */
static void tell_members(struct host *host)
{
    struct heal_member members[RGROUP_MEMBERS_MAX];
    struct replica_status status;
    uint32_t n = 0;

    replica_status(host->replica, host_now_ms(), &status);
    for (uint32_t i = 0; i < status.n_members; i++) {
        uint64_t id = status.members[i].id;

        if (id != host->config.raft_id) {
            members[n] = (struct heal_member){.id = id, .up = link_is_up(host, id)};
            if (id == status.leader && n > 0) {
                struct heal_member first = members[n];

                members[n] = members[0];
                members[0] = first;
            }
            n++;
        }
    }
    heal_event(host, &(struct heal_event){
                         .type = HEAL_EV_MEMBERS, .members = members, .n_members = n});
    heal_event(host, &(struct heal_event){.type = HEAL_EV_APPLIED,
                                          .index = status.applied_index});
}

static bool begin(struct host *host)
{
    if (host->closing || host->replica == NULL || host->state == HOST_FAILED) {
        return false;
    }
    if (host->healing == NULL) {
        host->healing = calloc(1, sizeof *host->healing);
        if (host->healing != NULL &&
            heal_new(host_now_ms() << 20, &host->healing->step) != 0) {
            free(host->healing);
            host->healing = NULL;
        }
    }
    return host->healing != NULL;
}

void host_heal_want(struct host *host, const struct store_want *want)
{
    if (begin(host)) {
        tell_members(host);
        heal_event(host, &(struct heal_event){.type = HEAL_EV_WANT,
                                              .ino = want->ino,
                                              .block = want->block,
                                              .index = want->version});
    }
}

void host_heal_scrub(struct host *host, const struct store_want *want)
{
    if (!begin(host)) {
        host_scrub_block_done(host, want, false);
        return;
    }
    tell_members(host);
    heal_event(host, &(struct heal_event){.type = HEAL_EV_WANT,
                                          .ino = want->ino,
                                          .block = want->block,
                                          .index = want->version,
                                          .waited = true});
}

bool host_heal_read(struct host *host, const struct store_want *want,
                    const struct host_bad_read *read)
{
    struct waiter *waiter;

    if (!begin(host)) {
        return false;
    }
    waiter = calloc(1, sizeof *waiter);
    if (waiter == NULL) {
        return false;
    }
    waiter->ino = want->ino;
    waiter->block = want->block;
    waiter->read = *read;
    waiter->next = host->healing->waiters;
    host->healing->waiters = waiter;
    tell_members(host);
    heal_event(host, &(struct heal_event){.type = HEAL_EV_WANT,
                                          .ino = want->ino,
                                          .block = want->block,
                                          .index = want->version,
                                          .waited = true});
    return true;
}

/* The answer's fields behind the outcome; false: it is none. */
static bool copy_decode(struct wire_dec *dec, struct slice body, struct held *held,
                        struct heal_event *event)
{
    bool present = wire_get_u8(dec) != 0;
    uint32_t len;
    uint32_t crc;

    event->version = wire_get_u64(dec);
    event->index = wire_get_u64(dec);
    len = wire_get_u32(dec);
    crc = wire_get_u32(dec);
    if (!wire_done(dec) || len != body.len || len > STORE_BLOCK) {
        return false;
    }
    if (!present) {
        event->outcome = OUT_NOENT;
        return true;
    }
    if (event->version == 0 || event->version > event->index ||
        crc32c(0, body.data, len) != crc) {
        return false;
    }
    held->copy.version = event->version;
    held->copy.data = slice_keep(body);
    return held->copy.data.len == len;
}

void host_heal_answer(struct host *host, uint64_t from, struct slice head,
                      struct slice body)
{
    struct wire_dec dec = wire_dec(head.data, head.len);
    struct heal_event event = {.type = HEAL_EV_ANSWER, .from = from};
    struct held *held;

    if (host->healing == NULL || host->closing) {
        return;
    }
    held = calloc(1, sizeof *held);
    if (held == NULL) {
        return; /* As one that never came. */
    }
    wire_get_view(&dec, 2);
    event.number = wire_get_u64(&dec);
    event.outcome = (int)wire_get_u32(&dec);
    held->number = event.number;
    if (event.outcome == 0 && !copy_decode(&dec, body, held, &event)) {
        event.outcome = OUT_INVAL;
    }
    if (event.outcome == 0 && heal_asked(host->healing->step, event.number, from,
                                         &held->copy.ino, &held->copy.block)) {
        held->next = host->healing->held;
        host->healing->held = held;
    } else {
        slice_unref(&held->copy.data);
        free(held);
    }
    heal_event(host, &event);
}

void host_heal_applied(struct host *host, uint64_t index)
{
    if (host->healing != NULL && heal_pending(host->healing->step) > 0) {
        heal_event(host, &(struct heal_event){.type = HEAL_EV_APPLIED, .index = index});
    }
}

void host_heal_settled(struct host *host)
{
    heal_event(host, &(struct heal_event){.type = HEAL_EV_SETTLED});
}

bool host_heal_waits(const struct host *host)
{
    return host->healing != NULL && heal_waits(host->healing->step);
}

/* Zone thread. */
uint32_t host_heal_look(struct host *host, struct store_want *out, uint32_t max)
{
    uint64_t index = zone_applied_index(host->disk.zone);
    uint32_t n = 0;

    while (n < max && store_bad_get(host->disk.store, host->bad_at, &out[n])) {
        out[n++].version = index;
        host->bad_at++;
    }
    if (n < max) {
        host->bad_at = 0;
    }
    return n;
}

bool host_heal_gave_up(const struct host *host, const struct store_want *want)
{
    return host->healing != NULL &&
           heal_gave_up(host->healing->step, want->ino, want->block);
}

/* Blocks that were given up are asked for again now and then: somebody may have come back
 * who has them. */
struct look_job {
    struct host_job base;
    struct store_want bad[HOST_BAD_LOOK];
    uint32_t n;
};

static void run_look(struct job *base)
{
    struct look_job *job = (struct look_job *)base;

    job->n = host_heal_look(job->base.host, job->bad, HOST_BAD_LOOK);
}

static void done_look(struct job *base)
{
    struct look_job *job = (struct look_job *)base;

    for (uint32_t i = 0; i < job->n; i++) {
        host_heal_want(job->base.host, &job->bad[i]);
    }
    host_job_end(&job->base);
}

static void look_again(struct host *host, uint64_t now_ms)
{
    struct look_job *job;

    if (host->closing || host->state != HOST_RUNNING || host->healing->n_given_up == 0 ||
        now_ms < host->heal_looked_ms + HEAL_AGAIN_MS) {
        return;
    }
    job = calloc(1, sizeof *job);
    if (job != NULL) {
        host->heal_looked_ms = now_ms;
        host_post_zone(host, &job->base, run_look, done_look);
    }
}

void host_heal_tick(struct host *host, uint64_t now_ms)
{
    if (host->healing != NULL) {
        look_again(host, now_ms);
    }
    if (host->healing == NULL || heal_pending(host->healing->step) == 0 ||
        now_ms < host->heal_told_ms + HEAL_RETRY_MS) {
        return;
    }
    host->heal_told_ms = now_ms;
    tell_members(host);
    heal_event(host, &(struct heal_event){.type = HEAL_EV_TICK});
}

uint64_t host_heal_wake_ms(const struct host *host)
{
    uint64_t wake =
        host->healing == NULL ? UINT64_MAX : heal_wake_ms(host->healing->step);
    uint64_t next = host->heal_told_ms + HEAL_RETRY_MS;

    return wake < next ? next : wake;
}

void host_heal_stop(struct host *host)
{
    heal_event(host, &(struct heal_event){.type = HEAL_EV_STOP});
}

void host_heal_free(struct host *host)
{
    struct healing *healing = host->healing;

    if (healing == NULL) {
        return;
    }
    ASSERT(healing->waiters == NULL);
    while (healing->held != NULL) {
        held_drop(healing, healing->held->number);
    }
    heal_free(healing->step);
    free(healing);
    host->healing = NULL;
}

void host_heal_counts(const struct host *host, uint64_t *healed, uint64_t *given_up)
{
    *healed = host->healing == NULL ? 0 : host->healing->n_healed;
    *given_up = host->healing == NULL ? 0 : host->healing->n_given_up;
}
