/*
 * log: one structured line per event, on stderr.
 *
 * level=info zone=tier-1 msg="leader elected" term=7
 * The caller gives the message and the further fields as one printf format; values
 * with spaces are the caller's to quote. No secret is ever an argument.
 * Thread-safe: a line is written with one write(2).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
/* @module: the folder's name; @format: 'msg="..." key=%d'. */
void log_write(enum log_level level, const char *module, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(module, ...) log_write(LOG_LEVEL_ERROR, (module), __VA_ARGS__)
#define log_warn(module, ...) log_write(LOG_LEVEL_WARN, (module), __VA_ARGS__)
#define log_info(module, ...) log_write(LOG_LEVEL_INFO, (module), __VA_ARGS__)
#define log_debug(module, ...) log_write(LOG_LEVEL_DEBUG, (module), __VA_ARGS__)

#endif
