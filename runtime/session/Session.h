// Running a plan: a session holds its weights, code and KV cache on a device and runs ragged steps.
//
// The C interface (include/fusebox.h) and fusebox-run are built on this and on runtime/session/Sequence.h.
#pragma once

#include "runtime/device/Device.h"
#include "runtime/plan/PlanFile.h"
#include "runtime/session/Memory.h"
#include "runtime/session/PageTable.h"
#include "runtime/weights/WeightFiles.h"
#include "support/Result.h"

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fusebox {

struct SessionOptions {
  std::optional<plan::TargetKind> kind; ///< unset: the first kind in the plan that this machine can run
  uint32_t deviceIndex = 0;
  uint32_t threads = 0;       ///< CPU: 0: all CPUs this process may use
  uint32_t contextTokens = 0; ///< of one sequence; 0: what the model was made for, as far as memory goes
  uint32_t maxStepTokens = 512;
  uint32_t slots = 1;         ///< sequences that have a KV cache at the same time
  uint32_t maxLogitsRows = 0; ///< of one step; 0: 64, or `slots` if more
  uint64_t memoryBudget = 0;  ///< bytes for everything; 0: what the device has available
  WeightFileOptions weights;
  LoadProgress progress; ///< called while kernels are compiled for this device; may be empty
};

/// A step over several sequences. Sequence s owns tokens [starts[s], starts[s+1]); they are appended to slot
/// slots[s].
struct Batch {
  std::span<const int32_t> tokens;     ///< [N]
  std::span<const int32_t> starts;     ///< [S+1], from 0 to N, ascending
  std::span<const int32_t> slots;      ///< [S], all different
  std::span<const int32_t> logitsRows; ///< [R] tokens of the step whose logits are wanted, ascending
};

/// [rows, vocabulary] f32, row-major; valid until the session's next step.
struct Logits {
  const float *values = nullptr;
  uint32_t rows = 0, vocabulary = 0;
  std::span<const float> row(uint32_t r) const { return {values + size_t(r) * vocabulary, vocabulary}; }
};

/// The most likely tokens of each row of logits.
struct RankedLogits {
  /// Larger logits first, of equal ones the lower id; NaNs are left out. Fewer than were asked for only if
  /// the row has no more.
  std::span<const plan::SelectedValue> row(uint32_t r) const {
    return {values + size_t(r) * stride, headers[r].listed};
  }
  /// Sum of exp(logit − largest logit) over the whole row; NaN where the device did not compute it.
  float weightSum(uint32_t r) const { return headers[r].weightSum; }

  const plan::SelectedRow *headers = nullptr;
  const plan::SelectedValue *values = nullptr;
  uint32_t rows = 0, stride = 0;
};

/// A node's value, reported while its launch's buffers hold it.
struct NodeReport {
  std::string_view block; ///< empty outside repeated blocks
  int32_t layer = -1;
  const plan::NodeValue *value = nullptr;
  const std::byte *data = nullptr; ///< first row, host memory, value->columns elements of value->dtype
  uint64_t rows = 0;
  uint64_t rowStride = 0; ///< bytes from row to row
  const StepView *step = nullptr;
  /// "decoder.3.q", or "logits" outside blocks.
  std::string name() const;
};
using NodeObserver = std::function<Result<void>(const NodeReport &)>;

class Session {
public:
  /// Picks the program, checks memory before anything is loaded, verifies and places weights, loads code.
  static Result<std::unique_ptr<Session>> open(const plan::PlanReader &plan,
                                               const SessionOptions &options = {});
  static Result<std::unique_ptr<Session>> open(const std::string &planPath,
                                               const SessionOptions &options = {});
  Session(const Session &) = delete;
  ~Session();

  /// Runs one step. Fails with ErrorKind::Usage on a malformed batch, with ErrorKind::Resource when a
  /// sequence would outgrow the context or the KV cache is full; the slots are unchanged then.
  Result<Logits> step(const Batch &batch);

  /// The same, but of each row only the `count` largest logits are read: the device finds them where its
  /// program can, else the host does. Valid until the session's next step.
  Result<RankedLogits> stepRanked(const Batch &batch, uint32_t count);

  /// All logits of the step before, which may have been ranked.
  Result<Logits> lastLogits() { return fetchLogits(lastRows); }

  /// Tokens in a slot.
  uint32_t length(uint32_t slot) const { return pages.length(slot); }
  /// Forgets all but the first `length` tokens of a slot; their pages become free.
  Result<void> truncate(uint32_t slot, uint32_t length);

  /// Called after each launch of later steps for each node's value it leaves; launches then run one at a
  /// time. An empty function ends it.
  void observe(NodeObserver observer) { nodeObserver = std::move(observer); }

  const plan::Program &program() const { return *loaded; }
  const plan::ModelInfo &model() const { return loaded->model; }
  const Device &device() const { return openedDevice; }
  const SessionOptions &options() const { return settings; }
  const MemoryNeed &memory() const { return need; }
  uint32_t contextTokens() const { return settings.contextTokens; }

private:
  Session() = default;

  SessionOptions settings; ///< with defaults filled in
  std::shared_ptr<const plan::Program> loaded;
  Device openedDevice;
  Stream stream;
  MemoryNeed need;
  PageTable pages;
  BoundProgram bound;
  std::shared_ptr<void> prefetch;
  NodeObserver nodeObserver;
  const std::byte *logitsAddress = nullptr;
  std::vector<std::byte *> bufferAddresses;
  std::map<uint32_t, const std::byte *> selected; ///< by a selection's count: where it leaves its rows

  // One step's arrays, kept to save allocation.
  std::vector<int32_t> positions, tokenSequence, blockTable;
  std::vector<float> hostLogits;
  std::vector<std::byte> hostValue;
  std::vector<plan::SelectedRow> rankedHeaders;
  std::vector<plan::SelectedValue> rankedValues;
  uint32_t lastRows = 0; ///< logits rows of the last step

  Result<Bindings> makeBindings(const WeightFiles &files);
  Result<void> checkBatch(const Batch &batch) const;
  StepView view(const Batch &batch);
  Result<void> report(const LaunchReport &launch, const StepView &step);
  Result<void> runStep(const Batch &batch, uint32_t selection, const std::function<Result<void>()> &fetch);
  Result<Logits> fetchLogits(uint32_t rows);
  Result<void> fetchSelection(const plan::Selection &selection, uint32_t count);
  void rankOnHost(const Logits &logits, uint32_t count);
};

} // namespace fusebox
