#include "tests/bench/memory_ops.h"

#include "kernels/adamw.h"
#include "kernels/attention_merge.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gelu.h"
#include "kernels/layernorm.h"
#include "kernels/normal.h"
#include "kernels/rmsnorm.h"
#include "kernels/rope.h"
#include "kernels/router.h"
#include "kernels/rows.h"
#include "kernels/strided.h"
#include "kernels/swiglu.h"
#include "tests/bench/table.h"
#include "tests/support/tensors.h"

namespace nemo::bench {
namespace {

using test::poisoned;
using test::random_tensor;

struct Bench {
  Stream& stream;
  double bandwidth;

  // num_numbers: fp32 numbers that the op reads and writes at least, each counted once.
  template <typename Call>
  void row(const char* name, const std::string& shape, int64_t num_numbers, Call&& call) const {
    print_row(name, shape, time_calls(call), 4.0 * static_cast<double>(num_numbers), "GB/s   ",
              bandwidth);
  }

  Tensor random(const Shape& shape, uint64_t seed) const {
    return random_tensor(stream, shape, seed);
  }
  Tensor empty(const Shape& shape) const { return poisoned(stream, shape); }
};

Tensor random_ids(Stream& stream, int64_t n, int64_t limit) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(philox(1, i)[0] % limit));
  return test::tensor_of<int32_t>(stream, {n}, ids);
}

void bench_norms(const Bench& bench, int64_t t, int64_t h) {
  Stream& stream = bench.stream;
  const std::string shape = fmt::format("{} x {}", t, h);
  const Tensor x = bench.random({t, h}, 1), dy = bench.random({t, h}, 2);
  const Tensor w = bench.random({h}, 3), b = bench.random({h}, 4);
  const Tensor y = bench.empty({t, h}), sum = bench.empty({t, h}), dx = bench.empty({t, h});
  const Tensor mean = bench.empty({t}), rstd = bench.empty({t});
  const Tensor dw = bench.empty({h}), db = bench.empty({h});
  bench.row("rmsnorm_forward", shape, 2 * t * h,
            [&] { kernels::rmsnorm_forward(stream, x, w, 1e-5f, y, rstd); });
  bench.row("add_rmsnorm_forward", shape, 4 * t * h,
            [&] { kernels::add_rmsnorm_forward(stream, x, dy, w, 1e-5f, sum, y, rstd); });
  bench.row("rmsnorm_backward", shape, 4 * t * h,
            [&] { kernels::rmsnorm_backward(stream, dy, x, w, rstd, sum, dx, dw, true); });
  bench.row("add_layernorm_forward", shape, 4 * t * h, [&] {
    kernels::add_layernorm_forward(stream, x, dy, w, b, 1e-5f, sum, y, mean, rstd);
  });
  bench.row("layernorm_backward", shape, 4 * t * h, [&] {
    kernels::layernorm_backward(stream, {dy, x, w, mean, rstd, sum, dx, dw, db, true, true});
  });
}

void bench_activations(const Bench& bench, int64_t t, int64_t f) {
  Stream& stream = bench.stream;
  const std::string shape = fmt::format("{} x {}", t, f);
  const Tensor gate_up = bench.random({t, 2 * f}, 1), dgate_up = bench.empty({t, 2 * f});
  const Tensor x = bench.random({t, f}, 2), y = bench.empty({t, f});
  bench.row("swiglu_forward", shape, 3 * t * f,
            [&] { kernels::swiglu_forward(stream, gate_up, Tensor(), y); });
  bench.row("swiglu_backward", shape, 5 * t * f,
            [&] { kernels::swiglu_backward(stream, x, gate_up, Tensor(), dgate_up, Tensor()); });
  const Tensor scale = bench.random({t}, 3), dscale = bench.empty({t});
  bench.row("swiglu_forward scaled", shape, 3 * t * f,
            [&] { kernels::swiglu_forward(stream, gate_up, scale, y); });
  bench.row("swiglu_backward scaled", shape, 5 * t * f,
            [&] { kernels::swiglu_backward(stream, x, gate_up, scale, dgate_up, dscale); });
  for (const auto& [kind, name] :
       {std::pair{kernels::Gelu::kExact, "exact"}, {kernels::Gelu::kTanh, "tanh"}}) {
    bench.row(fmt::format("gelu_forward {}", name).c_str(), shape, 2 * t * f,
              [&, k = kind] { kernels::gelu_forward(stream, x, k, y); });
    bench.row(fmt::format("gelu_backward {}", name).c_str(), shape, 3 * t * f,
              [&, k = kind] { kernels::gelu_backward(stream, x, x, k, y); });
  }
}

void bench_tokens(const Bench& bench, int64_t t, int64_t h, int64_t vocab) {
  Stream& stream = bench.stream;
  const Tensor ids = random_ids(stream, t, vocab);
  const Tensor table = bench.random({vocab, h}, 1), y = bench.random({t, h}, 2);
  const std::string embedding_shape = fmt::format("{} x {} of {}", t, h, vocab);
  bench.row("embedding_forward", embedding_shape, 2 * t * h,
            [&] { kernels::embedding_forward(stream, ids, table, 0, y, false); });
  bench.row("embedding_backward +=", embedding_shape, 3 * t * h,
            [&] { kernels::embedding_backward(stream, ids, y, 0, table, true); });

  const Tensor logits = bench.random({t, vocab}, 3), max = bench.empty({t}), sum = bench.empty({t});
  const Tensor logit = bench.empty({t});
  const std::string shape = fmt::format("{} x {}", t, vocab);
  bench.row("cross_entropy_statistics", shape, t * vocab,
            [&] { kernels::cross_entropy_statistics(stream, logits, ids, 0, max, sum, logit); });
  bench.row("cross_entropy_backward", shape, 2 * t * vocab,
            [&] { kernels::cross_entropy_backward(stream, logits, ids, 0, max, 1.0f); });
}

// Every token goes to k experts: rows in an order of their own, and back.
void bench_experts(const Bench& bench, int64_t t, int64_t num_experts, int64_t k, int64_t h) {
  Stream& stream = bench.stream;
  const Tensor x = bench.random({t, h}, 1), moved = bench.random({t * k, h}, 2);
  const Tensor from = random_ids(stream, t * k, t), to = random_ids(stream, t * k, t * k);
  const std::string rows = fmt::format("{} of {} x {}", t * k, t, h);
  bench.row("gather_rows", rows, 2 * t * k * h,
            [&] { kernels::gather_rows(stream, x, from, moved); });
  bench.row("sum_rows", rows, (k + 1) * t * h, [&] {
    kernels::sum_rows(stream, moved, to.view({t, k}), x);
  });

  const Tensor logits = bench.random({t, num_experts}, 3), dlogits = bench.empty({t, num_experts});
  const Tensor indices = poisoned<int32_t>(stream, {t, k}), probs = bench.empty({t, k});
  const Tensor bias = bench.random({num_experts}, 4), load = bench.random({num_experts}, 5);
  const Tensor sums = poisoned<double>(stream, {2 * num_experts + 2});
  const std::string shape = fmt::format("{} of {} x {}", k, num_experts, t);
  bench.row("router_forward", shape, t * (num_experts + 2 * k),
            [&] { kernels::router_forward(stream, logits, Tensor(), false, indices, probs); });
  bench.row("router_forward biased", shape, t * (num_experts + 2 * k),
            [&] { kernels::router_forward(stream, logits, bias, false, indices, probs); });
  bench.row("router_statistics", shape, t * (num_experts + k),
            [&] { kernels::router_statistics(stream, logits, indices, sums); });
  bench.row("router_backward", shape, t * (2 * num_experts + 3 * k), [&] {
    kernels::router_backward(stream, {logits, indices, probs, probs, false, load, 1e-3f}, dlogits);
  });
}

void bench_rope(const Bench& bench, int64_t batch, int64_t seq, int64_t heads, int64_t dim) {
  const Tensor x = bench.random({batch, seq, heads, dim}, 1), table = bench.random({seq, dim}, 2);
  const Tensor positions = random_ids(bench.stream, seq, seq);
  bench.row("rope_forward", fmt::format("{} x {} x {} x {}", batch, seq, heads, dim), 2 * x.numel(),
            [&] { kernels::rope_forward(bench.stream, x, positions, table); });
}

// Half of a rank's tokens, as context parallelism merges and packs them.
void bench_blocks(const Bench& bench, int64_t batch, int64_t seq, int64_t heads, int64_t dim) {
  Stream& stream = bench.stream;
  const std::string shape = fmt::format("{} x {} x {} x {}", batch, seq, heads, dim);
  const Tensor o = bench.random({batch, 2 * seq, heads, dim}, 1).slice(1, seq, 2 * seq);
  const Tensor lse = bench.random({batch, heads, 2 * seq}, 2).slice(2, seq, 2 * seq);
  const Tensor part_o = bench.random({batch, seq, heads, dim}, 3);
  const Tensor part_lse = bench.random({batch, heads, seq}, 4);
  const int64_t n = part_o.numel();
  bench.row("attention_merge", shape, 3 * n,
            [&] { kernels::attention_merge(stream, part_o, part_lse, o, lse); });
  bench.row("strided_copy", shape, 2 * n, [&] { kernels::strided_copy(stream, o, part_o); });
  bench.row("strided_add", shape, 3 * n, [&] { kernels::strided_add(stream, part_o, o); });
}

void bench_flat(const Bench& bench, int64_t n) {
  Stream& stream = bench.stream;
  const std::string shape = fmt::format("{}", n);
  const Tensor p = bench.random({n}, 1), g = bench.random({n}, 2), m = bench.empty({n});
  const Tensor v = bench.empty({n}), sum = poisoned<double>(stream, {1});
  const Tensor narrow = poisoned<BFloat16>(stream, {n});
  kernels::fill(stream, m, 0);
  kernels::fill(stream, v, 0);
  bench.row("adamw", shape, 7 * n, [&] {
    kernels::adamw(stream, {1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 5, 1}, p, g, m, v);
  });
  bench.row("sum_squares", shape, n, [&] { kernels::sum_squares(stream, g, sum); });
  bench.row("add", shape, 3 * n, [&] { kernels::add(stream, p, g, m); });
  bench.row("fill", shape, n, [&] { kernels::fill(stream, m, 0); });
  bench.row("convert fp32 to fp32", shape, 2 * n, [&] { kernels::convert(stream, p, m); });
  bench.row("convert fp32 to bf16", shape, 3 * n / 2, [&] { kernels::convert(stream, p, narrow); });
  bench.row("convert bf16 to fp32", shape, 3 * n / 2, [&] { kernels::convert(stream, narrow, p); });
  bench.row("fill_normal", shape, n, [&] {
    kernels::fill_normal(stream, {1, 2, 1, n, 0, 0}, p.view({1, n}));
  });
}

}  // namespace

// The small sizes are those of a training step that lives in the last cache, the large ones stream.
void bench_memory_ops(Stream& stream, double bandwidth) {
  const Bench bench = {stream, bandwidth};
  bench_norms(bench, 2048, 512);
  bench_norms(bench, 8192, 4096);
  bench_activations(bench, 2048, 1408);
  bench_activations(bench, 4096, 8192);
  bench_tokens(bench, 2048, 512, 4096);
  bench_tokens(bench, 512, 4096, 128256);
  bench_experts(bench, 2048, 8, 2, 1024);
  bench_experts(bench, 16384, 64, 6, 1024);
  bench_rope(bench, 4, 512, 8, 64);
  bench_rope(bench, 4, 2048, 32, 128);
  bench_blocks(bench, 4, 256, 8, 64);
  bench_blocks(bench, 4, 1024, 32, 128);
  bench_flat(bench, 1 << 20);
  bench_flat(bench, 27800000);
}

}  // namespace nemo::bench
