/*
 * config: what grapevine.conf says, every key with its default.
 *
 * An unknown section or key, a value that does not parse, or a key given twice is an
 * error that names file and line. Owned by the caller; what it holds is freed with
 * config_deinit.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "base/log.h"
#include "daemon/memory.h"
#include "nfs/export.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_ELECTION_MS_MIN 50u
#define CONFIG_ELECTION_MS_MAX 60000u
#define CONFIG_POOLS_MAX 16u
#define CONFIG_TEXT_MAX 512u
#define CONFIG_NAME_MAX 63u
#define CONFIG_ERROR_MAX 1024u

struct config_pool {
    char name[CONFIG_NAME_MAX + 1];
    char path[CONFIG_TEXT_MAX];    /* Folder that holds one dataset per zone. */
    char journal[CONFIG_TEXT_MAX]; /* Where journals lie; empty: in the dataset. */
};

struct config_address {
    char host[64]; /* Numeric. */
    uint16_t port; /* 0: any free one. */
};

struct config {
    char path[CONFIG_TEXT_MAX]; /* Of the file, perhaps cut: for messages. */
    char name[CONFIG_NAME_MAX + 1];
    char state[CONFIG_TEXT_MAX];
    char socket[CONFIG_TEXT_MAX];
    uint32_t n_pools;
    struct config_pool pools[CONFIG_POOLS_MAX];
    struct config_address nfs;
    struct config_address peer;
    struct config_address advertise; /* Where others find it; peer unless given. */
    uint64_t journal_bytes;
    uint32_t election_ms; /* Of the directory, and of zones that are made here. */
    uint32_t heartbeat_ms;
    uint32_t leases;              /* 1: reads under leases. */
    uint64_t scrub_rate;          /* Bytes a second. */
    uint32_t scrub_every_days;    /* 0: only when asked for. */
    struct export_table *exports; /* Not NULL once it is loaded. */
    bool rpcbind;                 /* Register with a local one. */
    bool sleep;                   /* Hand over before the machine sleeps. */
    enum log_level log_level;
    struct memory_config memory;
};

/* 0, or -EINVAL (or the errno of reading) with one line in @error that says what to do;
 * then there is nothing to free. */
int config_load(const char *path, struct config *config, char error[CONFIG_ERROR_MAX]);
void config_deinit(struct config *config);
const struct config_pool *config_pool(const struct config *config, const char *name);

/* "512 GB", "4TiB", "1048576": bytes with an optional decimal or binary unit. 0 or
 * -EINVAL. */
int config_parse_bytes(const char *text, uint64_t *out);
/* "127.0.0.1:2049" or "[::1]:2049". */
int config_parse_address(const char *text, struct config_address *out);
/* 0, or -EINVAL: not a numeric address of one machine (a wildcard, multicast). */
int config_check_host(const char *host);
/* A name for nodes, pools and zones: a-z, 0-9, '-', '.', '_' inside; 1 to 63 bytes. */
int config_check_name(const char *name);

#endif
