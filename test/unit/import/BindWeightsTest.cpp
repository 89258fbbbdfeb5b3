// bind-weights: what it writes, and everything that doesn't fit, reported at once.
#include "passes/bind-weights/BindWeights.h"

#include "frontends/import/ImportModel.h"
#include "test/unit/frontends/TestFiles.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

using namespace fusebox;
using namespace fusebox::test;

namespace {

constexpr llvm::StringRef text = R"(
layer.model @m attributes {config = {}} {
  layer.param @embed : tensor<8x4xbf16> from "embed"
  layer.param @gain : tensor<4xf32> from "gain.{}" layers(2)
  layer.param @w : tensor<4x4xbf16> from "w.{}" layers(2) {recipe = ["unpermute_rope 2"]}
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x4xbf16>
    %h = layer.repeat @decoder(%a = %x) layers 0 to 1 : tensor<?x4xbf16> {
      %norm = layer.norm %a, @gain eps 1.0e-6 rounds scaled : tensor<?x4xbf16>
      %y = layer.linear %norm, @w : tensor<?x4xbf16> -> tensor<?x4xbf16>
      layer.return %y : tensor<?x4xbf16>
    }
    %lm_head = layer.linear %h, @embed : tensor<?x4xbf16> -> tensor<?x8xf32>
    layer.return %lm_head : tensor<?x8xf32>
  }
}
)";

using Tensors = std::vector<std::pair<std::string, std::vector<int64_t>>>;
const Tensors fitting = {
    {"embed", {8, 4}}, {"gain.0", {4}}, {"gain.1", {4}}, {"w.0", {4, 4}}, {"w.1", {4, 4}}};

struct Bound {
  explicit Bound(const Tensors &tensors) {
    loadLayerDialect(context);
    mlir::ScopedDiagnosticHandler handler(&context,
                                          [&](mlir::Diagnostic &d) { messages.push_back(d.str()); });
    std::string path = folder.write("model.safetensors", safetensors(tensors));
    Result<Checkpoint> checkpoint = Checkpoint::open(path);
    EXPECT_TRUE(checkpoint);
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    succeeded = mlir::succeeded(bindWeights(model(), *checkpoint));
  }
  layer::ModelOp model() { return *module->getOps<layer::ModelOp>().begin(); }
  layer::ParamOp param(llvm::StringRef name) { return layer::lookupParam(model().getGraph(), name); }

  TemporaryFolder folder;
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::vector<std::string> messages;
  bool succeeded = false;
};

std::string show(mlir::Attribute attribute) {
  std::string out;
  llvm::raw_string_ostream(out) << attribute;
  return out;
}

} // namespace

TEST(BindWeights, WritesSourcesRecipesAndFiles) {
  Bound bound(fitting);
  ASSERT_TRUE(bound.succeeded);
  EXPECT_EQ(bound.model().getFiles()->size(), 1u);
  EXPECT_EQ(show(bound.param("embed").getRecipeAttr()), R"(["identity"])");
  EXPECT_EQ(show(bound.param("w").getRecipeAttr()), R"(["unpermute_rope 2"])");
  EXPECT_EQ(show(bound.param("gain").getRecipeAttr()), R"(["widen f32"])");
  auto sources = bound.param("w").getSourcesAttr();
  ASSERT_EQ(sources.size(), 2u);
  auto second = llvm::cast<layer::SourceAttr>(sources[1]);
  EXPECT_EQ(second.getBytes(), 32u);
  EXPECT_EQ(second.getOffset() - llvm::cast<layer::SourceAttr>(sources[0]).getOffset(), 32u);
  EXPECT_EQ(second.getDtype(), "bf16");
}

TEST(BindWeights, BindingTwiceChangesNothing) {
  Bound bound(fitting);
  std::string before = show(bound.param("gain").getRecipeAttr());
  auto checkpoint = Checkpoint::open(bound.folder.path("model.safetensors"));
  ASSERT_TRUE(mlir::succeeded(bindWeights(bound.model(), *checkpoint)));
  EXPECT_EQ(show(bound.param("gain").getRecipeAttr()), before);
}

TEST(BindWeights, ReportsAllThatDoesNotFit) {
  Bound bound({{"embed", {8, 5}}, {"gain.0", {4}}, {"w.0", {4, 4}}, {"w.1", {2, 4}}});
  EXPECT_FALSE(bound.succeeded);
  EXPECT_EQ(bound.messages, (std::vector<std::string>{
                                "parameter @embed needs tensor 'embed' of shape [8, 4], but it has [8, 5]",
                                "parameter @gain needs tensor 'gain.1' [4], which is missing",
                                "parameter @w needs tensor 'w.1' of shape [4, 4], but it has [2, 4]",
                                "3 tensors do not fit the model; use files and IR of one model"}));
}

TEST(BindWeights, RemarksOnTensorsThatNobodyNames) {
  Tensors more = fitting;
  more.push_back({"rotary.inv_freq", {4}});
  Bound bound(more);
  EXPECT_TRUE(bound.succeeded);
  EXPECT_EQ(bound.messages, (std::vector<std::string>{"tensor 'rotary.inv_freq' is not used"}));
}
