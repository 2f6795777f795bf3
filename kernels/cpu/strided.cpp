#include "kernels/strided.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

// Both tensors as rows that are dense in either: `length` elements each, as many inner dims as lie
// together in both.
struct Rows {
  const Tensor& from;
  const Tensor& to;
  int num_outer_dims;
  int64_t length;

  Rows(const Tensor& from_, const Tensor& to_)
      : from(from_), to(to_), num_outer_dims(from_.num_dims()), length(1) {
    while (num_outer_dims > 0 && from.stride(num_outer_dims - 1) == length &&
           to.stride(num_outer_dims - 1) == length)
      length *= from.size(--num_outer_dims);
  }
  int64_t count() const { return length > 0 ? from.numel() / length : 0; }
  int64_t offset(const Tensor& tensor, int64_t row) const {
    int64_t offset = 0;
    for (int dim = num_outer_dims - 1; dim >= 0; --dim) {
      offset += row % tensor.size(dim) * tensor.stride(dim);
      row /= tensor.size(dim);
    }
    return offset;
  }
};

template <bool kAdd, typename From, typename To>
void assign_rows(Stream& stream, const Tensor& from, const Tensor& to) {
  const Rows rows(from, to);
  parallel_pieces(
      stream, rows.count(), 1, from.bytes() + (kAdd ? 2 : 1) * to.bytes(),
      [&rows, source = from.data<From>(), target = to.data<To>()](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const From* x = source + rows.offset(rows.from, row);
          To* y = target + rows.offset(rows.to, row);
#pragma omp simd
          for (int64_t i = 0; i < rows.length; ++i)
            store(kAdd ? load(y + i) + load(x + i) : load(x + i), y + i);
        }
      });
}

template <bool kAdd>
void assign(Stream& stream, const Tensor& from, const Tensor& to) {
  with_storage(from.dtype(), [&]<typename From>(From) {
    with_storage(to.dtype(),
                 [&]<typename To>(To) { assign_rows<kAdd, From, To>(stream, from, to); });
  });
}

}  // namespace

void strided_copy(Stream& stream, const Tensor& from, const Tensor& to) {
  assign<false>(stream, from, to);
}

void strided_add(Stream& stream, const Tensor& from, const Tensor& to) {
  assign<true>(stream, from, to);
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
