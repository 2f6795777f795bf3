// A mixture of experts in the place of an MLP: the router chooses, rows travel to their experts
// wherever those are, and the weighted sum of what they answer travels back. x, y: [rows, h], on
// each tp rank its own rows.
#pragma once

#include "lib/nn/experts.h"
#include "lib/nn/router.h"
#include "lib/nn/routes.h"

namespace nemo {

class Moe {
 public:
  struct Saved {
    Router::Saved router;
    Routes routes;
    Experts::Saved experts;
  };
  struct Deferred {
    Router::Deferred router;
    Experts::Deferred experts;
  };

  Moe(Router router, RoutesConfig routes, Experts experts)
      : router_(router), routes_(routes), experts_(experts) {}

  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy, Saved saved,
                        Deferred& deferred) const;
  void backward_weight(Context& ctx, Deferred deferred) const;
  // Leaves what the router and the up products gave, the plan of the rows, and the rows that came
  // from other ranks.
  void drop(Context& ctx, Saved& saved) const;
  void restore(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;

 private:
  Router router_;
  RoutesConfig routes_;
  Experts experts_;
};

}  // namespace nemo
