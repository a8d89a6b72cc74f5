#include "nfs/export.h"

#include "base/assert.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ANONYMOUS_DEFAULT = 65534,
};

enum option {
    OPTION_ACCESS = 1,
    OPTION_ROOT = 2, /* root_squash or not. */
    OPTION_ALL = 4,
    OPTION_UID = 8,
    OPTION_GID = 16,
};

/* What was said, and only that: bits of enum option in @set. */
struct options {
    unsigned set;
    bool read_only;
    bool squash_root;
    bool squash_all;
    uint32_t anon_uid;
    uint32_t anon_gid;
};

struct client {
    struct export_net net;
    struct options options;
};

struct section {
    char zone[NFS_SLUG_MAX + 1];
    uint32_t line;
    struct options options;
    bool has_clients; /* Else the list of [export] holds. */
    bool nobody;      /* The list is the word "none". */
    uint32_t n_clients;
    struct client *clients;
};

struct export_table {
    uint32_t n_sections;
    struct section *sections[EXPORT_SECTIONS_MAX]; /* In rising order of zones. */
};

struct export_table *export_table_new(void)
{
    return calloc(1, sizeof(struct export_table));
}

void export_table_free(struct export_table *table)
{
    if (table == NULL) {
        return;
    }
    for (uint32_t i = 0; i < table->n_sections; i++) {
        free(table->sections[i]->clients);
        free(table->sections[i]);
    }
    free(table);
}

/* The place of @zone's section, or where it belongs. */
static uint32_t place_of(const struct export_table *table, const char *zone, bool *found)
{
    uint32_t low = 0;
    uint32_t high = table->n_sections;

    *found = false;
    while (low < high && !*found) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(table->sections[middle]->zone, zone);

        if (order == 0) {
            *found = true;
            low = middle;
        } else if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct section *find(const struct export_table *table, const char *zone)
{
    bool found;
    uint32_t place = place_of(table, zone, &found);

    return found ? table->sections[place] : NULL;
}

/* The section of @pair, made if it is not there. NULL with @reason: it cannot be. */
static struct section *take_section(struct export_table *table,
                                    const struct export_pair *pair, char *reason)
{
    struct section *section;
    uint32_t place;
    bool found;

    place = place_of(table, pair->zone, &found);
    if (found) {
        return table->sections[place];
    }
    if (table->n_sections == EXPORT_SECTIONS_MAX) {
        snprintf(reason, EXPORT_REASON_MAX, "more than %u [export] sections",
                 EXPORT_SECTIONS_MAX);
        return NULL;
    }
    section = calloc(1, sizeof *section);
    if (section == NULL || strlen(pair->zone) >= sizeof section->zone) {
        free(section);
        snprintf(reason, EXPORT_REASON_MAX, "no room for [export %.60s]", pair->zone);
        return NULL;
    }
    strcpy(section->zone, pair->zone);
    section->line = pair->line;
    memmove(&table->sections[place + 1], &table->sections[place],
            (table->n_sections - place) * sizeof table->sections[0]);
    table->sections[place] = section;
    table->n_sections++;
    return section;
}

/* Say something once. False: it was said. */
static bool say(struct options *options, unsigned what)
{
    bool fresh = (options->set & what) == 0;

    options->set |= what;
    return fresh;
}

static bool parse_number(const char *text, uint32_t *out)
{
    unsigned long long number;
    char *end;

    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    number = strtoull(text, &end, 10);
    if (*end != '\0' || number >= UINT32_MAX) {
        return false; /* The largest means "no change" to chown(2). */
    }
    *out = (uint32_t)number;
    return true;
}

/* One word between a client's parentheses, as in exports(5). 0, -EINVAL: no such option
 * or no such number, -EEXIST: it, or its opposite, was said. */
static int set_option(struct options *options, const char *word)
{
    static const struct {
        const char *word;
        unsigned what;
        bool value;
    } flags[] = {
        {"ro", OPTION_ACCESS, true},        {"rw", OPTION_ACCESS, false},
        {"root_squash", OPTION_ROOT, true}, {"no_root_squash", OPTION_ROOT, false},
        {"all_squash", OPTION_ALL, true},   {"no_all_squash", OPTION_ALL, false},
    };

    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(word, flags[i].word) != 0) {
            continue;
        }
        switch (flags[i].what) {
        case OPTION_ACCESS:
            options->read_only = flags[i].value;
            break;
        case OPTION_ROOT:
            options->squash_root = flags[i].value;
            break;
        default:
            options->squash_all = flags[i].value;
            break;
        }
        return say(options, flags[i].what) ? 0 : -EEXIST;
    }
    if (strncmp(word, "anonuid=", 8) == 0 && parse_number(word + 8, &options->anon_uid)) {
        return say(options, OPTION_UID) ? 0 : -EEXIST;
    }
    if (strncmp(word, "anongid=", 8) == 0 && parse_number(word + 8, &options->anon_gid)) {
        return say(options, OPTION_GID) ? 0 : -EEXIST;
    }
    return -EINVAL;
}

/* "ro,all_squash" into @options. */
static int parse_options(char *text, struct options *options, char *reason)
{
    char *next = text;

    while (next != NULL) {
        char *word = strsep(&next, ",");
        int rv = set_option(options, word);

        if (rv == -EEXIST) {
            snprintf(reason, EXPORT_REASON_MAX,
                     "'%.40s' is said twice, or after its opposite", word);
            return rv;
        }
        if (rv != 0) {
            snprintf(reason, EXPORT_REASON_MAX,
                     "'%.40s' is no option: known are ro, rw, root_squash, "
                     "no_root_squash, all_squash, no_all_squash, anonuid=NUMBER and "
                     "anongid=NUMBER",
                     word);
            return rv;
        }
    }
    return 0;
}

static int add_client(struct section *section, const struct client *client, char *reason)
{
    char text[EXPORT_NET_TEXT_MAX];
    struct client *grown;

    for (uint32_t i = 0; i < section->n_clients; i++) {
        if (export_net_equal(&section->clients[i].net, &client->net)) {
            export_net_text(&client->net, text);
            snprintf(reason, EXPORT_REASON_MAX, "client %s is listed twice", text);
            return -EINVAL;
        }
    }
    if (section->n_clients == EXPORT_CLIENTS_MAX) {
        snprintf(reason, EXPORT_REASON_MAX, "more than %u clients in one section",
                 EXPORT_CLIENTS_MAX);
        return -EINVAL;
    }
    grown = realloc(section->clients, (section->n_clients + 1) * sizeof *grown);
    if (grown == NULL) {
        snprintf(reason, EXPORT_REASON_MAX, "out of memory");
        return -EINVAL;
    }
    section->clients = grown;
    section->clients[section->n_clients++] = *client;
    return 0;
}

/* "192.0.2.0/24(ro,all_squash)": one word of a list. Changes @word. */
static int take_client(struct section *section, char *word, char *reason)
{
    struct client client = {0};
    char *open = strchr(word, '(');
    size_t len = strlen(word);

    if (open == word) {
        /* In exports(5) this would give the options to the whole world. */
        snprintf(reason, EXPORT_REASON_MAX,
                 "'%.60s' stands alone: options follow their client without a space, "
                 "and have none inside",
                 word);
        return -EINVAL;
    }
    if ((open == NULL) != (strchr(word, ')') == NULL) ||
        (open != NULL && strchr(word, ')') != word + len - 1)) {
        snprintf(reason, EXPORT_REASON_MAX,
                 "'%.60s' has no pair of parentheses: write CLIENT(option,option), "
                 "without spaces",
                 word);
        return -EINVAL;
    }
    if (open != NULL) {
        word[len - 1] = '\0';
        *open = '\0';
        if (parse_options(open + 1, &client.options, reason) != 0) {
            return -EINVAL;
        }
    }
    if (export_net_parse(word, &client.net, reason) != 0) {
        return -EINVAL;
    }
    return add_client(section, &client, reason);
}

static int set_clients(struct section *section, const char *value, char *reason)
{
    char *copy = strdup(value);
    char *next = copy;
    uint32_t n = 0;
    int rv = 0;

    if (copy == NULL) {
        snprintf(reason, EXPORT_REASON_MAX, "out of memory");
        return -EINVAL;
    }
    section->has_clients = true;
    while (rv == 0 && next != NULL) {
        char *word = strsep(&next, " \t");

        if (word[0] == '\0') {
            continue;
        }
        n++;
        if (strcmp(word, "none") == 0) {
            section->nobody = true;
        } else {
            rv = take_client(section, word, reason);
        }
    }
    if (rv == 0 && n == 0) {
        snprintf(reason, EXPORT_REASON_MAX,
                 "'clients' is empty: * is everyone, none is nobody");
        rv = -EINVAL;
    }
    if (rv == 0 && section->nobody && section->n_clients > 0) {
        snprintf(reason, EXPORT_REASON_MAX, "'none' stands beside other clients");
        rv = -EINVAL;
    }
    free(copy);
    return rv;
}

static int set_squash(struct options *options, const char *value)
{
    static const struct {
        const char *word;
        bool root;
        bool all;
    } words[] = {
        {"root", true, false},  {"root_squash", true, false},
        {"all", true, true},    {"all_squash", true, true},
        {"none", false, false}, {"no_root_squash", false, false},
    };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(value, words[i].word) == 0) {
            options->squash_root = words[i].root;
            options->squash_all = words[i].all;
            return 0;
        }
    }
    return -EINVAL;
}

static int set_access(struct options *options, const char *value)
{
    options->read_only = strcmp(value, "ro") == 0;
    return options->read_only || strcmp(value, "rw") == 0 ? 0 : -EINVAL;
}

static int set_anon_uid(struct options *options, const char *value)
{
    return parse_number(value, &options->anon_uid) ? 0 : -EINVAL;
}

static int set_anon_gid(struct options *options, const char *value)
{
    return parse_number(value, &options->anon_gid) ? 0 : -EINVAL;
}

static int set_key(struct options *options, const struct export_pair *pair, char *reason)
{
    static const struct {
        const char *key;
        unsigned what;
        int (*set)(struct options *options, const char *value);
        const char *wanted;
    } keys[] = {
        {"access", OPTION_ACCESS, set_access, "rw or ro"},
        {"squash", OPTION_ROOT | OPTION_ALL, set_squash, "root, all or none"},
        {"anonuid", OPTION_UID, set_anon_uid, "a user number"},
        {"anongid", OPTION_GID, set_anon_gid, "a group number"},
    };

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(pair->key, keys[i].key) != 0) {
            continue;
        }
        if (!say(options, keys[i].what)) {
            snprintf(reason, EXPORT_REASON_MAX, "'%s' is given twice", pair->key);
            return -EINVAL;
        }
        if (keys[i].set(options, pair->value) != 0) {
            snprintf(reason, EXPORT_REASON_MAX, "'%s = %.60s' is wrong: give %s",
                     pair->key, pair->value, keys[i].wanted);
            return -EINVAL;
        }
        return 0;
    }
    snprintf(reason, EXPORT_REASON_MAX,
             "unknown key '%.60s' in [export%s%s]; known are clients, access, squash, "
             "anonuid and anongid",
             pair->key, pair->zone[0] == '\0' ? "" : " ", pair->zone);
    return -EINVAL;
}

int export_table_set(struct export_table *table, const struct export_pair *pair,
                     char reason[EXPORT_REASON_MAX])
{
    struct section *section = take_section(table, pair, reason);

    if (section == NULL) {
        return -EINVAL;
    }
    if (strcmp(pair->key, "clients") == 0) {
        return set_clients(section, pair->value, reason);
    }
    if (strcmp(pair->zone, EXPORT_ROOT) == 0) {
        snprintf(reason, EXPORT_REASON_MAX,
                 "'%.60s' in [export /]: the root folder has no files of its own, so "
                 "that section knows clients only",
                 pair->key);
        return -EINVAL;
    }
    return set_key(&section->options, pair, reason);
}

/* What @more says replaces what @options says. */
static void lay_over(struct options *options, const struct options *more)
{
    if ((more->set & OPTION_ACCESS) != 0) {
        options->read_only = more->read_only;
    }
    if ((more->set & OPTION_ROOT) != 0) {
        options->squash_root = more->squash_root;
    }
    if ((more->set & OPTION_ALL) != 0) {
        options->squash_all = more->squash_all;
    }
    if ((more->set & OPTION_UID) != 0) {
        options->anon_uid = more->anon_uid;
    }
    if ((more->set & OPTION_GID) != 0) {
        options->anon_gid = more->anon_gid;
    }
}

static const struct client *match(const struct section *section, const char *address)
{
    const struct client *best = NULL;
    struct export_net client;

    (void)export_net_client(address, &client);
    for (uint32_t i = 0; i < section->n_clients; i++) {
        const struct client *each = &section->clients[i];

        /* "*" has no bits, but is wider than 0.0.0.0/0 as well. */
        if (export_net_has(&each->net, &client) &&
            (best == NULL || each->net.bits > best->net.bits ||
             best->net.family == EXPORT_ANY)) {
            best = each;
        }
    }
    return best;
}

/* The section whose list holds for the zone; NULL: there is none, everyone may. */
static const struct section *list_of(const struct export_table *table, const char *zone)
{
    const struct section *section = find(table, zone);

    if (section == NULL || !section->has_clients) {
        section = find(table, "");
    }
    return section != NULL && section->has_clients ? section : NULL;
}

void export_rule(const struct export_table *table, const char *address, const char *zone,
                 struct nfs_export_rule *out)
{
    struct options options = {.squash_root = true,
                              .anon_uid = ANONYMOUS_DEFAULT,
                              .anon_gid = ANONYMOUS_DEFAULT};
    const struct section *layers[2] = {find(table, ""), find(table, zone)};
    const struct section *list = list_of(table, zone);
    const struct client *client = list == NULL ? NULL : match(list, address);

    *out = (struct nfs_export_rule){.allowed = list == NULL || client != NULL};
    if (!out->allowed) {
        return;
    }
    for (unsigned i = 0; i < 2; i++) {
        if (layers[i] == NULL) {
            continue;
        }
        lay_over(&options, &layers[i]->options);
        if (layers[i] == list) {
            lay_over(&options, &client->options);
        }
    }
    out->squash = options.squash_all    ? NFS_SQUASH_ALL
                  : options.squash_root ? NFS_SQUASH_ROOT
                                        : NFS_SQUASH_NONE;
    out->anon_uid = options.anon_uid;
    out->anon_gid = options.anon_gid;
    out->read_only = options.read_only;
}

bool export_client(const struct export_table *table, const char *zone, uint32_t i,
                   char out[EXPORT_NET_TEXT_MAX])
{
    const struct section *list = list_of(table, zone);

    if (list == NULL) {
        strcpy(out, "*");
        return i == 0;
    }
    if (i >= list->n_clients) {
        return false;
    }
    export_net_text(&list->clients[i].net, out);
    return true;
}

const char *export_section(const struct export_table *table, uint32_t i, uint32_t *line)
{
    if (i >= table->n_sections) {
        return NULL;
    }
    *line = table->sections[i]->line;
    return table->sections[i]->zone;
}
