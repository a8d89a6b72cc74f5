#include "sim.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: gvsim-consensus [--seeds N] [--first S] [--seconds N] [--off G4,G7,...]\n"
    "                       [--mutate NAME] [--rollback] [--until-failure] [--trace]\n"
    "\n"
    "Runs N seeds, the first one S, each with so many virtual seconds of faults. --off\n"
    "switches guards off. --mutate breaks a rule: early-send, early-persist, no-floor,\n"
    "no-probe, stale-send, lease-alone, no-wait, lease-kept, wild-clocks,\n"
    "trust-rolled-back. --rollback: one member's disk may be put back to an earlier\n"
    "state. --until-failure: success means that a seed failed.\n";

static const char *const mutations[] = {
    [SIM_MUT_NONE] = "none",
    [SIM_MUT_EARLY_SEND] = "early-send",
    [SIM_MUT_EARLY_PERSIST] = "early-persist",
    [SIM_MUT_NO_FLOOR] = "no-floor",
    [SIM_MUT_NO_PROBE] = "no-probe",
    [SIM_MUT_STALE_SEND] = "stale-send",
    [SIM_MUT_LEASE_ALONE] = "lease-alone",
    [SIM_MUT_NO_WAIT] = "no-wait",
    [SIM_MUT_LEASE_KEPT] = "lease-kept",
    [SIM_MUT_WILD_CLOCKS] = "wild-clocks",
    [SIM_MUT_TRUST_ROLLED_BACK] = "trust-rolled-back",
};

struct settings {
    struct sim_options options;
    uint64_t first;
    uint64_t seeds;
    bool until_failure;
    const char *off;
};

static bool parse_off(const char *text, uint32_t *out)
{
    while (*text != '\0') {
        char *end;
        unsigned long n;

        if (*text != 'G') {
            return false;
        }
        n = strtoul(text + 1, &end, 10);
        if (n < 1 || n > 16 || (*end != ',' && *end != '\0')) {
            return false;
        }
        *out |= 1u << n;
        text = *end == ',' ? end + 1 : end;
    }
    return true;
}

static bool parse_mutation(const char *text, enum sim_mutation *out)
{
    uint32_t i;

    for (i = 0; i < sizeof mutations / sizeof mutations[0]; i++) {
        if (strcmp(text, mutations[i]) == 0) {
            *out = (enum sim_mutation)i;
            return true;
        }
    }
    return false;
}

static bool parse(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"off", required_argument, NULL, 'o'},
        {"mutate", required_argument, NULL, 'm'},
        {"rollback", no_argument, NULL, 'r'},
        {"until-failure", no_argument, NULL, 'u'},
        {"trace", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0},
    };
    bool ok = true;
    int c;

    while (ok && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n':
            settings->seeds = strtoull(optarg, NULL, 10);
            break;
        case 's':
            settings->first = strtoull(optarg, NULL, 10);
            break;
        case 't':
            settings->options.seconds = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        case 'o':
            settings->off = optarg;
            ok = parse_off(optarg, &settings->options.guards_off);
            break;
        case 'm':
            ok = parse_mutation(optarg, &settings->options.mutation);
            break;
        case 'r':
            settings->options.rollback = true;
            break;
        case 'u':
            settings->until_failure = true;
            break;
        case 'v':
            settings->options.trace = true;
            break;
        default:
            ok = false;
        }
    }
    return ok && optind == argc && settings->options.seconds > 0;
}

static void print_failure(const struct sim *sim, const struct settings *settings)
{
    printf("seed %" PRIu64 " failed at %.3f s: %s\n", sim->seed,
           (double)sim->now_us / 1e6, sim->failure);
    printf("replay: gvsim-consensus --first %" PRIu64 " --seeds 1 --seconds %u%s%s%s%s%s "
           "--trace\n",
           sim->seed, settings->options.seconds,
           settings->options.rollback ? " --rollback" : "",
           settings->off == NULL ? "" : " --off ",
           settings->off == NULL ? "" : settings->off,
           settings->options.mutation == SIM_MUT_NONE ? "" : " --mutate ",
           settings->options.mutation == SIM_MUT_NONE
               ? ""
               : mutations[settings->options.mutation]);
    fflush(stdout);
}

static void add_counts(struct sim_counts *to, const struct sim_counts *from)
{
    uint64_t *a = (uint64_t *)to;
    const uint64_t *b = (const uint64_t *)from;
    uint32_t i;

    for (i = 0; i < sizeof *to / sizeof *a; i++) {
        a[i] += b[i];
    }
}

static double seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    struct settings settings = {.first = 1, .seeds = 100, .options.seconds = 25};
    struct sim_counts total = {0};
    struct sim *sim = calloc(1, sizeof *sim);
    double began = seconds_now();
    double virtual_s = 0;
    uint64_t failures = 0;
    uint64_t n;

    if (sim == NULL || !parse(argc, argv, &settings)) {
        fputs(usage, stderr);
        free(sim);
        return 2;
    }
    for (n = 0; n < settings.seeds && !(settings.until_failure && failures > 0); n++) {
        if (!sim_run(sim, &settings.options, settings.first + n)) {
            failures++;
            print_failure(sim, &settings);
        }
        virtual_s += (double)sim->now_us / 1e6;
        add_counts(&total, &sim->counts);
        sim_clear(sim);
    }
    free(sim);
    printf("%" PRIu64 " seeds, %" PRIu64 " failed; %.0f virtual s in %.1f s\n", n,
           failures, virtual_s, seconds_now() - began);
    printf("steps %" PRIu64 " messages %" PRIu64 " commits %" PRIu64 " elections %" PRIu64
           " crashes %" PRIu64 " changes %" PRIu64 " reads %" PRIu64 "\n"
           "transfers %" PRIu64 " snapshots %" PRIu64 " installs %" PRIu64
           " newer %" PRIu64 " given up %" PRIu64 " read leases %" PRIu64
           " known as rolled back %" PRIu64 "\n",
           total.steps, total.messages, total.commits, total.elections, total.crashes,
           total.changes, total.reads, total.transfers, total.snapshots, total.installs,
           total.beyond, total.giveups, total.leases, total.quarantined);
    return (failures > 0) == settings.until_failure ? 0 : 1;
}
