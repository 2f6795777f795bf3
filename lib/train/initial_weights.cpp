#include "lib/train/initial_weights.h"

#include <filesystem>
#include <optional>

#include "lib/checkpoint/hf_config.h"
#include "lib/checkpoint/huggingface.h"
#include "lib/core/error.h"
#include "lib/model/init.h"
#include "lib/model/transformer.h"

namespace nemo {
namespace {

void read_param(const HfCheckpoint& checkpoint, Family family, const Param& param,
                const Tensor& values) {
  for (const ParamPart& part : param.parts)
    read_logical(checkpoint, family, part.tensor, part.slice, part_of(values, part).data<float>());
}

}  // namespace

void check_initial_weights(const Recipe& recipe) {
  const std::string& folder = recipe.checkpoint.init_from;
  if (folder.empty()) return;
  std::error_code error;
  if (!std::filesystem::exists(std::filesystem::path(folder) / "config.json", error))
    throw_data("[checkpoint.init_from] {}: has no config.json; a Hugging Face folder would do",
               folder);
  check_hf_config(folder, recipe.model);
  const HfCheckpoint checkpoint(folder);
  Arena nothing(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  const Model model = build_model(recipe.model, recipe.data.seq_length, {all_layers(recipe.model)},
                                  WholePartition(), nothing);
  // Reading no element of a tensor checks that it is there, and its shape and dtype.
  for (const Param& param : model.params.params())
    for (const ParamPart& part : param.parts)
      read_logical(checkpoint, recipe.model.family, part.tensor, Slice{}, nullptr);
}

void load_initial_weights(Stream& stream, const Recipe& recipe, const ParamSet& params,
                          WeightProvider& weights) {
  const std::string& folder = recipe.checkpoint.init_from;
  std::optional<HfCheckpoint> checkpoint;
  if (!folder.empty()) checkpoint.emplace(folder);
  for (int unit = 0; unit < params.num_units(); ++unit) {
    weights.acquire(unit);
    for (ParamId id = 0; id < params.num_params(); ++id) {
      if (params[id].unit != unit) continue;
      if (checkpoint)
        read_param(*checkpoint, recipe.model.family, params[id], weights.get(id));
      else
        init_param(stream, params[id], static_cast<uint64_t>(recipe.trainer.seed), weights.get(id));
    }
    weights.release(unit);
  }
}

}  // namespace nemo
