/*
 * What is at stake: functions of the caller's that are called back throw, or end their thread.  Everything on the way
 * is cleaned up, the heap is as it was before, and the thread goes on using it.
 */
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

#include <shmalloc/shmalloc.h>

namespace
{

shheap *h;
std::string dir;

void
clean_up()
{
        unlink((dir + "/shmalloc.throw").c_str());
        rmdir(dir.c_str());
}

void
check(bool is_true, const char *what, int line)
{
        if (is_true)
                return;
        std::fprintf(stderr, "throw.cpp:%d: not so: %s (%s)\n", line, what, shheap_errormsg());
        clean_up();
        _exit(1);
}

#define CHECK(what) check((what), #what, __LINE__)

uint64_t
figure(const char *name)
{
        uint64_t value = 0;
        size_t length = sizeof value;

        CHECK(shheap_ctl(h, name, &value, &length, nullptr, 0) == 0);
        return value;
}

long
count_mappings()
{
        std::ifstream maps("/proc/self/maps");
        std::string line;
        long n = 0;

        while (std::getline(maps, line))
                n++;
        return n;
}

void
check_absent(const char *name)
{
        void *obj;

        CHECK(shheap_root(h, name, 0, 0, nullptr, nullptr, &obj) == -ENOENT);
}

void
check_can_be_made(const char *name)
{
        void *obj;

        CHECK(shheap_root(h, name, 500, 0, nullptr, nullptr, &obj) == 0);
        CHECK(shheap_root_remove(h, name) == 0);
}

/* ------------------------------------------------------------------ exceptions */

int
throw_at_once(void *, size_t, void *)
{
        throw std::runtime_error("init");
}

int
throw_inside(void *, size_t, void *arg)
{
        int depth = *static_cast<int *>(arg);
        int next = depth - 1;
        std::string name = "inner" + std::to_string(depth);
        void *obj;

        shheap_free(h, shheap_malloc(h, 5000));
        if (depth == 0)
                throw std::runtime_error("inner init");
        return shheap_root(h, name.c_str(), 300, 0, throw_inside, &next, &obj);
}

int
throw_from_iteration(const char *, void *, size_t, void *)
{
        throw std::runtime_error("iterate");
}

int
throw_from_walk(const struct shheap_block *, void *)
{
        throw std::runtime_error("walk");
}

/* The call must throw, and leave nothing. */
template <class Call>
void
check_thrown(Call call)
{
        uint64_t allocated = figure("stats.allocated"), threads = figure("heap.threads");
        long n_mappings = count_mappings();

        for (int i = 0; i < 50; i++) {
                bool is_thrown = false;

                try {
                        call();
                } catch (const std::runtime_error &) {
                        is_thrown = true;
                }
                CHECK(is_thrown);
        }
        CHECK(figure("stats.allocated") == allocated);
        CHECK(figure("heap.threads") == threads);
        CHECK(count_mappings() <= n_mappings + 1); /* the C library may have wanted one */
        CHECK(shheap_check(h, SHHEAP_CHECK_QUIESCENT, nullptr) == 0);
}

void
exceptions()
{
        void *obj;

        CHECK(shheap_root(h, "there", 100, 0, nullptr, nullptr, &obj) == 0);
        check_thrown([&] { CHECK(shheap_root(h, "object", 300, 0, throw_at_once, nullptr, &obj) < 0); });
        check_absent("object");
        check_thrown([&] {
                int depth = 2;

                CHECK(shheap_root(h, "object", 300, 0, throw_inside, &depth, &obj) < 0);
        });
        check_absent("object");
        check_absent("inner2");
        check_thrown([&] { CHECK(shheap_root_iterate(h, throw_from_iteration, nullptr) < 0); });
        check_thrown([&] { CHECK(shheap_walk(h, SHHEAP_WALK_LIVE, throw_from_walk, nullptr) < 0); });
        check_can_be_made("object");
}

/* ------------------------------------------------------------------ the end of the thread */

struct Witness {
        bool *was_here;
        ~Witness()
        {
                *was_here = true;
        }
};

int
exit_thread(void *, size_t, void *)
{
        shheap_free(h, shheap_malloc(h, 100));
        pthread_exit(nullptr);
}

/* The caller's cancel state is init()'s. */
int
be_cancelled(void *, size_t, void *arg)
{
        int state;

        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
        pthread_setcancelstate(state, nullptr);
        CHECK(state == *static_cast<int *>(arg));
        pthread_cancel(pthread_self());
        pthread_testcancel();
        return 0;
}

struct End {
        int (*init)(void *obj, size_t size, void *arg);
        int cancel_state;
        bool unwinds;
        bool is_unwound, has_returned;
};

void *
run_end(void *arg)
{
        End *e = static_cast<End *>(arg);
        Witness witness{&e->is_unwound};
        void *obj;

        pthread_setcancelstate(e->cancel_state, nullptr);
        shheap_free(h, shheap_malloc(h, 3000));
        CHECK(shheap_root(h, "object", 300, 0, e->init, &e->cancel_state, &obj) == 0);
        e->has_returned = true;
        return nullptr;
}

void
end_of_the_thread(End e)
{
        uint64_t allocated = figure("stats.allocated");

        for (int i = 0; i < 20; i++) {
                pthread_t thread;

                e.is_unwound = e.has_returned = false;
                CHECK(pthread_create(&thread, nullptr, run_end, &e) == 0);
                pthread_join(thread, nullptr);
                CHECK(e.is_unwound);
                CHECK(e.has_returned == !e.unwinds);
                if (e.unwinds)
                        check_absent("object");
                else
                        CHECK(shheap_root_remove(h, "object") == 0);
        }
        CHECK(shheap_reap(h) >= 0);
        CHECK(figure("stats.allocated") == allocated);
        CHECK(figure("heap.threads") == 1);
        CHECK(shheap_check(h, SHHEAP_CHECK_QUIESCENT, nullptr) == 0);
}

} // namespace

int
main()
{
        char path[] = "/dev/shm/shmalloc-test-throw-XXXXXX";

        CHECK(mkdtemp(path) != nullptr);
        dir = path;
        setenv("SHMALLOC_DIR", path, 1);
        CHECK(shheap_open(&h, "throw", SHHEAP_CREATE, nullptr) == 0);
        exceptions();
        end_of_the_thread({exit_thread, PTHREAD_CANCEL_ENABLE, true, false, false});
        end_of_the_thread({be_cancelled, PTHREAD_CANCEL_ENABLE, true, false, false});
        end_of_the_thread({be_cancelled, PTHREAD_CANCEL_DISABLE, false, false, false});
        CHECK(shheap_close(h) == 0);
        clean_up();
        return 0;
}
