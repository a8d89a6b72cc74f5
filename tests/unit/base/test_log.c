/* Lines of the log: what others chose cannot end them or speak to a terminal. */
#include "base/log.h"
#include "lib/check.h"

#include <string.h>
#include <unistd.h>

/* The line that @text becomes. */
static const char *logged(const char *text)
{
    static char line[512];
    int old = dup(STDERR_FILENO);
    int ends[2];
    ssize_t n;

    CHECK(old >= 0 && pipe(ends) == 0);
    (void)dup2(ends[1], STDERR_FILENO);
    log_error("test", "msg=\"%s\"", text);
    (void)dup2(old, STDERR_FILENO);
    n = read(ends[0], line, sizeof line - 1);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(old);
    CHECK(n > 0 && line[n - 1] == '\n');
    line[n - 1] = '\0';
    return strstr(line, "msg=");
}

static void control_characters_are_masked(void)
{
    CHECK_STR(logged("plain"), "msg=\"plain\"");
    CHECK_STR(logged("a\nlevel=error b"), "msg=\"a?level=error b\"");
    CHECK_STR(logged("\x1b[2J\x7f"), "msg=\"?[2J?\"");
    CHECK_STR(logged("\xc2\x9b[2J"), "msg=\"??[2J\"");
    CHECK_STR(logged("\xc3\xa9t\xc3\xa9 \xc2\xa9"), "msg=\"\xc3\xa9t\xc3\xa9 \xc2\xa9\"");
}

TEST_MAIN(CHECK_TEST(control_characters_are_masked))
