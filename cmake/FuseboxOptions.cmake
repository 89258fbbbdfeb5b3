# Compiler and linker settings every target shares, and the helpers that declare libraries and unit tests.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

find_program(FUSEBOX_CCACHE ccache)
if(FUSEBOX_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER ${FUSEBOX_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${FUSEBOX_CCACHE})
endif()

add_library(fusebox_options INTERFACE)
target_include_directories(fusebox_options INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
# -ffp-contract=off: host code rounds where the source says; a fused multiply-add is written as one.
target_compile_options(fusebox_options INTERFACE -Wall -Wextra -Werror=return-type -Wno-unused-parameter
                       -ffp-contract=off -ffunction-sections -fdata-sections)
target_link_options(fusebox_options INTERFACE -fuse-ld=lld -Wl,--gc-sections -Wl,--as-needed
                    -static-libstdc++ -static-libgcc)
# Without the check of -fsanitize=function: it reads what the compiler puts in front of a function, and kernels of a plan
# start a mapping of their own.
if(FUSEBOX_SANITIZE)
  target_compile_options(fusebox_options INTERFACE -fsanitize=${FUSEBOX_SANITIZE} -fno-sanitize=function
                         -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(fusebox_options INTERFACE -fsanitize=${FUSEBOX_SANITIZE})
endif()

# fusebox_library(NAME SOURCES ... [DEPENDS ...]): a static library with the shared options.
function(fusebox_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC fusebox_options ${ARG_DEPENDS})
endfunction()

# fusebox_unit_test(NAME SOURCES ... [DEPENDS ...]): one GoogleTest binary, registered with ctest as a single entry.
# The test finds its data under FUSEBOX_TEST_DATA.
function(fusebox_unit_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE fusebox_options ${ARG_DEPENDS} GTest::gtest GTest::gmock GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE FUSEBOX_TEST_DATA="${PROJECT_SOURCE_DIR}/test/data")
  add_test(NAME ${name} COMMAND ${name})
  if(FUSEBOX_SANITIZE)
    # LLVM's headers poison memory that its libraries, built without sanitizers, hand out again.
    set_tests_properties(${name} PROPERTIES ENVIRONMENT ASAN_OPTIONS=allow_user_poisoning=0)
  endif()
endfunction()

# fusebox_add_subdirectories(): every folder here that has a CMakeLists.txt, in order of name.
function(fusebox_add_subdirectories)
  file(GLOB lists CONFIGURE_DEPENDS RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} */CMakeLists.txt)
  list(SORT lists)
  foreach(list IN LISTS lists)
    get_filename_component(folder ${list} DIRECTORY)
    add_subdirectory(${folder})
  endforeach()
endfunction()
