/*
 * Rot, and healing: bits flip in the settled data of one node's members, and raft/heal has
 * the blocks healed by the others, as src/daemon/host_heal.c does on a machine. Chance is
 * of its own here, so that seeds without rot are what they were.
 */
#include "sys.h"

#include "base/assert.h"
#include "base/outcome.h"
#include "base/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MAX 16u
#define TRIES 60u          /* Places looked at for one flip: most are no file's. */
#define FLIP_BYTES 400000u /* Files are not longer. */

static uint64_t host_name(const struct sys_host *host)
{
    return host->node->number << 8 | host->zone_nr;
}

static void heal_event(struct sys_host *host, struct heal_event event);

static struct sys_copy *copy_of(struct sys_host *host, uint64_t number)
{
    for (uint32_t i = 0; i < SYS_COPIES; i++) {
        if (host->copies[i].number == number) {
            return &host->copies[i];
        }
    }
    return NULL;
}

static void copy_drop(struct sys_copy *copy)
{
    if (copy != NULL) {
        slice_unref(&copy->copy.data);
        *copy = (struct sys_copy){0};
    }
}

static void run_put(struct sys_job *job)
{
    struct sys_copy *copy = copy_of(job->host, job->index);

    ASSERT(copy != NULL);
    job->rv = store_heal(job->host->store, &copy->copy);
}

static void done_put(struct sys_job *job)
{
    if (job->rv < 0 && job->host->node->broken) {
        sys_host_fault(job->host, "heal", job->rv);
        return;
    }
    job->host->sys->counts.healed += job->rv == 0;
    heal_event(job->host,
               (struct heal_event){
                   .type = HEAL_EV_PUT, .number = job->index, .outcome = job->rv});
}

static void act_ask(struct sys_host *host, const struct heal_action *action)
{
    struct buf *head = buf_new(32);
    struct wire_enc enc = wire_enc(head->data, head->cap);

    wire_put_u64(&enc, action->number);
    wire_put_u64(&enc, action->ino);
    wire_put_u64(&enc, action->block);
    wire_put_u64(&enc, action->index);
    ASSERT(!enc.failed);
    head->len = enc.len;
    sys_net_send(host->sys, (struct sys_msg){.from = host->node->number,
                                             .to = action->to,
                                             .channel = 2,
                                             .type = SYS_FRAME_COPY,
                                             .zone_nr = (uint8_t)host->zone_nr,
                                             .head = slice_of(head, 0, head->len)});
    buf_unref(head);
}

/* Who waits for the block goes on. One may be answered, and gone, by each step. */
static void act_done(struct sys_host *host, const struct heal_action *action)
{
    struct sys_ask *ask = host->asks;

    sys_trace(host->sys, "n%u z%u block %u/%u: %s", (unsigned)host->node->number,
              host->zone_nr, (unsigned)action->ino, (unsigned)action->block,
              action->outcome == 0 ? "healed" : outcome_name(action->outcome));
    while (ask != NULL) {
        if (!ask->waits || ask->bad_ino != action->ino ||
            ask->bad_block != action->block) {
            ask = ask->next;
            continue;
        }
        ask->waits = false;
        if (action->outcome == 0) {
            sys_host_read(ask, false);
        } else {
            sys_host_answer(ask, OUT_TRY_LATER, 0, (struct slice){0}, (struct slice){0});
        }
        ask = host->asks;
    }
}

static void act(struct sys_host *host, const struct heal_action *action)
{
    switch (action->type) {
    case HEAL_DO_ASK:
        act_ask(host, action);
        break;
    case HEAL_DO_PUT:
        sys_job_post(
            host, 1,
            (struct sys_job){.run = run_put, .done = done_put, .index = action->number});
        break;
    case HEAL_DO_DROP:
        copy_drop(copy_of(host, action->number));
        break;
    case HEAL_DO_DONE:
        act_done(host, action);
        break;
    }
}

static void wake(struct sys *sys, void *ptr, uint64_t a, uint64_t b);

static void heal_event(struct sys_host *host, struct heal_event event)
{
    struct heal_actions *actions;

    if (host->heal == NULL) {
        return;
    }
    actions = sys_alloc(1, sizeof *actions);
    event.now_ms = sys_node_ms(host->node);
    heal_step(host->heal, &event, actions);
    for (uint32_t i = 0; i < actions->n; i++) {
        act(host, &actions->items[i]);
    }
    free(actions);
    if (!host->heal_armed && heal_pending(host->heal) > 0) {
        host->heal_armed = true;
        sys_in(
            host->sys, HEAL_RETRY_MS * SYS_US,
            (struct sys_event){.fn = wake, .a = host_name(host), .b = host->node->epoch});
    }
}

static void tell(struct sys_host *host)
{
    struct heal_member members[SYS_NODES];
    struct replica_status status;
    uint32_t n = 0;

    replica_status(host->replica, sys_node_ms(host->node), &status);
    for (uint32_t i = 0; i < status.n_members; i++) {
        uint64_t id = directory_raft_node(status.members[i].id); /* None joins here. */

        if (id != host->node->number) {
            members[n++] = (struct heal_member){
                .id = id, .up = sys_net_is_up(host->sys, host->node->number, id)};
        }
    }
    heal_event(host, (struct heal_event){
                         .type = HEAL_EV_MEMBERS, .members = members, .n_members = n});
    heal_event(host, (struct heal_event){.type = HEAL_EV_APPLIED,
                                         .index = status.applied_index});
}

static void wake(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 8];
    struct sys_host *host = node->up && node->epoch == b ? node->hosts[a & 0xff] : NULL;

    (void)ptr;
    if (host == NULL ||
        sys_node_sleeps(node, (struct sys_event){.fn = wake, .a = a, .b = b})) {
        return;
    }
    host->heal_armed = false;
    tell(host);
    heal_event(host, (struct heal_event){.type = HEAL_EV_TICK});
}

bool sys_heal_gave_up(const struct sys_host *host, const struct store_want *want)
{
    return host->heal != NULL && heal_gave_up(host->heal, want->ino, want->block);
}

void sys_heal_want(struct sys_host *host, const struct store_want *want, bool waited)
{
    if (host->heal == NULL) {
        ASSERT(heal_new(host->node->epoch << 32, &host->heal) == 0);
    }
    host->sys->counts.bad_blocks++;
    tell(host);
    heal_event(host, (struct heal_event){.type = HEAL_EV_WANT,
                                         .ino = want->ino,
                                         .block = want->block,
                                         .index = want->version,
                                         .waited = waited});
}

void sys_heal_read(struct sys_ask *ask, const struct store_want *want)
{
    ask->waits = true;
    ask->bad_ino = want->ino;
    ask->bad_block = want->block;
    sys_heal_want(ask->host, want, true);
}

/* The other side. */

static void run_copy(struct sys_job *job)
{
    struct wire_dec dec = wire_dec(job->head.data, job->head.len);
    struct buf *head = buf_new(64);
    struct wire_enc enc = wire_enc(head->data, head->cap);
    struct store_copied copied = {0};
    struct buf *data = NULL;
    struct store_want want;

    wire_put_u64(&enc, wire_get_u64(&dec));
    want.ino = wire_get_u64(&dec);
    want.block = wire_get_u64(&dec);
    want.version = wire_get_u64(&dec);
    job->rv = store_copy_get(job->host->store, &want, &data, &copied);
    wire_put_u32(&enc, (uint32_t)(job->rv < 0 ? OUT_TRY_LATER : job->rv));
    wire_put_u64(&enc, copied.version);
    wire_put_u64(&enc, copied.applied);
    head->len = enc.len;
    job->bad = want;
    job->bad.version = copied.applied;
    slice_unref(&job->head);
    job->head = slice_of(head, 0, head->len);
    buf_unref(head);
    if (data != NULL) {
        job->body = slice_of(data, 0, data->len);
        buf_unref(data);
    }
}

static void done_copy(struct sys_job *job)
{
    if (job->rv == OUT_IO) {
        sys_heal_want(job->host, &job->bad, false);
    }
    sys_net_send(job->host->sys, (struct sys_msg){.from = job->host->node->number,
                                                  .to = job->from,
                                                  .channel = 2,
                                                  .type = SYS_FRAME_COPIED,
                                                  .zone_nr = (uint8_t)job->host->zone_nr,
                                                  .head = slice_ref(job->head),
                                                  .body = slice_ref(job->body)});
}

void sys_heal_request(struct sys_host *host, uint64_t from, struct slice head)
{
    sys_job_post(
        host, 1,
        (struct sys_job){
            .run = run_copy, .done = done_copy, .from = from, .head = slice_ref(head)});
}

void sys_heal_answer(struct sys_host *host, uint64_t from, struct slice head,
                     struct slice body)
{
    struct wire_dec dec = wire_dec(head.data, head.len);
    struct heal_event event = {.type = HEAL_EV_ANSWER, .from = from};
    struct sys_copy *copy = copy_of(host, 0);

    event.number = wire_get_u64(&dec);
    event.outcome = (int)wire_get_u32(&dec);
    event.version = wire_get_u64(&dec);
    event.index = wire_get_u64(&dec);
    if (host->heal == NULL) {
        return;
    }
    if (event.outcome == 0) {
        struct sys_copy arrived = {.number = event.number};

        ASSERT(copy != NULL);
        if (heal_asked(host->heal, event.number, from, &arrived.copy.ino,
                       &arrived.copy.block)) {
            arrived.copy.version = event.version;
            arrived.copy.data = slice_ref(body);
            *copy = arrived;
        }
    }
    heal_event(host, event);
}

void sys_heal_applied(struct sys_host *host, uint64_t index)
{
    heal_event(host, (struct heal_event){.type = HEAL_EV_APPLIED, .index = index});
}

/* No settle is at work; what it found bad is wanted. */
void sys_heal_settled(struct sys_host *host)
{
    struct store_want bad;

    if (host->sys->rotten == 0) {
        return;
    }
    heal_event(host, (struct heal_event){.type = HEAL_EV_SETTLED});
    for (uint32_t i = 0; i < LOOK_MAX && store_bad_get(host->store, i, &bad); i++) {
        bad.version = zone_applied_index(host->zone);
        sys_heal_want(host, &bad, false);
    }
}

void sys_heal_close(struct sys_host *host)
{
    for (uint32_t i = 0; i < SYS_COPIES; i++) {
        copy_drop(&host->copies[i]);
    }
    heal_free(host->heal);
    host->heal = NULL;
}

bool sys_heal_quiet(const struct sys_host *host)
{
    return host->heal == NULL || heal_pending(host->heal) == 0;
}

/* Look at all that the member has. Returns the number of bad blocks. */
uint32_t sys_heal_scrub(struct sys_host *host)
{
    struct store_scrub scrub = {0};
    uint32_t n = 0;

    do {
        if (store_scrub(host->store, SIZE_MAX, &scrub) != 0) {
            return n; /* Not now. */
        }
        n += scrub.n_bad;
        for (uint32_t i = 0; i < scrub.n_bad; i++) {
            sys_heal_want(host, &scrub.bad[i], true);
        }
    } while (!scrub.end);
    return n;
}

static uint32_t voters_applied(struct sys_host *host)
{
    struct buf *conf = NULL;
    struct rgroup_conf decoded;
    uint64_t index = 0;
    uint32_t voters = 0;

    if (zone_conf_get(host->zone, &index, &conf) != 0) {
        return 0;
    }
    ASSERT(rgroup_conf_decode(conf->data, conf->len, &decoded) == 0);
    for (uint32_t i = 0; i < decoded.n; i++) {
        voters += decoded.servers[i].role == RGROUP_VOTER ? 1 : 0;
    }
    buf_unref(conf);
    return voters;
}

/* With two voters whatever is committed is somewhere else, too. A change counts only once it
 * is applied: until the second voter has it, the first commits alone. */
static bool has_other_copy(struct sys_node *node, uint32_t zone)
{
    struct sys_host *host = node->up ? node->hosts[zone] : NULL;
    struct replica_status status;
    uint32_t voters = 0;

    if (host == NULL || host->replica == NULL) {
        return false;
    }
    replica_status(host->replica, sys_node_ms(node), &status);
    for (uint32_t i = 0; i < status.n_members; i++) {
        voters += status.members[i].role == RGROUP_VOTER ? 1 : 0;
    }
    return voters > 1 && voters_applied(host) > 1;
}

static void flip(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[sys->rotten];
    struct prng *prng = &sys->rot;

    (void)ptr;
    (void)a;
    if (sys->calm) {
        return;
    }
    for (uint32_t i = 0; i < TRIES; i++) {
        uint32_t zone = (uint32_t)prng_below(prng, sys->n_zones);
        uint64_t ino = 2 + prng_below(prng, 40);
        char path[64];

        (void)snprintf(path, sizeof path, "/zone%u-%u/data/%02x/%u", zone,
                       (unsigned)(node->made_as[zone] & 0xffff), (unsigned)ino & 0xff,
                       (unsigned)ino);
        if (has_other_copy(node, zone) &&
            simdisk_flip(node->disk, path, prng_below(prng, FLIP_BYTES),
                         (unsigned)prng_below(prng, 8))) {
            sys->counts.flips++;
            sys_trace(sys, "a bit of n%u's %s flips", (unsigned)sys->rotten, path);
            break;
        }
    }
    sys_in(sys, prng_below(prng, 200 * SYS_US), (struct sys_event){.fn = flip, .b = b});
}

/* In one seed of four one node's disk rots. */
void sys_rot_choose(struct sys *sys)
{
    prng_seed(&sys->rot, sys->seed + 0x5eed);
    if (sys->seed % 4 == 0 && sys->options.mutation == SYS_MUT_NONE) {
        sys->rotten = 1 + sys->seed / 4 % 3;
    }
}

void sys_rot_start(struct sys *sys)
{
    if (sys->rotten != 0) {
        sys_in(sys, 500 * SYS_US, (struct sys_event){.fn = flip});
    }
}
