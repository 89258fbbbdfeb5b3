// Chains of layer operations on elements: as the body that the compiler makes of them, and as the oracle's
// values. Used by the device suite and by codegen's unit test.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace fusebox::gputest {

class Chain {
public:
  /// `inputs`: "%a: !b, %b: !f"; `operations`: lines of layer IR; !b and !f are rows of bf16 and f32. The
  /// last operation's result is the chain's. A product is its sum as an !f and a cast to the type it is
  /// rounded to.
  Chain(std::string name, const std::string &inputs, const std::string &operations);

  const std::string &name() const { return chainName; }
  /// The plan.pointwise of the chain, as text.
  std::string ir() const;
  /// CUDA C++, as codegen emits it.
  std::string body() const;
  /// The oracle's result, rounded as the operations say, for values that are exact in the inputs' types.
  std::vector<double> expected(std::span<const std::vector<double>> inputs) const;

private:
  struct Module;
  std::string chainName;
  std::shared_ptr<Module> module;
};

/// The body of a product rounded to bf16, and kept so or as f32.
std::string roundedSum(bool asF32 = false);
/// Behind a product: its sum rounded to bf16, then added to the second input.
std::string residualSum();
/// Of two products: silu of the first times the second, every step rounded to bf16.
std::string gatedSums();

} // namespace fusebox::gputest
