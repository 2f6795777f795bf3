#include "lib/launch/host_limits.h"

#include <doctest/doctest.h>

#include "lib/core/error.h"
#include "lib/model/state_memory.h"
#include "lib/train/predict_step.h"
#include "tests/lib/launch/address_space.h"
#include "tests/support/training.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int64_t kGiB = int64_t{1} << 30;

ResolvedRecipe small_run(const std::vector<std::string>& more = {}) {
  std::vector<std::string> words = {
      "model={family: llama, vocab_size: 257, num_layers: 2, hidden_size: 64, ffn_hidden_size: "
      "128, "
      "num_attention_heads: 4}",
      "data={kind: mock, seq_length: 32, global_batch_size: 8}", "trainer.max_steps=1"};
  words.insert(words.end(), more.begin(), more.end());
  return resolve_text("{}", words);
}

std::string usage_error_of(const auto& body) {
  try {
    body();
  } catch (const UserError& e) {
    CHECK(e.code() == ExitCode::kUsage);
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a rank's compute threads are at most the cores") {
  const Recipe three = small_run({"trainer.threads_per_rank=3"}).recipe;
  CHECK(usage_error_of([&] { check_compute_threads(three, {3, kGiB}); }) == "");
  CHECK(usage_error_of([&] {
          check_compute_threads(three, {2, kGiB});
        }) ==
        "[trainer.threads_per_rank] 3 compute threads for each rank, this process may run on 2 "
        "cores; at most 2 would do");
}

TEST_CASE("ranks together use at most the host's memory") {
  const Host host = {1, 3 * kGiB};
  const auto error = [&](const RankMemory& rank, int64_t num_ranks) {
    return usage_error_of([&] { check_memory(rank, num_ranks, host); });
  };
  const RankMemory half = {.total = kGiB / 2, .state = kGiB / 4};
  CHECK(error(half, 6) == "");
  CHECK(error(half, 7) ==
        "[memory] predicted at least 0.50 GiB per rank * 7 ranks, host has 3.00 GiB; fewer ranks, "
        "or a smaller data.micro_batch_size or data.seq_length, or a smaller model would do");
  // Only what would do.
  CHECK(error(half, 13).ends_with("; fewer ranks, or a smaller model would do"));
  CHECK(error({4 * kGiB, kGiB}, 1)
            .ends_with("; a smaller data.micro_batch_size or data.seq_length, or a smaller model "
                       "would do"));
  CHECK(error({5 * kGiB, 4 * kGiB}, 1) ==
        "[memory] predicted at least 5.00 GiB per rank * 1 rank, host has 3.00 GiB; a smaller "
        "model would do");
  constexpr int64_t kMost = int64_t{1} << 62;
  CHECK(error({kMost, kMost}, 256) != "");
}

TEST_CASE("the least memory is state and an activation, and below the prediction") {
  const ResolvedRecipe run = small_run({"data.micro_batch_size=4"});
  const int64_t state = state_memory(run).front().total();
  CHECK(least_memory(run).total == state + 4 * 32 * 64 * 4);
  CHECK(least_memory(run).total < predict_step(run, 0).peak_total());
  CHECK(least_memory(run).state == state);
  // A rank of a cp group has its columns alone, and with sequence parallelism its rows.
  const ResolvedRecipe divided = small_run(
      {"data.micro_batch_size=4", "cp_size=2", "tp_size=2", "parallel.sequence_parallel=true"});
  CHECK(least_memory(divided).total - least_memory(divided).state == 4 * 32 / 4 * 64 * 4);
  // The largest sizes there are hold.
  CHECK(least_memory(small_run({"data.micro_batch_size=7", "data.global_batch_size=7",
                                "data.seq_length=268435456", "model.hidden_size=65536"}))
            .total > int64_t{7} << 46);
}

TEST_CASE("threads that can start leave no trace") {
  CHECK(usage_error_of([] {
          check_threads_start(small_run({"trainer.threads_per_rank=9"}).recipe, 1);
        }) == "");
}

#if !defined(NEMO_SANITIZED)  // sanitizers need more address space than any limit

TEST_CASE("threads that cannot start are a usage error that names what to raise") {
  const Recipe many = small_run({"dp_size=8", "trainer.threads_per_rank=100"}).recipe;
  const LittleAddressSpace little(rlim_t{100} << 20);
  const std::string error = usage_error_of([&] { check_threads_start(many, 8); });
  CHECK(error.starts_with("[trainer.devices] "));
  CHECK(
      error.ends_with(" of 800 threads start (8 ranks * trainer.threads_per_rank 100): Resource "
                      "temporarily unavailable; a higher `ulimit -u` or fewer of them would do"));
}

#endif
