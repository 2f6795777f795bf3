// Two hosts with a network between them: network namespaces of this machine.
#pragma once

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "lib/core/error.h"

namespace nemo {

// Host i is at 192.168.77.<i + 1>. They are gone with this object, what runs there is not.
class TwoHosts {
 public:
  // Whether this process may have namespaces at all.
  static bool are_permitted() {
    return std::system("ip netns add nemo-$PPID 2>/dev/null && ip netns del nemo-$PPID") == 0;
  }

  TwoHosts() {
    static int num_made = 0;
    const std::string pair = std::to_string(getpid()) + "-" + std::to_string(num_made++);
    for (size_t host : {0, 1}) {
      names_.at(host) = "nemo-" + pair + "-" + std::to_string(host);
      ip("netns add " + names_.at(host));
    }
    ip("link add net0 netns " + names_[0] + " type veth peer name net0 netns " + names_[1]);
    for (size_t host : {0, 1}) {
      ip("-n " + names_.at(host) + " addr add " + address(host) + "/24 dev net0");
      ip("-n " + names_.at(host) + " link set net0 up");
      ip("-n " + names_.at(host) + " link set lo up");
    }
  }
  ~TwoHosts() {
    for (const std::string& name : names_) std::system(("ip netns del " + name).c_str());
  }
  TwoHosts(const TwoHosts&) = delete;
  TwoHosts& operator=(const TwoHosts&) = delete;

  static std::string address(size_t host) { return "192.168.77." + std::to_string(host + 1); }

  // Nothing that a host sends arrives any more, not even that its processes have ended.
  void cut() const { ip("-n " + names_[0] + " link set net0 down"); }

  // Makes start() begin its processes on that host.
  template <typename F>
  auto run_on(size_t host, F&& start) const {
    const int home = open("/proc/thread-self/ns/net", O_RDONLY);
    enter(open(("/run/netns/" + names_.at(host)).c_str(), O_RDONLY));
    auto result = start();
    enter(home);
    return result;
  }

 private:
  static void ip(const std::string& words) {
    NEMO_CHECK(std::system(("ip " + words).c_str()) == 0, "ip {}", words);
  }
  static void enter(int network) {
    NEMO_CHECK(network >= 0 && setns(network, CLONE_NEWNET) == 0, "setns of {}", network);
    close(network);
  }

  std::array<std::string, 2> names_;
};

}  // namespace nemo
