#include "daemon/event.h"

#include "base/assert.h"
#include "daemon/event_file.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RATE_NS (60ll * 1000000000)
#define CLOSE_S 2
#define WRITE_MAX 16u
#define STACK_BYTES (128u << 10)

static const struct {
    const char *word;
    enum log_level level;
} kinds[EVENT_KINDS] = {
    [EVENT_START] = {"start", LOG_LEVEL_INFO},
    [EVENT_STOP] = {"stop", LOG_LEVEL_INFO},
    [EVENT_RECOVERY] = {"recovery", LOG_LEVEL_WARN},
    [EVENT_START_REFUSED] = {"start-refused", LOG_LEVEL_ERROR},
    [EVENT_OPENED] = {"opened", LOG_LEVEL_INFO},
    [EVENT_ONLINE] = {"online", LOG_LEVEL_INFO},
    [EVENT_CATCHING_UP] = {"catching-up", LOG_LEVEL_INFO},
    [EVENT_OFFLINE] = {"offline", LOG_LEVEL_WARN},
    [EVENT_FULL] = {"full", LOG_LEVEL_WARN},
    [EVENT_ROOM] = {"room", LOG_LEVEL_INFO},
    [EVENT_NO_DATA] = {"no-data", LOG_LEVEL_ERROR},
    [EVENT_FAILED] = {"failed", LOG_LEVEL_ERROR},
    [EVENT_LEADER] = {"leader", LOG_LEVEL_INFO},
    [EVENT_ELECTION] = {"election", LOG_LEVEL_INFO},
    [EVENT_MEMBER_ADDED] = {"member-added", LOG_LEVEL_INFO},
    [EVENT_MEMBER_REMOVED] = {"member-removed", LOG_LEVEL_INFO},
    [EVENT_MEMBER_PROMOTED] = {"member-promoted", LOG_LEVEL_INFO},
    [EVENT_PEER_UP] = {"peer-up", LOG_LEVEL_INFO},
    [EVENT_PEER_DOWN] = {"peer-down", LOG_LEVEL_WARN},
    [EVENT_PULL_BEGUN] = {"pull-begun", LOG_LEVEL_INFO},
    [EVENT_PULL_ENDED] = {"pull-ended", LOG_LEVEL_INFO},
    [EVENT_PULL_FAILED] = {"pull-failed", LOG_LEVEL_WARN},
    [EVENT_SLOW_DISK] = {"slow-disk", LOG_LEVEL_WARN},
    [EVENT_BLOCK_BAD] = {"block-bad", LOG_LEVEL_ERROR},
    [EVENT_BLOCK_HEALED] = {"block-healed", LOG_LEVEL_WARN},
    [EVENT_ENTRY_BAD] = {"entry-bad", LOG_LEVEL_ERROR},
    [EVENT_ENTRY_HEALED] = {"entry-healed", LOG_LEVEL_WARN},
    [EVENT_DIFFERS] = {"differs", LOG_LEVEL_ERROR},
    [EVENT_QUARANTINE] = {"quarantine", LOG_LEVEL_ERROR},
    [EVENT_REPAIRED] = {"repaired", LOG_LEVEL_INFO},
    [EVENT_STATE_HEALED] = {"state-healed", LOG_LEVEL_WARN},
    [EVENT_TWIN] = {"twin", LOG_LEVEL_ERROR},
    [EVENT_RECOVERED] = {"recovered", LOG_LEVEL_WARN},
    [EVENT_STRANGER] = {"stranger", LOG_LEVEL_WARN},
    [EVENT_CLOCK] = {"clock", LOG_LEVEL_WARN},
    [EVENT_STALL] = {"stall", LOG_LEVEL_WARN},
    [EVENT_SLEEP] = {"sleep", LOG_LEVEL_INFO},
    [EVENT_AWAKE] = {"awake", LOG_LEVEL_INFO},
};

/* As long as its words are. */
struct kept {
    uint64_t seq;
    int64_t time_ns;
    enum log_level level;
    char kind[EVENT_KIND_MAX];
    char zone[EVENT_ZONE_MAX];
    char words[];
};

struct rate {
    int64_t since_ns;
    uint32_t n;
    uint32_t dropped;
};

/* One a process. All below the lock, but for the file, which is the thread's. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_cond_t ended;
    bool open;
    bool stopping;
    bool has_ended;
    struct kept *ring[EVENT_KEPT_MAX]; /* By seq % EVENT_KEPT_MAX. */
    uint64_t newest;
    uint64_t written; /* Up to this number, given to the file or not to be. */
    struct rate rates[EVENT_KINDS];
    pthread_t thread;
    struct event_file file;
} evlog = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .wake = PTHREAD_COND_INITIALIZER,
           .ended = PTHREAD_COND_INITIALIZER};

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Numbers it and keeps it in place of the one that leaves. */
static void keep(const struct event *event)
{
    size_t len = strlen(event->words) + 1;
    struct kept *kept = malloc(sizeof *kept + len);
    struct kept **place;

    if (kept == NULL) {
        return; /* It is in the log. */
    }
    *kept = (struct kept){
        .seq = ++evlog.newest, .time_ns = event->time_ns, .level = event->level};
    memcpy(kept->kind, event->kind, sizeof kept->kind);
    memcpy(kept->zone, event->zone, sizeof kept->zone);
    memcpy(kept->words, event->words, len);
    place = &evlog.ring[kept->seq % EVENT_KEPT_MAX];
    free(*place);
    *place = kept;
}

/* What somebody else chose must neither steer a terminal nor break a line of the log. */
static void mask(char *words)
{
    for (; *words != '\0'; words++) {
        unsigned char c = (unsigned char)*words;

        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\') {
            *words = c == '"' ? '\'' : '?';
        }
    }
}

static void make(enum event_kind kind, const char *zone, int64_t time_ns,
                 struct event *out)
{
    *out = (struct event){.time_ns = time_ns, .level = kinds[kind].level};
    (void)snprintf(out->kind, sizeof out->kind, "%s", kinds[kind].word);
    (void)snprintf(out->zone, sizeof out->zone, "%s", zone == NULL ? "" : zone);
}

/* False: of this kind there were enough for now. */
static bool admit(enum event_kind kind, int64_t time_ns)
{
    struct rate *rate = &evlog.rates[kind];

    if (time_ns < rate->since_ns || time_ns >= rate->since_ns + RATE_NS) {
        if (rate->dropped > 0) {
            struct event more;

            make(kind, NULL, time_ns, &more);
            (void)snprintf(more.words, sizeof more.words,
                           "%u more of this kind in a minute: see the log",
                           rate->dropped);
            keep(&more);
        }
        *rate = (struct rate){.since_ns = time_ns};
    }
    if (rate->n >= EVENT_RATE_MAX) {
        rate->dropped++;
        return false;
    }
    rate->n++;
    return true;
}

void event_tell(enum event_kind kind, const char *zone, const char *format, ...)
{
    struct event event;
    va_list args;

    ASSERT(kind < EVENT_KINDS);
    make(kind, zone, now_ns(), &event);
    va_start(args, format);
    vsnprintf(event.words, sizeof event.words, format, args);
    va_end(args);
    mask(event.words);
    if (event.zone[0] != '\0') {
        log_write(event.level, "daemon", "msg=\"%s\" event=%s zone=%s", event.words,
                  event.kind, event.zone);
    } else {
        log_write(event.level, "daemon", "msg=\"%s\" event=%s", event.words, event.kind);
    }
    pthread_mutex_lock(&evlog.lock);
    if (evlog.open && admit(kind, event.time_ns)) {
        keep(&event);
        pthread_cond_signal(&evlog.wake);
    }
    pthread_mutex_unlock(&evlog.lock);
}

/* The lock is held. */
static bool after(uint64_t seq, struct event *out)
{
    const struct kept *kept = NULL;

    if (seq + EVENT_KEPT_MAX < evlog.newest) {
        seq = evlog.newest - EVENT_KEPT_MAX;
    }
    if (seq < evlog.newest) {
        kept = evlog.ring[(seq + 1) % EVENT_KEPT_MAX];
    }
    if (kept == NULL) {
        return false;
    }
    *out =
        (struct event){.seq = kept->seq, .time_ns = kept->time_ns, .level = kept->level};
    memcpy(out->kind, kept->kind, sizeof out->kind);
    memcpy(out->zone, kept->zone, sizeof out->zone);
    (void)snprintf(out->words, sizeof out->words, "%s", kept->words);
    return true;
}

bool event_after(uint64_t seq, struct event *out)
{
    bool found;

    pthread_mutex_lock(&evlog.lock);
    found = after(seq, out);
    pthread_mutex_unlock(&evlog.lock);
    return found;
}

uint64_t event_newest(void)
{
    uint64_t newest;

    pthread_mutex_lock(&evlog.lock);
    newest = evlog.newest;
    pthread_mutex_unlock(&evlog.lock);
    return newest;
}

/* Up to WRITE_MAX events that are not in the file; waits for the first. */
static uint32_t take(struct event *events)
{
    uint32_t n = 0;

    pthread_mutex_lock(&evlog.lock);
    while (evlog.written >= evlog.newest && !evlog.stopping) {
        pthread_cond_wait(&evlog.wake, &evlog.lock);
    }
    while (n < WRITE_MAX && after(evlog.written, &events[n])) {
        evlog.written = events[n++].seq;
    }
    pthread_mutex_unlock(&evlog.lock);
    return n;
}

static void *write_all(void *arg)
{
    struct event *events = arg;
    uint32_t n;

    while ((n = take(events)) > 0) {
        (void)event_file_append(&evlog.file, events, n);
    }
    event_file_close(&evlog.file);
    free(events);
    pthread_mutex_lock(&evlog.lock);
    evlog.has_ended = true;
    pthread_cond_signal(&evlog.ended);
    pthread_mutex_unlock(&evlog.lock);
    return NULL;
}

struct loading {
    bool running; /* The last of start and stop was a start. */
};

static void load_one(void *ctx, const struct event *event)
{
    struct loading *loading = ctx;

    if (strcmp(event->kind, kinds[EVENT_START].word) == 0) {
        loading->running = true;
    } else if (strcmp(event->kind, kinds[EVENT_STOP].word) == 0 ||
               strcmp(event->kind, kinds[EVENT_RECOVERY].word) == 0) {
        loading->running = false; /* A crash is told once, also if no start follows. */
    }
    keep(event);
}

static int start(void)
{
    struct event *events = calloc(WRITE_MAX, sizeof *events);
    pthread_attr_t attr;
    int rv;

    if (events == NULL) {
        return -ENOMEM;
    }
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    rv = pthread_create(&evlog.thread, &attr, write_all, events);
    pthread_attr_destroy(&attr);
    if (rv != 0) {
        free(events);
    }
    return -rv;
}

int event_log_open(struct disk *disk, const char *dir, bool *crashed)
{
    struct loading loading = {0};
    int rv;

    pthread_mutex_lock(&evlog.lock);
    ASSERT(!evlog.open);
    event_file_open(&evlog.file, disk, dir, load_one, &loading);
    evlog.written = evlog.newest;
    evlog.stopping = false;
    evlog.has_ended = false;
    rv = start();
    evlog.open = rv == 0;
    pthread_mutex_unlock(&evlog.lock);
    *crashed = loading.running;
    return rv;
}

void event_log_close(void)
{
    struct timespec until;

    pthread_mutex_lock(&evlog.lock);
    if (!evlog.open) {
        pthread_mutex_unlock(&evlog.lock);
        return;
    }
    evlog.open = false;
    evlog.stopping = true;
    pthread_cond_signal(&evlog.wake);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += CLOSE_S;
    while (!evlog.has_ended &&
           pthread_cond_timedwait(&evlog.ended, &evlog.lock, &until) == 0) {
    }
    if (!evlog.has_ended) {
        pthread_mutex_unlock(&evlog.lock); /* The disk hangs; the process ends anyway. */
        return;
    }
    pthread_mutex_unlock(&evlog.lock);
    pthread_join(evlog.thread, NULL);
    for (uint32_t i = 0; i < EVENT_KEPT_MAX; i++) {
        free(evlog.ring[i]);
        evlog.ring[i] = NULL;
    }
    evlog.newest = 0;
    memset(evlog.rates, 0, sizeof evlog.rates);
}
