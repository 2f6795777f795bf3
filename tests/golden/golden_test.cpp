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

// The logical tensors of `like`, from a file of Hugging Face names.
LogicalTensors read_golden(const std::string& path, Family family, const ParamSet& params) {
  const SafetensorsFile file(path);
  LogicalTensors result;
  for (const Param& param : params.params())
    for (const ParamPart& part : param.parts) {
      const HfTensorSource source = hf_source(family, part.tensor.name);
      Slice slice = part.slice;
      const int64_t first = source.part * slice.rows.size();
      slice.rows = {first, first + slice.rows.size()};
      auto& values = result[part.tensor.name];
      values.resize(static_cast<size_t>(slice.rows.size() * slice.cols.size()));
      read_as_float(file.at(source.name), source.transposed, slice, values.data());
    }
  return result;
}

std::vector<std::string> overrides_of(const Golden& golden, const nlohmann::json& expected,
                                      const std::string& folder, int world) {
  const auto& optim = expected["optim"];
  std::vector<std::string> words = {
      "model={num_layers: 2, hidden_size: 32, num_attention_heads: 4, vocab_size: 64}",
      "model=" + golden.model,
      "data={kind: mock, seq_length: 64, global_batch_size: 4}",
      "trainer={max_steps: 10, threads_per_rank: 1}",
      "trainer.devices=" + std::to_string(world),
      "checkpoint.init_from=" + folder};
  for (const auto& [key, value] : optim.items()) {
    const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
    words.push_back("optim." + key + "=" + text);
  }
  return words;
}

void check_golden(const Golden& golden, int world) {
  CAPTURE(golden.folder);
  CAPTURE(world);
  const std::string folder = "tests/golden/" + golden.folder;
  std::ifstream json(folder + "/golden.json");
  const nlohmann::json expected = nlohmann::json::parse(json);
  const ResolvedRecipe run = resolve_text("{}", overrides_of(golden, expected, folder, world));
  const GoldenTokens tokens(folder);

  std::vector<Trainer::Step> steps;
  double key_bias_noise = INFINITY;
  double gradient_difference = INFINITY;
  double weight_difference = INFINITY;
  on_trainers(run, tokens, [&](Trainer& trainer, int rank) {
    const ParamSet& params = *trainer.model().params;
    for (int step = 0; step < 10; ++step) {
      const Trainer::Step result = trainer.train_step();
      if (rank != 0) continue;
      steps.push_back(result);
      if (step > 0) continue;
      LogicalTensors grads = grads_of(trainer);
      LogicalTensors golden_grads =
          read_golden(folder + "/gradients.safetensors", run.recipe.model.family, params);
      key_bias_noise = std::max(drop_key_biases(grads), drop_key_biases(golden_grads));
      gradient_difference = worst_difference(grads, golden_grads);
    }
    if (rank == 0)
      weight_difference = worst_difference(
          weights_of(trainer),
          read_golden(folder + "/final.safetensors", run.recipe.model.family, params));
  });

  REQUIRE(steps.size() == 10);
  for (size_t i = 0; i < 10; ++i) {
    const auto& step = expected["steps"][i];
    CAPTURE(i);
    CHECK(steps[i].lr == doctest::Approx(step["lr"].get<double>()).epsilon(1e-12));
    CHECK(std::abs(steps[i].loss / step["loss"].get<double>() - 1) <= kBound);
    CHECK(std::abs(steps[i].grad_norm / step["grad_norm"].get<double>() - 1) <= kBound);
  }
  CHECK(key_bias_noise <= 1e-7);
  CHECK(gradient_difference <= kBound);
  CHECK(weight_difference <= kBound);
}

}  // namespace

TEST_CASE("losses, gradients and ten steps equal PyTorch's") {
  for (const Golden& golden : kGoldens)
    for (int world : {1, 2}) check_golden(golden, world);
}
