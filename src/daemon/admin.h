/*
 * admin: control requests as small state machines on the loop.
 *
 * A call has a poll function that is run at once, after every answer it waited for, and
 * at every tick; it ends with admin_done or admin_error. Only one thing of a call is
 * under way at a time (@busy).
 */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "daemon/node.h"

#define ADMIN_WAIT_MS 60000u
#define ADMIN_ASK_MS 1500u
#define ADMIN_ASK_MS_MAX 15000u /* Of those who may wait for ADMIN_DIRECTORY_MS first. */
#define ADMIN_AGAIN_MS 200u
#define ADMIN_DIRECTORY_MS 10000u
#define ADMIN_WARNINGS_MAX 16u

struct admin_call {
    struct admin_call *next;
    struct node *node;
    const struct admin_command *command;
    struct events_filter *follow; /* See admin_request. */
    uint64_t from; /* The node that asks; 0: the control socket, or a stranger. */
    cJSON *args;
    cJSON *result;
    cJSON *warnings;
    uint64_t begun_ms;
    uint64_t deadline_ms;
    unsigned phase;   /* The command's own. */
    unsigned busy;    /* Things under way. */
    uint64_t next_ms; /* A call that asks again and again waits until then. */
    uint32_t ask_ms;  /* For an answer of another node; 0: ADMIN_ASK_MS. */
    bool ended;
    bool viewed;                /* The directory was read as of after the call began. */
    int outcome;                /* Of the last op or host request. */
    uint32_t pair;              /* Of OUT_MISMATCH: which pair of the op it was. */
    struct directory_zone zone; /* Scratch. */
    char slug[DIRECTORY_NAME_MAX + 1];
    char name[DIRECTORY_NAME_MAX + 1];
    char pool[DIRECTORY_NAME_MAX + 1];
    uint64_t number;
    uint64_t bytes;
    void *state;                   /* malloc'ed; freed with the call. */
    char remote[PEER_ADDRESS_MAX]; /* Where a join request came from. */
    void (*done)(void *arg, cJSON *answer);
    void *arg;
};

struct admin_command {
    const char *name;
    void (*poll)(struct admin_call *call);
    bool anywhere; /* Also before init and join. */
    bool remote;   /* Other nodes may ask it. */
    bool blind;    /* Needs no directory. */
};

/* End the call. Takes @result (NULL: an empty object). */
void admin_done(struct admin_call *call, cJSON *result);
/* Why an op was not done, for people. */
const char *admin_outcome(int outcome);
/* One line: what is wrong and what to do. */
void admin_error(struct admin_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void admin_warn(struct admin_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* False while it is too early to ask again: the next tick polls. */
bool admin_again(struct admin_call *call);
/* True if the deadline has passed; then the call is ended with @what. */
bool admin_late(struct admin_call *call, const char *what);

/* Do an op in a zone; the call is polled with call->outcome set. */
void admin_op(struct admin_call *call, const uint8_t zone_id[16],
              const struct zone_op *op);
struct zone_kv admin_pair(const char *key, const char *value, uint64_t version);
/* Add the removal of @token's row to @op, if there is room. @keys must live as long. */
struct admin_keys {
    char key[ZONE_KV_MAX][DIRECTORY_NAME_MAX + 8];
};
void admin_drop_token(struct zone_op *op, struct admin_keys *keys,
                      const struct directory_token *token);
/* Ask the node @to; @answered gets the answer (borrowed) or NULL after call->ask_ms. The
 * call is busy meanwhile. */
void admin_ask(struct admin_call *call, uint64_t to, const char *command, cJSON *args,
               void (*answered)(struct admin_call *call, uint64_t from,
                                const cJSON *answer));
/* A text argument; ends the call and returns false if it is absent or too long. */
bool admin_arg(struct admin_call *call, const char *key, char *out, size_t cap);
/* True if this node's copy of the directory may be behind what was acknowledged before the
 * call began: right after a start, when it was away, or since it was another node that
 * acknowledged it. Then nothing is refused yet, and the call is polled again. */
bool admin_may_yet_come(struct admin_call *call);
/* The zone named by the argument "slug"; NULL: there is none such and the call is ended, or
 * this node has yet to hear of it, perhaps, and the call is polled again. */
const struct directory_zone *admin_zone(struct admin_call *call);
const struct directory_node *admin_node(struct admin_call *call, const char *key);

/* "NODE[:POOL]" taken apart. False if there is no such node: the call was ended, or is polled
 * again. */
bool admin_member_parse(struct admin_call *call, const char *text,
                        struct directory_member *member);
/* The argument "quota". False: the call was ended. */
bool admin_quota_parse(struct admin_call *call, uint64_t *out);
/* Ask the nodes of call->zone's members for their pools; the answers come into
 * call->result. */
void admin_pools_ask(struct admin_call *call);
/* Choose each member's pool, or check the one that was named; @warn: tell what is smaller
 * than the quota. False: the call was ended with why not. */
bool admin_pools_check(struct admin_call *call, bool warn);
/* As directory_zone_join. False: the call was ended with why not. */
bool admin_member_join(struct admin_call *call, struct directory_zone *zone,
                       const struct directory_member *member);
/* Write @zone's row if it is as it was, and the nodes of call->zone's members, which join it,
 * are, too; then call->outcome is for admin_row_written, which is true if that happened. Else
 * it ends the call, or has it begin again in phase 1, behind the pools: another zone took
 * one of the nodes, too. */
void admin_row_write(struct admin_call *call, const struct directory_zone *zone);
bool admin_row_written(struct admin_call *call);

/* Of admin_status.c: gather every node's own part (the call is busy until they are there,
 * or late), and what results from them. */
void admin_status_ask(struct admin_call *call);
cJSON *admin_status_json(const struct admin_call *call);
/* What node @number said; NULL: nothing. */
const cJSON *admin_status_part(const struct admin_call *call, uint64_t number);

/* The commands, one file a family. */
void admin_init(struct admin_call *call);
void admin_invite(struct admin_call *call);
void admin_join(struct admin_call *call);
void admin_accept(struct admin_call *call); /* A join request, the inviter's side. */
void admin_status(struct admin_call *call);
void admin_local(struct admin_call *call); /* This node's own part of a status. */
void admin_node_list(struct admin_call *call);
void admin_node_remove(struct admin_call *call);
void admin_node_address(struct admin_call *call);
void admin_zone_check(struct admin_call *call);
void admin_room_check(struct admin_call *call); /* call->bytes: the quota. */
void admin_zone_create(struct admin_call *call);
void admin_zone_list(struct admin_call *call);
void admin_zone_show(struct admin_call *call);
void admin_zone_delete(struct admin_call *call);
void admin_zone_add(struct admin_call *call);
void admin_zone_remove(struct admin_call *call);
void admin_zone_replace(struct admin_call *call);
void admin_zone_recover(struct admin_call *call);
void admin_recover(struct admin_call *call);      /* The grapevine itself. */
void admin_recover_look(struct admin_call *call); /* How far this node's member is. */
void admin_zone_quota(struct admin_call *call);
void admin_doctor(struct admin_call *call);
void admin_events(struct admin_call *call);
void admin_zone_rebuild(struct admin_call *call);
void admin_zone_retry(struct admin_call *call);
void admin_zone_digest(struct admin_call *call); /* Of this node's member. */
void admin_transfer(struct admin_call *call);
void admin_scrub(struct admin_call *call);
void admin_scrub_here(struct admin_call *call); /* Of this node's member. */

/* How the member's scrub goes; NULL: not known yet. */
cJSON *admin_scrub_json(const struct node *node, const struct host *host);

#endif
