/*
 * command: what gvraft can be asked to do: one row per command, and what they share.
 *
 * Results go to standard output, everything else to standard error. A command returns
 * gvraft's exit status.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/args.h"
#include "cli/ctl.h"

#include <stdbool.h>
#include <stdint.h>

enum command_status {
    COMMAND_OK = 0,
    COMMAND_FAILED = 1, /* The reason and what to do were printed. */
    COMMAND_USAGE = 2,
    COMMAND_PARTIAL = 3, /* Well as far as it went, but not everybody took part. */
};

struct cli {
    const char *socket;
    bool json; /* Print the daemon's result as JSON instead of text. */
};

struct command {
    const char *name;   /* "status" or "zone create". */
    const char *words;  /* What follows it, for the usage line. */
    const char *spec;   /* Its options: see args_parse. */
    uint32_t words_min; /* Positionals. */
    uint32_t words_max;
    const char *summary; /* One line. */
    const char *help;    /* More lines, "" if the summary says all. */
    int (*run)(const struct cli *cli, const struct args *args);
};

/* Every command, in the order of the help; the last row has no name. */
extern const struct command commands[];

/* Print "gvraft: ..." with what cannot be used in a command line; COMMAND_USAGE. */
int command_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for anything else; COMMAND_FAILED. */
int command_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Call the daemon with @json_args (taken; NULL for none). Prints its warnings, and the
 * error if it refuses. COMMAND_OK with @reply to be freed, or COMMAND_FAILED.
 */
int command_call(const struct cli *cli, const char *command, cJSON *json_args,
                 struct ctl_reply *reply);
/* Print the result as JSON if that was asked for; true if so. */
bool command_json(const struct cli *cli, const struct ctl_reply *reply);

/* command.c's rows point to these. */
int cmd_init(const struct cli *cli, const struct args *args);
int cmd_invite(const struct cli *cli, const struct args *args);
int cmd_join(const struct cli *cli, const struct args *args);
int cmd_status(const struct cli *cli, const struct args *args);
int cmd_node_list(const struct cli *cli, const struct args *args);
int cmd_node_remove(const struct cli *cli, const struct args *args);
int cmd_node_address(const struct cli *cli, const struct args *args);
int cmd_zone_create(const struct cli *cli, const struct args *args);
int cmd_zone_list(const struct cli *cli, const struct args *args);
int cmd_zone_show(const struct cli *cli, const struct args *args);
int cmd_zone_add_member(const struct cli *cli, const struct args *args);
int cmd_zone_remove_member(const struct cli *cli, const struct args *args);
int cmd_zone_replace_member(const struct cli *cli, const struct args *args);
int cmd_zone_rebuild(const struct cli *cli, const struct args *args);
int cmd_zone_retry(const struct cli *cli, const struct args *args);
int cmd_zone_set_quota(const struct cli *cli, const struct args *args);
int cmd_recover(const struct cli *cli, const struct args *args);
int cmd_zone_recover(const struct cli *cli, const struct args *args);
int cmd_zone_delete(const struct cli *cli, const struct args *args);
int cmd_transfer_leader(const struct cli *cli, const struct args *args);
int cmd_doctor(const struct cli *cli, const struct args *args);
int cmd_events(const struct cli *cli, const struct args *args);
int cmd_export(const struct cli *cli, const struct args *args);
int cmd_scrub(const struct cli *cli, const struct args *args);
int cmd_mount(const struct cli *cli, const struct args *args);

#endif
