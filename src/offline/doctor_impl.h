/* doctor's inside. */
#ifndef OFFLINE_DOCTOR_IMPL_H
#define OFFLINE_DOCTOR_IMPL_H

#include "daemon/config.h"
#include "offline/doctor.h"

/* doctor_disk.c: what there is to say of one folder: {"path", "fault"?, "free_bytes",
 * "total_bytes", "read_only", "writable", "rotational"?, "sync_us"?, "sync_fault"?}. A
 * folder that hangs costs 5 s. */
cJSON *doctor_folder(const char *path);

#endif
