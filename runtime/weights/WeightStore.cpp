#include "runtime/weights/WeightStore.h"

#include "runtime/plan/PlanLayout.h"
#include "runtime/weights/Recipe.h"
#include "support/ParallelFor.h"

#include <algorithm>
#include <mutex>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

using namespace fusebox;
using namespace fusebox::plan;

/// Alignment of weights that don't lie in a file: whole cache lines, and what device copies like.
static constexpr uint64_t weightAlignment = 256;

WeightMemory fusebox::weightMemory(const Program &program, bool sharesHostMemory) {
  WeightMemory memory;
  for (const Weight &weight : program.weights) {
    bool inPlace = sharesHostMemory && isIdentity(weight);
    uint64_t each = inPlace ? weight.bytes : alignUp(weight.bytes, weightAlignment);
    (inPlace ? memory.mapped : memory.owned) += each * weight.instances.size();
  }
  // Weights that share their bytes (tied embeddings) are in memory once.
  uint64_t files = 0;
  for (const WeightFile &file : program.files)
    files = file.size > UINT64_MAX - files ? UINT64_MAX : files + file.size;
  memory.mapped = std::min(memory.mapped, files);
  return memory;
}

namespace {

/// One instance that needs memory of its own, and where it goes.
struct Job {
  uint32_t weight, instance;
  uint64_t offset;
};

std::vector<std::span<const std::byte>> sourcesOf(const WeightFiles &files, const WeightInstance &instance) {
  std::vector<std::span<const std::byte>> sources;
  for (const WeightSource &source : instance.sources)
    sources.push_back(files.bytes(source));
  return sources;
}

/// Fills in all addresses inside files, and lists the rest with places in one block of memory.
std::vector<Job> layOut(const Program &program, const WeightFiles &files, bool sharesHostMemory,
                        PlacedWeights &placed) {
  std::vector<Job> jobs;
  uint64_t end = 0;
  for (uint32_t w = 0; w < program.weights.size(); ++w) {
    const Weight &weight = program.weights[w];
    auto &addresses = placed.addresses.emplace_back();
    for (uint32_t i = 0; i < weight.instances.size(); ++i) {
      if (sharesHostMemory && isIdentity(weight)) {
        addresses.push_back(files.bytes(weight.instances[i].sources[0]).data());
        continue;
      }
      addresses.push_back(nullptr);
      jobs.push_back({w, i, end});
      end += alignUp(weight.bytes, weightAlignment);
    }
  }
  return jobs;
}

} // namespace

Result<PlacedWeights> fusebox::placeWeights(const Program &program, const WeightFiles &files,
                                            const Device &device, const Stream &stream) {
  PlacedWeights placed;
  placed.owners.push_back(std::make_shared<WeightFiles>(files));
  std::vector<Job> jobs = layOut(program, files, device.sharesHostMemory, placed);
  FUSEBOX_ASSIGN(DeviceBuffer block,
                 allocate(device, weightMemory(program, device.sharesHostMemory).owned, "weights"));
  placed.owners.push_back(block.owner);
  for (const Job &job : jobs)
    placed.addresses[job.weight][job.instance] = block.address + job.offset;

  // Large ones first, so that no thread is left alone with one at the end.
  std::sort(jobs.begin(), jobs.end(), [&](const Job &a, const Job &b) {
    return program.weights[a.weight].bytes > program.weights[b.weight].bytes;
  });
  std::vector<Result<void>> outcomes(jobs.size());
  std::mutex uploading;
  parallelFor(jobs.size(), device.threads, [&](size_t j) {
    const Weight &weight = program.weights[jobs[j].weight];
    const WeightInstance &instance = weight.instances[jobs[j].instance];
    auto sources = sourcesOf(files, instance);
    auto put = [&](std::span<const std::byte> bytes) {
      std::scoped_lock lock(uploading);
      return upload(stream, block, jobs[j].offset, bytes);
    };
    if (device.sharesHostMemory) {
      outcomes[j] =
          runRecipe(program, weight, instance, sources, {block.address + jobs[j].offset, weight.bytes});
    } else if (isIdentity(weight)) {
      outcomes[j] = put(sources[0]);
    } else {
      std::vector<std::byte> made(weight.bytes);
      outcomes[j] = runRecipe(program, weight, instance, sources, made);
      if (outcomes[j])
        outcomes[j] = put(made);
    }
  });
  for (const Result<void> &outcome : outcomes)
    FUSEBOX_TRY(outcome);
  return placed;
}

/// Reads one byte of each page in [bytes), unless told to stop.
static void touch(std::span<const std::byte> bytes, const std::stop_token &stop) {
  static const uintptr_t page = uintptr_t(sysconf(_SC_PAGESIZE));
  constexpr size_t part = size_t(4) << 20;
  for (size_t offset = 0; offset < bytes.size() && !stop.stop_requested(); offset += part) {
    auto piece = bytes.subspan(offset, std::min(part, bytes.size() - offset));
    auto first = reinterpret_cast<uintptr_t>(piece.data()) / page * page;
    auto last = reinterpret_cast<uintptr_t>(piece.data() + piece.size());
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
    if (madvise(reinterpret_cast<void *>(first), last - first, MADV_POPULATE_READ) != 0)
      madvise(reinterpret_cast<void *>(first), last - first, MADV_WILLNEED);
  }
}

std::shared_ptr<void> fusebox::prefetchWeights(const Program &program, const WeightFiles &files) {
  std::vector<std::span<const std::byte>> ranges;
  for (const Weight &weight : program.weights)
    if (isIdentity(weight))
      for (const WeightInstance &instance : weight.instances)
        ranges.push_back(files.bytes(instance.sources[0]));
  return std::make_shared<std::jthread>([ranges = std::move(ranges), files](std::stop_token stop) {
    for (auto range : ranges)
      touch(range, stop);
  });
}
