/*
 * log.c - see log.h.
 *
 * Under systemd standard error is a stream to the journal, and then its native interface is better: lines get fields to
 * search by (SHMALLOC_HEAP=).  Everywhere else it is standard error itself, with the time in front.
 *
 * The daemon waits for nobody who reads its log: a line that is not taken at once is dropped and counted, and the next
 * that is taken comes after one that says how many (sink.h).
 */
#include "shmallocd/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shmallocd/limit.h"
#include "shmallocd/sink.h"

enum { LINE_MAX_BYTES = 896 }; /* a heap's name, a text, and what stands before them */

static int max_priority = LOG_INFO;
static struct limit limit;

void
log_set_max(int max)
{
        max_priority = max;
}

/* JOURNAL_STREAM is device:inode of the stream that systemd made. */
static int
stderr_is_journal(void)
{
        static int known = -1;
        const char *stream = secure_getenv("JOURNAL_STREAM");
        char own[64];
        struct stat st;

        if (known >= 0)
                return known;
        known = 0;
        if (stream && fstat(STDERR_FILENO, &st) == 0) {
                snprintf(own, sizeof own, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
                known = strcmp(own, stream) == 0;
        }
        return known;
}

static bool
to_stderr(int priority, const char *heap, const char *text)
{
        static const char *const names[] = {"emergency", "alert",  "critical", "error",
                                            "warning",   "notice", "info",     "debug"};
        struct timespec now = {0};
        char stamp[32] = "", line[LINE_MAX_BYTES];
        struct tm tm;
        int n;

        clock_gettime(CLOCK_REALTIME, &now);
        if (localtime_r(&now.tv_sec, &tm))
                strftime(stamp, sizeof stamp, "%F %T", &tm);
        n = snprintf(line, sizeof line, "%s.%03ld shmallocd[%d] %s: %s%s%s%s\n", stamp, now.tv_nsec / 1000000,
                     (int)getpid(), names[priority & 7], heap ? "heap \"" : "", heap ? heap : "", heap ? "\": " : "",
                     text);
        return n > 0 && sink_write(line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

/* Its native protocol: a field is a line, since no text here has a newline. */
static bool
to_journal(int priority, const char *heap, const char *text)
{
        char datagram[LINE_MAX_BYTES + 256];
        int n = snprintf(datagram, sizeof datagram,
                         "MESSAGE=%s%s%s%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=shmallocd\n%s%s%s", heap ? "heap \"" : "",
                         heap ? heap : "", heap ? "\": " : "", text, priority, heap ? "SHMALLOC_HEAP=" : "",
                         heap ? heap : "", heap ? "\n" : "");

        return n > 0 && (size_t)n < sizeof datagram && sink_send_journal(datagram, (size_t)n);
}

static bool
emit(int priority, const char *heap, const char *text)
{
        return stderr_is_journal() ? to_journal(priority, heap, text) : to_stderr(priority, heap, text);
}

/* Lines that nobody took.  False: nobody takes this one either. */
static uint64_t n_dropped;

static bool
say_dropped(void)
{
        char text[128];

        if (n_dropped == 0)
                return true;
        snprintf(text, sizeof text, "%" PRIu64 " line%s dropped here: nobody read the log", n_dropped,
                 n_dropped == 1 ? " was" : "s were");
        if (!emit(LOG_WARNING, NULL, text))
                return false;
        n_dropped = 0;
        return true;
}

static void
write_line(int priority, const char *heap, char *text)
{
        for (char *at = text; *at; at++)
                if ((unsigned char)*at < ' ' || *at == 0x7f)
                        *at = '?';
        if (!say_dropped() || !emit(priority, heap, text))
                n_dropped++;
}

/* ------------------------------------------------------------------ not too many */

static uint64_t
now_ms(void)
{
        struct timespec now = {0};

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t
cause_of(uint32_t uid, const char *heap)
{
        uint64_t hash = uid;

        for (; heap && *heap; heap++)
                hash = (hash ^ (unsigned char)*heap) * UINT64_C(0x100000001b3);
        return hash;
}

static void
log_text(uint32_t uid, int priority, const char *heap, const char *fmt, va_list args)
{
        char text[640];

        if (priority > max_priority)
                return;
        vsnprintf(text, sizeof text, fmt, args);
        if (max_priority >= LOG_DEBUG || limit_allows(&limit, fmt, cause_of(uid, heap), text, now_ms()))
                write_line(priority, heap, text);
}

static void
say_suppressed(uint64_t n, const char *example)
{
        char text[256];

        snprintf(text, sizeof text, "%" PRIu64 " more line%s suppressed, such as: %s", n, n == 1 ? " was" : "s were",
                 example);
        write_line(LOG_NOTICE, NULL, text);
}

void
log_flush(bool is_end)
{
        limit_flush(&limit, is_end, now_ms(), say_suppressed);
        (void)say_dropped(); /* else it is said later, or never */
}

void
log_line(int priority, const char *heap, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        log_text(LOG_NOBODY, priority, heap, fmt, args);
        va_end(args);
}

void
log_line_of(uint32_t uid, int priority, const char *heap, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        log_text(uid, priority, heap, fmt, args);
        va_end(args);
}
