// RUN: fusebox-opt %s --import-model='model=%data/golden/llama eager' | FileCheck %s
// Untied logits, eager rounding of attention.

// CHECK: layer.param @mlp_norm : tensor<128xbf16> from "model.layers.{}.post_attention_layernorm.weight" layers(3)
// CHECK: layer.param @lm_head : tensor<384x128xbf16> from "lm_head.weight"
// CHECK: layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %logits_rows: tensor<?xi32>) {
// CHECK: %attn = layer.attention %q_rope, %k_rope, %v heads 4 kv_heads 2 scale 0.17677669529663687 rounds eager : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x128xbf16>
// CHECK: %rows = layer.select_rows %decoder, %logits_rows : tensor<?x128xbf16>
// CHECK: %lm_head = layer.linear %final_norm, @lm_head : tensor<?x128xbf16> -> tensor<?x384xbf16>
// CHECK: %logits = layer.cast %lm_head : tensor<?x384xbf16> -> tensor<?x384xf32>
// CHECK: layer.return %logits : tensor<?x384xf32>
