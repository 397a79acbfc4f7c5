/*
 * descriptor.h - the numbers of the library's descriptors, which the program around it does not know of.
 *
 * A program that runs with 0, 1 or 2 closed prints to whatever gets these numbers; one that closes everything from 3
 * up, or dup2()s over a number, takes ours away and soon has a file of its own under it.  So no descriptor of ours is
 * ever 0 to 2, one that is kept has a high number, and before anything is done through a kept one it is duplicated, so
 * that the number is ours for the moment, and the duplicate compared with what it should be.
 */
#ifndef OS_DESCRIPTOR_H
#define OS_DESCRIPTOR_H

#include <stdbool.h>
#include <stdint.h>

/* Number from which kept descriptors are, where the limit of the process allows. */
enum { DESCRIPTOR_KEPT_MIN = 1000 };

/* While 0 to 2 are plugged, a new descriptor has another number: what stands in for those that are closed is a name and
 * no file, so a write to it fails like one to a closed descriptor.  A thread that closes one of them just then may
 * still make it ours: see descriptor_lift().  A plug that another thread has put a file over is that thread's. */
struct descriptor_plugs {
        uint8_t set; /* bit by number */
};

void descriptor_plug(struct descriptor_plugs *ret_plugs);
void descriptor_unplug(const struct descriptor_plugs *plugs);

/* The same for all that the calling thread opens from now on, which is not asked about 0 to 2 again.  Not nested.  A
 * directory that is opened first tells what is closed. */
void descriptor_plug_all(void);
void descriptor_unplug_all(void);

/* As openat(2), close-on-exec, never 0 to 2. */
int descriptor_openat(int dirfd, const char *path, int flags, uint32_t mode);

/* Gives a new descriptor (or passes on an error) a number of 3 at least. */
int descriptor_lift(int fd);

/* Gives a new descriptor (or passes on an error) that will be kept a high number, if there is one. */
int descriptor_keep(int fd);

/* A duplicate with a high number. */
int descriptor_dup(int fd);

/* Whether it is this file. */
bool descriptor_is(int fd, uint64_t dev, uint64_t ino);

#endif
