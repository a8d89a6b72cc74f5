#include "offline/doctor_impl.h"

#include "base/disk.h"
#include "daemon/event_file.h"
#include "daemon/json.h"
#include "daemon/state_file.h"
#include "store/store.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 1400u
#define MARKER_MAX 4096u
#define ZONES_FILE_MAX (4u << 20)
#define WEEK_NS (7ll * 86400 * 1000000000)
#define MARKER_HEAD "grapevinefs dataset "

/* Configuration. */

static cJSON *folder_of(const char *path, const char *pool, const char *what)
{
    cJSON *json = doctor_folder(path);

    cJSON_AddStringToObject(json, "pool", pool);
    cJSON_AddStringToObject(json, "what", what);
    return json;
}

static void put_folders(cJSON *facts, const struct config *config)
{
    cJSON *folders = cJSON_AddArrayToObject(facts, "folders");

    cJSON_AddItemToArray(folders, folder_of(config->state, "", "state"));
    for (uint32_t i = 0; i < config->n_pools; i++) {
        const struct config_pool *pool = &config->pools[i];

        cJSON_AddItemToArray(folders, folder_of(pool->path, pool->name, "pool"));
        if (pool->journal[0] != '\0') {
            cJSON_AddItemToArray(folders,
                                 folder_of(pool->journal, pool->name, "journal"));
        }
    }
}

/* Addresses that no client list of a careful administrator holds (RFC 5737, RFC 3849): who
 * is let in from there is let in from everywhere. */
static bool open_root(const struct config *config, const char *zone)
{
    static const char *const anywhere[] = {"192.0.2.1", "2001:db8::1"};
    struct nfs_export_rule rule;

    for (size_t i = 0; i < sizeof anywhere / sizeof anywhere[0]; i++) {
        export_rule(config->exports, anywhere[i], zone, &rule);
        if (rule.allowed && rule.squash == NFS_SQUASH_NONE && !rule.read_only) {
            return true;
        }
    }
    return false;
}

static void put_exports(cJSON *facts, const struct config *config)
{
    bool loopback =
        strncmp(config->nfs.host, "127.", 4) == 0 || strcmp(config->nfs.host, "::1") == 0;
    cJSON *exports = cJSON_AddArrayToObject(facts, "open_root_exports");
    const char *zone;
    uint32_t line;

    cJSON_AddBoolToObject(facts, "nfs_loopback", loopback);
    if (loopback) {
        return;
    }
    /* A zone of no section has what [export] says: asked for under no zone's name. */
    if (open_root(config, "(any other)")) {
        cJSON_AddItemToArray(exports, cJSON_CreateString("every zone without a section"));
    }
    for (uint32_t i = 0; (zone = export_section(config->exports, i, &line)) != NULL;
         i++) {
        if (zone[0] != '\0' && strcmp(zone, EXPORT_ROOT) != 0 &&
            open_root(config, zone)) {
            cJSON_AddItemToArray(exports, cJSON_CreateString(zone));
        }
    }
}

/* Ports, if nobody of ours should have them. */

static int try_port(const struct config_address *address)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                               .sin6_port = htons(address->port)};
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(address->port)};
    bool is6 = strchr(address->host, ':') != NULL;
    int one = 1;
    int fd;
    int rv;

    if (inet_pton(is6 ? AF_INET6 : AF_INET, address->host,
                  is6 ? (void *)&in6.sin6_addr : (void *)&in4.sin_addr) != 1) {
        return 0; /* With a scope, say: not ours to judge. */
    }
    fd = socket(is6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return 0;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    rv = bind(fd, is6 ? (struct sockaddr *)&in6 : (struct sockaddr *)&in4,
              is6 ? sizeof in6 : sizeof in4);
    if (rv == 0) {
        rv = listen(fd, 1);
    }
    rv = rv == 0 ? 0 : errno;
    close(fd);
    return rv;
}

static void put_port(cJSON *ports, const char *what, const struct config_address *address)
{
    int fault = address->port == 0 ? 0 : try_port(address);
    cJSON *json;

    if (fault == 0) {
        return;
    }
    json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "what", what);
    cJSON_AddStringToObject(json, "host", address->host);
    json_put_number(json, "port", address->port);
    cJSON_AddBoolToObject(json, "taken", fault == EADDRINUSE);
    cJSON_AddStringToObject(json, "fault", strerror(fault));
    cJSON_AddItemToArray(ports, json);
}

/* Does a process hold the state folder? */
static bool is_held(const struct config *config)
{
    char path[PATH_BYTES];
    bool held = false;
    int fd;

    snprintf(path, sizeof path, "%s/lock", config->state);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        close(fd);
    }
    return held;
}

/* Datasets. */

static const char *judge_marker(const char *text, size_t len, const char *id)
{
    char mended[STORE_MARKER_MAX];
    char line[128];
    unsigned version = 0;

    if (store_marker_mend(text, len, mended)) {
        snprintf(line, sizeof line, "\nzone %s\n", id);
        return strstr(mended, line) == NULL ? "other-zone" : "rotten";
    }
    if (strncmp(text, MARKER_HEAD, strlen(MARKER_HEAD)) != 0) {
        return "damaged";
    }
    if (sscanf(text, MARKER_HEAD "%u\n", &version) != 1 || version != STORE_FORMAT) {
        return "other-version";
    }
    if (!store_marker_checks(text)) {
        return "damaged";
    }
    snprintf(line, sizeof line, "\nzone %s\n", id);
    return strstr(text, line) == NULL ? "other-zone" : "ok";
}

static const char *marker_state(const char *dir, const char *id, const char **fault)
{
    char path[PATH_BYTES + 16];
    const char *state = "ok";
    char *text = NULL;
    size_t len = 0;
    int rv;

    snprintf(path, sizeof path, "%s/marker", dir);
    rv = disk_read_file(disk_posix(), path, MARKER_MAX, &text, &len);
    if (rv == -ENOENT || rv == -ENOTDIR) {
        return "missing";
    }
    if (rv != 0) {
        *fault = strerror(-rv);
        return "unreadable";
    }
    state = judge_marker(text, len, id);
    free(text);
    return state;
}

static void put_dataset(cJSON *datasets, const struct config *config, const cJSON *zone)
{
    const struct config_pool *pool;
    char pool_name[CONFIG_NAME_MAX + 1];
    char slug[CONFIG_NAME_MAX + 1];
    char id[40];
    char dir[PATH_BYTES];
    char journal[PATH_BYTES];
    char ballast[PATH_BYTES + 16];
    const char *fault = NULL;
    uint64_t lost = 0;
    cJSON *json;

    if (!json_flag(zone, "created") ||
        !json_text(zone, "pool", pool_name, sizeof pool_name) ||
        !json_text(zone, "slug", slug, sizeof slug) ||
        !json_text(zone, "id", id, sizeof id) || config_check_name(slug) != 0) {
        return;
    }
    json = cJSON_CreateObject();
    cJSON_AddItemToArray(datasets, json);
    cJSON_AddStringToObject(json, "zone", slug);
    cJSON_AddStringToObject(json, "pool", pool_name);
    cJSON_AddBoolToObject(json, "lost", json_u64(zone, "lost", &lost) && lost != 0);
    pool = config_pool(config, pool_name);
    if (pool == NULL) {
        cJSON_AddStringToObject(json, "marker", "no-pool");
        return;
    }
    snprintf(dir, sizeof dir, "%s/%s", pool->path, slug);
    if (pool->journal[0] != '\0') {
        snprintf(journal, sizeof journal, "%s/%s", pool->journal, slug);
    } else {
        snprintf(journal, sizeof journal, "%s/%s/journal", pool->path, slug);
    }
    snprintf(ballast, sizeof ballast, "%s/ballast", dir);
    cJSON_AddStringToObject(json, "dir", dir);
    cJSON_AddStringToObject(json, "journal", journal);
    cJSON_AddStringToObject(json, "marker", marker_state(dir, id, &fault));
    if (fault != NULL) {
        cJSON_AddStringToObject(json, "fault", fault);
    }
    cJSON_AddBoolToObject(json, "journal_there", access(journal, F_OK) == 0);
    cJSON_AddBoolToObject(json, "ballast", access(ballast, F_OK) == 0);
}

static void put_datasets(cJSON *facts, const struct config *config)
{
    cJSON *datasets = cJSON_AddArrayToObject(facts, "datasets");
    char path[PATH_BYTES];
    struct state_file file;
    const cJSON *zone;
    cJSON *json;

    snprintf(path, sizeof path, "%s/zones.json", config->state);
    if (state_file_read(disk_posix(), path, ZONES_FILE_MAX, &file) != 0) {
        return;
    }
    json = json_parse(file.text, file.len);
    cJSON_ArrayForEach(zone, json)
    {
        put_dataset(datasets, config, zone);
    }
    cJSON_Delete(json);
    free(file.text);
}

/* Events of the last week, counted by kind. */

struct counting {
    cJSON *counts;
    cJSON *last; /* The object of the newest event. */
    int64_t from_ns;
};

static void count(struct counting *counting, const char *kind, const char *words,
                  int64_t time_ns)
{
    uint64_t n = 0;

    if (kind[0] == '\0') {
        return;
    }
    cJSON_DeleteItemFromObjectCaseSensitive(counting->last, "kind");
    cJSON_DeleteItemFromObjectCaseSensitive(counting->last, "words");
    cJSON_AddStringToObject(counting->last, "kind", kind);
    cJSON_AddStringToObject(counting->last, "words", words);
    if (time_ns >= counting->from_ns) {
        (void)json_u64(counting->counts, kind, &n);
        cJSON_DeleteItemFromObjectCaseSensitive(counting->counts, kind);
        json_put_number(counting->counts, kind, n + 1);
    }
}

static void count_event(void *ctx, const struct event *event)
{
    count(ctx, event->kind, event->words, event->time_ns);
}

static void count_file(struct counting *counting, const char *path)
{
    char *text = NULL;
    size_t len = 0;

    if (disk_read_file(disk_posix(), path, 2 * EVENT_FILE_BYTES_MAX, &text, &len) == 0) {
        (void)event_parse(text, len, count_event, counting);
    }
    free(text);
}

static void count_answer(struct counting *counting, const cJSON *events)
{
    const cJSON *event;

    cJSON_ArrayForEach(event, events)
    {
        char kind[EVENT_KIND_MAX] = "";
        char words[EVENT_WORDS_MAX] = "";
        uint64_t time_ns = 0;

        (void)json_text(event, "kind", kind, sizeof kind);
        (void)json_text(event, "words", words, sizeof words);
        (void)json_u64(event, "time_ns", &time_ns);
        count(counting, kind, words, (int64_t)time_ns);
    }
}

static void put_events(cJSON *facts, const struct config *config, const cJSON *events)
{
    struct counting counting = {.from_ns = (int64_t)time(NULL) * 1000000000 - WEEK_NS};
    char path[PATH_BYTES];

    counting.counts = cJSON_AddObjectToObject(facts, "events");
    counting.last = cJSON_AddObjectToObject(facts, "last_event");
    if (events != NULL) {
        count_answer(&counting, events);
    } else if (config != NULL) {
        snprintf(path, sizeof path, "%s/events.old", config->state);
        count_file(&counting, path);
        snprintf(path, sizeof path, "%s/events", config->state);
        count_file(&counting, path);
    }
}

/* Mounts of this node's own zones: they come from the address it serves on. */
static void put_mounts(cJSON *facts, const struct config *config)
{
    cJSON *mounts = cJSON_AddArrayToObject(facts, "own_mounts");
    FILE *file = setmntent("/proc/self/mounts", "r");
    const struct mntent *entry;
    char port[32];

    snprintf(port, sizeof port, "port=%u", config->nfs.port);
    while (file != NULL && (entry = getmntent(file)) != NULL) {
        if (strcmp(entry->mnt_type, "nfs") == 0 && strstr(entry->mnt_opts, port) &&
            (strstr(entry->mnt_opts, "addr=127.") != NULL ||
             strstr(entry->mnt_opts, config->nfs.host) != NULL)) {
            cJSON_AddItemToArray(mounts, cJSON_CreateString(entry->mnt_dir));
        }
    }
    if (file != NULL) {
        endmntent(file);
    }
}

static void put_config(cJSON *facts, const struct config *config, const cJSON *answer)
{
    cJSON_AddStringToObject(facts, "node", config->name);
    put_folders(facts, config);
    put_exports(facts, config);
    put_datasets(facts, config);
    put_mounts(facts, config);
    if (answer == NULL) {
        cJSON *ports;

        cJSON_AddBoolToObject(facts, "held", is_held(config));
        ports = cJSON_AddArrayToObject(facts, "ports");
        if (!json_flag(facts, "held")) {
            put_port(ports, "NFS", &config->nfs);
            put_port(ports, "other nodes", &config->peer);
        }
    }
}

cJSON *doctor_facts(const struct doctor_input *input)
{
    static struct config config; /* Large. */
    char error[CONFIG_ERROR_MAX] = "";
    cJSON *facts = cJSON_CreateObject();
    int rv = config_load(input->config, &config, error);

    cJSON_AddStringToObject(facts, "config", input->config);
    cJSON_AddStringToObject(facts, "config_error", rv == 0 ? "" : error);
    cJSON_AddBoolToObject(facts, "answers", input->answer != NULL);
    if (input->answer != NULL) {
        cJSON_AddItemToObject(facts, "daemon", cJSON_Duplicate(input->answer, true));
    } else {
        cJSON_AddStringToObject(facts, "no_answer", input->no_answer);
        cJSON_AddBoolToObject(facts, "denied", input->denied);
    }
    if (rv == 0) {
        put_config(facts, &config, input->answer);
    }
    put_events(facts, rv == 0 ? &config : NULL, input->events);
    if (rv == 0) {
        config_deinit(&config);
    }
    return facts;
}
