// General matrix products on the CPU: what every linear layer is made of.
//
// An element of the result is a sum over k that is cut at places which follow from k alone and
// added in order. So its bits depend on its row of a, its column of b and what it is added to, on
// nothing else: neither on the number of threads nor on the other rows and columns.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels::NEMO_CPU_ISA {

// Element (i, j) is data[i * row + j * col]; row or col is 1.
template <typename T>
struct Matrix {
  const T* data;
  int64_t row, col;
};

// c[m, n] = a[m, k] b[k, n] + addend[m, n] in fp32, whatever a and b are stored as. m, n and k may
// be 0.
template <typename A, typename B>
struct Product {
  int64_t m, n, k;
  Matrix<A> a;
  Matrix<B> b;
  float* c;
  int64_t c_row;
  const float* addend = nullptr;  // none; or c itself; or a row for all rows, with addend_row 0
  int64_t addend_row = 0;

  // Rows and columns [row, row + rows) x [col, col + cols) of the result.
  Product block(int64_t row, int64_t rows, int64_t col, int64_t cols) const {
    Product part = *this;
    part.m = rows;
    part.n = cols;
    part.a.data += row * a.row;
    part.b.data += col * b.col;
    part.c += row * c_row + col;
    if (addend) part.addend += row * addend_row + col;
    return part;
  }
};

// With the stream's threads, which each compute a block. Scratch is workspace; on a record device
// it is taken and nothing more.
template <typename A, typename B>
void gemm(Stream& stream, const Product<A, B>& product);

// On the calling thread alone. scratch: gemm_scratch_size(n, k) floats or more, aligned to 64
// bytes.
template <typename A, typename B>
void gemm_block(const Product<A, B>& product, float* scratch);
int64_t gemm_scratch_size(int64_t n, int64_t k);

}  // namespace nemo::kernels::NEMO_CPU_ISA
