#include "lib/train/predict_memory.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/support/training.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const char* const kModels[] = {
    "model={family: llama, vocab_size: 1031, num_layers: 4, hidden_size: 128, ffn_hidden_size: "
    "352, "
    "num_attention_heads: 4, num_query_groups: 2}",
    "model={family: gpt, vocab_size: 1031, num_layers: 3, hidden_size: 128, ffn_hidden_size: 512, "
    "num_attention_heads: 4}"};

const std::vector<std::string> kExtras = {
    "parallel.dp_size=2",
    "parallel.gradient_as_bucket_view=false",
    "parallel={tp_size: 2, dp_size: 2}",
    "parallel={tp_size: 2, sequence_parallel: true}",
    "parallel={tp_size: 4, sequence_parallel: true}",
    "parallel={pp_size: 2, pp_layout: auto, pp_schedule: gpipe}",
    "parallel={pp_size: 3, pp_layout: auto, pp_schedule: zero_bubble}",
    "parallel={pp_size: 2, pp_layout: auto, tp_size: 2, sequence_parallel: true}",
#ifndef NEMO_SANITIZED  // ThreadSanitizer does not know OpenMP's barriers
    "trainer.threads_per_rank=2"
#endif
};

}  // namespace

TEST_CASE("the predicted peak of every rank is what it reaches, to the byte") {
  for (const std::string model : kModels)
    for (const std::string batch : {"micro_batch_size: 1", "micro_batch_size: 4"})
      for (const std::string& extra : kExtras) {
        CAPTURE(model);
        CAPTURE(batch);
        CAPTURE(extra);
        const ResolvedRecipe run = resolve_text(
            "{}", {model, "data={kind: mock, seq_length: 32, global_batch_size: 8, " + batch + "}",
                   "trainer={max_steps: 2, threads_per_rank: 1}", extra});
        const auto dataset = open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1,
                                          std::vector{Part::kTrain});
        std::vector<MemoryReport> reached(static_cast<size_t>(run.sizes.world));
        on_trainers(run, *dataset, [&](Trainer& trainer, int rank) {
          trainer.train_step();
          trainer.train_step();
          reached[static_cast<size_t>(rank)] = trainer.memory();
        });
        int64_t peak = 0;
        for (size_t rank = 0; rank < reached.size(); ++rank) {
          CAPTURE(rank);
          const MemoryReport predicted = predict_memory(run, static_cast<int>(rank));
          for (size_t c = 0; c < size_t{kNumMemoryCategories}; ++c) {
            CAPTURE(to_string(static_cast<MemoryCategory>(c)));
            CHECK(predicted.peak[c] == reached[rank].peak[c]);
          }
          CHECK(predicted.peak_total == reached[rank].peak_total);
          peak = std::max(peak, reached[rank].peak_total);
        }
        CHECK(predict_peak_memory(run) == peak);
      }
}

TEST_CASE("with sequence parallelism the activations of a rank fall as 1 / tp") {
  // Peak bytes of activations on each rank, as the arena counted them.
  const auto activations = [](int64_t num_layers, int64_t tp_size) {
    const std::string sp = tp_size > 1 ? "true" : "false";
    const ResolvedRecipe run = resolve_text(
        "{}",
        {"model={family: llama, vocab_size: 1024, hidden_size: 128, ffn_hidden_size: 352, "
         "num_attention_heads: 4, num_query_groups: 4, num_layers: " +
             std::to_string(num_layers) + "}",
         "data={kind: mock, seq_length: 128, global_batch_size: 1}",
         "trainer={max_steps: 1, threads_per_rank: 1}",
         "parallel={sequence_parallel: " + sp + ", tp_size: " + std::to_string(tp_size) + "}"});
    const auto dataset =
        open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1, std::vector{Part::kTrain});
    std::vector<int64_t> peaks(static_cast<size_t>(tp_size));
    on_trainers(run, *dataset, [&](Trainer& trainer, int rank) {
      trainer.train_step();
      peaks[static_cast<size_t>(rank)] =
          trainer.memory().peak[static_cast<size_t>(MemoryCategory::kActivations)];
    });
    CHECK(std::ranges::equal(peaks, std::vector(peaks.size(), peaks[0])));
    return static_cast<double>(peaks[0]);
  };
  const double alone = activations(16, 1);
  const double alone_per_layer = (alone - activations(8, 1)) / 8;
  for (int64_t tp_size : {2, 4}) {
    CAPTURE(tp_size);
    const double share = activations(16, tp_size);
    // What a layer keeps is divided whole; what one layer has in flight is gathered to all tokens.
    CHECK((share - activations(8, tp_size)) / 8 ==
          doctest::Approx(alone_per_layer / static_cast<double>(tp_size)).epsilon(1e-9));
    CHECK(share <= 1.06 * alone / static_cast<double>(tp_size));
  }
}
