/*
 * node_repair: a member whose data is lost never takes part with it again, and comes back.
 *
 * Data is lost when it is older than what the member acknowledged, contradicts itself, or
 * was given up by a person. First of all that is remembered in zones.json: from then on no
 * restart opens the data under its raft id. Then, as soon as the zone answers without this
 * member, its row in the directory gets a new raft id, by one compare-and-set. The rest
 * follows from the row, as for every other change of members: the zone's leader takes in the
 * new id and takes out the old one (node_reconcile), and this node moves the dataset aside
 * and makes an empty one, which pulls (node_zones). Each step can be interrupted: what it
 * begins from is on disk, here or in the directory.
 *
 * What was moved aside is removed once the new copy votes and has everything.
 */
#include "daemon/node.h"

#include "base/log.h"
#include "daemon/dataset.h"
#include "daemon/event.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPAIR_FIRST_MS 2000u
#define REPAIR_AGAIN_MS 5000u
#define REPAIR_PAUSE_MS 600000u /* At most, between two new ids on this node. */
#define REPAIR_CALM_MS 3600000u /* Without one it is as if there had been none. */
#define RETRY_MS 2000u

static struct node_zone *zone_of(struct node *node, const uint8_t id[16])
{
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (memcmp(node->zones[i].id, id, 16) == 0) {
            return &node->zones[i];
        }
    }
    return NULL;
}

void node_repair_stamp(char *out, size_t cap)
{
    time_t now = time(NULL);
    struct tm utc = {0};

    gmtime_r(&now, &utc);
    strftime(out, cap, "%Y%m%dT%H%M%SZ", &utc);
}

/* No leader counts this member in any more by then: what it promised is over. */
static uint64_t first_ms(const struct node *node)
{
    return host_now_ms() + REPAIR_FIRST_MS + 2ull * node->config.election_ms;
}

static void give_up(struct node *node, struct node_zone *local, enum host_lost lost)
{
    local->lost = lost;
    local->repair_ms = first_ms(node);
    if (node_zones_save(node) != 0) {
        log_error("daemon",
                  "msg=\"the quarantine is not on disk: it is found again at a restart\" "
                  "zone=%s",
                  local->slug);
    }
    event_tell(EVENT_QUARANTINE, local->slug,
               "member quarantined: it takes no part with this data any more: %s",
               local->host == NULL ? "it was given up" : host_reason(local->host));
}

void node_repair_noted(struct node *node, struct host *host)
{
    struct node_zone *local = zone_of(node, host_zone_id(host));

    if (local != NULL && local->host == host && local->lost == HOST_LOST_NOT &&
        !local->removing && host_lost(host) != HOST_LOST_NOT) {
        give_up(node, local, host_lost(host));
    }
}

bool node_repair_give_up(struct node *node, struct node_zone *local)
{
    enum host_state state = local->host == NULL ? HOST_NO_DATA : host_state(local->host);

    if (local->lost == HOST_LOST_NOT && state != HOST_NO_DATA && state != HOST_FAILED) {
        return false;
    }
    if (local->lost == HOST_LOST_NOT) {
        give_up(node, local, HOST_LOST_GIVEN_UP);
    }
    node->repair_pause_ms = 0;
    return true;
}

/* The repair. */

/* The zone's row and this node's place in it, while the row is of the lost member. */
static const struct directory_zone *row_of(struct node *node,
                                           const struct node_zone *local, uint32_t *place)
{
    const struct directory_zone *zone = directory_zone(&node->directory, local->id);

    for (uint32_t i = 0; zone != NULL && i < zone->n_members; i++) {
        if (zone->members[i].node == node->number &&
            zone->members[i].raft_id == local->raft_id && !zone->members[i].leaving) {
            *place = i;
            return zone;
        }
    }
    return NULL;
}

static void say(struct node_zone *local, const char *what)
{
    if (local->host != NULL) {
        host_repairing(local->host, what);
    }
}

static struct node_zone *repaired(struct node *node)
{
    struct node_zone *local = zone_of(node, node->repair.zone_id);

    return local == NULL || node->stopping || local->removing ||
                   local->raft_id != node->repair.raft_id
               ? NULL
               : local;
}

/* Each new id costs a pull, and there are 65,535: a bad disk must not use them up. */
static void note_repair(struct node *node)
{
    uint64_t now_ms = host_now_ms();
    uint64_t pause_ms;

    if (node->repair_last_ms != 0 && now_ms - node->repair_last_ms > REPAIR_CALM_MS) {
        node->repairs = 0;
    }
    node->repair_last_ms = now_ms;
    pause_ms = (uint64_t)REPAIR_AGAIN_MS << (node->repairs / 4);
    node->repair_pause_ms =
        now_ms + (pause_ms > REPAIR_PAUSE_MS ? REPAIR_PAUSE_MS : pause_ms);
    node->repairs += node->repairs < 64 ? 1 : 0;
}

static void on_written(void *arg, const struct zone_result *result)
{
    struct node *node = arg;
    struct node_zone *local = repaired(node);

    node->repair.busy = false;
    if (result->outcome != 0) {
        if (!node->stopping) {
            node_directory_refresh(node); /* The row may have changed meanwhile. */
        }
    } else if (local != NULL) {
        note_repair(node);
        log_info("daemon",
                 "msg=\"member gets a new raft id and a new dataset\" zone=%s "
                 "old_raft_id=%" PRIu64,
                 local->slug, local->raft_id);
        say(local, "begins anew");
    }
}

static void write_row(struct node *node, const struct directory_zone *zone,
                      uint32_t place)
{
    static const uint8_t none[16];
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 1};
    struct directory_zone *row = malloc(sizeof *row);
    char key[DIRECTORY_NAME_MAX + 8];
    char *text = NULL;

    if (row != NULL && zone->next_life <= UINT16_MAX) {
        *row = *zone;
        row->members[place].raft_id =
            directory_raft_id(node->number, (uint16_t)zone->next_life);
        row->next_life++;
        text = directory_zone_json(row);
    }
    free(row);
    if (text == NULL) {
        node->repair.busy = false;
        return;
    }
    snprintf(key, sizeof key, "zone/%s", zone->slug);
    op.kv[0] = (struct zone_kv){.key = slice_borrow(key, strlen(key)),
                                .value = slice_borrow(text, strlen(text)),
                                .version = zone->version};
    node_submit(
        node,
        &(struct nfs_submit){.zone_id = node->grapevine_id, .op = &op, .rpc_key = none},
        on_written, node);
    free(text);
}

/* The zone answered, or did not, without this member. */
static void on_probed(void *arg, const struct zone_result *result)
{
    struct node *node = arg;
    struct node_zone *local = repaired(node);
    const struct directory_zone *zone;
    uint32_t place = 0;

    zone = local == NULL ? NULL : row_of(node, local, &place);
    if (zone == NULL) {
        node->repair.busy = false;
    } else if (result->outcome == OUT_TRY_LATER) {
        node->repair.busy = false;
    } else {
        write_row(node, zone, place);
    }
}

static void begin(struct node *node, struct node_zone *local)
{
    static const uint8_t none[16];
    struct zone_op op = {.type = ZONE_OP_GETATTR, .obj = {.ino = ZONE_ROOT_INO}};
    uint32_t place = 0;
    const struct directory_zone *zone = row_of(node, local, &place);

    local->repair_ms = host_now_ms() + REPAIR_AGAIN_MS;
    if (zone == NULL) {
        return; /* The directory does not know, or has decided otherwise. */
    }
    if (host_now_ms() < node->repair_pause_ms) {
        say(local, "waits, since this node lost much lately: look at its disks");
        return;
    }
    if (zone->n_members == 1) {
        say(local, "it is the only copy: put the newer data back, or see gvraft zone "
                   "recover");
        return;
    }
    say(local, "waits for a majority of the other members: start them, put this data "
               "back, or see gvraft zone recover");
    node->repair = (struct node_repair){.busy = true, .raft_id = local->raft_id};
    memcpy(node->repair.zone_id, local->id, sizeof node->repair.zone_id);
    node_submit(node,
                &(struct nfs_submit){.zone_id = local->id, .op = &op, .rpc_key = none},
                on_probed, node);
}

/* Is this member's copy whole? */

/* It votes, which is committed, and shows everything that was then in the log. */
static bool has_everything(struct node_zone *local)
{
    struct host_report report;
    bool votes = false;

    host_report(local->host, &report);
    for (uint32_t i = 0; i < report.replica.n_members; i++) {
        votes = votes || (report.replica.members[i].id == local->raft_id &&
                          report.replica.members[i].role == RGROUP_VOTER);
    }
    if (!votes || report.state != HOST_RUNNING || report.replica.pulling ||
        !report.replica.has_quorum) {
        local->vote = (struct reconcile_mark){0};
        return false;
    }
    if (local->vote.term != report.replica.term) {
        local->vote = (struct reconcile_mark){.term = report.replica.term,
                                              .index = report.replica.last_index};
    }
    return report.replica.commit_index >= local->vote.index &&
           report.replica.applied_index >= local->vote.index;
}

struct sweeping {
    uv_work_t work;
    struct node *node;
    uint8_t zone_id[16];
    char slug[DIRECTORY_NAME_MAX + 1];
    char pool[CONFIG_TEXT_MAX];
    char journals[CONFIG_TEXT_MAX];
    int rv;
};

static void run_sweep(uv_work_t *work)
{
    struct sweeping *sweep = work->data;

    sweep->rv = dataset_sweep(sweep->pool, sweep->slug,
                              sweep->journals[0] == '\0' ? NULL : sweep->journals,
                              sweep->zone_id);
}

static void done_sweep(uv_work_t *work, int status)
{
    struct sweeping *sweep = work->data;
    struct node *node = sweep->node;

    (void)status;
    if (sweep->rv < 0) {
        log_warn("daemon",
                 "msg=\"a dataset that was set aside is not removed whole\" zone=%s "
                 "error=\"%s\"",
                 sweep->slug, strerror(-sweep->rv));
    } else if (sweep->rv > 0) {
        event_tell(EVENT_REPAIRED, sweep->slug,
                   "the new copy is complete: what was set aside is removed");
    }
    free(sweep);
    node_part_end(node);
}

static void sweep(struct node *node, struct node_zone *local)
{
    const struct config_pool *pool = config_pool(&node->config, local->pool);
    struct sweeping *sweep = pool == NULL ? NULL : calloc(1, sizeof *sweep);

    local->swept = true;
    if (sweep == NULL) {
        return;
    }
    sweep->node = node;
    memcpy(sweep->zone_id, local->id, sizeof sweep->zone_id);
    strcpy(sweep->slug, local->slug);
    strcpy(sweep->pool, pool->path);
    strcpy(sweep->journals, pool->journal);
    sweep->work.data = sweep;
    node_part_begin(node);
    if (uv_queue_work(node->loop, &sweep->work, run_sweep, done_sweep) != 0) {
        free(sweep);
        node_part_end(node);
    }
}

static void look_at(struct node *node, struct node_zone *local)
{
    if (local->removing || local->host == NULL) {
        return;
    }
    if (local->lost != HOST_LOST_NOT) {
        if (local->repair_ms == 0) {
            local->repair_ms =
                first_ms(node); /* Lost in an earlier life of the daemon. */
        } else if (!node->repair.busy && host_now_ms() >= local->repair_ms) {
            begin(node, local);
        }
        return;
    }
    if (!local->swept && has_everything(local)) {
        if (!local->complete) {
            local->complete = true;
            (void)node_zones_save(node);
        }
        sweep(node, local);
    }
}

void node_repair_tick(struct node *node)
{
    bool retry = host_now_ms() >= node->retry_ms;

    if (node->stopping) {
        return;
    }
    if (retry) {
        node->retry_ms = host_now_ms() + RETRY_MS;
    }
    if (retry && node->zones_unsaved && node_zones_save(node) == 0) {
        node_zones_refresh(node);
    }
    for (uint32_t i = 0; i < node->n_zones; i++) {
        look_at(node, &node->zones[i]);
        if (retry && node->zones[i].host != NULL && !node->zones[i].removing &&
            node->zones[i].lost == HOST_LOST_NOT) {
            host_retry(node->zones[i].host);
        }
    }
}
