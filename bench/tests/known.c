/*
 * known - does known things, to be recorded: its own sizes are odd numbers above 100,000, which nobody else asks for.
 * Or many: 100,000 blocks of 77 bytes, of which three in four are freed, in an order without any.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile kept; /* nothing is left out because nobody looks at it */

static void *
in_thread(void *arg)
{
        kept = malloc(100021);
        free(arg);
        return kept;
}

/* What a child does is not its parent's: it waits until that has gone on, and then allocates before it starts a
 * program.  Its pid. */
static pid_t
start_child(const char *self, const int go[2])
{
        pid_t pid = fork();
        char c;

        if (pid != 0)
                return pid;
        close(go[1]);
        if (read(go[0], &c, 1) != 0)
                _exit(1);
        for (int i = 0; i < 4; i++)
                free(malloc(100031));
        execl(self, self, "child", (char *)NULL);
        _exit(127);
}

enum { MANY = 100000 };

static int
many(void)
{
        static void *block[MANY];
        uint32_t at = 0;

        for (int i = 0; i < MANY; i++)
                block[i] = kept = malloc(77);
        for (int i = 0; i < MANY / 4 * 3; i++) {
                at = (at + 61169) % MANY; /* comes to each once */
                free(block[at]);
        }
        return 0;
}

int
main(int argc, char **argv)
{
        void *p[8], *q = NULL;
        pthread_t thread;
        int go[2], status;
        pid_t pid;

        if (argc > 1 && strcmp(argv[1], "child") == 0) {
                kept = malloc(100033);
                _exit(0); /* without a farewell */
        }
        if (argc > 1 && strcmp(argv[1], "many") == 0)
                return many();
        p[0] = kept = malloc(100001);
        p[1] = kept = calloc(3, 33335); /* 100005 */
        free(p[0]);
        p[2] = kept = malloc(100003); /* has the number of the first */
        p[1] = kept = realloc(p[1], 100007);
        p[3] = kept = realloc(NULL, 100009);
        p[4] = kept = aligned_alloc(256, 100011);
        if (posix_memalign(&q, 4096, 100013) != 0)
                return 1;
        kept = q;
        p[5] = kept = memalign(64, 100015);
        p[6] = kept = reallocarray(NULL, 3, 33339); /* 100017 */
        kept = malloc(SIZE_MAX / 2);                /* there is no such block */
        kept = realloc(p[2], 0);                    /* a free */
        if (pthread_create(&thread, NULL, in_thread, p[3]) != 0 || pthread_join(thread, &p[7]) != 0)
                return 1;
        if (pipe(go) < 0 || (pid = start_child(argv[0], go)) < 0)
                return 1;
        free(p[7]);
        free(p[5]);
        free(p[4]);
        close(go[1]);
        return waitpid(pid, &status, 0) != pid || status != 0;
}
