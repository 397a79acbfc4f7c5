/*
 * Containers of the standard library and of Boost in one heap, made, changed and destroyed by programs that were built
 * by other compilers, for other standards and with other options: containers.sh runs them one after the other.
 *
 *   peer make|change|end NAME       the heap at one address; make creates it, end unlinks it
 *   peer rmake|rchange|rend NAME    at another address than the last: where it lay before is taken
 */
#include "support.hpp"

#include <algorithm>
#include <boost/container/deque.hpp>
#include <boost/container/flat_map.hpp>
#include <boost/container/list.hpp>
#include <boost/container/map.hpp>
#include <boost/container/stable_vector.hpp>
#include <boost/container/string.hpp>
#include <boost/container/vector.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <sys/mman.h>
#include <unordered_map>
#include <vector>

namespace
{

namespace bc = boost::container;

constexpr int n_each = 200; /* entries that every process adds */

template <class T> using ours = shm::allocator<T>;
template <class T> using moved = shm::relocatable_allocator<T>;
template <class T> using boosts = boost::interprocess::allocator<T, shm::segment_manager>;

template <template <class> class A> using std_string = std::basic_string<char, std::char_traits<char>, A<char>>;
template <template <class> class A> using boost_string = bc::basic_string<char, std::char_traits<char>, A<char>>;

std::string
text(int i)
{
        return "a text too long for the place inside of a string: " + std::to_string(i);
}

enum class what { make, change, end };

/* One container: how process number `turn` adds to it, and what has to be in there before. */
struct visit {
        const shm::heap &h;
        what todo;
        int turn;
        int n_containers = 0;

        int
        first() const
        {
                return turn * n_each;
        }

        template <class C, class Add, class Has>
        void
        one(const char *name, Add add, Has has)
        {
                C *c = todo == what::make ? h.construct<C>(name)(typename C::allocator_type(h.get_segment_manager()))
                                          : h.find<C>(name).first;

                CHECK(c);
                for (int i = 0; i < first(); i++) {
                        if (!has(*c, i)) {
                                std::fprintf(stderr, "%s: %d is not as it was left\n", name, i);
                                std::exit(1);
                        }
                }
                if (todo == what::end)
                        CHECK(h.destroy<C>(name));
                else
                        for (int i = first(); i < first() + n_each; i++)
                                add(*c, i);
                n_containers++;
        }
        template <class C>
        void
        sequence(const char *name)
        {
                one<C>(
                        name, [](C &c, int i) { c.push_back(i); },
                        [](C &c, int i) { return *std::next(c.begin(), i) == i; });
        }
        template <class C>
        void
        pairs(const char *name)
        {
                one<C>(
                        name, [](C &c, int i) { c.emplace(i, 3 * i); },
                        [](C &c, int i) { return c.find(i) != c.end() && c.find(i)->second == 3 * i; });
        }
        template <class C>
        void
        characters(const char *name)
        {
                one<C>(
                        name, [](C &c, int i) { c.push_back(static_cast<char>('a' + i % 26)); },
                        [](C &c, int i) { return c[static_cast<std::size_t>(i)] == 'a' + i % 26; });
        }
        template <class C, class S>
        void
        strings(const char *name)
        {
                one<C>(
                        name,
                        [](C &c, int i) {
                                S key(text(i).c_str(), c.get_allocator());
                                c.emplace(std::move(key), i);
                        },
                        [](C &c, int i) {
                                S key(text(i).c_str(), c.get_allocator());
                                return c.find(key) != c.end() && c.find(key)->second == i;
                        });
        }
};

template <class K, class V, template <class> class A> using pair_of = A<std::pair<const K, V>>;

template <template <class> class A>
void
of_boost(visit &v, const std::string &prefix)
{
        using S = boost_string<A>;
        auto name = [&](const char *kind) { return prefix + kind; };

        v.sequence<bc::vector<int, A<int>>>(name("vector").c_str());
        v.sequence<bc::stable_vector<int, A<int>>>(name("stable_vector").c_str());
        v.sequence<bc::deque<int, A<int>>>(name("deque").c_str());
        v.sequence<bc::list<int, A<int>>>(name("list").c_str());
        v.characters<S>(name("string").c_str());
        v.pairs<bc::map<int, int, std::less<int>, pair_of<int, int, A>>>(name("map").c_str());
        v.pairs<bc::flat_map<int, int, std::less<int>, A<std::pair<int, int>>>>(name("flat_map").c_str());
        v.strings<bc::map<S, int, std::less<S>, pair_of<S, int, A>>, S>(name("strings").c_str());
}

/* What libstdc++ keeps by an allocator's own pointers. */
template <template <class> class A>
void
of_std(visit &v, const std::string &prefix)
{
        v.sequence<std::vector<int, A<int>>>((prefix + "vector").c_str());
        v.sequence<std::deque<int, A<int>>>((prefix + "deque").c_str());
}

void
of_std_plain(visit &v)
{
        using S = std_string<ours>;
        using list = std::forward_list<int, ours<int>>;

        v.pairs<std::unordered_map<int, int, std::hash<int>, std::equal_to<int>, pair_of<int, int, ours>>>(
                "std.unordered_map");
        v.one<list>(
                "std.forward_list", [](list &l, int i) { l.push_front(i); },
                [](list &l, int i) { return std::find(l.begin(), l.end(), i) != l.end(); });
        v.sequence<std::list<int, ours<int>>>("std.list");
        v.characters<S>("std.string");
        v.pairs<std::map<int, int, std::less<int>, pair_of<int, int, ours>>>("std.map");
        v.strings<std::map<S, int, std::less<S>, pair_of<S, int, ours>>, S>("std.strings");
}

std::uint64_t
base_of(const shm::heap &h)
{
        return number(h.native(), "heap.base");
}

/* Opens the heap where nobody had it: the address that it would come to is taken. */
shm::heap
elsewhere(const char *name, const shm::options &o)
{
        std::uint64_t base = base_of(shm::heap(shm::open_only, name, o));
        void *at = reinterpret_cast<void *>(base);

        CHECK(mmap(at, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == at);
        shm::heap h(shm::open_only, name, o);
        CHECK(base_of(h) != base);
        return h;
}

/* The product of sizes that are too large is no small one. */
void
too_many_at_once(shm::segment_manager *s)
{
        shm::segment_manager::multiallocation_chain chain;
        const std::size_t sizes[] = {1, SIZE_MAX / 4 + 1};
        bool is_refused = false;

        try {
                s->allocate_many(sizes, 2, 4, chain);
        } catch (const std::bad_alloc &) {
                is_refused = true;
        }
        CHECK(is_refused && chain.empty());
}

} // namespace

int
main(int argc, char **argv)
{
        CHECK(argc == 3);
        std::string verb = argv[1];
        bool is_relocatable = verb[0] == 'r';
        what todo = verb == "make" || verb == "rmake" ? what::make
                    : verb == "end" || verb == "rend" ? what::end
                                                      : what::change;
        shm::options o(256u << 20);

        o.flags = is_relocatable ? SHHEAP_RELOCATABLE : 0;
        shm::heap h = todo == what::make ? shm::heap(shm::create_only, argv[2], o)
                      : is_relocatable   ? elsewhere(argv[2], o)
                                         : shm::heap(shm::open_only, argv[2], o);
        too_many_at_once(h.get_segment_manager());
        auto *turns = h.find_or_construct<int>("turns")(0);
        std::uint64_t before = allocated(h.native());
        auto *at_start = h.find_or_construct<std::uint64_t>("at_start")(before);
        visit v{h, todo, *turns};

        if (is_relocatable) {
                of_std<moved>(v, "std.");
                of_boost<moved>(v, "boost.");
        } else {
                of_std<ours>(v, "std.");
                of_std_plain(v);
                of_boost<ours>(v, "boost.");
                of_boost<boosts>(v, "bi.");
        }
        ++*turns;
        std::printf("%s: %d containers of %d entries, at %#llx\n", argv[1], v.n_containers, v.first(),
                    static_cast<unsigned long long>(base_of(h)));
        if (todo == what::end) {
                std::uint64_t after = *at_start;

                CHECK(h.destroy<std::uint64_t>("at_start"));
                CHECK(allocated(h.native()) == after);
                CHECK(shm::heap::remove(argv[2]));
        }
        return 0;
}
