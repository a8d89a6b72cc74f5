#include "lib/simdisk.h"

#include "base/assert.h"
#include "lib/simdisk_pages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum write_kind { WRITE_BYTES, WRITE_SIZE, WRITE_HOLE };

/* A write since the last sync. */
struct write {
    enum write_kind kind;
    uint64_t offset;
    uint64_t len; /* WRITE_SIZE: unused. */
    uint8_t *data;
};

struct inode {
    uint32_t refs; /* Names, changes of names, open files. */
    bool folder;
    bool settled; /* By the crash being resolved. */
    struct pages now;
    struct pages synced;
    struct write *writes;
    size_t n_writes;
    size_t cap_writes;
};

struct name {
    char *path;
    uint64_t hash;
    struct inode *inode;
};

struct names {
    struct name *list;
    size_t n;
    size_t cap;
};

/* A change in a folder since its last sync: @from goes, then @to is set. */
struct change {
    char *folder;
    char *from; /* NULL: nothing goes. */
    char *to;   /* NULL: nothing comes. */
    struct inode *inode;
};

struct fault {
    uint64_t nth; /* Calls until it strikes; 0 never. */
    int error;
    bool forever;
};

struct simdisk {
    struct disk disk;
    uint64_t capacity;
    uint64_t used_pages;
    struct names now;
    struct names durable;
    struct change *changes_list;
    size_t n_changes;
    size_t cap_changes;
    uint64_t changes;
    uint64_t off_after;
    struct fault faults[SIMDISK_OPS];
    bool on;
    bool lie;
    uint64_t generation;
    uint64_t n_open;
};

struct disk_file {
    struct inode *inode;
    uint64_t generation;
    bool writable;
};

static struct simdisk *sim_of(struct disk *disk)
{
    return (struct simdisk *)disk;
}

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

static char *copy_string(const char *text)
{
    char *copy = strdup(text);

    ASSERT(copy != NULL);
    return copy;
}

/* One spelling: no slash in front, at the end, or twice. The root is "". */
static int spell(const char *path, char out[SIMDISK_PATH_MAX])
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

static void folder_of(const char *path, char out[SIMDISK_PATH_MAX])
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

static void writes_clear(struct inode *inode)
{
    for (size_t i = 0; i < inode->n_writes; i++) {
        free(inode->writes[i].data);
    }
    inode->n_writes = 0;
}

static void inode_put(struct simdisk *sim, struct inode *inode)
{
    ASSERT(inode->refs > 0);
    inode->refs--;
    if (inode->refs == 0) {
        sim->used_pages -= inode->now.n;
        writes_clear(inode);
        free(inode->writes);
        pages_clear(&inode->now);
        pages_clear(&inode->synced);
        free(inode);
    }
}

/* Carry one write out on @pages. */
static void write_do(struct pages *pages, const struct write *write)
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

/* Takes @write. */
static void inode_write(struct simdisk *sim, struct inode *inode, struct write write)
{
    sim->used_pages -= inode->now.n;
    write_do(&inode->now, &write);
    sim->used_pages += inode->now.n;
    grow(&inode->writes, inode->n_writes, &inode->cap_writes, sizeof write);
    inode->writes[inode->n_writes] = write;
    inode->n_writes++;
}

/* Names. */

static struct name *names_find(const struct names *names, const char *path)
{
    uint64_t hash = hash_of(path);

    for (size_t i = 0; i < names->n; i++) {
        if (names->list[i].hash == hash && strcmp(names->list[i].path, path) == 0) {
            return &names->list[i];
        }
    }
    return NULL;
}

static void names_unset(struct simdisk *sim, struct names *names, const char *path)
{
    struct name *name = names_find(names, path);

    if (name != NULL) {
        free(name->path);
        inode_put(sim, name->inode);
        names->n--;
        *name = names->list[names->n];
    }
}

static void names_set(struct simdisk *sim, struct names *names, const char *path,
                      struct inode *inode)
{
    inode->refs++;
    names_unset(sim, names, path);
    grow(&names->list, names->n, &names->cap, sizeof *names->list);
    names->list[names->n] = (struct name){
        .path = copy_string(path),
        .hash = hash_of(path),
        .inode = inode,
    };
    names->n++;
}

static void names_clear(struct simdisk *sim, struct names *names)
{
    while (names->n > 0) {
        names->n--;
        free(names->list[names->n].path);
        inode_put(sim, names->list[names->n].inode);
    }
}

static bool folder_exists(const struct names *names, const char *path)
{
    const struct name *name;

    if (path[0] == '\0') {
        return true;
    }
    name = names_find(names, path);
    return name != NULL && name->inode->folder;
}

static void change_do(struct simdisk *sim, struct names *names,
                      const struct change *change)
{
    if (change->from != NULL) {
        names_unset(sim, names, change->from);
    }
    if (change->to != NULL) {
        names_set(sim, names, change->to, change->inode);
    }
}

static void change_free(struct simdisk *sim, struct change *change)
{
    if (change->inode != NULL) {
        inode_put(sim, change->inode);
    }
    free(change->folder);
    free(change->from);
    free(change->to);
}

/* Change names now; durable once the folder is synced. @inode with @to only. */
static void change_names(struct simdisk *sim, const char *from, const char *to,
                         struct inode *inode)
{
    char folder[SIMDISK_PATH_MAX];
    struct change change = {
        .from = from == NULL ? NULL : copy_string(from),
        .to = to == NULL ? NULL : copy_string(to),
        .inode = inode,
    };

    folder_of(to != NULL ? to : from, folder);
    change.folder = copy_string(folder);
    if (inode != NULL) {
        inode->refs++;
    }
    grow(&sim->changes_list, sim->n_changes, &sim->cap_changes, sizeof change);
    sim->changes_list[sim->n_changes] = change;
    sim->n_changes++;
    change_do(sim, &sim->now, &change);
}

/* Make the first @n changes in @folder durable and forget all of them there. */
static void settle_folder(struct simdisk *sim, const char *folder, uint64_t n)
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
        change_free(sim, change);
    }
    sim->n_changes = kept;
}

/* Faults. */

/* To call first: 0, or the error to give. */
static int begin(struct simdisk *sim, enum simdisk_op op)
{
    struct fault *fault = &sim->faults[op];

    if (!sim->on) {
        return -EIO;
    }
    if (op != SIMDISK_READ) {
        sim->changes++;
        if (sim->off_after > 0) {
            sim->off_after--;
            sim->on = sim->off_after > 0;
        }
    }
    if (fault->nth == 0) {
        return 0;
    }
    if (fault->nth > 1) {
        fault->nth--;
        return 0;
    }
    fault->nth = fault->forever ? 1 : 0;
    return fault->error;
}

/* The power may have gone in the middle of this call: it was done, but nobody knows. */
static int end(const struct simdisk *sim)
{
    return sim->on ? 0 : -EIO;
}

static int check_file(const struct simdisk *sim, const struct disk_file *file, bool write)
{
    if (!sim->on || file->generation != sim->generation) {
        return -EIO;
    }
    return write && !file->writable ? -EBADF : 0;
}

/* The operations. */

static int create(struct simdisk *sim, const char *path, bool folder)
{
    char parent[SIMDISK_PATH_MAX];
    struct inode *inode;
    int rv;

    folder_of(path, parent);
    if (!folder_exists(&sim->now, parent)) {
        return -ENOENT;
    }
    rv = begin(sim, SIMDISK_NAME);
    if (rv != 0) {
        return rv;
    }
    inode = calloc(1, sizeof *inode);
    ASSERT(inode != NULL);
    inode->folder = folder;
    change_names(sim, NULL, path, inode);
    return end(sim);
}

static int sim_open(struct disk *disk, const char *path, int flags,
                    struct disk_file **out)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    struct disk_file *file;
    struct name *name;
    int rv = sim->on ? spell(path, spelt) : -EIO;

    if (rv != 0) {
        return rv;
    }
    name = names_find(&sim->now, spelt);
    if (name != NULL && (flags & DISK_EXCL) != 0 && (flags & DISK_CREATE) != 0) {
        return -EEXIST;
    }
    if (name == NULL && (flags & DISK_CREATE) == 0) {
        return -ENOENT;
    }
    if (name == NULL) {
        rv = create(sim, spelt, false);
        if (rv != 0) {
            return rv;
        }
        name = names_find(&sim->now, spelt);
    }
    ASSERT(name != NULL);
    if (name->inode->folder) {
        return -EISDIR;
    }
    file = calloc(1, sizeof *file);
    ASSERT(file != NULL);
    file->inode = name->inode;
    file->inode->refs++;
    file->generation = sim->generation;
    file->writable = (flags & DISK_WRITE) != 0;
    sim->n_open++;
    *out = file;
    return 0;
}

static void sim_close(struct disk *disk, struct disk_file *file)
{
    struct simdisk *sim = sim_of(disk);

    if (file != NULL) {
        inode_put(sim, file->inode);
        sim->n_open--;
        free(file);
    }
}

static int sim_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                     uint64_t offset)
{
    struct simdisk *sim = sim_of(disk);
    int rv = check_file(sim, file, false);

    if (rv == 0) {
        rv = begin(sim, SIMDISK_READ);
    }
    if (rv != 0) {
        return rv;
    }
    if (offset > file->inode->now.size || len > file->inode->now.size - offset) {
        return -ENODATA;
    }
    pages_read(&file->inode->now, offset, buf, len);
    return 0;
}

static int sim_pwritev(struct disk *disk, struct disk_file *file, const struct iovec *iov,
                       int n_iov, uint64_t offset)
{
    struct simdisk *sim = sim_of(disk);
    struct write write = {.kind = WRITE_BYTES, .offset = offset};
    size_t at = 0;
    int rv = check_file(sim, file, true);

    ASSERT(n_iov >= 0 && n_iov <= 1024);
    if (rv == 0) {
        rv = begin(sim, SIMDISK_WRITE);
    }
    if (rv != 0) {
        return rv;
    }
    for (int i = 0; i < n_iov; i++) {
        write.len += iov[i].iov_len;
    }
    if (sim->capacity > 0 &&
        (sim->used_pages + pages_missing(&file->inode->now, offset, (size_t)write.len)) *
                PAGES_BYTES >
            sim->capacity) {
        return -ENOSPC;
    }
    write.data = malloc((size_t)write.len + 1);
    ASSERT(write.data != NULL);
    for (int i = 0; i < n_iov; i++) {
        if (iov[i].iov_len > 0) {
            memcpy(write.data + at, iov[i].iov_base, iov[i].iov_len);
        }
        at += iov[i].iov_len;
    }
    inode_write(sim, file->inode, write);
    return end(sim);
}

static int sim_datasync(struct disk *disk, struct disk_file *file)
{
    struct simdisk *sim = sim_of(disk);
    struct inode *inode = file->inode;
    int rv = check_file(sim, file, false);

    if (rv != 0) {
        return rv;
    }
    rv = begin(sim, SIMDISK_SYNC);
    if (rv == 0) {
        rv = end(sim); /* The power went: nothing more is certain than before. */
    } else {
        writes_clear(inode); /* Failed: the dirty pages are dropped. */
    }
    if (rv != 0 || sim->lie) {
        return rv;
    }
    for (size_t i = 0; i < inode->n_writes; i++) {
        write_do(&inode->synced, &inode->writes[i]);
    }
    writes_clear(inode);
    return 0;
}

static int sim_size(struct disk *disk, struct disk_file *file, uint64_t *out)
{
    struct simdisk *sim = sim_of(disk);
    int rv = check_file(sim, file, false);

    if (rv == 0) {
        *out = file->inode->now.size;
    }
    return rv;
}

static int write_simple(struct disk *disk, struct disk_file *file, struct write write)
{
    struct simdisk *sim = sim_of(disk);
    int rv = check_file(sim, file, true);

    if (rv == 0) {
        rv = begin(sim, SIMDISK_WRITE);
    }
    if (rv != 0) {
        return rv;
    }
    inode_write(sim, file->inode, write);
    return end(sim);
}

static int sim_truncate(struct disk *disk, struct disk_file *file, uint64_t size)
{
    return write_simple(disk, file, (struct write){.kind = WRITE_SIZE, .offset = size});
}

static int sim_punch(struct disk *disk, struct disk_file *file, uint64_t offset,
                     uint64_t len)
{
    return write_simple(disk, file,
                        (struct write){.kind = WRITE_HOLE, .offset = offset, .len = len});
}

static int sim_list(struct disk *disk, const char *path,
                    int (*each)(void *ctx, const char *name), void *ctx)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    char folder[SIMDISK_PATH_MAX];
    int rv = sim->on ? spell(path, spelt) : -EIO;

    if (rv == 0 && !folder_exists(&sim->now, spelt)) {
        rv = -ENOENT;
    }
    for (size_t i = 0; rv == 0 && i < sim->now.n; i++) {
        const char *full = sim->now.list[i].path;

        folder_of(full, folder);
        if (strcmp(folder, spelt) == 0) {
            rv = each(ctx, folder[0] == '\0' ? full : full + strlen(folder) + 1);
        }
    }
    return rv;
}

static int count_name(void *ctx, const char *name)
{
    (void)name;
    ++*(uint32_t *)ctx;
    return 0;
}

static int sim_unlink(struct disk *disk, const char *path)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    struct name *name;
    uint32_t n = 0;
    int rv = sim->on ? spell(path, spelt) : -EIO;

    if (rv != 0) {
        return rv;
    }
    name = names_find(&sim->now, spelt);
    if (name == NULL) {
        return -ENOENT;
    }
    if (name->inode->folder) {
        (void)sim_list(disk, spelt, count_name, &n);
    }
    if (n > 0) {
        return -ENOTEMPTY;
    }
    rv = begin(sim, SIMDISK_NAME);
    if (rv != 0) {
        return rv;
    }
    change_names(sim, spelt, NULL, NULL);
    return end(sim);
}

static int sim_rename(struct disk *disk, const char *from, const char *to)
{
    struct simdisk *sim = sim_of(disk);
    char old[SIMDISK_PATH_MAX];
    char new[SIMDISK_PATH_MAX];
    char folder_old[SIMDISK_PATH_MAX];
    char folder_new[SIMDISK_PATH_MAX];
    struct name *name;
    int rv = sim->on ? spell(from, old) : -EIO;

    if (rv == 0) {
        rv = spell(to, new);
    }
    if (rv != 0) {
        return rv;
    }
    folder_of(old, folder_old);
    folder_of(new, folder_new);
    name = names_find(&sim->now, old);
    if (name == NULL) {
        return -ENOENT;
    }
    if (name->inode->folder || strcmp(folder_old, folder_new) != 0) {
        return -EXDEV;
    }
    if (folder_exists(&sim->now, new)) {
        return -EISDIR;
    }
    if (strcmp(old, new) == 0) {
        return 0;
    }
    rv = begin(sim, SIMDISK_NAME);
    if (rv != 0) {
        return rv;
    }
    change_names(sim, old, new, name->inode);
    return end(sim);
}

static int sim_mkdir(struct disk *disk, const char *path)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    int rv = sim->on ? spell(path, spelt) : -EIO;

    if (rv != 0 || folder_exists(&sim->now, spelt)) {
        return rv;
    }
    return names_find(&sim->now, spelt) != NULL ? -ENOTDIR : create(sim, spelt, true);
}

static int sim_syncdir(struct disk *disk, const char *path)
{
    struct simdisk *sim = sim_of(disk);
    char spelt[SIMDISK_PATH_MAX];
    int rv = sim->on ? spell(path, spelt) : -EIO;

    if (rv == 0 && !folder_exists(&sim->now, spelt)) {
        rv = -ENOENT;
    }
    if (rv == 0) {
        rv = begin(sim, SIMDISK_SYNC);
    }
    if (rv == 0) {
        rv = end(sim);
    }
    if (rv == 0 && !sim->lie) {
        settle_folder(sim, spelt, UINT64_MAX);
    }
    return rv;
}

static int sim_space(struct disk *disk, const char *path, uint64_t *free_bytes,
                     uint64_t *total_bytes)
{
    struct simdisk *sim = sim_of(disk);
    uint64_t used = simdisk_used(sim);

    (void)path;
    if (!sim->on) {
        return -EIO;
    }
    *total_bytes = sim->capacity == 0 ? 1ULL << 40 : sim->capacity;
    *free_bytes = used < *total_bytes ? *total_bytes - used : 0;
    return 0;
}

static const struct disk_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwritev = sim_pwritev,
    .datasync = sim_datasync,
    .size = sim_size,
    .truncate = sim_truncate,
    .punch = sim_punch,
    .unlink = sim_unlink,
    .rename = sim_rename,
    .mkdir = sim_mkdir,
    .syncdir = sim_syncdir,
    .list = sim_list,
    .space = sim_space,
};

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
        write_do(&inode->synced, write);
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
    writes_clear(inode);
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
        settle_folder(sim, folder, prng_below(prng, n + 1));
    }
    /* What stands in a folder that was lost is lost with it. */
    for (size_t i = 0; i < sim->durable.n;) {
        char folder[SIMDISK_PATH_MAX];

        folder_of(sim->durable.list[i].path, folder);
        if (folder_exists(&sim->durable, folder)) {
            i++;
        } else {
            char *path = copy_string(sim->durable.list[i].path);

            names_unset(sim, &sim->durable, path);
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
    names_clear(sim, &sim->now);
    for (size_t i = 0; i < sim->durable.n; i++) {
        names_set(sim, &sim->now, sim->durable.list[i].path, sim->durable.list[i].inode);
    }
}

void simdisk_power_on(struct simdisk *sim)
{
    sim->on = true;
}

void simdisk_power_off_after(struct simdisk *sim, uint64_t n)
{
    sim->off_after = n;
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

bool simdisk_flip(struct simdisk *sim, const char *path, uint64_t offset, unsigned bit)
{
    char spelt[SIMDISK_PATH_MAX];
    const struct name *name;
    struct inode *inode;
    uint8_t mask = (uint8_t)(1u << (bit & 7));

    if (spell(path, spelt) != 0) {
        return false;
    }
    name = names_find(&sim->now, spelt);
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

struct simdisk *simdisk_new(uint64_t capacity)
{
    struct simdisk *sim = calloc(1, sizeof *sim);

    ASSERT(sim != NULL);
    sim->disk.ops = &sim_ops;
    sim->capacity = capacity;
    sim->on = true;
    return sim;
}

void simdisk_free(struct simdisk *sim)
{
    if (sim == NULL) {
        return;
    }
    ASSERT(sim->n_open == 0);
    names_clear(sim, &sim->now);
    names_clear(sim, &sim->durable);
    for (size_t i = 0; i < sim->n_changes; i++) {
        change_free(sim, &sim->changes_list[i]);
    }
    free(sim->changes_list);
    free(sim->now.list);
    free(sim->durable.list);
    free(sim);
}

struct disk *simdisk_disk(struct simdisk *sim)
{
    return &sim->disk;
}
