# Slicer writes the extension's description from these; an extension without them cannot be listed.
foreach(entry HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  if(NOT EXTENSION_${entry})
    message(FATAL_ERROR "EXTENSION_${entry} is not set")
  endif()
  file(APPEND ${CMAKE_BINARY_DIR}/${EXTENSION_NAME}.s4ext "${entry} ${EXTENSION_${entry}}\n")
endforeach()
