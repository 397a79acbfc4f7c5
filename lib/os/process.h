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

/* From now on what this process is told of itself is remembered, and forgotten by a fork.  0, or -errno: then it is
 * asked each time. */
int process_remember(void);

/* A word that is 1 until a fork, however made, zeroes it; NULL before process_remember(). */
uint32_t *process_mark(void);

/* Of this process, and of none that it was forked from; 0 where nothing can be remembered. */
uint32_t process_generation(void);

uint32_t process_id(void);
uint32_t process_tid(void); /* by the kernel's word, not the C library's */

/* Where the calling thread's list of robust locks begins, as the kernel knows it; NULL: it has none.  Whoever has one
 * is a thread of this process, so what is not known yet of all the above is asked in the same go, and remembered.  0 or
 * -errno. */
int process_ask_list(void **ret_head);

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

/* This process's command name, or where /proc does not tell the calling thread's; and when it started, as above. */
void process_describe(char ret_name[PROCESS_NAME_MAX + 1], uint64_t *ret_start_ticks);

#endif
