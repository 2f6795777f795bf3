#include "tests/support/trigram.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <vector>

#include "lib/data/text.h"

namespace nemo {
namespace {

constexpr double kSmoothing = 0.1;

// Tokens 0 … num_samples * seq of a part, in file order, after one end-of-document token.
std::vector<int32_t> read_stream(const Dataset& dataset, Part part, int64_t num_samples,
                                 int64_t seq_length) {
  std::vector<int32_t> stream(static_cast<size_t>(num_samples * seq_length + 2), kEndOfDocument);
  for (int64_t i = 0; i < num_samples; ++i)
    dataset.read(part, i, std::span(stream).subspan(1 + i * seq_length, seq_length + 1));
  return stream;
}

class TrigramModel {
 public:
  TrigramModel(std::span<const int32_t> stream, int64_t vocab_size)
      : floor_(kSmoothing * static_cast<double>(vocab_size)) {
    for (size_t i = 2; i < stream.size(); ++i) {
      ++pairs_[key(stream[i - 2], stream[i - 1])];
      ++triples_[key(stream[i - 2], stream[i - 1], stream[i])];
    }
  }

  double probability(int32_t a, int32_t b, int32_t c) const {
    return (count(triples_, key(a, b, c)) + kSmoothing) / (count(pairs_, key(a, b)) + floor_);
  }

 private:
  using Counts = std::unordered_map<int64_t, int64_t>;

  static int64_t key(int64_t a, int64_t b, int64_t c = 0) { return (a << 40) | (b << 20) | c; }
  static double count(const Counts& counts, int64_t key) {
    const auto found = counts.find(key);
    return found == counts.end() ? 0.0 : static_cast<double>(found->second);
  }

  double floor_;
  Counts pairs_;
  Counts triples_;
};

}  // namespace

TrigramLoss trigram_loss(const DataConfig& data, int64_t vocab_size, int64_t num_samples) {
  DataConfig in_order = data;
  in_order.shuffle = false;
  const auto needed = std::to_array({Part::kTrain, Part::kValidation});
  const TextDataset dataset(in_order, vocab_size, 0, needed);
  const TrigramModel model(
      read_stream(dataset, Part::kTrain, dataset.num_samples(Part::kTrain), data.seq_length),
      vocab_size);
  num_samples = std::min(num_samples, dataset.num_samples(Part::kValidation));
  const std::vector<int32_t> stream =
      read_stream(dataset, Part::kValidation, num_samples, data.seq_length);
  TrigramLoss loss;
  for (size_t i = 2; i < stream.size(); ++i, ++loss.num_targets)
    loss.nats -= std::log(model.probability(stream[i - 2], stream[i - 1], stream[i]));
  loss.nats /= static_cast<double>(loss.num_targets);
  return loss;
}

}  // namespace nemo
