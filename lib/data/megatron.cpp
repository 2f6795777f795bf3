#include "lib/data/megatron.h"

#include <cmath>
#include <numeric>

#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/recipe/blend.h"

namespace nemo {
namespace {

Blend blend_of(const DataConfig& config) {
  Blend blend;
  if (const auto problem = read_blend(config.paths, blend))
    throw_usage("[data.paths] {}", *problem);
  if (blend.prefixes.empty())
    throw_usage(
        "[data.paths] 0 prefixes, data.kind megatron needs at least 1; list the datasets to train "
        "on");
  if (blend.prefixes.size() == 1) blend.weights.clear();
  return blend;
}

// Samples that a weighted blend takes of one dataset, and those that are ordered for it: more, so
// that rounding does not leave it short.
int64_t share_of(int64_t num_samples, double weight) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(num_samples) * weight));
}

int64_t with_surplus(int64_t num_samples) {
  return static_cast<int64_t>(std::ceil(static_cast<double>(num_samples) * 1.005));
}

[[noreturn]] void refuse_part(const MegatronFile& file, Part part, Range documents,
                              int64_t seq_length) {
  int64_t num_tokens = 0;
  for (int64_t i = documents.begin; i < documents.end; ++i) num_tokens += file.length(i);
  throw_data(
      "[data.paths] {}: the {} part has {} in {} of {}, data.seq_length {} needs "
      "{}; give more data, a larger share in data.split or a shorter data.seq_length",
      file.prefix(), to_string(part), counted(num_tokens, "token"), documents.size(),
      counted(file.num_sequences(), "document"), seq_length, seq_length + 1);
}

}  // namespace

MegatronDataset::MegatronDataset(const DataConfig& config, int64_t vocab_size, uint64_t seed,
                                 std::span<const Part> needed)
    : seq_length_(config.seq_length), vocab_size_(vocab_size) {
  const Blend blend = blend_of(config);
  for (const std::string& prefix : blend.prefixes) {
    files_.emplace_back(prefix);
    files_.back().tokens().check_start(vocab_size);
  }
  weights_ = normalize_weights(blend.weights);
  for (Part part : needed)
    parts_[static_cast<size_t>(part)] = order_part(part, config, narrow<uint32_t>(seed));
}

MegatronDataset::PartOrder MegatronDataset::order_part(Part part, const DataConfig& config,
                                                       uint32_t seed) const {
  PartOrder order;
  for (size_t i = 0; i < files_.size(); ++i) {
    const PerPart<Range> cuts = cut_into_parts(files_[i].num_sequences(), config.split);
    MegatronOrder::Settings settings = {.documents = cuts[static_cast<size_t>(part)],
                                        .seq_length = seq_length_,
                                        .shuffle = config.shuffle,
                                        .seed = seed};
    if (part == Part::kTrain && !weights_.empty())
      settings.num_samples = with_surplus(share_of(config.num_samples, weights_[i]));
    if (part == Part::kTrain && files_.size() == 1) settings.num_samples = config.num_samples;
    order.datasets.emplace_back(files_[i], settings);
    // By size, a dataset may have nothing to give to a part; all together may not.
    order.num_samples += order.datasets.back().num_samples();
    const bool last = i + 1 == files_.size();
    if (weights_.empty() ? last && order.num_samples == 0
                         : order.datasets.back().num_samples() == 0)
      refuse_part(files_[i], part, settings.documents, seq_length_);
  }
  if (files_.size() > 1) {
    order.blend = blend_part(part, config, order.datasets);
    order.num_samples = order.blend.size();
  }
  return order;
}

BlendOrder MegatronDataset::blend_part(Part part, const DataConfig& config,
                                       std::span<const MegatronOrder> datasets) const {
  std::vector<int64_t> available;
  for (const MegatronOrder& dataset : datasets) available.push_back(dataset.num_samples());
  const int64_t all = std::accumulate(available.begin(), available.end(), int64_t{0});
  if (weights_.empty()) {
    const std::vector<double> sizes(available.begin(), available.end());
    return {normalize_weights(sizes), available, all};
  }
  // Normalized once more, which changes last bits, as Megatron does.
  const std::vector<double> weights = normalize_weights(weights_);
  if (part != Part::kTrain) return {weights, available, all};
  int64_t most = 0;
  for (double weight : weights_) most += share_of(config.num_samples, weight);
  // A dataset that is still too short begins again.
  std::ranges::fill(available, kEndless);
  return {weights, available, most};
}

int64_t MegatronDataset::num_samples(Part part) const {
  return parts_[static_cast<size_t>(part)].num_samples;
}

void MegatronDataset::read(Part part, int64_t position, std::span<int32_t> tokens) const {
  const PartOrder& order = parts_[static_cast<size_t>(part)];
  const int64_t count = order.num_samples;
  NEMO_CHECK(std::ssize(tokens) == seq_length_ + 1,
             "[megatron] room for {} tokens, a sample has {}", tokens.size(), seq_length_ + 1);
  NEMO_CHECK(position >= 0 && count > 0 && (part == Part::kTrain || position < count),
             "[megatron] sample {} of the {} part, which has {}", position, to_string(part), count);
  position %= count;
  if (order.datasets.size() == 1) return order.datasets[0].read(position, vocab_size_, tokens);
  const BlendOrder::Place place = order.blend(position);
  const MegatronOrder& dataset = order.datasets[place.dataset];
  dataset.read(place.sample % dataset.num_samples(), vocab_size_, tokens);
}

}  // namespace nemo
