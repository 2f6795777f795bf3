// All rules in the order they are reported, and those over data and training.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "lib/recipe/blend.h"
#include "lib/recipe/key_path.h"
#include "lib/recipe/rules.h"

namespace nemo {
namespace {

// Derived numbers have the ranges of given ones.
struct DerivedRanges : KeyPath {
  Draft& draft;

  template <typename T>
  void operator()(const Key& key, const T& member) {
    if constexpr (std::same_as<T, int64_t> || std::same_as<T, double>) {
      const std::string name = dotted(key);
      const double value = static_cast<double>(member);
      if (key.absent != Absent::kDerived || draft.given(name) ||
          (value >= key.min && value <= key.max))
        return;
      draft.check({name}, [&]() -> Problem {
        return fmt::format("{} (from {}) is out of range; {}", format_number(value),
                           draft.source(name).text, range_of(key));
      });
      draft.mark_unsound(name);
    }
  }
};

void check_data(Draft& d) {
  const Recipe& r = d.recipe();
  d.check({"data.paths", "data.kind"}, [&]() -> Problem {
    if (r.data.kind == DataKind::kMock || !r.data.paths.empty()) return {};
    return fmt::format("missing, and data.kind {} reads files; a list of them would do, or mock",
                       to_string(r.data.kind));
  });
  d.check({"data.paths"}, [&]() -> Problem {
    const auto pattern = std::ranges::find_if(
        r.data.paths, [](const std::string& path) { return path.find('*') != std::string::npos; });
    if (pattern == r.data.paths.end()) return {};
    return fmt::format("'{}' is a pattern, which is not expanded; a list of the files would do",
                       *pattern);
  });
  d.check({"data.paths", "data.kind"}, [&]() -> Problem {
    Blend blend;
    if (r.data.kind == DataKind::kMegatron) return read_blend(r.data.paths, blend);
    const auto weight = std::ranges::find_if(r.data.paths, is_blend_weight);
    if (r.data.kind == DataKind::kMock || weight == r.data.paths.end()) return {};
    return fmt::format(
        "'{}' is a weight, and data.kind {} blends nothing; ./{} would do for a file", *weight,
        to_string(r.data.kind), *weight);
  });
  d.check({"data.num_samples", "data.kind", "data.paths"}, [&]() -> Problem {
    constexpr double kMost = 4294967296;  // of one dataset: samples are numbered with 32 bits
    Blend blend;
    if (r.data.kind != DataKind::kMegatron || read_blend(r.data.paths, blend)) return {};
    if (blend.weights.empty() && blend.prefixes.size() > 1) return {};  // each counts by its size
    const double sum = std::accumulate(blend.weights.begin(), blend.weights.end(), 0.0);
    const double largest = sum > 0 ? std::ranges::max(blend.weights) / sum : 1;
    if (static_cast<double>(r.data.num_samples) * largest <= kMost) return {};
    return fmt::format(
        "{}: data.kind megatron orders {} samples of a dataset at most; as many as the run will "
        "read would do",
        r.data.num_samples, format_number(kMost));
  });
  d.check({"trainer.seed", "data.kind"}, [&]() -> Problem {
    constexpr int64_t kMost = 4294967295;  // of numpy's RandomState
    if (r.data.kind != DataKind::kMegatron || r.trainer.seed <= kMost) return {};
    return fmt::format("{} is more than the order of data.kind megatron takes; 0 to {} would do",
                       r.trainer.seed, kMost);
  });
  d.check({"model.vocab_size", "data.kind", "data.tokenizer"}, [&]() -> Problem {
    constexpr int64_t kBytes = 256;
    if (r.data.kind != DataKind::kText || r.data.tokenizer != "bytes" ||
        r.model.vocab_size >= kBytes)
      return {};
    return fmt::format(
        "{} is fewer than the {} bytes of data.kind text; {} would do, or 257 with an "
        "end of text",
        r.model.vocab_size, kBytes, kBytes);
  });
  d.check({"data.split"}, [&]() -> Problem {
    if (r.data.split[0] > 0) return {};
    return "leaves nothing to train on; a first share above 0 would do";
  });
  d.check({"trainer.val_check_interval", "data.split"}, [&]() -> Problem {
    if (r.trainer.val_check_interval == 0 || r.data.split[1] > 0) return {};
    return fmt::format("{}, but data.split leaves nothing to validate on; 0 would do",
                       r.trainer.val_check_interval);
  });
}

void check_training(Draft& d) {
  const Recipe& r = d.recipe();
  d.check({"optim.min_lr", "optim.lr"}, [&]() -> Problem {
    if (r.optim.min_lr <= r.optim.lr) return {};
    return fmt::format("{} is more than optim.lr {}; 0 to {} would do",
                       format_number(r.optim.min_lr), format_number(r.optim.lr),
                       format_number(r.optim.lr));
  });
  d.check({"optim.warmup_steps", "optim.constant_steps", "optim.schedule_steps"}, [&]() -> Problem {
    const OptimConfig& o = r.optim;
    if (o.warmup_steps + o.constant_steps <= o.schedule_steps) return {};
    return fmt::format(
        "{} + optim.constant_steps {} = {} is more than optim.schedule_steps {}; {} would "
        "do, or a longer schedule",
        o.warmup_steps, o.constant_steps, o.warmup_steps + o.constant_steps, o.schedule_steps,
        std::max<int64_t>(0, o.schedule_steps - o.constant_steps));
  });
  d.check({"optim.constant_steps", "optim.schedule"}, [&]() -> Problem {
    const LrSchedule schedule = r.optim.schedule;
    if (r.optim.constant_steps == 0 ||
        (schedule != LrSchedule::kConstant && schedule != LrSchedule::kInverseSqrt))
      return {};
    return fmt::format("{} has no effect under optim.schedule {}; 0 would do",
                       r.optim.constant_steps, to_string(schedule));
  });
  d.check({"checkpoint.resume"}, [&]() -> Problem {
    if (!r.checkpoint.resume.empty()) return {};
    return "null is not a choice; never, auto, or a checkpoint would do";
  });
}

void check_precision(Draft& d) {
  const Recipe& r = d.recipe();
  const auto check_scaled = [&](std::string_view key, DType dtype) {
    d.check({key, "trainer.precision"}, [&]() -> Problem {
      if (dtype != DType::kF16 || r.trainer.precision == PrecisionPreset::kF16Mixed) return {};
      return fmt::format(
          "fp16 loses gradients below 6e-8 without a loss scale, which trainer.precision {} does "
          "not have; bf16 would do, or trainer.precision 16-mixed",
          to_string(r.trainer.precision));
    });
  };
  check_scaled("precision.output_dtype", r.precision.output_dtype);
  check_scaled("precision.reduce_dtype", r.precision.reduce_dtype);
  d.check({"precision.param_dtype", "trainer.precision"}, [&]() -> Problem {
    if (r.precision.param_dtype != DType::kF16 || r.trainer.precision != PrecisionPreset::kBF16True)
      return {};
    return "fp16 loses small updates under trainer.precision bf16-true, which keeps no fp32 "
           "masters "
           "and rounds only bf16 at random; bf16 would do";
  });
}

}  // namespace

void check_rules(Draft& draft) {
  DerivedRanges ranges{{}, draft};
  visit(ranges, std::as_const(draft).recipe());
  check_model_rules(draft);
  check_parallel_rules(draft);
  check_data(draft);
  check_training(draft);
  check_precision(draft);
}

}  // namespace nemo
