#include "codegen/plan/BuildProgram.h"

#include "codegen/cuda/CudaCodegen.h"
#include "codegen/plan/Recipes.h"

#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace fusebox;

namespace {

/// Builds one Program; `index` numbers each kind of record in the order of the IR.
class ProgramBuilder {
public:
  explicit ProgramBuilder(plan::ProgramOp op) : op(op) {}

  FailureOr<plan::Program> run() {
    addModel();
    for (Operation &record : op.getBody().front())
      if (failed(addRecord(&record)))
        return failure();
    auto schedules = op.getBody().getOps<plan::ScheduleOp>();
    if (schedules.empty())
      return op.emitError("has no schedule: plan-memory and schedule make one"), failure();
    plan::ScheduleOp schedule = *schedules.begin();
    addBlock(schedule.getBody().front());
    program.logitsBuffer = index.lookup(schedule.getLogits());
    if (auto unreused = op.getUnreused())
      for (unsigned extent = 0; extent < plan::extentCount && extent < unreused->size(); ++extent)
        program.arenaUnreused[extent] = uint64_t((*unreused)[extent]);
    return std::move(program);
  }

private:
  plan::ProgramOp op;
  plan::Program program;
  llvm::StringMap<uint32_t> index;

  template <typename T> T &add(std::vector<T> &records, StringRef name) {
    index[name] = uint32_t(records.size());
    return records.emplace_back();
  }

  int64_t modelNumber(StringRef name) {
    auto number = op.getModel().getAs<IntegerAttr>(name);
    return number ? number.getInt() : 0;
  }

  void addModel() {
    auto text = [&](StringRef name) {
      auto value = op.getModel().getAs<StringAttr>(name);
      return value ? value.str() : std::string();
    };
    program.model.name = text("name");
    program.model.family = text("family");
    program.model.vocabulary = uint32_t(modelNumber("vocabulary"));
    program.model.layers = uint32_t(modelNumber("layers"));
    program.model.maxPosition = uint32_t(modelNumber("max_position"));
    if (auto dtype = dtypeFromName(text("dtype")))
      program.model.dtype = *dtype;
  }

  LogicalResult addRecord(Operation *record) {
    if (auto target = dyn_cast<plan::TargetOp>(record)) {
      add(program.targets, target.getSymName()) = {plan::TargetKind(target.getKind()),
                                                   target.getMachine().str(), target.getFeatures().str()};
    } else if (auto file = dyn_cast<plan::FileOp>(record)) {
      add(program.files, file.getSymName()).pathHint = file.getPath().str();
    } else if (auto weight = dyn_cast<plan::WeightOp>(record)) {
      return addWeight(weight);
    } else if (auto constant = dyn_cast<plan::ConstantOp>(record)) {
      return addConstant(constant);
    } else if (auto buffer = dyn_cast<plan::BufferOp>(record)) {
      add(program.buffers, buffer.getSymName()) = {buffer.getSymName().str(),
                                                   plan::Extent(buffer.getExtent()), buffer.getBytes(),
                                                   buffer.getOffset(), uint32_t(buffer.getDevice())};
    } else if (auto cache = dyn_cast<plan::KvCacheOp>(record)) {
      add(program.kvCaches, cache.getSymName()) = {uint32_t(cache.getLayers()),
                                                   uint32_t(cache.getPageTokens()), cache.getPageBytes(),
                                                   uint32_t(cache.getDevice())};
    } else if (auto kernel = dyn_cast<plan::KernelOp>(record)) {
      return addKernel(kernel);
    } else if (auto module = dyn_cast<plan::GpuModuleOp>(record)) {
      return addModule(module);
    } else if (auto image = dyn_cast<plan::ImageOp>(record)) {
      return addImage(image);
    }
    return success();
  }

  LogicalResult addWeight(plan::WeightOp op) {
    plan::Weight &weight = add(program.weights, op.getSymName());
    weight.name = op.getSymName().str();
    weight.dtype = *dtypeFromName(std::string_view(op.getDtype()));
    weight.shape = op.getShape();
    weight.bytes = op.getBytes();
    weight.perLayer = op.getFirstLayer().has_value();
    weight.firstLayer = uint32_t(op.getFirstLayer().value_or(0));
    weight.gathered = op.getGathered();
    weight.device = uint32_t(op.getDevice());
    for (auto step : op.getRecipe().getAsRange<StringAttr>()) {
      auto parsed = parseRecipeStep(std::string_view(step.getValue()), [&](std::string_view name) {
        auto found = index.find(StringRef(name));
        return found == index.end() ? std::optional<uint32_t>() : found->second;
      });
      if (!parsed)
        return op.emitError(parsed.error().message);
      weight.recipe.push_back(*parsed);
    }
    for (auto instance : op.getSources().getAsRange<ArrayAttr>()) {
      plan::WeightInstance &sources = weight.instances.emplace_back();
      for (auto source : instance.getAsRange<plan::SourceAttr>())
        sources.sources.push_back({index.lookup(source.getFile().getValue()), source.getOffset(),
                                   source.getBytes(), *dtypeFromName(std::string_view(source.getDtype())),
                                   source.getShape().vec()});
    }
    return success();
  }

  LogicalResult addConstant(plan::ConstantOp op) {
    auto dense = dyn_cast<DenseElementsAttr>(op.getValue());
    if (!dense)
      return op.emitError("has a value that is not dense");
    plan::Constant &constant = add(program.constants, op.getSymName());
    constant.name = op.getSymName().str();
    ArrayRef<char> raw = dense.getRawData();
    size_t copies = dense.isSplat() ? size_t(dense.getNumElements()) : 1;
    for (size_t i = 0; i < copies; ++i)
      constant.bytes.insert(constant.bytes.end(), reinterpret_cast<const std::byte *>(raw.begin()),
                            reinterpret_cast<const std::byte *>(raw.end()));
    return success();
  }

  LogicalResult addKernel(plan::KernelOp op) {
    plan::Kernel &kernel = add(program.kernels, op.getSymName());
    kernel.name = op.getSymName().str();
    kernel.symbol = op.getTemplateName().str();
    kernel.target = index.lookup(op.getTarget());
    kernel.scratchBytes = op.getScratchBytes();
    kernel.blockThreads = uint32_t(op.getBlockThreads());
    if (!op.getEntry() && !op.getModule())
      return op.emitError("has no code: codegen makes it");
    kernel.entry = op.getEntry().value_or(0);
    if (auto module = op.getModule()) {
      kernel.symbol = module->str();
      kernel.module = index.lookup(*module);
      kernel.product = productOf(op);
    }
    return success();
  }

  LogicalResult addModule(plan::GpuModuleOp op) {
    plan::Module &module = add(program.modules, op.getSymName());
    module.name = op.getSymName().str();
    module.source = op.getSource().str();
    plan::Cubin &cubin = module.cubins.emplace_back();
    cubin.chip = program.targets[index.lookup(op.getTarget())].name;
    return readBytes(op, op.getCubin(), cubin.bytes);
  }

  LogicalResult addImage(plan::ImageOp op) {
    plan::Image &image = program.images.emplace_back();
    image.target = index.lookup(op.getTarget());
    image.codeBytes = op.getCodeBytes();
    return readBytes(op, op.getData(), image.bytes);
  }

  /// The bytes of a dense resource.
  static LogicalResult readBytes(Operation *op, ElementsAttr from, std::vector<std::byte> &to) {
    auto resource = dyn_cast<DenseResourceElementsAttr>(from);
    const AsmResourceBlob *blob = resource ? resource.getRawHandle().getBlob() : nullptr;
    if (!blob)
      return op->emitError("has no bytes");
    ArrayRef<char> data = blob->getData();
    to.assign(reinterpret_cast<const std::byte *>(data.begin()),
              reinterpret_cast<const std::byte *>(data.end()));
    return success();
  }

  //===-- Schedule
  //----------------------------------------------------------------------------------------------===//

  void addBlock(Block &block) {
    for (Operation &op : block) {
      if (auto launch = dyn_cast<plan::LaunchOp>(op)) {
        program.schedule.push_back({plan::InstructionKind::Launch, addLaunch(launch), 0, 0, {}});
      } else if (auto loop = dyn_cast<plan::LoopOp>(op)) {
        program.schedule.push_back({plan::InstructionKind::LoopBegin, 0, uint32_t(loop.getFirst()),
                                    uint32_t(loop.getCount()), loop.getBlock().str()});
        addBlock(loop.getBody().front());
        program.schedule.push_back({plan::InstructionKind::LoopEnd, 0, 0, 0, {}});
      }
    }
  }

  uint32_t addLaunch(plan::LaunchOp op) {
    plan::Launch &launch = program.launches.emplace_back();
    launch.name = op.getName().str();
    launch.rows = plan::Extent(op.getRows());
    launch.barrierBefore = op.getBarrier();
    launch.device = uint32_t(op.getDevice());
    launch.selects = uint32_t(op.getSelects());
    for (auto from : op.getVariants().getAsRange<plan::VariantAttr>()) {
      plan::Variant &variant = launch.variants.emplace_back();
      variant.maxRows = uint32_t(from.getMaxRows());
      variant.minKeys = uint32_t(from.getMinKeys());
      variant.belowKeys = uint32_t(from.getBelowKeys());
      variant.loop = from.getLoop();
      variant.kernel = index.lookup(from.getKernel().getValue());
      for (auto [axis, dim] : llvm::enumerate(from.getGrid()))
        variant.grid[axis] = {plan::Extent(dim.getExtent()), uint32_t(dim.getTile()),
                              uint32_t(dim.getCount())};
    }
    for (auto arg : op.getArgs().getAsRange<plan::ArgAttr>())
      launch.args.push_back({argKind(arg.getSymbol()), index.lookup(arg.getSymbol().getValue())});
    for (auto value : op.getValues().getAsRange<plan::NodeValueAttr>())
      launch.values.push_back({value.getNode().str(), uint32_t(value.getArg()),
                               *dtypeFromName(std::string_view(value.getDtype())),
                               uint64_t(value.getColumns()), uint64_t(value.getFirstByte())});
    if (launch.selects != 0)
      addSelection(launch);
    return uint32_t(program.launches.size() - 1);
  }

  /// The last launch of a selection leaves its values in its first argument.
  void addSelection(const plan::Launch &launch) {
    plan::Selection selection = {launch.selects, launch.args.front().index};
    auto place = llvm::lower_bound(program.selections, selection,
                                   [](const auto &a, const auto &b) { return a.count < b.count; });
    if (place != program.selections.end() && place->count == selection.count)
      *place = selection;
    else
      program.selections.insert(place, selection);
  }

  plan::ArgKind argKind(FlatSymbolRefAttr symbol) {
    Operation *record = SymbolTable::lookupSymbolIn(op, symbol);
    if (isa<plan::WeightOp>(record))
      return plan::ArgKind::Weight;
    if (isa<plan::ConstantOp>(record))
      return plan::ArgKind::Constant;
    return isa<plan::KvCacheOp>(record) ? plan::ArgKind::KvCache : plan::ArgKind::Buffer;
  }
};

} // namespace

FailureOr<plan::Program> fusebox::buildProgram(plan::ProgramOp program) {
  return ProgramBuilder(program).run();
}
