#include <node_api.h>
#include <shmalloc/shmalloc.h>

static shheap *heap;

static napi_value
buffer(napi_env env, void *p, size_t bytes) /* of a block; an exception for NULL */
{
        napi_value value = NULL;

        if (!p || napi_create_external_arraybuffer(env, p, bytes, NULL, NULL, &value) != napi_ok)
                napi_throw_error(env, NULL, p ? "no buffers of foreign memory" : shheap_errormsg());
        return value;
}

static napi_value
root(napi_env env, napi_callback_info info) /* root(heap, name, bytes): the object of that name */
{
        char names[2][64] = {"", ""};
        void *obj = NULL;
        uint32_t bytes = 0;
        size_t n = 3;
        napi_value arg[3];

        napi_get_cb_info(env, info, &n, arg, NULL, NULL);
        for (int i = 0; i < 2; i++)
                napi_get_value_string_utf8(env, arg[i], names[i], sizeof names[i], NULL);
        napi_get_value_uint32(env, arg[2], &bytes);
        if (shheap_open(&heap, names[0], SHHEAP_CREATE, NULL) == 0 &&
            shheap_root(heap, names[1], bytes, 0, NULL, NULL, &obj) == 0)
                return buffer(env, obj, bytes);
        return buffer(env, NULL, 0);
}

static napi_value
renew(napi_env env, napi_callback_info info) /* renew(buffer, word, bytes): another block for that reference */
{
        void *p = NULL;
        uint32_t word = 0, bytes = 0;
        size_t n = 3, length = 0;
        napi_value arg[3];

        napi_get_cb_info(env, info, &n, arg, NULL, NULL);
        napi_get_arraybuffer_info(env, arg[0], &p, &length);
        napi_get_value_uint32(env, arg[1], &word);
        napi_get_value_uint32(env, arg[2], &bytes);
        if (word >= length / sizeof(shref) || shheap_free_from(heap, (shref *)p + word) < 0)
                return buffer(env, NULL, 0);
        return buffer(env, shheap_malloc_to(heap, bytes, SHA_ZERO, (shref *)p + word), bytes);
}

static napi_value
block(napi_env env, napi_callback_info info) /* block(reference): what is there */
{
        void *p;
        bool is_whole;
        uint64_t ref = 0;
        size_t n = 1;
        napi_value arg;

        napi_get_cb_info(env, info, &n, &arg, NULL, NULL);
        napi_get_value_bigint_uint64(env, arg, &ref, &is_whole);
        p = shheap_ptr(heap, ref);
        return buffer(env, p, shheap_usable_size(heap, p));
}

NAPI_MODULE_INIT()
{
        const napi_property_descriptor all[] = {{"root", NULL, root, NULL, NULL, NULL, napi_default, NULL},
                                                {"renew", NULL, renew, NULL, NULL, NULL, napi_default, NULL},
                                                {"block", NULL, block, NULL, NULL, NULL, napi_default, NULL}};

        napi_define_properties(env, exports, 3, all);
        return exports;
}
