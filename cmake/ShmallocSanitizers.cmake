# Which sanitizers run on this machine.
#
#   shmalloc_find_sanitizer(<name> <flags>)
#
# sets SHMALLOC_HAVE_<name> and SHMALLOC_RUN_<name>, the command that a sanitized program is started with: empty,
# or "setarch -R" where the sanitizer's runtime cannot live with the kernel's address randomisation.

function(shmalloc_find_sanitizer name flags)
  if(DEFINED CACHE{SHMALLOC_HAVE_${name}})
    return()
  endif()
  set(dir "${PROJECT_BINARY_DIR}/CMakeFiles/sanitizer-${name}")
  file(MAKE_DIRECTORY "${dir}")
  file(WRITE "${dir}/probe.c" [[
#include <pthread.h>
static void *thread(void *arg) { return arg; }
int main(void)
{
        pthread_t t;
        return pthread_create(&t, NULL, thread, NULL) || pthread_join(t, NULL);
}
]])
  try_compile(built "${dir}/build" SOURCES "${dir}/probe.c"
    COMPILE_DEFINITIONS -fsanitize=${flags}
    LINK_OPTIONS -fsanitize=${flags}
    LINK_LIBRARIES Threads::Threads
    COPY_FILE "${dir}/probe")
  set(have FALSE)
  set(run "")
  if(built)
    execute_process(COMMAND "${dir}/probe" RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
    if(status EQUAL 0)
      set(have TRUE)
    else()
      execute_process(COMMAND setarch -R "${dir}/probe" RESULT_VARIABLE status OUTPUT_QUIET ERROR_QUIET)
      if(status EQUAL 0)
        set(have TRUE)
        set(run setarch -R)
      endif()
    endif()
  endif()
  if(NOT have)
    message(WARNING "-fsanitize=${flags} does not work here: its tests are left out")
  endif()
  set(SHMALLOC_HAVE_${name} ${have} CACHE INTERNAL "-fsanitize=${flags} works")
  set(SHMALLOC_RUN_${name} "${run}" CACHE INTERNAL "how a program built with -fsanitize=${flags} is started")
endfunction()
