#include "lib/comm/process_world.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "lib/comm/store/store_server.h"
#include "lib/device/stream.h"

using namespace nemo;
using namespace std::chrono_literals;

namespace {

// Runs body(world, rank) on ranks that joined one job; what each threw, empty where nothing.
template <size_t kSize>
std::array<std::string, kSize> join_worlds(
    const std::array<bool, kSize>& share_memory,
    const std::function<void(ProcessWorld&, Store&, int)>& body) {
  const StoreServer server({"127.0.0.1", 0}, kSize, 10s, "the test");
  std::array<std::string, kSize> errors;
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < kSize; ++i)
    threads.emplace_back([&, i] {
      const int rank = static_cast<int>(i);
      Store store({"127.0.0.1", server.port()}, {.timeout = 10s});
      store.join({rank, "here", getpid()}, kSize);
      try {
        ProcessWorld world(store, rank, kSize,
                           {.timeout = 10s, .share_memory = share_memory.at(i)});
        body(world, store, rank);
      } catch (const UserError& e) {
        errors.at(i) = e.what();
      }
      store.leave();
    });
  threads.clear();
  return errors;
}

}  // namespace

TEST_CASE("processes of one host are a world") {
  std::array<int32_t, 3> sums{};
  const auto errors = join_worlds<3>({true, true, true}, [&](ProcessWorld& process_world, Store&,
                                                             int rank) {
    const auto world = process_world.communicator();
    NEMO_CHECK(world->rank() == rank && world->size() == 3 && world->name() == "world", "world");
    Arena arena(world->reserve_memory(1 << 20));
    Stream stream(arena, 1, detect_cpu_isa());
    int32_t& sum = sums[static_cast<size_t>(rank)] = 1 << rank;
    world->all_reduce(Tensor(&sum, DType::kI32, {1}), ReduceOp::kSum, "sum").wait(stream);
  });
  CHECK(errors == std::array<std::string, 3>{});
  CHECK(sums == std::array<int32_t, 3>{7, 7, 7});
}

TEST_CASE("what poisons a world from another thread ends its waits") {
  const auto errors =
      join_worlds<2>({true, true}, [](ProcessWorld& process_world, Store&, int rank) {
        const auto world = process_world.communicator();
        const std::jthread watcher([&] {
          if (rank == 1) process_world.poison("rank 2 is gone");
        });
        if (rank == 0) world->barrier("wait");
      });
  CHECK(errors == std::array<std::string, 2>{"rank 2 is gone", ""});
}

TEST_CASE("ranks that share no memory are refused, each naming the others") {
  const auto errors = join_worlds<3>({true, false, true}, [](ProcessWorld&, Store&, int) {});
  const std::string end =
      " (another host, container or user), and ranks that do not cannot talk yet; all on one host, "
      "in one container, of one user would do";
  CHECK(errors[0] == "[launch] rank 0 shares no memory with rank 1" + end);
  CHECK(errors[1] == "[launch] rank 1 shares no memory with ranks 0, 2" + end);
  CHECK(errors[2] == "[launch] rank 2 shares no memory with rank 1" + end);
}
