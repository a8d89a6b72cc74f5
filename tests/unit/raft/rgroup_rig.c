#include "rgroup_rig.h"

#include "lib/check.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct rig *rig_new(uint32_t guards_off)
{
    struct rig *rig = calloc(1, sizeof *rig);

    CHECK(rig != NULL);
    rig->guards_off = guards_off;
    rig->now_ms = 1000000;
    return rig;
}

void rig_free(struct rig *rig)
{
    uint32_t i;

    rig_drop(rig);
    for (i = 1; i <= RIG_MEMBERS_MAX; i++) {
        rgroup_free(rig->members[i].group);
    }
    free(rig);
}

struct rgroup_conf rig_conf(uint32_t voters, uint32_t members)
{
    struct rgroup_conf conf = {.n = members};
    uint32_t i;

    for (i = 0; i < members; i++) {
        conf.servers[i].id = i + 1;
        conf.servers[i].role = i < voters ? RGROUP_VOTER : RGROUP_STANDBY;
    }
    return conf;
}

struct rig_entry rig_entry(uint64_t term, enum rgroup_entry_type type,
                           const struct rgroup_conf *conf)
{
    struct rig_entry entry = {.term = term, .type = type};

    if (conf != NULL) {
        CHECK_INT(
            rgroup_conf_encode(conf, entry.conf, sizeof entry.conf, &entry.conf_len), 0);
    }
    return entry;
}

void rig_log(struct rig *rig, uint64_t id, const struct rgroup_conf *conf, uint32_t n,
             uint64_t term)
{
    struct rig_member *m = &rig->members[id];
    uint32_t i;

    m->log[1] = rig_entry(1, RGROUP_CHANGE, conf);
    for (i = 0; i < n; i++) {
        m->log[2 + i] = rig_entry(term, RGROUP_COMMAND, NULL);
    }
    m->first = 1;
    m->last = 1 + n;
    m->term = n > 0 ? term : 1;
}

static void entry_out(const struct rig_entry *from, struct rgroup_entry *to)
{
    *to = (struct rgroup_entry){.term = from->term,
                                .type = from->type,
                                .conf = from->conf_len > 0 ? from->conf : NULL,
                                .conf_len = from->conf_len};
}

void rig_start(struct rig *rig, uint64_t id)
{
    struct rig_member *m = &rig->members[id];
    struct rgroup_config config = {.self = id,
                                   .election_ms = RIG_ELECTION_MS,
                                   .heartbeat_ms = RIG_HEARTBEAT_MS,
                                   .inflight_max = 64,
                                   .seed = id * 77,
                                   .guards_off = rig->guards_off};
    struct rgroup_event event = {.type = RGROUP_EV_START};
    struct rgroup_entry entries[RIG_LOG_MAX];
    uint64_t i;

    if (m->first == 0) {
        m->first = 1;
    }
    CHECK_INT(rgroup_new(&config, &m->group), 0);
    event.term = m->term;
    event.vote = m->vote;
    event.has_snapshot = m->has_snapshot;
    event.snapshot = m->snapshot;
    event.first_index = m->first;
    for (i = m->first; i <= m->last; i++) {
        entry_out(&m->log[i], &entries[i - m->first]);
        event.n_entries++;
    }
    event.entries = entries;
    m->durable = m->last;
    m->applied = m->has_snapshot ? m->snapshot.index : 0;
    CHECK_INT(rig_step(rig, id, &event), 0);
}

void rig_stop(struct rig *rig, uint64_t id)
{
    struct rig_member *m = &rig->members[id];

    rgroup_free(m->group);
    m->group = NULL;
    m->last = m->durable;
}

static void carry_out_append(struct rig_member *m, const struct rgroup_event *event,
                             const struct rgroup_append *append)
{
    uint32_t i;

    CHECK(append->index > 0 && append->index <= m->last + 1);
    CHECK(append->index + append->n <= RIG_LOG_MAX);
    if (append->index > 1) {
        CHECK(append->index > m->applied);
    }
    for (i = 0; i < append->n; i++) {
        const struct rgroup_entry *from =
            append->own ? &append->own_entry : &event->entries[append->from + i];
        struct rig_entry *to = &m->log[append->index + i];

        to->term = from->term == 0 ? m->update.term : from->term;
        to->type = from->type;
        to->conf_len = from->conf_len;
        if (from->conf_len > 0) {
            memcpy(to->conf, from->conf, from->conf_len);
        }
    }
    m->last = append->index + append->n - 1;
    if (m->durable >= append->index) {
        m->durable = append->index - 1;
    }
}

static void queue_put(struct rig *rig, uint64_t from, const struct rgroup_msg *msg)
{
    struct rig_member *m = &rig->members[from];
    struct rig_msg *slot = &rig->queue[rig->queue_tail % RIG_QUEUE_MAX];
    uint32_t i;

    CHECK(rig->queue_tail - rig->queue_head < RIG_QUEUE_MAX);
    rig->queue_tail++;
    *slot = (struct rig_msg){.from = from, .msg = *msg};
    if (msg->conf_len > 0) {
        memcpy(slot->conf, msg->conf, msg->conf_len);
        slot->msg.conf = slot->conf;
    }
    if (msg->type == RGROUP_MSG_APPEND && msg->n > 0) {
        slot->entries = calloc(msg->n, sizeof *slot->entries);
        CHECK(slot->entries != NULL);
        for (i = 0; i < msg->n; i++) {
            CHECK(msg->index + 1 + i <= m->last);
            slot->entries[i] = m->log[msg->index + 1 + i];
        }
    }
}

/* Apply what is committed and durable: only changes matter to the group. */
static void apply(struct rig *rig, uint64_t id)
{
    struct rig_member *m = &rig->members[id];

    while (!m->no_apply && m->applied < m->update.commit && m->applied < m->durable) {
        struct rgroup_event event = {.type = RGROUP_EV_APPLIED_CHANGE};

        m->applied++;
        if (m->log[m->applied].type == RGROUP_CHANGE && m->applied >= m->first) {
            event.index = m->applied;
            CHECK_INT(rig_step(rig, id, &event), 0);
        }
    }
}

int rig_step(struct rig *rig, uint64_t id, struct rgroup_event *event)
{
    struct rig_member *m = &rig->members[id];
    uint32_t i;
    int rv;

    CHECK(m->group != NULL);
    event->now_ms = rig->now_ms;
    rv = rgroup_step(m->group, event, &m->update);
    m->rv = rv;
    if (m->update.meta) {
        m->metas++;
        m->term = m->update.term;
        m->vote = m->update.vote;
    }
    for (i = 0; i < m->update.n_appends; i++) {
        carry_out_append(m, event, &m->update.appends[i]);
    }
    for (i = 0; i < m->update.n_messages; i++) {
        queue_put(rig, id, &m->update.messages[i]);
    }
    if (!m->slow && !m->update.install) {
        rig_persist(rig, id);
    }
    if (rv == 0) {
        apply(rig, id);
    }
    return rv;
}

void rig_persist(struct rig *rig, uint64_t id)
{
    struct rig_member *m = &rig->members[id];
    struct rgroup_event event = {.type = RGROUP_EV_PERSISTED, .index = m->last};

    if (m->group != NULL && m->durable < m->last) {
        m->durable = m->last;
        CHECK_INT(rig_step(rig, id, &event), 0);
    }
}

int rig_receive(struct rig *rig, uint64_t id, const struct rgroup_msg *msg,
                const struct rig_entry *entries)
{
    struct rgroup_event event = {.type = RGROUP_EV_RECEIVE, .msg = msg};
    struct rgroup_entry out[RIG_LOG_MAX];
    uint32_t i;

    if (entries != NULL) {
        for (i = 0; i < msg->n; i++) {
            entry_out(&entries[i], &out[i]);
        }
        event.entries = out;
        event.n_entries = msg->n;
    }
    return rig_step(rig, id, &event);
}

int rig_submit(struct rig *rig, uint64_t id, uint32_t n)
{
    struct rgroup_entry entries[RIG_LOG_MAX] = {0};
    struct rgroup_event event = {
        .type = RGROUP_EV_SUBMIT, .entries = entries, .n_entries = n};
    uint32_t i;

    for (i = 0; i < n; i++) {
        entries[i].type = RGROUP_COMMAND;
    }
    return rig_step(rig, id, &event);
}

int rig_change(struct rig *rig, uint64_t id, const struct rgroup_conf *conf)
{
    struct rgroup_event event = {.type = RGROUP_EV_CHANGE, .conf = conf};

    return rig_step(rig, id, &event);
}

int rig_transfer(struct rig *rig, uint64_t id, uint64_t target)
{
    struct rgroup_event event = {.type = RGROUP_EV_TRANSFER, .target = target};

    return rig_step(rig, id, &event);
}

/* The last configuration at or below @index in the log of @m. */
static uint64_t conf_before(const struct rig_member *m, uint64_t index)
{
    while (index > 0 && m->log[index].type != RGROUP_CHANGE) {
        index--;
    }
    return index;
}

static void snapshot_set(struct rig_member *m, const struct rig_member *from,
                         uint64_t index)
{
    uint64_t conf = conf_before(from, index);

    CHECK(conf > 0);
    m->has_snapshot = true;
    memcpy(m->snapshot_conf, from->log[conf].conf, from->log[conf].conf_len);
    m->snapshot = (struct rgroup_snapshot){.index = index,
                                           .term = from->log[index].term,
                                           .conf_index = conf,
                                           .conf = m->snapshot_conf,
                                           .conf_len = from->log[conf].conf_len};
}

int rig_snapshot(struct rig *rig, uint64_t id, uint64_t index, uint64_t trailing)
{
    struct rig_member *m = &rig->members[id];
    struct rgroup_event event = {.type = RGROUP_EV_SNAPSHOT_TAKEN, .trailing = trailing};

    snapshot_set(m, m, index);
    event.snapshot = m->snapshot;
    if (index > trailing && index - trailing + 1 > m->first) {
        m->first = index - trailing + 1;
    }
    return rig_step(rig, id, &event);
}

int rig_installed(struct rig *rig, uint64_t id, uint64_t from, uint64_t index)
{
    struct rig_member *m = &rig->members[id];
    struct rgroup_event event = {.type = RGROUP_EV_SNAPSHOT_INSTALLED};

    snapshot_set(m, &rig->members[from], index);
    event.snapshot = m->snapshot;
    m->log[index].term = m->snapshot.term;
    m->first = index + 1;
    m->last = index;
    m->durable = index;
    m->applied = index;
    return rig_step(rig, id, &event);
}

static void queue_pop(struct rig *rig, struct rig_msg *out)
{
    struct rig_msg *slot = &rig->queue[rig->queue_head % RIG_QUEUE_MAX];

    *out = *slot;
    slot->entries = NULL;
    rig->queue_head++;
    if (out->msg.conf != NULL) {
        out->msg.conf = out->conf;
    }
}

bool rig_deliver_one(struct rig *rig)
{
    struct rig_msg next;

    while (rig->queue_head != rig->queue_tail) {
        uint64_t to;

        queue_pop(rig, &next);
        to = next.msg.peer;
        CHECK(to >= 1 && to <= RIG_MEMBERS_MAX);
        if (rig->members[to].group == NULL || rig->cut[next.from][to]) {
            free(next.entries);
            continue;
        }
        next.msg.peer = next.from;
        (void)rig_receive(rig, to, &next.msg, next.entries);
        free(next.entries);
        return true;
    }
    return false;
}

void rig_deliver(struct rig *rig)
{
    uint32_t n = 0;

    while (rig_deliver_one(rig)) {
        CHECK(++n < RIG_QUEUE_MAX);
    }
}

void rig_drop(struct rig *rig)
{
    struct rig_msg next;

    while (rig->queue_head != rig->queue_tail) {
        queue_pop(rig, &next);
        free(next.entries);
    }
}

static void tick(struct rig *rig, uint64_t id)
{
    struct rig_member *m = &rig->members[id];
    struct rgroup_event event = {.type = RGROUP_EV_TICK};

    if (m->group != NULL && rig->now_ms >= m->update.wake_ms) {
        CHECK_INT(rig_step(rig, id, &event), 0);
    }
}

void rig_run(struct rig *rig, uint64_t ms)
{
    uint64_t end = rig->now_ms + ms;
    uint64_t id;

    while (rig->now_ms < end) {
        rig->now_ms += 10;
        for (id = 1; id <= RIG_MEMBERS_MAX; id++) {
            tick(rig, id);
        }
        rig_deliver(rig);
    }
}

void rig_elect(struct rig *rig, uint64_t id)
{
    struct rig_member *m = &rig->members[id];
    uint32_t n;

    for (n = 0; n < 500 && m->update.state == RGROUP_FOLLOWER; n++) {
        rig->now_ms += 10;
        tick(rig, id);
    }
    rig_deliver(rig);
}

const struct rgroup_msg *rig_find(const struct rig *rig, enum rgroup_msg_type type,
                                  uint64_t to)
{
    uint32_t i;

    for (i = rig->queue_tail; i != rig->queue_head; i--) {
        const struct rig_msg *msg = &rig->queue[(i - 1) % RIG_QUEUE_MAX];

        if (msg->msg.type == type && msg->msg.peer == to) {
            return &msg->msg;
        }
    }
    return NULL;
}

uint64_t rig_leader(const struct rig *rig)
{
    uint64_t leader = 0;
    uint64_t id;

    for (id = 1; id <= RIG_MEMBERS_MAX; id++) {
        const struct rig_member *m = &rig->members[id];

        if (m->group != NULL && m->update.state == RGROUP_LEADER &&
            (leader == 0 || m->update.term > rig->members[leader].update.term)) {
            leader = id;
        }
    }
    return leader;
}

bool rig_asserts(void (*run)(uint32_t guards_off), uint32_t guards_off)
{
    int status = 0;
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDOUT_FILENO);
        (void)close(STDERR_FILENO);
        run(guards_off);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
