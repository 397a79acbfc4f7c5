/*
 * call.h - what a thread is asked for, and how it goes: one object, from the API down to the pages.
 *
 * It lies in the thread.  Who enters a heap begins it as a whole, with the class of the size, and all below read it:
 * nothing is handed down a second time, and nothing of an earlier call is left in it, however that one ended (a jump
 * may have left it).
 */
#ifndef CLIENTS_CALL_H
#define CLIENTS_CALL_H

#include <stdbool.h>
#include <stdint.h>

enum {
        CALL_NO_GROW = 1u << 0,     /* no system call, no new pages */
        CALL_THIS_ARENA = 1u << 1,  /* from call.arena or not at all */
        CALL_THIS_NODE = 1u << 2,   /* from the node of call.arena or not at all */
        CALL_NO_MAGAZINE = 1u << 3, /* one block, past the magazines */
};

/* What blocks are filled with that are new to their callers. */
enum call_fill { FILL_NONE, FILL_ZERO, FILL_JUNK };

enum { CALL_JUNK = 0xa5 };

struct call {
        /* asked for */
        uint64_t size;      /* bytes */
        uint64_t align;     /* power of two; 1 = natural */
        uint64_t nodes;     /* bit mask of those that it may be of, beside the arena's; 0 = any */
        uint64_t dest_off;  /* region offset where the block's own offset is stored in the same step; 0 = nowhere */
        uint32_t class_idx; /* small or large class, or SIZE_CLASS_NONE for huge */
        uint32_t flags;     /* CALL_* */
        uint32_t arena;     /* to start with */
        uint8_t fill;       /* of the block, before its reference is stored to a dest: enum call_fill */

        /* what stands in the way: said where it is met, forgotten by who tries again */
        bool no_grow;     /* just now nothing may enter the kernel for memory, nor touch new pages */
        bool lacks_pages; /* what was found could not be backed */
        bool lacks_node;  /* there was no memory on the very node */

        /* found (heap/find.h) */
        uint64_t found_off;      /* the block, where it is one */
        uint32_t found_idx;      /* else the magazine that has the blocks; or MAGAZINE_IDX_NONE */
        uint32_t empty_idx;      /* a magazine to fill, the thread's own; or MAGAZINE_IDX_NONE */
        uint32_t fallback_node1; /* it is of that node instead of the one that was asked for, plus 1 */
        bool wants_magazine;
};

#endif
