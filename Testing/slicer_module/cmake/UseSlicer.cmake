if(NOT DEFINED EXTENSION_NAME)
  set(EXTENSION_NAME ${PROJECT_NAME})
endif()
if(EXTENSION_NAME MATCHES "^Slicer|^Project$|^$")
  message(FATAL_ERROR "an extension's name must not begin with Slicer: '${EXTENSION_NAME}'")
endif()

# Contract: each script (".py" is added where it is missing) and each resource, named relative to
# SOURCE_DIR, is copied at build time to the same relative name in DESTINATION_DIR; the folder
# DESTINATION_DIR is installed to INSTALL_DIR, without its own name if NO_INSTALL_SUBDIR is given.
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(PARSE_ARGV 0 MY
    "NO_INSTALL_SUBDIR;GLOBAL_TARGET" "TARGET_NAME;SOURCE_DIR;DESTINATION_DIR;INSTALL_DIR"
    "SCRIPTS;RESOURCES")
  foreach(argument TARGET_NAME SCRIPTS DESTINATION_DIR INSTALL_DIR)
    if(NOT DEFINED MY_${argument})
      message(FATAL_ERROR "ctkMacroCompilePythonScript needs ${argument}")
    endif()
  endforeach()
  if(NOT DEFINED MY_SOURCE_DIR)
    set(MY_SOURCE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  endif()
  set(copies)
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    if(file IN_LIST MY_SCRIPTS AND NOT file MATCHES "\\.py$")
      string(APPEND file ".py")
    endif()
    # The real macro builds such files without a word and then does not install them.
    if(IS_ABSOLUTE ${file} OR file MATCHES "\\.\\.")
      message(FATAL_ERROR "not below ${MY_SOURCE_DIR}, so not installed: ${file}")
    endif()
    add_custom_command(
      OUTPUT ${MY_DESTINATION_DIR}/${file}
      DEPENDS ${MY_SOURCE_DIR}/${file}
      COMMAND ${CMAKE_COMMAND} -E copy ${MY_SOURCE_DIR}/${file} ${MY_DESTINATION_DIR}/${file}
      )
    list(APPEND copies ${MY_DESTINATION_DIR}/${file})
  endforeach()
  add_custom_target(Copy${MY_TARGET_NAME}Files ALL DEPENDS ${copies})
  set(installed ${MY_DESTINATION_DIR})
  if(MY_NO_INSTALL_SUBDIR)
    string(APPEND installed "/")
  endif()
  install(DIRECTORY ${installed} DESTINATION ${MY_INSTALL_DIR})
endfunction()

# Contract: scripts and resources lie below the module's folder and exist.
function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(PARSE_ARGV 0 MY
    "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES")
  if(MY_UNPARSED_ARGUMENTS OR NOT DEFINED MY_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: '${MY_UNPARSED_ARGUMENTS}'")
  endif()
  foreach(file IN LISTS MY_SCRIPTS MY_RESOURCES)
    if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${file})
      message(FATAL_ERROR "slicerMacroBuildScriptedModule was given nonexistent '${file}'")
    endif()
  endforeach()
  ctkMacroCompilePythonScript(
    TARGET_NAME ${MY_NAME}
    SCRIPTS ${MY_SCRIPTS}
    RESOURCES ${MY_RESOURCES}
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}
    NO_INSTALL_SUBDIR
    )
endfunction()

# Contract: the script holds unit tests and lies in the present folder.
function(slicer_add_python_unittest)
  cmake_parse_arguments(PARSE_ARGV 0 MY "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS")
  if(NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT})
    message(FATAL_ERROR "slicer_add_python_unittest was given nonexistent '${MY_SCRIPT}'")
  endif()
  get_filename_component(name ${MY_SCRIPT} NAME_WE)
  add_test(NAME py_${MY_TESTNAME_PREFIX}${name} COMMAND ${CMAKE_COMMAND} -E true)
endfunction()

include(CTest)
