/*
 * event_file: events on disk, docs/formats/events.md. No thread, no clock: event.c has
 * those. Lines that do not check are skipped, wherever they are.
 */
#ifndef DAEMON_EVENT_FILE_H
#define DAEMON_EVENT_FILE_H

#include "daemon/event.h"

#define EVENT_FILE_BYTES_MAX (512u << 10) /* Of one of the two files. */
#define EVENT_LINE_MAX 1024u

struct event_file {
    struct disk *disk;
    char path[1024];        /* Of the one that grows. */
    struct disk_file *file; /* NULL: nothing is written any more. */
    uint64_t bytes;         /* Where the next line goes. */
};

/* Give all events of both files, older ones first, to @each, and be ready to append. */
void event_file_open(struct event_file *file, struct disk *disk, const char *dir,
                     void (*each)(void *ctx, const struct event *event), void *ctx);
/* Append and sync. After a fault (but -ENOSPC) the file is closed: memory has to do. */
int event_file_append(struct event_file *file, const struct event *events, uint32_t n);
void event_file_close(struct event_file *file);

/* One event as a line with its newline; its length. */
size_t event_line(const struct event *event, char line[EVENT_LINE_MAX]);
/*
 * The events of @text, which need not be ended. Returns how many of its bytes are whole
 * lines: what lies behind was torn. 0 if it does not begin as such a file does.
 */
size_t event_parse(const char *text, size_t len,
                   void (*each)(void *ctx, const struct event *event), void *ctx);

#endif
