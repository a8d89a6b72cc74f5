#include "daemon/logind_uv.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#define SERVICE "org.freedesktop.login1"
#define OBJECT "/org/freedesktop/login1"
#define MANAGER "org.freedesktop.login1.Manager"
#define AGAIN_MS 60000u /* After which a bus is looked for again. */
#define TURN_MAX 64u    /* Messages taken in one turn of the loop. */
#define CHECKS_MAX 8u   /* Signals whose sender is being looked at. */
#define SENDER_MAX 256u /* D-Bus specification: a name has 255 bytes at most. */

struct logind_uv;

/* Its own allocation: it outlives the connection until the loop has let go of it. */
struct watch {
    uv_poll_t poll;
    struct logind_uv *logind;
};

/* A signal of logind's, if its sender is logind: any user of the machine may send one. */
struct check {
    struct logind_uv *logind;
    bool used;
    bool begins;
    enum suspend_why why;
    char sender[SENDER_MAX];
};

struct logind_uv {
    uv_loop_t *loop;
    struct logind_callbacks callbacks;
    struct suspend suspend;
    sd_bus *bus; /* NULL: there is none. */
    struct watch *watch;
    int fd;      /* The one that is watched. */
    int lock_fd; /* -1: no lock is held. */
    struct check checks[CHECKS_MAX];
    uv_timer_t bus_timer;  /* What the bus wants, or the next look for one. */
    uv_timer_t look_timer; /* What suspend wants. */
    uint64_t left_ms;      /* When the last leaving began. */
    unsigned open;         /* Handles that are not closed yet. */
    void (*closed)(void *arg);
    void *arg;
};

/* CLOCK_MONOTONIC, which stands still while the machine sleeps. */
static uint64_t awake_ms(void)
{
    return uv_hrtime() / 1000000;
}

static void run_bus(struct logind_uv *logind);

static void close_lock(struct logind_uv *logind)
{
    if (logind->lock_fd >= 0) {
        close(logind->lock_fd);
        logind->lock_fd = -1;
    }
}

/* --- What suspend says. --- */

static int on_lock(sd_bus_message *message, void *arg, sd_bus_error *error);

static void step(struct logind_uv *logind, struct suspend_event event);

static void ask_lock(struct logind_uv *logind)
{
    int rv = sd_bus_call_method_async(logind->bus, NULL, SERVICE, OBJECT, MANAGER,
                                      "Inhibit", on_lock, logind, "ssss", "sleep",
                                      "GrapeVineFS", "Zones are handed over", "delay");

    if (rv < 0) {
        log_warn("daemon", "msg=\"cannot ask logind for a lock\" error=\"%s\"",
                 strerror(-rv));
        step(logind, (struct suspend_event){.type = SUSPEND_EV_REFUSED});
    }
}

static void on_look(uv_timer_t *timer)
{
    struct logind_uv *logind = timer->data;

    step(logind, (struct suspend_event){
                     .type = SUSPEND_EV_LOOK,
                     .leaving = logind->callbacks.leaving(logind->callbacks.ctx)});
    if (logind->bus != NULL) {
        run_bus(logind); /* What was just asked for is to get out. */
    }
}

static void arm_look(struct logind_uv *logind)
{
    uint64_t now_ms = awake_ms();
    uint64_t at_ms = suspend_look_ms(&logind->suspend, now_ms);

    if (at_ms == UINT64_MAX) {
        uv_timer_stop(&logind->look_timer);
    } else {
        uv_timer_start(&logind->look_timer, on_look, at_ms > now_ms ? at_ms - now_ms : 0,
                       0);
    }
}

static void step(struct logind_uv *logind, struct suspend_event event)
{
    const struct logind_callbacks *callbacks = &logind->callbacks;
    enum suspend_state before = logind->suspend.state;
    uint32_t todo;

    event.now_ms = awake_ms();
    todo = suspend_step(&logind->suspend, &event);
    if ((todo & SUSPEND_DO_LEAVE) != 0) {
        logind->left_ms = event.now_ms;
        callbacks->leave(callbacks->ctx, event.why);
    }
    if (before == SUSPEND_LEAVING && logind->suspend.state == SUSPEND_LEFT) {
        callbacks->left(callbacks->ctx, logind->suspend.leaving,
                        event.now_ms - logind->left_ms);
    }
    if ((todo & SUSPEND_DO_RELEASE) != 0) {
        close_lock(logind);
    }
    if ((todo & SUSPEND_DO_WAKE) != 0) {
        callbacks->wake(callbacks->ctx);
    }
    arm_look(logind);
    if ((todo & SUSPEND_DO_LOCK) != 0) {
        ask_lock(logind);
    }
}

/* --- What logind says. --- */

static int on_lock(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    struct logind_uv *logind = arg;
    const sd_bus_error *refusal = sd_bus_message_get_error(message);
    int fd = -1;
    int rv;

    (void)error;
    if (refusal != NULL) {
        log_info("daemon",
                 "msg=\"logind gives no lock: this machine may sleep before leadership "
                 "is handed over\" error=\"%s\"",
                 refusal->name);
        step(logind, (struct suspend_event){.type = SUSPEND_EV_REFUSED});
        return 0;
    }
    rv = sd_bus_message_read(message, "h", &fd);
    if (rv >= 0) {
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* That one goes with the message. */
        rv = fd < 0 ? -errno : 0;
    }
    if (rv < 0) {
        log_warn("daemon", "msg=\"logind's lock cannot be taken\" error=\"%s\"",
                 strerror(-rv));
        step(logind, (struct suspend_event){.type = SUSPEND_EV_REFUSED});
        return 0;
    }
    close_lock(logind);
    logind->lock_fd = fd;
    log_info("daemon", "msg=\"told before this machine sleeps\"");
    step(logind, (struct suspend_event){.type = SUSPEND_EV_LOCKED});
    return 0;
}

/* Who logind is, asked of the bus, after the signal @arg came. */
static int on_owner(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    struct check *check = arg;
    struct logind_uv *logind = check->logind;
    const char *owner = NULL;

    (void)error;
    check->used = false;
    if (sd_bus_message_get_error(message) != NULL ||
        sd_bus_message_read(message, "s", &owner) < 0 ||
        strcmp(owner, check->sender) != 0) {
        log_warn("daemon", "msg=\"somebody else speaks for logind\" name=\"%s\"",
                 check->sender);
        return 0;
    }
    step(logind, (struct suspend_event){
                     .type = check->begins ? SUSPEND_EV_BEGINS : SUSPEND_EV_ENDS,
                     .why = check->why});
    return 0;
}

static struct check *check_new(struct logind_uv *logind)
{
    for (uint32_t i = 0; i < CHECKS_MAX; i++) {
        if (!logind->checks[i].used) {
            logind->checks[i] = (struct check){.logind = logind};
            return &logind->checks[i];
        }
    }
    return NULL;
}

static int on_prepare(struct logind_uv *logind, sd_bus_message *message,
                      enum suspend_why why)
{
    const char *sender = sd_bus_message_get_sender(message);
    struct check *check = check_new(logind);
    int begins = 0;

    if (check == NULL || sender == NULL || strlen(sender) >= sizeof check->sender ||
        sd_bus_message_read(message, "b", &begins) < 0) {
        return 0;
    }
    check->why = why;
    check->begins = begins != 0;
    strcpy(check->sender, sender);
    check->used =
        sd_bus_call_method_async(logind->bus, NULL, "org.freedesktop.DBus",
                                 "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                 "GetNameOwner", on_owner, check, "s", SERVICE) >= 0;
    return 0;
}

static int on_sleep(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    (void)error;
    return on_prepare(arg, message, SUSPEND_SLEEP);
}

static int on_shutdown(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    (void)error;
    return on_prepare(arg, message, SUSPEND_SHUTDOWN);
}

/* --- The bus on the loop. --- */

static void on_bus_timer(uv_timer_t *timer);

static void handle_closed(struct logind_uv *logind)
{
    logind->open--;
    if (logind->open == 0) {
        void (*closed)(void *) = logind->closed;
        void *arg = logind->arg;

        free(logind);
        closed(arg);
    }
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *watch = handle->data;
    struct logind_uv *logind = watch->logind;

    free(watch);
    handle_closed(logind);
}

static void disconnect(struct logind_uv *logind)
{
    if (logind->watch != NULL) {
        uv_close((uv_handle_t *)&logind->watch->poll, on_watch_closed);
        logind->watch = NULL;
    }
    sd_bus_close_unref(logind->bus); /* NULL is a no-op. */
    logind->bus = NULL;
    memset(logind->checks, 0, sizeof logind->checks);
}

static void lose(struct logind_uv *logind, int rv)
{
    log_info("daemon",
             "msg=\"the system bus is gone: nothing is heard of this machine's sleep\" "
             "error=\"%s\"",
             strerror(-rv));
    disconnect(logind);
    step(logind, (struct suspend_event){.type = SUSPEND_EV_LOST});
    uv_timer_start(&logind->bus_timer, on_bus_timer, AGAIN_MS, 0);
}

static void on_io(uv_poll_t *poll, int status, int events)
{
    const struct watch *watch = poll->data;

    (void)status; /* The bus finds out by itself. */
    (void)events;
    run_bus(watch->logind);
}

/* Wait for what the bus waits for. 0 or a fault. */
static int arm_bus(struct logind_uv *logind, bool more)
{
    int events = sd_bus_get_events(logind->bus);
    uint64_t until_us = UINT64_MAX;
    uint64_t now_us = uv_hrtime() / 1000;
    int rv;

    if (events < 0) {
        return events;
    }
    if (sd_bus_get_fd(logind->bus) != logind->fd) {
        return -ECONNRESET;
    }
    rv = sd_bus_get_timeout(logind->bus, &until_us);
    if (rv < 0) {
        return rv;
    }
    if (more || until_us != UINT64_MAX) {
        uint64_t rest_us = more || until_us <= now_us ? 0 : until_us - now_us;

        uv_timer_start(&logind->bus_timer, on_bus_timer, (rest_us + 999) / 1000, 0);
    } else {
        uv_timer_stop(&logind->bus_timer);
    }
    return uv_poll_start(&logind->watch->poll,
                         ((events & POLLIN) != 0 ? UV_READABLE : 0) |
                             ((events & POLLOUT) != 0 ? UV_WRITABLE : 0),
                         on_io);
}

static void run_bus(struct logind_uv *logind)
{
    int rv = 1;

    for (uint32_t i = 0; rv > 0 && i < TURN_MAX; i++) {
        rv = sd_bus_process(logind->bus, NULL);
    }
    if (rv >= 0) {
        rv = arm_bus(logind, rv > 0);
    }
    if (rv < 0) {
        lose(logind, rv);
    }
}

static int watch_bus(struct logind_uv *logind)
{
    struct watch *watch;
    int rv;

    logind->fd = sd_bus_get_fd(logind->bus);
    if (logind->fd < 0) {
        return logind->fd;
    }
    watch = calloc(1, sizeof *watch);
    if (watch == NULL) {
        return -ENOMEM;
    }
    rv = uv_poll_init(logind->loop, &watch->poll, logind->fd);
    if (rv != 0) {
        free(watch);
        return rv;
    }
    watch->poll.data = watch;
    watch->logind = logind;
    logind->watch = watch;
    logind->open++;
    return 0;
}

static int subscribe(struct logind_uv *logind)
{
    int rv = sd_bus_match_signal_async(logind->bus, NULL, SERVICE, OBJECT, MANAGER,
                                       "PrepareForSleep", on_sleep, NULL, logind);

    return rv < 0 ? rv
                  : sd_bus_match_signal_async(logind->bus, NULL, SERVICE, OBJECT, MANAGER,
                                              "PrepareForShutdown", on_shutdown, NULL,
                                              logind);
}

/* 0 or a fault: there is no bus. */
static int connect_bus(struct logind_uv *logind)
{
    int rv = sd_bus_open_system(&logind->bus); /* It begins to connect. */

    if (rv >= 0) {
        rv = watch_bus(logind);
    }
    if (rv >= 0) {
        rv = subscribe(logind);
    }
    if (rv < 0) {
        disconnect(logind);
        uv_timer_start(&logind->bus_timer, on_bus_timer, AGAIN_MS, 0);
        return rv;
    }
    step(logind, (struct suspend_event){.type = SUSPEND_EV_BUS});
    run_bus(logind);
    return 0;
}

static void on_bus_timer(uv_timer_t *timer)
{
    struct logind_uv *logind = timer->data;

    if (logind->bus != NULL) {
        run_bus(logind);
    } else {
        (void)connect_bus(logind); /* It was told that there is none. */
    }
}

int logind_uv_open(uv_loop_t *loop, const struct logind_callbacks *callbacks,
                   struct logind_uv **out)
{
    struct logind_uv *logind = calloc(1, sizeof *logind);
    int rv;

    if (logind == NULL) {
        return -ENOMEM;
    }
    logind->loop = loop;
    logind->callbacks = *callbacks;
    logind->lock_fd = -1;
    uv_timer_init(loop, &logind->bus_timer);
    uv_timer_init(loop, &logind->look_timer);
    logind->bus_timer.data = logind;
    logind->look_timer.data = logind;
    logind->open = 2;
    rv = connect_bus(logind);
    if (rv != 0) {
        log_info("daemon",
                 "msg=\"no system bus: nothing is heard of this machine's sleep\" "
                 "error=\"%s\"",
                 strerror(-rv));
    }
    *out = logind;
    return 0;
}

const char *logind_uv_view(const struct logind_uv *logind)
{
    switch (logind->suspend.state) {
    case SUSPEND_LEAVING:
        return "leaving";
    case SUSPEND_LEFT:
        return "left";
    case SUSPEND_AWAKE:
        break;
    }
    if (!logind->suspend.bus) {
        return "absent";
    }
    return logind->suspend.locked ? "ready"
                                  : (logind->suspend.asking ? "asking" : "refused");
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void logind_uv_close(struct logind_uv *logind, void (*closed)(void *arg), void *arg)
{
    ASSERT(logind->closed == NULL);
    logind->closed = closed;
    logind->arg = arg;
    disconnect(logind);
    close_lock(logind);
    uv_close((uv_handle_t *)&logind->bus_timer, on_timer_closed);
    uv_close((uv_handle_t *)&logind->look_timer, on_timer_closed);
}
