#include "tests/lib/nn/conformance.h"

#include "lib/nn/block.h"
#include "lib/nn/embedding.h"
#include "lib/nn/head.h"
#include "lib/nn/rope.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int64_t kHidden = 12;
constexpr int64_t kFfn = 10;
constexpr int64_t kHeads = 4;
constexpr int64_t kGroups = 2;
constexpr int64_t kHeadDim = 6;
constexpr int64_t kQkv = (kHeads + 2 * kGroups) * kHeadDim;
constexpr int64_t kTokens = Conformance::kTokens;

ParamId add(ParamSet& params, const char* name, const Shape& shape) {
  return params.add(name, {{name, ParamRole::kNorm, shape}});
}

template <typename Linear>
Linear linear(ParamSet& params, int64_t in, int64_t out, bool bias) {
  const ParamId weight = add(params, "weight", {out, in});
  return Linear(weight, bias ? add(params, "bias", {out}) : kNoParam);
}

VocabTable vocab_table(ParamSet& params, const char* name) {
  return {add(params, name, {Conformance::kVocab, kHidden}), 0, Conformance::kVocab};
}

Norm norm(ParamSet& params, NormKind kind) {
  const ParamId weight = add(params, "norm.weight", {kHidden});
  return Norm(kind, weight,
              kind == NormKind::kLayer ? add(params, "norm.bias", {kHidden}) : kNoParam, 1e-5f);
}

Attention attention(ParamSet& params, Arena& arena, bool rope) {
  const auto qkv = linear<ColumnLinear>(params, kHidden, kQkv, !rope);
  const auto out = linear<RowLinear>(params, kHeads * kHeadDim, kHidden, !rope);
  const Tensor table =
      rope ? make_rope_table(arena, Conformance::kSeq, kHeadDim, 100, {}) : Tensor();
  return Attention({kHeads, kGroups, kHeadDim}, qkv, out, table);
}

Mlp mlp(ParamSet& params, Activation activation) {
  const bool gated = activation == Activation::kSwiglu;
  const auto up = linear<ColumnLinear>(params, kHidden, gated ? 2 * kFfn : kFfn, !gated);
  return Mlp(activation, up, linear<RowLinear>(params, kFfn, kHidden, !gated));
}

Block<Mlp> block(ParamSet& params, Arena& arena, bool llama) {
  const NormKind kind = llama ? NormKind::kRms : NormKind::kLayer;
  const Norm first = norm(params, kind);
  Attention attend = attention(params, arena, llama);
  const Norm second = norm(params, kind);
  return Block<Mlp>(first, std::move(attend), second,
                    mlp(params, llama ? Activation::kSwiglu : Activation::kGeluTanh));
}

Moe moe(ParamSet& params, std::optional<double> capacity_factor) {
  const MoeConfig config = Conformance::model_with_experts().moe;
  const ParamId up = add(params, "up", {config.num_experts * 2 * kFfn, kHidden});
  const ParamId down = add(params, "down", {config.num_experts * kHidden, kFfn});
  const Router router({.num_experts = config.num_experts,
                       .top_k = config.top_k,
                       .pre_softmax = false,
                       .aux_loss_coeff = config.aux_loss_coeff,
                       .z_loss_coeff = config.z_loss_coeff,
                       .layer = 0},
                      add(params, "router", {config.num_experts, kHidden}));
  return Moe(router, {config.num_experts, capacity_factor, 0},
             Experts(up, down, config.num_experts));
}

Block<Moe> moe_block(ParamSet& params, Arena& arena, std::optional<double> capacity_factor) {
  const Norm first = norm(params, NormKind::kRms);
  Attention attend = attention(params, arena, /*rope=*/true);
  const Norm second = norm(params, NormKind::kRms);
  return Block<Moe>(first, std::move(attend), second, moe(params, capacity_factor));
}

// A module whose calls do not take the micro batch, as one whose do.
template <typename Module>
struct WithBatch {
  using Saved = typename Module::Saved;
  using Deferred = typename Module::Deferred;
  Module module;

  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const {
    if constexpr (requires { module.forward(ctx, batch, x, saved); })
      return module.forward(ctx, batch, x, saved);
    else
      return module.forward(ctx, x, saved);
  }
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy, Saved saved,
                        Deferred& deferred) const {
    if constexpr (requires { module.backward_input(ctx, batch, dy, saved, deferred); })
      return module.backward_input(ctx, batch, dy, std::move(saved), deferred);
    else if constexpr (requires { module.backward_input(ctx, dy, dy, saved, deferred); })
      return module.backward_input(ctx, dy, {}, std::move(saved), deferred);
    else
      return module.backward_input(ctx, dy, std::move(saved), deferred);
  }
  void backward_weight(Context& ctx, const MicroBatch& batch, Deferred deferred) const {
    if constexpr (requires { module.backward_weight(ctx, batch, deferred); })
      module.backward_weight(ctx, batch, std::move(deferred));
    else
      module.backward_weight(ctx, std::move(deferred));
  }
};

template <typename MakeModule>
void check(int64_t x_width, int64_t saved_bytes, const MakeModule& make_module) {
  const auto make = [&](ParamSet& params, Arena& arena) -> std::unique_ptr<Layer> {
    params.begin_unit("unit");
    auto module = make_module(params, arena);
    using Module = WithBatch<decltype(module)>;
    return std::make_unique<LayerOf<Module>>("layer", std::vector<int>{0},
                                             Module{std::move(module)});
  };
  Conformance(make, x_width).check(saved_bytes);
  for (const DType storage : {DType::kBF16, DType::kF16}) {
    Conformance wide(make, x_width, DType::kF32, storage), narrow(make, x_width, storage, storage);
    narrow.check_against(wide);
  }
}

// What a block keeps beside x and y; under full recompute nothing.
struct BlockBytes {
  int64_t none, selective;
};

template <typename MakeBlock>
void check_block(const BlockBytes& bytes, const MakeBlock& make_block) {
  const auto conformance = [&](Recompute recompute, DType storage = DType::kF32,
                               DType digits = DType::kF32) {
    return Conformance(
        [&](ParamSet& params, Arena& arena) -> std::unique_ptr<Layer> {
          params.begin_unit("unit");
          auto block = make_block(params, arena);
          return std::make_unique<LayerOf<decltype(block)>>("layer", std::vector<int>{0},
                                                            std::move(block), recompute);
        },
        kHidden, storage, digits);
  };
  Conformance kept = conformance(Recompute::kNone);
  kept.check(bytes.none);
  conformance(Recompute::kSelective).check_same_bits(kept, bytes.selective);
  conformance(Recompute::kFull).check_same_bits(kept, 0);
  for (const DType storage : {DType::kBF16, DType::kF16}) {
    Conformance wide = conformance(Recompute::kNone, DType::kF32, storage);
    Conformance narrow = conformance(Recompute::kNone, storage, storage);
    narrow.check_against(wide);
    conformance(Recompute::kFull, storage, storage).check_same_bits(narrow, 0);
  }
}

// Bytes of fp32 tensors of these sizes, as the arena rounds them.
int64_t bytes(std::initializer_list<int64_t> sizes) {
  int64_t sum = 0;
  for (int64_t size : sizes) sum += round_up(4 * size, Arena::kAlignment);
  return sum;
}

}  // namespace

TEST_CASE("linears conform") {
  for (bool bias : {false, true}) {
    check(kHidden, 0,
          [&](ParamSet& p, Arena&) { return linear<ColumnLinear>(p, kHidden, 7, bias); });
    check(kHidden, 0, [&](ParamSet& p, Arena&) { return linear<RowLinear>(p, kHidden, 7, bias); });
  }
}

TEST_CASE("norms conform") {
  check(kHidden, bytes({kTokens}), [](ParamSet& p, Arena&) { return norm(p, NormKind::kRms); });
  check(kHidden, bytes({kTokens, kTokens}),
        [](ParamSet& p, Arena&) { return norm(p, NormKind::kLayer); });
}

TEST_CASE("attention conforms") {
  for (bool rope : {false, true})
    check(kHidden, bytes({kTokens * kQkv, kTokens * kHeads, kTokens * kHeads * kHeadDim}),
          [&](ParamSet& p, Arena& arena) { return attention(p, arena, rope); });
}

TEST_CASE("mlp conforms") {
  check(kHidden, bytes({kTokens * 2 * kFfn, kTokens * kFfn}),
        [](ParamSet& p, Arena&) { return mlp(p, Activation::kSwiglu); });
  for (Activation activation : {Activation::kGelu, Activation::kGeluTanh})
    check(kHidden, bytes({kTokens * kFfn, kTokens * kFfn}),
          [&](ParamSet& p, Arena&) { return mlp(p, activation); });
}

TEST_CASE("mixtures of experts conform, their losses included") {
  const int64_t choices = 4 * kTokens, experts = 4;
  const auto saved = [&](int64_t rows) {
    return bytes({kTokens * experts, choices, choices, experts, choices, rows, rows, rows * kHidden,
                  rows, rows * 2 * kFfn});
  };
  check(kHidden, saved(choices), [](ParamSet& p, Arena&) { return moe(p, std::nullopt); });
  // An expert keeps the first 8 of 12.
  check(kHidden, saved(8 * 4), [](ParamSet& p, Arena&) { return moe(p, 0.6); });
}

TEST_CASE("blocks conform, and recompute in bits") {
  const int64_t wide = kTokens * kHidden, qkv = kTokens * kQkv;
  const int64_t attention = bytes({qkv, kTokens * kHeads, kTokens * kHeads * kHeadDim});
  const int64_t rms = bytes({wide, kTokens}), layer = bytes({wide, kTokens, kTokens});
  const int64_t swiglu = bytes({kTokens * 2 * kFfn}), gelu = bytes({kTokens * kFfn});
  const int64_t act = bytes({kTokens * kFfn}), sum = bytes({wide});
  check_block(
      {.none = attention + 2 * rms + sum + swiglu + act, .selective = bytes({qkv}) + sum + swiglu},
      [](ParamSet& p, Arena& arena) { return block(p, arena, true); });
  check_block(
      {.none = attention + 2 * layer + sum + gelu + act, .selective = bytes({qkv}) + sum + gelu},
      [](ParamSet& p, Arena& arena) { return block(p, arena, false); });
}

TEST_CASE("blocks with experts conform, and recompute in bits") {
  const int64_t wide = kTokens * kHidden, qkv = kTokens * kQkv;
  const int64_t attention = bytes({qkv, kTokens * kHeads, kTokens * kHeads * kHeadDim});
  const int64_t choices = 4 * kTokens, experts = 4;
  for (const std::optional<double> capacity_factor : {std::optional<double>(), {0.6}}) {
    const int64_t rows = capacity_factor ? 8 * experts : choices;
    const int64_t chosen = bytes({kTokens * experts, choices, choices, experts}),
                  routes = bytes({choices, rows, rows}), expert = bytes({rows, rows * 2 * kFfn});
    check_block({.none = attention + 2 * bytes({wide, kTokens}) + bytes({wide}) + chosen + routes +
                         bytes({rows * kHidden}) + expert,
                 .selective = bytes({qkv, wide}) + chosen + routes + expert},
                [&](ParamSet& p, Arena& arena) { return moe_block(p, arena, capacity_factor); });
  }
}

TEST_CASE("embeddings conform") {
  for (bool positions : {false, true})
    check(0, 0, [&](ParamSet& p, Arena&) {
      const VocabTable tokens = vocab_table(p, "tokens");
      return Embedding(tokens,
                       positions ? add(p, "positions", {Conformance::kSeq, kHidden}) : kNoParam);
    });
}

TEST_CASE("the head conforms") {
  check(kHidden, bytes({kTokens * kHidden, kTokens}), [](ParamSet& p, Arena&) {
    const Norm final_norm = norm(p, NormKind::kRms);
    return Head(final_norm, vocab_table(p, "head"));
  });
}
