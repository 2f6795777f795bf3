#include "lib/comm/store/control_plane.h"

#include <doctest/doctest.h>

#include "lib/comm/store/hang_inquiry.h"

using namespace nemo;
using namespace nemo::store;
using namespace std::chrono_literals;

namespace {

const Clock::time_point kStart{};

Member member(int rank) {
  return {rank, "node" + std::to_string(rank), 100 + rank};
}

ControlPlane joined(int world_size) {
  ControlPlane control(world_size, 10s, kStart);
  for (int rank = 0; rank < world_size; ++rank) control.join(member(rank), world_size);
  return control;
}

// "4 <reason>", or "none"
std::string verdict(ControlPlane& control, Clock::duration after) {
  const auto& failure = control.verdict(kStart + after);
  return failure ? fmt::format("{} {}", static_cast<int>(failure->exit_code), failure->reason)
                 : "none";
}

std::string join_error(ControlPlane& control, const Member& who, int world_size) {
  try {
    control.join(who, world_size);
  } catch (const UserError& e) {
    CHECK(e.code() == ExitCode::kUsage);
    return e.what();
  }
  return "joined";
}

}  // namespace

TEST_CASE("all have joined when each rank has") {
  ControlPlane control(3, 10s, kStart);
  for (int rank : {2, 0, 1}) {
    CHECK_FALSE(control.all_joined());
    control.join(member(rank), 3);
  }
  CHECK(control.all_joined());
  const std::vector<Member> members = control.members();
  REQUIRE(members.size() == 3);
  CHECK(to_string(members[2]) == "rank 2 (pid 102, host node2)");
  CHECK(verdict(control, 11s) == "none");
  CHECK_FALSE(control.next_deadline());
}

TEST_CASE("ranks that do not join in time are named") {
  ControlPlane control(4, 500ms, kStart);
  control.join(member(0), 4);
  control.join(member(2), 4);
  CHECK(control.next_deadline() == kStart + 500ms);
  CHECK(verdict(control, 499ms) == "none");
  CHECK(verdict(control, 500ms) ==
        "4 [store] ranks 1, 3 of 4 did not join within 0.5 s; find what holds them up, or raise "
        "trainer.comm_timeout_s");
  CHECK_FALSE(control.next_deadline());
}

TEST_CASE("the job has one place for each of its ranks") {
  ControlPlane control(2, 10s, kStart);
  control.join(member(1), 2);
  CHECK(join_error(control, {1, "other", 7}, 2) ==
        "[store] rank 1 (pid 7, host other) comes second after rank 1 (pid 101, host node1); start "
        "each job at a MASTER_PORT of its own, and each rank once");
  CHECK(
      join_error(control, member(0), 4)
          .starts_with(
              "[store] rank 0 (pid 100, host node0) belongs to a world of 4, this is one of 2; "));
  CHECK(join_error(control, member(2), 2) ==
        "[store] rank 2 (pid 102, host node2) is not one of 0 to 1");
  CHECK(join_error(control, member(-1), 2) ==
        "[store] rank -1 (pid 99, host node-1) is not one of 0 to 1");
  CHECK(join_error(control, member(0), 2) == "joined");
}

TEST_CASE("a cause counts at once, a lost rank after the grace, an echo likewise") {
  const Failure why{"killed", ExitCode::kRankLost};
  const Failure echo{"[barrier] rank 1 left", ExitCode::kRankLost};
  ControlPlane cause = joined(2);
  cause.report(why, Evidence::kCause, kStart);
  CHECK(verdict(cause, 0s) == "4 killed");

  ControlPlane lost = joined(2);
  lost.lost(1, "died", kStart);
  CHECK(lost.next_deadline() == kStart + 300ms);
  CHECK(verdict(lost, 299ms) == "none");
  CHECK(verdict(lost, 300ms) == "4 rank 1 (pid 101, host node1): died");

  ControlPlane echoed = joined(2);
  echoed.report(0, echo, Evidence::kEcho, kStart);
  CHECK(verdict(echoed, 299ms) == "none");
  CHECK(verdict(echoed, 300ms) == "4 [barrier] rank 1 left");
}

TEST_CASE("a better reason takes the place of a lesser one, and does not put the end off") {
  const Failure echo{"[barrier] rank 1 left", ExitCode::kRankLost};
  ControlPlane control = joined(3);
  control.report(0, echo, Evidence::kEcho, kStart);
  control.lost(1, "died", kStart + 200ms);
  control.report(2, echo, Evidence::kEcho, kStart + 250ms);
  CHECK(verdict(control, 300ms) == "4 rank 1 (pid 101, host node1): died");

  ControlPlane launched = joined(3);
  launched.report(0, echo, Evidence::kEcho, kStart);
  launched.lost(1, "died", kStart + 100ms);
  launched.ended(1, {"killed by signal 9", ExitCode::kRankLost}, kStart + 200ms);
  CHECK(verdict(launched, 200ms) == "4 killed by signal 9");
}

TEST_CASE("the first reason of its kind stays, also after the verdict") {
  ControlPlane control = joined(3);
  control.lost(2, "died", kStart);
  control.lost(0, "died", kStart + 1ms);
  CHECK(verdict(control, 1s) == "4 rank 2 (pid 102, host node2): died");
  control.report(0, {"[data.paths] gone", ExitCode::kData}, Evidence::kCause, kStart + 2s);
  CHECK(verdict(control, 3s) == "4 rank 2 (pid 102, host node2): died");
}

TEST_CASE("a rank's own error carries its name and its exit code") {
  ControlPlane control = joined(2);
  control.report(1, {"[data.paths] gone", ExitCode::kData}, Evidence::kCause, kStart);
  CHECK(verdict(control, 0s) == "3 rank 1 (pid 101, host node1): [data.paths] gone");
}

TEST_CASE("a rank that said why, or has left, may end") {
  ControlPlane control = joined(2);
  control.leave(1, kStart);
  control.lost(1, "died", kStart);
  control.ended(1, {"ended with exit code 5", ExitCode::kDiverged}, kStart);
  CHECK(verdict(control, 1s) == "none");

  ControlPlane failing = joined(2);
  failing.report(0, {"[barrier] late", ExitCode::kRankLost}, Evidence::kEcho, kStart);
  failing.lost(0, "died", kStart);
  failing.ended(0, {"ended with exit code 4", ExitCode::kRankLost}, kStart);
  CHECK(verdict(failing, 300ms) == "4 [barrier] late");
}

TEST_CASE("a rank that never joined can end too") {
  ControlPlane control(2, 10s, kStart);
  control.lost(1, "died", kStart);
  CHECK(verdict(control, 300ms) == "4 rank 1: died");
}

TEST_CASE("leaving is over when all have left, and bounded in time") {
  ControlPlane control = joined(2);
  control.leave(0, kStart + 1s);
  control.leave(0, kStart + 1s);
  CHECK_FALSE(control.all_left());
  CHECK(control.next_deadline() == kStart + 11s);
  SUBCASE("in time") {
    control.leave(1, kStart + 2s);
    CHECK(control.all_left());
    control.report({"late", ExitCode::kData}, Evidence::kCause, kStart + 2s);
    CHECK(verdict(control, 20s) == "none");
  }
  SUBCASE("too late") {
    CHECK(verdict(control, 11s)
              .starts_with("4 [store] rank 1 of 2 did not end with the others within 10 s; "));
  }
}

TEST_CASE("a hang names who is behind and who does not respond") {
  const Hang hang{"[all_reduce \"grads\"] group dp, sequence 7", 3, {0, 2, 4, 6}, 7, 0.5};
  const std::string start = "[all_reduce \"grads\"] group dp, sequence 7: ";
  const std::string end = " within 0.5 s; find what holds them up, or raise trainer.comm_timeout_s";
  struct Case {
    std::map<int, Progress> answers;
    std::string who;
    bool is_for_others = false;
  };
  const Case cases[] = {
      {{{0, {7}}, {2, {6}}, {4, {7}}, {6, {}}}, "ranks 2, 6 did not arrive"},
      {{{0, {7}}, {2, {6}}, {4, {8}}}, "rank 2 did not arrive and rank 6 is not responding"},
      {{{0, {7}}, {2, {7}}}, "ranks 4, 6 are not responding"},
      {{{0, {7}}, {2, {7}}, {4, {9}}, {6, {7}}}, "all ranks arrived but did not finish"},
      // Some wait for others: in this group, or in one of another rank that hangs.
      {{{0, {7, true}}, {2, {6}}, {4, {7, true}}, {6, {5, true}}}, "rank 2 did not arrive"},
      {{{0, {7, true}}, {2, {6, true}}, {4, {8}}, {6, {7}}}, "rank 2 did not arrive", true},
      {{{0, {7, true}}, {2, {6, true}}, {4, {7}}}, "rank 6 is not responding"},
  };
  for (const Case& c : cases) {
    HangInquiry inquiry(hang, kStart);
    for (const auto& [rank, progress] : c.answers) inquiry.answer(rank, progress);
    CHECK(inquiry.is_for_others() == c.is_for_others);
    CHECK(inquiry.message() == start + c.who + end);
    CHECK(inquiry.is_over(kStart) == (c.answers.size() == 4));
    CHECK(inquiry.is_over(kStart + 1s));
    Hang last = hang;
    last.is_last = true;
    HangInquiry again(last, kStart);
    for (const auto& [rank, progress] : c.answers) again.answer(rank, progress);
    CHECK_FALSE(again.is_for_others());
    CHECK(again.message() == inquiry.message());
  }
}
