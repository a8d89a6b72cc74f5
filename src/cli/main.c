/* gvraft: the command line; talks to the daemon's control socket only. */
#include "cli/command.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GLOBAL_SPEC "socket= json help "
#define SPEC_MAX 256u
#define HELP_WIDTH 79u

static void put_help(FILE *file)
{
    fputs("usage: gvraft [--socket S] [--json] COMMAND [...]\n\n", file);
    for (const struct command *c = commands; c->name != NULL; c++) {
        fprintf(file, "  %-20s%s\n", c->name, c->summary);
    }
    fputs("\n  gvraft help COMMAND  says more about one.\n"
          "  --socket S           the daemon's socket (else $GV_SOCKET, else\n"
          "                       " CTL_SOCKET_DEFAULT ")\n"
          "  --json               print the daemon's answer as JSON\n"
          "  --version            print the version\n"
          "\nExit status: 0 done, 1 failed, 2 wrong usage. See gvraft(8).\n",
          file);
}

/* How long the next piece of @text is that is not broken: a word, or all within brackets. */
static size_t piece(const char *text)
{
    size_t depth = 0;
    size_t n = 0;

    for (; text[n] != '\0' && (depth > 0 || (text[n] != ' ' && text[n] != '\n')); n++) {
        depth += text[n] == '[' ? 1 : 0;
        depth -= text[n] == ']' && depth > 0 ? 1 : 0;
    }
    return n;
}

/* @text in lines of HELP_WIDTH, of which @at columns are used; further ones begin with
 * @indent blanks. */
static void put_flowed(const char *text, size_t at, int indent, FILE *file)
{
    bool first = true;

    for (text += strspn(text, " \n"); *text != '\0'; text += strspn(text, " \n")) {
        size_t n = piece(text);

        if (!first && at + 1 + n > HELP_WIDTH) {
            fprintf(file, "\n%*s", indent, "");
            at = (size_t)indent;
        } else if (!first) {
            fputc(' ', file);
            at++;
        }
        fprintf(file, "%.*s", (int)n, text);
        at += n;
        text += n;
        first = false;
    }
    fputc('\n', file);
}

static void put_command_help(const struct command *command, FILE *file)
{
    int at = fprintf(file, "usage: gvraft %s%s", command->name,
                     command->words[0] != '\0' ? " " : "");

    put_flowed(command->words, at > 0 ? (size_t)at : 0, 8, file);
    fprintf(file, "\n%s.\n", command->summary);
    if (command->help[0] != '\0') {
        fputc('\n', file);
        put_flowed(command->help, 0, 0, file);
    }
}

/* How many of @words are the name of @command; 0 if they are not. */
static size_t match(const struct command *command, char **words)
{
    const char *name = command->name;
    size_t n = 0;

    while (*name != '\0') {
        size_t len = strcspn(name, " ");

        if (words[n] == NULL || strlen(words[n]) != len ||
            memcmp(words[n], name, len) != 0) {
            return 0;
        }
        n++;
        name += len;
        name += strspn(name, " ");
    }
    return n;
}

/* The command that @words begin with, and how many words its name has; or NULL. */
static const struct command *find(char **words, size_t *n)
{
    for (const struct command *c = commands; c->name != NULL; c++) {
        *n = match(c, words);
        if (*n > 0) {
            return c;
        }
    }
    return NULL;
}

static int unknown(char **words)
{
    size_t len = strlen(words[0]);
    bool group = false;

    for (const struct command *c = commands; c->name != NULL; c++) {
        if (strncmp(c->name, words[0], len) != 0 || c->name[len] != ' ') {
            continue;
        }
        fprintf(stderr, group ? ", %s" : "gvraft: there are: %s", c->name);
        group = true;
    }
    if (group) {
        fputs("; see gvraft help\n", stderr);
        return COMMAND_USAGE;
    }
    return command_usage("unknown command '%.100s'; see gvraft help", words[0]);
}

static int help(char **words)
{
    const struct command *command;
    size_t n;

    if (words[0] == NULL) {
        put_help(stdout);
        return COMMAND_OK;
    }
    command = find(words, &n);
    if (command == NULL) {
        return unknown(words);
    }
    put_command_help(command, stdout);
    return COMMAND_OK;
}

static int run(const struct command *command, char **words, struct cli *cli)
{
    char spec[SPEC_MAX];
    struct args args;

    snprintf(spec, sizeof spec, GLOBAL_SPEC "%s", command->spec);
    if (args_parse(spec, words, &args) != 0) {
        return command_usage("%s; see gvraft help %s", args.error, command->name);
    }
    if (args_get(&args, "help") != NULL) {
        put_command_help(command, stdout);
        return COMMAND_OK;
    }
    if (args.n_positionals < command->words_min ||
        args.n_positionals > command->words_max) {
        return command_usage("usage: gvraft %s%s%s", command->name,
                             command->words[0] != '\0' ? " " : "", command->words);
    }
    if (args_get(&args, "socket") != NULL) {
        cli->socket = args_get(&args, "socket");
    }
    cli->json = cli->json || args_get(&args, "json") != NULL;
    return command->run(cli, &args);
}

/* Take the options before the command; the first word behind them, or NULL if they are
 * wrong (printed). */
static char **take_globals(char **words, struct cli *cli, bool *want_help,
                           bool *want_version)
{
    for (; *words != NULL && (*words)[0] == '-'; words++) {
        if (strcmp(*words, "--json") == 0) {
            cli->json = true;
        } else if (strcmp(*words, "--help") == 0 || strcmp(*words, "-h") == 0) {
            *want_help = true;
        } else if (strcmp(*words, "--version") == 0) {
            *want_version = true;
        } else if (strncmp(*words, "--socket=", 9) == 0) {
            cli->socket = *words + 9;
        } else if (strcmp(*words, "--socket") == 0 && words[1] != NULL) {
            cli->socket = *++words;
        } else {
            (void)command_usage(
                "unknown option '%.100s', or it needs a value; see gvraft "
                "help",
                *words);
            return NULL;
        }
    }
    return words;
}

int main(int argc, char **argv)
{
    struct cli cli = {.socket = getenv("GV_SOCKET")};
    const struct command *command;
    bool want_version = false;
    bool want_help = false;
    char **words;
    size_t n;
    int rv;

    if (cli.socket == NULL || cli.socket[0] == '\0') {
        cli.socket = CTL_SOCKET_DEFAULT;
    }
    words = take_globals(argv + (argc > 0), &cli, &want_help, &want_version);
    if (words == NULL) {
        return COMMAND_USAGE;
    }
    if (want_version) {
        puts("gvraft " GV_VERSION); /* The daemon's: see grapevined --version. */
        return fflush(stdout) == 0 ? COMMAND_OK : COMMAND_FAILED;
    }
    if (words[0] == NULL && !want_help) {
        put_help(stderr);
        return COMMAND_USAGE;
    }
    if (want_help || strcmp(words[0], "help") == 0) {
        rv = help(words + (words[0] != NULL && strcmp(words[0], "help") == 0));
    } else {
        command = find(words, &n);
        rv = command == NULL ? unknown(words) : run(command, words + n, &cli);
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return command_failed("cannot write the answer to standard output");
    }
    return rv;
}
