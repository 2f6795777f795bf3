// Absent values that follow from other keys alone.
#include <fmt/format.h>

#include <algorithm>

#include "lib/recipe/draft.h"

namespace nemo {
namespace {

void derive_model(Draft& draft) {
  ModelConfig& model = draft.recipe().model;
  if (draft.derives("model.num_query_groups", {"model.num_attention_heads"}))
    model.num_query_groups = model.num_attention_heads;
  if (draft.derives("model.head_dim", {"model.hidden_size", "model.num_attention_heads"})) {
    // Not an integer: reported by the rules, which skip what needs head_dim.
    if (model.hidden_size % model.num_attention_heads == 0)
      model.head_dim = model.hidden_size / model.num_attention_heads;
    else
      draft.mark_unsound("model.head_dim");
  }
  if (draft.derives("model.moe.ffn_hidden_size", {"model.ffn_hidden_size"}))
    model.moe.ffn_hidden_size = model.ffn_hidden_size;
  const bool gpt = model.family == Family::kGpt;
  if (draft.derives("model.activation", {"model.family"}))
    model.activation = gpt ? Activation::kGeluTanh : Activation::kSwiglu;
  if (draft.derives("model.tie_embeddings", {"model.family"})) model.tie_embeddings = gpt;
  if (draft.derives("model.max_position_embeddings", {"model.family", "data.seq_length"}) && gpt)
    model.max_position_embeddings = draft.recipe().data.seq_length;
}

void derive_training(Draft& draft) {
  Recipe& recipe = draft.recipe();
  // A tenth of a decimal number should print as one: 3e-4 gives 3e-5, not 2.9999999999999997e-05.
  if (draft.derives("optim.min_lr", {"optim.lr"}))
    recipe.optim.min_lr = parse_number(fmt::format("{:.15g}", recipe.optim.lr / 10.0)).value();
  if (draft.derives("optim.schedule_steps", {"trainer.max_steps"}))
    recipe.optim.schedule_steps = recipe.trainer.max_steps;
  DataConfig& data = recipe.data;
  // At most 1e12 * 2^28: saturated, so that the range check reports it.
  if (draft.derives("data.num_samples", {"optim.schedule_steps", "data.global_batch_size"}))
    data.num_samples =
        static_cast<int64_t>(std::min(9e18, static_cast<double>(recipe.optim.schedule_steps) *
                                                static_cast<double>(data.global_batch_size)));
  if (draft.derives("data.tokenizer", {"data.kind"}))
    data.tokenizer = data.kind == DataKind::kText || data.kind == DataKind::kJsonl ? "bytes" : "";
  if (draft.derives("data.split", {"data.kind"}))
    data.split =
        data.kind == DataKind::kMegatron ? std::array{969.0, 30.0, 1.0} : std::array{0.9, 0.1, 0.0};
}

void derive_precision(Draft& draft) {
  Recipe& recipe = draft.recipe();
  TrainerConfig& trainer = recipe.trainer;
  if (draft.derives("trainer.accelerator", {}))
    trainer.accelerator =
        draft.surroundings().num_gpus > 0 ? Accelerator::kCuda : Accelerator::kCpu;
  if (draft.derives("trainer.precision", {"trainer.accelerator"}))
    trainer.precision = trainer.accelerator == Accelerator::kCuda ? PrecisionPreset::kBF16Mixed
                                                                  : PrecisionPreset::k32;
  PrecisionConfig& precision = recipe.precision;
  const DType compute = trainer.precision == PrecisionPreset::k32         ? DType::kF32
                        : trainer.precision == PrecisionPreset::kF16Mixed ? DType::kF16
                                                                          : DType::kBF16;
  if (draft.derives("precision.param_dtype", {"trainer.precision"}))
    precision.param_dtype = compute;
  if (draft.derives("precision.reduce_dtype", {"trainer.precision"}))
    precision.reduce_dtype = DType::kF32;
  if (draft.derives("precision.output_dtype", {"trainer.precision"}))
    precision.output_dtype = compute;
}

// A strategy sets defaults. Explicit keys win over it, unless they are the recipe's and the
// strategy an override. `ddp` never overrules: sharding that stands beside it is a contradiction
// that the rules report.
void derive_strategy(Draft& draft) {
  ParallelConfig& parallel = draft.recipe().parallel;
  const Strategy strategy = parallel.strategy;
  const auto follows = [&](std::string_view key, bool strategy_has_a_say) {
    if (draft.derives(key, {"parallel.strategy"})) return true;
    if (!strategy_has_a_say || !draft.sound({"parallel.strategy", key}) ||
        draft.source("parallel.strategy").origin != Origin::kOverride ||
        draft.source(key).origin != Origin::kRecipe)
      return false;
    draft.overrule(key, fmt::format("parallel.strategy {}", to_string(strategy)));
    return true;
  };
  const bool fsdp2 = strategy == Strategy::kFsdp2;
  const bool megatron = strategy == Strategy::kMegatron;
  if (follows("parallel.sharding_strategy", fsdp2 || megatron))
    parallel.sharding_strategy = fsdp2 ? ShardingStrategy::kFullShard : ShardingStrategy::kNoShard;
  if (follows("parallel.distributed_optimizer", megatron))
    parallel.distributed_optimizer = megatron;
}

void derive_groups(Draft& draft) {
  ParallelConfig& parallel = draft.recipe().parallel;
  if (draft.derives("parallel.etp_size", {"parallel.tp_size"}))
    parallel.etp_size = parallel.tp_size;
  if (draft.derives("parallel.microbatch_group_size", {"parallel.pp_size"}))
    parallel.microbatch_group_size = parallel.pp_size;
}

void derive_folders(Draft& draft) {
  Recipe& recipe = draft.recipe();
  if (draft.derives("log.dir", {})) recipe.log.dir = "runs/" + draft.text().name;
  if (draft.derives("checkpoint.dir", {"log.dir"}))
    recipe.checkpoint.dir = recipe.log.dir + "/checkpoints";
}

}  // namespace

void derive_values(Draft& draft) {
  derive_model(draft);
  derive_training(draft);
  derive_precision(draft);
  derive_strategy(draft);
  derive_groups(draft);
  derive_folders(draft);
}

}  // namespace nemo
