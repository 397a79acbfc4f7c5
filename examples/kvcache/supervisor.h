/*
 * supervisor.h - the process that starts workers, and starts them again.
 */
#ifndef KVCACHE_SUPERVISOR_H
#define KVCACHE_SUPERVISOR_H

/* Until SIGTERM or SIGINT.  The exit status. */
int supervisor_run(void);

#endif
