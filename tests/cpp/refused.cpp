/*
 * What must not lie in a heap does not compile.  refused.sh compiles this once for each CASE; behind it stands what the
 * compiler has to say.  Case 0 is allowed, or the others would prove nothing.
 */
#include <any>
#include <array>
#include <atomic>
#include <condition_variable>
#include <list>
#include <map>
#include <memory_resource>
#include <optional>
#include <shared_mutex>
#include <shmalloc/shmalloc.hpp>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

struct with_virtual {
        virtual ~with_virtual() = default;
};

struct base {
        int i;
};
struct derived : base {
};

template <class T> using vector_of = std::vector<T, shm::allocator<T>>;
template <class T> using relocatable_of = std::vector<T, shm::relocatable_allocator<T>>;
template <class T> using list_of = std::list<T, shm::allocator<T>>;

int
main()
{
        shm::heap h(shm::open_or_create, "refused");
#if CASE == 0 /* allowed */
        h.construct<vector_of<std::pair<const int *, std::optional<double>>>>("t")(h.get_segment_manager());
        h.construct<shm::unique_ptr<int>>("t")();
        h.construct<std::variant<int, std::tuple<with_virtual *, std::array<char, 3>>>>("t")();
        static_assert(shm::is_private<std::array<const int[3], 2>>::value == shm::reason::none);
        static_assert(std::is_convertible_v<shm::unique_ptr<int>, shm::unique_ptr<const int>>);
        static_assert(!std::is_convertible_v<shm::unique_ptr<derived>, shm::unique_ptr<base>>);
        h.construct<std::string_view>("t")("text");
        h.construct<std::atomic<int>>("t")(1);
        relocatable_of<std::pair<int, shm::offset_ptr<int>>> v(h.get_segment_manager());
        relocatable_of<std::pair<int, relocatable_of<int>>> w(h.get_segment_manager());
#elif CASE == 1  /* a type with virtual functions keeps a pointer to a private table */
        h.construct<with_virtual>("t")();
#elif CASE == 2  /* std::shared_ptr and weak_ptr keep a private virtual table */
        h.construct<std::shared_ptr<int>>("t")();
#elif CASE == 3  /* containers of std::pmr keep a pointer to a private memory_resource */
        h.construct<std::pmr::vector<int>>("t")();
#elif CASE == 4  /* std::allocator takes private memory */
        h.construct<std::string>("t")("x");
#elif CASE == 5  /* functions lie at other addresses in other processes */
        h.construct<int (*)(int)>("t")(nullptr);
#elif CASE == 6  /* functions lie at other addresses in other processes */
        h.construct<std::tuple<int, std::function<void()>>>("t")();
#elif CASE == 7  /* a reference or a function is no object that could lie in a heap */
        int i = 0;
        h.construct<int &>("t")(i);
#elif CASE == 8  /* std::mutex is for one process */
        h.construct<std::mutex>("t")();
#elif CASE == 9  /* std::default_delete gives blocks to the private heap */
        h.construct<std::unique_ptr<int>>(shm::anonymous_instance)();
#elif CASE == 10 /* a named object is aligned to 16 bytes */
        struct alignas(64) wide {
                char bytes[64];
        };
        h.construct<wide>("t")();
#elif CASE == 11 /* std::shared_ptr and weak_ptr keep a private virtual table */
        list_of<std::shared_ptr<int>> l(h.get_segment_manager());
        l.push_back(nullptr);
#elif CASE == 12 /* a type with virtual functions keeps a pointer to a private table */
        list_of<with_virtual> l(h.get_segment_manager());
        l.emplace_back();
#elif CASE == 13 /* a type with virtual functions keeps a pointer to a private table */
        vector_of<with_virtual> v(h.get_segment_manager());
        v.emplace_back();
#elif CASE == 14 /* std::allocator takes private memory */
        std::map<int, std::string, std::less<int>, shm::allocator<std::pair<const int, std::string>>> m(
                h.get_segment_manager());
#elif CASE == 15 /* a plain pointer means nothing where the heap lies elsewhere */
        std::vector<int *, shm::relocatable_allocator<int *>> v(h.get_segment_manager());
        v.push_back(nullptr);
#elif CASE == 16 /* a type with virtual functions keeps a pointer to a private table */
        h.construct<shm::memory_resource>("t")(h);
#elif CASE == 17 /* arrays are made by construct<T>(name)[n] */
        h.construct<int[4]>("t")();
#elif CASE == 18 /* std::shared_ptr and weak_ptr keep a private virtual table */
        std::vector<std::weak_ptr<int>, shm::default_allocator<std::weak_ptr<int>>> v;
#elif CASE == 19 /* a plain pointer means nothing where the heap lies elsewhere */
        std::forward_list<int, shm::relocatable_allocator<int>> l(h.get_segment_manager());
        l.push_front(1);
#elif CASE == 20 /* a plain pointer means nothing where the heap lies elsewhere */
        std::unordered_map<int, int, std::hash<int>, std::equal_to<int>,
                           shm::relocatable_allocator<std::pair<const int, int>>>
                m(h.get_segment_manager());
        m.emplace(1, 1);
#elif CASE == 21 /* a type with virtual functions keeps a pointer to a private table */
        h.construct<std::optional<with_virtual>>("t")();
#elif CASE == 22 /* a type with virtual functions keeps a pointer to a private table */
        h.construct<std::pair<int, std::array<with_virtual, 2>>>("t")();
#elif CASE == 23 /* a type with virtual functions keeps a pointer to a private table */
        vector_of<std::variant<int, std::tuple<char, const with_virtual>>> v(h.get_segment_manager());
        v.emplace_back(1);
#elif CASE == 24 /* a type with virtual functions keeps a pointer to a private table */
        h.construct<std::array<with_virtual[2], 3>>("t")();
#elif CASE == 25 /* functions lie at other addresses in other processes */
        h.construct<std::any>("t")();
#elif CASE == 26 /* std::mutex is for one process */
        h.construct<std::optional<std::shared_mutex>>("t")();
#elif CASE == 27 /* std::mutex is for one process */
        h.construct<std::condition_variable>("t")();
#elif CASE == 28 /* a heap's handle is of one process */
        vector_of<shheap *> v(h.get_segment_manager());
#elif CASE == 29 /* a heap's handle is of one process */
        h.construct<std::pair<int, const shm::heap *>>("t")(1, &h);
#elif CASE == 30 /* a plain pointer means nothing where the heap lies elsewhere */
        relocatable_of<std::pair<int, int *>> v(h.get_segment_manager());
#elif CASE == 31 /* a plain pointer means nothing where the heap lies elsewhere */
        relocatable_of<std::optional<vector_of<int>>> v(h.get_segment_manager());
#elif CASE == 32 /* a plain pointer means nothing where the heap lies elsewhere */
        relocatable_of<shm::unique_ptr<int>> v(h.get_segment_manager());
#elif CASE == 33 /* unique_ptr does not know how many there are */
        shm::unique_ptr<int[]> p;
#endif
        return 0;
}
