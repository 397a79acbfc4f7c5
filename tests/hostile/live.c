/*
 * One process stores into fields of the region, in its own mapping, all the time; others open it read-only and look, or
 * attach, reap, look and leave.  Every now and then the region becomes that of the image again, since in one that is
 * all wreckage nobody gets far.
 *
 * Nothing is spared.  A slot's lock that names the dead, or nobody, while its thread lives is taken over by the next
 * who comes, and two threads go on in one slot; one that names a living thread keeps the slot from everybody; links
 * that lead nowhere are followed by none but the kernel.  All of that costs memory of the heap, and never a process.
 */
#include "hostile/live.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"

enum { ACTORS = 5, STALL_S = 300, STUCK = 98, RESTORE_EVERY = 20000, PAUSE_EVERY = 64 };

/* How far a process is: shared with it. */
struct actor {
        uint64_t n_done, n_opened, n_seen;
};

/* What the parent knows of it. */
struct process {
        pid_t pid;
        int pidfd;
        unsigned what; /* 0: it stores */
        uint64_t n_done;
        int64_t moved_at;
        struct actor *actor;
};

struct scene {
        const struct image *image;
        const struct fields *fields;
        int fd, errors_fd; /* the region; what the processes say */
        uint64_t seed, n_started;
        struct process processes[ACTORS];
};

static int64_t
now_s(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

/* ------------------------------------------------------------------ storing */

static void
store(char *base, const struct field *field, uint64_t value)
{
        char *at = base + field->off;
        uint64_t mask = (field->bits == 64 ? UINT64_MAX : (UINT64_C(1) << field->bits) - 1) << field->shift;

        value <<= field->shift;
        switch (field->bytes) {
        case 8:
                store_relaxed((uint64_t *)(void *)at, (load_relaxed((uint64_t *)(void *)at) & ~mask) | (value & mask));
                break;
        case 4:
                store_relaxed((uint32_t *)(void *)at, (uint32_t)value);
                break;
        default:
                store_relaxed((uint16_t *)(void *)at, (uint16_t)value);
        }
}

static uint64_t
load(const char *base, const struct field *field)
{
        uint64_t word = 0;

        memcpy(&word, base + field->off, field->bytes);
        return word >> field->shift;
}

static void
store_once(const struct scene *s, char *base, struct dice *dice)
{
        const struct field *field = &s->fields->all[dice_next(dice) % s->fields->n];
        uint64_t values[FIELD_VALUES_MAX], old = load(s->image->bytes, field);
        size_t n;

        if (field->is_refused && dice_next(dice) % 64 != 0)
                return;
        switch (dice_next(dice) % 4) {
        case 0:
                n = field_values(s->image, field, values);
                store(base, field, values[dice_next(dice) % n]);
                break;
        case 1:
                store(base, field, dice_next(dice));
                break;
        case 2:
                store(base, field, load(base, field) ^ UINT64_C(1) << dice_next(dice) % field->bits);
                break;
        default:
                break;
        }
        if (dice_next(dice) % 4 != 0 || field->off < 4096) /* mostly wrong for a moment only */
                store(base, field, old);
}

/* All but the locks of slots, of which a free one becomes a dead thread's again. */
static void
restore(const struct scene *s, char *base)
{
        const struct layout *l = &s->image->region.layout;

        for (size_t i = 0; i < s->image->n_pages; i++) {
                uint64_t off = s->image->pages[i];

                if (off < l->chunks_off && (off < l->off[TABLE_GATES] || off >= l->off[TABLE_TOTALS]))
                        memcpy(base + off, s->image->bytes + off, 4096);
        }
        for (uint32_t idx = 0; idx < s->image->region.header->threads_hwm; idx++) {
                uint64_t off = l->off[TABLE_GATES] + idx * sizeof(struct slot_gate);
                uint64_t after = offsetof(struct slot_gate, state);
                uint32_t *life = (uint32_t *)(void *)(base + off), none = 0;

                memcpy(base + off + after, s->image->bytes + off + after, sizeof(struct slot_gate) - after);
                cas_relaxed(life, &none, *(const uint32_t *)(const void *)(s->image->bytes + off));
        }
}

static void __attribute__((noreturn)) run_storer(const struct scene *s, struct actor *self, struct dice dice)
{
        char *base = mmap(NULL, s->image->region.layout.chunks_off, PROT_READ | PROT_WRITE, MAP_SHARED, s->fd, 0);

        if (base == MAP_FAILED)
                _exit(1);
        for (;;) {
                store_once(s, base, &dice);
                store_relaxed(&self->n_done, self->n_done + 1);
                if (self->n_done % PAUSE_EVERY == 0)
                        sched_yield(); /* so that it is there all the time, but does not take it all */
                if (self->n_done % RESTORE_EVERY == 0)
                        restore(s, base);
        }
}

/* ------------------------------------------------------------------ looking on */

static void __attribute__((noreturn)) run_user(const struct scene *s, unsigned what, struct actor *self)
{
        for (;;) {
                struct outcome o;

                exercise(s->image, s->fd, what, &o);
                self->n_opened += o.open_error == 0;
                self->n_seen += o.n_found > 0;
                store_relaxed(&self->n_done, self->n_done + 1);
                if (o.is_stuck)
                        _exit(STUCK);
        }
}

static void
start(struct scene *s, struct process *p)
{
        struct dice dice = {s->seed * 1000 + s->n_started++};

        fflush(NULL);
        p->moved_at = now_s();
        p->pid = fork();
        if (p->pid < 0)
                abort();
        if (p->pid != 0) {
                p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
                return;
        }
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (dup2(s->errors_fd, 2) < 0)
                _exit(1);
        if (p->what == 0)
                run_storer(s, p->actor, dice);
        run_user(s, p->what, p->actor);
}

/* ------------------------------------------------------------------ the parent */

static void
complain(struct scene *s, const struct process *p, const char *what, const char *more)
{
        char text[4000];
        off_t end = lseek(s->errors_fd, 0, SEEK_CUR),
              from = end > (off_t)sizeof text ? end - (off_t)sizeof text + 1 : 0;
        ssize_t n = pread(s->errors_fd, text, sizeof text - 1, from);

        text[n > 0 ? n : 0] = '\0';
        fprintf(stderr, "hostile: live: a process that does %#x %s%s\n%s\n", p->what, what, more, text);
}

/* True: it ended as it should not have. */
static bool
look_after(struct scene *s, struct process *p)
{
        int status;

        if (waitpid(p->pid, &status, WNOHANG) == p->pid) {
                bool is_bad = !WIFEXITED(status) || WEXITSTATUS(status) != STUCK;

                if (is_bad)
                        complain(s, p, "ended: ", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "by itself");
                close(p->pidfd);
                start(s, p);
                return is_bad;
        }
        if (load_relaxed(&p->actor->n_done) != p->n_done) {
                p->n_done = load_relaxed(&p->actor->n_done);
                p->moved_at = now_s();
        } else if (now_s() - p->moved_at > STALL_S) {
                kill(p->pid, SIGABRT);
                waitpid(p->pid, &status, 0);
                complain(s, p, "stands still", "");
                close(p->pidfd);
                start(s, p);
                return true;
        }
        return false;
}

/* The end of any of them, for a second. */
static void
await_one(const struct scene *s)
{
        struct pollfd fds[ACTORS];

        for (unsigned i = 0; i < ACTORS; i++)
                fds[i] = (struct pollfd){.fd = s->processes[i].pidfd, .events = POLLIN};
        poll(fds, ACTORS, 1000);
}

unsigned
live_run(const struct image *image, const struct fields *fields, uint64_t seed, uint64_t seconds)
{
        static const unsigned whats[ACTORS] = {0, DO_LOOK, DO_LOOK | DO_MOVED | DO_MORE, DO_JOIN, DO_JOIN};
        struct scene s = {.image = image,
                          .fields = fields,
                          .fd = image_open(image),
                          .errors_fd = memfd_create("errors", MFD_CLOEXEC),
                          .seed = seed};
        struct actor *actors =
                mmap(NULL, ACTORS * sizeof *actors, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        int64_t end = now_s() + (int64_t)seconds;
        unsigned n_bad = 0;

        if (actors == MAP_FAILED || s.errors_fd < 0)
                return 1;
        for (unsigned i = 0; i < ACTORS; i++) {
                s.processes[i] = (struct process){.what = whats[i], .actor = &actors[i]};
                start(&s, &s.processes[i]);
        }
        while (now_s() < end && n_bad < 10) {
                await_one(&s);
                for (unsigned i = 0; i < ACTORS; i++)
                        n_bad += look_after(&s, &s.processes[i]);
        }
        for (unsigned i = 0; i < ACTORS; i++) {
                kill(s.processes[i].pid, SIGKILL);
                waitpid(s.processes[i].pid, NULL, 0);
                printf("%s: %" PRIu64 " times, opened %" PRIu64 ", faults found %" PRIu64 "\n",
                       whats[i] == 0        ? "stored"
                       : whats[i] & DO_JOIN ? "attached and reaped"
                                            : "looked",
                       actors[i].n_done, actors[i].n_opened, actors[i].n_seen);
        }
        return n_bad;
}
