// RUN: fusebox-opt %s --import-model='model=%data/golden/llama dtype=f32' | FileCheck %s
// Activations in f32: so are the angles; weights stay as stored.

// CHECK: layer.param @embed : tensor<384x128xbf16> from "model.embed_tokens.weight"
// CHECK: layer.param @q : tensor<128x128xbf16> from "model.layers.{}.self_attn.q_proj.weight" layers(3)
// CHECK: layer.param @mlp_norm : tensor<128xbf16> from "model.layers.{}.post_attention_layernorm.weight" layers(3)
// CHECK: %embed = layer.embed %tokens, @embed : tensor<?x128xf32>
// CHECK: %angles = layer.rope_angles %positions inv_freq [1.0, 0.56234133, {{[^]]*}}] : tensor<?x32xf32>
// CHECK: %decoder = layer.repeat @decoder(%h = %embed) layers 0 to 2 : tensor<?x128xf32> {
// CHECK: %q = layer.linear %attn_norm, @q : tensor<?x128xf32> -> tensor<?x128xf32>
// CHECK: %q_rope = layer.rope %q, %angles heads 4 half_split rounds products_and_sum : tensor<?x32xf32>, tensor<?x128xf32>
// CHECK: %k_rope = layer.rope %k, %angles heads 2 half_split rounds products_and_sum : tensor<?x32xf32>, tensor<?x64xf32>
// CHECK: %attn = layer.attention %q_rope, %k_rope, %v heads 4 kv_heads 2 scale 0.17677669529663687 rounds sdpa : tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x128xf32>
