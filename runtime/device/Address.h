// Where the memory that an argument of a launch names lies.
#pragma once

#include "runtime/device/Device.h"

namespace fusebox {

/// The address bound to `arg` of a launch that runs for `layer` (-1 outside loops). Weights and constants are
/// only read, though their address comes without const: kernels take all arguments alike.
inline std::byte *addressOf(const plan::Program &program, const Bindings &bindings, const plan::Arg &arg,
                            int32_t layer) {
  switch (arg.kind) {
  case plan::ArgKind::Buffer:
    return bindings.buffers[arg.index];
  case plan::ArgKind::Weight: {
    const plan::Weight &weight = program.weights[arg.index];
    size_t instance = weight.perLayer ? size_t(layer) - weight.firstLayer : 0;
    return const_cast<std::byte *>(bindings.weights[arg.index][instance]);
  }
  case plan::ArgKind::Constant:
    return const_cast<std::byte *>(bindings.constants[arg.index]);
  case plan::ArgKind::KvCache:
    return bindings.kvPools[arg.index] +
           uint64_t(layer) * bindings.kvPages * program.kvCaches[arg.index].pageBytes;
  }
  return nullptr;
}

} // namespace fusebox
