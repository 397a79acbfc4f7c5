/*
 * The program of both: what is killed, and the one that comes next.  Written for Boost.Interprocess;
 * with shmalloc.hpp the names `heap`, open_or_create and open_only are those of another library.
 */
#include "victim.hpp"

struct deadly { /* its process dies in the constructor */
        deadly()
        {
                raise(SIGKILL);
        }
};

void
die_in_a_constructor(const char *name)
{
        heap h(open_only, name);

        h.construct<deadly>("deadly")();
}

void
die_in_an_allocation(const char *name)
{
        heap h(open_only, name);

        for (die_soon();;) {
                void *p = h.allocate(100);
                h.deallocate(p);
        }
}

void
come_next(const char *name)
{
        heap h(open_only, name);

        ++*h.find_or_construct<int>("runs")(0);
        h.deallocate(h.allocate(100));
}

void
make(const char *name)
{
        heap h(open_or_create, name, 16 << 20);
}

int
main(int argc, char **argv)
{
        return judge(argc > 1 ? std::atoi(argv[1]) : 1000,
                     {forget, make, die_in_a_constructor, die_in_an_allocation, come_next});
}
