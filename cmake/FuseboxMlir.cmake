# Finds Debian's MLIR and LLVM 22 and makes a static link possible.
#
# Debian's imported MLIR targets name the shared libLLVM in their link interfaces. With the LLVM archives linked
# beside it, command-line options are registered twice and the program aborts at start; so the name is stripped
# here, and each of our libraries names the LLVM component archives it needs (fusebox_llvm_components).

find_package(MLIR REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/mlir)
if(NOT LLVM_VERSION_MAJOR EQUAL 22)
  message(FATAL_ERROR "MLIR/LLVM 22 is needed, ${LLVM_VERSION} was found: run tools/setup.sh")
endif()
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)

foreach(target IN LISTS MLIR_ALL_LIBS)
  if(TARGET ${target})
    get_target_property(libs ${target} INTERFACE_LINK_LIBRARIES)
    if(libs)
      list(REMOVE_ITEM libs LLVM "$<LINK_ONLY:LLVM>")
      set_target_properties(${target} PROPERTIES INTERFACE_LINK_LIBRARIES "${libs}")
    endif()
  endif()
endforeach()

add_library(fusebox_mlir_options INTERFACE)
target_include_directories(fusebox_mlir_options SYSTEM INTERFACE ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
target_link_libraries(fusebox_mlir_options INTERFACE fusebox_options)

# fusebox_llvm_components(TARGET component ...): links the static archives of LLVM components.
function(fusebox_llvm_components target)
  llvm_map_components_to_libnames(libs ${ARGN})
  target_link_libraries(${target} PUBLIC ${libs})
endfunction()
