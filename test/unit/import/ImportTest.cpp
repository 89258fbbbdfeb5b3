// What import makes of a description: size, names, types. The dumps of the goldens are in test/layer/import.
#include "frontends/import/ImportModel.h"
#include "ir/layer/LayerOps.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <regex>

using namespace fusebox;

namespace {

ModelSpec goldenSpec(const std::string &name) {
  Result<ModelSpec> spec = readModelSpec(FUSEBOX_TEST_DATA "/golden/" + name);
  EXPECT_TRUE(spec);
  return std::move(*spec);
}

struct Imported {
  explicit Imported(const ModelSpec &spec, const ImportOptions &options = {}) {
    auto result = importModel(context, spec, options);
    if (succeeded(result))
      module = std::move(*result);
  }
  std::string text() {
    std::string out;
    llvm::raw_string_ostream(out) << *module;
    return out;
  }
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  mlir::OwningOpRef<mlir::ModuleOp> module;
};

/// The text with every layer count replaced by a letter.
std::string withoutDepth(const std::string &text, int64_t layers) {
  std::string count = std::to_string(layers), last = std::to_string(layers - 1);
  std::string out = std::regex_replace(text, std::regex("layers\\(" + count + "\\)"), "layers(N)");
  out = std::regex_replace(out, std::regex("layers = " + count + " "), "layers = N ");
  return std::regex_replace(out, std::regex("layers 0 to " + last + " "), "layers 0 to N-1 ");
}

} // namespace

TEST(Import, DumpOf28LayersIsNoLongerThanOf4) {
  for (const char *name : {"qwen3", "llama", "ernie4_5"}) {
    ModelSpec spec = goldenSpec(name);
    spec.layers = 4;
    std::string shallow = Imported(spec).text();
    spec.layers = 28;
    std::string deep = Imported(spec).text();
    EXPECT_EQ(std::ranges::count(deep, '\n'), std::ranges::count(shallow, '\n'));
    EXPECT_EQ(withoutDepth(deep, 28), withoutDepth(shallow, 4));
  }
}

TEST(Import, EveryGoldenVerifiesAndReadsBack) {
  for (const char *name : {"qwen3", "qwen3-extreme-k", "llama", "llama-tied", "llama31-rope", "ernie4_5"}) {
    Imported imported(goldenSpec(name));
    ASSERT_TRUE(imported.module) << name;
    EXPECT_TRUE(succeeded(mlir::verify(*imported.module))) << name;
    std::string text = imported.text();
    auto again = mlir::parseSourceString<mlir::ModuleOp>(text, &imported.context);
    ASSERT_TRUE(again) << name;
    std::string printed;
    llvm::raw_string_ostream(printed) << *again;
    EXPECT_EQ(printed, text);
  }
}

TEST(Import, NodesKeepTheirNamesThroughText) {
  Imported imported(goldenSpec("llama"));
  auto again = mlir::parseSourceString<mlir::ModuleOp>(imported.text(), &imported.context);
  auto names = [](mlir::ModuleOp module) {
    std::vector<std::string> out;
    module.walk([&](mlir::Operation *op) { out.push_back(layer::nodeName(op).str()); });
    return out;
  };
  EXPECT_EQ(names(*again), names(*imported.module));
}

TEST(Import, DtypeChoosesTheActivationsType) {
  for (auto [dtype, element] : {std::pair{DType::BF16, "bf16"}, {DType::F32, "f32"}, {DType::F64, "f64"}}) {
    Imported imported(goldenSpec("llama"), {.dtype = dtype});
    EXPECT_NE(imported.text().find(std::string("%q = layer.linear %attn_norm, @q : tensor<?x128x") + element),
              std::string::npos);
  }
}

TEST(Import, ADescriptionInF16ComputesInF32) {
  ModelSpec spec = goldenSpec("llama");
  spec.dtype = DType::F16;
  std::string text = Imported(spec).text();
  EXPECT_NE(text.find("%embed = layer.embed %tokens, @embed : tensor<?x128xf32>"), std::string::npos);
  EXPECT_NE(text.find("layer.param @embed : tensor<384x128xf16>"), std::string::npos);
}

TEST(Import, NormsGoWhereThePlacementSays) {
  ModelSpec spec = goldenSpec("qwen3");
  for (const char *role : {"post_attn_norm", "post_mlp_norm"})
    spec.parameters.push_back(
        {.role = role, .tensorName = std::string(role) + ".{}", .perLayer = true, .shape = {128}});
  spec.norm.placement = NormPlacement::Post;
  Imported post(spec);
  EXPECT_TRUE(succeeded(mlir::verify(*post.module)));
  EXPECT_NE(post.text().find("%q = layer.linear %h, @q"), std::string::npos);
  EXPECT_NE(post.text().find("%attn_residual = layer.add %h, %post_attn_norm"), std::string::npos);
  spec.norm.placement = NormPlacement::PrePost;
  Imported both(spec);
  EXPECT_TRUE(succeeded(mlir::verify(*both.module)));
  EXPECT_NE(both.text().find("%q = layer.linear %attn_norm, @q"), std::string::npos);
  EXPECT_NE(both.text().find("%residual = layer.add %attn_residual, %post_mlp_norm"), std::string::npos);
}

TEST(Import, ScalesAndCapsAreNodes) {
  ModelSpec spec = goldenSpec("llama");
  spec.embeddingScale = 12;
  spec.logitScale = 0.125;
  spec.logitSoftcap = 30;
  spec.attention.softcap = 50;
  std::string text = Imported(spec).text();
  for (const char *expected : {"%embed_scaled = layer.scale %embed by 12.0", "(%h = %embed_scaled)",
                               "%logits_scaled = layer.scale %lm_head by 0.125",
                               "%logits_capped = layer.softcap %logits_scaled at 30.0",
                               "%logits = layer.cast %logits_capped", "softcap 50.0 rounds sdpa"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected;
}

TEST(Import, AnMlpWithoutAGateIsRefused) {
  ModelSpec spec = goldenSpec("llama");
  spec.mlp.gated = false;
  mlir::MLIRContext context;
  std::string message;
  mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &d) { message = d.str(); });
  EXPECT_TRUE(failed(importModel(context, spec)));
  EXPECT_EQ(message, "the MLP of 'llama' has no gate, which is not supported");
}
