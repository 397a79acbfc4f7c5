/*
 * guestbook_safe.c - the guestbook of writers that may be killed at any instruction: no line is lost, none is half
 * there, and no block of theirs stays behind.
 *
 *      guestbook_safe [KILLS]      default 200
 *
 * Writers are killed with SIGKILL one after the other.  In the end what the list has and what the heap has allocated
 * must be the same blocks.
 */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <shmalloc/shmalloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WRITERS_MAX = 16 };

struct line {
        struct line *next;
        char text[];
};

/* A writer's place: what it is just writing hangs on it, so that whoever has the place next finds it. */
struct writer {
        pthread_mutex_t place; /* robust: tells that its holder has died */
        shref draft;           /* a line that is not in the list yet, or has just come there */
};

struct book {
        struct line *first;
        struct writer writer[WRITERS_MAX];
};

static shheap *heap;
static struct book *book;

/* Only for the compiler: a process that is killed leaves exactly the stores that it had executed. */
static void
keep_order(void)
{
        atomic_signal_fence(memory_order_seq_cst);
}

/* Lines are never taken out. */
static bool
is_in_the_list(const struct line *line)
{
        const struct line *at = __atomic_load_n(&book->first, __ATOMIC_ACQUIRE);

        while (at && at != line)
                at = at->next;
        return at != NULL;
}

/* What the one who had the place before was killed over.  May be interrupted, and done again from its beginning. */
static bool
clear_place(struct writer *w)
{
        const struct line *line;

        if (shheap_settled(heap, &w->draft) < 0) /* is it ours yet? */
                return false;
        line = shheap_ptr(heap, w->draft);
        if (line && is_in_the_list(line))
                w->draft = SHREF_NULL; /* it was killed between the two last steps */
        return shheap_free_from(heap, &w->draft) == 0;
}

static struct writer *
take_place(void)
{
        for (unsigned i = 0; i < WRITERS_MAX; i++) {
                struct writer *w = &book->writer[i];
                int error = pthread_mutex_trylock(&w->place);

                if (error == EOWNERDEAD)
                        pthread_mutex_consistent(&w->place);
                else if (error != 0)
                        continue; /* a writer that lives */
                if (clear_place(w))
                        return w;
                pthread_mutex_unlock(&w->place);
        }
        errx(1, "no place: %s", shheap_errormsg());
}

static void
write_line(struct writer *w, const char *text)
{
        struct line *line = shheap_malloc_to(heap, sizeof *line + strlen(text) + 1, 0, &w->draft); /* hangs at once */

        if (!line)
                errx(1, "%s", shheap_errormsg());
        strcpy(line->text, text);
        line->next = __atomic_load_n(&book->first, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&book->first, &line->next, line, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
                ;     /* published by this one store */
        keep_order(); /* the draft is forgotten after that */
        w->draft = SHREF_NULL;
}

static int
init_book(void *object, size_t size, void *arg)
{
        struct book *new = object;
        pthread_mutexattr_t attr;

        (void)size;
        (void)arg;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        for (unsigned i = 0; i < WRITERS_MAX; i++)
                pthread_mutex_init(&new->writer[i].place, &attr);
        pthread_mutexattr_destroy(&attr);
        return 0;
}

static void
write_until_killed(void)
{
        struct writer *w = take_place();

        for (unsigned i = 0;; i++) {
                char text[32];

                snprintf(text, sizeof text, "line %u of %d", i, getpid());
                write_line(w, text);
        }
}

static int
count(const struct shheap_block *block, void *n)
{
        (void)block;
        ++*(size_t *)n;
        return 0;
}

int
main(int argc, char **argv)
{
        size_t n_lines = 0, n_blocks = 0;
        char name[40];
        void *root;

        snprintf(name, sizeof name, "guestbook_safe.%d", getpid());
        if (shheap_open(&heap, name, SHHEAP_CREATE, NULL) < 0 ||
            shheap_root(heap, "book", sizeof *book, 0, init_book, NULL, &root) < 0)
                errx(1, "%s", shheap_errormsg());
        shheap_unlink(name);
        book = root;
        for (int i = argc > 1 ? atoi(argv[1]) : 200; i > 0; i--) {
                const struct line *seen = book->first;
                pid_t pid = fork();

                if (pid == 0)
                        write_until_killed();
                while (__atomic_load_n(&book->first, __ATOMIC_RELAXED) == seen && waitpid(pid, NULL, WNOHANG) == 0)
                        ; /* it has not written anything yet */
                for (volatile int delay = rand() % 20000; delay > 0; delay--)
                        ;
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
        }
        for (unsigned i = 0; i < WRITERS_MAX; i++)
                take_place(); /* and keep it: what the last ones have left is cleared away */
        for (const struct line *line = book->first; line; line = line->next)
                n_lines++;
        if (shheap_walk(heap, SHHEAP_WALK_LIVE, count, &n_blocks) < 0)
                errx(1, "%s", shheap_errormsg());
        printf("%zu lines, %zu blocks besides the book\n", n_lines, n_blocks - 1);
        return n_lines != n_blocks - 1 || shheap_check(heap, SHHEAP_CHECK_QUIESCENT, stdout) != 0;
}
