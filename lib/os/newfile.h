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

struct os_newfile {
        int fd;
        int dirfd;
        char temp[32]; /* empty: the file has no name */
};

/* Mode 0600 for now.  `dirfd` must stay open as long as the file is new. */
int os_newfile_open(struct os_newfile *ret_file, int dirfd);

/* Gives it its name: -EEXIST if there is something of that name.  The descriptor is the caller's afterwards. */
int os_newfile_publish(struct os_newfile *file, const char *name);

/* Forgets the file instead: closes the descriptor, leaves nothing behind. */
void os_newfile_discard(struct os_newfile *file);

#endif
