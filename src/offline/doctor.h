/*
 * doctor: what is wrong with a node, found from outside of its daemon.
 *
 * doctor_facts gathers: it reads the configuration, looks at the folders, measures a sync
 * in each (a small file, removed again), and takes what the daemon answered, if it did. It
 * judges nothing. doctor_judge is pure: facts in, findings out.
 *
 * Facts are JSON, so that a test can write them down; docs/formats/control.md has the
 * daemon's part. What is absent was not found out, and nothing is concluded from it.
 */
#ifndef OFFLINE_DOCTOR_H
#define OFFLINE_DOCTOR_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>

#define DOCTOR_FINDINGS_MAX 256u
#define DOCTOR_WHAT_MAX 512u

enum doctor_severity {
    DOCTOR_NOTE = 1, /* Worth knowing; nothing is wrong. */
    DOCTOR_WARNING =
        2,            /* It works, and will not for long, or with less than was meant. */
    DOCTOR_ERROR = 3, /* Something does not work. */
};

struct doctor_finding {
    const char *id; /* Stable: the heading in docs/runbook.md. */
    enum doctor_severity severity;
    char what[DOCTOR_WHAT_MAX]; /* What is so, here. */
    const char *means;
    const char *todo; /* Without "zone" filled in: the runbook has more. */
};

struct doctor_report {
    uint32_t n; /* The worst first. */
    struct doctor_finding findings[DOCTOR_FINDINGS_MAX];
    uint32_t left_out; /* For want of room. */
};

/* What the command line knows. All borrowed. */
struct doctor_input {
    const char *config;    /* Path of grapevine.conf. */
    const cJSON *answer;   /* The daemon's, or NULL: it gave none, */
    const char *no_answer; /* for this reason. */
    bool denied;           /* Whoever asks may not ask it. */
    const cJSON *events;   /* The daemon's, or NULL: read from the state folder. */
};

/* An object that the caller deletes; NULL without memory. */
cJSON *doctor_facts(const struct doctor_input *input);
void doctor_judge(const cJSON *facts, struct doctor_report *report);
/* True if nothing is a warning or worse. */
bool doctor_healthy(const struct doctor_report *report);
const char *doctor_severity_name(enum doctor_severity severity);
/* Every id there is, for the runbook's test; NULL behind the last one. */
const char *doctor_id(uint32_t i);

#endif
