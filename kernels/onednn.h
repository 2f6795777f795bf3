// Matrix products by oneDNN, which picks its own instruction set; so this is compiled once, unlike
// kernels/cpu.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// Where element (i, j) of a matrix lies: data[i * row + j * col].
struct MatrixStrides {
  int64_t row, col;
  bool operator==(const MatrixStrides&) const = default;
};

// c[m, n] (+)= a[m, k] b[k, n] + bias[n], in fp32: all that a oneDNN primitive is made for.
// m, n, k >= 1; one of each matrix's strides is 1.
struct MatrixProduct {
  int64_t m, n, k;
  MatrixStrides a, b, c;
  bool has_bias, accumulate;
  bool operator==(const MatrixProduct&) const = default;
};

struct MatrixOperands {
  void *a, *b, *c, *bias;
};

// Computes it with the stream's threads. The first product of its kind makes a primitive, which the
// stream keeps; library scratch comes from the stream's arena. On a record device the scratch is
// taken and nothing more.
void run_onednn(Stream& stream, const MatrixProduct& product, const MatrixOperands& operands);

// The same without bias and without a primitive: for shapes that differ at every call. It runs on
// the calling thread alone inside a parallel region, else with the calling thread's team. Scratch
// is the library's own, from the heap; false where there was none.
bool run_sgemm(const MatrixProduct& product, const float* a, const float* b, float* c);

}  // namespace nemo::kernels
