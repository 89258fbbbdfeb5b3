// RUN: fusebox-opt %s | fusebox-opt | FileCheck %s
// Every operation in its text form, twice through parser and printer.

// CHECK-LABEL: layer.model @tiny
layer.model @tiny attributes {config = {family = "llama", layers = 2 : i64, vocabulary = 32 : i64}, files = ["a", "b"]} {
  // CHECK: layer.param @embed : tensor<32x16xbf16> from "model.embed_tokens.weight"
  layer.param @embed : tensor<32x16xbf16> from "model.embed_tokens.weight"
  // CHECK: layer.param @q : tensor<16x16xbf16> from "layers.{}.q" layers(2) {recipe = ["unpermute_rope 2"], sources = [#layer.source<0 at 1024 bytes 512 bf16 [16, 16]>, #layer.source<1 at 8 bytes 512 bf16 [16, 16]>]}
  layer.param @q : tensor<16x16xbf16> from "layers.{}.q" layers(2) {recipe = ["unpermute_rope 2"], sources = [#layer.source<0 at 1024 bytes 512 bf16 [16, 16]>, #layer.source<1 at 8 bytes 512 bf16 [16, 16]>]}
  layer.param @q_bias : tensor<16xf32> from "layers.{}.q_bias" layers(2)
  layer.param @kv : tensor<8x16xbf16> from "layers.{}.kv" layers(2)
  // CHECK: layer.param @gate : tensor<32x16x!layer.block<q4_1>> from "layers.{}.gate" layers(2)
  layer.param @gate : tensor<32x16x!layer.block<q4_1>> from "layers.{}.gate" layers(2)
  layer.param @down : tensor<16x32xbf16> from "layers.{}.down" layers(2)
  layer.param @norm : tensor<16xbf16> from "layers.{}.norm" layers(2)
  layer.param @q_norm : tensor<8xbf16> from "layers.{}.q_norm" layers(2)
  layer.param @final_norm : tensor<16xbf16> from "norm"

  // CHECK: layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %logits_rows: tensor<?xi32>) {
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    // CHECK: %embed = layer.embed %tokens, @embed : tensor<?x16xbf16>
    %embed = layer.embed %t, @embed : tensor<?x16xbf16>
    // CHECK: %embed_scaled = layer.scale %embed by 4.0 : tensor<?x16xbf16>
    %embed_scaled = layer.scale %embed by 4.0 : tensor<?x16xbf16>
    // CHECK: %angles = layer.rope_angles %positions inv_freq [1.0, 0.31622776, 0.1, 0.03162278] : tensor<?x8xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.31622776, 0.1, 0.03162278] : tensor<?x8xbf16>
    // CHECK: %k_rope = layer.rope_angles %positions inv_freq [1.0] factor 1.25 : tensor<?x2xf32>
    %k_rope = layer.rope_angles %p inv_freq [1.0] factor 1.25 : tensor<?x2xf32>
    // CHECK: %decoder = layer.repeat @decoder(%h = %embed_scaled) layers 0 to 1 : tensor<?x16xbf16> {
    %x = layer.repeat @decoder(%in = %embed_scaled) layers 0 to 1 : tensor<?x16xbf16> {
      // CHECK: %attn_norm = layer.norm %h, @norm eps 1.0e-06 rounds normalised_and_scaled : tensor<?x16xbf16>
      %attn_norm = layer.norm %in, @norm eps 1.0e-6 rounds normalised_and_scaled : tensor<?x16xbf16>
      // CHECK: %q = layer.linear %attn_norm, @q bias @q_bias : tensor<?x16xbf16> -> tensor<?x16xbf16>
      %q = layer.linear %attn_norm, @q bias @q_bias : tensor<?x16xbf16> -> tensor<?x16xbf16>
      %k = layer.linear %attn_norm, @kv : tensor<?x16xbf16> -> tensor<?x8xbf16>
      %v = layer.linear %attn_norm, @kv : tensor<?x16xbf16> -> tensor<?x8xbf16>
      // CHECK: %q_norm = layer.norm %q, @q_norm eps 1.0e-06 groups 2 one_plus rounds scaled : tensor<?x16xbf16>
      %q_norm = layer.norm %q, @q_norm eps 1.0e-6 groups 2 one_plus rounds scaled : tensor<?x16xbf16>
      // CHECK: %[[ROPE:.*]]:2 = layer.fused "rope" exact(%{{.*}} = %q_norm : tensor<?x16xbf16>, %{{.*}} = %k : tensor<?x8xbf16>, %{{.*}} = %angles : tensor<?x8xbf16>) -> (tensor<?x16xbf16>, tensor<?x8xbf16>) {
      %rope:2 = layer.fused "rope" exact(%a = %q_norm : tensor<?x16xbf16>, %b = %k : tensor<?x8xbf16>, %c = %angles : tensor<?x8xbf16>) -> (tensor<?x16xbf16>, tensor<?x8xbf16>) {
        // CHECK: %q_rope = layer.rope %{{.*}}, %{{.*}} heads 2 half_split rounds products_and_sum : tensor<?x8xbf16>, tensor<?x16xbf16>
        %q_rope = layer.rope %a, %c heads 2 half_split rounds products_and_sum : tensor<?x8xbf16>, tensor<?x16xbf16>
        // A name that an outer value has taken stays the node's name.
        // CHECK: %k_rope_{{[0-9]+}} = layer.rope %{{.*}}, %{{.*}} heads 1 interleaved rounds sum as "k_rope" : tensor<?x8xbf16>, tensor<?x8xbf16>
        %turned = layer.rope %b, %c heads 1 interleaved rounds sum as "k_rope" : tensor<?x8xbf16>, tensor<?x8xbf16>
        // CHECK: layer.return %q_rope, %k_rope_{{[0-9]+}} : tensor<?x16xbf16>, tensor<?x8xbf16>
        layer.return %q_rope, %turned : tensor<?x16xbf16>, tensor<?x8xbf16>
      }
      // CHECK: %attn = layer.attention %[[ROPE]]#0, %[[ROPE]]#1, %v heads 2 kv_heads 1 scale 0.35 window 64 softcap 50.0 rounds eager : tensor<?x16xbf16>, tensor<?x8xbf16>, tensor<?x8xbf16> -> tensor<?x16xbf16>
      %attn = layer.attention %rope#0, %rope#1, %v heads 2 kv_heads 1 scale 0.35 window 64 softcap 50.0 rounds eager : tensor<?x16xbf16>, tensor<?x8xbf16>, tensor<?x8xbf16> -> tensor<?x16xbf16>
      // CHECK: %attn_residual = layer.add %h, %attn : tensor<?x16xbf16>
      %attn_residual = layer.add %in, %attn : tensor<?x16xbf16>
      %gate = layer.linear %attn_residual, @gate : tensor<?x16xbf16> -> tensor<?x32xbf16>
      // CHECK: %glu = layer.glu silu %gate, %gate rounds activation_and_product : tensor<?x32xbf16>
      %glu = layer.glu silu %gate, %gate rounds activation_and_product : tensor<?x32xbf16>
      %down = layer.linear %glu, @down : tensor<?x32xbf16> -> tensor<?x16xbf16>
      %residual = layer.add %attn_residual, %down : tensor<?x16xbf16>
      layer.return %residual : tensor<?x16xbf16>
    }
    // CHECK: %rows = layer.select_rows %decoder, %logits_rows : tensor<?x16xbf16>
    %rows = layer.select_rows %x, %r : tensor<?x16xbf16>
    %final_norm = layer.norm %rows, @final_norm eps 1.0e-6 rounds normalised_and_scaled : tensor<?x16xbf16>
    // CHECK: %0 = layer.linear
    %0 = layer.linear %final_norm, @embed : tensor<?x16xbf16> -> tensor<?x32xbf16>
    // CHECK: %softcap = layer.softcap %0 at 30.0 : tensor<?x32xbf16>
    %softcap = layer.softcap %0 at 30.0 : tensor<?x32xbf16>
    // CHECK: %logits = layer.cast %softcap : tensor<?x32xbf16> -> tensor<?x32xf32>
    %capped = layer.cast %softcap as "logits" : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %capped : tensor<?x32xf32>
  }
}
