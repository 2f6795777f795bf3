#include "lib/parallel/grad_state.h"

#include <doctest/doctest.h>

#include <memory>

#include "lib/launch/thread_ranks.h"
#include "lib/parallel/sharded_grads.h"
#include "lib/parallel/whole_grads.h"

using namespace nemo;

namespace {

constexpr int kRanks = 6;

// Four units of odd sizes; the second and the last hold experts too (ids 2 and 6).
void add_params(ParamSet& params) {
  const auto add = [&](const char* name, const Shape& shape, ParamRole role = ParamRole::kNorm) {
    params.add(name, {{name, role, shape}});
  };
  params.begin_unit("a");
  add("a.w", {7, 3});
  params.begin_unit("b");
  add("b.w", {5, 5});
  add("b.expert", {2, 3}, ParamRole::kExpertUp);
  add("b.bias", {5});
  params.begin_unit("c");
  add("c.w", {33, 2}, ParamRole::kHead);
  params.begin_unit("d");
  add("d.bias", {1});
  add("d.expert", {9, 2}, ParamRole::kExpertDown);
}
constexpr int64_t kSizes[] = {21, 25, 6, 5, 66, 1, 18};

// Dense state is cut among `shard` neighbours; experts among the ranks whose numbers are as far
// apart as they are many, so that each of the two kinds has groups of its own.
struct Groups {
  std::unique_ptr<Communicator> shard, replicate, expert_shard, expert_replicate;
  StateGroups state;

  Groups(Communicator& world, int shard_size)
      : shard(world.split(world.rank() / shard_size, "shard")),
        replicate(world.split(world.rank() % shard_size, "replicate")),
        expert_shard(world.split(world.rank() / shard_size, "expert_shard")),
        expert_replicate(world.split(world.rank(), "expert_replicate")),
        state{{shard.get(), replicate.get()}, {expert_shard.get(), expert_replicate.get()}} {}
};

float value_of(int64_t rank, int64_t use, int64_t step, int64_t id, int64_t i) {
  return static_cast<float>((rank + 1) * (use + 1) * (step + 1) + id + i);
}

// What is reduced of every Param in one of two steps, as the shards of the ranks make it up; an
// element that two ranks of different replicas disagree about is -1.
using Sums = std::vector<std::vector<float>>;
struct Case {
  bool sharded;
  int shard_size;
  double bucket_bytes;
  GradOptions options;
};

void use_all(GradState& grads, const ParamSet& params, int64_t rank, int64_t step) {
  for (int64_t use = 0; use < 2; ++use)
    for (int unit = params.num_units() - 1; unit >= 0; --unit) {
      for (ParamId id = 0; id < params.num_params(); ++id) {
        // What the first micro batch does not touch of a unit counts as zero.
        if (params[id].unit != unit || (use == 0 && id == 3)) continue;
        const GradTarget target = grads.target(id);
        for (int64_t i = 0; i < target.grad.numel(); ++i) {
          float& grad = target.grad.data<float>()[i];
          grad = (target.accumulate ? grad : 0) + value_of(rank, use, step, id, i);
        }
      }
      grads.mark_complete(unit, use == 1);
    }
}

// By rank: of every Param, -2 where the rank has no part of it.
std::vector<Sums> reduced(const Case& c, int64_t step) {
  std::vector<Sums> result(kRanks);
  run_thread_ranks(kRanks, std::chrono::seconds(10), [&](int rank, Communicator& world) {
    Arena arena(Device{}, int64_t{1} << 24);
    Stream stream(arena, 1, detect_cpu_isa());
    const WholePartition partition;
    ParamSet params(partition);
    add_params(params);
    const Groups groups(world, c.shard_size);
    const FlatLayout layout(params, {c.shard_size, c.shard_size}, c.bucket_bytes);
    std::unique_ptr<GradState> grads;
    if (c.sharded)
      grads =
          std::make_unique<ShardedGrads>(stream, stream, params, layout, groups.state, c.options);
    else
      grads = std::make_unique<WholeGrads>(stream, stream, params, layout, groups.state, c.options);
    for (int64_t s = 0; s <= step; ++s) {
      use_all(*grads, params, rank, s);
      grads->finish();
    }
    Sums& sums = result[static_cast<size_t>(rank)];
    for (ParamId id = 0; id < params.num_params(); ++id) {
      const auto& [index, piece] = layout.place(id);
      const FlatBucket& bucket = layout.buckets()[index];
      const Range mine = bucket.shard(groups.state.of(bucket.experts).shard->rank());
      const float* shard = grads->shard(index).data<float>();
      auto& values = sums.emplace_back(static_cast<size_t>(piece.numel), -2.0f);
      for (int64_t i = 0; i < piece.numel; ++i)
        if (mine.begin <= piece.first + i && piece.first + i < mine.end)
          values[static_cast<size_t>(i)] = shard[piece.first + i - mine.begin];
    }
  });
  return result;
}

// Over all ranks for dense weights; for experts over those that shard them with this rank.
float expected(const Case& c, int64_t rank, int64_t step, int64_t id, int64_t i) {
  const bool expert = id == 2 || id == 6;
  const int64_t first = expert ? rank / c.shard_size * c.shard_size : 0;
  const int64_t end = expert ? first + c.shard_size : kRanks;
  float sum = 0;
  for (int64_t r = first; r < end; ++r)
    for (int64_t use = id == 3 ? 1 : 0; use < 2; ++use) sum += value_of(r, use, step, id, i);
  return sum;
}

void check(const Case& c) {
  CAPTURE(c.sharded);
  CAPTURE(c.shard_size);
  CAPTURE(c.bucket_bytes);
  CAPTURE(c.options.overlap);
  CAPTURE(c.options.as_bucket_view);
  for (const int64_t step : {0, 1}) {
    const std::vector<Sums> ranks = reduced(c, step);
    for (int64_t rank = 0; rank < kRanks; ++rank)
      for (size_t id = 0; id < std::size(kSizes); ++id)
        for (int64_t i = 0; i < kSizes[id]; ++i) {
          const float actual = ranks[static_cast<size_t>(rank)][id][static_cast<size_t>(i)];
          if (actual == -2.0f) continue;
          REQUIRE(actual == expected(c, rank, step, static_cast<int64_t>(id), i));
        }
    // Of each group that divides the weights exactly one rank has each element.
    for (size_t id = 0; id < std::size(kSizes); ++id)
      for (size_t i = 0; i < static_cast<size_t>(kSizes[id]); ++i)
        for (int first = 0; first < kRanks; first += c.shard_size) {
          int num_holders = 0;
          for (int r = first; r < first + c.shard_size; ++r)
            num_holders += ranks[static_cast<size_t>(r)][id][i] != -2.0f;
          REQUIRE(num_holders == 1);
        }
  }
}

}  // namespace

TEST_CASE("whole gradients are the sums of their kind's groups, whatever the buckets") {
  for (int shard_size : {1, 2, 3, 6})
    for (double bytes : {25e6, 100.0, 200.0, 1.0})
      for (bool overlap : {false, true})
        for (bool view : {false, true})
          check({false, shard_size, bytes, {.overlap = overlap, .as_bucket_view = view}});
}

TEST_CASE("sharded gradients are the sums of their kind's groups over the micro batches") {
  for (int shard_size : {1, 2, 3, 6})
    for (bool overlap : {false, true}) check({true, shard_size, 0, {.overlap = overlap}});
}

TEST_CASE("gradients sent in bf16 are sums of what it keeps, added up in fp32") {
  for (bool sharded : {false, true})
    for (int shard_size : {1, 2, 6}) {
      const Case c = {sharded, shard_size, 0, {.reduce_dtype = DType::kBF16}};
      CAPTURE(sharded);
      CAPTURE(shard_size);
      const std::vector<Sums> ranks = reduced(c, 0);
      for (int64_t rank = 0; rank < kRanks; ++rank)
        for (size_t id = 0; id < std::size(kSizes); ++id)
          for (size_t i = 0; i < static_cast<size_t>(kSizes[id]); ++i) {
            const float actual = ranks[static_cast<size_t>(rank)][id][i];
            if (actual == -2.0f) continue;
            const float exact =
                expected(c, rank, 0, static_cast<int64_t>(id), static_cast<int64_t>(i));
            CHECK(std::abs(actual - exact) <= exact / 64);
          }
    }
}

TEST_CASE("a unit that is final twice, or never, is a broken invariant") {
  const auto misuse = [](bool twice) {
    run_thread_ranks(1, std::chrono::seconds(10), [=](int, Communicator& world) {
      Arena arena(Device{}, int64_t{1} << 24);
      Stream stream(arena, 1, detect_cpu_isa());
      const WholePartition partition;
      ParamSet params(partition);
      add_params(params);
      const Groups groups(world, 1);
      const FlatLayout layout(params, {1, 1}, 25e6);
      WholeGrads grads(stream, stream, params, layout, groups.state, {});
      for (int unit = 3; unit >= (twice ? 0 : 1); --unit) grads.mark_complete(unit, true);
      if (twice) grads.mark_complete(2, true);
      grads.finish();
    });
  };
  CHECK_THROWS_AS(misuse(false), InvariantError);
  CHECK_THROWS_AS(misuse(true), InvariantError);
}
