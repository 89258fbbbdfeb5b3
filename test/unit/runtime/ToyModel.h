// A toy model as a plan: two layers over a paged KV cache, computed by kernels that the build compiles to an
// image. Its logits are simple enough to be computed beside it (ToyModel::reference), to the bit.
#pragma once

#include "runtime/plan/PlanFile.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace fusebox::toy {

inline constexpr int64_t hidden = 16, vocabulary = 40, layers = 3, maxPosition = 1000;

/// A folder that goes with the object.
class TemporaryFolder {
public:
  TemporaryFolder();
  ~TemporaryFolder();
  std::string file(const std::string &name) const { return (path / name).string(); }

private:
  std::filesystem::path path;
};

/// The image of ToyKernels.cpp and where its kernels start.
struct ToyImage {
  std::vector<std::byte> bytes;
  uint64_t codeBytes = 0;
  std::map<std::string, uint64_t> entries;
};
const ToyImage &toyImage();

struct ToyModel {
  std::vector<float> embed; ///< [vocabulary, hidden]
  std::vector<float> gain;  ///< [layers, hidden]
  std::vector<float> bias;  ///< [vocabulary], a constant of the plan

  ToyModel();
  /// The bytes of the weight file: embed, then gain.
  std::vector<std::byte> weightFile() const;
  /// A program that reads that file under the given name.
  plan::Program program(const std::string &weightPath) const;
  /// A plan with all kinds of sections but embedded weights.
  plan::PlanWriter writer(const plan::Program &program) const;
  /// Writes weights.bin and toy.plan into the folder; returns the plan's path.
  std::string write(const TemporaryFolder &folder) const;
  /// Logits [tokens, vocabulary] of one sequence.
  std::vector<float> reference(std::span<const int32_t> tokens) const;
};

/// Puts before the variants of a launch a loop variant for steps of one token that sees fewer than 100 keys.
void addLoopVariant(plan::Launch &launch, uint32_t blocks);
/// Gives the launches of the loop of layers loop variants; the first of them has the kernel, of 4 blocks.
void addLoopVariants(plan::Program &program);

/// Index of a launch of the program by name.
uint32_t launchNamed(const plan::Program &program, const std::string &name);

} // namespace fusebox::toy
