/* What the tests of shmalloc.hpp share: checks that stay in, heaps that go, children that are killed. */
#ifndef SHMALLOC_TESTS_CPP_SUPPORT_HPP
#define SHMALLOC_TESTS_CPP_SUPPORT_HPP

#include <cstdio>
#include <cstdlib>
#include <shmalloc/shmalloc.hpp>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(claim)                                                                                                   \
        do {                                                                                                           \
                if (!(claim)) {                                                                                        \
                        std::fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #claim,                   \
                                     shheap_errormsg());                                                               \
                        std::exit(1);                                                                                  \
                }                                                                                                      \
        } while (0)

/* The error of a call that has to throw one; 0: it threw none. */
template <class F>
int
error_of(F f)
{
        try {
                f();
        } catch (const std::system_error &e) {
                return e.code().value();
        }
        return 0;
}

inline std::uint64_t
number(shheap *h, const char *name)
{
        std::uint64_t value = 0;
        std::size_t length = sizeof(value);

        CHECK(shheap_ctl(h, name, &value, &length, nullptr, 0) == 0);
        return value;
}

/* What is allocated when nobody else is there. */
inline std::uint64_t
allocated(shheap *h)
{
        CHECK(shheap_reap(h) == 0);
        CHECK(shheap_check(h, SHHEAP_CHECK_QUIESCENT, stderr) == 0);
        return number(h, "stats.allocated");
}

/* A heap of a name of its own, which goes with the process that made it. */
class test_heap
{
      public:
        test_heap() : maker_(getpid())
        {
                name_ = "cpp-" + std::to_string(maker_);
                heap = shm::heap(shm::create_only, name_.c_str(), 256u << 20);
                current() = this;
                std::atexit(forget);
        }
        ~test_heap()
        {
                forget();
        }
        const char *
        name() const
        {
                return name_.c_str();
        }

        shm::heap heap;

      private:
        static test_heap *&
        current()
        {
                static test_heap *one = nullptr;
                return one;
        }
        static void
        forget()
        {
                if (current() && current()->maker_ == getpid())
                        (void)shheap_unlink(current()->name());
                current() = nullptr;
        }

        pid_t maker_;
        std::string name_;
};

/* A child that does f() and ends; its pid. */
template <class F>
pid_t
start(F f)
{
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
                f();
                _exit(0);
        }
        return pid;
}

/* How it ended: its exit status, or minus the signal. */
inline int
ended(pid_t pid)
{
        int status = 0;

        CHECK(waitpid(pid, &status, 0) == pid);
        return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
