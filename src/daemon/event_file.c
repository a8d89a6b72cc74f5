#include "daemon/event_file.h"

#include "base/crc32c.h"
#include "base/log.h"
#include "daemon/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD "grapevinefs events 1\n"
#define CRC_DIGITS 8u

static const char *const level_names[] = {"error", "warn", "info", "debug"};

size_t event_line(const struct event *event, char line[EVENT_LINE_MAX])
{
    cJSON *json = cJSON_CreateObject();
    char *text;
    int n = 0;

    json_put_u64(json, "time_ns", (uint64_t)event->time_ns);
    cJSON_AddStringToObject(json, "level", level_names[event->level & 3]);
    cJSON_AddStringToObject(json, "kind", event->kind);
    if (event->zone[0] != '\0') {
        cJSON_AddStringToObject(json, "zone", event->zone);
    }
    cJSON_AddStringToObject(json, "words", event->words);
    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text != NULL) {
        n = snprintf(line, EVENT_LINE_MAX, "%08" PRIx32 " %s\n",
                     crc32c(0, text, strlen(text)), text);
    }
    free(text);
    return n > 0 && n < (int)EVENT_LINE_MAX ? (size_t)n : 0;
}

static bool parse_level(const char *name, enum log_level *out)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(level_names[i], name) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* @line without its newline. */
static bool parse_line(const char *line, size_t len, struct event *out)
{
    char crc[CRC_DIGITS + 1];
    char level[8];
    uint64_t time_ns;
    uint8_t sum[4];
    uint32_t found;
    cJSON *json;
    bool good;

    if (len <= CRC_DIGITS + 1 || len >= EVENT_LINE_MAX || line[CRC_DIGITS] != ' ') {
        return false;
    }
    memcpy(crc, line, CRC_DIGITS);
    crc[CRC_DIGITS] = '\0';
    found = crc32c(0, line + CRC_DIGITS + 1, len - CRC_DIGITS - 1);
    if (!hex_get(crc, sum, sizeof sum) ||
        found != ((uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 |
                  (uint32_t)sum[2] << 8 | sum[3])) {
        return false;
    }
    json = json_parse(line + CRC_DIGITS + 1, len - CRC_DIGITS - 1);
    *out = (struct event){0};
    good = json_u64(json, "time_ns", &time_ns) && time_ns <= INT64_MAX &&
           json_text(json, "level", level, sizeof level) &&
           parse_level(level, &out->level) &&
           json_text(json, "kind", out->kind, sizeof out->kind) &&
           (json_text(json, "zone", out->zone, sizeof out->zone) ||
            !cJSON_HasObjectItem(json, "zone")) &&
           json_text(json, "words", out->words, sizeof out->words);
    cJSON_Delete(json);
    out->time_ns = good ? (int64_t)time_ns : 0;
    return good;
}

size_t event_parse(const char *text, size_t len,
                   void (*each)(void *ctx, const struct event *event), void *ctx)
{
    size_t at = strlen(HEAD);

    if (len < at || memcmp(text, HEAD, at) != 0) {
        return 0;
    }
    while (at < len) {
        const char *end = memchr(text + at, '\n', len - at);
        struct event event;

        if (end == NULL) {
            break;
        }
        if (parse_line(text + at, (size_t)(end - text) - at, &event)) {
            each(ctx, &event);
        }
        at = (size_t)(end - text) + 1;
    }
    return at;
}

/* How many bytes of the file are to stay; 0 if it is to begin anew. */
static size_t load(struct disk *disk, const char *path,
                   void (*each)(void *ctx, const struct event *event), void *ctx)
{
    char *text = NULL;
    size_t len = 0;
    size_t whole = 0;

    if (disk_read_file(disk, path, EVENT_FILE_BYTES_MAX + EVENT_LINE_MAX, &text, &len) ==
        0) {
        whole = event_parse(text, len, each, ctx);
    }
    free(text);
    return whole;
}

static int write_at(struct event_file *file, const char *text, size_t len)
{
    const struct iovec iov = {.iov_base = (void *)text, .iov_len = len};

    return file->disk->ops->pwritev(file->disk, file->file, &iov, 1, file->bytes);
}

/* Behind @whole bytes; what lies there goes. */
static int begin(struct event_file *file, size_t whole)
{
    int rv = file->disk->ops->open(file->disk, file->path, DISK_WRITE | DISK_CREATE,
                                   &file->file);

    file->bytes = whole;
    if (rv == 0) {
        rv = file->disk->ops->truncate(file->disk, file->file, whole);
    }
    if (rv == 0 && whole == 0) {
        rv = write_at(file, HEAD, strlen(HEAD));
        file->bytes = strlen(HEAD);
    }
    return rv;
}

static void give_up(struct event_file *file, int rv)
{
    log_warn("daemon", "msg=\"events are kept in memory only\" file=\"%s\" error=\"%s\"",
             file->path, strerror(-rv));
    event_file_close(file);
}

/* The full file becomes the old one, whatever that was. */
static int turn(struct event_file *file)
{
    char old[sizeof file->path + 8];
    int rv;

    (void)snprintf(old, sizeof old, "%s.old", file->path);
    event_file_close(file);
    rv = file->disk->ops->rename(file->disk, file->path, old);
    return rv != 0 && rv != -ENOENT ? rv : begin(file, 0);
}

void event_file_open(struct event_file *file, struct disk *disk, const char *dir,
                     void (*each)(void *ctx, const struct event *event), void *ctx)
{
    char old[sizeof file->path + 8];
    size_t whole;
    int rv;

    *file = (struct event_file){.disk = disk};
    (void)snprintf(file->path, sizeof file->path, "%s/events", dir);
    (void)snprintf(old, sizeof old, "%s.old", file->path);
    (void)load(disk, old, each, ctx);
    whole = load(disk, file->path, each, ctx);
    rv = whole == 0 ? turn(file) : begin(file, whole);
    if (rv != 0) {
        give_up(file, rv);
    }
}

int event_file_append(struct event_file *file, const struct event *events, uint32_t n)
{
    int rv = 0;

    for (uint32_t i = 0; i < n && rv == 0 && file->file != NULL; i++) {
        char line[EVENT_LINE_MAX];
        size_t len = event_line(&events[i], line);

        if (file->bytes + len > EVENT_FILE_BYTES_MAX) {
            rv = turn(file);
        }
        if (rv == 0) {
            rv = write_at(file, line, len);
        }
        if (rv == 0) {
            file->bytes += len;
        }
    }
    if (rv == 0 && file->file != NULL) {
        rv = file->disk->ops->datasync(file->disk, file->file);
    }
    if (rv != 0 && (rv != -ENOSPC || file->file == NULL)) {
        give_up(file, rv);
    }
    return rv;
}

void event_file_close(struct event_file *file)
{
    if (file->file != NULL) {
        file->disk->ops->close(file->disk, file->file);
        file->file = NULL;
    }
}
