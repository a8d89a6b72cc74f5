#include "lib/check.h"
#include "peer/peer_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *file(void)
{
    static char path[4200];

    snprintf(path, sizeof path, "%s/%s", check_tmpdir(), PEER_IDENTITY_FILE);
    return path;
}

static void put(const char *content, mode_t mode)
{
    int fd = open(file(), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0);
    CHECK_INT(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    CHECK_INT(fchmod(fd, mode), 0);
    close(fd);
}

static const char *copy(void)
{
    static char path[4200];

    snprintf(path, sizeof path, "%s/%s", check_tmpdir(), PEER_IDENTITY_COPY);
    return path;
}

static size_t get(char *out, size_t cap)
{
    int fd = open(file(), O_RDONLY);
    ssize_t n = read(fd, out, cap);

    CHECK(n > 0 && n < (ssize_t)cap);
    close(fd);
    return (size_t)n;
}

static void put_bytes(const char *bytes, size_t len)
{
    int fd = open(file(), O_WRONLY | O_TRUNC);

    CHECK_INT(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

/* A key made once is the same after a restart: the fingerprint is who a node is. */
static void made_once_then_loaded(void)
{
    struct peer_identity *made = NULL;
    struct peer_identity *loaded = NULL;
    struct stat st;

    CHECK_INT(peer_identity_open(check_tmpdir(), true, &made), 0);
    CHECK_INT(peer_identity_open(check_tmpdir(), true, &loaded), 0);
    CHECK_MEM(peer_identity_fingerprint(loaded), peer_identity_fingerprint(made),
              PEER_FINGERPRINT_BYTES);
    CHECK_INT(stat(file(), &st), 0);
    CHECK_UINT(st.st_mode & 0777, 0600);
    CHECK_UINT(st.st_nlink, 1); /* No temporary file is left. */
    peer_identity_free(made);
    peer_identity_free(loaded);
}

/* Without permission to create, an absent key is a fault and nothing is made. */
static void absent_is_not_made_unasked(void)
{
    struct peer_identity *identity = NULL;

    CHECK_INT(peer_identity_open(check_tmpdir(), false, &identity), -ENOENT);
    CHECK_INT(access(file(), F_OK), -1);
    CHECK_INT(peer_identity_open("/nonexistent", true, &identity), -ENOENT);
    CHECK_PTR(identity, NULL);
}

/* Two nodes never get the same key. */
static void keys_differ(void)
{
    struct peer_identity *first = NULL;
    struct peer_identity *second = NULL;

    CHECK_INT(peer_identity_open(check_tmpdir(), true, &first), 0);
    CHECK_INT(unlink(file()), 0);
    CHECK_INT(unlink(copy()), 0);
    CHECK_INT(peer_identity_open(check_tmpdir(), true, &second), 0);
    CHECK(memcmp(peer_identity_fingerprint(first), peer_identity_fingerprint(second),
                 PEER_FINGERPRINT_BYTES) != 0);
    peer_identity_free(first);
    peer_identity_free(second);
}

/* A key that others may read is no secret any more: refuse it rather than use it. */
static void readable_by_others_is_refused(void)
{
    struct peer_identity *identity = NULL;

    CHECK_INT(peer_identity_open(check_tmpdir(), true, &identity), 0);
    peer_identity_free(identity);
    identity = NULL;
    CHECK_INT(chmod(file(), 0640), 0);
    CHECK_INT(peer_identity_open(check_tmpdir(), true, &identity), -EACCES);
    CHECK_PTR(identity, NULL);
}

/* A damaged file is reported and never replaced: a new key would be a new node. */
static void damaged_is_kept_and_refused(void)
{
    struct peer_identity *identity = NULL;
    static char large[20000];
    struct stat st;

    put("", 0600);
    CHECK_INT(peer_identity_open(check_tmpdir(), true, &identity), -EINVAL);
    put("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0600);
    CHECK_INT(peer_identity_open(check_tmpdir(), true, &identity), -EINVAL);
    memset(large, 'x', sizeof large - 1);
    put(large, 0600);
    CHECK_INT(peer_identity_open(check_tmpdir(), true, &identity), -EINVAL);
    CHECK_INT(stat(file(), &st), 0);
    CHECK_INT(st.st_size, sizeof large - 1);
    CHECK_PTR(identity, NULL);
}

/* Any bit of the file flips: who the node is does not change, the copy takes its place, and
 * the file is good again. If it is gone, too. Bits that say nothing do no harm, and are few:
 * neither the secret nor the signature has any. */
static void damaged_is_made_good_by_the_copy(void)
{
    struct peer_identity *made = NULL;
    struct peer_identity *found = NULL;
    char good[4096] = "";
    char now[4096] = "";
    char after[4096] = "";
    uint32_t n_taken = 0;
    size_t len;

    CHECK_INT(peer_identity_open(check_tmpdir(), true, &made), 0);
    len = get(good, sizeof good);
    for (size_t bit = 0; bit < 8 * len + 8; bit += 5) {
        if (bit >= 8 * len) {
            CHECK_INT(unlink(file()), 0);
        } else {
            memcpy(now, good, len);
            now[bit / 8] = (char)(now[bit / 8] ^ 1 << bit % 8);
            put_bytes(now, len);
        }
        CHECK_INT(peer_identity_open(check_tmpdir(), true, &found), 0);
        CHECK_MEM(peer_identity_fingerprint(found), peer_identity_fingerprint(made),
                  PEER_FINGERPRINT_BYTES);
        peer_identity_free(found);
        found = NULL;
        n_taken += bit < 8 * len && get(after, sizeof after) == len &&
                   memcmp(now, after, len) == 0;
    }
    CHECK_INT(get(now, sizeof now), len);
    CHECK(n_taken < 12); /* Some of what only frames the two. */
    peer_identity_free(made);
}

/* Both are damaged, or one is and the other gone: it is no other node for that. */
static void damaged_twice_is_refused(void)
{
    struct peer_identity *identity = NULL;

    CHECK_INT(peer_identity_open(check_tmpdir(), true, &identity), 0);
    peer_identity_free(identity);
    identity = NULL;
    CHECK_INT(truncate(copy(), 100), 0);
    CHECK_INT(unlink(file()), 0);
    CHECK_INT(peer_identity_open(check_tmpdir(), true, &identity), -EINVAL);
    CHECK_INT(access(file(), F_OK), -1);
    CHECK_PTR(identity, NULL);
}

/* A link in the key's place could point at anything. */
static void link_is_refused(void)
{
    struct peer_identity *identity = NULL;

    CHECK_INT(symlink("/dev/zero", file()), 0);
    CHECK_INT(peer_identity_open(check_tmpdir(), true, &identity), -EINVAL);
    CHECK_PTR(identity, NULL);
}

TEST_MAIN(CHECK_TEST(made_once_then_loaded), CHECK_TEST(absent_is_not_made_unasked),
          CHECK_TEST(keys_differ), CHECK_TEST(readable_by_others_is_refused),
          CHECK_TEST(damaged_is_kept_and_refused),
          CHECK_TEST(damaged_is_made_good_by_the_copy),
          CHECK_TEST(damaged_twice_is_refused), CHECK_TEST(link_is_refused))
