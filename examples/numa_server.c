/*
 * numa_server.c - a key-value server whose workers, processes pinned to the nodes of a NUMA machine, keep their items
 * in memory of their own node.
 *
 *      numa_server [WORKERS_PER_NODE [REQUESTS]]      default 2 200000
 *
 * Each key belongs to one worker.  A client, this process, puts requests into the workers' mailboxes; a worker stores a
 * value in a block that it allocates, and answers a question with another one, which the client frees: it goes home to
 * the worker's node by itself.  In the end every page of every item is looked up with move_pages(2), node by node.
 *
 * On a machine with one node it works as well, and has little to show.
 */
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmalloc/shmalloc.h>

enum { NODES_MAX = 64, WORKERS_MAX = 128, RING = 64, KEYS_PER_WORKER = 4096, VALUE_MAX = 8000, PAGE = 4096 };

enum verb { PUT, GET, DROP, AUDIT, STOP };

struct item {
        uint32_t length;
        unsigned char value[];
};

struct request {
        uint32_t verb, key, length;
        struct item *reply; /* of the one who asked, from then on */
};

/* What a worker says of its items in the end. */
struct audit {
        uint64_t items, bytes, pages[NODES_MAX];
};

struct mailbox {
        sem_t n_free, n_asked, n_answered;
        struct request ring[RING];
        struct audit audit;
        uint32_t node;
};

static char heap_name[40];
static shheap *heap;
static struct mailbox *mailboxes;
static pid_t pids[WORKERS_MAX];
static uint32_t n_workers;

/* ------------------------------------------------------------------ nodes */

/* "0-3,8": the CPUs of a node.  False: there is no such node, or it has none. */
static bool
cpus_of(uint32_t node, cpu_set_t *set)
{
        char path[64], list[4096], *at = list;
        FILE *file;

        snprintf(path, sizeof path, "/sys/devices/system/node/node%u/cpulist", node);
        CPU_ZERO(set);
        file = fopen(path, "re");
        if (!file || !fgets(list, sizeof list, file))
                list[0] = '\0';
        if (file)
                fclose(file);
        while (*at >= '0' && *at <= '9') {
                unsigned long first = strtoul(at, &at, 10), last = *at == '-' ? strtoul(at + 1, &at, 10) : first;

                for (; first <= last && first < CPU_SETSIZE; first++)
                        CPU_SET(first, set);
                at += *at == ',';
        }
        return CPU_COUNT(set) > 0;
}

/* Adds the pages of a block to those of the nodes that they lie on. */
static void
audit_block(struct audit *audit, const struct item *item)
{
        uintptr_t first = (uintptr_t)item & ~(uintptr_t)(PAGE - 1);
        uintptr_t end = (uintptr_t)item + shheap_usable_size(heap, item);

        audit->items++;
        audit->bytes += item->length;
        for (uintptr_t at = first; at < end; at += PAGE) {
                void *page = (void *)at;
                int node = -1;

                (void)*(volatile const char *)page;
                if (syscall(SYS_move_pages, 0, 1ul, &page, NULL, &node, 0) < 0)
                        node = shheap_node_of(heap, item); /* a system without NUMA */
                if (node >= 0 && node < NODES_MAX)
                        audit->pages[node]++;
        }
}

/* ------------------------------------------------------------------ a worker */

static void
serve(struct request *r, struct item **items)
{
        struct item **item = &items[r->key];

        switch (r->verb) {
        case PUT:
                shheap_free(heap, *item);
                *item = shheap_malloc(heap, sizeof **item + r->length);
                if (!*item)
                        errx(1, "%s", shheap_errormsg());
                (*item)->length = r->length;
                memset((*item)->value, (int)r->key, r->length);
                break;
        case GET:
                r->reply = *item ? shheap_malloc(heap, sizeof **item + (*item)->length) : NULL;
                if (r->reply)
                        memcpy(r->reply, *item, sizeof **item + (*item)->length);
                break;
        case DROP:
                shheap_free(heap, *item);
                *item = NULL;
                break;
        default:
                break;
        }
}

static void __attribute__((noreturn)) work(struct mailbox *mailbox, const cpu_set_t *cpus)
{
        static struct item *items[KEYS_PER_WORKER];

        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (CPU_COUNT(cpus) > 0 && sched_setaffinity(0, sizeof *cpus, cpus) < 0)
                err(1, "sched_setaffinity");
        for (uint32_t turn = 0;; turn++) {
                struct request *r = &mailbox->ring[turn % RING];

                while (sem_wait(&mailbox->n_asked) < 0 && errno == EINTR)
                        continue;
                if (r->verb == STOP)
                        exit(shheap_close(heap) < 0);
                if (r->verb == AUDIT)
                        for (uint32_t key = 0; key < KEYS_PER_WORKER; key++)
                                if (items[key])
                                        audit_block(&mailbox->audit, items[key]);
                serve(r, items);
                sem_post(&mailbox->n_answered);
        }
}

/* ------------------------------------------------------------------ the client */

struct line {
        uint32_t n_sent, n_heard;
        uint64_t n_wrong;
};

static struct line lines[WORKERS_MAX];

static void
hear(uint32_t worker)
{
        struct mailbox *mailbox = &mailboxes[worker];
        struct request *r = &mailbox->ring[lines[worker].n_heard++ % RING];

        while (sem_wait(&mailbox->n_answered) < 0 && errno == EINTR)
                continue;
        for (uint32_t i = 0; r->verb == GET && r->reply && i < r->reply->length; i += 997)
                lines[worker].n_wrong += r->reply->value[i] != (unsigned char)r->key;
        if (r->verb == GET)
                shheap_free(heap, r->reply);
        r->reply = NULL;
        sem_post(&mailbox->n_free);
}

static void
ask(uint32_t worker, enum verb verb, uint32_t key, uint32_t length)
{
        struct line *line = &lines[worker];

        if (line->n_sent - line->n_heard == RING)
                hear(worker);
        while (sem_wait(&mailboxes[worker].n_free) < 0 && errno == EINTR)
                continue;
        mailboxes[worker].ring[line->n_sent++ % RING] = (struct request){verb, key, length, NULL};
        sem_post(&mailboxes[worker].n_asked);
}

static void
hear_all(void)
{
        for (uint32_t worker = 0; worker < n_workers; worker++)
                while (lines[worker].n_heard < lines[worker].n_sent)
                        hear(worker);
}

static void
ask_all(enum verb verb)
{
        for (uint32_t worker = 0; worker < n_workers; worker++)
                ask(worker, verb, 0, 0);
}

static uint32_t
random_below(uint32_t n)
{
        static uint64_t state = 88172645463325252u;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return (uint32_t)(state >> 32) % n;
}

static void
keep_busy(uint64_t n_requests)
{
        for (uint64_t i = 0; i < n_requests; i++) {
                uint32_t dice = random_below(10);

                ask(random_below(n_workers),
                    dice < 5   ? GET
                    : dice < 9 ? PUT
                               : DROP,
                    random_below(KEYS_PER_WORKER), 1 + random_below(random_below(8) == 0 ? VALUE_MAX : 400));
        }
        hear_all();
}

/* ------------------------------------------------------------------ from start to end */

static pid_t client;
static volatile sig_atomic_t is_stopping;

static void
forget_heap(void)
{
        if (getpid() == client)
                shheap_unlink(heap_name);
}

/* Nobody would answer for it. */
static void
worker_ended(int signal_no)
{
        static const char text[] = "numa_server: a worker ended before it was told to\n";

        (void)signal_no;
        if (is_stopping || getpid() != client)
                return;
        if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
                _exit(2);
        forget_heap();
        _exit(1); /* and the workers with it: PR_SET_PDEATHSIG */
}

static void
interrupted(int signal_no)
{
        forget_heap();
        _exit(128 + signal_no);
}

static void
start_workers(uint32_t per_node)
{
        for (uint32_t node = 0; node < NODES_MAX && n_workers + per_node <= WORKERS_MAX; node++) {
                cpu_set_t cpus;

                if (!cpus_of(node, &cpus) && node > 0)
                        continue;
                for (uint32_t i = 0; i < per_node; i++) {
                        struct mailbox *mailbox = &mailboxes[n_workers];

                        mailbox->node = node;
                        if (sem_init(&mailbox->n_free, 1, RING) < 0 || sem_init(&mailbox->n_asked, 1, 0) < 0 ||
                            sem_init(&mailbox->n_answered, 1, 0) < 0)
                                err(1, "sem_init");
                        pids[n_workers] = fork();
                        if (pids[n_workers] < 0)
                                err(1, "fork");
                        if (pids[n_workers] == 0)
                                work(mailbox, &cpus);
                        n_workers++;
                }
        }
}

/* Pages on their worker's node, of all. */
static bool
print_audit(uint32_t node, uint64_t *n_pages)
{
        struct audit sum = {0};
        uint32_t n = 0;

        for (uint32_t worker = 0; worker < n_workers; worker++) {
                const struct audit *audit = &mailboxes[worker].audit;

                if (mailboxes[worker].node != node)
                        continue;
                n++;
                sum.items += audit->items;
                sum.bytes += audit->bytes;
                for (uint32_t i = 0; i < NODES_MAX; i++)
                        sum.pages[i] += audit->pages[i];
        }
        if (n == 0)
                return true;
        for (uint32_t i = 0; i < NODES_MAX; i++)
                *n_pages += sum.pages[i];
        printf("node %-4u %4u workers %9" PRIu64 " items %12" PRIu64 " bytes; pages by node:", node, n, sum.items,
               sum.bytes);
        for (uint32_t i = 0; i < NODES_MAX; i++)
                if (sum.pages[i] > 0)
                        printf("  %u: %" PRIu64, i, sum.pages[i]);
        printf("\n");
        return sum.pages[node] > 0;
}

static bool
finish(void)
{
        uint64_t n_pages = 0, n_wrong = 0;
        bool is_good = true;
        int status;

        ask_all(AUDIT);
        hear_all();
        for (uint32_t node = 0; node < NODES_MAX; node++)
                is_good &= print_audit(node, &n_pages);
        for (uint32_t worker = 0; worker < n_workers; worker++)
                for (uint32_t key = 0; key < KEYS_PER_WORKER; key++)
                        ask(worker, DROP, key, 0);
        hear_all();
        is_stopping = 1;
        ask_all(STOP);
        for (uint32_t worker = 0; worker < n_workers; worker++) {
                n_wrong += lines[worker].n_wrong;
                if (waitpid(pids[worker], &status, 0) < 0 || status != 0)
                        is_good = false;
        }
        printf("answers    %s\n", n_wrong == 0 ? "all right" : "WRONG");
        return is_good && n_wrong == 0 && shheap_check(heap, 0, stdout) == 0;
}

static uint64_t
number(const char *text, uint64_t max)
{
        char *end;
        unsigned long long value = strtoull(text, &end, 10);

        if (*end != '\0' || end == text || value == 0 || value > max)
                errx(2, "\"%s\" is no number from 1 to %" PRIu64, text, max);
        return value;
}

int
main(int argc, char **argv)
{
        uint32_t per_node = 2;
        uint64_t n_requests = 200000;
        bool is_good;

        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                printf("numa_server, with shmalloc %d.%d\n", SHMALLOC_VERSION_MAJOR, SHMALLOC_VERSION_MINOR);
                return 0;
        }
        if (argc > 3 || (argc > 1 && argv[1][0] == '-')) {
                bool is_asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);

                fprintf(is_asked ? stdout : stderr,
                        "usage: numa_server [WORKERS_PER_NODE [REQUESTS]]      default 2 200000\n");
                return is_asked ? 0 : 2;
        }
        if (argc > 1)
                per_node = (uint32_t)number(argv[1], WORKERS_MAX / 2);
        if (argc > 2)
                n_requests = number(argv[2], UINT32_MAX);
        snprintf(heap_name, sizeof heap_name, "numa_server.%d", (int)getpid());
        if (shheap_open(&heap, heap_name, SHHEAP_CREATE | SHHEAP_EXCL, NULL) < 0)
                errx(1, "%s", shheap_errormsg());
        client = getpid();
        atexit(forget_heap);
        signal(SIGCHLD, worker_ended);
        signal(SIGINT, interrupted);
        signal(SIGTERM, interrupted);
        mailboxes = shheap_calloc(heap, WORKERS_MAX, sizeof *mailboxes);
        if (!mailboxes)
                errx(1, "%s", shheap_errormsg());
        start_workers(per_node);
        keep_busy(n_requests);
        is_good = finish();
        shheap_free(heap, mailboxes);
        shheap_close(heap);
        return !is_good;
}
