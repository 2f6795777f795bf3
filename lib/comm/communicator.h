// A group of ranks and the collectives they run together.
//
// ▸ Every rank of a group calls the same operations in the same order; each call has a sequence
//   number and a label, and every wait a deadline.
// ▸ An operation is asynchronous: it returns a Work, which keeps the tensors alive; they must stay
//   untouched until Work::wait returns. Waiting means that this rank's result is ready AND that
//   every peer has read this rank's input, so that zero-copy is safe.
// ▸ Reductions run in rank order, so their bits do not depend on timing.
// ▸ A group of one rank is a group like any other; nothing branches on it.
// Tensors are contiguous. Shapes are given for a group of n ranks.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "lib/core/error.h"
#include "lib/device/address_range.h"
#include "lib/device/stream.h"
#include "lib/device/tensor.h"

namespace nemo {

enum class ReduceOp { kSum, kMax };

// A rank failed, an operation did not complete in time, or the ranks called different operations;
// the job cannot go on. Exit code 4. Its text is the group's first reason, the same on every rank.
class CommError : public UserError {
 public:
  explicit CommError(const std::string& message) : UserError(ExitCode::kRankLost, message) {}
};

class Communicator;

// The handle of one operation in flight. Move-only; must be waited for, and must not outlive its
// communicator. Dropping one, as an exception does on its way up, poisons the group and returns
// when no peer touches this rank's tensors any more: they are about to be freed.
class Work {
 public:
  Work() = default;
  Work(Communicator* communicator, int64_t ticket, const Tensor& input, const Tensor& output)
      : communicator_(communicator), ticket_(ticket), input_(input), output_(output) {}
  Work(Work&& other) noexcept { *this = std::move(other); }
  Work& operator=(Work&& other) noexcept {
    std::swap(communicator_, other.communicator_);
    std::swap(ticket_, other.ticket_);
    std::swap(input_, other.input_);
    std::swap(output_, other.output_);
    return *this;
  }
  ~Work();

  explicit operator bool() const { return communicator_ != nullptr; }
  // Work queued on the stream after this call sees the result. On CPU: blocks until complete.
  // CommError when the group is poisoned or the deadline passes. Empty works return at once.
  void wait(Stream& stream);

 private:
  Communicator* communicator_ = nullptr;
  int64_t ticket_ = 0;
  Tensor input_;
  Tensor output_;
};

// One rank's end of a group; used by that rank's thread only.
class Communicator {
 public:
  virtual ~Communicator() = default;

  // "world", "dp", …; in messages and traces.
  const std::string& name() const { return name_; }
  int rank() const { return rank_; }
  int size() const { return size_; }

  // All labels are literals. Reductions take fp32, bf16 and fp16 (sums in fp32, rounded once),
  // fp64, int32 and int64; a NaN is the maximum of whatever it meets. Copies take every dtype.

  // buffer <- reduction over the ranks of buffer, in place.
  virtual Work all_reduce(const Tensor& buffer, ReduceOp op, const char* label) = 0;
  // output [n, …] <- input […] of every rank, in rank order. input may be output's own part.
  virtual Work all_gather(const Tensor& input, const Tensor& output, const char* label) = 0;
  // output […] <- part rank() of the reduction of input [n, …]. output may be input's own part.
  virtual Work reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op,
                              const char* label) = 0;
  // output part i <- input part rank() of rank i; both [n, …], never overlapping.
  virtual Work all_to_all(const Tensor& input, const Tensor& output, const char* label) = 0;
  // The same with parts of unequal numbers of rows (outermost dim), in rank order.
  virtual Work all_to_all_v(const Tensor& input, std::span<const int64_t> input_rows,
                            const Tensor& output, std::span<const int64_t> output_rows,
                            const char* label) = 0;
  virtual Work broadcast(const Tensor& buffer, int root, const char* label) = 0;
  // The i-th send to a peer meets the peer's i-th receive from here; sizes must agree.
  virtual Work send(const Tensor& buffer, int peer, const char* label) = 0;
  virtual Work receive(const Tensor& buffer, int peer, const char* label) = 0;
  virtual void barrier(const char* label) = 0;

  // Address space for an arena of this rank, of at most `bytes`. Its tensors are those that peers
  // of the same host touch in place; where ranks are processes, others cost copies. May outlive
  // the communicator.
  virtual AddressRange reserve_memory(int64_t bytes) = 0;

  // The ranks that give the same color form a new group, ordered by this group's rank. Collective.
  virtual std::unique_ptr<Communicator> split(int color, const std::string& name) = 0;
  // The group of these ranks of this group, ascending and this rank among them; every rank calls it
  // with the members of its own, and together they are a partition. Collective.
  virtual std::unique_ptr<Communicator> subgroup(std::span<const int64_t> members,
                                                 const std::string& name);

  // Ends every call and wait of every rank, now and later, with a CommError of this reason, in this
  // group and in all that were split from the same world; the first reason stays. Called by a rank
  // that fails.
  virtual void poison(const std::string& reason) noexcept = 0;

 protected:
  Communicator(std::string name, int rank, int size)
      : name_(std::move(name)), rank_(rank), size_(size) {}
  // This rank's place in `members` as subgroup takes them.
  int rank_among(std::span<const int64_t> members) const;

 private:
  friend class Work;
  virtual void wait(int64_t ticket, Stream& stream) = 0;
  // Poisons, then returns once no peer touches the operation's tensors of this rank any more.
  virtual void abandon(int64_t ticket) noexcept = 0;

  std::string name_;
  int rank_;
  int size_;
};

}  // namespace nemo
