#include "kernels/embedding.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

struct Case {
  int64_t num_tokens, num_rows, h, first_row;
};
const Case kCases[] = {{1, 1, 1, 0}, {5, 3, 17, 2}, {40, 7, 1000, 3}, {300, 29, 531, 5}};

// Ids below, in and above the table, and repeated.
Tensor make_ids(Stream& stream, const Case& c) {
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < c.num_tokens; ++t)
    ids.push_back(static_cast<int32_t>(c.first_row - 2 + t * t % (c.num_rows + 4)));
  if (c.num_tokens == 1) ids[0] = 0;
  return tensor_of<int32_t>(stream, {c.num_tokens}, ids);
}

std::vector<double> reference_y(const Case& c, const Tensor& ids, const std::vector<double>& table,
                                std::vector<double> y) {
  for (int64_t t = 0; t < c.num_tokens; ++t) {
    const int64_t row = ids.data<int32_t>()[t] - c.first_row;
    if (row < 0 || row >= c.num_rows) continue;
    for (int64_t j = 0; j < c.h; ++j) y[t * c.h + j] += table[row * c.h + j];
  }
  return y;
}

std::vector<double> reference_dtable(const Case& c, const Tensor& ids,
                                     const std::vector<double>& dy, std::vector<double> dtable) {
  for (int64_t t = 0; t < c.num_tokens; ++t) {
    const int64_t row = ids.data<int32_t>()[t] - c.first_row;
    if (row < 0 || row >= c.num_rows) continue;
    for (int64_t j = 0; j < c.h; ++j) dtable[row * c.h + j] += dy[t * c.h + j];
  }
  return dtable;
}

}  // namespace

TEST_CASE("embedding takes rows by id, zero for ids of other ranks, = and +=") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Case& c : kCases) {
      const Tensor ids = make_ids(stream, c),
                   table = random_tensor(stream, {c.num_rows, c.h}, 1, 1, storage);
      const Tensor y = poisoned(stream, {c.num_tokens, c.h}, storage);
      const std::vector<double> zero(y.numel(), 0.0);
      kernels::embedding_forward(stream, ids, table, c.first_row, y, false);
      CHECK(to_doubles(y) == reference_y(c, ids, to_doubles(table), zero));

      const Tensor wide = poisoned(stream, y.shape());
      kernels::embedding_forward(stream, ids, table, c.first_row, wide, false);
      CHECK(to_doubles(wide) == to_doubles(y));

      const Tensor sum = random_tensor(stream, y.shape(), 2, 1, storage);
      const std::vector<double> expected = reference_y(c, ids, to_doubles(table), to_doubles(sum));
      kernels::embedding_forward(stream, ids, table, c.first_row, sum, true);
      CHECK(max_relative_error(sum, expected) < 1e-7 + rounding(storage));
    }
  });
}

TEST_CASE("embedding backward sums the tokens of a row, = and +=") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Case& c : kCases) {
      const Tensor ids = make_ids(stream, c),
                   dy = random_tensor(stream, {c.num_tokens, c.h}, 3, 1, storage);
      const Tensor dtable = poisoned(stream, {c.num_rows, c.h});
      const std::vector<double> zero(dtable.numel(), 0.0);
      kernels::embedding_backward(stream, ids, dy, c.first_row, dtable, false);
      CHECK(max_relative_error(dtable, reference_dtable(c, ids, to_doubles(dy), zero)) < 5e-7);

      const Tensor sum = random_tensor(stream, dtable.shape(), 4);
      const std::vector<double> expected =
          reference_dtable(c, ids, to_doubles(dy), to_doubles(sum));
      kernels::embedding_backward(stream, ids, dy, c.first_row, sum, true);
      CHECK(max_relative_error(sum, expected) < 5e-7);
    }
  });
}

TEST_CASE("embedding backward is the gradient of forward") {
  on_every_stream([](Stream& stream) {
    const Case c = kCases[1];
    const Tensor ids = make_ids(stream, c), dy = random_tensor(stream, {c.num_tokens, c.h}, 5);
    const Tensor table = random_tensor(stream, {c.num_rows, c.h}, 6);
    const Tensor dtable = poisoned(stream, table.shape());
    kernels::embedding_backward(stream, ids, dy, c.first_row, dtable, false);
    const std::vector<double> dy0 = to_doubles(dy), zero(dy0.size(), 0.0);
    CHECK(max_relative_error(dtable, central_differences(
                                         [&](const std::vector<double>& v) {
                                           return dot(dy0, reference_y(c, ids, v, zero));
                                         },
                                         to_doubles(table))) < 1e-7);
  });
}

TEST_CASE("embedding gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Case c = kCases[3];
    const Tensor ids = make_ids(stream, c), table = random_tensor(stream, {c.num_rows, c.h}, 7);
    const Tensor y = poisoned(stream, {c.num_tokens, c.h}),
                 dtable = poisoned(stream, table.shape());
    kernels::embedding_forward(stream, ids, table, c.first_row, y, false);
    kernels::embedding_backward(stream, ids, y, c.first_row, dtable, false);
    return {y, dtable};
  }));
}

TEST_CASE("embedding refuses other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor ids = tensor_of<int32_t>(stream, {2}, {0, 1});
  const Tensor table = poisoned(stream, {3, 4}), y = poisoned(stream, {2, 4});
  CHECK_THROWS_AS(kernels::embedding_forward(stream, y, table, 0, y, false), InvariantError);
  CHECK_THROWS_AS(kernels::embedding_forward(stream, ids, table, 0, table, false), InvariantError);
  CHECK_THROWS_AS(kernels::embedding_backward(stream, ids, table, 0, table, false), InvariantError);
  CHECK_THROWS_AS(
      kernels::embedding_forward(stream, ids, poisoned<int32_t>(stream, {3, 4}), 0, y, false),
      InvariantError);
}
