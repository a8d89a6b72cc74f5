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

static const char zone_text[] =
    "What was acknowledged after that, by members that do not answer, is lost for it.\n"
    "All that the members that go on have stays, also what was not acknowledged.\n"
    "Members that do not answer are no longer members. If one comes back, what it\n"
    "has is kept beside the zones as NAME.discarded-TIME and is not used.\n"
    "If they are alive and only out of reach, stop here: clients may be writing\n"
    "there, and those writes will end in that folder.\n";

static const char grapevine_text[] =
    "What was changed after that, by nodes that do not answer, is lost: zones that were\n"
    "made, members, invitations, nodes that joined. Files are not touched by this; "
    "zones\n"
    "whose majority is gone follow with gvraft zone recover. The daemon begins anew.\n"
    "All other nodes follow this one, at once or when they come back, and keep their\n"
    "copy in their state folder as directory.discarded-TIME.\n"
    "If a majority of them is alive and only out of reach, stop here: when they meet\n"
    "this node again, they will give up what they have for what this one has.\n";

/* Files of no one state, which only a person can judge. */
static void put_torn(const cJSON *torn, FILE *file)
{
    const cJSON *paths = cJSON_GetObjectItemCaseSensitive(torn, "paths");
    uint64_t files = number_in(torn, "files");
    uint64_t named = 0;
    const cJSON *item;

    if (files == 0) {
        return;
    }
    fprintf(file,
            "  It had just got its copy from a member that does not answer: %" PRIu64
            " %s a part\n  of what was written after these entries. That part "
            "stays; what was cut off or deleted\n  cannot be read:\n",
            files, files == 1 ? "file has" : "files have");
    cJSON_ArrayForEach(item, paths)
    {
        fputs("    ", file);
        units_put_text(file, cJSON_IsString(item) ? item->valuestring : "");
        fputc('\n', file);
        named++;
    }
    if (named < files) {
        fprintf(file, "    and %" PRIu64 " more\n", files - named);
    }
    fputs("  All names will be in the file TORN in this node's copy of the zone.\n",
          file);
}

static void put_plan(const cJSON *plan, const char *what, const char *consequences,
                     FILE *file)
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
    fputs(".\n", file);
    put_torn(cJSON_GetObjectItemCaseSensitive(plan, "torn"), file);
    fputs("\n", file);
    fputs(consequences, file);
}

static int confirm(const char *name)
{
    char answer[ANSWER_MAX];

    if (!isatty(STDIN_FILENO)) {
        return command_failed(
            "standard input is no terminal: give --confirm %.100s to go "
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

/* Tell the plan and have it confirmed; *@out: what to send. COMMAND_OK or another. */
static int ask(const struct cli *cli, const struct args *args, const char *command,
               const char *slug, cJSON **out)
{
    const char *confirmed = args_get(args, "confirm");
    char name[ANSWER_MAX];
    struct ctl_reply reply;
    cJSON *json;
    int rv;

    if (args_get(args, "accept-loss") == NULL) {
        return command_usage("this loses what only the members have that do not answer: "
                             "give --accept-loss to see how much, and go on");
    }
    json = cJSON_CreateObject();
    if (slug != NULL) {
        cJSON_AddStringToObject(json, "slug", slug);
    }
    rv = command_call(cli, command, json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    snprintf(name, sizeof name, "%s", show_text(reply.result, "slug"));
    put_plan(reply.result, slug != NULL ? slug : "the grapevine",
             slug != NULL ? zone_text : grapevine_text, stderr);
    ctl_reply_deinit(&reply);
    if (confirmed == NULL) {
        rv = confirm(name);
        if (rv != COMMAND_OK) {
            return rv;
        }
        confirmed = name;
    }
    *out = cJSON_CreateObject();
    if (slug != NULL) {
        cJSON_AddStringToObject(*out, "slug", slug);
    }
    cJSON_AddStringToObject(*out, "confirm", confirmed);
    return COMMAND_OK;
}

static void tell(const struct cli *cli, const char *name, struct ctl_reply *reply)
{
    if (!command_json(cli, reply)) {
        units_put_text(stdout, name);
        fputs(": recovered\n", stdout);
    }
    ctl_reply_deinit(reply);
}

/* The daemon looks anew before it does anything. */
int cmd_zone_recover(const struct cli *cli, const struct args *args)
{
    const char *slug = args->positionals[0];
    struct ctl_reply reply;
    cJSON *json = NULL;
    int rv;

    rv = ask(cli, args, "zone-recover", slug, &json);
    if (rv == COMMAND_OK) {
        rv = command_call(cli, "zone-recover", json, &reply);
    }
    if (rv == COMMAND_OK) {
        tell(cli, slug, &reply);
    }
    return rv;
}

/* The daemon begins anew: until it is back, nobody answers. */
static int wait_epoch(const struct cli *cli, const char *epoch, struct ctl_reply *reply)
{
    time_t end = time(NULL) + CTL_WAIT_S_MAX;
    int rv;

    do {
        const struct timespec pause = {.tv_nsec = 200000000};
        cJSON *json = cJSON_CreateObject();

        (void)nanosleep(&pause, NULL);
        cJSON_AddStringToObject(json, "epoch", epoch);
        rv = ctl_call(cli->socket, "recover", json, reply);
        if (rv != 0) {
            ctl_reply_deinit(reply);
        }
    } while (rv != 0 && time(NULL) < end);
    return rv == 0 ? COMMAND_OK : command_failed("%s", reply->error);
}

int cmd_recover(const struct cli *cli, const struct args *args)
{
    char epoch[UNITS_TEXT_MAX];
    struct ctl_reply reply;
    cJSON *json = NULL;
    int rv;

    rv = ask(cli, args, "recover", NULL, &json);
    if (rv == COMMAND_OK) {
        rv = command_call(cli, "recover", json, &reply);
    }
    if (rv != COMMAND_OK) {
        return rv;
    }
    snprintf(epoch, sizeof epoch, "%s", show_text(reply.result, "epoch"));
    ctl_reply_deinit(&reply);
    rv = wait_epoch(cli, epoch, &reply);
    if (rv == COMMAND_OK) {
        tell(cli, "the grapevine", &reply);
    }
    return rv;
}
