// Memory plans of random graphs: no value is overwritten while it is still needed.
#include "passes/plan-memory/Lifetimes.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Verifier.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

using namespace mlir;
using namespace fusebox;

namespace {

/// A random program at the value level: calls, a loop whose body ends in an in-place sum, calls after it.
class RandomGraph {
public:
  explicit RandomGraph(unsigned seed) : random(seed), builder(&context) {
    context.loadDialect<plan::PlanDialect>();
    module = ModuleOp::create(builder.getUnknownLoc());
    builder.setInsertionPointToStart(module->getBody());
    auto program =
        plan::ProgramOp::create(builder, loc(), "p", builder.getDictionaryAttr({}), DenseI64ArrayAttr());
    builder.setInsertionPointToStart(&program.getBody().emplaceBlock());
    graph = plan::GraphOp::create(builder, loc());
    builder.setInsertionPointToStart(&graph.getBody().emplaceBlock());
    build();
  }

  plan::GraphOp graph;

private:
  MLIRContext context{MLIRContext::Threading::DISABLED};
  std::mt19937 random;
  OpBuilder builder;
  OwningOpRef<ModuleOp> module;
  unsigned calls = 0;

  Location loc() { return builder.getUnknownLoc(); }
  unsigned below(unsigned limit) { return unsigned(random() % limit); }

  RankedTensorType type(unsigned size) {
    return RankedTensorType::get({ShapedType::kDynamic, int64_t(32) << size}, builder.getBF16Type());
  }

  Value call(ArrayRef<Value> inputs, RankedTensorType result, bool inPlace) {
    SmallVector<Attribute> args = {plan::ArgAttr::get(&context, plan::Access::Out, {})};
    SmallVector<int64_t> pairs;
    for (auto [index, input] : llvm::enumerate(inputs)) {
      args.push_back(plan::ArgAttr::get(&context, plan::Access::In, {}));
      if (inPlace && input.getType() == result)
        pairs.append({0, int64_t(index)});
    }
    auto kernel = FlatSymbolRefAttr::get(&context, "k");
    auto dim = plan::DimAttr::get(&context, 1, plan::RowExtent::Fixed, 1);
    Attribute variant = plan::VariantAttr::get(&context, kernel, UINT32_MAX, dim);
    std::string name = "n" + std::to_string(calls++);
    return plan::CallOp::create(builder, loc(), TypeRange(result), builder.getStringAttr(name),
                                plan::RowExtentAttr::get(&context, plan::RowExtent::Tokens),
                                builder.getArrayAttr(variant), builder.getArrayAttr(args), inputs,
                                builder.getStrArrayAttr(StringRef(name)), builder.getDenseI64ArrayAttr(pairs),
                                builder.getI64IntegerAttr(0))
        .getResult(0);
  }

  /// Adds calls that read from `values` and append to it.
  void addCalls(SmallVector<Value> &values, unsigned count) {
    for (unsigned i = 0; i < count; ++i) {
      SmallVector<Value> inputs;
      for (unsigned operands = below(3); operands > 0 && !values.empty(); --operands)
        inputs.push_back(values[below(unsigned(values.size()))]);
      values.push_back(call(inputs, type(below(3)), below(2)));
    }
  }

  void build() {
    SmallVector<Value> outside;
    addCalls(outside, 1 + below(6));
    Value initial = call({}, type(1), false);
    auto loop = plan::LoopOp::create(builder, loc(), TypeRange(initial.getType()), "decoder", 0, 4, initial);
    {
      OpBuilder::InsertionGuard guard(builder);
      Block &body = loop.getBody().emplaceBlock();
      Value argument = body.addArgument(initial.getType(), loc());
      builder.setInsertionPointToStart(&body);
      SmallVector<Value> inside = outside;
      inside.push_back(argument);
      addCalls(inside, 1 + below(8));
      // As a residual does: the last call reads what was made, and may overwrite the argument.
      Value next = call({argument, inside.back()}, type(1), true);
      plan::YieldOp::create(builder, loc(), next);
    }
    outside.push_back(loop.getResult());
    addCalls(outside, 1 + below(6));
    plan::YieldOp::create(builder, loc(), outside.back());
  }
};

/// Runs the planned graph on memory that holds, for each byte range, the value last written there; every read
/// must find the value it means.
class Simulation {
public:
  Simulation(plan::GraphOp graph, const Lifetimes &lifetimes) : lifetimes(lifetimes) {
    run(graph.getBody().front());
    read(graph.getBody().front().getTerminator());
  }

private:
  const Lifetimes &lifetimes;
  llvm::DenseMap<Value, unsigned> version; ///< what each value is now
  std::vector<unsigned> memory = std::vector<unsigned>(1 << 14);
  unsigned next = 1;

  const MemoryRegion &regionOf(Value value) { return lifetimes.regions[lifetimes.regionOf.lookup(value)]; }

  void write(Value value) {
    version[value] = next++;
    const MemoryRegion &region = regionOf(value);
    for (uint64_t byte = region.offset; byte < region.offset + region.bytes; byte += 64)
      memory[byte / 64] = version[value];
  }
  void read(Operation *op) {
    for (Value operand : op->getOperands()) {
      const MemoryRegion &region = regionOf(operand);
      for (uint64_t byte = region.offset; byte < region.offset + region.bytes; byte += 64)
        ASSERT_EQ(memory[byte / 64], version[operand]) << region.name << " was overwritten";
    }
  }

  void run(Block &block) {
    for (Operation &op : block.without_terminator()) {
      read(&op);
      auto loop = dyn_cast<plan::LoopOp>(op);
      if (!loop) {
        write(op.getResult(0));
        continue;
      }
      Block &body = loop.getBody().front();
      unsigned carried = version[loop.getInitial()];
      for (unsigned layer = 0; layer < loop.getCount(); ++layer) {
        version[body.getArgument(0)] = carried;
        run(body);
        read(body.getTerminator());
        carried = version[cast<plan::YieldOp>(body.getTerminator()).getValue()];
      }
      version[loop.getResult()] = carried;
    }
  }
};

/// Orders the graph and places its values; failure where a graph reads the loop's argument beside or after
/// the last call, which is refused, rightly.
static FailureOr<Lifetimes> placed(RandomGraph &random) {
  orderByStage(random.graph.getBody().front());
  ScopedDiagnosticHandler quiet(random.graph.getContext(), [](Diagnostic &) { return success(); });
  FailureOr<Lifetimes> lifetimes = computeLifetimes(random.graph);
  if (succeeded(lifetimes))
    placeRegions(lifetimes->regions);
  return lifetimes;
}

TEST(PlanMemory, NeverOverwritesAValueThatIsStillNeeded) {
  unsigned graphs = getenv("FUSEBOX_LONG") ? 100'000 : 2'000, planned = 0;
  for (unsigned seed = 0; seed < graphs; ++seed) {
    RandomGraph random(seed);
    FailureOr<Lifetimes> lifetimes = placed(random);
    if (failed(lifetimes))
      continue;
    ++planned;
    Simulation(random.graph, *lifetimes);
    ASSERT_FALSE(testing::Test::HasFatalFailure()) << "seed " << seed;
  }
  EXPECT_GT(planned, graphs / 2);
}

/// Within a stage calls may run at once: what one writes, no other may touch.
TEST(PlanMemory, CallsOfOneStageTouchDifferentMemory) {
  for (unsigned seed = 0; seed < 1'000; ++seed) {
    RandomGraph random(seed);
    FailureOr<Lifetimes> lifetimes = placed(random);
    if (failed(lifetimes))
      continue;
    Moments moments = momentsOf(random.graph);
    SmallVector<plan::CallOp> calls;
    random.graph.walk([&](plan::CallOp call) { calls.push_back(call); });
    auto region = [&](Value value) -> const MemoryRegion & {
      return lifetimes->regions[lifetimes->regionOf.lookup(value)];
    };
    auto overlap = [](const MemoryRegion &a, const MemoryRegion &b) {
      return a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
    };
    for (plan::CallOp a : calls)
      for (plan::CallOp b : calls) {
        if (a == b || a->getBlock() != b->getBlock() || moments.lookup(a) != moments.lookup(b))
          continue;
        EXPECT_FALSE(overlap(region(a.getResult(0)), region(b.getResult(0)))) << "seed " << seed;
        for (Value input : b.getInputs())
          EXPECT_FALSE(overlap(region(a.getResult(0)), region(input))) << "seed " << seed;
      }
  }
}

} // namespace
