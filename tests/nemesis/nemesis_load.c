/*
 * nemesis_load: clients on several nodes that work on the same files and folders, and write
 * down what they did, when, and what came of it.
 *
 *   nemesis_load [options] --history DIR --zone SLUG ADDRESS:PORT...
 *
 * One file in DIR for each client; a line is described in check.py. Once a second a line
 * "progress OPS REGISTER-READS" on standard output. On standard input: "stop" ends the work
 * when all calls under way are answered; "audit" then looks at everything through each
 * node; the end of file ends it. Exit status 0; 1 a server was not understood or answered
 * nothing for minutes; 2 usage.
 */
#include "world.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS_MAX 32

struct config {
    const char *history;
    const char *zone;
    struct in_addr source; /* The first client's address; the others' follow. */
    uint64_t seed;
    uint32_t clients_n;
};

struct crew {
    struct worker *workers[CLIENTS_MAX];
    pthread_t threads[CLIENTS_MAX];
    uint32_t n;
};

static struct world world;

static int usage(void)
{
    (void)fprintf(
        stderr,
        "usage: nemesis_load [options] --history DIR --zone SLUG ADDRESS:PORT...\n"
        "  --seed N        what is drawn (1)\n"
        "  --clients N     at most 32 (6)\n"
        "  --source ADDR   the first client's address; the others' follow (127.0.1.1)\n"
        "  --mix R,F       percent of steps on registers and files; the rest: names "
        "(50,20)\n"
        "  --slots N       files and pairs of folders used at a time (2)\n"
        "  --abandon P     percent of repetitions that are given up instead (5)\n"
        "  --silence MS    least time that a node may be silent (500)\n");
    return 2;
}

/* Whether @text is a number of at most @max. */
static bool number(const char *text, uint64_t max, uint64_t *out)
{
    char *end = NULL;

    *out = strtoull(text, &end, 10);
    return *text != '\0' && *end == '\0' && *out <= max;
}

static bool parse_mix(char *text)
{
    char *comma = strchr(text, ',');
    uint64_t registers = 0;
    uint64_t files = 0;

    if (comma == NULL) {
        return false;
    }
    *comma = '\0';
    if (!number(text, 100, &registers) || !number(comma + 1, 100 - registers, &files)) {
        return false;
    }
    world.percent_registers = (uint32_t)registers;
    world.percent_files = (uint32_t)files;
    return true;
}

static bool parse_node(char *text, struct client_options *options)
{
    struct sockaddr_in *node = &options->nodes[options->nodes_n];
    char *colon = strchr(text, ':');
    uint64_t port = 0;

    if (colon == NULL || options->nodes_n == NODES_MAX) {
        return false;
    }
    *colon = '\0';
    node->sin_family = AF_INET;
    if (inet_pton(AF_INET, text, &node->sin_addr) != 1 ||
        !number(colon + 1, 65535, &port)) {
        return false;
    }
    node->sin_port = htons((uint16_t)port);
    options->nodes_n++;
    return true;
}

static bool parse_option(int c, char *text, struct config *config,
                         struct client_options *options)
{
    uint64_t value = 0;

    switch (c) {
    case 'h':
        config->history = text;
        return true;
    case 'z':
        config->zone = text;
        return true;
    case 'o':
        return inet_pton(AF_INET, text, &config->source) == 1;
    case 'm':
        return parse_mix(text);
    case 's':
        return number(text, UINT64_MAX, &config->seed);
    case 'c':
        config->clients_n = number(text, CLIENTS_MAX, &value) ? (uint32_t)value : 0;
        return config->clients_n > 0;
    case 'l':
        world.slots_n = number(text, SLOTS_MAX, &value) ? (uint32_t)value : 0;
        return world.slots_n > 0;
    case 'a':
        options->abandon_percent = number(text, 100, &value) ? (uint32_t)value : 101;
        return options->abandon_percent <= 100;
    case 'i':
        options->silence_ms_min = number(text, 60000, &value) ? (uint32_t)value : 0;
        return options->silence_ms_min > 0;
    default:
        return false;
    }
}

static bool parse(int argc, char **argv, struct config *config,
                  struct client_options *options)
{
    static const struct option names[] = {{"history", required_argument, NULL, 'h'},
                                          {"zone", required_argument, NULL, 'z'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"clients", required_argument, NULL, 'c'},
                                          {"source", required_argument, NULL, 'o'},
                                          {"mix", required_argument, NULL, 'm'},
                                          {"slots", required_argument, NULL, 'l'},
                                          {"abandon", required_argument, NULL, 'a'},
                                          {"silence", required_argument, NULL, 'i'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (!parse_option(c, optarg, config, options)) {
            return false;
        }
    }
    for (int i = optind; i < argc; i++) {
        if (!parse_node(argv[i], options)) {
            return false;
        }
    }
    return options->nodes_n > 0 && config->history != NULL && config->zone != NULL;
}

static struct worker *worker_new(const struct config *config, uint32_t number)
{
    struct worker *worker = calloc(1, sizeof *worker);
    struct in_addr source = {.s_addr = htonl(ntohl(config->source.s_addr) + number)};
    char path[4096];

    if (worker == NULL) {
        return NULL;
    }
    worker->world = &world;
    worker->number = number;
    prng_seed(&worker->prng, config->seed * CLIENTS_MAX + number);
    client_init(&worker->client, world.options, source,
                ~(config->seed * CLIENTS_MAX + number));
    worker->client.home = number / 2 % world.options->nodes_n;
    (void)snprintf(path, sizeof path, "%s/client-%u", config->history, number);
    worker->history = fopen(path, "w");
    if (worker->history == NULL) {
        (void)fprintf(stderr, "nemesis_load: cannot write %s\n", path);
        exit(1);
    }
    (void)setvbuf(worker->history, NULL, _IOFBF, 1 << 16);
    return worker;
}

static void *run_worker(void *arg)
{
    struct worker *worker = arg;

    while (!atomic_load(&world.stopping)) {
        worker_step(worker);
    }
    return NULL;
}

static void *run_audit(void *arg)
{
    struct worker *worker = arg;

    worker_audit(worker, worker->world->workers_n);
    return NULL;
}

static void start(struct crew *crew, void *(*run)(void *arg))
{
    for (uint32_t i = 0; i < crew->n; i++) {
        if (pthread_create(&crew->threads[i], NULL, run, crew->workers[i]) != 0) {
            (void)fprintf(stderr, "nemesis_load: cannot start a thread\n");
            exit(1);
        }
    }
}

static void join(struct crew *crew)
{
    for (uint32_t i = 0; i < crew->n; i++) {
        (void)pthread_join(crew->threads[i], NULL);
        (void)fflush(crew->workers[i]->history);
    }
}

/* The next line of standard input; progress once a second until then. */
static bool next_command(char *line, int size)
{
    for (;;) {
        struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

        if (poll(&p, 1, 1000) != 0) {
            return fgets(line, size, stdin) != NULL;
        }
        (void)printf("progress %llu %llu\n", (unsigned long long)atomic_load(&world.ops),
                     (unsigned long long)atomic_load(&world.register_reads));
        (void)fflush(stdout);
    }
}

static void obey(struct crew *crew)
{
    char line[64];

    while (next_command(line, sizeof line)) {
        if (strcmp(line, "stop\n") == 0 && !atomic_load(&world.stopping)) {
            atomic_store(&world.stopping, true);
            join(crew);
            (void)printf("stopped\n");
        } else if (strcmp(line, "audit\n") == 0 && atomic_load(&world.stopping)) {
            start(crew, run_audit);
            join(crew);
            (void)printf("audited\n");
        }
        (void)fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    static struct client_options options = {
        .abandon_percent = 5, .silence_ms_min = 500, .call_s_max = 120};
    struct config config = {.seed = 1, .clients_n = 6};
    struct crew crew = {0};

    world.options = &options;
    world.percent_registers = 50;
    world.percent_files = 20;
    world.slots_n = 2;
    (void)inet_pton(AF_INET, "127.0.1.1", &config.source);
    if (!parse(argc, argv, &config, &options)) {
        return usage();
    }
    for (; crew.n < config.clients_n; crew.n++) {
        crew.workers[crew.n] = worker_new(&config, crew.n);
    }
    world.workers_n = crew.n;
    world_make(&world, crew.workers[0], config.zone);
    (void)printf("ready\n");
    (void)fflush(stdout);
    start(&crew, run_worker);
    obey(&crew);
    if (!atomic_load(&world.stopping)) {
        return 1; /* Whoever is told nothing more was left by its master. */
    }
    for (uint32_t i = 0; i < crew.n; i++) {
        client_deinit(&crew.workers[i]->client);
        (void)fclose(crew.workers[i]->history);
        free(crew.workers[i]);
    }
    return 0;
}
