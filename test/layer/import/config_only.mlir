// RUN: fusebox-opt %s --import-model='model=%data/golden/smollm2-135m-instruct config-only' | FileCheck %s
// A description without weights: parameters are taken to be stored in its own type.

// CHECK: layer.param @embed : tensor<49152x576xbf16> from "model.embed_tokens.weight"
// CHECK: layer.param @attn_norm : tensor<576xbf16> from "model.layers.{}.input_layernorm.weight" layers(30)
// CHECK: layer.param @q : tensor<576x576xbf16> from "model.layers.{}.self_attn.q_proj.weight" layers(30)
// CHECK: layer.param @k : tensor<192x576xbf16> from "model.layers.{}.self_attn.k_proj.weight" layers(30)
// CHECK: layer.param @v : tensor<192x576xbf16> from "model.layers.{}.self_attn.v_proj.weight" layers(30)
// CHECK: layer.param @o : tensor<576x576xbf16> from "model.layers.{}.self_attn.o_proj.weight" layers(30)
// CHECK: layer.param @mlp_norm : tensor<576xbf16> from "model.layers.{}.post_attention_layernorm.weight" layers(30)
// CHECK: layer.param @gate : tensor<1536x576xbf16> from "model.layers.{}.mlp.gate_proj.weight" layers(30)
// CHECK: layer.param @up : tensor<1536x576xbf16> from "model.layers.{}.mlp.up_proj.weight" layers(30)
// CHECK: layer.param @down : tensor<576x1536xbf16> from "model.layers.{}.mlp.down_proj.weight" layers(30)
// CHECK: layer.param @final_norm : tensor<576xbf16> from "model.norm.weight"
// CHECK: %decoder = layer.repeat @decoder(%h = %embed) layers 0 to 29 : tensor<?x576xbf16> {
