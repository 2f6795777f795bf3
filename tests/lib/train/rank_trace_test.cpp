#include "lib/train/rank_trace.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "lib/launch/thread_ranks.h"
#include "tests/support/files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int kRanks = 2;

// Each rank computes for 20 ms while a sum is in flight, then waits for it; rank 1 comes 30 ms
// late.
nlohmann::json traced_sums() {
  const TempFolder folder;
  const auto path = folder.path() / "trace.json";
  run_thread_ranks(kRanks, std::chrono::seconds(10), [&](int rank, Communicator& real_world) {
    RankTrace trace;
    const auto world = observed(real_world, trace);
    Arena arena(Device{}, int64_t{1} << 20);
    Stream stream(arena, 1, detect_cpu_isa());
    const Tensor x(arena, DType::kF32, {100}, MemoryCategory::kWorkspace, "x");
    for (int i = 0; i < 100; ++i) x.data<float>()[i] = 1;
    trace.start(*world);
    {
      const TraceScope scope(&trace.spans(), "step", nullptr, 7);
      if (rank == 1) std::this_thread::sleep_for(std::chrono::milliseconds(300));
      Work sum = world->all_reduce(x, ReduceOp::kSum, "sum");
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      sum.wait(stream);
    }
    trace.write(*world, stream, path);
  });
  return nlohmann::json::parse(std::ifstream(path));
}

}  // namespace

TEST_CASE("a trace holds what each rank computed, and what it waited for of what was in flight") {
  const nlohmann::json trace = traced_sums();
  for (int rank = 0; rank < kRanks; ++rank) {
    CAPTURE(rank);
    const auto spans = [&](const std::string& phase, const std::string& name) {
      std::vector<nlohmann::json> found;
      for (const auto& event : trace["traceEvents"])
        if (event["pid"] == rank && event["ph"] == phase && event["name"] == name)
          found.push_back(event);
      return found;
    };
    const auto steps = spans("X", "step"), waits = spans("X", "sum world");
    const auto begins = spans("b", "sum world"), ends = spans("e", "sum world");
    REQUIRE(steps.size() == 1);
    REQUIRE(waits.size() == 1);
    REQUIRE(begins.size() == 1);
    REQUIRE(ends.size() == 1);
    CHECK(steps[0]["args"]["n"] == 7);
    const double ms = 1e3, step_end = steps[0]["ts"].get<double>() + steps[0]["dur"].get<double>();
    const double flight = ends[0]["ts"].get<double>() - begins[0]["ts"].get<double>();
    const double wait = waits[0]["dur"];
    CHECK(begins[0]["ts"].get<double>() >= (rank == 1 ? 300 * ms : 0));
    CHECK(flight >= wait + 20 * ms);
    CHECK(ends[0]["ts"] <= step_end);
    // Rank 0 waits from 20 ms on, and later on a busy machine, for what rank 1 gives after 300.
    if (rank == 0) CHECK(wait >= 100 * ms);

    const nlohmann::json& sums = trace["communication"][static_cast<size_t>(rank)];
    CHECK(sums["rank"] == rank);
    CHECK(sums["spans_left_out"] == 0);
    const nlohmann::json& world = sums["groups"]["world"];
    CHECK(world["calls"] == 2);  // and the barrier with which time begins
    CHECK(world["bytes"] == 400);
    CHECK(world["waited_s"].get<double>() >= wait / 1e6 - 1e-6);
  }
}

TEST_CASE("a full trace counts what it leaves out") {
  Trace trace(2);
  for (int i = 0; i < 5; ++i) const TraceScope scope(&trace, "step", nullptr, i);
  CHECK(trace.spans().size() == 2);
  CHECK(trace.spans()[1].number == 1);
  CHECK(trace.num_dropped() == 3);
}
