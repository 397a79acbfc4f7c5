/*
 * What is at stake: containers allocate for each element, so what an allocator adds to a hit is paid each time.
 * Executes N pairs of allocate and deallocate of 64 bytes, or what containers make of them, for tests/hits/count.sh.
 */
#include "support.hpp"

#include <cstring>
#include <list>
#include <vector>

struct item {
        char bytes[64];
};

/* Not inlined, and nothing is done: what is left is the driver. */
template <class F>
__attribute__((noinline)) void
times(long n, F pair)
{
        for (long i = -1000; i < n; i++) /* so many before those that are counted: attaching, filling */
                pair();
}

template <class Allocator>
void
pairs(long n, Allocator a)
{
        times(n, [&] {
                item *p = a.allocate(1);

                __asm__ volatile("" : "+r"(p));
                a.deallocate(p, 1);
        });
}

int
main(int argc, char **argv)
{
        CHECK(argc == 3);
        test_heap t;
        long n = std::strtol(argv[2], nullptr, 10);
        auto is = [&](const char *what) { return std::strcmp(argv[1], what) == 0; };

        if (is("default") || is("default-list"))
                CHECK(shheap_set_default(t.heap.native()) == 0);
        if (is("allocator")) {
                pairs(n, t.heap.get_allocator<item>());
        } else if (is("default")) {
                pairs(n, shm::default_allocator<item>());
        } else if (is("list")) {
                std::list<item, shm::allocator<item>> list(t.heap.get_allocator<item>());

                times(n, [&] {
                        list.push_back({});
                        list.pop_front();
                });
        } else if (is("default-list")) {
                std::list<item, shm::default_allocator<item>> list;

                times(n, [&] {
                        list.push_back({});
                        list.pop_front();
                });
        } else if (is("vector")) { /* of four, as it grows */
                shm::allocator<long> a = t.heap.get_allocator<long>();

                times(n, [&] {
                        std::vector<long, shm::allocator<long>> v(a);

                        for (long i = 0; i < 4; i++)
                                v.push_back(i);
                });
        } else {
                CHECK(is("null"));
                times(n, [] { __asm__ volatile(""); });
        }
        return 0;
}
