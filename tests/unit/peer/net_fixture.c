#include "net_fixture.h"

#include "base/log.h"
#include "base/wire.h"
#include "lib/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void trace(struct node *node, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void trace(struct node *node, const char *format, ...)
{
    size_t used = strlen(node->trace);
    va_list args;

    va_start(args, format);
    (void)vsnprintf(node->trace + used, sizeof node->trace - used, format, args);
    va_end(args);
}

static const char *const channels[] = {"control", "log", "bulk"};

static void on_frame(void *ctx, const struct peer_message *message)
{
    struct node *node = ctx;
    struct slice head = message->head;
    struct slice body = message->body;

    node->frames++;
    node->bytes += head.len + body.len;
    if (head.len == 8) {
        if (wire_load_u64(head.data) != node->expected_next) {
            node->in_order = false;
        }
        node->expected_next++;
    } else {
        trace(node, "frame %" PRIu64 " %s %u \"%.*s\" %zu\n", message->node,
              channels[message->channel], (unsigned)message->type, (int)head.len,
              (const char *)head.data, body.len);
    }
    if (node->on_frame != NULL) {
        node->on_frame(node, body);
    }
}

static void on_state(void *ctx, uint64_t from, enum peer_channel channel, bool up,
                     uint64_t boot)
{
    struct node *node = ctx;

    trace(node, "%s %" PRIu64 " %s %" PRIu64 "\n", up ? "up" : "down", from,
          channels[channel], boot);
    if (up) {
        node->ups++;
    } else {
        node->ups--;
        node->downs++;
    }
}

static void on_writable(void *ctx, uint64_t from, enum peer_channel channel)
{
    struct node *node = ctx;

    (void)from;
    (void)channel;
    node->writables++;
}

static void on_join(void *ctx, uint64_t request, const uint8_t *fingerprint,
                    const char *remote_host, struct slice body)
{
    struct node *node = ctx;

    node->request = request;
    memcpy(node->asker, fingerprint, sizeof node->asker);
    trace(node, "join from %s \"%.*s\"\n", remote_host, (int)body.len,
          (const char *)body.data);
}

static void on_epoch(void *ctx, uint64_t from, uint64_t epoch)
{
    struct node *node = ctx;

    CHECK(from != node->number);
    node->epoch_told = epoch;
}

void fixture_init(struct fixture *fixture, unsigned n)
{
    log_set_level(LOG_LEVEL_ERROR);
    memset(fixture, 0, sizeof *fixture);
    CHECK_INT(uv_loop_init(&fixture->loop), 0);
    memset(fixture->grapevine_id, 0x67, sizeof fixture->grapevine_id);
    fixture->n = n;
    for (unsigned i = 0; i < n; i++) {
        struct node *node = &fixture->nodes[i];
        char dir[4200];

        snprintf(dir, sizeof dir, "%s/%u", check_tmpdir(), i);
        CHECK_INT(mkdir(dir, 0700), 0);
        CHECK_INT(peer_identity_open(dir, true, &node->identity), 0);
        node->fixture = fixture;
        node->number = i + 1;
        node->in_order = true;
        node->callbacks = (struct peer_callbacks){
            .ctx = node,
            .frame = on_frame,
            .state = on_state,
            .writable = on_writable,
            .join = on_join,
            .epoch = on_epoch,
        };
    }
}

void fixture_open(struct fixture *fixture, unsigned index, uint64_t boot)
{
    struct node *node = &fixture->nodes[index];
    struct peer_config config = {
        .address = "127.0.0.1",
        .port = node->port, /* The same again after the first time. */
        .self = node->number,
        .boot = boot,
        .epoch = fixture->epoch,
        .queue_bytes_mark = fixture->mark,
    };

    memcpy(config.grapevine_id, fixture->grapevine_id, sizeof config.grapevine_id);
    CHECK_INT(peer_net_open(&fixture->loop, &config, node->identity, &node->callbacks,
                            &node->net),
              0);
    node->port = peer_net_port(node->net);
    CHECK(node->port != 0);
}

static void on_closed(void *arg)
{
    struct node *node = arg;

    node->closed = true;
}

void fixture_close(struct fixture *fixture, unsigned index)
{
    struct node *node = &fixture->nodes[index];

    node->closed = false;
    peer_net_close(node->net, on_closed, node);
    node->net = NULL;
    node->ups = 0;
    RUN_UNTIL(fixture, node->closed);
}

struct peer_node fixture_node(const struct fixture *fixture, unsigned index)
{
    const struct node *node = &fixture->nodes[index];
    struct peer_node out = {
        .number = node->number, .host = "127.0.0.1", .port = node->port};

    memcpy(out.fingerprint, peer_identity_fingerprint(node->identity),
           sizeof out.fingerprint);
    return out;
}

void fixture_introduce(struct fixture *fixture)
{
    struct peer_node nodes[NODES_MAX];

    for (unsigned i = 0; i < fixture->n; i++) {
        nodes[i] = fixture_node(fixture, i);
    }
    for (unsigned i = 0; i < fixture->n; i++) {
        CHECK_INT(peer_net_nodes(fixture->nodes[i].net, nodes, fixture->n), 0);
    }
}

static bool all_up(const struct fixture *fixture)
{
    for (unsigned i = 0; i < fixture->n; i++) {
        if (fixture->nodes[i].ups != (fixture->n - 1) * PEER_CHANNELS) {
            return false;
        }
    }
    return true;
}

void fixture_up(struct fixture *fixture, unsigned n)
{
    uint64_t mark = fixture->mark;

    fixture_init(fixture, n);
    fixture->mark = mark;
    for (unsigned i = 0; i < n; i++) {
        fixture_open(fixture, i, 100 + i);
    }
    fixture_introduce(fixture);
    RUN_UNTIL(fixture, all_up(fixture));
}

void fixture_deinit(struct fixture *fixture)
{
    for (unsigned i = 0; i < fixture->n; i++) {
        if (fixture->nodes[i].net != NULL) {
            fixture_close(fixture, i);
        }
        peer_identity_free(fixture->nodes[i].identity);
    }
    CHECK_INT(uv_run(&fixture->loop, UV_RUN_DEFAULT), 0);
    CHECK_INT(uv_loop_close(&fixture->loop), 0);
}

void turn(struct fixture *fixture)
{
    (void)uv_run(&fixture->loop, UV_RUN_ONCE);
}
