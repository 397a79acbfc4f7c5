/*
 * rig.h - real daemons for tests: started as programs, heard by their log, killed.
 *
 * A test waits for lines of the log, never for time to pass; libcheck's time limit is the only watchdog.
 */
#ifndef DAEMON_RIG_H
#define DAEMON_RIG_H

#include <shmalloc/shmalloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rig {
        pid_t pid;
        char log[160];
        long read_to; /* bytes of the log that have been looked at */
};

/* A directory of heaps with a socket in it, named by SHMALLOC_DIR and SHMALLOC_SOCKET. */
void rig_create(const char *suite);
void rig_remove(void);
void rig_empty(void);
const char *rig_dir(void);

/* Starts shmallocd with arguments up to NULL.  A second one gets another log. */
void rig_start(struct rig *rig, const char *argument, ...);

/* The same, as process 1 of a pid namespace within, with what `type` says mounted on /proc: "proc" shows that
 * namespace, "tmpfs" nothing. */
void rig_start_inside(const char *type, struct rig *rig, const char *argument, ...);

/* Waits for a line that contains the text, among those not looked at yet.  The test fails if the daemon ends first. */
void rig_expect(struct rig *rig, const char *text);

/* Whether the whole log, so far, contains the text. */
bool rig_has_said(const struct rig *rig, const char *text);

/* The process id of the last helper that the log names; 0 if there is none. */
pid_t rig_helper(const struct rig *rig);

/* Waits for the end: its wait status. */
int rig_wait(struct rig *rig);

/* SIGTERM, and a good end. */
void rig_stop(struct rig *rig);
void rig_kill(struct rig *rig);

/* Descriptors that the daemon has open. */
int rig_count_fds(const struct rig *rig);

/* Writes a file in the directory; its path. */
const char *rig_write(const char *name, const char *text);

/* ------------------------------------------------------------------ the heap's own view */

/* Threads that have a slot, dead or alive, but for those of this process and of helpers. */
uint32_t rig_count_strangers(shheap *h);

/* Clients in the table, likewise. */
uint32_t rig_count_stranger_clients(shheap *h);

/* Waits until no stranger is left, by the log's lines about threads that were settled. */
void rig_expect_no_strangers(struct rig *rig, shheap *h);

#endif
