#include "cli/args.h"

#include <stdio.h>
#include <string.h>

enum kind { KIND_NONE, KIND_FLAG, KIND_VALUE, KIND_LIST };

/* What @spec says about the option @name; sets @value to where the name stands there. */
static enum kind find(const char *spec, const char *name, size_t len,
                      struct args_value *value)
{
    for (const char *word = spec; *word != '\0';) {
        size_t word_len = strcspn(word, " ");
        size_t name_len = strcspn(word, "= ");

        if (name_len == len && memcmp(word, name, len) == 0) {
            *value = (struct args_value){.name = word, .name_len = len, .value = ""};
            if (word_len == name_len) {
                return KIND_FLAG;
            }
            return word[word_len - 1] == '*' ? KIND_LIST : KIND_VALUE;
        }
        word += word_len;
        word += strspn(word, " ");
    }
    return KIND_NONE;
}

static bool given(const struct args *args, const struct args_value *value)
{
    for (uint32_t i = 0; i < args->n_values; i++) {
        if (args->values[i].name == value->name) {
            return true;
        }
    }
    return false;
}

/* Take the option at @argv[*at]; *at ends on the last word of it. */
static int take_option(const char *spec, char **argv, size_t *at, struct args *args)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    struct args_value value = {0};
    enum kind kind = find(spec, name, len, &value);

    if (kind == KIND_NONE) {
        snprintf(args->error, sizeof args->error, "unknown option '--%.*s'",
                 (int)(len > 100 ? 100 : len), name);
        return -1;
    }
    if (kind == KIND_FLAG && equals != NULL) {
        snprintf(args->error, sizeof args->error, "'--%.*s' takes no value", (int)len,
                 name);
        return -1;
    }
    if (kind != KIND_FLAG) {
        value.value = equals != NULL ? equals + 1 : argv[++*at];
        if (value.value == NULL) {
            snprintf(args->error, sizeof args->error, "'--%.*s' needs a value", (int)len,
                     name);
            return -1;
        }
    }
    if (kind == KIND_VALUE && given(args, &value)) {
        snprintf(args->error, sizeof args->error, "'--%.*s' is given twice", (int)len,
                 name);
        return -1;
    }
    if (args->n_values == ARGS_VALUES_MAX) {
        snprintf(args->error, sizeof args->error, "more than %u options",
                 ARGS_VALUES_MAX);
        return -1;
    }
    args->values[args->n_values++] = value;
    return 0;
}

int args_parse(const char *spec, char **argv, struct args *args)
{
    bool options = true;

    memset(args, 0, sizeof *args);
    for (size_t i = 0; argv[i] != NULL; i++) {
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
        } else if (options && strncmp(argv[i], "--", 2) == 0) {
            if (take_option(spec, argv, &i, args) != 0) {
                return -1;
            }
        } else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
            snprintf(args->error, sizeof args->error, "unknown option '%.100s'", argv[i]);
            return -1;
        } else if (args->n_positionals == ARGS_VALUES_MAX) {
            snprintf(args->error, sizeof args->error, "more than %u words",
                     ARGS_VALUES_MAX);
            return -1;
        } else {
            args->positionals[args->n_positionals++] = argv[i];
        }
    }
    return 0;
}

const char *args_get_nth(const struct args *args, const char *name, uint32_t nth)
{
    for (uint32_t i = 0; i < args->n_values; i++) {
        const struct args_value *value = &args->values[i];

        if (value->name_len == strlen(name) &&
            memcmp(value->name, name, value->name_len) == 0 && nth-- == 0) {
            return value->value;
        }
    }
    return NULL;
}

const char *args_get(const struct args *args, const char *name)
{
    return args_get_nth(args, name, 0);
}
