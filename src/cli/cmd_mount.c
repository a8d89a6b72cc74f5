/* mount: the kernel's own client, with the options that GrapeVineFS needs. */
#include "cli/command.h"
#include "cli/show.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NFS_DEFAULT "127.0.0.1:2049"
#define TEXT_MAX 600u

/* Split "127.0.0.1:2049" or "[::1]:2049" into @source ("HOST:/zone") and @options. */
static int compose(const char *nfs, const char *slug, char source[TEXT_MAX],
                   char options[TEXT_MAX])
{
    const char *colon = strrchr(nfs, ':');

    if (colon == NULL || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strlen(nfs) > 100 || strlen(slug) > 100) {
        return -EINVAL;
    }
    snprintf(source, TEXT_MAX, "%.*s:/%s", (int)(colon - nfs), nfs, slug);
    /* nolock: a host that serves NLM cannot use it as a client, too. */
    snprintf(options, TEXT_MAX, "vers=3,tcp,port=%s,mountport=%s,nolock", colon + 1,
             colon + 1);
    return 0;
}

int cmd_mount(const struct cli *cli, const struct args *args)
{
    const char *slug = args->positionals[0];
    const char *dir = args->positionals[1];
    char source[TEXT_MAX];
    char options[TEXT_MAX];
    struct ctl_reply reply;
    const char *nfs;
    cJSON *json = cJSON_CreateObject();
    int rv;

    /* It tells that there is such a zone before the kernel tells less clearly. */
    cJSON_AddStringToObject(json, "slug", slug);
    rv = command_call(cli, "zone-show", json, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    ctl_reply_deinit(&reply);
    rv = command_call(cli, "status", NULL, &reply);
    if (rv != COMMAND_OK) {
        return rv;
    }
    nfs = show_text(reply.result, "nfs");
    rv = compose(nfs[0] != '\0' ? nfs : NFS_DEFAULT, slug, source, options);
    ctl_reply_deinit(&reply);
    if (rv != 0) {
        return command_failed("the daemon's NFS address is none");
    }
    if (args_get(args, "print") != NULL) {
        printf("mount -t nfs -o %s %s %s\n", options, source, dir);
        return COMMAND_OK;
    }
    execlp("mount", "mount", "-t", "nfs", "-o", options, source, dir, (char *)NULL);
    return command_failed("mount: %s", strerror(errno));
}
