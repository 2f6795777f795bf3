#include "lib/model/transformer.h"

#include <cmath>
#include <optional>
#include <string>

#include "lib/nn/block.h"
#include "lib/nn/embedding.h"
#include "lib/nn/head.h"
#include "lib/nn/rope.h"

namespace nemo {
namespace {

constexpr const char* kTokenTable = "embedding.weight";

class Builder {
 public:
  Builder(const ModelConfig& config, int64_t seq_length, ParamSet& params, Arena& arena,
          Recompute recompute, DType buffer_dtype)
      : config_(config),
        params_(params),
        gpt_(config.family == Family::kGpt),
        recompute_(recompute) {
    if (!gpt_)
      rope_table_ = make_rope_table(arena, seq_length, config.head_dim, config.rotary_base,
                                    config.rope_scaling, buffer_dtype);
  }

  std::unique_ptr<Layer> layer(int64_t index) {
    if (index == 0) return embedding();
    if (index == num_model_layers(config_) - 1) return head();
    return block(index - 1);
  }

 private:
  std::unique_ptr<Layer> embedding() {
    const int unit = params_.begin_unit("embedding");
    token_table_ = add_vocab_table(ParamRole::kTokenEmbedding, kTokenTable);
    token_table_unit_ = unit;
    if (!gpt_) return layer_of("embedding", {unit}, Embedding(*token_table_, kNoParam));
    const int position_unit = params_.begin_unit("embedding.position");
    const ParamId positions =
        params_.add("embedding.position.weight",
                    {normal("embedding.position.weight", ParamRole::kPositionEmbedding,
                            {*config_.max_position_embeddings, config_.hidden_size})});
    return layer_of("embedding", {unit, position_unit}, Embedding(*token_table_, positions));
  }

  std::unique_ptr<Layer> block(int64_t index) {
    const std::string name = "layers." + std::to_string(index);
    const int unit = params_.begin_unit(name);
    const Norm attention_norm = norm(name + ".attention_norm");
    Attention attention = this->attention(name + ".attention");
    const Norm mlp_norm = norm(name + ".mlp_norm");
    if (config_.moe.num_experts == 0)
      return layer_of(name, {unit},
                      Block(attention_norm, std::move(attention), mlp_norm, mlp(name + ".mlp")),
                      recompute_);
    return layer_of(
        name, {unit},
        Block(attention_norm, std::move(attention), mlp_norm, moe(name + ".moe", index)),
        recompute_);
  }

  // A tied head uses the embedding's table; a stage without the embedding holds a copy of it.
  // Tables of the vocabulary are units of their own: both stages cut a tied one into the same
  // shards.
  std::unique_ptr<Layer> head() {
    const int norm_unit = params_.begin_unit("final_norm");
    const Norm final_norm = norm("final_norm");
    const bool shares = config_.tie_embeddings && token_table_;
    if (shares)
      return layer_of("head", {norm_unit, token_table_unit_}, Head(final_norm, *token_table_));
    const int unit = params_.begin_unit("head");
    const VocabTable table = config_.tie_embeddings
                                 ? add_vocab_table(ParamRole::kTokenEmbedding, kTokenTable)
                                 : add_vocab_table(ParamRole::kHead, "head.weight");
    return layer_of("head", {norm_unit, unit}, Head(final_norm, table));
  }

  Norm norm(const std::string& name) {
    const Shape shape = {config_.hidden_size};
    const ParamId weight =
        params_.add(name + ".weight", {{name + ".weight", ParamRole::kNorm, shape, Init::kOnes}});
    const ParamId bias =
        gpt_
            ? params_.add(name + ".bias", {{name + ".bias", ParamRole::kNorm, shape, Init::kZeros}})
            : kNoParam;
    return Norm(gpt_ ? NormKind::kLayer : NormKind::kRms, weight, bias,
                static_cast<float>(config_.norm_eps));
  }

  Attention attention(const std::string& name) {
    const int64_t q_rows = config_.num_attention_heads * config_.head_dim;
    const int64_t kv_rows = config_.num_query_groups * config_.head_dim;
    const ColumnLinear qkv = linear(name + ".qkv", {{name + ".q", ParamRole::kQuery, q_rows},
                                                    {name + ".k", ParamRole::kKeyValue, kv_rows},
                                                    {name + ".v", ParamRole::kKeyValue, kv_rows}});
    const RowLinear out = output_linear(name + ".out", ParamRole::kAttentionOut, q_rows);
    // Sizes on this rank, read off what the partition left of the query and key rows.
    const std::vector<ParamPart>& parts = params_[qkv.weight()].parts;
    const int64_t heads = div_exact(parts[0].slice.rows.size(), config_.head_dim);
    const int64_t groups = div_exact(parts[1].slice.rows.size(), config_.head_dim);
    return Attention({heads, groups, config_.head_dim}, qkv, out, rope_table_);
  }

  Mlp mlp(const std::string& name) {
    const int64_t rows = config_.ffn_hidden_size;
    const ColumnLinear up =
        config_.activation == Activation::kSwiglu
            ? linear(name + ".gate_up", {{name + ".gate", ParamRole::kMlpUp, rows},
                                         {name + ".up", ParamRole::kMlpUp, rows}})
            : linear(name + ".up", {{name + ".up", ParamRole::kMlpUp, rows}});
    return Mlp(config_.activation, up, output_linear(name + ".down", ParamRole::kMlpDown, rows));
  }

  Moe moe(const std::string& name, int64_t layer) {
    const MoeConfig& moe = config_.moe;
    const ParamId router =
        params_.add(name + ".router.weight", {normal(name + ".router.weight", ParamRole::kRouter,
                                                     {moe.num_experts, config_.hidden_size})});
    return Moe(Router({.num_experts = moe.num_experts,
                       .top_k = moe.top_k,
                       .pre_softmax = moe.router_pre_softmax,
                       .aux_loss_coeff = moe.aux_loss_coeff,
                       .z_loss_coeff = moe.z_loss_coeff,
                       .layer = layer},
                      router),
               {moe.num_experts, moe.capacity_factor, layer}, experts(name + ".experts"));
  }

  // Of each expert that this rank holds: gate above up in one matrix, down in another.
  Experts experts(const std::string& name) {
    const int64_t width = config_.moe.ffn_hidden_size, h = config_.hidden_size;
    const Range mine = params_.experts(config_.moe.num_experts);
    std::vector<LogicalTensor> up, down;
    for (int64_t e = mine.begin; e < mine.end; ++e) {
      const std::string expert = name + "." + std::to_string(e);
      up.push_back(normal(expert + ".gate.weight", ParamRole::kExpertUp, {width, h}));
      up.push_back(normal(expert + ".up.weight", ParamRole::kExpertUp, {width, h}));
      down.push_back(output(expert + ".down.weight", ParamRole::kExpertDown, {h, width}));
    }
    const ParamId up_id = params_.add(name + ".gate_up.weight", up);
    return Experts(up_id, params_.add(name + ".down.weight", down), mine.size());
  }

  struct Rows {
    std::string name;
    ParamRole role;
    int64_t count;
  };

  // A product from the residual stream: several logical matrices [count, h] in one.
  ColumnLinear linear(const std::string& name, const std::vector<Rows>& pieces) {
    std::vector<LogicalTensor> weights, biases;
    for (const Rows& piece : pieces) {
      weights.push_back(
          normal(piece.name + ".weight", piece.role, {piece.count, config_.hidden_size}));
      biases.push_back({piece.name + ".bias", piece.role, {piece.count}, Init::kZeros});
    }
    const ParamId weight = params_.add(name + ".weight", weights);
    return ColumnLinear(weight, gpt_ ? params_.add(name + ".bias", biases) : kNoParam);
  }

  // A product back into the residual stream, [h, in].
  RowLinear output_linear(const std::string& name, ParamRole role, int64_t in) {
    const ParamId id =
        params_.add(name + ".weight", {output(name + ".weight", role, {config_.hidden_size, in})});
    if (!gpt_) return RowLinear(id, kNoParam);
    const LogicalTensor bias = {
        name + ".bias", ParamRole::kOutputBias, {config_.hidden_size}, Init::kZeros};
    return RowLinear(id, params_.add(name + ".bias", {bias}));
  }

  VocabTable add_vocab_table(ParamRole role, const std::string& name) {
    const ParamId id =
        params_.add(name, {normal(name, role, {config_.vocab_size, config_.hidden_size})});
    return {id, params_[id].parts[0].slice.rows.begin, config_.vocab_size};
  }

  LogicalTensor normal(const std::string& name, ParamRole role, const Shape& shape) const {
    return {name, role, shape, Init::kNormal, static_cast<float>(config_.init_std)};
  }

  // The matrix of such a product. Its initial deviation is divided by sqrt(2 layers), so that the
  // stream's variance does not grow with depth (GPT-2; Megatron-LM).
  LogicalTensor output(const std::string& name, ParamRole role, const Shape& shape) const {
    LogicalTensor tensor = normal(name, role, shape);
    const double depth = 2 * static_cast<double>(config_.num_layers);
    tensor.init_std = static_cast<float>(config_.init_std / std::sqrt(depth));
    return tensor;
  }

  template <typename Module>
  std::unique_ptr<Layer> layer_of(const std::string& name, std::vector<int> units, Module module,
                                  Recompute recompute = Recompute::kNone) {
    return std::make_unique<LayerOf<Module>>(name, std::move(units), std::move(module), recompute);
  }

  const ModelConfig& config_;
  ParamSet& params_;
  bool gpt_;
  Recompute recompute_;
  Tensor rope_table_;
  std::optional<VocabTable> token_table_;
  int token_table_unit_ = -1;
};

}  // namespace

Model build_model(const ModelConfig& config, int64_t seq_length, const std::vector<Range>& chunks,
                  const Partition& partition, Arena& arena, Recompute recompute,
                  DType buffer_dtype) {
  Model model{ParamSet(partition), {}};
  Builder builder(config, seq_length, model.params, arena, recompute, buffer_dtype);
  for (const Range& layers : chunks) {
    model.chunks.emplace_back();
    for (int64_t index = layers.begin; index < layers.end; ++index)
      model.chunks.back().push_back(builder.layer(index));
  }
  return model;
}

}  // namespace nemo
