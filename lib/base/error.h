/*
 * error.h - what failed last in this thread, in words.
 *
 * A function that fails returns -errno and leaves one line here that says what it was doing, to what, and what to do
 * about it: `return error_set(-ENODEV, "...")`.  The buffer is the thread's own and fixed, so nothing here allocates,
 * blocks or fails; a longer message is cut off.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

enum { ERROR_MESSAGE_MAX = 511 }; /* bytes, without the NUL */

/* Both return neg_errno.  Control characters in the text become '?': a message is one line. */
int error_set(int neg_errno, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds to the message that is there, for a caller that knows more. */
int error_append(int neg_errno, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* This thread's last message, "no error" before the first one.  Never NULL; valid until the thread's next failure. */
const char *error_message(void);

/*
 * The system call that was refused last in this thread, and why: so that what fails for that says so, however many
 * layers above, and whatever errno value stands for it there.  `call` is a constant string.  Returns neg_errno.
 */
int error_refused(const char *call, int neg_errno);
void error_forget_refused(void);

/* error_set(), and behind it the refused call, the system's reason, and what to look at. */
int error_set_refused(int neg_errno, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds that to the message that is there, if a call was refused since error_forget_refused(). */
int error_append_refused(int neg_errno);

/* "Permission denied" for EACCES or -EACCES; a constant string. */
const char *error_name(int err);

#endif
