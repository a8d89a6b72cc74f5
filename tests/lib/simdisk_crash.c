/* What goes wrong with a simulated disk. */
#include "lib/simdisk_priv.h"

#include "base/assert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Crashes. */

enum fate { FATE_ALL, FATE_NONE, FATE_PREFIX, FATE_ANY };

/* Keep each sector of a write or not. */
static void tear(struct pages *pages, const struct write *write, struct prng *prng)
{
    uint64_t at = write->offset;
    uint64_t last = write->offset + write->len;

    while (at < last) {
        uint64_t next = (at / SIMDISK_SECTOR + 1) * SIMDISK_SECTOR;
        size_t n = (size_t)((next < last ? next : last) - at);

        if (prng_below(prng, 2) == 0) {
            pages_write(pages, at, write->data + (at - write->offset), n);
        }
        at += n;
    }
}

static void settle_write(struct inode *inode, const struct write *write,
                         struct prng *prng, uint64_t chance)
{
    switch (chance) {
    case 0:
        break;
    case 1:
        if (write->kind == WRITE_BYTES) {
            tear(&inode->synced, write, prng);
        }
        break;
    default:
        simdisk_write_do(&inode->synced, write);
        break;
    }
}

static void settle_inode(struct simdisk *sim, struct inode *inode, struct prng *prng)
{
    enum fate fate = (enum fate)prng_below(prng, 4);
    uint64_t prefix = prng_below(prng, inode->n_writes + 1);

    if (inode->settled) {
        return;
    }
    inode->settled = true;
    for (size_t i = 0; i < inode->n_writes; i++) {
        const struct write *write = &inode->writes[i];

        switch (fate) {
        case FATE_ALL:
            settle_write(inode, write, prng, 2);
            break;
        case FATE_NONE:
            break;
        case FATE_PREFIX:
            settle_write(inode, write, prng, i < prefix ? 2 : i == prefix ? 1 : 0);
            break;
        case FATE_ANY:
            settle_write(inode, write, prng, prng_below(prng, 4));
            break;
        }
    }
    simdisk_writes_clear(inode);
    sim->used_pages -= inode->now.n;
    pages_copy(&inode->now, &inode->synced);
    sim->used_pages += inode->now.n;
}

static void settle_names(struct simdisk *sim, struct prng *prng)
{
    while (sim->n_changes > 0) {
        char folder[SIMDISK_PATH_MAX];
        uint64_t n = 0;

        (void)snprintf(folder, sizeof folder, "%s", sim->changes_list[0].folder);
        for (size_t i = 0; i < sim->n_changes; i++) {
            n += strcmp(sim->changes_list[i].folder, folder) == 0 ? 1 : 0;
        }
        simdisk_settle_folder(sim, folder, prng_below(prng, n + 1));
    }
    /* What stands in a folder that was lost is lost with it. */
    for (size_t i = 0; i < sim->durable.n;) {
        char folder[SIMDISK_PATH_MAX];

        simdisk_folder_of(sim->durable.list[i].path, folder);
        if (simdisk_folder_exists(&sim->durable, folder)) {
            i++;
        } else {
            char *path = simdisk_copy_string(sim->durable.list[i].path);

            simdisk_names_unset(sim, &sim->durable, path);
            free(path);
            i = 0;
        }
    }
}

void simdisk_crash(struct simdisk *sim, struct prng *prng)
{
    sim->on = false;
    sim->off_after = 0;
    sim->generation++;
    settle_names(sim, prng);
    for (size_t i = 0; i < sim->durable.n; i++) {
        sim->durable.list[i].inode->settled = false;
    }
    for (size_t i = 0; i < sim->durable.n; i++) {
        settle_inode(sim, sim->durable.list[i].inode, prng);
    }
    simdisk_names_clear(sim, &sim->now);
    for (size_t i = 0; i < sim->durable.n; i++) {
        simdisk_names_set(sim, &sim->now, sim->durable.list[i].path,
                          sim->durable.list[i].inode);
    }
}

void simdisk_power_on(struct simdisk *sim)
{
    sim->on = true;
}

void simdisk_power_off_after(struct simdisk *sim, uint64_t n)
{
    sim->off_after = n;
    sim->off_in = SIMDISK_OPS;
}

void simdisk_power_off_in(struct simdisk *sim, enum simdisk_op op, uint64_t n)
{
    sim->off_after = n;
    sim->off_in = op;
}

bool simdisk_is_on(const struct simdisk *sim)
{
    return sim->on;
}

uint64_t simdisk_changes(const struct simdisk *sim)
{
    return sim->changes;
}

void simdisk_fail(struct simdisk *sim, enum simdisk_op op, uint64_t nth, int error,
                  bool forever)
{
    ASSERT(op < SIMDISK_OPS && error < 0);
    sim->faults[op] = (struct fault){.nth = nth, .error = error, .forever = forever};
}

void simdisk_set_capacity(struct simdisk *sim, uint64_t capacity)
{
    sim->capacity = capacity;
}

static void flip_in(struct pages *pages, uint64_t offset, uint8_t mask)
{
    uint8_t byte;

    if (offset < pages->size) {
        pages_read(pages, offset, &byte, 1);
        byte ^= mask;
        pages_write(pages, offset, &byte, 1);
    }
}

bool simdisk_bad(struct simdisk *sim, const char *path, uint64_t offset)
{
    char spelt[SIMDISK_PATH_MAX];
    const struct name *name;

    if (simdisk_spell(path, spelt) != 0) {
        return false;
    }
    name = simdisk_names_find(&sim->now, spelt);
    if (name == NULL || offset >= name->inode->now.size) {
        return false;
    }
    name->inode->has_bad = true;
    name->inode->bad = offset / SIMDISK_SECTOR;
    return true;
}

bool simdisk_flip(struct simdisk *sim, const char *path, uint64_t offset, unsigned bit)
{
    char spelt[SIMDISK_PATH_MAX];
    const struct name *name;
    struct inode *inode;
    uint8_t mask = (uint8_t)(1u << (bit & 7));

    if (simdisk_spell(path, spelt) != 0) {
        return false;
    }
    name = simdisk_names_find(&sim->now, spelt);
    if (name == NULL || offset >= name->inode->now.size) {
        return false;
    }
    inode = name->inode;
    sim->used_pages -= inode->now.n;
    flip_in(&inode->now, offset, mask);
    sim->used_pages += inode->now.n;
    flip_in(&inode->synced, offset, mask);
    for (size_t i = 0; i < inode->n_writes; i++) {
        struct write *write = &inode->writes[i];

        if (write->kind == WRITE_BYTES && offset >= write->offset &&
            offset - write->offset < write->len) {
            write->data[offset - write->offset] ^= mask;
        }
    }
    return true;
}

void simdisk_lie(struct simdisk *sim, bool lie)
{
    sim->lie = lie;
}

uint64_t simdisk_used(const struct simdisk *sim)
{
    return sim->used_pages * PAGES_BYTES;
}
