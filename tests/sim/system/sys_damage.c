/*
 * What a disk forgets: bits that flip, and sectors that cannot be read any more, in data
 * that has settled and in journal segments that are full. Of one member of a zone at a
 * time, and only if two healthy ones are left: what it serves is then right or an error.
 * A member that can no longer open its journal is given up, and leaves the zone.
 *
 * The journal's newest segments are mostly spared: of a batch that nothing behind it says
 * was durable, a flipped bit looks like a torn write, and no single disk can tell. Not so
 * entries that a member has yet to apply: if it has to open its journal again before that,
 * its marks tell.
 */
#include "sys.h"

#include "base/assert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILES_MAX 256u
#define NAME_BYTES 40u
#define PATH_BYTES 128u
#define FAULTS_MAX 2u /* Of a damaged member before it is given up. */

struct files {
    char names[FILES_MAX][NAME_BYTES];
    uint32_t n;
};

static int take(void *ctx, const char *name)
{
    struct files *files = ctx;

    if (files->n < FILES_MAX && strlen(name) < NAME_BYTES) {
        (void)strcpy(files->names[files->n++], name);
    }
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void list(struct sys_node *node, const char *folder, struct files *files)
{
    struct disk *disk = simdisk_disk(node->disk);

    files->n = 0;
    (void)disk->ops->list(disk, folder, take, files);
    qsort(files->names, files->n, NAME_BYTES, by_name);
}

/* A full segment: neither the last two nor a spare. */
static bool pick_segment(struct sys_node *node, const char *dataset, char *path)
{
    struct files files;
    char folder[PATH_BYTES / 2];
    uint32_t n = 0;

    (void)snprintf(folder, sizeof folder, "%s/journal", dataset);
    list(node, folder, &files);
    for (uint32_t i = 0; i < files.n; i++) {
        if (strstr(files.names[i], ".seg") != NULL) {
            (void)memmove(files.names[n++], files.names[i], NAME_BYTES);
        }
    }
    if (n < 3) {
        return false;
    }
    (void)snprintf(path, PATH_BYTES, "%s/%s", folder,
                   files.names[sys_rand(node->sys, n - 2)]);
    return true;
}

static bool pick_data(struct sys_node *node, const char *dataset, char *path)
{
    struct files folders;
    struct files files;
    char folder[PATH_BYTES];

    (void)snprintf(folder, sizeof folder, "%s/data", dataset);
    list(node, folder, &folders);
    for (uint32_t i = 0; i < 20 && folders.n > 0; i++) {
        (void)snprintf(folder, sizeof folder, "%s/data/%s", dataset,
                       folders.names[sys_rand(node->sys, folders.n)]);
        list(node, folder, &files);
        if (files.n > 0) {
            (void)snprintf(path, PATH_BYTES, "%.80s/%s", folder,
                           files.names[sys_rand(node->sys, files.n)]);
            return true;
        }
    }
    return false;
}

static uint64_t size_of(struct sys_node *node, const char *path)
{
    struct disk *disk = simdisk_disk(node->disk);
    struct disk_file *file = NULL;
    uint64_t size = 0;

    if (disk->ops->open(disk, path, DISK_READ, &file) == 0) {
        (void)disk->ops->size(disk, file, &size);
        disk->ops->close(disk, file);
    }
    return size;
}

/* Without it the others must be a majority that has everything: in raft's configuration,
 * which may be behind the row. */
static bool may_be_damaged(struct sys *sys, uint32_t zone_nr, uint64_t node)
{
    const struct sys_zone *zone = &sys->zones[zone_nr];
    uint32_t up = 0;

    for (uint32_t i = 0; i < zone->row.n_members; i++) {
        if (zone->row.members[i].leaving) {
            return false;
        }
        up += sys->nodes[zone->row.members[i].node].up;
    }
    return zone->row.n_members >= 3 && up >= 3 && sys->nodes[node].up &&
           (zone->damaged == 0 || zone->damaged == node) &&
           sys_members_quiet(sys, zone_nr);
}

static void restart(struct sys *sys, void *ptr, uint64_t a, uint64_t b)
{
    (void)ptr;
    if (sys->nodes[a].up && sys->nodes[a].epoch == b) {
        sys_node_halt(&sys->nodes[a], sys_chance(sys, 2));
    }
}

/* The one that is damaged already, as a bad disk does not stop at one sector. */
static const struct directory_member *some_member(struct sys *sys,
                                                  const struct sys_zone *zone)
{
    for (uint32_t i = 0; i < zone->row.n_members; i++) {
        if (zone->row.members[i].node == zone->damaged) {
            return &zone->row.members[i];
        }
    }
    return &zone->row.members[sys_rand(sys, zone->row.n_members)];
}

/* At every other place two bits flip: a start sets one right in a journal. */
static bool flip_at(struct sys_node *node, const char *path, uint64_t offset,
                    uint64_t bit)
{
    return simdisk_flip(node->disk, path, offset, (unsigned)bit) &&
           (offset % 2 == 0 ||
            simdisk_flip(node->disk, path, offset, (unsigned)(bit + 3) % 8));
}

void sys_damage(struct sys *sys)
{
    uint32_t zone_nr = (uint32_t)sys_rand(sys, sys->n_zones);
    struct sys_zone *zone = &sys->zones[zone_nr];
    const struct directory_member *member = some_member(sys, zone);
    struct sys_node *node = &sys->nodes[member->node];
    bool journal = sys_with(sys, SYS_KIND_MEMBERS) && sys_chance(sys, 2);
    bool flip = sys_chance(sys, 2);
    char dataset[32];
    char path[PATH_BYTES];
    uint64_t size;
    uint64_t offset;

    if (!may_be_damaged(sys, zone_nr, member->node) || node->hosts[zone_nr] == NULL) {
        return;
    }
    (void)snprintf(dataset, sizeof dataset, "/zone%u-%u", zone_nr,
                   (unsigned)(node->made_as[zone_nr] & 0xffff));
    if (!(journal ? pick_segment(node, dataset, path) : pick_data(node, dataset, path))) {
        return;
    }
    size = size_of(node, path);
    if (size == 0) {
        return;
    }
    offset = sys_rand(sys, size);
    zone->damaged = member->node;
    node->damaged[zone_nr] = true;
    sys->counts.flips += flip;
    sys->counts.bad_sectors += !flip;
    sys->counts.journals_damaged += journal;
    sys_trace(sys, "node %u: %s at %u of %s", (unsigned)node->number,
              flip ? "a bit flips" : "a sector goes bad", (unsigned)offset, path);
    if (flip) {
        (void)flip_at(node, path, offset, sys_rand(sys, 8));
    } else {
        (void)simdisk_bad(node->disk, path, offset);
    }
    if (journal && sys_chance(sys, 2)) {
        /* A start reads all of it. */
        sys_in(sys, sys_rand(sys, 300 * SYS_US),
               (struct sys_event){.fn = restart, .a = node->number, .b = node->epoch});
    }
}

/* Chance is of its own here: where nothing is damaged, seeds are what they were. */
void sys_damage_unapplied(struct sys_host *host, const struct replica_entry *entries,
                          uint32_t n)
{
    struct sys *sys = host->sys;
    struct sys_node *node = host->node;
    uint64_t applied = zone_applied_index(host->zone);
    const struct replica_entry *entry;
    struct prng prng;
    char path[PATH_BYTES];
    uint64_t offset;
    bool flip;

    prng_seed(&prng, sys->seed * 31 + host->serial);
    if (n == 0 || entries[n - 1].index <= applied || sys->calm ||
        !sys_with(sys, SYS_KIND_DAMAGE) || !sys_with(sys, SYS_KIND_MEMBERS) ||
        sys->options.mutation != SYS_MUT_NONE || prng_below(&prng, 3) != 0 ||
        !may_be_damaged(sys, host->zone_nr, node->number)) {
        return;
    }
    entry = &entries[n - 1 -
                     prng_below(&prng, entries[n - 1].index - applied < n
                                           ? entries[n - 1].index - applied
                                           : n)];
    flip = prng_below(&prng, 2) == 0;
    (void)snprintf(path, sizeof path, "/zone%u-%u/journal/%016llx.seg", host->zone_nr,
                   (unsigned)(host->raft_id & 0xffff),
                   (unsigned long long)entry->segment);
    offset = entry->offset - 1 - prng_below(&prng, 64); /* Its header and head. */
    if (!(flip ? flip_at(node, path, offset, prng_below(&prng, 8))
               : simdisk_bad(node->disk, path, offset))) {
        return;
    }
    sys->zones[host->zone_nr].damaged = node->number;
    node->damaged[host->zone_nr] = true;
    sys->counts.flips += flip;
    sys->counts.bad_sectors += !flip;
    sys->counts.journals_damaged++;
    sys->counts.unapplied_damaged++;
    sys_trace(sys, "node %u: entry %u, to be applied, %s at %u of %s",
              (unsigned)node->number, (unsigned)entry->index, flip ? "rots" : "goes bad",
              (unsigned)offset, path);
}

bool sys_damage_shows(struct sys_host *host, int rv)
{
    struct sys_node *node = host->node;

    /* -ESTALE: it looked like a torn tail and was cut off, and the marks say otherwise. */
    if (!node->damaged[host->zone_nr] ||
        (rv != -EIO && rv != -EUCLEAN && rv != -ESTALE)) {
        return false;
    }
    node->damage_faults[host->zone_nr]++;
    return true;
}

bool sys_damage_is_end(const struct sys_node *node, uint32_t zone_nr)
{
    return node->damage_faults[zone_nr] >= FAULTS_MAX;
}

void sys_damage_give_up(struct sys_node *node, uint32_t zone_nr)
{
    struct sys_zone *zone = &node->sys->zones[zone_nr];

    node->damage_faults[zone_nr] = FAULTS_MAX;
    for (uint32_t i = 0; i < zone->row.n_members; i++) {
        if (zone->row.members[i].node == node->number && !zone->row.members[i].leaving) {
            zone->row.members[i].leaving = true;
            node->sys->counts.given_up++;
            sys_trace(node->sys, "node %u: its member of zone %u is given up",
                      (unsigned)node->number, zone_nr);
        }
    }
}

void sys_damage_over(struct sys_node *node, uint32_t zone_nr)
{
    struct sys_zone *zone = &node->sys->zones[zone_nr];

    node->damaged[zone_nr] = false;
    node->damage_faults[zone_nr] = 0;
    if (zone->damaged == node->number) {
        zone->damaged = 0;
    }
}
