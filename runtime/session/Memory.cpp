#include "runtime/session/Memory.h"

#include "kernels/cpu/KernelAbi.h"
#include "runtime/plan/PlanLayout.h"
#include "runtime/plan/ProgramCheck.h"
#include "runtime/session/Session.h"
#include "runtime/weights/WeightStore.h"

#include <algorithm>
#include <cstdio>

using namespace fusebox;

/// Rows of rounding: with row sizes that are multiples of 4 bytes, buffers then start on cache lines.
static constexpr uint64_t capacityRounding = 16;
static constexpr uint64_t arenaAlignment = 256;

std::string fusebox::formatBytes(uint64_t bytes) {
  static constexpr const char *units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
  double value = double(bytes);
  unsigned unit = 0;
  while (value >= 1000 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof(text), unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text;
}

ArenaLayout fusebox::layOutArena(const plan::Program &program, const StepCapacity &capacity) {
  ArenaLayout layout;
  const uint64_t units[plan::extentCount] = {1, capacity.tokens, capacity.logitsRows, capacity.sequences};
  uint64_t perUnit[plan::extentCount] = {};
  for (const plan::Buffer &buffer : program.buffers) {
    uint64_t &end = perUnit[unsigned(buffer.extent)];
    end = std::max(end, buffer.offsetPerUnit + buffer.bytesPerUnit);
  }
  for (unsigned extent = 0; extent < plan::extentCount; ++extent) {
    bool fixed = plan::Extent(extent) == plan::Extent::Fixed;
    layout.capacity[extent] = fixed ? 1 : plan::alignUp(units[extent], capacityRounding);
    layout.start[extent] = layout.bytes;
    layout.bytes += plan::alignUp(perUnit[extent] * layout.capacity[extent], arenaAlignment);
  }
  return layout;
}

uint64_t fusebox::kvBytesPerPage(const plan::Program &program) {
  uint64_t bytes = 0;
  for (const plan::KvCache &cache : program.kvCaches)
    bytes += cache.layers * cache.pageBytes;
  return bytes;
}

StepCapacity fusebox::stepCapacity(const SessionOptions &options) {
  StepCapacity capacity;
  capacity.tokens = options.maxStepTokens;
  capacity.sequences = options.slots;
  capacity.logitsRows = options.maxLogitsRows;
  capacity.maxPages = (options.contextTokens + kvPageTokens - 1) / kvPageTokens;
  return capacity;
}

static Result<void> checkOptions(const plan::Program &program, SessionOptions &options) {
  constexpr uint32_t most = plan::maxStepUnits;
  if (options.maxStepTokens == 0 || options.maxStepTokens > most)
    return usageError("tokens of a step must lie between 1 and " + std::to_string(most));
  if (options.slots == 0 || options.slots > most)
    return usageError("slots must lie between 1 and " + std::to_string(most));
  uint32_t context = options.contextTokens, limit = program.model.maxPosition;
  if (context > limit)
    return usageError("a context of " + std::to_string(context) +
                      " tokens was asked for, the model was made for " + std::to_string(limit) +
                      " at most; use -c " + std::to_string(limit) + " or less");
  if (options.maxLogitsRows == 0)
    options.maxLogitsRows = std::max(options.slots, 64u);
  options.maxLogitsRows = std::min(options.maxLogitsRows, most);
  return {};
}

static MemoryNeed fixedNeed(const plan::Program &program, const Device &device,
                            const SessionOptions &options) {
  MemoryNeed need;
  WeightMemory weights = weightMemory(program, device.sharesHostMemory);
  need.weightsMapped = weights.mapped;
  need.weightsOwned = weights.owned;
  need.arena = layOutArena(program, stepCapacity(options)).bytes;
  uint64_t scratch = 0;
  if (device.kind == plan::TargetKind::Cpu)
    for (const plan::Kernel &kernel : program.kernels)
      scratch = std::max(scratch, kernel.scratchBytes * device.threads);
  need.other = scratch;
  for (const plan::Image &image : program.images)
    need.other += image.bytes.size();
  for (const plan::Constant &constant : program.constants)
    need.other += constant.bytes.size();
  return need;
}

static std::string breakdown(const MemoryNeed &need) {
  return "weights " + formatBytes(need.weightsMapped + need.weightsOwned) + ", KV cache " +
         formatBytes(need.kvCache) + ", values of a step " + formatBytes(need.arena) + ", other " +
         formatBytes(need.other);
}

Result<MemoryNeed> fusebox::planMemory(const plan::Program &program, const Device &device, uint64_t available,
                                       SessionOptions &options) {
  FUSEBOX_TRY(checkOptions(program, options));
  MemoryNeed need = fixedNeed(program, device, options);
  uint64_t limit = options.memoryBudget ? options.memoryBudget : available;
  std::string have = options.memoryBudget ? "the memory budget is " + formatBytes(limit)
                                          : formatBytes(limit) + " are available on " + device.name;
  uint64_t page = kvBytesPerPage(program) * options.slots;
  uint64_t left = limit - std::min(limit, need.total());
  uint64_t fitting = page == 0 ? UINT32_MAX : left / page * kvPageTokens;
  if (need.total() > limit || fitting == 0) {
    need.kvCache = page;
    return resourceError("not enough memory: at least " + formatBytes(need.total()) + " are needed (" +
                         breakdown(need) + "), but " + have +
                         "; free memory, or use a smaller model, chunk (-b) or weights (--weights=native)");
  }
  if (options.contextTokens == 0) {
    // Half of what is left stays free for the rest of the machine, unless a budget was named.
    uint64_t share = options.memoryBudget ? fitting : std::max<uint64_t>(fitting / 2, uint64_t(kvPageTokens));
    options.contextTokens = uint32_t(std::min<uint64_t>(program.model.maxPosition, share));
  }
  need.kvCache = page * stepCapacity(options).maxPages;
  if (need.total() > limit)
    return resourceError("not enough memory: a context of " + std::to_string(options.contextTokens) +
                         " tokens makes " + formatBytes(need.total()) + " (" + breakdown(need) + "), but " +
                         have + "; a context of at most " + std::to_string(fitting) +
                         " tokens fits: use -c " + std::to_string(fitting));
  return need;
}
