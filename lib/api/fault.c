/*
 * fault.c - misuse: one line that says all there is to know, the program's handler, and the end of the process.
 *
 * A fault is reported when the call that found it holds nothing any more, so whoever is told may use the heap, jump
 * out, or end the process, and other processes notice nothing.  What stands in the line is read from the heap's tables
 * as they are now, word by word and bounds-checked: they may be wrong, and others may be at work on them.
 *
 * This is the only file of the library that writes to standard error or aborts: there is nobody to return an error to.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/heap.h"
#include "api/registry.h"
#include "base/bits.h"
#include "base/error.h"
#include "base/size_class.h"
#include "blocks/fault.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/slab.h"
#include "clients/owner.h"
#include "clients/slot_pages.h"
#include "heap/free.h"
#include "os/clock.h"
#include "os/print.h"
#include "os/process.h"
#include "pages/run.h"
#include "region/dump.h"

_Static_assert((int)FAULT_DOUBLE_FREE == (int)SHHEAP_FAULT_DOUBLE_FREE &&
                       (int)FAULT_INVALID_FREE == (int)SHHEAP_FAULT_INVALID_FREE &&
                       (int)FAULT_FOREIGN_POINTER == (int)SHHEAP_FAULT_FOREIGN_POINTER &&
                       (int)FAULT_SIZE_MISMATCH == (int)SHHEAP_FAULT_SIZE_MISMATCH &&
                       (int)FAULT_NAMED_OBJECT == (int)SHHEAP_FAULT_NAMED_OBJECT &&
                       (int)FAULT_METADATA == (int)SHHEAP_FAULT_METADATA &&
                       (int)FAULT_NOT_A_CLIENT == (int)SHHEAP_FAULT_NOT_A_CLIENT,
               "faults are passed on");

/* The program's handler; both under the registry's lock. */
static shheap_fault_fn *handler;
static void *handler_arg;

/* The line, and what of it goes into struct shheap_fault. */
struct line {
        char text[768];
        size_t length;
        size_t block_size;
};

__attribute__((format(printf, 2, 3))) static void
say(struct line *line, const char *fmt, ...)
{
        size_t room = sizeof line->text - 1 - line->length; /* for the newline */
        va_list args;
        int n;

        va_start(args, fmt);
        n = vsnprintf(line->text + line->length, room, fmt, args);
        va_end(args);
        if (n > 0)
                line->length += (size_t)n < room ? (size_t)n : room - 1;
}

/* ------------------------------------------------------------------ what the heap knows of an address */

static void
say_slab(struct line *line, struct region *r, uint64_t head, uint64_t word, uint64_t block_off)
{
        uint64_t slab_off = head << GEO_GRANULE_SHIFT, in_slab = block_off - slab_off;
        uint32_t class_idx = granule_class(word), block_idx;

        if (!size_class_is_small(class_idx) || !region_has_bitmap(r, head, class_idx)) {
                say(line, "in a damaged slab");
                return;
        }
        block_idx = size_class_block_index(class_idx, in_slab);
        if (block_idx >= size_class_slab_blocks(class_idx)) {
                say(line, "in the unused tail of a slab of blocks of %u bytes", (unsigned)size_class_bytes(class_idx));
                return;
        }
        in_slab -= block_idx * size_class_bytes(class_idx);
        line->block_size = in_slab == 0 ? size_class_bytes(class_idx) : 0;
        if (in_slab != 0)
                say(line, "%llu bytes inside ", (unsigned long long)in_slab);
        say(line, "block %u of %u of the slab at %p, %u bytes each (class %u)", block_idx,
            size_class_slab_blocks(class_idx), region_block(r, slab_off), (unsigned)size_class_bytes(class_idx),
            class_idx);
        if (load_relaxed(region_slab_word(r, head, block_idx / 64)) >> block_idx % 64 & 1) /* what it says now */
                say(line, ", free");
}

static void
say_large(struct line *line, struct region *r, uint64_t head, uint64_t word, uint64_t block_off)
{
        uint64_t block, run_word_found;
        uint32_t class_idx = granule_class(word);

        if (large_block_of(r, block_off, &block, &run_word_found)) {
                line->block_size = size_class_bytes(class_idx);
                say(line, "a block of %zu bytes (class %u)", line->block_size, class_idx);
        } else if (size_class_is_large(class_idx)) {
                say(line, "inside the run at %p, one block of %u bytes (class %u)",
                    region_block(r, head << GEO_GRANULE_SHIFT), (unsigned)size_class_bytes(class_idx), class_idx);
        } else {
                say(line, "in a damaged run");
        }
}

/* In a chunk of an arena. */
static void
say_granule(struct line *line, struct region *r, uint32_t arena, uint64_t block_off)
{
        int64_t head = run_head_of(r, block_off >> GEO_GRANULE_SHIFT);
        uint64_t word = head == POSITION_NONE ? 0 : owner_load(run_word(r, (uint64_t)head));

        if (head != POSITION_NONE && granule_state(word) == GRANULE_SLAB)
                say_slab(line, r, (uint64_t)head, word, block_off);
        else if (head != POSITION_NONE && granule_state(word) == GRANULE_LARGE)
                say_large(line, r, (uint64_t)head, word, block_off);
        else
                say(line, "free memory, no block");
        say(line, "; arena %u, node %u", arena, region_arena_node(r, arena));
}

static void
say_huge(struct line *line, struct region *r, uint64_t chunk, uint64_t word, uint64_t block_off)
{
        uint64_t head = chunk - (chunk_state(word) == CHUNK_TAIL ? chunk_count(word) : 0);
        uint64_t first, head_word;

        if (head > chunk || !huge_block_of(r, head << GEO_CHUNK_SHIFT, &first, &head_word)) {
                say(line, "in a huge block that is being freed, or damaged");
        } else if (block_off == head << GEO_CHUNK_SHIFT) {
                line->block_size = huge_usable(r, head, head_word);
                say(line, "a huge block of %zu bytes", line->block_size);
        } else {
                say(line, "inside the huge block of %llu bytes at %p",
                    (unsigned long long)huge_usable(r, head, head_word), region_block(r, head << GEO_CHUNK_SHIFT));
        }
        if (chunk_node1(word) != 0)
                say(line, "; node %u", chunk_node1(word) - 1);
}

static void
say_place(struct line *line, struct region *r, uint64_t block_off)
{
        uint64_t chunk = block_off >> GEO_CHUNK_SHIFT, word;

        if (chunk >= region_chunks_hwm(r)) {
                say(line, "memory that the heap has never used, no block");
                return;
        }
        word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */
        if (chunk_state(word) == CHUNK_ARENA && chunk_arena(word) < r->layout.n_arenas)
                say_granule(line, r, chunk_arena(word), block_off);
        else if (chunk_state(word) == CHUNK_HUGE || chunk_state(word) == CHUNK_TAIL)
                say_huge(line, r, chunk, word, block_off);
        else
                say(line, "free memory, no block");
}

static void
say_pointer(struct line *line, struct shheap *h, const void *p)
{
        struct shheap *in_chunks = handle_of_address(p), *at = in_chunks ? in_chunks : handle_of_table(p);

        if (!at)
                say(line, " is in no heap that this process has open");
        else if (h && at != h)
                say(line, " is in heap \"%.63s\", not in \"%.63s\"", at->region.header->name, h->region.header->name);
        else
                say(line, " in heap \"%.63s\"", at->region.header->name);
        if (!at)
                return;
        say(line, ": ");
        if (!in_chunks)
                say(line, "the heap's own tables, no block");
        else
                say_place(line, &at->region, (uint64_t)((uintptr_t)p - (uintptr_t)at->region.chunks));
}

/* ------------------------------------------------------------------ reporting */

static const char *
name_of(uint32_t what)
{
        switch (what) {
        case SHHEAP_FAULT_DOUBLE_FREE:
                return "double free";
        case SHHEAP_FAULT_INVALID_FREE:
                return "no block starts at this pointer";
        case SHHEAP_FAULT_FOREIGN_POINTER:
                return "foreign pointer";
        case SHHEAP_FAULT_SIZE_MISMATCH:
                return "wrong size or alignment";
        case SHHEAP_FAULT_NAMED_OBJECT:
                return "the object of a name, which shheap_root_remove() frees";
        case SHHEAP_FAULT_METADATA:
                return "the heap's tables contradict each other";
        case SHHEAP_FAULT_NOT_A_CLIENT:
                return "this process cannot use the heap";
        default:
                return "unknown fault";
        }
}

/* Who is to blame waits for somebody to read it, and holds nothing; nobody else does.  A process that was started
 * without standard error may have been given a heap's descriptor of that number: the line would be the end of that
 * heap. */
static void
write_line(struct line *line, bool waits)
{
        int saved_errno = errno;

        line->text[line->length] = '\n';
        if (!handle_is_file(STDERR_FILENO))
                print_line(STDERR_FILENO, line->text, line->length + 1, waits);
        line->text[line->length] = '\0';
        errno = saved_errno;
}

/* Once a second, of each heap.  A lost race means that another thread is saying it. */
static bool
may_tell(struct shheap *h)
{
        uint64_t now_s = clock_ms() / 1000 + 1, told_s = load_relaxed(&h->told_s); /* 0 = never */

        return now_s > told_s && cas_relaxed(&h->told_s, &told_s, now_s);
}

static void
end_process(struct line *line, uint32_t what, const void *p, size_t given_size)
{
        struct shheap_fault fault = {
                .size = sizeof fault,
                .what = what,
                .ptr = p,
                .block_size = line->block_size,
                .given_size = given_size,
                .text = line->text,
        };
        shheap_fault_fn *fn;
        struct shield shield;
        void *arg;

        write_line(line, true);
        registry_lock(&shield);
        fn = handler;
        arg = handler_arg;
        registry_unlock(&shield);
        if (fn)
                fn(&fault, arg);
        abort();
}

static void
report(struct shheap *h, uint32_t what, const char *operation, const void *p, size_t given_size, const void *found)
{
        struct line line = {.length = 0};

        say(&line, "shmalloc: process %u: %s(", process_id(), operation);
        if (p)
                say(&line, "%p", p);
        if (given_size != 0)
                say(&line, "%s%zu bytes", p ? ", " : "", given_size);
        say(&line, "): %s", name_of(what));
        if (what == SHHEAP_FAULT_NOT_A_CLIENT)
                say(&line, " (%s)", error_message());
        if (found) {
                if (found != p)
                        say(&line, ", found only now that caches are emptied");
                say(&line, ": %p", found);
                say_pointer(&line, h, found);
        }
        if (h)
                dump_follow(&h->region);
        end_process(&line, what, found, given_size);
}

uint64_t
handle_n_dropped(const struct shheap *h)
{
        return SLOT_TOTAL(&h->region, n_dropped);
}

/* Others freed what they must not, and are gone or do not know it.  This thread met it, is not to blame, and goes
 * on. */
static void
tell_of_others(struct shheap *h, uint64_t block_off, const char *operation)
{
        const void *p = region_block(&h->region, block_off);
        struct line line = {.length = 0};

        if (!may_tell(h))
                return;
        say(&line, "shmalloc: process %u: %s(): dropped from a cache what others have freed twice, or wrongly: %p",
            process_id(), operation, p);
        say_pointer(&line, h, p);
        say(&line, "; %llu such entries so far", (unsigned long long)handle_n_dropped(h));
        write_line(&line, false);
}

void
fault_tell_lost(struct shheap *h, const void *p, const char *operation, const char *why)
{
        struct line line = {.length = 0};

        if (!may_tell(h))
                return;
        say(&line,
            "shmalloc: process %u: %s(%p): the block is lost, nothing is left by which it could be freed (%s): %p",
            process_id(), operation, p, why, p);
        say_pointer(&line, h, p);
        write_line(&line, false);
}

/* What a thread noted that is not its own doing. */
static void
tell(struct shheap *h, const struct fault *fault, const char *operation)
{
        if (fault->what == FAULT_OF_OTHERS)
                tell_of_others(h, fault->block_off, operation);
        else
                fault_tell_lost(h, region_block(&h->region, fault->block_off), operation,
                                "its slab is held for too long, and there is no magazine");
}

void
fault_tell(struct shheap *h, const struct fault *fault)
{
        const void *p = region_block(&h->region, fault->block_off);
        struct line line = {.length = 0};

        if (fault->what >= FAULT_OF_OTHERS) {
                tell(h, fault, "end of a thread");
                return;
        }
        say(&line, "shmalloc: process %u: end of a thread: %s, found only now that caches are emptied: %p",
            process_id(), name_of(fault->what), p);
        say_pointer(&line, h, p);
        write_line(&line, false);
}

void
fault_report(struct shheap *h, const struct fault *fault, const char *operation, const void *p, size_t given_size)
{
        if (fault->what >= FAULT_OF_OTHERS)
                tell(h, fault, operation);
        else
                report(h, fault->what, operation, p, given_size, region_block(&h->region, fault->block_off));
}

/* A pointer into the tables of the heap in question is inside of the heap. */
void
fault_report_pointer(struct shheap *h, uint32_t what, const char *operation, const void *p, size_t given_size)
{
        struct shheap *at = what == SHHEAP_FAULT_FOREIGN_POINTER && p ? handle_of_table(p) : NULL;

        if (at && (!h || h == at))
                what = SHHEAP_FAULT_INVALID_FREE;
        report(h, what, operation, p, given_size, p);
}

void
shheap_set_fault_handler(shheap_fault_fn *fn, void *arg)
{
        struct shield shield;

        registry_lock(&shield);
        handler = fn;
        handler_arg = arg;
        registry_unlock(&shield);
}
