// A table that only embeddings look up is read by the row; one that is also multiplied is read whole.
// RUN: fusebox-opt %s --select-kernels=targets=cpu:x86-64-v3 | FileCheck %s
// RUN: sed 's/%rows, @head/%rows, @embed/' %s | fusebox-opt --select-kernels=targets=cpu:x86-64-v3 | FileCheck %s --check-prefix=TIED

// CHECK: plan.weight @embed "bf16" [32, 16] bytes 1024 gathered recipe
// CHECK: plan.weight @head "bf16" [32, 16] bytes 1024 recipe
// TIED: plan.weight @embed "bf16" [32, 16] bytes 1024 recipe

layer.model @tiny attributes {config = {family = "llama", layers = 1 : i64, vocabulary = 32 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<32x16xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 1024 bf16 [32, 16]>]}
  layer.param @head : tensor<32x16xbf16> from "head" {recipe = ["identity"], sources = [#layer.source<0 at 1088 bytes 1024 bf16 [32, 16]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x16xbf16>
    %rows = layer.select_rows %embed, %r : tensor<?x16xbf16>
    %logits = layer.linear %rows, @head : tensor<?x16xbf16> -> tensor<?x32xbf16>
    %wide = layer.cast %logits : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %wide : tensor<?x32xf32>
  }
}
