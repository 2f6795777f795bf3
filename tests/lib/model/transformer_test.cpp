#include "lib/model/transformer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <map>

#include "lib/model/init.h"
#include "lib/model/param_count.h"

using namespace nemo;

namespace {

ModelConfig tiny(Family family, bool tied) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 37;
  config.num_layers = 3;
  config.hidden_size = 16;
  config.ffn_hidden_size = 24;
  config.num_attention_heads = 4;
  config.num_query_groups = family == Family::kGpt ? 4 : 2;
  config.head_dim = 4;
  config.activation = family == Family::kGpt ? Activation::kGeluTanh : Activation::kSwiglu;
  config.tie_embeddings = tied;
  config.max_position_embeddings = 32;
  config.init_std = 0.5;
  return config;
}

// The second half of the rows (heads, halves) of what tensor parallelism splits by rows, and of the
// columns of what it splits by columns.
class SecondHalf : public Partition {
 public:
  Range experts(int64_t num_experts) const override { return {num_experts / 2, num_experts}; }
  Slice slice(const LogicalTensor& tensor) const override {
    Slice slice = WholePartition().slice(tensor);
    switch (tensor.role) {
      case ParamRole::kAttentionOut:
      case ParamRole::kMlpDown:
        slice.cols = {tensor.shape[1] / 2, tensor.shape[1]};
        break;
      case ParamRole::kNorm:
      case ParamRole::kOutputBias:
      case ParamRole::kPositionEmbedding:
        break;
      default:
        slice.rows = {tensor.shape[0] / 2, tensor.shape[0]};
    }
    return slice;
  }
};

using Values = std::map<std::string, std::vector<float>>;

// The initial values of the logical tensors that these layers hold under this partition.
Values initial_values(const ModelConfig& config, Range layers, const Partition& partition) {
  Arena arena(Device{}, int64_t{1} << 28);
  Stream stream(arena, 1, detect_cpu_isa());
  const Model model = build_model(config, 8, {layers}, partition, arena);
  std::vector<Tensor> weights;
  for (const Param& param : model.params.params())
    weights.emplace_back(arena, DType::kF32, param.shape, MemoryCategory::kParameters, "weight");
  for (ParamId id = 0; id < model.params.num_params(); ++id)
    for (const ParamPart& part : model.params[id].parts)
      init_slice(stream, part.tensor, part.slice, 7,
                 part_of(weights[static_cast<size_t>(id)], part));
  Values values;
  for (ParamId id = 0; id < model.params.num_params(); ++id)
    for (const ParamPart& part : model.params[id].parts) {
      const Tensor tensor = part_of(weights[static_cast<size_t>(id)], part);
      values[part.tensor.name].assign(tensor.data<float>(), tensor.data<float>() + tensor.numel());
    }
  return values;
}

}  // namespace

TEST_CASE("a model holds as many elements as its parameter count says") {
  for (Family family : {Family::kLlama, Family::kGpt})
    for (bool tied : {false, true}) {
      const ModelConfig config = tiny(family, tied);
      Arena arena(Device{}, int64_t{1} << 28);
      const WholePartition whole;
      const Model model = build_model(config, 8, {all_layers(config)}, whole, arena);
      CHECK(model.params.numel() == num_parameters(config));
      CHECK(model.chunks.at(0).size() == 5);
    }
}

TEST_CASE("the units of a model are its tables, each block and the final norm") {
  Arena arena(Device{}, int64_t{1} << 28);
  const WholePartition whole;
  const ModelConfig config = tiny(Family::kLlama, false);
  const Model model = build_model(config, 8, {all_layers(config)}, whole, arena);
  std::vector<std::string> names;
  for (int unit = 0; unit < model.params.num_units(); ++unit)
    names.push_back(model.params.unit_name(unit));
  CHECK(names == std::vector<std::string>{"embedding", "layers.0", "layers.1", "layers.2",
                                          "final_norm", "head"});
}

TEST_CASE("stages begin at the weights of the whole model, the tied table on both ends") {
  for (Family family : {Family::kLlama, Family::kGpt}) {
    const ModelConfig config = tiny(family, true);
    const WholePartition partition;
    const Values whole = initial_values(config, {0, 5}, partition);
    const Values first = initial_values(config, {0, 2}, partition);
    const Values second = initial_values(config, {2, 5}, partition);
    CHECK(first.size() + second.size() == whole.size() + 1);
    CHECK(first.contains("embedding.weight"));
    CHECK(second.contains("embedding.weight"));
    for (const Values& stage : {first, second})
      for (const auto& [name, values] : stage) {
        CAPTURE(name);
        CHECK(values == whole.at(name));
      }
  }
}

TEST_CASE("a slice begins at the values the whole tensor has there") {
  const ModelConfig config = tiny(Family::kLlama, false);
  ModelConfig even = config;
  even.vocab_size = 38;
  const Values whole = initial_values(even, {0, 5}, WholePartition());
  const Values half = initial_values(even, {0, 5}, SecondHalf());
  CHECK(half.size() == whole.size());
  const auto& down = whole.at("layers.1.mlp.down.weight");      // [16, 24], columns split
  const auto& down_half = half.at("layers.1.mlp.down.weight");  // [16, 12]
  for (size_t row = 0; row < 16; ++row)
    for (size_t col = 0; col < 12; ++col)
      REQUIRE(down_half[row * 12 + col] == down[row * 24 + 12 + col]);
  for (const char* name : {"layers.0.attention.q.weight", "layers.2.attention.k.weight",
                           "layers.2.mlp.gate.weight", "layers.2.mlp.up.weight", "head.weight"}) {
    CAPTURE(name);
    const auto& values = whole.at(name);
    CHECK(
        half.at(name) ==
        std::vector<float>(values.begin() + static_cast<int64_t>(values.size()) / 2, values.end()));
  }
}

TEST_CASE("initial deviations: init_std, and init_std / sqrt(2 layers) into the residual stream") {
  ModelConfig config = tiny(Family::kLlama, false);
  config.hidden_size = 64;
  config.ffn_hidden_size = 256;
  config.head_dim = 16;
  const Values values = initial_values(config, {0, 5}, WholePartition());
  const auto deviation = [&](const std::string& name) {
    double squares = 0;
    for (float v : values.at(name)) squares += static_cast<double>(v) * v;
    return std::sqrt(squares / static_cast<double>(values.at(name).size()));
  };
  CHECK(deviation("layers.0.mlp.up.weight") == doctest::Approx(0.5).epsilon(0.03));
  CHECK(deviation("layers.0.mlp.down.weight") ==
        doctest::Approx(0.5 / std::sqrt(6.0)).epsilon(0.03));
  CHECK(deviation("layers.0.attention.out.weight") ==
        doctest::Approx(0.5 / std::sqrt(6.0)).epsilon(0.05));
  CHECK(values.at("final_norm.weight") == std::vector<float>(64, 1.0f));
}
