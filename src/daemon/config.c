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
    char *error; /* CONFIG_ERROR_MAX bytes. */
    char reason[CONFIG_ERROR_MAX - CONFIG_TEXT_MAX];
    bool seen[KEYS_MAX];
};

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
    return parse_u32(v, 50, 60000, &c->election_ms);
}
static int set_heartbeat(struct config *c, const char *v)
{
    return parse_u32(v, 10, 10000, &c->heartbeat_ms);
}
static int set_squash(struct config *c, const char *v)
{
    static const char *const words[] = {"none", "root", "all", NULL};

    return parse_word(v, words, &c->squash);
}
static int set_anon_uid(struct config *c, const char *v)
{
    return parse_u32(v, 0, UINT32_MAX - 1, &c->anon_uid);
}
static int set_anon_gid(struct config *c, const char *v)
{
    return parse_u32(v, 0, UINT32_MAX - 1, &c->anon_gid);
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
    {"listen", "nfs", set_nfs, "an address such as 127.0.0.1:2049"},
    {"listen", "peer", set_peer, "an address such as 192.0.2.7:2646"},
    {"zones", "journal_bytes", set_journal, "a size of at least 64 MiB"},
    {"zones", "election_ms", set_election, "a number from 50 to 60000"},
    {"zones", "heartbeat_ms", set_heartbeat, "a number from 10 to 10000"},
    {"export", "squash", set_squash, "none, root or all"},
    {"export", "anonuid", set_anon_uid, "a user number"},
    {"export", "anongid", set_anon_gid, "a group number"},
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

static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    struct loader *loader = user;

    if (loader->reason[0] != '\0') {
        return 1; /* The first error is the one to tell. */
    }
    if (strncmp(section, "pool ", 5) == 0) {
        return on_pool(loader, section + 5, name, value);
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
             "unknown key '%.60s' in section [%.60s]; see grapevine.conf(5)", name,
             section);
    return 0;
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
        .squash = 1,
        .anon_uid = 65534,
        .anon_gid = 65534,
        .log_level = LOG_LEVEL_INFO,
    };
    if (gethostname(config->name, sizeof config->name - 1) != 0 ||
        config_check_name(config->name) != 0) {
        config->name[0] = '\0';
    }
}

static int check_whole(const struct config *config, const char *path, char *error)
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
    return 0;
}

int config_load(const char *path, struct config *config, char error[CONFIG_ERROR_MAX])
{
    struct loader loader = {.config = config, .error = error};
    FILE *file;
    int line;

    set_defaults(config);
    file = fopen(path, "re");
    if (file == NULL) {
        snprintf(error, CONFIG_ERROR_MAX, "%s: %s", path, strerror(errno));
        return -errno;
    }
    line = ini_parse_file(file, on_pair, &loader);
    fclose(file);
    if (line != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "%s:%d: %s", path, line,
                 loader.reason[0] != '\0' ? loader.reason : "this line does not parse");
        return -EINVAL;
    }
    return check_whole(config, path, error);
}
