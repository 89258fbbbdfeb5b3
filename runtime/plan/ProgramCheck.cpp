#include "runtime/plan/ProgramCheck.h"

#include "kernels/cpu/KernelAbi.h"

#include <algorithm>
#include <string>

using namespace fusebox;
using namespace fusebox::plan;

std::optional<uint64_t> plan::tensorBytes(DType dtype, std::span<const int64_t> shape) {
  BlockSize block = blockSize(dtype);
  uint64_t elements = 1;
  for (int64_t dim : shape)
    if (dim <= 0 || __builtin_mul_overflow(elements, uint64_t(dim), &elements))
      return std::nullopt;
  uint64_t row = shape.empty() ? 1 : uint64_t(shape.back());
  uint64_t bytes;
  if (row % block.elements != 0 ||
      __builtin_mul_overflow(elements / block.elements, uint64_t(block.bytes), &bytes))
    return std::nullopt;
  return bytes;
}

namespace {

/// Walks a program; the first violated rule becomes `error`.
class Checker {
public:
  explicit Checker(const Program &program) : p(program) {}

  Result<void> run() {
    checkModel();
    checkTargets();
    checkEach("files", p.files, [this](const WeightFile &f) { checkFile(f); });
    checkEach("weights", p.weights, [this](const Weight &w) { checkWeight(w); });
    checkTotal();
    checkEach("buffers", p.buffers, [this](const Buffer &b) { checkBuffer(b); });
    checkEach("kvCaches", p.kvCaches, [this](const KvCache &c) { checkKvCache(c); });
    checkEach("images", p.images, [this](const Image &i) { checkImage(i); });
    checkEach("kernels", p.kernels, [this](const Kernel &k) { checkKernel(k); });
    checkEach("launches", p.launches, [this](const Launch &l) { checkLaunch(l); });
    checkSchedule();
    checkLogits();
    checkSelections();
    if (!error.empty())
      return modelError("plan: " + error + "; the plan is damaged or was made by a faulty compiler");
    return {};
  }

private:
  const Program &p;
  std::string where, error;

  void require(bool holds, const char *rule) {
    if (!holds && error.empty())
      error = where + ": " + rule;
  }

  template <typename T, typename Check>
  void checkEach(const char *list, const std::vector<T> &elements, Check check) {
    for (size_t i = 0; i < elements.size() && error.empty(); ++i) {
      where = std::string(list) + '[' + std::to_string(i) + ']';
      check(elements[i]);
    }
  }

  void checkModel() {
    where = "model";
    require(p.model.vocabulary > 0 && p.model.vocabulary <= 1u << 28, "vocabulary is out of range");
    require(p.model.layers <= 1u << 20, "layers is out of range");
    require(p.model.maxPosition > 0 && p.model.maxPosition <= 1u << 30, "maxPosition is out of range");
  }

  void checkTargets() {
    where = "targets";
    require(!p.targets.empty(), "the program has no target");
    if (p.targets.empty())
      return;
    for (const Target &target : p.targets)
      require(target.kind == p.targets[0].kind, "all targets of one program must be of one kind");
    if (p.targets[0].kind == TargetKind::Cpu)
      require(p.targets.size() == 1 && p.images.size() == 1, "a CPU program has one target and one image");
  }

  void checkFile(const WeightFile &file) {
    require(file.contentHash.size() == 32 &&
                file.contentHash.find_first_not_of("0123456789abcdef") == std::string::npos,
            "contentHash is not 32 hex digits");
    require(file.pathHint.find('\0') == std::string::npos, "pathHint holds a zero byte");
    require(!file.embedded || file.embeddedOffset <= UINT64_MAX - file.size,
            "embeddedOffset is out of range");
  }

  void checkSource(const WeightSource &source) {
    require(source.file < p.files.size(), "a source names a file that does not exist");
    if (source.file >= p.files.size())
      return;
    uint64_t size = p.files[source.file].size;
    require(source.offset <= size && source.bytes <= size - source.offset, "a source lies outside its file");
    auto bytes = tensorBytes(source.dtype, source.shape);
    require(bytes && *bytes == source.bytes, "a source's bytes don't agree with its shape and dtype");
  }

  void checkWeight(const Weight &weight) {
    require(!weight.instances.empty(), "a weight has no instance");
    require(weight.perLayer || weight.instances.size() == 1,
            "a weight outside layers must have one instance");
    require(uint64_t(weight.firstLayer) + weight.instances.size() <= UINT32_MAX,
            "firstLayer is out of range");
    require(!weight.gathered ||
                (weight.instances.size() == 1 && !weight.shape.empty() && weight.shape[0] > 0),
            "a gathered weight must be one table with rows");
    require(weight.device == 0, "device must be 0");
    for (const RecipeOp &op : weight.recipe)
      if (op.kind == RecipeOpKind::Scale)
        require(op.args.size() == 1 && op.args[0] >= 0 && uint64_t(op.args[0]) < p.constants.size(),
                "Scale names a constant that does not exist");
    for (const WeightInstance &instance : weight.instances) {
      require(!instance.sources.empty(), "an instance has no source");
      for (const WeightSource &source : instance.sources)
        checkSource(source);
    }
  }

  void checkTotal() {
    where = "weights";
    unsigned __int128 total = 0;
    for (const Weight &weight : p.weights)
      total += (unsigned __int128)(weight.bytes) * weight.instances.size();
    require(total <= maxWeightBytes, "the weights' total size is out of range");
  }

  void checkBuffer(const Buffer &buffer) {
    require(buffer.bytesPerUnit <= maxUnitBytes && buffer.offsetPerUnit <= maxUnitBytes,
            "bytesPerUnit or offsetPerUnit is out of range");
    require(buffer.device == 0, "device must be 0");
  }

  void checkKvCache(const KvCache &cache) {
    require(cache.pageTokens == kvPageTokens, "pageTokens must be 64");
    require(cache.pageBytes > 0 && cache.pageBytes <= maxUnitBytes, "pageBytes is out of range");
    require(cache.layers > 0 && cache.layers <= 1u << 20, "layers is out of range");
    require(cache.device == 0, "device must be 0");
  }

  void checkImage(const Image &image) {
    require(image.target < p.targets.size(), "target does not exist");
    require(image.codeBytes > 0 && image.codeBytes <= image.bytes.size(), "codeBytes is out of range");
  }

  void checkKernel(const Kernel &kernel) {
    require(kernel.target < p.targets.size(), "target does not exist");
    require(kernel.scratchBytes <= maxUnitBytes, "scratchBytes is out of range");
    if (!p.targets.empty() && p.targets[0].kind == TargetKind::Cpu)
      require(!p.images.empty() && kernel.entry < p.images[0].codeBytes, "entry lies outside the code");
    else
      require(kernel.module < p.modules.size() && kernel.blockThreads > 0 && kernel.blockThreads <= 1024,
              "module or blockThreads is out of range");
    const Product &product = kernel.product;
    require(product.in == 0 || (product.out > 0 && product.in <= 1u << 28 && product.out <= 1u << 28 &&
                                (product.outType == DType::BF16 || product.outType == DType::F32)),
            "product is out of range");
  }

  void checkGrid(const Variant &variant) {
    unsigned __int128 tasks = 1;
    for (const GridDim &dim : variant.grid) {
      require(dim.tile > 0, "a grid's tile is 0");
      require(dim.count <= maxGridCount, "a grid's count is out of range");
      tasks *= uint64_t(dim.count) * (dim.extent == Extent::Fixed ? 1 : maxStepUnits);
    }
    require(tasks <= UINT64_MAX / 2, "a grid is too large");
  }

  void checkLaunch(const Launch &launch) {
    require(launch.device == 0, "device must be 0");
    require(!launch.variants.empty(), "a launch has no variant");
    for (const Variant &variant : launch.variants) {
      require(variant.kernel < p.kernels.size(), "a variant names a kernel that does not exist");
      if (variant.kernel < p.kernels.size())
        checkProduct(launch, p.kernels[variant.kernel].product);
      checkGrid(variant);
    }
    checkOrder(launch);
    for (const Arg &arg : launch.args)
      checkArg(arg);
    for (const NodeValue &value : launch.values)
      checkValue(launch, value);
  }

  /// Whatever a step's size, a variant takes it that is no loop variant, as those may be passed over.
  void checkOrder(const Launch &launch) {
    uint64_t previous = 0;
    bool takesAnyKeys = true;
    for (const Variant &variant : launch.variants) {
      if (variant.loop) {
        require(&variant == &launch.variants.front(), "a loop variant is not the first of its launch");
        for (const GridDim &dim : variant.grid)
          require(dim.extent == Extent::Fixed, "a loop variant's grid is not fixed");
        continue;
      }
      require(variant.maxRows >= previous && variant.maxRows > 0,
              "variants are not in ascending order of maxRows");
      require(variant.maxRows == previous || takesAnyKeys,
              "a launch has no variant for steps of few or of many keys");
      previous = variant.maxRows;
      takesAnyKeys = variant.minKeys == 0 && variant.belowKeys == 0;
    }
    require(previous == UINT32_MAX && takesAnyKeys, "the last variant must take any number of rows and keys");
  }

  void checkProduct(const Launch &launch, const Product &product) {
    require(product.in == 0 || launch.args.size() >= (product.hasBias ? 4u : 3u),
            "a product lacks arguments");
  }

  void checkArg(const Arg &arg) {
    size_t count = arg.kind == ArgKind::Buffer     ? p.buffers.size()
                   : arg.kind == ArgKind::Weight   ? p.weights.size()
                   : arg.kind == ArgKind::Constant ? p.constants.size()
                                                   : p.kvCaches.size();
    require(arg.index < count, "an argument does not exist");
  }

  void checkValue(const Launch &launch, const NodeValue &value) {
    bool isBuffer = value.arg < launch.args.size() && launch.args[value.arg].kind == ArgKind::Buffer &&
                    launch.args[value.arg].index < p.buffers.size();
    require(isBuffer, "a node's value is not in a buffer");
    if (!isBuffer)
      return;
    const Buffer &buffer = p.buffers[launch.args[value.arg].index];
    BlockSize block = blockSize(value.dtype);
    require(block.elements == 1 && value.firstByte <= buffer.bytesPerUnit &&
                value.columns <= (buffer.bytesPerUnit - value.firstByte) / block.bytes,
            "a node's value lies outside its buffer");
  }

  /// Follows the schedule; `layers` is the range of layers a launch runs for, empty outside loops.
  void checkSchedule() {
    bool inLoop = false;
    uint32_t first = 0, count = 0;
    std::vector<const Launch *> body; // of the loop
    checkEach("schedule", p.schedule, [&](const Instruction &step) {
      switch (step.kind) {
      case InstructionKind::LoopBegin:
        require(!inLoop, "loops don't nest");
        require(uint64_t(step.firstLayer) + step.count <= p.model.layers, "a loop runs past the last layer");
        inLoop = true;
        body.clear();
        first = step.firstLayer;
        count = step.count;
        break;
      case InstructionKind::LoopEnd:
        require(inLoop, "a loop ends that never began");
        inLoop = false;
        checkLoopVariants(body);
        break;
      case InstructionKind::Launch:
        require(step.launch < p.launches.size(), "launch does not exist");
        if (!error.empty())
          break;
        checkLayers(p.launches[step.launch], inLoop, first, count);
        body.push_back(&p.launches[step.launch]);
        require(inLoop || !body.back()->variants.front().loop, "a launch outside loops has a loop variant");
        break;
      }
    });
    require(!inLoop, "a loop is not ended");
  }

  /// Either no launch of a loop's body has a loop variant, or all have one for the same steps, and one the
  /// kernel: a step runs all layers' launches or the one kernel.
  void checkLoopVariants(const std::vector<const Launch *> &body) {
    unsigned kernels = 0;
    bool loops = false;
    for (const Launch *launch : body) {
      const Launch &other = *body.front();
      const Variant &variant = launch->variants.front(), &first = other.variants.front();
      require(variant.loop == first.loop, "not all launches of a loop have a loop variant");
      require(!variant.loop || (launch->rows == other.rows && variant.maxRows == first.maxRows &&
                                variant.minKeys == first.minKeys && variant.belowKeys == first.belowKeys),
              "the loop variants of a loop are for different steps");
      loops |= variant.loop;
      kernels += loopBlocks(*launch) > 0;
    }
    require(kernels == (loops ? 1 : 0), "one loop variant of a loop must have the kernel");
  }

  void checkLayers(const Launch &launch, bool inLoop, uint32_t first, uint32_t count) {
    for (const Arg &arg : launch.args) {
      if (arg.kind == ArgKind::Weight && p.weights[arg.index].perLayer) {
        const Weight &weight = p.weights[arg.index];
        uint64_t end = uint64_t(weight.firstLayer) + weight.instances.size();
        require(inLoop && first >= weight.firstLayer && uint64_t(first) + count <= end,
                "a launch reads a weight that its layers don't have");
      }
      if (arg.kind == ArgKind::KvCache)
        require(inLoop && uint64_t(first) + count <= p.kvCaches[arg.index].layers,
                "a launch uses a KV cache that its layers don't have");
    }
  }

  void checkLogits() {
    where = "logitsBuffer";
    require(p.logitsBuffer < p.buffers.size(), "the buffer does not exist");
    if (!error.empty())
      return;
    const Buffer &logits = p.buffers[p.logitsBuffer];
    require(logits.extent == Extent::LogitsRows && logits.bytesPerUnit == uint64_t(p.model.vocabulary) * 4,
            "the buffer is not [logits rows, vocabulary] of f32");
  }

  void checkSelections() {
    uint32_t previous = 0;
    checkEach("selections", p.selections, [&](const Selection &selection) {
      require(selection.count > previous && selection.count <= 1u << 20, "counts must ascend from 1");
      previous = selection.count;
      require(selection.buffer < p.buffers.size(), "the buffer does not exist");
      if (!error.empty())
        return;
      const Buffer &buffer = p.buffers[selection.buffer];
      require(buffer.extent == Extent::LogitsRows &&
                  buffer.bytesPerUnit >= sizeof(SelectedRow) + selection.count * sizeof(SelectedValue),
              "the buffer has no room for the selected values of a logits row");
    });
    checkEach("launches", p.launches, [&](const Launch &launch) {
      require(launch.selects == 0 ||
                  std::any_of(p.selections.begin(), p.selections.end(),
                              [&](const Selection &s) { return s.count == launch.selects; }),
              "the launch is for a selection that does not exist");
    });
    where = "selections";
    require(p.selections.empty() || p.targets[0].kind != TargetKind::Cpu,
            "a CPU program selects nothing: the host does");
  }
};

} // namespace

Result<void> plan::checkProgram(const Program &program) { return Checker(program).run(); }
