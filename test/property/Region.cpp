#include "test/property/Region.h"

#include "passes/analysis/FactsFromModel.h"
#include "support/Dequantise.h"

#include "llvm/Support/ErrorHandling.h"

using namespace fusebox;
using namespace fusebox::test;
using oracle::Tensor;

namespace {

template <typename T> T orDie(Result<T> result) {
  if (!result)
    llvm::report_fatal_error(llvm::StringRef(result.error().message));
  return std::move(*result);
}

double roundToBf16(double value) { return oracle::roundTo(oracle::Rounding::BF16, value); }

Tensor rounded(Tensor tensor) {
  for (double &value : tensor.values)
    value = roundToBf16(value);
  return tensor;
}

void readMatrix(const MatrixView &matrix, int64_t first, std::span<double> out) {
  std::vector<float> row(size_t(matrix.columns));
  for (size_t done = 0; done < out.size(); done += row.size()) {
    if (!dequantiseRow(matrix.dtype, matrix.row(first++), row.size(), row.data()))
      llvm::report_fatal_error("a weight that can't be widened");
    std::copy(row.begin(), row.end(), out.begin() + long(done));
  }
}

const LinearFacts *linearOf(const LayerFacts &layer, llvm::StringRef role) {
  const std::pair<llvm::StringRef, const LinearFacts *> all[] = {
      {"q", &layer.q},       {"k", &layer.k},   {"v", &layer.v},      {"o", &layer.o},
      {"gate", &layer.gate}, {"up", &layer.up}, {"down", &layer.down}};
  for (auto [name, linear] : all)
    if (name == role)
      return linear;
  return nullptr;
}

const NormFacts *normOf(const ModelFacts &facts, const LayerFacts &layer, llvm::StringRef role) {
  if (role == "final_norm")
    return &facts.finalNorm;
  const std::pair<llvm::StringRef, const std::optional<NormFacts> *> all[] = {{"attn_norm", &layer.attnNorm},
                                                                              {"mlp_norm", &layer.mlpNorm},
                                                                              {"q_norm", &layer.qNorm},
                                                                              {"k_norm", &layer.kNorm}};
  for (auto [name, norm] : all)
    if (name == role)
      return &**norm;
  return nullptr;
}

/// Rows of a matrix with a norm's gain folded in, rounded, and taken out again.
void fold(const NormFacts &norm, std::span<double> rows) {
  for (size_t i = 0; i < rows.size(); ++i) {
    double gain = norm.gain[i % norm.gain.size()];
    rows[i] = gain == 0 ? 0 : roundToBf16(rows[i] * gain) / gain;
  }
}

/// The facts' weights as the oracle reads them. `folded`: what reads a norm has the norm's gain folded in and
/// is rounded anew, divided by it again, so that the graph stays as it is.
oracle::WeightRows weightsOf(const ModelFacts &facts, bool folded) {
  return [&facts, folded](layer::ParamOp param, int64_t index, int64_t first, std::span<double> out) {
    llvm::StringRef role = param.getSymName();
    const LayerFacts &layer = facts.layers[size_t(std::max<int64_t>(index, 0))];
    if (const NormFacts *norm = normOf(facts, layer, role)) {
      std::copy(norm->gain.begin(), norm->gain.end(), out.begin());
    } else if (role == "embed" || role == "lm_head") {
      readMatrix(role == "embed" ? facts.embed : facts.lmHead, first, out);
      if (folded)
        fold(facts.finalNorm, out);
    } else if (role.consume_back("_bias")) {
      const std::vector<double> &bias = linearOf(layer, role)->bias;
      std::copy(bias.begin(), bias.end(), out.begin());
    } else {
      readMatrix(linearOf(layer, role)->weight, first, out);
      if (folded && role != "o" && role != "down")
        fold(role == "gate" || role == "up" ? *layer.mlpNorm : *layer.attnNorm, out);
    }
  };
}

} // namespace

Region::Region(const std::string &folder, ReferenceRounding rounding)
    : loaded(orDie(loadModel(folder))),
      model(std::make_shared<OracleModel>(folder, ImportOptions{.dtype = DType::BF16, .rounding = rounding})),
      eager(rounding == ReferenceRounding::Eager) {
  FactsOptions options = {eager ? AttentionRounding::Eager : AttentionRounding::Sdpa, {}};
  facts = orDie(factsFromModel(loaded, folder, options));
  model->module->walk([&](mlir::Operation *op) {
    if (auto name = op->getAttrOfType<mlir::StringAttr>("node"))
      nodes[name.getValue().str()] = op;
  });
}

void Region::randomise(unsigned seed, double spread) {
  random.seed(seed);
  storage.random.seed(seed);
  auto linear = [&](LinearFacts &to) {
    to.weight = storage.matrix(to.weight.rows, to.weight.columns);
    if (!to.bias.empty())
      to.bias = storage.gains(int64_t(to.bias.size()), spread);
  };
  auto norm = [&](std::optional<NormFacts> &to) {
    if (to)
      to->gain = storage.gains(int64_t(to->gain.size()), spread);
  };
  bool tied = facts.lmHead.bytes.data() == facts.embed.bytes.data();
  facts.embed = storage.matrix(facts.embed.rows, facts.embed.columns);
  facts.lmHead = tied ? facts.embed : storage.matrix(facts.lmHead.rows, facts.lmHead.columns);
  facts.finalNorm.gain = storage.gains(facts.hidden, spread);
  for (LayerFacts &layer : facts.layers) {
    for (LinearFacts *to : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down})
      linear(*to);
    for (auto *to : {&layer.attnNorm, &layer.mlpNorm, &layer.qNorm, &layer.kNorm})
      norm(*to);
  }
}

MatrixView Region::zeros(int64_t rows, int64_t columns) { return storage.matrix(rows, columns, 0); }

Tensor Region::normalInput(int64_t rows) {
  std::normal_distribution<double> normal;
  Tensor input(rows, facts.hidden);
  for (double &value : input.values)
    value = normal(random);
  return input;
}

oracle::Context Region::context(int64_t layer, How how, bool rounds) {
  oracle::Context context;
  context.weights = weightsOf(facts, how == How::Fast);
  context.layer = layer;
  if (rounds)
    context.rounds = [](mlir::Operation *) { return true; };
  return context;
}

Tensor Region::evaluate(const std::string &node, std::vector<const Tensor *> operands, int64_t layer, How how,
                        bool rounds) {
  return oracle::evaluate(nodes.at(node), operands, context(layer, how, rounds));
}

Region::Scores Region::multiply(const Tensor &q, const Tensor &k, How how) const {
  Scores scores{facts.heads, q.rows, std::vector<double>(size_t(facts.heads * q.rows * q.rows))};
  int64_t d = facts.headDim;
  for (int64_t h = 0; h < facts.heads; ++h)
    for (int64_t i = 0; i < q.rows; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (int64_t c = 0; c < d; ++c)
          sum += q.row(i)[size_t(h * d + c)] * k.row(j)[size_t(h / facts.queriesPerKey() * d + c)];
        bool rounds = eager && (how == How::Reference || how == How::Fast);
        double score = (rounds ? roundToBf16(sum) : sum) * facts.scale;
        scores.values[size_t((h * q.rows + i) * q.rows + j)] = rounds ? roundToBf16(score) : score;
      }
  return scores;
}

Region::Scores Region::scoresFrom(int64_t layer, const Tensor &q, const Tensor &k,
                                  const std::vector<double> &positions, How how) {
  bool rounds = how == How::Reference || how == How::Fast;
  Tensor at(int64_t(positions.size()), 1);
  at.values = positions;
  Tensor angles = evaluate("angles", {&at}, -1, how, rounds);
  auto side = [&](Tensor x, const std::string &name) {
    if (facts.qkNorm != QkNorm::None)
      x = evaluate(name + "_norm", {&x}, layer, how, rounds);
    x = evaluate(name + "_rope", {&x, &angles}, layer, how, rounds);
    return how == How::Wide ? rounded(x) : x;
  };
  return multiply(side(q, "q"), side(k, "k"), how);
}

Region::Scores Region::scores(int64_t layer, const Tensor &input, const std::vector<double> &positions,
                              How how) {
  bool inside = facts.qkNorm == QkNorm::None && (how == How::Reference || how == How::Fast);
  Tensor x = evaluate("attn_norm", {&input}, layer, how, inside);
  Tensor q = evaluate("q", {&x}, layer, how, inside), k = evaluate("k", {&x}, layer, how, inside);
  return scoresFrom(layer, q, k, positions, how);
}

Tensor Region::value(const std::string &node, const std::vector<std::string> &region, int64_t layer,
                     const Tensor &input, How how) {
  bool inside = std::find(region.begin(), region.end(), node) != region.end();
  if (node == "angles") {
    Tensor positions(input.rows, 1);
    positions.values = consecutive(input.rows);
    return evaluate(node, {&positions}, -1, how, false);
  }
  // The MLP's part of a layer starts at the first residual, the model's end at the rows it reads.
  if (!inside && (node == "attn_residual" || node == "rows"))
    return input;
  std::vector<Tensor> operands;
  for (mlir::Value operand : nodes.at(node)->getOperands()) {
    auto *from = operand.getDefiningOp(); // none: the layer's input
    operands.push_back(from ? value(from->getAttrOfType<mlir::StringAttr>("node").getValue().str(), region,
                                    layer, input, how)
                            : input);
  }
  std::vector<const Tensor *> pointers;
  for (const Tensor &operand : operands)
    pointers.push_back(&operand);
  bool rounds = inside && (how == How::Reference || how == How::Fast);
  Tensor result = evaluate(node, pointers, layer, inside ? how : How::Real, rounds);
  // The region's last node rounds once in contract wide.
  return how == How::Wide && !region.empty() && region.back() == node ? rounded(result) : result;
}

std::vector<double> fusebox::test::consecutive(int64_t rows) {
  std::vector<double> positions;
  for (int64_t i = 0; i < rows; ++i)
    positions.push_back(double(i));
  return positions;
}
