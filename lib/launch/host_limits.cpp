#include "lib/launch/host_limits.h"

#include <fmt/ranges.h>
#include <sys/resource.h>

#include <algorithm>
#include <latch>
#include <system_error>
#include <thread>
#include <vector>

#include "lib/comm/shared/thread_world.h"
#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/device/address_range.h"
#include "lib/device/host.h"
#include "lib/model/state_memory.h"

namespace nemo {

Host this_host() {
  return {num_available_cores(), host_memory_bytes()};
}

void check_compute_threads(const Recipe& recipe, const Host& host) {
  const int64_t threads = recipe.trainer.threads_per_rank;
  if (threads > host.num_cores)
    throw_usage(
        "[trainer.threads_per_rank] {} for each rank, this process may run on {}; at most {} "
        "would do",
        counted(threads, "compute thread"), counted(host.num_cores, "core"), host.num_cores);
}

void check_memory(const RankMemory& rank, int64_t num_ranks, const Host& host) {
  constexpr double kGiB = 1 << 30;
  const double ranks = static_cast<double>(num_ranks);
  const double per_rank = static_cast<double>(rank.total) / kGiB;
  const double memory = static_cast<double>(host.memory_bytes) / kGiB;
  if (per_rank * ranks <= memory) return;
  std::vector<std::string_view> would_do;
  if (num_ranks > 1) would_do.push_back("fewer ranks");
  if (static_cast<double>(rank.state) / kGiB * ranks <= memory)
    would_do.push_back("a smaller data.micro_batch_size or data.seq_length");
  would_do.push_back("a smaller model");
  throw_usage(
      "[memory] predicted at least {:.2f} GiB per rank * {}, host has {:.2f} GiB; {} would do",
      per_rank, counted(num_ranks, "rank"), memory, fmt::join(would_do, ", or "));
}

RankMemory least_memory(const ResolvedRecipe& run) {
  const Recipe& recipe = run.recipe;
  int64_t state = 0;
  for (const StateMemory& stage : state_memory(run)) state = std::max(state, stage.total());
  const int64_t spread = run.sizes.cp * (recipe.parallel.sequence_parallel ? run.sizes.tp : 1);
  const int64_t activation = recipe.data.micro_batch_size * recipe.data.seq_length / spread *
                             recipe.model.hidden_size * size_of(recipe.precision.output_dtype);
  return {.total = state + activation, .state = state};
}

void check_process_limits(int64_t num_children) {
  constexpr rlim_t kLeastStack = 128 << 10;  // the resolver of host names alone takes half of it
  rlimit limit{};
  if (getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur < kLeastStack)
    throw_usage("[launch] the stack is limited to {} KiB, {} are needed; raise `ulimit -s`",
                limit.rlim_cur >> 10, kLeastStack >> 10);
  // The store and the run's own files, and a connection of each child.
  const auto least = static_cast<rlim_t>(16 + num_children);
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < least)
    throw_usage("[launch] open files are limited to {}, {} are needed; raise `ulimit -n`",
                limit.rlim_cur, least);
}

void check_address_space(int num_ranks, int num_arenas) {
  const ThreadWorld world(num_ranks, std::chrono::seconds(1));
  reserve_private(num_ranks * num_arenas * host_memory_bytes());
}

void check_threads_start(const Recipe& recipe, int64_t num_ranks) {
  const int64_t num_threads = num_ranks * recipe.trainer.threads_per_rank;
  std::latch all_tried(1);
  std::vector<std::jthread> threads;
  try {
    while (std::ssize(threads) < num_threads) threads.emplace_back([&] { all_tried.wait(); });
    all_tried.count_down();
  } catch (const std::system_error& e) {
    all_tried.count_down();
    throw_usage(
        "[trainer.devices] {} of {} start ({} * trainer.threads_per_rank {}): {}; a higher "
        "`ulimit -u` or fewer of them would do",
        threads.size(), counted(num_threads, "thread"), counted(num_ranks, "rank"),
        recipe.trainer.threads_per_rank, e.code().message());
  }
}

}  // namespace nemo
