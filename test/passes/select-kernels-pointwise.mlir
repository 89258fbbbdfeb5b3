// Pointwise work on a GPU is a body in arith and math operations, from which the kernel is generated; bodies of calls
// that follow one another, or a product, become one.
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a | FileCheck %s
// RUN: fusebox-opt %s --select-kernels=targets=cuda:sm_90a | fusebox-opt | FileCheck %s
// RUN: fusebox-opt %s --select-kernels=targets=cpu:x86-64-v3 | FileCheck %s --check-prefix=CPU

// A product's body takes its sum and rounds it.
// CHECK: plan.pointwise @round(%[[SUM:.*]]: f32) {
// CHECK-NEXT: %[[P:.*]] = arith.truncf %[[SUM]] : f32 to bf16
// CHECK-NEXT: plan.yield %[[P]] : bf16
// CHECK: plan.pointwise @scale_1(%{{.*}}: bf16)
// CHECK: plan.pointwise @add(%{{.*}}: bf16, %{{.*}}: bf16)
// Every rounding point is kept: the product's, the scale's, the sum's.
// CHECK: plan.pointwise @round_scale_1_add(%[[SUM:.*]]: f32, %[[H:.*]]: bf16) {
// CHECK-NEXT: %[[P:.*]] = arith.truncf %[[SUM]] : f32 to bf16
// CHECK-NEXT: %[[PW:.*]] = arith.extf %[[P]] : bf16 to f32
// CHECK-NEXT: %[[F:.*]] = arith.constant 2.200000e-01 : f32
// CHECK-NEXT: %[[S:.*]] = arith.mulf %[[PW]], %[[F]] : f32
// CHECK-NEXT: %[[SR:.*]] = arith.truncf %[[S]] : f32 to bf16
// CHECK-NEXT: %[[HW:.*]] = arith.extf %[[H]] : bf16 to f32
// CHECK-NEXT: %[[SW:.*]] = arith.extf %[[SR]] : bf16 to f32
// CHECK-NEXT: %[[A:.*]] = arith.addf %[[HW]], %[[SW]] : f32
// CHECK-NEXT: %[[R:.*]] = arith.truncf %[[A]] : f32 to bf16
// CHECK-NEXT: plan.yield %[[R]] : bf16
// For steps of many rows, the two pointwise calls alone.
// CHECK: plan.pointwise @scale_1_add(%{{.*}}: bf16, %{{.*}}: bf16)
// CHECK: plan.kernel @[[MERGED:linear_skinny[^ ]*]] = "linear_skinny" {{{.*}}} computes @round_scale_1_add on @target
// CHECK: plan.kernel @[[CHAIN:scale_1_add[^ ]*]] = "pointwise" {{{.*}}} computes @scale_1_add on @target
// CHECK: plan.kernel @[[LOGITS:linear_skinny[^ ]*]] = "linear_skinny" {{{.*}}} computes @round_softcap_cast on @target

// An embedding runs what follows it, for steps of any size.
// CHECK: %table = plan.call "table" rows tokens [#plan.variant<@embed{{[^ ]*}} grid[<0>]>, #plan.variant<@embed
// CHECK: %embed = plan.call "embed" rows tokens [#plan.variant<@embed{{[^ ]*}} grid
// The last call of a chain runs it; the others run nothing, and keep kernels of their own for who looks at them.
// CHECK: %o = plan.call "o" {{.*}}up_to 16 grid[<0>]>, {{.*}}, #plan.variant<@linear_tile
// CHECK: %scaled = plan.call "scaled" {{.*}}up_to 16 grid[<0>]>, {{.*}} grid[<0>]>, #plan.variant<@scale_1.16 grid
// CHECK: %residual = plan.call "residual" {{.*}}#plan.variant<@[[MERGED]] up_to
// CHECK-SAME: #plan.variant<@[[CHAIN]] grid{{.*}}>, #plan.variant<@add.16 {{.*}}>] (out, %h, %scaled, %embed, @o, %o)
// So do soft cap and cast of the logits, with the product.
// CHECK: %logits = plan.call "logits" {{.*}}#plan.variant<@[[LOGITS]] up_to

// A CPU has a kernel for each.
// CPU: plan.call "residual" {{.*}}#plan.variant<@add.16
// CPU: plan.call "capped" {{.*}}#plan.variant<@softcap.32
// CPU: plan.call "logits" {{.*}}#plan.variant<@cast.32
layer.model @tiny attributes {config = {family = "llama", layers = 2 : i64, vocabulary = 32 : i64}, files = ["a.safetensors"]} {
  layer.param @embed : tensor<32x16xbf16> from "embed" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 1024 bf16 [32, 16]>]}
  layer.param @o : tensor<16x16xbf16> from "{}.o" layers(2) {recipe = ["identity"], sources = [#layer.source<0 at 2048 bytes 512 bf16 [16, 16]>, #layer.source<0 at 2560 bytes 512 bf16 [16, 16]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %table = layer.embed %t, @embed : tensor<?x16xbf16>
    %embed = layer.scale %table by 4.0 : tensor<?x16xbf16>
    %x = layer.repeat @decoder(%in = %embed) layers 0 to 1 : tensor<?x16xbf16> {
      %o = layer.linear %embed, @o : tensor<?x16xbf16> -> tensor<?x16xbf16>
      %scaled = layer.scale %o by 0.22 : tensor<?x16xbf16>
      %residual = layer.add %in, %scaled : tensor<?x16xbf16>
      layer.return %residual : tensor<?x16xbf16>
    }
    %rows = layer.select_rows %x, %r : tensor<?x16xbf16>
    %head = layer.linear %rows, @embed : tensor<?x16xbf16> -> tensor<?x32xbf16>
    %capped = layer.softcap %head at 30.0 : tensor<?x32xbf16>
    %logits = layer.cast %capped : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %logits : tensor<?x32xf32>
  }
}
