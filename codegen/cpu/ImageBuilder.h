// Lays out object files as one position-independent image. Private to codegen/cpu.
#pragma once

#include "codegen/cpu/CpuCodegen.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

namespace fusebox::cpu {

/// An ELF relocatable object that defines function `entry`.
struct KernelObject {
  std::string entry;
  llvm::SmallVector<char, 0> bytes;
};

/// Code of all objects first, then, from the next page on, their constants; PC-relative relocations are
/// applied. Fails with ErrorKind::Internal on anything an image can't hold: an undefined symbol, writable
/// data, an absolute address.
Result<CompiledImage> buildImage(llvm::ArrayRef<KernelObject> objects);

} // namespace fusebox::cpu
