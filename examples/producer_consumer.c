/*
 * producer_consumer.c - blocks allocated in one process and freed in another, through a queue in the heap.
 *
 *      producer_consumer [PRODUCERS [CONSUMERS [MESSAGES]]]      default 2 2 100000
 *
 * Each process opens the heap by its name and finds the queue as the root "queue".  A message is a block; a producer
 * fills it and puts its address into the queue; a consumer takes it out, looks whether every byte arrived, and frees
 * it.  In the end nothing may be left but the queue.
 *
 * The queue is the usual ring with a mutex and two semaphores.  It is not made to survive the death of a process that
 * uses it: examples/wordindex shows how that is done.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmalloc/shmalloc.h>

enum { QUEUE_LENGTH = 1024, PROCESSES_MAX = 64, MESSAGE_BYTES_MAX = 3000 };

struct message {
        uint32_t producer;
        uint32_t length;
        unsigned char text[]; /* each byte is the producer's number */
};

struct queue {
        sem_t n_free, n_filled;
        pthread_mutex_t mutex; /* of what follows */
        uint64_t n_put, n_taken, n_bytes_taken;
        struct message *slot[QUEUE_LENGTH]; /* NULL is a message as well: the end */
};

static char heap_name[40];
static pid_t parent;
static sigset_t signals; /* fetched when it suits, by sigwaitinfo() */

/* ------------------------------------------------------------------ the queue */

static int
init_queue(void *object, size_t size, void *arg)
{
        struct queue *queue = object;
        pthread_mutexattr_t attr;

        (void)size;
        (void)arg;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutex_init(&queue->mutex, &attr);
        pthread_mutexattr_destroy(&attr);
        return sem_init(&queue->n_free, 1, QUEUE_LENGTH) < 0 || sem_init(&queue->n_filled, 1, 0) < 0 ? -errno : 0;
}

/* Whoever comes first makes it. */
static struct queue *
find_queue(shheap *heap)
{
        void *queue;

        if (shheap_root(heap, "queue", sizeof(struct queue), 0, init_queue, NULL, &queue) < 0)
                errx(1, "the queue: %s", shheap_errormsg());
        return queue;
}

static void
down(sem_t *semaphore)
{
        while (sem_wait(semaphore) < 0 && errno == EINTR)
                ;
}

static void
put(struct queue *queue, struct message *message)
{
        down(&queue->n_free);
        pthread_mutex_lock(&queue->mutex);
        queue->slot[queue->n_put++ % QUEUE_LENGTH] = message;
        pthread_mutex_unlock(&queue->mutex);
        sem_post(&queue->n_filled);
}

static struct message *
take(struct queue *queue)
{
        struct message *message;

        down(&queue->n_filled);
        pthread_mutex_lock(&queue->mutex);
        message = queue->slot[queue->n_taken++ % QUEUE_LENGTH];
        queue->n_bytes_taken += message ? message->length : 0;
        pthread_mutex_unlock(&queue->mutex);
        sem_post(&queue->n_free);
        return message;
}

/* ------------------------------------------------------------------ the processes */

static void
produce(shheap *heap, struct queue *queue, uint32_t number, uint64_t n_messages)
{
        uint32_t length = number;

        for (uint64_t i = 0; i < n_messages; i++) {
                struct message *message;
                length = (length * 75 + 74) % 65537; /* lengths without a pattern */
                message = shheap_malloc(heap, sizeof *message + length % MESSAGE_BYTES_MAX);
                if (!message)
                        errx(1, "producer: %s", shheap_errormsg());
                message->producer = number;
                message->length = length % MESSAGE_BYTES_MAX;
                memset(message->text, (int)number, message->length);
                put(queue, message);
        }
}

static void
consume(shheap *heap, struct queue *queue)
{
        struct message *message;

        while ((message = take(queue)) != NULL) {
                for (uint32_t i = 0; i < message->length; i++)
                        if (message->text[i] != message->producer)
                                errx(1, "consumer: a message of producer %u is damaged", message->producer);
                shheap_free(heap, message); /* whoever allocated it */
        }
}

/* A process of its own.  It could use the handle that it has inherited; any other process would do as this one does. */
static void
start(bool is_producer, uint32_t number, uint64_t n_messages)
{
        pid_t pid = fork();
        shheap *heap;

        if (pid < 0)
                err(1, "cannot start a process");
        if (pid != 0)
                return;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(1);
        sigprocmask(SIG_UNBLOCK, &signals, NULL);
        if (shheap_open(&heap, heap_name, 0, NULL) < 0)
                errx(1, "%s", shheap_errormsg());
        if (is_producer)
                produce(heap, find_queue(heap), number, n_messages);
        else
                consume(heap, find_queue(heap));
        shheap_close(heap);
        exit(0);
}

/* ------------------------------------------------------------------ this process */

/* On every exit.  The other processes go with this one. */
static void
clear_away(void)
{
        if (getpid() == parent)
                shheap_unlink(heap_name);
}

/* Until n of the processes have ended well. */
static void
wait_for(uint64_t n)
{
        while (n > 0) {
                int status, got = sigwaitinfo(&signals, NULL);
                if (got > 0 && got != SIGCHLD)
                        errx(128 + got, "interrupted");
                while (waitpid(-1, &status, WNOHANG) > 0) {
                        if (status != 0)
                                errx(1, "a process has failed");
                        n--;
                }
        }
}

static int
count_block(const struct shheap_block *block, void *arg)
{
        (void)block;
        ++*(uint64_t *)arg;
        return 0;
}

/* Exact when nobody else uses the heap. */
static uint64_t
n_blocks(shheap *heap)
{
        uint64_t n = 0;

        if (shheap_walk(heap, SHHEAP_WALK_LIVE, count_block, &n) < 0)
                errx(1, "cannot count the blocks: %s", shheap_errormsg());
        return n;
}

static const char usage[] = "usage: producer_consumer [PRODUCERS [CONSUMERS [MESSAGES]]]      default 2 2 100000";

/* --help and --version end it. */
static void
look_for_questions(int argc, char **argv)
{
        const char *question = argc == 2 ? argv[1] : "";

        if (strcmp(question, "--version") == 0)
                printf("producer_consumer, with shmalloc %d.%d\n", SHMALLOC_VERSION_MAJOR, SHMALLOC_VERSION_MINOR);
        else if (strcmp(question, "--help") == 0 || strcmp(question, "-h") == 0)
                puts(usage);
        else
                return;
        exit(0);
}

static uint64_t
argument(int argc, char **argv, int i, uint64_t value, uint64_t max)
{
        char *end = "";

        if (i < argc)
                value = strtoull(argv[i], &end, 10);
        if (argc > 4 || *end || value == 0 || value > max) {
                fprintf(stderr, "%s\n", usage);
                exit(2);
        }
        return value;
}

int
main(int argc, char **argv)
{
        uint64_t n_producers, n_consumers, n_messages, before, after;
        struct queue *queue;
        shheap *heap;
        int n_faults;

        look_for_questions(argc, argv);
        n_producers = argument(argc, argv, 1, 2, PROCESSES_MAX);
        n_consumers = argument(argc, argv, 2, 2, PROCESSES_MAX);
        n_messages = argument(argc, argv, 3, 100000, UINT32_MAX);
        parent = getpid();
        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        sigaddset(&signals, SIGHUP);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        signal(SIGCHLD, SIG_DFL);

        snprintf(heap_name, sizeof heap_name, "producer_consumer.%d", (int)parent);
        if (shheap_open(&heap, heap_name, SHHEAP_CREATE | SHHEAP_EXCL, NULL) < 0)
                errx(1, "%s", shheap_errormsg());
        atexit(clear_away);
        queue = find_queue(heap);
        before = n_blocks(heap);

        for (uint32_t i = 0; i < n_consumers; i++)
                start(false, i, 0);
        for (uint32_t i = 0; i < n_producers; i++)
                start(true, i, n_messages);
        wait_for(n_producers);
        for (uint32_t i = 0; i < n_consumers; i++)
                put(queue, NULL);
        wait_for(n_consumers);

        after = n_blocks(heap);
        n_faults = shheap_check(heap, SHHEAP_CHECK_QUIESCENT, NULL);
        printf("%" PRIu64 " messages of %" PRIu64 " bytes by %" PRIu64 " producers, freed by %" PRIu64 " consumers\n",
               queue->n_taken - n_consumers, queue->n_bytes_taken, n_producers, n_consumers);
        printf("%" PRIu64 " blocks are left of them, %d faults in the heap\n", after - before, n_faults);
        shheap_close(heap);
        return after == before && n_faults == 0 ? 0 : 1;
}
