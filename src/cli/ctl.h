/*
 * ctl: one call to the daemon's control socket (docs/formats/control.md).
 *
 * Nothing that the daemon sends is trusted: a reply is bounded in length and time and
 * must be one JSON object of the agreed form.
 */
#ifndef CLI_CTL_H
#define CLI_CTL_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

#define CTL_SOCKET_DEFAULT "/run/grapevine/gvraft.sock"
#define CTL_REPLY_MAX (16u << 20)
#define CTL_WAIT_S_MAX 120
#define CTL_PATIENCE_S 3 /* Whoever sits at a terminal is told after that. */
#define CTL_ERROR_MAX 1024u

struct ctl_reply {
    cJSON *result;             /* An object; never NULL after success. */
    cJSON *warnings;           /* An array of strings, or NULL. Part of whole. */
    cJSON *whole;              /* Owns both. */
    char error[CTL_ERROR_MAX]; /* After a failure: one line, what is wrong, what to do. */
    bool away;   /* The failure: no daemon is there, or it ended. It may come again. */
    bool denied; /* The failure: whoever asks may not; a daemon may be there. */
};

/*
 * Send @command with @args (taken, NULL for none) to @socket and wait for the answer.
 * 0 with result and warnings, or -1 with error. Free with ctl_reply_deinit in any case.
 * A wait of some length is told on standard error, if that is a terminal.
 */
int ctl_call(const char *socket, const char *command, cJSON *args,
             struct ctl_reply *reply);
/*
 * The same, and then every line that follows, each one JSON object (borrowed), to @each
 * until it returns false (0) or the daemon ends or hangs up (-1 with error). @first gets
 * the reply.
 */
struct ctl_follow {
    void *ctx;
    void (*first)(void *ctx, const struct ctl_reply *reply);
    bool (*each)(void *ctx, const cJSON *line);
};
int ctl_follow(const char *socket, const char *command, cJSON *args,
               const struct ctl_follow *follow, struct ctl_reply *reply);
void ctl_reply_deinit(struct ctl_reply *reply);

#endif
