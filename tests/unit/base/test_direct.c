/* Memory for transfers past the page cache. */
#include "base/direct.h"
#include "lib/check.h"

#include <string.h>

/* Every piece is whole, aligned and nobody else's, however many there are at a time. */
static void pieces_are_apart(void)
{
    enum { PIECES = 5 };
    uint8_t *pieces[PIECES];

    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < PIECES; i++) {
            pieces[i] = direct_get();
            CHECK(pieces[i] != NULL);
            CHECK_UINT((uintptr_t)pieces[i] % DIRECT_BYTES, 0);
            memset(pieces[i], (int)(round + i), DIRECT_BYTES);
        }
        for (unsigned i = 0; i < PIECES; i++) {
            CHECK_UINT(pieces[i][0], round + i);
            CHECK_MEM(pieces[i], pieces[i] + 1, DIRECT_BYTES - 1);
            direct_put(pieces[i]);
        }
    }
    direct_put(NULL);
}

/* One that was given back is the next one given: its pages are there already. */
static void given_back_is_given_again(void)
{
    uint8_t *piece = direct_get();

    CHECK(piece != NULL);
    direct_put(piece);
    CHECK(direct_get() == piece);
    direct_put(piece);
}

TEST_MAIN(CHECK_TEST(pieces_are_apart), CHECK_TEST(given_back_is_given_again))
