// The files a plan's weights come from: found, verified, mapped.
#pragma once

#include "runtime/plan/PlanFile.h"
#include "support/ContentHash.h"
#include "support/MappedFile.h"
#include "support/Result.h"

#include <span>
#include <string>
#include <vector>

namespace fusebox {

struct WeightFileOptions {
  std::string weightsDir;          ///< if set, files are looked for here only, by their last path component
  HashMemo verify = HashMemo::Use; ///< Rehash: read every byte, as --verify-weights does
};

/// All weight files of a program, mapped.
class WeightFiles {
public:
  /// Fails with ErrorKind::Model when a file is missing, or its size or content hash is not what the plan was
  /// compiled from; the message has the path, what was expected and the remedy.
  static Result<WeightFiles> open(const plan::Program &program, const plan::PlanReader &plan,
                                  const WeightFileOptions &options, unsigned threads);

  std::span<const std::byte> bytes(const plan::WeightSource &source) const {
    return files[source.file].subspan(source.offset, source.bytes);
  }
  /// Whole files, in the order of Program::files.
  const std::vector<std::span<const std::byte>> &all() const { return files; }

private:
  plan::PlanReader plan; ///< keeps embedded bytes mapped
  std::vector<MappedFile> mapped;
  std::vector<std::span<const std::byte>> files; ///< [program.files]
};

} // namespace fusebox
