/*
 * node_sleep: what suspend decides, done to all zones of this node.
 */
#include "daemon/node.h"

#include "base/log.h"
#include "daemon/event.h"
#include "daemon/logind_uv.h"

#include <inttypes.h>
#include <string.h>

static void tell(struct node *node, struct host *host)
{
    host_sleep(host, !node->sleeps);
}

static void on_leave(void *ctx, enum suspend_why why)
{
    struct node *node = ctx;

    node->sleeps = true;
    node->sleeps_ms = host_now_ms();
    event_tell(EVENT_SLEEP, NULL,
               "this machine is about to %s: leadership is handed over, read leases are "
               "given back",
               why == SUSPEND_SHUTDOWN ? "shut down" : "sleep");
    node_each_host(node, tell);
}

static bool is_leaving(struct host *host)
{
    struct host_report report;

    host_report(host, &report);
    return report.replica.leaving;
}

static uint32_t on_leaving(void *ctx)
{
    struct node *node = ctx;
    uint32_t n = node->home != NULL && is_leaving(node->home) ? 1 : 0;

    for (uint32_t i = 0; i < node->n_zones; i++) {
        n += node->zones[i].host != NULL && is_leaving(node->zones[i].host) ? 1 : 0;
    }
    return n;
}

static void on_left(void *ctx, uint32_t leaving, uint64_t ms)
{
    (void)ctx;
    if (leaving > 0) {
        log_warn("daemon",
                 "msg=\"this machine may sleep now, though not everything is handed "
                 "over\" zones=%" PRIu32 " after_ms=%" PRIu64,
                 leaving, ms);
    } else {
        log_info("daemon", "msg=\"this machine may sleep now\" after_ms=%" PRIu64, ms);
    }
}

static void on_wake(void *ctx)
{
    struct node *node = ctx;

    node->sleeps = false;
    event_tell(EVENT_AWAKE, NULL,
               "this machine is awake, %" PRIu64 " s after it was about to sleep",
               (host_now_ms() - node->sleeps_ms) / 1000);
    node_each_host(node, tell);
}

void node_sleep_open(struct node *node)
{
    struct logind_callbacks callbacks = {.ctx = node,
                                         .leave = on_leave,
                                         .leaving = on_leaving,
                                         .left = on_left,
                                         .wake = on_wake};
    int rv;

    if (!node->config.sleep) {
        return;
    }
    rv = logind_uv_open(node->loop, &callbacks, &node->logind);
    if (rv != 0) {
        log_info("daemon",
                 "msg=\"nothing is heard of this machine's sleep\" error=\"%s\"",
                 strerror(-rv));
    }
}

void node_sleep_tick(struct node *node)
{
    if (node->sleeps) {
        node_each_host(node, tell);
    }
}

static void on_closed(void *arg)
{
    node_part_end(arg);
}

void node_sleep_close(struct node *node)
{
    struct logind_uv *logind = node->logind;

    if (logind != NULL) {
        node->logind = NULL;
        node_part_begin(node);
        logind_uv_close(logind, on_closed, node);
    }
}

const char *node_sleep_view(const struct node *node)
{
    return node->logind == NULL ? "unused" : logind_uv_view(node->logind);
}
