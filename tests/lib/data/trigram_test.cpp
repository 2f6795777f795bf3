#include "tests/support/trigram.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tests/lib/data/text_config.h"
#include "tests/support/files.h"

using namespace nemo;
using namespace nemo::test;

TEST_CASE("the trigram model's loss on a text small enough to count by hand") {
  const TempFolder folder;
  // Training: ababababab. Validation: abac, whose targets are b (after end, a), a (after a, b) and
  // c (after b, a).
  DataConfig data = text_config({write_file(folder / "t",
                                            "abababababababababababababababab"
                                            "abac")},
                                3);
  data.split = {32, 4, 0};
  // 10 training samples: 31 tokens, so (end, a) -> b once, (a, b) -> a 15 times, (b, a) -> b 14.
  const double v = 0.1 * 256;
  const double expected =
      -(std::log(1.1 / (1 + v)) + std::log(15.1 / (15 + v)) + std::log(0.1 / (14 + v))) / 3;
  const TrigramLoss loss = trigram_loss(data, 256, 100);
  CHECK(loss.num_targets == 3);
  CHECK(loss.nats == doctest::Approx(expected).epsilon(1e-12));
}

TEST_CASE("the trigram model's loss on long texts lies well below that of guessing") {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "line " + std::to_string(i * i % 97) + "\n";
  const DataConfig data = text_config({write_file(folder / "t", text)}, 32);
  const TrigramLoss all = trigram_loss(data, 257, INT64_MAX);
  CHECK(all.num_targets % 32 == 0);
  CHECK(trigram_loss(data, 257, 5).num_targets == 5 * 32);
  CHECK(all.nats > 0.2);
  CHECK(all.nats < 1.5);
}
