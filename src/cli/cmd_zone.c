/* Zones and who leads them. */
#include "cli/command.h"
#include "cli/show.h"
#include "cli/units.h"

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX 256u
#define MODE_MAX 07777

struct owner {
    uint32_t uid;
    uint32_t gid;
};

/* A number that can be a user or group: not the one that means "none". */
static int parse_id(const char *text, uint32_t *out)
{
    unsigned long long value;
    char *end;

    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value >= UINT32_MAX) {
        return -EINVAL;
    }
    *out = (uint32_t)value;
    return 0;
}

/* "1000:1000" or "anna:users". */
static int parse_owner(const char *text, struct owner *out)
{
    char user[ANSWER_MAX];
    const char *colon = strchr(text, ':');
    const struct passwd *pw;
    const struct group *gr;
    size_t len;

    if (colon == NULL || (len = (size_t)(colon - text)) >= sizeof user) {
        return -EINVAL;
    }
    memcpy(user, text, len);
    user[len] = '\0';
    if (parse_id(user, &out->uid) != 0) {
        pw = getpwnam(user);
        if (pw == NULL) {
            return -EINVAL;
        }
        out->uid = pw->pw_uid;
    }
    if (parse_id(colon + 1, &out->gid) != 0) {
        gr = getgrnam(colon + 1);
        if (gr == NULL) {
            return -EINVAL;
        }
        out->gid = gr->gr_gid;
    }
    return 0;
}

static int check_mode(const char *text)
{
    unsigned long value;
    char *end;

    if (!isdigit((unsigned char)text[0]) || strlen(text) > 5) {
        return -EINVAL;
    }
    value = strtoul(text, &end, 8);
    return *end != '\0' || value > MODE_MAX ? -EINVAL : 0;
}

static cJSON *members_of(const struct args *args)
{
    cJSON *members = cJSON_CreateArray();
    const char *member;

    for (uint32_t i = 0; (member = args_get_nth(args, "member", i)) != NULL; i++) {
        cJSON_AddItemToArray(members, cJSON_CreateString(member));
    }
    return members;
}

/* Ask the daemon to warn before anything is done. Takes @members; both may be NULL. */
static int check(const struct cli *cli, const char *slug, const char *quota,
                 cJSON *members)
{
    cJSON *json = cJSON_CreateObject();
    struct ctl_reply reply;
    int rv;

    if (slug != NULL) {
        cJSON_AddStringToObject(json, "slug", slug);
    }
    if (quota != NULL) {
        cJSON_AddStringToObject(json, "quota", quota);
    }
    cJSON_AddItemToObject(json, "members",
                          members != NULL ? members : cJSON_CreateArray());
    rv = command_call(cli, "zone-check", json, &reply);
    if (rv == COMMAND_OK) {
        ctl_reply_deinit(&reply);
    }
    return rv;
}

/* Call with @json (taken); after success print the JSON, or the zone's name and
 * @done. */
static int call_and_tell(const struct cli *cli, const char *command, cJSON *json,
                         const char *done)
{
    const char *slug = show_text(json, "slug");
    char name[ANSWER_MAX];
    struct ctl_reply reply;
    int rv;

    snprintf(name, sizeof name, "%s", slug);
    rv = command_call(cli, command, json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        units_put_text(stdout, name);
        printf(": %s\n", done);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_zone_create(const struct cli *cli, const struct args *args)
{
    const char *slug = args->positionals[0];
    const char *quota = args_get(args, "quota");
    const char *display = args_get(args, "display");
    const char *mode = args_get(args, "mode");
    const char *owner = args_get(args, "owner");
    const char *election = args_get(args, "election-ms");
    struct owner ids = {.uid = getuid(), .gid = getgid()};
    cJSON *json;
    int rv;

    if (quota == NULL || args_get(args, "member") == NULL) {
        return command_usage(
            "zone create needs --quota SIZE and --member NODE[:POOL]; see "
            "gvraft help zone create");
    }
    if (mode != NULL && check_mode(mode) != 0) {
        return command_usage("'--mode %.60s' is wrong: give an octal mode such as 0755",
                             mode);
    }
    if (owner != NULL && parse_owner(owner, &ids) != 0) {
        return command_usage(
            "'--owner %.60s' is wrong: give UID:GID, numbers or names known "
            "here",
            owner);
    }
    rv = check(cli, NULL, quota, members_of(args));
    if (rv != COMMAND_OK) {
        return rv;
    }
    json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "slug", slug);
    cJSON_AddStringToObject(json, "display", display != NULL ? display : slug);
    cJSON_AddStringToObject(json, "quota", quota);
    cJSON_AddItemToObject(json, "members", members_of(args));
    cJSON_AddStringToObject(json, "mode", mode != NULL ? mode : "0755");
    cJSON_AddNumberToObject(json, "uid", ids.uid);
    cJSON_AddNumberToObject(json, "gid", ids.gid);
    if (election != NULL) {
        cJSON_AddStringToObject(json, "election_ms", election);
    }
    return call_and_tell(cli, "zone-create", json, "made");
}

int cmd_zone_list(const struct cli *cli, const struct args *args)
{
    struct ctl_reply reply;
    int rv = command_call(cli, "zone-list", NULL, &reply);

    (void)args;
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        show_zones(cJSON_GetObjectItemCaseSensitive(reply.result, "zones"), stdout);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

static cJSON *slug_args(const struct args *args)
{
    cJSON *json = cJSON_CreateObject();

    cJSON_AddStringToObject(json, "slug", args->positionals[0]);
    return json;
}

int cmd_zone_show(const struct cli *cli, const struct args *args)
{
    struct ctl_reply reply;
    int rv = command_call(cli, "zone-show", slug_args(args), &reply);

    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        show_zone(reply.result, stdout);
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}

int cmd_zone_add_member(const struct cli *cli, const struct args *args)
{
    const char *slug = args->positionals[0];
    const char *member = args->positionals[1];
    cJSON *members = cJSON_CreateArray();
    cJSON *json;
    int rv;

    cJSON_AddItemToArray(members, cJSON_CreateString(member));
    rv = check(cli, slug, NULL, members);
    if (rv != COMMAND_OK) {
        return rv;
    }
    json = slug_args(args);
    cJSON_AddStringToObject(json, "member", member);
    return call_and_tell(cli, "zone-add-member", json, "one member more");
}

int cmd_zone_remove_member(const struct cli *cli, const struct args *args)
{
    cJSON *json = slug_args(args);

    cJSON_AddStringToObject(json, "node", args->positionals[1]);
    return call_and_tell(cli, "zone-remove-member", json, "one member less");
}

int cmd_zone_replace_member(const struct cli *cli, const struct args *args)
{
    const char *slug = args->positionals[0];
    const char *member = args->positionals[2];
    cJSON *members = cJSON_CreateArray();
    cJSON *json;
    int rv;

    cJSON_AddItemToArray(members, cJSON_CreateString(member));
    rv = check(cli, slug, NULL, members);
    if (rv != COMMAND_OK) {
        return rv;
    }
    json = slug_args(args);
    cJSON_AddStringToObject(json, "node", args->positionals[1]);
    cJSON_AddStringToObject(json, "member", member);
    return call_and_tell(cli, "zone-replace-member", json, "one member for another");
}

static cJSON *member_args(const struct args *args)
{
    cJSON *json = slug_args(args);

    if (args->n_positionals == 2) {
        cJSON_AddStringToObject(json, "node", args->positionals[1]);
    }
    return json;
}

int cmd_zone_rebuild(const struct cli *cli, const struct args *args)
{
    return call_and_tell(cli, "zone-rebuild", member_args(args),
                         "the member begins anew: see gvraft zone show");
}

int cmd_zone_retry(const struct cli *cli, const struct args *args)
{
    return call_and_tell(cli, "zone-retry", member_args(args),
                         "the member is opened: see gvraft zone show");
}

int cmd_zone_set_quota(const struct cli *cli, const struct args *args)
{
    const char *slug = args->positionals[0];
    const char *quota = args->positionals[1];
    cJSON *json;
    int rv;

    rv = check(cli, slug, quota, NULL);
    if (rv != COMMAND_OK) {
        return rv;
    }
    json = slug_args(args);
    cJSON_AddStringToObject(json, "quota", quota);
    return call_and_tell(cli, "zone-set-quota", json, "quota changed");
}

/* Have the zone's name typed on the terminal. */
static int confirm_delete(const char *slug)
{
    char answer[ANSWER_MAX];

    if (!isatty(STDIN_FILENO)) {
        return command_usage(
            "standard input is no terminal: give --yes to delete '%.100s' "
            "without being asked",
            slug);
    }
    fprintf(stderr, "This deletes the zone and all that is in it, on every member.\n"
                    "Type the zone's name to go on: ");
    if (fgets(answer, sizeof answer, stdin) == NULL) {
        return command_failed("nothing is deleted");
    }
    answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, slug) == 0 ? COMMAND_OK
                                     : command_failed("that is not its name: nothing is "
                                                      "deleted");
}

int cmd_zone_delete(const struct cli *cli, const struct args *args)
{
    int rv = COMMAND_OK;

    if (args_get(args, "yes") == NULL) {
        rv = confirm_delete(args->positionals[0]);
    }
    return rv != COMMAND_OK
               ? rv
               : call_and_tell(cli, "zone-delete", slug_args(args), "deleted");
}

int cmd_transfer_leader(const struct cli *cli, const struct args *args)
{
    struct ctl_reply reply;
    cJSON *json = slug_args(args);
    int rv;

    if (args->n_positionals == 2) {
        cJSON_AddStringToObject(json, "node", args->positionals[1]);
    }
    rv = command_call(cli, "transfer-leader", json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (!command_json(cli, &reply)) {
        printf("%s: led by %s\n", args->positionals[0],
               args->n_positionals == 2 ? args->positionals[1] : "another member");
    }
    ctl_reply_deinit(&reply);
    return COMMAND_OK;
}
