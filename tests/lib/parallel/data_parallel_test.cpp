#include "lib/parallel/data_parallel.h"

#include <doctest/doctest.h>

#include "lib/launch/thread_ranks.h"

using namespace nemo;

namespace {

constexpr int kRanks = 3;

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
  add("c.w", {33, 2});
  params.begin_unit("d");
  add("d.bias", {1});
  add("d.expert", {9, 2}, ParamRole::kExpertDown);
}

// Two steps of two uses each of every gradient; returns the gradients after each, of every rank.
std::vector<std::vector<float>> reduced(const DataParallelOptions& options) {
  std::vector<std::vector<float>> result(kRanks);
  run_thread_ranks(kRanks, std::chrono::seconds(10), [&](int rank, Communicator& world) {
    Arena arena(Device{}, int64_t{1} << 24);
    Stream stream(arena, 1, detect_cpu_isa());
    const WholePartition partition;
    ParamSet params(partition);
    add_params(params);
    const auto alone = world.split(rank, "edp");
    DataParallel data(stream, params, world, *alone, options);
    for (int step = 0; step < 2; ++step) {
      for (int use = 0; use < 2; ++use)
        for (int unit = params.num_units() - 1; unit >= 0; --unit) {
          for (ParamId id = 0; id < params.num_params(); ++id) {
            if (params[id].unit != unit) continue;
            const GradTarget target = data.target(id);
            for (int64_t i = 0; i < target.grad.numel(); ++i) {
              const float value = static_cast<float>((rank + 1) * (use + 1) * (step + 1) + id + i);
              float& grad = target.grad.data<float>()[i];
              grad = target.accumulate ? grad + value : value;
            }
          }
          if (use == 1) data.mark_final(unit);
        }
      data.finish_grads();
      for (const OptimRange& range : data.ranges())
        for (int64_t i = 0; i < range.grad.numel(); ++i)
          result[static_cast<size_t>(rank)].push_back(range.grad.data<float>()[i]);
    }
  });
  return result;
}

// Experts are alone in their group.
std::vector<float> expected(int64_t rank) {
  const int64_t sizes[] = {21, 25, 6, 5, 66, 1, 18};
  std::vector<float> values;
  for (int64_t step = 0; step < 2; ++step)
    for (int64_t id = 0; id < 7; ++id)
      for (int64_t i = 0; i < sizes[id]; ++i) {
        // sum over ranks 1..3 and uses 1..2 of rank * use * (step + 1) + id + i
        const int64_t dense = 6 * 3 * (step + 1) + 6 * (id + i);
        const int64_t expert = (rank + 1) * 3 * (step + 1) + 2 * (id + i);
        values.push_back(static_cast<float>(id == 2 || id == 6 ? expert : dense));
      }
  return values;
}

}  // namespace

TEST_CASE("gradients are the sums of their kind's group, whatever the buckets") {
  for (double megabytes : {25.0, 1e-4, 2e-4, 1e-6})
    for (bool overlap : {false, true})
      for (bool view : {false, true}) {
        CAPTURE(megabytes);
        CAPTURE(overlap);
        CAPTURE(view);
        const auto ranks = reduced({megabytes, overlap, view});
        for (size_t rank = 0; rank < kRanks; ++rank)
          CHECK(ranks[rank] == expected(static_cast<int64_t>(rank)));
      }
}

TEST_CASE("a unit that is final twice, or never, is a broken invariant") {
  CHECK_THROWS_AS(run_thread_ranks(1, std::chrono::seconds(10),
                                   [](int, Communicator& world) {
                                     Arena arena(Device{}, int64_t{1} << 24);
                                     Stream stream(arena, 1, detect_cpu_isa());
                                     const WholePartition partition;
                                     ParamSet params(partition);
                                     add_params(params);
                                     DataParallel data(stream, params, world, world, {});
                                     data.mark_final(3);
                                     data.finish_grads();
                                   }),
                  InvariantError);
}
