#include "test/unit/runtime/ToyModel.h"

#include "support/AtomicFile.h"
#include "support/Hash.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

using namespace fusebox;
using namespace fusebox::toy;
using namespace fusebox::plan;

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "fusebox-test.XXXXXX").string();
  EXPECT_TRUE(mkdtemp(name.data()));
  path = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

static ToyImage readImage() {
  ToyImage image;
  std::ifstream bytes(FUSEBOX_TOY_IMAGE, std::ios::binary);
  for (char byte; bytes.get(byte);)
    image.bytes.push_back(std::byte(byte));
  std::ifstream symbols(FUSEBOX_TOY_IMAGE ".symbols");
  std::string address, kind, name;
  while (symbols >> address >> kind >> name)
    (name == "code_end" ? image.codeBytes : image.entries[name]) = std::stoull(address, nullptr, 16);
  return image;
}

const ToyImage &toy::toyImage() {
  static const ToyImage image = readImage();
  return image;
}

ToyModel::ToyModel() {
  for (int64_t i = 0; i < vocabulary * hidden; ++i)
    embed.push_back(float((i * 37) % 101) / 64 - 0.7f);
  for (int64_t i = 0; i < layers * hidden; ++i)
    gain.push_back(float((i * 53) % 17) / 128);
  for (int64_t i = 0; i < vocabulary; ++i)
    bias.push_back(float(i) / 3);
}

std::vector<std::byte> ToyModel::weightFile() const {
  auto first = std::as_bytes(std::span(embed)), second = std::as_bytes(std::span(gain));
  std::vector<std::byte> bytes(first.begin(), first.end());
  bytes.insert(bytes.end(), second.begin(), second.end());
  return bytes;
}

namespace {

enum BufferIndex : uint32_t { X, Y, LogitsOut, Mark, Denormal };
enum WeightIndex : uint32_t { Embed, Gain };

Arg buffer(uint32_t index) { return {ArgKind::Buffer, index}; }

/// Adds a kernel of the image; returns its index.
uint32_t addKernel(Program &program, const std::string &symbol, uint64_t scratch = 0) {
  Kernel kernel;
  kernel.name = kernel.symbol = symbol;
  kernel.entry = toyImage().entries.at(symbol);
  kernel.scratchBytes = scratch;
  program.kernels.push_back(kernel);
  return uint32_t(program.kernels.size() - 1);
}

Launch makeLaunch(const std::string &name, uint32_t kernel, GridDim grid, std::vector<Arg> args) {
  Launch launch;
  launch.name = name;
  launch.rows = grid.extent == Extent::Fixed ? Extent::Tokens : grid.extent;
  Variant variant;
  variant.kernel = kernel;
  variant.grid[0] = grid;
  launch.variants = {variant};
  launch.args = std::move(args);
  return launch;
}

void addWeights(Program &program, const ToyModel &model, const std::string &path) {
  std::vector<std::byte> bytes = model.weightFile();
  WeightFile file;
  file.pathHint = path;
  file.size = bytes.size();
  file.contentHash = hash128(bytes);
  program.files = {file};

  Weight embed;
  embed.name = "embed";
  embed.dtype = DType::F32;
  embed.shape = {vocabulary, hidden};
  embed.bytes = vocabulary * hidden * 4;
  embed.instances = {{{{0, 0, embed.bytes, DType::F32, embed.shape}}}};
  Weight gain;
  gain.name = "gain";
  gain.dtype = DType::F32;
  gain.shape = {hidden};
  gain.bytes = hidden * 4;
  gain.perLayer = true;
  for (uint64_t layer = 0; layer < layers; ++layer)
    gain.instances.push_back({{{0, embed.bytes + layer * gain.bytes, gain.bytes, DType::F32, {hidden}}}});
  program.weights = {embed, gain};
}

void addLaunches(Program &program) {
  GridDim tiles = {Extent::Tokens, 4, 1}, tokens = {Extent::Tokens, 1, 1}, rows = {Extent::LogitsRows, 1, 1};
  Arg kv = {ArgKind::KvCache, 0}, embed = {ArgKind::Weight, Embed}, gain = {ArgKind::Weight, Gain};

  Launch first =
      makeLaunch("embed", addKernel(program, "toy_embed"), tiles, {buffer(X), embed, buffer(Mark)});
  Variant one = first.variants[0];
  one.maxRows = 1;
  one.kernel = addKernel(program, "toy_embed_one");
  first.variants.insert(first.variants.begin(), one);
  first.values = {{"embed", 0, DType::F32, uint64_t(hidden), 0}};
  Launch denormal = makeLaunch("denormal", addKernel(program, "toy_denormal"), {}, {buffer(Denormal)});
  denormal.barrierBefore = false;
  Launch attend = makeLaunch("attend", addKernel(program, "toy_attend", hidden * 4), tokens,
                             {buffer(X), kv, gain, buffer(Y)});
  attend.values = {{"attend", 3, DType::F32, uint64_t(hidden), 0}};
  Launch logits = makeLaunch("logits", addKernel(program, "toy_logits"), rows,
                             {buffer(X), buffer(LogitsOut), {ArgKind::Constant, 0}});
  logits.values = {{"logits", 1, DType::F32, uint64_t(vocabulary), 0}};
  program.launches = {first,
                      denormal,
                      makeLaunch("store", addKernel(program, "toy_store"), tokens, {buffer(X), kv}),
                      attend,
                      makeLaunch("copy", addKernel(program, "toy_copy"), tiles, {buffer(Y), buffer(X)}),
                      logits};

  auto launch = [](uint32_t index) { return Instruction{InstructionKind::Launch, index, 0, 0, ""}; };
  program.schedule = {launch(0),
                      launch(1),
                      {InstructionKind::LoopBegin, 0, 0, layers, "decoder"},
                      launch(2),
                      launch(3),
                      launch(4),
                      {InstructionKind::LoopEnd, 0, 0, 0, ""},
                      launch(5)};
}

} // namespace

Program ToyModel::program(const std::string &weightPath) const {
  Program program;
  program.model = {"toy", "toy", uint32_t(vocabulary), uint32_t(layers), uint32_t(maxPosition), DType::F32};
  program.targets = {{TargetKind::Cpu, "x86-64", ""}};
  addWeights(program, *this, weightPath);
  auto biasBytes = std::as_bytes(std::span(bias));
  program.constants = {{"bias", {biasBytes.begin(), biasBytes.end()}}};
  program.buffers = {{"x", Extent::Tokens, hidden * 4, 0, 0},
                     {"y", Extent::Tokens, hidden * 4, hidden * 4, 0},
                     {"logits", Extent::LogitsRows, vocabulary * 4, 0, 0},
                     {"mark", Extent::Fixed, 4, 0, 0},
                     {"denormal", Extent::Fixed, 4, 64, 0}};
  program.kvCaches = {{uint32_t(layers), 64, 64 * hidden * 4, 0}};
  program.logitsBuffer = LogitsOut;
  program.images = {{0, toyImage().codeBytes, toyImage().bytes}};
  addLaunches(program);
  return program;
}

PlanWriter ToyModel::writer(const Program &program) const {
  PlanWriter writer;
  writer.addProgram("cpu:x86-64", program);
  writer.addText(SectionKind::LayerIr, "import", "layer.block @decoder {\n}\n");
  writer.addText(SectionKind::PlanIr, "", "plan.program @toy {\n}\n");
  writer.addText(SectionKind::Remarks, "", "[]");
  writer.addText(SectionKind::Metadata, "", R"({"model": "toy"})");
  return writer;
}

std::string ToyModel::write(const TemporaryFolder &folder) const {
  EXPECT_TRUE(writeFileAtomically(folder.file("weights.bin"), weightFile()));
  EXPECT_TRUE(writer(program("weights.bin")).write(folder.file("toy.plan")));
  return folder.file("toy.plan");
}

std::vector<float> ToyModel::reference(std::span<const int32_t> tokens) const {
  std::vector<float> x;
  for (int32_t token : tokens)
    x.insert(x.end(), embed.begin() + token * hidden, embed.begin() + (token + 1) * hidden);
  for (int64_t layer = 0; layer < layers; ++layer) {
    std::vector<float> sum(hidden), next(x.size());
    for (size_t t = 0; t < tokens.size(); ++t)
      for (size_t i = 0; i < size_t(hidden); ++i) {
        sum[i] += x[t * hidden + i];
        next[t * hidden + i] = 0.5f * x[t * hidden + i] + 0.25f * gain[size_t(layer * hidden) + i] * sum[i];
      }
    x = next;
  }
  std::vector<float> logits;
  for (size_t t = 0; t < tokens.size(); ++t)
    for (size_t v = 0; v < size_t(vocabulary); ++v)
      logits.push_back(x[t * hidden + v % hidden] * float(1 + v / hidden) + bias[v]);
  return logits;
}

void toy::addLoopVariant(Launch &launch, uint32_t blocks) {
  Variant variant;
  variant.maxRows = 1;
  variant.belowKeys = 100;
  variant.loop = true;
  variant.grid[0] = {Extent::Fixed, 1, blocks};
  launch.variants.insert(launch.variants.begin(), variant);
}

void toy::addLoopVariants(Program &program) {
  for (const char *name : {"store", "attend", "copy"})
    addLoopVariant(program.launches[launchNamed(program, name)], std::string_view(name) == "store" ? 4 : 0);
}

uint32_t toy::launchNamed(const Program &program, const std::string &name) {
  for (uint32_t i = 0; i < program.launches.size(); ++i)
    if (program.launches[i].name == name)
      return i;
  ADD_FAILURE() << "no launch " << name;
  return 0;
}
