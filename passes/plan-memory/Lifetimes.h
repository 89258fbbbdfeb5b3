// Which values of a program may be the same memory, when each piece of memory is in use, and where it lies.
#pragma once

#include "passes/plan-memory/Stages.h"

#include "llvm/ADT/MapVector.h"

#include <string>
#include <vector>

namespace fusebox {

/// From one moment to another, both included.
struct Interval {
  unsigned first, last;
  bool overlaps(Interval other) const { return first <= other.last && other.first <= last; }
};

/// Memory for one or several values that are never needed at once, or are one value in different names.
struct MemoryRegion {
  plan::RowExtent extent = plan::RowExtent::Tokens;
  uint64_t bytes = 0; ///< a unit
  std::string name;   ///< after its first value
  llvm::SmallVector<Interval, 4> live;
  uint64_t offset = 0; ///< a unit; set by placeRegions

  bool conflicts(const MemoryRegion &other) const;
};

/// Regions of a graph, and the one each value lies in.
struct Lifetimes {
  std::vector<MemoryRegion> regions;
  llvm::DenseMap<mlir::Value, unsigned> regionOf;
  /// Bytes a unit of each extent that the values would take with a region each.
  uint64_t unreused[4] = {};
};

/// Finds the regions of an ordered graph. A loop's argument, its yielded value and its result share one; a
/// result shares its operand's where the call allows it and nothing else needs the operand any more. Fails
/// with a diagnostic if a loop yields a value while its argument is still in use.
mlir::FailureOr<Lifetimes> computeLifetimes(plan::GraphOp graph);

/// Gives each region an offset, so that regions of one extent that are live at once don't overlap: largest
/// first, at the lowest place that is free. Offsets and sizes are multiples of 64.
void placeRegions(std::vector<MemoryRegion> &regions);

inline uint64_t alignedBytes(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

} // namespace fusebox
