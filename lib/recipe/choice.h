// Keys that take one word out of a few: the enums, and how each word is spelled.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <string_view>

#include "lib/core/dtype.h"

namespace nemo {

enum class Family : uint8_t { kLlama, kMixtral, kGpt };
enum class Activation : uint8_t { kSwiglu, kGelu, kGeluTanh };
enum class RopeScalingType : uint8_t { kNone, kLlama3 };
enum class DataKind : uint8_t { kText, kMock, kMegatron, kLlmc, kJsonl };
enum class Accelerator : uint8_t { kAuto, kCpu, kCuda };
enum class PrecisionPreset : uint8_t { k32, kBF16Mixed, kF16Mixed, kBF16True };
enum class NonFinite : uint8_t { kStop, kSkip };
enum class OptimizerName : uint8_t { kAdamW };
enum class LrSchedule : uint8_t { kCosine, kLinear, kConstant, kInverseSqrt, kWsd };
enum class PipelineSchedule : uint8_t { k1F1B, kGpipe, kZeroBubble };
enum class CpCommType : uint8_t { kP2P, kAllGather, kA2A };
enum class Strategy : uint8_t { kAuto, kDdp, kFsdp2, kMegatron };
enum class ShardingStrategy : uint8_t { kNoShard, kShardGradOp, kFullShard, kHybridShard };
enum class BackwardPrefetch : uint8_t { kPre, kPost, kNone };
enum class Recompute : uint8_t { kNone, kSelective, kFull };

// Choices<E>::kWords[i] spells the enumerator of value i, canonically.
template <typename E>
struct Choices;

#define NEMO_CHOICES(E, ...)                                                       \
  template <>                                                                      \
  struct Choices<E> {                                                              \
    static constexpr auto kWords = std::to_array<std::string_view>({__VA_ARGS__}); \
  };
NEMO_CHOICES(Family, "llama", "mixtral", "gpt")
NEMO_CHOICES(Activation, "swiglu", "gelu", "gelu_tanh")
NEMO_CHOICES(RopeScalingType, "none", "llama3")
NEMO_CHOICES(DataKind, "text", "mock", "megatron", "llmc", "jsonl")
NEMO_CHOICES(Accelerator, "auto", "cpu", "cuda")
NEMO_CHOICES(PrecisionPreset, "32", "bf16-mixed", "16-mixed", "bf16-true")
NEMO_CHOICES(NonFinite, "stop", "skip")
NEMO_CHOICES(OptimizerName, "adamw")
NEMO_CHOICES(LrSchedule, "cosine", "linear", "constant", "inverse_sqrt", "wsd")
NEMO_CHOICES(PipelineSchedule, "1f1b", "gpipe", "zero_bubble")
NEMO_CHOICES(CpCommType, "p2p", "all_gather", "a2a")
NEMO_CHOICES(Strategy, "auto", "ddp", "fsdp2", "megatron")
NEMO_CHOICES(ShardingStrategy, "NO_SHARD", "SHARD_GRAD_OP", "FULL_SHARD", "HYBRID_SHARD")
NEMO_CHOICES(BackwardPrefetch, "BACKWARD_PRE", "BACKWARD_POST", "NONE")
NEMO_CHOICES(Recompute, "none", "selective", "full")
// The dtypes a recipe can ask for are the first three of core's DType.
NEMO_CHOICES(DType, "fp32", "bf16", "fp16")
#undef NEMO_CHOICES

struct Synonym {
  std::string_view word;
  std::string_view canonical;
};

// Other words users bring along for the same thing.
template <typename E>
inline constexpr std::array<Synonym, 0> kSynonyms{};
template <>
inline constexpr auto kSynonyms<Accelerator> = std::to_array<Synonym>({{"gpu", "cuda"}});
template <>
inline constexpr auto kSynonyms<Activation> = std::to_array<Synonym>(
    {{"silu", "swiglu"}, {"gelu_new", "gelu_tanh"}, {"gelu_pytorch_tanh", "gelu_tanh"}});
template <>
inline constexpr auto kSynonyms<PrecisionPreset> = std::to_array<Synonym>({{"32-true", "32"},
                                                                           {"fp32", "32"},
                                                                           {"bf16", "bf16-mixed"},
                                                                           {"16", "16-mixed"},
                                                                           {"fp16-mixed",
                                                                            "16-mixed"}});
template <>
inline constexpr auto kSynonyms<DType> = std::to_array<Synonym>({{"float32", "fp32"},
                                                                 {"float", "fp32"},
                                                                 {"bfloat16", "bf16"},
                                                                 {"float16", "fp16"},
                                                                 {"half", "fp16"},
                                                                 {"torch.float32", "fp32"},
                                                                 {"torch.bfloat16", "bf16"},
                                                                 {"torch.float16", "fp16"}});
template <>
inline constexpr auto kSynonyms<Strategy> =
    std::to_array<Synonym>({{"none", "auto"},
                            {"fsdp", "fsdp2"},
                            {"DDPStrategy", "ddp"},
                            {"DDPManager", "ddp"},
                            {"ModelParallelStrategy", "fsdp2"},
                            {"FSDP2Strategy", "fsdp2"},
                            {"FSDP2Manager", "fsdp2"},
                            {"MegatronStrategy", "megatron"}});

template <typename E>
concept Choice = requires {
  Choices<E>::kWords;
};

template <Choice E>
requires(!std::same_as<E, DType>) constexpr std::string_view to_string(E value) {
  return Choices<E>::kWords[static_cast<size_t>(value)];
}

}  // namespace nemo
