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
    show_unhealed(members);
}

struct outcome {
    bool busy; /* Some member is at it. */
    bool bad;  /* Something is wrong for good. */
};

static struct outcome judge(const cJSON *zone)
{
    struct outcome outcome = {0};
    const cJSON *member;

    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(zone, "members"))
    {
        const cJSON *scrub = cJSON_GetObjectItemCaseSensitive(member, "scrub");
        const char *phase = show_text(scrub, "phase");

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

/* Show how it goes; with @wait, again and again until all have ended. */
static int status(const struct cli *cli, const struct args *args, bool wait)
{
    struct outcome outcome;
    struct ctl_reply reply;
    int rv;

    for (;;) {
        rv = command_call(cli, "zone-show", slug_args(args), &reply);
        if (rv != COMMAND_OK) {
            return rv;
        }
        outcome = judge(reply.result);
        if (!wait || !outcome.busy) {
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
    return outcome.bad ? command_failed("'%.100s' is not whole: see above, and the logs",
                                        args->positionals[0])
                       : COMMAND_OK;
}

static int act(const struct cli *cli, const struct args *args, const char *action)
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
        printf(": %s on %" PRIu64 " members\n",
               strcmp(action, "start") == 0 ? "scrubbing" : "no longer scrubbing",
               number(reply.result, "members"));
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_scrub(const struct cli *cli, const struct args *args)
{
    bool wait = args_get(args, "wait") != NULL;
    bool only_status = args_get(args, "status") != NULL;
    bool stop = args_get(args, "stop") != NULL;
    int rv;

    if (wait + only_status + stop > 1) {
        return command_usage("scrub takes one of --wait, --status and --stop");
    }
    if (only_status) {
        return status(cli, args, false);
    }
    rv = act(cli, args, stop ? "stop" : "start");
    return rv == COMMAND_OK && wait ? status(cli, args, true) : rv;
}
