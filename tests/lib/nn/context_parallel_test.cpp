#include "lib/nn/context_parallel.h"

#include <doctest/doctest.h>

#include <cmath>
#include <mutex>

#include "kernels/attention.h"
#include "lib/nn/zigzag.h"
#include "tests/support/plain_weights.h"
#include "tests/support/process_ranks.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr auto kP2P = CpCommType::kP2P;
constexpr auto kAllGather = CpCommType::kAllGather;
constexpr auto kA2A = CpCommType::kA2A;

struct Case {
  CpCommType mode;
  int64_t cp;
  int64_t batch;
  int64_t seq;  // of the whole samples
  AttentionSizes sizes;

  int64_t width() const { return sizes.num_heads + 2 * sizes.num_groups; }
};

// What a whole sequence comes to: the ranks' columns put together, or one rank's call of the
// kernel.
struct Result {
  std::vector<float> o, dqkv;
  bool operator==(const Result&) const = default;
};

// Bytes of the arena that messages took at most, by rank.
struct Peaks {
  std::vector<int64_t> forward, both;
};

void fill_inputs(const Tensor& qkv, const Tensor& doutput) {
  fill_random(qkv, 1, 1.5);
  fill_random(doutput, 2);
}

Result alone(const Case& c) {
  Arena arena(Device{}, int64_t{1} << 28);
  Stream stream(arena, 1, detect_cpu_isa());
  const auto [heads, groups, dim] = c.sizes;
  const Tensor qkv = poisoned(stream, {c.batch, c.seq, c.width(), dim});
  const Tensor dqkv = poisoned(stream, qkv.shape());
  const Tensor doutput = poisoned(stream, {c.batch, c.seq, heads, dim});
  const Tensor o = poisoned(stream, doutput.shape());
  const Tensor lse = poisoned(stream, {c.batch, heads, c.seq});
  fill_inputs(qkv, doutput);
  const auto part = [&](const Tensor& x, int i) {
    const std::array begin = {int64_t{0}, heads, heads + groups, heads + 2 * groups};
    return x.slice(2, begin[static_cast<size_t>(i)], begin[static_cast<size_t>(i) + 1]);
  };
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  constexpr auto kCausal = kernels::AttentionMask::kCausal;
  kernels::attention_forward(stream, part(qkv, 0), part(qkv, 1), part(qkv, 2), kCausal, scale, o,
                             lse);
  kernels::attention_backward(
      stream, {doutput, part(qkv, 0), part(qkv, 1), part(qkv, 2), o, lse, kCausal, scale,
               part(dqkv, 0), part(dqkv, 1), part(dqkv, 2)});
  return {elements(o), elements(dqkv)};
}

// Copies a rank's columns out of whole samples, or back into them.
void copy_columns(const Tensor& whole, const Tensor& local, int64_t cp, int64_t rank, bool out) {
  int64_t begin = 0;
  for (const Range& columns : zigzag_columns(whole.size(1), cp, rank)) {
    const Tensor a = whole.slice(1, columns.begin, columns.end);
    const Tensor b = local.slice(1, begin, begin + columns.size());
    const std::vector<float> values = elements(out ? a : b);
    size_t i = 0;
    for_each_element<float>(out ? b : a, [&](float& x) { x = values[i++]; });
    begin += columns.size();
  }
}

int64_t peak_of_messages(const Arena& arena) {
  return arena.report().peak[static_cast<size_t>(MemoryCategory::kCommunication)];
}

template <typename RunRanks>
Result divided(const Case& c, Peaks& peaks, const RunRanks& run_ranks) {
  Arena arena(Device{}, int64_t{1} << 28);
  Stream stream(arena, 1, detect_cpu_isa());
  const auto [heads, groups, dim] = c.sizes;
  const Tensor qkv = poisoned(stream, {c.batch, c.seq, c.width(), dim});
  const Tensor dqkv = poisoned(stream, qkv.shape());
  const Tensor doutput = poisoned(stream, {c.batch, c.seq, heads, dim});
  const Tensor o = poisoned(stream, doutput.shape());
  fill_inputs(qkv, doutput);
  peaks.forward.resize(static_cast<size_t>(c.cp));
  peaks.both.resize(static_cast<size_t>(c.cp));
  std::mutex mutex;
  run_ranks(
      static_cast<int>(c.cp), std::chrono::seconds(60), with_test_rank([&](TestRank& rank) {
        const DeviceMesh mesh(rank.world, Grid(Sizes{.world = c.cp, .cp = c.cp, .edp = c.cp}));
        const WholePartition partition;
        const ParamSet no_params(partition);
        PlainWeights weights(rank.arena, no_params);
        Context ctx = {.stream = rank.stream,
                       .weights = weights,
                       .grads = weights,
                       .mesh = mesh,
                       .cp_comm_type = c.mode,
                       .loss_sum = {}};
        const int64_t seq = c.seq / c.cp;
        const Tensor my_qkv = poisoned(rank.stream, {c.batch, seq, c.width(), dim});
        const Tensor my_doutput = poisoned(rank.stream, {c.batch, seq, heads, dim});
        {
          const std::lock_guard lock(mutex);
          copy_columns(qkv, my_qkv, c.cp, rank.rank, true);
          copy_columns(doutput, my_doutput, c.cp, rank.rank, true);
        }
        AttendSaved saved;
        const Tensor my_o = attend(ctx, c.sizes, my_qkv, saved);
        peaks.forward[static_cast<size_t>(rank.rank)] = peak_of_messages(rank.arena);
        const Tensor my_dqkv = attend_backward(ctx, c.sizes, my_doutput, my_o, std::move(saved));
        peaks.both[static_cast<size_t>(rank.rank)] = peak_of_messages(rank.arena);
        const std::lock_guard lock(mutex);
        copy_columns(o, my_o, c.cp, rank.rank, false);
        copy_columns(dqkv, my_dqkv, c.cp, rank.rank, false);
      }));
  return {elements(o), elements(dqkv)};
}

Result divided(const Case& c) {
  Peaks peaks;
  return divided(c, peaks, run_thread_ranks);
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0, largest = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double distance = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(distance <= worst)) worst = std::isnan(distance) ? INFINITY : distance;
    largest = std::max(largest, std::abs(static_cast<double>(b[i])));
  }
  return worst / largest;
}

const AttentionSizes kGrouped = {8, 4, 6};
const AttentionSizes kEqual = {4, 4, 10};
const AttentionSizes kOneGroup = {3, 1, 5};

const Case kCases[] = {
    {kP2P, 1, 2, 7, kGrouped},        {kP2P, 2, 1, 4, kOneGroup},
    {kP2P, 2, 3, 40, kGrouped},       {kP2P, 3, 2, 42, kOneGroup},
    {kP2P, 4, 2, 400, kGrouped},      {kP2P, 8, 1, 16, kEqual},
    {kP2P, 8, 2, 96, kGrouped},       {kAllGather, 1, 1, 5, kEqual},
    {kAllGather, 2, 3, 40, kGrouped}, {kAllGather, 4, 2, 400, kOneGroup},
    {kAllGather, 8, 2, 96, kEqual},   {kA2A, 1, 1, 5, kEqual},
    {kA2A, 2, 3, 40, kGrouped},       {kA2A, 4, 2, 400, kGrouped},
    {kA2A, 4, 1, 8, kEqual},
};

}  // namespace

TEST_CASE("chunk r and its mirror image make every rank's work the same") {
  for (int64_t cp : {1, 2, 4}) {
    std::vector<int> seen(48);
    for (int64_t rank = 0; rank < cp; ++rank) {
      int64_t pairs = 0;
      for (const Range& columns : zigzag_columns(48, cp, rank))
        for (int64_t i = columns.begin; i < columns.end; ++i) {
          ++seen[static_cast<size_t>(i)];
          pairs += i + 1;
        }
      CHECK(pairs == 48 * 49 / 2 / cp);
    }
    CHECK(seen == std::vector<int>(48, 1));
  }
  const auto of_rank_1 = zigzag_columns(24, 3, 1);
  CHECK(of_rank_1[0].begin == 4);
  CHECK(of_rank_1[0].end == 8);
  CHECK(of_rank_1[1].begin == 16);
  CHECK(of_rank_1[1].end == 20);
}

TEST_CASE("attention over divided samples is attention over whole ones, forward and backward") {
  for (const Case& c : kCases) {
    CAPTURE(static_cast<int>(c.mode));
    CAPTURE(c.cp);
    CAPTURE(c.seq);
    const Result expected = alone(c), result = divided(c);
    CHECK(difference(result.o, expected.o) <= 1e-6);
    CHECK(difference(result.dqkv, expected.dqkv) <= 2e-6);
    if (c.cp == 1) CHECK(result == expected);
  }
}

TEST_CASE("divided attention gives the same bits twice, on threads and on processes") {
  for (const CpCommType mode : {kP2P, kAllGather, kA2A}) {
    const Case c = {mode, 4, 2, 96, kGrouped};
    const Result first = divided(c);
    CHECK(divided(c) == first);
    Peaks peaks;
    CHECK(divided(c, peaks, run_hosted_ranks) == first);
  }
  // The ring's blocks are visited in its order where all are gathered, too.
  CHECK(divided({kP2P, 4, 2, 96, kGrouped}).o == divided({kAllGather, 4, 2, 96, kGrouped}).o);
}

TEST_CASE("the ring holds two blocks of keys and values at most, whatever the number of ranks") {
  // In backward the gradients of the block here besides, and of the ones that went and that come.
  for (const auto& [cp, num_blocks, num_gradients] :
       {std::tuple{1, 0, 0}, {2, 2, 1}, {4, 2, 3}, {8, 2, 3}}) {
    CAPTURE(cp);
    const Case c = {kP2P, cp, 2, 64, kGrouped};
    const int64_t block = 4 * c.batch * (c.seq / cp) * 2 * c.sizes.num_groups * c.sizes.head_dim;
    Peaks peaks;
    divided(c, peaks, run_thread_ranks);
    for (size_t rank = 0; rank < peaks.both.size(); ++rank) {
      CHECK(peaks.forward[rank] == num_blocks * block);
      CHECK(peaks.both[rank] == (num_blocks + num_gradients) * block);
    }
  }
}
