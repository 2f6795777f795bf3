// How an op's contract (kernels/<op>.h) reaches its implementation.
//
// Every device has a twin of each op: the same function in a namespace of its own.
//   kernels/<op>.cpp        checks the contract once, then NEMO_DISPATCH(stream, op, arguments...)
//   kernels/cpu/<op>.cpp    compiled once per instruction set, into namespace NEMO_CPU_ISA
// A missing twin is a link error. No registry, no strings.
#pragma once

#include "lib/device/stream.h"

// Declares the twins of one op; use it inside namespace nemo::kernels, once per op.
#define NEMO_TWINS(op)      \
  namespace cpu_v3 {        \
  decltype(kernels::op) op; \
  }                         \
  namespace cpu_v4 {        \
  decltype(kernels::op) op; \
  }

#define NEMO_DISPATCH(stream, op, ...)                        \
  do {                                                        \
    if ((stream).device().kind == DeviceKind::kRecord) break; \
    if ((stream).isa() == CpuIsa::kV4)                        \
      cpu_v4::op((stream), __VA_ARGS__);                      \
    else                                                      \
      cpu_v3::op((stream), __VA_ARGS__);                      \
  } while (false)
