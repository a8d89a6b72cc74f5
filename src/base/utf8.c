#include "base/utf8.h"

size_t utf8_char(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t n = *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;

    if (*at < 0x80) {
        return *at < ' ' || *at == 0x7f ? 0 : 1;
    }
    if (*at < 0xc2 || *at > 0xf4 || (*at == 0xc2 && at[1] < 0xa0) ||
        (*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) ||
        (*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f)) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

bool utf8_is_text(const char *text)
{
    while (*text != '\0') {
        size_t n = utf8_char(text);

        if (n == 0) {
            return false;
        }
        text += n;
    }
    return true;
}
