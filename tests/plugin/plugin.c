/*
 * plugin.c - a plugin as others write them: it uses the library, and nobody outside knows that.
 */
#include "plugin.h"

#include <shmalloc/shmalloc.h>
#include <string.h>

static shheap *h;

static const char *
plugin_open(const char *name, int relocatable)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        unsigned flags = SHHEAP_CREATE | (relocatable ? SHHEAP_RELOCATABLE : 0);

        attr.capacity = 64 << 20;
        attr.max_clients = 8;
        attr.max_threads = 64;
        return shheap_open(&h, name, flags, &attr) < 0 ? shheap_errormsg() : NULL;
}

static const char *
plugin_allocate(uint64_t *ret_ref)
{
        void *p = shheap_malloc(h, 100);

        if (!p)
                return shheap_errormsg();
        memset(p, 1, 100);
        *ret_ref = shheap_ref(h, p);
        return NULL;
}

static const char *
plugin_free_block(uint64_t ref)
{
        const char *p = shheap_ptr(h, ref);

        if (!p || p[0] != 1 || p[99] != 1)
                return "the block is not what it was";
        shheap_free(h, shheap_ptr(h, ref));
        return NULL;
}

static const char *
plugin_close(void)
{
        return shheap_close(h) < 0 ? shheap_errormsg() : NULL;
}

static const char *
plugin_remove(const char *name)
{
        return shheap_unlink(name) < 0 ? shheap_errormsg() : NULL;
}

extern const struct plugin plugin;
__attribute__((visibility("default")))
const struct plugin plugin = {plugin_open, plugin_allocate, plugin_free_block, plugin_close, plugin_remove};
