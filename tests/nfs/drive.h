/*
 * drive: a listener in a loop, with a stub behind it and clients driven by hand from the same
 * loop, so that nothing waits for a clock.
 */
#pragma once

#include "nfs/front_uv.h"
#include "unit/nfs/stub.h"

#include <uv.h>

enum { TURNS_MAX = 20000, CALL_BYTES = 200 };

extern struct stub stub;
extern uv_loop_t loop;
extern struct nfs_front *front;
extern bool front_closed;
extern uint64_t clock_ms; /* The front's: it moves when a test says so. */
extern bool no_memory;    /* For calloc. */

/* Open a front (0: the defaults), and close it. */
void setup(uint32_t connections_max, uint64_t inflight_bytes_max);
void teardown(void);
/* For nfs_front_close. */
void drive_closed(void *arg);
/* Let the loop do what there is to do now; and often. */
void turn(void);
void turns(unsigned n);
/* Let time pass, without standing still. */
void pass(uint64_t ms);

int dial(void);
/* Dial, and have one call answered. */
int dial_served(uint32_t xid);
/* A GETATTR, a READ of @bytes, with @xid and the record mark. Returns the length. */
size_t make_call(uint8_t *out, uint32_t xid);
size_t make_read(uint8_t *out, uint32_t xid, uint32_t bytes);
/* Send what the socket takes; the rest is not sent. */
size_t push(int fd, const uint8_t *data, size_t len);
void push_all(int fd, const uint8_t *data, size_t len);
/* The xid of the next reply. */
uint32_t pull_reply(int fd);
bool is_closed(int fd);
bool is_open(int fd);
/* The same of a connection with replies that were not read. */
bool drained_open(int fd);
