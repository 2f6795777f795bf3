#include "kernels/router.h"

#include <numeric>
#include <set>

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr double kTolerance = 1e-6;

struct Sizes {
  int64_t num_tokens, num_experts, k;
};
// 131 experts are several blocks; the last is large enough for three threads.
const Sizes kSizes[] = {{0, 4, 2},  {1, 1, 1},   {5, 3, 3},    {37, 8, 2},
                        {9, 17, 5}, {4, 131, 6}, {801, 131, 4}};

using Vector = std::vector<double>;

// Token by token in double. Lists are [T, E] or [T, k] in row-major order.
struct Reference {
  Vector p, lse, probs;
  std::vector<int32_t> indices;
};

Vector softmax(const Vector& logits) {
  const double max = *std::ranges::max_element(logits);
  Vector p;
  for (double logit : logits) p.push_back(std::exp(logit - max));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (double& value : p) value /= sum;
  return p;
}

Vector row(const Vector& values, int64_t t, int64_t n) {
  return {values.begin() + t * n, values.begin() + (t + 1) * n};
}

std::vector<int32_t> largest(const Vector& scores, int64_t k) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int32_t a, int32_t b) { return scores[a] > scores[b]; });
  order.resize(k);
  return order;
}

// Probabilities of experts that are already chosen.
Vector probs_of(const Sizes& s, const Vector& logits, const std::vector<int32_t>& indices,
                bool pre_softmax) {
  Vector probs;
  for (int64_t t = 0; t < s.num_tokens; ++t) {
    const Vector logit = row(logits, t, s.num_experts), p = softmax(logit);
    Vector chosen;
    for (int64_t j = 0; j < s.k; ++j)
      chosen.push_back((pre_softmax ? p : logit)[indices[t * s.k + j]]);
    if (!pre_softmax) chosen = softmax(chosen);
    probs.insert(probs.end(), chosen.begin(), chosen.end());
  }
  return probs;
}

Reference reference(const Sizes& s, const Vector& logits, const Vector& bias, bool pre_softmax) {
  Reference r;
  for (int64_t t = 0; t < s.num_tokens; ++t) {
    const Vector logit = row(logits, t, s.num_experts), p = softmax(logit);
    r.p.insert(r.p.end(), p.begin(), p.end());
    r.lse.push_back(logit[0] - std::log(p[0]));
    const std::vector<int32_t> chosen = largest(bias.empty() ? logit : sum_of(p, bias), s.k);
    r.indices.insert(r.indices.end(), chosen.begin(), chosen.end());
  }
  r.probs = probs_of(s, logits, r.indices, pre_softmax);
  return r;
}

// The sums of the contract, onto zeros.
Vector reference_sums(const Sizes& s, const Reference& r) {
  Vector sums(2 * s.num_experts + 2);
  for (int32_t expert : r.indices) sums[expert] += 1;
  for (int64_t i = 0; i < s.num_tokens * s.num_experts; ++i) {
    sums[s.num_experts + i % s.num_experts] += r.p[i];
    sums[2 * s.num_experts + 1] -= r.p[i] * std::log(r.p[i]);
  }
  for (double lse : r.lse) sums[2 * s.num_experts] += lse * lse;
  return sums;
}

struct Case {
  bool biased, pre_softmax;
};
const Case kCases[] = {{false, false}, {false, true}, {true, false}, {true, true}};

struct Router {
  Tensor logits, bias, indices, probs;
  Reference expected;
  Router(Stream& stream, const Sizes& s, const Case& c, double magnitude = 6)
      : logits(random_tensor(stream, {s.num_tokens, s.num_experts}, 1, magnitude)),
        bias(c.biased ? random_tensor(stream, {s.num_experts}, 2) : Tensor()),
        indices(poisoned<int32_t>(stream, {s.num_tokens, s.k})),
        probs(poisoned(stream, {s.num_tokens, s.k})),
        expected(reference(s, to_doubles(logits), c.biased ? to_doubles(bias) : Vector(),
                           c.pre_softmax)) {
    kernels::router_forward(stream, logits, bias, c.pre_softmax, indices, probs);
  }
};

}  // namespace

TEST_CASE("the router chooses the largest, and weighs them by either softmax") {
  on_every_stream([](Stream& stream) {
    for (const Sizes& s : kSizes)
      for (const Case& c : kCases) {
        const Router router(stream, s, c);
        CHECK(elements<int32_t>(router.indices) == router.expected.indices);
        CHECK(max_relative_error(router.probs, router.expected.probs) < kTolerance);
      }
  });
}

TEST_CASE("of equal experts the router takes the lower first, with a bias too") {
  on_every_stream([](Stream& stream) {
    const Tensor logits = tensor_of<float>(stream, {2, 5}, {1, 3, 3, 1, 3, 2, 2, 2, 2, 2});
    const Tensor indices = poisoned<int32_t>(stream, {2, 4}), probs = poisoned(stream, {2, 4});
    kernels::router_forward(stream, logits, Tensor(), false, indices, probs);
    CHECK(elements<int32_t>(indices) == std::vector<int32_t>{1, 2, 4, 0, 0, 1, 2, 3});
    CHECK(elements(probs.slice(0, 1, 2)) == std::vector<float>(4, 0.25f));
    const Tensor bias = tensor_of<float>(stream, {5}, {0, 0, 0.5f, 0, 0.5f});
    kernels::router_forward(stream, logits, bias, true, indices, probs);
    CHECK(elements<int32_t>(indices) == std::vector<int32_t>{2, 4, 1, 0, 2, 4, 0, 1});
    CHECK(max_relative_error(probs.slice(0, 1, 2), Vector(4, 0.2)) < kTolerance);
  });
}

TEST_CASE("the router's choices are distinct experts even where logits are not numbers") {
  on_every_stream([](Stream& stream) {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    constexpr float kInf = std::numeric_limits<float>::infinity();
    const Tensor logits = tensor_of<float>(
        stream, {4, 4},
        {kNan, kNan, kNan, kNan, 1, kNan, 2, 0, -kInf, -kInf, -kInf, -kInf, kInf, kNan, 1, kInf});
    for (const Tensor& bias : {Tensor(), random_tensor(stream, {4}, 1)}) {
      const Tensor indices = poisoned<int32_t>(stream, {4, 3}), probs = poisoned(stream, {4, 3});
      kernels::router_forward(stream, logits, bias, false, indices, probs);
      const std::vector<int32_t> chosen = elements<int32_t>(indices);
      for (int64_t t = 0; t < 4; ++t) {
        const std::set<int32_t> experts(chosen.begin() + 3 * t, chosen.begin() + 3 * (t + 1));
        CHECK(experts.size() == 3);
        CHECK(*experts.begin() >= 0);
        CHECK(*experts.rbegin() < 4);
      }
    }
  });
}

TEST_CASE("router statistics equal the formulas, and add to what is there") {
  on_every_stream([](Stream& stream) {
    for (const Sizes& s : kSizes) {
      const Router router(stream, s, kCases[2]);
      const Vector expected = reference_sums(s, router.expected), before(expected.size(), 2.5);
      const Tensor sums = tensor_of<double>(stream, {2 * s.num_experts + 2}, before);
      kernels::router_statistics(stream, router.logits, router.indices, sums);
      CHECK(max_relative_error<double>(sums, sum_of(expected, before)) < kTolerance);
      const Vector got = elements<double>(sums);
      for (int64_t e = 0; e < s.num_experts; ++e) CHECK(got[e] == expected[e] + 2.5);
    }
  });
}

TEST_CASE("an expert that is out of the question adds no entropy") {
  on_every_stream([](Stream& stream) {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    const Tensor logits = tensor_of<float>(stream, {1, 4}, {3, -kInf, 3, -1e4f});
    const Tensor sums = tensor_of<double>(stream, {10}, Vector(10, 0.0));
    kernels::router_statistics(stream, logits, tensor_of<int32_t>(stream, {1, 1}, {2}), sums);
    const double lse = 3 + std::log(2.0);
    CHECK(max_relative_error<double>(sums, {0, 0, 1, 0, 0.5, 0, 0.5, 0, lse * lse, std::log(2.0)}) <
          kTolerance);
  });
}

TEST_CASE("router backward is the gradient of probs, load and lse^2") {
  std::vector<Vector> gradients;  // which are the same for every stream
  on_every_stream([&](Stream& stream) {
    size_t which = 0;
    for (const Sizes& s : {Sizes{3, 1, 1}, Sizes{5, 3, 3}, Sizes{7, 8, 2}, Sizes{2, 131, 3}})
      for (const Case& c : kCases)
        for (const bool loaded : {false, true})
          for (const float z_scale : {0.0f, 0.03f}) {
            // Moderate: a softmax near 0 and 1 has gradients that are differences of larger
            // numbers.
            const Router router(stream, s, c, 2);
            const Tensor dprobs = random_tensor(stream, router.probs.shape(), 3);
            const Tensor load = loaded ? random_tensor(stream, {s.num_experts}, 4) : Tensor();
            const Tensor dlogits = poisoned(stream, router.logits.shape());
            kernels::router_backward(
                stream,
                {router.logits, router.indices, router.probs, dprobs, c.pre_softmax, load, z_scale},
                dlogits);
            const auto loss = [&](const Vector& logits) {
              double sum = dot(to_doubles(dprobs),
                               probs_of(s, logits, router.expected.indices, c.pre_softmax));
              for (int64_t t = 0; t < s.num_tokens; ++t) {
                const Vector logit = row(logits, t, s.num_experts), p = softmax(logit);
                if (loaded) sum += dot(to_doubles(load), p);
                const double lse = logit[0] - std::log(p[0]);
                sum += static_cast<double>(z_scale) * lse * lse;
              }
              return sum;
            };
            if (which == gradients.size())
              gradients.push_back(central_differences(loss, to_doubles(router.logits), 1e-4));
            CHECK(max_relative_error(dlogits, gradients[which++]) < kTolerance);

            const Tensor in_place = copy_of(stream, router.logits);
            kernels::router_backward(
                stream,
                {in_place, router.indices, router.probs, dprobs, c.pre_softmax, load, z_scale},
                in_place);
            CHECK(same_bits(in_place, dlogits));
          }
  });
}

TEST_CASE("router statistics take their workspace on a record device too") {
  Arena arena(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  Stream stream(arena, 1, CpuIsa::kV3);
  const auto tensor = [&](DType dtype, const Shape& shape) {
    return Tensor(arena, dtype, shape, MemoryCategory::kActivations, "test");
  };
  const Tensor logits = tensor(DType::kF32, {40, 3}), indices = tensor(DType::kI32, {40, 2});
  kernels::router_statistics(stream, logits, indices, tensor(DType::kF64, {8}));
  constexpr auto kWorkspace = static_cast<size_t>(MemoryCategory::kWorkspace);
  CHECK(arena.report().peak[kWorkspace] == 3 * 8 * 8);
}

TEST_CASE("the router gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Sizes s = {801, 131, 4};
    const Router router(stream, s, kCases[3]);
    const Tensor sums = tensor_of<double>(stream, {264}, Vector(264, 0.0));
    kernels::router_statistics(stream, router.logits, router.indices, sums);
    const Tensor dlogits = poisoned(stream, router.logits.shape());
    kernels::router_backward(stream,
                             {router.logits, router.indices, router.probs, router.probs, true,
                              random_tensor(stream, {131}, 5), 0.1f},
                             dlogits);
    // The halves of each double, as numbers that keep their bits.
    const Tensor halves(sums.raw(), DType::kF32, {528});
    return {router.probs, halves, dlogits};
  }));
}

TEST_CASE("the router refuses other shapes, dtypes and experts") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor logits = poisoned(stream, {2, 3}), none, probs = poisoned(stream, {2, 2});
  const Tensor indices = tensor_of<int32_t>(stream, {2, 2}, {0, 1, 2, 0});
  const Tensor beyond = tensor_of<int32_t>(stream, {2, 2}, {0, 1, 3, 0}),
               negative = tensor_of<int32_t>(stream, {2, 2}, {0, -1, 2, 0});
  const Tensor sums = poisoned<double>(stream, {8}), pair = poisoned(stream, {2});
  const auto forward = [&](const Tensor& bias, const Tensor& chosen, const Tensor& p) {
    kernels::router_forward(stream, logits, bias, false, chosen, p);
  };
  CHECK_THROWS_AS(forward(pair, indices, probs), InvariantError);
  CHECK_THROWS_AS(forward(none, probs, probs), InvariantError);
  CHECK_THROWS_AS(forward(none, indices, logits), InvariantError);
  CHECK_THROWS_AS(forward(none, poisoned<int32_t>(stream, {2, 4}), poisoned(stream, {2, 4})),
                  InvariantError);
  CHECK_THROWS_AS(forward(none, poisoned<int32_t>(stream, {2, 0}), poisoned(stream, {2, 0})),
                  InvariantError);
  CHECK_THROWS_AS(kernels::router_statistics(stream, logits, beyond, sums), InvariantError);
  CHECK_THROWS_AS(kernels::router_statistics(stream, logits, negative, sums), InvariantError);
  CHECK_THROWS_AS(kernels::router_statistics(stream, logits, indices, poisoned(stream, {8})),
                  InvariantError);
  const auto backward = [&](const Tensor& chosen, const Tensor& dprobs, const Tensor& load) {
    kernels::router_backward(stream, {logits, chosen, probs, dprobs, false, load, 0}, logits);
  };
  CHECK_THROWS_AS(backward(beyond, probs, none), InvariantError);
  CHECK_THROWS_AS(backward(negative, probs, none), InvariantError);
  CHECK_THROWS_AS(backward(indices, logits, none), InvariantError);
  CHECK_THROWS_AS(backward(indices, probs, pair), InvariantError);
}
