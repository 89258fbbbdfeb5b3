// RUN: fusebox-opt %s --import-model='model=%data/golden/ernie4_5' | FileCheck %s
// Interleaved RoPE, all in f32 and rounded once, by angles kept in f32.

// CHECK: %angles = layer.rope_angles %positions inv_freq [1.0, 0.6636013, {{[^]]*}}] : tensor<?x64xf32>
// CHECK: %q_rope = layer.rope %q, %angles heads 4 interleaved rounds sum : tensor<?x64xf32>, tensor<?x256xbf16>
// CHECK: %k_rope = layer.rope %k, %angles heads 2 interleaved rounds sum : tensor<?x64xf32>, tensor<?x128xbf16>
// CHECK: %attn = layer.attention %q_rope, %k_rope, %v heads 4 kv_heads 2 scale 0.125 rounds sdpa : tensor<?x256xbf16>, tensor<?x128xbf16>, tensor<?x128xbf16> -> tensor<?x256xbf16>
