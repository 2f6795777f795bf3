#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "lib/core/error.h"
#include "lib/core/philox.h"
#include "lib/device/stream.h"

using namespace nemo;

namespace {

constexpr auto kActivations = MemoryCategory::kActivations;
constexpr auto kGradients = MemoryCategory::kGradients;

}  // namespace

TEST_CASE("the arena counts live and peak bytes by category") {
  Arena arena(Device{}, 1 << 20);
  Buffer kept = arena.allocate(1000, kGradients, "kept");
  {
    Buffer scratch = arena.allocate(64, kActivations, "scratch");
    Buffer same = scratch;
    CHECK(arena.report().live_total == 1024 + 64);
  }
  CHECK(arena.report().live_total == 1024);
  CHECK(arena.report().peak_total == 1088);
  CHECK(arena.report().peak[static_cast<size_t>(kActivations)] == 64);
  CHECK(arena.report().live[static_cast<size_t>(kActivations)] == 0);
  CHECK(arena.report().high_water == 1088);
}

TEST_CASE("freed neighbours become one block again, whatever the order") {
  for (int order = 0; order < 6; ++order) {
    Arena arena(Device{}, 3 * 64);
    std::vector<Buffer> buffers;
    for (int i = 0; i < 3; ++i) buffers.push_back(arena.allocate(64, kActivations, "part"));
    CHECK_THROWS_AS(arena.allocate(1, kActivations, "more"), UserError);
    const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int i : orders[order]) buffers[static_cast<size_t>(i)] = Buffer();
    Buffer whole = arena.allocate(3 * 64, kActivations, "whole");
    CHECK(arena.report().live_total == 3 * 64);
  }
}

TEST_CASE("random traffic never overlaps and lands at the same addresses twice") {
  auto run = [] {
    Arena arena(Device{}, 1 << 20);
    std::vector<Buffer> live;
    std::vector<int64_t> offsets;
    Buffer first = arena.allocate(64, kActivations, "origin");
    for (uint64_t i = 0; i < 2000; ++i) {
      const PhiloxBlock draw = philox(7, i);
      if (draw[0] % 3 == 0 && !live.empty()) {
        live.erase(live.begin() + draw[1] % live.size());
        continue;
      }
      if (live.size() > 100) continue;
      Buffer buffer = arena.allocate(draw[2] % 5000, kActivations, "random");
      offsets.push_back(buffer.data() - first.data());
      for (const Buffer& other : live)
        if (buffer.data() < other.data() + other.bytes() &&
            other.data() < buffer.data() + buffer.bytes())
          offsets.push_back(-1);
      live.push_back(buffer);
    }
    return offsets;
  };
  const auto offsets = run();
  CHECK(std::count(offsets.begin(), offsets.end(), -1) == 0);
  CHECK(offsets == run());
}

TEST_CASE("tensor views share memory and keep it alive") {
  Arena arena(Device{}, 1 << 16);
  Tensor q;
  {
    Tensor qkv(arena, DType::kF32, {2, 3, 8}, kActivations, "qkv");
    for (int i = 0; i < 48; ++i) qkv.data<float>()[i] = static_cast<float>(i);
    q = qkv.slice(2, 4, 8).unflatten(2, 2, 2);
  }
  CHECK(arena.report().live_total == 192);
  CHECK(q.shape() == Shape{2, 3, 2, 2});
  CHECK_FALSE(q.is_contiguous());
  CHECK(q.data<float>()[q.stride(0) + 2 * q.stride(1) + q.stride(2) + 1] == 24 + 16 + 4 + 2 + 1);
  CHECK_THROWS_AS(q.view({24}), InvariantError);
  CHECK_THROWS_AS(q.data<int32_t>(), InvariantError);
  q = Tensor();
  CHECK(arena.report().live_total == 0);
}

TEST_CASE("a part of the outermost dim is a tensor of the others, strided ones too") {
  Arena arena(Device{}, 1 << 20);
  const Tensor x(arena, DType::kI32, {3, 2, 4}, kActivations, "x");
  for (int32_t i = 0; i < 24; ++i) x.data<int32_t>()[i] = i;
  const Tensor part = x.at(1);
  CHECK(part.shape() == Shape{2, 4});
  CHECK(part.is_contiguous());
  CHECK(item<int32_t>(part) == 8);
  const Tensor strided = x.slice(2, 1, 3).at(2);
  CHECK(strided.shape() == Shape{2, 2});
  CHECK(strided.stride(0) == 4);
  CHECK(item<int32_t>(strided.at(1)) == 21);
  CHECK_THROWS_AS(x.at(3), InvariantError);
}

TEST_CASE("a stream keeps one state of each type") {
  struct Counter {
    int value = 0;
  };
  Arena arena(Device{}, 1 << 16);
  Stream stream(arena, 1, detect_cpu_isa());
  ++stream.state<Counter>().value;
  ++stream.state<Counter>().value;
  CHECK(stream.state<Counter>().value == 2);
}
