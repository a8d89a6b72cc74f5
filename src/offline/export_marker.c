/*
 * Which zone's a dataset is, and which meta.db is its live one: as its marker says, or, where
 * that is lost or damaged, as the journal and the names of the files do. Everything else may
 * be whole then, and 90 bytes are not to be what the files are lost for.
 */
#include "offline/export_impl.h"

#include "base/crc32c.h"
#include "daemon/json.h"
#include "offline/overlay.h"
#include "store/journal_format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_BYTES (EXPORT_PATH_MAX + 300)
#define FLOOR_MAX 4096u

/* 0; -EUCLEAN: it does not say; or the fault of reading. */
static int read_marker(struct export *export, uint64_t *generation)
{
    char path[PATH_BYTES];
    char mended[STORE_MARKER_MAX];
    const char *says;
    char hex[33] = "";
    unsigned version = 0;
    char *text = NULL;
    size_t len = 0;
    int rv;

    snprintf(path, sizeof path, "%s/marker", export->options.dataset);
    rv = disk_read_file(disk_posix(), path, STORE_MARKER_MAX, &text, &len);
    if (rv != 0) {
        return rv;
    }
    says = store_marker_mend(text, len, mended) ? mended : text;
    rv = store_marker_checks(says) &&
                 sscanf(says,
                        "grapevinefs dataset %u\nzone %32[0-9a-f]\ngeneration %" SCNu64
                        "\n",
                        &version, hex, generation) == 3 &&
                 hex_get(hex, export->zone_id, sizeof export->zone_id)
             ? 0
             : -EUCLEAN;
    free(text);
    return rv;
}

struct guess {
    struct export *export;
    bool has_zone;
    uint32_t n_dbs;
    uint64_t generation; /* The lowest. */
};

static void read_floor(struct guess *guess)
{
    struct journal_floor floor;
    char path[PATH_BYTES];
    char *bytes = NULL;
    size_t len = 0;

    snprintf(path, sizeof path, "%s/floor", guess->export->journal_dir);
    if (disk_read_file(disk_posix(), path, FLOOR_MAX, &bytes, &len) == 0 &&
        journal_floor_get((const uint8_t *)bytes, len, &floor) == 0) {
        memcpy(guess->export->zone_id, floor.zone_id, sizeof floor.zone_id);
        guess->has_zone = true;
    }
    free(bytes);
}

static int read_segment(void *ctx, const char *name)
{
    struct guess *guess = ctx;
    struct disk *disk = disk_posix();
    struct journal_segment_head head;
    struct disk_file *file = NULL;
    uint8_t block[JOURNAL_BLOCK];
    char path[PATH_BYTES];
    size_t len = strlen(name);

    if (guess->has_zone || len < 5 || len > 255 || strcmp(name + len - 4, ".seg") != 0) {
        return 0;
    }
    snprintf(path, sizeof path, "%s/%s", guess->export->journal_dir, name);
    if (disk->ops->open(disk, path, DISK_READ, &file) != 0) {
        return 0;
    }
    if (disk->ops->pread(disk, file, block, sizeof block, 0) == 0 &&
        journal_segment_head_get(block, &head) == 0) {
        memcpy(guess->export->zone_id, head.zone_id, sizeof head.zone_id);
        guess->has_zone = true;
    }
    disk->ops->close(disk, file);
    return 0;
}

static int take_db(void *ctx, const char *name)
{
    struct guess *guess = ctx;
    uint64_t generation = 0;
    char again[64] = "meta.db";

    if (strcmp(name, again) != 0 &&
        sscanf(name, "meta.%" SCNu64 ".db", &generation) == 1) {
        snprintf(again, sizeof again, "meta.%" PRIu64 ".db", generation);
    }
    if (strcmp(name, again) == 0) {
        guess->generation = guess->n_dbs == 0 || generation < guess->generation
                                ? generation
                                : guess->generation;
        guess->n_dbs++;
    }
    return 0;
}

int export_marker(struct export *export, uint64_t *generation)
{
    struct guess guess = {.export = export};
    struct disk *disk = disk_posix();
    int rv = read_marker(export, generation);

    if (rv == 0) {
        return 0;
    }
    read_floor(&guess);
    (void)disk->ops->list(disk, export->journal_dir, read_segment, &guess);
    (void)disk->ops->list(disk, export->options.dataset, take_db, &guess);
    if (!guess.has_zone || guess.n_dbs == 0) {
        snprintf(
            export->error, EXPORT_ERROR_MAX,
            "%s/marker: %s: a dataset is a folder <pool>/<zone> with a file marker, or "
            "at least with a meta.db and a journal (--journal, if that is elsewhere)",
            export->options.dataset, strerror(-rv));
        return rv;
    }
    *generation = guess.generation;
    export->has_no_marker = true;
    export_problem(
        export, "the marker is %s: its zone is taken from the journal%s",
        rv == -ENOENT ? "not there" : "damaged",
        guess.n_dbs == 1 ? "" : ", and the older meta.db of several for the live one");
    return 0;
}

int export_marker_put(struct export *export, uint64_t generation)
{
    char path[PATH_BYTES];
    char hex[33];
    char text[STORE_MARKER_MAX];
    int n;

    if (!export->has_no_marker) {
        return 0;
    }
    hex_put(hex, export->zone_id, sizeof export->zone_id);
    n = snprintf(text, sizeof text,
                 "grapevinefs dataset %u\nzone %s\ngeneration %" PRIu64 "\n",
                 STORE_FORMAT, hex, generation);
    n += snprintf(text + n, sizeof text - (size_t)n, "check %08" PRIx32 "\n",
                  crc32c(0, text, (size_t)n));
    snprintf(path, sizeof path, "%s/marker", export->options.dataset);
    return disk_replace_file(export->disk, path, text, (size_t)n);
}
