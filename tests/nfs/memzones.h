/*
 * memzones: a backend with real zones on one node, without consensus.
 *
 * Each zone is a store, a journal and a zone in a folder of its own. Ops are queued;
 * memzones_flush makes the queued mutations durable together, applies them, and answers
 * everything. One thread.
 */
#pragma once

#include "nfs/backend.h"

#include <stdbool.h>

#define MEMZONES_MAX 8u

struct memzones;

struct memzones_config {
    const char *dir;          /* Exists; a zone's folder is made in it, or found again. */
    const char *const *slugs; /* In rising order. */
    uint32_t n_slugs;
    uint64_t quota_bytes;
    struct nfs_export_rule rule; /* For everyone. */
};

/* 0 or a fault. */
int memzones_open(const struct memzones_config *config, struct memzones **out);
/* Ops that are still queued are answered OUT_TRY_LATER. NULL is a no-op. */
void memzones_close(struct memzones *zones);
const struct nfs_backend *memzones_backend(struct memzones *zones);
/* Is there something to flush? */
bool memzones_queued(const struct memzones *zones);
/* 0, or the fault that stopped a zone; its ops are answered OUT_TRY_LATER for ever. */
int memzones_flush(struct memzones *zones);
