// The CPU kernels as the compiler sees them: names, constants, and how to cut a launch into tasks.
//
// A kernel `name` is the function fusebox_<name> of one source file in this folder; its constants are the
// fields of its shape struct, whose header says what they and the arguments mean. Host code only; no MLIR, no
// LLVM.
#pragma once

#include "runtime/plan/Program.h"
#include "support/Result.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace fusebox::cpu {

/// A kernel's constants by name: int64_t, or double where the shape struct has one.
using Field = std::variant<int64_t, double>;
using Fields = std::vector<std::pair<std::string, Field>>;

/// One way to run a kernel, for at most maxRows rows; its constants are complete.
struct KernelVariant {
  Fields fields;
  uint32_t maxRows = UINT32_MAX;
  plan::GridDim grid[3];
  uint64_t scratchBytes = 0;
};

/// The ways to run `kernel` on rows of `rows`, ascending in maxRows, the last for any number. `fields` are
/// the constants but for rowExtent and tiles, which are chosen here. Fails with ErrorKind::Model, naming the
/// kernel and the constant, if no CPU kernel computes this.
Result<std::vector<KernelVariant>> kernelVariants(const std::string &kernel, const Fields &fields,
                                                  plan::Extent rows);

/// A field of a shape struct, in the struct's order.
struct FieldType {
  std::string name;
  bool isDouble = false;
};
/// Fails with ErrorKind::Internal for an unknown kernel.
Result<std::vector<FieldType>> kernelFields(const std::string &kernel);

} // namespace fusebox::cpu
