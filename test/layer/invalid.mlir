// RUN: fusebox-opt %s --split-input-file --verify-diagnostics
// What the layer dialect's verifiers refuse, and how they say it.

// expected-error@+1 {{'layer.model' op has 0 graphs, expected one}}
layer.model @no_graph attributes {config = {}} {
}

// -----

layer.model @foreign attributes {config = {}} {
  // expected-error@+1 {{'builtin.module' op does not belong in a model: expected layer.param or layer.graph}}
  builtin.module {}
}

// -----

layer.model @param attributes {config = {}} {
  // expected-error@+1 {{names tensor 'w': `{}` and `layers` go together}}
  layer.param @w : tensor<4x4xbf16> from "w" layers(2)
}

// -----

layer.model @param attributes {config = {}} {
  // expected-error@+1 {{has elements of type 'i32', expected bf16, f16, f32, f64 or !layer.block}}
  layer.param @w : tensor<4x4xi32> from "w"
}

// -----

layer.model @param attributes {config = {}} {
  // expected-error@+1 {{'q3_k' is no block format: expected q4_0, q4_1, q5_0, q5_1, q8_0, q4_k, q5_k or q6_k}}
  layer.param @w : tensor<4x32x!layer.block<q3_k>> from "w"
}

// -----

layer.model @param attributes {config = {}} {
  // expected-error@+1 {{has type 'tensor<?x4xbf16>', expected a vector or matrix of known shape}}
  layer.param @w : tensor<?x4xbf16> from "w"
}

// -----

layer.model @param attributes {config = {}} {
  // expected-error@+1 {{has 1 sources, expected 2, one a layer}}
  layer.param @w : tensor<4x4xbf16> from "w{}" layers(2) {sources = [#layer.source<0 at 8 bytes 32 bf16 [4, 4]>]}
}

// -----

layer.model @param attributes {config = {}} {
  // expected-error@+1 {{64 elements of q4_0 don't take 32 bytes}}
  layer.param @w : tensor<2x32xbf16> from "w" {sources = [#layer.source<0 at 8 bytes 32 q4_0 [2, 32]>]}
}

// -----

layer.model @graph attributes {config = {}} {
  // expected-error@+1 {{takes ('tensor<?xi32>'), expected tokens, positions and logits_rows}}
  layer.graph(%tokens: tensor<?xi32>) {
    layer.return %tokens : tensor<?xi32>
  }
}

// -----

layer.model @graph attributes {config = {}} {
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    // expected-error@+1 {{gives 'tensor<?xi32>', expected the logits as tensor<?xVxf32>}}
    layer.return %tokens : tensor<?xi32>
  }
}

// -----

layer.model @linear attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  // expected-note@+1 {{declared here}}
  layer.param @head : tensor<16x8xf32> from "head"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{needs @head of shape [32, 8], but it is 'tensor<16x8xf32>'}}
    %y = layer.linear %x, @head : tensor<?x8xf32> -> tensor<?x32xf32>
    layer.return %y : tensor<?x32xf32>
  }
}

// -----

layer.model @linear attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{uses @head, which is no layer.param of the model}}
    %y = layer.linear %x, @head : tensor<?x8xf32> -> tensor<?x32xf32>
    layer.return %y : tensor<?x32xf32>
  }
}

// -----

layer.model @linear attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  // expected-note@+1 {{declared here}}
  layer.param @bias : tensor<8xf32> from "bias"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{needs @bias of shape [32], but it is 'tensor<8xf32>'}}
    %y = layer.linear %x, @embed bias @bias : tensor<?x8xf32> -> tensor<?x32xf32>
    layer.return %y : tensor<?x32xf32>
  }
}

// -----

layer.model @embed attributes {config = {}} {
  // expected-note@+1 {{declared here}}
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    // expected-error@+1 {{needs @embed of shape [32, 16], but it is 'tensor<32x8xf32>'}}
    %x = layer.embed %tokens, @embed : tensor<?x16xf32>
    layer.return %x : tensor<?x16xf32>
  }
}

// -----

layer.model @norm attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  // expected-note@+1 {{declared here}}
  layer.param @gain : tensor<8xf32> from "gain"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{needs @gain of shape [4], but it is 'tensor<8xf32>'}}
    %y = layer.norm %x, @gain eps 1.0e-6 groups 2 rounds scaled : tensor<?x8xf32>
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @norm attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.param @gain : tensor<8xf32> from "gain"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{can't split 8 columns into 3 equal groups}}
    %y = layer.norm %x, @gain eps 1.0e-6 groups 3 rounds scaled : tensor<?x8xf32>
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @layers attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.param @gain : tensor<8xf32> from "gain{}" layers(2)
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{uses @gain, a parameter of each layer, outside of a layer.repeat}}
    %y = layer.norm %x, @gain eps 1.0e-6 rounds scaled : tensor<?x8xf32>
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @layers attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.param @gain : tensor<8xf32> from "gain{}" layers(2)
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    %z = layer.repeat @decoder(%h = %x) layers 0 to 2 : tensor<?x8xf32> {
      // expected-error@+1 {{runs in layer 2, but @gain has only 2 layers}}
      %y = layer.norm %h, @gain eps 1.0e-6 rounds scaled : tensor<?x8xf32>
      layer.return %y : tensor<?x8xf32>
    }
    layer.return %z : tensor<?x8xf32>
  }
}

// -----

layer.model @repeat attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{runs layers 3 to 2, expected at least one, from 0 up}}
    %z = layer.repeat @decoder(%h = %x) layers 3 to 2 : tensor<?x8xf32> {
      layer.return %h : tensor<?x8xf32>
    }
    layer.return %z : tensor<?x8xf32>
  }
}

// -----

layer.model @repeat attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    %z = layer.repeat @decoder(%h = %x) layers 0 to 2 : tensor<?x8xf32> {
      %y = layer.linear %h, @embed : tensor<?x8xf32> -> tensor<?x32xf32>
      // expected-error@+1 {{gives ('tensor<?x32xf32>'), but the enclosing region promises ('tensor<?x8xf32>')}}
      layer.return %y : tensor<?x32xf32>
    }
    layer.return %z : tensor<?x8xf32>
  }
}

// -----

layer.model @names attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{is a second node named 'x' in one block}}
    %y = layer.add %x, %x as "x" : tensor<?x8xf32>
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @fused attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    %y = layer.fused "twice" wide(%a = %x : tensor<?x8xf32>) -> (tensor<?x8xf32>) {
      // expected-error@+1 {{reads a value from outside its fused region: pass it as an input}}
      %b = layer.add %a, %x : tensor<?x8xf32>
      layer.return %b : tensor<?x8xf32>
    }
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @fused attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{expected a contract: exact, wide or fast}}
    %y = layer.fused "twice" loose(%a = %x : tensor<?x8xf32>) -> (tensor<?x8xf32>) {
      layer.return %a : tensor<?x8xf32>
    }
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @rope attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{has 2 frequencies, so cos and sin take 4 columns, not 6}}
    %angles = layer.rope_angles %positions inv_freq [1.0, 0.5] : tensor<?x6xf32>
    layer.return %x : tensor<?x8xf32>
  }
}

// -----

layer.model @rope attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    %angles = layer.rope_angles %positions inv_freq [1.0, 0.5, 0.25] : tensor<?x6xf32>
    // expected-error@+1 {{turns 6 values of a head, but a head has 4}}
    %y = layer.rope %x, %angles heads 2 half_split rounds sum : tensor<?x6xf32>, tensor<?x8xf32>
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @attention attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{has 4 heads, which 3 key heads can't share equally}}
    %y = layer.attention %x, %x, %x heads 4 kv_heads 3 scale 1.0 rounds sdpa : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @attention attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    %x = layer.embed %tokens, @embed : tensor<?x8xf32>
    // expected-error@+1 {{has heads of 2 in q, but of 4 in k}}
    %y = layer.attention %x, %x, %x heads 4 kv_heads 2 scale 1.0 rounds sdpa : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32> -> tensor<?x8xf32>
    layer.return %y : tensor<?x8xf32>
  }
}

// -----

layer.model @rows attributes {config = {}} {
  layer.param @embed : tensor<32x8xf32> from "embed"
  layer.graph(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>) {
    // expected-error@+1 {{must be rows of a step, tensor<?xNxT> with T of bf16, f16, f32, f64, but got 'tensor<4x8xf32>'}}
    %x = layer.embed %tokens, @embed : tensor<4x8xf32>
    layer.return %x : tensor<4x8xf32>
  }
}
