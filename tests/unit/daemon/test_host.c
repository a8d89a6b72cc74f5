/* A zone's host alone, with its threads and a disk, without a network. It has a clock, but
 * every test waits for a condition. */
#include "base/wire.h"
#include "daemon/host_internal.h"
#include "daemon/recover_log.h"
#include "lib/check.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct fixture {
    uv_loop_t loop;
    struct inbox inbox;
    struct host *host;
    bool closed;
    uint32_t answers; /* To pull requests. */
    uint32_t results; /* Of ops and reads; the last: */
    int outcome;
    struct zone_handle obj;
    uint32_t count;
};

static struct fixture f;

static void on_send(void *ctx, struct host *host, const struct host_message *message)
{
    (void)ctx;
    (void)host;
    (void)message;
}

static void on_answer(void *ctx, const struct host_answer *answer)
{
    struct zone_result result;

    (void)ctx;
    f.results++;
    CHECK_INT(answer->outcome, 0);
    CHECK_INT(zone_result_decode(answer->result.data, answer->result.len, answer->data,
                                 &result),
              0);
    f.outcome = result.outcome;
    f.obj = (struct zone_handle){.ino = result.obj.ino, .gen = result.obj.gen};
    f.count = result.count;
    zone_result_clear(&result);
}

static void on_note(void *ctx, struct host *host)
{
    (void)ctx;
    (void)host;
}

static int on_pull_send(void *ctx, struct host *host, uint64_t raft_id, struct slice head)
{
    (void)ctx;
    (void)host;
    (void)raft_id;
    (void)head;
    return -EHOSTUNREACH;
}

/* The host of raft id @raft_id, in the folder @name. */
static void open_host(const char *name, uint64_t raft_id,
                      const struct host_recovery *recovery)
{
    static uint8_t bytes[4096];
    struct host_callbacks callbacks = {.send = on_send,
                                       .answer = on_answer,
                                       .note = on_note,
                                       .applied = on_note,
                                       .pull_send = on_pull_send};
    struct rgroup_conf conf = {.n = 1, .servers = {{.id = 7, .role = RGROUP_VOTER}}};
    struct host_config config = {.loop = &f.loop,
                                 .inbox = &f.inbox,
                                 .disk = disk_posix(),
                                 .zone_id = {9},
                                 .label = "test",
                                 .raft_id = raft_id,
                                 .seed = 1,
                                 .election_ms = 200,
                                 .heartbeat_ms = 20,
                                 .create = !recovery->carried,
                                 .recovery = *recovery,
                                 .genesis = {.quota_bytes = 1 << 30, .root_mode = 0755}};
    size_t len = 0;

    f = (struct fixture){0};
    CHECK_INT(uv_loop_init(&f.loop), 0);
    CHECK_INT(inbox_open(&f.inbox, &f.loop), 0);
    (void)snprintf(config.dir, sizeof config.dir, "%s/%s", check_tmpdir(), name);
    (void)snprintf(config.journal, sizeof config.journal, "%s/%s/journal", check_tmpdir(),
                   name);
    CHECK_INT(rgroup_conf_encode(&conf, bytes, sizeof bytes, &len), 0);
    config.bootstrap = slice_borrow(bytes, len);
    CHECK_INT(host_open(&config, &callbacks, &f.host), 0);
    while (host_state(f.host) == HOST_OPENING) {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
}

static void lead(void)
{
    while (!host_is_leader(f.host)) {
        CHECK(host_state(f.host) != HOST_FAILED);
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
}

/* One member that leads. */
static void setup(const char *name)
{
    open_host(name, 7, &(struct host_recovery){0});
    lead();
}

static void on_closed(void *arg)
{
    (void)arg;
    f.closed = true;
    inbox_close(&f.inbox, NULL);
}

static void teardown(void)
{
    host_close(f.host, on_closed, NULL);
    (void)uv_run(&f.loop, UV_RUN_DEFAULT);
    CHECK(f.closed);
    CHECK_INT(uv_loop_close(&f.loop), 0);
}

static void on_reply(void *ctx, uint64_t to, struct slice head, struct slice body)
{
    (void)ctx;
    (void)to;
    (void)body;
    CHECK(head.len >= 14 && wire_load_u32(head.data + 10) == 0);
    f.answers++;
}

static void run_age(struct job *job)
{
    ((struct host_job *)job)->host->cursors[0].used_ms -= 61000;
}

static void done_age(struct job *job)
{
    ((struct host_job *)job)->host->swept_ms = 0;
    host_job_end((struct host_job *)job);
}

/* A puller that went away without a word: its view, which keeps the WAL from being
 * emptied, is closed by itself once nobody asked for it for a minute. */
static void a_forgotten_view_is_closed(void)
{
    uint8_t open[10] = {PULL_VERSION, PULL_OPEN, 1};
    struct host_job *job;

    setup("forgotten");
    host_pull_request(f.host, 8, slice_borrow(open, sizeof open), on_reply, NULL);
    while (f.answers == 0) {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
    CHECK_UINT(f.host->n_cursors, 1);
    job = calloc(1, sizeof *job);
    CHECK(job != NULL);
    host_post_zone(f.host, job, run_age, done_age);
    while (f.host->n_cursors > 0) {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
    teardown();
}

/* What is in the log is applied, barriers and all; *@end is its end. */
static void settle(struct replica_log_end *end)
{
    struct host_report report;

    do {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
        host_report(f.host, &report);
    } while (report.replica.last_index == 0 ||
             report.replica.applied_index < report.replica.last_index);
    CHECK_INT(host_log_end(f.host, end), 0);
}

/* The member that leads a recovered zone goes on with what its log holds, alone, in a term
 * above all others, at an index that no entry ever had; begun again, as after a crash before
 * that was noted, it adds nothing to it. */
static void recovered_to_lead(void)
{
    const struct host_recovery recovery = {
        .carried = true, .lead = true, .term_above = 50, .index_max = 2, .time_s = 1000};
    struct replica_log_end first;
    struct replica_log_end end;
    struct replica_log_end again;

    setup("lead");
    settle(&first);
    teardown();
    open_host("lead", 8, &recovery);
    lead();
    settle(&end);
    CHECK(end.term > 50);
    CHECK(host_has_member(f.host, 8));
    CHECK(!host_has_member(f.host, 7));
    CHECK_UINT(end.last_index, 1000 * RECOVER_SECOND + 1); /* And a barrier. */
    CHECK_UINT(host_term_at(f.host, first.last_index), 0); /* It is in no log any more. */
    teardown();
    open_host("lead", 8, &recovery);
    lead();
    settle(&again);
    CHECK_UINT(again.last_index, end.last_index + 1); /* A barrier only. */
    teardown();
}

/* The power goes when the rows say how it goes on and the journal does not yet: the next
 * start does the rest. */
static void recovered_to_lead_in_two_lives(void)
{
    const struct host_recovery recovery = {
        .carried = true, .lead = true, .term_above = 50, .index_max = 2, .time_s = 1000};
    struct rgroup_conf conf = {.n = 1, .servers = {{.id = 8, .role = RGROUP_VOTER}}};
    struct replica_log_end first;
    struct replica_log_end end;
    struct zone_leap leap = {.index = 70000000, .term = 60};
    uint8_t bytes[RGROUP_CONF_BYTES_MAX];
    size_t len;

    setup("twice");
    settle(&first);
    CHECK_INT(rgroup_conf_encode(&conf, bytes, sizeof bytes, &len), 0);
    leap.conf = slice_borrow(bytes, len);
    CHECK_INT(zone_leap(f.host->disk.zone, &leap), 0); /* Its thread has nothing to do. */
    teardown();
    open_host("twice", 8, &recovery);
    lead();
    settle(&end);
    CHECK(end.term > 60);
    CHECK_UINT(end.last_index, 70000000 + 1);
    CHECK(host_has_member(f.host, 8));
    teardown();
}

static int ignore(void *ctx, const struct journal_entry *entry)
{
    (void)ctx;
    (void)entry;
    return 0;
}

/* One more entry in the log in the folder @name, which nobody knows to be committed: it
 * sets the quota. */
static void append_quota(const char *name, uint64_t quota)
{
    struct journal_config config = {
        .disk = disk_posix(), .zone_id = {9}, .segment_bytes = 16u << 20};
    struct zone_op op = {.type = ZONE_OP_SET_QUOTA, .offset = quota};
    struct zone_entry entry = {0};
    struct journal_state state;
    struct journal *journal;
    struct buf *body = NULL;
    struct buf *head = NULL;
    struct journal_entry last = {.type = RGROUP_COMMAND};
    struct journal_batch batch = {.entries = &last, .n_entries = 1};
    char dir[4200];

    (void)snprintf(dir, sizeof dir, "%s/%s/journal", check_tmpdir(), name);
    config.dir = dir;
    CHECK_INT(journal_open(&config, &state, ignore, NULL, &journal), 0);
    CHECK_INT(zone_op_encode(&op, &body), 0);
    entry.op = slice_borrow(body->data, body->len);
    CHECK_INT(zone_entry_encode(&entry, &head), 0);
    last.index = state.last_index + 1;
    last.term = state.term;
    last.head = slice_borrow(head->data, head->len);
    CHECK_INT(journal_append(journal, &batch), 0);
    journal_close(journal);
    buf_unref(head);
    buf_unref(body);
}

/* All that the log holds stays, also what nobody knew to be committed. */
static void recovered_with_all_of_its_log(void)
{
    const struct host_recovery recovery = {
        .carried = true, .lead = true, .index_max = 2, .time_s = 1000};
    struct replica_log_end end;
    struct host_report report;

    setup("all");
    settle(&end);
    teardown();
    append_quota("all", 12345);
    open_host("all", 8, &recovery);
    lead();
    settle(&end);
    host_report(f.host, &report);
    CHECK_UINT(report.usage.quota_bytes, 12345);
    teardown();
}

/* Who pulled blocks as of entries that the one that leads may not have begins anew, whatever
 * it has applied. */
static void recovered_with_what_was_pulled(void)
{
    struct host_recovery recovery = {.carried = true};
    struct replica_log_end end;
    struct store *store;

    setup("pulled");
    settle(&end);
    store = f.host->disk.store; /* Its thread has nothing to do. */
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_number_set(store, STORE_SERVE_FROM, end.last_index + 5), 0);
    CHECK_INT(store_commit(store, true), 0);
    teardown();
    recovery.index_max = end.last_index + 5;
    open_host("pulled", 8, &recovery);
    CHECK_INT(host_state(f.host), HOST_RUNNING);
    CHECK_UINT(host_ahead_index(f.host), end.last_index + 5);
    teardown();
    recovery.index_max = end.last_index + 4;
    open_host("pulled", 8, &recovery);
    CHECK(host_is_stale(f.host));
    teardown();
}

/* Who has not what it was chosen for does not begin. */
static void recovered_without_its_log(void)
{
    const struct host_recovery recovery = {
        .carried = true, .lead = true, .index_max = 1000};

    setup("short");
    teardown();
    open_host("short", 8, &recovery);
    CHECK_INT(host_state(f.host), HOST_FAILED);
    CHECK(!host_is_stale(f.host));
    teardown();
}

/* Others go on as they are and wait to be added; who has applied more than the one that
 * leads may have cannot. */
static void recovered_to_follow(void)
{
    struct host_recovery recovery = {.carried = true, .index_max = 1000};
    struct replica_log_end first;
    struct replica_log_end end;

    setup("follow");
    settle(&first);
    teardown();
    open_host("follow", 8, &recovery);
    CHECK_INT(host_state(f.host), HOST_RUNNING);
    CHECK_INT(host_log_end(f.host, &end), 0);
    CHECK_UINT(end.last_index, first.last_index);
    CHECK(!host_has_member(f.host, 8));
    teardown();
    recovery.index_max = first.last_index - 1;
    open_host("follow", 8, &recovery);
    CHECK_INT(host_state(f.host), HOST_FAILED);
    CHECK(host_is_stale(f.host));
    teardown();
}

static void run_until_committed(void)
{
    while (f.host->commit_ms != 0 || f.host->zone_jobs > 0) {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
}

/* What was applied is committed in a pause: by a job of the zone's thread, and not while
 * that has others. */
static void applied_rows_are_committed(void)
{
    struct store *store;

    setup("commit");
    run_until_committed();
    store = f.host->disk.store; /* Its thread has nothing to do. */
    CHECK(!store_is_held(store));
    CHECK_INT(store_begin(store), 0);
    store_hold(store);
    f.host->commit_ms = 1;
    f.host->zone_jobs++;
    host_commit_tick(f.host, 1000);
    CHECK_UINT(f.host->commit_ms, 1050);
    CHECK_UINT(f.host->zone_jobs, 1);
    f.host->zone_jobs--;
    CHECK(store_is_held(store));
    host_commit_tick(f.host, 1049);
    CHECK_UINT(f.host->commit_ms, 1050);
    host_commit_tick(f.host, 1050);
    CHECK_UINT(f.host->commit_ms, 0);
    run_until_committed();
    CHECK(!store_is_held(store));
    CHECK_INT(host_state(f.host), HOST_RUNNING);
    teardown();
}

/* The folder goes while it is in use, or another takes its place: the open files would take
 * writes that nobody finds again, so the member stops, and says which folder. */
static void the_folder_goes(void)
{
    char from[1024];
    char to[1100];

    for (int replaced = 0; replaced < 2; replaced++) {
        setup(replaced ? "replaced" : "gone");
        host_retry(f.host);
        for (int i = 0; i < 50; i++) { /* Some looks at a folder that is there. */
            (void)uv_run(&f.loop, UV_RUN_ONCE);
            host_retry(f.host);
        }
        CHECK_INT(host_state(f.host), HOST_RUNNING);
        (void)snprintf(from, sizeof from, "%s/%s", check_tmpdir(),
                       replaced ? "replaced" : "gone");
        (void)snprintf(to, sizeof to, "%s.away", from);
        CHECK_INT(rename(from, to), 0);
        if (replaced) {
            CHECK_INT(mkdir(from, 0700), 0);
        }
        while (host_state(f.host) != HOST_FAILED) {
            host_retry(f.host);
            (void)uv_run(&f.loop, UV_RUN_ONCE);
        }
        CHECK(strstr(host_reason(f.host), "put it back") != NULL);
        CHECK(strstr(host_reason(f.host), from) != NULL);
        CHECK_INT(host_lost(f.host), HOST_LOST_NOT);
        teardown();
    }
}

/* Apply @op: its object in f.obj. */
static void submit(struct zone_op op)
{
    static uint64_t seq = 1;
    uint32_t before = f.results;
    struct zone_entry entry = {
        .origin = {.node = 1, .boot = 1, .seq = seq, .floor = seq}};
    struct buf *bytes = NULL;
    struct buf *head = NULL;

    seq++;
    zone_op_seal(&op);
    CHECK_INT(zone_op_encode(&op, &bytes), 0);
    entry.op = slice_borrow(bytes->data, bytes->len);
    CHECK_INT(zone_entry_encode(&entry, &head), 0);
    host_submit(f.host, slice_borrow(head->data, head->len), op.data, 2);
    while (f.results == before) {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
    CHECK_INT(f.outcome, 0);
    buf_unref(head);
    buf_unref(bytes);
}

/* Ask for @op. True if it was answered before anything else ran; else wait for it, and for
 * @held, if that is not NULL, to be let go. */
static bool is_read_at_once(struct zone_op op, sem_t *held)
{
    uint32_t before = f.results;
    struct buf *bytes = NULL;
    bool at_once;

    CHECK_INT(zone_op_encode(&op, &bytes), 0);
    host_read(f.host, slice_borrow(bytes->data, bytes->len), 2);
    at_once = f.results > before;
    if (held != NULL) {
        CHECK_INT(sem_post(held), 0);
    }
    while (f.results == before || f.host->zone_jobs > 0) {
        (void)uv_run(&f.loop, UV_RUN_ONCE);
    }
    CHECK_INT(f.outcome, 0);
    buf_unref(bytes);
    return at_once;
}

/* A disk of which, @on, nothing is in memory. */
static struct {
    const struct disk_ops *real;
    struct disk_ops ops;
    pthread_t loop;
    _Atomic bool on;
    uint32_t tried;  /* On the loop, without waiting for the disk; */
    uint32_t waited; /* or with. */
} cold;

static int pread_cold(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                      uint64_t offset)
{
    if (cold.on && disk_is_nowait()) {
        cold.tried++;
        return -EAGAIN;
    }
    if (cold.on && pthread_equal(pthread_self(), cold.loop)) {
        cold.waited++;
    }
    return cold.real->pread(disk, file, buf, len, offset);
}

/* Not of the block that was read last: the store still has that. */
static bool is_cold_read_at_once(struct zone_op *read)
{
    read->offset = read->offset == 0 ? STORE_BLOCK : 0;
    return is_read_at_once(*read, NULL);
}

static sem_t held;

static void run_held(struct job *job)
{
    (void)job;
    while (sem_wait(&held) != 0) {
    }
}

static void done_held(struct job *job)
{
    host_job_end((struct host_job *)job);
}

/* While the zone's thread has nothing to do the loop answers reads, at once; but it waits
 * for no disk, and neither for much nor beside a job. */
static void the_loop_reads_what_is_in_memory(void)
{
    static const uint8_t bytes[200000];
    const struct zone_handle root = {.ino = ZONE_ROOT_INO, .gen = ZONE_ROOT_GEN};
    struct zone_op lookup = {.type = ZONE_OP_LOOKUP, .obj = root};
    struct zone_op read = {.type = ZONE_OP_READ, .count = 100};
    struct host_job *job = calloc(1, sizeof *job);

    CHECK(job != NULL);
    CHECK_INT(sem_init(&held, 0, 0), 0);
    cold.real = disk_posix()->ops;
    cold.ops = *cold.real;
    cold.ops.pread = pread_cold;
    cold.loop = pthread_self();
    disk_posix()->ops = &cold.ops;
    setup("reads");
    lookup.name = slice_borrow("f", 1);
    submit((struct zone_op){.type = ZONE_OP_CREATE, .obj = root, .name = lookup.name});
    read.obj = f.obj;
    submit((struct zone_op){
        .type = ZONE_OP_WRITE, .obj = f.obj, .data = slice_borrow(bytes, sizeof bytes)});
    run_until_committed();
    CHECK(is_read_at_once(lookup, NULL));
    CHECK_UINT(f.obj.ino, read.obj.ino);
    host_post_zone(f.host, job, run_held, done_held);
    CHECK(!is_read_at_once(lookup, &held));
    cold.on = true;
    CHECK(!is_cold_read_at_once(&read));
    CHECK_UINT(f.count, 100);
    CHECK(cold.tried > 0);
    for (uint32_t rest = 1; rest <= 7; rest = 2 * rest + 1) {
        cold.tried = 0; /* After each miss it tries more seldom. */
        for (uint32_t i = 0; i < rest; i++) {
            CHECK(!is_cold_read_at_once(&read));
        }
        CHECK_UINT(cold.tried, 0);
        CHECK(!is_cold_read_at_once(&read));
        CHECK(cold.tried > 0);
    }
    CHECK_UINT(cold.waited, 0);
    CHECK(is_read_at_once(lookup, NULL)); /* Names are another matter. */
    cold.on = false;
    read.count = 65537;
    f.host->now[true].rest = 0;
    CHECK(!is_read_at_once(read, NULL));
    CHECK_UINT(f.count, 65537);
    CHECK_UINT(f.host->now[true].rest, 0);
    teardown();
    disk_posix()->ops = cold.real;
    CHECK_INT(sem_destroy(&held), 0);
}

/* A state that was pulled from a member that left the configuration out, or that lies on a
 * disk so: that zone's data is damaged, and the daemon goes on. */
static void a_state_without_a_configuration(void)
{
    struct replica_log_end end;
    struct zone_snapshot snapshot = {0};
    struct store *store;

    setup("bare");
    settle(&end);
    store = f.host->disk.store; /* Its thread has nothing to do. */
    CHECK_INT(store_begin(store), 0);
    CHECK_INT(store_kv_del(store, slice_borrow("conf", 4)), 0);
    CHECK_INT(store_commit(store, true), 0);
    CHECK_INT(zone_snapshot(f.host->disk.zone, &snapshot), 0);
    CHECK(snapshot.conf == NULL);
    teardown();
    open_host("bare", 7, &(struct host_recovery){0});
    CHECK_INT(host_state(f.host), HOST_FAILED);
    CHECK_INT(host_lost(f.host), HOST_LOST_DAMAGED);
    teardown();
}

TEST_MAIN(CHECK_TEST(a_state_without_a_configuration),
          CHECK_TEST(the_loop_reads_what_is_in_memory),
          CHECK_TEST(applied_rows_are_committed), CHECK_TEST(the_folder_goes),
          CHECK_TEST(a_forgotten_view_is_closed), CHECK_TEST(recovered_to_lead),
          CHECK_TEST(recovered_to_lead_in_two_lives),
          CHECK_TEST(recovered_with_all_of_its_log),
          CHECK_TEST(recovered_with_what_was_pulled),
          CHECK_TEST(recovered_without_its_log), CHECK_TEST(recovered_to_follow))
