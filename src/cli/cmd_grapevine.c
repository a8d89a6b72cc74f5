/* The grapevine and its nodes: init, invite, join, status, node list, remove, set-address. */
#include "cli/command.h"
#include "cli/show.h"
#include "cli/units.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOKEN_MAX 4096u
#define INVITE_S_DEFAULT 3600u

int cmd_init(const struct cli *cli, const struct args *args)
{
    struct ctl_reply reply;
    int rv = command_call(cli, "init", NULL, &reply);

    (void)args;
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        fputs("a new grapevine with this node as its first: ", stdout);
        units_put_text(stdout, show_text(reply.result, "node"));
        fputs("\nnext: gvraft invite for each further node, then gvraft zone create\n",
              stdout);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_invite(const struct cli *cli, const struct args *args)
{
    const char *expires = args_get(args, "expires");
    uint64_t seconds = INVITE_S_DEFAULT;
    struct ctl_reply reply;
    const char *token;
    cJSON *json;
    int rv;

    if (expires != NULL && units_parse_duration(expires, &seconds) != 0) {
        return command_usage("'--expires %.60s' is wrong: give a time such as 30m or 7d",
                             expires);
    }
    json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "ttl_s", (double)seconds);
    rv = command_call(cli, "invite", json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    token = show_text(reply.result, "token");
    if (!command_json(cli, &reply)) {
        units_put_text(stdout, token);
        fputc('\n', stdout);
        if (isatty(STDOUT_FILENO)) {
            fputs("On the other node: gvraft join with this token. It is good once.\n",
                  stderr);
        }
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

/* The token in @word or, for "-", on standard input. NULL if there is none. */
static const char *read_token(const char *word, char line[TOKEN_MAX])
{
    if (strcmp(word, "-") != 0) {
        return word;
    }
    if (fgets(line, TOKEN_MAX, stdin) == NULL) {
        return NULL;
    }
    line[strcspn(line, " \t\r\n")] = '\0';
    return line;
}

int cmd_join(const struct cli *cli, const struct args *args)
{
    char line[TOKEN_MAX];
    const char *token = read_token(args->positionals[0], line);
    struct ctl_reply reply;
    cJSON *json;
    int rv;

    if (token == NULL || token[0] == '\0') {
        return command_usage(
            "no token: gvraft invite on a node of the grapevine gives one");
    }
    json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "token", token);
    rv = command_call(cli, "join", json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        units_put_text(stdout, show_text(reply.result, "node"));
        puts(" has joined the grapevine");
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_status(const struct cli *cli, const struct args *args)
{
    struct ctl_reply reply;
    int rv = command_call(cli, "status", NULL, &reply);

    (void)args;
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        show_status(reply.result, stdout);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_node_list(const struct cli *cli, const struct args *args)
{
    struct ctl_reply reply;
    int rv = command_call(cli, "node-list", NULL, &reply);

    (void)args;
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        show_nodes(cJSON_GetObjectItemCaseSensitive(reply.result, "nodes"), stdout);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_node_remove(const struct cli *cli, const struct args *args)
{
    struct ctl_reply reply;
    cJSON *json = cJSON_CreateObject();
    int rv;

    cJSON_AddStringToObject(json, "node", args->positionals[0]);
    rv = command_call(cli, "node-remove", json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        printf("%s is no longer part of the grapevine\n", args->positionals[0]);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_node_address(const struct cli *cli, const struct args *args)
{
    struct ctl_reply reply;
    cJSON *json = cJSON_CreateObject();
    int rv;

    cJSON_AddStringToObject(json, "node", args->positionals[0]);
    cJSON_AddStringToObject(json, "address", args->positionals[1]);
    rv = command_call(cli, "node-set-address", json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        printf("%s is looked for at %s\n", args->positionals[0], args->positionals[1]);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}
