/* Events outlive a daemon, whatever a crash or a bad disk made of their files. */
#include "daemon/event.h"
#include "daemon/event_file.h"
#include "lib/check.h"

#include "base/prng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct seen {
    uint32_t n;
    char first[EVENT_WORDS_MAX];
    char last[EVENT_WORDS_MAX];
};

static void see(void *ctx, const struct event *event)
{
    struct seen *seen = ctx;

    if (seen->n++ == 0) {
        strcpy(seen->first, event->words);
    }
    strcpy(seen->last, event->words);
}

static struct event an_event(uint32_t i)
{
    struct event event = {.time_ns = 1764100000000000000 + i, .level = LOG_LEVEL_WARN};

    strcpy(event.kind, "offline");
    strcpy(event.zone, "tier-1");
    snprintf(event.words, sizeof event.words, "number %u", i);
    return event;
}

static void fresh(char dir[1024])
{
    snprintf(dir, 1024, "%s/events-XXXXXX", check_tmpdir());
    CHECK(mkdtemp(dir) != NULL);
}

static void put_raw(const char *dir, const char *name, const char *text, size_t len)
{
    char path[1100];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    file = fopen(path, "ab");
    CHECK(file != NULL);
    CHECK(fwrite(text, 1, len, file) == len);
    fclose(file);
}

static long bytes_of(const char *dir, const char *name)
{
    char path[1100];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

static struct seen reopened(const char *dir, struct event_file *file)
{
    struct seen seen = {0};

    event_file_open(file, disk_posix(), dir, see, &seen);
    return seen;
}

static void append(struct event_file *file, uint32_t from, uint32_t n)
{
    for (uint32_t i = from; i < from + n; i++) {
        struct event event = an_event(i);

        CHECK_INT(event_file_append(file, &event, 1), 0);
    }
}

/* What was written is there after a restart, and goes on behind it. */
static void come_back(void)
{
    struct event_file file;
    struct seen seen;
    char dir[1024];

    fresh(dir);
    seen = reopened(dir, &file);
    CHECK_INT(seen.n, 0);
    append(&file, 1, 3);
    event_file_close(&file);
    seen = reopened(dir, &file);
    CHECK_INT(seen.n, 3);
    append(&file, 4, 1);
    event_file_close(&file);
    seen = reopened(dir, &file);
    CHECK_INT(seen.n, 4);
    CHECK_STR(seen.first, "number 1");
    CHECK_STR(seen.last, "number 4");
    event_file_close(&file);
}

/* A crash tears the last line at any byte: the lines before it stay, and the next one is
 * not glued to what is left of it. */
static void torn_anywhere(void)
{
    char line[EVENT_LINE_MAX];
    struct event event = an_event(3);
    size_t len = event_line(&event, line);

    CHECK(len > 20);
    for (size_t cut = 1; cut < len; cut++) {
        struct event_file file;
        struct seen seen;
        char dir[1024];

        fresh(dir);
        (void)reopened(dir, &file);
        append(&file, 1, 2);
        event_file_close(&file);
        put_raw(dir, "events", line, cut);
        seen = reopened(dir, &file);
        CHECK_INT(seen.n, 2);
        append(&file, 9, 1);
        event_file_close(&file);
        seen = reopened(dir, &file);
        CHECK_INT(seen.n, 3);
        CHECK_STR(seen.last, "number 9");
        event_file_close(&file);
    }
}

/* A line that a bad disk changed is left out; those around it are not. */
static void a_bad_line(void)
{
    static const char bad[] = "00000000 {\"time_ns\":\"1\"}\n\n\nx\n";
    struct event_file file;
    struct seen seen;
    char dir[1024];

    fresh(dir);
    (void)reopened(dir, &file);
    append(&file, 1, 1);
    event_file_close(&file);
    put_raw(dir, "events", bad, strlen(bad));
    (void)reopened(dir, &file);
    append(&file, 2, 1);
    event_file_close(&file);
    seen = reopened(dir, &file);
    CHECK_INT(seen.n, 2);
    CHECK_STR(seen.last, "number 2");
    event_file_close(&file);
}

/* A file that is not ours, or is another version's, is put aside, not added to. */
static void another_version(void)
{
    struct event_file file;
    struct seen seen;
    char dir[1024];

    fresh(dir);
    put_raw(dir, "events", "grapevinefs events 2\nwhat\n", 26);
    seen = reopened(dir, &file);
    CHECK_INT(seen.n, 0);
    append(&file, 1, 1);
    event_file_close(&file);
    CHECK_INT(bytes_of(dir, "events.old"), 26);
    seen = reopened(dir, &file);
    CHECK_INT(seen.n, 1);
    event_file_close(&file);
}

/* However much happens: two files, each bounded, and the newest events are in them. */
static void files_are_bounded(void)
{
    struct event_file file;
    struct event events[64];
    struct seen seen;
    char dir[1024];
    uint32_t n = 0;

    fresh(dir);
    (void)reopened(dir, &file);
    for (uint32_t i = 0; i < 256; i++) {
        for (uint32_t j = 0; j < 64; j++) {
            events[j] = an_event(n++);
        }
        CHECK_INT(event_file_append(&file, events, 64), 0);
    }
    event_file_close(&file);
    CHECK(bytes_of(dir, "events") <= (long)EVENT_FILE_BYTES_MAX);
    CHECK(bytes_of(dir, "events.old") <= (long)EVENT_FILE_BYTES_MAX);
    seen = reopened(dir, &file);
    CHECK(seen.n > 4096 && seen.n < n);
    CHECK_STR(seen.last, "number 16383");
    event_file_close(&file);
}

/* Bytes that nobody wrote parse to nothing that breaks a bound. */
static void garbage(void)
{
    struct prng prng;

    prng_seed(&prng, 7);
    for (uint32_t round = 0; round < 3000; round++) {
        char text[2048] = "grapevinefs events 1\n";
        size_t head = strlen(text);
        size_t len = head + (size_t)prng_below(&prng, sizeof text - head);
        struct event event = an_event(round);
        struct seen seen = {0};

        for (size_t i = head; i < len; i++) {
            text[i] = (char)prng_next(&prng);
        }
        if (len > head + EVENT_LINE_MAX) {
            size_t n = event_line(&event, text + head);

            text[head + prng_below(&prng, n)] ^= (char)(1 << prng_below(&prng, 8));
        }
        CHECK(event_parse(text, len, see, &seen) <= len);
        CHECK_INT(seen.n, 0); /* The one line that was good has a flipped bit. */
    }
}

/* The longest event there can be is a line that reads back the same. */
static void longest(void)
{
    struct event event = {.time_ns = INT64_MAX, .level = LOG_LEVEL_ERROR};
    char text[EVENT_LINE_MAX + 32] = "grapevinefs events 1\n";
    struct seen seen = {0};
    size_t head = strlen(text);
    size_t len;

    memset(event.kind, 'k', sizeof event.kind - 1);
    memset(event.zone, 'z', sizeof event.zone - 1);
    memset(event.words, 'w', sizeof event.words - 1);
    len = event_line(&event, text + head);
    CHECK(len > 0);
    CHECK_INT(event_parse(text, head + len, see, &seen), head + len);
    CHECK_INT(seen.n, 1);
    CHECK_STR(seen.last, event.words);
}

/* The log of a process: a crash is known by the stop that is missing, a flood of one kind
 * does not push out the others, and what others chose stays one line. */
static void a_life(void)
{
    struct event event;
    uint64_t seq = 0;
    uint32_t n = 0;
    char dir[1024];
    bool crashed;

    fresh(dir);
    CHECK_INT(event_log_open(disk_posix(), dir, &crashed), 0);
    CHECK(!crashed);
    log_set_level(LOG_LEVEL_ERROR);
    event_tell(EVENT_START, NULL, "begins");
    event_tell(EVENT_STRANGER, NULL, "from \"x\"\n\\\x1b[31m\xff");
    for (uint32_t i = 0; i < 10 * EVENT_RATE_MAX; i++) {
        event_tell(EVENT_STRANGER, NULL, "again");
    }
    event_log_close();
    CHECK_INT(event_log_open(disk_posix(), dir, &crashed), 0);
    CHECK(crashed);
    CHECK(event_after(0, &event));
    CHECK_STR(event.kind, "start");
    CHECK(event_after(1, &event));
    CHECK_STR(event.words, "from 'x'?\?\?[31m?");
    while (event_after(seq, &event)) {
        CHECK_INT(event.seq, seq + 1);
        seq = event.seq;
        n++;
    }
    CHECK_INT(n, 1 + EVENT_RATE_MAX);
    event_tell(EVENT_RECOVERY, NULL, "told");
    event_log_close();
    CHECK_INT(event_log_open(disk_posix(), dir, &crashed), 0);
    CHECK(!crashed); /* A start that was refused after it does not tell it again. */
    event_tell(EVENT_STOP, NULL, "ends");
    event_log_close();
    CHECK_INT(event_log_open(disk_posix(), dir, &crashed), 0);
    CHECK(!crashed);
    event_log_close();
}

/* Memory holds the newest; who is behind sees it by the numbers. */
static void ring_is_bounded(void)
{
    struct event_file file;
    struct event event;
    char dir[1024];
    bool crashed;

    fresh(dir);
    (void)reopened(dir, &file);
    for (uint32_t i = 1; i <= EVENT_KEPT_MAX + 10; i++) {
        struct event one = an_event(i);
        char line[EVENT_LINE_MAX];

        put_raw(dir, "events", line, event_line(&one, line));
    }
    event_file_close(&file);
    CHECK_INT(event_log_open(disk_posix(), dir, &crashed), 0);
    CHECK_INT(event_newest(), EVENT_KEPT_MAX + 10);
    CHECK(event_after(0, &event));
    CHECK_INT(event.seq, 11);
    CHECK_STR(event.words, "number 11");
    CHECK(!event_after(event_newest(), &event));
    event_log_close();
}

TEST_MAIN(CHECK_TEST(come_back), CHECK_TEST(torn_anywhere), CHECK_TEST(a_bad_line),
          CHECK_TEST(another_version), CHECK_TEST(files_are_bounded), CHECK_TEST(garbage),
          CHECK_TEST(longest), CHECK_TEST(a_life), CHECK_TEST(ring_is_bounded))
