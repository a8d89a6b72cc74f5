/*
 * ctl_uv: the control socket: one JSON line in, one JSON line out, then close.
 *
 * Format: docs/formats/control.md. Only who may write to the socket's folder and file
 * (mode 0600) can ask.
 */
#include "daemon/node.h"

#include "base/assert.h"
#include "base/log.h"
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

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    client_close(write->data);
}

/* Takes @answer. */
static void on_answer(void *arg, cJSON *answer)
{
    struct client *client = arg;
    size_t len;
    uv_buf_t buf;

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
    buf = uv_buf_init(client->answer, (unsigned)len + 1);
    client->write.data = client;
    if (uv_write(&client->write, (uv_stream_t *)&client->pipe, &buf, 1, on_written) !=
        0) {
        client_close(client);
    }
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
    admin_request(client->ctl->node, request, on_answer, client);
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
