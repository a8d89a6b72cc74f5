#include "cli/command.h"

#include "base/assert.h"
#include "cli/units.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_MAX_BYTES 2048u

#define MEMBER_HELP \
    "A member is NODE or NODE:POOL; the pool may be left out where there is one."
#define QUOTA_HELP "A size is 512GB (10^9), 512GiB or 512G (2^30), or plain bytes."

const struct command commands[] = {
    {"init", "", "", 0, 0, "start a new grapevine with this node as its first", "",
     cmd_init},
    {"invite", "[--expires 1h]", "expires=", 0, 0,
     "print a token with which one other node can join",
     "The token is good once and for an hour, or as long as --expires says: 90s, 30m, "
     "1h,\n"
     "7d. Whoever has it can join: send it over a channel you trust.",
     cmd_invite},
    {"join", "TOKEN|-", "", 1, 1, "make this node part of the grapevine that invited it",
     "- reads the token from standard input, where other users of the machine cannot "
     "see\n"
     "it.",
     cmd_join},
    {"status", "", "", 0, 0, "show nodes, zones, and how far each member of a zone is",
     "", cmd_status},
    {"node list", "", "", 0, 0, "show the nodes of the grapevine", "", cmd_node_list},
    {"node remove", "NODE", "", 1, 1,
     "take a node that is in no zone out of the grapevine", "", cmd_node_remove},
    {"node set-address", "NODE ADDRESS:PORT", "", 2, 2,
     "tell the others where a node is now, if it cannot do so itself",
     "NODE's own configuration ([listen] peer or advertise) needs the address, too.",
     cmd_node_address},
    {"recover", "--accept-loss [--confirm NODE]", "accept-loss confirm=", 0, 0,
     "go on with a grapevine whose majority of nodes is gone for good",
     "For the directory of nodes and zones; zones whose majority is gone follow with\n"
     "gvraft zone recover. Says what is lost and asks for this node's name (--confirm "
     "gives\n"
     "it). Nodes that come back follow by themselves.",
     cmd_recover},
    {"zone create",
     "ZONE --quota SIZE --member NODE[:POOL]... [--display NAME] [--mode 0755] "
     "[--owner UID:GID] [--election-ms N]",
     "quota= member=* display= mode= owner= election-ms=", 1, 1,
     "make a zone that is kept on the given members",
     QUOTA_HELP
     "\n" MEMBER_HELP "\n"
     "--mode and --owner are those of the zone's root folder; the owner is who\n"
     "runs gvraft unless given. --election-ms: a leader that was silent for so\n"
     "long, up to twice that, is replaced; more than the default for members far\n"
     "apart.",
     cmd_zone_create},
    {"zone list", "", "", 0, 0, "show the zones, one line each", "", cmd_zone_list},
    {"zone show", "ZONE", "", 1, 1, "show one zone and its members", "", cmd_zone_show},
    {"zone add-member", "ZONE NODE[:POOL]", "", 2, 2, "keep the zone on one more node",
     "The node gets the data first and votes after that.\n" MEMBER_HELP,
     cmd_zone_add_member},
    {"zone remove-member", "ZONE NODE", "", 2, 2, "no longer keep the zone on a node", "",
     cmd_zone_remove_member},
    {"zone replace-member", "ZONE OLD NEW[:POOL]", "", 3, 3,
     "keep the zone on one node instead of another",
     "NEW gets the data and votes; only then OLD goes. Interrupted, it goes on by "
     "itself.",
     cmd_zone_replace_member},
    {"zone rebuild", "ZONE [NODE]", "", 1, 2,
     "make a member's copy anew, because its data is gone for good",
     "For a member in state no-data or failed; NODE is this one unless given. It gets a\n"
     "new copy from the others, which must be a majority without it.",
     cmd_zone_rebuild},
    {"zone retry", "ZONE [NODE]", "", 1, 2, "have a member that failed opened anew now",
     "For a member in state failed or no-data, once what its reason names is cured; NODE "
     "is\n"
     "this one unless given. After most failures it is tried by itself, within a minute.",
     cmd_zone_retry},
    {"zone set-quota", "ZONE SIZE", "", 2, 2, "change how much a zone can hold",
     QUOTA_HELP, cmd_zone_set_quota},
    {"zone recover", "ZONE --accept-loss [--confirm ZONE]", "accept-loss confirm=", 1, 1,
     "go on with a zone whose majority is gone for good",
     "Says what is lost, asks for the zone's name (--confirm gives it), and goes on with "
     "the\n"
     "members that answer. Refused while a majority answers, and where another member "
     "has\n"
     "more. What members have that come back later is kept aside.",
     cmd_zone_recover},
    {"zone delete", "ZONE [--yes]", "yes", 1, 1, "delete a zone and all that is in it",
     "Asks for the zone's name on a terminal; --yes does not ask.", cmd_zone_delete},
    {"transfer-leader", "ZONE [NODE]", "", 1, 2, "let another member lead the zone",
     "Without NODE, the leader chooses the member that is furthest.",
     cmd_transfer_leader},
    {"events", "[--since TIME] [--zone ZONE] [--follow]", "since= zone= follow", 0, 0,
     "show what happened on this node",
     "TIME is how long ago (90s, 30m, 1h, 7d) or a time in UTC: 2026-11-25,\n"
     "2026-11-25T20:30 or 2026-11-25T20:30:05. --follow goes on until it is "
     "interrupted.\n"
     "With --json each event is one object on one line.",
     cmd_events},
    {"doctor", "[--config FILE]", "config=", 0, 0,
     "say what is wrong with this node, what it means and what to do",
     "Asks the daemon, and looks at the configuration, the pools and the datasets "
     "itself:\n"
     "so it works, with less to say, without a daemon. Run it as root or as the "
     "daemon's\n"
     "user. --config names another grapevine.conf than the daemon's or the usual one.\n"
     "Exit status 0: healthy, or notes only; 1: there are warnings or errors.",
     cmd_doctor},
    {"export", "--offline DATASET DEST [--journal DIR] [--applied]",
     "offline journal= applied", 2, 2,
     "get every file out of a dataset, without a daemon",
     "DATASET is POOL/ZONE on this machine; it is only read. DEST is an empty or new\n"
     "folder. --journal: where the zone's journal lies, if not in the dataset. "
     "--applied\n"
     "leaves out what is in the journal and was not applied yet. Run it as root to keep\n"
     "owners and devices. Exit status 1 if something is missing or damaged: each is "
     "told.",
     cmd_export},
    {"scrub", "ZONE [--wait|--status|--stop]", "wait status stop", 1, 1,
     "have all members of a zone check what they hold, and heal it",
     "Each member reads every block at the rate of its configuration, has bad ones "
     "healed\n"
     "by the others, and compares its state with theirs. Without an option it begins,\n"
     "where none is under way, and returns. --status shows how far the members are;\n"
     "--wait shows it until all have ended. Both fail if something stayed bad or "
     "differs;\n"
     "the exit status of --wait is 3 if not all members took part.",
     cmd_scrub},
    {"mount", "ZONE DIR [--print]", "print", 2, 2, "mount a zone through this node's NFS",
     "Needs root. --print only prints the mount command.", cmd_mount},
    {0},
};

/* One line on standard error, safe to print: part of it may come from the daemon. */
static void put_line(const char *before, const char *format, va_list args)
{
    char line[LINE_MAX_BYTES];

    /* Else gcc finds, in a build with its sanitizers, a way on which it is NULL. */
    ASSERT(format != NULL);
    vsnprintf(line, sizeof line, format, args);
    fputs(before, stderr);
    units_put_text(stderr, line);
    fputc('\n', stderr);
}

int command_usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put_line("gvraft: ", format, args);
    va_end(args);
    return COMMAND_USAGE;
}

int command_failed(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put_line("gvraft: ", format, args);
    va_end(args);
    return COMMAND_FAILED;
}

static void warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    put_line("gvraft: warning: ", format, args);
    va_end(args);
}

int command_call(const struct cli *cli, const char *command, cJSON *json_args,
                 struct ctl_reply *reply)
{
    const cJSON *warning;
    int rv = ctl_call(cli->socket, command, json_args, reply);

    if (rv != 0) {
        ctl_reply_deinit(reply);
        return command_failed("%s", reply->error);
    }
    cJSON_ArrayForEach(warning, reply->warnings)
    {
        warn("%s", warning->valuestring);
    }
    return COMMAND_OK;
}

bool command_json(const struct cli *cli, const struct ctl_reply *reply)
{
    char *text;

    if (!cli->json) {
        return false;
    }
    text = cJSON_Print(reply->result);
    if (text != NULL) {
        puts(text);
    }
    free(text);
    return true;
}
