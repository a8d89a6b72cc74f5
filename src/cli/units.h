/*
 * units: sizes and times as people read and write them, and text that is safe to print.
 */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include <stdint.h>
#include <stdio.h>

#define UNITS_TEXT_MAX 32u

/* "812 B", "1.2 MiB", "8.0 GiB": binary units. Returns @out. */
char *units_bytes(uint64_t bytes, char out[UNITS_TEXT_MAX]);
/* "240 us", "1.2 ms"; "-" for 0, which means unknown. Returns @out. */
char *units_rtt(uint64_t us, char out[UNITS_TEXT_MAX]);
/* "90s", "30m", "1h", "7d", "90" (seconds). 0, or -EINVAL also for 0 seconds and for
 * more than a year. */
int units_parse_duration(const char *text, uint64_t *seconds);
/* Write @text without what could steer a terminal: '?' for control characters. */
void units_put_text(FILE *file, const char *text);

#endif
