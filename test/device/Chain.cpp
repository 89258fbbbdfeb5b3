#include "test/device/Chain.h"

#include "codegen/cuda/EmitPointwise.h"
#include "ir/interpreter/Evaluate.h"
#include "passes/select-kernels/PointwiseBody.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"

#include <cstdio>
#include <cstdlib>

namespace fusebox::gputest {

struct Chain::Module {
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> parsed;
  PointwiseBody body;

  mlir::Block &block() { return parsed->getBody()->front().getRegion(0).front(); }
};

Chain::Chain(std::string name, const std::string &inputs, const std::string &operations)
    : chainName(std::move(name)), module(std::make_shared<Module>()) {
  mlir::MLIRContext &context = module->context;
  context.loadDialect<layer::LayerDialect, plan::PlanDialect>();
  context.allowUnregisteredDialects();
  std::string text = "!b = tensor<?x8xbf16>\n!f = tensor<?x8xf32>\n\"test.chain\"() ({\n^bb0(" + inputs +
                     "):\n" + operations + "\n\"test.end\"() : () -> ()\n}) : () -> ()\n";
  module->parsed = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
  if (!module->parsed) {
    std::fprintf(stderr, "the chain %s does not parse\n", chainName.c_str());
    std::exit(1);
  }
  mlir::Block &block = module->block();
  llvm::SmallVector<mlir::Type> types;
  for (mlir::Type type : block.getArgumentTypes())
    types.push_back(mlir::getElementTypeOrSelf(type));
  mlir::OpBuilder builder(&context);
  module->body = startBody(builder, chainName, types);
  llvm::DenseMap<mlir::Value, mlir::Value> elements;
  for (auto [value, element] : llvm::zip(block.getArguments(), module->body->getBody().getArguments()))
    elements[value] = element;
  mlir::Value last;
  for (mlir::Operation &op : llvm::make_range(block.begin(), std::prev(block.end()))) {
    llvm::SmallVector<mlir::Value> operands;
    for (mlir::Value operand : op.getOperands())
      operands.push_back(elements.lookup(operand));
    PointwiseBody one = pointwiseBody(&op, op.getResult(0));
    elements[op.getResult(0)] = last = inlineBody(builder, *one, operands);
  }
  plan::YieldOp::create(builder, builder.getUnknownLoc(), last);
}

std::string Chain::ir() const {
  std::string text;
  llvm::raw_string_ostream out(text);
  module->body.get()->print(out);
  return text;
}

std::string Chain::body() const { return *emitPointwise(*module->body); }

std::vector<double> Chain::expected(std::span<const std::vector<double>> inputs) const {
  mlir::Block &block = module->block();
  oracle::Values values;
  for (auto [argument, input] : llvm::zip(block.getArguments(), inputs)) {
    auto tensor = std::make_shared<oracle::Tensor>(1, int64_t(input.size()));
    tensor->values = input;
    values[argument] = tensor;
  }
  oracle::Context context;
  context.rounds = [](mlir::Operation *) { return true; };
  oracle::evaluate(block, values, context);
  return values.lookup(std::prev(block.end(), 2)->getResult(0))->values;
}

std::string roundedSum(bool asF32) {
  std::string widen = asF32 ? "%f = layer.cast %p : !b -> !f" : "";
  return Chain("rounded", "%sum: !f", "%p = layer.cast %sum : !f -> !b\n" + widen).body();
}

std::string residualSum() {
  return Chain("residual", "%sum: !f, %h: !b", "%p = layer.cast %sum : !f -> !b\n%r = layer.add %h, %p : !b")
      .body();
}

std::string gatedSums() {
  return Chain("gated", "%gate: !f, %up: !f",
               "%g = layer.cast %gate : !f -> !b\n%u = layer.cast %up : !f -> !b\n"
               "%r = layer.glu silu %g, %u rounds activation_and_product : !b")
      .body();
}

} // namespace fusebox::gputest
