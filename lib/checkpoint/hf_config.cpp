#include "lib/checkpoint/hf_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "lib/checkpoint/json_file.h"
#include "lib/core/error.h"
#include "lib/recipe/key_path.h"

namespace nemo {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxConfigBytes = 16'000'000;

// The keys of config.json by type. A key that is null counts as absent.
class HfConfig {
 public:
  explicit HfConfig(const std::filesystem::path& path)
      : path_(path.string()), json_(read_json_file(path, kMaxConfigBytes)) {}
  HfConfig(std::string path, Json json) : path_(std::move(path)), json_(std::move(json)) {}

  const std::string& path() const { return path_; }
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }

  int64_t integer(const char* key, std::optional<int64_t> absent = {}) const {
    return get<int64_t>(key, absent, "a whole number below 2^31", [](const Json& value) {
      return value.is_number_unsigned() && value.get<uint64_t>() <= uint64_t{INT32_MAX};
    });
  }
  double number(const char* key, std::optional<double> absent = {}) const {
    return get<double>(key, absent, "a number",
                       [](const Json& value) { return value.is_number(); });
  }
  bool boolean(const char* key, bool absent) const {
    return get<bool>(key, absent, "true or false",
                     [](const Json& value) { return value.is_boolean(); });
  }
  std::string string(const char* key, std::optional<std::string> absent = {}) const {
    return get<std::string>(key, absent, "a word",
                            [](const Json& value) { return value.is_string(); });
  }
  // Empty when absent.
  HfConfig object(const char* key) const {
    const Json none = Json::object();
    return {path_ + " " + key,
            get<Json>(key, none, "an object", [](const Json& value) { return value.is_object(); })};
  }

 private:
  template <typename T, typename IsType>
  T get(const char* key, const std::optional<T>& absent, const char* type, IsType is_type) const {
    if (has(key) && is_type(json_[key])) return json_[key].get<T>();
    if (!has(key) && absent) return *absent;
    throw_data("[huggingface] {}: {}: expected {}, found {}", path_, key, type,
               has(key) ? json_[key].dump() : "nothing");
  }

  std::string path_;
  Json json_;
};

// What config.json says that nemo-cpp has no word for.
class Unsupported {
 public:
  explicit Unsupported(std::vector<std::string>* lines) : lines_(lines) {}

  template <typename T>
  void require(const HfConfig& config, const char* key, const T& found, const T& only) {
    if (found != only)
      lines_->push_back(
          fmt::format("model: {} says {} {}, nemo-cpp computes {} only; choose another "
                      "checkpoint",
                      config.path(), key, found, only));
  }

 private:
  std::vector<std::string>* lines_;
};

// "rope_parameters" holds everything since Transformers 5; before, rope_theta stands beside
// "rope_scaling".
void apply_rope(const HfConfig& config, double default_theta, ModelConfig& model,
                Unsupported& unsupported) {
  const bool joint = config.has("rope_parameters");
  const HfConfig rope = config.object(joint ? "rope_parameters" : "rope_scaling");
  model.rotary_base = (joint ? rope : config).number("rope_theta", default_theta);
  const std::string type = rope.string("rope_type", rope.string("type", "default"));
  model.rope_scaling.type = RopeScalingType::kNone;
  if (type == "default") return;
  unsupported.require<std::string>(rope, "rope_type", type, "llama3");
  if (type != "llama3") return;
  model.rope_scaling = {RopeScalingType::kLlama3, rope.number("factor"),
                        rope.number("low_freq_factor"), rope.number("high_freq_factor"),
                        rope.integer("original_max_position_embeddings")};
}

void apply_llama(const HfConfig& config, bool mixtral, ModelConfig& model,
                 Unsupported& unsupported) {
  model.num_layers = config.integer("num_hidden_layers");
  model.hidden_size = config.integer("hidden_size");
  model.num_attention_heads = config.integer("num_attention_heads");
  model.num_query_groups =
      config.integer("num_key_value_heads", mixtral ? 8 : model.num_attention_heads);
  model.head_dim = config.integer(
      "head_dim", model.hidden_size / std::max<int64_t>(model.num_attention_heads, 1));
  model.activation = Activation::kSwiglu;
  model.norm_eps = config.number("rms_norm_eps", mixtral ? 1e-5 : 1e-6);
  model.tie_embeddings = config.boolean("tie_word_embeddings", false);
  apply_rope(config, mixtral ? 1e6 : 1e4, model, unsupported);
  if (mixtral) {
    model.moe.num_experts = config.integer("num_local_experts");
    model.moe.top_k = config.integer("num_experts_per_tok");
    model.moe.ffn_hidden_size = config.integer("intermediate_size");
    model.moe.router_pre_softmax = false;
    unsupported.require(config, "router_jitter_noise", config.number("router_jitter_noise", 0.0),
                        0.0);
  } else {
    model.moe.num_experts = 0;
    model.ffn_hidden_size = config.integer("intermediate_size");
  }
  unsupported.require<std::string>(config, "hidden_act", config.string("hidden_act", "silu"),
                                   "silu");
  unsupported.require(config, "attention_bias", config.boolean("attention_bias", false), false);
  unsupported.require(config, "mlp_bias", config.boolean("mlp_bias", false), false);
  unsupported.require(config, "sliding_window", config.has("sliding_window"), false);
}

void apply_gpt2(const HfConfig& config, ModelConfig& model, Unsupported& unsupported) {
  model.num_layers = config.integer("n_layer");
  model.hidden_size = config.integer("n_embd");
  model.ffn_hidden_size = config.integer("n_inner", 4 * model.hidden_size);
  model.num_attention_heads = config.integer("n_head");
  model.num_query_groups = model.num_attention_heads;
  model.head_dim = model.hidden_size / std::max<int64_t>(model.num_attention_heads, 1);
  model.norm_eps = config.number("layer_norm_epsilon", 1e-5);
  model.tie_embeddings = config.boolean("tie_word_embeddings", true);
  model.max_position_embeddings = config.integer("n_positions");  // rows of the position table
  model.moe.num_experts = 0;
  const std::string activation = config.string("activation_function", "gelu_new");
  model.activation = activation == "gelu" ? Activation::kGelu : Activation::kGeluTanh;
  if (activation != "gelu" && activation != "gelu_pytorch_tanh")
    unsupported.require<std::string>(config, "activation_function", activation, "gelu_new");
  unsupported.require(config, "scale_attn_weights", config.boolean("scale_attn_weights", true),
                      true);
  unsupported.require(config, "scale_attn_by_inverse_layer_idx",
                      config.boolean("scale_attn_by_inverse_layer_idx", false), false);
}

// `model`, with every key that config.json decides replaced by what it says.
ModelConfig apply(const HfConfig& config, ModelConfig model, Unsupported& unsupported) {
  const std::string type = config.string("model_type");
  model.vocab_size = config.integer("vocab_size");
  if (type == "llama" || type == "mixtral") {
    model.family = type == "llama" ? Family::kLlama : Family::kMixtral;
    apply_llama(config, type == "mixtral", model, unsupported);
  } else if (type == "gpt2") {
    model.family = Family::kGpt;
    apply_gpt2(config, model, unsupported);
  } else {
    throw_data("[huggingface] {}: model_type: expected llama, mixtral or gpt2, found {}",
               config.path(), type);
  }
  return model;
}

// The leaves of a section, in order, as text.
class Flatten : public KeyPath {
 public:
  explicit Flatten(const ModelConfig& model) {
    enter("model");
    visit(*this, model);
  }

  struct Leaf {
    std::string key;
    std::string text;
    std::optional<double> number;
  };
  const std::vector<Leaf>& leaves() const { return leaves_; }

  template <typename T>
  void operator()(const Key& key, const std::optional<T>& value) {
    if (value) return (*this)(key, *value);
    add(key, "null");
  }
  void operator()(const Key& key, double value) { add(key, fmt::format("{}", value), value); }
  template <std::integral T>
  void operator()(const Key& key, T value) {
    add(key, fmt::format("{}", value));
  }
  template <Choice E>
  void operator()(const Key& key, E value) {
    add(key, std::string(to_string(value)));
  }

 private:
  void add(const Key& key, std::string text, std::optional<double> number = {}) {
    leaves_.push_back({dotted(key), std::move(text), number});
  }

  std::vector<Leaf> leaves_;
};

// Numbers that went through fp32 on their way (9.999999747378752e-06) are the same number.
bool same(const Flatten::Leaf& a, const Flatten::Leaf& b) {
  if (!a.number || !b.number) return a.text == b.text;
  return std::abs(*a.number - *b.number) <= 1e-7 * std::abs(*b.number);
}

}  // namespace

std::vector<std::string> hf_config_mismatches(const std::filesystem::path& directory,
                                              const ModelConfig& model) {
  const HfConfig config(directory / "config.json");
  std::vector<std::string> lines;
  Unsupported unsupported(&lines);
  const Flatten theirs(apply(config, model, unsupported));
  const Flatten ours(model);
  for (size_t i = 0; i < ours.leaves().size(); ++i) {
    const auto& [key, text, number] = ours.leaves()[i];
    const auto& their_text = theirs.leaves()[i].text;
    if (!same(ours.leaves()[i], theirs.leaves()[i]))
      lines.push_back(fmt::format("{}: the recipe says {}, {} says {}; {}={} would do", key, text,
                                  config.path(), their_text, key, their_text));
  }
  return lines;
}

void check_hf_config(const std::filesystem::path& directory, const ModelConfig& model) {
  const std::vector<std::string> lines = hf_config_mismatches(directory, model);
  if (!lines.empty()) throw_usage("{}", fmt::join(lines, "\n"));
}

}  // namespace nemo
