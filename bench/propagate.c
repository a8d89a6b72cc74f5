/*
 * propagate: what was acknowledged on one node, is it there on the others at that moment?
 *
 *   propagate [--reads N] [--lanes N] EXPORT HOST:PORT HOST:PORT [HOST:PORT ...]
 *
 * A number of lanes change something through one node each, one call at a time, another node
 * each time: WRITE of 4 KiB, CREATE, REMOVE. With the acknowledgement in hand a lane asks all
 * other nodes at once (READ, LOOKUP), and once more when they have answered: the first
 * question shows whether the change is visible and what it costs to see it, the second what
 * a question costs when nothing is new. An answer from before the change is stale.
 *
 * One object on standard output: {"checked", "stale", "seconds", "first": {"n", "p50_ms",
 * "p99_ms", "max_ms"}, "again": {...}, "change": {...}}. Exit status 0; 1 an answer was stale or
 * a call failed; 2 usage.
 */
#include "load_steps.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 8u
#define LANES_MAX 64u
#define READS_MAX 10000000u

enum change { CHANGE_WRITE, CHANGE_CREATE, CHANGE_REMOVE, CHANGES };

/* Times of one kind of call. */
struct times {
    uint64_t *ns;
    uint64_t n;
    uint64_t max;
};

struct lane;

/* A question to one node. */
struct ask {
    struct lane *lane;
    unsigned node;
    uint64_t began_ns;
};

/* Everything that a lane touches is its own. */
struct lane {
    struct world *world;
    unsigned number;
    unsigned writer;     /* The node of the change under way. */
    enum change change;  /* Which one it is. */
    unsigned waiting;    /* Questions that are not answered. */
    bool again;          /* They are the second ones. */
    uint32_t version;    /* Of the block; counts the changes. */
    uint64_t began_ns;   /* Of the change. */
    struct load_fh file; /* Its block is the whole file. */
    struct load_fh made; /* By CREATE. */
    char name[32];
    char block[LOAD_BLOCK];
    struct ask asks[NODES_MAX];
};

struct world {
    struct load nodes[NODES_MAX];
    unsigned n_nodes;
    unsigned n_lanes;
    uint64_t reads_max;
    uint64_t checked;
    uint64_t stale;
    unsigned running; /* Lanes that have not ended. */
    struct times first;
    struct times again;
    struct times changes;
    struct lane lanes[LANES_MAX];
};

static struct load *folder_of(struct world *world)
{
    return &world->nodes[0]; /* The folders of the others stay empty. */
}

static void note(struct times *times, uint64_t ns)
{
    if (times->n < times->max) { /* Else there are enough for the figures. */
        times->ns[times->n++] = ns;
    }
}

/* The changes. */

static void fill(struct lane *lane)
{
    for (uint32_t i = 0; i < LOAD_BLOCK; i += 8) {
        uint32_t words[2] = {lane->version, lane->number * 65536 + i};

        memcpy(lane->block + i, words, sizeof words);
    }
}

static void on_change(struct rpc_context *rpc, int status, void *reply, void *arg);

static int change_send(struct lane *lane)
{
    struct world *world = lane->world;
    struct load *load = &world->nodes[lane->writer];
    struct nfs_fh3 folder = load_fh_out(&folder_of(world)->folder);

    lane->began_ns = load_now_ns();
    if (lane->change == CHANGE_CREATE) {
        struct CREATE3args args = {.where = {.dir = folder, .name = lane->name},
                                   .how = {.mode = GUARDED}};

        (void)snprintf(lane->name, sizeof lane->name, "lane-%u-%u", lane->number,
                       lane->version);
        return rpc_nfs3_create_async(load->rpc, on_change, &args, lane);
    }
    if (lane->change == CHANGE_REMOVE) {
        struct REMOVE3args args = {.object = {.dir = folder, .name = lane->name}};

        return rpc_nfs3_remove_async(load->rpc, on_change, &args, lane);
    }
    struct WRITE3args args = {.file = load_fh_out(&lane->file),
                              .count = LOAD_BLOCK,
                              .stable = FILE_SYNC,
                              .data = {.data_len = LOAD_BLOCK, .data_val = lane->block}};

    fill(lane);
    return rpc_nfs3_write_async(load->rpc, on_change, &args, lane);
}

static void lane_change(struct lane *lane)
{
    struct world *world = lane->world;

    if (world->checked >= world->reads_max && lane->change == CHANGE_WRITE) {
        world->running--;
        return;
    }
    lane->version++;
    lane->writer = (lane->writer + 1) % world->n_nodes;
    if (change_send(lane) != 0) {
        (void)load_fail(&world->nodes[lane->writer], "cannot send a change");
    }
}

/* The questions. */

static bool is_new_read(const struct lane *lane, const struct READ3res *res)
{
    const struct READ3resok *ok = &res->READ3res_u.resok;

    return res->status == NFS3_OK && ok->count == LOAD_BLOCK &&
           memcmp(ok->data.data_val, lane->block, LOAD_BLOCK) == 0;
}

static bool is_new_lookup(const struct lane *lane, const struct LOOKUP3res *res)
{
    const struct nfs_fh3 *fh = &res->LOOKUP3res_u.resok.object;

    if (lane->change == CHANGE_REMOVE) {
        return res->status == NFS3ERR_NOENT;
    }
    return res->status == NFS3_OK && fh->data.data_len == lane->made.len &&
           memcmp(fh->data.data_val, lane->made.bytes, lane->made.len) == 0;
}

static void lane_ask(struct lane *lane, bool again);

static void on_answer(struct rpc_context *rpc, int status, void *reply, void *arg)
{
    struct ask *ask = arg;
    struct lane *lane = ask->lane;
    struct world *world = lane->world;
    bool is_new;

    if (status != RPC_STATUS_SUCCESS) {
        (void)load_fail(&world->nodes[ask->node], "call failed: %s", rpc_get_error(rpc));
        return;
    }
    note(lane->again ? &world->again : &world->first, load_now_ns() - ask->began_ns);
    is_new = lane->change == CHANGE_WRITE ? is_new_read(lane, reply)
                                          : is_new_lookup(lane, reply);
    world->checked++;
    world->stale += is_new ? 0 : 1;
    lane->waiting--;
    if (lane->waiting > 0) {
        return;
    }
    if (!lane->again) {
        lane_ask(lane, true);
        return;
    }
    lane->change = (enum change)((lane->change + 1) % CHANGES);
    lane_change(lane);
}

static int ask_send(struct lane *lane, unsigned node)
{
    struct world *world = lane->world;
    struct ask *ask = &lane->asks[node];
    struct rpc_context *rpc = world->nodes[node].rpc;
    struct READ3args read = {.file = load_fh_out(&lane->file), .count = LOAD_BLOCK};
    struct LOOKUP3args lookup = {
        .what = {.dir = load_fh_out(&folder_of(world)->folder), .name = lane->name}};

    *ask = (struct ask){.lane = lane, .node = node, .began_ns = load_now_ns()};
    if (lane->change == CHANGE_WRITE) {
        return rpc_nfs3_read_async(rpc, on_answer, &read, ask);
    }
    return rpc_nfs3_lookup_async(rpc, on_answer, &lookup, ask);
}

static void lane_ask(struct lane *lane, bool again)
{
    struct world *world = lane->world;

    lane->again = again;
    lane->waiting = world->n_nodes - 1;
    for (unsigned i = 0; i < world->n_nodes; i++) {
        if (i != lane->writer && ask_send(lane, i) != 0) {
            (void)load_fail(&world->nodes[i], "cannot send a question");
        }
    }
}

static int take_created(struct load *load, const struct CREATE3res *res,
                        struct load_fh *out)
{
    const struct post_op_fh3 *obj = &res->CREATE3res_u.resok.obj;

    if (load_check(load, "CREATE", res->status) != 0) {
        return -1;
    }
    return obj->handle_follows ? load_fh_in(load, &obj->post_op_fh3_u.handle, out)
                               : load_fail(load, "CREATE gave no filehandle");
}

static void on_change(struct rpc_context *rpc, int status, void *reply, void *arg)
{
    struct lane *lane = arg;
    struct load *load = &lane->world->nodes[lane->writer];
    int rv;

    if (status != RPC_STATUS_SUCCESS) {
        (void)load_fail(load, "call failed: %s", rpc_get_error(rpc));
        return;
    }
    note(&lane->world->changes, load_now_ns() - lane->began_ns);
    if (lane->change == CHANGE_CREATE) {
        rv = take_created(load, reply, &lane->made);
    } else if (lane->change == CHANGE_REMOVE) {
        rv = load_check(load, "REMOVE", ((struct REMOVE3res *)reply)->status);
    } else {
        rv = load_check(load, "WRITE", ((struct WRITE3res *)reply)->status);
    }
    if (rv == 0) {
        lane_ask(lane, false);
    }
}

/* The file of a lane; then its first change. */
static void on_file(struct rpc_context *rpc, int status, void *reply, void *arg)
{
    struct lane *lane = arg;
    struct load *load = folder_of(lane->world);

    if (status != RPC_STATUS_SUCCESS) {
        (void)load_fail(load, "call failed: %s", rpc_get_error(rpc));
    } else if (take_created(load, reply, &lane->file) == 0) {
        lane_change(lane);
    }
}

static int lane_begin(struct lane *lane)
{
    struct load *load = folder_of(lane->world);
    char name[32];
    struct CREATE3args args = {.where = {.dir = load_fh_out(&load->folder), .name = name},
                               .how = {.mode = GUARDED}};

    (void)snprintf(name, sizeof name, "file-%u", lane->number);
    args.how.createhow3_u.g_obj_attributes.mode.set_it = 1;
    args.how.createhow3_u.g_obj_attributes.mode.set_mode3_u.mode = 0644;
    return rpc_nfs3_create_async(load->rpc, on_file, &args, lane);
}

/* The loop. */

static const char *failed(const struct world *world)
{
    for (unsigned i = 0; i < world->n_nodes; i++) {
        if (world->nodes[i].failed) {
            return world->nodes[i].error;
        }
    }
    return NULL;
}

static void pump(struct world *world)
{
    struct pollfd fds[NODES_MAX];
    int n;

    for (unsigned i = 0; i < world->n_nodes; i++) {
        struct rpc_context *rpc = world->nodes[i].rpc;

        fds[i] = (struct pollfd){.fd = rpc_get_fd(rpc),
                                 .events = (short)rpc_which_events(rpc)};
    }
    n = poll(fds, world->n_nodes, LOAD_SILENCE_MS);
    if (n < 0 && errno == EINTR) {
        return;
    }
    if (n <= 0) {
        (void)load_fail(&world->nodes[0], "no reply for %d s", LOAD_SILENCE_MS / 1000);
        return;
    }
    for (unsigned i = 0; i < world->n_nodes; i++) {
        if (fds[i].revents != 0 && rpc_service(world->nodes[i].rpc, fds[i].revents) < 0) {
            (void)load_fail(&world->nodes[i], "connection lost: %s",
                            rpc_get_error(world->nodes[i].rpc));
        }
    }
}

static int go(struct world *world)
{
    world->running = world->n_lanes;
    for (unsigned i = 0; i < world->n_lanes; i++) {
        struct lane *lane = &world->lanes[i];

        *lane = (struct lane){.world = world, .number = i, .writer = i % world->n_nodes};
        if (lane_begin(lane) != 0) {
            return load_fail(folder_of(world), "cannot send");
        }
    }
    while (world->running > 0 && failed(world) == NULL) {
        pump(world);
    }
    return failed(world) == NULL ? 0 : -1;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void print_times(const char *name, struct times *times)
{
    uint64_t n = times->n;

    qsort(times->ns, n, sizeof *times->ns, compare);
    (void)printf(", \"%s\": {\"n\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
                 "\"max_ms\": %.3f}",
                 name, (unsigned long long)n, n == 0 ? 0 : (double)times->ns[n / 2] / 1e6,
                 n == 0 ? 0 : (double)times->ns[n * 99 / 100] / 1e6,
                 n == 0 ? 0 : (double)times->ns[n - 1] / 1e6);
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: propagate [--reads N] [--lanes N] EXPORT HOST:PORT "
                          "HOST:PORT [HOST:PORT ...]\n");
    return 2;
}

static int times_new(struct times *times, uint64_t max)
{
    times->max = max;
    times->ns = calloc(max, sizeof *times->ns);
    return times->ns == NULL ? -1 : 0;
}

static int open_node(struct world *world, char *address, const char *export)
{
    static const struct load_options options = {.files_max = 1};
    struct load_server server = {.host = address, .path = export};
    char *colon = strrchr(address, ':');

    if (colon == NULL || world->n_nodes == NODES_MAX) {
        return 2;
    }
    *colon = '\0';
    server.nfs_port = server.mount_port = (int)strtol(colon + 1, NULL, 10);
    return load_open(&world->nodes[world->n_nodes++], &server, &options) == 0 ? 0 : 1;
}

static int remove_files(struct world *world)
{
    for (unsigned i = 0; i < world->n_lanes; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "file-%u", i);
        if (load_remove(folder_of(world), name) != 0) {
            return -1;
        }
    }
    for (unsigned i = 0; i < world->n_nodes; i++) {
        if (load_close(&world->nodes[i]) != 0) {
            return -1;
        }
    }
    return 0;
}

static int parse(int argc, char **argv, struct world *world)
{
    static const struct option options[] = {{"reads", required_argument, NULL, 'r'},
                                            {"lanes", required_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    int c;

    world->reads_max = 100000;
    world->n_lanes = 8;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 'r') {
            world->reads_max = strtoull(optarg, NULL, 10);
        } else if (c == 'l') {
            world->n_lanes = (unsigned)strtoul(optarg, NULL, 10);
        } else {
            return 2;
        }
    }
    return world->reads_max >= 1 && world->reads_max <= READS_MAX &&
                   world->n_lanes >= 1 && world->n_lanes <= LANES_MAX &&
                   argc - optind >= 3
               ? 0
               : 2;
}

int main(int argc, char **argv)
{
    static struct world world;
    uint64_t began_ns;
    int rv = parse(argc, argv, &world);

    for (int i = optind + 1; rv == 0 && i < argc; i++) {
        rv = open_node(&world, argv[i], argv[optind]);
    }
    if (rv == 2) {
        return usage();
    }
    if (rv == 0 && (times_new(&world.first, world.reads_max) != 0 ||
                    times_new(&world.again, world.reads_max) != 0 ||
                    times_new(&world.changes, world.reads_max) != 0)) {
        rv = load_fail(&world.nodes[0], "out of memory");
    }
    began_ns = load_now_ns();
    if (rv == 0 && go(&world) == 0) {
        (void)printf("{\"checked\": %llu, \"stale\": %llu, \"seconds\": %.1f",
                     (unsigned long long)world.checked, (unsigned long long)world.stale,
                     (double)(load_now_ns() - began_ns) / 1e9);
        print_times("first", &world.first);
        print_times("again", &world.again);
        print_times("change", &world.changes);
        (void)printf("}\n");
        rv = remove_files(&world);
    }
    if (failed(&world) != NULL) {
        (void)fprintf(stderr, "propagate: %s\n", failed(&world));
        return 1;
    }
    return rv == 0 && world.stale == 0 ? 0 : 1;
}
