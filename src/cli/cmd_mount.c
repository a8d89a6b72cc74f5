/* mount: the kernel's own client, with the options that GrapeVineFS needs. */
#include "cli/command.h"
#include "cli/show.h"

#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 600u
#define ADDRESS_MAX 100u

/* What mount(8) is told, but for the folder. */
struct plan {
    char source[TEXT_MAX]; /* "HOST:/zone" */
    char options[TEXT_MAX];
};

/* @nfs is what the daemon listens on: "127.0.0.1:2049" or "[::1]:2049". */
static int compose(const char *nfs, const char *slug, struct plan *plan)
{
    const char *colon = strrchr(nfs, ':');
    char host[ADDRESS_MAX] = "";

    if (colon == NULL || colon[1] == '\0' ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || colon == nfs ||
        strlen(nfs) >= sizeof host || strlen(slug) >= sizeof host) {
        return -EINVAL;
    }
    memcpy(host, nfs, (size_t)(colon - nfs));
    if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "[::]") == 0) {
        strcpy(host, "127.0.0.1"); /* Every address is this machine, too. */
    }
    snprintf(plan->source, sizeof plan->source, "%s:/%s", host, slug);
    /*
     * vers, tcp: there is nothing else here; the transport is mountd's, too. The two ports
     * are one, and need no rpcbind. nolock: there is no NLM. hard, though it is Linux's
     * default: an administrator may have made soft the default (nfsmount.conf(5)), and
     * then a node that is away for longer loses writes that a program took for done.
     */
    snprintf(plan->options, sizeof plan->options,
             "vers=3,%s,port=%s,mountport=%s,nolock,hard",
             host[0] == '[' ? "proto=tcp6" : "tcp", colon + 1, colon + 1);
    return 0;
}

/* COMMAND_FAILED if something is mounted on @dir, an absolute path. */
static int check_free(const char *dir)
{
    FILE *mounts = setmntent("/proc/self/mounts", "r");
    const struct mntent *entry;
    int rv = COMMAND_OK;

    if (mounts == NULL) {
        return COMMAND_OK; /* mount(8) has the last word. */
    }
    while (rv == COMMAND_OK && (entry = getmntent(mounts)) != NULL) {
        if (strcmp(entry->mnt_dir, dir) == 0) {
            rv = command_failed("%s is mounted already, with %s (%s): umount it first, "
                                "or give another folder",
                                dir, entry->mnt_fsname, entry->mnt_type);
        }
    }
    endmntent(mounts);
    return rv;
}

/* Whatever mount(8) would say less clearly. */
static int check_dir(const char *dir)
{
    char real[PATH_MAX];
    struct stat st;
    int rv;

    /* First by its name: to look at a mount whose server is away takes for ever. */
    rv = check_free(dir);
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (realpath(dir, real) == NULL || stat(real, &st) != 0) {
        return errno == ENOENT ? command_failed("there is no folder %s: mkdir -p it", dir)
                               : command_failed("%s: %s", dir, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode)) {
        return command_failed("%s is no folder", dir);
    }
    return check_free(real);
}

static int check_here(const char *dir)
{
    if (geteuid() != 0) {
        return command_failed("only root can mount: use sudo, or --print to see the "
                              "command");
    }
    if (access("/sbin/mount.nfs", X_OK) != 0 &&
        access("/usr/sbin/mount.nfs", X_OK) != 0) {
        return command_failed("there is no mount.nfs here: install the package "
                              "nfs-common");
    }
    return check_dir(dir);
}

/* @text as one word of a shell. */
static void print_word(const char *text)
{
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                        "/._-:=,+@%";

    if (text[0] != '\0' && strspn(text, plain) == strlen(text)) {
        printf("%s", text);
        return;
    }
    putchar('\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'') {
            printf("'\\''");
        } else {
            putchar(*text);
        }
    }
    putchar('\'');
}

static void print_plan(const struct plan *plan, const char *dir)
{
    printf("mount -t nfs -o %s ", plan->options);
    print_word(plan->source);
    putchar(' ');
    print_word(dir);
    putchar('\n');
}

/* Ask the daemon: is there such a zone, and where does it serve it? */
static int make_plan(const struct cli *cli, const char *slug, struct plan *plan)
{
    cJSON *json = cJSON_CreateObject();
    struct ctl_reply reply;
    int rv;

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
    rv = compose(show_text(reply.result, "nfs"), slug, plan);
    ctl_reply_deinit(&reply);
    if (rv != 0) {
        return command_failed("the daemon does not say where it serves NFS: is it the "
                              "one of this gvraft?");
    }
    return COMMAND_OK;
}

int cmd_mount(const struct cli *cli, const struct args *args)
{
    const char *dir = args->positionals[1];
    bool print = args_get(args, "print") != NULL;
    struct plan plan;
    int rv;

    rv = print ? COMMAND_OK : check_here(dir);
    if (rv == COMMAND_OK) {
        rv = make_plan(cli, args->positionals[0], &plan);
    }
    if (rv != COMMAND_OK) {
        return rv;
    }
    if (print) {
        print_plan(&plan, dir);
        return COMMAND_OK;
    }
    execlp("mount", "mount", "-t", "nfs", "-o", plan.options, plan.source, dir,
           (char *)NULL);
    return command_failed("mount: %s", strerror(errno));
}
