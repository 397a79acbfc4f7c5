# cmake --install: libraries, header, pkg-config file, CMake package, manual pages.
include(CMakePackageConfigHelpers)

# What has to be built for it, as one target.
add_custom_target(installed DEPENDS shmalloc shmalloc_static)
if(SHMALLOC_TOOLS)
  add_dependencies(installed shmallocd shmallocctl)
endif()

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/shmalloc")

install(TARGETS shmalloc EXPORT shmallocTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(TARGETS shmalloc_static EXPORT shmallocStaticTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/shmalloc" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")

install(EXPORT shmallocTargets NAMESPACE shmalloc:: DESTINATION "${package_dir}")
install(EXPORT shmallocStaticTargets NAMESPACE shmalloc:: DESTINATION "${package_dir}")
configure_package_config_file(cmake/shmallocConfig.cmake.in "${PROJECT_BINARY_DIR}/shmallocConfig.cmake"
  INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file("${PROJECT_BINARY_DIR}/shmallocConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/shmallocConfig.cmake" "${PROJECT_BINARY_DIR}/shmallocConfigVersion.cmake"
  DESTINATION "${package_dir}")

# The prefix is found from the file's own place, so that an installed tree may be moved.
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_LIBDIR BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}" OUTPUT_VARIABLE libdir)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_FULL_INCLUDEDIR BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}"
  OUTPUT_VARIABLE includedir)
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig"
  OUTPUT_VARIABLE prefix_from_pc)
set(SHMALLOC_PC_PREFIX "\${pcfiledir}/${prefix_from_pc}")
set(SHMALLOC_PC_LIBDIR "${libdir}")
set(SHMALLOC_PC_INCLUDEDIR "${includedir}")
configure_file(cmake/shmalloc.pc.in "${PROJECT_BINARY_DIR}/shmalloc.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/shmalloc.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

foreach(section IN ITEMS 1 3 5 7 8)
  file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/doc/man/*.${section}")
  if(pages)
    install(FILES ${pages} DESTINATION "${CMAKE_INSTALL_MANDIR}/man${section}")
  endif()
endforeach()
