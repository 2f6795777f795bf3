#include "kernels/attention.h"

#include "lib/core/error.h"
#include "lib/core/math.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;
using kernels::AttentionMask;
using Vector = std::vector<double>;

namespace {

constexpr double kTolerance = 2e-6;

struct Sizes {
  int64_t batch, queries, keys, heads, groups, dim;
  AttentionMask mask;
  Shape q() const { return {batch, queries, heads, dim}; }
  Shape k() const { return {batch, keys, groups, dim}; }
  Shape lse() const { return {batch, heads, queries}; }
  size_t q_at(int64_t b, int64_t s, int64_t h) const {
    return static_cast<size_t>(((b * queries + s) * heads + h) * dim);
  }
  size_t k_at(int64_t b, int64_t s, int64_t h) const {
    return static_cast<size_t>(((b * keys + s) * groups + h / (heads / groups)) * dim);
  }
  int64_t visible(int64_t query) const { return mask == AttentionMask::kCausal ? query + 1 : keys; }
};

constexpr auto kCausal = AttentionMask::kCausal;
constexpr auto kNone = AttentionMask::kNone;
// Lengths around and across the blocks of the kernel, head sizes that fill its tiles and others.
const Sizes kSizes[] = {
    {1, 1, 1, 1, 1, 8, kCausal},       {2, 5, 5, 2, 1, 3, kCausal},
    {1, 97, 97, 2, 2, 64, kCausal},    {2, 130, 130, 4, 2, 32, kCausal},
    {1, 200, 200, 2, 1, 128, kCausal}, {1, 289, 289, 3, 1, 20, kCausal},
    {1, 1, 7, 1, 1, 4, kNone},         {1, 50, 230, 2, 1, 64, kNone},
    {2, 193, 40, 6, 2, 16, kNone},     {1, 300, 100, 2, 2, 33, kNone},
};

struct Inputs {
  Vector q, k, v, doutput;
  double scale;
};

struct Reference {
  Vector o, lse, dq, dk, dv;
};

double dot_of(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

void add_multiple(double factor, const double* x, int64_t n, double* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

// One query of one head.
void refer_row(const Sizes& s, const Inputs& in, int64_t b, int64_t query, int64_t h,
               Reference& r) {
  const int64_t d = s.dim, visible = s.visible(query);
  const size_t q = s.q_at(b, query, h);
  Vector p(visible);
  double max = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t j = 0; j < visible; ++j) {
    p[j] = in.scale * dot_of(&in.q[q], &in.k[s.k_at(b, j, h)], d);
    max = std::max(max, p[j]);
  }
  for (double& x : p) sum += (x = std::exp(x - max));
  r.lse[(b * s.heads + h) * s.queries + query] = max + std::log(sum);
  for (int64_t j = 0; j < visible; ++j) {
    p[j] /= sum;
    add_multiple(p[j], &in.v[s.k_at(b, j, h)], d, &r.o[q]);
  }
  const double delta = dot_of(&in.doutput[q], &r.o[q], d);
  for (int64_t j = 0; j < visible; ++j) {
    const size_t key = s.k_at(b, j, h);
    const double ds = in.scale * p[j] * (dot_of(&in.doutput[q], &in.v[key], d) - delta);
    add_multiple(p[j], &in.doutput[q], d, &r.dv[key]);
    add_multiple(ds, &in.q[q], d, &r.dk[key]);
    add_multiple(ds, &in.k[key], d, &r.dq[q]);
  }
}

Reference refer(const Sizes& s, const Inputs& in) {
  Reference r{Vector(in.q.size()), Vector(s.lse().numel()), Vector(in.q.size()),
              Vector(in.k.size()), Vector(in.k.size())};
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t query = 0; query < s.queries; ++query)
      for (int64_t h = 0; h < s.heads; ++h) refer_row(s, in, b, query, h, r);
  return r;
}

// Heads [2, 2 + H) of a wider tensor, as in a packed projection.
struct Packed {
  Tensor all, view;
  Packed(Stream& stream, const Shape& s, DType storage)
      : all(poisoned(stream, {s[0], s[1], s[2] + 3, s[3]}, storage)),
        view(all.slice(2, 2, 2 + s[2])) {}
  bool surroundings_are_untouched() const {
    return is_still_poisoned(all.slice(2, 0, 2)) &&
           is_still_poisoned(all.slice(2, all.size(2) - 1, all.size(2)));
  }
};

struct Attention {
  Sizes sizes;
  float scale;
  Packed q, k, v, doutput, o, dq, dk, dv;
  Tensor lse;

  Attention(Stream& stream, const Sizes& s, double magnitude = 1, DType storage = DType::kF32)
      : sizes(s),
        scale(1 / std::sqrt(static_cast<float>(s.dim))),
        q(stream, s.q(), storage),
        k(stream, s.k(), storage),
        v(stream, s.k(), storage),
        doutput(stream, s.q(), storage),
        o(stream, s.q(), storage),
        dq(stream, s.q(), storage),
        dk(stream, s.k(), storage),
        dv(stream, s.k(), storage),
        lse(poisoned(stream, s.lse())) {
    fill_random(q.view, 1, 2 * magnitude);
    fill_random(k.view, 2, 2);
    fill_random(v.view, 3);
    fill_random(doutput.view, 4);
  }
  Inputs inputs() const {
    return {to_doubles(q.view), to_doubles(k.view), to_doubles(v.view), to_doubles(doutput.view),
            scale};
  }
  void forward(Stream& stream) const {
    kernels::attention_forward(stream, q.view, k.view, v.view, sizes.mask, scale, o.view, lse);
  }
  void backward(Stream& stream) const {
    kernels::attention_backward(stream, {doutput.view, q.view, k.view, v.view, o.view, lse,
                                         sizes.mask, scale, dq.view, dk.view, dv.view});
  }
};

}  // namespace

TEST_CASE("attention equals the formulas, forward and backward") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Sizes& sizes : kSizes) {
      CAPTURE(sizes.q().to_string());
      CAPTURE(sizes.k().to_string());
      const Attention attention(stream, sizes, 1, storage);
      attention.forward(stream);
      attention.backward(stream);  // of the rounded output, which is the second rounding
      const Reference expected = refer(sizes, attention.inputs());
      CHECK(max_relative_error(attention.o.view, expected.o) < kTolerance + rounding(storage));
      CHECK(max_relative_error(attention.lse, expected.lse) < kTolerance);
      CHECK(max_relative_error(attention.dq.view, expected.dq) <
            kTolerance + 2 * rounding(storage));
      CHECK(max_relative_error(attention.dk.view, expected.dk) <
            kTolerance + 2 * rounding(storage));
      CHECK(max_relative_error(attention.dv.view, expected.dv) < kTolerance + rounding(storage));
      for (const Packed* output : {&attention.o, &attention.dq, &attention.dk, &attention.dv})
        CHECK(output->surroundings_are_untouched());
    }
  });
}

TEST_CASE("the reference of attention backward is the gradient of its forward") {
  Arena arena(Device{}, 1 << 24);
  Stream stream(arena, 1, CpuIsa::kV3);
  for (const Sizes& sizes : {Sizes{2, 4, 4, 4, 2, 3, kCausal}, Sizes{1, 3, 5, 2, 1, 4, kNone}}) {
    const Inputs in = Attention(stream, sizes).inputs();
    const Reference reference = refer(sizes, in);
    auto gradient = [&](Vector Inputs::*input) {
      return central_differences(
          [&](const Vector& x) {
            Inputs moved = in;
            moved.*input = x;
            return dot(refer(sizes, moved).o, in.doutput);
          },
          in.*input);
    };
    auto error = [](const Vector& got, const Vector& expected) {
      double worst = 0;
      for (size_t i = 0; i < got.size(); ++i)
        worst = std::max(worst, std::abs(got[i] - expected[i]));
      return worst;
    };
    CHECK(error(reference.dq, gradient(&Inputs::q)) < 1e-8);
    CHECK(error(reference.dk, gradient(&Inputs::k)) < 1e-8);
    CHECK(error(reference.dv, gradient(&Inputs::v)) < 1e-8);
  }
}

TEST_CASE("scores of any size leave lse exact and the outputs finite") {
  on_every_stream([](Stream& stream) {
    const Sizes sizes = {1, 150, 150, 2, 1, 32, kCausal};
    for (double magnitude : {0.0, 1e-20, 300.0}) {
      CAPTURE(magnitude);
      const Attention attention(stream, sizes, magnitude);
      for_each_element<float>(attention.q.view, [](float& x) { x = -std::abs(x); });
      for_each_element<float>(attention.k.view, [](float& x) { x = std::abs(x) + 1; });
      attention.forward(stream);
      const Reference expected = refer(sizes, attention.inputs());
      CHECK(max_relative_error(attention.lse, expected.lse) < 1e-6);
      if (magnitude < 1) CHECK(max_relative_error(attention.o.view, expected.o) < kTolerance);
      double largest = 0;  // o is a mean of values
      for_each_element<float>(attention.o.view, [&](float& x) {
        largest = std::isfinite(x) ? std::max<double>(largest, std::abs(x)) : x;
      });
      CHECK(largest <= 1.00001);
    }
  });
}

// What ring context parallelism does: blocks of keys one by one, with o and lse over all of them.
TEST_CASE("backward over blocks of keys adds up to backward over all") {
  on_every_stream([](Stream& stream) {
    const Sizes sizes = {2, 70, 140, 4, 2, 32, kNone};
    const Attention attention(stream, sizes);
    attention.forward(stream);
    const Reference expected = refer(sizes, attention.inputs());
    Vector dq(expected.dq.size());
    for (const Range& keys : {Range{0, 100}, Range{100, 140}}) {
      auto part = [&](const Packed& x) { return x.view.slice(1, keys.begin, keys.end); };
      poison(attention.dq.view);
      kernels::attention_backward(
          stream, {attention.doutput.view, attention.q.view, part(attention.k), part(attention.v),
                   attention.o.view, attention.lse, kNone, attention.scale, attention.dq.view,
                   part(attention.dk), part(attention.dv)});
      dq = sum_of(dq, to_doubles(attention.dq.view));
    }
    for (size_t i = 0; i < dq.size(); ++i) dq[i] -= expected.dq[i];
    double worst = 0, magnitude = 0;
    for (size_t i = 0; i < dq.size(); ++i) {
      worst = std::max(worst, std::abs(dq[i]));
      magnitude = std::max(magnitude, std::abs(expected.dq[i]));
    }
    CHECK(worst < kTolerance * magnitude);
    CHECK(max_relative_error(attention.dk.view, expected.dk) < kTolerance);
    CHECK(max_relative_error(attention.dv.view, expected.dv) < kTolerance);
  });
}

TEST_CASE("attention forward gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Attention attention(stream, {2, 210, 210, 4, 2, 32, kCausal});
    attention.forward(stream);
    return {attention.o.view, attention.lse};
  }));
}

TEST_CASE("attention backward gives the same bits from run to run") {
  on_every_stream([](Stream& stream) {
    for (int64_t groups : {1, 3, 6}) {  // keys of a group split among threads, or groups
      const Attention first(stream, {1, 300, 300, 6, groups, 32, kCausal});
      first.forward(stream);
      first.backward(stream);
      const Tensor dq = copy_of(stream, first.dq.view), dk = copy_of(stream, first.dk.view),
                   dv = copy_of(stream, first.dv.view);
      for (int repeat = 0; repeat < 3; ++repeat) {
        for (const Packed* output : {&first.dq, &first.dk, &first.dv}) poison(output->view);
        first.backward(stream);
        CHECK(same_bits(first.dq.view, dq));
        CHECK(same_bits(first.dk.view, dk));
        CHECK(same_bits(first.dv.view, dv));
      }
    }
  });
}

TEST_CASE("attention accepts no queries and no keys") {
  on_every_stream([](Stream& stream) {
    for (const Sizes& sizes :
         {Sizes{1, 0, 3, 2, 1, 8, kNone}, Sizes{1, 3, 0, 2, 1, 8, kNone},
          Sizes{0, 3, 3, 2, 1, 8, kCausal}, Sizes{2, 0, 0, 2, 1, 8, kCausal}}) {
      CAPTURE(sizes.q().to_string());
      const Attention attention(stream, sizes);
      attention.forward(stream);
      attention.backward(stream);
      for (const Packed* output : {&attention.o, &attention.dq, &attention.dk, &attention.dv})
        CHECK(to_doubles(output->view) == Vector(output->view.numel(), 0.0));
      for (double lse : to_doubles(attention.lse))
        CHECK(lse == -std::numeric_limits<double>::infinity());
    }
  });
}

TEST_CASE("attention refuses shapes and dtypes that do not fit") {
  Arena arena(Device{}, 1 << 22);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor q = poisoned(stream, {1, 4, 3, 8}), k = poisoned(stream, {1, 4, 2, 8}),
               one = poisoned(stream, {1, 5, 1, 8}), lse = poisoned(stream, {1, 3, 4});
  const Tensor bf16 = poisoned<BFloat16>(stream, {1, 4, 3, 8});
  auto forward = [&](const Tensor& q_, const Tensor& k_, AttentionMask mask, const Tensor& o,
                     const Tensor& lse_) {
    kernels::attention_forward(stream, q_, k_, k_, mask, 1, o, lse_);
  };
  CHECK_THROWS_AS(forward(q, k, kNone, q, lse), InvariantError);       // 3 heads, 2 groups
  CHECK_THROWS_AS(forward(q, one, kCausal, q, lse), InvariantError);   // 4 queries, 5 keys
  CHECK_THROWS_AS(forward(q, one, kNone, one, lse), InvariantError);   // the shape of o
  CHECK_THROWS_AS(forward(q, one, kNone, bf16, lse), InvariantError);  // its dtype
  CHECK_THROWS_AS(forward(q, one, kNone, q, lse.view({1, 4, 3})), InvariantError);
  CHECK_THROWS_AS(
      kernels::attention_backward(stream, {q, q, one, one, q, lse, kNone, 1, q, one, k}),
      InvariantError);  // the shape of dv
}
