#include "offline/export_impl.h"

#include "base/log.h"
#include "base/outcome.h"
#include "daemon/json.h"
#include "offline/overlay.h"
#include "raft/rgroup.h"
#include "store/vfs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VFS_NAME "gv-offline"
#define MARKER_MAX 4096u
#define BATCH 64u
#define LINE_MAX_BYTES 2048u

void export_problem(struct export *export, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    export->result->problems++;
    export->options.problem(export->options.ctx, line);
}

static int fail(struct export *export, int rv, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fail(struct export *export, int rv, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(export->error, EXPORT_ERROR_MAX, format, args);
    va_end(args);
    return rv;
}

/* sqlite of a running daemon holds locks on meta.db. */
static int check_unused(struct export *export, uint64_t generation)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[EXPORT_PATH_MAX + 64];
    bool used;
    int fd;

    if (generation == 0) {
        snprintf(path, sizeof path, "%s/meta.db", export->options.dataset);
    } else {
        snprintf(path, sizeof path, "%s/meta.%" PRIu64 ".db", export->options.dataset,
                 generation);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail(export, -errno, "%s: %s", path, strerror(errno));
    }
    used = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    return used ? fail(export, -EBUSY,
                       "%s is in use by process %d: copy the files out of a mount, or "
                       "stop that daemon first",
                       path, (int)lock.l_pid)
                : 0;
}

/* The journal's entries, kept until they are applied. */

struct entries {
    struct zone_apply_item *items;
    uint32_t n;
    uint32_t cap;
};

static void entries_free(struct entries *entries)
{
    for (uint32_t i = 0; i < entries->n; i++) {
        slice_unref(&entries->items[i].head);
    }
    free(entries->items);
}

static enum zone_apply_kind kind_of(uint8_t type)
{
    return type == RGROUP_COMMAND  ? ZONE_APPLY_COMMAND
           : type == RGROUP_CHANGE ? ZONE_APPLY_CHANGE
                                   : ZONE_APPLY_BARRIER;
}

static int keep(void *ctx, const struct journal_entry *entry)
{
    struct entries *entries = ctx;
    struct buf *head;

    if (entries->n == entries->cap) {
        uint32_t cap = entries->cap == 0 ? 1024 : 2 * entries->cap;
        struct zone_apply_item *more = realloc(entries->items, cap * sizeof *more);

        if (more == NULL) {
            return -ENOMEM;
        }
        entries->items = more;
        entries->cap = cap;
    }
    head = buf_copy(entry->head.data, entry->head.len);
    if (head == NULL) {
        return -ENOMEM;
    }
    entries->items[entries->n++] =
        (struct zone_apply_item){.index = entry->index,
                                 .term = entry->term,
                                 .kind = kind_of(entry->type),
                                 .head = slice_of(head, 0, head->len),
                                 .place = entry->place};
    buf_unref(head);
    return 0;
}

static int open_journal(struct export *export, const char *dir, bool create,
                        struct entries *entries)
{
    struct journal_config config = {
        .disk = export->disk, .dir = dir, .segment_bytes = 16u << 20, .create = create};
    struct journal_state state;
    int rv;

    memcpy(config.zone_id, export->zone_id, sizeof config.zone_id);
    rv = journal_open(&config, &state, keep, entries, &export->journal);
    export->result->last_index = rv == 0 && !create ? state.last_index : 0;
    return rv;
}

/* Without its journal a dataset still has what has settled: an empty one in memory takes
 * its place, and what points into the real one is bad. */
static int open_any_journal(struct export *export, struct entries *entries)
{
    char none[EXPORT_PATH_MAX + 64];
    int rv = open_journal(export, export->journal_dir, false, entries);

    if (rv == 0) {
        return 0;
    }
    export_problem(export,
                   "the journal %s cannot be read (%s): what had not settled yet is "
                   "missing; if it lies elsewhere, say so with --journal",
                   export->journal_dir, strerror(-rv));
    for (uint32_t i = 0; i < entries->n; i++) {
        slice_unref(&entries->items[i].head);
    }
    entries->n = 0;
    snprintf(none, sizeof none, "%s/.no-journal", export->options.dataset);
    return open_journal(export, none, true, entries);
}

static int open_rows(struct export *export)
{
    const struct zone_genesis genesis = {.root_mode = 0755};
    struct store_config config = {.disk = export->disk,
                                  .dir = export->options.dataset,
                                  .vfs = VFS_NAME,
                                  .journal = export->journal};
    int rv;

    memcpy(config.zone_id, export->zone_id, sizeof config.zone_id);
    rv = vfs_register(export->disk, VFS_NAME);
    if (rv == 0) {
        rv = pages_vfs(VFS_NAME) == NULL ? -ENOMEM : 0;
    }
    if (rv == 0) {
        pages_salvage(VFS_NAME, &export->salvaged);
        rv = store_open(&config, &export->store);
    }
    if (rv == 0) {
        store_mend_reads(export->store);
    }
    if (rv == 0) {
        rv = zone_open(export->store, &genesis, &export->zone);
        if (rv !=
            0) { /* What is needed to apply more is more than what is walked over. */
            export_problem(export,
                           "rows are damaged that applying entries of the journal needs: "
                           "what was not applied is missing");
            rv = 0;
        }
    }
    return rv == 0
               ? 0
               : fail(export, rv,
                      "the rows of %s cannot be read: %s; take another member's "
                      "dataset, or an older copy of this one",
                      export->options.dataset, rv > 0 ? outcome_name(rv) : strerror(-rv));
}

/* Entries at or below the applied index are skipped by apply; the first beyond must be the
 * next one. */
static void apply_journal(struct export *export, struct entries *entries)
{
    uint64_t applied = zone_applied_index(export->zone);
    uint32_t from = 0;
    int rv = 0;

    while (from < entries->n && entries->items[from].index <= applied) {
        from++;
    }
    if (from < entries->n && entries->items[from].index != applied + 1) {
        export_problem(export,
                       "the journal begins at entry %" PRIu64 ", the rows end at %" PRIu64
                       ": what lies between is missing",
                       entries->items[from].index, applied);
        return;
    }
    for (; rv == 0 && from < entries->n; from += BATCH) {
        uint32_t left = entries->n - from;
        uint32_t n = left < BATCH ? left : BATCH;

        rv = zone_apply(export->zone, &entries->items[from], n);
        for (uint32_t i = from; i < from + n; i++) {
            zone_result_clear(&entries->items[i].result);
        }
    }
    if (rv != 0) {
        export_problem(export, "entries from %" PRIu64 " on cannot be applied: %s",
                       zone_applied_index(export->zone) + 1, strerror(-rv));
    }
}

/* 0 if that cannot be read, either. */
static uint64_t stored_index(struct export *export)
{
    uint64_t applied = 0;

    return store_number_get(export->store, STORE_APPLIED, &applied) == 0 ? applied : 0;
}

static void check_serve_from(struct export *export)
{
    uint64_t from = 0;

    if (store_number_get(export->store, STORE_SERVE_FROM, &from) == 0 &&
        export->result->applied_index < from) {
        export_problem(export,
                       "a pull ended at entry %" PRIu64 " and entries up to %" PRIu64
                       " are missing here: files changed in between may be of mixed age",
                       export->result->applied_index, from);
    }
}

int export_open(struct export *export, int *dest_fd)
{
    struct entries entries = {0};
    uint64_t generation = 0;
    int rv = export_marker(export, &generation);

    if (rv == 0) {
        rv = check_unused(export, generation);
    }
    if (rv == 0) {
        rv = export_dest(export, dest_fd);
    }
    if (rv == 0) {
        export->disk = overlay_new(disk_posix());
        rv = export->disk == NULL || export_marker_put(export, generation) != 0
                 ? fail(export, -ENOMEM, "out of memory")
                 : 0;
    }
    if (rv == 0) {
        rv = open_any_journal(export, &entries);
        if (rv != 0) {
            (void)fail(export, rv, "no journal can be made up: %s", strerror(-rv));
        }
    }
    if (rv == 0) {
        rv = open_rows(export);
    }
    if (rv == 0) {
        export->result->stored_index = stored_index(export);
        if (!export->options.applied_only && export->zone != NULL) {
            apply_journal(export, &entries);
        }
        export->result->applied_index = export->zone != NULL
                                            ? zone_applied_index(export->zone)
                                            : export->result->stored_index;
        check_serve_from(export);
    }
    entries_free(&entries);
    return rv;
}

void export_close(struct export *export)
{
    zone_close(export->zone);
    if (export->store != NULL) {
        store_close(export->store);
    }
    vfs_unregister(VFS_NAME);
    if (export->journal != NULL) {
        journal_close(export->journal);
    }
    overlay_free(export->disk);
}

static void tell_salvaged(struct export *export)
{
    if (store_mended(export->store) > 0) {
        log_warn("offline", "msg=\"bits of file data flipped: it was read as it was\"");
    }
    if (export->salvaged.bad > 0) {
        export_problem(
            export, "pages of meta.db are damaged: names, files or their attributes may "
                    "be missing beyond what is told here");
    } else if (export->salvaged.mended > 0) {
        log_warn("offline", "msg=\"bits of meta.db flipped: it was read as it was\"");
    }
}

int export_run(const struct export_options *options, struct export_result *result,
               char error[EXPORT_ERROR_MAX])
{
    struct export export = {
        .options = *options, .result = result, .error = error, .is_root = geteuid() == 0};
    int dest = -1;
    int rv;

    *result = (struct export_result){0};
    if (strlen(options->dataset) >= EXPORT_PATH_MAX - 64 ||
        (options->journal != NULL && strlen(options->journal) >= EXPORT_PATH_MAX)) {
        return fail(&export, -ENAMETOOLONG, "that path is too long");
    }
    snprintf(export.journal_dir, sizeof export.journal_dir, "%s%s",
             options->journal != NULL ? options->journal : options->dataset,
             options->journal != NULL ? "" : "/journal");
    rv = export_open(&export, &dest);
    if (rv == 0) {
        rv = export_tree(&export, dest);
        tell_salvaged(&export);
    }
    export_close(&export);
    if (dest >= 0) {
        close(dest);
    }
    return rv;
}
