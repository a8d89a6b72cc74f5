/*
 * admin_doctor: what this daemon knows and gvraft doctor asks for. It judges nothing.
 * Format: docs/formats/control.md, "doctor".
 */
#include "daemon/admin.h"

#include "daemon/json.h"
#include "daemon/memory.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void put_limits(cJSON *json)
{
    struct rlimit files = {0};
    struct rlimit size = {0};

    (void)getrlimit(RLIMIT_NOFILE, &files);
    (void)getrlimit(RLIMIT_FSIZE, &size);
    json_put_u64(json, "files_max", files.rlim_cur);
    cJSON_AddBoolToObject(json, "file_size_limited", size.rlim_cur != RLIM_INFINITY);
}

static cJSON *self_json(struct node *node)
{
    struct memory_state memory = memory_state();
    cJSON *json = cJSON_CreateObject();

    cJSON_AddStringToObject(json, "version", GV_VERSION);
    json_put_number(json, "pid", (uint64_t)getpid());
    cJSON_AddStringToObject(json, "config", node->config.path);
    cJSON_AddBoolToObject(json, "initialised", node->initialised);
    cJSON_AddBoolToObject(json, "directory_read", node->directory.index > 0);
    cJSON_AddBoolToObject(json, "serving", node->serving);
    cJSON_AddBoolToObject(json, "flusher", memory.flusher);
    cJSON_AddBoolToObject(json, "lock_wanted", node->config.memory.lock);
    cJSON_AddBoolToObject(json, "locked", memory.locked);
    cJSON_AddStringToObject(
        json, "rpcbind", node->config.rpcbind ? binder_uv_view(node->binder) : "unused");
    cJSON_AddStringToObject(json, "sleep", node_sleep_view(node));
    put_limits(json);
    return json;
}

static void put_zone(struct node *node, cJSON *zones, struct host *host,
                     const struct node_zone *local)
{
    struct host_report report;
    cJSON *json = cJSON_CreateObject();
    uint64_t now_ms = host_now_ms();

    host_report(host, &report);
    cJSON_AddStringToObject(json, "zone", host_label(host));
    cJSON_AddStringToObject(json, "pool", local == NULL ? "" : local->pool);
    cJSON_AddStringToObject(json, "state", host_report_word(&report));
    cJSON_AddStringToObject(json, "reason", host_reason(host));
    cJSON_AddStringToObject(
        json, "leader", node_name_of(node, directory_raft_node(report.replica.leader)));
    cJSON_AddBoolToObject(
        json, "quarantined",
        (local == NULL ? node->home_lost : local->lost) != HOST_LOST_NOT);
    json_put_u64(json, "unreadable_entry", report.replica.unreadable_index);
    json_put_number(json, "sync_mean_us", report.syncs.mean_us);
    json_put_number(json, "sync_worst_us", report.syncs.worst_us);
    json_put_number(json, "sync_count", report.syncs.count);
    json_put_number(json, "sync_waits_ms",
                    report.syncs.since_ms == 0 || report.syncs.since_ms > now_ms
                        ? 0
                        : now_ms - report.syncs.since_ms);
    cJSON_AddItemToArray(zones, json);
}

static cJSON *zones_json(struct node *node)
{
    cJSON *zones = cJSON_CreateArray();

    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (node->zones[i].host != NULL) {
            put_zone(node, zones, node->zones[i].host, &node->zones[i]);
        }
    }
    if (node->home != NULL) {
        put_zone(node, zones, node->home, NULL);
    }
    return zones;
}

/* How far the peer's clock is ahead of this one, as far as one answer can say. */
static void put_clock(cJSON *json, const cJSON *part, uint64_t rtt_us)
{
    uint64_t theirs = 0;
    uint64_t heard = 0;

    if (json_u64(part, "time_ns", &theirs) && json_u64(part, "heard_ns", &heard)) {
        double ahead = (double)(int64_t)(theirs - heard) / 1e6 + (double)rtt_us / 2e3;

        cJSON_AddNumberToObject(json, "clock_ahead_ms", (double)(int64_t)ahead);
    }
}

static cJSON *peer_json(const struct admin_call *call, const struct directory_node *row)
{
    struct node *node = call->node;
    uint64_t number = row->peer.number;
    const cJSON *part = admin_status_part(call, number);
    bool up = node_link_up(node, number);
    cJSON *json = cJSON_CreateObject();
    char version[32] = "";

    (void)json_text(part, "version", version, sizeof version);
    cJSON_AddStringToObject(json, "name", row->name);
    cJSON_AddStringToObject(json, "host", row->peer.host);
    json_put_number(json, "port", row->peer.port);
    cJSON_AddBoolToObject(json, "up", up);
    cJSON_AddBoolToObject(json, "answers", part != NULL);
    json_put_u64(json, "since_ns", (uint64_t)node_link_since_ns(node, number));
    cJSON_AddStringToObject(
        json, "fault", up || node->peers == NULL ? "" : peer_fault(node->peers, number));
    cJSON_AddStringToObject(json, "version", version);
    put_clock(json, part, node->peers == NULL ? 0 : peer_rtt_us(node->peers, number));
    return json;
}

static cJSON *peers_json(const struct admin_call *call)
{
    const struct directory *directory = &call->node->directory;
    cJSON *peers = cJSON_CreateArray();

    for (uint32_t i = 0; i < directory->n_nodes; i++) {
        if (directory->nodes[i].peer.number != call->node->number) {
            cJSON_AddItemToArray(peers, peer_json(call, &directory->nodes[i]));
        }
    }
    return peers;
}

void admin_doctor(struct admin_call *call)
{
    struct node *node = call->node;
    cJSON *json;

    if (node->initialised && call->phase == 0) {
        call->phase = 1;
        admin_status_ask(call);
    }
    if (call->busy > 0) {
        return;
    }
    json = cJSON_CreateObject();
    cJSON_AddItemToObject(json, "self", self_json(node));
    if (node->initialised) {
        cJSON_AddItemToObject(json, "zones", zones_json(node));
        cJSON_AddItemToObject(json, "peers", peers_json(call));
        cJSON_AddItemToObject(json, "status", admin_status_json(call));
    }
    admin_done(call, json);
}
