// Attention of few tokens has two kernels on a GPU: one for steps whose tokens see many keys, from 16 or
// 24 MB of keys and values on, and one for the others. Both take 16 tokens; more have a third.
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a | FileCheck %s
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a | fusebox-opt | FileCheck %s

// CHECK-DAG: plan.kernel @[[LONG:attention_stream[^ ]*]] = "attention_stream"
// CHECK-DAG: plan.kernel @[[SHORT:attention_decode[^ ]*]] = "attention_decode"
// CHECK-DAG: plan.kernel @[[MANY:attention_prefill[^ ]*]] = "attention_prefill"
// CHECK: plan.call "attn" rows tokens [#plan.variant<@[[LONG]] up_to 16 from_keys 98304 grid
// CHECK-SAME: #plan.variant<@[[SHORT]] up_to 16 grid
// CHECK-SAME: #plan.variant<@[[MANY]] grid

layer.model @tiny attributes {config = {family = "llama", layers = 2 : i64, vocabulary = 32 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<32x64xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 4096 bf16 [32, 64]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x64xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x64xbf16> {
      %attn = layer.attention %in, %in, %in heads 1 kv_heads 1 scale 0.125 rounds sdpa : tensor<?x64xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x64xbf16>
      layer.return %attn : tensor<?x64xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x64xbf16>
    %head = layer.linear %rows, @embed : tensor<?x64xbf16> -> tensor<?x32xbf16>
    %logits = layer.cast %head : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %logits : tensor<?x32xf32>
  }
}
