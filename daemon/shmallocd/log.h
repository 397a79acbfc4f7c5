/*
 * log.h - one line for each decision: to the journal, with fields, or to standard error.
 */
#ifndef SHMALLOCD_LOG_H
#define SHMALLOCD_LOG_H

#include <syslog.h>

/* `heap` may be NULL.  Control characters in the text become '?'. */
void log_line(int priority, const char *heap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Priorities above `max` are not logged: LOG_INFO unless set. */
void log_set_max(int max);

#endif
