/* A program of somebody else, in C++: a vector in a heap. */
#include <shmalloc/shmalloc.hpp>
#include <string>
#include <unistd.h>
#include <vector>

int
main()
{
        using vector = std::vector<int, shm::allocator<int>>;
        std::string name = "consumer-" + std::to_string(getpid());
        shm::heap heap(shm::create_only, name.c_str());
        vector *v = heap.construct<vector>("v")(heap.get_allocator<int>());

        v->assign(100, 1);
        return heap.destroy<vector>("v") && shm::heap::remove(name.c_str()) ? 0 : 1;
}
