// How many ranks there are, and how the sizes fill them.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "lib/core/counted.h"
#include "lib/recipe/draft.h"
#include "lib/recipe/nearest.h"

namespace nemo {
namespace {

constexpr std::string_view kTp = "parallel.tp_size";
constexpr std::string_view kCp = "parallel.cp_size";
constexpr std::string_view kPp = "parallel.pp_size";
constexpr std::string_view kDp = "parallel.dp_size";
constexpr std::string_view kDevices = "trainer.devices";
constexpr std::string_view kNodes = "trainer.num_nodes";

// Four sizes of up to 2^20 can be more than 64 bits hold.
int64_t product(std::initializer_list<int64_t> factors) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  int64_t result = 1;
  for (const int64_t factor : factors)
    if (__builtin_mul_overflow(result, factor, &result)) return kMost;
  return result;
}

int64_t model_parallel(const ParallelConfig& p) {
  return product({p.tp_size, p.cp_size, p.pp_size});
}

// "8 (--world)"
struct World {
  int64_t ranks = 0;
  std::string said_by;
};

std::string to_string(const World& world) {
  return fmt::format("the world size {} ({})", world.ranks, world.said_by);
}

World from_devices(const TrainerConfig& trainer) {
  return {
      trainer.devices * trainer.num_nodes,
      fmt::format("trainer.devices {} * trainer.num_nodes {}", trainer.devices, trainer.num_nodes)};
}

// A dry run's world replaces devices * nodes; whole nodes are kept where they still fit.
World dry_run_world(Draft& draft, int64_t ranks) {
  TrainerConfig& trainer = draft.recipe().trainer;
  if (draft.given(kDevices)) {
    if (ranks % trainer.devices != 0) trainer.devices = ranks;
    trainer.num_nodes = ranks / trainer.devices;
  } else {
    if (ranks % trainer.num_nodes != 0) trainer.num_nodes = 1;
    trainer.devices = ranks / trainer.num_nodes;
  }
  draft.overrule(kDevices, "--world");
  draft.overrule(kNodes, "--world");
  return {ranks, "--world"};
}

std::string start_instead(const TrainerConfig& trainer, const LauncherTasks& tasks) {
  const int64_t ranks = product({trainer.devices, trainer.num_nodes});
  if (!tasks.may_be_nodes || trainer.devices == 1) return fmt::format("start {}", ranks);
  return fmt::format("start {} (one for each rank) or {} (one for each node)", ranks,
                     trainer.num_nodes);
}

// A launcher's tasks are the ranks, or the nodes.
World launched_world(Draft& draft, const LauncherTasks& tasks) {
  TrainerConfig& trainer = draft.recipe().trainer;
  if (!draft.given(kNodes) && tasks.num_nodes > 0) {
    trainer.num_nodes = tasks.num_nodes;
    draft.overrule(kNodes, "the launcher");
  }
  if (!draft.given(kDevices) && tasks.num_tasks % trainer.num_nodes == 0)
    trainer.devices = tasks.num_tasks / trainer.num_nodes;
  const int64_t ranks = product({trainer.devices, trainer.num_nodes});
  const bool are_nodes = tasks.may_be_nodes && tasks.num_tasks == trainer.num_nodes;
  draft.check({kDevices, kNodes}, [&]() -> std::optional<std::string> {
    if (!draft.given(kDevices) && trainer.devices == 0)
      return fmt::format("the launcher's {} cannot fill trainer.num_nodes {} evenly; {} would do",
                         counted(tasks.num_tasks, "task"), trainer.num_nodes,
                         nearest_divisors(tasks.num_tasks, trainer.num_nodes));
    if (ranks == tasks.num_tasks || are_nodes) return std::nullopt;
    return fmt::format(
        "trainer.devices {} * trainer.num_nodes {} = {}, but the launcher started {}; {}, or leave "
        "trainer.devices out",
        trainer.devices, trainer.num_nodes, ranks, counted(tasks.num_tasks, "task"),
        start_instead(trainer, tasks));
  });
  return {are_nodes ? ranks : tasks.num_tasks, "the launcher"};
}

// Whether dp data-parallel ranks would pass the rules that depend on dp.
bool dp_is_legal(const Recipe& recipe, int64_t dp) {
  const ParallelConfig& p = recipe.parallel;
  if (dp % p.dp_replicate_size != 0) return false;
  if (model_parallel(p) * dp % recipe.trainer.num_nodes != 0) return false;
  const int64_t stage_shard = p.tp_size * p.cp_size * (dp / p.dp_replicate_size);
  if (recipe.model.moe.num_experts > 0 && stage_shard % (p.etp_size * p.ep_size) != 0) return false;
  return recipe.data.global_batch_size % (recipe.data.micro_batch_size * dp) == 0;
}

// On CPU ranks cost nothing to have, so there are as many as the sizes need. Where no dp passes
// every rule, the smallest stands and the rule says what is wrong.
World world_of_the_sizes(Draft& draft) {
  Recipe& recipe = draft.recipe();
  constexpr int64_t kMostRanks = 1 << 20;
  const int64_t ranks_per_dp = model_parallel(recipe.parallel);
  int64_t dp = recipe.parallel.dp_size;
  if (!draft.given(kDp)) {
    const int64_t step = recipe.parallel.dp_replicate_size;
    const int64_t most =
        std::min(kMostRanks / std::max<int64_t>(1, std::min(ranks_per_dp, kMostRanks)),
                 recipe.data.global_batch_size / recipe.data.micro_batch_size);
    dp = step;
    for (int64_t candidate = step; candidate <= most; candidate += step)
      if (dp_is_legal(recipe, candidate)) {
        dp = candidate;
        break;
      }
  }
  const int64_t ranks = product({ranks_per_dp, dp});
  TrainerConfig& trainer = recipe.trainer;
  draft.check({kNodes, kTp, kCp, kPp, kDp}, [&]() -> std::optional<std::string> {
    if (ranks > kMostRanks)
      return fmt::format(
          "the sizes need {} ranks, more than any machine here ({}); smaller sizes would do", ranks,
          kMostRanks);
    if (ranks % trainer.num_nodes == 0) return std::nullopt;
    return fmt::format("{} nodes cannot share the {} of the sizes evenly; {} would do",
                       trainer.num_nodes, counted(ranks, "rank"),
                       nearest_divisors(ranks, trainer.num_nodes));
  });
  if (ranks > kMostRanks || ranks % trainer.num_nodes != 0) return {0, {}};
  trainer.devices = ranks / trainer.num_nodes;
  return {ranks, "as many as the sizes need"};
}

// ranks = 0 where the world cannot be known; why has been reported.
World find_world(Draft& draft) {
  const Surroundings& around = draft.surroundings();
  TrainerConfig& trainer = draft.recipe().trainer;
  if (!draft.sound({kDevices, kNodes})) return {0, {}};
  if (around.dry_run_world) return dry_run_world(draft, *around.dry_run_world);
  if (around.launcher) return launched_world(draft, *around.launcher);
  if (draft.given(kDevices)) return from_devices(trainer);
  if (trainer.accelerator == Accelerator::kCuda) {
    draft.check({kDevices, "trainer.accelerator"}, [&]() -> std::optional<std::string> {
      if (around.num_gpus > 0) return std::nullopt;
      return "auto, but no GPU is visible, and cuda cannot run yet; trainer.accelerator=cpu would "
             "do, or for a plan --dry-run with trainer.devices=N or --world N";
    });
    if (around.num_gpus == 0) return {0, {}};
    trainer.devices = around.num_gpus;
    return from_devices(trainer);
  }
  const bool known = draft.sound({kTp, kCp, kPp, kDp, "parallel.etp_size", "parallel.ep_size",
                                  "parallel.dp_replicate_size", "model.moe.num_experts",
                                  "data.global_batch_size", "data.micro_batch_size"});
  return known ? world_of_the_sizes(draft) : World{0, {}};
}

// Values of the first size (tp, cp, pp) that would make the product divide the world (be it, where
// dp is given too), or the worlds that would do.
std::string sizes_that_do(const Recipe& recipe, int64_t world, bool dp_given) {
  const ParallelConfig& p = recipe.parallel;
  const int64_t ranks = product({model_parallel(p), dp_given ? p.dp_size : 1});
  const std::string worlds = dp_given ? fmt::format("{}", ranks) : nearest_multiples(ranks, world);
  const std::array<std::pair<std::string_view, int64_t>, 3> axes = {
      {{kTp, p.tp_size}, {kCp, p.cp_size}, {kPp, p.pp_size}}};
  for (const auto& [key, size] : axes) {
    if (size <= 1) continue;
    const int64_t others = ranks / size;
    if (world % others != 0) continue;
    // Heads are split too; those of an unsound recipe are 0, which every size divides.
    const int64_t split = key == kTp ? recipe.model.num_attention_heads : 0;
    const int64_t room = std::gcd(world / others, split);
    if (dp_given && room != world / others) continue;
    return fmt::format("{} {}, or a world of {}, would do", key,
                       dp_given ? fmt::format("{}", room) : nearest_divisors(room, size), worlds);
  }
  return fmt::format("a world of {} would do", worlds);
}

std::optional<std::string> world_problem(const Draft& draft, const World& world) {
  const ParallelConfig& p = draft.recipe().parallel;
  const int64_t ranks = model_parallel(p);
  const std::string sizes =
      fmt::format("{} {} * {} {} * {} {}", kTp, p.tp_size, kCp, p.cp_size, kPp, p.pp_size);
  if (draft.given(kDp)) {
    if (product({ranks, p.dp_size}) == world.ranks) return std::nullopt;
    const std::string would_do =
        world.ranks % ranks == 0 ? fmt::format("{} {} (or auto) would do", kDp, world.ranks / ranks)
                                 : sizes_that_do(draft.recipe(), world.ranks, true);
    return fmt::format("{} * {} {} = {}, not {}; {}", sizes, kDp, p.dp_size,
                       product({ranks, p.dp_size}), to_string(world), would_do);
  }
  if (world.ranks % ranks == 0) return std::nullopt;
  return fmt::format("{} = {} does not divide {}; {}", sizes, ranks, to_string(world),
                     sizes_that_do(draft.recipe(), world.ranks, false));
}

void check_replicas(Draft& draft) {
  const ParallelConfig& p = draft.recipe().parallel;
  draft.check({"parallel.dp_replicate_size", kDp}, [&]() -> std::optional<std::string> {
    if (p.dp_size % p.dp_replicate_size == 0) return std::nullopt;
    return fmt::format("{} does not divide {} {}; {} would do", p.dp_replicate_size, kDp, p.dp_size,
                       nearest_divisors(p.dp_size, p.dp_replicate_size));
  });
  if (p.dp_size % p.dp_replicate_size != 0) draft.mark_unsound("parallel.dp_replicate_size");
}

void fill_sizes(Draft& draft, int64_t world) {
  const ParallelConfig& p = draft.recipe().parallel;
  Sizes& s = draft.sizes();
  s.world = world;
  s.tp = p.tp_size;
  s.cp = p.cp_size;
  s.dp = p.dp_size;
  s.pp = p.pp_size;
  s.vpp = p.vpp_size;
  s.ep = p.ep_size;
  s.etp = p.etp_size;
  s.dp_replicate = p.dp_replicate_size;
  s.dp_shard = p.dp_size / p.dp_replicate_size;
}

// A node's cores are shared by its ranks, unless the launcher gave each task its own.
int64_t cores_of_rank(const Surroundings& around, const TrainerConfig& trainer) {
  const bool own = around.launcher && around.launcher->cores_per_task > 0;
  const bool is_rank =
      own && around.launcher->num_tasks == product({trainer.devices, trainer.num_nodes});
  return is_rank ? std::min(around.launcher->cores_per_task, around.num_cores)
                 : around.num_cores / trainer.devices;
}

}  // namespace

void derive_world(Draft& draft) {
  Recipe& recipe = draft.recipe();
  const World world = find_world(draft);
  if (recipe.trainer.devices == 0) draft.mark_unsound(kDevices);
  if (draft.derives("trainer.threads_per_rank", {kDevices}))
    recipe.trainer.threads_per_rank =
        std::clamp<int64_t>(cores_of_rank(draft.surroundings(), recipe.trainer), 1, 4096);
  if (world.ranks == 0 || !draft.sound({kTp, kCp, kPp, kDp})) return draft.mark_unsound(kDp);
  const std::optional<std::string> problem = world_problem(draft, world);
  const bool dp_given = draft.given(kDp);
  const std::string_view first = dp_given                      ? kDp
                                 : recipe.parallel.tp_size > 1 ? kTp
                                 : recipe.parallel.cp_size > 1 ? kCp
                                                               : kPp;
  draft.check({first, kTp, kCp, kPp, kDevices, kNodes}, [&] { return problem; });
  if (problem) return draft.mark_unsound(kDp);
  if (!dp_given) recipe.parallel.dp_size = world.ranks / model_parallel(recipe.parallel);
  if (!draft.sound({"parallel.dp_replicate_size"})) return;
  check_replicas(draft);
  if (draft.sound({"parallel.dp_replicate_size"})) fill_sizes(draft, world.ranks);
}

}  // namespace nemo
