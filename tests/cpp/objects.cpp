/*
 * Objects with names and without: that construct() makes one or says why not, that a constructor which throws or is
 * killed leaves neither a name nor a block, that a destructor runs once among racing callers, and that allocators,
 * references and locks do what they say.
 */
#include "support.hpp"

#include <atomic>
#include <csignal>
#include <cstring>
#include <list>
#include <map>
#include <vector>

namespace
{

struct point {
        int x, y;
        point(int x_, int y_) : x(x_), y(y_)
        {
        }
};

struct move_only {
        shm::unique_ptr<point> p;
        explicit move_only(shm::unique_ptr<point> p_) : p(std::move(p_))
        {
        }
};

/* Counts how many there are, and throws at the one that it is told to. */
struct counted {
        static inline int live = 0, throw_at = -1;
        counted()
        {
                if (live == throw_at)
                        throw std::runtime_error("no more");
                live++;
        }
        ~counted()
        {
                live--;
        }
};

struct odd {
        char bytes[3];
};

struct alignas(128) wide {
        char bytes[128];
};

/* Whose destructor looks for itself: the name is gone by then. */
struct looks_back {
        const shm::heap *h;
        explicit looks_back(const shm::heap *h_) : h(h_)
        {
        }
        ~looks_back()
        {
                CHECK(!h->destroy<looks_back>("looks_back"));
        }
};

void
names(const shm::heap &h)
{
        point *p = h.construct<point>("p")(3, 4);

        CHECK(p->x == 3 && p->y == 4);
        CHECK(error_of([&] { h.construct<point>("p")(5, 6); }) == EEXIST);
        CHECK(!h.construct<point>("p", std::nothrow)(5, 6));
        CHECK(h.find_or_construct<point>("p")(7, 8) == p && p->x == 3);
        CHECK(h.find<point>("p") == std::make_pair(p, std::size_t(1)));
        CHECK(!h.find<point>("q").first);
        CHECK(error_of([&] { h.find<odd>("p"); }) == EEXIST);
        CHECK(error_of([&] { h.find_or_construct<odd>("p")(); }) == EEXIST);
        CHECK(error_of([&] { h.destroy<odd>("p"); }) == EEXIST && h.find<point>("p").first == p);
        CHECK(h.destroy<point>("p") && !h.destroy<point>("p"));
        h.construct<looks_back>("looks_back")(&h);
        CHECK(h.destroy<looks_back>("looks_back"));
        CHECK(!h.find<point>("p").first);

        point *many = h.construct<point>("many")[10](1, 2);
        CHECK(h.find<point>("many") == std::make_pair(many, std::size_t(10)) && many[9].y == 2);
        CHECK(h.destroy<point>("many"));
        CHECK(h.construct<move_only>("moved")(h.make_unique<point>(1, 2))->p->y == 2);
        CHECK(h.destroy<move_only>("moved"));
        CHECK(h.get_segment_manager()->find_or_construct<int>("i")(5) == h.find<int>("i").first);
        CHECK(h.destroy<int>("i"));
}

/* More than there is: its blocks can never be had. */
struct giant {
        char bytes[std::size_t(1) << 40];
};

/* With std::nothrow nothing is thrown, whatever it is that fails; without, the same is. */
void
nothing_is_thrown(const shm::heap &h)
{
        std::uint64_t before = allocated(h.native());
        const std::string too_long(64, 'n');
        const shm::heap none;
        auto fails_with = [](int err, auto *p) { return !p && errno == err; };
        auto bad_alloc = [](auto make) {
                try {
                        make();
                } catch (const std::bad_alloc &) {
                        return true;
                }
                return false;
        };

        CHECK(fails_with(ENOMEM, h.construct<giant>("giant", std::nothrow)()));
        CHECK(fails_with(ENOMEM, h.construct<int>("giant", std::nothrow)[std::size_t(1) << 62](1)));
        CHECK(fails_with(ENOMEM, h.find_or_construct<giant>("giant", std::nothrow)()));
        CHECK(fails_with(ENOMEM, h.construct<giant>(shm::anonymous_instance, std::nothrow)()));
        CHECK(bad_alloc([&] { h.construct<giant>("giant")(); }));
        CHECK(bad_alloc([&] { h.construct<giant>(shm::anonymous_instance)(); }));
        CHECK(fails_with(EINVAL, h.construct<int>(too_long.c_str(), std::nothrow)(1)));
        CHECK(fails_with(EINVAL, h.construct<int>("none", std::nothrow)[0](1)));
        CHECK(fails_with(EINVAL, h.construct<move_only>("two", std::nothrow)[2](h.make_unique<point>(1, 2))));
        CHECK(error_of([&] { h.construct<move_only>("two")[2](h.make_unique<point>(1, 2)); }) == EINVAL);
        CHECK(fails_with(EBADF, none.construct<int>("x", std::nothrow)(1)));
        CHECK(fails_with(EBADF, none.find_or_construct<int>("x", std::nothrow)(1)));
        CHECK(fails_with(EBADF, none.construct<int>(shm::anonymous_instance, std::nothrow)(1)));
        CHECK(!none.allocate(1, std::nothrow));

        int *i = h.construct<int>("i", std::nothrow)(5);
        CHECK(i && *i == 5 && h.find_or_construct<int>("i", std::nothrow)(6) == i);
        CHECK(fails_with(EEXIST, h.construct<int>("i", std::nothrow)(7)) && *i == 5);
        CHECK(fails_with(EEXIST, h.find_or_construct<odd>("i", std::nothrow)()));
        CHECK(h.destroy<int>("i"));
        h.destroy_ptr(h.construct<int>(shm::anonymous_instance, std::nothrow)(8));
        CHECK(allocated(h.native()) == before);
}

void
exceptions(const shm::heap &h)
{
        auto throws = [&](auto make) {
                try {
                        make();
                } catch (const std::runtime_error &) {
                        return true;
                }
                return false;
        };
        std::uint64_t before = allocated(h.native());

        counted::throw_at = 0;
        CHECK(throws([&] { h.construct<counted>("c")(); }));
        CHECK(throws([&] { h.construct<counted>(shm::anonymous_instance)(); }));
        counted::throw_at = 3;
        CHECK(throws([&] { h.construct<counted>("c")[5](); }));
        CHECK(counted::live == 0 && !h.find<counted>("c").first);
        counted::throw_at = -1;
        h.construct<counted>("c")[5]();
        CHECK(counted::live == 5 && h.destroy<counted>("c") && counted::live == 0);
        h.destroy_ptr(h.construct<counted>(shm::anonymous_instance)());
        CHECK(counted::live == 0);
        CHECK(*h.make_unique<const int>(5) == 5);
        CHECK(*h.construct<const int>("constant")(6) == 6 && h.destroy<const int>("constant"));
        CHECK(reinterpret_cast<std::uintptr_t>(h.make_unique<wide>().get()) % alignof(wide) == 0);
        CHECK(allocated(h.native()) == before);
}

/* What an outrun construction has made is destroyed: another object of the name appears while it is made. */
struct outrun {
        static inline int destroyed = 0;
        static inline const shm::heap *other = nullptr;
        int value;
        explicit outrun(int v) : value(v)
        {
                const shm::heap *o = std::exchange(other, nullptr);

                if (o)
                        o->construct<outrun>("race")(2);
        }
        ~outrun()
        {
                destroyed++;
        }
};

void
races(const shm::heap &h)
{
        outrun::other = &h;
        CHECK(h.find_or_construct<outrun>("race")(1)->value == 2 && outrun::destroyed == 1);
        CHECK(h.destroy<outrun>("race") && outrun::destroyed == 2);
        outrun::other = &h;
        CHECK(error_of([&] { h.construct<outrun>("race")(1); }) == EEXIST && outrun::destroyed == 3);
        CHECK(h.destroy<outrun>("race"));
}

/* In the heap, and shared by all. */
struct tally {
        std::atomic<int> constructed{0}, destroyed{0}, won{0};
};

struct tallied {
        tally *t;
        explicit tallied(tally *t_) : t(t_)
        {
                t->constructed++;
        }
        ~tallied()
        {
                t->destroyed++;
        }
};

/* All go through the same names in the same order, and most of the way is between looking and taking. */
void
destructors_run_once(const shm::heap &h)
{
        constexpr int n_names = 100, n_rounds = 20;
        tally *t = h.construct<tally>("tally")();
        auto name = [](int i) { return "prey" + std::to_string(i); };

        for (int round = 1; round <= n_rounds; round++) {
                pid_t pids[3];

                for (int i = 0; i < n_names; i++)
                        h.construct<tallied>(name(i).c_str())(t);
                for (pid_t &pid : pids) {
                        pid = start([&] {
                                for (int i = 0; i < n_names; i++)
                                        t->won += h.destroy<tallied>(name(i).c_str());
                        });
                }
                for (pid_t pid : pids)
                        CHECK(ended(pid) == 0);
                CHECK(t->won == round * n_names && t->destroyed == round * n_names);
        }
        CHECK(t->constructed == t->destroyed && h.destroy<tally>("tally"));
}

struct deadly {
        char bytes[3000];
        deadly()
        {
                raise(SIGKILL);
        }
};

void
death_in_a_constructor(const shm::heap &h)
{
        std::uint64_t before = allocated(h.native());

        for (int i = 0; i < 20; i++) {
                CHECK(ended(start([&] { h.construct<deadly>("victim")(); })) == -SIGKILL);
                CHECK(!h.find<deadly>("victim").first);
        }
        CHECK(allocated(h.native()) == before);
        CHECK(h.construct<point>("victim")(1, 2)->y == 2);
        CHECK(h.destroy<point>("victim"));
}

void
locks(const shm::heap &h)
{
        auto *m = h.construct<shm::robust_mutex>("lock")();

        CHECK(m->lock() == shm::lock_state::acquired);
        CHECK(ended(start([&] { _exit(m->try_acquire() == shm::lock_state::busy ? 7 : 0); })) == 7);
        m->unlock();
        CHECK(ended(start([&] {
                      m->lock();
                      raise(SIGKILL);
              })) == -SIGKILL);
        int repairs = 0;
        {
                shm::robust_lock lock(*m, [&] { repairs++; });
                CHECK(lock.owner_died());
        }
        {
                shm::robust_lock lock(*m, [&] { repairs++; });
                CHECK(!lock.owner_died() && repairs == 1);
        }
        CHECK(ended(start([&] {
                      m->lock();
                      raise(SIGKILL);
              })) == -SIGKILL);
        {
                std::lock_guard<shm::robust_mutex> looks_away(*m);
        }
        CHECK(error_of([&] { m->lock(); }) == ENOTRECOVERABLE);
        CHECK(h.destroy<shm::robust_mutex>("lock"));
}

void
allocators(const shm::heap &h)
{
        static_assert(sizeof(shm::allocator<int>) == 8 && sizeof(shm::unique_ptr<int>) == 8);
        static_assert(std::is_trivially_copyable_v<shm::ref<int>> && sizeof(shm::ref<int>) == 8);
        std::uint64_t before = (void(h.get_segment_manager()), allocated(h.native()));

        {
                std::vector<int, shm::allocator<int>> v({1, 2, 3}, h.get_allocator<int>());
                CHECK(shheap_of(v.data()) == h.native());
                decltype(v) w(h.get_allocator<int>());
                w = std::move(v);
                CHECK(w.size() == 3);
                CHECK(error_of([&] {
                              try {
                                      w.reserve(w.max_size());
                              } catch (const std::bad_alloc &) {
                                      throw shm::error(-ENOMEM);
                              }
                      }) == ENOMEM);
                CHECK(shheap_set_default(h.native()) == 0);
                std::list<int, shm::default_allocator<int>> l{1, 2};
                CHECK(shheap_of(&l.front()) == h.native());
                CHECK(shheap_set_default(nullptr) == 0);
        }
#if defined(__cpp_lib_memory_resource)
        {
                shm::memory_resource resource(h);
                std::pmr::vector<int> v(1000, 1, &resource);
                CHECK(shheap_of(v.data()) == h.native() && resource.is_equal(shm::memory_resource(h)));
        }
#endif
        auto p = h.make_unique<point>(1, 2);
        shm::ref<point> r = h.get_ref(p.get());
        CHECK(h.get_ptr(r) == p.get() && r && !shm::ref<point>());
        int mine = 0;
        CHECK(!h.get_ref(&mine));
        const point *looked_at = p.get();
        static_assert(std::is_same_v<decltype(h.get_ref(looked_at)), shm::ref<const point>>);
        static_assert(!std::is_convertible_v<shm::ref<const point>, shm::ref<point>>);
        shm::ref<const point> c = r;
        CHECK(c == h.get_ref(looked_at) && std::hash<decltype(c)>()(c) == std::hash<decltype(r)>()(r));
        p.reset();
        CHECK(allocated(h.native()) == before);
}

void
opening(const char *name)
{
        CHECK(error_of([&] { shm::heap(shm::create_only, name); }) == EEXIST);
        CHECK(error_of([&] { shm::heap(shm::open_only, "cpp-there-is-none"); }) == ENOENT);
        shm::heap a(shm::open_only, name), b(std::move(a));
        CHECK(!a && b);
        a = std::move(b);
        CHECK(a && !b);
        CHECK(error_of([&] { b.construct<int>("x")(1); }) == EBADF);
        CHECK(!shm::heap::remove("cpp-there-is-none"));
        /* What is left of another process's view. */
        a.construct<int>("ro")(42);
        CHECK(ended(start([&] { execl("/proc/self/exe", "objects", name, static_cast<char *>(nullptr)); })) == 42);
        CHECK(a.destroy<int>("ro"));
}

} // namespace

int
main(int argc, char **argv)
{
        if (argc > 1) {
                shm::heap h(shm::open_read_only, argv[1]);

                CHECK(error_of([&] { h.construct<int>("other")(1); }) == EACCES);
                CHECK(h.get_segment_manager()->find<int>("ro").first == h.find<int>("ro").first);
                return *h.find<int>("ro").first;
        }
        test_heap t;

        names(t.heap);
        nothing_is_thrown(t.heap);
        exceptions(t.heap);
        races(t.heap);
        destructors_run_once(t.heap);
        death_in_a_constructor(t.heap);
        locks(t.heap);
        allocators(t.heap);
        opening(t.name());
        return 0;
}
