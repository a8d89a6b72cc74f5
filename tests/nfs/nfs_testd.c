/*
 * nfs_testd DIR PORT SLUG...: an NFS server over real zones on one node, for clients.
 *
 * Serves the zones kept in DIR at 127.0.0.1, port PORT (0: any), prints "port N" and
 * runs until SIGTERM, SIGINT or the end of its standard input. Exit status 0; 1 if a
 * zone failed.
 */
#include "nfs/front_uv.h"
#include "nfs/memzones.h"

#include "base/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { DRAIN_MS = 2000 };

struct testd {
    uv_loop_t loop;
    uv_signal_t signals[2];
    uv_prepare_t prepare;
    struct memzones *zones;
    struct nfs_front *front;
    int rv;
};

static struct testd testd;

/* Before the loop waits for anything: do what the last turn brought. */
static void on_prepare(uv_prepare_t *prepare)
{
    (void)prepare;
    while (memzones_queued(testd.zones)) {
        if (memzones_flush(testd.zones) != 0) {
            testd.rv = 1;
        }
    }
}

static void on_closed(void *arg)
{
    (void)arg;
    uv_close((uv_handle_t *)&testd.prepare, NULL);
    uv_close((uv_handle_t *)&testd.signals[0], NULL);
    uv_close((uv_handle_t *)&testd.signals[1], NULL);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)handle;
    (void)signum;
    if (testd.front != NULL) {
        nfs_front_close(testd.front, DRAIN_MS, on_closed, NULL);
        testd.front = NULL;
    }
}

static int start(const char *port)
{
    struct nfs_front_config config = {.address = "127.0.0.1",
                                      .port = (uint16_t)atoi(port)};
    int rv;

    uv_loop_init(&testd.loop);
    uv_prepare_init(&testd.loop, &testd.prepare);
    uv_prepare_start(&testd.prepare, on_prepare);
    uv_signal_init(&testd.loop, &testd.signals[0]);
    uv_signal_start(&testd.signals[0], on_signal, SIGTERM);
    uv_signal_init(&testd.loop, &testd.signals[1]);
    uv_signal_start(&testd.signals[1], on_signal, SIGINT);
    rv =
        nfs_front_open(&testd.loop, &config, memzones_backend(testd.zones), &testd.front);
    if (rv != 0) {
        fprintf(stderr, "nfs_testd: port %s: %s\n", port, uv_strerror(rv));
        return rv;
    }
    printf("port %u\n", nfs_front_port(testd.front));
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv)
{
    struct memzones_config config = {.quota_bytes = 4ull << 30,
                                     .rule = {.allowed = true}};
    int rv;

    if (argc < 4) {
        fprintf(stderr, "usage: nfs_testd DIR PORT SLUG...\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    config.dir = argv[1];
    config.slugs = (const char *const *)argv + 3;
    config.n_slugs = (uint32_t)argc - 3;
    rv = memzones_open(&config, &testd.zones);
    if (rv != 0) {
        fprintf(stderr, "nfs_testd: %s: %s\n", argv[1], strerror(-rv));
        return 1;
    }
    if (start(argv[2]) != 0) {
        return 1;
    }
    uv_run(&testd.loop, UV_RUN_DEFAULT);
    memzones_close(testd.zones);
    uv_loop_close(&testd.loop);
    return testd.rv;
}
