/*
 * node_retry: members that failed, closed and opened anew in this process.
 *
 * A zone that failed here is served by its other members, whose data this one's is no part of
 * any more. As soon as nothing of it is under way, its host is closed: no descriptor of
 * its disk stays open, so that it can be unmounted, repaired and mounted, and nothing of what
 * it had in memory is used again. In its place stands one that has opened nothing and says
 * why. That one is opened when retry.h says so, by the same path as at a start of the daemon:
 * marker, journal, rows, marks of what it vouched for, roll call. What those refuse is refused.
 *
 * The kernel's page cache outlives that, and after a failed sync it has pages that are not on
 * the disk and never will be by themselves. They outlive a process just so, and a start has to
 * be right in spite of them: docs/adr/0010-failed-members-reopen.md says why it is.
 */
#include "daemon/node.h"

#include "base/log.h"
#include "daemon/event.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One group's part in this. */
struct group {
    struct host *host;
    struct retry *retry;
    struct node_zone *local; /* NULL: the directory. */
};

struct closing {
    struct node *node;
    bool home;
    uint8_t zone_id[16];
};

static void zone_closed(struct node *node, const uint8_t zone_id[16])
{
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (memcmp(node->zones[i].id, zone_id, 16) == 0) {
            node->zones[i].closing = false;
        }
    }
    if (!node->stopping) {
        node_zones_refresh(node); /* It stands there again, if it is still a member. */
    }
}

static void home_closed(struct node *node)
{
    int rv;

    node->home_repair = false;
    if (node->stopping) {
        return;
    }
    node->home_read = false;
    rv = node_home_open(node, false);
    if (rv != 0) {
        log_error("daemon", "msg=\"could not open the directory anew\" error=\"%s\"",
                  strerror(-rv));
    } else if (node->twin) {
        host_twin(node->home);
    }
}

static void on_closed(void *arg)
{
    struct closing *closing = arg;
    struct node *node = closing->node;

    if (closing->home) {
        home_closed(node);
    } else {
        zone_closed(node, closing->zone_id);
    }
    free(closing);
    node_part_end(node);
}

/* Let go of the disk. */
static void let_go(struct node *node, const struct group *group)
{
    struct closing *closing = calloc(1, sizeof *closing);
    struct host_failure *failure =
        group->local != NULL ? &group->local->failure : &node->home_failure;

    if (closing == NULL) {
        return; /* The next tick tries again. */
    }
    node_marks_tick(node, true); /* What it vouched for is to be there. */
    host_failure(group->host, failure);
    closing->node = node;
    closing->home = group->local == NULL;
    if (group->local != NULL) {
        memcpy(closing->zone_id, group->local->id, sizeof closing->zone_id);
        group->local->closing = true;
        group->local->host = NULL;
    } else {
        node->home_repair = true; /* Nothing else begins with it. */
        node->home = NULL;
    }
    node_part_begin(node);
    host_close(group->host, on_closed, closing);
}

/* What is done about the failure, for a person. */
static void say(const struct group *group)
{
    uint64_t left_ms = 0;
    char what[64];

    if (retry_waits(group->retry, host_now_ms(), &left_ms)) {
        snprintf(what, sizeof what, "it is tried again by itself in %" PRIu64 " s",
                 (left_ms + 999) / 1000);
        host_repairing(group->host, what);
    }
}

static void step_failed(struct node *node, const struct group *group)
{
    uint64_t now_ms = host_now_ms();
    uint64_t left_ms;
    struct retry_event event = {.type = RETRY_EV_FAILED, .now_ms = now_ms};

    event.fault = host_fault_of(group->host);
    if (host_is_open(group->host) && group->retry->waits) {
        if (retry_waits(group->retry, now_ms, &left_ms) && host_is_idle(group->host) &&
            (group->local != NULL || !(node->reading_directory || node->home_repair))) {
            let_go(node, group);
        }
        return;
    }
    if (retry_step(group->retry, &event) == RETRY_DO_OPEN) {
        log_info("daemon", "msg=\"a member that failed is opened anew\" zone=%s try=%u",
                 host_label(group->host), group->retry->tries);
        host_reopen(group->host);
        return;
    }
    say(group);
}

static void step_runs(const struct group *group)
{
    uint64_t now_ms = host_now_ms();
    uint64_t failed_ms = group->retry->failed_ms;
    struct retry_event event = {.type = RETRY_EV_RUNS, .now_ms = now_ms};

    if (retry_step(group->retry, &event) == RETRY_DO_TELL) {
        event_tell(EVENT_OPENED, host_label(group->host),
                   "the member that failed here was opened anew, after %" PRIu64
                   " s, and goes on",
                   (now_ms - failed_ms + 500) / 1000);
    }
}

/* True if it failed, and its way back is a matter of this file. */
static bool is_ours(const struct node *node, const struct group *group)
{
    return host_state(group->host) == HOST_FAILED &&
           host_lost(group->host) == HOST_LOST_NOT && !host_is_stale(group->host) &&
           !node->twin && !host_is_opening(group->host);
}

static void look(struct node *node, const struct group *group)
{
    enum host_state state = host_state(group->host);

    if (is_ours(node, group)) {
        step_failed(node, group);
    } else if (state == HOST_RUNNING || state == HOST_PULLING) {
        step_runs(group);
    }
}

static bool zone_group(struct node_zone *local, struct group *out)
{
    *out = (struct group){.host = local->host, .retry = &local->retry, .local = local};
    return local->host != NULL && !local->removing && local->lost == HOST_LOST_NOT;
}

void node_retry_tick(struct node *node)
{
    struct group group = {.host = node->home, .retry = &node->home_retry};

    if (node->stopping) {
        return;
    }
    if (node->home != NULL && node->home_lost == HOST_LOST_NOT) {
        look(node, &group);
    }
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (zone_group(&node->zones[i], &group)) {
            look(node, &group);
        }
    }
}

bool node_retry_now(struct node *node, struct node_zone *local)
{
    struct group group;
    struct retry_event event = {.type = RETRY_EV_ASKED, .now_ms = host_now_ms()};

    if (!zone_group(local, &group)) {
        return false;
    }
    if (host_state(group.host) == HOST_NO_DATA) {
        host_retry(group.host);
        return true;
    }
    if (!is_ours(node, &group)) {
        return false;
    }
    step_failed(node, &group); /* It may have failed just now. */
    (void)retry_step(group.retry, &event);
    return true;
}
