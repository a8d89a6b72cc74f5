/* What is a fault to apply: entries that do not check, and rows that cannot be. */
#include "base/outcome.h"
#include "fixture.h"

#include <errno.h>

static struct fx fx;
static uint8_t bytes[ZONE_IO_MAX];

/* A payload that is not what its CRC says stops the batch: nothing of it happened, and
 * the same entries, whole, can be applied afterwards. */
static void bad_payload_is_a_fault(void)
{
    struct zone_op create = {.type = ZONE_OP_CREATE, .obj = fx_root};
    struct zone_op write = {.type = ZONE_OP_WRITE};
    struct zone_result results[2];
    struct fx_entry entries[2];
    struct fx_batch batch = {.entries = entries, .n = 2, .here = true};
    uint8_t before[32];
    uint8_t after[32];

    fx_open(&fx, "z", FX_QUOTA);
    write.obj = fx_file(&fx, fx_root, "f");
    write.data = slice_borrow(bytes, 100);
    create.name = fx_str("new");
    fx.origin = (struct zone_origin){1, 1, 1, 1};
    fx_make(&fx, &create, 2, fx.time_ns + 1, &entries[0]);
    fx.origin.seq = 2;
    fx_make(&fx, &write, 3, fx.time_ns + 2, &entries[1]);
    fx_digest(&fx, before);
    batch.results = results;
    entries[1].payload->data[50] ^= 4;
    CHECK_INT(fx_apply(&fx, &batch), -EUCLEAN);
    fx_digest(&fx, after);
    CHECK_MEM(after, before, 32);
    CHECK_UINT(zone_applied_index(fx.zone), 1);
    CHECK_INT(fx_lookup(&fx, fx_root, "new"), OUT_NOENT);
    entries[1].payload->data[50] ^= 4;
    CHECK_INT(fx_apply(&fx, &batch), 0);
    CHECK_INT(results[0].outcome, 0);
    CHECK_INT(results[1].outcome, 0);
    CHECK_UINT(results[0].obj.ino, write.obj.ino + 1);
    CHECK_UINT(zone_applied_index(fx.zone), 3);
    fx_free(&entries[0]);
    fx_free(&entries[1]);
    fx_close(&fx);
}

/* A WRITE whose payload is nowhere is a fault as well, not zeros. */
static void lost_payload_is_a_fault(void)
{
    struct zone_op op = {.type = ZONE_OP_WRITE};
    struct zone_apply_item item = {.index = 2, .term = 1, .kind = ZONE_APPLY_COMMAND};
    struct fx_entry entry;

    fx_open(&fx, "z", FX_QUOTA);
    op.obj = fx_file(&fx, fx_root, "f");
    op.data = slice_borrow(bytes, 100);
    fx_make(&fx, &op, 2, fx.time_ns + 1, &entry);
    item.head = slice_borrow(entry.head->data, entry.head->len);
    CHECK_INT(zone_apply(fx.zone, &item, 1), -EUCLEAN);
    CHECK_UINT(zone_applied_index(fx.zone), 1);
    fx_free(&entry);
    fx_close(&fx);
}

/* An entry from a newer version is a fault, never skipped: members would differ. */
static void unknown_version_is_a_fault(void)
{
    struct zone_op op = {.type = ZONE_OP_CREATE, .obj = fx_root};
    struct fx_entry entry;
    struct fx_batch batch = {.entries = &entry, .n = 1};
    size_t op_at;

    fx_open(&fx, "z", FX_QUOTA);
    op.name = fx_str("f");
    fx_make(&fx, &op, 1, fx.time_ns + 1, &entry);
    entry.head->data[0]++;
    CHECK_INT(fx_apply(&fx, &batch), -EPROTONOSUPPORT);
    entry.head->data[0]--;
    op_at = 1 + 8 + 32 + 16;
    CHECK_UINT(entry.head->data[op_at + 1], ZONE_OP_CREATE);
    entry.head->data[op_at + 1] = 200;
    CHECK_INT(fx_apply(&fx, &batch), -EPROTONOSUPPORT);
    entry.head->data[op_at + 1] = ZONE_OP_CREATE;
    entry.head->len--;
    CHECK_INT(fx_apply(&fx, &batch), -EPROTO);
    entry.head->len++;
    CHECK_UINT(zone_applied_index(fx.zone), 0);
    CHECK_INT(fx_apply(&fx, &batch), 0);
    fx_free(&entry);
    fx_close(&fx);
}

static void set_number(const char *name, uint64_t value)
{
    CHECK_INT(store_begin(fx.store), 0);
    CHECK_INT(store_number_set(fx.store, name, value), 0);
    CHECK_INT(store_commit(fx.store, true), 0);
}

/* Rows that came from somebody else, with checksums that are right, are a fault of this
 * zone, and not the end of the daemon: numbers that are about to leave their range, a name
 * for the root, directories in a circle. */
static void rows_of_somebody_else(void)
{
    static const char *const numbers[] = {"next_ino", "next_cookie", "applied"};
    struct store_dirent dirent = {.dir = ZONE_ROOT_INO, .cookie = 7, .name = fx_str("r")};
    struct zone_handle dirs[3];
    struct store_inode inode;
    struct zone_op op = {.type = ZONE_OP_RMDIR, .obj = fx_root, .name = fx_str("r")};
    struct fx_entry entry;
    struct fx_batch batch = {.entries = &entry, .n = 1};

    fx_open(&fx, "odd", FX_QUOTA);
    dirs[0] = fx_dir(&fx, fx_root, "a");
    dirs[1] = fx_dir(&fx, dirs[0], "b");
    dirs[2] = fx_dir(&fx, fx_root, "c");
    for (size_t i = 0; i < 3; i++) {
        uint64_t before = 0;

        CHECK_INT(store_number_get(fx.store, numbers[i], &before), 0);
        set_number(numbers[i], INT64_MAX);
        CHECK_INT(zone_reload(fx.zone), -EUCLEAN);
        set_number(numbers[i], before);
        CHECK_INT(zone_reload(fx.zone), 0);
    }

    /* An empty root that has a name in itself. */
    CHECK_INT(store_begin(fx.store), 0);
    CHECK_INT(store_inode_get(fx.store, ZONE_ROOT_INO, &inode), 0);
    dirent.ino = ZONE_ROOT_INO;
    inode.entries = 0;
    CHECK_INT(store_inode_put(fx.store, &inode), 0);
    CHECK_INT(store_dirent_put(fx.store, &dirent), 0);
    CHECK_INT(store_commit(fx.store, true), 0);
    fx_make(&fx, &op, fx.index + 1, fx.time_ns + 1, &entry);
    CHECK_INT(fx_apply(&fx, &batch), -EUCLEAN);
    fx_free(&entry);

    /* a lies in b, and b in a. */
    CHECK_INT(store_begin(fx.store), 0);
    CHECK_INT(store_inode_get(fx.store, dirs[0].ino, &inode), 0);
    inode.parent = dirs[1].ino;
    CHECK_INT(store_inode_put(fx.store, &inode), 0);
    CHECK_INT(store_commit(fx.store, true), 0);
    set_number("inodes", UINT64_MAX);
    CHECK_INT(zone_reload(fx.zone), 0);
    op = (struct zone_op){.type = ZONE_OP_RENAME,
                          .obj = fx_root,
                          .to = dirs[1],
                          .name = fx_str("c"),
                          .to_name = fx_str("c")};
    fx_make(&fx, &op, fx.index + 1, fx.time_ns + 1, &entry);
    CHECK_INT(fx_apply(&fx, &batch), -EUCLEAN);
    fx_free(&entry);
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(bad_payload_is_a_fault), CHECK_TEST(lost_payload_is_a_fault),
          CHECK_TEST(unknown_version_is_a_fault), CHECK_TEST(rows_of_somebody_else))
