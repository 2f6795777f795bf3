// The folder a run leaves behind (`log.dir`).
#pragma once

#include <filesystem>
#include <string>

namespace nemo {

// Makes the folder ready for a new run. Files of an earlier run that holds no checkpoint move to
// previous/<n>/; where there are checkpoints a new run is refused, for it would mix with them.
void prepare_run_folder(const std::filesystem::path& dir, const std::filesystem::path& checkpoints);

// Writes text to dir/name, whole or not at all.
void write_run_file(const std::filesystem::path& dir, const std::string& name,
                    const std::string& text);

}  // namespace nemo
