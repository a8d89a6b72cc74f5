#include "base/utf8.h"

#include "lib/check.h"

/* Characters of each length, the first and the last of each. */
static void characters(void)
{
    CHECK_INT(utf8_char(" "), 1);
    CHECK_INT(utf8_char("~"), 1);
    CHECK_INT(utf8_char("\xc2\xa0"), 2);
    CHECK_INT(utf8_char("\xdf\xbf"), 2);
    CHECK_INT(utf8_char("\xe0\xa0\x80"), 3);
    CHECK_INT(utf8_char("\xef\xbf\xbd"), 3);
    CHECK_INT(utf8_char("\xf0\x90\x80\x80"), 4);
    CHECK_INT(utf8_char("\xf4\x8f\xbf\xbf"), 4);
}

/* Control characters, of both kinds, and what RFC 3629 does not allow. */
static void none(void)
{
    static const char *const bad[] = {"",
                                      "\x1b",
                                      "\x7f",
                                      "\xc2\x9b",
                                      "\x80",
                                      "\xc1\xbf",
                                      "\xc3",
                                      "\xc3(",
                                      "\xe0\x9f\xbf",
                                      "\xe2\x82",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xff",
                                      "\xf5\x80\x80\x80",
                                      "\xf4\x90\x80\x80"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_INT(utf8_char(bad[i]), 0);
        CHECK(bad[i][0] == '\0' || !utf8_is_text(bad[i]));
    }
}

static void texts(void)
{
    CHECK(utf8_is_text(""));
    CHECK(utf8_is_text("\xc3\x89t\xc3\xa9 \xf0\x9f\x8d\xba"));
    CHECK(!utf8_is_text("Tier\n1"));
    CHECK(!utf8_is_text("Tier\xff"));
    CHECK(!utf8_is_text("\xe2\x82\xac\xe2\x82"));
}

TEST_MAIN(CHECK_TEST(characters), CHECK_TEST(none), CHECK_TEST(texts))
