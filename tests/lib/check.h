/*
 * check: test programs, on top of cmocka.
 *
 * A test is a function `static void name(void)` with one behaviour in it; a program is
 * a list of them:
 *
 *     TEST_MAIN(CHECK_TEST(reboot_within_timeout), CHECK_TEST(silent_peer_goes_down))
 *
 * CHECK is not `assert`: it is there in release builds too, and a failure ends only the
 * test it stands in, after printing place, expression and both values. Actual value
 * first, expected value second. `test_x PATTERN` runs only the tests that match.
 *
 * Call CHECK from the thread that runs the test, no other. After a failed CHECK the rest
 * of the test does not run: what it holds is not freed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CHECK_TESTS_MAX = 512, /* Tests in one program. */
};

struct check_test {
    const char *name;
    void (*run)(void);
};

/* clang-format off */
#define CHECK_TEST(function) {#function, function}
/* clang-format on */

#define TEST_MAIN(...)                                                        \
    int main(int argc, char **argv)                                           \
    {                                                                         \
        static const struct check_test tests[] = {__VA_ARGS__};               \
        return check_main(tests, sizeof tests / sizeof tests[0], argc, argv); \
    }

/* The condition holds. */
#define CHECK(condition) check_true(!!(condition), #condition, __FILE__, __LINE__)

/* Equal integers. Signed ones, and unsigned ones that fit. */
#define CHECK_INT(actual, expected) \
    check_int((intmax_t)(actual), (intmax_t)(expected), #actual, __FILE__, __LINE__)

/* Equal integers, printed unsigned and in hex. */
#define CHECK_UINT(actual, expected) \
    check_uint((uintmax_t)(actual), (uintmax_t)(expected), #actual, __FILE__, __LINE__)

/* Equal strings; NULL equals NULL only. */
#define CHECK_STR(actual, expected) \
    check_str((actual), (expected), #actual, __FILE__, __LINE__)

/* @len equal bytes. */
#define CHECK_MEM(actual, expected, len) \
    check_mem((actual), (expected), (len), #actual, __FILE__, __LINE__)

/* The same address; CHECK_PTR(p, NULL) for "is NULL". */
#define CHECK_PTR(actual, expected) \
    check_ptr((actual), (expected), #actual, __FILE__, __LINE__)

/* This place must not be reached. @why is a string. */
#define CHECK_FAIL(why) check_true(false, (why), __FILE__, __LINE__)

/* End this test as skipped, saying why: only for what this machine cannot do. */
#define CHECK_SKIP(why) check_skip((why), __FILE__, __LINE__)

/*
 * An empty folder for the running test, made on the first call in a test and removed
 * with all that is in it when the test ends. The string lives until then. Cannot fail:
 * it ends the test instead.
 */
const char *check_tmpdir(void);

/* What the macros above call. */
int check_main(const struct check_test *tests, size_t n_tests, int argc, char **argv);
void check_true(bool condition, const char *text, const char *file, int line);
void check_int(intmax_t actual, intmax_t expected, const char *text, const char *file,
               int line);
void check_uint(uintmax_t actual, uintmax_t expected, const char *text, const char *file,
                int line);
void check_str(const char *actual, const char *expected, const char *text,
               const char *file, int line);
void check_mem(const void *actual, const void *expected, size_t len, /* NOLINT(params) */
               const char *text, const char *file, int line);
void check_ptr(const void *actual, const void *expected, const char *text,
               const char *file, int line);
void check_skip(const char *why, const char *file, int line);
