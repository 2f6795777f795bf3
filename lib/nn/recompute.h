// Forward run again in backward (parallel.recompute), in place of keeping what it left behind.
//
//   none       what forward keeps stays
//   selective  what is large and costs little to compute again is dropped after forward and
//              restored before B: the module says what (module.h)
//   full       only the input stays; before B the same forward runs again, communication included
#pragma once

#include "lib/nn/context.h"

namespace nemo {

// The context of a forward that has run before: what it adds to the routers' totals of the step was
// added the first time, and goes to scratch that nobody reads.
class ContextAgain {
 public:
  explicit ContextAgain(const Context& ctx) : ctx_(ctx) {
    if (!ctx.routers) return;
    routers_ = *ctx.routers;
    routers_.totals =
        ctx.stream.workspace(DType::kF64, ctx.routers->totals.shape(), "recompute.totals");
    ctx_.routers = &routers_;
  }
  ContextAgain(const ContextAgain&) = delete;
  ContextAgain& operator=(const ContextAgain&) = delete;

  Context& operator*() { return ctx_; }

 private:
  Context ctx_;
  RouterState routers_{};
};

}  // namespace nemo
