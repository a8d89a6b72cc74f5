#include "cli/ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES_MIN 4096u

struct bytes {
    char *data;
    size_t len;
    size_t cap;
};

static int fail(struct ctl_reply *reply, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static int fail(struct ctl_reply *reply, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reply->error, sizeof reply->error, format, args);
    va_end(args);
    return -1;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Wait for @events on @fd: 0, or -1 at @deadline or on an error. */
static int wait_for(int fd, short events, int64_t deadline)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline - now_ms();
        int rv;

        if (left <= 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        rv = poll(&poll_fd, 1, left < INT32_MAX ? (int)left : -1);
        if (rv > 0) {
            return 0;
        }
        if (rv < 0 && errno != EINTR) {
            return -1;
        }
    }
}

static int open_socket(const char *path, int64_t deadline, struct ctl_reply *reply)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (path[0] == '\0' || strlen(path) >= sizeof address.sun_path) {
        return fail(reply, "the socket path '%.100s' is empty or longer than %zu bytes",
                    path, sizeof address.sun_path - 1);
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fail(reply, "no socket: %s", strerror(errno));
    }
    /* EAGAIN: the daemon's queue of connections is full; that passes. */
    while (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        int err = errno;

        if (err == EAGAIN && now_ms() < deadline) {
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
            continue;
        }
        close(fd);
        if (err == EACCES || err == EPERM) {
            reply->denied = true;
            return fail(reply, "%s: %s; run gvraft as the daemon's user or as root", path,
                        strerror(err));
        }
        reply->away = err == ENOENT || err == ECONNREFUSED || err == EAGAIN;
        return fail(reply,
                    "%s: %s; is grapevined running? (--socket or GV_SOCKET name "
                    "another socket)",
                    path, strerror(err));
    }
    return fd;
}

static int send_all(int fd, const char *data, size_t len, int64_t deadline)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            if (wait_for(fd, POLLOUT, deadline) != 0) {
                return -1;
            }
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

/* Room for at least one more read, up to one byte above the limit. */
static bool grow(struct bytes *bytes)
{
    size_t cap = bytes->cap == 0 ? READ_BYTES_MIN : bytes->cap * 2;
    char *data;

    if (bytes->len < bytes->cap) {
        return true;
    }
    if (cap > CTL_REPLY_MAX + 1u) {
        cap = CTL_REPLY_MAX + 1u;
    }
    data = cap > bytes->cap ? realloc(bytes->data, cap) : NULL;
    if (data == NULL) {
        return false;
    }
    bytes->data = data;
    bytes->cap = cap;
    return true;
}

/* Read until the newline. */
static int receive(int fd, struct bytes *bytes, int64_t deadline, struct ctl_reply *reply)
{
    for (;;) {
        ssize_t n;

        if (!grow(bytes)) {
            return bytes->len > CTL_REPLY_MAX ? fail(reply, "the answer is too long")
                                              : fail(reply, "out of memory");
        }
        n = recv(fd, bytes->data + bytes->len, bytes->cap - bytes->len, 0);
        if (n > 0) {
            bytes->len += (size_t)n;
            if (memchr(bytes->data + bytes->len - n, '\n', (size_t)n) != NULL) {
                return 0;
            }
        } else if (n == 0) {
            reply->away = true;
            return fail(reply, "the daemon closed the connection without an answer (it "
                               "may have stopped); its log says why");
        } else if (errno == EAGAIN) {
            if (wait_for(fd, POLLIN, deadline) != 0) {
                return fail(reply,
                            "no answer for %d s; what was asked for may still be done: "
                            "see gvraft status and the daemon's log",
                            CTL_WAIT_S_MAX);
            }
        } else if (errno != EINTR) {
            reply->away = errno == ECONNRESET;
            return fail(reply, "the daemon's answer did not arrive: %s", strerror(errno));
        }
    }
}

static int malformed(struct ctl_reply *reply)
{
    return fail(reply, "the answer is not what grapevined sends: is this its socket, and "
                       "are gvraft and grapevined of one version?");
}

static bool is_texts(const cJSON *array)
{
    const cJSON *item;

    if (!cJSON_IsArray(array)) {
        return false;
    }
    cJSON_ArrayForEach(item, array)
    {
        if (!cJSON_IsString(item)) {
            return false;
        }
    }
    return true;
}

static int parse(struct bytes *bytes, struct ctl_reply *reply)
{
    const char *newline = memchr(bytes->data, '\n', bytes->len);
    const cJSON *ok;
    const cJSON *error;

    if (newline != bytes->data + bytes->len - 1) {
        return malformed(reply);
    }
    reply->whole = cJSON_ParseWithLength(bytes->data, bytes->len);
    ok = cJSON_GetObjectItemCaseSensitive(reply->whole, "ok");
    if (cJSON_IsFalse(ok)) {
        error = cJSON_GetObjectItemCaseSensitive(reply->whole, "error");
        return cJSON_IsString(error) ? fail(reply, "%s", error->valuestring)
                                     : malformed(reply);
    }
    reply->result = cJSON_GetObjectItemCaseSensitive(reply->whole, "result");
    reply->warnings = cJSON_GetObjectItemCaseSensitive(reply->whole, "warnings");
    if (!cJSON_IsTrue(ok) || !cJSON_IsObject(reply->result) ||
        (reply->warnings != NULL && !is_texts(reply->warnings))) {
        return malformed(reply);
    }
    return 0;
}

/* The request's line, to be freed; NULL without memory. Takes @args. */
static char *request_line(const char *command, cJSON *args)
{
    cJSON *request = cJSON_CreateObject();
    char *line = NULL;
    size_t len;

    if (request == NULL || args == NULL) {
        cJSON_Delete(request);
        cJSON_Delete(args);
        return NULL;
    }
    cJSON_AddNumberToObject(request, "version", 1);
    cJSON_AddStringToObject(request, "command", command);
    cJSON_AddItemToObject(request, "args", args);
    line = cJSON_PrintUnformatted(request);
    cJSON_Delete(request);
    if (line != NULL) {
        char *longer;

        len = strlen(line);
        longer = realloc(line, len + 2);
        if (longer == NULL) {
            free(line);
            return NULL;
        }
        line = longer;
        strcpy(line + len, "\n");
    }
    return line;
}

/* Connect and send; the connection, or -1 with the reply's error. Takes @args. */
static int ask(const char *socket, const char *command, cJSON *args, int64_t deadline,
               struct ctl_reply *reply)
{
    char *line = request_line(command, args != NULL ? args : cJSON_CreateObject());
    int fd;

    *reply = (struct ctl_reply){0};
    if (line == NULL) {
        return fail(reply, "out of memory");
    }
    fd = open_socket(socket, deadline, reply);
    /* A daemon that refuses may answer and close before it has read everything. */
    if (fd >= 0 && send_all(fd, line, strlen(line), deadline) != 0 && errno != EPIPE &&
        errno != ECONNRESET) {
        (void)fail(reply, "%s: %s", socket, strerror(errno));
        close(fd);
        fd = -1;
    }
    free(line);
    return fd;
}

/* A command that waits for a majority, or for data to be copied, looks like one that hangs. */
static void tell_wait(int fd)
{
    if (isatty(STDERR_FILENO) &&
        wait_for(fd, POLLIN, now_ms() + CTL_PATIENCE_S * 1000) != 0) {
        fputs("gvraft: waiting for grapevined; ^C ends the wait, not what is under way\n",
              stderr);
    }
}

int ctl_call(const char *socket, const char *command, cJSON *args,
             struct ctl_reply *reply)
{
    int64_t deadline = now_ms() + CTL_WAIT_S_MAX * 1000;
    int fd = ask(socket, command, args, deadline, reply);
    struct bytes bytes = {0};
    int rv;

    if (fd < 0) {
        return -1;
    }
    tell_wait(fd);
    rv = receive(fd, &bytes, deadline, reply);
    if (rv == 0) {
        rv = parse(&bytes, reply);
    }
    close(fd);
    free(bytes.data);
    return rv;
}

/* Take the first line off @bytes into @line, if there is one. */
static bool take_line(struct bytes *bytes, struct bytes *line)
{
    const char *end = bytes->len == 0 ? NULL : memchr(bytes->data, '\n', bytes->len);
    size_t len;

    if (end == NULL) {
        return false;
    }
    len = (size_t)(end - bytes->data) + 1;
    free(line->data);
    *line = (struct bytes){.data = malloc(len), .len = len};
    if (line->data == NULL) {
        return false;
    }
    memcpy(line->data, bytes->data, len);
    memmove(bytes->data, bytes->data + len, bytes->len - len);
    bytes->len -= len;
    return true;
}

static int follow_lines(int fd, struct bytes *bytes, const struct ctl_follow *follow,
                        struct ctl_reply *reply)
{
    struct bytes line = {0};
    int rv = 0;
    bool go_on = true;

    while (rv == 0 && go_on) {
        if (!take_line(bytes, &line)) {
            /* Events may come years apart: only the connection's end ends it. */
            rv = receive(fd, bytes, INT64_MAX, reply);
        } else {
            cJSON *json = cJSON_ParseWithLength(line.data, line.len);

            rv = cJSON_IsObject(json) ? 0 : malformed(reply);
            go_on = rv != 0 || follow->each(follow->ctx, json);
            cJSON_Delete(json);
        }
    }
    free(line.data);
    return rv;
}

int ctl_follow(const char *socket, const char *command, cJSON *args,
               const struct ctl_follow *follow, struct ctl_reply *reply)
{
    int64_t deadline = now_ms() + CTL_WAIT_S_MAX * 1000;
    int fd = ask(socket, command, args, deadline, reply);
    struct bytes bytes = {0};
    struct bytes line = {0};
    int rv;

    if (fd < 0) {
        return -1;
    }
    rv = receive(fd, &bytes, deadline, reply);
    if (rv == 0) {
        rv =
            take_line(&bytes, &line) ? parse(&line, reply) : fail(reply, "out of memory");
    }
    if (rv == 0) {
        follow->first(follow->ctx, reply);
        rv = follow_lines(fd, &bytes, follow, reply);
    }
    close(fd);
    free(bytes.data);
    free(line.data);
    return rv;
}

void ctl_reply_deinit(struct ctl_reply *reply)
{
    cJSON_Delete(reply->whole);
    reply->whole = NULL;
    reply->result = NULL;
    reply->warnings = NULL;
}
