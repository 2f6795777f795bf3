#include "lib/comm/traffic.h"

#include <doctest/doctest.h>

#include "lib/comm/record/record_communicator.h"

using namespace nemo;

TEST_CASE("what a rank sends is counted by group and operation, as a ring sends it") {
  Arena arena(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  Stream stream(arena, 1, CpuIsa::kV3);
  RecordCommunicator record("world", 5, 8);
  Traffic traffic;
  const auto world = counted(record, traffic);
  const int64_t members[] = {1, 5, 6};
  const auto three = world->subgroup(members, "three");
  const int64_t self[] = {1};
  const auto alone = three->subgroup(self, "alone");
  const auto tensor = [&](int64_t rows) {
    return Tensor(arena, DType::kF32, {rows, 5}, MemoryCategory::kActivations, "test");
  };
  // 20 bytes a row.
  world->all_reduce(tensor(8), ReduceOp::kSum, "a").wait(stream);
  world->all_reduce(tensor(16), ReduceOp::kSum, "a").wait(stream);
  world->send(tensor(3), 4, "b").wait(stream);
  world->receive(tensor(3), 4, "b").wait(stream);
  world->barrier("c");
  three->all_reduce(tensor(1), ReduceOp::kSum, "a").wait(stream);  // 4 / 3 of 20 bytes
  three->all_gather(tensor(2), tensor(6), "d").wait(stream);
  three->reduce_scatter(tensor(6), tensor(2), ReduceOp::kSum, "e").wait(stream);
  three->all_to_all(tensor(6), tensor(6), "f").wait(stream);
  const int64_t input_rows[] = {4, 1, 2};
  const int64_t output_rows[] = {0, 1, 0};
  three->all_to_all_v(tensor(7), input_rows, tensor(1), output_rows, "g").wait(stream);
  three->broadcast(tensor(3), 0, "h").wait(stream);
  alone->all_reduce(tensor(8), ReduceOp::kSum, "a").wait(stream);

  const std::map<std::string, Traffic::Group> expected = {
      {"world", {8, {{"all_reduce", {2, 280 + 560}}, {"send", {1, 60}}, {"barrier", {1, 0}}}}},
      {"three",
       {3,
        {{"all_reduce", {1, 26}},
         {"all_gather", {1, 80}},
         {"reduce_scatter", {1, 80}},
         {"all_to_all", {1, 80}},
         {"all_to_all_v", {1, 120}},
         {"broadcast", {1, 40}}}}}};
  CHECK(traffic.groups() == expected);
  CHECK(traffic.bytes() == 900 + 426);
}

TEST_CASE("what comes between two readings is added so many times") {
  RecordCommunicator world("world", 0, 2);
  const auto traffic_of = [&](int64_t sends, int64_t gathers) {
    Traffic traffic;
    for (int64_t i = 0; i < sends; ++i) traffic.called({&world, "send", "", 10, {}});
    for (int64_t i = 0; i < gathers; ++i) traffic.called({&world, "all_gather", "", 3, {}});
    return traffic;
  };
  Traffic total = traffic_of(5, 4);
  total.add(traffic_of(2, 0), traffic_of(4, 1), 7);
  CHECK(total == traffic_of(5 + 7 * 2, 4 + 7 * 1));
}
