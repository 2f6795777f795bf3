// How an op's contract (kernels/<op>.h) reaches its implementation.
//
// Every device has a twin of each op: the same function in a namespace of its own.
//   kernels/<op>.cpp        checks the contract once, then NEMO_DISPATCH(stream, op, arguments...)
//   kernels/cpu/<op>.cpp    compiled once per instruction set, into namespace NEMO_CPU_ISA
// A missing twin is a link error. No registry, no strings.
//
// On a record device an op ends with its contract. One that takes workspace is dispatched with
// NEMO_DISPATCH_WITH_WORKSPACE instead: its twin runs there too, and returns once it has taken it.
#pragma once

#include "lib/device/stream.h"

// Declares the twins of one op; use it inside namespace nemo::kernels, once per op. A program that
// is built with one instruction set alone (CMakeLists.txt) gives it to every stream.
#ifdef NEMO_ONLY_CPU_ISA
#define NEMO_TWINS(op)          \
  namespace NEMO_ONLY_CPU_ISA { \
  decltype(kernels::op) op;     \
  }
#define NEMO_DISPATCH_WITH_WORKSPACE(stream, op, ...) NEMO_ONLY_CPU_ISA::op((stream), __VA_ARGS__)
#else
#define NEMO_TWINS(op)      \
  namespace cpu_v3 {        \
  decltype(kernels::op) op; \
  }                         \
  namespace cpu_v4 {        \
  decltype(kernels::op) op; \
  }

#define NEMO_DISPATCH_WITH_WORKSPACE(stream, op, ...) \
  do {                                                \
    if ((stream).isa() == CpuIsa::kV4)                \
      cpu_v4::op((stream), __VA_ARGS__);              \
    else                                              \
      cpu_v3::op((stream), __VA_ARGS__);              \
  } while (false)
#endif

#define NEMO_DISPATCH(stream, op, ...)                                                  \
  do {                                                                                  \
    if (!(stream).recording()) NEMO_DISPATCH_WITH_WORKSPACE((stream), op, __VA_ARGS__); \
  } while (false)
