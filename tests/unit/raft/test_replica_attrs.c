#include "lib/check.h"
#include "replica_rig.h"

#include <string.h>

/* Too large for a stack; each test begins with an empty one. */
static struct rig rig;

/* The rig writes to inode 2 of generation 1. */
static const struct zone_attr of_2 = {.ino = 2, .gen = 1, .nlink = 1, .size = 10};
static const struct zone_attr of_7 = {.ino = 7, .gen = 1, .nlink = 1, .size = 70};

static void begin(uint32_t n)
{
    memset(&rig, 0, sizeof rig);
    rig.leases = true;
    rig_init(&rig, n);
    rig_elect(&rig, 1);
    rig_run(&rig, 300);
    (void)rig_trace(&rig);
}

static void seen(uint64_t id, uint64_t stamp, const struct zone_attr *attr)
{
    replica_attrs_seen(rig.nodes[id].replica, stamp, attr);
}

static bool knows(uint64_t id, const struct zone_attr *attr)
{
    const struct zone_handle obj = {.ino = attr->ino, .gen = attr->gen};
    struct zone_attr out;
    uint64_t index = 0;

    if (!replica_attrs_get(rig.nodes[id].replica, obj, &out, &index)) {
        return false;
    }
    CHECK_UINT(out.size, attr->size);
    CHECK_UINT(index, rig_applied(&rig, id));
    return true;
}

static void remove_at(uint64_t id, uint64_t token)
{
    struct zone_op op = {.type = ZONE_OP_REMOVE,
                         .obj = {.ino = 3, .gen = 1},
                         .name = slice_borrow("f", 1)};
    struct zone_entry entry = {
        .origin = {.node = 9, .boot = 1, .seq = token, .floor = 1}};
    struct replica_event event = {.type = REPLICA_EV_SUBMIT, .token = token};
    struct buf *op_bytes = NULL;
    struct buf *head = NULL;

    CHECK_INT(zone_op_encode(&op, &op_bytes), 0);
    entry.op = slice_borrow(op_bytes->data, op_bytes->len);
    CHECK_INT(zone_entry_encode(&entry, &head), 0);
    event.wall_ns = (int64_t)rig.now_ms * 1000000;
    event.head = slice_of(head, 0, head->len);
    (void)rig_step(&rig, id, &event);
    rig_flush(&rig, id);
    rig_settle(&rig);
    slice_unref(&event.head);
    buf_unref(op_bytes);
    buf_unref(head);
}

/* A read that nothing has to be waited for is given in its own step: the loop's turn
 * would cost more than the read. */
static void given_at_once(void)
{
    struct replica_event event = {.type = REPLICA_EV_READ, .token = 10, .ino = 2};

    begin(3);
    (void)rig_step(&rig, 1, &event);
    CHECK_STR(rig_trace(&rig), "1 read 10 at 2\n");
    CHECK_UINT(replica_reads_waiting(rig.nodes[1].replica), 0);
    rig_deinit(&rig);
}

/* What touches an inode is handed to the zone before it is applied: from then on what was
 * known of it is not told, nor what a read that was given before brings home. */
static void touched_when_handed_over(void)
{
    uint64_t stamp;

    begin(1);
    rig_read_of(&rig, 1, 10, 2, 1);
    stamp = rig.nodes[1].read_stamp;
    seen(1, stamp, &of_2);
    seen(1, stamp, &of_7);
    CHECK(knows(1, &of_2));
    rig.nodes[1].hold_zone = true;
    rig_write(&rig, 1, 20, 1, 10);
    CHECK(!knows(1, &of_2));
    CHECK(knows(1, &of_7));
    seen(1, stamp, &of_2);
    CHECK(!knows(1, &of_2));
    rig_zone_done(&rig, 1);
    seen(1, stamp, &of_2);
    CHECK(!knows(1, &of_2));
    rig_read_of(&rig, 1, 11, 2, 1);
    seen(1, rig.nodes[1].read_stamp, &of_2);
    CHECK(knows(1, &of_2));
    rig_deinit(&rig);
}

/* Whose name a REMOVE takes, only the zone finds: nothing is known until it was applied.
 * Then all is known again but what it says it changed, and what was read of that before
 * and comes home late is refused. */
static void removed_is_forgotten(void)
{
    static const uint64_t touched[] = {3, 7};
    uint64_t stamp;

    begin(1);
    rig_read_of(&rig, 1, 10, 2, 1);
    stamp = rig.nodes[1].read_stamp;
    seen(1, stamp, &of_2);
    seen(1, stamp, &of_7);
    rig.nodes[1].hold_zone = true;
    rig.nodes[1].touched = touched;
    rig.nodes[1].n_touched = 2;
    remove_at(1, 20);
    CHECK(!knows(1, &of_2));
    CHECK(!knows(1, &of_7));
    seen(1, stamp, &of_7);
    CHECK(!knows(1, &of_7));
    rig_zone_done(&rig, 1);
    CHECK(knows(1, &of_2));
    CHECK(!knows(1, &of_7));
    seen(1, stamp, &of_7);
    CHECK(!knows(1, &of_7));
    rig_read_of(&rig, 1, 11, 7, 1);
    seen(1, rig.nodes[1].read_stamp, &of_7);
    CHECK(knows(1, &of_7));
    rig_deinit(&rig);
}

/* On a full disk nothing of a batch happens: what was known is so still, and the REMOVE
 * that is applied later forgets as it should. */
static void full_disk_changes_nothing(void)
{
    static const uint64_t touched[] = {3, 7};

    begin(1);
    rig_read_of(&rig, 1, 10, 2, 1);
    seen(1, rig.nodes[1].read_stamp, &of_2);
    seen(1, rig.nodes[1].read_stamp, &of_7);
    rig.nodes[1].touched = touched;
    rig.nodes[1].n_touched = 2;
    rig.nodes[1].full_zone = true;
    remove_at(1, 20);
    CHECK(knows(1, &of_2));
    CHECK(knows(1, &of_7));
    rig.nodes[1].full_zone = false;
    rig_run(&rig, 2000);
    CHECK(knows(1, &of_2));
    CHECK(!knows(1, &of_7));
    rig_deinit(&rig);
}

/* A read given while an apply is with the zone runs after it: what it brings is good. */
static void given_behind_an_apply(void)
{
    begin(3);
    rig_read_of(&rig, 1, 10, 7, 1);
    seen(1, rig.nodes[1].read_stamp, &of_7);
    rig_read(&rig, 2, 900); /* Member 2 asks for a read lease. */
    rig_settle(&rig);
    seen(2, rig.nodes[2].read_stamp, &of_2); /* From now on it looks at entries. */
    rig.nodes[2].hold_zone = true;
    rig_write(&rig, 1, 20, 1, 10);
    rig_run(&rig, 200); /* It hears that the entry is released. */
    (void)rig_trace(&rig);
    rig_read_of(&rig, 2, 30, 7, 1); /* The WRITE is no matter for it. */
    CHECK_STR(rig_trace(&rig), "2 read 30 at 2\n");
    seen(2, rig.nodes[2].read_stamp, &of_7);
    CHECK(knows(2, &of_7));
    rig_zone_done(&rig, 2);
    rig_settle(&rig);
    CHECK(knows(2, &of_7));
    rig_deinit(&rig);
}

TEST_MAIN(CHECK_TEST(given_at_once), CHECK_TEST(touched_when_handed_over),
          CHECK_TEST(removed_is_forgotten), CHECK_TEST(full_disk_changes_nothing),
          CHECK_TEST(given_behind_an_apply))
