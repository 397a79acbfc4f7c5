# The manual pages of functions are one for each group; `man NAME` finds the group's by a file that says where it is.
# And `cmake --build BUILD --target html` makes all pages and documents readable by a browser, below BUILD/html.
file(GLOB pages CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/doc/man/*.3")
set(links "")
foreach(page IN LISTS pages)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${page}")
  get_filename_component(group "${page}" NAME_WLE)
  file(STRINGS "${page}" names REGEX "^\\.(Sh|Nm) ")
  set(is_name FALSE)
  foreach(line IN LISTS names)
    if(line MATCHES "^\\.Sh (.*)")
      string(COMPARE EQUAL "${CMAKE_MATCH_1}" "NAME" is_name)
    elseif(is_name AND line MATCHES "^\\.Nm ([a-z_]+)" AND NOT CMAKE_MATCH_1 STREQUAL group)
      set(link "${PROJECT_BINARY_DIR}/man/${CMAKE_MATCH_1}.3")
      file(GENERATE OUTPUT "${link}" CONTENT ".so man3/${group}.3\n")
      list(APPEND links "${link}")
    endif()
  endforeach()
endforeach()
if(SHMALLOC_INSTALL)
  install(FILES ${links} DESTINATION "${CMAKE_INSTALL_MANDIR}/man3" COMPONENT devel)
endif()

add_custom_target(html
  COMMAND sh "${PROJECT_SOURCE_DIR}/doc/html.sh" "${PROJECT_SOURCE_DIR}" "${PROJECT_BINARY_DIR}/html"
  COMMENT "Writing ${PROJECT_BINARY_DIR}/html/index.html" VERBATIM)
