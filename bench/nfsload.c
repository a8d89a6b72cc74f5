/*
 * nfsload: measures one NFSv3 server, verifies what it says, prints JSON.
 *
 *   nfsload [options] HOST NFS-PORT MOUNT-PORT EXPORT
 *
 * One object on standard output: {"steps": {"NAME": {"value", "unit", "ops", "seconds",
 * "p50_ms", "p99_ms", "max_ms", "bytes", "cpu_s"}}}; the CPU time is the server's for all of
 * the step, with what it prepared. Exit status 0; 1 the server failed or said something
 * untrue; 2 usage.
 */
#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int usage(void)
{
    (void)fprintf(stderr, "usage: nfsload [options] HOST NFS-PORT MOUNT-PORT EXPORT\n"
                          "  --seconds S   at most so long for each kind of call (2)\n"
                          "  --seq MIB     size of the sequential file (128)\n"
                          "  --rand MIB    size of the file for random access (64)\n"
                          "  --files N     small files, at most (20000)\n"
                          "  --list-files N  so many to list, at least (500)\n"
                          "  --pids N,N,.. the server's processes, for their CPU time\n"
                          "  --only NAME   only steps whose name begins so\n"
                          "  --list        print the steps' names\n");
    return 2;
}

static void list(void)
{
    for (unsigned i = 0; i < load_steps_n; i++) {
        (void)printf("%s\n", load_steps[i].name);
    }
}

/* CPU seconds that the processes have had, user and system; 0 if none is known. */
static double cpu_seconds(const char *pids)
{
    double ticks = 0;

    for (const char *at = pids; at != NULL; at = strchr(at, ',')) {
        unsigned long user = 0;
        unsigned long system = 0;
        char path[64];
        char line[1024];
        const char *rest;
        FILE *f;

        at += *at == ',' ? 1 : 0;
        (void)snprintf(path, sizeof path, "/proc/%ld/stat", strtol(at, NULL, 10));
        f = fopen(path, "re");
        if (f == NULL) {
            continue;
        }
        rest = fgets(line, sizeof line, f) == NULL ? NULL : strrchr(line, ')');
        if (rest != NULL &&
            sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                   &system) == 2) {
            ticks += (double)(user + system);
        }
        (void)fclose(f);
    }
    return ticks / (double)sysconf(_SC_CLK_TCK);
}

static void print_result(const struct load_step *step, const struct load_result *result,
                         bool first)
{
    double seconds = (double)result->ns / 1e9;
    double amount = (double)result->ops;

    if (strcmp(step->unit, "MB/s") == 0) {
        amount = (double)result->bytes / 1e6;
    }
    (void)printf("%s\n    \"%s\": {\"value\": %.1f, \"unit\": \"%s\", \"ops\": %llu, "
                 "\"seconds\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
                 "\"max_ms\": %.3f, \"bytes\": %llu, \"cpu_s\": %.2f}",
                 first ? "" : ",", step->name, seconds > 0 ? amount / seconds : 0,
                 step->unit, (unsigned long long)result->ops, seconds,
                 (double)result->p50_ns / 1e6, (double)result->p99_ns / 1e6,
                 (double)result->max_ns / 1e6, (unsigned long long)result->bytes,
                 result->cpu_s);
    (void)fflush(stdout);
}

static int run_steps(struct load *load)
{
    const char *only = load->options.only;
    double cpu_s;
    bool first = true;
    int rv = 0;

    (void)printf("{\n  \"steps\": {");
    for (unsigned i = 0; rv == 0 && i < load_steps_n; i++) {
        struct load_result result = {0};

        if (only != NULL && strncmp(load_steps[i].name, only, strlen(only)) != 0) {
            continue;
        }
        cpu_s = cpu_seconds(load->options.pids);
        rv = load_steps[i].go(load, &load_steps[i], &result);
        result.cpu_s = cpu_seconds(load->options.pids) - cpu_s;
        if (rv == 0) {
            print_result(&load_steps[i], &result, first);
            first = false;
        } else {
            (void)fprintf(stderr, "nfsload: in step %s:\n", load_steps[i].name);
        }
    }
    (void)printf("\n  }\n}\n");
    return rv;
}

/* 0 if @text is no number from @min to @max. */
static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
    char *end = NULL;
    unsigned long long value = strtoull(text, &end, 10);

    return *text != '\0' && *end == '\0' && value >= min && value <= max ? value : 0;
}

static int parse(int argc, char **argv, struct load_options *out,
                 struct load_server *server)
{
    static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
                                            {"seq", required_argument, NULL, 'q'},
                                            {"rand", required_argument, NULL, 'r'},
                                            {"files", required_argument, NULL, 'f'},
                                            {"list-files", required_argument, NULL, 'n'},
                                            {"pids", required_argument, NULL, 'p'},
                                            {"only", required_argument, NULL, 'o'},
                                            {"list", no_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    int c;

    *out = (struct load_options){.seconds = 2,
                                 .seq_bytes = 128u << 20,
                                 .rand_bytes = 64u << 20,
                                 .files_max = 20000,
                                 .list_files = 500};
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's') {
            out->seconds = strtod(optarg, NULL);
        } else if (c == 'q') {
            out->seq_bytes = number(optarg, 1, 16384) << 20;
        } else if (c == 'r') {
            out->rand_bytes = number(optarg, 1, 4096) << 20;
        } else if (c == 'f') {
            out->files_max = (uint32_t)number(optarg, 1, LOAD_OPS_MAX);
        } else if (c == 'n') {
            out->list_files = (uint32_t)number(optarg, 1, LOAD_OPS_MAX);
        } else if (c == 'p') {
            out->pids = optarg;
        } else if (c == 'o') {
            out->only = optarg;
        } else if (c == 'l') {
            list();
            exit(0);
        } else {
            return -1;
        }
    }
    if (optind != argc - 4 || !(out->seconds > 0 && out->seconds <= 600) ||
        out->seq_bytes == 0 || out->rand_bytes == 0 || out->files_max == 0) {
        return -1;
    }
    *server = (struct load_server){.host = argv[optind],
                                   .nfs_port = (int)number(argv[optind + 1], 1, 65535),
                                   .mount_port = (int)number(argv[optind + 2], 1, 65535),
                                   .path = argv[optind + 3]};
    return server->nfs_port != 0 && server->mount_port != 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    static struct load load;
    struct load_options options;
    struct load_server server;
    int rv;

    if (parse(argc, argv, &options, &server) != 0) {
        return usage();
    }
    rv = load_open(&load, &server, &options);
    if (rv == 0) {
        rv = run_steps(&load);
    }
    if (load_close(&load) != 0) {
        (void)fprintf(stderr, "nfsload: %s\n", load.error);
        rv = -1;
    }
    return rv == 0 ? 0 : 1;
}
