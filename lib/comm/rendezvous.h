// How ranks learn a few bytes of each other before they can communicate: a store they all reach.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nemo {

class Rendezvous {
 public:
  virtual ~Rendezvous() = default;

  virtual void set(std::string_view key, std::string_view value) = 0;
  // Waits until the key is set; a CommError where that takes too long.
  virtual std::string get(std::string_view key) = 0;
};

// The value of every rank, in order; collective, once for each key.
std::vector<std::string> gather(Rendezvous& rendezvous, int rank, int size, std::string_view key,
                                std::string_view value);

}  // namespace nemo
