// Checking one model: read, cached, judged. `fusebox check`, the C interface and load-time checks use it.
#pragma once

#include "check/CheckReport.h"
#include "support/Result.h"

#include <optional>
#include <string>
#include <vector>

namespace fusebox {

struct CheckOptions {
  std::optional<CheckPolicy> policy;
  std::optional<double> threshold, ratioLimit, amplificationLimit; ///< override any profile
  std::vector<std::string>
      profiles; ///< names or files, applied in order after the ones that match by themselves
  AttentionRounding rounding = AttentionRounding::Sdpa;
  std::optional<DType> activations; ///< the model's own if not set
  bool useCache = true;
  bool verifyWeights = false; ///< hash the weight files anew
  bool needHash = false;      ///< fill in CheckReport::weightHash, which may mean reading the files once more
  unsigned threads = 0;       ///< 0: one a core
};

/// Checks `model` (a folder, a GGUF, or org/name in the local cache). Fails with ErrorKind::Model or Usage,
/// also if the files changed while they were read.
Result<CheckReport> checkModel(const std::string &model, const CheckOptions &options);

} // namespace fusebox
