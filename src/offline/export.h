/*
 * export: every file out of one member's dataset, without a daemon.
 *
 * The dataset is only read (overlay.h), so it may lie on a read-only file system. What is
 * given is the member's applied state and, on top of it, the entries of its journal that
 * were not applied yet: whatever was acknowledged with this member's help is among them;
 * the last of them may never have been (as a call without an answer may show, or not).
 *
 * Nothing in the dataset is trusted: names never lead out of the destination. What cannot
 * be read is told, one line each, and everything else is there: a damaged piece of a file
 * is a hole.
 */
#ifndef OFFLINE_EXPORT_H
#define OFFLINE_EXPORT_H

#include <stdbool.h>
#include <stdint.h>

#define EXPORT_ERROR_MAX 1024u

struct export_options {
    const char *dataset; /* "<pool>/<slug>" */
    const char *journal; /* The zone's journal; NULL: below the dataset. */
    const char *dest;    /* A folder that is empty or not there yet; not in these two. */
    bool applied_only;   /* Leave the journal's entries out. */
    /* A problem: something that is not, or not whole, in the destination. */
    void (*problem)(void *ctx, const char *line);
    void *ctx;
};

struct export_result {
    uint64_t files;
    uint64_t folders;
    uint64_t others; /* Links, devices, pipes, sockets. */
    uint64_t names;  /* Further names of files: hard links. */
    uint64_t bytes;  /* Of files, without holes. */
    uint64_t bad_bytes;
    uint64_t problems;
    uint64_t stored_index;  /* What meta.db had applied, */
    uint64_t applied_index; /* and what is exported. */
    uint64_t last_index;    /* The journal's; 0: it could not be read. */
};

/* 0, also with problems; or a fault with one line in @error: nothing is exported, or, if the
 * destination is full or memory is short, not all. */
int export_run(const struct export_options *options, struct export_result *result,
               char error[EXPORT_ERROR_MAX]);

#endif
