/*
 * admin_events: the events of this node; docs/formats/control.md, "Events".
 *
 * With "follow" the answer is only the beginning: the control socket then sends a line for
 * each event to come (ctl_uv.c).
 */
#include "daemon/admin.h"

#include "daemon/event.h"
#include "daemon/json.h"

#include <string.h>

cJSON *events_json(const struct node *node, const struct event *event)
{
    static const char *const levels[] = {"error", "warn", "info", "debug"};
    cJSON *json = cJSON_CreateObject();

    json_put_u64(json, "time_ns", (uint64_t)event->time_ns);
    cJSON_AddStringToObject(json, "node", node->config.name);
    cJSON_AddStringToObject(json, "zone", event->zone);
    cJSON_AddStringToObject(json, "kind", event->kind);
    cJSON_AddStringToObject(json, "level", levels[event->level]);
    cJSON_AddStringToObject(json, "words", event->words);
    return json;
}

bool events_wanted(const struct events_filter *filter, const struct event *event)
{
    return event->time_ns >= filter->since_ns &&
           (filter->zone[0] == '\0' || strcmp(filter->zone, event->zone) == 0);
}

/* False: an argument is of the wrong kind. */
static bool take_filter(const cJSON *args, struct events_filter *filter)
{
    uint64_t since_ns = 0;

    *filter = (struct events_filter){0};
    if (cJSON_HasObjectItem(args, "since_ns") &&
        (!json_u64(args, "since_ns", &since_ns) || since_ns > INT64_MAX)) {
        return false;
    }
    filter->since_ns = (int64_t)since_ns;
    return !cJSON_HasObjectItem(args, "zone") ||
           json_text(args, "zone", filter->zone, sizeof filter->zone);
}

void admin_events(struct admin_call *call)
{
    struct events_filter filter;
    struct event event;
    cJSON *json;
    cJSON *events;

    if (!take_filter(call->args, &filter)) {
        admin_error(call, "'since_ns' is no time, or 'zone' is no zone's name");
        return;
    }
    json = cJSON_CreateObject();
    events = cJSON_AddArrayToObject(json, "events");
    while (event_after(filter.seq, &event)) {
        filter.seq = event.seq;
        if (events_wanted(&filter, &event)) {
            cJSON_AddItemToArray(events, events_json(call->node, &event));
        }
    }
    if (json_flag(call->args, "follow") && call->follow != NULL) {
        *call->follow = filter;
        call->follow->follow = true;
    }
    admin_done(call, json);
}
