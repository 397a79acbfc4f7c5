# cmake --install, whole or by components:
#
#   runtime   the shared library, as programs load it
#   devel     what compiling and linking needs, and the pages about functions
#   tools     shmallocctl                 (daemon/CMakeLists.txt)
#   daemon    shmallocd, its unit         (daemon/CMakeLists.txt)
#   doc       documents and examples
#
# and the targets "installed", which builds what is installed, and "uninstall".
include(CMakePackageConfigHelpers)

# What has to be built for it, as one target.
add_custom_target(installed DEPENDS shmalloc shmalloc_static)
if(SHMALLOC_TOOLS)
  add_dependencies(installed shmallocd shmallocctl)
endif()

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/shmalloc")

install(TARGETS shmalloc EXPORT shmallocTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT runtime NAMELINK_COMPONENT devel)
install(TARGETS shmalloc_static EXPORT shmallocStaticTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT devel)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/shmalloc" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT devel
  FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

install(EXPORT shmallocTargets NAMESPACE shmalloc:: DESTINATION "${package_dir}" COMPONENT devel)
install(EXPORT shmallocStaticTargets NAMESPACE shmalloc:: DESTINATION "${package_dir}" COMPONENT devel)
configure_package_config_file(cmake/shmallocConfig.cmake.in "${PROJECT_BINARY_DIR}/shmallocConfig.cmake"
  INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/shmallocConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/shmallocConfig.cmake" "${PROJECT_BINARY_DIR}/shmallocConfigVersion.cmake"
  cmake/shmallocNuma.cmake DESTINATION "${package_dir}" COMPONENT devel)

# The prefix is found from the file's own place, so that an installed tree may be moved.  What the static library needs
# is named as libraries: a Requires.private would have to be there for --cflags, too.
file(RELATIVE_PATH SHMALLOC_PC_LIBDIR "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_LIBDIR}")
file(RELATIVE_PATH SHMALLOC_PC_INCLUDEDIR "${CMAKE_INSTALL_PREFIX}" "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
file(RELATIVE_PATH prefix_from_pc "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_PREFIX}")
string(REGEX REPLACE "/$" "" prefix_from_pc "${prefix_from_pc}")
set(SHMALLOC_PC_PREFIX "\${pcfiledir}/${prefix_from_pc}")
list(JOIN NUMA_LDFLAGS " " SHMALLOC_PC_NUMA)
configure_file(cmake/shmalloc.pc.in "${PROJECT_BINARY_DIR}/shmalloc.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/shmalloc.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig" COMPONENT devel)

foreach(section IN ITEMS 1 3 5 7 8)
  set(component devel)
  if(section EQUAL 1)
    set(component tools)
  elseif(section MATCHES "[58]")
    set(component daemon)
  endif()
  file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/doc/man/*.${section}")
  if(pages)
    install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}" COMPONENT ${component})
  endif()
endforeach()

install(FILES README.md CHANGELOG.md SECURITY.md LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT doc)
install(DIRECTORY doc examples DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT doc
  PATTERN "man" EXCLUDE)

# Only who builds this alone knows that what the last installation wrote is this.
if(PROJECT_IS_TOP_LEVEL)
  add_custom_target(uninstall
    COMMAND "${CMAKE_COMMAND}" "-DBUILD=${PROJECT_BINARY_DIR}" "-DSOURCE=${PROJECT_SOURCE_DIR}"
      -P "${PROJECT_SOURCE_DIR}/cmake/uninstall.cmake"
    USES_TERMINAL VERBATIM)
endif()
