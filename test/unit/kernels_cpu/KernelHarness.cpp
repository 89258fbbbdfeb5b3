#include "test/unit/kernels_cpu/KernelHarness.h"

#include "runtime/cpu/CpuFeatures.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <immintrin.h>
#include <map>
#include <tuple>

using namespace fusebox;
using namespace fusebox::cpu;
using namespace fusebox::cpu::test;

template <typename T> static T orDie(Result<T> result) {
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    std::abort();
  }
  return std::move(*result);
}

FlushDenormals::FlushDenormals() : saved(_mm_getcsr()) { _mm_setcsr(saved | 0x8040); }
FlushDenormals::~FlushDenormals() { _mm_setcsr(saved); }

Step::Step(const std::vector<Sequence> &sequences, int32_t maxPages) : maxPages(maxPages) {
  sequenceStart.push_back(0);
  for (size_t s = 0; s < sequences.size(); ++s) {
    for (int32_t i = 0; i < sequences[s].tokens; ++i) {
      token.push_back(int32_t(position.size()));
      position.push_back(sequences[s].firstPosition + i);
      tokenSequence.push_back(int32_t(s));
    }
    sequenceStart.push_back(int32_t(position.size()));
    logitsRow.push_back(int32_t(position.size()) - 1);
  }
  // Pages in an order that is neither ascending nor the same for two sequences.
  int32_t count = int32_t(sequences.size()) * maxPages;
  for (int32_t i = 0; i < count; ++i)
    blockTable.push_back(count - 1 - i);
}

StepView Step::view() const {
  StepView view = {};
  view.tokens = int32_t(position.size());
  view.sequences = int32_t(sequenceStart.size()) - 1;
  view.logitsRows = int32_t(logitsRow.size());
  view.maxPages = maxPages;
  view.token = token.data();
  view.position = position.data();
  view.sequenceStart = sequenceStart.data();
  view.tokenSequence = tokenSequence.data();
  view.blockTable = blockTable.data();
  view.logitsRow = logitsRow.data();
  return view;
}

CompiledCpuKernel::CompiledCpuKernel(const std::string &kernel, const Fields &fields,
                                     const std::string &target, plan::Extent rows, Specialise specialise)
    : variants(orDie(kernelVariants(kernel, fields, rows))), rows(rows) {
  using Key = std::tuple<std::string, std::string, Specialise, Fields>;
  static std::map<Key, Code> compiled;
  auto [found, isNew] = compiled.try_emplace(Key(kernel, target, specialise, variants[0].fields));
  code = &found->second;
  if (!isNew)
    return;
  std::vector<KernelRequest> requests;
  for (const KernelVariant &variant : variants)
    requests.push_back({kernel + std::to_string(requests.size()), kernel, variant.fields});
  CompiledImage image = orDie(compileCpuKernels(requests, orDie(parseCpuTarget(target)), specialise));
  found->second.image = orDie(CodeImage::map(image.image));
  for (const CompiledKernel &each : image.kernels)
    found->second.entries.push_back(each.entry);
}

static int64_t units(plan::Extent extent, const StepView &step) {
  switch (extent) {
  case plan::Extent::Tokens:
    return step.tokens;
  case plan::Extent::LogitsRows:
    return step.logitsRows;
  case plan::Extent::Sequences:
    return step.sequences;
  default:
    return 1;
  }
}

int CompiledCpuKernel::chooseVariant(const StepView &step) const {
  int choice = 0;
  while (int64_t(variants[choice].maxRows) < units(rows, step))
    ++choice;
  return choice;
}

int64_t CompiledCpuKernel::tasks(int variant, const StepView &step) const {
  int64_t count = 1;
  for (const plan::GridDim &dim : variants[variant].grid)
    count *= dim.count * ((units(dim.extent, step) + dim.tile - 1) / dim.tile);
  return count;
}

void CompiledCpuKernel::run(const std::vector<const void *> &args, const Step &step, int forceVariant,
                            bool backwards) const {
  StepView view = step.view();
  int variant = forceVariant >= 0 ? forceVariant : chooseVariant(view);
  // Guards around the scratch show a kernel that writes past it.
  constexpr size_t guard = 64;
  size_t bytes = (variants[variant].scratchBytes + 63) / 64 * 64;
  auto *memory = static_cast<unsigned char *>(std::aligned_alloc(64, bytes + 2 * guard));
  std::fill_n(memory, bytes + 2 * guard, 0xa5);
  std::fill_n(memory + guard, std::min<size_t>(bytes, scratchMarkBytes), 0);
  std::vector<void *> pointers;
  for (const void *arg : args)
    pointers.push_back(const_cast<void *>(arg));
  {
    FlushDenormals flush;
    int64_t count = tasks(variant, view);
    for (int64_t i = 0; i < count; ++i)
      runTask(variant, pointers.data(), view, memory + guard, backwards ? count - 1 - i : i);
  }
  auto intact = [](const unsigned char *from) {
    return std::all_of(from, from + guard, [](auto b) { return b == 0xa5; });
  };
  if (!intact(memory) || !intact(memory + guard + bytes)) {
    std::fprintf(stderr, "the kernel wrote outside its scratch\n");
    std::abort();
  }
  std::free(memory);
}

std::vector<std::string> cpu::test::runnableTargets() {
  std::vector<std::string> names;
  for (const char *name : {"x86-64-v3", "x86-64-v4", "x86-64-v4+avx512bf16"}) {
    CpuTarget target = orDie(parseCpuTarget(name));
    if (checkFeatures({plan::TargetKind::Cpu, target.cpu, target.features}))
      names.push_back(name);
  }
  return names;
}

std::vector<std::string> cpu::test::targetsFor(bool isCommon) {
  return isCommon || std::getenv("FUSEBOX_LONG") ? runnableTargets() : std::vector<std::string>{"native"};
}
