#include "lib/data/megatron_order.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "lib/core/error.h"
#include "lib/data/numpy_random.h"
#include "lib/device/host.h"

namespace nemo {
namespace {

// Samples are numbered with 32 bits.
constexpr int64_t kMostSamples = int64_t{1} << 32;

// Shuffles the first `num_together` items, then the rest by themselves.
template <typename T>
void shuffle_apart(std::vector<T>& items, int64_t num_together, NumpyRandom& random) {
  const std::span<T> all(items);
  random.shuffle(all.first(static_cast<size_t>(num_together)));
  random.shuffle(all.subspan(static_cast<size_t>(num_together)));
}

void check_count(int64_t num_samples) {
  if (num_samples > kMostSamples)
    throw_usage(
        "[data.num_samples] {}: data.kind megatron orders {} samples at most; give as many "
        "as the run will read",
        num_samples, kMostSamples);
}

void check_memory(const std::string& prefix, int64_t num_samples, double num_bytes) {
  const auto memory = static_cast<double>(host_memory_bytes());
  if (num_bytes < memory) return;
  throw_usage(
      "[data.num_samples] {}: the order of so many samples of {} takes {:.1f} GB, this machine has "
      "{:.1f}; give as many as the run will read",
      num_samples, prefix, num_bytes * 1e-9, memory * 1e-9);
}

}  // namespace

MegatronOrder::Plan MegatronOrder::plan(int64_t tokens_per_pass, const Settings& settings) {
  const int64_t seq = settings.seq_length;
  const auto samples_of = [&](int64_t num_passes) {
    return std::max<int64_t>(num_passes * tokens_per_pass - 1, 0) / seq;
  };
  if (!settings.num_samples || tokens_per_pass < 2) return {1, samples_of(1), samples_of(1)};
  Plan plan;
  plan.num_passes = ceil_div(*settings.num_samples * seq + 1, tokens_per_pass);
  plan.num_samples = plan.num_together = samples_of(plan.num_passes);
  if (plan.num_passes == 1) return plan;
  const int64_t num_before = samples_of(plan.num_passes - 1);
  const auto most_of_a_pass = static_cast<int64_t>(0.80 * static_cast<double>(samples_of(1)));
  if (*settings.num_samples - num_before < most_of_a_pass) plan.num_together = num_before;
  return plan;
}

MegatronOrder::MegatronOrder(const MegatronFile& file, const Settings& settings) : file_(&file) {
  const Range documents = settings.documents;
  if (file.num_sequences() > std::numeric_limits<int32_t>::max())
    throw_data("[data.paths] {}: it has {} sequences, {} can be ordered; split it in several",
               MegatronFile::index_path(file.prefix()), file.num_sequences(),
               std::numeric_limits<int32_t>::max());
  check_count(settings.num_samples.value_or(0));  // beyond it a plan's numbers could overflow
  int64_t tokens_per_pass = 0;
  for (int64_t i = documents.begin; i < documents.end; ++i) tokens_per_pass += file.length(i);
  const Plan plan = MegatronOrder::plan(tokens_per_pass, settings);
  if (plan.num_samples == 0) return;
  check_count(plan.num_samples);
  const double num_places =
      static_cast<double>(plan.num_passes) * static_cast<double>(documents.size());
  check_memory(file.prefix(), plan.num_samples,
               num_places * sizeof(int32_t) +
                   static_cast<double>(plan.num_samples) * (sizeof(Start) + sizeof(uint32_t)));
  NumpyRandom random(settings.seed);
  make_row(documents, plan.num_passes);
  const bool apart = plan.num_together < plan.num_samples;
  if (settings.shuffle)
    shuffle_apart(row_, std::ssize(row_) - (apart ? documents.size() : 0), random);
  find_starts(plan.num_samples, settings.seq_length);
  samples_.resize(starts_.size());
  std::iota(samples_.begin(), samples_.end(), uint32_t{0});
  if (settings.shuffle) shuffle_apart(samples_, plan.num_together, random);
}

void MegatronOrder::make_row(Range documents, int64_t num_passes) {
  row_.resize(static_cast<size_t>(num_passes * documents.size()));
  for (size_t place = 0; place < row_.size(); place += static_cast<size_t>(documents.size()))
    std::iota(row_.begin() + static_cast<int64_t>(place),
              row_.begin() + static_cast<int64_t>(place) + documents.size(),
              static_cast<int32_t>(documents.begin));
}

void MegatronOrder::find_starts(int64_t num_samples, int64_t seq_length) {
  constexpr int64_t kAhead = 32;  // the lengths of shuffled documents lie anywhere in the index
  starts_.reserve(static_cast<size_t>(num_samples));
  int64_t begin = 0;  // of the document, among the row's tokens
  int64_t next = 0;   // of the sample to come
  const int64_t end = num_samples * seq_length;
  for (int64_t place = 0; next < end; ++place) {
    if (place + kAhead < std::ssize(row_))
      file_->prefetch_length(row_[static_cast<size_t>(place + kAhead)]);
    const int64_t length = file_->length(row_[static_cast<size_t>(place)]);
    for (; next < begin + length && next < end; next += seq_length)
      starts_.push_back({place, static_cast<int32_t>(next - begin)});
    begin += length;
  }
}

void MegatronOrder::read(int64_t position, int64_t vocab_size, std::span<int32_t> tokens) const {
  NEMO_CHECK(position >= 0 && position < num_samples(), "[megatron_order] sample {} of {}",
             position, num_samples());
  const Start start = starts_[samples_[static_cast<size_t>(position)]];
  int64_t skip = start.token;
  for (auto place = static_cast<size_t>(start.place); !tokens.empty(); ++place) {
    const Range document = file_->range(row_[place]);
    const size_t count = std::min(tokens.size(), static_cast<size_t>(document.size() - skip));
    file_->tokens().read(document.begin + skip, vocab_size, tokens.first(count));
    tokens = tokens.subspan(count);
    skip = 0;
  }
}

}  // namespace nemo
