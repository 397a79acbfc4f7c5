/*
 * roots.c - the named objects of a heap, and `shmallocctl roots`.
 *
 * They are walked as the library does it, from the youngest record on, reading only: a damaged chain ends the walk, and
 * what was found before is shown.  A name is whatever its maker has chosen, and whatever has been written over it
 * since: it is never printed as it is.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "heap/root.h"

/* ------------------------------------------------------------------ reading */

static int
add_root(const char *name, uint64_t block_off, uint64_t size, void *arg)
{
        struct root_views *roots = arg;
        struct root_view *all = realloc(roots->all, (roots->n + 1) * sizeof *all);

        if (!all) {
                fprintf(stderr, "shmallocctl: no memory for the list of named objects\n");
                exit(CTL_FAULTS);
        }
        roots->all = all;
        all[roots->n] = (struct root_view){.block_off = block_off, .bytes = size};
        snprintf(all[roots->n++].name, sizeof all->name, "%s", name);
        return 0;
}

static int
by_name(const void *a, const void *b)
{
        return strcmp(((const struct root_view *)a)->name, ((const struct root_view *)b)->name);
}

void
roots_read(const struct region *r, struct root_views *ret)
{
        *ret = (struct root_views){.n = 0};
        ret->is_damaged = root_iterate((struct region *)(uintptr_t)r, add_root, ret) < 0;
        if (ret->n > 0)
                qsort(ret->all, ret->n, sizeof *ret->all, by_name);
}

void
roots_free(struct root_views *roots)
{
        free(roots->all);
        *roots = (struct root_views){.n = 0};
}

/* ------------------------------------------------------------------ the verb */

static int
print_json(const struct view *v, const struct root_views *roots)
{
        uint64_t chunks_off = v->header.layout.chunks_off;
        json_t *list = json_array();

        for (uint32_t i = 0; i < roots->n; i++) {
                const struct root_view *root = &roots->all[i];
                char name[ROOT_TEXT_MAX];

                text_escape(name, sizeof name, root->name, sizeof root->name, TEXT_UTF8);
                json_array_append_new(list,
                                      json_pack("{ss sI sI sI sI}", "name", name, "bytes", (json_int_t)root->bytes,
                                                "pointer", (json_int_t)(v->region.canonical + root->block_off),
                                                "reference", (json_int_t)(chunks_off + root->block_off), "offset",
                                                (json_int_t)root->block_off));
        }
        return ctl_print_json(
                json_pack("{ss so sb}", "name", v->name, "roots", list, "is_complete", !roots->is_damaged));
}

static void
print_text(const struct view *v, const struct ctl_args *args, const struct root_views *roots)
{
        if (roots->n == 0) {
                fprintf(stderr, "no named objects in heap \"%s\"\n", v->name);
                return;
        }
        printf("%-40s %12s  %s\n", "NAME", "SIZE", "ADDRESS");
        for (uint32_t i = 0; i < roots->n; i++) {
                const struct root_view *root = &roots->all[i];
                char name[ROOT_TEXT_MAX], size[CTL_SIZE_MAX];

                text_escape(name, sizeof name, root->name, sizeof root->name, TEXT_PLAIN);
                printf("%-40s %12s  %#" PRIx64 "\n", name, ctl_bytes(size, args, root->bytes),
                       v->region.canonical + root->block_off);
        }
}

int
verb_roots(int argc, char **argv)
{
        struct ctl_args args = {.wants = CTL_WANTS_NAME | CTL_WANTS_JSON | CTL_WANTS_BYTES | CTL_WANTS_FAULTS};
        struct root_views roots;
        struct view v;
        int status;

        ctl_parse(argc, argv, &args, NULL, NULL,
                  "The named objects of a heap: name, size as it was asked for, and address.\v"
                  "The address is that of processes that have the heap at its own; shmallocctl explain NAME ADDRESS "
                  "tells more of it.  Bytes of a name that are not printable, and backslashes, stand as \\xNN.");
        status = ctl_view(&v, args.name);
        if (status != CTL_GOOD)
                return status;
        roots_read(&v.region, &roots);
        if (args.is_json)
                status = print_json(&v, &roots);
        else
                print_text(&v, &args, &roots);
        if (roots.is_damaged) {
                fprintf(stderr, "shmallocctl: the list of named objects of heap \"%s\" is damaged: it ends early\n",
                        v.name);
                status = CTL_FAULTS;
        }
        roots_free(&roots);
        return ctl_view_done(&v, status);
}
