/* What is bad is met by each read of it, for years maybe: the log hears of it at once, and
 * then once in so many times. */
#include "base/seldom.h"
#include "store/store_priv.h"

enum { NEWS_EVERY = 1000 }; /* Bad things met. */

uint32_t store_news(uint64_t what, uint64_t place)
{
    static _Thread_local struct seldom seldom; /* Settling has a thread of its own. */
    static _Thread_local uint64_t met;

    return seldom_tell(&seldom, what, place, ++met, NEWS_EVERY);
}
