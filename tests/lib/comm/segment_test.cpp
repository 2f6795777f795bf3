#include "lib/comm/shared/segment.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "lib/core/error.h"

using namespace nemo;
using namespace nemo::shared;

TEST_CASE("blocks of a segment are zeros, aligned and apart") {
  const auto segment = Segment::make_private(1 << 20);
  CHECK(segment->allocate(100) == Segment::kFirst);
  int64_t end = Segment::kFirst + 100;
  for (int64_t alignment : {64, 4096, 64}) {
    const int64_t offset = segment->allocate(300, alignment);
    CHECK(offset >= end);
    CHECK(offset % alignment == 0);
    const char* block = segment->at<char>(offset);
    CHECK(std::all_of(block, block + 300, [](char c) { return c == 0; }));
    std::fill_n(segment->at<char>(offset), 300, 'x');
    end = offset + 300;
  }
}

TEST_CASE("a segment that is full says so") {
  const auto segment = Segment::make_private(4096);
  segment->allocate(4096 - Segment::kFirst);
  CHECK_THROWS_WITH_AS(
      segment->allocate(1),
      "[comm] 1 more bytes do not fit into the 4096 that the ranks of a host share", UserError);
}
