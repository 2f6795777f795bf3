#include "lib/comm/communicator.h"

namespace nemo {

Work::~Work() {
  if (communicator_) communicator_->abandon(ticket_);
}

void Work::wait(Stream& stream) {
  Communicator* communicator = std::exchange(communicator_, nullptr);
  if (!communicator) return;
  communicator->wait(ticket_, stream);
  input_ = output_ = Tensor();
}

}  // namespace nemo
