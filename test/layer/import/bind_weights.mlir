// RUN: fusebox-opt %s --import-model='model=%data/golden/llama' --bind-weights=model=%data/golden/llama | FileCheck %s
// One source a layer, byte for byte where the file has them.

// CHECK: layer.param @q : tensor<128x128xbf16> from "model.layers.{}.self_attn.q_proj.weight" layers(3) {recipe = ["identity"], sources = [#layer.source<0 at 495192 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 839768 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 1184344 bytes 32768 bf16 [128, 128]>]}
// CHECK: layer.param @lm_head : tensor<384x128xbf16> from "lm_head.weight" {recipe = ["identity"], sources = [#layer.source<0 at 3160 bytes 98304 bf16 [384, 128]>]}
// CHECK: %q = layer.linear %attn_norm, @q : tensor<?x128xbf16> -> tensor<?x128xbf16>
// CHECK: %lm_head = layer.linear %final_norm, @lm_head : tensor<?x128xbf16> -> tensor<?x384xbf16>
// CHECK-NOT: widen
