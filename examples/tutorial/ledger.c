/*
 * ledger.c - a change of two words that is done or not done, whenever the process that makes it is killed.
 *
 *      ledger [KILLS]      default 200
 *
 * Two processes move money between accounts all the time, and are killed with SIGKILL one after the other.  The sum
 * stays what it was.
 */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <shmalloc/shmalloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ACCOUNTS = 8, FIRST = 1000 };

struct ledger {
        pthread_mutex_t lock; /* robust */
        struct {
                int is_valid; /* the commit: from then on the change is made, by whomever */
                unsigned from, to;
                long new_from, new_to; /* values, not differences: so they may be stored twice */
        } redo;
        unsigned long n_moves;
        long account[ACCOUNTS];
};

static struct ledger *ledger;

static void
keep_order(void)
{
        atomic_signal_fence(memory_order_seq_cst);
}

static void
finish(void)
{
        ledger->account[ledger->redo.from] = ledger->redo.new_from;
        ledger->account[ledger->redo.to] = ledger->redo.new_to;
        keep_order();
        ledger->redo.is_valid = 0;
}

static void
lock(void)
{
        int error = pthread_mutex_lock(&ledger->lock);

        if (error == EOWNERDEAD) {
                if (ledger->redo.is_valid)
                        finish();
                keep_order();
                pthread_mutex_consistent(&ledger->lock);
        } else if (error != 0) {
                errx(1, "the lock cannot be had");
        }
}

static void
move(unsigned from, unsigned to, long amount)
{
        lock();
        ledger->redo.from = from;
        ledger->redo.to = to;
        ledger->redo.new_from = ledger->account[from] - amount;
        ledger->redo.new_to = ledger->account[to] + amount;
        keep_order();
        ledger->redo.is_valid = 1;
        keep_order();
        finish();
        ledger->n_moves++; /* nobody minds if it is one too few */
        pthread_mutex_unlock(&ledger->lock);
}

static int
init_ledger(void *object, size_t size, void *arg)
{
        struct ledger *new = object;
        pthread_mutexattr_t attr;

        (void)size;
        (void)arg;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&new->lock, &attr);
        pthread_mutexattr_destroy(&attr);
        for (unsigned i = 0; i < ACCOUNTS; i++)
                new->account[i] = FIRST;
        return 0;
}

static pid_t
start_mover(void)
{
        pid_t pid = fork();

        if (pid != 0)
                return pid;
        for (srand((unsigned)getpid());;) {
                unsigned from = (unsigned)rand() % ACCOUNTS;

                move(from, (from + 1 + (unsigned)rand() % (ACCOUNTS - 1)) % ACCOUNTS, rand() % 10);
        }
}

static void
end_mover(pid_t pid)
{
        for (volatile int delay = rand() % 20000; delay > 0; delay--)
                ;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
}

int
main(int argc, char **argv)
{
        long sum = 0;
        char name[32];
        pid_t other;
        shheap *heap;
        void *root;

        snprintf(name, sizeof name, "ledger.%d", getpid());
        if (shheap_open(&heap, name, SHHEAP_CREATE, NULL) < 0 ||
            shheap_root(heap, "ledger", sizeof *ledger, 0, init_ledger, NULL, &root) < 0)
                errx(1, "%s", shheap_errormsg());
        shheap_unlink(name);
        ledger = root;
        other = start_mover();
        for (int i = argc > 1 ? atoi(argv[1]) : 200; i > 0; i--) {
                pid_t next = start_mover();

                end_mover(other);
                other = next;
        }
        end_mover(other);
        lock();
        for (unsigned i = 0; i < ACCOUNTS; i++)
                sum += ledger->account[i];
        printf("%s in %d accounts\n", sum == ACCOUNTS * FIRST ? "the sum is what it was" : "THE SUM IS WRONG",
               ACCOUNTS);
        fprintf(stderr, "%lu moves\n", ledger->n_moves);
        return sum != ACCOUNTS * FIRST;
}
