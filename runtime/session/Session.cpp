#include "runtime/session/Session.h"

#include "runtime/session/ChooseProgram.h"
#include "runtime/weights/Recipe.h"
#include "runtime/weights/WeightStore.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace fusebox;

std::string NodeReport::name() const {
  if (layer < 0)
    return value->node;
  return std::string(block) + "." + std::to_string(layer) + "." + value->node;
}

Session::~Session() = default;

Result<std::unique_ptr<Session>> Session::open(const std::string &planPath, const SessionOptions &options) {
  FUSEBOX_ASSIGN(plan::PlanReader plan, plan::PlanReader::open(planPath));
  return open(plan, options);
}

Result<std::unique_ptr<Session>> Session::open(const plan::PlanReader &plan, const SessionOptions &options) {
  FUSEBOX_ASSIGN(ProgramChoice choice, chooseProgram(plan, options));
  std::unique_ptr<Session> session(new Session);
  session->settings = options;
  session->loaded = choice.program;
  session->openedDevice = choice.device;
  auto located = [&](const Error &error) { return Error{error.kind, plan.path() + ": " + error.message}; };
  if (auto checked = checkRecipes(*choice.program); !checked)
    return located(checked.error());
  auto need = planMemory(*choice.program, choice.device, availableMemory(choice.device), session->settings);
  if (!need)
    return located(need.error());
  session->need = *need;

  FUSEBOX_ASSIGN(session->stream, createStream(choice.device));
  FUSEBOX_ASSIGN(Executable code,
                 loadExecutable(choice.device, *choice.program, choice.target, options.progress));
  FUSEBOX_ASSIGN(WeightFiles files,
                 WeightFiles::open(*choice.program, plan, session->settings.weights, choice.device.threads));
  FUSEBOX_ASSIGN(Bindings bindings, session->makeBindings(files));
  FUSEBOX_ASSIGN(session->bound, bind(code, std::move(bindings)));
  if (choice.device.sharesHostMemory)
    session->prefetch = prefetchWeights(*choice.program, files);
  return session;
}

Result<Bindings> Session::makeBindings(const WeightFiles &files) {
  const plan::Program &program = *loaded;
  Bindings bindings;
  bindings.capacity = stepCapacity(settings);
  bindings.kvPages = uint64_t(bindings.capacity.maxPages) * settings.slots;

  ArenaLayout arena = layOutArena(program, bindings.capacity);
  FUSEBOX_ASSIGN(DeviceBuffer values, allocate(openedDevice, arena.bytes, "the values of a step"));
  bindings.owners.push_back(values.owner);
  for (const plan::Buffer &buffer : program.buffers)
    bindings.buffers.push_back(values.address + arena.offset(buffer));
  // What a step ends with is read by the host in place.
  for (const plan::Selection &selection : program.selections) {
    uint64_t bytes = program.buffers[selection.buffer].bytesPerUnit * bindings.capacity.logitsRows;
    FUSEBOX_ASSIGN(DeviceBuffer chosen, allocateOnHost(openedDevice, bytes, "the most likely tokens"));
    bindings.owners.push_back(chosen.owner);
    bindings.buffers[selection.buffer] = chosen.address;
    selected[selection.count] = chosen.host;
  }
  bufferAddresses = bindings.buffers;
  logitsAddress = bindings.buffers[program.logitsBuffer];

  for (const plan::KvCache &cache : program.kvCaches) {
    uint64_t bytes = uint64_t(cache.layers) * cache.pageBytes * bindings.kvPages;
    FUSEBOX_ASSIGN(DeviceBuffer pool, allocate(openedDevice, bytes, "the KV cache"));
    bindings.owners.push_back(pool.owner);
    bindings.kvPools.push_back(pool.address);
  }
  for (const plan::Constant &constant : program.constants) {
    FUSEBOX_ASSIGN(DeviceBuffer copy,
                   allocate(openedDevice, constant.bytes.size(), "constant " + constant.name));
    FUSEBOX_TRY(upload(stream, copy, 0, constant.bytes));
    bindings.owners.push_back(copy.owner);
    bindings.constants.push_back(copy.address);
  }
  FUSEBOX_ASSIGN(PlacedWeights weights, placeWeights(program, files, openedDevice, stream));
  bindings.weights = std::move(weights.addresses);
  for (auto &owner : weights.owners)
    bindings.owners.push_back(std::move(owner));
  pages = PageTable(settings.slots, uint32_t(bindings.kvPages), settings.contextTokens);
  return bindings;
}

Result<void> Session::truncate(uint32_t slot, uint32_t length) {
  if (slot >= pages.slots() || length > pages.length(slot))
    return usageError("slot " + std::to_string(slot) + " can't be cut to " + std::to_string(length) +
                      " tokens");
  pages.truncate(slot, length);
  return {};
}

Result<void> Session::checkBatch(const Batch &batch) const {
  size_t tokens = batch.tokens.size(), sequences = batch.slots.size();
  if (tokens == 0 || tokens > settings.maxStepTokens)
    return usageError("a step of " + std::to_string(tokens) + " tokens: from 1 to " +
                      std::to_string(settings.maxStepTokens) + " are allowed");
  if (sequences == 0 || batch.starts.size() != sequences + 1 || batch.starts[0] != 0 ||
      size_t(batch.starts[sequences]) != tokens)
    return usageError("a step's starts must be one more than its slots, from 0 to the number of tokens");
  std::vector<bool> seen(pages.slots());
  for (size_t s = 0; s < sequences; ++s) {
    if (batch.starts[s + 1] <= batch.starts[s] || size_t(batch.starts[s + 1]) > tokens)
      return usageError("sequence " + std::to_string(s) + " of the step has no tokens");
    int32_t slot = batch.slots[s];
    if (slot < 0 || uint32_t(slot) >= pages.slots() || seen[size_t(slot)])
      return usageError("slot " + std::to_string(slot) +
                        " is used twice in the step, or not one of the session's " +
                        std::to_string(pages.slots()));
    seen[size_t(slot)] = true;
  }
  for (int32_t token : batch.tokens)
    if (token < 0 || uint32_t(token) >= loaded->model.vocabulary)
      return usageError("token id " + std::to_string(token) + " is outside the vocabulary of " +
                        std::to_string(loaded->model.vocabulary));
  if (batch.logitsRows.size() > settings.maxLogitsRows)
    return usageError("logits of " + std::to_string(batch.logitsRows.size()) + " rows: at most " +
                      std::to_string(settings.maxLogitsRows) + " are allowed");
  for (size_t r = 0; r < batch.logitsRows.size(); ++r)
    if (batch.logitsRows[r] < 0 || size_t(batch.logitsRows[r]) >= tokens ||
        (r > 0 && batch.logitsRows[r] <= batch.logitsRows[r - 1]))
      return usageError("logits rows must be rows of the step in ascending order");
  return {};
}

/// The step as kernels see it; the slots have already been extended.
StepView Session::view(const Batch &batch) {
  uint32_t maxPages = stepCapacity(settings).maxPages;
  positions.clear();
  tokenSequence.clear();
  blockTable.assign(batch.slots.size() * maxPages, 0);
  for (size_t s = 0; s < batch.slots.size(); ++s) {
    uint32_t slot = uint32_t(batch.slots[s]);
    int32_t count = batch.starts[s + 1] - batch.starts[s];
    int32_t first = int32_t(pages.length(slot)) - count;
    for (int32_t i = 0; i < count; ++i) {
      positions.push_back(first + i);
      tokenSequence.push_back(int32_t(s));
    }
    auto owned = pages.pages(slot);
    std::copy(owned.begin(), owned.end(), blockTable.begin() + ptrdiff_t(s * maxPages));
  }
  StepView step;
  step.tokens = int32_t(batch.tokens.size());
  step.sequences = int32_t(batch.slots.size());
  step.logitsRows = int32_t(batch.logitsRows.size());
  step.maxPages = int32_t(maxPages);
  step.token = batch.tokens.data();
  step.position = positions.data();
  step.sequenceStart = batch.starts.data();
  step.tokenSequence = tokenSequence.data();
  step.blockTable = blockTable.data();
  step.logitsRow = batch.logitsRows.data();
  return step;
}

/// Runs the schedule on a batch and fetches what is wanted of it; the slots are as before if either fails.
Result<void> Session::runStep(const Batch &batch, uint32_t selection,
                              const std::function<Result<void>()> &fetch) {
  FUSEBOX_TRY(checkBatch(batch));
  std::vector<uint32_t> counts;
  for (size_t s = 0; s < batch.slots.size(); ++s)
    counts.push_back(uint32_t(batch.starts[s + 1] - batch.starts[s]));
  FUSEBOX_TRY(pages.extend(batch.slots, counts));
  StepView view = this->view(batch);
  LaunchObserver observer;
  if (nodeObserver)
    observer = [&](const LaunchReport &report) { return this->report(report, view); };
  lastRows = uint32_t(batch.logitsRows.size());
  auto done = launch(stream, bound, view, observer, selection);
  if (done)
    done = fetch();
  if (!done)
    for (size_t s = 0; s < batch.slots.size(); ++s)
      pages.truncate(uint32_t(batch.slots[s]), pages.length(uint32_t(batch.slots[s])) - counts[s]);
  return done;
}

Result<Logits> Session::step(const Batch &batch) {
  Logits logits;
  FUSEBOX_TRY(runStep(batch, 0, [&]() -> Result<void> {
    FUSEBOX_ASSIGN(logits, fetchLogits(lastRows));
    return {};
  }));
  return logits;
}

Result<RankedLogits> Session::stepRanked(const Batch &batch, uint32_t count) {
  if (count == 0 || count > loaded->model.vocabulary)
    return usageError("the " + std::to_string(count) + " largest of " +
                      std::to_string(loaded->model.vocabulary) + " logits can't be listed");
  auto selection = std::find_if(loaded->selections.begin(), loaded->selections.end(),
                                [&](const plan::Selection &s) { return s.count >= count; });
  bool onDevice = selection != loaded->selections.end();
  FUSEBOX_TRY(runStep(batch, onDevice ? selection->count : 0, [&]() -> Result<void> {
    if (onDevice)
      return fetchSelection(*selection, count);
    FUSEBOX_ASSIGN(Logits logits, fetchLogits(lastRows));
    rankOnHost(logits, count);
    return {};
  }));
  return RankedLogits{rankedHeaders.data(), rankedValues.data(), lastRows, count};
}

/// Takes over what a selection left, the first `count` values of each row.
Result<void> Session::fetchSelection(const plan::Selection &selection, uint32_t count) {
  using plan::SelectedRow, plan::SelectedValue;
  FUSEBOX_TRY(synchronise(stream));
  uint64_t stride = loaded->buffers[selection.buffer].bytesPerUnit;
  rankedHeaders.resize(lastRows);
  rankedValues.resize(size_t(lastRows) * count);
  for (uint32_t row = 0; row < lastRows; ++row) {
    const std::byte *from = selected.at(selection.count) + row * stride;
    std::memcpy(&rankedHeaders[row], from, sizeof(SelectedRow));
    std::memcpy(&rankedValues[size_t(row) * count], from + sizeof(SelectedRow),
                count * sizeof(SelectedValue));
    rankedHeaders[row].listed = std::min(rankedHeaders[row].listed, count);
  }
  return {};
}

/// Fills in rows as the device would, but for the sums, which nobody needs where all logits are at hand.
void Session::rankOnHost(const Logits &logits, uint32_t count) {
  using plan::SelectedValue;
  auto before = [](const SelectedValue &a, const SelectedValue &b) {
    return a.value != b.value ? a.value > b.value : a.index < b.index;
  };
  rankedHeaders.resize(logits.rows);
  rankedValues.resize(size_t(logits.rows) * count);
  std::vector<SelectedValue> heap; // the least of those kept is on top
  for (uint32_t row = 0; row < logits.rows; ++row) {
    heap.clear();
    for (uint32_t id = 0; id < logits.vocabulary; ++id) {
      SelectedValue value = {logits.row(row)[id], id};
      if (std::isnan(value.value) || (heap.size() == count && !before(value, heap.front())))
        continue;
      if (heap.size() == count) {
        std::pop_heap(heap.begin(), heap.end(), before);
        heap.pop_back();
      }
      heap.push_back(value);
      std::push_heap(heap.begin(), heap.end(), before);
    }
    std::sort_heap(heap.begin(), heap.end(), before);
    std::copy(heap.begin(), heap.end(), rankedValues.begin() + ptrdiff_t(size_t(row) * count));
    rankedHeaders[row] = {std::nanf(""), uint32_t(heap.size())};
  }
}

Result<Logits> Session::fetchLogits(uint32_t rows) {
  Logits logits{nullptr, rows, loaded->model.vocabulary};
  if (openedDevice.sharesHostMemory) {
    FUSEBOX_TRY(synchronise(stream));
    logits.values = reinterpret_cast<const float *>(logitsAddress);
    return logits;
  }
  hostLogits.resize(size_t(rows) * logits.vocabulary);
  FUSEBOX_TRY(download(stream, std::as_writable_bytes(std::span(hostLogits)), logitsAddress));
  FUSEBOX_TRY(synchronise(stream));
  logits.values = hostLogits.data();
  return logits;
}

Result<void> Session::report(const LaunchReport &launched, const StepView &step) {
  const plan::Launch &launch = loaded->launches[launched.launch];
  for (const plan::NodeValue &value : launch.values) {
    uint32_t index = launch.args[value.arg].index;
    const plan::Buffer &buffer = loaded->buffers[index];
    NodeReport report;
    report.block = launched.block;
    report.layer = launched.layer;
    report.value = &value;
    report.rows = extentUnits(step, buffer.extent);
    report.rowStride = buffer.bytesPerUnit;
    report.step = &step;
    const std::byte *address = bufferAddresses[index];
    if (!openedDevice.sharesHostMemory) {
      hostValue.resize(report.rows * buffer.bytesPerUnit);
      FUSEBOX_TRY(download(stream, hostValue, address));
      address = hostValue.data();
    }
    report.data = address + value.firstByte;
    FUSEBOX_TRY(nodeObserver(report));
  }
  return {};
}
