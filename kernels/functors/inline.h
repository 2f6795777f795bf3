// NEMO_INLINE: a function that exists only inside its callers. Kernels are compiled once per
// instruction set; a copy of its own, compiled for AVX-512, could be the one the linker keeps for
// callers that run without it.
#pragma once

#define NEMO_INLINE [[gnu::always_inline]] inline
