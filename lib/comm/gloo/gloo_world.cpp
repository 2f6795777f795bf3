#include "lib/comm/gloo/gloo_world.h"

#include <numeric>

#include "lib/comm/gloo/gloo_communicator.h"

namespace nemo {

GlooWorld::GlooWorld(Store& store, int rank, int size, const Options& options)
    : size_(size),
      network_(std::make_shared<gloo::Network>(store, options.host, rank, size, options.timeout)) {
  store.on_how_far([network = std::weak_ptr(network_)](int64_t group) {
    const auto alive = network.lock();
    return alive ? alive->how_far(group) : Progress();
  });
}

std::unique_ptr<Communicator> GlooWorld::communicator(const std::string& name) {
  std::vector<int> ranks(static_cast<size_t>(size_));
  std::iota(ranks.begin(), ranks.end(), 0);
  return std::make_unique<gloo::GlooCommunicator>(network_, 0, name, std::move(ranks),
                                                  network_->rank());
}

void GlooWorld::poison(const std::string& reason) noexcept {
  network_->poison(reason);
}

}  // namespace nemo
