// Products that take long, or whose rows are long, stream their matrices through shared memory in steps of few rows: each
// by itself, with what follows it as its body.
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a --split-input-file | FileCheck %s

// The norm, gate and up are launches of their own; up's body has the activation, down's the sum. Many rows are a library's.
// CHECK: plan.program
// CHECK: plan.pointwise @round_glu(%{{.*}}: f32, %{{.*}}: bf16)
// CHECK: plan.pointwise @round_add(%{{.*}}: f32, %{{.*}}: bf16)
// CHECK: plan.kernel @[[GATE:linear_stream[^ ]+]] = "linear_stream" {{.*}} in = 4096 : i64, {{.*}} maxRows = 1 : i64, out = 14336 : i64,
// CHECK: plan.kernel @[[GATED:linear_stream[^ ]+]] = "linear_stream" {{.*}} in = 4096 : i64, {{.*}} maxRows = 1 : i64, {{.*}} computes @round_glu on
// CHECK: plan.kernel @[[SUM:linear_stream[^ ]+]] = "linear_stream" {{.*}} in = 14336 : i64, {{.*}} maxRows = 1 : i64, {{.*}} computes @round_add on
// CHECK: plan.call "mlp_norm" rows tokens [#plan.variant<@norm.4096 grid[
// CHECK-NEXT: plan.call "gate" rows tokens [#plan.variant<@[[GATE]] up_to 1 grid[<132>]>, {{.*}}#plan.variant<@linear_tile
// CHECK-NEXT: plan.call "up" rows tokens [#plan.variant<@[[GATE]] up_to 1 grid[<0>]>
// CHECK-NEXT: plan.call "glu" rows tokens [#plan.variant<@[[GATED]] up_to 1 grid[<132>]>, {{.*}} up_to 16 {{.*}}#plan.variant<@glu.14336 grid[{{.*}} %gate,
// CHECK-NEXT: plan.call "down" rows tokens [#plan.variant<@{{[^ ]+}} up_to 1 grid[<0>]>
// CHECK-NEXT: plan.call "residual" rows tokens [#plan.variant<@[[SUM]] up_to 1 grid[<132>]>

layer.model @large attributes {config = {family = "llama", layers = 1 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x4096xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 524288 bf16 [64, 4096]>]}
  layer.param @norm1 : tensor<4096xbf16> from "norm1" {recipe = ["identity"], sources = [#layer.source<0 at 524352 bytes 8192 bf16 [4096]>]}
  layer.param @gate : tensor<14336x4096xbf16> from "gate" {recipe = ["identity"], sources = [#layer.source<0 at 532544 bytes 117440512 bf16 [14336, 4096]>]}
  layer.param @up : tensor<14336x4096xbf16> from "up" {recipe = ["identity"], sources = [#layer.source<0 at 117973056 bytes 117440512 bf16 [14336, 4096]>]}
  layer.param @down : tensor<4096x14336xbf16> from "down" {recipe = ["identity"], sources = [#layer.source<0 at 235413568 bytes 117440512 bf16 [4096, 14336]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x4096xbf16>
    %mlp_norm = layer.norm %embed, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x4096xbf16>
    %gate = layer.linear %mlp_norm, @gate : tensor<?x4096xbf16> -> tensor<?x14336xbf16>
    %up = layer.linear %mlp_norm, @up : tensor<?x4096xbf16> -> tensor<?x14336xbf16>
    %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x14336xbf16>
    %down = layer.linear %glu, @down : tensor<?x14336xbf16> -> tensor<?x4096xbf16>
    %residual = layer.add %embed, %down : tensor<?x4096xbf16>
    %rows = layer.select_rows %residual, %r : tensor<?x4096xbf16>
    %head = layer.linear %rows, @embed : tensor<?x4096xbf16> -> tensor<?x64xbf16>
    %logits = layer.cast %head : tensor<?x64xbf16> -> tensor<?x64xf32>
    layer.return %logits : tensor<?x64xf32>
  }
}

// -----

// Gate and up don't take long: with the norm and the activation they are one launch of linear_skinny. Rows of down are long.
// CHECK: plan.program
// CHECK: plan.call "mlp_norm" rows tokens [#plan.variant<@norm.2560 up_to 4 grid[<0>]>
// CHECK: plan.call "glu" rows tokens [#plan.variant<@linear_skinny
// CHECK-NEXT: plan.call "down" rows tokens [#plan.variant<@linear_stream{{[^ ]+}} up_to 1 grid[<0>]>
// CHECK-NEXT: plan.call "residual" rows tokens [#plan.variant<@linear_stream{{[^ ]+}} up_to 1 grid[<132>]>

layer.model @medium attributes {config = {family = "llama", layers = 1 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x2560xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 327680 bf16 [64, 2560]>]}
  layer.param @norm1 : tensor<2560xbf16> from "norm1" {recipe = ["identity"], sources = [#layer.source<0 at 327744 bytes 5120 bf16 [2560]>]}
  layer.param @gate : tensor<9728x2560xbf16> from "gate" {recipe = ["identity"], sources = [#layer.source<0 at 332864 bytes 49807360 bf16 [9728, 2560]>]}
  layer.param @up : tensor<9728x2560xbf16> from "up" {recipe = ["identity"], sources = [#layer.source<0 at 50140224 bytes 49807360 bf16 [9728, 2560]>]}
  layer.param @down : tensor<2560x9728xbf16> from "down" {recipe = ["identity"], sources = [#layer.source<0 at 99947584 bytes 49807360 bf16 [2560, 9728]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x2560xbf16>
    %mlp_norm = layer.norm %embed, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x2560xbf16>
    %gate = layer.linear %mlp_norm, @gate : tensor<?x2560xbf16> -> tensor<?x9728xbf16>
    %up = layer.linear %mlp_norm, @up : tensor<?x2560xbf16> -> tensor<?x9728xbf16>
    %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x9728xbf16>
    %down = layer.linear %glu, @down : tensor<?x9728xbf16> -> tensor<?x2560xbf16>
    %residual = layer.add %embed, %down : tensor<?x2560xbf16>
    %rows = layer.select_rows %residual, %r : tensor<?x2560xbf16>
    %head = layer.linear %rows, @embed : tensor<?x2560xbf16> -> tensor<?x64xbf16>
    %logits = layer.cast %head : tensor<?x64xbf16> -> tensor<?x64xf32>
    layer.return %logits : tensor<?x64xf32>
  }
}

// -----

// Steps of up to 16 rows have no kernel for norm and products together, as registers don't hold so long an input. Each
// product alone is then cut as it was in that of few rows (not stacked, though its outputs are few), else its bits would
// depend on the batch.
// CHECK: plan.program
// CHECK: plan.kernel @[[ALONE:[^ ]+]] = "linear_skinny" {{.*}} columnTiles = 2 : i64, {{.*}} part0 = 1024 : i64, {{.*}} stacked = 0 : i64
// CHECK: plan.call "k" rows tokens [#plan.variant<@{{[^ ]+}} up_to 4 grid[<0>]>, {{.*}} #plan.variant<@[[ALONE]] up_to 16 grid[<64>]>, #plan.variant<@linear_tile
// CHECK: plan.call "v" rows tokens [{{.*}} #plan.variant<@[[ALONE]] up_to 16 grid[<64>]>, #plan.variant<@linear_tile

layer.model @few_outputs attributes {config = {family = "llama", layers = 1 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x2560xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 327680 bf16 [64, 2560]>]}
  layer.param @norm1 : tensor<2560xbf16> from "norm1" {recipe = ["identity"], sources = [#layer.source<0 at 327744 bytes 5120 bf16 [2560]>]}
  layer.param @k : tensor<1024x2560xbf16> from "k" {recipe = ["identity"], sources = [#layer.source<0 at 332864 bytes 5242880 bf16 [1024, 2560]>]}
  layer.param @v : tensor<1024x2560xbf16> from "v" {recipe = ["identity"], sources = [#layer.source<0 at 5575744 bytes 5242880 bf16 [1024, 2560]>]}
  layer.param @k_out : tensor<2560x1024xbf16> from "k_out" {recipe = ["identity"], sources = [#layer.source<0 at 10818624 bytes 5242880 bf16 [2560, 1024]>]}
  layer.param @v_out : tensor<2560x1024xbf16> from "v_out" {recipe = ["identity"], sources = [#layer.source<0 at 16061504 bytes 5242880 bf16 [2560, 1024]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x2560xbf16>
    %norm = layer.norm %embed, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x2560xbf16>
    %k = layer.linear %norm, @k : tensor<?x2560xbf16> -> tensor<?x1024xbf16>
    %v = layer.linear %norm, @v : tensor<?x2560xbf16> -> tensor<?x1024xbf16>
    %k_out = layer.linear %k, @k_out : tensor<?x1024xbf16> -> tensor<?x2560xbf16>
    %v_out = layer.linear %v, @v_out : tensor<?x1024xbf16> -> tensor<?x2560xbf16>
    %sum = layer.add %k_out, %v_out : tensor<?x2560xbf16>
    %rows = layer.select_rows %sum, %r : tensor<?x2560xbf16>
    %head = layer.linear %rows, @embed : tensor<?x2560xbf16> -> tensor<?x64xbf16>
    %logits = layer.cast %head : tensor<?x64xbf16> -> tensor<?x64xf32>
    layer.return %logits : tensor<?x64xf32>
  }
}
