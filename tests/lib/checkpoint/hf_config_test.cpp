#include "lib/checkpoint/hf_config.h"

#include <doctest/doctest.h>

#include <functional>

#include "tests/lib/checkpoint/files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

ModelConfig llama() {
  ModelConfig model;
  model.family = Family::kLlama;
  model.vocab_size = 64;
  model.num_layers = 2;
  model.hidden_size = 32;
  model.ffn_hidden_size = 64;
  model.num_attention_heads = 4;
  model.num_query_groups = 2;
  model.head_dim = 8;
  return model;
}

ModelConfig gpt() {
  ModelConfig model = llama();
  model.family = Family::kGpt;
  model.num_query_groups = 4;
  model.activation = Activation::kGeluTanh;
  model.tie_embeddings = true;
  model.max_position_embeddings = 80;
  return model;
}

ModelConfig mixtral() {
  ModelConfig model = llama();
  model.family = Family::kMixtral;
  model.rotary_base = 1e6;
  model.moe.num_experts = 4;
  model.moe.ffn_hidden_size = 16;
  return model;
}

std::vector<std::string> mismatches(const std::string& folder, ModelConfig model) {
  return hf_config_mismatches(std::filesystem::path("tests/golden") / folder, model);
}

// The lines for a config.json of this text.
std::vector<std::string> mismatches_of_text(const std::string& json, const ModelConfig& model) {
  const TempFolder dir;
  write_file(dir / "config.json", json);
  return hf_config_mismatches(dir.path(), model);
}

const std::string kLlamaText =
    R"("model_type":"llama","vocab_size":64,"num_hidden_layers":2,"hidden_size":32,)"
    R"("intermediate_size":64,"num_attention_heads":4,"num_key_value_heads":2,)"
    R"("rms_norm_eps":9.999999747378752e-06)";

std::vector<std::string> llama_with(const std::string& more, const ModelConfig& model = llama()) {
  return mismatches_of_text("{" + kLlamaText + "," + more + "}", model);
}

}  // namespace

TEST_CASE("the golden models match the recipes that describe them") {
  using Lines = std::vector<std::string>;
  CHECK(mismatches("llama_gqa", llama()) == Lines{});
  ModelConfig tied = llama();
  tied.vocab_size = 96;
  tied.tie_embeddings = true;
  CHECK(mismatches("llama_tied", tied) == Lines{});
  ModelConfig rope31 = llama();
  rope31.num_attention_heads = 2;
  rope31.num_query_groups = 1;
  rope31.head_dim = 16;
  rope31.rope_scaling = {RopeScalingType::kLlama3, 8.0, 1.0, 4.0, 64};
  CHECK(mismatches("llama_rope31", rope31) == Lines{});
  ModelConfig head_dim = llama();
  head_dim.head_dim = 12;
  head_dim.ffn_hidden_size = 48;
  head_dim.rotary_base = 5e5;
  head_dim.norm_eps = 1e-6;
  CHECK(mismatches("llama_head_dim", head_dim) == Lines{});
  CHECK(mismatches("gpt2_tanh", gpt()) == Lines{});
  ModelConfig exact = gpt();
  exact.activation = Activation::kGelu;
  exact.norm_eps = 1e-4;
  CHECK(mismatches("gpt2_exact", exact) == Lines{});
  CHECK(mismatches("mixtral", mixtral()) == Lines{});
}

TEST_CASE("each key that differs is named with both values") {
  struct Case {
    std::string folder;
    ModelConfig model;
    std::function<void(ModelConfig&)> change;
    std::string key, ours, theirs;
  };
  using M = ModelConfig;
  const Case cases[] = {
      {"llama_gqa", llama(), [](M& m) { m.vocab_size = 65; }, "vocab_size", "65", "64"},
      {"llama_gqa", llama(), [](M& m) { m.num_layers = 4; }, "num_layers", "4", "2"},
      {"llama_gqa", llama(), [](M& m) { m.hidden_size = 16; }, "hidden_size", "16", "32"},
      {"llama_gqa", llama(), [](M& m) { m.ffn_hidden_size = 1; }, "ffn_hidden_size", "1", "64"},
      {"llama_gqa", llama(), [](M& m) { m.num_attention_heads = 8; }, "num_attention_heads", "8",
       "4"},
      {"llama_gqa", llama(), [](M& m) { m.num_query_groups = 4; }, "num_query_groups", "4", "2"},
      {"llama_gqa", llama(), [](M& m) { m.head_dim = 16; }, "head_dim", "16", "8"},
      {"llama_gqa", llama(), [](M& m) { m.rotary_base = 5e5; }, "rotary_base", "500000", "10000"},
      {"llama_gqa", llama(), [](M& m) { m.norm_eps = 1e-6; }, "norm_eps", "1e-06", "1e-05"},
      {"llama_gqa", llama(), [](M& m) { m.tie_embeddings = true; }, "tie_embeddings", "true",
       "false"},
      {"llama_gqa", llama(), [](M& m) { m.activation = Activation::kGelu; }, "activation", "gelu",
       "swiglu"},
      {"llama_gqa", llama(), [](M& m) { m.rope_scaling.type = RopeScalingType::kLlama3; },
       "rope_scaling.type", "llama3", "none"},
      {"mixtral", mixtral(), [](M& m) { m.moe.num_experts = 8; }, "moe.num_experts", "8", "4"},
      {"mixtral", mixtral(), [](M& m) { m.moe.top_k = 1; }, "moe.top_k", "1", "2"},
      {"mixtral", mixtral(), [](M& m) { m.moe.ffn_hidden_size = 64; }, "moe.ffn_hidden_size", "64",
       "16"},
      {"mixtral", mixtral(), [](M& m) { m.moe.router_pre_softmax = true; },
       "moe.router_pre_softmax", "true", "false"},
      {"gpt2_tanh", gpt(), [](M& m) { m.max_position_embeddings = 64; }, "max_position_embeddings",
       "64", "80"},
      {"gpt2_tanh", gpt(), [](M& m) { m.activation = Activation::kGelu; }, "activation", "gelu",
       "gelu_tanh"},
  };
  for (Case c : cases) {
    CAPTURE(c.key);
    c.change(c.model);
    const std::vector<std::string> lines = mismatches(c.folder, c.model);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0] == "model." + c.key + ": the recipe says " + c.ours + ", tests/golden/" +
                          c.folder + "/config.json says " + c.theirs + "; model." + c.key + "=" +
                          c.theirs + " would do");
  }
}

TEST_CASE("all mismatches are one usage error; keys of training alone are not compared") {
  ModelConfig model = llama();
  model.init_std = 0.5;
  model.max_position_embeddings = 64;
  model.moe.aux_loss_coeff = 0.5;
  const std::filesystem::path folder = "tests/golden/llama_gqa";
  CHECK(error_of([&] { check_hf_config(folder, model); }) == "");
  model.num_layers = 3;
  model.head_dim = 4;
  const std::string error = error_of([&] { check_hf_config(folder, model); });
  CHECK(error.starts_with("exit 2: model.num_layers: the recipe says 3, "));
  CHECK(contains(error, " would do\nmodel.head_dim: the recipe says 4, "));
}

TEST_CASE("absent and null keys, and fp32's digits, mean what Transformers means") {
  CHECK(llama_with(R"("head_dim":null,"rope_scaling":null,"sliding_window":null)").empty());
  CHECK(mismatches_of_text(R"({"model_type":"gpt2","vocab_size":64,"n_layer":2,"n_embd":32,)"
                           R"("n_head":4,"n_positions":80,"n_inner":64})",
                           gpt())
            .empty());
  const std::vector<std::string> wide = mismatches_of_text(
      R"({"model_type":"gpt2","vocab_size":64,"n_layer":2,"n_embd":32,"n_head":4,"n_positions":80})",
      gpt());
  REQUIRE(wide.size() == 1);
  CHECK(contains(wide[0], "model.ffn_hidden_size: the recipe says 64"));
  CHECK(contains(wide[0], "says 128;"));
}

TEST_CASE("llama and mixtral have defaults of their own") {
  const std::string sizes =
      R"("vocab_size":64,"num_hidden_layers":2,"hidden_size":32,"num_attention_heads":4)";
  ModelConfig model = llama();
  model.num_query_groups = 4;
  model.norm_eps = 1e-6;
  CHECK(mismatches_of_text(R"({"model_type":"llama","intermediate_size":64,)" + sizes + "}", model)
            .empty());
  model = mixtral();
  model.num_query_groups = 8;
  CHECK(mismatches_of_text(R"({"model_type":"mixtral","intermediate_size":16,)"
                           R"("num_local_experts":4,"num_experts_per_tok":2,)" +
                               sizes + "}",
                           model)
            .empty());
}

TEST_CASE("rope is understood in the spelling of Transformers 5 too") {
  ModelConfig model = llama();
  model.rotary_base = 5e5;
  model.rope_scaling = {RopeScalingType::kLlama3, 32.0, 1.0, 4.0, 8192};
  CHECK(llama_with(R"("rope_parameters":{"rope_type":"llama3","rope_theta":500000.0,"factor":32,)"
                   R"("low_freq_factor":1,"high_freq_factor":4,)"
                   R"("original_max_position_embeddings":8192})",
                   model)
            .empty());
  CHECK(llama_with(R"("rope_parameters":{"rope_type":"default","rope_theta":10000})").empty());
}

TEST_CASE("what nemo-cpp does not compute is refused by name") {
  const std::pair<std::string, std::string> cases[] = {
      {R"("attention_bias":true)", "config.json says attention_bias true, nemo-cpp computes false"},
      {R"("mlp_bias":true)", "says mlp_bias true, nemo-cpp computes false only"},
      {R"("sliding_window":4096)", "says sliding_window true, nemo-cpp computes false only"},
      {R"("hidden_act":"gelu")", "says hidden_act gelu, nemo-cpp computes silu only"},
      {R"("rope_scaling":{"type":"linear","factor":2.0})",
       "config.json rope_scaling says rope_type linear, nemo-cpp computes llama3 only"},
  };
  for (const auto& [json, message] : cases) {
    CAPTURE(json);
    const std::vector<std::string> lines = llama_with(json);
    REQUIRE(lines.size() == 1);
    CHECK(contains(lines[0], message));
  }
  CHECK(contains(
      error_of([] { mismatches_of_text(R"({"model_type":"qwen2","vocab_size":5})", llama()); }),
      "model_type: expected llama, mixtral or gpt2, found qwen2"));
}

TEST_CASE("a config.json that cannot be read is a data error") {
  const std::pair<std::string, std::string> cases[] = {
      {"{}", "config.json: model_type: expected a word, found nothing"},
      {R"({"model_type":3})", "model_type: expected a word, found 3"},
      {R"({"model_type":"llama","vocab_size":"64"})",
       R"(expected a whole number below 2^31, found "64")"},
      {R"({"model_type":"llama","vocab_size":-1})", "found -1"},
      {R"({"model_type":"llama","vocab_size":2147483648})", "found 2147483648"},
      {R"({"model_type":"llama","vocab_size":6.5})", "found 6.5"},
      {R"({"model_type":"llama","vocab_size":1e99})", "found 1e+99"},
      {R"({"model_type":"llama","model_type":"gpt2"})", "expected each key once"},
      {"{" + kLlamaText + R"(,"rope_scaling":{"rope_type":"llama3"}})",
       "config.json rope_scaling: factor: expected a number, found nothing"},
      {"{" + kLlamaText + R"(,"rope_scaling":"llama3"})", "rope_scaling: expected an object"},
      {"{" + kLlamaText + R"(,"attention_bias":0})",
       "attention_bias: expected true or false, found 0"},
      {"", "found bad text at byte"},
      {std::string(1'000'000, '['), "expected at most 32 levels"},
  };
  for (const auto& [json, message] : cases) {
    const std::string error = error_of([&] { mismatches_of_text(json, llama()); });
    CAPTURE(error);
    CHECK(error.starts_with("exit 3: "));
    CHECK(contains(error, message));
  }
}
