// One rank's chunks of the model, run by the rows of a schedule. The neighbours' activations and
// gradients come and go while actions run: a receive is posted one action ahead, a send is waited
// for only once it has arrived for certain. A pipeline of one rank is a pipeline like any other.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "lib/mesh/device_mesh.h"
#include "lib/parallel/pipeline/lower.h"
#include "lib/parallel/stage.h"

namespace nemo {

// The tokens of this rank's micro batches; called for each action, in its order.
using MicroBatches = std::function<const MicroBatch&(int64_t microbatch)>;

class Pipeline {
 public:
  using Layers = std::vector<std::unique_ptr<Layer>>;

  // Collective over pp; the mesh must outlive this.
  Pipeline(std::vector<Layers> chunks, const Recipe& recipe, int64_t num_microbatches,
           const DeviceMesh& mesh);

  // All micro batches of a training step, forward and backward.
  void train(Context& ctx, const MicroBatches& batches);
  // So many micro batches forward.
  void evaluate(Context& ctx, int64_t num_microbatches, const MicroBatches& batches);

 private:
  // What one direction has in flight. Each has a communicator of its own, because a rank may owe
  // both an activation and a gradient to the same peer.
  struct Channel {
    std::unique_ptr<Communicator> group;
    int to;
    int from;
    std::deque<Work> sent;
    int64_t num_arrived = 0;
    // At most this action's and the next one's.
    std::deque<std::pair<Tensor, Work>> expected;
  };

  void run(Context& ctx, const Rows& rows, const MicroBatches& batches);
  Tensor run_action(Context& ctx, const Action& action, const MicroBatch& batch, Tensor input,
                    const Visit& after);
  // The first that comes after the row and reads weights.
  Visit next_visit(const Rows& rows, int64_t row) const;
  void expect(Context& ctx, const Row& row, const MicroBatch& batch);
  Tensor receive(Context& ctx, const Row& row);
  void send(const Row& row, const Tensor& output);
  void reap(Context& ctx, Channel& channel, int64_t num_arrived);
  Channel& channel(const Action& action) {
    return action.pass == Pass::kForward ? activations_ : gradients_;
  }

  PipelineShape shape_;
  int rank_;
  int64_t hidden_size_;
  Rows rows_;                   // of a training step
  std::vector<int> num_slots_;  // by chunk; micro batch m is in slot m % num_slots
  std::vector<Stage> chunks_;
  Channel activations_;
  Channel gradients_;
};

}  // namespace nemo
