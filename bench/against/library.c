/*
 * library.c - the functions of a build of the library, by its path.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "against/against.h"

/* `older`: the symbol that it had in older builds, or NULL. */
static void
find(void *module, const char *path, const char *name, const char *older, void *ret_function)
{
        void *function = dlsym(module, name);

        if (!function && older)
                function = dlsym(module, older);
        if (!function) {
                fprintf(stderr, "against: %s has no %s: too old, or too new, to be compared by this driver\n", path,
                        name);
                exit(2);
        }
        memcpy(ret_function, &function, sizeof function);
}

void
library_open(struct library *lib, const char *path)
{
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);

        if (!module) {
                fprintf(stderr, "against: %s\n", dlerror());
                exit(2);
        }
#define FIND(name) find(module, path, #name, NULL, &lib->name);
        FUNCTIONS(FIND)
#undef FIND
        find(module, path, "shheap_shmalloc", "shmalloc", &lib->shmalloc);
        find(module, path, "shheap_shfree", "shfree", &lib->shfree);
}
