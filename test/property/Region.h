// Regions of a layer run by the oracle on one f64 input, exactly and with the roundings of each contract:
// what the certificates bound.
#pragma once

#include "ir/interpreter/Evaluate.h"
#include "passes/analysis/Analysis.h"
#include "test/golden/OracleModel.h"
#include "test/unit/analysis/TestModel.h"

#include <map>
#include <random>

namespace fusebox::test {

/// How a region is computed.
enum class How { Real, Reference, Wide, Fast };

/// A golden's graph with weights of our choice: facts are what the analysis and the oracle both read.
class Region {
public:
  /// The graph and weights of the golden model in `folder`.
  explicit Region(const std::string &folder, ReferenceRounding rounding = ReferenceRounding::Sdpa);

  ModelFacts facts;
  std::mt19937 random{1};

  /// Replaces all weights by random ones; gains spread lognormally.
  void randomise(unsigned seed, double spread = 0.3);
  /// A zero matrix of that shape that is the region's own, for weights written one by one.
  MatrixView zeros(int64_t rows, int64_t columns);

  /// Rows of standard normal values, as an input of layers.
  oracle::Tensor normalInput(int64_t rows);

  /// Attention scores [head][query][key ≤ query], after the scale; `positions` of the rows.
  struct Scores {
    int64_t heads = 0, rows = 0;
    std::vector<double> values;
    double at(int64_t head, int64_t query, int64_t key) const {
      return values[size_t((head * rows + query) * rows + key)];
    }
  };
  Scores scores(int64_t layer, const oracle::Tensor &input, const std::vector<double> &positions, How how);
  /// From q's and k's projections on (models with a QK-norm).
  Scores scoresFrom(int64_t layer, const oracle::Tensor &q, const oracle::Tensor &k,
                    const std::vector<double> &positions, How how);

  /// A node's value from `input`, the layer's own; Wide rounds it once at the end. Nodes before the region
  /// are exact.
  oracle::Tensor value(const std::string &node, const std::vector<std::string> &region, int64_t layer,
                       const oracle::Tensor &input, How how);

private:
  oracle::Context context(int64_t layer, How how, bool rounds);
  oracle::Tensor evaluate(const std::string &node, std::vector<const oracle::Tensor *> operands,
                          int64_t layer, How how, bool rounds);
  Scores multiply(const oracle::Tensor &q, const oracle::Tensor &k, How how) const;

  LoadedModel loaded;
  std::shared_ptr<OracleModel> model;
  std::map<std::string, mlir::Operation *> nodes;
  TestModel storage{{.layers = 0}};
  bool eager;
};

/// Consecutive positions from 0.
std::vector<double> consecutive(int64_t rows);

} // namespace fusebox::test
