// The learning rate of a step: a pure function of the recipe, so it needs no state in a checkpoint.
//
// With W = warmup_steps, C = constant_steps, M = schedule_steps and the step the number of updates
// before this one (0 at the step that metrics.jsonl calls 1; a skipped step does not advance it):
//   warm-up, W > 0 and step <= W: lr * (step + 1) / (W + 1); in cosine and linear with C > 0 it is
//                                 lr * step / W
//   step > M:                     min_lr
//   between them
//     cosine        min_lr + (lr - min_lr) * (1 + cos(pi * (step - W) / (M - C - W))) / 2,
//                   from step M - C on min_lr
//     linear        min_lr + (lr - min_lr) * (1 - (step - W) / (M - C - W)), from M - C on min_lr
//     constant      lr
//     inverse_sqrt  max(min_lr, lr * sqrt((W + 1) / (step + 1)))
//     wsd           lr to step W + C, then a line that reaches min_lr at M; "warm-up, stable,
//                   decay" of Hu et al., "MiniCPM", 2024
// cosine is NeMo's CosineAnnealing, linear its WarmupAnnealing (held low for the last C steps like
// cosine), constant its WarmupPolicy, wsd its PolynomialHoldDecayAnnealing of power 1.
// inverse_sqrt is its InverseSquareRootAnnealing, kept from sinking below min_lr as in Megatron.
// constant and inverse_sqrt have no use for C.
#pragma once

#include <cstdint>

#include "lib/recipe/schema.h"

namespace nemo {

// step >= 0, and warmup_steps + constant_steps <= schedule_steps, as in every resolved recipe.
double learning_rate(const OptimConfig& optim, int64_t step);

}  // namespace nemo
