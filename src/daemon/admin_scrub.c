/* scrub: have the members of a zone look at all that they hold; and how that goes. */
#include "daemon/admin.h"

#include "base/outcome.h"
#include "daemon/json.h"

#include <errno.h>
#include <string.h>

static const char *phase_word(enum scrub_phase phase)
{
    switch (phase) {
    case SCRUB_READING:
        return "reading";
    case SCRUB_COMPARING:
        return "comparing";
    case SCRUB_IDLE:
        break;
    }
    return "idle";
}

static const char *verdict_word(enum scrub_verdict verdict)
{
    switch (verdict) {
    case SCRUB_EQUAL:
        return "equal";
    case SCRUB_DIFFERS:
        return "differs";
    case SCRUB_NOT_COMPARED:
        break;
    }
    return "not-compared";
}

cJSON *admin_scrub_json(const struct node *node, const struct host *host)
{
    struct scrub_state state;
    cJSON *json;
    cJSON *names;

    if (!host_scrub_state(host, &state)) {
        return NULL;
    }
    json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "phase", phase_word(state.phase));
    json_put_u64(json, "begun", state.begun_s);
    json_put_u64(json, "ended", state.begun_s == 0 ? 0 : state.ended_s);
    json_put_u64(json, "blocks", state.blocks);
    json_put_u64(json, "bytes", state.bytes);
    json_put_u64(json, "bad", state.bad);
    json_put_u64(json, "healed", state.healed);
    json_put_u64(json, "unhealed", state.unhealed);
    names = cJSON_AddArrayToObject(json, "unhealed_blocks");
    for (uint32_t i = 0; i < SCRUB_NAMES_MAX && i < state.unhealed; i++) {
        cJSON *item = cJSON_CreateObject();

        json_put_u64(item, "inode", state.names[i].ino);
        json_put_u64(item, "block", state.names[i].block);
        cJSON_AddItemToArray(names, item);
    }
    cJSON_AddStringToObject(json, "verdict", verdict_word(state.verdict));
    json_put_u64(json, "compared", state.compared);
    json_put_u64(json, "compared_index", state.compared_index);
    cJSON_AddStringToObject(json, "differs_from",
                            state.verdict != SCRUB_DIFFERS
                                ? ""
                                : node_name_of(node, directory_raft_node(state.other)));
    return json;
}

/* 0; OUT_TRY_LATER: it was just started, and the call is to be polled again; or a fault. */
static int act_here(struct admin_call *call, const struct directory_zone *zone,
                    bool start)
{
    struct host *host = node_host(call->node, zone->id);
    int rv;

    if (host == NULL) {
        return -ENOENT;
    }
    rv = start ? host_scrub_start(host) : host_scrub_stop(host);
    return rv == OUT_TRY_LATER && host_now_ms() >= call->begun_ms + ADMIN_DIRECTORY_MS
               ? -EAGAIN
               : rv;
}

/* "start" or "stop"; ends the call if it is neither. */
static bool action(struct admin_call *call, bool *start)
{
    char word[16];

    if (!admin_arg(call, "action", word, sizeof word)) {
        return false;
    }
    *start = strcmp(word, "start") == 0;
    if (!*start && strcmp(word, "stop") != 0) {
        admin_error(call, "'action' must be start or stop");
        return false;
    }
    return true;
}

void admin_scrub_here(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    bool start;
    int rv;

    if (zone == NULL || !action(call, &start)) {
        return;
    }
    rv = act_here(call, zone, start);
    if (rv == 0) {
        admin_done(call, NULL);
    } else if (rv < 0) {
        admin_error(call, "'%s' is not running on this node now", call->slug);
    }
}

static void on_member(struct admin_call *call, uint64_t from, const cJSON *answer)
{
    const cJSON *ok = cJSON_GetObjectItemCaseSensitive(answer, "ok");
    char error[CONFIG_ERROR_MAX] = "it does not answer";

    if (cJSON_IsTrue(ok)) {
        call->number++;
        return;
    }
    (void)json_text(answer, "error", error, sizeof error);
    admin_warn(call, "not on '%s': %s", node_name_of(call->node, from), error);
}

static void ask_others(struct admin_call *call, const struct directory_zone *zone,
                       bool start)
{
    for (uint32_t i = 0; i < zone->n_members; i++) {
        uint64_t number = zone->members[i].node;
        cJSON *args;

        if (number == call->node->number) {
            continue;
        }
        if (!node_link_up(call->node, number)) {
            admin_warn(call, "not on '%s': it cannot be reached",
                       node_name_of(call->node, number));
            continue;
        }
        args = cJSON_CreateObject();
        cJSON_AddStringToObject(args, "slug", zone->slug);
        cJSON_AddStringToObject(args, "action", start ? "start" : "stop");
        admin_ask(call, number, "scrub-here", args, on_member);
    }
}

static void ask_members(struct admin_call *call)
{
    const struct directory_zone *zone = admin_zone(call);
    bool start;
    int rv = 0;

    if (zone == NULL || !action(call, &start)) {
        return;
    }
    if (directory_member(zone, call->node->number) != NULL) {
        rv = act_here(call, zone, start);
        if (rv == OUT_TRY_LATER) {
            return;
        }
        call->number += rv == 0 ? 1 : 0; /* Members that do it. */
    }
    if (rv != 0) {
        admin_warn(call, "not on '%s': the zone is not running there now",
                   call->node->config.name);
    }
    call->phase = 1;
    call->ask_ms = ADMIN_ASK_MS_MAX; /* They wait for a member that just started. */
    ask_others(call, zone, start);
}

void admin_scrub(struct admin_call *call)
{
    cJSON *result;

    if (call->phase == 0) {
        ask_members(call);
    }
    if (call->phase == 0 || call->busy > 0 || call->ended) {
        return;
    }
    if (call->number == 0) {
        admin_error(call, "no member of '%s' can do it now", call->slug);
        return;
    }
    result = cJSON_CreateObject();
    json_put_u64(result, "members", call->number);
    admin_done(call, result);
}
