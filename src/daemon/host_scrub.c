/*
 * host_scrub: the driver of scrub: reads on the zone's thread, a little at a time, and
 * the questions to the other members (pull frames of kind DIGEST, docs/formats/pull.md).
 */
#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"
#include "base/wire.h"
#include "daemon/event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STATE_KEY STORE_LOCAL "scrub"
#define COMPARE_ANSWER_MS 60000u /* Reading all rows takes its time. */
#define COMPARE_AHEAD_MIN 4u

struct compare_answer {
    uint64_t from;
    struct host_digest digest;
};

struct comparing {
    bool active;
    bool ahead; /* All were asked for an index to come; else for this member's own. */
    bool own_busy;
    bool has_own;
    uint64_t number;
    uint64_t begun_ms;
    uint64_t applied; /* Here, when it began. */
    struct host_digest own;
    uint64_t asked[RGROUP_MEMBERS_MAX];
    uint32_t n_asked; /* That did not answer yet. */
    struct compare_answer answers[RGROUP_MEMBERS_MAX];
    uint32_t n_answers;
    uint32_t n_open; /* Who have no answer for us. */
};

struct scrubbing {
    struct scrub scrub;
    struct comparing compare;
    /* Bad blocks whose healing is waited for. */
    struct store_want bad[STORE_SCRUB_BAD];
    uint32_t n_bad;
};

struct scrub_job {
    struct host_job base;
    struct store_scrub read;
    uint64_t begun_ms;
    uint8_t state[SCRUB_STATE_MAX];
    size_t len;
};

static uint64_t now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec;
}

static struct slice state_key(void)
{
    return slice_borrow(STATE_KEY, strlen(STATE_KEY));
}

/* The state that an earlier life left. */

static void run_load(struct job *base)
{
    struct scrub_job *job = (struct scrub_job *)base;
    struct store_kv pair;
    int rv = store_kv_get(job->base.host->disk.store, state_key(), &pair);

    if (rv == 0 && pair.value.len <= sizeof job->state) {
        memcpy(job->state, pair.value.data, pair.value.len);
        job->len = pair.value.len;
    }
}

static void done_load(struct job *base)
{
    struct scrub_job *job = (struct scrub_job *)base;
    struct host *host = job->base.host;

    host->scrub_loading = false;
    if (!host->closing && host->scrubbing == NULL) {
        host->scrubbing = calloc(1, sizeof *host->scrubbing);
    }
    if (host->scrubbing != NULL) {
        scrub_init(&host->scrubbing->scrub, &host->config.scrub, job->state, job->len,
                   now_s());
    }
    host_job_end(&job->base);
}

static void run_save(struct job *base)
{
    struct scrub_job *job = (struct scrub_job *)base;
    struct store *store = job->base.host->disk.store;
    struct store_kv pair = {.key = state_key(),
                            .value = slice_borrow(job->state, job->len)};
    int rv = store_begin(store);

    if (rv == 0) {
        rv = store_kv_put(store, &pair);
        rv = rv == 0 ? store_commit(store, false) : rv;
        store_rollback(store);
    }
    job->base.rv = rv;
}

static void done_save(struct job *base)
{
    struct scrub_job *job = (struct scrub_job *)base;
    struct host *host = job->base.host;

    (void)host_no_room(host, job->base.rv);
    scrub_saved(&host->scrubbing->scrub, job->base.rv, host_now_ms());
    host_job_end(&job->base);
}

/* Reading. */

static void run_scrub_read(struct job *base)
{
    struct scrub_job *job = (struct scrub_job *)base;

    job->base.rv = store_scrub(job->base.host->disk.store, SCRUB_READ_BYTES, &job->read);
}

static void done_scrub_read(struct job *base)
{
    struct scrub_job *job = (struct scrub_job *)base;
    struct host *host = job->base.host;
    struct scrubbing *s = host->scrubbing;
    bool reading = s->scrub.state.phase == SCRUB_READING;

    if (job->base.rv < 0) {
        log_error("daemon", "msg=\"scrub cannot read\" zone=%s error=\"%s\"",
                  host->config.label, strerror(-job->base.rv));
    }
    scrub_read_done(
        &s->scrub,
        &(struct scrub_read){.rv = job->base.rv,
                             .next = {job->read.next.ino, job->read.next.block},
                             .blocks = job->read.blocks,
                             .bytes = job->read.bytes,
                             .took_ms = host_now_ms() - job->begun_ms,
                             .n_bad = job->read.n_bad,
                             .end = job->read.end},
        host_now_ms());
    if (job->base.rv == 0 && reading) {
        s->n_bad = job->read.n_bad;
        memcpy(s->bad, job->read.bad, sizeof s->bad);
        for (uint32_t i = 0; i < job->read.n_bad; i++) {
            event_tell(EVENT_BLOCK_BAD, host->config.label,
                       "scrub found a bad block on this member: inode %" PRIu64
                       ", block %" PRIu64,
                       job->read.bad[i].ino, job->read.bad[i].block);
            host_heal_scrub(host, &job->read.bad[i]);
        }
    }
    host_job_end(&job->base);
}

void host_scrub_block_done(struct host *host, const struct store_want *block, bool healed)
{
    struct scrubbing *s = host->scrubbing;

    for (uint32_t i = 0; s != NULL && i < s->n_bad; i++) {
        if (s->bad[i].ino == block->ino && s->bad[i].block == block->block) {
            s->bad[i] = s->bad[--s->n_bad];
            scrub_block_done(&s->scrub, &(struct scrub_place){block->ino, block->block},
                             healed);
            return;
        }
    }
}

/*
 * Comparing. Digests say something only as of one index. On a zone at rest that is where all
 * are; on a busy one all are asked for one that is a little ahead, where each freezes a view
 * as it comes by. The two ways take turns.
 */

static void compare_end(struct host *host)
{
    struct scrubbing *s = host->scrubbing;
    struct comparing *compare = &s->compare;
    struct scrub_compare result = {.open = compare->n_open, .index = compare->own.index};

    compare->active = false;
    for (uint32_t i = 0; i < compare->n_answers; i++) {
        const struct compare_answer *answer = &compare->answers[i];

        if (!compare->has_own || answer->digest.index != compare->own.index) {
            result.open++;
        } else if (memcmp(answer->digest.bytes, compare->own.bytes,
                          sizeof compare->own.bytes) == 0) {
            result.equal++;
        } else {
            result.differs = answer->from;
        }
    }
    if (result.differs != 0) {
        event_tell(EVENT_DIFFERS, host->config.label,
                   "THE MEMBERS OF THIS ZONE DIFFER at index %" PRIu64
                   ": this one, %" PRIu64 ", and %" PRIu64,
                   result.index, host->config.raft_id, result.differs);
    }
    scrub_compared(&s->scrub, &result, now_s(), host_now_ms());
    if (s->scrub.state.phase == SCRUB_IDLE) {
        log_info("daemon",
                 "msg=\"scrub ended\" zone=%s blocks=%" PRIu64 " bad=%" PRIu64
                 " healed=%" PRIu64 " unhealed=%" PRIu64 " equal=%u open=%u",
                 host->config.label, s->scrub.state.blocks, s->scrub.state.bad,
                 s->scrub.state.healed, s->scrub.state.unhealed, result.equal,
                 result.open);
    }
}

static void compare_go_on(struct host *host)
{
    const struct comparing *compare = &host->scrubbing->compare;

    if (compare->active && !compare->own_busy && compare->n_asked == 0) {
        compare_end(host);
    }
}

static void compare_ask(struct host *host, uint64_t id, uint64_t index)
{
    struct comparing *compare = &host->scrubbing->compare;
    uint8_t bytes[PULL_HEAD_MAX];
    struct wire_enc enc = wire_enc(bytes, sizeof bytes);

    wire_put_u8(&enc, PULL_VERSION);
    wire_put_u8(&enc, PULL_DIGEST);
    wire_put_u64(&enc, compare->number);
    wire_put_u64(&enc, index);
    ASSERT(!enc.failed);
    if (host->callbacks.pull_send(host->callbacks.ctx, host, id,
                                  slice_borrow(bytes, enc.len)) == 0) {
        compare->asked[compare->n_asked++] = id;
    } else {
        compare->n_open++;
    }
}

static void compare_ask_all(struct host *host, uint64_t index)
{
    struct replica_status status;

    replica_status(host->replica, host_now_ms(), &status);
    for (uint32_t i = 0; i < status.n_members; i++) {
        if (status.members[i].id != host->config.raft_id) {
            compare_ask(host, status.members[i].id, index);
        }
    }
}

static void on_own(void *arg, int rv, const struct host_digest *digest)
{
    struct host *host = arg;
    struct comparing *compare = &host->scrubbing->compare;

    compare->own_busy = false;
    compare->has_own = rv == 0;
    if (rv == 0) {
        compare->own = *digest;
    }
    if (!compare->active) {
        return;
    }
    if (rv == 0 && !compare->ahead && !host->closing && host->replica != NULL) {
        compare_ask_all(host, digest->index);
    } else if (rv != 0) {
        compare->n_open++;
    }
    compare_go_on(host);
}

static void compare_begin(struct host *host)
{
    struct comparing *compare = &host->scrubbing->compare;
    uint64_t last = compare->applied;
    uint64_t index;
    struct replica_status status;

    replica_status(host->replica, host_now_ms(), &status);
    *compare = (struct comparing){
        .active = true,
        .number = (host_now_ms() << 20) + 1,
        .begun_ms = host_now_ms(),
        .applied = status.applied_index,
        .ahead = last != 0 && last != status.applied_index && !compare->ahead,
        .own_busy = true};
    if (!compare->ahead) {
        host_digest(host, on_own, host);
        return;
    }
    index = status.applied_index + COMPARE_AHEAD_MIN + (status.applied_index - last);
    compare_ask_all(host, index);
    host_digest_at(host, index, on_own, host);
}

void host_scrub_answer(struct host *host, uint64_t from, struct slice head)
{
    struct comparing *compare =
        host->scrubbing == NULL ? NULL : &host->scrubbing->compare;
    struct wire_dec dec = wire_dec(head.data, head.len);
    struct compare_answer answer = {.from = from};
    uint64_t number;
    uint32_t outcome;
    uint32_t i = 0;

    wire_get_view(&dec, 2);
    number = wire_get_u64(&dec);
    outcome = wire_get_u32(&dec);
    if (compare == NULL || !compare->active || number != compare->number) {
        return;
    }
    while (i < compare->n_asked && compare->asked[i] != from) {
        i++;
    }
    if (i == compare->n_asked) {
        return;
    }
    compare->asked[i] = compare->asked[--compare->n_asked];
    answer.digest.index = wire_get_u64(&dec);
    wire_get_bytes(&dec, answer.digest.bytes, sizeof answer.digest.bytes);
    if (outcome == 0 && wire_done(&dec)) {
        compare->answers[compare->n_answers++] = answer;
    } else {
        compare->n_open++;
    }
    compare_go_on(host);
}

/* All of it. */

static void begin_save(struct host *host)
{
    struct scrub_job *job = calloc(1, sizeof *job);

    ASSERT(job != NULL);
    job->len = scrub_encode(&host->scrubbing->scrub, job->state);
    host_post_zone(host, &job->base, run_save, done_save);
}

static void begin_read(struct host *host)
{
    const struct scrub_place *next = &host->scrubbing->scrub.state.next;
    struct scrub_job *job = calloc(1, sizeof *job);

    ASSERT(job != NULL);
    job->begun_ms = host_now_ms();
    job->read.next = (struct store_want){.ino = next->ino, .block = next->block};
    host_post_zone(host, &job->base, run_scrub_read, done_scrub_read);
}

static void begin_load(struct host *host)
{
    struct scrub_job *job = calloc(1, sizeof *job);

    if (job != NULL) {
        host->scrub_loading = true;
        host_post_zone(host, &job->base, run_load, done_load);
    }
}

void host_scrub_tick(struct host *host, uint64_t now_ms)
{
    struct scrubbing *s = host->scrubbing;

    if (host->closing || host->state != HOST_RUNNING ||
        host->config.scrub.rate_bytes == 0) {
        return;
    }
    if (s == NULL) {
        if (!host->scrub_loading) {
            begin_load(host);
        }
        return;
    }
    if (s->compare.active && s->compare.n_asked > 0 &&
        now_ms > s->compare.begun_ms + COMPARE_ANSWER_MS) {
        s->compare.n_open += s->compare.n_asked;
        s->compare.n_asked = 0;
        compare_go_on(host);
    }
    switch (scrub_next(&s->scrub, now_s(), now_ms)) {
    case SCRUB_DO_NOTHING:
        break;
    case SCRUB_DO_READ:
        begin_read(host);
        break;
    case SCRUB_DO_COMPARE:
        compare_begin(host);
        break;
    case SCRUB_DO_SAVE:
        begin_save(host);
        break;
    }
}

uint64_t host_scrub_wake_ms(const struct host *host)
{
    return host->scrubbing == NULL || host->state != HOST_RUNNING
               ? UINT64_MAX
               : scrub_wake_ms(&host->scrubbing->scrub);
}

void host_scrub_free(struct host *host)
{
    free(host->scrubbing);
    host->scrubbing = NULL;
}

/* 0, or why it cannot be told to do anything. */
static int not_ready(const struct host *host)
{
    if (host->closing || (host->state != HOST_RUNNING && host->state != HOST_OPENING)) {
        return -EAGAIN;
    }
    return host->state == HOST_OPENING || host->scrubbing == NULL ? OUT_TRY_LATER : 0;
}

int host_scrub_start(struct host *host)
{
    int rv = not_ready(host);

    if (rv != 0) {
        return rv;
    }
    scrub_start(&host->scrubbing->scrub, now_s(), host_now_ms());
    host_scrub_tick(host, host_now_ms());
    return 0;
}

int host_scrub_stop(struct host *host)
{
    int rv = host->scrubbing == NULL ? not_ready(host) : 0;

    if (rv != 0) {
        return rv;
    }
    scrub_stop(&host->scrubbing->scrub, now_s());
    return 0;
}

bool host_scrub_state(const struct host *host, struct scrub_state *out)
{
    if (host->scrubbing == NULL) {
        return false;
    }
    *out = host->scrubbing->scrub.state;
    return true;
}
