# Each examples/*.c, and each folder below examples/ with C files in it, is a program of its own that knows the public
# header only.
set(SHMALLOC_EXAMPLE_NAMES "")

function(shmalloc_add_example name)
  add_executable(${name} ${ARGN})
  shmalloc_flags(${name})
  target_link_libraries(${name} PRIVATE shmalloc::shmalloc Threads::Threads)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/examples")
endfunction()

file(GLOB entries CONFIGURE_DEPENDS LIST_DIRECTORIES true "${PROJECT_SOURCE_DIR}/examples/*")
foreach(entry IN LISTS entries)
  get_filename_component(name "${entry}" NAME_WE)
  if(IS_DIRECTORY "${entry}")
    file(GLOB sources CONFIGURE_DEPENDS "${entry}/*.c")
  elseif(entry MATCHES "\\.c$")
    set(sources "${entry}")
  else()
    set(sources "")
  endif()
  if(sources)
    shmalloc_add_example(${name} ${sources})
    list(APPEND SHMALLOC_EXAMPLE_NAMES ${name})
  endif()
endforeach()

add_subdirectory("${PROJECT_SOURCE_DIR}/examples/boost_comparison")
