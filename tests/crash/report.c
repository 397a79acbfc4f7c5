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

enum { LINES_BYTES = 1 << 14 };

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

void
report_place(uintptr_t at)
{
        char command[256], exe[192] = "", text[512], step[32];
        ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
        bool has_step = false;
        FILE *f;

        if (n < 0)
                return;
        snprintf(command, sizeof command, "addr2line -ife %.160s %#lx 2>/dev/null", exe, at - (uintptr_t)__executable_start);
        f = popen(command, "r");
        while (f && fgets(text, sizeof text, f)) {
                char *colon;
                int line;

                text[strcspn(text, "\n")] = '\0';
                colon = strrchr(text, ':');
                if (!colon) {
                        fprintf(stderr, "  in %s", text);
                        continue;
                }
                line = atoi(colon + 1);
                *colon = '\0';
                fprintf(stderr, " (%s:%d)\n", strrchr(text, '/') ? strrchr(text, '/') + 1 : text, line);
                if (!has_step && step_at(text, line, step)) {
                        has_step = true;
                        fprintf(stderr, "  after step %s of doc/recovery.md\n", step);
                }
        }
        if (f)
                pclose(f);
}
