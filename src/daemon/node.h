/*
 * node: one grapevine daemon: its identity, peers, zones, NFS front and control socket.
 *
 * Everything in node*.c and admin*.c runs on the loop thread. This header is the
 * daemon's inside; only main.c sees it from outside.
 */
#ifndef DAEMON_NODE_H
#define DAEMON_NODE_H

#include "base/outcome.h"
#include "daemon/config.h"
#include "daemon/directory.h"
#include "daemon/host.h"
#include "daemon/reconcile.h"
#include "daemon/retry.h"
#include "nfs/binder_uv.h"
#include "nfs/front_uv.h"
#include "peer/peer_uv.h"
#include "raft/router.h"

#include <cjson/cJSON.h>
#include <uv.h>

#define NODE_HOSTS_MAX (DIRECTORY_ZONES_MAX + 1)
#define NODE_TICK_MS 250u
#define NODE_POOL_MARKER ".grapevine-pool" /* In a pool: whose it is. */

struct ctl;
struct admin_call;
struct logind_uv;
struct event;
struct node_watch;

/* A node's clock of the day, as zones see it: node_clock.c. */
struct node_clock {
    uint64_t number;
    bool told; /* That it is off. */
    bool seen; /* By a zone at this look: */
    bool divided;
    uint32_t n;     /* of so many that were compared, */
    int64_t off_ms; /* it is so far ahead. */
};

/* A member is to go from a group that this node leads. */
struct node_leave {
    uint64_t since_ms; /* When that was first seen; 0: nobody is. */
    bool told;         /* That it cannot yet. */
};

/* Which events somebody wants to hear of. */
struct events_filter {
    uint64_t seq;                      /* Those behind this one. */
    int64_t since_ns;                  /* Not older than this; since 1970. */
    bool follow;                       /* Those to come, too. */
    char zone[DIRECTORY_NAME_MAX + 1]; /* Empty: of all and of none. */
};

/* A zone that this node has (had) data of, as state/zones.json remembers it. */
struct node_zone {
    uint8_t id[16];
    uint64_t raft_id;
    char pool[DIRECTORY_NAME_MAX + 1];
    char slug[DIRECTORY_NAME_MAX + 1];
    uint64_t epoch; /* In which this node became a member. */
    bool created;   /* The dataset was made: its absence is a fault. */
    bool removing;  /* The host is being closed, then the dataset goes. */
    bool closing;   /* The host is being closed, to begin anew: under another raft id, or
                     * because it failed. */
    bool stale;     /* A recovered zone cannot go on with this data. */
    bool complete;  /* It was a voter that had everything: else nobody needs it. */
    enum host_lost lost;        /* Its data must not be used again under this raft id. */
    bool swept;                 /* What was set aside before is being removed, or is. */
    uint64_t repair_ms;         /* When to go on with a repair. */
    struct reconcile_mark vote; /* Since when it is seen to vote. */
    struct host *host;          /* NULL: not open. */
    struct retry retry;
    struct host_failure failure; /* Of the host that is being closed. */
    struct reconcile_mark drop;
    struct node_leave leave;
    struct node_watch *watch; /* NULL: it was not looked at yet. */
};

/* A member that is to be added once its row was read for certain. */
struct node_addition {
    uint8_t zone_id[16];
    uint64_t term; /* In which this node leads. */
    char key[DIRECTORY_NAME_MAX + 8];
    uint64_t version; /* Of the row @key, which names it. */
    struct rgroup_conf conf;
};

/* The member whose repair is under way; one at a time. */
struct node_repair {
    bool busy;
    uint8_t zone_id[16];
    uint64_t raft_id; /* The old one. */
};

struct node {
    uv_loop_t *loop;
    struct config config;
    struct disk *disk;
    struct peer_identity *identity;
    bool initialised; /* Belongs to a grapevine. */
    uint8_t grapevine_id[16];
    uint64_t number;
    uint64_t boot; /* Counts the starts. */
    /* See node_epoch.c. What is to hold from the next start on is in next_*, if next_epoch
     * is not 0: in this process nothing of it changes. */
    uint64_t epoch;      /* Of the grapevine; 0: it was never recovered. */
    uint64_t home_epoch; /* The one that the copy of the directory here is from. */
    bool home_forces;    /* That copy goes on in the new epoch, */
    uint64_t home_term;  /* in a term above this one. */
    uint64_t next_epoch;
    bool next_forces;
    uint64_t next_term;
    uint64_t epoch_heard;   /* A later one that another node is in; 0: none. */
    uint64_t epoch_foreign; /* A node that is in one of the same count; 0: none. */
    bool restart;           /* Once everything is closed, begin anew. */
    uint64_t session;       /* Random, of this start: no restored file brings it back. */
    struct inbox inbox;
    uv_prepare_t prepare;
    uv_timer_t tick;
    uint64_t wake_ms;
    uv_timer_t router_timer;
    struct peer_net *peers;
    struct peer_node known[DIRECTORY_NODES_MAX]; /* What peers was given. */
    char known_names[DIRECTORY_NODES_MAX][DIRECTORY_NAME_MAX + 1];
    uint32_t n_known;
    uint64_t faulty_version; /* Node rows that no table can hold were told up to this. */
    bool link_up[DIRECTORY_NODES_MAX];    /* Control and log are up; same order. */
    int64_t link_ns[DIRECTORY_NODES_MAX]; /* Since when it is as it is; 0: the start. */
    struct router *router;
    struct router_actions router_actions;
    bool routing;
    struct directory directory;
    uint32_t n_gone_told; /* Deleted zones that the router has heard of. */
    bool reading_directory;
    bool directory_stale;
    struct host *home; /* The grapevine's own group. */
    struct retry home_retry;
    struct host_failure home_failure;
    struct node_watch *home_watch;
    struct node_leave home_leave;
    struct node_zone zones[NODE_HOSTS_MAX];
    uint32_t n_zones;
    int state_fault; /* Of the last file of the state folder that was written. */
    bool
        zones_unsaved; /* zones.json does not have them all: no dataset is made meanwhile. */
    struct nfs_backend backend;
    struct nfs_front *front;
    struct binder_uv *binder;              /* NULL: nothing is registered with rpcbind. */
    bool serving;                          /* The front takes clients. */
    bool export_told[EXPORT_SECTIONS_MAX]; /* That the section's zone is not there. */
    struct ctl *ctl;
    struct admin_call *calls; /* Control requests under way. */
    struct admin_ask *asks;   /* Questions to other nodes under way. */
    uint64_t next_ask;
    size_t remote_bytes; /* Of other nodes' reads that are under way. */
    bool changing;       /* A reconciling change is under way. */
    struct node_addition adding;
    struct node_repair repair;
    uint32_t repairs;         /* Lately; */
    uint64_t repair_last_ms;  /* the last of them, */
    uint64_t repair_pause_ms; /* and when the next may begin. */
    uint64_t retry_ms;        /* When to look for absent datasets again. */
    struct node_marks *marks; /* As marks.json had them, or has them now. */
    uint64_t seed_wait_ms;
    uint16_t home_life;       /* This node's in the directory's group: how often it began
                                 anew there. From 1. */
    enum host_lost home_lost; /* Its copy must not be used again under that. */
    uint16_t home_new_life;   /* While it begins anew. */
    bool home_repair;         /* Something of that is under way. */
    bool home_swept;          /* What was set aside before is gone. */
    uint64_t home_repair_ms;  /* When to go on. */
    bool address_busy;   /* This node's address is being written; see node_address.c. */
    uint64_t address_ms; /* When to try again. */
    uint64_t
        tried_number; /* The node that is dialled elsewhere than its row says; 0: none, */
    uint64_t tried_version;      /* as long as the row is of this version, */
    struct config_address tried; /* namely there. */
    bool home_created; /* The directory's dataset was made: its absence is a fault. */
    bool home_read;    /* Its rows were asked for once. */
    int lock_fd;       /* state/lock, held while the daemon lives. */
    bool twin;         /* Another daemon is this node; see node_net.c. */
    struct logind_uv *logind; /* NULL: this machine's sleep is of no interest. */
    bool sleeps;              /* The machine is about to. */
    uint64_t sleeps_ms;       /* CLOCK_BOOTTIME of that. */
    struct node_clock clocks[DIRECTORY_NODES_MAX]; /* Those that were told. */
    uint32_t n_clocks;
    bool stopping;
    bool ending;      /* Everything is being closed. */
    unsigned parts;   /* Parts that have not ended yet. */
    uint64_t stop_ms; /* When stopping began. */
    bool leading;     /* While stopping: not everything is handed over yet. */
    int exit_status;
};

/* Frames between nodes: docs/formats/peer.md, "Frame types". */
enum node_frame {
    NODE_FRAME_REPLICA = 1,
    NODE_FRAME_OP = 2,
    NODE_FRAME_ANSWER = 3,
    NODE_FRAME_PULL = 4,
    NODE_FRAME_PULL_ANSWER = 5,
    NODE_FRAME_ASK = 6,
    NODE_FRAME_ASK_ANSWER = 7,
};

/* node.c. The error text is one line that says what to do. */
int node_open(struct node *node, uv_loop_t *loop, const struct config *config,
              char error[CONFIG_ERROR_MAX]);
/* Hand leadership over, close everything; the loop then runs empty. */
void node_stop(struct node *node);
/* Become part of a grapevine: write node.json, then start the network and the home
 * group. @initial: this node founds it. */
int node_enter(struct node *node, const uint8_t grapevine_id[16], uint64_t number,
               bool initial, char error[CONFIG_ERROR_MAX]);

/* Something that must end before the daemon does, and its end. */
void node_part_begin(struct node *node);
void node_part_end(struct node *node);

/* The same, but begin anew in this process then. */
void node_restart(struct node *node);

/* node_epoch.c: the grapevine was recovered, docs/adr/0006-recover.md. */
/* Raft id of the node @number in the grapevine's own group. */
uint64_t node_home_id(const struct node *node, uint64_t number);
/* Before the directory is opened: a copy from an earlier epoch is put aside. 0 or a
 * fault, with a line in @error. */
int node_epoch_begin(struct node *node, char error[CONFIG_ERROR_MAX]);
/* The directory runs in this epoch. */
void node_epoch_opened(struct node *node);
/* This node recovers the grapevine: it goes on in a new epoch once it was restarted. 0 or
 * a fault. */
int node_epoch_force(struct node *node, uint64_t term_above);
/* As peer_callbacks.epoch. */
void node_epoch_told(void *ctx, uint64_t number, uint64_t epoch);
void node_epoch_tick(struct node *node);
/* Write down in the directory that it is in this epoch. True if that is still to be. */
bool node_epoch_seed(struct node *node);

/* node_state.c: the files below the state folder. */
/* Keep other daemons from this state folder until the process ends. */
int node_state_lock(struct node *node, char error[CONFIG_ERROR_MAX]);
int node_state_load(struct node *node, char error[CONFIG_ERROR_MAX]);
int node_state_save(struct node *node);
int node_zones_save(struct node *node);
int node_known_save(struct node *node);
void node_known_load(struct node *node);
/* Know one more node, from @json's number, fingerprint, host, port and name. False if it
 * is malformed, has a fault beside the others, or there is no room. */
bool node_known_add(struct node *node, const cJSON *json);
/* 0, or a fault with a line in @error: missing, read-only, or another node's. */
int node_pool_check(struct node *node, const struct config_pool *pool,
                    char error[CONFIG_ERROR_MAX]);
void node_random(void *out, size_t len);

/* How soon a leader of @zone (NULL: of the directory) is replaced. */
static inline uint32_t node_election_ms(const struct node *node,
                                        const struct directory_zone *zone)
{
    return zone != NULL && zone->genesis.election_ms != 0 ? zone->genesis.election_ms
                                                          : node->config.election_ms;
}

/* node_net.c */
int node_net_open(struct node *node, char error[CONFIG_ERROR_MAX]);
void node_net_refresh(struct node *node);
/* Tell the router how far the other nodes are. */
void node_net_distances(struct node *node);
/* 0, or why the frame did not leave: see peer_send. An empty one never does. */
int node_send(struct node *node, const struct peer_message *message);
bool node_link_up(const struct node *node, uint64_t number);
/* Since when it is as it is, ns since 1970; 0: since this daemon's start. */
int64_t node_link_since_ns(const struct node *node, uint64_t number);
const char *node_name_of(const struct node *node, uint64_t number);
void node_host_callbacks(struct node *node, struct host_callbacks *out);

/* node_zones.c */
int node_home_open(struct node *node, bool initial);
struct host *node_host(struct node *node, const uint8_t zone_id[16]);
/* Open, close and remove hosts as the directory says; tell the router. */
void node_zones_refresh(struct node *node);
/* The host's state changed: remember a dataset that has been made. */
void node_zone_noted(struct node *node, struct host *host);
/* Read the directory's rows again. */
void node_directory_refresh(struct node *node);
void node_each_host(struct node *node,
                    void (*each)(struct node *node, struct host *host));

/* node_recover.c: zones that were recovered, docs/adr/0006-recover.md. */
/* True if the membership @member goes on with the data of @local, under a new raft id. */
bool node_carries(const struct node_zone *local, const struct directory_member *member);
/* How a host of that membership begins. */
void node_recovery(const struct node_zone *local, const struct directory_zone *zone,
                   const struct directory_member *member, struct host_recovery *out);
/* Close @local's host; then the zones are looked through again. */
void node_zone_reopen(struct node *node, struct node_zone *local);
/* When the recovery was decided because of which the data of @local, whose membership is
 * over, is kept; 0: it is to be removed. Seconds since 1970. */
uint64_t node_keeps(const struct node *node, const struct node_zone *local);
/* Every now and then. */
void node_recover_tick(struct node *node);
/* The datasets that were kept, by path; at most @max. A person is told of them. */
void node_each_kept(struct node *node, uint32_t max,
                    void (*each)(void *ctx, const char *path), void *ctx);

/* node_ops.c: ops through the router. */
/* As nfs_backend.submit. */
void node_submit(struct node *node, const struct nfs_submit *submit,
                 void (*done)(void *arg, const struct zone_result *result), void *arg);
void node_router_event(struct node *node, struct router_event *event);
/* As nfs_backend.cancel. */
void node_cancel(struct node *node, uint64_t token);
void node_backend_init(struct node *node);

/* node_events.c: what changed since the last tick, as events. */
void node_events_tick(struct node *node);
/* node_clock.c: what a zone's replica says of its members' clocks; then, of all zones. */
void node_clock_look(struct node *node, const struct replica_status *status);
void node_clock_tell(struct node *node);
/* NULL is a no-op. */
void node_watch_free(struct node_watch *watch);

/* node_sleep.c: before this machine sleeps, nobody is to wait for it any more. */
void node_sleep_open(struct node *node);
/* A host that was opened since hears of it, too. */
void node_sleep_tick(struct node *node);
void node_sleep_close(struct node *node);
/* A word: docs/formats/control.md, "sleep". */
const char *node_sleep_view(const struct node *node);

/* node_exports.c */
/* Log which sections of exports are for zones that the directory does not have. */
void node_exports_check(struct node *node);
/* True if some client may do in @slug what only root or anybody can: its user 0 is root, or
 * all users are one. */
bool node_exports_root(const struct node *node, const char *slug);
/* True if the @i-th section is such a one; *@zone is NULL if there are not so many. */
bool node_export_unknown(const struct node *node, uint32_t i, const char **zone,
                         uint32_t *line);

/* Who waits for the answer of a host. Addresses are even. */
enum asker_kind { ASKER_ROUTER = 1, ASKER_REMOTE = 2, ASKER_CALLBACK = 3 };
struct asker {
    struct node *node;
    enum asker_kind kind;
    uint64_t seq;
    uint64_t remote; /* REMOTE: the node. */
    size_t bytes;    /* REMOTE: of a read that is under way, as far as they count. */
    void (*done)(void *arg, int outcome, uint64_t leader_raft_id);
    void *arg;
};
void node_answer(void *ctx, const struct host_answer *answer);
uint64_t asker_new(struct node *node, enum asker_kind kind, uint64_t remote,
                   uint64_t seq);
uint64_t asker_callback(struct node *node,
                        void (*done)(void *arg, int outcome, uint64_t leader_raft_id),
                        void *arg);

/* node_reconcile.c: make raft's configurations what the directory says. */
void node_reconcile(struct node *node);
/* Do an op in the directory. */
void node_directory_op(struct node *node, const struct zone_op *op,
                       void (*done)(void *arg, const struct zone_result *result));

/* node_repair.c: members whose data is lost, and their way back. */
/* The host failed; does that mean that its data is lost? Remember it, before all else. */
void node_repair_noted(struct node *node, struct host *host);
/* A person gives the data up. False: it is in use. */
bool node_repair_give_up(struct node *node, struct node_zone *local);
void node_repair_tick(struct node *node);
/* The folder that a lost dataset is moved to ends so. */
void node_repair_stamp(char *out, size_t cap);

/* node_retry.c: members that failed for a reason that may pass, and their way back. */
void node_retry_tick(struct node *node);
/* A person wants it tried now. False: it did not fail, or its way back is another one. */
bool node_retry_now(struct node *node, struct node_zone *local);

/* node_home.c: as node_repair.c, for the directory. */
void node_home_noted(struct node *node);
void node_home_tick(struct node *node);
/* node_address.c: what others are told is not where this node is to be found. */
bool node_address_differs(const struct node *node);
void node_address_tick(struct node *node);
/* Dial the node at @address, until the directory names another. */
void node_address_try(struct node *node, const struct directory_node *row,
                      const struct config_address *address);
/* Put that address into @out, which was made of @row, if it is still tried. */
void node_address_tried(const struct node *node, const struct directory_node *row,
                        struct peer_node *out);

/* node_marks.c: what members vouched for, kept apart from their data (ADR 5). */
void node_marks_load(struct node *node);
/* What marks.json had of this zone. */
void node_marks_get(const struct node *node, const uint8_t zone_id[16],
                    struct roll_marks *out);
/* Write down what is new, now and then; @now: at once, waiting for the disk. */
void node_marks_tick(struct node *node, bool now);
void node_marks_free(struct node *node);

/* admin*.c: control requests, and questions between nodes. */
/* @follow (or NULL) is set if events that are to come were asked for, before @done. */
void admin_request(struct node *node, const cJSON *request, struct events_filter *follow,
                   void (*done)(void *arg, cJSON *answer), void *arg);
/* An event as control.md shows it, and whether it passes. */
cJSON *events_json(const struct node *node, const struct event *event);
bool events_wanted(const struct events_filter *filter, const struct event *event);
void admin_tick(struct node *node);
/* End every call and question with an error; nothing of them runs any more. */
void admin_stop(struct node *node);
void admin_ask_frame(struct node *node, uint64_t from, struct slice head,
                     struct slice body);
void admin_ask_answer(struct node *node, uint64_t from, struct slice head,
                      struct slice body);
void admin_join_request(void *ctx, uint64_t request, const uint8_t *fingerprint,
                        const char *remote_host, struct slice body);

/* ctl_uv.c: the control socket. */
int ctl_open(struct node *node, struct ctl **out, char error[CONFIG_ERROR_MAX]);
void ctl_close(struct ctl *ctl);
/* Every now and then. NULL is a no-op. */
void ctl_tick(struct ctl *ctl);
/* The daemon ends at once: leave no socket behind. NULL is a no-op. */
void ctl_forget(const struct ctl *ctl);

/* notify.c: systemd's readiness protocol, sd_notify(3). */
void notify_state(const char *state);

#endif
