#include "apps/nemo-cpp/stack_trace.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "lib/core/mapped_file.h"

namespace nemo {
namespace {

std::string demangle(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> plain(
      abi::__cxa_demangle(name, nullptr, nullptr, &status), &std::free);
  return plain ? plain.get() : name;
}

// The program's own table of functions. The dynamic linker knows only the exported ones, and most
// that throw are not: the compiler puts that part of a function apart, as a local symbol.
class Symbols {
 public:
  Symbols() : file_("/proc/self/exe", "debug"), bytes_(file_.bytes()) {
    const auto header = load<Elf64_Ehdr>(0);
    for (size_t i = 0; i < header.e_shnum; ++i) {
      const auto section = load<Elf64_Shdr>(header.e_shoff + i * header.e_shentsize);
      if (section.sh_type != SHT_SYMTAB) continue;
      table_ = section;
      names_ = load<Elf64_Shdr>(header.e_shoff + section.sh_link * header.e_shentsize);
    }
  }

  // Of the function that holds the address (from the program's beginning); "" where none is known.
  std::string name_of(uint64_t address) const {
    for (uint64_t at = 0; at < table_.sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = load<Elf64_Sym>(table_.sh_offset + at);
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_value <= address &&
          address < symbol.st_value + symbol.st_size)
        return demangle(reinterpret_cast<const char*>(bytes_.data()) + names_.sh_offset +
                        symbol.st_name);
    }
    return {};
  }

 private:
  template <typename T>
  T load(uint64_t offset) const {
    T value;
    std::memcpy(&value, bytes_.subspan(offset, sizeof value).data(), sizeof value);
    return value;
  }

  MappedFile file_;
  std::span<const uint8_t> bytes_;
  Elf64_Shdr table_{};
  Elf64_Shdr names_{};
};

}  // namespace

std::vector<std::string> stack_trace() {
  std::array<void*, 64> frames;
  const int num_frames = backtrace(frames.data(), frames.size());
  Dl_info self{};
  dladdr(reinterpret_cast<void*>(&stack_trace), &self);
  const Symbols symbols;
  std::vector<std::string> lines;
  for (const void* frame : std::span(frames).first(static_cast<size_t>(num_frames))) {
    Dl_info info{};
    if (dladdr(frame, &info) == 0) continue;
    const auto call = static_cast<uint64_t>(static_cast<const char*>(frame) -
                                            static_cast<const char*>(info.dli_fbase) - 1);
    const std::string name = info.dli_fbase == self.dli_fbase ? symbols.name_of(call)
                             : info.dli_sname                 ? demangle(info.dli_sname)
                                                              : "";
    lines.push_back(fmt::format("{} {}+{:#x}", name.empty() ? "?" : name, info.dli_fname, call));
  }
  return lines;
}

}  // namespace nemo
