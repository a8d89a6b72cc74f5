#include "lib/check.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    DUMP_BYTES = 16, /* Bytes shown around the first difference. */
    RMDIR_FDS_MAX = 16,
};

/* Empty while the running test has not asked for a folder. */
static char tmpdir[PATH_MAX];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

static void tmpdir_remove(void)
{
    if (tmpdir[0] == '\0') {
        return;
    }
    (void)nftw(tmpdir, remove_one, RMDIR_FDS_MAX, FTW_DEPTH | FTW_PHYS);
    tmpdir[0] = '\0';
}

const char *check_tmpdir(void)
{
    const char *parent = getenv("TMPDIR");

    if (tmpdir[0] != '\0') {
        return tmpdir;
    }
    if (parent == NULL || parent[0] == '\0') {
        parent = "/tmp";
    }
    if (snprintf(tmpdir, sizeof tmpdir, "%s/gv-check-XXXXXX", parent) >=
            (int)sizeof tmpdir ||
        mkdtemp(tmpdir) == NULL) {
        tmpdir[0] = '\0';
        check_true(false, "mkdtemp", __FILE__, __LINE__);
    }
    return tmpdir;
}

static void run_one(void **state)
{
    const struct check_test *test = *state;

    test->run();
}

/* cmocka calls this after a failed test too. */
static int after_each(void **state)
{
    (void)state;
    tmpdir_remove();
    return 0;
}

int check_main(const struct check_test *tests, size_t n_tests, int argc, char **argv)
{
    static struct CMUnitTest list[CHECK_TESTS_MAX];
    const char *name = strrchr(argv[0], '/');
    size_t i;

    if (n_tests == 0 || n_tests > CHECK_TESTS_MAX || argc > 2) {
        fprintf(stderr, "usage: %s [PATTERN]\n", argv[0]);
        return 2;
    }
    if (argc == 2) {
        cmocka_set_test_filter(argv[1]);
    }
    for (i = 0; i < n_tests; i++) {
        list[i].name = tests[i].name;
        list[i].test_func = run_one;
        list[i].teardown_func = after_each;
        list[i].initial_state = (void *)(uintptr_t)&tests[i];
    }
    return _cmocka_run_group_tests(name == NULL ? argv[0] : name + 1, list, n_tests, NULL,
                                   NULL) == 0
               ? 0
               : 1;
}

void check_true(bool condition, const char *text, const char *file, int line)
{
    if (!condition) {
        print_error("%s:%d: failed: %s\n", file, line, text);
        _fail(file, line);
    }
}

void check_int(intmax_t actual, intmax_t expected, const char *text, const char *file,
               int line)
{
    if (actual != expected) {
        print_error("%s:%d: %s is %" PRIdMAX ", expected %" PRIdMAX "\n", file, line,
                    text, actual, expected);
        _fail(file, line);
    }
}

void check_uint(uintmax_t actual, uintmax_t expected, const char *text, const char *file,
                int line)
{
    if (actual != expected) {
        print_error("%s:%d: %s is %" PRIuMAX " (0x%" PRIxMAX "), expected %" PRIuMAX
                    " (0x%" PRIxMAX ")\n",
                    file, line, text, actual, actual, expected, expected);
        _fail(file, line);
    }
}

void check_str(const char *actual, const char *expected, const char *text,
               const char *file, int line)
{
    if (actual == expected ||
        (actual != NULL && expected != NULL && strcmp(actual, expected) == 0)) {
        return;
    }
    print_error("%s:%d: %s is\n%s\nexpected\n%s\n", file, line, text,
                actual == NULL ? "(NULL)" : actual,
                expected == NULL ? "(NULL)" : expected);
    _fail(file, line);
}

static void dump(const char *label, const unsigned char *bytes, size_t from, size_t to)
{
    char line[3 * DUMP_BYTES + 1] = "";
    size_t used = 0;

    for (; from < to; from++) {
        used += (size_t)snprintf(line + used, sizeof line - used, " %02x", bytes[from]);
    }
    print_error("  %s%s\n", label, line);
}

void check_mem(const void *actual, const void *expected, size_t len, /* NOLINT(params) */
               const char *text, const char *file, int line)
{
    const unsigned char *a = actual;
    const unsigned char *e = expected;
    size_t i;
    size_t to;

    for (i = 0; i < len && a[i] == e[i]; i++) {
    }
    if (i == len) {
        return;
    }
    to = len - i < DUMP_BYTES ? len : i + DUMP_BYTES;
    print_error("%s:%d: %s differs at byte %zu of %zu\n", file, line, text, i, len);
    dump("is:      ", a, i, to);
    dump("expected:", e, i, to);
    _fail(file, line);
}

void check_ptr(const void *actual, const void *expected, const char *text,
               const char *file, int line)
{
    if (actual != expected) {
        print_error("%s:%d: %s is %p, expected %p\n", file, line, text, actual, expected);
        _fail(file, line);
    }
}

void check_skip(const char *why, const char *file, int line)
{
    print_message("# skipped: %s\n", why);
    _skip(file, line);
}
