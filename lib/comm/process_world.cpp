#include "lib/comm/process_world.h"

namespace nemo {

ProcessWorld::ProcessWorld(Store& store, int rank, int size, const Options& options)
    : host_(std::make_shared<ProcessHost>(
          store, rank, size,
          ProcessHost::Options{.timeout = options.timeout, .share_memory = options.share_memory})) {
  if (std::ssize(host_->ranks()) < size)
    gloo_.emplace(store, rank, size, GlooWorld::Options{.timeout = options.timeout, .host = host_});
}

std::unique_ptr<Communicator> ProcessWorld::communicator() {
  return gloo_ ? gloo_->communicator("world") : host_->communicator("world");
}

void ProcessWorld::poison(const std::string& reason) noexcept {
  gloo_ ? gloo_->poison(reason) : host_->poison(reason);
}

}  // namespace nemo
