/*
 * choices: a fuzzer's input as decisions, one byte each.
 *
 * The bytes stay the caller's. What runs out gives zeros, so that every input means something
 * and a shorter one does less.
 */
#ifndef FUZZ_CHOICES_H
#define FUZZ_CHOICES_H

#include <stddef.h>
#include <stdint.h>

struct choices {
    const uint8_t *data;
    size_t len;
    size_t at;
};

static inline uint8_t next(struct choices *from)
{
    return from->at < from->len ? from->data[from->at++] : 0;
}

#endif
