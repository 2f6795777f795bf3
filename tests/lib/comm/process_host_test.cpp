#include "lib/comm/shared/process_host.h"

#include "lib/comm/store/store.h"
#include "lib/comm/store/store_server.h"
#include "tests/lib/comm/communicator_body.h"
#include "tests/support/process_ranks.h"

using namespace nemo;
using namespace nemo::test;

namespace {

// Values lie now in memory that peers reach, now elsewhere, differently on neighbours.
struct Processes {
  static constexpr size_t kNumRepeats = 100;
  static constexpr int64_t kManyElements = 20011;
  static void run(int num_ranks, std::chrono::milliseconds timeout,
                  const std::function<void(TestRank&)>& fn) {
    run_hosted_ranks(num_ranks, timeout, [&](int rank, Communicator& world) {
      TestRank test_rank(rank, world);
      test_rank.alternate = true;
      test_rank.in_arena = rank % 2 == 0;
      fn(test_rank);
    });
  }
};

}  // namespace

TEST_CASE_TEMPLATE_INVOKE(all_reduce_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(nan_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(all_gather_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(reduce_scatter_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(all_to_all_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(all_to_all_v_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(broadcast_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(ring_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(in_flight_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(keeps_tensors_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(split_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(interleaved_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(barrier_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(timeout_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(chain_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(circle_body, Processes);
TEST_CASE_TEMPLATE_INVOKE(poison_body, Processes);

namespace {

// Runs body(host, rank) on ranks that join through `rendezvous`.
void join_hosts(Rendezvous& rendezvous, const std::vector<ProcessHost::Options>& options,
                const std::function<void(ProcessHost&, int)>& body) {
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < std::ssize(options); ++rank)
    threads.emplace_back([&, rank] {
      ProcessHost host(rendezvous, rank, static_cast<int>(options.size()),
                       options[static_cast<size_t>(rank)]);
      body(host, rank);
    });
}

ProcessHost::Options options_of(bool share_memory) {
  return {.timeout = 10s, .memory_bytes = 64 << 20, .share_memory = share_memory};
}

}  // namespace

TEST_CASE("only what peers do not reach is copied") {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  std::array<int64_t, 2> in_place{}, one_outside{}, both_outside{}, left{};
  join_hosts(rendezvous, {options_of(true), options_of(true)}, [&](ProcessHost& host, int rank) {
    const auto world = host.communicator("world");
    const size_t me = static_cast<size_t>(rank);
    Arena arena(host.reserve_memory(1 << 20));
    Stream stream(arena, 1, detect_cpu_isa());
    const Tensor inside(arena, DType::kF32, {64}, MemoryCategory::kCommunication, "inside");
    std::vector<float> memory(128);
    const Tensor outside(memory.data(), DType::kF32, {128});
    auto peak = [&] { return host.staging().peak_total; };
    world->all_gather(inside.slice(0, 0, 16), inside.slice(0, 0, 32), "in place").wait(stream);
    in_place[me] = peak();
    world->all_gather(inside, outside, "result outside").wait(stream);
    one_outside[me] = peak();
    world->all_gather(outside.slice(0, 0, 64), outside, "outside").wait(stream);
    both_outside[me] = peak();
    left[me] = host.staging().live_total;
  });
  for (size_t rank : {0, 1}) {
    CHECK(in_place[rank] == 0);
    CHECK(one_outside[rank] == 512);
    CHECK(both_outside[rank] == 512 + 256);
    CHECK(left[rank] == 0);
  }
}

TEST_CASE("a rank that is told not to share memory is a host of its own") {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  std::array<std::vector<int>, 4> hosts;
  join_hosts(rendezvous, {options_of(false), options_of(true), options_of(false), options_of(true)},
             [&](ProcessHost& host, int rank) { hosts[static_cast<size_t>(rank)] = host.ranks(); });
  CHECK(hosts[0] == std::vector{0});
  CHECK(hosts[1] == std::vector{1, 3});
  CHECK(hosts[2] == std::vector{2});
  CHECK(hosts[3] == std::vector{1, 3});
}

TEST_CASE("a rank that cannot open the segment is a host of its own, the others share it") {
  // Rank 1 is told of another segment than it finds.
  struct Misleading final : Rendezvous {
    explicit Misleading(Rendezvous& real_) : real(real_) {}
    void set(std::string_view key, std::string_view value) override { real.set(key, value); }
    std::string get(std::string_view key) override {
      std::string value = real.get(key);
      if (key.starts_with("shared/segment/")) value.back() ^= 1;
      return value;
    }
    Rendezvous& real;
  };
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  Misleading misleading(rendezvous);
  std::array<std::vector<int>, 3> hosts;
  std::array<int32_t, 3> sums{};
  {
    std::vector<std::jthread> threads;
    for (size_t rank : {0, 1, 2})
      threads.emplace_back([&, rank] {
        Rendezvous& mine = rank == 1 ? static_cast<Rendezvous&>(misleading) : rendezvous;
        ProcessHost host(mine, static_cast<int>(rank), 3, options_of(true));
        hosts[rank] = host.ranks();
        const auto group = host.communicator("host");
        Arena arena(host.reserve_memory(1 << 20));
        Stream stream(arena, 1, detect_cpu_isa());
        sums[rank] = 1 << rank;
        group->all_reduce(Tensor(&sums[rank], DType::kI32, {1}), ReduceOp::kSum, "sum")
            .wait(stream);
      });
  }
  CHECK(hosts[0] == std::vector{0, 2});
  CHECK(hosts[1] == std::vector{1});
  CHECK(hosts[2] == std::vector{0, 2});
  CHECK(sums == std::array<int32_t, 3>{5, 2, 5});
}

TEST_CASE("members of a host open a group that they learn of elsewhere") {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  std::array<int32_t, 3> sums{};
  join_hosts(
      rendezvous, {options_of(true), options_of(true), options_of(true)},
      [&](ProcessHost& host, int rank) {
        Arena arena(host.reserve_memory(1 << 20));
        Stream stream(arena, 1, detect_cpu_isa());
        if (rank == 1) return;
        if (rank == 0) rendezvous.set("group", std::to_string(host.allocate_group(2)));
        const auto group =
            host.open_group(std::stol(rendezvous.get("group")), "pair", {0, 2}, rank / 2);
        int32_t& sum = sums[static_cast<size_t>(rank)];
        sum = 1 << rank;
        group->all_reduce(Tensor(&sum, DType::kI32, {1}), ReduceOp::kSum, "sum").wait(stream);
      });
  CHECK(sums == std::array<int32_t, 3>{5, 0, 5});
}

TEST_CASE("ranks meet in the job's store") {
  const StoreServer server({"127.0.0.1", 0}, 3, 10s, "the test");
  std::array<int32_t, 3> sums{};
  {
    std::vector<std::jthread> threads;
    for (size_t rank : {0, 1, 2})
      threads.emplace_back([&, rank] {
        Store store({"127.0.0.1", server.port()}, {.timeout = 10s});
        ProcessHost host(store, static_cast<int>(rank), 3, options_of(true));
        const auto world = host.communicator("world");
        Arena arena(host.reserve_memory(1 << 20));
        Stream stream(arena, 1, detect_cpu_isa());
        sums[rank] = 1 << rank;
        world->all_reduce(Tensor(&sums[rank], DType::kI32, {1}), ReduceOp::kSum, "sum")
            .wait(stream);
      });
  }
  CHECK(sums == std::array<int32_t, 3>{7, 7, 7});
}

TEST_CASE("every rank may reserve what the segment was made for, whatever it asked for itself") {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  std::array<int64_t, 2> bytes{};
  join_hosts(rendezvous,
             {{.timeout = 10s, .memory_bytes = 1 << 20}, {.timeout = 10s, .memory_bytes = 1 << 30}},
             [&](ProcessHost& host, int rank) {
               bytes[static_cast<size_t>(rank)] = host.reserve_memory(int64_t{1} << 40).bytes;
             });
  CHECK(bytes == std::array<int64_t, 2>{1 << 20, 1 << 20});
}

TEST_CASE("memory that is given back is freed") {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  join_hosts(rendezvous, {options_of(true)}, [&](ProcessHost& host, int) {
    AddressRange range = host.reserve_memory(int64_t{1} << 40);
    CHECK(range.bytes == 64 << 20);
    std::byte* begin = range.begin;
    std::fill_n(begin, 1 << 20, std::byte{1});
    range = {};
    CHECK(std::all_of(begin, begin + (1 << 20), [](std::byte b) { return b == std::byte{0}; }));
  });
}
