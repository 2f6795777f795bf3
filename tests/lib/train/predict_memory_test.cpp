#include "lib/train/predict_memory.h"

#include <doctest/doctest.h>

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

const std::vector<std::string> kExtras = {"parallel.dp_size=2",
                                          "parallel.gradient_as_bucket_view=false",
#ifndef NEMO_SANITIZED  // ThreadSanitizer does not know OpenMP's barriers
                                          "trainer.threads_per_rank=2"
#endif
};

}  // namespace

TEST_CASE("the predicted peak is what a run reaches, to the byte") {
  for (const std::string model : kModels)
    for (const std::string batch : {"micro_batch_size: 1", "micro_batch_size: 4"})
      for (const std::string& extra : kExtras) {
        CAPTURE(model);
        CAPTURE(batch);
        CAPTURE(extra);
        const ResolvedRecipe run = resolve_text(
            "{}", {model, "data={kind: mock, seq_length: 128, global_batch_size: 8, " + batch + "}",
                   "trainer={max_steps: 2, threads_per_rank: 1}", extra});
        const MemoryReport predicted = predict_memory(run.recipe);
        const auto dataset = open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1,
                                          std::vector{Part::kTrain});
        MemoryReport reached;
        on_trainers(run, *dataset, [&](Trainer& trainer, int rank) {
          trainer.train_step();
          trainer.train_step();
          if (rank == 0) reached = trainer.memory();
        });
        for (size_t c = 0; c < size_t{kNumMemoryCategories}; ++c) {
          CAPTURE(to_string(static_cast<MemoryCategory>(c)));
          CHECK(predicted.peak[c] == reached.peak[c]);
        }
        CHECK(predicted.peak_total == reached.peak_total);
      }
}
