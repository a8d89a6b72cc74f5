/*
 * The files of events with hostile bytes: reading stays inside of them, gives only events
 * within their bounds, and what was read and is written again reads the same.
 */
#include "base/assert.h"
#include "daemon/event_file.h"

#include <stdlib.h>
#include <string.h>

#define HEAD "grapevinefs events 1\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(void *ctx, const struct event *event)
{
    const struct event *expected = ctx;

    ASSERT(event->time_ns == expected->time_ns && event->level == expected->level);
    ASSERT(strcmp(event->kind, expected->kind) == 0);
    ASSERT(strcmp(event->zone, expected->zone) == 0);
    ASSERT(strcmp(event->words, expected->words) == 0);
}

static void again(void *ctx, const struct event *event)
{
    char text[sizeof HEAD + EVENT_LINE_MAX] = HEAD;
    struct event copy = *event;
    size_t len = event_line(event, text + strlen(HEAD));

    (void)ctx;
    ASSERT(memchr(event->words, '\0', sizeof event->words) != NULL);
    /* Control bytes may make a line too long to be written: then it is left out. */
    ASSERT(event_parse(text, strlen(HEAD) + len, same, &copy) == strlen(HEAD) + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    ASSERT(text != NULL);
    memcpy(text, data, size);
    ASSERT(event_parse(text, size, again, NULL) <= size);
    free(text);
    return 0;
}
