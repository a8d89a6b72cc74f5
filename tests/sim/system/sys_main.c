#include "sys.h"

#include "base/log.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "usage: gvsim-system [--seeds N] [--first S] [--seconds N] [--mutate NAME]\n"
    "                    [--without KIND]... [--until-failure] [--limit SECONDS]\n"
    "                    [--trap POINT] [--until-seen SIGHT] [--each] [--trace]\n"
    "\n"
    "Runs N seeds, the first one S, each with so many virtual seconds of faults; "
    "--limit\n"
    "stops early after so much real time. --mutate breaks a rule: reply-early,\n"
    "read-local, apply-undurable, no-floor, early-send, early-report, no-sync, "
    "no-dedup,\n"
    "early-floor, lease-alone, no-wait, no-receipt, no-names, lease-kept, "
    "wild-clocks, no-keys, keep-attrs,\n"
    "keep-told.\n"
    "--without leaves out a kind of fault: slow, frames, small, traps,\n"
    "members, moves, damage,\n"
    "recover, base (all others). --lose has a zone lose its majority in every seed,\n"
    "--trap has the power go at one point: see --each, which says of\n"
    "each seed where it went. --until-seen: success means that no seed failed, and that\n"
    "this was seen: a point, given-up, gave-way, read-error, moved, left, stood-still,\n"
    "mended (past an entry that cannot be read), stepped (a start past damage in a\n"
    "journal), recovered, reopened (after an error of its disk), forgotten (with it, "
    "entries that only the lost ones had), "
    "torn\n"
    "(of which a file has a part), wrong-clock (an entry applied meanwhile).\n"
    "--until-failure: success means that a seed failed.\n";

static const char *const mutations[SYS_MUTS] = {
    [SYS_MUT_NONE] = "none",
    [SYS_MUT_REPLY_EARLY] = "reply-early",
    [SYS_MUT_READ_LOCAL] = "read-local",
    [SYS_MUT_APPLY_UNDURABLE] = "apply-undurable",
    [SYS_MUT_NO_FLOOR] = "no-floor",
    [SYS_MUT_NO_SYNC] = "no-sync",
    [SYS_MUT_NO_DEDUP] = "no-dedup",
    [SYS_MUT_EARLY_FLOOR] = "early-floor",
    [SYS_MUT_EARLY_SEND] = "early-send",
    [SYS_MUT_EARLY_REPORT] = "early-report",
    [SYS_MUT_LEASE_ALONE] = "lease-alone",
    [SYS_MUT_NO_WAIT] = "no-wait",
    [SYS_MUT_NO_RECEIPT] = "no-receipt",
    [SYS_MUT_NO_NAMES] = "no-names",
    [SYS_MUT_LEASE_KEPT] = "lease-kept",
    [SYS_MUT_WILD_CLOCKS] = "wild-clocks",
    [SYS_MUT_NO_KEYS] = "no-keys",
    [SYS_MUT_KEEP_ATTRS] = "keep-attrs",
    [SYS_MUT_KEEP_TOLD] = "keep-told",
    [SYS_MUT_OWN_CLOCK] = "own-clock",
};

static const char *const kinds[SYS_KINDS] = {
    [SYS_KIND_SLOW] = "slow",       [SYS_KIND_FRAMES] = "frames",
    [SYS_KIND_SMALL] = "small",     [SYS_KIND_TRAPS] = "traps",
    [SYS_KIND_MEMBERS] = "members", [SYS_KIND_MOVES] = "moves",
    [SYS_KIND_DAMAGE] = "damage",   [SYS_KIND_BASE] = "base",
    [SYS_KIND_RECOVER] = "recover",
};

struct settings {
    struct sys_options options;
    uint64_t first;
    uint64_t seeds;
    double limit;
    bool until_failure;
    const char *until_seen;
    bool each;
};

static char replay[512];

static bool parse_mutation(const char *text, enum sys_mutation *out)
{
    for (uint32_t i = 0; i < SYS_MUTS; i++) {
        if (strcmp(text, mutations[i]) == 0) {
            *out = (enum sys_mutation)i;
            return true;
        }
    }
    return false;
}

static bool parse_kind(const char *text, uint32_t *without)
{
    for (uint32_t i = 0; i < SYS_KINDS; i++) {
        if (strcmp(text, kinds[i]) == 0) {
            *without |= 1u << i;
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
        {"mutate", required_argument, NULL, 'm'},
        {"without", required_argument, NULL, 'w'},
        {"trap", required_argument, NULL, 'p'},
        {"until-seen", required_argument, NULL, 'e'},
        {"each", no_argument, NULL, 'h'},
        {"until-failure", no_argument, NULL, 'u'},
        {"limit", required_argument, NULL, 'l'},
        {"lose", no_argument, NULL, 'o'},
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
        case 'm':
            ok = parse_mutation(optarg, &settings->options.mutation);
            break;
        case 'w':
            ok = parse_kind(optarg, &settings->options.without);
            break;
        case 'p':
            settings->options.trap = sys_point_named(optarg);
            ok = settings->options.trap != SYS_POINTS;
            break;
        case 'e':
            settings->until_seen = optarg;
            ok = sys_sight(&(struct sys_counts){0}, optarg) == 0;
            break;
        case 'h':
            settings->each = true;
            break;
        case 'u':
            settings->until_failure = true;
            break;
        case 'l':
            settings->limit = strtod(optarg, NULL);
            break;
        case 'o':
            settings->options.lose = true;
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

static double seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* An assertion of the code under test failed: say which seed it was. */
static void aborted(int signal_nr)
{
    (void)signal_nr;
    (void)!write(STDOUT_FILENO, replay, strlen(replay));
    _exit(1);
}

static void note_replay(const struct settings *settings, uint64_t seed)
{
    char without[256] = "";

    for (uint32_t i = 0; i < SYS_KINDS; i++) {
        if ((settings->options.without >> i & 1) != 0) {
            (void)strcat(strcat(without, " --without "), kinds[i]);
        }
    }
    if (settings->options.lose) {
        (void)strcat(without, " --lose");
    }
    if (settings->options.trap != SYS_AT_REST) {
        (void)strcat(strcat(without, " --trap "), sys_point_name(settings->options.trap));
    }
    (void)snprintf(replay, sizeof replay,
                   "seed %" PRIu64 " failed\n"
                   "replay: gvsim-system --first %" PRIu64
                   " --seeds 1 --seconds %u%s%s%s "
                   "--trace\n",
                   seed, seed, settings->options.seconds,
                   settings->options.mutation == SYS_MUT_NONE ? "" : " --mutate ",
                   settings->options.mutation == SYS_MUT_NONE
                       ? ""
                       : mutations[settings->options.mutation],
                   without);
}

static void add_counts(struct sys_counts *to, const struct sys_counts *from)
{
    uint64_t *a = (uint64_t *)to;
    const uint64_t *b = (const uint64_t *)from;

    for (uint32_t i = 0; i < sizeof *to / sizeof *a; i++) {
        a[i] += b[i];
    }
}

static void print_totals(const struct sys_counts *total)
{
    printf("events %" PRIu64 " frames %" PRIu64 " writes %" PRIu64 " reads %" PRIu64
           " later %" PRIu64 " entries %" PRIu64 " duplicates %" PRIu64 "\n"
           "crashes %" PRIu64 " link faults %" PRIu64 " transfers %" PRIu64
           " changes %" PRIu64 " disk faults %" PRIu64 ", opened anew %" PRIu64
           " full %" PRIu64 " pulls %" PRIu64 " snapshots %" PRIu64 " settles %" PRIu64
           " fetches %" PRIu64 "\n"
           "reads under read leases %" PRIu64 ", at less than was answered %" PRIu64
           ", asked again %" PRIu64 ", answered from attributes known %" PRIu64
           ", by the loop %" PRIu64 "\n"
           "bad blocks found %" PRIu64 ", healed %" PRIu64 "\n",
           total->events, total->frames, total->writes, total->reads, total->later,
           total->entries, total->duplicates, total->crashes, total->link_faults,
           total->transfers, total->changes, total->disk_faults, total->reopened,
           total->full_disks, total->pulls, total->snapshots, total->settles,
           total->fetches, total->leased, total->older, total->again, total->known,
           total->now, total->bad_blocks, total->healed);
    printf("connections broken at a frame %" PRIu64 ", slow disks %" PRIu64
           ", standing still %" PRIu64 ", leaders that gave way %" PRIu64
           ", sleeps told of before %" PRIu64 "\n",
           total->frame_breaks, total->slow_disks, total->still_disks, total->handed_over,
           total->sleeps_told);
    printf("members joined %" PRIu64 ", left %" PRIu64
           "; calls taken to another node %" PRIu64 ", answered there %" PRIu64 "\n",
           total->joined, total->left, total->moved, total->moved_done);
    printf("bits flipped %" PRIu64 ", sectors gone bad %" PRIu64
           ", of these in journals %" PRIu64 "; reads that gave an error %" PRIu64
           ", members given up %" PRIu64 "\n",
           total->flips, total->bad_sectors, total->journals_damaged, total->read_errors,
           total->given_up);
    printf("entries damaged before they were applied %" PRIu64 ", met %" PRIu64
           ", got past %" PRIu64 "; starts past damage in a journal %" PRIu64 "\n",
           total->unapplied_damaged, total->unreadable, total->mended, total->stepped);
    printf("members destroyed %" PRIu64 ", zones recovered %" PRIu64
           ", entries that only the lost ones had %" PRIu64
           ", files torn by that %" PRIu64 "\n",
           total->destroyed, total->recovered, total->forgotten, total->torn);
    sys_points_print(total);
}

static bool seen(const struct settings *settings, const struct sys_counts *total)
{
    return settings->until_seen != NULL && sys_sight(total, settings->until_seen) > 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .first = 1, .seeds = 20, .limit = 1e9, .options.seconds = 8};
    struct sys_counts total = {0};
    struct sys *sys = calloc(1, sizeof *sys);
    double began = seconds_now();
    double virtual_s = 0;
    uint64_t failures = 0;
    uint64_t n;

    if (sys == NULL || !parse(argc, argv, &settings)) {
        fputs(usage, stderr);
        free(sys);
        return 2;
    }
    if (!settings.options.trace) {
        int quiet = -1; /* Not even errors: power cuts are meant. */

        log_set_level((enum log_level)quiet);
    }
    (void)signal(SIGABRT, aborted);
    (void)signal(SIGSEGV, aborted);
    for (n = 0; n < settings.seeds && !(settings.until_failure && failures > 0) &&
                seconds_now() - began < settings.limit && !seen(&settings, &total);
         n++) {
        note_replay(&settings, settings.first + n);
        if (!sys_run(sys, &settings.options, settings.first + n)) {
            failures++;
            printf("at %.3f s: %s\n%s", (double)sys->now_us / 1e6, sys->failure, replay);
            (void)fflush(stdout);
        }
        virtual_s += (double)sys->now_us / 1e6;
        if (settings.each) {
            sys_sights_print(settings.first + n, &sys->counts);
        }
        add_counts(&total, &sys->counts);
        sys_clear(sys);
    }
    free(sys);
    printf("%" PRIu64 " seeds, %" PRIu64 " failed; %.0f virtual s in %.1f s\n", n,
           failures, virtual_s, seconds_now() - began);
    print_totals(&total);
    if (settings.until_seen != NULL && !seen(&settings, &total)) {
        printf("%s was not seen\n", settings.until_seen);
        return 1;
    }
    return (failures > 0) == settings.until_failure ? 0 : 1;
}
