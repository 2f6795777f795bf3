#include "lib/recipe/aliases.h"

#include <fmt/format.h>

#include <array>
#include <string>
#include <unordered_map>

#include "lib/recipe/key_path.h"
#include "lib/recipe/nearest.h"

namespace nemo {
namespace {

// What a spelling does beyond naming a key. Fills in entry.key and entry.value, may append more
// entries, and returns what is wrong with the value, if anything.
using Convert = std::optional<std::string> (*)(Entry& entry, std::vector<Entry>& more);

struct Meaning {
  std::string canonical;
  Convert convert = nullptr;
};

// Insertion order is kept for listing and for ties of the nearest key.
class Table {
 public:
  void add(std::string typed, std::string_view canonical, Convert convert = nullptr) {
    const auto [it, inserted] =
        meanings_.try_emplace(std::move(typed), Meaning{std::string(canonical), convert});
    if (inserted) order_.push_back(it->first);
  }
  void add_section(std::string section) { sections_.push_back(std::move(section)); }

  const Meaning* find(const std::string& typed) const {
    const auto it = meanings_.find(typed);
    return it == meanings_.end() ? nullptr : &it->second;
  }
  bool is_section(std::string_view key) const {
    for (const std::string& section : sections_)
      if (section == key) return true;
    return false;
  }
  std::span<const std::string_view> order() const { return order_; }

 private:
  std::unordered_map<std::string, Meaning> meanings_;
  std::vector<std::string_view> order_;
  std::vector<std::string> sections_;
};

std::optional<bool> flag_of(const Value& value) {
  const Scalar* scalar = value.single();
  return scalar ? parse_bool(scalar->text) : std::nullopt;
}

std::optional<std::string> wrong_flag(const Entry& entry) {
  return fmt::format("{} is not a switch; true or false would do", entry.value.to_string());
}

// reshard_after_forward: true = FULL_SHARD, false = SHARD_GRAD_OP.
std::optional<std::string> convert_reshard(Entry& entry, std::vector<Entry>&) {
  const std::optional<bool> reshard = flag_of(entry.value);
  if (!reshard) return wrong_flag(entry);
  entry.value = Value::scalar(*reshard ? "FULL_SHARD" : "SHARD_GRAD_OP");
  return {};
}

// fsdp: true chooses the strategy (whose sharding is a default), false rules sharding out.
std::optional<std::string> convert_fsdp(Entry& entry, std::vector<Entry>&) {
  const std::optional<bool> fsdp = flag_of(entry.value);
  if (!fsdp) return wrong_flag(entry);
  entry.key = *fsdp ? "parallel.strategy" : "parallel.sharding_strategy";
  entry.value = Value::scalar(*fsdp ? "fsdp2" : "NO_SHARD");
  return {};
}

// lightning.pytorch.strategies.DDPStrategy and the like: the class name is a word of the enum.
std::optional<std::string> convert_class_path(Entry& entry, std::vector<Entry>&) {
  if (!entry.value.is_list) entry.value.items[0].text = last_word(entry.value.items[0].text);
  return {};
}

// offload_policy: a switch, absent, or the name of PyTorch's policy class.
std::optional<std::string> convert_offload(Entry& entry, std::vector<Entry>&) {
  if (flag_of(entry.value)) return {};
  const Scalar* scalar = entry.value.single();
  const std::string_view policy = scalar ? last_word(scalar->text) : std::string_view();
  if (policy != "CPUOffloadPolicy" && policy != "OffloadPolicy" && !entry.value.is_null())
    return fmt::format(
        "{} is not an offload policy; CPUOffloadPolicy (true) or OffloadPolicy (false) would do",
        entry.value.to_string());
  entry.value = Value::scalar(policy == "CPUOffloadPolicy" ? "true" : "false");
  return {};
}

// mp_policy._target_: names the class whose keys follow; it sets nothing.
std::optional<std::string> convert_policy_class(Entry& entry, std::vector<Entry>&) {
  const Scalar* scalar = entry.value.single();
  if (!scalar || last_word(scalar->text) != "MixedPrecisionPolicy")
    return fmt::format("{} is not a precision policy; MixedPrecisionPolicy would do",
                       entry.value.to_string());
  entry.key.clear();
  return {};
}

std::optional<std::string> convert_distributed_sampler(Entry& entry, std::vector<Entry>&) {
  const std::optional<bool> wanted = flag_of(entry.value);
  if (!wanted) return wrong_flag(entry);
  if (*wanted)
    return "true is refused, the sample order is built in and needs no sampler; false would do";
  entry.key.clear();
  return {};
}

// NeMo writes null for a pipeline without virtual stages.
std::optional<std::string> convert_null_is_one(Entry& entry, std::vector<Entry>&) {
  if (entry.value.is_null()) entry.value = Value::scalar("1");
  return {};
}

std::optional<std::string> convert_optimizer_name(Entry& entry, std::vector<Entry>& more) {
  const Scalar* scalar = entry.value.single();
  if (!scalar || scalar->text != "distributed_fused_adam_with_cosine_annealing") return {};
  Entry schedule = entry;
  schedule.key = "optim.schedule";
  schedule.value = Value::scalar("cosine");
  Entry sharded = entry;
  sharded.key = "parallel.distributed_optimizer";
  sharded.value = Value::scalar("true");
  entry.value = Value::scalar("adamw");
  more.push_back(std::move(schedule));
  more.push_back(std::move(sharded));
  return {};
}

std::optional<std::string> convert_schedule(Entry& entry, std::vector<Entry>&) {
  const Scalar* scalar = entry.value.single();
  if (!scalar || !lower_case(scalar->text).starts_with("interleaved")) return {};
  return fmt::format(
      "{} is 1f1b with several chunks a rank; 1f1b and parallel.vpp_size above 1 would do",
      entry.value.to_string());
}

// [0.9, 0.95] as two entries; anything else is left for the type check to refuse.
std::optional<std::string> convert_betas(Entry& entry, std::vector<Entry>& more) {
  if (!entry.value.is_list || entry.value.items.size() != 2) return {};
  Entry second = entry;
  second.key = "optim.betas.1";
  second.value = {{entry.value.items[1]}, false};
  entry.key = "optim.betas.0";
  entry.value = {{entry.value.items[0]}, false};
  more.push_back(std::move(second));
  return {};
}

// Collects the canonical keys from the schema.
struct CanonicalKeys : KeyPath {
  Table& table;

  void enter(std::string_view name) {
    KeyPath::enter(name);
    table.add_section(section());
  }
  template <typename T>
  void operator()(const Key& key, const T&) {
    const std::string name = dotted(key);
    Convert convert = nullptr;
    if (name == "optim.name") convert = convert_optimizer_name;
    if (name == "optim.betas") convert = convert_betas;
    if (name == "parallel.vpp_size") convert = convert_null_is_one;
    if (name == "parallel.pp_schedule") convert = convert_schedule;
    table.add(name, name, convert);
  }
};

using Prefixes = std::vector<std::string_view>;

void add_under(Table& table, const Prefixes& prefixes, std::string_view name,
               std::string_view canonical, Convert convert = nullptr) {
  for (const std::string_view prefix : prefixes)
    table.add(fmt::format("{}{}", prefix, name), canonical, convert);
}

void add_sizes(Table& table) {
  for (const std::string_view axis : {"tp", "cp", "pp", "vpp", "ep", "etp", "dp", "dp_replicate"}) {
    const Convert convert = axis == "vpp" ? convert_null_is_one : nullptr;
    const std::string size = fmt::format("{}_size", axis);
    const std::string canonical = "parallel." + size;
    add_under(table, {"", "trainer.", "fsdp.", "distributed."}, size, canonical, convert);
    table.add(fmt::format("trainer.{}", axis), canonical, convert);
  }
  constexpr std::array<Spelling, 10> kLongNames = {{
      {"tensor_model_parallel_size", "parallel.tp_size"},
      {"tensor_parallel_size", "parallel.tp_size"},
      {"context_parallel_size", "parallel.cp_size"},
      {"pipeline_model_parallel_size", "parallel.pp_size"},
      {"pipeline_parallel_size", "parallel.pp_size"},
      {"virtual_pipeline_model_parallel_size", "parallel.vpp_size"},
      {"expert_model_parallel_size", "parallel.ep_size"},
      {"expert_parallel_size", "parallel.ep_size"},
      {"expert_tensor_parallel_size", "parallel.etp_size"},
      {"data_parallel_size", "parallel.dp_size"},
  }};
  for (const Spelling& name : kLongNames)
    add_under(table, {"", "trainer.", "trainer.strategy.", "model.", "model.config."}, name.typed,
              name.canonical,
              name.canonical == "parallel.vpp_size" ? convert_null_is_one : nullptr);
  for (const std::string_view name : {"sequence_parallel", "sequence_parallelism"})
    add_under(table,
              {"", "trainer.", "trainer.strategy.", "model.", "model.config.", "distributed."},
              name, "parallel.sequence_parallel");
}

void add_strategies(Table& table) {
  add_under(table, {"", "trainer.", "fsdp.", "distributed."}, "sharding_strategy",
            "parallel.sharding_strategy");
  add_under(table, {"fsdp.", "distributed."}, "reshard_after_forward", "parallel.sharding_strategy",
            convert_reshard);
  add_under(table, {"", "trainer."}, "fsdp", "parallel.strategy", convert_fsdp);
  add_under(table, {"trainer.", "distributed."}, "strategy", "parallel.strategy",
            convert_class_path);
  add_under(table, {"trainer.strategy.", "distributed."}, "_target_", "parallel.strategy",
            convert_class_path);
  for (const std::string_view name : {"cpu_offload", "backward_prefetch"})
    add_under(table, {"fsdp.", "distributed."}, name, fmt::format("parallel.{}", name));
  add_under(table, {"", "parallel.", "fsdp.", "distributed."}, "offload_policy",
            "parallel.cpu_offload", convert_offload);
  add_under(table, {"", "fsdp.", "distributed."}, "offload_policy._target_", "parallel.cpu_offload",
            convert_offload);
  for (const std::string_view name : {"gradient_as_bucket_view", "find_unused_parameters"})
    table.add(fmt::format("trainer.strategy.{}", name), fmt::format("parallel.{}", name));
  table.add("trainer.use_distributed_sampler", "trainer.use_distributed_sampler",
            convert_distributed_sampler);
}

void add_precision(Table& table) {
  const Prefixes kPolicies = {"mixed_precision.",
                              "mp_policy.",
                              "fsdp.mixed_precision.",
                              "fsdp.mp_policy.",
                              "distributed.mixed_precision.",
                              "distributed.mp_policy."};
  for (const std::string_view name :
       {"param_dtype", "reduce_dtype", "output_dtype", "buffer_dtype", "initial_loss_scale"})
    add_under(table, kPolicies, name, fmt::format("precision.{}", name));
  add_under(table, kPolicies, "grad_reduce_dtype", "precision.reduce_dtype");
  add_under(table, {"", "precision.", "trainer.", "fsdp.", "distributed."}, "grad_reduce_dtype",
            "precision.reduce_dtype");
  add_under(table, kPolicies, "_target_", "precision", convert_policy_class);
}

void add_optimizer(Table& table) {
  const Prefixes kSections = {"optim.", "optim.config.", "optim.lr_scheduler.", "optimizer."};
  table.add("optim.lr_scheduler.name", "optim.schedule");
  table.add("optim.lr_scheduler.max_steps", "optim.schedule_steps");
  for (const std::string_view name :
       {"name", "lr", "min_lr", "betas", "eps", "weight_decay", "clip_grad", "schedule",
        "warmup_steps", "constant_steps", "schedule_steps"}) {
    const Convert convert = name == "name"    ? convert_optimizer_name
                            : name == "betas" ? convert_betas
                                              : nullptr;
    add_under(table, kSections, name, fmt::format("optim.{}", name), convert);
  }
  add_under(table, kSections, "max_lr", "optim.lr");
  add_under(table, kSections, "adam_beta1", "optim.betas.0");
  add_under(table, kSections, "adam_beta2", "optim.betas.1");
  add_under(table, kSections, "adam_eps", "optim.eps");
  add_under(table, kSections, "use_distributed_optimizer", "parallel.distributed_optimizer");
  table.add("trainer.log_every_n_steps", "log.every");
}

void add_model(Table& table) {
  // model.config.X for every model.X (order() grows while it is read, so go by index).
  const size_t num_canonical = table.order().size();
  for (size_t i = 0; i < num_canonical; ++i) {
    const std::string canonical(table.order()[i]);
    if (canonical.starts_with("model."))
      table.add("model.config." + canonical.substr(6), canonical);
  }
  constexpr std::array<Spelling, 13> kHuggingFace = {{
      {"num_hidden_layers", "model.num_layers"},
      {"intermediate_size", "model.ffn_hidden_size"},
      {"num_key_value_heads", "model.num_query_groups"},
      {"rope_theta", "model.rotary_base"},
      {"rope_scaling", "model.rope_scaling.type"},
      {"rope_scaling.rope_type", "model.rope_scaling.type"},
      {"rms_norm_eps", "model.norm_eps"},
      {"initializer_range", "model.init_std"},
      {"tie_word_embeddings", "model.tie_embeddings"},
      {"hidden_act", "model.activation"},
      {"num_local_experts", "model.moe.num_experts"},
      {"num_moe_experts", "model.moe.num_experts"},
      {"num_experts_per_tok", "model.moe.top_k"},
  }};
  for (const Spelling& name : kHuggingFace) {
    add_under(table, {"model.", "model.config."}, name.typed, name.canonical);
    if (name.canonical.starts_with("model.moe."))
      table.add(fmt::format("model.moe.{}", name.typed), name.canonical);
  }
}

const Table& table() {
  static const Table kTable = [] {
    Table table;
    const Recipe recipe;
    CanonicalKeys keys{{}, table};
    visit(keys, recipe);
    add_model(table);
    add_sizes(table);
    add_strategies(table);
    add_precision(table);
    add_optimizer(table);
    for (const char* section :
         {"fsdp", "distributed", "mixed_precision", "mp_policy", "optimizer", "optim.config",
          "optim.lr_scheduler", "model.config", "trainer.strategy"})
      table.add_section(section);
    return table;
  }();
  return kTable;
}

constexpr std::string_view kSteps = "a run is counted in steps; trainer.max_steps would do";
constexpr std::string_view kAccumulation =
    "it follows from data.global_batch_size / (data.micro_batch_size * parallel.dp_size)";

// Last words of other programs' keys that have no counterpart, or one with another meaning.
constexpr std::array<Spelling, 13> kForeign = {{
    {"router_aux_loss_coef",
     "Transformers pools the layers and does not divide by top_k, so the two losses differ; "
     "model.moe.aux_loss_coeff (of the order of router_aux_loss_coef * top_k / num_layers) would "
     "do"},
    {"seq_length", "data.seq_length would do"},
    {"batch_size",
     "data.global_batch_size (of a step, all ranks together) or data.micro_batch_size (of one "
     "forward on one rank) would do"},
    {"max_epochs", kSteps},
    {"train_iters", kSteps},
    {"accumulate_grad_batches", kAccumulation},
    {"gradient_accumulation_steps", kAccumulation},
    {"gpus", "trainer.devices (of a node) would do"},
    {"num_gpus", "trainer.devices (of a node) would do"},
    {"gradient_clip_val", "optim.clip_grad would do"},
    {"max_grad_norm", "optim.clip_grad would do"},
    {"learning_rate", "optim.lr would do"},
    {"num_workers", "the loader needs none; leave it out"},
}};

std::string unknown_key(const std::string& key, const Value& value) {
  for (const Spelling& foreign : kForeign)
    if (foreign.typed == last_word(key)) return fmt::format("unknown key; {}", foreign.canonical);
  if (key == "precision")
    return fmt::format("is a section, not {}; trainer.precision is the preset", value.to_string());
  if (table().is_section(key))
    return fmt::format("is a section, not {}; {}.<key> would do", value.to_string(), key);
  const std::string_view nearest = nearest_key(key, table().order());
  for (size_t dot = key.rfind('.'); dot != std::string::npos && dot > 0;
       dot = key.rfind('.', dot - 1))
    if (const std::string parent = key.substr(0, dot);
        table().find(parent) && !table().is_section(parent))
      return fmt::format("unknown key; {} takes a value, not keys", parent);
  if (nearest.empty())
    return "unknown key; nothing is near it, `nemo-cpp recipes show llama_tiny` lists what there "
           "is";
  const std::string& canonical = table().find(std::string(nearest))->canonical;
  if (canonical == nearest) return fmt::format("unknown key; did you mean {}?", nearest);
  return fmt::format("unknown key; did you mean {} ({})?", nearest, canonical);
}

}  // namespace

std::vector<Entry> canonical_entries(std::vector<Entry> typed, Problems& problems) {
  std::vector<Entry> canonical;
  for (Entry& entry : typed) {
    const std::string key = entry.key;
    const auto fail = [&](const std::string& what) {
      problems.add(fmt::format("{}: {} ({})", shorten(key), what, entry.source.describe(key)));
    };
    const Meaning* meaning = table().find(key);
    if (!meaning) {
      const bool empty_section = table().is_section(key) && entry.value.is_null() &&
                                 entry.source.origin == Origin::kRecipe;
      if (!empty_section) fail(unknown_key(key, entry.value));
      continue;
    }
    entry.key = meaning->canonical;
    std::vector<Entry> more;
    if (meaning->convert)
      if (const std::optional<std::string> problem = meaning->convert(entry, more)) {
        fail(*problem);
        continue;
      }
    if (!entry.key.empty()) canonical.push_back(std::move(entry));
    for (Entry& extra : more) canonical.push_back(std::move(extra));
  }
  return canonical;
}

std::vector<Spelling> all_spellings() {
  std::vector<Spelling> spellings;
  for (const std::string_view typed : table().order())
    spellings.push_back({typed, table().find(std::string(typed))->canonical});
  return spellings;
}

}  // namespace nemo
