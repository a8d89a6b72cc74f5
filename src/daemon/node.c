#include "daemon/node.h"

#include "base/assert.h"
#include "base/log.h"
#include "daemon/event.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STOP_TRANSFER_MS 3000u /* For handing leadership over. */
#define STOP_DRAIN_MS 2000u    /* For NFS calls under way. */
#define STOP_MAX_MS 30000u     /* For all of it; then a disk must be hanging. */

static void flush_host(struct node *node, struct host *host)
{
    (void)node;
    host_flush(host);
}

/* The end of a loop turn: everything proposed in it goes out as one batch. Handles'
 * order says nothing of whether the peers' own flush is still to come in this turn. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct node *node = prepare->data;

    node_each_host(node, flush_host);
    if (node->peers != NULL) {
        peer_net_flush(node->peers);
    }
}

static int front_open(struct node *node, char *error)
{
    struct nfs_front_config config = {
        .address = node->config.nfs.host,
        .port = node->config.nfs.port,
        .connections_max = 1024,
        .inflight_bytes_max = 128u << 20,
        .held = true,
    };
    int rv;

    node_backend_init(node);
    rv = nfs_front_open(node->loop, &config, &node->backend, &node->front);
    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "cannot listen for NFS on %s port %u: %s (%s)",
                 config.address, config.port, strerror(-rv),
                 rv == -EADDRNOTAVAIL
                     ? "this machine does not have that address: see [listen] nfs"
                     : "another server? change [listen] nfs");
    }
    return rv;
}

/* Tell rpcbind where we are; what comes of it is logged, and stops nothing. */
static void binder_open(struct node *node)
{
    int rv = 0;

    if (node->config.rpcbind) {
        rv = binder_uv_open(node->loop, node->config.nfs.host,
                            nfs_front_port(node->front), &node->binder);
    }
    if (rv != 0) {
        log_warn("daemon", "msg=\"not registered with rpcbind\" error=\"%s\"",
                 strerror(-rv));
    }
}

/* The port is taken at the start, so that a wrong one shows at once; clients are taken
 * once handles can be checked: without the key they would all be refused. */
static void front_when_ready(struct node *node)
{
    if (node->serving || node->stopping || !node->directory.has_handle_key) {
        return;
    }
    node->serving = true;
    nfs_front_release(node->front);
    log_info("daemon", "msg=\"serving NFS\" address=%s port=%u", node->config.nfs.host,
             nfs_front_port(node->front));
    binder_open(node);
    notify_state("READY=1");
}

static void stop_tick(struct node *node);

static void on_tick(uv_timer_t *timer)
{
    struct node *node = timer->data;

    admin_tick(node);
    if (!node->stopping) {
        node_events_tick(node);
    }
    ctl_tick(node->ctl);
    if (node->stopping) {
        stop_tick(node);
        return;
    }
    node_net_distances(node);
    node_recover_tick(node);
    node_epoch_tick(node);
    node_reconcile(node);
    node_repair_tick(node);
    node_retry_tick(node);
    node_home_tick(node);
    node_address_tick(node);
    node_marks_tick(node, false);
    node_sleep_tick(node);
    front_when_ready(node);
}

static int prepare_state(struct node *node, char *error)
{
    int rv = node->disk->ops->mkdir(node->disk, node->config.state);

    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "[node] state %s: %s", node->config.state,
                 strerror(-rv));
        return rv;
    }
    return node_state_lock(node, error);
}

/* A node that is in a grapevine is so by its key: it makes no other one. */
static int open_identity(struct node *node, char *error)
{
    int rv = peer_identity_open(node->config.state, !node->initialised, &node->identity);

    if (rv == -EINVAL || rv == -ENOENT) {
        snprintf(
            error, CONFIG_ERROR_MAX,
            "%s/node.pem, this node's key, and its copy are damaged or gone: see the "
            "runbook, Damaged state folder",
            node->config.state);
    } else if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "%s/node.pem, this node's key: %s%s",
                 node->config.state, strerror(-rv),
                 rv == -EACCES ? " (nobody but the daemon's user may read it)" : "");
    }
    return rv;
}

/* The journal's folder of a pool, if it has one of its own, must be there too. */
static int check_pools(struct node *node, char *error)
{
    for (uint32_t i = 0; i < node->config.n_pools; i++) {
        const struct config_pool *pool = &node->config.pools[i];
        struct config_pool journal = {0};
        int rv = node_pool_check(node, pool, error);

        if (rv == -ENODEV) { /* Its zones wait for it; the others need not. */
            log_error("daemon", "msg=\"a pool cannot be used\" reason=\"%s\"", error);
            continue;
        }
        if (rv == 0 && pool->journal[0] != '\0') {
            strcpy(journal.name, pool->name);
            strcpy(journal.path, pool->journal);
            rv = node_pool_check(node, &journal, error);
            if (rv == -ENODEV) {
                log_error("daemon",
                          "msg=\"a pool's journals cannot be used\" reason=\"%s\"",
                          error);
                rv = 0;
            }
        }
        if (rv != 0) {
            return rv;
        }
    }
    return 0;
}

static int home_open(struct node *node, bool initial, char *error)
{
    int rv = node_home_open(node, initial);

    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "cannot open the directory in %s: %s",
                 node->config.state, strerror(-rv));
    }
    return rv;
}

static int start_grapevine(struct node *node, char *error)
{
    int rv = node_epoch_begin(node, error);

    rv = rv != 0 ? rv : node_net_open(node, error);
    return rv != 0 ? rv : home_open(node, false, error);
}

static int open_router(struct node *node)
{
    struct router_config config = {.self = node->number};

    node_random(&node->session, sizeof node->session);
    config.boot = node->session;
    return router_new(&config, &node->router);
}

static void open_handles(struct node *node, uv_loop_t *loop)
{
    ASSERT(inbox_open(&node->inbox, loop) == 0);
    uv_prepare_init(loop, &node->prepare);
    uv_timer_init(loop, &node->tick);
    uv_timer_init(loop, &node->router_timer);
    node->prepare.data = node;
    node->tick.data = node;
    node->router_timer.data = node;
}

/* The state folder is this daemon's: what happens from here on is kept there. */
static void open_events(struct node *node)
{
    bool crashed;
    int rv = event_log_open(node->disk, node->config.state, &crashed);

    if (rv != 0) {
        log_warn("daemon", "msg=\"no events are kept\" error=\"%s\"", strerror(-rv));
        return;
    }
    if (crashed) {
        event_tell(EVENT_RECOVERY, NULL,
                   "the last life ended without a stop (killed, crashed, or no power): "
                   "journals are read and go on from there");
    }
}

static int open_all(struct node *node, uv_loop_t *loop, char *error);

int node_open(struct node *node, uv_loop_t *loop, const struct config *config,
              char error[CONFIG_ERROR_MAX])
{
    int rv;

    *node = (struct node){
        .loop = loop, .config = *config, .disk = disk_posix(), .home_life = 1};
    rv = prepare_state(node, error);
    if (rv != 0) {
        return rv;
    }
    open_events(node);
    rv = open_all(node, loop, error);
    if (rv != 0) {
        event_tell(EVENT_START_REFUSED, NULL, "%s", error);
        event_log_close();
    } else {
        event_tell(EVENT_START, NULL, "grapevined " GV_VERSION " as process %d",
                   (int)getpid());
    }
    return rv;
}

static int open_all(struct node *node, uv_loop_t *loop, char *error)
{
    int rv = node_state_load(node, error);

    rv = rv != 0 ? rv : open_identity(node, error);
    rv = rv != 0 ? rv : check_pools(node, error);
    if (rv != 0) {
        return rv;
    }
    open_handles(node, loop);
    rv = front_open(node, error);
    if (rv == 0) {
        rv = ctl_open(node, &node->ctl, error);
    }
    if (rv == 0 && node->initialised) {
        node_known_load(node);
        node_marks_load(node);
        snprintf(error, CONFIG_ERROR_MAX, "out of memory");
        rv = open_router(node);
        rv = rv != 0 ? rv : start_grapevine(node, error);
    }
    if (rv != 0) {
        ctl_forget(node->ctl);
        return rv;
    }
    uv_prepare_start(&node->prepare, on_prepare);
    uv_timer_start(&node->tick, on_tick, NODE_TICK_MS, NODE_TICK_MS);
    node_sleep_open(node);
    if (!node->initialised) {
        log_info("daemon",
                 "msg=\"not part of a grapevine yet: use gvraft init or join\"");
        notify_state("READY=1");
    }
    return 0;
}

static void on_left(void *arg)
{
    (void)arg;
}

/* Nothing of a failed attempt stays: the node is as before. */
static void leave(struct node *node)
{
    if (node->peers != NULL) {
        peer_net_close(node->peers, on_left, NULL);
        node->peers = NULL;
    }
    router_free(node->router);
    node->router = NULL;
    node->number = 0;
    node->epoch = 0;
    node->home_epoch = 0;
    node->n_known = 0;
    memset(node->grapevine_id, 0, sizeof node->grapevine_id);
}

/* What can fail for reasons of the outside comes first, node.json last: with it the node
 * is a part of the grapevine, and a restart goes on from there. */
int node_enter(struct node *node, const uint8_t grapevine_id[16], uint64_t number,
               bool initial, char error[CONFIG_ERROR_MAX])
{
    int rv;

    ASSERT(!node->initialised && !node->stopping);
    memcpy(node->grapevine_id, grapevine_id, sizeof node->grapevine_id);
    node->number = number;
    node->boot = 1;
    snprintf(error, CONFIG_ERROR_MAX, "out of memory");
    rv = open_router(node);
    if (rv == 0) {
        rv = node_net_open(node, error);
    }
    if (rv == 0) {
        rv = node_zones_save(node);
        rv = rv != 0 ? rv : node_state_save(node);
        if (rv != 0) {
            snprintf(error, CONFIG_ERROR_MAX, "cannot write to %s: %s",
                     node->config.state, strerror(-rv));
        }
    }
    if (rv != 0) {
        leave(node);
        return rv;
    }
    node->initialised = true;
    node_marks_load(node);
    return home_open(node, initial, error);
}

/* Stopping: hand over, drain, close; each part reports back. */

void node_part_begin(struct node *node)
{
    node->parts++;
}

void node_part_end(struct node *node)
{
    ASSERT(node->parts > 0);
    node->parts--;
    if (node->parts > 0 || !node->ending) {
        return;
    }
    /* Every worker is joined: what is left are this node's own handles. */
    ctl_close(node->ctl);
    uv_close((uv_handle_t *)&node->prepare, NULL);
    uv_close((uv_handle_t *)&node->tick, NULL);
    uv_close((uv_handle_t *)&node->router_timer, NULL);
    inbox_close(&node->inbox, NULL);
    router_free(node->router);
    node->router = NULL;
    router_actions_deinit(&node->router_actions);
    directory_deinit(&node->directory);
    for (uint32_t i = 0; i < node->n_zones; i++) {
        node_watch_free(node->zones[i].watch);
    }
    node_watch_free(node->home_watch);
    node_marks_free(node);
    peer_identity_free(node->identity);
    log_info("daemon", "msg=\"stopped\"");
}

static void on_part_closed(void *arg)
{
    node_part_end(arg);
}

static void close_host(struct node *node, struct host *host)
{
    node_part_begin(node);
    host_close(host, on_part_closed, node);
}

static void close_rest(struct node *node)
{
    node->ending = true;
    event_tell(EVENT_STOP, NULL, "stopped as it was asked to");
    event_log_close();
    node_part_begin(node); /* This function's own. */
    admin_stop(node);
    node_marks_tick(node, true); /* Nothing is acknowledged from here on. */
    node_each_host(node, close_host);
    node->home = NULL;
    for (uint32_t i = 0; i < node->n_zones; i++) {
        node->zones[i].host = NULL;
    }
    if (node->peers != NULL) {
        struct peer_net *peers = node->peers;

        node->peers = NULL;
        node_part_begin(node);
        peer_net_close(peers, on_part_closed, node);
    }
    node_part_end(node);
}

static void on_front_closed(void *arg)
{
    close_rest(arg);
}

/* True if this node leads the group and somebody else could. */
static bool could_hand_over(struct host *host)
{
    struct host_report report;
    uint32_t voters = 0;

    host_report(host, &report);
    for (uint32_t i = 0; i < report.replica.n_members; i++) {
        voters += report.replica.members[i].role == RGROUP_VOTER ? 1 : 0;
    }
    return host_is_leader(host) && voters > 1;
}

static void look_for_leader(struct node *node, struct host *host)
{
    node->leading = node->leading || could_hand_over(host);
}

static void on_handed_over(void *arg, int outcome, uint64_t leader_raft_id)
{
    (void)arg;
    (void)leader_raft_id;
    log_info("daemon", "msg=\"leadership handed over\" outcome=%s",
             outcome_name(outcome));
}

static void hand_over(struct node *node, struct host *host)
{
    if (could_hand_over(host)) {
        host_transfer(host, 0, asker_callback(node, on_handed_over, node));
    }
}

static void stop_hosts(struct node *node, struct host *host)
{
    (void)node;
    host_stop(host);
}

static void stop_tick(struct node *node)
{
    uint64_t waited_ms = host_now_ms() - node->stop_ms;

    if (waited_ms > STOP_MAX_MS) {
        /* All that was acknowledged is on disk: it may end at any moment. */
        log_error("daemon", "msg=\"a disk does not answer, ending without it\"");
        _exit(1);
    }
    if (!node->leading) {
        return; /* Closing already. */
    }
    node->leading = false;
    node_each_host(node, look_for_leader);
    if (node->leading && waited_ms < STOP_TRANSFER_MS) {
        return;
    }
    node->leading = false;
    node_each_host(node, stop_hosts);
    if (node->front != NULL) {
        struct nfs_front *front = node->front;

        node->front = NULL;
        nfs_front_close(front, STOP_DRAIN_MS, on_front_closed, node);
    } else {
        close_rest(node);
    }
}

void node_stop(struct node *node)
{
    if (node->stopping) {
        return;
    }
    log_info("daemon", "msg=\"%s\"", node->restart ? "restarting" : "stopping");
    notify_state(node->restart ? "RELOADING=1" : "STOPPING=1");
    node->stopping = true;
    node->stop_ms = host_now_ms();
    node->leading = true; /* Until a tick finds otherwise. */
    node_each_host(node, hand_over);
    node_sleep_close(node); /* Leadership goes in any case: sleep may come. */
    if (node->binder != NULL) {
        /* First of all: nobody is to find the way here any more. */
        node_part_begin(node);
        binder_uv_close(node->binder, on_part_closed, node);
        node->binder = NULL;
    }
}

void node_restart(struct node *node)
{
    node->restart = !node->stopping;
    node_stop(node);
}
