/*
 * log.h - one line for each decision: to the journal, with fields, or to standard error.  Never waits: a line that
 * nobody takes is dropped, and counted.
 */
#ifndef SHMALLOCD_LOG_H
#define SHMALLOCD_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

#define LOG_NOBODY UINT32_MAX

/* `heap` may be NULL.  Control characters in the text become '?'.  Lines of one format beyond a limit for each heap,
 * and for all, are suppressed (limit.h). */
void log_line(int priority, const char *heap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The same for what a user made happen: limited for each user. */
void log_line_of(uint32_t uid, int priority, const char *heap, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));

/* Now and then, and at the end: says how many lines were suppressed, or dropped. */
void log_flush(bool is_end);

/* Priorities above `max` are not logged: LOG_INFO unless set.  With LOG_DEBUG nothing is suppressed. */
void log_set_max(int max);

#endif
