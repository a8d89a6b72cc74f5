/*
 * client: one NFSv3 client over TCP, as a kernel is one: an address, xids, and calls that
 * are sent again, with the same xid, until somebody answers.
 *
 * One call at a time, by one thread. A node that is silent for longer than a time drawn
 * from the seed, or closes the connection, is left for another node, or tried again. Some
 * calls are given up then (client_options.abandon_percent): their outcome is unknown, and
 * nothing is ever sent of them again.
 *
 * RFC 5531 (ONC RPC, record marking), RFC 1813 (NFSv3, MOUNTv3); XDR is RFC 4506.
 */
#ifndef NEMESIS_CLIENT_H
#define NEMESIS_CLIENT_H

#include "base/prng.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODES_MAX 8
#define FH_MAX 64
#define CALL_BYTES_MAX (1 << 18)

enum {
    NFS_OK = 0,
    NFS_JUKEBOX = 10008,
};

struct fh {
    uint32_t len;
    uint8_t data[FH_MAX];
};

struct attr {
    uint32_t nlink;
    uint64_t size;
    uint64_t fileid;
};

/* Encoder into a client's buffer; what does not fit is a mistake of this program. */
struct message {
    size_t len;
    uint8_t data[CALL_BYTES_MAX];
};

/* Decoder of a reply. @failed: it ended early. */
struct reader {
    const uint8_t *data;
    size_t len;
    size_t at;
    bool failed;
};

struct client_options {
    struct sockaddr_in nodes[NODES_MAX];
    uint32_t nodes_n;
    uint32_t abandon_percent; /* Of the times that a call would be sent again. */
    uint32_t silence_ms_min; /* A node may be silent for so long, up to six times that. */
    uint32_t call_s_max;     /* Then the outcome is unknown. */
};

struct client {
    const struct client_options *options;
    struct in_addr source;
    struct prng prng;
    int fds[NODES_MAX]; /* -1: no connection. */
    uint32_t home;      /* Who answered what was sent again last. */
    uint32_t xid;
    struct message out;
    uint8_t in[CALL_BYTES_MAX];
};

/* What became of a call. */
struct answer {
    uint64_t began_ns; /* CLOCK_MONOTONIC. */
    uint64_t ended_ns;
    uint32_t node;
    uint32_t sent; /* How often. */
    bool unknown;  /* Carried out or not, perhaps only later. */
    uint32_t status;
    struct reader reply; /* Behind the status; until the next call. */
};

uint64_t now_ns(void);

void put_u32(struct message *out, uint32_t value);
void put_u64(struct message *out, uint64_t value);
void put_opaque(struct message *out, const void *data, size_t len);
void put_name(struct message *out, const char *name);
void put_fh(struct message *out, const struct fh *fh);
uint32_t get_u32(struct reader *in);
uint64_t get_u64(struct reader *in);
/* Borrows; NULL on failure. */
const uint8_t *get_bytes(struct reader *in, size_t len);
const uint8_t *get_opaque(struct reader *in, uint32_t *len);
void get_fh(struct reader *in, struct fh *out);
void get_attr(struct reader *in, struct attr *out);
/* post_op_attr; false if it is not there. */
bool get_post_attr(struct reader *in, struct attr *out);
void skip_wcc(struct reader *in);

void client_init(struct client *client, const struct client_options *options,
                 struct in_addr source, uint64_t seed);
void client_deinit(struct client *client);
/* Begin a call of NFSv3 with a new xid; its arguments are put into client->out. */
void client_begin(struct client *client, uint32_t procedure);
/* The same for MOUNTv3. */
void client_begin_mount(struct client *client, uint32_t procedure);
/* Send it through @node first. A JUKEBOX of what was sent once is an answer (nothing was
 * done); of what was sent several times, unknown. */
void client_call(struct client *client, uint32_t node, struct answer *answer);
/* As above, but never given up early and JUKEBOX is asked anew; exits if nobody answers. */
void client_insist(struct client *client, uint32_t node, struct answer *answer);

#endif
