#include "peer/peer_identity.h"

#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_BYTES_MAX = 16384,
    SPKI_BYTES_MAX = 1024,
    GROUP_NAME_MAX = 64,
};

/* A file as it is on the disk. */
struct key_text {
    char pem[FILE_BYTES_MAX];
    size_t len;
};

struct peer_identity {
    EVP_PKEY *key;
    X509 *certificate;
    uint8_t fingerprint[PEER_FINGERPRINT_BYTES];
};

const uint8_t *peer_identity_fingerprint(const struct peer_identity *identity)
{
    return identity->fingerprint;
}

struct evp_pkey_st *peer_identity_key(const struct peer_identity *identity)
{
    return identity->key;
}

struct x509_st *peer_identity_certificate(const struct peer_identity *identity)
{
    return identity->certificate;
}

void peer_identity_free(struct peer_identity *identity)
{
    if (identity == NULL) {
        return;
    }
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
    free(identity);
}

bool peer_key_accepted(const struct evp_pkey_st *key)
{
    char group[GROUP_NAME_MAX] = "";
    size_t len = 0;

    return EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name((EVP_PKEY *)key, group, sizeof group, &len) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

int peer_fingerprint(const struct x509_st *certificate,
                     uint8_t out[PEER_FINGERPRINT_BYTES])
{
    uint8_t spki[SPKI_BYTES_MAX];
    uint8_t *at = spki;
    X509_PUBKEY *pubkey = X509_get_X509_PUBKEY(certificate);
    int len = i2d_X509_PUBKEY(pubkey, NULL);

    if (len <= 0 || len > SPKI_BYTES_MAX) {
        return -EINVAL;
    }
    if (i2d_X509_PUBKEY(pubkey, &at) != len ||
        EVP_Digest(spki, (size_t)len, out, NULL, EVP_sha256(), NULL) != 1) {
        return -EINVAL;
    }
    return 0;
}

/* A self-signed certificate says nothing but its key: pinning replaces names and dates,
 * so it never expires (RFC 5280 4.1.2.5: the end of 9999). */
static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    uint64_t serial = 0;
    X509_NAME *name;
    bool made;

    if (certificate == NULL || RAND_bytes((unsigned char *)&serial, sizeof serial) != 1) {
        X509_free(certificate);
        return NULL;
    }
    name = X509_get_subject_name(certificate);
    made =
        X509_set_version(certificate, X509_VERSION_3) == 1 &&
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) == 1 &&
        ASN1_TIME_set_string(X509_getm_notBefore(certificate), "20000101000000Z") == 1 &&
        ASN1_TIME_set_string(X509_getm_notAfter(certificate), "99991231235959Z") == 1 &&
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                   (const unsigned char *)"grapevine node", -1, -1,
                                   0) == 1 &&
        X509_set_issuer_name(certificate, name) == 1 &&
        X509_set_pubkey(certificate, key) == 1 &&
        X509_sign(certificate, key, EVP_sha256()) > 0;
    if (!made) {
        X509_free(certificate);
        return NULL;
    }
    return certificate;
}

/* Never ask a terminal: a key with a passphrase is not one of ours. */
static int no_passphrase(char *out, int len, int writing, void *arg)
{
    (void)out;
    (void)len;
    (void)writing;
    (void)arg;
    return -1;
}

/* Nothing of the two was changed by whatever keeps the file: the secret is that of the
 * public key, and the certificate is signed with it. */
static bool belong_together(EVP_PKEY *key, X509 *certificate)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
    bool good = ctx != NULL && EVP_PKEY_pairwise_check(ctx) == 1 &&
                X509_check_private_key(certificate, key) == 1 &&
                X509_verify(certificate, key) == 1;

    EVP_PKEY_CTX_free(ctx);
    return good;
}

static int parse(const char *pem, size_t len, struct peer_identity **out)
{
    struct peer_identity *identity = calloc(1, sizeof *identity);
    BIO *bio = BIO_new_mem_buf(pem, (int)len);
    int rv = -ENOMEM;

    if (identity == NULL || bio == NULL) {
        goto out;
    }
    rv = -EINVAL;
    identity->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (identity->key == NULL || !peer_key_accepted(identity->key)) {
        goto out;
    }
    identity->certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    if (identity->certificate == NULL ||
        !belong_together(identity->key, identity->certificate)) {
        goto out;
    }
    rv = peer_fingerprint(identity->certificate, identity->fingerprint);
    if (rv == 0) {
        *out = identity;
        identity = NULL;
    }
out:
    ERR_clear_error();
    BIO_free(bio);
    peer_identity_free(identity);
    return rv;
}

/* Fill @pem, at most @cap bytes; more is no identity. */
static int read_all(int fd, char *pem, size_t cap, size_t *len)
{
    size_t used = 0;

    while (used < cap) {
        ssize_t n = read(fd, pem + used, cap - used);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        if (n == 0) {
            *len = used;
            return 0;
        }
        used += (size_t)n;
    }
    return -EINVAL;
}

static int load(const char *path, struct key_text *text, struct peer_identity **out)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    int rv;

    if (fd < 0) {
        return errno == ELOOP ? -EINVAL : -errno;
    }
    rv = fstat(fd, &st) != 0 ? -errno : 0;
    if (rv != 0) {
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        rv = -EINVAL;
        goto out;
    }
    if ((st.st_mode & 077) != 0) {
        log_error("peer",
                  "msg=\"others may read the node's key: chmod 600 it\" file=\"%s\"",
                  path);
        rv = -EACCES;
        goto out;
    }
    rv = read_all(fd, text->pem, sizeof text->pem, &text->len);
    if (rv == 0) {
        rv = parse(text->pem, text->len, out);
    }
out:
    close(fd);
    return rv;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return -errno;
        }
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The PEM text of a new key and its certificate, in a BIO that wipes itself. */
static int generate(BIO **out)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = key == NULL ? NULL : make_certificate(key);
    BIO *bio = BIO_new(BIO_s_secmem());
    int rv = -ENOMEM;

    if (certificate != NULL && bio != NULL &&
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1 &&
        PEM_write_bio_X509(bio, certificate) == 1) {
        *out = bio;
        bio = NULL;
        rv = 0;
    }
    ERR_clear_error();
    BIO_free(bio);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return rv;
}

static int sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rv;

    if (fd < 0) {
        return -errno;
    }
    rv = fsync(fd) != 0 ? -errno : 0;
    close(fd);
    return rv;
}

/*
 * Make @path appear whole and durable, or not at all; @replace: in place of what is there.
 * Else link(2) and not rename(2): of two processes that create at once one wins, and the
 * loser loads what the winner made.
 */
static int put_file(const char *dir, const char *path, const struct key_text *text,
                    bool replace)
{
    char temporary[PATH_MAX];
    int fd;
    int rv;

    if (snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >=
        (int)sizeof temporary) {
        return -ENAMETOOLONG;
    }
    fd = mkostemp(temporary, O_CLOEXEC); /* Mode 0600. */
    if (fd < 0) {
        return -errno;
    }
    rv = write_all(fd, text->pem, text->len);
    if (rv == 0 && fsync(fd) != 0) {
        rv = -errno;
    }
    close(fd);
    if (rv == 0 && replace && rename(temporary, path) != 0) {
        rv = -errno;
    }
    if (rv == 0 && !replace && link(temporary, path) != 0 && errno != EEXIST) {
        rv = -errno;
    }
    if (rv != 0 || !replace) {
        unlink(temporary);
    }
    return rv == 0 ? sync_dir(dir) : rv;
}

static int create_file(const char *dir, const char *path)
{
    struct key_text text = {0};
    BIO *bio = NULL;
    char *pem = NULL;
    long len;
    int rv = generate(&bio);

    if (rv != 0) {
        return rv;
    }
    len = BIO_get_mem_data(bio, &pem);
    if (len <= 0 || len > FILE_BYTES_MAX) {
        rv = -EINVAL;
    } else {
        memcpy(text.pem, pem, (size_t)len);
        text.len = (size_t)len;
        rv = put_file(dir, path, &text, false);
    }
    OPENSSL_cleanse(&text, sizeof text);
    BIO_free(bio);
    return rv;
}

/* The key that was read from one of the two: make the other one the same. */
static int put_other(const char *dir, const char *path, const struct key_text *text)
{
    struct key_text there = {0};
    struct peer_identity *identity = NULL;
    int rv = load(path, &there, &identity);

    if (rv != 0 || there.len != text->len ||
        CRYPTO_memcmp(there.pem, text->pem, text->len) != 0) {
        rv = put_file(dir, path, text, true);
    }
    OPENSSL_cleanse(&there, sizeof there);
    peer_identity_free(identity);
    return rv;
}

int peer_identity_open(const char *dir, bool create, struct peer_identity **out)
{
    struct key_text text = {0};
    char path[PATH_MAX];
    char copy[PATH_MAX];
    int rv;

    if (snprintf(path, sizeof path, "%s/%s", dir, PEER_IDENTITY_FILE) >=
            (int)sizeof path ||
        snprintf(copy, sizeof copy, "%s/%s", dir, PEER_IDENTITY_COPY) >=
            (int)sizeof copy) {
        return -ENAMETOOLONG;
    }
    rv = load(path, &text, out);
    if (rv == -EINVAL || rv == -ENOENT) {
        int copy_rv = load(copy, &text, out);

        if (copy_rv == 0) {
            log_error("peer",
                      "msg=\"the node's key was damaged or gone: its copy takes its "
                      "place\" file=\"%s\"",
                      path);
            rv = 0;
        } else if (rv == -ENOENT && copy_rv == -ENOENT && create) {
            rv = create_file(dir, path);
            rv = rv != 0 ? rv : load(path, &text, out);
        } else {
            rv = copy_rv == -ENOENT ? rv : -EINVAL;
        }
    }
    if (rv == 0 &&
        (put_other(dir, path, &text) != 0 || put_other(dir, copy, &text) != 0)) {
        log_warn("peer", "msg=\"the node's key is on the disk only once\" file=\"%s\"",
                 path);
    }
    OPENSSL_cleanse(&text, sizeof text);
    return rv;
}
