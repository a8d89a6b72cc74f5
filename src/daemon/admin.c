#include "daemon/admin.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/wire.h"
#include "daemon/join.h"
#include "daemon/json.h"
#include "zone/zone.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_HEAD_BYTES 8u
#define ASK_BYTES_MAX (1u << 20)
#define CALLS_MAX 256u
#define CALLS_PER_NODE_MAX 64u
#define CALLS_OF_NODES_MAX 192u /* So that the control socket has the rest. */

static const struct admin_command commands[] = {
    {.name = "init", .poll = admin_init, .anywhere = true, .blind = true},
    {.name = "join", .poll = admin_join, .anywhere = true, .blind = true},
    {.name = "status", .poll = admin_status, .anywhere = true},
    {.name = "events", .poll = admin_events, .anywhere = true, .blind = true},
    {.name = "doctor", .poll = admin_doctor, .anywhere = true, .blind = true},
    {.name = "local", .poll = admin_local, .remote = true, .blind = true},
    {.name = "invite", .poll = admin_invite},
    {.name = "node-list", .poll = admin_node_list},
    {.name = "node-remove", .poll = admin_node_remove},
    {.name = "node-set-address", .poll = admin_node_address},
    {.name = "zone-check", .poll = admin_zone_check},
    {.name = "zone-create", .poll = admin_zone_create},
    {.name = "zone-list", .poll = admin_zone_list},
    {.name = "zone-show", .poll = admin_zone_show},
    {.name = "zone-delete", .poll = admin_zone_delete},
    {.name = "zone-add-member", .poll = admin_zone_add},
    {.name = "zone-remove-member", .poll = admin_zone_remove},
    {.name = "recover", .poll = admin_recover, .blind = true},
    {.name = "zone-recover", .poll = admin_zone_recover},
    {.name = "recover-look", .poll = admin_recover_look, .remote = true, .blind = true},
    {.name = "zone-replace-member", .poll = admin_zone_replace},
    {.name = "zone-set-quota", .poll = admin_zone_quota},
    {.name = "zone-rebuild", .poll = admin_zone_rebuild, .remote = true},
    {.name = "zone-retry", .poll = admin_zone_retry, .remote = true},
    {.name = "zone-digest", .poll = admin_zone_digest, .remote = true},
    {.name = "scrub", .poll = admin_scrub},
    {.name = "scrub-here", .poll = admin_scrub_here, .remote = true},
    {.name = "transfer-leader", .poll = admin_transfer, .remote = true},
};
static const struct admin_command accept_command = {.name = "(join request)",
                                                    .poll = admin_accept};

/* Ending. */

static void call_end(struct admin_call *call, cJSON *answer)
{
    ASSERT(!call->ended);
    call->ended = true;
    if (call->warnings != NULL) {
        cJSON_AddItemToObject(answer, "warnings", call->warnings);
        call->warnings = NULL;
    }
    call->done(call->arg, answer);
}

void admin_done(struct admin_call *call, cJSON *result)
{
    cJSON *answer = cJSON_CreateObject();

    cJSON_AddBoolToObject(answer, "ok", true);
    cJSON_AddItemToObject(answer, "result",
                          result == NULL ? cJSON_CreateObject() : result);
    call_end(call, answer);
}

const char *admin_outcome(int outcome)
{
    return outcome == OUT_TRY_LATER ? "nobody took it in time" : outcome_name(outcome);
}

void admin_error(struct admin_call *call, const char *format, ...)
{
    cJSON *answer = cJSON_CreateObject();
    char text[CONFIG_ERROR_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cJSON_AddBoolToObject(answer, "ok", false);
    cJSON_AddStringToObject(answer, "error", text);
    call_end(call, answer);
}

void admin_warn(struct admin_call *call, const char *format, ...)
{
    char text[CONFIG_ERROR_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (call->warnings == NULL) {
        call->warnings = cJSON_CreateArray();
    }
    if (cJSON_GetArraySize(call->warnings) < (int)ADMIN_WARNINGS_MAX) {
        cJSON_AddItemToArray(call->warnings, cJSON_CreateString(text));
    }
}

bool admin_late(struct admin_call *call, const char *what)
{
    if (host_now_ms() < call->deadline_ms) {
        return false;
    }
    admin_error(call, "%s", what);
    return true;
}

bool admin_again(struct admin_call *call)
{
    uint64_t now_ms = host_now_ms();

    if (now_ms < call->next_ms) {
        return false;
    }
    call->next_ms = now_ms + ADMIN_AGAIN_MS;
    return true;
}

static void call_free(struct admin_call *call)
{
    cJSON_Delete(call->args);
    cJSON_Delete(call->result);
    cJSON_Delete(call->warnings);
    free(call->state);
    free(call);
}

/* Right after a start the directory is still being read: a command would find no nodes. */
static bool waits_for_directory(const struct admin_call *call)
{
    return call->node->initialised && call->node->directory.index == 0 &&
           call->phase == 0 && !call->command->blind &&
           host_now_ms() < call->begun_ms + ADMIN_DIRECTORY_MS;
}

static void call_poll(struct admin_call *call)
{
    if (!call->ended && call->busy == 0 && !waits_for_directory(call)) {
        call->command->poll(call);
    }
}

static void ask_drop(struct node *node, struct admin_ask *ask);

void admin_stop(struct node *node)
{
    while (node->asks != NULL) {
        ask_drop(node, node->asks);
    }
    for (struct admin_call *call = node->calls; call != NULL; call = call->next) {
        if (!call->ended) {
            admin_error(call, "the daemon is stopping: see its state when it runs again");
        }
    }
}

/* Ended calls go here, never inside a callback that may still hold them. */
void admin_tick(struct node *node)
{
    struct admin_call **link = &node->calls;

    for (struct admin_call *call = node->calls; call != NULL; call = call->next) {
        call_poll(call);
    }
    while (*link != NULL) {
        struct admin_call *call = *link;

        if (call->ended && call->busy == 0) {
            *link = call->next;
            call_free(call);
        } else {
            link = &call->next;
        }
    }
}

/* Beginning. */

static struct admin_call *call_new(struct node *node, const struct admin_command *command,
                                   void (*done)(void *arg, cJSON *answer), void *arg)
{
    struct admin_call *call = calloc(1, sizeof *call);

    ASSERT(call != NULL);
    call->node = node;
    call->command = command;
    call->begun_ms = host_now_ms();
    call->deadline_ms = call->begun_ms + ADMIN_WAIT_MS;
    call->done = done;
    call->arg = arg;
    call->next = node->calls;
    node->calls = call;
    return call;
}

static void refuse(void (*done)(void *arg, cJSON *answer), void *arg, const char *error)
{
    cJSON *answer = cJSON_CreateObject();

    cJSON_AddBoolToObject(answer, "ok", false);
    cJSON_AddStringToObject(answer, "error", error);
    done(arg, answer);
}

static uint32_t n_calls(const struct node *node)
{
    uint32_t n = 0;

    for (const struct admin_call *call = node->calls; call != NULL; call = call->next) {
        n++;
    }
    return n;
}

/* @from 0: the control socket. */
static bool has_room(const struct node *node, uint64_t from)
{
    uint32_t n_nodes = 0;
    uint32_t n_own = 0;

    for (const struct admin_call *call = node->calls; call != NULL; call = call->next) {
        n_nodes += call->from != 0 ? 1 : 0;
        n_own += call->from == from ? 1 : 0;
    }
    return n_calls(node) < CALLS_MAX &&
           (from == 0 || (n_own < CALLS_PER_NODE_MAX && n_nodes < CALLS_OF_NODES_MAX));
}

/* Who asks. */
struct asking {
    uint64_t from; /* 0: the control socket. */
    struct events_filter *follow;
};

static void request(struct node *node, const cJSON *json, const struct asking *asking,
                    void (*done)(void *arg, cJSON *answer), void *arg)
{
    uint64_t from = asking->from;
    const struct admin_command *command = NULL;
    struct admin_call *call;
    uint64_t version = 0;
    char name[64];

    if (from == 0 && (!json_u64(json, "version", &version) || version != 1)) {
        refuse(done, arg, "this daemon speaks version 1 of the control protocol");
        return;
    }
    if (!json_text(json, "command", name, sizeof name)) {
        refuse(done, arg, "the request names no command");
        return;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, name) == 0 && (from == 0 || commands[i].remote)) {
            command = &commands[i];
        }
    }
    if (command == NULL) {
        refuse(done, arg, "this daemon does not know that command: is gvraft newer?");
    } else if (!node->initialised && !command->anywhere) {
        refuse(done, arg,
               "this node belongs to no grapevine yet: use gvraft init or gvraft join");
    } else if (!has_room(node, from) || node->stopping) {
        refuse(done, arg, "the daemon is busy or stopping: try again later");
    } else {
        call = call_new(node, command, done, arg);
        call->from = from;
        call->follow = asking->follow;
        call->args =
            cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(json, "args"), true);
        call_poll(call);
    }
}

void admin_request(struct node *node, const cJSON *json, struct events_filter *follow,
                   void (*done)(void *arg, cJSON *answer), void *arg)
{
    request(node, json, &(struct asking){.follow = follow}, done, arg);
}

/* Arguments. */

bool admin_arg(struct admin_call *call, const char *key, char *out, size_t cap)
{
    if (json_text(call->args, key, out, cap)) {
        return true;
    }
    admin_error(call, "the %s is missing, or has more than %zu bytes",
                strcmp(key, "slug") == 0 ? "zone's name" : key, cap - 1);
    return false;
}

/* All that was acknowledged anywhere when the call began is applied here. */
static void on_view(void *arg, const struct zone_result *result)
{
    struct admin_call *call = arg;

    (void)result; /* Whatever it is, there is nothing better to go by. */
    call->busy--;
    node_directory_refresh(call->node);
    call_poll(call);
}

static void ask_view(struct admin_call *call)
{
    static const uint8_t none[16];
    struct zone_op op = {.type = ZONE_OP_KV_GET, .name = slice_borrow("epoch", 5)};

    call->viewed = true;
    call->busy++;
    node_submit(call->node,
                &(struct nfs_submit){
                    .zone_id = call->node->grapevine_id, .op = &op, .rpc_key = none},
                on_view, call);
}

bool admin_may_yet_come(struct admin_call *call)
{
    const struct node *node = call->node;
    struct replica_log_end end;
    struct host_report report;

    if (node->home == NULL || host_log_end(node->home, &end) != 0 ||
        host_now_ms() >= call->begun_ms + ADMIN_DIRECTORY_MS) {
        return false;
    }
    host_report(node->home, &report);
    if (node->reading_directory || end.last_index > report.replica.applied_index ||
        strcmp(host_report_word(&report), "online") != 0) {
        return true;
    }
    if (call->viewed) {
        return false;
    }
    ask_view(call);
    return true;
}

const struct directory_zone *admin_zone(struct admin_call *call)
{
    const struct directory_zone *zone;

    if (!admin_arg(call, "slug", call->slug, sizeof call->slug)) {
        return NULL;
    }
    zone = directory_zone_named(&call->node->directory, call->slug);
    if (zone == NULL && !admin_may_yet_come(call)) {
        admin_error(call, "there is no zone '%s': gvraft zone list shows those there are",
                    call->slug);
    }
    return zone;
}

const struct directory_node *admin_node(struct admin_call *call, const char *key)
{
    const struct directory_node *node;

    if (!admin_arg(call, key, call->name, sizeof call->name)) {
        return NULL;
    }
    node = directory_node_named(&call->node->directory, call->name);
    if (node == NULL && !admin_may_yet_come(call)) {
        admin_error(call, "there is no node '%s': gvraft node list shows those there are",
                    call->name);
    }
    return node;
}

/* Ops. */

static void on_op(void *arg, const struct zone_result *result)
{
    struct admin_call *call = arg;

    call->outcome = result->outcome;
    call->pair = result->count;
    call->busy--;
    call_poll(call);
}

void admin_op(struct admin_call *call, const uint8_t zone_id[16],
              const struct zone_op *op)
{
    static const uint8_t none[16];

    call->busy++;
    node_submit(call->node,
                &(struct nfs_submit){.zone_id = zone_id, .op = op, .rpc_key = none},
                on_op, call);
}

struct zone_kv admin_pair(const char *key, const char *value, uint64_t version)
{
    return (struct zone_kv){
        .key = slice_borrow(key, strlen(key)),
        .value = slice_borrow(value, value == NULL ? 0 : strlen(value)),
        .version = version,
        .remove = value == NULL,
    };
}

/* Questions between nodes. */

struct admin_ask {
    struct admin_ask *next;
    uint64_t number;
    uint64_t to;
    uint64_t deadline_ms;
    struct admin_call *call;
    uv_timer_t timer;
    void (*answered)(struct admin_call *call, uint64_t from, const cJSON *answer);
};

static void ask_free(uv_handle_t *handle)
{
    free(handle->data);
}

/* Nobody waits for the answer any more. */
static void ask_drop(struct node *node, struct admin_ask *ask)
{
    struct admin_ask **link = &node->asks;

    while (*link != ask) {
        link = &(*link)->next;
    }
    *link = ask->next;
    ask->call->busy--;
    uv_close((uv_handle_t *)&ask->timer, ask_free);
}

static void ask_end(struct node *node, struct admin_ask *ask, const cJSON *answer)
{
    struct admin_call *call = ask->call;

    if (!call->ended) {
        ask->answered(call, ask->to, answer);
    }
    ask_drop(node, ask);
    call_poll(call);
}

static void on_ask_late(uv_timer_t *timer)
{
    struct admin_ask *ask = timer->data;

    ask_end(ask->call->node, ask, NULL);
}

void admin_ask(struct admin_call *call, uint64_t to, const char *command, cJSON *args,
               void (*answered)(struct admin_call *call, uint64_t from,
                                const cJSON *answer))
{
    struct node *node = call->node;
    uint32_t ms = call->ask_ms == 0 ? ADMIN_ASK_MS : call->ask_ms;
    struct admin_ask *ask = calloc(1, sizeof *ask);
    cJSON *json = cJSON_CreateObject();
    uint8_t head[ASK_HEAD_BYTES];
    char *text;
    int rv = OUT_TRY_LATER;

    ASSERT(ask != NULL);
    cJSON_AddStringToObject(json, "command", command);
    cJSON_AddItemToObject(json, "args", args == NULL ? cJSON_CreateObject() : args);
    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    *ask = (struct admin_ask){
        .number = ++node->next_ask, .to = to, .call = call, .answered = answered};
    ask->next = node->asks;
    node->asks = ask;
    call->busy++;
    uv_timer_init(node->loop, &ask->timer);
    ask->timer.data = ask;
    wire_store_u64(head, ask->number);
    if (text != NULL) {
        rv = node_send(node,
                       &(struct peer_message){.node = to,
                                              .channel = PEER_CONTROL,
                                              .type = NODE_FRAME_ASK,
                                              .head = slice_borrow(head, sizeof head),
                                              .body = slice_borrow(text, strlen(text))});
    }
    free(text);
    /* Also when it could not be sent: the caller is never called back at once. */
    uv_timer_start(&ask->timer, on_ask_late, rv == 0 ? ms : 0, 0);
}

struct ask_reply {
    struct node *node;
    uint64_t to;
    uint64_t number;
};

static void on_asked(void *arg, cJSON *answer)
{
    struct ask_reply *reply = arg;
    char *text = cJSON_PrintUnformatted(answer);
    uint8_t head[ASK_HEAD_BYTES];
    struct peer_message frame = {.node = reply->to,
                                 .channel = PEER_CONTROL,
                                 .type = NODE_FRAME_ASK_ANSWER,
                                 .head = slice_borrow(head, sizeof head)};

    wire_store_u64(head, reply->number);
    if (text != NULL) {
        frame.body = slice_borrow(text, strlen(text));
    }
    if (text != NULL && node_send(reply->node, &frame) != 0) {
        log_debug("daemon", "msg=\"answer dropped\" to=%s",
                  node_name_of(reply->node, reply->to));
    }
    free(text);
    cJSON_Delete(answer);
    free(reply);
}

void admin_ask_frame(struct node *node, uint64_t from, struct slice head,
                     struct slice body)
{
    struct ask_reply *reply;
    cJSON *json;

    if (head.len != ASK_HEAD_BYTES || body.len > ASK_BYTES_MAX) {
        return;
    }
    json = json_parse((const char *)body.data, body.len);
    reply = calloc(1, sizeof *reply);
    if (json != NULL && reply != NULL) {
        *reply = (struct ask_reply){
            .node = node, .to = from, .number = wire_load_u64(head.data)};
        request(node, json, &(struct asking){.from = from}, on_asked, reply);
    } else {
        free(reply);
    }
    cJSON_Delete(json);
}

void admin_ask_answer(struct node *node, uint64_t from, struct slice head,
                      struct slice body)
{
    uint64_t number;
    cJSON *json;

    if (head.len != ASK_HEAD_BYTES || body.len > ASK_BYTES_MAX) {
        return;
    }
    number = wire_load_u64(head.data);
    for (struct admin_ask *ask = node->asks; ask != NULL; ask = ask->next) {
        if (ask->number == number && ask->to == from) {
            json = json_parse((const char *)body.data, body.len);
            ask_end(node, ask, json);
            cJSON_Delete(json);
            return;
        }
    }
}

/* Join requests come over the peer port, not the socket. */

struct join_reply {
    struct node *node;
    uint64_t request;
};

static void on_joined(void *arg, cJSON *answer)
{
    struct join_reply *reply = arg;
    char *text = cJSON_PrintUnformatted(answer);

    if (text != NULL && reply->node->peers != NULL) {
        (void)peer_join_answer(reply->node->peers, reply->request,
                               slice_borrow(text, strlen(text)));
    }
    free(text);
    cJSON_Delete(answer);
    free(reply);
}

void admin_join_request(void *ctx, uint64_t request_number, const uint8_t *fingerprint,
                        const char *remote_host, struct slice body)
{
    struct node *node = ctx;
    cJSON *json = json_parse((const char *)body.data, body.len);
    struct join_reply *reply = calloc(1, sizeof *reply);
    struct join_request *wanted = calloc(1, sizeof *wanted);
    struct admin_call *call;

    ASSERT(reply != NULL && wanted != NULL);
    *reply = (struct join_reply){.node = node, .request = request_number};
    if (json == NULL || !join_parse(json, fingerprint, wanted)) {
        refuse(on_joined, reply, "the join request does not parse");
        free(wanted);
    } else if (node->stopping || !node->initialised || !has_room(node, 0)) {
        refuse(on_joined, reply,
               "the inviting node is busy or stopping: try again later");
        free(wanted);
    } else {
        call = call_new(node, &accept_command, on_joined, reply);
        call->state = wanted;
        snprintf(call->remote, sizeof call->remote, "%s", remote_host);
        call_poll(call);
    }
    cJSON_Delete(json);
}
