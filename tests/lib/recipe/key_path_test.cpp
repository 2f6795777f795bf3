#include "lib/recipe/key_path.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

using namespace nemo;

namespace {

struct Names : KeyPath {
  std::vector<std::string> all = {};

  template <typename T>
  void operator()(const Key& key, const T&) {
    all.push_back(dotted(key));
  }
};

}  // namespace

TEST_CASE("keys are named through nested sections, behind them and outside all") {
  Names names;
  const Recipe recipe;
  visit(names, recipe);
  const auto at = std::ranges::find(names.all, "model.rotary_base");
  REQUIRE(names.all.end() - at > 6);
  CHECK(std::vector(at, at + 7) ==
        std::vector<std::string>{
            "model.rotary_base", "model.rope_scaling.type", "model.rope_scaling.factor",
            "model.rope_scaling.low_freq_factor", "model.rope_scaling.high_freq_factor",
            "model.rope_scaling.original_max_position_embeddings", "model.norm_eps"});
  CHECK(names.all.front() == "model.family");
  CHECK(names.all.back() == "log.peak_tflops");
  CHECK(names.section().empty());
  CHECK(names.dotted(Key{"alone", "", ""}) == "alone");
}
