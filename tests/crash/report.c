/*
 * report.c - what went wrong, where, and at which step of doc/recovery.md.
 *
 * Faults are lines in memory that all forks share, so that whoever waited for a fork can say where it was made.
 */
#include "crash.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LINES_BYTES = 1 << 14, WAITING_FACTOR = 20 };

struct report {
        uint32_t n_faults;
        uint32_t length;
        char text[LINES_BYTES];
};

static struct report *report;

void
report_init(void)
{
        report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (report == MAP_FAILED)
                exit(99);
}

void
report_reset(void)
{
        report->n_faults = 0;
        report->length = 0;
}

void
report_line(const char *fmt, ...)
{
        size_t room = sizeof report->text - report->length;
        va_list args;
        int n;

        report->n_faults++;
        if (room < 300 || report->n_faults > 12)
                return;
        va_start(args, fmt);
        n = vsnprintf(report->text + report->length, room - 1, fmt, args);
        va_end(args);
        n = n < (int)room - 2 ? n : (int)room - 2;
        report->length += (uint32_t)n;
        report->text[report->length++] = '\n';
}

uint32_t
report_faults(void)
{
        return report->n_faults;
}

void
report_print(void)
{
        const char *line = report->text, *end = report->text + report->length;

        while (line < end) {
                const char *next = memchr(line, '\n', (size_t)(end - line));

                fprintf(stderr, "    %.*s\n", (int)(next - line), line);
                line = next + 1;
        }
}

void
watchdog_start(unsigned seconds)
{
        struct itimerspec limit = {.it_value = {.tv_sec = (time_t)seconds}};
        timer_t timer;

        alarm(seconds * WAITING_FACTOR);
        if (timer_create(CLOCK_PROCESS_CPUTIME_ID, NULL, &timer) < 0 || timer_settime(timer, 0, &limit, NULL) < 0)
                _exit(99);
}

double
seconds_now(void)
{
        struct timespec now;

        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ------------------------------------------------------------------ where an instruction comes from */

/* Whether a step as "FILL.5" stands in the text. */
static bool
find_step(const char *text, char ret_step[32])
{
        for (const char *p = text; *p; p++) {
                size_t n = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");

                if (n >= 2 && p[n] == '.' && p[n + 1] >= '0' && p[n + 1] <= '9') {
                        size_t digits = strspn(p + n + 1, "0123456789");

                        snprintf(ret_step, 32, "%.*s", (int)(n + 1 + digits < 31 ? n + 1 + digits : 31), p);
                        return true;
                }
                if (n > 0)
                        p += n - 1;
        }
        return false;
}

/* The step named on the line, or the last one named before it. */
static bool
step_at(const char *file, int line, char ret_step[32])
{
        FILE *f = fopen(file, "r");
        bool is_found = false;
        char text[512];

        for (int i = 1; f && i <= line && fgets(text, sizeof text, f); i++)
                if (text[0] != ' ' && text[0] != '{') /* another function */
                        is_found = false;
                else
                        is_found = find_step(text, ret_step) || is_found;
        if (f)
                fclose(f);
        return is_found;
}

extern const char __executable_start[];

/* addr2line on some addresses: a line with the function and one with file:line for each, inlined ones first. */
static FILE *
open_addr2line(const uintptr_t *at, unsigned n)
{
        static char command[1 << 16];
        ssize_t length = readlink("/proc/self/exe", command + 16, 512);
        size_t used;

        if (length < 0)
                return NULL;
        memcpy(command, "addr2line -ife  ", 16);
        used = 16 + (size_t)length;
        for (unsigned i = 0; i < n && used + 64 < sizeof command; i++)
                used += (size_t)sprintf(command + used, " %#lx", at[i] - (uintptr_t)__executable_start);
        strcpy(command + used, " 2>/dev/null");
        return popen(command, "r");
}

/* From the second of the two lines. */
static bool
split_place(char *text, char **ret_file, int *ret_line)
{
        char *colon = strrchr(text, ':');

        if (!colon)
                return false;
        *colon = '\0';
        *ret_file = text;
        *ret_line = atoi(colon + 1);
        return true;
}

void
report_place(uintptr_t at)
{
        FILE *f = open_addr2line(&at, 1);
        char text[512], step[32], *file;
        bool has_step = false;
        int line;

        while (f && fgets(text, sizeof text, f)) {
                text[strcspn(text, "\n")] = '\0';
                if (!split_place(text, &file, &line)) {
                        fprintf(stderr, "  in %s", text);
                        continue;
                }
                fprintf(stderr, " (%s:%d)\n", strrchr(file, '/') ? strrchr(file, '/') + 1 : file, line);
                if (!has_step && step_at(file, line, step)) {
                        has_step = true;
                        fprintf(stderr, "  after step %s of doc/recovery.md\n", step);
                }
        }
        if (f)
                pclose(f);
}

void
report_steps(const uintptr_t *at, unsigned n)
{
        FILE *f = open_addr2line(at, n);
        char text[512], step[32], *file;
        int line;

        while (f && fgets(text, sizeof text, f)) {
                text[strcspn(text, "\n")] = '\0';
                if (split_place(text, &file, &line) && step_at(file, line, step))
                        printf("step %s\n", step);
        }
        if (f)
                pclose(f);
}
