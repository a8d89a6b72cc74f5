#include "daemon/host_internal.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/outcome.h"
#include "daemon/event.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t host_now_ms(void)
{
    struct timespec now;

    /* CLOCK_MONOTONIC stands still while a laptop sleeps; this one does not. */
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int64_t wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Nothing of this replica goes on: whoever waits for it must hear so. */
static void abandon(struct host *host)
{
    struct replica_event event = {.type = REPLICA_EV_ABANDON, .now_ms = host_now_ms()};

    host_heal_stop(host);
    host_digest_stop(host);
    if (host->replica == NULL) {
        return;
    }
    (void)replica_step(host->replica, &event, &host->actions);
    if (!host->stepping) {
        host->stepping = true;
        host_act(host);
        host->stepping = false;
    }
}

static void fail(struct host *host, int fault, const char *format, va_list args)
{
    if (host->state == HOST_FAILED || host->state == HOST_NO_DATA) {
        return; /* The first reason is the one that matters. */
    }
    vsnprintf(host->reason, sizeof host->reason, format, args);
    host->reason_len = strlen(host->reason);
    host->state = HOST_FAILED;
    host->opening = false; /* What comes of that is of no use any more. */
    host->fault = fault;
    host->lost = fault == -ESTALE    ? HOST_LOST_OLD
                 : fault == -EUCLEAN ? HOST_LOST_DAMAGED
                                     : HOST_LOST_NOT;
    event_tell(EVENT_FAILED, host->config.label, "the zone stopped on this node: %s",
               host->reason);
    abandon(host);
    host->callbacks.note(host->callbacks.ctx, host);
}

void host_fail(struct host *host, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fail(host, 0, format, args);
    va_end(args);
}

void host_fault(struct host *host, int rv, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fail(host, rv, format, args);
    va_end(args);
}

const char *host_fault_text(int rv)
{
    switch (rv) {
    case -ESTALE:
        return "its data is older than what it acknowledged";
    case -EUCLEAN:
        return "its data is damaged";
    case -EPROTONOSUPPORT:
        return "made by another version of grapevined (the log says which): it is left "
               "alone";
    default:
        return strerror(rv < 0 ? -rv : EIO);
    }
}

static void timer_arm(struct host *host);

/* Writers waited for this member's disk, and no longer do. */
static void note_pace(struct host *host)
{
    struct replica_status status = {0};

    if (host->replica == NULL) {
        return;
    }
    replica_status(host->replica, host_now_ms(), &status);
    if (status.slow == host->told_slow) {
        return;
    }
    host->told_slow = status.slow;
    if (status.slow) {
        log_warn("daemon",
                 "msg=\"this disk is slow, and the zone's writers wait for it\" zone=%s "
                 "others_ms=%" PRIu64 " then_own_ms=%" PRIu64 " hands_over=%d",
                 host->config.label, status.release_ms, status.own_ms,
                 status.transferring || status.state != RGROUP_LEADER);
    } else {
        log_info("daemon", "msg=\"nobody waits for this disk any more\" zone=%s",
                 host->config.label);
    }
}

static void act_answer(struct host *host, const struct replica_action *action)
{
    if (host_token_is_read(action->token)) {
        host_cancel_read(host, action->token, action->outcome);
        return;
    }
    host->callbacks.answer(host->callbacks.ctx,
                           &(struct host_answer){.token = action->token,
                                                 .outcome = action->outcome,
                                                 .leader = action->leader,
                                                 .result = action->result,
                                                 .data = action->data});
}

static void act_one(struct host *host, struct replica_action *action)
{
    switch (action->type) {
    case REPLICA_DO_JOURNAL:
        host_do_journal(host, action);
        break;
    case REPLICA_DO_SEND:
        host->callbacks.send(host->callbacks.ctx, host,
                             &(struct host_message){.to = action->to,
                                                    .channel = action->channel,
                                                    .type = action->frame_type,
                                                    .head = action->head,
                                                    .body = action->body});
        break;
    case REPLICA_DO_APPLY:
        host_do_apply(host, action);
        break;
    case REPLICA_DO_READ:
        host_do_read(host, action);
        break;
    case REPLICA_DO_ANSWER:
        act_answer(host, action);
        break;
    case REPLICA_DO_FETCH:
        host_do_fetch(host, action);
        break;
    case REPLICA_DO_SNAPSHOT:
        host_do_snapshot(host);
        break;
    case REPLICA_DO_COMPACT:
        host_do_compact(host, action);
        break;
    case REPLICA_DO_PULL:
        host_mend_note(host);
        host_do_pull(host, action->index, action->to);
        break;
    case REPLICA_DO_SETTLE:
        host_do_settle(host, action);
        break;
    case REPLICA_DO_NOTE:
        host_room_note(host);
        note_pace(host);
        host_mend_note(host);
        host->callbacks.note(host->callbacks.ctx, host);
        break;
    case REPLICA_DO_FAIL:
        if (!host->closing) {
            host_fault(host, action->rv, "%s", host_fault_text(action->rv));
        }
        break;
    }
}

void host_act(struct host *host)
{
    /* Callbacks may come back with another step: its actions are appended behind. */
    for (uint32_t i = 0; i < host->actions.n; i++) {
        struct replica_action action = host->actions.items[i];

        host->actions.items[i] = (struct replica_action){.type = REPLICA_DO_NOTE};
        act_one(host, &action);
        slice_unref(&action.head);
        slice_unref(&action.body);
        slice_unref(&action.result);
        slice_unref(&action.data);
        for (uint32_t e = 0; action.entries != NULL && e < action.n; e++) {
            slice_unref(&action.entries[e].head);
            slice_unref(&action.entries[e].payload);
        }
        free(action.entries);
    }
    host->actions.n = 0;
}

void host_step(struct host *host, struct replica_event *event)
{
    int rv;

    if (host->replica == NULL || host->state == HOST_FAILED) {
        return;
    }
    event->now_ms = host_now_ms();
    event->wall_ns = wall_ns();
    rv = replica_step(host->replica, event, &host->actions);
    if (!host->stepping) {
        host->stepping = true;
        host_act(host);
        host->stepping = false;
    }
    if (rv != 0 && !host->closing) {
        host_fault(host, rv, "consensus step: %s", host_fault_text(rv));
    }
    timer_arm(host);
}

static void on_timer(uv_timer_t *timer)
{
    struct host *host = timer->data;

    host_pull_tick(host, host_now_ms());
    host_source_tick(host, host_now_ms());
    host_room_tick(host, host_now_ms());
    host_syncs_tick(host, host_now_ms());
    host_heal_tick(host, host_now_ms());
    host_scrub_tick(host, host_now_ms());
    host_digest_tick(host, host_now_ms());
    host_commit_tick(host, host_now_ms());
    host_step(host, &(struct replica_event){.type = REPLICA_EV_TICK});
}

static void timer_arm(struct host *host)
{
    uint64_t now = host_now_ms();
    uint64_t wake;

    if (host->closing || host->replica == NULL || host->state == HOST_FAILED) {
        return;
    }
    wake = replica_wake_ms(host->replica);
    wake = host_heal_wake_ms(host) < wake ? host_heal_wake_ms(host) : wake;
    wake = host_scrub_wake_ms(host) < wake ? host_scrub_wake_ms(host) : wake;
    wake = host->commit_ms != 0 && host->commit_ms < wake ? host->commit_ms : wake;
    uv_timer_start(&host->timer, on_timer, wake > now ? wake - now : 1, 0);
}

/* The journal's thread has time: the next segment is written ahead, and the last batch
 * marked as durable. */
static void journal_idle(void *arg)
{
    struct host *host = arg;
    struct journal *journal = atomic_load(&host->idle_journal);

    /* On a full disk the append that takes a segment makes it, or says why not. */
    if (journal != NULL && !atomic_load(&host->told_full) &&
        journal_prepare(journal) != 0) {
        log_warn("daemon", "msg=\"could not prepare a journal segment\" zone=%s",
                 host->config.label);
    }
}

static int start_workers(struct host *host)
{
    int rv = worker_start(&host->zone_worker, host->config.inbox, NULL, NULL);

    if (rv != 0) {
        return rv;
    }
    rv = worker_start(&host->journal_worker, host->config.inbox, journal_idle, host);
    if (rv != 0) {
        worker_stop(&host->zone_worker);
        return rv;
    }
    return 0;
}

int host_open(const struct host_config *config, const struct host_callbacks *callbacks,
              struct host **out)
{
    struct host *host = calloc(1, sizeof *host);
    int rv = 0;

    if (host == NULL) {
        return -ENOMEM;
    }
    host->config = *config;
    host->callbacks = *callbacks;
    host->folders[0] = host->folders[1] = -1;
    host->state = HOST_OPENING;
    if (config->bootstrap.len > 0) {
        struct buf *copy = buf_copy(config->bootstrap.data, config->bootstrap.len);

        rv = copy == NULL ? -ENOMEM : 0;
        if (rv == 0) {
            host->bootstrap = slice_of(copy, 0, copy->len);
            buf_unref(copy);
        }
    }
    if (rv == 0) {
        rv = start_workers(host);
    }
    if (rv != 0) {
        slice_unref(&host->bootstrap);
        free(host);
        return rv;
    }
    uv_timer_init(config->loop, &host->timer);
    host->timer.data = host;
    if (config->lost == HOST_LOST_NOT && config->failure.reason[0] != '\0') {
        host->state = HOST_FAILED;
        host->fault = config->failure.fault;
        memcpy(host->reason, config->failure.reason, sizeof host->reason);
        host->reason_len = strlen(host->reason);
    } else if (config->lost == HOST_LOST_NOT) {
        host_begin_opening(host);
    } else {
        host->state = HOST_FAILED;
        host->lost = config->lost;
        snprintf(host->reason, sizeof host->reason, "%s",
                 config->lost == HOST_LOST_OLD       ? host_fault_text(-ESTALE)
                 : config->lost == HOST_LOST_DAMAGED ? host_fault_text(-EUCLEAN)
                                                     : "its data was given up");
        host->reason_len = strlen(host->reason);
    }
    *out = host;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct host *host = handle->data;

    host_heal_free(host);
    host_scrub_free(host);
    replica_free(host->replica);
    replica_actions_deinit(&host->actions);
    slice_unref(&host->bootstrap);
    if (host->closed != NULL) {
        host->closed(host->closed_arg);
    }
    free(host);
}

/* On the zone's thread, which waits for the journal's: closing a store syncs, and a disk
 * may take its time. */
static void run_end(struct job *job)
{
    struct host *host = ((struct host_job *)job)->host;

    atomic_store(&host->idle_journal, NULL);
    worker_stop(&host->journal_worker);
    host_cursors_close(host);
    host_pull_free(host);
    host_torn_clear(&host->torn);
    zone_close(host->disk.zone);
    if (host->state == HOST_FAILED) {
        store_drop(host->disk.store);
    } else {
        store_close(host->disk.store);
    }
    if (host->disk.journal != NULL) {
        journal_close(host->disk.journal);
    }
    host->disk = (struct host_disk){0};
    host_there_close(host);
}

/* The last job of a host: after it, its threads have nothing left. */
static void done_end(struct job *job)
{
    struct host *host = ((struct host_job *)job)->host;

    free(job);
    worker_stop(&host->zone_worker);
    uv_close((uv_handle_t *)&host->timer, on_timer_closed);
}

/* Everything that was under way has come back: nothing begins any more. */
static void end_when_idle(struct host *host)
{
    struct host_job *job;

    if (!host->closing || host->ending || host->jobs > 0) {
        return;
    }
    host->ending = true;
    job = calloc(1, sizeof *job);
    ASSERT(job != NULL);
    job->host = host;
    job->job.run = run_end;
    job->job.done = done_end;
    worker_post(&host->zone_worker, &job->job);
}

void host_job_end(struct host_job *job)
{
    struct host *host = job->host;

    free(job);
    ASSERT(host->jobs > 0);
    host->jobs--;
    end_when_idle(host);
}

void host_close(struct host *host, void (*closed)(void *arg), void *arg)
{
    ASSERT(!host->closing);
    host->closing = true;
    host->closed = closed;
    host->closed_arg = arg;
    uv_timer_stop(&host->timer);
    inbox_hurry(host->config.inbox);
    abandon(host);
    end_when_idle(host);
}

/* The zone's thread is done with a job. */
static void zone_done(struct job *base)
{
    struct host_job *job = (struct host_job *)base;

    ASSERT(job->host->zone_jobs > 0);
    job->host->zone_jobs--;
    job->done(base);
}

static void zone_begin(struct host *host, struct host_job *job,
                       void (*run)(struct job *job), void (*done)(struct job *job))
{
    job->job.run = run;
    job->job.done = zone_done;
    job->done = done;
    job->host = host;
    host->jobs++;
    host->zone_jobs++;
}

void host_post_zone_later(struct host *host, struct host_job *job,
                          void (*run)(struct job *job), void (*done)(struct job *job))
{
    zone_begin(host, job, run, done);
    worker_post_later(&host->zone_worker, &job->job);
}

void host_post_zone(struct host *host, struct host_job *job, void (*run)(struct job *job),
                    void (*done)(struct job *job))
{
    zone_begin(host, job, run, done);
    worker_post(&host->zone_worker, &job->job);
}

void host_post_journal(struct host *host, struct host_job *job,
                       void (*run)(struct job *job), void (*done)(struct job *job))
{
    job->job.run = run;
    job->job.done = done;
    job->host = host;
    host->jobs++;
    worker_post(&host->journal_worker, &job->job);
}

void host_post_calm(struct host *host, struct host_job *job, void (*run)(struct job *job),
                    void (*done)(struct job *job))
{
    inbox_calm(host->config.inbox, &job->job);
    host_post_journal(host, job, run, done);
}

void host_frame(struct host *host, uint64_t from, uint8_t type, struct slice head,
                struct slice body)
{
    if (host->closing) {
        return;
    }
    host_step(host, &(struct replica_event){.type = REPLICA_EV_FRAME,
                                            .from = from,
                                            .frame_type = type,
                                            .head = head,
                                            .body = body});
}

/* True if this is news; it is remembered. */
static bool link_note(struct host *host, uint64_t raft_id, bool up)
{
    uint32_t i = 0;

    while (i < host->n_links && host->links[i] != raft_id) {
        i++;
    }
    if ((i < host->n_links) == up) {
        return false;
    }
    if (!up) {
        host->links[i] = host->links[--host->n_links];
        return true;
    }
    if (host->n_links == RGROUP_MEMBERS_MAX) {
        return false;
    }
    host->links[host->n_links++] = raft_id;
    return true;
}

void host_peer(struct host *host, uint64_t raft_id, bool up)
{
    if (host->replica == NULL || host->closing || raft_id == host->config.raft_id ||
        !link_note(host, raft_id, up)) {
        return;
    }
    if (!up) {
        host_pull_lost(host, raft_id);
    }
    host_step(host, &(struct replica_event){
                        .type = REPLICA_EV_PEER, .from = raft_id, .up = up});
}

void host_writable(struct host *host, uint64_t raft_id)
{
    host_step(host,
              &(struct replica_event){.type = REPLICA_EV_WRITABLE, .from = raft_id});
}

/* True if the zone cannot take requests now; the asker has its answer. */
static bool refuse(struct host *host, uint64_t token)
{
    if (host->replica != NULL && host->state == HOST_RUNNING && !host->closing) {
        return false;
    }
    host->callbacks.answer(
        host->callbacks.ctx,
        &(struct host_answer){
            .token = token, .outcome = OUT_NOT_LEADER, .leader = host_leader(host)});
    return true;
}

void host_submit(struct host *host, struct slice entry, struct slice payload,
                 uint64_t token)
{
    if (refuse(host, token)) {
        return;
    }
    host->dirty = true;
    host_step(
        host,
        &(struct replica_event){
            .type = REPLICA_EV_SUBMIT, .head = entry, .body = payload, .token = token});
}

void host_change(struct host *host, const struct rgroup_conf *conf, uint64_t token)
{
    if (refuse(host, token)) {
        return;
    }
    host_step(host, &(struct replica_event){
                        .type = REPLICA_EV_CHANGE, .conf = conf, .token = token});
}

void host_transfer(struct host *host, uint64_t raft_id, uint64_t token)
{
    if (refuse(host, token)) {
        return;
    }
    host_step(host, &(struct replica_event){
                        .type = REPLICA_EV_TRANSFER, .from = raft_id, .token = token});
}

void host_stop(struct host *host)
{
    host_step(host, &(struct replica_event){.type = REPLICA_EV_STOP});
}

void host_sleep(struct host *host, bool awake)
{
    host_step(host, &(struct replica_event){.type = REPLICA_EV_SLEEP, .up = awake});
}

void host_flush(struct host *host)
{
    if (host->dirty) {
        host->dirty = false;
        host_step(host, &(struct replica_event){.type = REPLICA_EV_FLUSH});
    }
}

const uint8_t *host_zone_id(const struct host *host)
{
    return host->config.zone_id;
}

const char *host_label(const struct host *host)
{
    return host->config.label;
}

uint64_t host_raft_id(const struct host *host)
{
    return host->config.raft_id;
}

enum host_state host_state(const struct host *host)
{
    return host->state;
}

const char *host_state_name(enum host_state state)
{
    switch (state) {
    case HOST_OPENING:
        return "opening";
    case HOST_RUNNING:
        return "running";
    case HOST_PULLING:
        return "pulling";
    case HOST_NO_DATA:
        return "no-data";
    case HOST_FAILED:
        return "failed";
    }
    return "?";
}

const char *host_reason(const struct host *host)
{
    return host->reason;
}

enum host_lost host_lost(const struct host *host)
{
    return host->lost;
}

bool host_marks(const struct host *host, struct roll_marks *out)
{
    if (host->replica == NULL) {
        return false;
    }
    replica_marks(host->replica, out);
    return true;
}

static struct replica_status status_of(const struct host *host)
{
    struct replica_status status = {0};

    if (host->replica != NULL) {
        replica_status(host->replica, host_now_ms(), &status);
    }
    return status;
}

bool host_is_leader(const struct host *host)
{
    return host->state == HOST_RUNNING && status_of(host).state == RGROUP_LEADER;
}

uint64_t host_leader(const struct host *host)
{
    return status_of(host).leader;
}

bool host_is_stale(const struct host *host)
{
    return host->stale;
}

int host_log_end(const struct host *host, struct replica_log_end *out)
{
    if (host->replica == NULL || host->state != HOST_RUNNING) {
        return OUT_NOENT;
    }
    replica_log_end(host->replica, out);
    return 0;
}

uint64_t host_ahead_index(const struct host *host)
{
    return host->ahead_index;
}

uint64_t host_term_at(const struct host *host, uint64_t index)
{
    return host->replica == NULL ? 0 : replica_term_at(host->replica, index);
}

bool host_has_member(const struct host *host, uint64_t raft_id)
{
    struct replica_status status = status_of(host);

    for (uint32_t i = 0; i < status.n_members; i++) {
        if (status.members[i].id == raft_id) {
            return true;
        }
    }
    return false;
}

bool host_changed(struct host *host)
{
    struct replica_status status = status_of(host);

    if (host->seen.state == host->state && host->seen.leader == status.leader &&
        host->seen.term == status.term) {
        return false;
    }
    host->seen.state = host->state;
    host->seen.leader = status.leader;
    host->seen.term = status.term;
    return true;
}

const char *host_report_word(const struct host_report *report)
{
    switch (report->state) {
    case HOST_NO_DATA:
        return "no-data";
    case HOST_FAILED:
        return "failed";
    case HOST_OPENING:
    case HOST_PULLING:
        return "catching-up";
    case HOST_RUNNING:
        break;
    }
    if (report->replica.full) {
        return "full";
    }
    if (report->replica.leader == 0 || !report->replica.has_quorum) {
        return "offline";
    }
    return report->replica.applied_index + 10000 < report->replica.commit_index
               ? "catching-up"
               : "online";
}

void host_report(struct host *host, struct host_report *out)
{
    *out = (struct host_report){
        .state = host->state,
        .replica = status_of(host),
        .usage = host->usage,
        .disk_bytes = host->dataset_bytes + host->journal_bytes,
        .journal_bytes = host->journal_bytes,
        .unsettled_bytes = host->unsettled_bytes,
    };
    host_syncs_report(host, &out->syncs);
    host_heal_counts(host, &out->blocks_healed, &out->blocks_given_up);
}
