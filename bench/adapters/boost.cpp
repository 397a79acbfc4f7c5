// Boost.Interprocess: managed_shared_memory as it comes, that is rbtree_best_fit under a process-shared mutex.
#include <boost/interprocess/managed_shared_memory.hpp>
#include <cstdio>
#include <new>
#include <string>
#include <sys/stat.h>

extern "C" {
#include "common/bench.h"
extern const struct bench_allocator bench_adapter;
}

namespace
{
using namespace boost::interprocess;

managed_shared_memory *segment;

int
setup(size_t capacity)
{
        try {
                shared_memory_object::remove(bench_heap_name());
                segment = new managed_shared_memory(create_only, bench_heap_name(), capacity);
        } catch (const interprocess_exception &e) {
                std::fprintf(stderr, "boost: %s\n", e.what());
                return -1;
        }
        return 0;
}

void *
take(size_t size)
{
        return segment->allocate(size, std::nothrow);
}

void
give(void *p)
{
        segment->deallocate(p);
}

size_t
backing()
{
        struct stat st = {};

        stat((std::string("/dev/shm/") + bench_heap_name()).c_str(), &st);
        return static_cast<size_t>(st.st_blocks) * 512;
}

void
reopen()
{
        segment = new managed_shared_memory(open_only, bench_heap_name());
}

void
teardown()
{
        shared_memory_object::remove(bench_heap_name());
}
} // namespace

extern "C" const struct bench_allocator bench_adapter = {"boost", true,    false,  setup, take, give,     nullptr,
                                                         backing, nullptr, reopen, false, 4,    teardown, nullptr};
