// Checking one model: read, cached, judged. `fusebox check`, the C interface and load-time checks use it.
#pragma once

#include "check/CheckReport.h"
#include "support/Result.h"

#include <functional>
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
  unsigned threads = 0;       ///< 0: one a core
};

/// A check whose weights are still being hashed on another thread: the report can be shown meanwhile.
class PendingCheck {
public:
  PendingCheck(CheckReport report, std::function<Result<std::string>()> finish)
      : result(std::move(report)), finishHash(std::move(finish)) {}
  /// Without weightHash, unless it was remembered.
  const CheckReport &report() const { return result; }
  /// Waits for the hash, fills it in, and keeps the result in the cache. Fails if the files changed
  /// meanwhile.
  Result<CheckReport> finish() &&;

private:
  CheckReport result;
  std::function<Result<std::string>()> finishHash;
};

/// Checks `model` (a folder, a GGUF, or org/name in the local cache). Fails with ErrorKind::Model or Usage.
Result<PendingCheck> startCheck(const std::string &model, const CheckOptions &options);
/// The same, finished.
Result<CheckReport> checkModel(const std::string &model, const CheckOptions &options);

} // namespace fusebox
