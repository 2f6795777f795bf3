// Losses, gradients and ten AdamW steps against PyTorch and Transformers (see README.md here).
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "lib/checkpoint/hf_names.h"
#include "lib/checkpoint/huggingface.h"
#include "lib/checkpoint/safetensors.h"
#include "tests/support/training.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr double kBound = 1e-5;

struct Golden {
  std::string folder;
  std::string model;  // beside what all share
};

const Golden kGoldens[] = {
    {"llama_gqa", "{family: llama, num_query_groups: 2, ffn_hidden_size: 64}"},
    {"llama_tied",
     "{family: llama, num_query_groups: 2, ffn_hidden_size: 64, vocab_size: 96, "
     "tie_embeddings: true}"},
    {"llama_rope31",
     "{family: llama, num_attention_heads: 2, num_query_groups: 1, ffn_hidden_size: 64, "
     "rope_scaling: {type: llama3, factor: 8, low_freq_factor: 1, high_freq_factor: 4, "
     "original_max_position_embeddings: 64}}"},
    {"llama_head_dim",
     "{family: llama, num_query_groups: 2, ffn_hidden_size: 48, head_dim: 12, rotary_base: 5e5, "
     "norm_eps: 1e-6}"},
    {"gpt2_tanh", "{family: gpt, ffn_hidden_size: 64, max_position_embeddings: 80}"},
    {"gpt2_exact",
     "{family: gpt, ffn_hidden_size: 64, max_position_embeddings: 80, activation: gelu, "
     "norm_eps: 1e-4}"},
};

const Golden kMixtral = {"mixtral",
                         "{family: mixtral, num_query_groups: 2, ffn_hidden_size: 16, "
                         "rotary_base: 1e6, moe: {num_experts: 4, top_k: 2}}"};

// llama_rope31 has one key/value head: two ranks of a tp group each hold a copy of it.
const std::vector<std::string> kLayouts[] = {
    {"trainer.devices=1"},
    {"trainer.devices=2"},
    {"parallel.tp_size=2"},
    {"parallel.tp_size=2", "parallel.sequence_parallel=true", "parallel.dp_size=2"},
};
const std::vector<std::string> kExpertLayouts[] = {
    {"trainer.devices=1"},
    {"parallel.dp_size=4", "parallel.ep_size=4"},
    {"parallel.tp_size=2", "parallel.sequence_parallel=true", "parallel.dp_size=2",
     "parallel.ep_size=2"},
};

// Sample i is row i of the golden tokens.
class GoldenTokens : public Dataset {
 public:
  explicit GoldenTokens(const std::string& folder) : file_(folder + "/tokens.safetensors") {}
  int64_t num_samples(Part) const override { return 40; }
  void read(Part, int64_t position, std::span<int32_t> tokens) const override {
    const std::byte* row =
        file_.at("tokens").data + position * static_cast<int64_t>(tokens.size_bytes());
    std::memcpy(tokens.data(), row, tokens.size_bytes());
  }

 private:
  SafetensorsFile file_;
};

// The logical tensors of the parameters, from a file of Hugging Face names.
LogicalTensors read_golden(const std::string& path, Family family, const ParamSet& params) {
  const SafetensorsFile file(path);
  LogicalTensors result;
  for (const Param& param : params.params())
    for (const ParamPart& part : param.parts) {
      const HfTensorSource source = hf_source(family, part.tensor.name);
      Slice slice = WholePartition().slice(part.tensor);
      const int64_t first = source.part * slice.rows.size();
      slice.rows = {first, first + slice.rows.size()};
      auto& values = result[part.tensor.name];
      values.resize(static_cast<size_t>(part.tensor.shape.numel()));
      read_as_float(file.at(source.name), source.transposed, slice, values.data());
    }
  return result;
}

std::vector<std::string> overrides_of(const Golden& golden, const nlohmann::json& expected,
                                      const std::string& folder,
                                      const std::vector<std::string>& layout) {
  std::vector<std::string> words = {
      "model={num_layers: 2, hidden_size: 32, num_attention_heads: 4, vocab_size: 64}",
      "model=" + golden.model, "data={kind: mock, seq_length: 64, global_batch_size: 4}",
      "trainer={max_steps: 10, threads_per_rank: 1}", "checkpoint.init_from=" + folder};
  words.insert(words.end(), layout.begin(), layout.end());
  for (const auto& [key, value] : expected["optim"].items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    words.push_back("optim." + key + "=" + text);
  }
  return words;
}

void check_golden(const Golden& golden, const std::vector<std::string>& layout) {
  CAPTURE(golden.folder);
  CAPTURE(layout);
  const std::string folder = "tests/golden/" + golden.folder;
  std::ifstream json(folder + "/golden.json");
  const nlohmann::json expected = nlohmann::json::parse(json);
  const ResolvedRecipe run = resolve_text("{}", overrides_of(golden, expected, folder, layout));
  const GoldenTokens tokens(folder);

  std::vector<TrainStep> steps;
  Assembly grads, weights;
  LogicalTensors golden_grads, golden_weights;
  std::mutex mutex;
  on_trainers(run, tokens, [&](Trainer& trainer, int rank) {
    const ParamSet& params = *trainer.model().params;
    for (int step = 0; step < 10; ++step) {
      const TrainStep result = trainer.train_step();
      if (step == 0) grads.add_grads(trainer);
      if (rank == 0) steps.push_back(result);
    }
    weights.add_weights(trainer);
    // Each rank reads what it holds of: experts are not all on one.
    const std::lock_guard lock(mutex);
    const Family family = run.recipe.model.family;
    golden_grads.merge(read_golden(folder + "/gradients.safetensors", family, params));
    golden_weights.merge(read_golden(folder + "/final.safetensors", family, params));
  });

  REQUIRE(steps.size() == 10);
  for (size_t i = 0; i < 10; ++i) {
    const auto& step = expected["steps"][i];
    CAPTURE(i);
    CHECK(steps[i].lr == doctest::Approx(step["lr"].get<double>()).epsilon(1e-12));
    CHECK(std::abs(steps[i].loss / step["loss"].get<double>() - 1) <= kBound);
    CHECK(std::abs(steps[i].grad_norm / step["grad_norm"].get<double>() - 1) <= kBound);
  }
  LogicalTensors first_grads = grads.take();
  CHECK(drop_key_biases(first_grads) <= 1e-7);
  CHECK(drop_key_biases(golden_grads) <= 1e-7);
  CHECK(worst_difference(first_grads, golden_grads) <= kBound);
  CHECK(worst_difference(weights.take(), golden_weights) <= kBound);
}

}  // namespace

TEST_CASE("losses, gradients and ten steps equal PyTorch's") {
  for (const Golden& golden : kGoldens)
    for (const std::vector<std::string>& layout : kLayouts) check_golden(golden, layout);
  for (const std::vector<std::string>& layout : kExpertLayouts) check_golden(kMixtral, layout);
}
