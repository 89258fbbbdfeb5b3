// Verdicts measured on text: regions of all layers run by the oracle on the model's own hidden vectors, in
// real numbers and with the roundings of each contract, side by side. `fusebox check --measure` raises
// verdicts from expected to measured with it.
#pragma once

#include "check/CheckReport.h"
#include "support/Result.h"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace fusebox {

/// One layer's attention scores, over all pairs of a position and an earlier one. As in the verdicts, of the
/// query head that deviates most.
struct MeasuredLayer {
  double reference = 0, wide = 0, fast = 0;       ///< root mean square deviation
  double referenceKl = 0, wideKl = 0, fastKl = 0; ///< mean KL divergence of a row of probabilities, nat
  double headOverExpected = 0;  ///< largest quotient of a head's reference deviation and the expected one
  double overExpected = 0;      ///< the reference's deviation over the expected one, both over all heads
  double wideOverReference = 0; ///< likewise, fused at wide over the reference
};

struct Measurement {
  int64_t tokens = 0;
  std::vector<MeasuredLayer> layers;
  /// Mean KL divergence of the next token, in nat, with that node under contract fast in every layer and the
  /// rest of the model in real numbers: attn_norm, mlp_norm, glu, logits.
  std::map<std::string, double> nextTokenKl;
};

/// Runs the model at `path` on `ids`, as one sequence. Takes as long as some ten steps of the oracle. Fails
/// with ErrorKind::Usage on ids that are not in the vocabulary or fewer than 2, ErrorKind::Model if the model
/// can't be read.
Result<Measurement> measureModel(const std::string &path, std::span<const int32_t> ids,
                                 AttentionRounding rounding, std::optional<DType> activations);

/// Verdicts that rest on an expectation and were measured rest on the measurement: deviation, KL, and with it
/// what is legal under the report's budget. What is proved, and what semantics or range refuse, stays.
void applyMeasurement(const Measurement &measurement, CheckReport &report);

} // namespace fusebox
