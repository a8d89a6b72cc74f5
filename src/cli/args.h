/*
 * args: a command's words after its name: options, then positionals, in any order.
 *
 * Borrows argv and the specification for as long as the result is used.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARGS_VALUES_MAX 64u
#define ARGS_ERROR_MAX 256u

struct args_value {
    const char *name; /* Points into the specification: not ended by NUL. */
    size_t name_len;
    const char *value; /* "" of a flag. */
};

struct args {
    uint32_t n_values;
    struct args_value values[ARGS_VALUES_MAX];
    uint32_t n_positionals;
    const char *positionals[ARGS_VALUES_MAX];
    char error[ARGS_ERROR_MAX];
};

/*
 * Parse the NULL-ended @argv. 0, or -1 with error: which word is wrong. "--" ends the
 * options; "--name value" and "--name=value" are the same.
 * @spec: the options there are, words separated by spaces: "yes" is a flag, "quota="
 * takes a value, "member=*" takes one and may be given several times.
 */
int args_parse(const char *spec, char **argv, struct args *args);
/* The value of option @name, "" of a flag, NULL if it was not given. */
const char *args_get(const struct args *args, const char *name);
/* The @nth value of an option that may be given several times, or NULL. */
const char *args_get_nth(const struct args *args, const char *name, uint32_t nth);

#endif
