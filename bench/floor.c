/*
 * floor: the least that copies on this machine cost, without any file system of ours.
 *
 *     floor [--members 1|3] [--seconds S] [--only NAME] DIR
 *
 * A client sends blocks over TCP to a leader, which sends each to two followers, all of them
 * processes with one thread and blocking sockets on the loopback. Every member writes the block
 * into a file of its own in DIR, which was written in full before, and syncs it (fdatasync), together
 * with others that have come by then; a follower then acknowledges. The leader answers after its own sync and one follower's
 * acknowledgement, which is what a majority is; the other follower does the same work and is
 * waited for only where its socket is full. With one member nobody follows.
 *
 * No consensus, no checksum, no encryption, no names: what a replicated server adds to this is
 * its own. The steps have the names of nfsload's; seqwrite-direct is O_DIRECT, without the page
 * cache. One JSON object on standard output, as nfsload's; the CPU time is the members'.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MEMBERS_MAX 3u
#define DEPTH_MAX 8u
#define BLOCK_MAX (1u << 20)
#define FILE_BYTES (128u << 20)
#define OPS_MAX 1000000u

struct step {
    const char *name;
    size_t bytes; /* Of a block. */
    uint32_t depth;
    bool direct;
    bool in_mb;
};

static const struct step steps[] = {
    {"seqwrite-sync", BLOCK_MAX, 4, false, true},
    {"seqwrite-direct", BLOCK_MAX, 4, true, true},
    {"randwrite-1", 4096, 1, false, false},
};

/* A member's or the client's ends; -1: none. */
struct member {
    int file;
    int up;                    /* To who sends to it. */
    int down[MEMBERS_MAX - 1]; /* To those it sends to. */
    uint32_t n_down;
    uint8_t *block;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void send_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR) {
            die("send");
        }
        at += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

/* False: the other side has closed, at the beginning of a message. */
static bool receive_all(int fd, void *data, size_t len)
{
    size_t had = 0;

    while (had < len) {
        ssize_t n = recv(fd, (uint8_t *)data + had, len - had, 0);

        if (n == 0 && had == 0) {
            return false;
        }
        if (n == 0 || (n < 0 && errno != EINTR)) {
            die("receive");
        }
        had += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static int make_file(const char *dir, uint32_t number, const struct step *step,
                     uint8_t *block)
{
    char path[4096];
    int fd;

    (void)snprintf(path, sizeof path, "%s/floor-%u", dir, number);
    (void)unlink(path);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
    if (fd < 0) {
        die(path);
    }
    (void)unlink(path);
    for (off_t at = 0; at < FILE_BYTES; at += BLOCK_MAX) {
        if (pwrite(fd, block, BLOCK_MAX, at) != BLOCK_MAX) {
            die("pwrite");
        }
    }
    if (fsync(fd) != 0 || (!step->direct && fcntl(fd, F_SETFL, 0) != 0)) {
        die("prepare");
    }
    return fd;
}

/* Blocks of one connection over TCP on the loopback: a pair of sockets. */
static void connect_pair(int pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int one = 1;

    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || pair[0] < 0 ||
        bind(listener, (struct sockaddr *)&address, len) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &len) != 0 ||
        connect(pair[0], (struct sockaddr *)&address, len) != 0) {
        die("connect");
    }
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (pair[1] < 0 || close(listener) != 0) {
        die("accept");
    }
    for (unsigned i = 0; i < 2; i++) {
        (void)setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
}

/* Until one of those behind has @seq on its disk. */
static void await_one(const struct member *member, uint64_t acked[], uint64_t seq)
{
    struct pollfd ends[MEMBERS_MAX - 1] = {0};

    for (;;) {
        for (uint32_t i = 0; i < member->n_down; i++) {
            ends[i] = (struct pollfd){.fd = member->down[i], .events = POLLIN};
            if (acked[i] >= seq) {
                return;
            }
        }
        if (poll(ends, member->n_down, -1) < 0 && errno != EINTR) {
            die("poll");
        }
        for (uint32_t i = 0; i < member->n_down; i++) {
            if ((ends[i].revents & (POLLIN | POLLHUP)) != 0 &&
                !receive_all(member->down[i], &acked[i], sizeof acked[i])) {
                die("a follower ended");
            }
        }
    }
}

/* More has come already: one sync is enough for both. */
static bool has_more(const struct member *member)
{
    struct pollfd up = {.fd = member->up, .events = POLLIN};

    return poll(&up, 1, 0) == 1 && (up.revents & POLLIN) != 0;
}

static void serve(const struct member *member, const struct step *step)
{
    uint64_t acked[MEMBERS_MAX - 1] = {0};
    uint64_t answered = 0;
    uint64_t seq = 0;
    off_t at = 0;

    while (receive_all(member->up, member->block, step->bytes)) {
        seq++;
        for (uint32_t i = 0; i < member->n_down; i++) {
            send_all(member->down[i], member->block, step->bytes);
        }
        if (pwrite(member->file, member->block, step->bytes, at) !=
            (ssize_t)step->bytes) {
            die("write");
        }
        at = (at + (off_t)step->bytes) % FILE_BYTES;
        if (seq - answered < step->depth && has_more(member)) {
            continue;
        }
        if (fdatasync(member->file) != 0) {
            die("fdatasync");
        }
        if (member->n_down > 0) {
            await_one(member, acked, seq);
        }
        while (answered < seq) {
            answered++;
            send_all(member->up, &answered, sizeof answered);
        }
    }
}

/* A process for @member, which closes @others, the ends that are not its own. */
static void start(const struct member *member, const struct step *step, const int *others,
                  uint32_t n_others)
{
    pid_t pid = fork();

    if (pid < 0) {
        die("fork");
    }
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (uint32_t i = 0; i < n_others; i++) {
            (void)close(others[i]);
        }
        serve(member, step);
        for (uint32_t i = 0; i < member->n_down; i++) {
            uint64_t acked;

            (void)shutdown(member->down[i], SHUT_WR);
            while (receive_all(member->down[i], &acked, sizeof acked)) {
            }
        }
        _exit(0);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Calls until the time is up, @step->depth of them under way; returns how many. */
static uint32_t load(int fd, const struct step *step, double seconds, uint8_t *block,
                     uint64_t *took_ns)
{
    uint64_t begun_ns[DEPTH_MAX];
    uint64_t end_ns = now_ns() + (uint64_t)(seconds * 1e9);
    uint32_t sent = 0;
    uint32_t done = 0;
    uint64_t seq;

    while (done < sent || now_ns() < end_ns) {
        while (sent - done < step->depth && sent < OPS_MAX && now_ns() < end_ns) {
            begun_ns[sent % step->depth] = now_ns();
            send_all(fd, block, step->bytes);
            sent++;
        }
        if (done == sent) {
            break;
        }
        if (!receive_all(fd, &seq, sizeof seq) || seq != done + 1) {
            die("a wrong answer");
        }
        took_ns[done] = now_ns() - begun_ns[done % step->depth];
        done++;
    }
    return done;
}

static double children_seconds(void)
{
    struct rusage usage;

    while (wait(NULL) > 0 || errno == EINTR) {
    }
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void print(const struct step *step, uint64_t *took_ns, uint32_t n, double seconds,
                  double cpu_s)
{
    double bytes = (double)n * (double)step->bytes;

    qsort(took_ns, n, sizeof *took_ns, compare);
    (void)printf("{\"value\": %.1f, \"unit\": \"%s\", \"ops\": %u, \"seconds\": %.3f, "
                 "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f, "
                 "\"bytes\": %.0f, \"cpu_s\": %.3f}",
                 step->in_mb ? bytes / seconds / 1e6 : n / seconds,
                 step->in_mb ? "MB/s" : "/s", n, seconds, (double)took_ns[n / 2] / 1e6,
                 (double)took_ns[(uint64_t)n * 99 / 100] / 1e6,
                 (double)took_ns[n - 1] / 1e6, bytes, cpu_s);
}

static void run(const char *dir, uint32_t n_members, const struct step *step,
                double seconds, uint8_t *block)
{
    struct member members[MEMBERS_MAX] = {0};
    uint64_t *took_ns = calloc(OPS_MAX, sizeof *took_ns);
    int ends[2 * MEMBERS_MAX]; /* Of the connection to each member: upper, lower. */
    double cpu_s = children_seconds();
    uint64_t begun_ns;
    uint32_t n;

    if (took_ns == NULL) {
        die("memory");
    }
    for (uint32_t i = 0; i < n_members; i++) {
        members[i].block = block;
        members[i].file = make_file(dir, i, step, block);
        connect_pair(&ends[2 * i]);
        members[i].up = ends[2 * i + 1];
        if (i > 0) {
            members[0].down[members[0].n_down++] = ends[2 * i];
        }
    }
    for (uint32_t i = n_members; i > 0; i--) {
        /* A follower keeps the lower end of its own; the leader all but the client's. */
        start(&members[i - 1], step, &ends[0], i > 1 ? 2 * (i - 1) + 1 : 1);
        (void)close(ends[2 * i - 1]);
        (void)close(members[i - 1].file);
    }
    for (uint32_t i = 1; i < n_members; i++) {
        (void)close(ends[2 * i]);
    }
    begun_ns = now_ns();
    n = load(ends[0], step, seconds, block, took_ns);
    seconds = (double)(now_ns() - begun_ns) / 1e9;
    (void)close(ends[0]);
    print(step, took_ns, n, seconds, children_seconds() - cpu_s);
    free(took_ns);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"members", required_argument, NULL, 'm'},
                                            {"seconds", required_argument, NULL, 's'},
                                            {"only", required_argument, NULL, 'o'},
                                            {0}};
    uint32_t n_members = MEMBERS_MAX;
    const char *only = "";
    double seconds = 2;
    uint8_t *block = aligned_alloc(4096, BLOCK_MAX);
    const char *comma = "";
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        n_members = c == 'm' ? (uint32_t)atoi(optarg) : n_members;
        seconds = c == 's' ? atof(optarg) : seconds;
        only = c == 'o' ? optarg : only;
        if (c == '?') {
            return 2;
        }
    }
    if (optind + 1 != argc || (n_members != 1 && n_members != MEMBERS_MAX) ||
        !(seconds > 0 && seconds <= 600)) {
        (void)fprintf(stderr,
                      "usage: floor [--members 1|3] [--seconds S] [--only NAME] DIR\n");
        return 2;
    }
    if (block == NULL) {
        die("memory");
    }
    memset(block, 0x5a, BLOCK_MAX);
    (void)printf("{\"steps\": {");
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (strncmp(steps[i].name, only, strlen(only)) == 0) {
            (void)printf("%s\n\"%s\": ", comma, steps[i].name);
            (void)fflush(stdout); /* Else each child would have it, too. */
            run(argv[optind], n_members, &steps[i], seconds, block);
            comma = ",";
        }
    }
    (void)printf("\n}}\n");
    return 0;
}
