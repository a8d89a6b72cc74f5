/*
 * show: the daemon's results as tables for people (docs/formats/control.md names the
 * fields). Whatever is missing or of the wrong kind shows as empty, 0 or "-".
 */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <cjson/cJSON.h>
#include <stdio.h>

void show_status(const cJSON *status, FILE *file);
void show_nodes(const cJSON *nodes, FILE *file);
/* One line per zone. */
void show_zones(const cJSON *zones, FILE *file);
/* Everything about one zone. */
void show_zone(const cJSON *zone, FILE *file);

/* The text at @key of @object, "" if there is none. Lives as long as the object. */
const char *show_text(const cJSON *object, const char *key);

#endif
