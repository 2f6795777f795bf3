#include "lib/comm/record/record_communicator.h"

#include <doctest/doctest.h>

using namespace nemo;

TEST_CASE("a rank of a recorded world is alone: operations are complete, contracts hold") {
  Arena arena(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  Stream stream(arena, 1, CpuIsa::kV3);
  RecordCommunicator world("world", 5, 8);
  const auto tensor = [&](int64_t n) {
    return Tensor(arena, DType::kF32, {n}, MemoryCategory::kActivations, "test");
  };
  world.all_reduce(tensor(3), ReduceOp::kSum, "a").wait(stream);
  world.all_gather(tensor(3), tensor(24), "b").wait(stream);
  world.reduce_scatter(tensor(24), tensor(3), ReduceOp::kMax, "c").wait(stream);
  world.send(tensor(3), 4, "d").wait(stream);
  world.barrier("e");
  CHECK_THROWS_AS(world.all_gather(tensor(3), tensor(21), "b"), InvariantError);
  CHECK_THROWS_AS(world.receive(tensor(3), 8, "d"), InvariantError);
}

TEST_CASE("groups of a recorded world are made from their members") {
  RecordCommunicator world("world", 5, 8);
  const int64_t members[] = {1, 3, 5, 7};
  const auto odd = world.subgroup(members, "odd");
  CHECK(odd->name() == "odd");
  CHECK(odd->rank() == 2);
  CHECK(odd->size() == 4);
  const int64_t outer[] = {0, 2};
  CHECK(odd->subgroup(outer, "outer")->rank() == 1);
  const int64_t without[] = {0, 1};
  CHECK_THROWS_AS(world.subgroup(without, "others"), InvariantError);
  CHECK_THROWS_AS(world.split(1, "odd"), InvariantError);
}
