/*
 * doctor_judge: facts in, findings out. Pure.
 */
#include "offline/doctor_rules.h"

#include "daemon/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT_MAX 400u
#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define FULL_BYTES (64 * MIB)
#define LOW_BYTES (2 * GIB)
#define SLOW_US 1000000u
#define POOL_SLOW_US 500000u
#define WAITS_MS 5000u
#define LAG_ENTRIES 10000u
#define CLOCK_OFF_MS 5000.0
#define CLOCK_FAR_MS 60000.0
#define FILES_MIN 2048u
#define CRASHES_MANY 3u

static void find(struct doctor_report *report, enum doctor_rule rule, const char *format,
                 ...) __attribute__((format(printf, 3, 4)));

static void find(struct doctor_report *report, enum doctor_rule rule, const char *format,
                 ...)
{
    const struct doctor_rule_row *row = &doctor_rules[rule];
    struct doctor_finding *finding;
    va_list args;

    if (report->n == DOCTOR_FINDINGS_MAX) {
        report->left_out++;
        return;
    }
    finding = &report->findings[report->n++];
    *finding = (struct doctor_finding){
        .id = row->id, .severity = row->severity, .means = row->means, .todo = row->todo};
    va_start(args, format);
    vsnprintf(finding->what, sizeof finding->what, format, args);
    va_end(args);
}

static const cJSON *at(const cJSON *json, const char *key)
{
    return cJSON_GetObjectItemCaseSensitive(json, key);
}

static const char *text(const cJSON *json, const char *key)
{
    const cJSON *item = at(json, key);

    return cJSON_IsString(item) ? item->valuestring : "";
}

static uint64_t number(const cJSON *json, const char *key)
{
    uint64_t value = 0;

    (void)json_u64(json, key, &value);
    return value;
}

/* False if it is absent, too: nothing is concluded from what is not known. */
static bool is_false(const cJSON *json, const char *key)
{
    return cJSON_IsFalse(at(json, key));
}

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* The daemon. */

static void judge_dead(const cJSON *facts, struct doctor_report *report)
{
    const cJSON *last = at(facts, "last_event");
    const cJSON *port;

    if (json_flag(facts, "held")) {
        find(report, RULE_DAEMON_SILENT, "a grapevined runs, but: %.300s",
             text(facts, "no_answer"));
        return;
    }
    if (json_flag(facts, "denied")) {
        find(report, RULE_NOT_ALLOWED, "nothing is known of the daemon: %.300s",
             text(facts, "no_answer"));
        return;
    }
    find(report, RULE_DAEMON_DEAD, "no grapevined runs with this configuration: %.300s",
         text(facts, "no_answer"));
    if (is(text(last, "kind"), "start-refused")) {
        find(report, RULE_START_REFUSED, "the last start was refused: %.300s",
             text(last, "words"));
    }
    cJSON_ArrayForEach(port, at(facts, "ports"))
    {
        find(report, json_flag(port, "taken") ? RULE_PORT_TAKEN : RULE_ADDRESS_MISSING,
             "the address for %s, %s port %u: %s", text(port, "what"), text(port, "host"),
             (unsigned)number(port, "port"), text(port, "fault"));
    }
}

static void judge_memory(const cJSON *facts, const cJSON *self,
                         struct doctor_report *report)
{
    const cJSON *mount = cJSON_GetArrayItem(at(facts, "own_mounts"), 0);

    if (is_false(self, "flusher") && cJSON_IsString(mount)) {
        find(report, RULE_NO_FLUSHER_MOUNTED, "%.200s is a mount of this node's zones",
             mount->valuestring);
    } else if (is_false(self, "flusher")) {
        find(report, RULE_NO_FLUSHER, "the kernel refused PR_SET_IO_FLUSHER");
    }
    if (json_flag(self, "lock_wanted") && is_false(self, "locked")) {
        find(report, RULE_MEMORY_NOT_LOCKED,
             "lock_memory is on, and memory is not locked");
    }
}

static void judge_self(const cJSON *facts, const cJSON *self,
                       struct doctor_report *report)
{
    if (is_false(self, "initialised")) {
        find(report, RULE_NOT_IN_GRAPEVINE, "this node is in no grapevine yet");
    } else if (is_false(self, "directory_read")) {
        find(report, RULE_DIRECTORY_UNREAD, "the directory was not read since the start");
    }
    judge_memory(facts, self, report);
    if (is(text(self, "sleep"), "leaving") || is(text(self, "sleep"), "left")) {
        find(report, RULE_SLEEP_BEGINS, "this machine is about to sleep");
    } else if (is(text(self, "sleep"), "refused")) {
        find(report, RULE_SLEEP_UNTOLD, "logind does not let this node delay sleep");
    }
    if (at(self, "files_max") != NULL && number(self, "files_max") < FILES_MIN) {
        find(report, RULE_FEW_FILES, "the daemon may open %u files",
             (unsigned)number(self, "files_max"));
    }
    if (json_flag(self, "file_size_limited")) {
        find(report, RULE_FILE_SIZE_LIMIT, "the daemon runs under a limit of file sizes");
    }
    if (is(text(self, "rpcbind"), "refused")) {
        find(report, RULE_RPCBIND_REFUSED, "rpcbind did not take this node's NFS");
    } else if (is(text(self, "rpcbind"), "absent")) {
        find(report, RULE_RPCBIND_ABSENT, "NFS is not registered with rpcbind");
    }
}

/* Folders and datasets. */

static void judge_room(const cJSON *folder, const char *name,
                       struct doctor_report *report)
{
    bool is_state = is(text(folder, "what"), "state");
    uint64_t free_bytes = number(folder, "free_bytes");
    uint64_t total = number(folder, "total_bytes");
    uint64_t full = total / 4 < FULL_BYTES ? total / 4 : FULL_BYTES;
    uint64_t low = total / 20 < LOW_BYTES ? total / 20 : LOW_BYTES;

    if (total == 0 || free_bytes >= (low > full ? low : full)) {
        return;
    }
    find(report,
         free_bytes >= full ? RULE_POOL_LOW
         : is_state         ? RULE_STATE_FULL
                            : RULE_POOL_FULL,
         "%s: %.0f MiB of %.0f MiB are free", name, (double)free_bytes / (double)MIB,
         (double)total / (double)MIB);
}

/* @denied: whoever runs this is not the daemon's user, and need not write what that must. */
static void judge_folder(const cJSON *folder, bool denied, struct doctor_report *report)
{
    const char *path = text(folder, "path");
    bool is_state = is(text(folder, "what"), "state");
    char name[TEXT_MAX];

    if (is_state) {
        snprintf(name, sizeof name, "[node] state %.300s", path);
    } else {
        snprintf(name, sizeof name, "[pool %.63s] %s %.300s", text(folder, "pool"),
                 is(text(folder, "what"), "journal") ? "journal" : "path", path);
    }
    if (json_flag(folder, "hangs")) {
        find(report, RULE_POOL_HANGS, "%s did not answer within 5 s", name);
        return;
    }
    if (at(folder, "fault") != NULL) {
        find(report, is_state ? RULE_STATE_FOLDER : RULE_POOL_MISSING, "%s: %s", name,
             text(folder, "fault"));
        return;
    }
    if (json_flag(folder, "read_only")) {
        find(report, RULE_POOL_READ_ONLY, "%s is on a read-only file system", name);
    } else if (denied && is_false(folder, "writable")) {
        return;
    } else if (is_false(folder, "writable")) {
        find(report, RULE_POOL_BROKEN, "%s cannot be written by who runs this", name);
    } else if (at(folder, "sync_fault") != NULL &&
               !is(text(folder, "sync_fault"), "No space left on device")) {
        find(report, RULE_POOL_BROKEN, "%s: %s", name, text(folder, "sync_fault"));
    }
    if (number(folder, "sync_us") > POOL_SLOW_US) {
        find(report, RULE_POOL_SLOW, "%s: a sync of 4 KiB took %.1f s", name,
             (double)number(folder, "sync_us") / 1e6);
    }
    judge_room(folder, name, report);
}

/* Where a pool's journals are: the folder of their own, if it has one. */
static void judge_journal_device(const cJSON *folders, const cJSON *folder,
                                 struct doctor_report *report)
{
    const cJSON *other;

    if (is(text(folder, "what"), "state") || !json_flag(folder, "rotational")) {
        return;
    }
    cJSON_ArrayForEach(other, folders)
    {
        if (is(text(folder, "what"), "pool") && is(text(other, "what"), "journal") &&
            is(text(other, "pool"), text(folder, "pool"))) {
            return;
        }
    }
    find(report, RULE_JOURNAL_ON_HDD, "journals of pool %s are on a disk that turns",
         text(folder, "pool"));
}

static void judge_dataset(const cJSON *dataset, struct doctor_report *report)
{
    const char *marker = text(dataset, "marker");
    const char *zone = text(dataset, "zone");
    const char *dir = text(dataset, "dir");

    if (is(marker, "no-pool")) {
        find(report, RULE_DATASET_MISSING,
             "zone %s is on pool %s, which is not configured", zone,
             text(dataset, "pool"));
    } else if (is(marker, "missing")) {
        find(report, RULE_DATASET_MISSING, "zone %s: no marker in %.300s", zone, dir);
    } else if (is(marker, "unreadable")) {
        find(report, RULE_POOL_BROKEN, "zone %s: the marker in %.300s: %s", zone, dir,
             text(dataset, "fault"));
    } else if (is(marker, "damaged")) {
        find(report, RULE_DATASET_DAMAGED, "zone %s: the marker in %.300s is damaged",
             zone, dir);
    } else if (is(marker, "rotten")) {
        find(report, RULE_DATASET_ROTTEN,
             "zone %s: the marker in %.300s is not what was written, but says what that "
             "was",
             zone, dir);
    } else if (is(marker, "other-version")) {
        find(report, RULE_DATASET_VERSION, "zone %s: %.300s is of another version", zone,
             dir);
    } else if (is(marker, "other-zone")) {
        find(report, RULE_DATASET_FOREIGN, "zone %s: %.300s is another zone's", zone,
             dir);
    }
    if (is(marker, "ok") && is_false(dataset, "journal_there")) {
        find(report, RULE_JOURNAL_MISSING, "zone %s: there is no journal in %.300s", zone,
             text(dataset, "journal"));
    }
    if (is(marker, "ok") && is_false(dataset, "ballast")) {
        find(report, RULE_BALLAST_MISSING, "zone %s: %.300s/ballast is not there", zone,
             dir);
    }
}

static void judge_places(const cJSON *facts, struct doctor_report *report)
{
    const cJSON *folders = at(facts, "folders");
    bool is_dead = is_false(facts, "answers");
    const cJSON *item;

    cJSON_ArrayForEach(item, folders)
    {
        judge_folder(item, json_flag(facts, "denied"), report);
        judge_journal_device(folders, item, report);
    }
    cJSON_ArrayForEach(item, at(facts, "datasets"))
    {
        judge_dataset(item, report);
        if (is_dead && json_flag(item, "lost")) {
            find(report, RULE_QUARANTINED, "zone %s: this node's member is in quarantine",
                 text(item, "zone"));
        }
    }
    cJSON_ArrayForEach(item, at(facts, "open_root_exports"))
    {
        if (cJSON_IsString(item)) {
            find(report, RULE_EXPORT_OPEN_ROOT,
                 "%.100s is exported to everybody, for writing, with squash = none",
                 item->valuestring);
        }
    }
}

/* Zones as this node's own members see them. */

static void judge_own_zone(const cJSON *zone, struct doctor_report *report)
{
    const char *name = text(zone, "zone");
    const char *state = text(zone, "state");
    const char *reason = text(zone, "reason");

    if (is(state, "failed")) {
        find(report, RULE_ZONE_FAILED, "zone %s failed on this node: %.300s", name,
             reason);
    } else if (is(state, "no-data")) {
        find(report, RULE_ZONE_NO_DATA, "zone %s has no data here: %.300s", name, reason);
    } else if (is(state, "full")) {
        find(report, RULE_ZONE_FULL, "zone %s is full on this node: %.300s", name,
             reason);
    } else if (is(state, "offline")) {
        find(report, RULE_ZONE_OFFLINE, "zone %s is offline on this node%s", name,
             text(zone, "leader")[0] == '\0' ? ": no leader is known" : "");
    } else if (is(state, "catching-up")) {
        find(report, RULE_ZONE_CATCHING_UP, "zone %s is catching up on this node", name);
    }
    if (json_flag(zone, "quarantined")) {
        find(report, RULE_QUARANTINED, "zone %s: this node's member is in quarantine",
             name);
    }
    if (number(zone, "unreadable_entry") != 0) {
        find(report, RULE_ENTRY_UNREADABLE,
             "zone %s: entry %.0f of its journal cannot be read here, and is not applied",
             name, (double)number(zone, "unreadable_entry"));
    }
    if (number(zone, "sync_waits_ms") > WAITS_MS) {
        find(report, RULE_DISK_WAITS, "zone %s: its journal has waited for %.0f s", name,
             (double)number(zone, "sync_waits_ms") / 1e3);
    } else if (number(zone, "sync_worst_us") > SLOW_US) {
        find(report, RULE_DISK_SLOW,
             "zone %s: a batch of its journal took %.1f s within two minutes (%.1f ms in "
             "the mean)",
             name, (double)number(zone, "sync_worst_us") / 1e6,
             (double)number(zone, "sync_mean_us") / 1e3);
    }
}

/* Zones as the whole grapevine sees them. */

static const cJSON *peer_named(const cJSON *daemon, const char *name)
{
    const cJSON *peer;

    cJSON_ArrayForEach(peer, at(daemon, "peers"))
    {
        if (is(text(peer, "name"), name)) {
            return peer;
        }
    }
    return NULL;
}

/* "since 2026-11-25 20:30 UTC", or that it was not seen since the start. */
static void since_text(const cJSON *peer, char out[64])
{
    time_t when = (time_t)(number(peer, "since_ns") / 1000000000);
    struct tm tm;

    if (json_flag(peer, "up")) {
        strcpy(out, "just now"); /* The time is of when it came. */
    } else if (when == 0 || gmtime_r(&when, &tm) == NULL ||
               strftime(out, 64, "since %F %H:%M:%S UTC", &tm) == 0) {
        strcpy(out, "not seen since this daemon started");
    }
}

struct tally {
    unsigned voters;
    unsigned voters_up;
    unsigned members;
    bool one_machine;
};

static void judge_member(const cJSON *daemon, const cJSON *zone, const cJSON *member,
                         struct doctor_report *report)
{
    const char *name = text(zone, "slug");
    const char *node = text(member, "node");
    char since[64];

    if (is_false(member, "up")) {
        since_text(peer_named(daemon, node), since);
        find(report, RULE_MEMBER_MISSING, "zone %s: member %s does not answer, %s", name,
             node, since);
    } else if (number(member, "lag") > LAG_ENTRIES) {
        find(report, RULE_ZONE_LAG, "zone %s: member %s is %llu entries behind", name,
             node, (unsigned long long)number(member, "lag"));
    }
}

static void count_member(const cJSON *daemon, const cJSON *member, struct tally *tally)
{
    const cJSON *peer = peer_named(daemon, text(member, "node"));
    const char *host = text(peer, "host");

    tally->members++;
    if (is(text(member, "role"), "voter")) {
        tally->voters++;
        tally->voters_up += json_flag(member, "up") ? 1 : 0;
    }
    /* This node itself is no peer: its address is not in the list. */
    tally->one_machine =
        tally->one_machine &&
        (peer == NULL || strncmp(host, "127.", 4) == 0 || is(host, "::1"));
}

static void judge_tally(const char *name, const struct tally *tally,
                        struct doctor_report *report)
{
    if (tally->members == 1) {
        find(report, RULE_ZONE_ONE_MEMBER, "zone %s has one member", name);
    } else if (tally->members == 2) {
        find(report, RULE_ZONE_TWO_MEMBERS, "zone %s has two members", name);
    } else if (tally->members > 2 && tally->members % 2 == 0) {
        find(report, RULE_ZONE_EVEN, "zone %s has %u members", name, tally->members);
    }
    if (tally->one_machine && tally->members > 1) {
        find(report, RULE_ZONE_ONE_MACHINE, "zone %s: its members are all on loopback",
             name);
    }
    if (tally->voters > 2 && tally->voters_up == tally->voters / 2 + 1 &&
        tally->voters_up < tally->voters) {
        find(report, RULE_ZONE_NO_SPARE, "zone %s: %u of %u voters answer", name,
             tally->voters_up, tally->voters);
    }
}

static void judge_zone(const cJSON *daemon, const cJSON *zone,
                       struct doctor_report *report)
{
    struct tally tally = {.one_machine = true};
    const char *name = text(zone, "slug");
    uint64_t quota = number(zone, "quota_bytes");
    uint64_t used = number(zone, "used_bytes");
    const cJSON *member;

    if (text(zone, "leader")[0] == '\0' && is(text(zone, "state"), "remote")) {
        find(report, RULE_ZONE_NO_LEADER,
             "zone %s, of which this node is no member, has "
             "no leader that is known here",
             name);
    }
    if (quota > 0 && used > quota / 20 * 19) {
        find(report, RULE_ZONE_QUOTA, "zone %s has used %.1f %% of its quota", name,
             100 * (double)used / (double)quota);
    }
    cJSON_ArrayForEach(member, at(zone, "members"))
    {
        judge_member(daemon, zone, member, report);
        count_member(daemon, member, &tally);
    }
    judge_tally(name, &tally, report);
}

/* Peers. */

static void judge_peer(const cJSON *self, const cJSON *peer, struct doctor_report *report)
{
    const char *name = text(peer, "name");
    const char *version = text(peer, "version");
    const cJSON *ahead = at(peer, "clock_ahead_ms");
    char since[64];

    if (is_false(peer, "up")) {
        since_text(peer, since);
        find(report, RULE_PEER_DOWN, "node %s at %s port %u is out of reach, %s: %.100s",
             name, text(peer, "host"), (unsigned)number(peer, "port"), since,
             text(peer, "fault"));
    }
    if (cJSON_IsNumber(ahead) &&
        (ahead->valuedouble > CLOCK_OFF_MS || ahead->valuedouble < -CLOCK_OFF_MS)) {
        double seconds = ahead->valuedouble / 1e3;
        bool far = seconds > CLOCK_FAR_MS / 1e3 || seconds < -CLOCK_FAR_MS / 1e3;

        find(report, far ? RULE_CLOCK_FAR_OFF : RULE_CLOCK_OFF,
             "the clock of node %s is %.0f s %s this node's", name,
             seconds < 0 ? -seconds : seconds, seconds < 0 ? "behind" : "ahead of");
    }
    if (version[0] != '\0' && !is(version, text(self, "version"))) {
        find(report, RULE_VERSION_DIFFERS, "node %s runs %.30s, this one %.30s", name,
             version, text(self, "version"));
    }
}

/* The one thing to know first, before all that follows from it. */
static void judge_alone(const cJSON *peers, struct doctor_report *report)
{
    unsigned n = 0;
    const cJSON *peer;

    cJSON_ArrayForEach(peer, peers)
    {
        if (!is_false(peer, "up")) {
            return;
        }
        n++;
    }
    if (n > 1) { /* One that is away is told of as such. */
        find(report, RULE_ALONE, "none of the %u other nodes is reached", n);
    }
}

static void judge_daemon(const cJSON *facts, const cJSON *daemon,
                         struct doctor_report *report)
{
    const cJSON *self = at(daemon, "self");
    const cJSON *item;

    judge_self(facts, self, report);
    judge_alone(at(daemon, "peers"), report);
    cJSON_ArrayForEach(item, at(daemon, "zones"))
    {
        judge_own_zone(item, report);
    }
    cJSON_ArrayForEach(item, at(at(daemon, "status"), "zones"))
    {
        judge_zone(daemon, item, report);
    }
    cJSON_ArrayForEach(item, at(daemon, "peers"))
    {
        judge_peer(self, item, report);
    }
}

static const char *times(uint64_t n)
{
    return n == 1 ? "time" : "times";
}

static void judge_events(const cJSON *events, struct doctor_report *report)
{
    unsigned bad = (unsigned)number(events, "block-bad");
    unsigned healed = (unsigned)number(events, "block-healed");
    unsigned crashes = (unsigned)number(events, "recovery");

    if (number(events, "entry-bad") > 0) {
        find(report, RULE_BLOCKS_BAD,
             "entries of a journal could not be read back %u %s in a week, %u are past",
             (unsigned)number(events, "entry-bad"), times(number(events, "entry-bad")),
             (unsigned)number(events, "entry-healed"));
    }
    if (bad + healed > 0) {
        find(report, RULE_BLOCKS_BAD, "bad blocks were met %u %s in a week, %u healed",
             bad, times(bad), healed);
    }
    if (number(events, "state-healed") > 0) {
        find(report, RULE_STATE_ROTTEN,
             "a damaged file of the state folder or of a pool was made good %u %s in a "
             "week",
             (unsigned)number(events, "state-healed"),
             times(number(events, "state-healed")));
    }
    if (number(events, "quarantine") > 0) {
        find(report, RULE_WAS_QUARANTINED,
             "members on this node were put into quarantine %u %s in a week",
             (unsigned)number(events, "quarantine"), times(number(events, "quarantine")));
    }
    if (crashes > 0) {
        find(report, crashes >= CRASHES_MANY ? RULE_CRASHES : RULE_CRASHED,
             "the daemon ended without a stop %u %s in a week", crashes, times(crashes));
    }
    if (number(events, "slow-disk") > 0) {
        find(report, RULE_WAS_SLOW, "slow disks were told %u %s in a week",
             (unsigned)number(events, "slow-disk"), times(number(events, "slow-disk")));
    }
}

static int worse_first(const void *a, const void *b)
{
    const struct doctor_finding *x = a;
    const struct doctor_finding *y = b;
    int by_severity = (int)y->severity - (int)x->severity;

    return by_severity != 0 ? by_severity : strcmp(x->id, y->id);
}

void doctor_judge(const cJSON *facts, struct doctor_report *report)
{
    const char *error = text(facts, "config_error");

    *report = (struct doctor_report){0};
    if (error[0] != '\0') {
        find(report, RULE_CONFIG_INVALID, "%.400s", error);
    }
    if (is_false(facts, "answers")) {
        judge_dead(facts, report);
    } else {
        judge_daemon(facts, at(facts, "daemon"), report);
    }
    judge_places(facts, report);
    judge_events(at(facts, "events"), report);
    qsort(report->findings, report->n, sizeof report->findings[0], worse_first);
}

bool doctor_healthy(const struct doctor_report *report)
{
    return report->n == 0 || report->findings[0].severity < DOCTOR_WARNING;
}

const char *doctor_severity_name(enum doctor_severity severity)
{
    static const char *const names[] = {"", "note", "warning", "error"};

    return names[severity];
}

const char *doctor_id(uint32_t i)
{
    return i < RULES ? doctor_rules[i].id : NULL;
}
