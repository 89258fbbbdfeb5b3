// RUN: fusebox-opt %s --select-kernels=targets=cpu:x86-64-v3 --split-input-file --verify-diagnostics

// Eager attention has no kernel: the message says what to do.
layer.model @eager attributes {config = {layers = 1 : i64}} {
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %q = layer.rope_angles %p inv_freq [1.0] : tensor<?x2xbf16>
    %x = layer.repeat @decoder(%in = %q) layers 0 to 0 : tensor<?x2xbf16> {
      // expected-error@+1 {{no kernel for this operation on cpu:x86-64-v3: no CPU kernel: attention with eager rounding}}
      %attn = layer.attention %in, %in, %in heads 1 kv_heads 1 scale 0.35 rounds eager : tensor<?x2xbf16>, tensor<?x2xbf16>, tensor<?x2xbf16> -> tensor<?x2xbf16>
      layer.return %attn : tensor<?x2xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x2xbf16>
    %logits = layer.cast %rows : tensor<?x2xbf16> -> tensor<?x2xf32>
    layer.return %logits : tensor<?x2xf32>
  }
}

// -----

layer.model @unbound attributes {config = {layers = 1 : i64}} {
  // expected-error@+1 {{is bound to no stored tensor; bind-weights does that}}
  layer.param @embed : tensor<32x16xbf16> from "embed"
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x16xbf16>
    %rows = layer.select_rows %embed, %r : tensor<?x16xbf16>
    %head = layer.linear %rows, @embed : tensor<?x16xbf16> -> tensor<?x32xbf16>
    %logits = layer.cast %head : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %logits : tensor<?x32xf32>
  }
}
