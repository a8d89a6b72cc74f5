/* What there is on a simulated disk: inodes, their unsynced writes, and names. */
#include "lib/simdisk_priv.h"

#include "base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Make room for one more of @size bytes. */
static void grow(void *list_at, size_t n, size_t *cap, size_t size)
{
    void **list = list_at;

    if (n == *cap) {
        *cap = *cap == 0 ? 16 : 2 * *cap;
        *list = realloc(*list, *cap * size);
        ASSERT(*list != NULL);
    }
}

char *simdisk_copy_string(const char *text)
{
    char *copy = strdup(text);

    ASSERT(copy != NULL);
    return copy;
}

int simdisk_spell(const char *path, char out[SIMDISK_PATH_MAX])
{
    size_t n = 0;

    if (strlen(path) >= SIMDISK_PATH_MAX) {
        return -ENAMETOOLONG;
    }
    if (strcmp(path, ".") == 0) {
        path = "";
    }
    if (strncmp(path, "./", 2) == 0) {
        path += 2;
    }
    for (; *path != '\0'; path++) {
        if (*path != '/' || (n > 0 && out[n - 1] != '/')) {
            out[n] = *path;
            n++;
        }
    }
    if (n > 0 && out[n - 1] == '/') {
        n--;
    }
    out[n] = '\0';
    return 0;
}

void simdisk_folder_of(const char *path, char out[SIMDISK_PATH_MAX])
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);

    memcpy(out, path, len);
    out[len] = '\0';
}

static uint64_t hash_of(const char *path)
{
    uint64_t hash = 1469598103934665603ULL;

    for (; *path != '\0'; path++) {
        hash = (hash ^ (unsigned char)*path) * 1099511628211ULL;
    }
    return hash;
}

/* Inodes. */

void simdisk_writes_clear(struct inode *inode)
{
    for (size_t i = 0; i < inode->n_writes; i++) {
        free(inode->writes[i].data);
    }
    inode->n_writes = 0;
}

void simdisk_inode_put(struct simdisk *sim, struct inode *inode)
{
    ASSERT(inode->refs > 0);
    inode->refs--;
    if (inode->refs == 0) {
        sim->used_pages -= inode->now.n;
        simdisk_writes_clear(inode);
        free(inode->writes);
        pages_clear(&inode->now);
        pages_clear(&inode->synced);
        free(inode);
    }
}

void simdisk_write_do(struct pages *pages, const struct write *write)
{
    switch (write->kind) {
    case WRITE_BYTES:
        pages_write(pages, write->offset, write->data, (size_t)write->len);
        break;
    case WRITE_SIZE:
        pages_resize(pages, write->offset);
        break;
    case WRITE_HOLE:
        pages_zero(pages, write->offset, write->len);
        break;
    }
}

void simdisk_inode_write(struct simdisk *sim, struct inode *inode, struct write write)
{
    sim->used_pages -= inode->now.n;
    simdisk_write_do(&inode->now, &write);
    sim->used_pages += inode->now.n;
    grow(&inode->writes, inode->n_writes, &inode->cap_writes, sizeof write);
    inode->writes[inode->n_writes] = write;
    inode->n_writes++;
}

/* Names. */

struct name *simdisk_names_find(const struct names *names, const char *path)
{
    uint64_t hash = hash_of(path);

    for (size_t i = 0; i < names->n; i++) {
        if (names->list[i].hash == hash && strcmp(names->list[i].path, path) == 0) {
            return &names->list[i];
        }
    }
    return NULL;
}

void simdisk_names_unset(struct simdisk *sim, struct names *names, const char *path)
{
    struct name *name = simdisk_names_find(names, path);

    if (name != NULL) {
        free(name->path);
        simdisk_inode_put(sim, name->inode);
        names->n--;
        *name = names->list[names->n];
    }
}

void simdisk_names_set(struct simdisk *sim, struct names *names, const char *path,
                       struct inode *inode)
{
    inode->refs++;
    simdisk_names_unset(sim, names, path);
    grow(&names->list, names->n, &names->cap, sizeof *names->list);
    names->list[names->n] = (struct name){
        .path = simdisk_copy_string(path),
        .hash = hash_of(path),
        .inode = inode,
    };
    names->n++;
}

void simdisk_names_clear(struct simdisk *sim, struct names *names)
{
    while (names->n > 0) {
        names->n--;
        free(names->list[names->n].path);
        simdisk_inode_put(sim, names->list[names->n].inode);
    }
}

bool simdisk_folder_exists(const struct names *names, const char *path)
{
    const struct name *name;

    if (path[0] == '\0') {
        return true;
    }
    name = simdisk_names_find(names, path);
    return name != NULL && name->inode->folder;
}

static void change_do(struct simdisk *sim, struct names *names,
                      const struct change *change)
{
    if (change->from != NULL) {
        simdisk_names_unset(sim, names, change->from);
    }
    if (change->to != NULL) {
        simdisk_names_set(sim, names, change->to, change->inode);
    }
}

void simdisk_change_free(struct simdisk *sim, struct change *change)
{
    if (change->inode != NULL) {
        simdisk_inode_put(sim, change->inode);
    }
    free(change->folder);
    free(change->from);
    free(change->to);
}

void simdisk_change_names(struct simdisk *sim, const char *from, const char *to,
                          struct inode *inode)
{
    char folder[SIMDISK_PATH_MAX];
    struct change change = {
        .from = from == NULL ? NULL : simdisk_copy_string(from),
        .to = to == NULL ? NULL : simdisk_copy_string(to),
        .inode = inode,
    };

    simdisk_folder_of(to != NULL ? to : from, folder);
    change.folder = simdisk_copy_string(folder);
    if (inode != NULL) {
        inode->refs++;
    }
    grow(&sim->changes_list, sim->n_changes, &sim->cap_changes, sizeof change);
    sim->changes_list[sim->n_changes] = change;
    sim->n_changes++;
    change_do(sim, &sim->now, &change);
}

void simdisk_settle_folder(struct simdisk *sim, const char *folder, uint64_t n)
{
    size_t kept = 0;

    for (size_t i = 0; i < sim->n_changes; i++) {
        struct change *change = &sim->changes_list[i];

        if (strcmp(change->folder, folder) != 0) {
            sim->changes_list[kept] = *change;
            kept++;
            continue;
        }
        if (n > 0) {
            change_do(sim, &sim->durable, change);
            n--;
        }
        simdisk_change_free(sim, change);
    }
    sim->n_changes = kept;
}
