#include "lib/comm/rendezvous.h"

#include <fmt/format.h>

namespace nemo {

// Rank 0 collects and publishes, so that the store answers 3 requests for each rank and not one for
// each pair. A value in the list is its length, a colon and its bytes.
std::vector<std::string> gather(Rendezvous& rendezvous, int rank, int size, std::string_view key,
                                std::string_view value) {
  auto key_of = [&](int other) { return fmt::format("{}/{}", key, other); };
  const std::string list_key = fmt::format("{}/all", key);
  rendezvous.set(key_of(rank), value);
  if (rank == 0) {
    std::string list;
    for (int other = 0; other < size; ++other) {
      const std::string theirs = rendezvous.get(key_of(other));
      list += fmt::format("{}:{}", theirs.size(), theirs);
    }
    rendezvous.set(list_key, list);
  }
  std::vector<std::string> values;
  const std::string list = rendezvous.get(list_key);
  for (size_t begin = 0; begin < list.size();) {
    size_t digits = 0;
    const size_t length = std::stoul(list.substr(begin, list.find(':', begin) - begin), &digits);
    values.push_back(list.substr(begin + digits + 1, length));
    begin += digits + 1 + length;
  }
  return values;
}

}  // namespace nemo
