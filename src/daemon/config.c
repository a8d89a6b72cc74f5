#include "daemon/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS_MAX 32

struct loader {
    struct config *config;
    FILE *file;
    uint32_t line; /* The last one read. */
    uint32_t section_line;
    char section[CONFIG_NAME_MAX + 10]; /* inih keeps 49 bytes of a section's name. */
    char reason[CONFIG_ERROR_MAX - CONFIG_TEXT_MAX];
    bool seen[KEYS_MAX];
};
_Static_assert(CONFIG_ERROR_MAX - CONFIG_TEXT_MAX >= EXPORT_REASON_MAX, "reason fits");

int config_check_name(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > CONFIG_NAME_MAX || !isalnum((unsigned char)name[0])) {
        return -EINVAL;
    }
    for (size_t i = 0; i < len; i++) {
        if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) &&
            strchr("-._", name[i]) == NULL) {
            return -EINVAL;
        }
    }
    return 0;
}

/* The factor of a unit such as "GB", "GiB" or "G" (binary); 0 if there is none such. */
static uint64_t unit_factor(const char *unit)
{
    static const char letters[] = "KMGTPE";
    const char *letter;
    uint64_t factor = 1;
    uint64_t base;

    if (unit[0] == '\0' || strcasecmp(unit, "B") == 0) {
        return 1;
    }
    letter = strchr(letters, toupper((unsigned char)unit[0]));
    if (letter == NULL) {
        return 0;
    }
    if (strcasecmp(unit + 1, "B") == 0) {
        base = 1000;
    } else if (unit[1] == '\0' || strcasecmp(unit + 1, "iB") == 0) {
        base = 1024;
    } else {
        return 0;
    }
    for (const char *l = letters; l <= letter; l++) {
        factor *= base;
    }
    return factor;
}

int config_parse_bytes(const char *text, uint64_t *out)
{
    unsigned long long value;
    uint64_t factor;
    char *end;

    if (!isdigit((unsigned char)text[0])) {
        return -EINVAL;
    }
    errno = 0;
    value = strtoull(text, &end, 10);
    while (*end == ' ') {
        end++;
    }
    factor = unit_factor(end);
    if (errno != 0 || factor == 0 || (value != 0 && factor > (1ull << 62) / value)) {
        return -EINVAL;
    }
    *out = value * factor;
    return 0;
}

int config_parse_address(const char *text, struct config_address *out)
{
    struct config_address address = {0};
    const char *colon = strrchr(text, ':');
    unsigned char raw[16];
    unsigned long port;
    size_t len;
    char *end;

    if (colon == NULL || !isdigit((unsigned char)colon[1])) {
        return -EINVAL;
    }
    port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || port > 65535) {
        return -EINVAL;
    }
    len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof address.host) {
        return -EINVAL;
    }
    memcpy(address.host, text, len);
    if (inet_pton(AF_INET, address.host, raw) != 1 &&
        inet_pton(AF_INET6, address.host, raw) != 1) {
        return -EINVAL;
    }
    address.port = (uint16_t)port;
    *out = address;
    return 0;
}

int config_check_host(const char *host)
{
    struct in6_addr in6;
    struct in_addr in4;

    if (inet_pton(AF_INET6, host, &in6) == 1) {
        if (!IN6_IS_ADDR_V4MAPPED(&in6)) {
            return IN6_IS_ADDR_UNSPECIFIED(&in6) || IN6_IS_ADDR_MULTICAST(&in6) ? -EINVAL
                                                                                : 0;
        }
        memcpy(&in4, in6.s6_addr + 12, sizeof in4);
    } else if (inet_pton(AF_INET, host, &in4) != 1) {
        return -EINVAL;
    }
    /* 0.0.0.0/8 is this machine, 224.0.0.0 and above are groups and broadcast. */
    return ntohl(in4.s_addr) >> 24 == 0 || ntohl(in4.s_addr) >> 24 >= 224 ? -EINVAL : 0;
}

static int parse_text(const char *value, char *out, size_t cap)
{
    if (value[0] == '\0' || strlen(value) >= cap) {
        return -EINVAL;
    }
    strcpy(out, value);
    return 0;
}

static int parse_u32(const char *value, uint32_t low, uint32_t high, uint32_t *out)
{
    unsigned long long number;
    char *end;

    if (!isdigit((unsigned char)value[0])) {
        return -EINVAL;
    }
    number = strtoull(value, &end, 10);
    if (*end != '\0' || number < low || number > high) {
        return -EINVAL;
    }
    *out = (uint32_t)number;
    return 0;
}

/* The position of @value in the NULL-ended @words. */
static int parse_word(const char *value, const char *const *words, uint32_t *out)
{
    for (uint32_t i = 0; words[i] != NULL; i++) {
        if (strcmp(value, words[i]) == 0) {
            *out = i;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_name(struct config *c, const char *v)
{
    return config_check_name(v) != 0 ? -EINVAL : parse_text(v, c->name, sizeof c->name);
}
static int set_state(struct config *c, const char *v)
{
    return v[0] != '/' ? -EINVAL : parse_text(v, c->state, sizeof c->state);
}
static int set_socket(struct config *c, const char *v)
{
    return v[0] != '/' ? -EINVAL : parse_text(v, c->socket, sizeof c->socket);
}
static int set_nfs(struct config *c, const char *v)
{
    return config_parse_address(v, &c->nfs);
}
static int set_peer(struct config *c, const char *v)
{
    return config_parse_address(v, &c->peer);
}
static int set_advertise(struct config *c, const char *v)
{
    if (config_parse_address(v, &c->advertise) != 0 || c->advertise.port == 0) {
        return -EINVAL;
    }
    return config_check_host(c->advertise.host);
}
static int set_journal(struct config *c, const char *v)
{
    uint64_t bytes = 0;
    int rv = config_parse_bytes(v, &bytes);

    if (rv != 0 || bytes < (64u << 20)) {
        return -EINVAL;
    }
    c->journal_bytes = bytes;
    return 0;
}
static int set_election(struct config *c, const char *v)
{
    return parse_u32(v, CONFIG_ELECTION_MS_MIN, CONFIG_ELECTION_MS_MAX, &c->election_ms);
}
static int set_heartbeat(struct config *c, const char *v)
{
    return parse_u32(v, 10, 10000, &c->heartbeat_ms);
}
static int set_scrub_rate(struct config *c, const char *v)
{
    uint64_t bytes = 0;
    int rv = config_parse_bytes(v, &bytes);

    if (rv != 0 || bytes < (1u << 20) || bytes > (1ull << 40)) {
        return -EINVAL;
    }
    c->scrub_rate = bytes;
    return 0;
}
static int set_scrub_every(struct config *c, const char *v)
{
    return parse_u32(v, 0, 3650, &c->scrub_every_days);
}
static int set_leases(struct config *c, const char *v)
{
    static const char *const words[] = {"no", "yes", NULL};

    return parse_word(v, words, &c->leases);
}
static int set_rpcbind(struct config *c, const char *v)
{
    static const char *const words[] = {"no", "auto", NULL};
    uint32_t word = 0;
    int rv = parse_word(v, words, &word);

    if (rv == 0) {
        c->rpcbind = word == 1;
    }
    return rv;
}
static int set_sleep(struct config *c, const char *v)
{
    static const char *const words[] = {"ignore", "hand-over", NULL};
    uint32_t word = 0;
    int rv = parse_word(v, words, &word);

    if (rv == 0) {
        c->sleep = word == 1;
    }
    return rv;
}
static int set_level(struct config *c, const char *v)
{
    static const char *const words[] = {"error", "warn", "info", "debug", NULL};
    uint32_t level = 0;
    int rv = parse_word(v, words, &level);

    if (rv == 0) {
        c->log_level = (enum log_level)level;
    }
    return rv;
}

static int set_lock(struct config *c, const char *v)
{
    static const char *const words[] = {"no", "yes", NULL};
    uint32_t word = 0;
    int rv = parse_word(v, words, &word);

    if (rv == 0) {
        c->memory.lock = word == 1;
    }
    return rv;
}
static int set_reserve(struct config *c, const char *v)
{
    uint64_t bytes = 0;
    int rv = config_parse_bytes(v, &bytes);

    if (rv != 0 || bytes > MEMORY_RESERVE_MAX) {
        return -EINVAL;
    }
    c->memory.reserve_bytes = bytes;
    return 0;
}

static const struct key {
    const char *section;
    const char *name;
    int (*set)(struct config *config, const char *value);
    const char *wanted;
} keys[] = {
    {"node", "name", set_name, "a name of a-z, 0-9, '-', '.', '_'"},
    {"node", "state", set_state, "an absolute path"},
    {"node", "socket", set_socket, "an absolute path"},
    {"node", "log", set_level, "error, warn, info or debug"},
    {"node", "lock_memory", set_lock, "yes or no"},
    {"node", "sleep", set_sleep, "hand-over or ignore"},
    {"node", "reserve_bytes", set_reserve, "a size of at most 1 GiB"},
    {"listen", "nfs", set_nfs, "an address such as 127.0.0.1:2049"},
    {"listen", "peer", set_peer, "an address such as 192.0.2.7:2646"},
    {"listen", "rpcbind", set_rpcbind, "auto or no"},
    {"listen", "advertise", set_advertise, "one machine's address, as 192.0.2.7:2646"},
    {"zones", "journal_bytes", set_journal, "a size of at least 64 MiB"},
    {"zones", "election_ms", set_election, "a number from 50 to 60000"},
    {"zones", "heartbeat_ms", set_heartbeat, "a number from 10 to 10000"},
    {"zones", "leases", set_leases, "yes or no"},
    {"zones", "scrub_rate", set_scrub_rate, "a size of at least 1 MiB, for each second"},
    {"zones", "scrub_every", set_scrub_every, "a number of days, 0 to 3650; 0: never"},
};
#define N_KEYS (sizeof keys / sizeof keys[0])
_Static_assert(N_KEYS <= KEYS_MAX, "seen[] holds every key");

const struct config_pool *config_pool(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_pools; i++) {
        if (strcmp(config->pools[i].name, name) == 0) {
            return &config->pools[i];
        }
    }
    return NULL;
}

/* 1 if the pair was taken, 0 with a reason if not (inih's convention). */
static int on_pool(struct loader *loader, const char *pool, const char *name,
                   const char *value)
{
    struct config *config = loader->config;
    struct config_pool *entry = NULL;
    char *field;

    if (config_check_name(pool) != 0) {
        snprintf(loader->reason, sizeof loader->reason, "'%s' is no pool name", pool);
        return 0;
    }
    for (uint32_t i = 0; i < config->n_pools; i++) {
        if (strcmp(config->pools[i].name, pool) == 0) {
            entry = &config->pools[i];
        }
    }
    if (entry == NULL) {
        if (config->n_pools == CONFIG_POOLS_MAX) {
            snprintf(loader->reason, sizeof loader->reason, "more than %u pools",
                     CONFIG_POOLS_MAX);
            return 0;
        }
        entry = &config->pools[config->n_pools++];
        strcpy(entry->name, pool);
    }
    field = strcmp(name, "path") == 0      ? entry->path
            : strcmp(name, "journal") == 0 ? entry->journal
                                           : NULL;
    if (field == NULL) {
        snprintf(loader->reason, sizeof loader->reason,
                 "unknown key '%s' in [pool %s]; known are path and journal", name, pool);
        return 0;
    }
    if (field[0] != '\0' || value[0] != '/' ||
        parse_text(value, field, CONFIG_TEXT_MAX) != 0) {
        snprintf(loader->reason, sizeof loader->reason,
                 "'%s' of [pool %s] must be one absolute path", name, pool);
        return 0;
    }
    return 1;
}

/* The same for [export], with an empty @zone, and [export ZONE]. */
static int on_export(struct loader *loader, const char *zone, const char *name,
                     const char *value)
{
    struct export_pair pair = {
        .zone = zone, .key = name, .value = value, .line = loader->section_line};

    if (zone[0] != '\0' && strcmp(zone, EXPORT_ROOT) != 0 &&
        config_check_name(zone) != 0) {
        snprintf(loader->reason, sizeof loader->reason,
                 "[export %.60s]: give a zone's name, or / for the root folder", zone);
        return 0;
    }
    return export_table_set(loader->config->exports, &pair, loader->reason) == 0;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static int on_pair(void *user, const char *cut, const char *name, const char *value)
{
    struct loader *loader = user;
    const char *section = loader->section;

    (void)cut;
    if (loader->reason[0] != '\0') {
        return 1; /* The first error is the one to tell. */
    }
    if (begins(section, "pool ")) {
        return on_pool(loader, section + 5, name, value);
    }
    if (strcmp(section, "export") == 0) {
        return on_export(loader, "", name, value);
    }
    if (begins(section, "export ")) {
        return on_export(loader, section + 7, name, value);
    }
    for (size_t i = 0; i < N_KEYS; i++) {
        if (strcmp(section, keys[i].section) != 0 || strcmp(name, keys[i].name) != 0) {
            continue;
        }
        if (loader->seen[i]) {
            snprintf(loader->reason, sizeof loader->reason, "'%s' is given twice", name);
            return 0;
        }
        loader->seen[i] = true;
        if (keys[i].set(loader->config, value) != 0) {
            snprintf(loader->reason, sizeof loader->reason,
                     "'%s = %.60s' is wrong: give %s", name, value, keys[i].wanted);
            return 0;
        }
        return 1;
    }
    snprintf(loader->reason, sizeof loader->reason,
             "unknown key '%.60s' in section [%s]; see grapevine.conf(5)", name, section);
    return 0;
}

static bool known_section(const char *section)
{
    if ((begins(section, "pool ") && section[5] != '\0') ||
        (begins(section, "export ") && section[7] != '\0') ||
        strcmp(section, "export") == 0) {
        return true;
    }
    for (size_t i = 0; i < N_KEYS; i++) {
        if (strcmp(section, keys[i].section) == 0) {
            return true;
        }
    }
    return false;
}

/* Keeps the name of the section that @line begins, if it does. */
static void look_for_section(struct loader *loader, const char *line)
{
    const char *open;
    const char *end;
    size_t len;

    if (loader->line == 1 && begins(line, "\xEF\xBB\xBF")) {
        line += 3; /* A byte order mark, which inih skips too. */
    }
    open = line + strspn(line, " \t");
    end = strchr(open, ']');
    if (*open != '[' || end == NULL) {
        return; /* inih knows what is wrong, if there is something. */
    }
    len = (size_t)(end - open - 1);
    if (open > line) {
        snprintf(loader->reason, sizeof loader->reason,
                 "a section starts its line, without a space before it");
    } else if (len >= sizeof loader->section) {
        snprintf(loader->reason, sizeof loader->reason, "unknown section [%.*s]", 70,
                 open + 1);
    } else {
        memcpy(loader->section, open + 1, len);
        loader->section[len] = '\0';
        loader->section_line = loader->line;
        if (!known_section(loader->section)) {
            snprintf(loader->reason, sizeof loader->reason,
                     "unknown section [%s]; see grapevine.conf(5)", loader->section);
        }
    }
}

/* A line for inih, which would take the rest of one that is too long for the next one,
 * or even for more of a list. */
static char *read_line(char *line, int cap, void *user)
{
    struct loader *loader = user;
    size_t len;

    if (loader->reason[0] != '\0' || fgets(line, cap, loader->file) == NULL) {
        return NULL;
    }
    loader->line++;
    len = strlen(line);
    if (len > 0 && line[len - 1] != '\n' && len + 1 >= (size_t)cap) {
        snprintf(loader->reason, sizeof loader->reason,
                 "the line has more than %d bytes (a list of clients can go on in lines "
                 "that begin with a space)",
                 cap - 2);
        return NULL;
    }
    look_for_section(loader, line);
    return loader->reason[0] != '\0' ? NULL : line;
}

static void set_defaults(struct config *config)
{
    *config = (struct config){
        .state = "/var/lib/grapevine",
        .socket = "/run/grapevine/gvraft.sock",
        .nfs = {"127.0.0.1", 2049},
        .peer = {"127.0.0.1", 2646},
        .journal_bytes = 256u << 20,
        .election_ms = 500,
        .heartbeat_ms = 60,
        .leases = 1,
        .scrub_rate = 32u << 20,
        .scrub_every_days = 30,
        .rpcbind = true,
        .sleep = true,
        .log_level = LOG_LEVEL_INFO,
        .memory = {.lock = true, .reserve_bytes = 16u << 20},
    };
    if (gethostname(config->name, sizeof config->name - 1) != 0 ||
        config_check_name(config->name) != 0) {
        config->name[0] = '\0';
    }
}

/* What a node listens on may be every address; others need one. */
static int check_advertise(struct config *config, const char *path, char *error)
{
    if (config->advertise.host[0] != '\0') {
        return 0;
    }
    if (config_check_host(config->peer.host) != 0) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "%s: no other node can connect to [listen] peer = %s: add advertise = "
                 "ADDRESS:PORT, where they reach this one",
                 path, config->peer.host);
        return -EINVAL;
    }
    config->advertise = config->peer;
    return 0;
}

static int check_whole(struct config *config, const char *path, char *error)
{
    if (config->name[0] == '\0') {
        snprintf(error, CONFIG_ERROR_MAX,
                 "%s: this machine's host name is no node name; give [node] name", path);
        return -EINVAL;
    }
    if (config->heartbeat_ms * 3 > config->election_ms) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "%s: election_ms must be at least three times heartbeat_ms", path);
        return -EINVAL;
    }
    for (uint32_t i = 0; i < config->n_pools; i++) {
        if (config->pools[i].path[0] == '\0') {
            snprintf(error, CONFIG_ERROR_MAX, "%s: [pool %s] has no path", path,
                     config->pools[i].name);
            return -EINVAL;
        }
    }
    return check_advertise(config, path, error);
}

int config_load(const char *path, struct config *config, char error[CONFIG_ERROR_MAX])
{
    struct loader loader = {.config = config};
    int line;
    int rv;

    set_defaults(config);
    snprintf(config->path, sizeof config->path, "%s", path);
    config->exports = export_table_new();
    if (config->exports == NULL) {
        snprintf(error, CONFIG_ERROR_MAX, "%s: out of memory", path);
        return -ENOMEM;
    }
    loader.file = fopen(path, "re");
    if (loader.file == NULL) {
        rv = -errno;
        snprintf(error, CONFIG_ERROR_MAX, "%s: %s", path, strerror(-rv));
        goto out;
    }
    line = ini_parse_stream(read_line, &loader, on_pair, &loader);
    fclose(loader.file);
    if (line == 0 && loader.reason[0] != '\0') {
        line = (int)loader.line; /* What inih never saw. */
    }
    if (line != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "%s:%d: %s", path, line,
                 loader.reason[0] != '\0' ? loader.reason : "this line does not parse");
        rv = -EINVAL;
        goto out;
    }
    rv = check_whole(config, path, error);
out:
    if (rv != 0) {
        config_deinit(config);
    }
    return rv;
}

void config_deinit(struct config *config)
{
    export_table_free(config->exports);
    config->exports = NULL;
}
