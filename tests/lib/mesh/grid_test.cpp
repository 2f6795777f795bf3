#include "lib/mesh/grid.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <set>

#include "lib/core/error.h"

using namespace nemo;

namespace {

using Groups = std::vector<std::vector<int64_t>>;

Groups groups(const Grid& grid, std::initializer_list<Axis> axes) {
  return grid.groups(std::span(axes.begin(), axes.size()));
}

}  // namespace

TEST_CASE("tp2 cp2 pp2 ep2 on 16 ranks") {
  const Grid grid({.tp = 2, .cp = 2, .dp = 2, .pp = 2, .etp = 2, .ep = 2, .edp = 2});
  CHECK(grid.world() == 16);
  CHECK(groups(grid, {Axis::kTp}) ==
        Groups{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}, {10, 11}, {12, 13}, {14, 15}});
  CHECK(groups(grid, {Axis::kCp}) ==
        Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}, {9, 11}, {12, 14}, {13, 15}});
  CHECK(groups(grid, {Axis::kDp}) ==
        Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}, {9, 13}, {10, 14}, {11, 15}});
  CHECK(groups(grid, {Axis::kDp, Axis::kCp}) ==
        Groups{{0, 2, 4, 6}, {1, 3, 5, 7}, {8, 10, 12, 14}, {9, 11, 13, 15}});
  CHECK(groups(grid, {Axis::kPp}) ==
        Groups{{0, 8}, {1, 9}, {2, 10}, {3, 11}, {4, 12}, {5, 13}, {6, 14}, {7, 15}});
  CHECK(groups(grid, {Axis::kEp}) ==
        Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}, {8, 10}, {9, 11}, {12, 14}, {13, 15}});
  CHECK(groups(grid, {Axis::kEdp}) ==
        Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}, {9, 13}, {10, 14}, {11, 15}});
}

TEST_CASE("tp2 pp2 etp1 ep4 on 16 ranks: experts spread over tp and dp") {
  const Grid grid({.tp = 2, .dp = 4, .pp = 2, .etp = 1, .ep = 4, .edp = 2});
  CHECK(groups(grid, {Axis::kEp}) ==
        Groups{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9, 10, 11}, {12, 13, 14, 15}});
  CHECK(groups(grid, {Axis::kEdp}) ==
        Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}, {8, 12}, {9, 13}, {10, 14}, {11, 15}});
}

TEST_CASE("tp2 pp4 on 16 ranks: the model-parallel group is a product of axes") {
  const Grid grid({.tp = 2, .dp = 2, .pp = 4, .etp = 2, .edp = 2});
  CHECK(groups(grid, {Axis::kPp}) ==
        Groups{{0, 4, 8, 12}, {1, 5, 9, 13}, {2, 6, 10, 14}, {3, 7, 11, 15}});
  CHECK(groups(grid, {Axis::kTp, Axis::kPp}) ==
        Groups{{0, 1, 4, 5, 8, 9, 12, 13}, {2, 3, 6, 7, 10, 11, 14, 15}});
}

TEST_CASE("dp splits into replicas outside and shards inside") {
  const Grid grid({.tp = 2, .dp = 4, .etp = 2, .edp = 4, .dp_replicate = 2});
  CHECK(groups(grid, {Axis::kDpShard}) == Groups{{0, 2}, {1, 3}, {4, 6}, {5, 7}});
  CHECK(groups(grid, {Axis::kDpReplicate}) == Groups{{0, 4}, {1, 5}, {2, 6}, {3, 7}});
  CHECK(groups(grid, {Axis::kDp}) == Groups{{0, 2, 4, 6}, {1, 3, 5, 7}});
}

TEST_CASE("a rank is its coordinates, on both grids") {
  const Sizes s = {
      .tp = 2, .cp = 3, .dp = 4, .pp = 5, .etp = 1, .ep = 6, .edp = 4, .dp_replicate = 2};
  const Grid grid(s);
  for (int64_t rank = 0; rank < grid.world(); ++rank) {
    const auto at = [&](Axis axis) { return grid.coordinate(axis, rank); };
    CHECK(rank ==
          at(Axis::kTp) + s.tp * (at(Axis::kCp) + s.cp * (at(Axis::kDp) + s.dp * at(Axis::kPp))));
    CHECK(rank == at(Axis::kEtp) +
                      s.etp * (at(Axis::kEp) + s.ep * (at(Axis::kEdp) + s.edp * at(Axis::kPp))));
    CHECK(at(Axis::kDp) == at(Axis::kDpReplicate) * 2 + at(Axis::kDpShard));
  }
}

TEST_CASE("the groups of any axes hold every rank once") {
  const Grid grid(
      {.tp = 2, .cp = 2, .dp = 6, .pp = 3, .etp = 1, .ep = 8, .edp = 3, .dp_replicate = 3});
  for (const auto& axes : {std::vector{Axis::kTp},
                           {Axis::kCp, Axis::kDpShard},
                           {Axis::kPp, Axis::kTp},
                           {Axis::kEp},
                           {Axis::kEdp, Axis::kPp}}) {
    std::multiset<int64_t> seen;
    for (const auto& group : grid.groups(axes)) seen.insert(group.begin(), group.end());
    CHECK(seen.size() == 72);
    CHECK(std::set(seen.begin(), seen.end()).size() == 72);
    CHECK(grid.group_of(axes, 37) == [&] {
      for (const auto& group : grid.groups(axes))
        if (std::ranges::find(group, 37) != group.end()) return group;
      return std::vector<int64_t>{};
    }());
  }
}

TEST_CASE("grids that cover different ranks are refused") {
  CHECK_THROWS_AS(Grid({.tp = 2, .dp = 2}), InvariantError);
  CHECK_THROWS_AS(Grid({.dp = 4, .edp = 4, .dp_replicate = 3}), InvariantError);
}
