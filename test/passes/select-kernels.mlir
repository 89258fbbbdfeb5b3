// Every operation becomes a call of a kernel from the registry, with constants, weights and caches.
// RUN: fusebox-opt %s --select-kernels=targets=cpu:x86-64-v3 | FileCheck %s
// RUN: fusebox-opt %s --select-kernels=targets=cpu:x86-64-v3,cpu:x86-64-v4 | FileCheck %s --check-prefix=TWO

// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a | FileCheck %s --check-prefix=LARGEST
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a --plan-memory --schedule | FileCheck %s --check-prefix=LAUNCH

// A GPU finds the largest logits itself, in steps that ask for them.
// LARGEST: %logits = plan.call "head" rows logits_rows
// LARGEST: %[[G:.*]] = plan.call "largest_groups" rows logits_rows {{.*}} (out, %logits) nodes [""] {selects = 1 : i64}
// LARGEST: plan.call "largest" rows logits_rows {{.*}} (out, %[[G]], %logits) nodes [""] {selects = 1 : i64}{{.*}} -> tensor<?x16xf32>
// LARGEST: plan.call "largest" {{.*}} {selects = 256 : i64}{{.*}} -> tensor<?x528xf32>
// LARGEST: plan.yield %logits
// LAUNCH: plan.launch "largest_groups" {{.*}} barrier values [] {selects = 1 : i64}
// LAUNCH: plan.launch "largest" {{.*}} barrier values [] {selects = 1 : i64}

// TWO: plan.program @"cpu:x86-64-v3"
// TWO: plan.program @"cpu:x86-64-v4"

// CHECK: plan.program @"cpu:x86-64-v3" model {dtype = "bf16", family = "llama", layers = 2 : i64, vocabulary = 32 : i64}
// CHECK: plan.target @target cpu "x86-64-v3"
// CHECK: plan.file @file0 "a.safetensors"
// CHECK: plan.weight @embed "bf16" [32, 16] bytes 1024 recipe [] sources {{\[\[}}#plan.source<@file0 at 64 bytes 1024
// A weight that differs by layer, with the steps that make it.
// CHECK: plan.weight @q "bf16" [16, 16] bytes 512 from_layer 0 recipe ["unpermute_rope 2"]
// CHECK: plan.constant @constant = dense<{{.*}}> : tensor<4xf32>
// CHECK: plan.kv_cache @kv layers 2 page_tokens 64 page_bytes 2048
// CHECK: plan.kernel @[[EMBED:.*]] = "embed" {columns = 16 : i64, outType = 3 : i64
// CHECK-NOT: layer.
// CHECK: plan.graph {
// CHECK: %embed = plan.call "embed" rows tokens [#plan.variant<@[[EMBED]] grid[{{.*}}]>] (out, @embed)
// CHECK: plan.loop @decoder layers 0 to 1 (%h = %embed : tensor<?x16xbf16>)
// Two variants: one row, and many.
// CHECK: %q = plan.call "q" rows tokens [#plan.variant<@[[Q:.*]] up_to 1 grid[{{.*}}]>, #plan.variant<{{.*}}>] (out, %h, @q)
// The same constants, the same kernel.
// CHECK: %k = plan.call "k" rows tokens [#plan.variant<@[[K:.*]] up_to 1
// CHECK: %v = plan.call "v" rows tokens [#plan.variant<@[[K]] up_to 1
// The cache is written, then read.
// CHECK: plan.call "kv_write" rows tokens {{.*}} (out @kv, %k, %v)
// CHECK: %attn = plan.call "attn" rows tokens {{.*}} (out, %q_rope, @kv)
// Elementwise kernels may overwrite their operands.
// CHECK: %residual = plan.call "residual" {{.*}} (out, %h, %attn) nodes ["residual"] in_place [0, 0, 0, 1]
// CHECK: plan.yield %residual
// CHECK: %rows = plan.call "rows" rows logits_rows
// The cast to f32 is part of the product: rounded as the model says, kept as f32.
// CHECK: %logits = plan.call "head" rows logits_rows {{.*}} : (tensor<?x16xbf16>) -> tensor<?x32xf32>
// CHECK: plan.yield %logits

layer.model @tiny attributes {config = {family = "llama", layers = 2 : i64, vocabulary = 32 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<32x16xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 1024 bf16 [32, 16]>]}
  layer.param @q : tensor<16x16xbf16> from "{}.q" layers(2) {recipe = ["unpermute_rope 2"], sources = [#layer.source<0 at 2048 bytes 512 bf16 [16, 16]>, #layer.source<0 at 2560 bytes 512 bf16 [16, 16]>]}
  layer.param @k : tensor<8x16xbf16> from "{}.k" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 4096 bytes 256 bf16 [8, 16]>, #layer.source<0 at 4352 bytes 256 bf16 [8, 16]>]}
  layer.param @v : tensor<8x16xbf16> from "{}.v" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 4608 bytes 256 bf16 [8, 16]>, #layer.source<0 at 4864 bytes 256 bf16 [8, 16]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x16xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.01, 0.001] : tensor<?x8xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x16xbf16> {
      %q = layer.linear %in, @q : tensor<?x16xbf16> -> tensor<?x16xbf16>
      %k = layer.linear %in, @k : tensor<?x16xbf16> -> tensor<?x8xbf16>
      %v = layer.linear %in, @v : tensor<?x16xbf16> -> tensor<?x8xbf16>
      %q_rope = layer.rope %q, %angles heads 2 half_split rounds products_and_sum : tensor<?x8xbf16>, tensor<?x16xbf16>
      %attn = layer.attention %q_rope, %k, %v heads 2 kv_heads 1 scale 0.35 rounds sdpa : tensor<?x16xbf16>, tensor<?x8xbf16>, tensor<?x8xbf16> -> tensor<?x16xbf16>
      %residual = layer.add %in, %attn : tensor<?x16xbf16>
      layer.return %residual : tensor<?x16xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x16xbf16>
    %head = layer.linear %rows, @embed : tensor<?x16xbf16> -> tensor<?x32xbf16>
    %logits = layer.cast %head : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %logits : tensor<?x32xf32>
  }
}
