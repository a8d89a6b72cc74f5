/* Going on without a majority that is gone for good. */
#include "cli/command.h"
#include "cli/show.h"
#include "cli/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX 256u

static uint64_t number_in(const cJSON *json, const char *key)
{
    return strtoull(show_text(json, key), NULL, 10);
}

static void put_time(const cJSON *plan, FILE *file)
{
    time_t seconds = (time_t)number_in(plan, "last_s");
    char text[64] = "an unknown time";
    struct tm tm;

    if (seconds > 0 && localtime_r(&seconds, &tm) != NULL) {
        (void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &tm);
    }
    fputs(text, file);
}

static void put_members(const cJSON *plan, bool answering, FILE *file)
{
    const cJSON *item;
    bool some = false;

    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(plan, "members"))
    {
        if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(item, "answers")) ==
            answering) {
            fputs(some ? ", " : " ", file);
            units_put_text(file, show_text(item, "node"));
            some = true;
        }
    }
    fputs(some ? "\n" : " none\n", file);
}

static void put_plan(const cJSON *plan, const char *what, FILE *file)
{
    fprintf(file, "%s: its members that do not answer:", what);
    put_members(plan, false, file);
    fputs("  members that go on:", file);
    put_members(plan, true, file);
    fputs("  ", file);
    units_put_text(file, show_text(plan, "node"));
    fprintf(file,
            " has entries up to %" PRIu64 ", of which it knows %" PRIu64
            " to be committed and has\n  applied %" PRIu64
            "; the last change that it knows of is of ",
            number_in(plan, "last_index"), number_in(plan, "commit_index"),
            number_in(plan, "applied_index"));
    put_time(plan, file);
    fputs(
        ".\n"
        "\n"
        "What was acknowledged after that, by members that do not answer, is lost for\n"
        "it. All that the members that go on have stays, also what was not acknowledged.\n"
        "Members that do not answer are no longer members. If one comes back, what it\n"
        "has is kept beside the zones as NAME.discarded-TIME and is not used.\n"
        "If they are alive and only out of reach, stop here: clients may be writing\n"
        "there, and those writes will end in that folder.\n",
        file);
}

static int confirm(const char *name)
{
    char answer[ANSWER_MAX];

    if (!isatty(STDIN_FILENO)) {
        return command_failed("standard input is no terminal: give --confirm %.100s to go "
                              "on without being asked",
                              name);
    }
    fprintf(stderr, "Type '%s' to go on: ", name);
    if (fgets(answer, sizeof answer, stdin) == NULL) {
        return command_failed("nothing is done");
    }
    answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, name) == 0
               ? COMMAND_OK
               : command_failed("that is not the name: nothing is done");
}

/* Tell the plan, have it confirmed, do it; the daemon looks anew before it does. */
static int recover(const struct cli *cli, const struct args *args, const char *command,
                   const char *name)
{
    const char *confirmed = args_get(args, "confirm");
    struct ctl_reply reply;
    cJSON *json;
    int rv;

    if (args_get(args, "accept-loss") == NULL) {
        return command_usage("this loses what only the members have that do not answer: "
                             "give --accept-loss to see how much, and go on");
    }
    json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "slug", name);
    rv = command_call(cli, command, json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    put_plan(reply.result, name, stderr);
    ctl_reply_deinit(&reply);
    if (confirmed == NULL) {
        rv = confirm(name);
        if (rv != COMMAND_OK) {
            return rv;
        }
        confirmed = name;
    }
    json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "slug", name);
    cJSON_AddStringToObject(json, "confirm", confirmed);
    rv = command_call(cli, command, json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        units_put_text(stdout, name);
        fputs(": recovered\n", stdout);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_zone_recover(const struct cli *cli, const struct args *args)
{
    return recover(cli, args, "zone-recover", args->positionals[0]);
}
