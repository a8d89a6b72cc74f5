/*
 * event: what happened on this node that a person may want to know later.
 *
 * One call gives a line of the log and an event. Events are kept in memory, the last
 * EVENT_KEPT_MAX of them, and in two bounded files of the state folder
 * (docs/formats/events.md), so that they outlive the daemon. There is one log of events a
 * process, like the log itself; before event_log_open and after event_log_close an event
 * is a line of the log only.
 *
 * Thread-safe. Telling one blocks on no disk: a thread of its own writes the file. Of one
 * kind, EVENT_RATE_MAX are kept a minute; how many more there were is told afterwards. No
 * secret is ever an argument: whoever may ask for the status may read all events.
 *
 * A new kind is a line here and a row of kinds[] in event.c. A kind's word is what files,
 * gvraft and the runbook know it by: it never changes its meaning.
 */
#ifndef DAEMON_EVENT_H
#define DAEMON_EVENT_H

#include "base/disk.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

#define EVENT_KEPT_MAX 4096u
#define EVENT_WORDS_MAX 384u
#define EVENT_KIND_MAX 24u
#define EVENT_ZONE_MAX 64u
#define EVENT_RATE_MAX 30u

enum event_kind {
    EVENT_START,         /* The daemon began. */
    EVENT_STOP,          /* It ends as it was asked to. */
    EVENT_RECOVERY,      /* Its last life did not end with a stop. */
    EVENT_START_REFUSED, /* It cannot start like this: configuration, pools, ports. */
    EVENT_OPENED,        /* A member that failed was opened anew, and runs. */
    EVENT_ONLINE,        /* States of a zone on this node: docs/formats/control.md. */
    EVENT_CATCHING_UP,
    EVENT_OFFLINE,
    EVENT_FULL,
    EVENT_ROOM, /* The full disk has room again. */
    EVENT_NO_DATA,
    EVENT_FAILED,
    EVENT_LEADER,   /* A zone has another leader, or a new term of it. */
    EVENT_ELECTION, /* This node's member stands for election. */
    EVENT_MEMBER_ADDED,
    EVENT_MEMBER_REMOVED,
    EVENT_MEMBER_PROMOTED,
    EVENT_PEER_UP,
    EVENT_PEER_DOWN,
    EVENT_PULL_BEGUN,
    EVENT_PULL_ENDED,
    EVENT_PULL_FAILED,
    EVENT_SLOW_DISK,
    EVENT_BLOCK_BAD,
    EVENT_BLOCK_HEALED,
    EVENT_ENTRY_BAD,    /* An entry that is to be applied cannot be read, */
    EVENT_ENTRY_HEALED, /* and another member's state has taken its place. */
    EVENT_DIFFERS,      /* Members of a zone have different states. */
    EVENT_QUARANTINE,   /* A member's data must not be used any more. */
    EVENT_REPAIRED,     /* It has a new copy, which is complete. */
    EVENT_STATE_HEALED, /* A file of the state folder was damaged; its copy was not. */
    EVENT_TWIN,         /* Another daemon is this node. */
    EVENT_RECOVERED,    /* What a recovery of a zone or the grapevine means here. */
    EVENT_STRANGER,     /* A connection was refused. */
    EVENT_CLOCK,        /* A node's clock is off the others', or right again. */
    EVENT_STALL,        /* The daemon stood still. */
    EVENT_SLEEP,        /* This machine is about to sleep or shut down. */
    EVENT_AWAKE,        /* It is awake. */
    EVENT_KINDS
};

/* @zone: its slug; NULL or "": none. The words are one line without quotation marks. */
void event_tell(enum event_kind kind, const char *zone, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

struct event {
    uint64_t seq;    /* From 1, without a gap, within one life of the daemon. */
    int64_t time_ns; /* Since 1970. */
    enum log_level level;
    char kind[EVENT_KIND_MAX];
    char zone[EVENT_ZONE_MAX];
    char words[EVENT_WORDS_MAX];
};

/*
 * Read what former lives wrote below @dir and start writing there. Returns 0, or a fault
 * of starting the thread. Files that cannot be read or written cost the events that are
 * in them, nothing else. *@crashed: the last life began and did not stop.
 */
int event_log_open(struct disk *disk, const char *dir, bool *crashed);
/* Write what is there and end; waits 2 s at most for a disk. */
void event_log_close(void);
/* The first event behind @seq; false: there is none yet. A gap of numbers says that so
 * many were dropped since. */
bool event_after(uint64_t seq, struct event *out);
/* The number of the newest; 0 none. */
uint64_t event_newest(void);

#endif
