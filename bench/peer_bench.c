/*
 * peer_bench: how fast the transport between two nodes is, on this machine's loopback.
 *
 * peer_bench [BODY_BYTES [SECONDS]]: forks; the child receives, the parent sends as much
 * as the queue takes. Prints frames and megabytes a second, the processor time of both
 * sides, and the round trip on the control channel meanwhile. 0 body bytes measures
 * small frames: 64 bytes of head only. "idle" for the bytes sends nothing.
 */
#include "base/log.h"
#include "base/outcome.h"
#include "peer/peer_uv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

enum { HEAD_BYTES = 64, MS = 1000000 };

struct side {
    uv_loop_t loop;
    struct peer_identity *identity;
    struct peer_net *net;
    uint64_t self;
    struct buf *body;
    size_t body_bytes;
    uint64_t seconds;
    uint64_t start; /* uv_hrtime at the first frame; 0: not yet. */
    uint64_t frames;
    uint64_t bytes;
    uint64_t refused;
    uint64_t rtt_us_max;
    uv_timer_t timer;
    bool done;
    bool idle;
};

static void die(const char *what, int rv)
{
    fprintf(stderr, "peer_bench: %s: %s\n", what, strerror(-rv));
    exit(1);
}

static void on_frame(void *ctx, const struct peer_message *message)
{
    struct side *side = ctx;

    if (side->start == 0) {
        side->start = uv_hrtime();
    }
    side->frames++;
    side->bytes += message->head.len + message->body.len;
}

static void send_all(struct side *side)
{
    uint8_t head[HEAD_BYTES] = {0};
    int rv;

    do {
        struct slice body = slice_of(side->body, 0, side->body_bytes);

        rv = peer_send(side->net,
                       &(struct peer_message){.node = 2,
                                              .channel = PEER_BULK,
                                              .type = 1,
                                              .head = slice_borrow(head, sizeof head),
                                              .body = body});
        slice_unref(&body);
        if (rv == 0) {
            side->frames++;
            side->bytes += sizeof head + side->body_bytes;
        }
    } while (rv == 0 && peer_queued_bytes(side->net, 2, PEER_BULK) < (8u << 20));
}

static void on_writable(void *ctx, uint64_t node, enum peer_channel channel)
{
    struct side *side = ctx;

    (void)node;
    if (channel == PEER_BULK && !side->done) {
        send_all(side);
    }
}

static void on_stop(uv_timer_t *timer)
{
    struct side *side = timer->data;
    uint64_t rtt = peer_rtt_us(side->net, 2);

    side->rtt_us_max = rtt > side->rtt_us_max ? rtt : side->rtt_us_max;
    if (uv_hrtime() - side->start > side->seconds * 1000 * MS) {
        side->done = true;
        uv_close((uv_handle_t *)timer, NULL);
        peer_net_close(side->net, NULL, NULL);
    }
}

static void on_state(void *ctx, uint64_t node, enum peer_channel channel, bool up,
                     uint64_t boot)
{
    struct side *side = ctx;

    (void)node;
    (void)boot;
    if (channel != PEER_BULK) {
        return;
    }
    if (up && side->self == 1) {
        side->start = uv_hrtime();
        uv_timer_init(&side->loop, &side->timer);
        side->timer.data = side;
        uv_timer_start(&side->timer, on_stop, 10, 10);
        if (!side->idle) {
            send_all(side);
        }
    } else if (!up && side->self == 2) {
        peer_net_close(side->net, NULL, NULL);
    }
}

static double cpu_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void open_side(struct side *side, uint64_t self, const char *dir)
{
    struct peer_config config = {.address = "127.0.0.1", .self = self, .boot = self};
    struct peer_callbacks callbacks = {
        .ctx = side, .frame = on_frame, .state = on_state, .writable = on_writable};
    int rv = peer_identity_open(dir, true, &side->identity);

    side->self = self;
    if (rv == 0) {
        uv_loop_init(&side->loop);
        rv = peer_net_open(&side->loop, &config, side->identity, &callbacks, &side->net);
    }
    if (rv != 0) {
        die("open", rv);
    }
}

static struct peer_node describe(const struct side *side)
{
    struct peer_node node = {
        .number = side->self, .host = "127.0.0.1", .port = peer_net_port(side->net)};

    memcpy(node.fingerprint, peer_identity_fingerprint(side->identity),
           sizeof node.fingerprint);
    return node;
}

static void run(struct side *side, const struct peer_node *other, const char *name)
{
    int rv = peer_net_nodes(side->net, other, 1);
    double elapsed;

    if (rv != 0) {
        die("table", rv);
    }
    uv_run(&side->loop, UV_RUN_DEFAULT);
    if (side->start == 0) {
        return; /* Nothing came. */
    }
    elapsed = (double)(uv_hrtime() - side->start) / 1e9;
    printf("%s: %.0f frames/s, %.0f MB/s, cpu %.0f %%", name,
           (double)side->frames / elapsed, (double)side->bytes / elapsed / 1e6,
           100 * cpu_seconds() / elapsed);
    if (side->self == 1) {
        printf(", round trip at most %" PRIu64 " us", side->rtt_us_max);
    }
    printf("\n");
    fflush(stdout);
}

static void swap_nodes(int in, int out, const struct side *side, struct peer_node *other)
{
    struct peer_node own = describe(side);

    if (write(out, &own, sizeof own) != sizeof own ||
        read(in, other, sizeof *other) != sizeof *other) {
        die("pipe", -5);
    }
}

int main(int argc, char **argv)
{
    static struct side side;
    struct peer_node other;
    char dir[] = "/tmp/peer-bench-XXXXXX";
    char sub[64];
    int there[2];
    int back[2];
    pid_t child;

    log_set_level(LOG_LEVEL_WARN);
    side.body_bytes = argc > 1 ? strtoul(argv[1], NULL, 10) : 1u << 20;
    side.idle = argc > 1 && strcmp(argv[1], "idle") == 0;
    side.seconds = argc > 2 ? strtoul(argv[2], NULL, 10) : 3;
    side.body = buf_new(side.body_bytes + 1);
    if (side.body == NULL || mkdtemp(dir) == NULL || pipe(there) != 0 ||
        pipe(back) != 0) {
        die("start", -12);
    }
    memset(side.body->data, 0x5a, side.body_bytes);
    child = fork();
    snprintf(sub, sizeof sub, "%s/%s", dir, child == 0 ? "2" : "1");
    mkdir(sub, 0700);
    open_side(&side, child == 0 ? 2 : 1, sub);
    swap_nodes(child == 0 ? there[0] : back[0], child == 0 ? back[1] : there[1], &side,
               &other);
    run(&side, &other, child == 0 ? "receiver" : "sender");
    strcat(sub, "/node.pem");
    unlink(sub);
    *strrchr(sub, '/') = 0;
    rmdir(sub);
    if (child != 0) {
        waitpid(child, NULL, 0);
        rmdir(dir);
    }
    return 0;
}
