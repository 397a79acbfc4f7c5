/*
 * sink.h - where the lines of the log go: they are written at once or not at all.  Nobody waits for who reads them.
 */
#ifndef SHMALLOCD_SINK_H
#define SHMALLOCD_SINK_H

#include <stdbool.h>
#include <stddef.h>

/* A whole line, its newline included, to standard error.  False: it could not be written just now. */
bool sink_write(const char *line, size_t length);

/* A datagram of the journal's native protocol.  False: there is no journal, or it could not be sent just now. */
bool sink_send_journal(const char *datagram, size_t length);

#endif
