#include "lib/mesh/device_mesh.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <mutex>

#include "tests/support/run_ranks.h"

using namespace nemo;

namespace {

using Groups = std::vector<std::vector<int>>;

// The groups of a mesh as their members see them: each rank gathers the world ranks of its group.
template <typename GroupOf>
Groups gather_groups(const Sizes& sizes, GroupOf group_of) {
  std::mutex mutex;
  Groups groups;
  const Grid grid(sizes);
  test::run_ranks(static_cast<int>(grid.world()), [&](test::TestRank& rank) {
    const DeviceMesh mesh(rank.world, grid);
    Communicator& members = group_of(mesh);
    std::vector<int> ranks(static_cast<size_t>(members.size()));
    const Tensor own(&rank.rank, DType::kI32, {1});
    members.all_gather(own, Tensor(ranks.data(), DType::kI32, {members.size()}), "ranks")
        .wait(rank.stream);
    const std::lock_guard lock(mutex);
    if (members.rank() == 0) groups.push_back(ranks);
  });
  std::ranges::sort(groups);
  return groups;
}

Groups gather_groups(const Sizes& sizes, Axis axis) {
  return gather_groups(sizes, [&](const DeviceMesh& mesh) -> Communicator& { return mesh[axis]; });
}

}  // namespace

TEST_CASE("every group holds the ranks of the worked example, in order") {
  const Sizes sizes = {.tp = 2, .cp = 2, .dp = 2, .pp = 2, .etp = 2, .ep = 2, .edp = 2};
  const Groups pairs = {{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}, {10, 11}, {12, 13}, {14, 15}};
  const Groups cp = {{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}, {9, 11}, {12, 14}, {13, 15}};
  const Groups dp = {{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}, {9, 13}, {10, 14}, {11, 15}};
  const Groups dp_cp = {{0, 2, 4, 6}, {1, 3, 5, 7}, {8, 10, 12, 14}, {9, 11, 13, 15}};
  CHECK(gather_groups(sizes, Axis::kTp) == pairs);
  CHECK(gather_groups(sizes, Axis::kCp) == cp);
  CHECK(gather_groups(sizes, Axis::kDp) == dp);
  CHECK(gather_groups(sizes, Axis::kPp) ==
        Groups{{0, 8}, {1, 9}, {2, 10}, {3, 11}, {4, 12}, {5, 13}, {6, 14}, {7, 15}});
  CHECK(gather_groups(sizes, std::mem_fn(&DeviceMesh::dp_cp)) == dp_cp);
  CHECK(gather_groups(sizes, std::mem_fn(&DeviceMesh::tp_cp)) ==
        Groups{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}, {12, 13, 14, 15}});
  CHECK(gather_groups(sizes, Axis::kDpReplicate).size() == 16);
  CHECK(gather_groups(sizes, Axis::kDpShard) == dp);
  CHECK(gather_groups(sizes, std::mem_fn(&DeviceMesh::dp_shard_cp)) == dp_cp);
  CHECK(gather_groups(sizes, Axis::kEtp) == pairs);
  CHECK(gather_groups(sizes, Axis::kEp) == cp);
  CHECK(gather_groups(sizes, Axis::kEdp) == dp);
}

TEST_CASE("experts spread over the ranks of a stage, replicas over the outer data ranks") {
  const Sizes experts = {.tp = 2, .dp = 4, .pp = 2, .etp = 1, .ep = 4, .edp = 2};
  CHECK(gather_groups(experts, Axis::kEp) ==
        Groups{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}, {12, 13, 14, 15}});
  CHECK(gather_groups(experts, std::mem_fn(&DeviceMesh::etp_ep)) ==
        gather_groups(experts, Axis::kEp));
  const Sizes replicas = {.cp = 2, .dp = 4, .edp = 8, .dp_replicate = 2};
  CHECK(gather_groups(replicas, Axis::kDpReplicate) == Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}});
  CHECK(gather_groups(replicas, Axis::kDpShard) == Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}});
  CHECK(gather_groups(replicas, std::mem_fn(&DeviceMesh::dp_shard_cp)) ==
        Groups{{0, 1, 2, 3}, {4, 5, 6, 7}});
}

TEST_CASE("a mesh knows its coordinates and prints its groups") {
  std::string text;
  const Grid grid({.tp = 2, .dp = 2, .pp = 2, .etp = 2, .edp = 2});
  test::run_ranks(8, [&](test::TestRank& rank) {
    const DeviceMesh mesh(rank.world, grid);
    const int64_t tp = rank.rank % 2, dp = rank.rank / 2 % 2, pp = rank.rank / 4;
    NEMO_CHECK(mesh.coordinate(Axis::kTp) == tp && mesh[Axis::kTp].rank() == tp, "tp {}", tp);
    NEMO_CHECK(mesh.coordinate(Axis::kDp) == dp && mesh[Axis::kDp].rank() == dp, "dp {}", dp);
    NEMO_CHECK(mesh.coordinate(Axis::kPp) == pp && mesh[Axis::kPp].rank() == pp, "pp {}", pp);
    if (rank.rank == 6) text = mesh.to_string();
  });
  CHECK(text ==
        "tp: 0 of [6, 7]\ncp: 0 of [6]\ndp: 1 of [4, 6]\npp: 1 of [2, 6]\ndp_replicate: 0 of [6]\n"
        "dp_shard: 1 of [4, 6]\netp: 0 of [6, 7]\nep: 0 of [6]\nedp: 1 of [4, 6]\n"
        "edp_shard: 1 of [4, 6]\n"
        "dp_cp: 1 of [4, 6]\ndp_shard_cp: 1 of [4, 6]\ntp_cp: 0 of [6, 7]\netp_ep: 0 of [6, 7]\n");
}

TEST_CASE("a mesh refuses a world of another size") {
  std::string error;
  try {
    test::run_ranks(
        2, [](test::TestRank& rank) { DeviceMesh(rank.world, Grid({.tp = 4, .etp = 4})); });
  } catch (const InvariantError& e) {
    error = e.what();
  }
  CHECK(error.find("[mesh] a grid of 4 ranks in a world of 2") != std::string::npos);
}
