# Compile settings and the two functions every folder uses: nemo_room and nemo_test.

add_library(nemo_options INTERFACE)
target_include_directories(nemo_options INTERFACE ${PROJECT_SOURCE_DIR})
target_link_libraries(nemo_options INTERFACE OpenMP::OpenMP_CXX)
target_compile_options(nemo_options INTERFACE -Wall -Wextra -Wshadow -Winvalid-pch -Wconversion -Wno-sign-conversion
                                              -Werror)
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
# Unoptimised: compiling with sanitizers costs more than running with them.
set(CMAKE_CXX_FLAGS_SANITIZE "-O0 -g1 -fno-omit-frame-pointer")
if(NEMO_SANITIZE)
  add_compile_options(-fsanitize=${NEMO_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${NEMO_SANITIZE})
  add_compile_definitions(NEMO_SANITIZED=1)
  # Tests are not what is tested, and UndefinedBehaviorSanitizer makes them half as long again to
  # compile.
  if(NEMO_SANITIZE MATCHES undefined)
    set(NEMO_TEST_SANITIZE -fno-sanitize=undefined)
  endif()
endif()

# For code that holds no raw memory: AddressSanitizer's report of a null pointer is enough there, and
# UndefinedBehaviorSanitizer's own checks of every pointer take a quarter of the time to compile.
set(NEMO_NO_RAW_MEMORY -fno-sanitize=null,alignment)

# Compilers spend most of their time in standard headers, so they are precompiled: once as libraries are
# compiled, once as tests are, which are not optimised. The debug preset does without, so that an
# include that is missing shows.
set(NEMO_HEADERS <algorithm> <array> <atomic> <chrono> <cmath> <filesystem> <fstream> <functional> <map> <memory>
                 <mutex> <numeric> <optional> <set> <span> <sstream> <string> <string_view> <system_error>
                 <thread> <utility> <vector> <fmt/format.h> <fmt/ranges.h>)
set(NEMO_TEST_HEADERS ${NEMO_HEADERS} <doctest/doctest.h>)
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  foreach(headers nemo_headers nemo_test_headers)
    add_library(${headers} OBJECT EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/cmake/headers.cpp)
    target_link_libraries(${headers} PRIVATE nemo_options fmt::fmt Threads::Threads)
  endforeach()
  target_precompile_headers(nemo_headers PRIVATE ${NEMO_HEADERS})
  target_compile_options(nemo_test_headers PRIVATE -O0 ${NEMO_TEST_SANITIZE})
  target_precompile_headers(nemo_test_headers PRIVATE ${NEMO_TEST_HEADERS})
endif()
function(nemo_unoptimised_test target)
  target_compile_options(${target} PRIVATE -O0 ${NEMO_TEST_SANITIZE})
  if(TARGET nemo_test_headers)
    target_precompile_headers(${target} REUSE_FROM nemo_test_headers)
  endif()
endfunction()
function(nemo_optimised_test target)
  target_compile_options(${target} PRIVATE -O1 ${NEMO_TEST_SANITIZE})
  if(TARGET nemo_test_headers)
    target_precompile_headers(${target} PRIVATE ${NEMO_TEST_HEADERS})
  endif()
endfunction()
function(nemo_precompiled target)
  if(TARGET nemo_headers)
    target_precompile_headers(${target} REUSE_FROM nemo_headers)
  endif()
endfunction()

# Compute threads wait as the program's do (apps/nemo-cpp/openmp_waiting.cpp).
set(NEMO_TEST_ENVIRONMENT TSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/tests/support/tsan.supp
                          GOMP_SPINCOUNT=1000)

# nemo_room(<name> [USES target...]): the static library nemo_<name> of the current folder's *.cpp,
# subfolders included.
function(nemo_room name)
  cmake_parse_arguments(ROOM "" "" "USES" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(sources)
    add_library(nemo_${name} STATIC ${sources})
    target_link_libraries(nemo_${name} PUBLIC nemo_options ${ROOM_USES})
    nemo_precompiled(nemo_${name})
  else()
    add_library(nemo_${name} INTERFACE)
    target_link_libraries(nemo_${name} INTERFACE nemo_options ${ROOM_USES})
  endif()
endfunction()

# nemo_test(<name> <folder> [APART word] [UNSANITIZED cases] [OPTIMISED] [USES target...]
# [LABELS label...]): one doctest program of the folder's *_test.cpp. APART: the cases of files with this
# word in their name are a suite of their own, because both wait a lot and can do it side by side.
# UNSANITIZED: cases that are not a sanitizer's business. OPTIMISED: where the cases compute a lot
# themselves. Label `slow` for suites over 20 s, `tsan` for those the ThreadSanitizer preset runs.
function(nemo_test name folder)
  cmake_parse_arguments(TEST "OPTIMISED" "TIMEOUT;APART;UNSANITIZED" "USES;LABELS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${folder}/*_test.cpp)
  if(NOT sources)
    return()
  endif()
  if(NOT TEST_TIMEOUT)
    set(TEST_TIMEOUT 300)
  endif()
  add_executable(test_${name} ${sources})
  target_link_libraries(test_${name} PRIVATE nemo_test_main ${TEST_USES})
  if(TEST_OPTIMISED)
    nemo_optimised_test(test_${name})
  else()
    nemo_unoptimised_test(test_${name})
  endif()
  set(suites ${name})
  set(chosen_${name} "")
  if(TEST_UNSANITIZED AND NEMO_SANITIZE)
    set(chosen_${name} "-tce=${TEST_UNSANITIZED}")
  endif()
  if(TEST_APART)
    set(suites ${name} ${name}_${TEST_APART})
    set(chosen_${name} -sfe=*${TEST_APART}*)
    set(chosen_${name}_${TEST_APART} -sf=*${TEST_APART}*)
  endif()
  foreach(suite ${suites})
    add_test(NAME ${suite} COMMAND test_${name} ${chosen_${suite}}
             WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    # COST: those that may take longest are started first.
    set_tests_properties(${suite} PROPERTIES LABELS "${TEST_LABELS}" TIMEOUT ${TEST_TIMEOUT}
                         COST ${TEST_TIMEOUT} ENVIRONMENT "${NEMO_TEST_ENVIRONMENT}")
  endforeach()
endfunction()
