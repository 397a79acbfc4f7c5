/*
 * The image.  Two processes with several threads each use a heap for a while and are killed, so that the kernel marks
 * what it marks; then their slots are made to look as if each had been in the midst of another operation.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <shmalloc/shmalloc.h>

#include "heap/root_cell.h"
#include "hostile/hostile.h"
#include "support/heap_dir.h"

enum { THREADS_A = 8, THREADS_B = 9, PAGE = 4096, BLOCKS_MAX = 64 };

static const char name[] = "image";
static const char conf[] = "capacity:32M,max_capacity:40M,max_clients:6,max_threads:26,arenas:2,decay_ms:1000";

static void __attribute__((noreturn)) fail(const char *what)
{
        fprintf(stderr, "hostile: image: %s: %s (%s)\n", what, strerror(errno), shheap_errormsg());
        exit(1);
}

/* ------------------------------------------------------------------ a life before */

struct life {
        shheap *h;
        unsigned n;
        pthread_barrier_t *done;
};

static void
use_class(shheap *h, size_t size, unsigned n, unsigned n_kept)
{
        void *p[400];

        for (unsigned i = 0; i < n; i++)
                if (!(p[i] = shheap_malloc(h, size)))
                        fail("malloc");
        for (unsigned i = n_kept; i < n; i++)
                shheap_free(h, p[i]);
}

static void
live(shheap *h, unsigned n)
{
        static const size_t sizes[] = {16, 48, 112, 640, 2048, 9000, 32768};

        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
                if ((n + i) % 3 == 0)
                        use_class(h, sizes[i], sizes[i] < 4096 ? 20 + n : 3, 2);
        use_class(h, 40000, 3, 1);
        if (n % 4 == 0)
                use_class(h, 300000, 2, 1);
        if (n % 4 == 1)
                use_class(h, 64, 400, 5); /* depots */
}

static void *
live_and_wait(void *arg)
{
        struct life *life = arg;

        live(life->h, life->n);
        pthread_barrier_wait(life->done);
        for (;;)
                pause();
        return NULL;
}

/* One thread after the other, so that the image is the same each time. */
static void
live_in_threads(shheap *h, unsigned n_threads, unsigned first)
{
        for (unsigned i = 0; i < n_threads; i++) {
                pthread_barrier_t done;
                pthread_t thread;
                struct life life = {h, first + i, &done};

                if (pthread_barrier_init(&done, NULL, 2) != 0 ||
                    pthread_create(&thread, NULL, live_and_wait, &life) != 0)
                        fail("thread");
                pthread_barrier_wait(&done);
        }
}

static void
make_roots(shheap *h)
{
        static const char *const names[] = {"first", "second", "a much longer name of a root object", "gone"};
        void *object;

        for (size_t i = 0; i < 4; i++)
                if (shheap_root(h, names[i], 200 + 4000 * i, 0, NULL, NULL, &object) < 0)
                        fail("root");
        if (shheap_root_remove(h, "gone") < 0)
                fail("root");
}

/* Ends with both processes dead. */
static void __attribute__((noreturn)) live_and_die(void)
{
        int pipes[2];
        char byte = 0;
        pid_t other;
        shheap *h;

        h = heap_dir_open(name, SHHEAP_CREATE | SHHEAP_EXCL, conf);
        make_roots(h);
        if (!shheap_malloc(h, 5 << 20) || !shheap_malloc(h, 3 << 20) || !shheap_malloc(h, 3 << 20) || pipe(pipes) < 0)
                fail("huge");
        other = fork();
        if (other < 0)
                fail("fork");
        if (other == 0) {
                live(h, THREADS_A);
                live_in_threads(h, THREADS_B, THREADS_A + 1);
                if (write(pipes[1], &byte, 1) != 1)
                        fail("pipe");
                for (;;)
                        pause();
        }
        if (read(pipes[0], &byte, 1) != 1)
                fail("the second process");
        live_in_threads(h, THREADS_A, 0);
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
        raise(SIGKILL);
        abort();
}

/* ------------------------------------------------------------------ as if in the midst of something */

struct death {
        struct region *r;
        struct thread_slot *slot;
        struct slot_gate *gate;
        uint32_t no;
};

/* A magazine of this slot, of a small or a large class, with at least two blocks if there is one. */
static uint32_t
magazine_of(const struct death *d, bool is_large)
{
        uint32_t found = 0;

        for (uint32_t place = 0; place < 2 * d->r->layout.n_tags; place++) {
                uint32_t idx1 = d->slot->magazines[place];
                uint32_t tag = place % d->r->layout.n_tags;

                if (idx1 == 0 || size_class_is_large(tag_class(tag)) != is_large)
                        continue;
                found = idx1 - 1;
                if (d->r->magazines[found].n >= 2)
                        break;
        }
        return found;
}

/* The run that a block of the magazine lies in, made to name the dead. */
static uint64_t
seize_run(const struct death *d, uint32_t magazine, enum granule_state state, uint32_t *ret_length)
{
        uint64_t off = d->r->magazines[magazine].slot[0] - d->r->canonical, head = off >> GEO_GRANULE_SHIFT;
        uint64_t *word = &d->r->granules[head];

        if (granule_state(*word) == GRANULE_CONT) {
                head -= granule_count(*word);
                word = &d->r->granules[head];
        }
        *ret_length = granule_state(*word) == GRANULE_SLAB ? size_class_slab_granules(granule_class(*word))
                                                           : granule_count(*word);
        *word = granule_with_owner(*word, d->no);
        if (state != GRANULE_N_STATES)
                *word = granule_with_state(*word, state);
        d->slot->candidate = candidate_make(CANDIDATE_RUN, head, *ret_length);
        return head;
}

static void
stop_in_slab(const struct death *d, enum intent_kind kind)
{
        uint32_t m = magazine_of(d, false), length;
        struct magazine *magazine = &d->r->magazines[m];
        uint64_t head = seize_run(d, m, GRANULE_N_STATES, &length), block = magazine->slot[0] - d->r->canonical;

        d->slot->intent = (struct intent){kind, .word = {head, m}};
        if (kind == INTENT_FILL) {
                d->slot->intent.fill.n = magazine->n;
                magazine->n = 0;
        } else if (kind == INTENT_DRAIN) {
                d->slot->intent.drain.n = magazine->n / 2;
        } else if (kind == INTENT_SWAP) {
                d->slot->intent.swap.j = 1;
                d->slot->intent.swap.a = magazine->slot[0];
                d->slot->intent.swap.b = magazine->slot[1];
        } else {
                d->slot->intent.alloc_one.block = block;
                d->slot->intent.alloc_one.dest = d->r->layout.chunks_off + block;
        }
}

static void
stop_in_run(const struct death *d, enum intent_kind kind)
{
        uint32_t m = magazine_of(d, true), length;
        uint64_t head = seize_run(d, m, kind == INTENT_RUN_TO ? GRANULE_NEW : GRANULE_FREEING, &length);

        d->slot->intent = (struct intent){
                kind, .run_to = {.head = head, .block = head << GEO_GRANULE_SHIFT, .dest = d->r->layout.chunks_off}};
        if (kind == INTENT_DRAIN_RUN)
                d->slot->intent.drain_run.magazine = m;
}

/* Of a huge block, or in a free chunk. */
static void
stop_in_chunk(const struct death *d, enum intent_kind kind, enum chunk_state state)
{
        for (uint64_t chunk = 0; chunk < d->r->header->chunks_hwm; chunk++) {
                uint64_t *word = &d->r->chunk_words[chunk];

                if (chunk_state(*word) != state || chunk_owner(*word) != THREAD_NONE)
                        continue;
                *word = chunk_with_owner(*word, d->no);
                if (state == CHUNK_FREE) {
                        *word = chunk_with_state(*word, CHUNK_NEW);
                        for (uint64_t i = 0; i < 9; i++)
                                d->r->granules[chunk * GEO_GRANULES_PER_CHUNK + i] =
                                        granule_word(GRANULE_NEW, d->no, 0);
                        d->slot->candidate = candidate_make(CANDIDATE_CHUNK, chunk, 1);
                        return;
                }
                d->slot->candidate = candidate_make(CANDIDATE_HUGE, chunk, chunk_count(*word));
                d->slot->intent = (struct intent){
                        kind,
                        .huge_to = {.head = chunk, .block = chunk << GEO_CHUNK_SHIFT, .dest = d->r->layout.chunks_off}};
                return;
        }
}

/* As in a heap that is larger: a magazine with the last huge block of one chunk that nobody is at. */
static void
stop_with_huge(const struct death *d, bool is_draining)
{
        uint32_t tag = tag_make(0, SIZE_CLASS_N), m = magazine_of(d, false);
        uint64_t chunk = d->r->header->chunks_hwm, *word;

        do
                word = &d->r->chunk_words[--chunk];
        while (chunk > 0 && !chunk_is_huge_of(*word, 1));
        if (!chunk_is_huge_of(*word, 1))
                fail("no huge block");
        for (uint32_t place = 0; place < 2 * d->r->layout.n_tags; place++)
                if (d->slot->magazines[place] == m + 1)
                        d->slot->magazines[place] = 0; /* what was in it is lost */
        d->r->magazine_words[m] = magazine_word(MAGAZINE_TCACHE, d->no, 0, tag);
        d->r->magazines[m].cap = d->r->magazines[m].n = 1;
        d->r->magazines[m].slot[0] = d->r->canonical + (chunk << GEO_CHUNK_SHIFT);
        d->slot->magazines[tag] = m + 1;
        if (!is_draining)
                return;
        *word = chunk_with_owner(chunk_with_state(*word, CHUNK_FREEING), d->no);
        d->slot->candidate = candidate_make(CANDIDATE_HUGE, chunk, 1);
        d->slot->intent = (struct intent){INTENT_DRAIN_HUGE, .drain_huge = {.head = chunk, .magazine = m}};
}

static void
stop_in_resize(const struct death *d)
{
        uint32_t m = magazine_of(d, true), length;
        uint64_t head = seize_run(d, m, GRANULE_LARGE, &length);

        d->slot->candidate = candidate_make(CANDIDATE_RUN, head, length + 1);
}

/* A name half linked, a root half published, another half removed. */
static void
stop_in_roots(const struct death *d)
{
        struct mover mover = {.thread_no = d->no, .entry = 0, .sequence = 7};
        struct region *r = d->r;
        uint64_t off = cell_block_off(r->roots[0].object), slack = object_slack(r->roots[0].object);

        d->gate->pending[0] = cell_moving(CELL_BUILDING, 7, off);
        d->slot->pending_record[0] = 0;
        r->roots[0].object = mark_make(CELL_FROM, mover, slack);
        off = cell_block_off(r->roots[1].object);
        mover = (struct mover){.thread_no = d->no, .entry = 1, .sequence = 8};
        d->gate->pending[1] = cell_moving(CELL_TAKING, 8, off);
        d->slot->pending_record[1] = 1;
        r->roots[1].object = mark_make(CELL_TAKEN, mover, 0);
        d->gate->pending[2] = CELL_WANTED;
        d->gate->root_sequence = 9;
        r->roots[r->header->roots_hwm - 1].word = ROOT_NEW | WORD_PUT(d->no, 4);
        d->slot->candidate = candidate_make(CANDIDATE_ROOT, r->header->roots_hwm - 1, 1);
}

static void
stop_with_hand(const struct death *d)
{
        d->slot->hand = magazine_of(d, false) + 1;
}

/* Not committed, so that the reaper has to look at what the intent names. */
static void
stop_in_handover(const struct death *d, enum intent_kind kind)
{
        uint32_t m = magazine_of(d, false);
        const struct magazine *magazine = &d->r->magazines[m];

        d->slot->intent = (struct intent){kind, .pop_to = {.magazine = m,
                                                           .n = kind == INTENT_POP_TO ? magazine->n - 1 : magazine->n,
                                                           .block = magazine->slot[0] - d->r->canonical,
                                                           .dest = d->r->layout.chunks_off}};
}

static void
stop_all(struct region *r)
{
        unsigned n = 0;

        for (uint32_t idx = 0; idx < r->header->threads_hwm; idx++) {
                struct death d = {.r = r, .slot = region_thread(r, idx), .gate = region_gate(r, idx), .no = idx + 1};

                if (d.gate->state == 0)
                        continue;
                switch (n++) {
                case 0:
                case 1:
                case 2:
                        stop_in_slab(&d, (enum intent_kind)(INTENT_FILL + n - 1));
                        break;
                case 3:
                case 4:
                        stop_in_slab(&d, n == 4 ? INTENT_ALLOC_ONE : INTENT_FREE_ONE);
                        break;
                case 5:
                        stop_in_run(&d, INTENT_DRAIN_RUN);
                        break;
                case 6:
                        stop_in_run(&d, INTENT_RUN_TO);
                        break;
                case 7:
                        stop_in_run(&d, INTENT_RUN_FROM);
                        break;
                case 8:
                        stop_in_chunk(&d, INTENT_HUGE_TO, CHUNK_HUGE);
                        break;
                case 9:
                        stop_in_chunk(&d, INTENT_NONE, CHUNK_FREE);
                        break;
                case 10:
                        stop_in_resize(&d);
                        break;
                case 11:
                        stop_in_roots(&d);
                        break;
                case 12:
                        stop_with_hand(&d);
                        break;
                case 13:
                case 14:
                        stop_in_handover(&d, n == 14 ? INTENT_POP_TO : INTENT_PUSH_FROM);
                        break;
                case 15:
                case 16:
                        stop_with_huge(&d, n == 16);
                        break;
                default:
                        break; /* its magazines are all it had */
                }
        }
        if (n < 17)
                fail("fewer dead threads than operations");
}

/* ------------------------------------------------------------------ the bytes */

static void
bind_image(struct image *image)
{
        const struct region_header *header = (const void *)image->bytes;
        struct layout_params params = header->params;
        struct layout layout;
        const char *what;

        if (layout_compute(&params, &layout, &what) < 0)
                fail(what);
        region_bind(&image->region, image->bytes, &layout);
        image->region.fd = -1;
        image->region.canonical = header->base_addr + layout.chunks_off;
}

/* Pages that were reserved and never written read as zeroes: they need not be in the image. */
static void
read_pages(struct image *image, int fd, uint64_t region_bytes)
{
        off_t at = 0, end;

        while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
                end = lseek(fd, at, SEEK_HOLE);
                for (; at < end && (uint64_t)at < region_bytes; at += PAGE)
                        if (pread(fd, image->bytes + at, PAGE, at) != PAGE)
                                fail("read");
        }
}

static bool
is_zero(const char *page)
{
        static const char zero[PAGE];

        return memcmp(page, zero, PAGE) == 0;
}

static void
list_pages(struct image *image, int fd)
{
        off_t at = 0, end;

        image->pages = calloc(image->region.layout.region_bytes / PAGE, sizeof *image->pages);
        if (!image->pages)
                fail("memory");
        while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
                end = lseek(fd, at, SEEK_HOLE);
                for (; at < end; at += PAGE)
                        if (!is_zero(image->bytes + at))
                                image->pages[image->n_pages++] = (uint64_t)at;
        }
}

static int
note_block(const struct shheap_block *block, void *arg)
{
        struct image *image = arg;

        image->blocks[image->n_blocks++] = block->ref;
        return image->n_blocks == BLOCKS_MAX;
}

/* Blocks for free() and realloc(), as somebody who was handed them would have them. */
static void
list_blocks(struct image *image)
{
        shheap *h = heap_dir_open(name, SHHEAP_RDONLY, NULL);

        image->blocks = calloc(BLOCKS_MAX, sizeof *image->blocks);
        if (!image->blocks || shheap_walk(h, SHHEAP_WALK_LIVE, note_block, image) < 0)
                fail("walk");
        shheap_close(h);
}

void
image_make(struct image *ret_image)
{
        struct image *image = ret_image;
        char path[256];
        struct stat st;
        int status, fd;
        pid_t pid = fork();

        if (pid < 0)
                fail("fork");
        if (pid == 0)
                live_and_die();
        if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
                fail("the process that makes it");
        snprintf(path, sizeof path, "%s/shmalloc.%s", getenv("SHMALLOC_DIR"), name);
        fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                fail(path);
        memset(image, 0, sizeof *image);
        image->bytes = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (image->bytes == MAP_FAILED)
                fail("mmap");
        read_pages(image, fd, (uint64_t)st.st_size);
        bind_image(image);
        stop_all(&image->region);
        list_pages(image, fd);
        list_blocks(image);
        close(fd);
        shheap_unlink(name);
}

void
image_drop(struct image *image)
{
        munmap(image->bytes, image->region.layout.region_bytes);
        free(image->pages);
        free(image->blocks);
}

int
image_open(const struct image *image)
{
        int fd = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0 || ftruncate(fd, (off_t)image->region.layout.region_bytes) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
                fail("memfd");
        image_restore(image, fd);
        return fd;
}

void
image_restore(const struct image *image, int fd)
{
        if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)image->region.layout.region_bytes) < 0)
                fail("punch");
        for (size_t i = 0; i < image->n_pages;) {
                size_t n = 1; /* pages side by side in one call */

                while (i + n < image->n_pages && image->pages[i + n] == image->pages[i] + n * PAGE)
                        n++;
                if (pwrite(fd, image->bytes + image->pages[i], n * PAGE, (off_t)image->pages[i]) != (ssize_t)(n * PAGE))
                        fail("write");
                i += n;
        }
}
