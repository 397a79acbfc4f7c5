/*
 * process.h - who this process is, and whether another one still lives.
 *
 * Two answers of the kernel are evidence of death, both about an id of our own pid namespace: that there is no such
 * process or thread, and that the process has ended and nobody has waited for it yet, a zombie.  One that may not be
 * signalled or is stopped lives.
 */
#ifndef OS_PROCESS_H
#define OS_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROCESS_NS_UNKNOWN UINT32_C(1) /* no inode number of a pid namespace, which start at 0xeffffffc */

enum { PROCESS_NAME_MAX = 31 };

uint32_t process_id(void);
uint32_t process_tid(void); /* asks the kernel, not the C library */

/* True only when there is no such process or thread in this pid namespace, or the process is a zombie whose last thread
 * has ended.  Numbers that are no id are not gone. */
bool process_is_gone(uint32_t pid);
bool process_thread_is_gone(uint32_t tid);

/* Inode of this process's pid namespace, which never changes during its life, and which no other namespace has
 * meanwhile; PROCESS_NS_UNKNOWN where neither the kernel nor /proc tells: then nobody is ever gone.  Remembered, so
 * that it survives a chroot; a forked child may be elsewhere and asks again. */
uint32_t process_pid_ns(void);
void process_pid_ns_refresh(void);

/* When it started, in clock ticks since boot, for people: equal for two processes that follow each other fast.  0 when
 * it cannot be read. */
uint64_t process_start_ticks(uint32_t pid);

/* Differs between a process and what the same process was before exec. */
uint32_t process_image(void);

/* Any thread's stores up to now are seen in their order after this.  Takes milliseconds; where a filter refuses the
 * call, it does nothing.  Where processors show their stores in order there is no need for it. */
#if defined(__x86_64__)
#define PROCESS_STORES_IN_ORDER true
#else
#define PROCESS_STORES_IN_ORDER false
#endif
void process_fence_all(void);

/* This thread's command name. */
void process_name(char ret_name[PROCESS_NAME_MAX + 1]);

#endif
