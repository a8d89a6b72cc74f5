/* Listings of a directory that changes meanwhile, against a model: random creates,
 * removes and renames between the pages of several listings at once. */
#include "base/outcome.h"
#include "base/prng.h"
#include "base/wire.h"
#include "fixture.h"

#include <stdio.h>
#include <string.h>

enum {
    N_DIRS = 2, /* The second one is where names come from and go to. */
    N_NAMES = 300,
    N_LISTERS = 3,
    ENTRIES_MAX = 60000,
    STEPS = 12000,
    RECORD_BYTES = 8 + 101 + 4,
};

/* An entry is a place in the listing: it begins with a new name, moves with a rename to
 * a free name of its directory, and stays when a rename gives its name to another file. */
struct entry {
    bool alive;
    uint64_t ino;
    uint32_t n_seen[N_LISTERS]; /* By the listing that is under way. */
    uint32_t since;             /* The step of its birth. */
};

struct lister {
    uint64_t cookie;
    uint32_t since; /* The step in which it began. */
    uint32_t n_done;
};

static struct fx fx;
static struct prng prng;
static struct zone_handle dirs[N_DIRS];
static uint32_t at[N_DIRS][N_NAMES]; /* The name's entry; 0: it is free. */
static struct entry entries[ENTRIES_MAX];
static uint32_t n_entries;
static uint32_t step;
static struct lister listers[N_LISTERS];

static const char *name_of(uint32_t name)
{
    static char text[2][16];
    static unsigned turn;

    turn ^= 1;
    (void)snprintf(text[turn], sizeof text[turn], "name-%u", name);
    return text[turn];
}

static uint32_t entry_new(uint64_t ino)
{
    CHECK(n_entries + 1 < ENTRIES_MAX);
    n_entries++;
    entries[n_entries] = (struct entry){.alive = true, .ino = ino, .since = step};
    return n_entries;
}

static void entry_end(uint32_t *place)
{
    entries[*place].alive = false;
    *place = 0;
}

static void do_create(uint32_t dir, uint32_t name)
{
    int rv = fx_create(&fx, dirs[dir], name_of(name), 0644);

    CHECK_INT(rv, at[dir][name] != 0 ? OUT_EXIST : 0);
    if (rv == 0) {
        at[dir][name] = entry_new(fx.result.obj.ino);
    }
}

static void do_remove(uint32_t dir, uint32_t name)
{
    int rv = fx_remove(&fx, dirs[dir], name_of(name));

    CHECK_INT(rv, at[dir][name] != 0 ? 0 : OUT_NOENT);
    if (rv == 0) {
        entry_end(&at[dir][name]);
    }
}

static void do_rename(uint32_t dir, uint32_t name, uint32_t to_dir, uint32_t to_name)
{
    uint32_t *from = &at[dir][name];
    uint32_t *to = &at[to_dir][to_name];
    int rv = fx_rename(&fx, dirs[dir], name_of(name), dirs[to_dir], name_of(to_name));
    uint64_t ino = entries[*from].ino;

    CHECK_INT(rv, *from != 0 ? 0 : OUT_NOENT);
    if (rv != 0 || from == to) {
        return;
    }
    if (*to != 0) {
        entries[*to].ino = ino;
        entry_end(from);
    } else if (dir == to_dir) {
        *to = *from;
        *from = 0;
    } else {
        entry_end(from);
        *to = entry_new(ino);
    }
}

static void change(void)
{
    uint32_t dir = prng_below(&prng, 8) == 0;
    uint32_t name = (uint32_t)prng_below(&prng, N_NAMES);
    uint64_t kind = prng_below(&prng, 8);

    step++;
    if (kind < 3) {
        do_create(dir, name);
    } else if (kind < 5) {
        do_remove(dir, name);
    } else {
        do_rename(dir, name, prng_below(&prng, 8) == 0,
                  (uint32_t)prng_below(&prng, N_NAMES));
    }
}

static void begin(struct lister *lister)
{
    lister->cookie = 0;
    lister->since = step;
    for (uint32_t i = 1; i <= n_entries; i++) {
        entries[i].n_seen[lister - listers] = 0;
    }
}

static void see(struct lister *lister, const struct zone_dirent *record)
{
    unsigned name = N_NAMES;
    char text[16] = "";
    struct entry *entry;

    CHECK(record->name.len < sizeof text);
    memcpy(text, record->name.data, record->name.len);
    CHECK(sscanf(text, "name-%u", &name) == 1 && name < N_NAMES);
    CHECK(record->cookie > lister->cookie);
    lister->cookie = record->cookie;
    CHECK(at[0][name] != 0); /* A page is of one moment. */
    entry = &entries[at[0][name]];
    CHECK_UINT(record->attr.ino, entry->ino);
    CHECK_UINT(entry->n_seen[lister - listers]++, 0);
}

/* Every entry that lived from the begin to now was met. */
static void end(struct lister *lister)
{
    for (uint32_t name = 0; name < N_NAMES; name++) {
        const struct entry *entry = &entries[at[0][name]];

        CHECK(at[0][name] == 0 || entry->since > lister->since ||
              entry->n_seen[lister - listers] == 1);
    }
    lister->n_done++;
    begin(lister);
}

static void page(struct lister *lister)
{
    struct zone_op op = {.type = ZONE_OP_READDIR, .obj = dirs[0]};
    struct zone_dirent record;
    struct wire_dec dec;
    bool eof;
    int rv;

    op.offset = lister->cookie;
    op.count = (uint32_t)prng_below(&prng, 40 * RECORD_BYTES);
    rv = fx_read(&fx, op);
    if (rv == OUT_TOOSMALL) {
        CHECK(op.count < RECORD_BYTES + sizeof "name-000");
        return;
    }
    CHECK_INT(rv, 0);
    CHECK(fx.result.data.len <= op.count);
    eof = fx.result.eof;
    CHECK(eof || fx.result.data.len > 0);
    dec = wire_dec(fx.result.data.data, fx.result.data.len);
    while (zone_dirent_get(&dec, &record)) {
        see(lister, &record);
    }
    CHECK(!dec.failed);
    if (eof) {
        end(lister);
    }
}

/* Whatever happens between the pages, and over restarts: what is there from begin to end
 * is listed once, everything else once or not at all, and each listing ends. */
static void each_entry_once(void)
{
    prng_seed(&prng, 11);
    fx_open(&fx, "z", FX_QUOTA);
    dirs[0] = fx_dir(&fx, fx_root, "dir");
    dirs[1] = fx_dir(&fx, fx_root, "other");
    while (step < STEPS) {
        for (uint64_t n = prng_below(&prng, 12); n > 0; n--) {
            change();
        }
        page(&listers[prng_below(&prng, N_LISTERS)]);
        if (prng_below(&prng, 200) == 0) {
            fx_reopen(&fx);
        }
    }
    for (uint32_t i = 0; i < N_LISTERS; i++) {
        CHECK(listers[i].n_done >= 10);
    }
    fx_close(&fx);
}

/* Who renames every file that a listing shows meets each once: the listing ends, and
 * does not run after what it renamed. */
static void renaming_what_is_listed_ends(void)
{
    struct zone_op op = {.type = ZONE_OP_READDIR};
    struct zone_dirent record;
    uint32_t n = 0;
    bool eof = false;

    fx_open(&fx, "z", FX_QUOTA);
    op.obj = fx_dir(&fx, fx_root, "dir");
    for (uint32_t i = 0; i < N_NAMES; i++) {
        (void)fx_file(&fx, op.obj, name_of(i));
    }
    op.count = RECORD_BYTES + 20; /* One entry a page. */
    while (!eof) {
        struct wire_dec dec;
        char from[64] = "";
        char to[68];

        CHECK_INT(fx_read(&fx, op), 0);
        eof = fx.result.eof;
        dec = wire_dec(fx.result.data.data, fx.result.data.len);
        CHECK(zone_dirent_get(&dec, &record));
        op.offset = record.cookie;
        memcpy(from, record.name.data, record.name.len);
        (void)snprintf(to, sizeof to, "new-%s", from);
        CHECK_INT(fx_rename(&fx, op.obj, from, op.obj, to), 0);
        CHECK(++n <= N_NAMES);
    }
    CHECK_UINT(n, N_NAMES);
    fx_close(&fx);
}

TEST_MAIN(CHECK_TEST(each_entry_once), CHECK_TEST(renaming_what_is_listed_ends))
