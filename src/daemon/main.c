/*
 * grapevined: the daemon, one per node. See grapevined(8).
 */
#include "daemon/memory.h"
#include "daemon/node.h"

#include "base/log.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONFIG_PATH "/etc/grapevine/grapevine.conf"

static void usage(FILE *to)
{
    fprintf(to, "usage: grapevined [--config FILE] [--check]\n"
                "  --config FILE  default " CONFIG_PATH "\n"
                "  --check        read the configuration, say what is wrong, end\n"
                "  --version      say which version this is, end\n");
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    node_stop(signal->data);
}

static void close_signal(uv_signal_t *signal)
{
    /* They must not keep the loop alive once everything else is closed. */
    uv_unref((uv_handle_t *)signal);
}

/* What ends with node.restart begins anew in this process: as after any start, and under
 * the number by which a service manager knows it. */
static int run(const struct config *config, char **argv)
{
    static struct node node; /* Large; there is one. */
    char error[CONFIG_ERROR_MAX] = "";
    uv_signal_t term;
    uv_signal_t interrupt;
    uv_loop_t loop;

    uv_loop_init(&loop);
    if (node_open(&node, &loop, config, error) != 0) {
        fprintf(stderr, "grapevined: %s\n", error);
        return 1;
    }
    uv_signal_init(&loop, &term);
    uv_signal_init(&loop, &interrupt);
    term.data = &node;
    interrupt.data = &node;
    uv_signal_start(&term, on_signal, SIGTERM);
    uv_signal_start(&interrupt, on_signal, SIGINT);
    close_signal(&term);
    close_signal(&interrupt);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&term, NULL);
    uv_close((uv_handle_t *)&interrupt, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    if (node.restart) {
        (void)execv("/proc/self/exe", argv);
        log_error("daemon",
                  "msg=\"could not begin anew: start the daemon again\" "
                  "error=\"%s\"",
                  strerror(errno));
        return 1;
    }
    return node.exit_status;
}

/* The soft limit is for programs that use select(). */
static void raise_files(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files); /* The front asks how many there are. */
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {0},
    };
    const char *path = CONFIG_PATH;
    char error[CONFIG_ERROR_MAX];
    static struct config config;
    bool check = false;
    int status;
    int c;

    while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case 'k':
            check = true;
            break;
        case 'h':
            usage(stdout);
            return 0;
        case 'v':
            puts("grapevined " GV_VERSION);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    if (optind < argc) {
        usage(stderr);
        return 2;
    }
    if (config_load(path, &config, error) != 0) {
        fprintf(stderr, "grapevined: %s\n", error);
        return 2;
    }
    log_set_level(config.log_level);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* A limit on file sizes shows as -EFBIG. */
    umask(0027);
    (void)prctl(PR_SET_NAME, "grapevined"); /* After /proc/self/exe it would be "exe". */
    if (check) {
        status = 0;
    } else {
        raise_files();
        memory_prepare(&config.memory);
        status = run(&config, argv);
    }
    config_deinit(&config);
    return status;
}
