// How long a compute thread that waits for its team keeps its core.
#pragma once

namespace nemo {

// Starts this program anew with GOMP_SPINCOUNT set, unless the user has set it or OMP_WAIT_POLICY:
// libgomp reads them before main runs, and nothing changes them later. Call it before anything has
// been done. A usage error where the program cannot be started anew.
void limit_openmp_spinning(char** argv);

}  // namespace nemo
