/*
 * pin.c - see pin.h.
 *
 * The dynamic linker's functions are weak references: a statically linked program, which cannot unload anything, has
 * none, and should not be made to have them.
 */
#include "os/pin.h"

#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/atomic.h"

#pragma weak dladdr1
#pragma weak dlopen

static bool is_pinned;

/* The program itself has no name there. */
static void
pin(void)
{
        struct link_map *object;
        Dl_info info;
        void *loaded;

        if (!dladdr1 || !dlopen || !dladdr1((const void *)&is_pinned, &info, (void **)&object, RTLD_DL_LINKMAP))
                return;
        loaded = object->l_name[0] ? dlopen(object->l_name, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE) : NULL;
        (void)loaded; /* kept for ever */
}

void
os_pin(void)
{
        if (load_relaxed(&is_pinned)) /* says nothing of anything else */
                return;
        pin();
        store_relaxed(&is_pinned, true);
}
