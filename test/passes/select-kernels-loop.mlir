// All layers of a decoder run as one launch in steps of one token that see few keys, on a chip that has the kernel for it.
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a --split-input-file | FileCheck %s
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a --split-input-file --plan-memory --schedule | FileCheck %s --check-prefix=MEMORY
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_80 --split-input-file | FileCheck %s --check-prefix=OTHER

// The kernels of a layer's step of one token, and the one that does their work; where its arguments lie among the last call's.
// CHECK-DAG: plan.kernel @[[QKV:linear_skinny[^ ]*]] = "linear_skinny" {{.*}} norm = 1 : i64, {{.*}} part0 = 128 : i64, part1 = 64 : i64, part2 = 64 : i64,
// CHECK-DAG: plan.kernel @[[HEADS:prepare_heads[^ ]*]] = "prepare_heads" {{.*}} norm = 1 : i64
// CHECK-DAG: plan.kernel @[[ATTENTION:attention_decode[^ ]*]] = "attention_decode"
// CHECK-DAG: plan.kernel @[[STREAM:attention_stream[^ ]*]] = "attention_stream"
// CHECK: plan.kernel @[[LOOP:decode_loop[^ ]*]] = "decode_loop" {arguments = 18 : i64, {{.*}} blocks = 132 : i64, {{.*}} layers = 2 : i64, {{.*}} place0 = 0 : i64, place1 = 5 : i64, place10 = 0 : i64, place11 = 12 : i64, place12 = 13 : i64, place13 = 14 : i64, place14 = 0 : i64, place15 = 15 : i64, place16 = 16 : i64, place17 = 17 : i64, place18 = 4 : i64, place19 = 0 : i64, place2 = 6 : i64, place3 = 7 : i64, place4 = 8 : i64, place5 = 9 : i64, place6 = 10 : i64, place7 = 11 : i64, place8 = 0 : i64, place9 = 0 : i64, {{.*}}} parts [@[[QKV]], @[[HEADS]], @[[ATTENTION]], @[[OUT:linear_skinny[^ ]*]], @[[GLU:linear_skinny[^ ]*]], @[[DOWN:linear_skinny[^ ]*]]] on @target {block_threads = 384 : i64

// Every call of the body has a loop variant, the last one the kernel's; behind it stands what it had: nothing or a merged
// kernel, then its own. The loop is for steps whose keys and values take less than 32 MB a layer.
// CHECK: plan.loop @decoder layers 0 to 1 (%h = %embed
// CHECK-NEXT: plan.call "attn_norm" rows tokens [#plan.variant<@norm.128 up_to 1 below_keys [[KEYS:[0-9]+]] loop grid[<0>]>, #plan.variant<@norm.128 up_to 4 grid[<0>]>, #plan.variant<@norm.128 up_to 4 grid[<1 x tokens
// CHECK-NEXT: plan.call "q" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "k" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "v" rows tokens [#plan.variant<@[[QKV]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[QKV]] up_to 4 grid[<16>]>
// CHECK-NEXT: plan.call "q_norm" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "k_norm" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "q_rope" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "k_rope" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "kv_write" rows tokens [#plan.variant<@[[HEADS]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[HEADS]] up_to 4 grid[<1 x tokens
// CHECK-NEXT: plan.call "attn" rows tokens [#plan.variant<@[[STREAM]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[STREAM]] up_to 16 from_keys 98304 grid[<264>]>, #plan.variant<@[[ATTENTION]] up_to 16 grid[<396>]>
// CHECK-NEXT: plan.call "o" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "h" rows tokens [#plan.variant<@[[OUT]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OUT]] up_to 4 grid[<{{[1-9]}}
// CHECK-NEXT: plan.call "mlp_norm" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "gate" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "up" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// CHECK-NEXT: plan.call "glu" rows tokens [#plan.variant<@[[GLU]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[GLU]] up_to 4 grid[<{{[1-9]}}
// CHECK-NEXT: plan.call "down" rows tokens [#plan.variant<@[[OWN:[^ ]+]] up_to 1 below_keys [[KEYS]] loop grid[<0>]>, #plan.variant<@[[OWN]] up_to 4 grid[<0>]>
// h before a layer is read by all blocks before the first writes h after it: one buffer may hold both.
// CHECK-NEXT: plan.call "residual" rows tokens [#plan.variant<@[[LOOP]] up_to 1 below_keys [[KEYS]] loop grid[<132>]>, #plan.variant<@[[DOWN]] up_to 4 grid[<16>]>, #plan.variant<@add.128 up_to 4 grid{{.*}} (out, %h_0, %down, %glu, @down, %h, %angles, out @kv, @q, @k, @v, @norm1, @q_gain, @k_gain, @o, @gate, @up, @norm2) nodes ["residual"] in_place [0, 0, 0, 1, 0, 3]
// CHECK-NEXT: plan.yield %residual

// MEMORY: plan.launch "embed" {{.*}} (out @[[H:[^,]+]], @embed)
// MEMORY: plan.launch "angles" {{.*}} (out @[[ANGLES:[^,]+]], @constant)
// MEMORY: plan.loop @decoder layers 0 to 1 {
// MEMORY: plan.launch "residual" rows tokens [#plan.variant<@decode_loop{{[^ ]*}} up_to 1 below_keys {{[0-9]+}} loop grid[<132>]>, {{.*}} (out @[[H]], @{{[^,]+}}, @{{[^,]+}}, @{{[^,]+}}, @down, @[[H]], @[[ANGLES]], out @kv, @q, @k, @v, @norm1, @q_gain, @k_gain, @o, @gate, @up, @norm2) barrier
// MEMORY: plan.launch "rows" {{.*}} (out @rows, @[[H]])

// Another chip has not what the kernel needs: bulk copies, and registers dealt anew among warps.
// OTHER: plan.program @"cuda:sm_80"
// OTHER-NOT: {{decode_loop| loop grid}}

layer.model @decoder attributes {config = {family = "qwen3", layers = 2 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x128xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 16384 bf16 [64, 128]>]}
  layer.param @norm1 : tensor<128xbf16> from "{}.norm1" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16448 bytes 256 bf16 [128]>, #layer.source<0 at 16704 bytes 256 bf16 [128]>]}
  layer.param @q : tensor<128x128xbf16> from "{}.q" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16960 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 49728 bytes 32768 bf16 [128, 128]>]}
  layer.param @k : tensor<64x128xbf16> from "{}.k" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 82496 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 98880 bytes 16384 bf16 [64, 128]>]}
  layer.param @v : tensor<64x128xbf16> from "{}.v" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 115264 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 131648 bytes 16384 bf16 [64, 128]>]}
  layer.param @q_gain : tensor<64xbf16> from "{}.q_gain" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 148032 bytes 128 bf16 [64]>, #layer.source<0 at 148160 bytes 128 bf16 [64]>]}
  layer.param @k_gain : tensor<64xbf16> from "{}.k_gain" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 148288 bytes 128 bf16 [64]>, #layer.source<0 at 148416 bytes 128 bf16 [64]>]}
  layer.param @o : tensor<128x128xbf16> from "{}.o" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 148544 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 181312 bytes 32768 bf16 [128, 128]>]}
  layer.param @norm2 : tensor<128xbf16> from "{}.norm2" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 214080 bytes 256 bf16 [128]>, #layer.source<0 at 214336 bytes 256 bf16 [128]>]}
  layer.param @gate : tensor<64x128xbf16> from "{}.gate" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 214592 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 230976 bytes 16384 bf16 [64, 128]>]}
  layer.param @up : tensor<64x128xbf16> from "{}.up" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 247360 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 263744 bytes 16384 bf16 [64, 128]>]}
  layer.param @down : tensor<128x64xbf16> from "{}.down" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 280128 bytes 16384 bf16 [128, 64]>, #layer.source<0 at 296512 bytes 16384 bf16 [128, 64]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x128xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] : tensor<?x64xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x128xbf16> {
      %attn_norm = layer.norm %in, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %q = layer.linear %attn_norm, @q : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %k = layer.linear %attn_norm, @k : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %v = layer.linear %attn_norm, @v : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %q_norm = layer.norm %q, @q_gain eps 1.0e-6 groups 2 rounds normalised_and_scaled : tensor<?x128xbf16>
      %k_norm = layer.norm %k, @k_gain eps 1.0e-6 groups 1 rounds normalised_and_scaled : tensor<?x64xbf16>
      %q_rope = layer.rope %q_norm, %angles heads 2 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x128xbf16>
      %k_rope = layer.rope %k_norm, %angles heads 1 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x64xbf16>
      %attn = layer.attention %q_rope, %k_rope, %v heads 2 kv_heads 1 scale 0.125 rounds sdpa : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x128xbf16>
      %o = layer.linear %attn, @o : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %h = layer.add %in, %o : tensor<?x128xbf16>
      %mlp_norm = layer.norm %h, @norm2 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %gate = layer.linear %mlp_norm, @gate : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %up = layer.linear %mlp_norm, @up : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x64xbf16>
      %down = layer.linear %glu, @down : tensor<?x64xbf16> -> tensor<?x128xbf16>
      %residual = layer.add %h, %down : tensor<?x128xbf16>
      layer.return %residual : tensor<?x128xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x128xbf16>
    %head = layer.linear %rows, @embed : tensor<?x128xbf16> -> tensor<?x64xbf16>
    %logits = layer.cast %head : tensor<?x64xbf16> -> tensor<?x64xf32>
    layer.return %logits : tensor<?x64xf32>
  }
}

// -----

// CHECK: plan.program
// A scale is part of the output product's body, so the layer is still its six kernels'. Without per-head norms there are no gains.
// CHECK: plan.pointwise @[[SCALED:round_scale_add[^ (]*]](
// CHECK: plan.kernel @[[OUT:[^ ]*]] = "linear_skinny" {{.*}} computes @[[SCALED]] on
// CHECK: plan.kernel @decode_loop{{.*}} {arguments = 16 : i64, {{.*}} place11 = 0 : i64, place12 = 0 : i64, {{.*}} parts [@{{[^ ]+}}, @{{[^ ]+}}, @{{[^ ]+}}, @[[OUT]], @{{[^ ]+}}, @{{[^ ]+}}] on
// CHECK: plan.call "residual" {{.*}}[#plan.variant<@decode_loop{{[^ ]*}} up_to 1 below_keys {{[0-9]+}} loop grid[<132>]>, {{.*}}, %h, %angles, out @kv, @q, @k, @v, @norm1, @o, @gate, @up, @norm2)

layer.model @scaled_product attributes {config = {family = "qwen3", layers = 2 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x128xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 16384 bf16 [64, 128]>]}
  layer.param @norm1 : tensor<128xbf16> from "{}.norm1" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16448 bytes 256 bf16 [128]>, #layer.source<0 at 16704 bytes 256 bf16 [128]>]}
  layer.param @q : tensor<128x128xbf16> from "{}.q" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16960 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 49728 bytes 32768 bf16 [128, 128]>]}
  layer.param @k : tensor<64x128xbf16> from "{}.k" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 82496 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 98880 bytes 16384 bf16 [64, 128]>]}
  layer.param @v : tensor<64x128xbf16> from "{}.v" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 115264 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 131648 bytes 16384 bf16 [64, 128]>]}
  layer.param @o : tensor<128x128xbf16> from "{}.o" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 148032 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 180800 bytes 32768 bf16 [128, 128]>]}
  layer.param @norm2 : tensor<128xbf16> from "{}.norm2" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 213568 bytes 256 bf16 [128]>, #layer.source<0 at 213824 bytes 256 bf16 [128]>]}
  layer.param @gate : tensor<64x128xbf16> from "{}.gate" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 214080 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 230464 bytes 16384 bf16 [64, 128]>]}
  layer.param @up : tensor<64x128xbf16> from "{}.up" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 246848 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 263232 bytes 16384 bf16 [64, 128]>]}
  layer.param @down : tensor<128x64xbf16> from "{}.down" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 279616 bytes 16384 bf16 [128, 64]>, #layer.source<0 at 296000 bytes 16384 bf16 [128, 64]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x128xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] : tensor<?x64xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x128xbf16> {
      %attn_norm = layer.norm %in, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %q = layer.linear %attn_norm, @q : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %k = layer.linear %attn_norm, @k : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %v = layer.linear %attn_norm, @v : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %q_rope = layer.rope %q, %angles heads 2 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x128xbf16>
      %k_rope = layer.rope %k, %angles heads 1 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x64xbf16>
      %attn = layer.attention %q_rope, %k_rope, %v heads 2 kv_heads 1 scale 0.125 rounds sdpa : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x128xbf16>
      %o = layer.linear %attn, @o : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %scaled = layer.scale %o by 0.5 : tensor<?x128xbf16>
      %h = layer.add %in, %scaled : tensor<?x128xbf16>
      %mlp_norm = layer.norm %h, @norm2 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %gate = layer.linear %mlp_norm, @gate : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %up = layer.linear %mlp_norm, @up : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x64xbf16>
      %down = layer.linear %glu, @down : tensor<?x64xbf16> -> tensor<?x128xbf16>
      %residual = layer.add %h, %down : tensor<?x128xbf16>
      layer.return %residual : tensor<?x128xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x128xbf16>
    %head = layer.linear %rows, @embed : tensor<?x128xbf16> -> tensor<?x64xbf16>
    %logits = layer.cast %head : tensor<?x64xbf16> -> tensor<?x64xf32>
    layer.return %logits : tensor<?x64xf32>
  }
}

// -----

// CHECK: plan.program
// Heads of 32 columns have other kernels for attention.
// CHECK-NOT: {{decode_loop| loop grid}}
// CHECK: plan.call "residual"
// CHECK-NOT: decode_loop

layer.model @narrow_heads attributes {config = {family = "qwen3", layers = 2 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x128xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 16384 bf16 [64, 128]>]}
  layer.param @norm1 : tensor<128xbf16> from "{}.norm1" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16448 bytes 256 bf16 [128]>, #layer.source<0 at 16704 bytes 256 bf16 [128]>]}
  layer.param @q : tensor<128x128xbf16> from "{}.q" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16960 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 49728 bytes 32768 bf16 [128, 128]>]}
  layer.param @k : tensor<64x128xbf16> from "{}.k" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 82496 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 98880 bytes 16384 bf16 [64, 128]>]}
  layer.param @v : tensor<64x128xbf16> from "{}.v" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 115264 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 131648 bytes 16384 bf16 [64, 128]>]}
  layer.param @o : tensor<128x128xbf16> from "{}.o" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 148032 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 180800 bytes 32768 bf16 [128, 128]>]}
  layer.param @norm2 : tensor<128xbf16> from "{}.norm2" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 213568 bytes 256 bf16 [128]>, #layer.source<0 at 213824 bytes 256 bf16 [128]>]}
  layer.param @gate : tensor<64x128xbf16> from "{}.gate" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 214080 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 230464 bytes 16384 bf16 [64, 128]>]}
  layer.param @up : tensor<64x128xbf16> from "{}.up" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 246848 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 263232 bytes 16384 bf16 [64, 128]>]}
  layer.param @down : tensor<128x64xbf16> from "{}.down" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 279616 bytes 16384 bf16 [128, 64]>, #layer.source<0 at 296000 bytes 16384 bf16 [128, 64]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x128xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] : tensor<?x32xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x128xbf16> {
      %attn_norm = layer.norm %in, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %q = layer.linear %attn_norm, @q : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %k = layer.linear %attn_norm, @k : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %v = layer.linear %attn_norm, @v : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %q_rope = layer.rope %q, %angles heads 4 half_split rounds products_and_sum : tensor<?x32xbf16>, tensor<?x128xbf16>
      %k_rope = layer.rope %k, %angles heads 2 half_split rounds products_and_sum : tensor<?x32xbf16>, tensor<?x64xbf16>
      %attn = layer.attention %q_rope, %k_rope, %v heads 4 kv_heads 2 scale 0.125 rounds sdpa : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x128xbf16>
      %o = layer.linear %attn, @o : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %h = layer.add %in, %o : tensor<?x128xbf16>
      %mlp_norm = layer.norm %h, @norm2 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %gate = layer.linear %mlp_norm, @gate : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %up = layer.linear %mlp_norm, @up : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x64xbf16>
      %down = layer.linear %glu, @down : tensor<?x64xbf16> -> tensor<?x128xbf16>
      %residual = layer.add %h, %down : tensor<?x128xbf16>
      layer.return %residual : tensor<?x128xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x128xbf16>
    %head = layer.linear %rows, @embed : tensor<?x128xbf16> -> tensor<?x64xbf16>
    %logits = layer.cast %head : tensor<?x64xbf16> -> tensor<?x64xf32>
    layer.return %logits : tensor<?x64xf32>
  }
}

// -----

// CHECK: plan.program
// A scale of attention's result is a launch of its own: the layer's seventh.
// CHECK-NOT: {{decode_loop| loop grid}}
// CHECK: plan.call "residual"
// CHECK-NOT: decode_loop

layer.model @scaled_attention attributes {config = {family = "qwen3", layers = 2 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x128xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 16384 bf16 [64, 128]>]}
  layer.param @norm1 : tensor<128xbf16> from "{}.norm1" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16448 bytes 256 bf16 [128]>, #layer.source<0 at 16704 bytes 256 bf16 [128]>]}
  layer.param @q : tensor<128x128xbf16> from "{}.q" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16960 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 49728 bytes 32768 bf16 [128, 128]>]}
  layer.param @k : tensor<64x128xbf16> from "{}.k" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 82496 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 98880 bytes 16384 bf16 [64, 128]>]}
  layer.param @v : tensor<64x128xbf16> from "{}.v" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 115264 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 131648 bytes 16384 bf16 [64, 128]>]}
  layer.param @o : tensor<128x128xbf16> from "{}.o" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 148032 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 180800 bytes 32768 bf16 [128, 128]>]}
  layer.param @norm2 : tensor<128xbf16> from "{}.norm2" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 213568 bytes 256 bf16 [128]>, #layer.source<0 at 213824 bytes 256 bf16 [128]>]}
  layer.param @gate : tensor<64x128xbf16> from "{}.gate" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 214080 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 230464 bytes 16384 bf16 [64, 128]>]}
  layer.param @up : tensor<64x128xbf16> from "{}.up" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 246848 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 263232 bytes 16384 bf16 [64, 128]>]}
  layer.param @down : tensor<128x64xbf16> from "{}.down" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 279616 bytes 16384 bf16 [128, 64]>, #layer.source<0 at 296000 bytes 16384 bf16 [128, 64]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x128xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] : tensor<?x64xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x128xbf16> {
      %attn_norm = layer.norm %in, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %q = layer.linear %attn_norm, @q : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %k = layer.linear %attn_norm, @k : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %v = layer.linear %attn_norm, @v : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %q_rope = layer.rope %q, %angles heads 2 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x128xbf16>
      %k_rope = layer.rope %k, %angles heads 1 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x64xbf16>
      %attn = layer.attention %q_rope, %k_rope, %v heads 2 kv_heads 1 scale 0.125 rounds sdpa : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x128xbf16>
      %scaled = layer.scale %attn by 0.5 : tensor<?x128xbf16>
      %o = layer.linear %scaled, @o : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %h = layer.add %in, %o : tensor<?x128xbf16>
      %mlp_norm = layer.norm %h, @norm2 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %gate = layer.linear %mlp_norm, @gate : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %up = layer.linear %mlp_norm, @up : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x64xbf16>
      %down = layer.linear %glu, @down : tensor<?x64xbf16> -> tensor<?x128xbf16>
      %residual = layer.add %h, %down : tensor<?x128xbf16>
      layer.return %residual : tensor<?x128xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x128xbf16>
    %head = layer.linear %rows, @embed : tensor<?x128xbf16> -> tensor<?x64xbf16>
    %logits = layer.cast %head : tensor<?x64xbf16> -> tensor<?x64xf32>
    layer.return %logits : tensor<?x64xf32>
  }
}

// -----

// CHECK: plan.program
// The output product's body reads a third value, which the kernel does not pass it.
// CHECK-NOT: {{decode_loop| loop grid}}
// CHECK: plan.call "residual"
// CHECK-NOT: decode_loop

layer.model @three_addends attributes {config = {family = "qwen3", layers = 2 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x128xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 16384 bf16 [64, 128]>]}
  layer.param @norm1 : tensor<128xbf16> from "{}.norm1" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16448 bytes 256 bf16 [128]>, #layer.source<0 at 16704 bytes 256 bf16 [128]>]}
  layer.param @q : tensor<128x128xbf16> from "{}.q" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16960 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 49728 bytes 32768 bf16 [128, 128]>]}
  layer.param @k : tensor<64x128xbf16> from "{}.k" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 82496 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 98880 bytes 16384 bf16 [64, 128]>]}
  layer.param @v : tensor<64x128xbf16> from "{}.v" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 115264 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 131648 bytes 16384 bf16 [64, 128]>]}
  layer.param @o : tensor<128x128xbf16> from "{}.o" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 148032 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 180800 bytes 32768 bf16 [128, 128]>]}
  layer.param @norm2 : tensor<128xbf16> from "{}.norm2" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 213568 bytes 256 bf16 [128]>, #layer.source<0 at 213824 bytes 256 bf16 [128]>]}
  layer.param @gate : tensor<64x128xbf16> from "{}.gate" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 214080 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 230464 bytes 16384 bf16 [64, 128]>]}
  layer.param @up : tensor<64x128xbf16> from "{}.up" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 246848 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 263232 bytes 16384 bf16 [64, 128]>]}
  layer.param @down : tensor<128x64xbf16> from "{}.down" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 279616 bytes 16384 bf16 [128, 64]>, #layer.source<0 at 296000 bytes 16384 bf16 [128, 64]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x128xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] : tensor<?x64xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x128xbf16> {
      %attn_norm = layer.norm %in, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %q = layer.linear %attn_norm, @q : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %k = layer.linear %attn_norm, @k : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %v = layer.linear %attn_norm, @v : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %q_rope = layer.rope %q, %angles heads 2 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x128xbf16>
      %k_rope = layer.rope %k, %angles heads 1 half_split rounds products_and_sum : tensor<?x64xbf16>, tensor<?x64xbf16>
      %attn = layer.attention %q_rope, %k_rope, %v heads 2 kv_heads 1 scale 0.125 rounds sdpa : tensor<?x128xbf16>, tensor<?x64xbf16>, tensor<?x64xbf16> -> tensor<?x128xbf16>
      %o = layer.linear %attn, @o : tensor<?x128xbf16> -> tensor<?x128xbf16>
      %both = layer.add %o, %attn : tensor<?x128xbf16>
      %h = layer.add %in, %both : tensor<?x128xbf16>
      %mlp_norm = layer.norm %h, @norm2 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xbf16>
      %gate = layer.linear %mlp_norm, @gate : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %up = layer.linear %mlp_norm, @up : tensor<?x128xbf16> -> tensor<?x64xbf16>
      %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x64xbf16>
      %down = layer.linear %glu, @down : tensor<?x64xbf16> -> tensor<?x128xbf16>
      %residual = layer.add %h, %down : tensor<?x128xbf16>
      layer.return %residual : tensor<?x128xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x128xbf16>
    %head = layer.linear %rows, @embed : tensor<?x128xbf16> -> tensor<?x64xbf16>
    %logits = layer.cast %head : tensor<?x64xbf16> -> tensor<?x64xf32>
    layer.return %logits : tensor<?x64xf32>
  }
}

// -----

// CHECK: plan.program
// Blocks hand one another pairs of bf16; f32 activations have other kernels.
// CHECK-NOT: {{decode_loop| loop grid}}
// CHECK: plan.call "residual"
// CHECK-NOT: decode_loop

layer.model @wide attributes {config = {family = "qwen3", layers = 2 : i64, vocabulary = 64 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<64x128xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 16384 bf16 [64, 128]>]}
  layer.param @norm1 : tensor<128xbf16> from "{}.norm1" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16448 bytes 256 bf16 [128]>, #layer.source<0 at 16704 bytes 256 bf16 [128]>]}
  layer.param @q : tensor<128x128xbf16> from "{}.q" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 16960 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 49728 bytes 32768 bf16 [128, 128]>]}
  layer.param @k : tensor<64x128xbf16> from "{}.k" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 82496 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 98880 bytes 16384 bf16 [64, 128]>]}
  layer.param @v : tensor<64x128xbf16> from "{}.v" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 115264 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 131648 bytes 16384 bf16 [64, 128]>]}
  layer.param @o : tensor<128x128xbf16> from "{}.o" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 148032 bytes 32768 bf16 [128, 128]>, #layer.source<0 at 180800 bytes 32768 bf16 [128, 128]>]}
  layer.param @norm2 : tensor<128xbf16> from "{}.norm2" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 213568 bytes 256 bf16 [128]>, #layer.source<0 at 213824 bytes 256 bf16 [128]>]}
  layer.param @gate : tensor<64x128xbf16> from "{}.gate" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 214080 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 230464 bytes 16384 bf16 [64, 128]>]}
  layer.param @up : tensor<64x128xbf16> from "{}.up" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 246848 bytes 16384 bf16 [64, 128]>, #layer.source<0 at 263232 bytes 16384 bf16 [64, 128]>]}
  layer.param @down : tensor<128x64xbf16> from "{}.down" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 279616 bytes 16384 bf16 [128, 64]>, #layer.source<0 at 296000 bytes 16384 bf16 [128, 64]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x128xf32>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1] : tensor<?x64xf32>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x128xf32> {
      %attn_norm = layer.norm %in, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xf32>
      %q = layer.linear %attn_norm, @q : tensor<?x128xf32> -> tensor<?x128xf32>
      %k = layer.linear %attn_norm, @k : tensor<?x128xf32> -> tensor<?x64xf32>
      %v = layer.linear %attn_norm, @v : tensor<?x128xf32> -> tensor<?x64xf32>
      %q_rope = layer.rope %q, %angles heads 2 half_split rounds products_and_sum : tensor<?x64xf32>, tensor<?x128xf32>
      %k_rope = layer.rope %k, %angles heads 1 half_split rounds products_and_sum : tensor<?x64xf32>, tensor<?x64xf32>
      %attn = layer.attention %q_rope, %k_rope, %v heads 2 kv_heads 1 scale 0.125 rounds sdpa : tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32> -> tensor<?x128xf32>
      %o = layer.linear %attn, @o : tensor<?x128xf32> -> tensor<?x128xf32>
      %h = layer.add %in, %o : tensor<?x128xf32>
      %mlp_norm = layer.norm %h, @norm2 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x128xf32>
      %gate = layer.linear %mlp_norm, @gate : tensor<?x128xf32> -> tensor<?x64xf32>
      %up = layer.linear %mlp_norm, @up : tensor<?x128xf32> -> tensor<?x64xf32>
      %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x64xf32>
      %down = layer.linear %glu, @down : tensor<?x64xf32> -> tensor<?x128xf32>
      %residual = layer.add %h, %down : tensor<?x128xf32>
      layer.return %residual : tensor<?x128xf32>
    }
    %rows = layer.select_rows %x, %r : tensor<?x128xf32>
    %head = layer.linear %rows, @embed : tensor<?x128xf32> -> tensor<?x64xf32>
    layer.return %head : tensor<?x64xf32>
  }
}
