#include "offline/overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
#define SLOTS_FIRST 64u

struct page {
    uint64_t number;
    uint8_t *bytes; /* NULL: the slot is free. */
};

/* A file that is open or differs from what is below. */
struct node {
    struct node *next;
    char *path;
    char *under; /* Where its old bytes are; NULL: nowhere. */
    bool exists; /* Else it hides the one below. */
    bool dirty;
    uint32_t refs;
    uint64_t size;
    uint64_t limit; /* Bytes below that still count. */
    struct page *slots;
    uint32_t n_slots;
    uint32_t n_pages;
};

struct disk_file {
    struct node *node;
    struct disk_file *under; /* NULL: there is nothing below. */
};

/* A folder that was made. */
struct made {
    struct made *next;
    char path[];
};

struct overlay {
    struct disk disk;
    struct disk *under;
    struct made *made;
    struct node *nodes;
    uint64_t bytes;
};

static struct overlay *overlay_of(struct disk *disk)
{
    return (struct overlay *)disk;
}

/* Pages. */

static struct page *slot_of(const struct node *node, uint64_t number)
{
    uint64_t at = number * 0x9e3779b97f4a7c15ull;
    uint32_t i = (uint32_t)(at >> 32) & (node->n_slots - 1);

    while (node->slots[i].bytes != NULL && node->slots[i].number != number) {
        i = (i + 1) & (node->n_slots - 1);
    }
    return &node->slots[i];
}

static const uint8_t *page_get(const struct node *node, uint64_t number)
{
    return node->n_slots == 0 ? NULL : slot_of(node, number)->bytes;
}

static int slots_grow(struct node *node)
{
    struct page *old = node->slots;
    uint32_t n_old = node->n_slots;
    uint32_t n = n_old == 0 ? SLOTS_FIRST : 2 * n_old;
    struct page *slots = calloc(n, sizeof *slots);

    if (slots == NULL) {
        return -ENOMEM;
    }
    node->slots = slots;
    node->n_slots = n;
    for (uint32_t i = 0; i < n_old; i++) {
        if (old[i].bytes != NULL) {
            *slot_of(node, old[i].number) = old[i];
        }
    }
    free(old);
    return 0;
}

static int page_put(struct overlay *overlay, struct node *node, uint64_t number,
                    const uint8_t *bytes)
{
    struct page *slot;

    if (node->n_pages * 2 >= node->n_slots && slots_grow(node) != 0) {
        return -ENOMEM;
    }
    slot = slot_of(node, number);
    if (slot->bytes == NULL) {
        if (overlay->bytes + PAGE > OVERLAY_BYTES_MAX) {
            return -ENOSPC;
        }
        slot->bytes = malloc(PAGE);
        if (slot->bytes == NULL) {
            return -ENOMEM;
        }
        slot->number = number;
        overlay->bytes += PAGE;
        node->n_pages++;
    }
    memcpy(slot->bytes, bytes, PAGE);
    return 0;
}

static void pages_free(struct overlay *overlay, struct node *node)
{
    for (uint32_t i = 0; i < node->n_slots; i++) {
        free(node->slots[i].bytes);
    }
    free(node->slots);
    overlay->bytes -= (uint64_t)node->n_pages * PAGE;
    node->slots = NULL;
    node->n_slots = 0;
    node->n_pages = 0;
}

/* A page as it is now, zeros beyond the end. */
static int page_read(struct overlay *overlay, const struct disk_file *file,
                     uint64_t number, uint8_t out[PAGE])
{
    const struct node *node = file->node;
    const uint8_t *bytes = page_get(node, number);
    uint64_t at = number * PAGE;
    uint64_t n;

    if (bytes != NULL) {
        memcpy(out, bytes, PAGE);
        return 0;
    }
    memset(out, 0, PAGE);
    if (file->under == NULL || at >= node->limit) {
        return 0;
    }
    n = node->limit - at < PAGE ? node->limit - at : PAGE;
    return overlay->under->ops->pread(overlay->under, file->under, out, (size_t)n, at);
}

/* Nodes. */

static struct node *node_find(struct overlay *overlay, const char *path)
{
    for (struct node *node = overlay->nodes; node != NULL; node = node->next) {
        if (node->path != NULL && strcmp(node->path, path) == 0) {
            return node;
        }
    }
    return NULL;
}

static void node_free(struct overlay *overlay, struct node *node)
{
    struct node **link = &overlay->nodes;

    while (*link != node) {
        link = &(*link)->next;
    }
    *link = node->next;
    pages_free(overlay, node);
    free(node->path);
    free(node->under);
    free(node);
}

static struct node *node_new(struct overlay *overlay, const char *path, bool is_below)
{
    struct node *node = calloc(1, sizeof *node);

    if (node == NULL) {
        return NULL;
    }
    node->path = strdup(path);
    node->under = is_below ? strdup(path) : NULL;
    if (node->path == NULL || (is_below && node->under == NULL)) {
        free(node->path);
        free(node->under);
        free(node);
        return NULL;
    }
    node->exists = true;
    node->next = overlay->nodes;
    overlay->nodes = node;
    return node;
}

/* The node of a file that is below: 0, -ENOENT or a fault. */
static int node_below(struct overlay *overlay, const char *path, struct node **out)
{
    struct disk_file *file = NULL;
    struct node *node = NULL;
    uint64_t size = 0;
    int rv = overlay->under->ops->open(overlay->under, path, DISK_READ, &file);

    if (rv == 0) {
        rv = overlay->under->ops->size(overlay->under, file, &size);
        overlay->under->ops->close(overlay->under, file);
    }
    if (rv == 0) {
        node = node_new(overlay, path, true);
        rv = node == NULL ? -ENOMEM : 0;
    }
    if (rv == 0) {
        node->size = size;
        node->limit = size;
        *out = node;
    }
    return rv;
}

/* The node at @path if there is a file, whether or not it was changed. */
static int node_at(struct overlay *overlay, const char *path, struct node **out)
{
    struct node *node = node_find(overlay, path);

    if (node == NULL) {
        return node_below(overlay, path, out);
    }
    *out = node;
    return node->exists ? 0 : -ENOENT;
}

/* Nothing is at @path any more, whatever is below. */
static int hide(struct overlay *overlay, const char *path)
{
    struct node *node = node_new(overlay, path, false);

    if (node == NULL) {
        return -ENOMEM;
    }
    node->exists = false;
    node->dirty = true;
    return 0;
}

/* The node loses its name; it stays for who has it open. */
static void node_unname(struct overlay *overlay, struct node *node)
{
    free(node->path);
    node->path = NULL;
    if (node->refs == 0) {
        node_free(overlay, node);
    }
}

/* Operations. */

static int do_open(struct disk *disk, const char *path, int flags, struct disk_file **out)
{
    struct overlay *overlay = overlay_of(disk);
    struct disk_file *file = NULL;
    struct node *node = NULL;
    int rv = node_at(overlay, path, &node);

    if (rv == 0 && (flags & DISK_CREATE) != 0 && (flags & DISK_EXCL) != 0) {
        return -EEXIST;
    }
    if (rv == -ENOENT && (flags & DISK_CREATE) != 0) {
        node = node_find(overlay, path);
        node = node != NULL ? node : node_new(overlay, path, false);
        rv = node == NULL ? -ENOMEM : 0;
        if (rv == 0) {
            node->exists = true;
            node->dirty = true;
        }
    }
    if (rv != 0) {
        return rv;
    }
    file = calloc(1, sizeof *file);
    rv = file == NULL ? -ENOMEM : 0;
    if (rv == 0 && node->under != NULL) {
        rv = overlay->under->ops->open(overlay->under, node->under, DISK_READ,
                                       &file->under);
    }
    if (rv != 0) {
        free(file);
        if (node->refs == 0 && !node->dirty) {
            node_free(overlay, node);
        }
        return rv;
    }
    file->node = node;
    node->refs++;
    *out = file;
    return 0;
}

static void do_close(struct disk *disk, struct disk_file *file)
{
    struct overlay *overlay = overlay_of(disk);
    struct node *node = file->node;

    if (file->under != NULL) {
        overlay->under->ops->close(overlay->under, file->under);
    }
    free(file);
    node->refs--;
    if (node->refs == 0 && (!node->dirty || node->path == NULL)) {
        node_free(overlay, node);
    }
}

static int do_pread(struct disk *disk, struct disk_file *file, void *buf, size_t len,
                    uint64_t offset)
{
    uint8_t page[PAGE];
    uint8_t *out = buf;

    if (offset > file->node->size || len > file->node->size - offset) {
        return -ENODATA;
    }
    while (len > 0) {
        size_t skip = (size_t)(offset % PAGE);
        size_t n = len < PAGE - skip ? len : PAGE - skip;
        int rv = page_read(overlay_of(disk), file, offset / PAGE, page);

        if (rv != 0) {
            return rv;
        }
        memcpy(out, page + skip, n);
        out += n;
        offset += n;
        len -= n;
    }
    return 0;
}

static int write_one(struct overlay *overlay, struct disk_file *file,
                     const uint8_t *bytes, size_t len, uint64_t offset)
{
    struct node *node = file->node;

    while (len > 0) {
        size_t skip = (size_t)(offset % PAGE);
        size_t n = len < PAGE - skip ? len : PAGE - skip;
        uint8_t page[PAGE];
        int rv = page_read(overlay, file, offset / PAGE, page);

        if (rv == 0 && (memcmp(page + skip, bytes, n) != 0)) {
            memcpy(page + skip, bytes, n);
            rv = page_put(overlay, node, offset / PAGE, page);
        }
        if (rv != 0) {
            return rv;
        }
        bytes += n;
        offset += n;
        len -= n;
    }
    return 0;
}

static int do_pwritev(struct disk *disk, struct disk_file *file, const struct iovec *iov,
                      int n_iov, uint64_t offset)
{
    struct node *node = file->node;

    for (int i = 0; i < n_iov; i++) {
        int rv =
            write_one(overlay_of(disk), file, iov[i].iov_base, iov[i].iov_len, offset);

        if (rv != 0) {
            return rv;
        }
        offset += iov[i].iov_len;
        node->dirty = true;
        node->size = offset > node->size ? offset : node->size;
    }
    return 0;
}

static int do_datasync(struct disk *disk, struct disk_file *file)
{
    (void)disk;
    (void)file;
    return 0;
}

static int do_size(struct disk *disk, struct disk_file *file, uint64_t *out)
{
    (void)disk;
    *out = file->node->size;
    return 0;
}

/* What was cut off reads as zeros if the file grows again. */
static int do_truncate(struct disk *disk, struct disk_file *file, uint64_t size)
{
    struct overlay *overlay = overlay_of(disk);
    struct node *node = file->node;

    if (size < node->size) {
        static const uint8_t zeros[PAGE];
        uint64_t tail = (PAGE - size % PAGE) % PAGE;
        int rv = write_one(overlay, file, zeros, (size_t)tail, size);

        for (uint32_t i = 0; rv == 0 && i < node->n_slots; i++) {
            struct page *slot = &node->slots[i];

            if (slot->bytes != NULL && slot->number * PAGE >= size) {
                memset(slot->bytes, 0, PAGE);
            }
        }
        if (rv != 0) {
            return rv;
        }
        node->limit = size < node->limit ? size : node->limit;
    }
    node->size = size;
    node->dirty = true;
    return 0;
}

static int do_punch(struct disk *disk, struct disk_file *file, uint64_t offset,
                    uint64_t len)
{
    static const uint8_t zeros[PAGE];
    int rv = 0;

    while (rv == 0 && len > 0 && offset < file->node->size) {
        size_t n = (size_t)(PAGE - offset % PAGE);

        n = len < n ? (size_t)len : n;
        rv = write_one(overlay_of(disk), file, zeros, n, offset);
        offset += n;
        len -= n;
    }
    file->node->dirty = true;
    return rv;
}

static int do_unlink(struct disk *disk, const char *path)
{
    struct overlay *overlay = overlay_of(disk);
    struct node *node = NULL;
    int rv = node_at(overlay, path, &node);

    if (rv != 0) {
        return rv;
    }
    node_unname(overlay, node);
    return hide(overlay, path);
}

static int do_rename(struct disk *disk, const char *from, const char *to)
{
    struct overlay *overlay = overlay_of(disk);
    struct node *node = NULL;
    struct node *other;
    char *name;
    int rv = node_at(overlay, from, &node);

    if (rv != 0) {
        return rv;
    }
    name = strdup(to);
    if (name == NULL) {
        return -ENOMEM;
    }
    other = node_find(overlay, to);
    if (other == node) {
        free(name);
        return 0;
    }
    if (other != NULL) {
        node_unname(overlay, other);
    }
    free(node->path);
    node->path = name;
    node->dirty = true;
    return hide(overlay, from);
}

static bool was_made(const struct overlay *overlay, const char *path)
{
    for (const struct made *made = overlay->made; made != NULL; made = made->next) {
        if (strcmp(made->path, path) == 0) {
            return true;
        }
    }
    return false;
}

/* Only a listing asks for folders: a file is found by its whole name. */
static int do_mkdir(struct disk *disk, const char *path)
{
    struct overlay *overlay = overlay_of(disk);
    struct made *made;

    if (was_made(overlay, path)) {
        return 0;
    }
    made = malloc(sizeof *made + strlen(path) + 1);
    if (made == NULL) {
        return -ENOMEM;
    }
    strcpy(made->path, path);
    made->next = overlay->made;
    overlay->made = made;
    return 0;
}

static int do_syncdir(struct disk *disk, const char *path)
{
    (void)disk;
    (void)path;
    return 0;
}

struct listing {
    struct overlay *overlay;
    const char *dir;
    int (*each)(void *ctx, const char *name);
    void *ctx;
};

static int list_below(void *ctx, const char *name)
{
    struct listing *listing = ctx;
    char *path = malloc(strlen(listing->dir) + strlen(name) + 2);
    const struct node *node;

    if (path == NULL) {
        return -ENOMEM;
    }
    strcpy(path, listing->dir);
    strcat(path, "/");
    strcat(path, name);
    node = node_find(listing->overlay, path);
    free(path);
    /* Those of a node come from the nodes. */
    return node != NULL ? 0 : listing->each(listing->ctx, name);
}

static int do_list(struct disk *disk, const char *path,
                   int (*each)(void *ctx, const char *name), void *ctx)
{
    struct overlay *overlay = overlay_of(disk);
    struct listing listing = {.overlay = overlay, .dir = path, .each = each, .ctx = ctx};
    size_t len = strlen(path);
    int rv = overlay->under->ops->list(overlay->under, path, list_below, &listing);
    bool found = rv != -ENOENT || was_made(overlay, path);
    struct node *next;

    rv = rv == -ENOENT ? 0 : rv;
    for (struct node *node = overlay->nodes; rv == 0 && node != NULL; node = next) {
        next = node->next; /* @each may remove what it is given. */
        if (node->path != NULL && node->exists && strncmp(node->path, path, len) == 0 &&
            node->path[len] == '/' && strchr(node->path + len + 1, '/') == NULL) {
            found = true;
            rv = each(ctx, node->path + len + 1);
        }
    }
    return rv == 0 && !found ? -ENOENT : rv;
}

/* There is always room: nobody is to make some. */
static int do_space(struct disk *disk, const char *path, uint64_t *free_bytes,
                    uint64_t *total_bytes)
{
    (void)disk;
    (void)path;
    *free_bytes = 1ull << 50;
    *total_bytes = 1ull << 50;
    return 0;
}

static const struct disk_ops ops = {
    .open = do_open,
    .close = do_close,
    .pread = do_pread,
    .pwritev = do_pwritev,
    .datasync = do_datasync,
    .size = do_size,
    .truncate = do_truncate,
    .punch = do_punch,
    .unlink = do_unlink,
    .rename = do_rename,
    .mkdir = do_mkdir,
    .syncdir = do_syncdir,
    .list = do_list,
    .space = do_space,
};

struct disk *overlay_new(struct disk *under)
{
    struct overlay *overlay = calloc(1, sizeof *overlay);

    if (overlay == NULL) {
        return NULL;
    }
    overlay->disk.ops = &ops;
    overlay->under = under;
    return &overlay->disk;
}

void overlay_free(struct disk *disk)
{
    struct overlay *overlay = disk == NULL ? NULL : overlay_of(disk);

    while (overlay != NULL && overlay->nodes != NULL) {
        node_free(overlay, overlay->nodes);
    }
    while (overlay != NULL && overlay->made != NULL) {
        struct made *made = overlay->made;

        overlay->made = made->next;
        free(made);
    }
    free(overlay);
}
