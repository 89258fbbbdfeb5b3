// On a CPU, calls of a step of one row run as one launch where no rounding point moves.
// RUN: fusebox-opt %s --select-kernels=targets=cpu:x86-64-v3 --split-input-file | FileCheck %s
// RUN: fusebox-opt %s --select-kernels=targets=cpu:x86-64-v3 --split-input-file --plan-memory --schedule | FileCheck %s --check-prefix=BARRIERS

// The merged kernels: where their arguments lie, and what is in front and behind.
// CHECK: plan.kernel @[[ATTENTION:attention_row[^ ]*]] = "attention_row" {{.*}} place0 = 0 : i64, place1 = 2 : i64, place2 = 3 : i64, place3 = 4 : i64, place4 = 5 : i64, place5 = 6 : i64
// CHECK: plan.kernel @[[NORMED_Q:linear_row[^ ]*]] = "linear_row" {{.*}} ending = 0 : i64, eps = 9.9{{.*}} norm = 1 : i64, {{.*}} place1 = 3 : i64, place2 = 2 : i64, {{.*}} place6 = 4 : i64
// CHECK: plan.kernel @[[NORMED_KV:linear_row[^ ]*]] = "linear_row" {{.*}} norm = 1 : i64
// CHECK: plan.kernel @[[O:linear_row[^ ]*]] = "linear_row" {{.*}} ending = 1 : i64, {{.*}} norm = 0 : i64
// CHECK: plan.kernel @[[GLU:linear_row[^ ]*]] = "linear_row" {{.*}} ending = 2 : i64, {{.*}} norm = 1 : i64
// CHECK: plan.kernel @[[DOWN:linear_row[^ ]*]] = "linear_row" {{.*}} ending = 1 : i64

// A covered call runs nothing in steps of one row; an observer, and a step of more rows, see it run its own kernel.
// CHECK: %attn_norm = plan.call "attn_norm" rows tokens [#plan.variant<@norm.16 up_to 1 grid[<0>]>, #plan.variant<@norm.16 up_to 1 grid[<1 x tokens per 64>]>, #plan.variant<@norm.16 grid[<1 x tokens per 64>]>] (out, %h, @norm1)
// Each product norms its row by itself; its own arguments stay as they are.
// CHECK: %q = plan.call "q" rows tokens [#plan.variant<@[[NORMED_Q]] up_to 1 {{.*}}>, #plan.variant<@linear.16x16.rows1 up_to 1 {{.*}}>, #plan.variant<@linear.16x16 grid{{.*}}>] (out, %attn_norm, @q, %h, @norm1)
// CHECK: %k = plan.call "k" {{.*}}<@[[NORMED_KV]] up_to 1
// CHECK: %v = plan.call "v" {{.*}}<@[[NORMED_KV]] up_to 1
// Both rotations and the KV write go with attention, which so writes the cache.
// CHECK: plan.call "q_rope" {{.*}} up_to 1 grid[<0>]>
// CHECK: plan.call "k_rope" {{.*}} up_to 1 grid[<0>]>
// CHECK: plan.call "kv_write" {{.*}} up_to 1 grid[<0>]>
// CHECK: plan.call "attn" {{.*}}[#plan.variant<@[[ATTENTION]] up_to 1 {{.*}}] (out, %q_rope, out @kv, %q, %k, %v, %angles)
// CHECK: %o = plan.call "o" {{.*}} up_to 1 grid[<0>]>
// The sum may overwrite what it adds, but nothing that the product reads.
// CHECK: %h_0 = plan.call "h" rows tokens [#plan.variant<@[[O]] up_to 1 {{.*}}>, #plan.variant<@add.16 up_to 1 {{.*}}>, #plan.variant<@add.16 grid{{.*}}>] (out, %h, %o, %attn, @o) nodes ["h"] in_place [0, 0, 0, 1]
// CHECK: plan.call "mlp_norm" {{.*}} up_to 1 grid[<0>]>
// CHECK: plan.call "gate" {{.*}} up_to 1 grid[<0>]>
// CHECK: plan.call "up" {{.*}} up_to 1 grid[<0>]>
// CHECK: plan.call "glu" {{.*}}[#plan.variant<@[[GLU]] up_to 1 {{.*}}] (out, %gate, %up, %h_0, @gate, @up, @norm2)
// CHECK: plan.call "down" {{.*}} up_to 1 grid[<0>]>
// CHECK: plan.call "residual" {{.*}}[#plan.variant<@[[DOWN]] up_to 1

// Attention writes the cache that it reads, so nothing that touches it runs beside it.
// BARRIERS: plan.launch "attn" {{.*}} out @kv{{.*}} barrier
// BARRIERS: plan.launch "h" {{.*}} barrier
// BARRIERS: plan.launch "glu" {{.*}} barrier
// BARRIERS: plan.launch "residual" {{.*}} barrier

layer.model @merges attributes {config = {family = "llama", layers = 1 : i64, vocabulary = 32 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<32x16xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 1024 bf16 [32, 16]>]}
  layer.param @norm1 : tensor<16xbf16> from "{}.norm1" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 2048 bytes 32 bf16 [16]>]}
  layer.param @q : tensor<16x16xbf16> from "{}.q" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 2080 bytes 512 bf16 [16, 16]>]}
  layer.param @k : tensor<8x16xbf16> from "{}.k" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 2592 bytes 256 bf16 [8, 16]>]}
  layer.param @v : tensor<8x16xbf16> from "{}.v" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 2848 bytes 256 bf16 [8, 16]>]}
  layer.param @o : tensor<16x16xbf16> from "{}.o" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 3104 bytes 512 bf16 [16, 16]>]}
  layer.param @norm2 : tensor<16xbf16> from "{}.norm2" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 3616 bytes 32 bf16 [16]>]}
  layer.param @gate : tensor<32x16xbf16> from "{}.gate" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 3648 bytes 1024 bf16 [32, 16]>]}
  layer.param @up : tensor<32x16xbf16> from "{}.up" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 4672 bytes 1024 bf16 [32, 16]>]}
  layer.param @down : tensor<16x32xbf16> from "{}.down" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 5696 bytes 1024 bf16 [16, 32]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x16xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.01, 0.001] : tensor<?x8xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 0 : tensor<?x16xbf16> {
      %attn_norm = layer.norm %in, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x16xbf16>
      %q = layer.linear %attn_norm, @q : tensor<?x16xbf16> -> tensor<?x16xbf16>
      %k = layer.linear %attn_norm, @k : tensor<?x16xbf16> -> tensor<?x8xbf16>
      %v = layer.linear %attn_norm, @v : tensor<?x16xbf16> -> tensor<?x8xbf16>
      %q_rope = layer.rope %q, %angles heads 2 half_split rounds products_and_sum : tensor<?x8xbf16>, tensor<?x16xbf16>
      %k_rope = layer.rope %k, %angles heads 1 half_split rounds products_and_sum : tensor<?x8xbf16>, tensor<?x8xbf16>
      %attn = layer.attention %q_rope, %k_rope, %v heads 2 kv_heads 1 scale 0.35 rounds sdpa : tensor<?x16xbf16>, tensor<?x8xbf16>, tensor<?x8xbf16> -> tensor<?x16xbf16>
      %o = layer.linear %attn, @o : tensor<?x16xbf16> -> tensor<?x16xbf16>
      %h = layer.add %in, %o : tensor<?x16xbf16>
      %mlp_norm = layer.norm %h, @norm2 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x16xbf16>
      %gate = layer.linear %mlp_norm, @gate : tensor<?x16xbf16> -> tensor<?x32xbf16>
      %up = layer.linear %mlp_norm, @up : tensor<?x16xbf16> -> tensor<?x32xbf16>
      %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x32xbf16>
      %down = layer.linear %glu, @down : tensor<?x32xbf16> -> tensor<?x16xbf16>
      %residual = layer.add %h, %down : tensor<?x16xbf16>
      layer.return %residual : tensor<?x16xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x16xbf16>
    %head = layer.linear %rows, @embed : tensor<?x16xbf16> -> tensor<?x32xbf16>
    %logits = layer.cast %head : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %logits : tensor<?x32xf32>
  }
}

// -----

// CHECK: plan.program @"cpu:x86-64-v3" model
// Not where the norm has another reader, k is not rotated, a product has another reader.
// CHECK: plan.call "attn_norm" rows tokens [#plan.variant<@norm.16 grid{{[^,]*}}>] (out, %h, @norm1)
// CHECK: plan.call "q" rows tokens [#plan.variant<@linear.16x16.rows1 up_to 1
// CHECK: plan.call "q_rope" rows tokens [#plan.variant<@rope.2x8 grid
// CHECK: plan.call "kv_write" rows tokens [#plan.variant<@kv_write.1x8 grid
// CHECK: plan.call "attn" rows tokens [#plan.variant<@attention.2x1x8.rows8 up_to 8
// CHECK: plan.call "o" rows tokens [#plan.variant<@linear.16x16.rows1 up_to 1
// CHECK: plan.call "both" rows tokens [#plan.variant<@add.16 grid
// Gate and up that read different values are products by themselves; gate takes its norm.
// CHECK: plan.call "gate" rows tokens [#plan.variant<@linear_row
// CHECK: plan.call "up" rows tokens [#plan.variant<@linear.16x32.rows1 up_to 1
// CHECK: plan.call "glu" rows tokens [#plan.variant<@glu.32 grid
// What is added may be read by others: only the product may not.
// CHECK: plan.call "down" {{.*}} up_to 1 grid[<0>]>
// CHECK: plan.call "once" rows tokens [#plan.variant<@linear_row

layer.model @separate attributes {config = {family = "llama", layers = 1 : i64, vocabulary = 32 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<32x16xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 1024 bf16 [32, 16]>]}
  layer.param @norm1 : tensor<16xbf16> from "{}.norm1" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 2048 bytes 32 bf16 [16]>]}
  layer.param @q : tensor<16x16xbf16> from "{}.q" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 2080 bytes 512 bf16 [16, 16]>]}
  layer.param @k : tensor<8x16xbf16> from "{}.k" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 2592 bytes 256 bf16 [8, 16]>]}
  layer.param @v : tensor<8x16xbf16> from "{}.v" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 2848 bytes 256 bf16 [8, 16]>]}
  layer.param @o : tensor<16x16xbf16> from "{}.o" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 3104 bytes 512 bf16 [16, 16]>]}
  layer.param @norm2 : tensor<16xbf16> from "{}.norm2" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 3616 bytes 32 bf16 [16]>]}
  layer.param @gate : tensor<32x16xbf16> from "{}.gate" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 3648 bytes 1024 bf16 [32, 16]>]}
  layer.param @up : tensor<32x16xbf16> from "{}.up" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 4672 bytes 1024 bf16 [32, 16]>]}
  layer.param @down : tensor<16x32xbf16> from "{}.down" layers(1) {recipe = ["identity"], sources = [#layer.source<0 at 5696 bytes 1024 bf16 [16, 32]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @embed : tensor<?x16xbf16>
    %angles = layer.rope_angles %p inv_freq [1.0, 0.1, 0.01, 0.001] : tensor<?x8xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 0 : tensor<?x16xbf16> {
      %attn_norm = layer.norm %in, @norm1 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x16xbf16>
      %q = layer.linear %attn_norm, @q : tensor<?x16xbf16> -> tensor<?x16xbf16>
      %k = layer.linear %attn_norm, @k : tensor<?x16xbf16> -> tensor<?x8xbf16>
      %v = layer.linear %attn_norm, @v : tensor<?x16xbf16> -> tensor<?x8xbf16>
      %q_rope = layer.rope %q, %angles heads 2 half_split rounds products_and_sum : tensor<?x8xbf16>, tensor<?x16xbf16>
      %attn = layer.attention %q_rope, %k, %v heads 2 kv_heads 1 scale 0.35 rounds sdpa : tensor<?x16xbf16>, tensor<?x8xbf16>, tensor<?x8xbf16> -> tensor<?x16xbf16>
      %o = layer.linear %attn, @o : tensor<?x16xbf16> -> tensor<?x16xbf16>
      %both = layer.add %o, %q : tensor<?x16xbf16>
      %read_again = layer.add %both, %attn_norm : tensor<?x16xbf16>
      %mlp_norm = layer.norm %read_again, @norm2 eps 1.0e-6 rounds normalised_and_scaled : tensor<?x16xbf16>
      %gate = layer.linear %mlp_norm, @gate : tensor<?x16xbf16> -> tensor<?x32xbf16>
      %up = layer.linear %read_again, @up : tensor<?x16xbf16> -> tensor<?x32xbf16>
      %glu = layer.glu silu %gate, %up rounds activation_and_product : tensor<?x32xbf16>
      %down = layer.linear %glu, @down : tensor<?x32xbf16> -> tensor<?x16xbf16>
      %once = layer.add %down, %o : tensor<?x16xbf16>
      %residual = layer.add %in, %once : tensor<?x16xbf16>
      layer.return %residual : tensor<?x16xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x16xbf16>
    %head = layer.linear %rows, @embed : tensor<?x16xbf16> -> tensor<?x32xbf16>
    %logits = layer.cast %head : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %logits : tensor<?x32xf32>
  }
}
