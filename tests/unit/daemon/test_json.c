/* What comes from outside means one thing, or is refused. */
#include "daemon/json.h"
#include "lib/check.h"

#include <stdio.h>
#include <string.h>

static bool parses(const char *text)
{
    cJSON *json = json_parse(text, strlen(text));
    bool good = json != NULL;

    cJSON_Delete(json);
    return good;
}

/* Of two equal keys one reader sees the first, another removes the first and finds the
 * second: neither is to be believed, however deep it stands. */
static void keys_come_once(void)
{
    CHECK(parses("{\"a\":1,\"b\":{\"a\":2},\"c\":[{\"a\":1},{\"a\":1}]}"));
    CHECK(parses("{\"a\":1,\"A\":1,\"\":1}"));
    CHECK(!parses("{\"a\":1,\"b\":2,\"a\":1}"));
    CHECK(!parses("{\"a\":1,\"\\u0061\":1}"));
    CHECK(!parses("{\"a\":1,\"a\\u0000b\":1}"));
    CHECK(!parses("[1,{\"x\":{\"a\":1,\"a\":1}}]"));
    CHECK(!parses("{\"a\":"));
}

/* Comparing keys costs the square of their number, so there is a bound. */
static void keys_are_bounded(void)
{
    char text[16 * (JSON_KEYS_MAX + 2)];

    for (unsigned n = JSON_KEYS_MAX; n <= JSON_KEYS_MAX + 1; n++) {
        size_t len = (size_t)sprintf(text, "{\"k0\":0");

        for (unsigned i = 1; i < n; i++) {
            len += (size_t)sprintf(text + len, ",\"k%u\":0", i);
        }
        strcpy(text + len, "}");
        CHECK(parses(text) == (n <= JSON_KEYS_MAX));
    }
}

TEST_MAIN(CHECK_TEST(keys_come_once), CHECK_TEST(keys_are_bounded))
