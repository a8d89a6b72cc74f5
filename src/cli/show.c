#include "cli/show.h"

#include "cli/table.h"
#include "cli/units.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 24u
#define NODE_MAX 300u
#define CLOCK_OFF_MS 60000.0
#define STATE_MAX 64u
#define USED_MAX (2u * UNITS_TEXT_MAX + 16u)

const char *show_text(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    return cJSON_IsString(item) ? item->valuestring : "";
}

static bool flag(const cJSON *object, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static uint64_t number(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);

    if (cJSON_IsString(item) && isdigit((unsigned char)item->valuestring[0])) {
        return strtoull(item->valuestring, NULL, 10);
    }
    if (cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 1e15) {
        return (uint64_t)item->valuedouble;
    }
    return 0;
}

static const char *decimal(const cJSON *object, const char *key, char out[NUMBER_MAX])
{
    snprintf(out, NUMBER_MAX, "%" PRIu64, number(object, key));
    return out;
}

static const char *dash_if_empty(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

void show_nodes(const cJSON *nodes, FILE *file)
{
    static const char *const heads[] = {"NODE",  ">NUMBER", "ADDRESS",
                                        "STATE", ">RTT",    NULL};
    struct table table;
    const cJSON *node;

    table_init(&table, heads);
    cJSON_ArrayForEach(node, nodes)
    {
        const char *host = show_text(node, "host");
        char address[NODE_MAX];
        char num[NUMBER_MAX];
        char rtt[UNITS_TEXT_MAX];

        snprintf(address, sizeof address, strchr(host, ':') ? "[%.250s]:%u" : "%.250s:%u",
                 host, (unsigned)number(node, "port"));
        table_row(&table, (const char *const[]){
                              show_text(node, "name"),
                              decimal(node, "number", num),
                              address,
                              flag(node, "sleeps") ? "going to sleep"
                              : flag(node, "self") ? "this node"
                              : flag(node, "up")   ? "up"
                                                   : "down",
                              units_rtt(number(node, "rtt_us"), rtt),
                          });
    }
    table_print(&table, 0, file);
    table_deinit(&table);
}

/* Nobody who answers knows: what is 0 then is no answer. */
static bool is_unknown(const cJSON *zone)
{
    return number(zone, "term") == 0;
}

/* "1.2 MiB of 8.0 GiB (3 %)" */
static const char *used_text(const cJSON *zone, char out[USED_MAX])
{
    uint64_t used = number(zone, "used_bytes");
    uint64_t quota = number(zone, "quota_bytes");
    char used_out[UNITS_TEXT_MAX];
    char quota_out[UNITS_TEXT_MAX];

    if (is_unknown(zone)) {
        snprintf(out, USED_MAX, "? of %s", units_bytes(quota, quota_out));
        return out;
    }
    snprintf(out, USED_MAX, "%s of %s (%.0f %%)", units_bytes(used, used_out),
             units_bytes(quota, quota_out),
             quota == 0 ? 0 : 100 * (double)used / (double)quota);
    return out;
}

void show_zones(const cJSON *zones, FILE *file)
{
    static const char *const heads[] = {"ZONE",    "NAME",     "STATE", "LEADER", ">TERM",
                                        ">COMMIT", ">MEMBERS", ">USED", NULL};
    struct table table;
    const cJSON *zone;

    table_init(&table, heads);
    cJSON_ArrayForEach(zone, zones)
    {
        const cJSON *members = cJSON_GetObjectItemCaseSensitive(zone, "members");
        char term[NUMBER_MAX];
        char commit[NUMBER_MAX];
        char n_members[NUMBER_MAX];
        char used[USED_MAX];

        snprintf(n_members, sizeof n_members, "%d", cJSON_GetArraySize(members));
        table_row(&table,
                  (const char *const[]){
                      show_text(zone, "slug"),
                      show_text(zone, "display"),
                      dash_if_empty(show_text(zone, "state")),
                      dash_if_empty(show_text(zone, "leader")),
                      is_unknown(zone) ? "-" : decimal(zone, "term", term),
                      is_unknown(zone) ? "-" : decimal(zone, "commit_index", commit),
                      n_members,
                      used_text(zone, used),
                  });
    }
    table_print(&table, 0, file);
    table_deinit(&table);
}

static bool is_clock_off(const cJSON *member)
{
    const cJSON *off = cJSON_GetObjectItemCaseSensitive(member, "clock_off_ms");

    return cJSON_IsNumber(off) &&
           (off->valuedouble > CLOCK_OFF_MS || off->valuedouble < -CLOCK_OFF_MS);
}

static const char *state_of(const cJSON *member, char out[STATE_MAX])
{
    if (!flag(member, "up")) {
        return "unreachable";
    }
    (void)snprintf(out, STATE_MAX, "%s%s%s", dash_if_empty(show_text(member, "state")),
                   flag(member, "slow") ? ", slow disk" : "",
                   is_clock_off(member) ? ", clock off" : "");
    return out;
}

static void show_members(const cJSON *zone, FILE *file)
{
    static const char *const heads[] = {"MEMBER",   "POOL",     "ROLE", "STATE",
                                        ">COMMIT",  ">APPLIED", ">LAG", ">ON DISK",
                                        ">JOURNAL", NULL};
    const char *leader = show_text(zone, "leader");
    struct table table;
    const cJSON *member;

    table_init(&table, heads);
    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(zone, "members"))
    {
        const char *node = show_text(member, "node");
        const char *role = show_text(member, "role");
        bool up = flag(member, "up");
        char state[STATE_MAX];
        char commit[NUMBER_MAX];
        char applied[NUMBER_MAX];
        char lag[NUMBER_MAX];
        char disk[UNITS_TEXT_MAX];
        char journal[UNITS_TEXT_MAX];

        /* An absent lag is unknown, not none. */
        table_row(&table,
                  (const char *const[]){
                      node,
                      dash_if_empty(show_text(member, "pool")),
                      leader[0] != '\0' && strcmp(node, leader) == 0 ? "leader" : role,
                      state_of(member, state),
                      up ? decimal(member, "commit_index", commit) : "-",
                      up ? decimal(member, "applied_index", applied) : "-",
                      !is_unknown(zone) && cJSON_HasObjectItem(member, "lag")
                          ? decimal(member, "lag", lag)
                          : "-",
                      up ? units_bytes(number(member, "disk_bytes"), disk) : "-",
                      up ? units_bytes(number(member, "journal_bytes"), journal) : "-",
                  });
    }
    table_print(&table, 2, file);
    table_deinit(&table);
}

/* What the last scrub of a member found and nobody mended. */
static void show_damage(const cJSON *zone, FILE *file)
{
    const cJSON *member;

    cJSON_ArrayForEach(member, cJSON_GetObjectItemCaseSensitive(zone, "members"))
    {
        const cJSON *scrub = cJSON_GetObjectItemCaseSensitive(member, "scrub");
        const char *other = show_text(scrub, "differs_from");
        uint64_t unhealed = number(scrub, "unhealed");

        if (other[0] != '\0') {
            fputs("  DIFFERENT STATE: ", file);
            units_put_text(file, show_text(member, "node"));
            fputs(" and ", file);
            units_put_text(file, other);
            fputs("; see scrub in gvraft(8)\n", file);
        }
        if (unhealed > 0) {
            fputs("  BAD BLOCKS: ", file);
            units_put_text(file, show_text(member, "node"));
            fprintf(file,
                    " has %" PRIu64 " without a good copy; see gvraft scrub --status\n",
                    unhealed);
        }
    }
}

void show_zone(const cJSON *zone, FILE *file)
{
    const char *slug = show_text(zone, "slug");
    const char *display = show_text(zone, "display");
    const char *reason = show_text(zone, "reason");
    const char *leader = show_text(zone, "leader");
    char used[USED_MAX];

    units_put_text(file, slug);
    if (strcmp(slug, display) != 0) {
        fputs(" \"", file);
        units_put_text(file, display);
        fputs("\"", file);
    }
    fputs(": ", file);
    units_put_text(file, show_text(zone, "state"));
    if (reason[0] != '\0') {
        fputs(" (", file);
        units_put_text(file, reason);
        fputs(")", file);
    }
    if (leader[0] != '\0') {
        fputs(", leader ", file);
        units_put_text(file, leader);
    } else {
        fputs(", no leader", file);
    }
    if (is_unknown(zone)) {
        fprintf(file, ", so nobody knows how far it is\n  %s used\n",
                used_text(zone, used));
    } else {
        fprintf(file, ", term %" PRIu64 ", commit index %" PRIu64 "\n",
                number(zone, "term"), number(zone, "commit_index"));
        fprintf(file, "  %s used, %" PRIu64 " inode%s\n", used_text(zone, used),
                number(zone, "inodes"), number(zone, "inodes") == 1 ? "" : "s");
    }
    show_members(zone, file);
    show_damage(zone, file);
}

void show_status(const cJSON *status, FILE *file)
{
    const cJSON *zones = cJSON_GetObjectItemCaseSensitive(status, "zones");
    const char *nfs = show_text(status, "nfs");
    const cJSON *zone;

    fputs("node ", file);
    units_put_text(file, show_text(status, "node"));
    if (flag(status, "uninitialised")) {
        fputs(": not in a grapevine yet. Start one with gvraft init, or join one with "
              "gvraft join TOKEN.\n",
              file);
        return;
    }
    fputs(" in grapevine ", file);
    units_put_text(file, show_text(status, "grapevine"));
    if (nfs[0] != '\0') {
        fputs(", NFS on ", file);
        units_put_text(file, nfs);
    }
    fputs("\n\n", file);
    show_nodes(cJSON_GetObjectItemCaseSensitive(status, "nodes"), file);
    if (cJSON_GetArraySize(zones) == 0) {
        fputs("\nno zones yet: see gvraft help zone create\n", file);
    }
    cJSON_ArrayForEach(zone, zones)
    {
        fputc('\n', file);
        show_zone(zone, file);
    }
}
