#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "lib/core/counted.h"
#include "lib/core/dtype.h"
#include "lib/core/error.h"
#include "lib/core/math.h"
#include "lib/core/philox.h"
#include "lib/core/shape.h"

using namespace nemo;

TEST_CASE("a failed check names file, condition and values") {
  try {
    NEMO_CHECK(1 == 2, "[op] {} is not {}", 1, 2);
    FAIL("did not throw");
  } catch (const InvariantError& e) {
    const std::string text = e.what();
    CHECK(text.find("core_test.cpp") != std::string::npos);
    CHECK(text.find("[op] 1 is not 2 (1 == 2)") != std::string::npos);
  }
}

TEST_CASE("a count goes with its noun") {
  CHECK(counted(0, "rank") == "0 ranks");
  CHECK(counted(1, "rank") == "1 rank");
  CHECK(counted(12, "rank") == "12 ranks");
}

TEST_CASE("integer helpers are exact or throw") {
  CHECK(div_exact(12, 4) == 3);
  CHECK_THROWS_AS(div_exact(12, 5), InvariantError);
  CHECK_THROWS_AS(div_exact(12, 0), InvariantError);
  CHECK(ceil_div(7, 3) == 3);
  CHECK(round_up(7, 4) == 8);
  CHECK(narrow<int8_t>(127) == 127);
  CHECK_THROWS_AS(narrow<int8_t>(128), InvariantError);
  CHECK_THROWS_AS(narrow<uint32_t>(-1), InvariantError);
}

TEST_CASE("split_evenly covers everything once, sizes differ by at most one") {
  for (int64_t parts : {1, 2, 3, 7}) {
    int64_t next = 0;
    for (int64_t i = 0; i < parts; ++i) {
      const Range r = split_evenly(10, parts, i);
      CHECK(r.begin == next);
      CHECK((r.size() == 10 / parts || r.size() == 10 / parts + 1));
      next = r.end;
    }
    CHECK(next == 10);
  }
}

TEST_CASE("bf16 rounds to nearest even and keeps NaN") {
  CHECK(to_float(to_bfloat16(1.0f)) == 1.0f);
  CHECK(to_float(to_bfloat16(1.00390625f)) == 1.0f);       // halfway, even is below
  CHECK(to_float(to_bfloat16(1.01171875f)) == 1.015625f);  // halfway, even is above
  CHECK(std::isinf(to_float(to_bfloat16(3.4e38f))));
  CHECK(std::isnan(to_float(to_bfloat16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("every fp16 number goes through fp32 and back") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Float16 x = {static_cast<uint16_t>(bits)};
    const uint32_t magnitude = bits & 0x7fff, exponent = magnitude >> 10,
                   digits = magnitude & 0x3ff;
    const float value = to_float(x);
    if (magnitude > 0x7c00) {
      CHECK((std::isnan(value) && std::isnan(to_float(to_float16(value)))));
      continue;
    }
    const double expected = exponent == 31 ? std::numeric_limits<double>::infinity()
                            : exponent == 0
                                ? std::ldexp(digits, -24)
                                : std::ldexp(0x400 + digits, static_cast<int>(exponent) - 25);
    CHECK(static_cast<double>(value) == (bits & 0x8000 ? -expected : expected));
    CHECK(to_float16(value).bits == bits);
  }
}

TEST_CASE("fp16 rounds to nearest even, to infinity from 65520 on") {
  const auto round = [](float x) { return to_float(to_float16(x)); };
  CHECK(round(1.00048828125f) == 1.0f);          // halfway, even is below
  CHECK(round(1.00146484375f) == 1.001953125f);  // halfway, even is above
  CHECK(round(65519.996f) == 65504.0f);
  CHECK(std::isinf(round(65520.0f)));
  CHECK(std::isinf(round(-3.4e38f)));
  CHECK(round(0x1p-25f) == 0.0f);  // halfway between 0 and the least
  CHECK(round(0x1.8p-25f) == 0x1p-24f);
  CHECK(round(0x1.ffbp-15f) == 0x1.ff8p-15f);  // the greatest subnormal
  CHECK(round(0x1.ffcp-15f) == 0x1p-14f);      // halfway to the least normal
}

TEST_CASE("philox equals the published test vectors") {
  CHECK(philox(0, 0, 0) == PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox(~0ull, ~0ull, ~0ull) == PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox(0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull) ==
        PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("shape counts from both ends") {
  const Shape shape = {2, 3, 4};
  CHECK(shape.num_dims() == 3);
  CHECK(shape[0] == 2);
  CHECK(shape[-1] == 4);
  CHECK(shape.numel() == 24);
  CHECK(shape.to_string() == "[2, 3, 4]");
  CHECK(shape != Shape{2, 3});
}
