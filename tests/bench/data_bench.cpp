// What it takes to start on a large Megatron dataset: 10 million documents of 1000 tokens on
// average (uint16, 20 GB, a sparse file), seq_length 4096.
#include <filesystem>

#include "lib/core/philox.h"
#include "lib/data/megatron.h"
#include "tests/bench/table.h"
#include "tests/support/token_files.h"

using namespace nemo;
using namespace nemo::bench;
using namespace nemo::test;

namespace {

constexpr int64_t kNumDocuments = 10'000'000;
constexpr int64_t kSeq = 4096;

std::string write_large(const TempFolder& folder) {
  std::vector<int32_t> lengths(kNumDocuments);
  int64_t num_tokens = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    lengths[i] = static_cast<int32_t>(philox(1, i)[0] % 2001);
    num_tokens += lengths[i];
  }
  const std::string prefix = folder / "large";
  write_file(prefix + ".idx", MegatronIndex(lengths, 8, 2).bytes());
  write_file(prefix + ".bin", "");
  std::filesystem::resize_file(prefix + ".bin", static_cast<uintmax_t>(2 * num_tokens));
  fmt::print("{} documents, {} tokens, seq_length {}\n", kNumDocuments, num_tokens, kSeq);
  return prefix;
}

void print_time(const std::string& what, int64_t count, const char* of, const Timing& timing) {
  fmt::print("{:<40} {:>10} {:<10} {:>9.1f} ms, best {:>9.1f}\n", what, count, of,
             timing.median * 1e3, timing.best * 1e3);
}

void bench_order(const MegatronFile& file, const char* what, int64_t num_samples) {
  int64_t ordered = 0;
  const Timing timing = time_calls([&] {
    const MegatronOrder order(file, {.documents = {0, kNumDocuments},
                                     .seq_length = kSeq,
                                     .num_samples = num_samples,
                                     .seed = 1234});
    ordered = order.num_samples();
  });
  print_time(what, ordered, "samples", timing);
}

void bench_blend(size_t num_datasets, int64_t num_samples) {
  std::vector<double> weights;
  for (size_t i = 0; i < num_datasets; ++i) weights.push_back(1.0 + static_cast<double>(i));
  const std::vector<double> share = normalize_weights(weights);
  const std::vector<int64_t> available(num_datasets, num_samples);
  const Timing timing = time_calls([&] { BlendOrder(share, available, num_samples); });
  print_time(fmt::format("order a blend of {}", num_datasets), num_samples, "samples", timing);
}

}  // namespace

int main() {
  const TempFolder folder;
  const std::string prefix = write_large(folder);
  print_time("open and check the index", kNumDocuments, "documents",
             time_calls([&] { MegatronFile file(prefix); }));
  const MegatronFile file(prefix);
  bench_order(file, "order one pass", 1'000'000);
  bench_order(file, "order four passes", 9'700'000);
  bench_blend(2, 10'000'000);
  bench_blend(8, 10'000'000);
  bench_blend(100, 10'000'000);
}
