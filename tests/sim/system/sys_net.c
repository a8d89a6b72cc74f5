/*
 * The network: per pair of nodes one connection of three channels, each in order. What
 * is on the way when a connection breaks is lost, on both sides; a side learns of it a
 * little later, and the new connection comes up only after both know. A stalled
 * direction holds frames back, as TCP does, until it goes on or the connection breaks.
 */
#include "sys.h"

#include "base/assert.h"

#include <stdlib.h>

#define LOG_CHANNEL 1u
#define BREAK_AFTER_US (2500 * SYS_US) /* A stall longer than this breaks. */

static struct sys_link *link_of(struct sys *sys, uint64_t a, uint64_t b)
{
    return a < b ? &sys->links[a][b] : &sys->links[b][a];
}

static unsigned direction(uint64_t from, uint64_t to)
{
    return from < to ? 0 : 1;
}

static void channel_clear(struct sys_channel *channel)
{
    while (channel->first != NULL) {
        struct sys_msg *msg = channel->first;

        channel->first = msg->next;
        slice_unref(&msg->head);
        slice_unref(&msg->body);
        free(msg);
    }
    channel->last = NULL;
}

bool sys_net_is_up(struct sys *sys, uint64_t a, uint64_t b)
{
    return link_of(sys, a, b)->up;
}

static void arm(struct sys *sys, struct sys_channel *channel, uint64_t from, uint64_t to,
                uint64_t channel_nr);

/* Deliver the head of a channel. @a: from << 8 | to, @b: epoch << 2 | channel. */
static void deliver(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    uint64_t from = a >> 8;
    uint64_t to = a & 0xff;
    struct sys_link *link = link_of(sys, from, to);
    struct sys_channel *channel = &link->channels[direction(from, to)][b & 3];
    struct sys_node *node = &sys->nodes[to];
    struct sys_msg *msg;
    uint64_t hold_us = link->stalled_us[direction(from, to)];

    (void)ptr;
    if (b >> 2 != link->epoch) {
        return; /* Of a connection that is gone. */
    }
    channel->armed = false;
    if (channel->first == NULL) {
        return;
    }
    if ((b & 3) == LOG_CHANNEL && link->log_stalled_us[direction(from, to)] > hold_us) {
        hold_us = link->log_stalled_us[direction(from, to)];
    }
    hold_us = node->asleep_us > hold_us ? node->asleep_us : hold_us;
    if (hold_us > sys->now_us) {
        if (channel->first->at_us < hold_us) {
            channel->first->at_us = hold_us;
        }
        arm(sys, channel, from, to, b & 3);
        return;
    }
    msg = channel->first;
    channel->first = msg->next;
    if (channel->first == NULL) {
        channel->last = NULL;
    }
    arm(sys, channel, from, to, b & 3);
    sys->counts.frames++;
    if (node->up) {
        sys_node_frame(node, msg);
    }
    slice_unref(&msg->head);
    slice_unref(&msg->body);
    free(msg);
}

static void arm(struct sys *sys, struct sys_channel *channel, uint64_t from, uint64_t to,
                uint64_t channel_nr)
{
    struct sys_link *link = link_of(sys, from, to);

    if (channel->armed || channel->first == NULL) {
        return;
    }
    channel->armed = true;
    sys_at(sys, channel->first->at_us,
           (struct sys_event){
               .fn = deliver, .a = from << 8 | to, .b = link->epoch << 2 | channel_nr});
}

static void frame_break(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    (void)ptr;
    if (link_of(sys, a >> 8, a & 0xff)->epoch == b) {
        sys_net_break(sys, a >> 8, a & 0xff);
    }
}

static uint64_t frame_delay(struct sys *sys, const struct sys_msg *msg)
{
    uint64_t delay_us = 30 + sys_rand(sys, sys->frame_delay_us);

    if (sys_chance(sys, 200)) {
        delay_us += sys_rand(sys, 100 * SYS_US);
    }
    return delay_us + msg->body.len / 100; /* 100 MB/s. */
}

/* The connection breaks just when the frames that are on their way before this one have
 * arrived: so it may break behind any frame. */
static void break_at_frame(struct sys *sys, const struct sys_channel *channel,
                           uint64_t from, uint64_t to)
{
    struct sys_link *link = link_of(sys, from, to);

    sys->counts.frame_breaks++;
    sys_at(sys, channel->last->at_us,
           (struct sys_event){.fn = frame_break, .a = from << 8 | to, .b = link->epoch});
}

void sys_net_send(struct sys *sys, struct sys_msg msg)
{
    struct sys_link *link = link_of(sys, msg.from, msg.to);
    struct sys_channel *channel =
        &link->channels[direction(msg.from, msg.to)][msg.channel];
    struct sys_msg *copy;

    if (!link->up || !sys->nodes[msg.from].up) {
        slice_unref(&msg.head);
        slice_unref(&msg.body);
        return;
    }
    copy = sys_alloc(1, sizeof *copy);
    *copy = msg;
    copy->next = NULL;
    copy->at_us = sys->now_us + frame_delay(sys, &msg);
    if (channel->last != NULL) {
        if (channel->last->at_us > copy->at_us) {
            copy->at_us = channel->last->at_us;
        }
        channel->last->next = copy;
    } else {
        channel->first = copy;
    }
    channel->last = copy;
    arm(sys, channel, msg.from, msg.to, msg.channel);
    if (sys->frames_each != 0 && !sys->calm && sys_chance(sys, sys->frames_each)) {
        break_at_frame(sys, channel, msg.from, msg.to);
    }
}

static void tell(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_node *node = &sys->nodes[a >> 8];

    (void)ptr;
    if (node->up && node->epoch == b >> 1) {
        sys_node_link(node, a & 0xff, (b & 1) != 0);
    }
}

/* Both ends learn of it, each in its own time. Returns when the slower one does. */
static uint64_t tell_both(struct sys *sys, uint64_t a, uint64_t b, bool up)
{
    uint64_t last_us = 0;
    uint64_t pair[2] = {a, b};

    for (unsigned i = 0; i < 2; i++) {
        struct sys_node *node = &sys->nodes[pair[i]];
        uint64_t delay_us = up ? 0 : sys_rand(sys, 50 * SYS_US);
        uint64_t at_us = sys->now_us + delay_us;

        at_us = node->asleep_us > at_us ? node->asleep_us + 1 : at_us;
        if (node->up) {
            sys_at(sys, at_us,
                   (struct sys_event){.fn = tell,
                                      .a = pair[i] << 8 | pair[1 - i],
                                      .b = node->epoch << 1 | up});
            last_us = at_us > last_us ? at_us : last_us;
        }
    }
    return last_us;
}

static void connect_later(struct sys *sys, uint64_t a, uint64_t b, uint64_t at_us);

static void try_connect(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    struct sys_link *link = link_of(sys, a, b);

    (void)ptr;
    link->waiting = false;
    if (link->up || !sys->nodes[a].up || !sys->nodes[b].up) {
        return;
    }
    if (link->cut || link->known_us >= sys->now_us ||
        sys->nodes[a].asleep_us > sys->now_us || sys->nodes[b].asleep_us > sys->now_us ||
        link->stalled_us[0] > sys->now_us || link->stalled_us[1] > sys->now_us) {
        connect_later(sys, a, b, sys->now_us + 50 * SYS_US);
        return;
    }
    link->up = true;
    link->epoch++;
    (void)tell_both(sys, a, b, true);
}

static void connect_later(struct sys *sys, uint64_t a, uint64_t b, uint64_t at_us)
{
    struct sys_link *link = link_of(sys, a, b);

    if (!link->waiting) {
        link->waiting = true;
        sys_at(sys, at_us, (struct sys_event){.fn = try_connect, .a = a, .b = b});
    }
}

static void lose(struct sys_link *link)
{
    link->up = false;
    link->epoch++;
    for (unsigned d = 0; d < 2; d++) {
        for (unsigned c = 0; c < SYS_CHANNELS; c++) {
            channel_clear(&link->channels[d][c]);
            link->channels[d][c].armed = false;
        }
    }
}

void sys_net_break(struct sys *sys, uint64_t a, uint64_t b)
{
    struct sys_link *link = link_of(sys, a, b);
    if (!link->up) {
        return;
    }
    sys_trace(sys, "net %u-%u breaks", (unsigned)a, (unsigned)b);
    lose(link);
    link->known_us = tell_both(sys, a, b, false);
    connect_later(sys, a, b, link->known_us + 1 + sys_rand(sys, 100 * SYS_US));
}

void sys_net_node_down(struct sys *sys, uint64_t number)
{
    for (uint64_t other = 1; other <= SYS_NODES; other++) {
        if (other != number) {
            sys_net_break(sys, number, other);
        }
    }
}

void sys_net_node_up(struct sys *sys, uint64_t number)
{
    for (uint64_t other = 1; other <= SYS_NODES; other++) {
        if (other != number && sys->nodes[other].up) {
            connect_later(sys, number, other, sys->now_us + 60 * SYS_US);
        }
    }
}

/* A stall that lasts breaks the connection: TCP_USER_TIMEOUT. */
static void watch(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    (void)ptr;
    (void)b;
    for (uint64_t i = 1; i <= SYS_NODES; i++) {
        for (uint64_t k = i + 1; k <= SYS_NODES; k++) {
            struct sys_link *link = &sys->links[i][k];

            for (unsigned d = 0; d < 2 && link->up; d++) {
                if (link->stalled_us[d] > sys->now_us + BREAK_AFTER_US / 2 &&
                    sys_chance(sys, 4)) {
                    sys_net_break(sys, i, k);
                }
            }
            if (link->cut && link->up && sys_chance(sys, 2)) {
                sys_net_break(sys, i, k);
            }
        }
    }
    sys_in(sys, 250 * SYS_US, (struct sys_event){.fn = watch, .a = a});
}

void sys_net_start(struct sys *sys)
{
    for (uint64_t number = 1; number <= SYS_NODES; number++) {
        sys_net_node_up(sys, number);
    }
    sys_in(sys, 0, (struct sys_event){.fn = watch});
}

void sys_net_heal(struct sys *sys)
{
    for (uint64_t i = 1; i <= SYS_NODES; i++) {
        for (uint64_t k = i + 1; k <= SYS_NODES; k++) {
            struct sys_link *link = &sys->links[i][k];

            link->cut = false;
            link->stalled_us[0] = 0;
            link->stalled_us[1] = 0;
            link->log_stalled_us[0] = 0;
            link->log_stalled_us[1] = 0;
            connect_later(sys, i, k, sys->now_us + 60 * SYS_US);
        }
    }
}

void sys_net_clear(struct sys *sys)
{
    for (uint64_t i = 1; i <= SYS_NODES; i++) {
        for (uint64_t k = i + 1; k <= SYS_NODES; k++) {
            lose(&sys->links[i][k]);
        }
    }
}
