/*
 * Processes that construct, destroy and insert are killed wherever they happen to be.  Nobody waits for the dead, the
 * heap stays good, a construction loses no byte, and a container under a robust_mutex is as its last holder left it or
 * said to be broken.
 *
 *   storm [ROUNDS]
 */
#include "support.hpp"

#include <csignal>
#include <ctime>
#include <map>
#include <random>

namespace
{

std::mt19937 seeded;

/* SIGKILL for this process, in up to 400 us. */
void
die_soon(unsigned microseconds)
{
        struct sigevent event = {};
        struct itimerspec when = {};
        timer_t timer;

        event.sigev_notify = SIGEV_SIGNAL;
        event.sigev_signo = SIGKILL;
        CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
        when.it_value.tv_nsec = 1000L * (microseconds + 1);
        CHECK(timer_settime(timer, 0, &when, nullptr) == 0);
}

/* Two children at a time, each dies in f. */
template <class F>
void
kill_in(int rounds, F f)
{
        for (int i = 0; i < rounds; i++) {
                pid_t pids[2];

                for (pid_t &pid : pids) {
                        unsigned microseconds = seeded() % 400;

                        pid = start([&] {
                                die_soon(microseconds);
                                for (;;)
                                        f();
                        });
                }
                for (pid_t pid : pids)
                        CHECK(ended(pid) == -SIGKILL);
        }
}

const char *const prey[] = {"one", "two", "three"};

struct twin {
        std::uint64_t a, b;
        char rest[500];
        explicit twin(std::uint64_t v) : a(v), b(~v)
        {
                rest[0] = rest[499] = 'x';
        }
        bool
        is_whole() const
        {
                return a == ~b && rest[0] == 'x' && rest[499] == 'x';
        }
};

void
constructions_lose_nothing(const shm::heap &h, int rounds)
{
        std::uint64_t before = allocated(h.native());

        kill_in(rounds, [&] {
                for (const char *name : prey) {
                        h.find_or_construct<twin>(name)(std::uint64_t(getpid()));
                        (void)shheap_root_remove(h.native(), name);
                }
        });
        for (const char *name : prey) {
                twin *t = h.find<twin>(name).first;

                CHECK(!t || t->is_whole());
                CHECK(h.destroy<twin>(name) == (t != nullptr));
        }
        CHECK(allocated(h.native()) == before);
}

void
destroyers_break_nothing(const shm::heap &h, int rounds)
{
        std::uint64_t before = allocated(h.native());

        kill_in(rounds, [&] {
                for (const char *name : prey) {
                        h.construct<twin>(name, std::nothrow)(1u);
                        h.destroy<twin>(name);
                }
        });
        for (const char *name : prey)
                h.destroy<twin>(name);
        /* Who dies in destroy() may take its object along: that one, no more. */
        std::uint64_t lost = allocated(h.native()) - before;
        CHECK(lost <= 2u * static_cast<unsigned>(rounds) * shheap_nallocx(h.native(), sizeof(twin), 0));
}

struct book {
        using map = std::map<int, std::uint64_t, std::less<int>, shm::allocator<std::pair<const int, std::uint64_t>>>;

        shm::robust_mutex lock;
        map entries;
        std::uint64_t sum = 0, repairs = 0;
        explicit book(const map::allocator_type &a) : entries(a)
        {
        }
        void
        add(int key, std::uint64_t value)
        {
                shm::robust_lock held(lock, [&] { repair(); });

                if (auto found = entries.find(key); found != entries.end()) {
                        sum -= found->second;
                        entries.erase(found);
                }
                entries.emplace(key, value);
                sum += value;
        }
        /* The tree may be in two minds: a new one, and the nodes of the old one are lost. */
        void
        repair()
        {
                new (&entries) map(entries.get_allocator());
                sum = 0;
                repairs++;
        }
        bool
        is_whole()
        {
                shm::robust_lock held(lock, [&] { repair(); });
                std::uint64_t s = 0;

                for (auto &e : entries)
                        s += e.second;
                return s == sum;
        }
};

void
a_robust_mutex_tells(const shm::heap &h, int rounds)
{
        book *b = h.construct<book>("book")(h.get_allocator<book::map::value_type>());

        kill_in(rounds, [&] {
                static std::mt19937 random(static_cast<unsigned>(getpid()));
                CHECK(b->is_whole()); /* _exit(1), if not */
                for (int i = 0; i < 20; i++)
                        b->add(static_cast<int>(random() % 500), random());
        });
        CHECK(ended(start([&] {
                      shm::robust_lock held(b->lock, [&] { b->repair(); });
                      b->sum++; /* half of a change */
                      raise(SIGKILL);
              })) == -SIGKILL);
        std::uint64_t before = b->repairs;
        CHECK(b->is_whole() && b->repairs == before + 1);
        std::printf("%llu of %d deaths were in the lock\n", static_cast<unsigned long long>(b->repairs),
                    2 * rounds + 1);
        CHECK(h.destroy<book>("book"));
        (void)allocated(h.native());
}

} // namespace

int
main(int argc, char **argv)
{
        int rounds = argc > 1 ? std::atoi(argv[1]) : 300;
        unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : std::random_device()();
        test_heap t;

        std::printf("storm %d %u\n", rounds, seed);
        std::fflush(stdout);
        seeded.seed(seed);
        constructions_lose_nothing(t.heap, rounds);
        destroyers_break_nothing(t.heap, rounds);
        a_robust_mutex_tells(t.heap, rounds);
        return 0;
}
