/*
 * newfile.h - a file that is filled first and becomes visible afterwards, complete, in one step.
 *
 * Normally it has no name until then (O_TMPFILE), so whoever dies while filling it leaves nothing.  Where the file
 * system cannot do that, or /proc is not there to give it a name, it has a temporary one that starts with a dot, and
 * is locked (flock) as long as its maker lives: the next maker of a file in the directory removes those that are
 * not.  Nobody ever waits for a lock.
 */
#ifndef OS_NEWFILE_H
#define OS_NEWFILE_H

#include <stdint.h>
#include <sys/stat.h>

enum { OS_TEMP_BYTES = 32 };

/* Of a file, what its maker wants to know. */
struct os_facts {
        uint64_t dev, ino;
        uint32_t uid, mode; /* permissions only */
};

struct os_newfile {
        int fd;
        int dirfd;
        char temp[OS_TEMP_BYTES]; /* empty: the file has no name */
        struct os_facts facts;    /* as it was when it was made */
};

struct os_facts os_facts_of(const struct stat *st);

/* Mode 0600 for now.  `dirfd` must stay open as long as the file is new. */
int os_newfile_open(struct os_newfile *ret_file, int dirfd);

/* Gives it its name: -EEXIST if there is something of that name.  The descriptor is the caller's afterwards. */
int os_newfile_publish(struct os_newfile *file, const char *name);

/* The same in two steps, for who exchanges it with another one: gives it a temporary name, if it has none yet; and
 * when it has its own, removes what is under the temporary one. */
int os_newfile_name(struct os_newfile *file);
void os_newfile_named(struct os_newfile *file);

/* A temporary name that is not in use. */
void os_temp_name(int dirfd, char ret_temp[OS_TEMP_BYTES]);

/* Each file gets the other's name, in one step. */
int os_exchange(int dirfd, const char *a, const char *b);

/* -EEXIST if there is something of the new name. */
int os_move(int dirfd, const char *from, const char *to);

/* Forgets the file instead: closes the descriptor, leaves nothing behind. */
void os_newfile_discard(struct os_newfile *file);

#endif
