/*
 * The tree: folder after folder, each opened by walking down to it without following a
 * link, so that no name leads anywhere else. Folders are dressed last, the deepest first:
 * whatever is made in one changes its times.
 */
#include "offline/export_impl.h"

#include "base/outcome.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define NAME_BYTES_MAX 255u
#define PAGE_NAMES 512u
#define TARGET_MAX 4096u
#define SHOWN_MAX 1024u
#define NONE UINT32_MAX

/* A folder that was made. */
struct folder {
    uint32_t parent; /* NONE: the destination. */
    uint32_t depth;
    uint64_t ino;
    char *name;
};

/* Where an inode was put, for folders and for files of several names. */
struct placed {
    uint64_t ino; /* 0: the slot is free. */
    uint32_t folder;
    char *name; /* NULL: a folder. */
};

struct entry {
    uint64_t ino;
    uint64_t cookie;
    char name[NAME_BYTES_MAX + 1];
};

struct tree {
    struct export *export;
    int dest_fd;
    struct folder *folders;
    uint32_t n_folders;
    uint32_t cap_folders;
    struct placed *placed;
    uint32_t n_placed;
    uint32_t cap_placed; /* A power of two. */
    struct entry page[PAGE_NAMES];
    uint32_t n_page;
    int fault; /* Out of memory, or the destination is gone. */
};

/* Where an inode was put. */

static struct placed *place_of(const struct tree *tree, uint64_t ino)
{
    uint32_t i = (uint32_t)((ino * 0x9e3779b97f4a7c15ull) >> 32) & (tree->cap_placed - 1);

    while (tree->placed[i].ino != 0 && tree->placed[i].ino != ino) {
        i = (i + 1) & (tree->cap_placed - 1);
    }
    return &tree->placed[i];
}

static int placed_grow(struct tree *tree)
{
    struct placed *old = tree->placed;
    uint32_t n_old = tree->cap_placed;
    uint32_t cap = n_old == 0 ? 1024 : 2 * n_old;
    struct placed *placed = calloc(cap, sizeof *placed);

    if (placed == NULL) {
        return -ENOMEM;
    }
    tree->placed = placed;
    tree->cap_placed = cap;
    for (uint32_t i = 0; i < n_old; i++) {
        if (old[i].ino != 0) {
            *place_of(tree, old[i].ino) = old[i];
        }
    }
    free(old);
    return 0;
}

/* @name is taken; NULL: a folder. */
static void place(struct tree *tree, uint64_t ino, uint32_t folder, char *name)
{
    struct placed *slot;

    if (tree->n_placed * 2 >= tree->cap_placed && placed_grow(tree) != 0) {
        tree->fault = -ENOMEM;
        free(name);
        return;
    }
    slot = place_of(tree, ino);
    if (slot->ino == 0) {
        *slot = (struct placed){.ino = ino, .folder = folder, .name = name};
        tree->n_placed++;
    } else {
        free(name);
    }
}

static const struct placed *placed_at(const struct tree *tree, uint64_t ino)
{
    const struct placed *slot = tree->cap_placed == 0 ? NULL : place_of(tree, ino);

    return slot == NULL || slot->ino == 0 ? NULL : slot;
}

/* Folders. */

static uint32_t folder_add(struct tree *tree, uint32_t parent, uint64_t ino,
                           const char *name)
{
    struct folder *folder;

    if (tree->n_folders == tree->cap_folders) {
        uint32_t cap = tree->cap_folders == 0 ? 256 : 2 * tree->cap_folders;
        struct folder *more = realloc(tree->folders, cap * sizeof *more);

        if (more == NULL) {
            tree->fault = -ENOMEM;
            return NONE;
        }
        tree->folders = more;
        tree->cap_folders = cap;
    }
    folder = &tree->folders[tree->n_folders];
    *folder = (struct folder){.parent = parent, .ino = ino, .name = strdup(name)};
    if (folder->name == NULL) {
        tree->fault = -ENOMEM;
        return NONE;
    }
    folder->depth = parent == NONE ? 0 : tree->folders[parent].depth + 1;
    place(tree, ino, tree->n_folders, NULL);
    return tree->n_folders++;
}

/* Open the folder by walking down to it; -1 with errno. */
static int folder_open(const struct tree *tree, uint32_t folder)
{
    uint32_t depth = tree->folders[folder].depth;
    uint32_t *chain = malloc((depth + 1) * sizeof *chain);
    int fd = chain == NULL ? -1 : dup(tree->dest_fd);

    for (uint32_t i = depth + 1, at = folder; chain != NULL && i > 0; i--) {
        chain[i - 1] = at;
        at = tree->folders[at].parent;
    }
    /* The first is the root itself, which is the destination. */
    for (uint32_t i = 1; fd >= 0 && i <= depth; i++) {
        int next = openat(fd, tree->folders[chain[i]].name,
                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int fault = errno;

        close(fd);
        errno = fault;
        fd = next;
    }
    free(chain);
    return fd;
}

/* For people: "/a/b/name", the beginning cut off if it is long. */
static void shown(const struct tree *tree, uint32_t folder, const char *name,
                  char out[SHOWN_MAX])
{
    size_t at = SHOWN_MAX - 1;
    size_t len = strlen(name);

    out[at] = '\0';
    while (len + 1 <= at) {
        at -= len;
        memcpy(out + at, name, len);
        out[--at] = '/';
        if (folder == NONE || tree->folders[folder].parent == NONE) {
            break;
        }
        name = tree->folders[folder].name;
        folder = tree->folders[folder].parent;
        len = strlen(name);
    }
    memmove(out, out + at, SHOWN_MAX - at);
    for (char *c = out; *c != '\0'; c++) {
        *c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    }
}

/* Reading a folder, a page at a time. */

static bool is_name(struct slice name)
{
    return name.len > 0 && name.len <= NAME_BYTES_MAX &&
           memchr(name.data, '/', name.len) == NULL &&
           memchr(name.data, '\0', name.len) == NULL &&
           !(name.len == 1 && name.data[0] == '.') &&
           !(name.len == 2 && memcmp(name.data, "..", 2) == 0);
}

static int take_entry(void *ctx, const struct store_dirent *dirent)
{
    struct tree *tree = ctx;
    struct entry *entry = &tree->page[tree->n_page];

    entry->ino = dirent->ino;
    entry->cookie = dirent->cookie;
    if (is_name(dirent->name)) {
        memcpy(entry->name, dirent->name.data, dirent->name.len);
        entry->name[dirent->name.len] = '\0';
    } else {
        snprintf(entry->name, sizeof entry->name, "gv-bad-name-%" PRIu64, dirent->cookie);
        export_problem(tree->export, "a name is damaged: what it named is %s",
                       entry->name);
    }
    return ++tree->n_page == PAGE_NAMES ? 1 : 0;
}

/* Making one. */

struct making {
    uint32_t folder;
    int fd;
    const struct entry *entry;
    struct store_inode inode;
    char path[SHOWN_MAX];
};

/* Tell it. A full destination is no matter of this one alone: the export ends. */
static void not_made(struct tree *tree, const struct making *making, const char *what,
                     int error)
{
    export_problem(tree->export, "%s: could not be %s: %s", making->path, what,
                   strerror(error));
    if (error == ENOSPC || error == EDQUOT) {
        tree->fault = -error;
    }
}

static void make_file(struct tree *tree, const struct making *making)
{
    struct export *export = tree->export;
    int fd = openat(making->fd, making->entry->name,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    int error;

    if (fd < 0) {
        not_made(tree, making, "made", errno);
        return;
    }
    error = export_content(export, &making->inode, fd, making->path);
    export_dress(export, &making->inode, fd, "", making->path);
    export->result->files++;
    if (close(fd) != 0 && error == 0) {
        error = errno;
    }
    if (error != 0) {
        not_made(tree, making, "written", error);
    }
}

static void make_folder(struct tree *tree, const struct making *making)
{
    if (placed_at(tree, making->inode.ino) != NULL) {
        export_problem(tree->export, "%s: this folder has a name elsewhere, and is there",
                       making->path);
        return;
    }
    if (mkdirat(making->fd, making->entry->name, 0700) != 0) {
        not_made(tree, making, "made", errno);
        return;
    }
    (void)folder_add(tree, making->folder, making->inode.ino, making->entry->name);
    tree->export->result->folders++;
}

/* 0 or an errno. */
static int make_link(struct tree *tree, const struct making *making)
{
    char target[TARGET_MAX + 1];
    struct buf *buf = NULL;
    size_t len = (size_t)making->inode.size;
    int rv;

    if (making->inode.size == 0 || making->inode.size > TARGET_MAX) {
        return EUCLEAN;
    }
    rv = store_data_read(tree->export->store, making->inode.ino, 0, len, &buf, NULL);
    if (rv != 0) {
        return EIO;
    }
    memcpy(target, buf->data, len);
    target[len] = '\0';
    buf_unref(buf);
    return symlinkat(target, making->fd, making->entry->name) == 0 ? 0 : errno;
}

/* Links, devices, pipes, sockets. */
static void make_other(struct tree *tree, const struct making *making)
{
    static const mode_t kinds[] = {[ZONE_BLK] = S_IFBLK,
                                   [ZONE_CHR] = S_IFCHR,
                                   [ZONE_SOCK] = S_IFSOCK,
                                   [ZONE_FIFO] = S_IFIFO};
    const struct store_inode *inode = &making->inode;
    int rv;

    if (inode->type == ZONE_LNK) {
        rv = make_link(tree, making);
    } else {
        rv = mknodat(making->fd, making->entry->name, kinds[inode->type] | 0600,
                     makedev(inode->rdev_major, inode->rdev_minor)) == 0
                 ? 0
                 : errno;
    }
    if (rv == EPERM) {
        export_problem(tree->export,
                       "%s: could not be made: %s (devices can be made by root only)",
                       making->path, strerror(rv));
        return;
    }
    if (rv != 0) {
        not_made(tree, making, "made", rv);
        return;
    }
    export_dress(tree->export, inode, making->fd, making->entry->name, making->path);
    tree->export->result->others++;
}

/* True if it is another name of what was made already. */
static bool make_name(struct tree *tree, const struct making *making)
{
    const struct placed *first = placed_at(tree, making->inode.ino);
    int from;

    if (first == NULL || first->name == NULL) {
        return false;
    }
    from = folder_open(tree, first->folder);
    if (from < 0 || linkat(from, first->name, making->fd, making->entry->name, 0) != 0) {
        export_problem(tree->export, "%s: could not be linked: %s", making->path,
                       strerror(errno));
    } else {
        tree->export->result->names++;
    }
    if (from >= 0) {
        close(from);
    }
    return true;
}

static void make(struct tree *tree, struct making *making)
{
    struct store_inode *inode = &making->inode;
    int rv = store_inode_get(tree->export->store, making->entry->ino, inode);

    shown(tree, making->folder, making->entry->name, making->path);
    if (rv != 0 || inode->type < ZONE_REG || inode->type > ZONE_FIFO) {
        export_problem(tree->export, "%s: its row is %s", making->path,
                       rv == OUT_NOENT ? "not there" : "damaged");
        return;
    }
    if (inode->type == ZONE_DIR) {
        make_folder(tree, making);
        return;
    }
    if (make_name(tree, making)) {
        return;
    }
    if (inode->type == ZONE_REG) {
        make_file(tree, making);
    } else {
        make_other(tree, making);
    }
    if (inode->nlink > 1) {
        char *name = strdup(making->entry->name);

        if (name == NULL) {
            tree->fault = -ENOMEM;
        } else {
            place(tree, inode->ino, making->folder, name);
        }
    }
}

static void fill_folder(struct tree *tree, uint32_t folder)
{
    int fd = folder_open(tree, folder);
    uint64_t cookie = 0;
    int rv = 1;

    if (fd < 0) {
        tree->fault = -errno;
        return;
    }
    while (rv == 1 && tree->fault == 0) {
        tree->n_page = 0;
        rv = store_dirent_each(tree->export->store, tree->folders[folder].ino, cookie,
                               take_entry, tree);
        for (uint32_t i = 0; i < tree->n_page && tree->fault == 0; i++) {
            struct making making = {.folder = folder, .fd = fd, .entry = &tree->page[i]};

            make(tree, &making);
            cookie = tree->page[i].cookie;
        }
    }
    if (rv < 0) {
        char path[SHOWN_MAX];

        shown(tree, tree->folders[folder].parent, tree->folders[folder].name, path);
        export_problem(tree->export, "%s: names in it are damaged, some are missing",
                       path);
    }
    close(fd);
}

static void dress_folder(struct tree *tree, uint32_t folder)
{
    struct store_inode inode;
    char path[SHOWN_MAX];
    int fd = folder_open(tree, folder);

    shown(tree, tree->folders[folder].parent, tree->folders[folder].name, path);
    if (fd < 0 ||
        store_inode_get(tree->export->store, tree->folders[folder].ino, &inode) != 0) {
        export_problem(tree->export, "%s: owner, mode or times could not be set", path);
    } else {
        export_dress(tree->export, &inode, fd, "", path);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void tree_free(struct tree *tree)
{
    for (uint32_t i = 0; i < tree->n_folders; i++) {
        free(tree->folders[i].name);
    }
    for (uint32_t i = 0; i < tree->cap_placed; i++) {
        free(tree->placed[i].name);
    }
    free(tree->folders);
    free(tree->placed);
    free(tree);
}

int export_tree(struct export *export, int dest_fd)
{
    struct tree *tree = calloc(1, sizeof *tree);
    int rv;

    if (tree == NULL) {
        snprintf(export->error, EXPORT_ERROR_MAX, "out of memory");
        return -ENOMEM;
    }
    tree->export = export;
    tree->dest_fd = dest_fd;
    (void)folder_add(tree, NONE, ZONE_ROOT_INO, "");
    for (uint32_t i = 0; i < tree->n_folders && tree->fault == 0; i++) {
        fill_folder(tree, i);
    }
    for (uint32_t i = tree->n_folders; i > 0 && tree->fault == 0; i--) {
        dress_folder(tree, i - 1);
    }
    rv = tree->fault;
    if (rv != 0) {
        snprintf(export->error, EXPORT_ERROR_MAX,
                 "stopped in the middle, what is in %s is not all: %s%s",
                 export->options.dest, strerror(-rv),
                 rv == -ENOSPC || rv == -EDQUOT ? "; give a folder with more room" : "");
    }
    tree_free(tree);
    return rv;
}
