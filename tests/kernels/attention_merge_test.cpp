#include "kernels/attention_merge.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Rows [begin, begin + S) of a longer sequence, and heads among others: what the ring merges into.
struct Strided {
  Tensor all_o, all_lse, o, lse;
  Strided(Stream& stream, const Shape& s, uint64_t seed, DType storage = DType::kF32)
      : all_o(poisoned(stream, {s[0], s[1] + 5, s[2] + 3, s[3]}, storage)),
        all_lse(poisoned(stream, {s[0], s[2], s[1] + 5})),
        o(all_o.slice(1, 5, s[1] + 5).slice(2, 1, s[2] + 1)),
        lse(all_lse.slice(2, 5, s[1] + 5)) {
    fill_random(o, seed);
    fill_random(lse, seed + 1, 4);
  }
  bool surroundings_are_untouched() const {
    return is_still_poisoned(all_o.slice(1, 0, 5)) && is_still_poisoned(all_lse.slice(2, 0, 5)) &&
           is_still_poisoned(all_o.slice(2, 0, 1)) &&
           is_still_poisoned(all_o.slice(2, all_o.size(2) - 2, all_o.size(2)));
  }
};

struct Reference {
  std::vector<double> o, lse;
};

Reference refer(const Shape& shape, const Strided& a, const Strided& b) {
  Reference r{to_doubles(a.o), to_doubles(a.lse)};
  const std::vector<double> part_o = to_doubles(b.o), part_lse = to_doubles(b.lse);
  const auto [batch, seq, heads, dim] = std::array{shape[0], shape[1], shape[2], shape[3]};
  for (int64_t i = 0; i < batch; ++i)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t s = 0; s < seq; ++s) {
        const size_t at = static_cast<size_t>((i * heads + h) * seq + s);
        const double max = std::max(r.lse[at], part_lse[at]);
        if (max == -kInfinity) continue;
        const double x = std::exp(r.lse[at] - max), y = std::exp(part_lse[at] - max);
        r.lse[at] = max + std::log(x + y);
        for (int64_t d = 0; d < dim; ++d) {
          const size_t o = static_cast<size_t>(((i * seq + s) * heads + h) * dim + d);
          r.o[o] = (x * r.o[o] + y * part_o[o]) / (x + y);
        }
      }
  return r;
}

const Shape kShapes[] = {{0, 3, 2, 4}, {1, 1, 1, 1}, {2, 5, 3, 7}, {2, 61, 6, 48}, {1, 400, 8, 64}};

}  // namespace

TEST_CASE("attention_merge equals the formulas and touches nothing beside its rows") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kShapes) {
      CAPTURE(shape.to_string());
      const Strided whole(stream, shape, 1, storage), part(stream, shape, 5, storage);
      const Reference expected = refer(shape, whole, part);
      kernels::attention_merge(stream, part.o, part.lse, whole.o, whole.lse);
      CHECK(max_relative_error(whole.o, expected.o) < 3e-7 + rounding(storage));
      CHECK(max_relative_error(whole.lse, expected.lse) < 3e-7);
      CHECK(whole.surroundings_are_untouched());
      CHECK(part.surroundings_are_untouched());
    }
  });
}

TEST_CASE("attention_merge keeps what one side outweighs, and takes sides without keys") {
  on_every_stream([](Stream& stream) {
    const Shape shape = {1, 6, 1, 2};
    const Strided whole(stream, shape, 1), part(stream, shape, 5);
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    const float lse[] = {200, -200, kNone, 3, kNone, 1e30f},
                part_lse[] = {-200, 200, 3, kNone, kNone, -1e30f};
    for (int64_t s = 0; s < 6; ++s) {
      whole.lse.data<float>()[s] = lse[s];
      part.lse.data<float>()[s] = part_lse[s];
    }
    const std::vector<float> o = elements(whole.o), part_o = elements(part.o);
    kernels::attention_merge(stream, part.o, part.lse, whole.o, whole.lse);
    const bool from_part[] = {false, true, true, false, false, false};
    const std::vector<float> merged = elements(whole.o);
    for (size_t i = 0; i < merged.size(); ++i)
      CHECK(merged[i] == (from_part[i / 2] ? part_o[i] : o[i]));
    CHECK(elements(whole.lse) == std::vector<float>{200, 200, 3, 3, kNone, 1e30f});
  });
}

TEST_CASE("attention_merge gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Shape shape = {1, 400, 8, 64};
    const Strided whole(stream, shape, 1), part(stream, shape, 5);
    kernels::attention_merge(stream, part.o, part.lse, whole.o, whole.lse);
    return {whole.o, whole.lse};
  }));
}

TEST_CASE("attention_merge refuses shapes and dtypes that do not fit") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor o = poisoned(stream, {2, 4, 3, 8}), lse = poisoned(stream, {2, 3, 4});
  const Tensor bf16 = poisoned<BFloat16>(stream, {2, 4, 3, 8});
  const auto merge = [&](const Tensor& part_o, const Tensor& part_lse, const Tensor& o_,
                         const Tensor& lse_) {
    CHECK_THROWS_AS(kernels::attention_merge(stream, part_o, part_lse, o_, lse_), InvariantError);
  };
  merge(o.slice(1, 0, 3), lse, o, lse);
  merge(o, lse.slice(2, 0, 3), o, lse);
  merge(o, lse, o, lse.slice(2, 0, 3));
  merge(o, lse, bf16, lse);
  merge(bf16, lse, o, lse);
}
