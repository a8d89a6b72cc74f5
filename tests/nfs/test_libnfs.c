/* libnfs, a client that knows nothing of this server, over real zones. The server runs
 * on a thread of its own; the test is the client. */
#include "lib/check.h"
#include "nfs/front_uv.h"
#include "nfs/memzones.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <nfsc/libnfs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

/* libnfs 4.0 leaks a few bytes of its own. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libnfs";
}

struct server {
    uv_thread_t thread;
    uv_loop_t loop;
    uv_async_t stop;
    uv_prepare_t prepare;
    struct memzones *zones;
    struct nfs_front *front;
    int fault;
};

static struct server server;

static void on_prepare(uv_prepare_t *prepare)
{
    (void)prepare;
    while (memzones_queued(server.zones)) {
        int rv = memzones_flush(server.zones);

        server.fault = server.fault == 0 ? rv : server.fault;
    }
}

static void on_front_closed(void *arg)
{
    (void)arg;
    uv_close((uv_handle_t *)&server.stop, NULL);
    uv_close((uv_handle_t *)&server.prepare, NULL);
}

static void on_stop(uv_async_t *async)
{
    (void)async;
    nfs_front_close(server.front, 1000, on_front_closed, NULL);
}

static void run(void *arg)
{
    (void)arg;
    uv_run(&server.loop, UV_RUN_DEFAULT);
}

static void server_start(uint64_t quota_bytes)
{
    static const char *const slugs[] = {"tier-1", "tier-2"};
    struct memzones_config zones = {.dir = check_tmpdir(),
                                    .slugs = slugs,
                                    .n_slugs = 2,
                                    .quota_bytes = quota_bytes,
                                    .rule = {.allowed = true}};
    struct nfs_front_config config = {.address = "127.0.0.1"};

    server = (struct server){0};
    CHECK_INT(memzones_open(&zones, &server.zones), 0);
    CHECK_INT(uv_loop_init(&server.loop), 0);
    uv_async_init(&server.loop, &server.stop, on_stop);
    uv_prepare_init(&server.loop, &server.prepare);
    uv_prepare_start(&server.prepare, on_prepare);
    CHECK_INT(nfs_front_open(&server.loop, &config, memzones_backend(server.zones),
                             &server.front),
              0);
    CHECK_INT(uv_thread_create(&server.thread, run, NULL), 0);
}

static void server_stop(void)
{
    uv_async_send(&server.stop);
    uv_thread_join(&server.thread);
    CHECK_INT(server.fault, 0);
    memzones_close(server.zones);
    CHECK_INT(uv_loop_close(&server.loop), 0);
}

static struct nfs_context *client(const char *export)
{
    struct nfs_context *nfs = nfs_init_context();
    unsigned port = nfs_front_port(server.front);
    struct nfs_url *url;
    char text[128];
    int rv;

    CHECK(nfs != NULL);
    (void)snprintf(text, sizeof text, "nfs://127.0.0.1%s?nfsport=%u&mountport=%u", export,
                   port, port);
    url = nfs_parse_url_dir(nfs, text);
    CHECK(url != NULL);
    rv = nfs_mount(nfs, url->server, url->path);
    nfs_destroy_url(url);
    if (rv != 0) {
        fprintf(stderr, "mount: %s\n", nfs_get_error(nfs));
    }
    CHECK_INT(rv, 0);
    return nfs;
}

static void put_file(struct nfs_context *nfs, const char *path, const void *data,
                     size_t len)
{
    struct nfsfh *fh = NULL;
    size_t at = 0;

    CHECK_INT(nfs_creat(nfs, path, 0644, &fh), 0);
    while (at < len) {
        int n = nfs_pwrite(nfs, fh, at, len - at, (const char *)data + at);

        CHECK(n > 0);
        at += (size_t)n;
    }
    CHECK_INT(nfs_fsync(nfs, fh), 0);
    CHECK_INT(nfs_close(nfs, fh), 0);
}

static void check_file(struct nfs_context *nfs, const char *path, const void *data,
                       size_t len)
{
    struct nfsfh *fh = NULL;
    struct nfs_stat_64 st;
    char *got = malloc(len + 1);
    size_t at = 0;

    CHECK_INT(nfs_stat64(nfs, path, &st), 0);
    CHECK_UINT(st.nfs_size, len);
    CHECK_INT(nfs_open(nfs, path, O_RDONLY, &fh), 0);
    for (int n = 1; n > 0;) {
        n = nfs_pread(nfs, fh, at, len + 1 - at, got + at);
        CHECK(n >= 0);
        at += (size_t)n;
    }
    CHECK_UINT(at, len);
    CHECK_MEM(got, data, len);
    CHECK_INT(nfs_close(nfs, fh), 0);
    free(got);
}

/* What one client wrote, another reads, at every length around the edges of blocks and
 * of what fits into one call. */
static void written_is_read(void)
{
    static const size_t lens[] = {0,       1,       4,       8191,   8192,
                                  8193,    131071,  131072,  131073, 1048575,
                                  1048576, 1048577, 3000001, 4194304};
    struct nfs_context *one;
    struct nfs_context *two;
    uint8_t *data = malloc(lens[13]);

    for (size_t i = 0; i < lens[13]; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    server_start(1ull << 30);
    one = client("/tier-1");
    two = client("/tier-1");
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "/f%zu", lens[i]);
        put_file(one, name, data, lens[i]);
        check_file(two, name, data, lens[i]);
    }
    nfs_destroy_context(one);
    nfs_destroy_context(two);
    server_stop();
    free(data);
}

/* Overwriting in the middle, cutting and growing: holes read as zeros. */
static void overwritten_cut_and_grown(void)
{
    enum { LEN = 400000 };
    struct nfs_context *nfs;
    struct nfsfh *fh = NULL;
    uint8_t *data = calloc(1, LEN);

    server_start(1ull << 30);
    nfs = client("/tier-1");
    memset(data, 'a', 300000);
    put_file(nfs, "/f", data, 300000);
    CHECK_INT(nfs_open(nfs, "/f", O_RDWR, &fh), 0);
    CHECK_INT(nfs_pwrite(nfs, fh, 131000, 200, memset(data + 131000, 'b', 200)), 200);
    CHECK_INT(nfs_ftruncate(nfs, fh, 200001), 0);
    memset(data + 200001, 0, LEN - 200001);
    CHECK_INT(nfs_ftruncate(nfs, fh, LEN), 0);
    CHECK_INT(nfs_pwrite(nfs, fh, LEN - 1, 1, memset(data + LEN - 1, 'c', 1)), 1);
    CHECK_INT(nfs_close(nfs, fh), 0);
    check_file(nfs, "/f", data, LEN);
    nfs_destroy_context(nfs);
    server_stop();
    free(data);
}

static uint32_t count(struct nfs_context *nfs, const char *path)
{
    struct nfsdir *dir = NULL;
    const struct nfsdirent *entry;
    uint32_t n = 0;

    CHECK_INT(nfs_opendir(nfs, path, &dir), 0);
    while ((entry = nfs_readdir(nfs, dir)) != NULL) {
        n++;
    }
    nfs_closedir(nfs, dir);
    return n;
}

/* A directory of many calls' length is listed whole: every name, once. */
static void long_directory(void)
{
    enum { N = 1500 };
    struct nfs_context *nfs;

    server_start(1ull << 30);
    nfs = client("/tier-1");
    CHECK_INT(nfs_mkdir(nfs, "/d"), 0);
    for (unsigned i = 0; i < N; i++) {
        char name[64];

        (void)snprintf(name, sizeof name, "/d/a-name-of-some-length-%u", i);
        CHECK_INT(nfs_mknod(nfs, name, S_IFIFO | 0644, 0), 0);
    }
    CHECK_UINT(count(nfs, "/d"), N + 2);
    CHECK_INT(nfs_rmdir(nfs, "/d"), -ENOTEMPTY);
    nfs_destroy_context(nfs);
    server_stop();
}

/* The errors that programs look at. */
static void errors(void)
{
    struct nfs_context *nfs;
    struct nfsfh *fh = NULL;
    struct nfs_stat_64 st;

    server_start(1ull << 30);
    nfs = client("/tier-1");
    put_file(nfs, "/f", "x", 1);
    CHECK_INT(nfs_mkdir(nfs, "/d"), 0);
    CHECK_INT(nfs_mkdir(nfs, "/d"), -EEXIST);
    CHECK_INT(nfs_mkdir(nfs, "/f/x"), -ENOTDIR);
    CHECK_INT(nfs_rmdir(nfs, "/none"), -ENOENT);
    CHECK_INT(nfs_rmdir(nfs, "/f"), -ENOTDIR);
    CHECK_INT(nfs_open(nfs, "/none", O_RDONLY, &fh), -ENOENT);
    CHECK_INT(nfs_open(nfs, "/f", O_CREAT | O_EXCL | O_WRONLY, &fh), -EEXIST);
    CHECK_INT(nfs_unlink(nfs, "/none"), -ENOENT);
    CHECK_INT(nfs_rename(nfs, "/none", "/x"), -ENOENT);
    CHECK_INT(nfs_rename(nfs, "/d", "/d/inside"), -EINVAL);
    CHECK_INT(nfs_stat64(nfs, "/f/x", &st), -ENOTDIR);
    nfs_destroy_context(nfs);
    server_stop();
}

/* Links, renames over something, and what stat then says. */
static void links_and_renames(void)
{
    struct nfs_context *nfs;
    struct nfs_stat_64 st;
    char target[64];

    server_start(1ull << 30);
    nfs = client("/tier-1");
    put_file(nfs, "/a", "aaa", 3);
    put_file(nfs, "/b", "b", 1);
    CHECK_INT(nfs_link(nfs, "/a", "/c"), 0);
    CHECK_INT(nfs_stat64(nfs, "/c", &st), 0);
    CHECK_UINT(st.nfs_nlink, 2);
    CHECK_INT(nfs_rename(nfs, "/a", "/b"), 0);
    check_file(nfs, "/b", "aaa", 3);
    CHECK_INT(nfs_stat64(nfs, "/a", &st), -ENOENT);
    CHECK_INT(nfs_symlink(nfs, "some/where", "/l"), 0);
    CHECK_INT(nfs_readlink(nfs, "/l", target, sizeof target), 0);
    CHECK_STR(target, "some/where");
    CHECK_INT(nfs_chmod(nfs, "/b", 04751), 0);
    CHECK_INT(nfs_stat64(nfs, "/b", &st), 0);
    CHECK_UINT(st.nfs_mode & 07777, 04751);
    nfs_destroy_context(nfs);
    server_stop();
}

/* A spent quota is told as such, and what was deleted makes room... after a while; here
 * only that nothing breaks. */
static void quota(void)
{
    enum { LEN = 3 << 20 };
    struct nfs_context *nfs;
    struct nfsfh *fh = NULL;
    char *data = calloc(1, LEN);
    int rv = 0;

    server_start(2 << 20);
    nfs = client("/tier-1");
    CHECK_INT(nfs_creat(nfs, "/f", 0644, &fh), 0);
    for (uint64_t at = 0; at < LEN && rv >= 0; at += 65536) {
        rv = nfs_pwrite(nfs, fh, at, 65536, data);
    }
    CHECK(rv < 0); /* Which errno is lost in libnfs. */
    CHECK_INT(nfs_close(nfs, fh), 0);
    CHECK_INT(nfs_unlink(nfs, "/f"), 0);
    nfs_destroy_context(nfs);
    server_stop();
    free(data);
}

/* "/" shows every zone as a folder, and what is written through it is in the zone. */
static void root_shows_the_zones(void)
{
    struct nfs_context *all;
    struct nfs_context *one;

    server_start(1ull << 30);
    all = client("/");
    one = client("/tier-2");
    CHECK_UINT(count(all, "/"), 4);
    put_file(all, "/tier-2/f", "through the root", 16);
    check_file(one, "/f", "through the root", 16);
    CHECK_INT(nfs_rename(all, "/tier-2/f", "/tier-1/f"), -EXDEV);
    CHECK_INT(nfs_mkdir(all, "/new"), -EROFS);
    nfs_destroy_context(all);
    nfs_destroy_context(one);
    server_stop();
}

TEST_MAIN(CHECK_TEST(written_is_read), CHECK_TEST(overwritten_cut_and_grown),
          CHECK_TEST(long_directory), CHECK_TEST(errors), CHECK_TEST(links_and_renames),
          CHECK_TEST(quota), CHECK_TEST(root_shows_the_zones))
