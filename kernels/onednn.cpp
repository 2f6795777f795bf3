#include "kernels/onednn.h"

#include <algorithm>
#include <dnnl.hpp>
#include <vector>

namespace nemo::kernels {
namespace {

// A primitive with its memory objects: made once, then given other pointers.
class Primitive {
 public:
  Primitive(const MatrixProduct& product, const dnnl::engine& engine, bool recording)
      : product_(product) {
    using Desc = dnnl::memory::desc;
    constexpr auto kF32 = dnnl::memory::data_type::f32;
    const auto& [m, n, k, a, b, c, has_bias, accumulate] = product;
    const Desc a_desc({m, k}, kF32, {a.row, a.col}), b_desc({k, n}, kF32, {b.row, b.col});
    const Desc c_desc({m, n}, kF32, {c.row, c.col});
    const Desc bias_desc = has_bias ? Desc({1, n}, kF32, {n, 1}) : Desc();

    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (accumulate) {
      dnnl::post_ops add_to_c;
      add_to_c.append_sum(1.0f);
      attributes.set_post_ops(add_to_c);
    }
    const dnnl::matmul::primitive_desc description({a_desc, b_desc, bias_desc, c_desc}, attributes,
                                                   engine);
    scratch_bytes_ = static_cast<int64_t>(description.scratchpad_desc().get_size());
    if (recording) return;  // making the code takes milliseconds
    primitive_ = dnnl::matmul(description);
    a_ = dnnl::memory(a_desc, engine, nullptr);
    b_ = dnnl::memory(b_desc, engine, nullptr);
    c_ = dnnl::memory(c_desc, engine, nullptr);
    if (has_bias) bias_ = dnnl::memory(bias_desc, engine, nullptr);
    scratch_ = dnnl::memory(description.scratchpad_desc(), engine, nullptr);
  }

  const MatrixProduct& product() const { return product_; }

  void run(Stream& stream, const dnnl::stream& queue, const MatrixOperands& operands) {
    Tensor scratch;
    if (scratch_bytes_ > 0) scratch = stream.workspace(DType::kU8, {scratch_bytes_}, "onednn");
    if (stream.recording()) return;
    a_.set_data_handle(operands.a);
    b_.set_data_handle(operands.b);
    c_.set_data_handle(operands.c);
    scratch_.set_data_handle(scratch.raw());
    if (product_.has_bias) bias_.set_data_handle(operands.bias);
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, a_.get()},
                                         {DNNL_ARG_WEIGHTS, b_.get()},
                                         {DNNL_ARG_DST, c_.get()},
                                         {DNNL_ARG_SCRATCHPAD, scratch_.get()},
                                         {DNNL_ARG_BIAS, bias_.get(/*allow_empty=*/true)}};
    const int num_arguments = product_.has_bias ? 5 : 4;
    // The C call: the C++ one builds a vector of arguments each time.
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(primitive_.get(), queue.get(), num_arguments, arguments),
        "matrix product");
  }

 private:
  MatrixProduct product_;
  dnnl::matmul primitive_;
  dnnl::memory a_, b_, c_, bias_, scratch_;
  int64_t scratch_bytes_ = 0;
};

// The primitives of one stream; library scratch is not shared between streams.
class State {
 public:
  void run(Stream& stream, const MatrixProduct& product, const MatrixOperands& operands) {
    find(product, stream.recording()).run(stream, queue_, operands);
  }

 private:
  // Shapes that go on changing must not fill the memory.
  static constexpr size_t kMaxPrimitives = 256;

  Primitive& find(const MatrixProduct& product, bool recording) {
    for (Primitive& primitive : primitives_)
      if (primitive.product() == product) return primitive;
    if (primitives_.size() == kMaxPrimitives) primitives_.clear();
    return primitives_.emplace_back(product, engine_, recording);
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream queue_{engine_};
  std::vector<Primitive> primitives_;
};

// A matrix of one row or column may have any stride; the library wants no less than its extent.
struct GemmMatrix {
  char transposed;
  int64_t leading;
  GemmMatrix(const MatrixStrides& strides, int64_t num_rows, int64_t num_cols)
      : transposed(strides.col == 1 ? 'N' : 'T'),
        leading(strides.col == 1 ? std::max(strides.row, num_cols)
                                 : std::max(strides.col, num_rows)) {}
};

}  // namespace

void run_onednn(Stream& stream, const MatrixProduct& product, const MatrixOperands& operands) {
  stream.state<State>().run(stream, product, operands);
}

bool run_sgemm(const MatrixProduct& product, const float* a, const float* b, float* c) {
  const auto& [m, n, k, a_strides, b_strides, c_strides, has_bias, accumulate] = product;
  const GemmMatrix a_matrix(a_strides, m, k), b_matrix(b_strides, k, n);
  const float beta = accumulate ? 1.0f : 0.0f;
  return dnnl_sgemm(a_matrix.transposed, b_matrix.transposed, m, n, k, 1.0f, a, a_matrix.leading, b,
                    b_matrix.leading, beta, c, c_strides.row) == dnnl_success;
}

}  // namespace nemo::kernels
