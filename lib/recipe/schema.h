// Every knob of a recipe: its canonical name, type, default, unit, range and one-line help, once.
//
// A member initialiser is the key's default. Where the default is computed (`Absent::kDerived`) the
// member holds a placeholder until resolve() has filled it; a *resolved* recipe has every value.
// After resolution std::optional is empty only where absence has a meaning of its own.
// `visit(visitor, section)` calls visitor(key, member) for each leaf and, for a sub-section,
// visitor.enter("name") … visitor.leave(). The order here is the order of every printout.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "lib/recipe/choice.h"

namespace nemo {

enum class Absent : uint8_t { kDefault, kRequired, kDerived };

struct Key {
  std::string_view name;
  std::string_view unit;  // "" for words, switches and plain numbers
  std::string_view help;
  double min = -std::numeric_limits<double>::infinity();  // numbers: min <= value <= max
  double max = std::numeric_limits<double>::infinity();
  Absent absent = Absent::kDefault;
  std::string_view derived_from = {};  // kDerived: what the value is when absent
  bool is_path = false;  // relative to the recipe's folder or, in an override, to the current
};

struct RopeScaling {
  RopeScalingType type = RopeScalingType::kNone;
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position_embeddings = 8192;
  bool operator==(const RopeScaling&) const = default;
};

struct MoeConfig {
  int64_t num_experts = 0;
  int64_t top_k = 2;
  int64_t ffn_hidden_size = 0;
  bool router_pre_softmax = false;
  double aux_loss_coeff = 0.0;
  double z_loss_coeff = 0.0;
  std::optional<double> capacity_factor = {};
  double router_bias_update_rate = 0.0;
  bool operator==(const MoeConfig&) const = default;
};

struct ModelConfig {
  Family family = Family::kLlama;
  int64_t vocab_size = 0;
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t ffn_hidden_size = 0;
  int64_t num_attention_heads = 0;
  int64_t num_query_groups = 0;
  int64_t head_dim = 0;
  Activation activation = Activation::kSwiglu;
  double rotary_base = 10000.0;
  RopeScaling rope_scaling = {};
  double norm_eps = 1e-5;
  double init_std = 0.02;
  bool tie_embeddings = false;
  std::optional<int64_t> max_position_embeddings = {};
  MoeConfig moe = {};
  bool operator==(const ModelConfig&) const = default;
};

struct DataConfig {
  DataKind kind = DataKind::kText;
  std::vector<std::string> paths = {};
  std::string tokenizer = "bytes";
  int64_t seq_length = 0;
  int64_t global_batch_size = 0;
  int64_t micro_batch_size = 1;
  int64_t num_samples = 0;
  bool shuffle = true;
  std::array<double, 3> split = {0.0, 0.0, 0.0};
  bool operator==(const DataConfig&) const = default;
};

struct TrainerConfig {
  int64_t devices = 0;
  int64_t num_nodes = 1;
  Accelerator accelerator = Accelerator::kAuto;
  int64_t max_steps = 100;
  int64_t seed = 1234;
  PrecisionPreset precision = PrecisionPreset::k32;
  int64_t threads_per_rank = 0;
  int64_t val_check_interval = 0;
  int64_t limit_val_batches = 8;
  double comm_timeout_s = 600.0;
  NonFinite non_finite = NonFinite::kStop;
  bool operator==(const TrainerConfig&) const = default;
};

// Layers per pipeline stage: even, balanced against embedding and head, or listed (one number per
// virtual stage, in the order of depth).
struct PpLayout {
  enum class Kind : uint8_t { kEven, kAuto, kList };
  Kind kind = Kind::kEven;
  std::vector<int64_t> layers = {};  // kList
  bool operator==(const PpLayout&) const = default;
};

struct ParallelConfig {
  int64_t tp_size = 1;
  int64_t cp_size = 1;
  int64_t pp_size = 1;
  int64_t vpp_size = 1;
  int64_t ep_size = 1;
  int64_t etp_size = 0;
  int64_t dp_size = 0;
  int64_t dp_replicate_size = 1;
  bool sequence_parallel = false;
  PipelineSchedule pp_schedule = PipelineSchedule::k1F1B;
  PpLayout pp_layout = {};
  int64_t microbatch_group_size = 0;
  CpCommType cp_comm_type = CpCommType::kP2P;
  Strategy strategy = Strategy::kAuto;
  ShardingStrategy sharding_strategy = ShardingStrategy::kNoShard;
  bool distributed_optimizer = false;
  bool cpu_offload = false;
  BackwardPrefetch backward_prefetch = BackwardPrefetch::kPre;
  Recompute recompute = Recompute::kNone;
  bool overlap_grad_reduce = false;
  bool overlap_param_gather = false;
  double bucket_size_mb = 25.0;
  bool gradient_as_bucket_view = true;
  bool find_unused_parameters = false;
  bool operator==(const ParallelConfig&) const = default;
};

struct OptimConfig {
  OptimizerName name = OptimizerName::kAdamW;
  double lr = 1e-4;
  double min_lr = 0.0;
  std::array<double, 2> betas = {0.9, 0.95};
  double eps = 1e-5;
  double weight_decay = 0.1;
  double clip_grad = 1.0;
  LrSchedule schedule = LrSchedule::kCosine;
  int64_t warmup_steps = 0;
  int64_t constant_steps = 0;
  int64_t schedule_steps = 0;
  bool operator==(const OptimConfig&) const = default;
};

struct PrecisionConfig {
  DType param_dtype = DType::kF32;
  DType reduce_dtype = DType::kF32;
  DType output_dtype = DType::kF32;
  DType buffer_dtype = DType::kF32;
  double initial_loss_scale = 65536.0;
  bool operator==(const PrecisionConfig&) const = default;
};

struct CheckpointConfig {
  std::string dir = {};
  int64_t every = 0;
  int64_t keep = 3;
  std::string resume = "never";
  std::string init_from = {};
  bool async = false;
  bool operator==(const CheckpointConfig&) const = default;
};

struct LogConfig {
  std::string dir = {};
  int64_t every = 1;
  bool tensorboard = true;
  bool trace = false;
  std::optional<double> peak_tflops = {};
  bool operator==(const LogConfig&) const = default;
};

struct Recipe {
  ModelConfig model = {};
  DataConfig data = {};
  TrainerConfig trainer = {};
  ParallelConfig parallel = {};
  OptimConfig optim = {};
  PrecisionConfig precision = {};
  CheckpointConfig checkpoint = {};
  LogConfig log = {};
  bool operator==(const Recipe&) const = default;
};

// One visit() serves reading and writing: Config is Section or const Section.
template <typename Config, typename Section>
concept ConfigOf = std::same_as<std::remove_const_t<Config>, Section>;

template <typename V, ConfigOf<RopeScaling> C>
void visit(V& v, C& c) {
  v(Key{"type", "", "how rotary frequencies are stretched: none, llama3"}, c.type);
  v(Key{"factor", "", "llama3: divisor of the low frequencies", 1, 1024}, c.factor);
  v(Key{"low_freq_factor", "", "llama3: start of the smooth band", 1e-3, 1024}, c.low_freq_factor);
  v(Key{"high_freq_factor", "", "llama3: end of the smooth band", 1e-3, 1024}, c.high_freq_factor);
  v(Key{"original_max_position_embeddings", "tokens", "llama3: context before stretching", 1, 1e9},
    c.original_max_position_embeddings);
}

template <typename V, ConfigOf<MoeConfig> C>
void visit(V& v, C& c) {
  v(Key{"num_experts", "experts", "experts of each MoE layer; 0 = dense", 0, 65536}, c.num_experts);
  v(Key{"top_k", "experts", "experts each token goes to", 1, 65536}, c.top_k);
  v(Key{"ffn_hidden_size", "", "inner width of one expert", 1, 1 << 24, Absent::kDerived,
        "model.ffn_hidden_size"},
    c.ffn_hidden_size);
  v(Key{"router_pre_softmax", "", "softmax before choosing the top k, not over the chosen"},
    c.router_pre_softmax);
  v(Key{"aux_loss_coeff", "", "weight of the load-balancing loss", 0, 1e3}, c.aux_loss_coeff);
  v(Key{"z_loss_coeff", "", "weight of the router z-loss", 0, 1e3}, c.z_loss_coeff);
  v(Key{"capacity_factor", "",
        "drop choices beyond this times the even load of a micro batch; null = dropless", 1e-3,
        1e6},
    c.capacity_factor);
  v(Key{"router_bias_update_rate", "", "aux-loss-free balancing: step of the bias; 0 = off", 0,
        1e3},
    c.router_bias_update_rate);
}

template <typename V, ConfigOf<ModelConfig> C>
void visit(V& v, C& c) {
  constexpr double kWide = 1 << 24;
  v(Key{"family", "", "llama, mixtral, gpt", 0, 0, Absent::kRequired}, c.family);
  v(Key{"vocab_size", "tokens", "logical size of the vocabulary", 2, 1 << 26, Absent::kRequired},
    c.vocab_size);
  v(Key{"num_layers", "layers", "transformer blocks", 1, 1 << 16, Absent::kRequired}, c.num_layers);
  v(Key{"hidden_size", "", "width of the residual stream", 1, kWide, Absent::kRequired},
    c.hidden_size);
  v(Key{"ffn_hidden_size", "", "inner width of the MLP", 1, kWide, Absent::kRequired},
    c.ffn_hidden_size);
  v(Key{"num_attention_heads", "heads", "query heads", 1, 1 << 16, Absent::kRequired},
    c.num_attention_heads);
  v(Key{"num_query_groups", "heads", "key/value heads", 1, 1 << 16, Absent::kDerived,
        "model.num_attention_heads"},
    c.num_query_groups);
  v(Key{"head_dim", "", "width of one head", 1, 1 << 16, Absent::kDerived,
        "model.hidden_size / model.num_attention_heads"},
    c.head_dim);
  v(Key{"activation", "", "swiglu, gelu, gelu_tanh", 0, 0, Absent::kDerived,
        "swiglu, or gelu_tanh in family gpt"},
    c.activation);
  v(Key{"rotary_base", "", "base of the rotary frequencies", 1, 1e12}, c.rotary_base);
  v.enter("rope_scaling");
  visit(v, c.rope_scaling);
  v.leave();
  v(Key{"norm_eps", "", "epsilon inside the norms", 1e-12, 1}, c.norm_eps);
  v(Key{"init_std", "", "standard deviation of initial weights", 0, 10}, c.init_std);
  v(Key{"tie_embeddings", "", "head shares the embedding's weights", 0, 0, Absent::kDerived,
        "true in family gpt, else false"},
    c.tie_embeddings);
  v(Key{"max_position_embeddings", "tokens", "longest sequence; null = no limit (rope only)", 1,
        1 << 30, Absent::kDerived, "data.seq_length in family gpt, else null"},
    c.max_position_embeddings);
  v.enter("moe");
  visit(v, c.moe);
  v.leave();
}

template <typename V, ConfigOf<DataConfig> C>
void visit(V& v, C& c) {
  v(Key{"kind", "", "text, mock, megatron, llmc, jsonl", 0, 0, Absent::kRequired}, c.kind);
  v(Key{.name = "paths",
        .unit = "",
        .help = "files, in order; megatron: prefixes, or weight, prefix, weight, prefix, ...",
        .is_path = true},
    c.paths);
  v(Key{.name = "tokenizer",
        .unit = "",
        .help = "of text: bytes, or a tokenizer's file",
        .absent = Absent::kDerived,
        .derived_from = "bytes for text and jsonl, else none",
        .is_path = true},
    c.tokenizer);
  v(Key{"seq_length", "tokens", "tokens of a sample", 1, 1 << 28, Absent::kRequired}, c.seq_length);
  v(Key{"global_batch_size", "samples", "samples of one optimizer step, all ranks together", 1,
        1 << 28, Absent::kRequired},
    c.global_batch_size);
  v(Key{"micro_batch_size", "samples", "samples of one forward on one rank", 1, 1 << 20},
    c.micro_batch_size);
  v(Key{"num_samples", "samples",
        "megatron: samples to order beforehand, repeated after them; other kinds need none", 1,
        1e15, Absent::kDerived, "optim.schedule_steps * data.global_batch_size"},
    c.num_samples);
  v(Key{"shuffle", "", "permute the samples by seed and epoch"}, c.shuffle);
  v(Key{"split", "", "shares of training, validation and test", 0, 1e9, Absent::kDerived,
        "[969, 30, 1] for megatron, else [0.9, 0.1, 0]"},
    c.split);
}

template <typename V, ConfigOf<TrainerConfig> C>
void visit(V& v, C& c) {
  v(Key{"devices", "ranks", "ranks of one node", 1, 1 << 16, Absent::kDerived,
        "the visible GPUs; on CPU as many as the sizes need"},
    c.devices);
  v(Key{"num_nodes", "nodes", "nodes of the job", 1, 1 << 16}, c.num_nodes);
  v(Key{"accelerator", "", "auto, cpu, cuda", 0, 0, Absent::kDerived,
        "cuda where a GPU is visible, else cpu"},
    c.accelerator);
  v(Key{"max_steps", "steps", "stop after this step", 1, 1e12}, c.max_steps);
  v(Key{"seed", "", "of weights and data order", 0, 9007199254740991.0}, c.seed);
  v(Key{"precision", "", "preset: 32, bf16-mixed, 16-mixed, bf16-true", 0, 0, Absent::kDerived,
        "bf16-mixed on GPUs, 32 on CPU"},
    c.precision);
  v(Key{"threads_per_rank", "threads", "compute threads of each rank", 1, 4096, Absent::kDerived,
        "cores / local ranks"},
    c.threads_per_rank);
  v(Key{"val_check_interval", "steps", "evaluate every so many steps; 0 = never", 0, 1e12},
    c.val_check_interval);
  v(Key{"limit_val_batches", "batches", "global batches of one evaluation", 1, 1e9},
    c.limit_val_batches);
  v(Key{"comm_timeout_s", "s", "a collective (or joining) that takes longer ends the job", 0.1,
        1e6},
    c.comm_timeout_s);
  v(Key{"non_finite", "", "a step whose loss or gradient is not finite: stop, skip"}, c.non_finite);
}

template <typename V, ConfigOf<ParallelConfig> C>
void visit(V& v, C& c) {
  constexpr double kMost = 1 << 16;
  v(Key{"tp_size", "ranks", "tensor parallel", 1, kMost}, c.tp_size);
  v(Key{"cp_size", "ranks", "context parallel", 1, kMost}, c.cp_size);
  v(Key{"pp_size", "ranks", "pipeline parallel", 1, kMost}, c.pp_size);
  v(Key{"vpp_size", "chunks", "model chunks of each pipeline rank (interleaving)", 1, kMost},
    c.vpp_size);
  v(Key{"ep_size", "ranks", "expert parallel, inside tp*cp*dp", 1, kMost}, c.ep_size);
  v(Key{"etp_size", "ranks", "tensor parallel of the experts", 1, kMost, Absent::kDerived,
        "parallel.tp_size"},
    c.etp_size);
  v(Key{"dp_size", "ranks", "data parallel", 1, kMost, Absent::kDerived, "world / (tp*cp*pp)"},
    c.dp_size);
  v(Key{"dp_replicate_size", "ranks", "replicas of the sharded group (HYBRID_SHARD)", 1, kMost},
    c.dp_replicate_size);
  v(Key{"sequence_parallel", "", "split norms and dropout of a tp group along the sequence"},
    c.sequence_parallel);
  v(Key{"pp_schedule", "", "1f1b, gpipe, zero_bubble; interleaved is 1f1b with vpp_size > 1"},
    c.pp_schedule);
  v(Key{"pp_layout", "layers", "even, auto, or a list of layers per stage", 1, 1 << 16},
    c.pp_layout);
  v(Key{"microbatch_group_size", "micro batches", "consecutive micro batches of one chunk", 1,
        1 << 28, Absent::kDerived, "parallel.pp_size"},
    c.microbatch_group_size);
  v(Key{"cp_comm_type", "", "p2p (ring), all_gather, a2a (Ulysses)"}, c.cp_comm_type);
  v(Key{"strategy", "", "auto (from the other keys), ddp, fsdp2, megatron"}, c.strategy);
  v(Key{"sharding_strategy", "", "NO_SHARD, SHARD_GRAD_OP, FULL_SHARD, HYBRID_SHARD", 0, 0,
        Absent::kDerived, "FULL_SHARD under strategy fsdp2, else NO_SHARD"},
    c.sharding_strategy);
  v(Key{"distributed_optimizer", "", "shard the optimizer over dp*cp (ZeRO-1)", 0, 0,
        Absent::kDerived, "true under strategy megatron, else false"},
    c.distributed_optimizer);
  v(Key{"cpu_offload", "", "sharded state lives in host memory"}, c.cpu_offload);
  v(Key{"backward_prefetch", "", "gather the next unit: BACKWARD_PRE, BACKWARD_POST, NONE"},
    c.backward_prefetch);
  v(Key{"recompute", "",
        "compute again in backward: none, selective (all but products), full (blocks)"},
    c.recompute);
  v(Key{"overlap_grad_reduce", "", "reduce gradients while backward runs"}, c.overlap_grad_reduce);
  v(Key{"overlap_param_gather", "", "gather parameters while forward runs"},
    c.overlap_param_gather);
  v(Key{"bucket_size_mb", "MB", "gradients reduced at once", 1e-6, 1e6}, c.bucket_size_mb);
  v(Key{"gradient_as_bucket_view", "", "gradients live in the reduction buckets"},
    c.gradient_as_bucket_view);
  v(Key{"find_unused_parameters", "", "tolerate parameters without a gradient"},
    c.find_unused_parameters);
}

template <typename V, ConfigOf<OptimConfig> C>
void visit(V& v, C& c) {
  v(Key{"name", "", "adamw"}, c.name);
  v(Key{"lr", "", "highest learning rate", 0, 100}, c.lr);
  v(Key{"min_lr", "", "lowest learning rate of the curve", 0, 100, Absent::kDerived,
        "0.1 * optim.lr"},
    c.min_lr);
  v(Key{"betas", "", "decay of the two moments", 0, 0.9999999999}, c.betas);
  v(Key{"eps", "", "added to the root of the second moment", 1e-16, 1}, c.eps);
  v(Key{"weight_decay", "", "decoupled; not on biases and other 1-D parameters", 0, 100},
    c.weight_decay);
  v(Key{"clip_grad", "", "largest global gradient norm; 0 = off", 0, 1e9}, c.clip_grad);
  v(Key{"schedule", "", "cosine, linear, constant, inverse_sqrt, wsd"}, c.schedule);
  v(Key{"warmup_steps", "steps", "from 0 up to lr", 0, 1e12}, c.warmup_steps);
  v(Key{"constant_steps", "steps", "flat part of the curve", 0, 1e12}, c.constant_steps);
  v(Key{"schedule_steps", "steps", "length of the curve", 1, 1e12, Absent::kDerived,
        "trainer.max_steps"},
    c.schedule_steps);
}

template <typename V, ConfigOf<PrecisionConfig> C>
void visit(V& v, C& c) {
  constexpr std::string_view kPreset = "trainer.precision";
  v(Key{"param_dtype", "", "weights in forward and backward: fp32, bf16, fp16", 0, 0,
        Absent::kDerived, kPreset},
    c.param_dtype);
  v(Key{"reduce_dtype", "", "gradients on the wire", 0, 0, Absent::kDerived, kPreset},
    c.reduce_dtype);
  v(Key{"output_dtype", "", "activations between blocks", 0, 0, Absent::kDerived, kPreset},
    c.output_dtype);
  v(Key{"buffer_dtype", "", "rotary tables and other constants"}, c.buffer_dtype);
  v(Key{"initial_loss_scale", "", "first dynamic loss scale of fp16", 1, 1e30},
    c.initial_loss_scale);
}

template <typename V, ConfigOf<CheckpointConfig> C>
void visit(V& v, C& c) {
  v(Key{"dir", "", "where checkpoints go", 0, 0, Absent::kDerived, "<log.dir>/checkpoints"}, c.dir);
  v(Key{"every", "steps", "save every so many steps; 0 = only at a stop", 0, 1e12}, c.every);
  v(Key{"keep", "checkpoints", "newest ones that stay", 1, 1e9}, c.keep);
  v(Key{.name = "resume", .unit = "", .help = "never, auto, or a checkpoint", .is_path = true},
    c.resume);
  v(Key{.name = "init_from",
        .unit = "",
        .help = "weights to start from: a checkpoint or a Hugging Face folder",
        .is_path = true},
    c.init_from);
  v(Key{"async", "", "write while training goes on"}, c.async);
}

template <typename V, ConfigOf<LogConfig> C>
void visit(V& v, C& c) {
  v(Key{"dir", "", "the run's folder", 0, 0, Absent::kDerived, "runs/<recipe's name>"}, c.dir);
  v(Key{"every", "steps", "log every so many steps", 1, 1e12}, c.every);
  v(Key{"tensorboard", "", "write event files for TensorBoard into <log.dir>/tensorboard"},
    c.tensorboard);
  v(Key{"trace", "", "write trace.json (Chrome, Perfetto)"}, c.trace);
  v(Key{"peak_tflops", "TFLOP/s", "peak of one device, for MFU; null = what is known of it", 1e-6,
        1e9},
    c.peak_tflops);
}

template <typename V, ConfigOf<Recipe> C>
void visit(V& v, C& c) {
  const auto section = [&v](std::string_view name, auto& config) {
    v.enter(name);
    visit(v, config);
    v.leave();
  };
  section("model", c.model);
  section("data", c.data);
  section("trainer", c.trainer);
  section("parallel", c.parallel);
  section("optim", c.optim);
  section("precision", c.precision);
  section("checkpoint", c.checkpoint);
  section("log", c.log);
}

}  // namespace nemo
