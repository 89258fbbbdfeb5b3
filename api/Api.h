// Shared by the implementation files of include/fusebox.h: errors to statuses, the opaque types.
#pragma once

#include "include/fusebox.h"
#include "runtime/session/Sequence.h"
#include "runtime/session/Session.h"
#include "runtime/text/TextAssets.h"
#include "runtime/text/Tokenizer.h"
#include "support/Result.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>

/// A tokenizer opened by itself or by a session; a large one is opened on a thread of its own and awaited at
/// first use.
struct fusebox_tokenizer {
  fusebox::TextAssets assets;
  std::future<fusebox::Result<fusebox::Tokenizer>> pending;
  std::optional<fusebox::Result<fusebox::Tokenizer>> opened;

  const fusebox::Result<fusebox::Tokenizer> &get() {
    if (!opened)
      opened.emplace(pending.get());
    return *opened;
  }
};

struct fusebox_session {
  std::unique_ptr<fusebox::Session> session;
  fusebox_tokenizer text;
  std::string name;
  fusebox_progress progress = nullptr;
  void *progressUser = nullptr;
  std::map<int32_t, std::unique_ptr<fusebox::Sequence>> sequences; ///< by slot, made at first use

  bool hasSlot(int32_t slot) const { return slot >= 0 && uint32_t(slot) < session->options().slots; }

  /// The slot's sequence; a number that is no slot of the session is an error.
  fusebox::Result<fusebox::Sequence *> sequence(int32_t slot) {
    if (!hasSlot(slot))
      return fusebox::usageError("slot " + std::to_string(slot) + " is not one of the session's " +
                                 std::to_string(session->options().slots));
    auto &known = sequences[slot];
    if (!known)
      known = std::make_unique<fusebox::Sequence>(*session, uint32_t(slot));
    return known.get();
  }

  /// Says how far a long step is; false if the caller wants to cancel it.
  bool report(const char *stage, double fraction) const {
    return !progress || progress(progressUser, stage, fraction) == 0;
  }
  ~fusebox_session() { sequences.clear(); }
};

namespace fusebox::api {

/// The caller's options, with defaults for what its header (perhaps an older one) did not have yet; null
/// stands for defaults alone.
template <typename Options> Result<Options> complete(const Options *given, void (*init)(Options *)) {
  Options whole;
  init(&whole);
  if (!given)
    return whole;
  if (given->size < sizeof given->size)
    return usageError("an option struct has no size; fill it with its _init function first");
  size_t size = std::min(given->size, sizeof whole);
  std::memcpy(&whole, given, size);
  whole.size = sizeof whole;
  return whole;
}

/// Remembers the error for fusebox_last_error and returns its status.
fusebox_status failure(const Error &error);

/// Runs `body`, a function that returns Result<T>, and gives its value to `take`. No exception passes.
template <typename Body> fusebox_status guarded(Body &&body) {
  try {
    auto result = body();
    return result ? FUSEBOX_OK : failure(result.error());
  } catch (const std::bad_alloc &) {
    return failure(resourceError("out of memory"));
  } catch (const std::exception &error) {
    return failure(internalError(error.what()));
  }
}

/// A copy that fusebox_free frees.
inline char *copyString(const std::string &text) { return strdup(text.c_str()); }

/// The text assets of a plan, a folder or a GGUF file.
Result<TextAssets> textAssetsOf(const std::string &model);

Result<TextAssets> planTextAssets(const plan::PlanReader &reader);

/// A plan's first program; its model, weights and files are those of all.
Result<plan::Program> firstProgram(const plan::PlanReader &reader);

/// True if the file begins as a plan does.
bool isPlanFile(const std::string &path);
/// A usage error if `model` is a plan: `what` needs the model itself.
Result<void> refusePlan(const std::string &model, const std::string &what);

} // namespace fusebox::api
