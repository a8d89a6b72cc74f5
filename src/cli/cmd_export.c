/* export: every file out of a dataset, without a daemon. */
#include "base/log.h"
#include "cli/command.h"
#include "cli/units.h"
#include "offline/export.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROBLEMS_MAX 10000 /* In JSON; as text there is no bound. */

static void put_problem(void *ctx, const char *line)
{
    cJSON *problems = ctx;

    if (problems == NULL) {
        fputs("bad: ", stdout);
        units_put_text(stdout, line);
        putchar('\n');
    } else if (cJSON_GetArraySize(problems) < PROBLEMS_MAX) {
        cJSON_AddItemToArray(problems, cJSON_CreateString(line));
    }
}

static void put_number(cJSON *json, const char *key, uint64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRIu64, value);
    cJSON_AddStringToObject(json, key, text);
}

/* Takes @problems. */
static void put_json(const struct export_result *result, cJSON *problems)
{
    cJSON *json = cJSON_CreateObject();
    char *text;

    put_number(json, "files", result->files);
    put_number(json, "folders", result->folders);
    put_number(json, "others", result->others);
    put_number(json, "names", result->names);
    put_number(json, "bytes", result->bytes);
    put_number(json, "bad_bytes", result->bad_bytes);
    put_number(json, "stored_index", result->stored_index);
    put_number(json, "applied_index", result->applied_index);
    put_number(json, "last_index", result->last_index);
    put_number(json, "n_problems", result->problems);
    cJSON_AddItemToObject(json, "problems", problems);
    text = cJSON_Print(json);
    cJSON_Delete(json);
    if (text != NULL) {
        puts(text);
    }
    free(text);
}

static void put_text(const struct export_result *result)
{
    char bytes[UNITS_TEXT_MAX];

    printf("%" PRIu64 " files, %" PRIu64 " folders, %" PRIu64 " others, %" PRIu64
           " further names; %s written\n",
           result->files, result->folders, result->others, result->names,
           units_bytes(result->bytes, bytes));
    printf("state of entry %" PRIu64, result->applied_index);
    if (result->applied_index > result->stored_index) {
        printf(
            ": entries %" PRIu64 " to %" PRIu64
            " were in the journal and not applied yet. What was acknowledged is among\n"
            "them; the last ones may never have been (--applied leaves all of these "
            "out)",
            result->stored_index + 1, result->applied_index);
    } else if (result->last_index > result->applied_index) {
        printf("; entries up to %" PRIu64 " of the journal are left out",
               result->last_index);
    }
    putchar('\n');
    if (result->problems > 0) {
        printf("%" PRIu64
               " problem%s, %s of files damaged: try another member's dataset, "
               "too\n",
               result->problems, result->problems == 1 ? "" : "s",
               units_bytes(result->bad_bytes, bytes));
    }
}

int cmd_export(const struct cli *cli, const struct args *args)
{
    cJSON *problems = cli->json ? cJSON_CreateArray() : NULL;
    struct export_options options = {
        .dataset = args->positionals[0],
        .dest = args->positionals[1],
        .journal = args_get(args, "journal"),
        .applied_only = args_get(args, "applied") != NULL,
        .problem = put_problem,
        .ctx = problems,
    };
    char error[EXPORT_ERROR_MAX] = "";
    struct export_result result;
    int rv;

    if (args_get(args, "offline") == NULL) {
        cJSON_Delete(problems);
        return command_usage("only gvraft export --offline is there: with a running "
                             "daemon mount the zone and copy (gvraft mount)");
    }
    log_set_level(LOG_LEVEL_ERROR);
    rv = export_run(&options, &result, error);
    if (rv != 0) {
        cJSON_Delete(problems);
        return command_failed("%s", error);
    }
    if (cli->json) {
        put_json(&result, problems);
    } else {
        put_text(&result);
    }
    return result.problems == 0 ? COMMAND_OK : COMMAND_FAILED;
}
