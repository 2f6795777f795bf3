#include "lib/comm/shared/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <random>
#include <utility>

#include "lib/core/error.h"
#include "lib/core/math.h"

namespace nemo::shared {

struct Segment::Header {
  std::atomic<int64_t> num_taken;  // bytes from kFirst on
  uint64_t token;                  // which segment this is
};

namespace {

constexpr int64_t kHugePage = 2 << 20;

// What a process must know of a segment to open it. Read on the same host, by the same program.
struct Address {
  int64_t pid;
  int64_t fd;
  int64_t bytes;
  uint64_t token;
};

std::byte* map(int64_t bytes, int flags, int fd) {
  void* base = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    flags | MAP_NORESERVE, fd, 0);
  return base == MAP_FAILED ? nullptr : static_cast<std::byte*>(base);
}

[[noreturn]] void throw_no_space(int64_t bytes) {
  const char* limits = errno == EFBIG    ? "`ulimit -f`"
                       : errno == EMFILE ? "`ulimit -n`"
                                         : "`ulimit -v` and `-d`";
  throw_usage("[comm] cannot reserve {} bytes of address space: {}; raise {}", bytes,
              std::strerror(errno), limits);
}

uint64_t random_token() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

bool is_file_of(int fd, int64_t bytes) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == bytes;
}

}  // namespace

std::shared_ptr<Segment> Segment::make_private(int64_t bytes) {
  std::byte* base = map(bytes, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (!base) throw_no_space(bytes);
  return std::shared_ptr<Segment>(new Segment(base, bytes, -1));
}

std::shared_ptr<Segment> Segment::make_shareable(int64_t bytes) {
  const int fd = memfd_create("nemo-cpp", MFD_CLOEXEC);
  if (fd < 0) throw_no_space(bytes);
  const auto segment = std::shared_ptr<Segment>(new Segment(nullptr, bytes, fd));
  if (ftruncate(fd, bytes) != 0) throw_no_space(bytes);
  segment->base_ = map(bytes, MAP_SHARED, fd);
  if (!segment->base_) throw_no_space(bytes);
  segment->at<Header>(0)->token = random_token();
  return segment;
}

std::shared_ptr<Segment> Segment::open(const std::string& address) {
  Address theirs{};
  if (address.size() != sizeof(theirs)) return nullptr;
  std::memcpy(&theirs, address.data(), sizeof(theirs));
  // O_NONBLOCK: in another namespace the path may lead to anything.
  const std::string path = fmt::format("/proc/{}/fd/{}", theirs.pid, theirs.fd);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return nullptr;
  const auto segment = std::shared_ptr<Segment>(new Segment(nullptr, theirs.bytes, fd));
  if (!is_file_of(fd, theirs.bytes)) return nullptr;
  segment->base_ = map(theirs.bytes, MAP_SHARED, fd);
  if (!segment->base_ || segment->at<Header>(0)->token != theirs.token) return nullptr;
  return segment;
}

Segment::~Segment() {
  close_address();
  if (base_) munmap(base_, static_cast<size_t>(bytes_));
}

std::string Segment::address() const {
  const Address mine = {getpid(), fd_, bytes_, at<Header>(0)->token};
  return std::string(reinterpret_cast<const char*>(&mine), sizeof(mine));
}

void Segment::close_address() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

int64_t Segment::allocate(int64_t bytes, int64_t alignment) {
  const int64_t taken = at<Header>(0)->num_taken.fetch_add(bytes + alignment);
  const int64_t offset = round_up(kFirst + taken, alignment);
  if (offset + bytes > bytes_)
    throw_usage("[comm] {} more bytes do not fit into the {} that the ranks of a host share", bytes,
                bytes_);
  return offset;
}

AddressRange Segment::reserve(int64_t bytes) {
  std::byte* begin = at<std::byte>(allocate(bytes, kHugePage));
  const size_t size = static_cast<size_t>(bytes);
  madvise(begin, size, MADV_HUGEPAGE);
  auto give_back = [self = shared_from_this(), size](void* range) {
    madvise(range, size, MADV_REMOVE);
  };
  return {begin, bytes, std::shared_ptr<void>(begin, std::move(give_back))};
}

bool Segment::contains(const void* begin, int64_t bytes) const {
  const std::byte* first = static_cast<const std::byte*>(begin);
  return first >= base_ && first + bytes <= base_ + bytes_;
}

}  // namespace nemo::shared
