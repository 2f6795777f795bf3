#include "lib/optim/loss_scaler.h"

#include <doctest/doctest.h>

using namespace nemo;

namespace {

Recipe recipe_of(PrecisionPreset precision, double initial_scale) {
  Recipe recipe;
  recipe.trainer.precision = precision;
  recipe.precision.initial_loss_scale = initial_scale;
  return recipe;
}

}  // namespace

TEST_CASE("an overflow halves the loss scale, 1000 clean steps double it") {
  LossScaler scaler(recipe_of(PrecisionPreset::kF16Mixed, 4096));
  CHECK(scaler.scale() == 4096);
  scaler.update(true);
  CHECK(scaler.scale() == 2048);
  for (int i = 0; i < 999; ++i) scaler.update(false);
  CHECK(scaler.scale() == 2048);
  scaler.update(false);
  CHECK(scaler.scale() == 4096);
  for (int i = 0; i < 999; ++i) scaler.update(false);
  scaler.update(true);  // begins to count anew
  CHECK(scaler.scale() == 2048);
  for (int i = 0; i < 999; ++i) scaler.update(false);
  CHECK(scaler.scale() == 2048);
  scaler.update(false);
  CHECK(scaler.scale() == 4096);
}

TEST_CASE("the loss scale does not sink below 1") {
  LossScaler scaler(recipe_of(PrecisionPreset::kF16Mixed, 3));
  CHECK(scaler.can_halve());
  scaler.update(true);
  CHECK(scaler.scale() == 1.5);
  scaler.update(true);
  CHECK(scaler.scale() == 1);
  CHECK(!scaler.can_halve());
}

TEST_CASE("only 16-mixed scales the loss") {
  for (const PrecisionPreset precision :
       {PrecisionPreset::k32, PrecisionPreset::kBF16Mixed, PrecisionPreset::kBF16True}) {
    LossScaler scaler(recipe_of(precision, 4096));
    CHECK(scaler.scale() == 1);
    CHECK(!scaler.can_halve());
    for (int i = 0; i < 1001; ++i) scaler.update(false);
    scaler.update(true);
    CHECK(scaler.scale() == 1);
  }
}
