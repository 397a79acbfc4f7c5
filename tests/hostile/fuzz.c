/*
 * The same as main.c's --random, but led by coverage: libFuzzer chooses the changes.  An input that ends it is written
 * to a file; hostile FILE repeats it, and corpus/ keeps those that have found something.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hostile/hostile.h"
#include "support/heap_dir.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static struct image image;
static struct fields fields;
static int fd;

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
        (void)argc, (void)argv;
        heap_dir_create("fuzz");
        image_make(&image);
        heap_dir_remove();
        fields_list(&image, &fields);
        fd = image_open(&image);
        return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
        struct outcome o;
        unsigned what;

        image_restore(&image, fd);
        what = changes_apply(&image, &fields, fd, data, bytes);
        exercise(&image, fd, what, &o);
        if (o.is_stuck) {
                fprintf(stderr, "hostile: the region stays mapped after it was closed\n");
                abort();
        }
        return 0;
}
