// Verdicts as attributes.
#include "passes/analyze/Analyze.h"

#include "passes/analysis/Metric.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace fusebox;

static constexpr llvm::StringLiteral elidedName = "verdicts_elided";

namespace {

StringAttr text(Builder &builder, std::string_view value) {
  return builder.getStringAttr(StringRef(value.data(), value.size()));
}

DictionaryAttr toAttr(Builder &builder, const Verdict &verdict) {
  auto entry = [&](StringRef name, Attribute value) { return builder.getNamedAttr(name, value); };
  return builder.getDictionaryAttr({
      entry("layer", builder.getI64IntegerAttr(verdict.layer)),
      entry("node", text(builder, verdict.node)),
      entry("contract", text(builder, contractName(verdict.contract))),
      entry("legal", builder.getBoolAttr(verdict.legal)),
      entry("basis", text(builder, basisName(verdict.basis))),
      entry("range", builder.getF64FloatAttr(verdict.range)),
      entry("deviation_worst", builder.getF64FloatAttr(verdict.deviationWorst)),
      entry("deviation_expected", builder.getF64FloatAttr(verdict.deviationExpected)),
      entry("kl", builder.getF64FloatAttr(verdict.kl)),
      entry("semantics_proved", builder.getBoolAttr(verdict.semanticsProved)),
      entry("range_proved", builder.getBoolAttr(verdict.rangeProved)),
      entry("reason", text(builder, verdict.reason)),
  });
}

/// Reads one entry; a missing or mistyped field makes it malformed.
class EntryReader {
public:
  explicit EntryReader(DictionaryAttr entry) : entry(entry) {}

  bool read(Verdict &verdict) {
    auto layer = get<IntegerAttr>("layer");
    auto node = get<StringAttr>("node"), contract = get<StringAttr>("contract"),
         basis = get<StringAttr>("basis"), reason = get<StringAttr>("reason");
    auto legal = get<BoolAttr>("legal"), semantics = get<BoolAttr>("semantics_proved"),
         range = get<BoolAttr>("range_proved");
    if (!complete)
      return false;
    verdict.layer = layer.getInt();
    verdict.node = node.getValue().str();
    verdict.reason = reason.getValue().str();
    verdict.legal = legal.getValue();
    verdict.semanticsProved = semantics.getValue();
    verdict.rangeProved = range.getValue();
    verdict.range = number("range");
    verdict.deviationWorst = number("deviation_worst");
    verdict.deviationExpected = number("deviation_expected");
    verdict.kl = number("kl");
    return complete && named(contract, verdict.contract) && named(basis, verdict.basis);
  }

private:
  template <typename T> T get(StringRef name) {
    auto value = entry.getAs<T>(name);
    complete &= bool(value);
    return value;
  }
  double number(StringRef name) {
    auto value = get<FloatAttr>(name);
    return value ? value.getValueAsDouble() : 0;
  }
  static bool named(StringAttr name, Contract &contract) {
    for (Contract known : {Contract::Exact, Contract::Wide, Contract::Fast, Contract::Reference})
      if (contractName(known) == std::string_view(name.getValue()))
        return contract = known, true;
    return false;
  }
  static bool named(StringAttr name, Basis &basis) {
    for (Basis known : {Basis::Proved, Basis::Expected, Basis::Measured})
      if (basisName(known) == std::string_view(name.getValue()))
        return basis = known, true;
    return false;
  }

  DictionaryAttr entry;
  bool complete = true;
};

} // namespace

ArrayAttr fusebox::verdictsToAttr(MLIRContext *context, const std::vector<Verdict> &verdicts) {
  Builder builder(context);
  SmallVector<Attribute> entries;
  for (const Verdict &verdict : verdicts)
    entries.push_back(toAttr(builder, verdict));
  return builder.getArrayAttr(entries);
}

FailureOr<std::vector<Verdict>> fusebox::verdictsOf(layer::ModelOp model) {
  std::vector<Verdict> verdicts;
  if (model->hasAttr(elidedName))
    return model.emitError("the verdicts of this dump were elided; run analyze again"), failure();
  ArrayAttr entries = model.getVerdictsAttr();
  for (Attribute attribute : entries ? entries.getValue() : ArrayRef<Attribute>()) {
    auto entry = dyn_cast<DictionaryAttr>(attribute);
    Verdict verdict;
    if (!entry || !EntryReader(entry).read(verdict))
      return model.emitError("entry ") << verdicts.size() << " of verdicts is malformed: " << attribute,
             failure();
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

void fusebox::elideVerdicts(layer::ModelOp model) {
  ArrayAttr verdicts = model.getVerdictsAttr();
  if (!verdicts)
    return;
  model->setAttr(elidedName, Builder(model.getContext()).getI64IntegerAttr(int64_t(verdicts.size())));
  model.removeVerdictsAttr();
}
