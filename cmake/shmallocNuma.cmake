# PkgConfig::NUMA and NUMA_LDFLAGS: libnuma, by pkg-config or, before it had a file for that (2.0.13), where the
# compiler looks.  Used for the build, and by the installed CMake package; NUMA_FOUND says whether it is there.
pkg_check_modules(NUMA QUIET IMPORTED_TARGET numa)
if(NOT NUMA_FOUND)
  find_path(SHMALLOC_NUMA_INCLUDE numa.h)
  find_library(SHMALLOC_NUMA_LIBRARY numa)
  if(SHMALLOC_NUMA_INCLUDE AND SHMALLOC_NUMA_LIBRARY)
    if(NOT TARGET PkgConfig::NUMA)
      add_library(PkgConfig::NUMA INTERFACE IMPORTED)
      set_target_properties(PkgConfig::NUMA PROPERTIES
        INTERFACE_INCLUDE_DIRECTORIES "${SHMALLOC_NUMA_INCLUDE}"
        INTERFACE_LINK_LIBRARIES "${SHMALLOC_NUMA_LIBRARY}")
    endif()
    set(NUMA_LDFLAGS -lnuma)
    set(NUMA_FOUND 1)
  endif()
endif()
