/*
 * ctl_uv: the control socket: one JSON line in, one JSON line out, then close; but who
 * follows the events gets a line for each that comes, until it goes.
 *
 * A follower costs one buffer: the next lines are made when the last ones were taken, and
 * what it did not take in time is dropped from the memory of events, not kept for it.
 *
 * Format: docs/formats/control.md. Only who may write to the socket's folder and file
 * (mode 0600) can ask.
 */
#include "daemon/node.h"

#include "base/assert.h"
#include "base/log.h"
#include "daemon/event.h"
#include "daemon/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_MAX 65536u
#define CLIENTS_MAX 64u
#define FOLLOWERS_MAX 16u
#define FOLLOW_BYTES 65536u /* Of lines at once. */

struct client;

struct ctl {
    struct node *node;
    uv_pipe_t listener;
    uint32_t n_clients;
    struct client *clients;
    bool accept_waits; /* No memory for a client; ctl_tick asks again. */
    bool closed;
    char path[CONFIG_TEXT_MAX];
};

struct client {
    uv_pipe_t pipe;
    struct ctl *ctl;
    char *request; /* REQUEST_MAX bytes. */
    size_t len;
    bool asked;
    bool closing;
    bool closed;
    bool waiting; /* The answer will still come. */
    bool writing;
    struct events_filter follow;
    struct client *next;
    uv_write_t write;
    char *answer;
};

static void client_free(struct client *client)
{
    if (client->closed && !client->waiting) {
        free(client->request);
        free(client->answer);
        free(client);
    }
}

static void ctl_free(struct ctl *ctl)
{
    if (ctl->closed && ctl->n_clients == 0) {
        free(ctl);
    }
}

static void on_client_closed(uv_handle_t *handle)
{
    struct client *client = handle->data;
    struct ctl *ctl = client->ctl;
    struct client **link = &ctl->clients;

    while (*link != client) {
        link = &(*link)->next;
    }
    *link = client->next;
    ctl->n_clients--;
    client->closed = true;
    client_free(client);
    ctl_free(ctl);
}

static void client_close(struct client *client)
{
    if (!client->closing) {
        client->closing = true;
        uv_close((uv_handle_t *)&client->pipe, on_client_closed);
    }
}

static void pump(struct client *client);

static void on_written(uv_write_t *write, int status)
{
    struct client *client = write->data;

    client->writing = false;
    free(client->answer);
    client->answer = NULL;
    if (status != 0 || !client->follow.follow) {
        client_close(client);
    } else {
        pump(client);
    }
}

/* Send @client->answer. */
static void client_write(struct client *client, size_t len)
{
    uv_buf_t buf = uv_buf_init(client->answer, (unsigned)len);

    client->write.data = client;
    client->writing = true;
    if (uv_write(&client->write, (uv_stream_t *)&client->pipe, &buf, 1, on_written) !=
        0) {
        client->writing = false;
        client_close(client);
    }
}

/* Append one line to @text of FOLLOW_BYTES; takes @json. False: it has no room. */
static bool put_line(char *text, size_t *len, cJSON *json)
{
    bool fits =
        cJSON_PrintPreallocated(json, text + *len, (int)(FOLLOW_BYTES - *len - 8), false);

    cJSON_Delete(json);
    if (fits) {
        *len += strlen(text + *len);
        text[(*len)++] = '\n';
    }
    return fits;
}

static bool put_lost(struct client *client, size_t *len, uint64_t lost)
{
    cJSON *json = cJSON_CreateObject();

    json_put_u64(json, "lost", lost);
    return put_line(client->answer, len, json);
}

/* The events that came since, as far as there is room. */
static size_t put_events(struct client *client)
{
    struct events_filter *filter = &client->follow;
    struct event event;
    size_t len = 0;

    while (len + FOLLOW_BYTES / 16 < FOLLOW_BYTES && event_after(filter->seq, &event)) {
        if (event.seq > filter->seq + 1 &&
            !put_lost(client, &len, event.seq - filter->seq - 1)) {
            break;
        }
        if (events_wanted(filter, &event)) {
            cJSON *line = cJSON_CreateObject();

            cJSON_AddItemToObject(line, "event", events_json(client->ctl->node, &event));
            (void)put_line(client->answer, &len, line);
        }
        filter->seq = event.seq;
    }
    return len;
}

static void pump(struct client *client)
{
    size_t len;

    if (client->closing || client->writing || event_newest() <= client->follow.seq) {
        return;
    }
    client->answer = malloc(FOLLOW_BYTES);
    if (client->answer == NULL) {
        return; /* The next tick tries again. */
    }
    len = put_events(client);
    if (len > 0) {
        client_write(client, len);
    } else {
        free(client->answer);
        client->answer = NULL;
    }
}

static uint32_t n_followers(const struct ctl *ctl)
{
    uint32_t n = 0;

    for (const struct client *client = ctl->clients; client != NULL;
         client = client->next) {
        n += client->follow.follow ? 1 : 0;
    }
    return n;
}

/* Takes @answer. */
static void on_answer(void *arg, cJSON *answer)
{
    struct client *client = arg;
    size_t len;

    client->waiting = false;
    if (client->closing) {
        cJSON_Delete(answer);
        client_free(client);
        return;
    }
    client->answer = cJSON_PrintUnformatted(answer);
    cJSON_Delete(answer);
    if (client->answer == NULL) {
        client_close(client);
        return;
    }
    len = strlen(client->answer);
    client->answer[len] = '\n'; /* The line's end takes the NUL's place. */
    client_write(client, len + 1);
}

static void client_ask(struct client *client, size_t len)
{
    cJSON *request = json_parse(client->request, len);

    client->asked = true;
    client->waiting = true;
    if (request == NULL) {
        cJSON *answer = cJSON_CreateObject();

        cJSON_AddBoolToObject(answer, "ok", false);
        cJSON_AddStringToObject(answer, "error", "the request is not JSON");
        on_answer(client, answer);
        return;
    }
    /* Too many followers get what there is, and the end. */
    admin_request(client->ctl->node, request,
                  n_followers(client->ctl) < FOLLOWERS_MAX ? &client->follow : NULL,
                  on_answer, client);
    cJSON_Delete(request);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct client *client = handle->data;

    (void)suggested;
    *buf =
        uv_buf_init(client->request + client->len, (unsigned)(REQUEST_MAX - client->len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *client = stream->data;
    char *end;

    (void)buf;
    if (n == UV_EOF && client->waiting) {
        uv_read_stop(stream); /* It has said all; it still wants the answer. */
        return;
    }
    if (n < 0) {
        client_close(client);
        return;
    }
    if (client->asked) {
        return; /* One request a connection; more is not read. */
    }
    client->len += (size_t)n;
    end = memchr(client->request, '\n', client->len);
    if (end != NULL) {
        client_ask(client, (size_t)(end - client->request));
    } else if (client->len == REQUEST_MAX) {
        client_close(client);
    }
}

/* libuv tells of a next connection only once this one was accepted. */
static void take_client(struct ctl *ctl)
{
    uv_stream_t *stream = (uv_stream_t *)&ctl->listener;
    struct client *client = calloc(1, sizeof *client);

    if (client != NULL) {
        client->request = malloc(REQUEST_MAX);
    }
    ctl->accept_waits = client == NULL || client->request == NULL;
    if (ctl->accept_waits) {
        free(client);
        return;
    }
    client->ctl = ctl;
    uv_pipe_init(ctl->node->loop, &client->pipe, 0);
    client->pipe.data = client;
    client->next = ctl->clients;
    ctl->clients = client;
    ctl->n_clients++;
    if (uv_accept(stream, (uv_stream_t *)&client->pipe) != 0 ||
        ctl->n_clients > CLIENTS_MAX ||
        uv_read_start((uv_stream_t *)&client->pipe, on_alloc, on_read) != 0) {
        client_close(client);
    }
}

static void on_connection(uv_stream_t *stream, int status)
{
    if (status == 0) {
        take_client(stream->data);
    }
}

void ctl_tick(struct ctl *ctl)
{
    if (ctl != NULL && ctl->accept_waits &&
        !uv_is_closing((uv_handle_t *)&ctl->listener)) {
        take_client(ctl);
    }
    for (struct client *client = ctl == NULL ? NULL : ctl->clients; client != NULL;
         client = client->next) {
        if (client->follow.follow && !client->waiting) {
            pump(client);
        }
    }
}

/* True if somebody answers at @path: then it is not a leftover of a killed daemon. */
static bool is_alive(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool alive;

    strcpy(address.sun_path, path);
    alive = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return alive;
}

int ctl_open(struct node *node, struct ctl **out, char error[CONFIG_ERROR_MAX])
{
    const char *path = node->config.socket;
    struct ctl *ctl;
    mode_t mask;
    int rv;

    if (strlen(path) >= sizeof((struct sockaddr_un *)NULL)->sun_path) {
        snprintf(error, CONFIG_ERROR_MAX, "[node] socket %s: the path is too long", path);
        return -ENAMETOOLONG;
    }
    if (is_alive(path)) {
        snprintf(error, CONFIG_ERROR_MAX,
                 "[node] socket %s: a daemon is running there already", path);
        return -EADDRINUSE;
    }
    unlink(path);
    ctl = calloc(1, sizeof *ctl);
    ASSERT(ctl != NULL);
    ctl->node = node;
    strcpy(ctl->path, path);
    uv_pipe_init(node->loop, &ctl->listener, 0);
    ctl->listener.data = ctl;
    mask = umask(0177);
    rv = uv_pipe_bind(&ctl->listener, path);
    umask(mask);
    if (rv == 0) {
        rv = uv_listen((uv_stream_t *)&ctl->listener, 16, on_connection);
    }
    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "[node] socket %s: %s", path, uv_strerror(rv));
        return rv;
    }
    *out = ctl;
    return 0;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct ctl *ctl = handle->data;

    ctl->closed = true;
    ctl_free(ctl);
}

void ctl_forget(const struct ctl *ctl)
{
    if (ctl != NULL) {
        unlink(ctl->path);
    }
}

void ctl_close(struct ctl *ctl)
{
    if (ctl != NULL) {
        unlink(ctl->path);
        for (struct client *client = ctl->clients; client != NULL;
             client = client->next) {
            client_close(client);
        }
        uv_close((uv_handle_t *)&ctl->listener, on_listener_closed);
    }
}
