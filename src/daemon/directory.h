/*
 * directory: the grapevine's own view of its nodes and zones.
 *
 * The truth is the key-value rows of the grapevine's own group, as JSON values:
 *   grapevine        {"handle_key":HEX}
 *   node/NAME        {"number","fingerprint","host","port","life"}
 *   zone/SLUG        {"id","display","quota","genesis":{...},"members":[...]}
 *   gone/ID          {"slug"}: a zone that was deleted; its datasets are removed
 *   token/ID         {"hash","expires","used_by"}
 *   counter/node     the highest node number so far
 *   epoch            {"epoch","node","time"}: the last recovery of the grapevine
 * (docs/formats/directory.md). This is their parsed copy, rebuilt whole after every
 * change. Pure: rows in, view out. What does not parse is left out and logged.
 */
#ifndef DAEMON_DIRECTORY_H
#define DAEMON_DIRECTORY_H

#include "base/buf.h"
#include "base/outcome.h"
#include "peer/peer_uv.h"
#include "zone/op.h"

#include <stdbool.h>
#include <stdint.h>

#define DIRECTORY_NODES_MAX 256u
#define DIRECTORY_ZONES_MAX 256u
#define DIRECTORY_GONE_MAX 65536u
#define DIRECTORY_TOKENS_MAX 1024u
#define DIRECTORY_TOKEN_BYTES 8u
#define DIRECTORY_MEMBERS_MAX 32u
#define DIRECTORY_NAME_MAX 63u
#define DIRECTORY_DISPLAY_MAX 127u

#define DIRECTORY_HOME_LIFE_MAX 255u

struct directory_node {
    char name[DIRECTORY_NAME_MAX + 1];
    uint64_t version; /* Of the row. */
    uint64_t
        taken_version; /* Of the row that changes with each new membership; 0: none. */
    struct peer_node peer; /* Number, key, address. */
    uint16_t life; /* In the directory's own group: rises when its copy begins anew. */
};

/* A member's raft id is its node's number << 16 | how often the node became a member. */
struct directory_member {
    uint64_t node;
    uint64_t raft_id;
    char pool[DIRECTORY_NAME_MAX + 1];
    bool leaving;
    uint64_t replaces; /* Raft id of one that leaves, once this one votes; 0: of none. */
    uint64_t from;     /* Recovery: it goes on with the data of this raft id; 0: none. */
};

/* What `gvraft zone recover` decided, the last time (docs/adr/0006-recover.md). */
struct directory_recovery {
    uint64_t time_s; /* Since 1970; 0: never. */
    uint64_t life;   /* Memberships of a lower life are over; their data is kept. */
    uint64_t lead;   /* Raft id of the member that begins, alone. */
    uint64_t term;   /* It begins in a term above. */
    uint64_t index;  /* Who has applied more than this goes on with nothing. */
};

/* How every member's copy begins, however late it is made: the same quota, owner and
 * first log entry. Written once, with the zone; never changed. */
struct directory_genesis {
    uint64_t quota_bytes;
    uint32_t root_uid;
    uint32_t root_gid;
    uint32_t root_mode;
    int64_t created_ns;
    uint32_t
        election_ms; /* Of all members. 0: each node's own, as its configuration says. */
    uint32_t n_first;
    uint64_t first[DIRECTORY_MEMBERS_MAX]; /* Raft ids of the first configuration. */
};

struct directory_zone {
    char slug[DIRECTORY_NAME_MAX + 1];
    char display[DIRECTORY_DISPLAY_MAX + 1];
    uint64_t version;
    uint8_t id[16];
    uint64_t next_life;   /* Above the life in every raft id so far. */
    uint64_t quota_bytes; /* As last set, for lists; the zone itself counts. */
    struct directory_genesis genesis;
    struct directory_recovery recovery;
    uint32_t n_members;
    struct directory_member members[DIRECTORY_MEMBERS_MAX];
};

/* An invitation. */
struct directory_token {
    uint8_t id[DIRECTORY_TOKEN_BYTES];
    uint8_t hash[32]; /* SHA-256 of its secret. */
    uint8_t used_by[PEER_FINGERPRINT_BYTES];
    bool used;
    uint64_t expires_s; /* Since 1970. */
    uint64_t version;
};

struct directory {
    uint8_t handle_key[32];
    bool has_handle_key;
    bool bad_row;   /* Some row did not parse: what is not here may still exist. */
    uint64_t index; /* The index at which the rows were read. */
    uint32_t n_nodes;
    uint32_t n_zones;
    uint32_t n_gone;
    uint32_t n_tokens;
    uint64_t counter; /* The highest node number given so far. */
    uint64_t counter_version;
    uint64_t epoch; /* The latest that was written down; 0: none. */
    uint64_t epoch_version;
    struct directory_node *nodes; /* In rising number order. */
    struct directory_zone *zones; /* In rising slug order. */
    uint8_t (*gone)[16];          /* Ids of deleted zones, rising. */
    struct directory_token *tokens;
};

/* Rebuild from the pairs that KV_GET gave (zone_kv_put's records). 0 or -ENOMEM; the
 * old content is freed. */
int directory_parse(struct directory *directory, struct slice pairs, uint64_t index);
void directory_deinit(struct directory *directory);

const struct directory_node *directory_node(const struct directory *directory,
                                            uint64_t number);
const struct directory_node *directory_node_named(const struct directory *directory,
                                                  const char *name);
const struct directory_zone *directory_zone(const struct directory *directory,
                                            const uint8_t id[16]);
const struct directory_zone *directory_zone_named(const struct directory *directory,
                                                  const char *slug);
/* True if the zone was deleted. */
bool directory_is_gone(const struct directory *directory, const uint8_t id[16]);
const struct directory_member *directory_member(const struct directory_zone *zone,
                                                uint64_t node);
/* Add @member to @zone's row, under the next life, which its raft id is made of. 0; OUT_EXIST:
 * its node is a member already; OUT_FULL: there is no room for it, or no life left. */
int directory_zone_join(struct directory_zone *zone,
                        const struct directory_member *member);
/* True if the raft id was in the zone's first configuration. */
bool directory_is_first(const struct directory_zone *zone, uint64_t raft_id);

const struct directory_token *directory_token(const struct directory *directory,
                                              const uint8_t id[DIRECTORY_TOKEN_BYTES]);

/* The JSON value of a row, malloc'ed; NULL without memory. */
char *directory_node_json(const struct directory_node *node);
char *directory_token_json(const struct directory_token *token);
char *directory_zone_json(const struct directory_zone *zone);

static inline uint64_t directory_raft_id(uint64_t node, uint16_t life)
{
    return node << 16 | life;
}
/* In the directory's own group: the epoch's part of the life, in the upper 8 bits of the
 * lower 16 of @epoch, which may be any member's raft id; and the node's. */
static inline uint64_t directory_home_id(uint64_t epoch, uint64_t node, uint16_t life)
{
    return directory_raft_id(node, (uint16_t)((epoch & 0xff00) | life));
}
static inline uint64_t directory_raft_node(uint64_t raft_id)
{
    return raft_id >> 16;
}

#endif
