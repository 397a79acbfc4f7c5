/*
 * shm.h - files of shared memory: the system calls that make, back, map and name them.
 *
 * Each call is wrapped once: 0 (or a descriptor) or -errno, EINTR retried, every descriptor close-on-exec.  Nothing
 * here sets a message: the caller knows what the call was for.
 */
#ifndef OS_SHM_H
#define OS_SHM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#define OS_PAGE_BYTES UINT64_C(4096) /* the kernel's page, in every geometry of ours */

/* A directory to look names up in. */
int os_open_dir(const char *path);

/* Opens what has a name already.  Never follows a symlink, never waits for a fifo's other end. */
int os_open_file(int dirfd, const char *file, bool is_readonly);

/* The same file once more through its descriptor, perhaps with fewer rights.  Needs /proc.  Never waits for who keeps
 * a lease on it: -EAGAIN. */
int os_reopen(int fd, bool is_readonly);
int os_dup(int fd);
void os_close(int fd);

int os_fstat(int fd, struct stat *ret_st);
int os_stat_at(int dirfd, const char *file, struct stat *ret_st); /* does not follow a symlink */
/* Whether it lies in memory (tmpfs, ramfs), where pages that were reserved are there; also where nobody can say. */
bool os_is_in_memory(int fd);
int os_fchmod(int fd, uint32_t mode);
int os_unlink(int dirfd, const char *file);

/* Sets the size.  -EFBIG past RLIMIT_FSIZE, without the signal that the kernel would send. */
int os_truncate(int fd, uint64_t bytes);

/* All `bytes` or -errno; -ENODATA at the end of the file. */
int os_pread(int fd, void *buf, size_t bytes, uint64_t off);

/* Where the next page is, or the next hole, from `off` on; -ENXIO: behind the last. */
int64_t os_seek(int fd, uint64_t off, bool is_page);

/* Backs a range with pages in one call, all or nothing.  A caller keeps the range short: the kernel holds the inode
 * meanwhile, and a signal rolls everything back.  Of a file that is mapped: see os/pages.h. */
int os_allocate(int fd, uint64_t off, uint64_t bytes);

/* Maps a file at exactly `addr`: -EEXIST when something is there already.  Unless it `stays`, os_map_over() follows
 * before anybody relies on what becomes of it when memory is locked. */
int os_map_at(int fd, void *addr, uint64_t bytes, bool is_readonly, bool stays);

/* Maps a file over what the caller has mapped there. */
int os_map_over(int fd, void *addr, uint64_t bytes, bool is_readonly);

/* Maps a file wherever there is room, at a multiple of `align`, a power of two. */
int os_map_anywhere(int fd, uint64_t bytes, uint64_t align, bool is_readonly, void **ret_addr);
int os_unmap(void *addr, uint64_t bytes);
int os_protect_none(void *addr, uint64_t bytes);

/* Holds address space of this process alone, which takes no memory, also where all of it is to be locked (mlockall). */
int os_hold_private(uint64_t bytes, void **ret_addr);

/* Makes part of it zeroed memory; and zeroed memory again. */
int os_unprotect(void *addr, uint64_t bytes);
void os_wipe_private(void *addr, uint64_t bytes);

/* The child of a fork, however made, finds zeroes there: memory of this process alone, in pages of its own, and no
 * file's. */
int os_wipe_by_fork(void *addr, uint64_t bytes);

/* Zeroed memory of this process alone.  If it is wiped by fork, a child finds zeroes there, however it was made. */
int os_map_private(uint64_t bytes, bool wiped_by_fork, void **ret_addr);

/* Anonymous file that can be sealed.  It is born with mode 0666: before a read-only descriptor of it is passed on, it
 * needs fchmod, or the receiver can reopen it for writing. */
int os_memfd(const char *label);

/* No client can change its size any more, nor the seals. */
int os_seal_size(int fd);

/* Bits of F_GET_SEALS, or -errno where the file has none. */
int os_seals(int fd);

/* Directory entries, "." and ".." too, until fn returns non-zero, which is returned. */
int os_list_dir(int dirfd, int (*fn)(const char *file, void *arg), void *arg);

/* The same, in fewer calls, for who can do without some of them.  By a descriptor that nobody else lists it by. */
void os_glance_dir(int dirfd, int (*fn)(const char *file, void *arg), void *arg);

/* Unpredictable where the kernel provides it, different in any case. */
uint64_t os_random(void);

#endif
