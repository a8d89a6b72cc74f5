/* Scrubbing: begin it, end it, see how it goes. */
#include "cli/command.h"
#include "cli/show.h"
#include "cli/table.h"
#include "cli/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NUMBER_MAX 24u
#define TEXT_MAX 64u
#define WAIT_SECONDS 1u

static uint64_t number(const cJSON *json, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);

    if (cJSON_IsString(item)) {
        return strtoull(item->valuestring, NULL, 10);
    }
    return cJSON_IsNumber(item) ? (uint64_t)item->valuedouble : 0;
}

static const char *decimal(const cJSON *json, const char *key, char out[NUMBER_MAX])
{
    snprintf(out, NUMBER_MAX, "%" PRIu64, number(json, key));
    return out;
}

static const char *when(uint64_t seconds, char out[TEXT_MAX])
{
    time_t at = (time_t)seconds;
    struct tm tm;

    if (seconds == 0 || localtime_r(&at, &tm) == NULL ||
        strftime(out, TEXT_MAX, "%Y-%m-%d %H:%M", &tm) == 0) {
        snprintf(out, TEXT_MAX, "-");
    }
    return out;
}

/* "reading, 1.2 GiB", "never", or when it ended. */
static const char *progress(const cJSON *scrub, char out[TEXT_MAX])
{
    const char *phase = show_text(scrub, "phase");

    if (scrub == NULL) {
        snprintf(out, TEXT_MAX, "unknown");
    } else if (strcmp(phase, "idle") != 0) {
        snprintf(out, TEXT_MAX, "%.20s", phase);
    } else if (number(scrub, "begun") == 0) {
        snprintf(out, TEXT_MAX, "never");
    } else {
        (void)when(number(scrub, "ended"), out);
    }
    return out;
}

static const char *verdict(const cJSON *scrub, char out[TEXT_MAX])
{
    const char *word = show_text(scrub, "verdict");

    if (strcmp(word, "differs") == 0) {
        snprintf(out, TEXT_MAX, "DIFFERS FROM %.40s", show_text(scrub, "differs_from"));
    } else {
        snprintf(out, TEXT_MAX, "%.20s", word[0] == '\0' ? "-" : word);
    }
    return out;
}

static void show_unhealed(const cJSON *members)
{
    const cJSON *member;

    cJSON_ArrayForEach(member, members)
    {
        const cJSON *scrub = cJSON_GetObjectItemCaseSensitive(member, "scrub");
        const cJSON *at;

        cJSON_ArrayForEach(at, cJSON_GetObjectItemCaseSensitive(scrub, "unhealed_blocks"))
        {
            fputs("  ", stdout);
            units_put_text(stdout, show_text(member, "node"));
            printf(": no good copy of inode %" PRIu64 ", block %" PRIu64
                   " (find -inum %" PRIu64 " on a mount)\n",
                   number(at, "inode"), number(at, "block"), number(at, "inode"));
        }
    }
}

static void show_scrubs(const cJSON *zone)
{
    static const char *const heads[] = {"MEMBER",    ">CHECKED", ">BAD",  ">HEALED",
                                        ">UNHEALED", "MEMBERS",  "SCRUB", NULL};
    const cJSON *members = cJSON_GetObjectItemCaseSensitive(zone, "members");
    struct table table;
    const cJSON *member;
    bool reading = false;
    char used[UNITS_TEXT_MAX];

    table_init(&table, heads);
    cJSON_ArrayForEach(member, members)
    {
        const cJSON *scrub = cJSON_GetObjectItemCaseSensitive(member, "scrub");
        char checked[UNITS_TEXT_MAX];
        char bad[NUMBER_MAX];
        char healed[NUMBER_MAX];
        char unhealed[NUMBER_MAX];
        char state[TEXT_MAX];
        char equal[TEXT_MAX];

        reading = reading || strcmp(show_text(scrub, "phase"), "reading") == 0;
        table_row(&table, (const char *const[]){
                              show_text(member, "node"),
                              units_bytes(number(scrub, "bytes"), checked),
                              decimal(scrub, "bad", bad),
                              decimal(scrub, "healed", healed),
                              decimal(scrub, "unhealed", unhealed),
                              verdict(scrub, equal),
                              progress(scrub, state),
                          });
    }
    table_print(&table, 0, stdout);
    table_deinit(&table);
    if (reading && number(zone, "used_bytes") > 0) {
        printf(
            "  of about %s that the zone's files take; a block of 128 KiB that a file's "
            "end is in counts whole\n",
            units_bytes(number(zone, "used_bytes"), used));
    }
    show_unhealed(members);
}

struct outcome {
    bool busy; /* Some member is at it. */
    bool bad;  /* Something is wrong for good. */
    uint32_t members;
    uint32_t silent; /* Of them: nothing is known of their scrub. */
};

static struct outcome judge(const cJSON *zone)
{
    struct outcome outcome = {0};
    const cJSON *member;

    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(zone, "members"))
    {
        const cJSON *scrub = cJSON_GetObjectItemCaseSensitive(member, "scrub");
        const char *phase = show_text(scrub, "phase");

        outcome.members++;
        outcome.silent += scrub == NULL;
        outcome.busy = outcome.busy || strcmp(phase, "reading") == 0 ||
                       strcmp(phase, "comparing") == 0;
        outcome.bad = outcome.bad || number(scrub, "unhealed") > 0 ||
                      strcmp(show_text(scrub, "verdict"), "differs") == 0;
    }
    return outcome;
}

static cJSON *slug_args(const struct args *args)
{
    cJSON *json = cJSON_CreateObject();

    cJSON_AddStringToObject(json, "slug", args->positionals[0]);
    return json;
}

/* @took_part: members that began, if all were waited for; else 0. */
static int end_status(const char *slug, const struct outcome *outcome, uint64_t took_part)
{
    if (outcome->bad) {
        return command_failed("'%.100s' is not whole: see above, and the logs", slug);
    }
    if (took_part > 0 && (outcome->silent > 0 || took_part < outcome->members)) {
        (void)command_failed("what was checked of '%.100s' is well, but not all members "
                             "took part to the end: see above, and scrub again once "
                             "they are there",
                             slug);
        return COMMAND_PARTIAL;
    }
    return COMMAND_OK;
}

/* Show how it goes; if @took_part members are waited for, again and again until all have
 * ended. */
static int status(const struct cli *cli, const struct args *args, uint64_t took_part)
{
    struct outcome outcome;
    struct ctl_reply reply;
    int rv;

    for (;;) {
        rv = command_call(cli, "zone-show", slug_args(args), &reply);
        if (rv != COMMAND_OK) {
            if (took_part > 0) {
                (void)command_failed(
                    "the scrub goes on without this command, on a member "
                    "that restarts from where it was: gvraft scrub "
                    "%.100s --status",
                    args->positionals[0]);
            }
            return rv;
        }
        outcome = judge(reply.result);
        if (took_part == 0 || !outcome.busy) {
            break;
        }
        if (!cli->json && isatty(STDOUT_FILENO)) {
            show_scrubs(reply.result);
        }
        ctl_reply_deinit(&reply);
        (void)sleep(WAIT_SECONDS);
    }
    if (!command_json(cli, &reply)) {
        show_scrubs(reply.result);
    }
    ctl_reply_deinit(&reply);
    return end_status(args->positionals[0], &outcome, took_part);
}

/* @members: how many do it. */
static int act(const struct cli *cli, const struct args *args, const char *action,
               uint64_t *members)
{
    cJSON *json = slug_args(args);
    struct ctl_reply reply;
    int rv;

    cJSON_AddStringToObject(json, "action", action);
    rv = command_call(cli, "scrub", json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (args_get(args, "wait") == NULL && !command_json(cli, &reply)) {
        units_put_text(stdout, args->positionals[0]);
        printf(": %s on %" PRIu64 " member%s\n",
               strcmp(action, "start") == 0 ? "scrubbing" : "no longer scrubbing",
               number(reply.result, "members"),
               number(reply.result, "members") == 1 ? "" : "s");
    }
    *members = number(reply.result, "members");
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_scrub(const struct cli *cli, const struct args *args)
{
    bool wait = args_get(args, "wait") != NULL;
    bool only_status = args_get(args, "status") != NULL;
    bool stop = args_get(args, "stop") != NULL;
    uint64_t members = 0;
    int rv;

    if (wait + only_status + stop > 1) {
        return command_usage("scrub takes one of --wait, --status and --stop");
    }
    if (only_status) {
        return status(cli, args, 0);
    }
    rv = act(cli, args, stop ? "stop" : "start", &members);
    return rv == COMMAND_OK && wait ? status(cli, args, members) : rv;
}
