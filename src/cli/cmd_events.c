/* events: what happened on this node, and what happens. */
#include "cli/command.h"
#include "cli/show.h"
#include "cli/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TIME_TEXT_MAX 40u
#define AGAIN_SECONDS 1u
#define SHOWN_MAX 64u

/* "2h" ago, or a time in UTC. */
static int parse_since(const char *text, int64_t *out_ns)
{
    static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M",
                                          "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M",
                                          "%Y-%m-%d"};
    uint64_t seconds;

    if (units_parse_duration(text, &seconds) == 0) {
        *out_ns = ((int64_t)time(NULL) - (int64_t)seconds) * 1000000000;
        return 0;
    }
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        struct tm tm = {0};
        const char *end = strptime(text, formats[i], &tm);
        time_t when;

        if (end == NULL || (*end != '\0' && strcmp(end, "Z") != 0)) {
            continue;
        }
        when = timegm(&tm);
        if (when >= 0 && when < INT64_MAX / 1000000000) {
            *out_ns = (int64_t)when * 1000000000;
            return 0;
        }
    }
    return -EINVAL;
}

static void put_time(const cJSON *event, FILE *file)
{
    const char *text = show_text(event, "time_ns");
    uint64_t ns = strtoull(text, NULL, 10);
    time_t when = (time_t)(ns / 1000000000);
    char out[TIME_TEXT_MAX];
    struct tm tm;

    if (gmtime_r(&when, &tm) == NULL || strftime(out, sizeof out, "%F %T", &tm) == 0) {
        (void)snprintf(out, sizeof out, "?");
    }
    fprintf(file, "%s.%03u", out, (unsigned)(ns / 1000000 % 1000));
}

static void put_field(const char *text, int width, FILE *file)
{
    int len = (int)strlen(text);

    fputs("  ", file);
    units_put_text(file, text);
    fprintf(file, "%*s", len < width ? width - len : 0, "");
}

static void put_event(const cJSON *event, bool json)
{
    const char *zone = show_text(event, "zone");

    if (json) {
        char *text = cJSON_PrintUnformatted(event);

        if (text != NULL) {
            puts(text);
        }
        free(text);
    } else {
        put_time(event, stdout);
        put_field(show_text(event, "node"), 12, stdout);
        put_field(zone[0] == '\0' ? "-" : zone, 12, stdout);
        put_field(show_text(event, "kind"), 14, stdout);
        put_field(show_text(event, "words"), 0, stdout);
        putchar('\n');
    }
}

/*
 * Following, over lives of the daemon. Events have no number that outlives it, and their
 * times may go back; but the daemon reads the last ones from its files, in order. So what
 * comes after the newest that was shown is new. The very last before a crash may not have
 * got to the file: then one of those before it is looked for.
 */
struct following {
    const struct cli *cli;
    bool began; /* The daemon answered once. */
    bool gone;  /* That it did not lately was said. */
    uint64_t n; /* Events shown; the last of them: */
    char *shown[SHOWN_MAX];
};

/* @event is shown, or was before. */
static void remember(struct following *f, const cJSON *event)
{
    char **place = &f->shown[f->n++ % SHOWN_MAX];

    free(*place);
    *place = cJSON_PrintUnformatted(event);
}

/* The event of @events behind the newest one that was shown; all, if none was. */
static const cJSON *first_new(const struct following *f, const cJSON *events)
{
    for (uint64_t back = 1; back <= SHOWN_MAX && back <= f->n; back++) {
        const char *wanted = f->shown[(f->n - back) % SHOWN_MAX];
        const cJSON *event;

        cJSON_ArrayForEach(event, events)
        {
            char *text = wanted == NULL ? NULL : cJSON_PrintUnformatted(event);
            bool same = text != NULL && strcmp(text, wanted) == 0;

            free(text);
            if (same) {
                return event->next;
            }
        }
    }
    if (f->n > 0) {
        fprintf(stderr,
                "gvraft: warning: events may be missing here: the daemon does not "
                "know those that were shown last\n");
    }
    return events == NULL ? NULL : events->child;
}

static void put_new(void *ctx, const struct ctl_reply *reply)
{
    struct following *f = ctx;
    const cJSON *event =
        first_new(f, cJSON_GetObjectItemCaseSensitive(reply->result, "events"));

    for (; event != NULL; event = event->next) {
        put_event(event, f->cli->json);
        remember(f, event);
    }
    f->began = true;
    f->gone = false;
    (void)fflush(stdout);
}

static void put_all(void *ctx, const struct ctl_reply *reply)
{
    const struct cli *cli = ctx;
    const cJSON *event;

    cJSON_ArrayForEach(event, cJSON_GetObjectItemCaseSensitive(reply->result, "events"))
    {
        put_event(event, cli->json);
    }
    (void)fflush(stdout);
}

static bool put_line(void *ctx, const cJSON *line)
{
    struct following *f = ctx;
    const cJSON *event = cJSON_GetObjectItemCaseSensitive(line, "event");
    const char *lost = show_text(line, "lost");

    if (cJSON_IsObject(event)) {
        put_event(event, f->cli->json);
        remember(f, event);
    } else if (lost[0] != '\0') {
        fprintf(stderr,
                "gvraft: warning: %.20s events came faster than they were read "
                "and are not shown\n",
                lost);
    }
    return fflush(stdout) == 0 && !ferror(stdout);
}

/* Until standard output is closed, or a signal comes. A daemon that was never there, and
 * what no time heals, is a failure. */
static int follow(const struct cli *cli, const cJSON *json)
{
    struct following f = {.cli = cli};
    const struct ctl_follow lines = {.ctx = &f, .first = put_new, .each = put_line};
    struct ctl_reply reply;
    int rv;

    for (;;) {
        rv = ctl_follow(cli->socket, "events", cJSON_Duplicate(json, true), &lines,
                        &reply);
        ctl_reply_deinit(&reply);
        if (rv == 0 || !f.began || !reply.away) {
            break;
        }
        if (!f.gone) {
            fprintf(stderr,
                    "gvraft: warning: the daemon ended; waiting for its return\n");
            f.gone = true;
        }
        (void)sleep(AGAIN_SECONDS);
    }
    for (uint32_t i = 0; i < SHOWN_MAX; i++) {
        free(f.shown[i]);
    }
    return rv == 0 ? COMMAND_OK : command_failed("%s", reply.error);
}

int cmd_events(const struct cli *cli, const struct args *args)
{
    const char *since = args_get(args, "since");
    const char *zone = args_get(args, "zone");
    cJSON *json = cJSON_CreateObject();
    struct ctl_reply reply;
    int64_t since_ns = 0;
    int rv;

    if (since != NULL && parse_since(since, &since_ns) != 0) {
        cJSON_Delete(json);
        return command_usage("'%.60s' is no time: 90s, 30m, 2h, 7d, or 2026-11-25T20:30",
                             since);
    }
    if (since != NULL) {
        char text[24];

        snprintf(text, sizeof text, "%" PRId64, since_ns);
        cJSON_AddStringToObject(json, "since_ns", text);
    }
    if (zone != NULL) {
        cJSON_AddStringToObject(json, "zone", zone);
    }
    if (args_get(args, "follow") != NULL) {
        cJSON_AddBoolToObject(json, "follow", true);
        rv = follow(cli, json);
        cJSON_Delete(json);
        return rv;
    }
    rv = command_call(cli, "events", json, &reply);
    if (rv == COMMAND_OK) {
        put_all((void *)cli, &reply);
        ctl_reply_deinit(&reply);
    }
    return rv;
}
