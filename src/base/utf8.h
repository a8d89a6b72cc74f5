/*
 * utf8: what of a string is text for people (RFC 3629), and no control character.
 *
 * Pure. Strings end with NUL, and nothing behind it is read.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes of the character at @at; 0: it is none, or a control character, or the end. */
size_t utf8_char(const char *at);
/* True if all of @text is such characters; an empty one is. */
bool utf8_is_text(const char *text);

#endif
