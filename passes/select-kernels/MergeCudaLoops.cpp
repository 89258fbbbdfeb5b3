#include "passes/select-kernels/CudaKernels.h"
#include "passes/select-kernels/MergeLaunches.h"

using namespace mlir;
using namespace fusebox;

namespace {

class CudaLoopMerger : LaunchReader {
public:
  CudaLoopMerger(PlanRecords &records, const cuda::Chip &chip) : LaunchReader(records), chip(chip) {}

  void run(plan::GraphOp graph) {
    for (auto loop : graph.getBody().front().getOps<plan::LoopOp>())
      mergeLoop(loop);
  }

private:
  const cuda::Chip &chip;

  /// A call with the kernel that runs it in steps of one token over a short context.
  struct Part {
    mutable plan::CallOp call;
    mutable plan::KernelOp kernel; ///< a handle: reading through it is no change
    KernelConstants shape;
    SmallVector<MergedArg, 12> args; ///< in the kernel's order
    unsigned bodyInputs = 0;

    int64_t operator[](const char *name) const {
      auto found = shape.find(name);
      return found == shape.end() ? 0 : int64_t(found->second);
    }
  };

  enum { Qkv, Heads, Attention, Out, GateUp, Down, partCount };

  /// The first variant for one token over a short context.
  plan::VariantAttr variantOf(plan::CallOp call) {
    for (auto variant : call.getVariants().getAsRange<plan::VariantAttr>())
      if (variant.getMinKeys() == 0)
        return variant;
    return {};
  }

  static bool isEmpty(plan::VariantAttr variant) {
    return llvm::any_of(variant.getGrid(), [](plan::DimAttr axis) { return axis.getCount() == 0; });
  }

  /// Argument `index` of a call.
  static MergedArg argOf(plan::CallOp call, unsigned index) {
    unsigned operand = 0, result = 0;
    for (auto [i, attribute] : llvm::enumerate(call.getArgs())) {
      auto arg = cast<plan::ArgAttr>(attribute);
      bool isResult = !arg.getSymbol() && arg.getAccess() == plan::Access::Out;
      if (i == index && arg.getSymbol())
        return symbolOf(call, index);
      if (i == index)
        return {isResult ? Value(call.getResult(result)) : Value(call.getInputs()[operand])};
      operand += !arg.getSymbol() && !isResult;
      result += isResult;
    }
    return {};
  }

  Part partOf(plan::CallOp call, plan::VariantAttr variant) {
    Part part = {call, kernelOf(variant), {}, {}, 0};
    part.shape = shapeOf(part.kernel);
    unsigned count = unsigned(call.getArgs().size());
    if (part["arranged"])
      count = cuda::maxArgs;
    for (unsigned i = 0; i < count; ++i)
      part.args.push_back(
          argOf(call, part["arranged"] ? unsigned(part[("place" + std::to_string(i)).c_str()]) : i));
    if (auto body = part.kernel.getPointwiseAttr())
      part.bodyInputs =
          records.getProgram().lookupSymbol<plan::PointwiseOp>(body).getBody().front().getNumArguments();
    return part;
  }

  static bool isBf16(const MergedArg &arg) {
    return arg.value && cast<RankedTensorType>(arg.value.getType()).getElementType().isBF16();
  }

  /// The calls of a body that its steps of one token run, if they are those of a decoder's layer.
  std::optional<SmallVector<Part, 6>> partsOf(plan::LoopOp loop) {
    static constexpr StringRef templates[partCount] = {"linear_skinny", "prepare_heads", "attention_decode",
                                                       "linear_skinny", "linear_skinny", "linear_skinny"};
    SmallVector<Part, 6> parts;
    for (Operation &op : loop.getBody().front().without_terminator()) {
      auto call = dyn_cast<plan::CallOp>(op);
      plan::VariantAttr variant = call ? variantOf(call) : plan::VariantAttr();
      if (!variant || call.getRows() != plan::RowExtent::Tokens)
        return std::nullopt;
      if (!isEmpty(variant))
        parts.push_back(partOf(call, variant));
    }
    bool same =
        parts.size() == partCount && llvm::all_of_zip(parts, templates, [](const Part &part, StringRef name) {
          return part.kernel.getTemplateName() == name;
        });
    return same ? std::optional(std::move(parts)) : std::nullopt;
  }

  /// Places of arguments in linear_skinny: outs, input, weights, biases, gain, the body's others.
  struct SkinnyArgs {
    unsigned outs, weights;
    unsigned input, weight, bias, gain, others;
  };
  static SkinnyArgs skinnyArgs(const Part &part) {
    SkinnyArgs at;
    at.weights = part["glu"] ? 2 : 1 + (part["part1"] > 0) + (part["part2"] > 0);
    at.outs = part["glu"] ? 1 : at.weights;
    at.input = at.outs, at.weight = at.input + 1, at.bias = at.weight + at.weights;
    at.gain = at.bias + (part["hasBias"] ? at.weights : 0);
    at.others = at.gain + (part["norm"] ? 1 : 0);
    return at;
  }

  /// Whether values flow from part to part as in decode_loop.cuh, with nothing else in between.
  static bool isDecoder(plan::LoopOp loop, ArrayRef<Part> parts) {
    Value before = loop.getBody().getArgument(0);
    auto arg = [&](unsigned part, unsigned index) { return parts[part].args[index].value; };
    SkinnyArgs qkv = skinnyArgs(parts[Qkv]), out = skinnyArgs(parts[Out]), gateUp = skinnyArgs(parts[GateUp]),
               down = skinnyArgs(parts[Down]);
    bool shapes = parts[Qkv]["norm"] && !parts[Qkv]["glu"] && qkv.outs == 3 && !parts[Qkv]["stacked"] &&
                  !parts[Out]["norm"] && !parts[Out]["glu"] && out.outs == 1 && parts[GateUp]["norm"] &&
                  parts[GateUp]["glu"] && !parts[Down]["norm"] && !parts[Down]["glu"] && down.outs == 1;
    bool bodies = parts[Qkv].bodyInputs == 1 && parts[Out].bodyInputs == 2 && parts[GateUp].bodyInputs == 2 &&
                  parts[Down].bodyInputs == 2;
    if (!shapes || !bodies)
      return false;
    Value middle = arg(Out, 0), after = arg(Down, 0);
    bool attention = arg(Qkv, qkv.input) == before && arg(Heads, 2) == arg(Qkv, 0) &&
                     arg(Heads, 3) == arg(Qkv, 1) && arg(Heads, 4) == arg(Qkv, 2) &&
                     arg(Attention, 1) == arg(Heads, 0) &&
                     parts[Attention].args[2].symbol == parts[Heads].args[1].symbol &&
                     arg(Out, out.input) == arg(Attention, 0) && arg(Out, out.others) == before;
    bool feedForward = arg(GateUp, gateUp.input) == middle && arg(Down, down.input) == arg(GateUp, 0) &&
                       arg(Down, down.others) == middle &&
                       cast<plan::YieldOp>(loop.getBody().front().getTerminator()).getValue() == after;
    bool types = isBf16({before}) && isBf16(parts[Out].args[0]) && isBf16(parts[Down].args[0]) &&
                 isBf16(parts[GateUp].args[0]) && isBf16(parts[Qkv].args[0]);
    return attention && feedForward && types;
  }

  /// The kernel's arguments in its order (decode_loop.cuh).
  static SmallVector<MergedArg, 20> loopArgs(plan::LoopOp loop, ArrayRef<Part> parts) {
    SkinnyArgs qkv = skinnyArgs(parts[Qkv]), out = skinnyArgs(parts[Out]), gateUp = skinnyArgs(parts[GateUp]),
               down = skinnyArgs(parts[Down]);
    auto biasOf = [](const Part &part, const SkinnyArgs &at, unsigned i) {
      return part["hasBias"] ? part.args[at.bias + i] : MergedArg();
    };
    auto gainOf = [&](unsigned i) { return parts[Heads]["norm"] ? parts[Heads].args[6 + i] : MergedArg(); };
    const auto &q = parts[Qkv].args;
    return {parts[Down].args[0],
            {loop.getBody().getArgument(0)},
            parts[Heads].args[5],
            parts[Heads].args[1],
            q[qkv.weight],
            q[qkv.weight + 1],
            q[qkv.weight + 2],
            q[qkv.gain],
            biasOf(parts[Qkv], qkv, 0),
            biasOf(parts[Qkv], qkv, 1),
            biasOf(parts[Qkv], qkv, 2),
            gainOf(0),
            gainOf(1),
            parts[Out].args[out.weight],
            biasOf(parts[Out], out, 0),
            parts[GateUp].args[gateUp.weight],
            parts[GateUp].args[gateUp.weight + 1],
            parts[GateUp].args[gateUp.gain],
            parts[Down].args[down.weight],
            biasOf(parts[Down], down, 0)};
  }

  void mergeLoop(plan::LoopOp loop) {
    auto parts = partsOf(loop);
    if (!parts || !isDecoder(loop, *parts))
      return;
    std::vector<KernelConstants> shapes;
    for (const Part &part : *parts)
      shapes.push_back(part.shape);
    auto shape = cuda::decodeLoopShapeFor(shapes, int64_t(loop.getCount()), chip);
    if (!shape)
      return;
    plan::CallOp last = parts->back().call;
    SmallVector<Attribute> args(last.getArgs().begin(), last.getArgs().end());
    SmallVector<Value> operands(last.getInputs());
    for (auto [i, arg] : llvm::enumerate(loopArgs(loop, *parts)))
      if (arg.value || arg.symbol)
        (*shape)["place" + std::to_string(i)] = placeOf(last, args, operands, arg);
    (*shape)["arguments"] = double(args.size());
    auto made = cuda::makeVariant({"decode_loop", *shape}, 1, chip);
    if (!made)
      return;
    KernelVariant kernel = toKernelVariant(context, *made);
    for (const Part &part : *parts)
      kernel.parts.push_back(FlatSymbolRefAttr::get(part.kernel.getSymNameAttr()));
    last.setArgsAttr(ArrayAttr::get(context, args));
    last.getInputsMutable().assign(operands);
    // All blocks have read h before the first writes it, a layer later at least.
    SmallVector<int64_t> inPlace(last.getInPlace());
    inPlace.append({0, llvm::find(operands, loop.getBody().getArgument(0)) - operands.begin()});
    last.setInPlace(inPlace);
    prependVariants(loop, last, records.kernel(kernel), kernel.grid,
                    cuda::decodeLoopBelowKeys((*parts)[Attention].shape));
  }

  void prependVariants(plan::LoopOp loop, plan::CallOp last, FlatSymbolRefAttr kernel,
                       ArrayRef<plan::DimAttr> grid, int64_t belowKeys) {
    plan::DimAttr none = plan::DimAttr::get(context, 0, plan::RowExtent::Fixed, 1);
    for (auto call : loop.getBody().front().getOps<plan::CallOp>()) {
      auto own = cast<plan::VariantAttr>(call.getVariants()[0]).getKernel();
      SmallVector<Attribute> variants = {
          call == last ? plan::VariantAttr::get(context, kernel, 1, 0, belowKeys, true, grid)
                       : plan::VariantAttr::get(context, own, 1, 0, belowKeys, true, none)};
      variants.append(call.getVariants().begin(), call.getVariants().end());
      call.setVariantsAttr(ArrayAttr::get(context, variants));
    }
  }
};

} // namespace

void fusebox::mergeCudaLoops(plan::GraphOp graph, PlanRecords &records, const cuda::Chip &chip) {
  CudaLoopMerger(records, chip).run(graph);
}
