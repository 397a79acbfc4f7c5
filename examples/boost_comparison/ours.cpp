/* shmalloc.hpp: no lock that anybody waits for. */
#define LIBRARY "shmalloc"

#include <shmalloc/shmalloc.hpp>

using shm::heap;
using shm::open_only;
using shm::open_or_create;

void
forget(const char *name)
{
        heap::remove(name);
}

#include "program.hpp"
