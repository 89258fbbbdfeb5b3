// RUN: fusebox-opt %s --import-model='model=%data/golden/qwen3' | FileCheck %s
// A whole model: parameters, one body for all layers, QK norms of each head, tied embeddings.

// CHECK: layer.model @model attributes {config = {bos = 1 : i64, eos = [2], family = "qwen3", layers = 3 : i64, max_position = 512 : i64, vocabulary = 384 : i64}} {
// CHECK-NEXT: layer.param @embed : tensor<384x128xbf16> from "model.embed_tokens.weight"
// CHECK-NEXT: layer.param @attn_norm : tensor<128xbf16> from "model.layers.{}.input_layernorm.weight" layers(3)
// CHECK-NEXT: layer.param @q : tensor<256x128xbf16> from "model.layers.{}.self_attn.q_proj.weight" layers(3)
// CHECK-NEXT: layer.param @k : tensor<128x128xbf16> from "model.layers.{}.self_attn.k_proj.weight" layers(3)
// CHECK-NEXT: layer.param @v : tensor<128x128xbf16> from "model.layers.{}.self_attn.v_proj.weight" layers(3)
// CHECK-NEXT: layer.param @q_norm : tensor<64xbf16> from "model.layers.{}.self_attn.q_norm.weight" layers(3)
// CHECK-NEXT: layer.param @k_norm : tensor<64xbf16> from "model.layers.{}.self_attn.k_norm.weight" layers(3)
// CHECK-NEXT: layer.param @o : tensor<128x256xbf16> from "model.layers.{}.self_attn.o_proj.weight" layers(3)
// CHECK-NEXT: layer.param @mlp_norm : tensor<128xbf16> from "model.layers.{}.post_attention_layernorm.weight" layers(3)
// CHECK-NEXT: layer.param @gate : tensor<320x128xbf16> from "model.layers.{}.mlp.gate_proj.weight" layers(3)
// CHECK-NEXT: layer.param @up : tensor<320x128xbf16> from "model.layers.{}.mlp.up_proj.weight" layers(3)
// CHECK-NEXT: layer.param @down : tensor<128x320xbf16> from "model.layers.{}.mlp.down_proj.weight" layers(3)
// CHECK-NEXT: layer.param @final_norm : tensor<128xbf16> from "model.norm.weight"
// CHECK-NEXT: layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %logits_rows: tensor<?xi32>) {
// CHECK-NEXT: %embed = layer.embed %tokens, @embed : tensor<?x128xbf16>
// CHECK-NEXT: %angles = layer.rope_angles %positions inv_freq [1.0, 0.64938164, {{[^]]*}}] : tensor<?x64xbf16>
// CHECK-NEXT: %decoder = layer.repeat @decoder(%h = %embed) layers 0 to 2 : tensor<?x128xbf16> {
// CHECK-NEXT: %attn_norm = layer.norm %h, @attn_norm eps 1.0e-06 rounds normalised_and_scaled : tensor<?x128xbf16>
// CHECK-NEXT: %q = layer.linear %attn_norm, @q : tensor<?x128xbf16> -> tensor<?x256xbf16>
// CHECK-NEXT: %k = layer.linear %attn_norm, @k : tensor<?x128xbf16> -> tensor<?x128xbf16>
// CHECK-NEXT: %v = layer.linear %attn_norm, @v : tensor<?x128xbf16> -> tensor<?x128xbf16>
// CHECK-NEXT: %q_norm = layer.norm %q, @q_norm eps 1.0e-06 groups 4 rounds normalised_and_scaled : tensor<?x256xbf16>
// CHECK-NEXT: %k_norm = layer.norm %k, @k_norm eps 1.0e-06 groups 2 rounds normalised_and_scaled : tensor<?x128xbf16>
// CHECK-NEXT: %q_rope = layer.rope %q_norm, %angles heads 4 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x256xbf16>
// CHECK-NEXT: %k_rope = layer.rope %k_norm, %angles heads 2 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x128xbf16>
// CHECK-NEXT: %attn = layer.attention %q_rope, %k_rope, %v heads 4 kv_heads 2 scale 0.125 rounds sdpa : tensor<?x256xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x256xbf16>
// CHECK-NEXT: %o = layer.linear %attn, @o : tensor<?x256xbf16> -> tensor<?x128xbf16>
// CHECK-NEXT: %attn_residual = layer.add %h, %o : tensor<?x128xbf16>
// CHECK-NEXT: %mlp_norm = layer.norm %attn_residual, @mlp_norm eps 1.0e-06 rounds normalised_and_scaled : tensor<?x128xbf16>
// CHECK-NEXT: %gate = layer.linear %mlp_norm, @gate : tensor<?x128xbf16> -> tensor<?x320xbf16>
// CHECK-NEXT: %up = layer.linear %mlp_norm, @up : tensor<?x128xbf16> -> tensor<?x320xbf16>
// CHECK-NEXT: %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x320xbf16>
// CHECK-NEXT: %down = layer.linear %glu, @down : tensor<?x320xbf16> -> tensor<?x128xbf16>
// CHECK-NEXT: %residual = layer.add %attn_residual, %down : tensor<?x128xbf16>
// CHECK-NEXT: layer.return %residual : tensor<?x128xbf16>
// CHECK-NEXT: }
// CHECK-NEXT: %rows = layer.select_rows %decoder, %logits_rows : tensor<?x128xbf16>
// CHECK-NEXT: %final_norm = layer.norm %rows, @final_norm eps 1.0e-06 rounds normalised_and_scaled : tensor<?x128xbf16>
// CHECK-NEXT: %lm_head = layer.linear %final_norm, @embed : tensor<?x128xbf16> -> tensor<?x384xbf16>
// CHECK-NEXT: %logits = layer.cast %lm_head : tensor<?x384xbf16> -> tensor<?x384xf32>
// CHECK-NEXT: layer.return %logits : tensor<?x384xf32>
// CHECK-NEXT: }
// CHECK-NEXT: }
