/*
 * node_epoch: the grapevine itself goes on without the majority of its nodes
 * (docs/adr/0006-recover.md).
 *
 * An epoch is a count of recoveries, and 32 random bits so that two recoveries that do not
 * know of each other differ. Nodes of different epochs do not talk, except to say so. Who
 * hears of a later one follows: its copy of the directory is put aside, and it gets the
 * other's like a node that has just joined. The new epoch is in node.json first, and all
 * else is done when a daemon starts: so a crash anywhere is followed by doing it again.
 *
 * Raft ids in the grapevine's own group have the epoch's count in their life: members of
 * an earlier one address nobody.
 */
#include "daemon/node.h"

#include "base/log.h"
#include "daemon/event.h"
#include "daemon/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT_BITS 32u
#define COUNT_MAX 254u /* It is the upper half of a raft id's life. */
/* Numbers that may have been given by those that were lost, and must not be given again. */
#define NUMBERS_SKIPPED 1024u

static uint64_t count_of(uint64_t epoch)
{
    return epoch >> COUNT_BITS;
}

uint64_t node_home_id(const struct node *node, uint64_t number)
{
    const struct directory_node *row = directory_node(&node->directory, number);
    uint16_t life = row == NULL ? 1 : row->life;

    return directory_home_id(count_of(node->epoch) << 8, number,
                             number == node->number ? node->home_life : life);
}

static int put_aside(struct node *node)
{
    char from[HOST_PATH_MAX];
    char to[HOST_PATH_MAX + 64];
    time_t now = time(NULL);
    char stamp[32] = "";
    struct tm tm;
    int rv;

    (void)gmtime_r(&now, &tm);
    (void)strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm);
    snprintf(from, sizeof from, "%s/directory", node->config.state);
    snprintf(to, sizeof to, "%s.discarded-%s-%" PRIu64, from, stamp,
             count_of(node->home_epoch));
    rv = node->disk->ops->rename(node->disk, from, to);
    if (rv == 0) {
        rv = disk_sync_parent(node->disk, to);
        log_warn("daemon",
                 "msg=\"the grapevine was recovered without this node: its copy of the "
                 "directory is kept\" path=\"%s\"",
                 to);
    }
    return rv == -ENOENT ? 0 : rv; /* A crash came after it was moved. */
}

int node_epoch_begin(struct node *node, char error[CONFIG_ERROR_MAX])
{
    int rv;

    if (node->home_epoch == node->epoch || node->home_forces) {
        return 0;
    }
    rv = put_aside(node);
    if (rv == 0) {
        node->home_epoch = node->epoch;
        node->home_created = false;
        node->home_lost = HOST_LOST_NOT;
        rv = node_state_save(node);
    }
    if (rv != 0) {
        snprintf(error, CONFIG_ERROR_MAX, "cannot put %s/directory aside: %s",
                 node->config.state, strerror(-rv));
    }
    return rv;
}

void node_epoch_opened(struct node *node)
{
    if (node->home_epoch != node->epoch || node->home_forces) {
        node->home_epoch = node->epoch;
        node->home_forces = false;
        (void)node_state_save(node); /* If not: done again, that changes nothing. */
    }
}

/* From its next start on this node is in @epoch; in this process it never is. */
static int go_over(struct node *node, uint64_t epoch, bool forces, uint64_t term_above)
{
    int rv;

    node->next_epoch = epoch;
    node->next_forces = forces;
    node->next_term = term_above;
    rv = node_state_save(node);
    if (rv != 0) {
        node->next_epoch = 0;
    }
    return rv;
}

int node_epoch_force(struct node *node, uint64_t term_above)
{
    uint64_t count = count_of(node->epoch) + 1;
    uint32_t tag;

    if (count > COUNT_MAX || node->home_epoch != node->epoch || node->next_epoch != 0) {
        return -EBUSY;
    }
    node_random(&tag, sizeof tag);
    return go_over(node, count << COUNT_BITS | tag, true, term_above);
}

void node_epoch_told(void *ctx, uint64_t number, uint64_t epoch)
{
    struct node *node = ctx;

    if (count_of(epoch) > count_of(node->epoch) && count_of(epoch) <= COUNT_MAX) {
        node->epoch_heard = epoch;
    } else if (count_of(epoch) == count_of(node->epoch) &&
               node->epoch_foreign != number) {
        node->epoch_foreign = number;
        event_tell(EVENT_RECOVERED, NULL,
                   "this node and %s were recovered apart from each other: they are two "
                   "grapevines now",
                   node_name_of(node, number));
    }
}

void node_epoch_tick(struct node *node)
{
    if (node->epoch_heard == 0 || node->next_epoch != 0 || node->stopping) {
        return;
    }
    event_tell(EVENT_RECOVERED, NULL,
               "the grapevine was recovered without this node: following");
    if (go_over(node, node->epoch_heard, false, 0) == 0) {
        node_restart(node);
    } /* Else the next tick tries again. */
}

static void on_seeded(void *arg, const struct zone_result *result)
{
    struct node *node = arg;

    (void)result; /* If it was in vain, the next round sees that. */
    node->changing = false;
}

bool node_epoch_seed(struct node *node)
{
    const struct directory *directory = &node->directory;
    struct zone_op op = {.type = ZONE_OP_KV, .n_kv = 2};
    char number[24];
    cJSON *json;
    char *text;

    if (node->epoch == 0 || directory->epoch == node->epoch) {
        return false;
    }
    json = cJSON_CreateObject();
    json_put_u64(json, "epoch", node->epoch);
    cJSON_AddStringToObject(json, "node", node->config.name);
    json_put_u64(json, "time", (uint64_t)time(NULL));
    text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text == NULL) {
        return true;
    }
    snprintf(number, sizeof number, "%" PRIu64, directory->counter + NUMBERS_SKIPPED);
    op.kv[0] = (struct zone_kv){.key = slice_borrow("epoch", 5),
                                .value = slice_borrow(text, strlen(text)),
                                .version = directory->epoch_version};
    op.kv[1] = (struct zone_kv){.key = slice_borrow("counter/node", 12),
                                .value = slice_borrow(number, strlen(number)),
                                .version = directory->counter_version};
    node->changing = true;
    node_directory_op(node, &op, on_seeded);
    free(text);
    return true;
}
