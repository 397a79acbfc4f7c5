/* Boost.Interprocess: a lock in the segment, which a dead process keeps. */
#define LIBRARY "Boost.Interprocess"

#include <boost/interprocess/managed_shared_memory.hpp>

using boost::interprocess::open_only;
using boost::interprocess::open_or_create;
using heap = boost::interprocess::managed_shared_memory;

void
forget(const char *name)
{
        boost::interprocess::shared_memory_object::remove(name);
}

#include "program.hpp"
