/* doctor: what is wrong with this node, what it means and what to do. */
#include "cli/command.h"
#include "cli/show.h"
#include "cli/units.h"
#include "offline/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_DEFAULT "/etc/grapevine/grapevine.conf"
#define WIDTH 79

/* @text, wrapped, each line behind @indent blanks; the first stands behind @head. */
static void put_wrapped(const char *head, const char *text)
{
    int at = printf("    %-7s", head);

    while (*text != '\0') {
        char word[128];
        size_t len = strcspn(text, " ");

        snprintf(word, sizeof word, "%.*s", (int)(len < 120 ? len : 120), text);
        if (at + (int)len + 1 > WIDTH) {
            at = printf("\n%11s", "") - 1;
        }
        putchar(' ');
        units_put_text(stdout, word);
        at += 1 + (int)len;
        text += len < 120 ? len : 120;
        text += *text == ' ' ? 1 : 0;
    }
    putchar('\n');
}

static void put_count(unsigned n, const char *what, const char *after)
{
    printf("%u %s%s%s", n, what, n == 1 ? "" : "s", after);
}

static void put_text(const struct doctor_report *report, const char *node)
{
    unsigned counts[4] = {0};

    for (uint32_t i = 0; i < report->n; i++) {
        const struct doctor_finding *finding = &report->findings[i];

        counts[finding->severity]++;
        printf("%s %s\n", doctor_severity_name(finding->severity), finding->id);
        put_wrapped("is", finding->what);
        put_wrapped("means", finding->means);
        put_wrapped("do", finding->todo);
    }
    if (report->left_out > 0) {
        printf("and %u more\n", report->left_out);
    }
    printf("%s%s: ", node[0] == '\0' ? "node" : node,
           doctor_healthy(report) ? " is healthy" : " is not well");
    put_count(counts[DOCTOR_ERROR], "error", ", ");
    put_count(counts[DOCTOR_WARNING], "warning", ", ");
    put_count(counts[DOCTOR_NOTE], "note",
              report->n > 0 ? "; docs/runbook.md has each of these words as a heading\n"
                            : "\n");
}

/* Takes @facts. */
static void put_json(const struct doctor_report *report, cJSON *facts)
{
    cJSON *json = cJSON_CreateObject();
    cJSON *findings;
    char *text;

    cJSON_AddBoolToObject(json, "healthy", doctor_healthy(report));
    findings = cJSON_AddArrayToObject(json, "findings");
    for (uint32_t i = 0; i < report->n; i++) {
        const struct doctor_finding *finding = &report->findings[i];
        cJSON *item = cJSON_CreateObject();

        cJSON_AddStringToObject(item, "id", finding->id);
        cJSON_AddStringToObject(item, "severity",
                                doctor_severity_name(finding->severity));
        cJSON_AddStringToObject(item, "what", finding->what);
        cJSON_AddStringToObject(item, "means", finding->means);
        cJSON_AddStringToObject(item, "do", finding->todo);
        cJSON_AddItemToArray(findings, item);
    }
    cJSON_AddItemToObject(json, "facts", facts);
    text = cJSON_Print(json);
    cJSON_Delete(json);
    if (text != NULL) {
        puts(text);
    }
    free(text);
}

/* The running daemon's configuration, or what was asked for, or the usual one. */
static const char *config_path(const struct args *args, const cJSON *answer)
{
    const char *given = args_get(args, "config");
    const char *daemons =
        show_text(cJSON_GetObjectItemCaseSensitive(answer, "self"), "config");

    if (given != NULL) {
        return given;
    }
    return daemons[0] != '\0' ? daemons : CONFIG_DEFAULT;
}

int cmd_doctor(const struct cli *cli, const struct args *args)
{
    static struct doctor_report report; /* Large. */
    struct doctor_input input = {0};
    struct ctl_reply events = {0};
    struct ctl_reply reply;
    cJSON *facts;

    if (ctl_call(cli->socket, "doctor", NULL, &reply) == 0) {
        input.answer = reply.result;
        if (ctl_call(cli->socket, "events", NULL, &events) == 0) {
            input.events = cJSON_GetObjectItemCaseSensitive(events.result, "events");
        }
    }
    input.no_answer = reply.error;
    input.denied = reply.denied;
    input.config = config_path(args, input.answer);
    facts = doctor_facts(&input);
    doctor_judge(facts, &report);
    if (cli->json) {
        put_json(&report, facts);
    } else {
        put_text(&report, show_text(facts, "node"));
        cJSON_Delete(facts);
    }
    ctl_reply_deinit(&reply);
    ctl_reply_deinit(&events);
    return doctor_healthy(&report) ? COMMAND_OK : COMMAND_FAILED;
}
