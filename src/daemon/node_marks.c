/*
 * node_marks: what the members of each zone vouched for, kept apart from their data.
 *
 * state/marks.json is replaced at most every MARKS_MS, on a pool thread, and once more at
 * the end. What puts a dataset back leaves it as it is: so a member sees at its start that
 * its data is older than what it acknowledged (docs/adr/0005-rolled-back-members.md).
 */
#include "daemon/node.h"

#include "base/assert.h"
#include "base/log.h"
#include "daemon/json.h"
#include "daemon/state_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARKS_MS 2000u
#define MARKS_BYTES_MAX (16u << 20)
#define MARKS_FILE "marks.json"

struct zone_marks {
    struct zone_marks *next;
    uint8_t id[16];
    struct roll_marks marks;
};

struct node_marks {
    struct zone_marks *zones;
    uint64_t next_ms;
    uv_work_t work;
    struct node *node;
    char path[CONFIG_TEXT_MAX + 32];
    char *text;  /* Being written. */
    char *after; /* To be written then. */
    int rv;
    bool told; /* That it could not be written. */
};

static struct zone_marks *find(const struct node_marks *all, const uint8_t id[16])
{
    struct zone_marks *zone = all->zones;

    while (zone != NULL && memcmp(zone->id, id, 16) != 0) {
        zone = zone->next;
    }
    return zone;
}

static struct zone_marks *find_or_add(struct node_marks *all, const uint8_t id[16])
{
    struct zone_marks *zone = find(all, id);

    if (zone == NULL) {
        zone = calloc(1, sizeof *zone);
        ASSERT(zone != NULL);
        memcpy(zone->id, id, sizeof zone->id);
        zone->next = all->zones;
        all->zones = zone;
    }
    return zone;
}

/* Of one zone; what does not parse is worth nothing. */
static bool parse_zone(struct node_marks *all, const cJSON *item)
{
    const cJSON *marks = cJSON_GetObjectItemCaseSensitive(item, "marks");
    const cJSON *mark;
    uint8_t id[16];
    struct zone_marks *zone;

    if (!json_hex(item, "zone", id, sizeof id)) {
        return false;
    }
    zone = find_or_add(all, id);
    cJSON_ArrayForEach(mark, marks)
    {
        struct roll_point point = {0};
        uint64_t raft_id = 0;

        if (!json_u64(mark, "raft_id", &raft_id) ||
            !json_u64(mark, "term", &point.term) ||
            !json_u64(mark, "index", &point.index)) {
            return false;
        }
        (void)roll_note(&zone->marks, raft_id, point);
    }
    return true;
}

void node_marks_load(struct node *node)
{
    struct node_marks *all = calloc(1, sizeof *all);
    const cJSON *zones;
    const cJSON *item;
    uint64_t version = 0;
    struct state_file file = {0};
    cJSON *json = NULL;
    bool ok;
    int rv;

    ASSERT(all != NULL);
    all->node = node;
    node->marks = all;
    snprintf(all->path, sizeof all->path, "%s/" MARKS_FILE, node->config.state);
    rv = state_file_read(node->disk, all->path, MARKS_BYTES_MAX, &file);
    if (rv == -ENOENT) {
        return;
    }
    json = rv == 0 ? json_parse(file.text, file.len) : NULL;
    ok = json_u64(json, "version", &version) && version == 1;
    zones = cJSON_GetObjectItemCaseSensitive(json, "zones");
    cJSON_ArrayForEach(item, zones)
    {
        ok = ok && parse_zone(all, item);
    }
    if (!ok) {
        log_warn("daemon", "msg=\"marks.json is of no use: that a member's data was put "
                           "back shows only in what the others remember\"");
    }
    cJSON_Delete(json);
    free(file.text);
}

void node_marks_get(const struct node *node, const uint8_t zone_id[16],
                    struct roll_marks *out)
{
    const struct zone_marks *zone =
        node->marks == NULL ? NULL : find(node->marks, zone_id);

    *out = zone == NULL ? (struct roll_marks){0} : zone->marks;
}

/* Take over what a host knows now. True if any of it is new. */
static bool take(struct node_marks *all, const struct host *host)
{
    struct zone_marks *zone;
    struct roll_marks now;
    bool news = false;

    if (!host_marks(host, &now)) {
        return false;
    }
    zone = find_or_add(all, host_zone_id(host));
    for (uint32_t i = 0; i < now.n; i++) {
        news = roll_note(&zone->marks, now.items[i].id, now.items[i].point) || news;
    }
    return news;
}

static bool is_ours(const struct node *node, const uint8_t id[16])
{
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (memcmp(node->zones[i].id, id, 16) == 0) {
            return true;
        }
    }
    return memcmp(node->grapevine_id, id, 16) == 0;
}

static void forget_gone(struct node *node)
{
    struct zone_marks **link = &node->marks->zones;

    while (*link != NULL) {
        struct zone_marks *zone = *link;

        if (is_ours(node, zone->id)) {
            link = &zone->next;
        } else {
            *link = zone->next;
            free(zone);
        }
    }
}

static char *print(const struct node_marks *all)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *zones;
    char *text;

    json_put_number(json, "version", 1);
    zones = cJSON_AddArrayToObject(json, "zones");
    for (const struct zone_marks *zone = all->zones; zone != NULL; zone = zone->next) {
        cJSON *item = cJSON_CreateObject();
        cJSON *marks;

        json_put_hex(item, "zone", zone->id, sizeof zone->id);
        marks = cJSON_AddArrayToObject(item, "marks");
        for (uint32_t i = 0; i < zone->marks.n; i++) {
            cJSON *mark = cJSON_CreateObject();

            json_put_u64(mark, "raft_id", zone->marks.items[i].id);
            json_put_u64(mark, "term", zone->marks.items[i].point.term);
            json_put_u64(mark, "index", zone->marks.items[i].point.index);
            cJSON_AddItemToArray(marks, mark);
        }
        cJSON_AddItemToArray(zones, item);
    }
    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

static void write_text(struct node_marks *all, char *text);

static void run_write(uv_work_t *work)
{
    struct node_marks *all = work->data;

    all->rv = state_file_write_one(all->node->disk, all->path, all->text);
}

static void done_write(uv_work_t *work, int status)
{
    struct node_marks *all = work->data;
    struct node *node = all->node;
    char *after = all->after;

    (void)status;
    if (all->rv != 0 && !all->told) {
        log_warn("daemon", "msg=\"could not write marks.json\" error=\"%s\"",
                 strerror(-all->rv));
    }
    all->told = all->rv != 0;
    free(all->text);
    all->text = NULL;
    all->after = NULL;
    if (after != NULL) {
        write_text(all, after);
    }
    node_part_end(node);
}

static void write_text(struct node_marks *all, char *text)
{
    node_part_begin(all->node);
    all->text = text;
    all->work.data = all;
    ASSERT(uv_queue_work(all->node->loop, &all->work, run_write, done_write) == 0);
}

void node_marks_tick(struct node *node, bool now)
{
    struct node_marks *all = node->marks;
    bool news = false;
    char *text;

    if (all == NULL || (!now && (all->text != NULL || host_now_ms() < all->next_ms))) {
        return;
    }
    all->next_ms = host_now_ms() + MARKS_MS;
    forget_gone(node);
    for (uint32_t i = 0; i < node->n_zones; i++) {
        if (node->zones[i].host != NULL) {
            news = take(all, node->zones[i].host) || news;
        }
    }
    if (node->home != NULL) {
        news = take(all, node->home) || news;
    }
    text = news ? print(all) : NULL;
    if (text != NULL && all->text != NULL) {
        free(all->after);
        all->after = text;
    } else if (text != NULL) {
        write_text(all, text);
    }
}

void node_marks_free(struct node *node)
{
    struct node_marks *all = node->marks;

    node->marks = NULL;
    while (all != NULL && all->zones != NULL) {
        struct zone_marks *zone = all->zones;

        all->zones = zone->next;
        free(zone);
    }
    free(all);
}
