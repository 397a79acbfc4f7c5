/*
 * log.c - see log.h.
 *
 * Under systemd standard error is a stream to the journal, and then its native interface is better: lines get fields to
 * search by (SHMALLOC_HEAP=).  Everywhere else it is standard error itself, with the time in front.
 */
#include "shmallocd/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

#include "shmallocd/limit.h"

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

static void
to_stderr(int priority, const char *heap, const char *text)
{
        static const char *const names[] = {"emergency", "alert",  "critical", "error",
                                            "warning",   "notice", "info",     "debug"};
        struct timespec now = {0};
        char stamp[32] = "";
        struct tm tm;

        clock_gettime(CLOCK_REALTIME, &now);
        if (localtime_r(&now.tv_sec, &tm))
                strftime(stamp, sizeof stamp, "%F %T", &tm);
        fprintf(stderr, "%s.%03ld shmallocd[%d] %s: %s%s%s%s\n", stamp, now.tv_nsec / 1000000, (int)getpid(),
                names[priority & 7], heap ? "heap \"" : "", heap ? heap : "", heap ? "\": " : "", text);
}

static void
write_line(int priority, const char *heap, char *text)
{
        for (char *at = text; *at; at++)
                if ((unsigned char)*at < ' ' || *at == 0x7f)
                        *at = '?';
        if (!stderr_is_journal())
                to_stderr(priority, heap, text);
        else if (heap)
                sd_journal_send("MESSAGE=heap \"%s\": %s", heap, text, "PRIORITY=%i", priority, "SHMALLOC_HEAP=%s",
                                heap, NULL);
        else
                sd_journal_send("MESSAGE=%s", text, "PRIORITY=%i", priority, NULL);
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

        snprintf(text, sizeof text, "%" PRIu64 " more lines were suppressed, such as: %s", n, example);
        write_line(LOG_NOTICE, NULL, text);
}

void
log_flush(bool is_end)
{
        limit_flush(&limit, is_end, now_ms(), say_suppressed);
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
