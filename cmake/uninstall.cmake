# Removes what the last "cmake --install" of a build folder wrote, and the folders of this project that are empty then.
# A configuration file that is not as it was installed stays.
#
#   cmake -DBUILD=DIR -DSOURCE=DIR -P uninstall.cmake
#
# DESTDIR is to be what it was for the installation.

file(GLOB manifests "${BUILD}/install_manifest.txt" "${BUILD}/install_manifest_*.txt")
if(NOT manifests)
  message(FATAL_ERROR "There is no ${BUILD}/install_manifest.txt: nothing was installed out of ${BUILD}")
endif()
set(files "")
foreach(manifest IN LISTS manifests)
  file(STRINGS "${manifest}" lines)
  list(APPEND files ${lines})
endforeach()
list(REMOVE_DUPLICATES files)

set(n 0)
set(folders "")
foreach(file IN LISTS files)
  set(path "$ENV{DESTDIR}${file}")
  if(NOT EXISTS "${path}" AND NOT IS_SYMLINK "${path}")
    continue()
  endif()
  if(path MATCHES "/etc/.*\\.conf$")
    get_filename_component(name "${path}" NAME)
    execute_process(COMMAND "${CMAKE_COMMAND}" -E compare_files "${path}" "${SOURCE}/daemon/install/${name}"
      RESULT_VARIABLE is_changed OUTPUT_QUIET ERROR_QUIET)
    if(is_changed)
      message(STATUS "Left, for it was changed: ${path}")
      continue()
    endif()
  endif()
  file(REMOVE "${path}")
  if(EXISTS "${path}")
    message(FATAL_ERROR "Cannot remove ${path}")
  endif()
  math(EXPR n "${n} + 1")
  get_filename_component(folder "${path}" DIRECTORY)
  while(folder MATCHES "/shmalloc(/|$)") # of its own
    list(APPEND folders "${folder}")
    get_filename_component(folder "${folder}" DIRECTORY)
  endwhile()
endforeach()

# Those inside of others first; rmdir refuses one with anything in it.
list(REMOVE_DUPLICATES folders)
list(SORT folders ORDER DESCENDING)
foreach(folder IN LISTS folders)
  execute_process(COMMAND rmdir "${folder}" OUTPUT_QUIET ERROR_QUIET)
endforeach()
file(REMOVE ${manifests})
message(STATUS "Removed ${n} files")
