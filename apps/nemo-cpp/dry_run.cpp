#include "apps/nemo-cpp/dry_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <vector>

#include "lib/mesh/grid.h"
#include "lib/model/param_count.h"
#include "lib/model/state_memory.h"
#include "lib/parallel/pipeline/simulate.h"
#include "lib/parallel/sharding_table.h"
#include "lib/recipe/print.h"
#include "lib/recipe/runnable.h"
#include "lib/train/predict_step.h"

namespace nemo {
namespace {

constexpr int64_t kMostRanksListed = 64;

std::string print_mesh(const Sizes& s) {
  return fmt::format(
      "mesh: {{tp: {}, cp: {}, dp: {}, pp: {}, vpp: {}, ep: {}, etp: {}, edp: {}, dp_replicate: "
      "{}, dp_shard: {}}}\n",
      s.tp, s.cp, s.dp, s.pp, s.vpp, s.ep, s.etp, s.edp, s.dp_replicate, s.dp_shard);
}

std::string print_group(std::vector<int64_t> ranks) {
  constexpr size_t kMostListed = 16;
  if (ranks.size() <= kMostListed) return fmt::format("[{}]", fmt::join(ranks, ", "));
  const int64_t last = ranks.back();
  ranks.resize(kMostListed - 1);
  return fmt::format("[{}, \"...\", {}]", fmt::join(ranks, ", "), last);
}

std::string print_groups(const Sizes& s) {
  const Grid grid(s);
  const std::vector<std::pair<std::string_view, std::vector<Axis>>> kinds = {
      {"tp", {Axis::kTp}},
      {"cp", {Axis::kCp}},
      {"dp", {Axis::kDp}},
      {"dp_cp", {Axis::kDp, Axis::kCp}},
      {"pp", {Axis::kPp}},
      {"ep", {Axis::kEp}},
      {"etp", {Axis::kEtp}},
      {"edp", {Axis::kEdp}},
      {"dp_replicate", {Axis::kDpReplicate}},
      {"dp_shard", {Axis::kDpShard}},
      {"dp_shard_cp", {Axis::kDpShard, Axis::kCp}},
      {"edp_shard", {Axis::kEdpShard}},
      {"tp_cp", {Axis::kTp, Axis::kCp}},
      {"etp_ep", {Axis::kEtp, Axis::kEp}}};
  std::string out = "groups:\n";
  for (const auto& [name, axes] : kinds) {
    std::vector<std::string> groups;
    if (grid.world() <= kMostRanksListed) {
      for (auto& group : grid.groups(axes)) groups.push_back(print_group(std::move(group)));
    } else {
      std::vector<int64_t> first = grid.group_of(axes, 0);
      const bool whole = static_cast<int64_t>(first.size()) == grid.world();
      groups.push_back(print_group(std::move(first)));
      if (!whole) groups.push_back("\"...\"");
    }
    out += fmt::format("  {}: [{}]\n", name, fmt::join(groups, ", "));
  }
  return out;
}

bool has_role(const ModelConfig& model, ParamRole role) {
  switch (role) {
    case ParamRole::kPositionEmbedding:
    case ParamRole::kOutputBias:
      return model.family == Family::kGpt;
    case ParamRole::kHead:
      return !model.tie_embeddings;
    case ParamRole::kMlpUp:
    case ParamRole::kMlpDown:
      return model.moe.num_experts == 0;
    case ParamRole::kRouter:
    case ParamRole::kExpertUp:
    case ParamRole::kExpertDown:
      return model.moe.num_experts > 0;
    default:
      return true;
  }
}

// By arithmetic.
std::string print_state_memory(const ResolvedRecipe& resolved) {
  std::string out =
      "memory_bytes:  # of the fullest rank of each pipeline stage, without activations\n";
  int64_t stage = 0;
  for (const StateMemory& memory : state_memory(resolved))
    out +=
        fmt::format("  - {{stage: {}, parameters: {}, gradients: {}, optimizer: {}, total: {}}}\n",
                    stage++, memory.parameters, memory.gradients, memory.optimizer, memory.total());
  return out;
}

// What parallel.cpu_offload moves there.
std::string print_host_memory(const MemoryReport& memory) {
  const auto peak = [&](MemoryCategory category) {
    return memory.peak[static_cast<size_t>(category)];
  };
  return fmt::format("host: {{parameters: {}, gradients: {}, optimizer: {}}}, ",
                     peak(MemoryCategory::kParameters), peak(MemoryCategory::kGradients),
                     peak(MemoryCategory::kOptimizer));
}

std::string print_memory(const std::vector<StagePrediction>& stages) {
  std::string out =
      "memory_bytes:  # of the fullest rank of each pipeline stage, the most of each at a time; "
      "total: the most of all\n";
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    const auto& [rank, memory, host] = stages[stage].fullest;
    out += fmt::format("  - {{stage: {}, ", stage);
    for (size_t c = 0; c < size_t{kNumMemoryCategories}; ++c)
      out += fmt::format("{}: {}, ", to_string(static_cast<MemoryCategory>(c)), memory.peak[c]);
    if (host.peak_total > 0) out += print_host_memory(host);
    out += fmt::format("total: {}}}\n", memory.peak_total + host.peak_total);
  }
  return out;
}

std::string print_communication(const std::vector<StagePrediction>& stages) {
  std::string out =
      "communication:  # in a step: operations, and bytes sent if each is a ring, of the rank of "
      "each pipeline stage that sends most\n";
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    const auto& [rank, traffic] = stages[stage].busiest;
    out += fmt::format("  - stage: {}\n    rank: {}\n    bytes: {}\n    groups:{}\n", stage, rank,
                       traffic.bytes(), traffic.groups().empty() ? " {}" : "");
    for (const auto& [name, group] : traffic.groups()) {
      out += fmt::format("      {}: {{ranks: {}", name, group.num_ranks);
      for (const auto& [operation, sent] : group.operations)
        out += fmt::format(", {}: {{count: {}, bytes: {}}}", operation, sent.count, sent.bytes);
      out += "}\n";
    }
  }
  return out;
}

// What tp and etp make of each kind of logical tensor the model has. Whole experts go to ep ranks.
std::string print_sharding(const Recipe& recipe) {
  const Sharding sharding(recipe, {});
  std::string out = "sharding:  # dim 0 is rows (outputs), dim 1 columns (inputs)\n";
  for (const ShardingRow& row : sharding_table()) {
    if (!has_role(recipe.model, row.role)) continue;
    const std::string dim = row.dim == SplitDim::kNone   ? "null"
                            : row.dim == SplitDim::kRows ? "0"
                                                         : "1";
    out += fmt::format("  {}: {{axis: {}, dim: {}, parts: {}, replicas: {}, sum_replicas: {}}}\n",
                       row.name, to_string(row.axis), dim, sharding.num_parts(row.role),
                       sharding.num_replicas(row.role), sharding.sums_replicas(row.role));
  }
  return out;
}

// The grid of a long step ends after so many units of time.
constexpr size_t kMostColumns = 100;

std::string print_schedule(const ResolvedRecipe& resolved) {
  const ParallelConfig& parallel = resolved.recipe.parallel;
  if (parallel.pp_size == 1) return "";
  const PipelineShape shape = pipeline_shape(parallel, resolved.sizes.num_microbatches);
  const Repetition repeats = repetition(parallel.pp_schedule, shape);
  const Schedule schedule = make_schedule(parallel.pp_schedule, repeats.shortened);
  const Simulation simulation = simulate(schedule, {});
  std::string out = fmt::format(
      "schedule:  # a line for each pipeline rank, a column for each unit of time\n"
      "  bubble: {:.4f}  # if forward, B and W take the same time\n"
      "  live_microbatches: [{}]  # (chunk, micro batch) pairs, the most a rank holds\n"
      "  grid:\n",
      bubble(simulation, repeats), fmt::join(simulation.peak_live, ", "));
  for (std::string line : draw(schedule)) {
    if (line.size() > kMostColumns) line = line.substr(0, line.rfind(' ', kMostColumns)) + " ...";
    out += fmt::format("    - {}\n", quote_yaml(line));
  }
  return out;
}

// Whether the step runs, and its recording takes no more than a second or two.
bool can_be_recorded(const ResolvedRecipe& resolved, const std::vector<std::string>& refusals) {
  constexpr int64_t kMostPasses = 50'000;
  return refusals.empty() && num_predicted_passes(resolved) <= kMostPasses;
}

std::string print_refusals(const std::vector<std::string>& lines) {
  if (lines.empty()) return "not_runnable: []\n";
  std::string out = "not_runnable:\n";
  for (const std::string& line : lines) out += fmt::format("  - {}\n", quote_yaml(line));
  return out;
}

}  // namespace

std::string dry_run_document(const ResolvedRecipe& resolved) {
  const Sizes& sizes = resolved.sizes;
  std::string out = "recipe:\n" + print_recipe(resolved.recipe, 2);
  out += fmt::format("world: {}\n", sizes.world);
  out += print_mesh(sizes);
  out += print_groups(sizes);
  out += fmt::format("num_parameters: {}\n", num_parameters(resolved.recipe.model));
  out += fmt::format("num_active_parameters: {}\n", num_active_parameters(resolved.recipe.model));
  out += fmt::format("num_microbatches: {}\n", sizes.num_microbatches);
  const std::vector<std::string> refusals = not_runnable(resolved);
  const std::vector<StagePrediction> stages = can_be_recorded(resolved, refusals)
                                                  ? predict_stages(resolved)
                                                  : std::vector<StagePrediction>();
  out += stages.empty() ? print_state_memory(resolved) : print_memory(stages);
  out += print_sharding(resolved.recipe);
  out += print_schedule(resolved);
  if (!stages.empty()) out += print_communication(stages);
  out += print_refusals(refusals);
  return out;
}

}  // namespace nemo
