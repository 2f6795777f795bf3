// A file of figures that TensorBoard shows. Format: TFRecords, each a length, its checksum, the
// bytes and theirs (tensorflow/core/lib/io/record_writer.h), that hold protobuf messages `Event`
// (tensorflow/core/util/event.proto, framework/summary.proto).
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "lib/train/proto_message.h"
#include "lib/train/run_file.h"

namespace nemo {

class EventFile {
 public:
  // A new file in `folder`, which is made where it is missing. The figures of steps from first_step
  // on that older files of the folder hold no longer count. A usage error where it cannot be
  // written, because training has not begun.
  EventFile(const std::filesystem::path& folder, std::string_view host, int64_t pid,
            int64_t first_step);

  // Adds "<group>/<field>" to the figures of the next write; TensorBoard keeps them as fp32.
  void add(std::string_view group, std::string_view field, double value);
  // Writes the figures added since the last write as those of a step; a data error where it cannot.
  void write(int64_t step);

 private:
  void begin_event();
  void write_event(ExitCode code = ExitCode::kData);

  RunFile file_;
  // Members so that their memory is used again.
  ProtoMessage event_, summary_, value_;
  std::string tag_, record_;
};

}  // namespace nemo
