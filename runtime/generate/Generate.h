// The generation loop: prefill, then sample and step until something ends the text.
// Used by the C interface and by fusebox-run.
#pragma once

#include "runtime/generate/Sampler.h"
#include "runtime/session/Sequence.h"
#include "runtime/text/Tokenizer.h"

#include <functional>
#include <string>
#include <vector>

namespace fusebox {

struct GenerateOptions {
  SamplingOptions sampling;
  int32_t maxTokens = -1; ///< negative: until the context is full
  bool ignoreEos = false;
  std::vector<std::string> stops; ///< need a tokenizer
  /// Counts the tokens whose largest logit leads the next one by more than this; negative: leads are not
  /// taken.
  double certifiedLead = -1;
  ChunkDone promptProgress; ///< after each chunk of the prompt; false stops as onToken does
};

enum class FinishReason { Stop, Length, Context, Cancelled };
/// "stop", "length", "context", "cancelled".
const char *finishReasonName(FinishReason reason);

struct Generation {
  uint32_t promptTokens = 0, generatedTokens = 0;
  FinishReason reason = FinishReason::Length;
  uint32_t certifiedTokens = 0;                 ///< with certifiedLead
  double leastLead = 0;                         ///< of all generated tokens, with certifiedLead
  double prefillSeconds = 0, decodeSeconds = 0; ///< the first token belongs to the prefill
};

/// Called with each generated id and the text it completes (whole characters, perhaps none); with id -1 for
/// text that was held back until the end, and, with no text, after each chunk of the prefill. False stops.
using OnToken = std::function<bool(int32_t id, const std::string &text)>;

/// Appends `prompt` to the sequence and continues it. `tokenizer` may be null: then no text is made. An end
/// token is reported but its text is not. Fails with ErrorKind::Resource when the prompt exceeds the context.
Result<Generation> generate(Sequence &sequence, const Tokenizer *tokenizer, std::span<const int32_t> eosIds,
                            std::span<const int32_t> prompt, const GenerateOptions &options,
                            const OnToken &onToken);

} // namespace fusebox
