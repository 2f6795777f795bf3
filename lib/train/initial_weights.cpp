#include "lib/train/initial_weights.h"

#include <algorithm>
#include <filesystem>
#include <optional>

#include "kernels/elementwise.h"
#include "kernels/widen.h"
#include "lib/checkpoint/hf_config.h"
#include "lib/checkpoint/huggingface.h"
#include "lib/core/error.h"
#include "lib/core/math.h"
#include "lib/model/init.h"
#include "lib/model/transformer.h"

namespace nemo {
namespace {

// fill(rows, values): writes rows in place where they are fp32, else some at a time by way of a
// copy.
template <typename Fill>
void fill_rows(Stream& stream, const Range& rows, const Tensor& values, const Fill& fill) {
  constexpr int64_t kCopied = 1 << 12;  // elements: less than a step needs anyway
  const int64_t at_once =
      values.dtype() == DType::kF32 ? rows.size() : std::max<int64_t>(1, kCopied / values.size(1));
  for (int64_t begin = 0; begin < rows.size(); begin += at_once) {
    const int64_t end = std::min(begin + at_once, rows.size());
    const Tensor part = values.slice(0, begin, end);
    const Tensor wide = kernels::wide_result(stream, part);
    fill(Range{rows.begin + begin, rows.begin + end}, wide);
    kernels::narrow(stream, wide, part);
  }
}

// fill(rows of the part, values): what this rank holds of a part of a Param, whole rows in place,
// and the rows that its shard cuts through by way of a copy.
template <typename Fill>
void fill_held(Stream& stream, WeightState& weights, ParamId id, const ParamPart& part,
               const Fill& fill) {
  const int64_t cols = part.slice.cols.size(), first = part.first_row * cols;
  const Range held = weights.held(id, {first, first + part.slice.rows.size() * cols});
  const Range whole = {ceil_div(held.begin - first, cols), (held.end - first) / cols};
  const auto in_place = [&](int64_t begin, int64_t end) {
    return weights.values(id, {first + begin, first + end});
  };
  const auto cut_row = [&](int64_t row) {
    const Tensor values = stream.workspace(DType::kF32, {1, cols}, "initial_row");
    fill(Range{row, row + 1}, values);
    const int64_t begin = std::max(held.begin - first, row * cols);
    const int64_t end = std::min(held.end - first, (row + 1) * cols);
    kernels::convert(stream, values.at(0).slice(0, begin - row * cols, end - row * cols),
                     in_place(begin, end));
  };
  if (held.size() == 0) return;
  if (whole.begin > whole.end) return cut_row(whole.end);  // a part of one row
  if (held.begin - first < whole.begin * cols) cut_row(whole.begin - 1);
  if (whole.size() > 0)
    fill_rows(stream, whole,
              in_place(whole.begin * cols, whole.end * cols).view({whole.size(), cols}), fill);
  if (held.end - first > whole.end * cols) cut_row(whole.end);
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
                          WeightState& weights) {
  const std::string& folder = recipe.checkpoint.init_from;
  std::optional<HfCheckpoint> checkpoint;
  if (!folder.empty()) checkpoint.emplace(folder);
  for (ParamId id = 0; id < params.num_params(); ++id)
    for (const ParamPart& part : params[id].parts)
      fill_held(stream, weights, id, part, [&](const Range& rows, const Tensor& values) {
        const int64_t first = part.slice.rows.begin;
        const Slice slice = {{first + rows.begin, first + rows.end}, part.slice.cols};
        if (checkpoint)
          read_logical(*checkpoint, recipe.model.family, part.tensor, slice, values.data<float>());
        else
          init_slice(stream, part.tensor, slice, static_cast<uint64_t>(recipe.trainer.seed),
                     values);
      });
  weights.publish();
}

}  // namespace nemo
