/*
 * login1: as much of logind as grapevined speaks to, on a bus of a test's own.
 *
 *   login1              be logind; commands on standard input, one a line:
 *                         sleep 1|0, shutdown 1|0   send the signal
 *                         stop PID                  stop that process when the lock goes
 *                       Standard output: "ready", then "lock WHAT MODE SENDER" for each
 *                       lock that is taken and "released" for each that is given up.
 *   login1 forge NAME   send NAME a PrepareForSleep without being logind
 *
 * With "stop" it does what a machine does that falls asleep as soon as it may.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define SERVICE "org.freedesktop.login1"
#define OBJECT "/org/freedesktop/login1"
#define MANAGER "org.freedesktop.login1.Manager"

static sd_bus *bus;
static sd_event *loop;
static pid_t stop_pid;

static void check(int rv, const char *what)
{
    if (rv < 0) {
        fprintf(stderr, "login1: %s: %s\n", what, strerror(-rv));
        exit(1);
    }
}

/* The other end of a lock was closed: it is given up. */
static int on_released(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    (void)events;
    (void)arg;
    if (stop_pid != 0) {
        check(kill(stop_pid, SIGSTOP) == 0 ? 0 : -errno, "stop");
        stop_pid = 0;
    }
    puts("released");
    sd_event_source_unref(source);
    close(fd);
    return 0;
}

static int on_inhibit(sd_bus_message *message, void *arg, sd_bus_error *error)
{
    const char *what;
    const char *who;
    const char *why;
    const char *mode;
    sd_event_source *source = NULL;
    int ends[2];

    (void)arg;
    (void)error;
    check(sd_bus_message_read(message, "ssss", &what, &who, &why, &mode), "read");
    check(pipe2(ends, O_CLOEXEC) == 0 ? 0 : -errno, "pipe");
    check(sd_event_add_io(loop, &source, ends[0], 0 /* The end of the other side. */,
                          on_released, NULL),
          "watch");
    printf("lock %s %s %s\n", what, mode, sd_bus_message_get_sender(message));
    check(sd_bus_reply_method_return(message, "h", ends[1]), "reply");
    close(ends[1]);
    return 1;
}

static void tell(const char *signal, int begins)
{
    check(sd_bus_emit_signal(bus, OBJECT, MANAGER, signal, "b", begins), signal);
    check(sd_bus_flush(bus), "flush");
}

static int on_command(sd_event_source *source, int fd, uint32_t events, void *arg)
{
    char line[256];
    int value;

    (void)source;
    (void)fd;
    (void)events;
    (void)arg;
    if (fgets(line, sizeof line, stdin) == NULL) {
        return sd_event_exit(loop, 0);
    }
    if (sscanf(line, "sleep %d", &value) == 1) {
        tell("PrepareForSleep", value);
    } else if (sscanf(line, "shutdown %d", &value) == 1) {
        tell("PrepareForShutdown", value);
    } else if (sscanf(line, "stop %d", &value) == 1) {
        stop_pid = value;
    }
    return 0;
}

static const sd_bus_vtable manager[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Inhibit", "ssss", "h", on_inhibit, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("PrepareForSleep", "b", 0),
    SD_BUS_SIGNAL("PrepareForShutdown", "b", 0),
    SD_BUS_VTABLE_END,
};

static int forge(const char *name)
{
    sd_bus_message *message = NULL;

    check(sd_bus_message_new_signal(bus, &message, OBJECT, MANAGER, "PrepareForSleep"),
          "signal");
    check(sd_bus_message_set_destination(message, name), "destination");
    check(sd_bus_message_append(message, "b", 1), "append");
    check(sd_bus_send(bus, message, NULL), "send");
    check(sd_bus_flush(bus), "flush");
    sd_bus_message_unref(message);
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    setvbuf(stdin, NULL, _IONBF, 0); /* Nothing is to wait where poll does not see it. */
    check(sd_bus_open_system(&bus), "bus");
    if (argc == 3 && strcmp(argv[1], "forge") == 0) {
        return forge(argv[2]);
    }
    check(sd_event_new(&loop), "loop");
    check(sd_bus_attach_event(bus, loop, 0), "attach");
    check(sd_bus_add_object_vtable(bus, NULL, OBJECT, MANAGER, manager, NULL), "object");
    check(sd_bus_request_name(bus, SERVICE, 0), "name");
    check(sd_event_add_io(loop, NULL, STDIN_FILENO, 1 /* EPOLLIN */, on_command, NULL),
          "commands");
    puts("ready");
    return sd_event_loop(loop) < 0 ? 1 : 0;
}
