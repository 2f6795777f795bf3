#include "lib/comm/contract.h"

#include <algorithm>
#include <numeric>

namespace nemo::contract {
namespace {

void check_contiguous(const char* op, const Tensor& tensor, const char* label) {
  NEMO_CHECK(tensor.is_contiguous(), "[{} \"{}\"] a tensor {} is not contiguous", op, label,
             tensor.shape().to_string());
}

void check_reducible(const char* op, const Tensor& tensor, const char* label) {
  constexpr DType kReducible[] = {DType::kF32, DType::kBF16, DType::kF16,
                                  DType::kF64, DType::kI32,  DType::kI64};
  NEMO_CHECK(std::ranges::find(kReducible, tensor.dtype()) != std::end(kReducible),
             "[{} \"{}\"] cannot reduce {}", op, label, to_string(tensor.dtype()));
}

// `whole` holds `size` parts like `part`.
void check_parts(const char* op, int size, const Tensor& part, const Tensor& whole,
                 const char* label) {
  check_contiguous(op, part, label);
  check_contiguous(op, whole, label);
  NEMO_CHECK(part.dtype() == whole.dtype(), "[{} \"{}\"] a part is {}, the whole {}", op, label,
             to_string(part.dtype()), to_string(whole.dtype()));
  NEMO_CHECK(part.numel() * size == whole.numel(), "[{} \"{}\"] {} parts of {} do not make {}", op,
             label, size, part.shape().to_string(), whole.shape().to_string());
}

void check_rows(const Tensor& tensor, int size, std::span<const int64_t> rows, const char* label) {
  check_contiguous("all_to_all_v", tensor, label);
  NEMO_CHECK(tensor.num_dims() >= 1 && std::ssize(rows) == size && std::ranges::min(rows) >= 0 &&
                 std::accumulate(rows.begin(), rows.end(), int64_t{0}) == tensor.size(0),
             "[all_to_all_v \"{}\"] {} row counts for {} ranks do not sum to the rows of {}", label,
             rows.size(), size, tensor.shape().to_string());
}

}  // namespace

void check_all_reduce(const Tensor& buffer, const char* label) {
  check_contiguous("all_reduce", buffer, label);
  check_reducible("all_reduce", buffer, label);
}

void check_all_gather(int size, const Tensor& input, const Tensor& output, const char* label) {
  check_parts("all_gather", size, input, output, label);
}

void check_reduce_scatter(int size, const Tensor& input, const Tensor& output, const char* label) {
  check_parts("reduce_scatter", size, output, input, label);
  check_reducible("reduce_scatter", input, label);
}

void check_all_to_all(int size, const Tensor& input, const Tensor& output, const char* label) {
  check_contiguous("all_to_all", input, label);
  check_contiguous("all_to_all", output, label);
  NEMO_CHECK(input.dtype() == output.dtype() && input.numel() == output.numel() &&
                 input.numel() % size == 0,
             "[all_to_all \"{}\"] {} {} does not go to {} {} in {} parts", label,
             to_string(input.dtype()), input.shape().to_string(), to_string(output.dtype()),
             output.shape().to_string(), size);
}

void check_all_to_all_v(int size, const Tensor& input, std::span<const int64_t> input_rows,
                        const Tensor& output, std::span<const int64_t> output_rows,
                        const char* label) {
  check_rows(input, size, input_rows, label);
  check_rows(output, size, output_rows, label);
  NEMO_CHECK(input.dtype() == output.dtype() && input.stride(0) == output.stride(0),
             "[all_to_all_v \"{}\"] rows of {} {} and of {} {} differ", label,
             to_string(input.dtype()), input.shape().to_string(), to_string(output.dtype()),
             output.shape().to_string());
}

void check_broadcast(int size, const Tensor& buffer, int root, const char* label) {
  check_contiguous("broadcast", buffer, label);
  NEMO_CHECK(0 <= root && root < size, "[broadcast \"{}\"] root {} in a group of {}", label, root,
             size);
}

void check_peer(const char* op, int rank, int size, const Tensor& buffer, int peer,
                const char* label) {
  check_contiguous(op, buffer, label);
  NEMO_CHECK(0 <= peer && peer < size && peer != rank, "[{} \"{}\"] peer {} of rank {} among {}",
             op, label, peer, rank, size);
}

}  // namespace nemo::contract
