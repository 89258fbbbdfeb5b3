// A weight in a type that a target has no kernel for is converted at load, for all its users, and a remark says so.
// RUN: fusebox-opt %s --select-kernels=targets=cpu:x86-64-v3 2>&1 | FileCheck %s
// RUN: fusebox-opt %s "--select-kernels=targets=cpu:x86-64-v3 activations-int8" 2>&1 | FileCheck %s --check-prefix=INT8

// CHECK: remark: no kernel for @table in q6_k on cpu:x86-64-v3: converted to bf16 at load
// CHECK-NOT: remark
// CHECK: plan.weight @table "bf16" [32, 256] bytes 16384 recipe ["widen bf16"] sources {{.*}}"q6_k"
// Used as it is stored.
// CHECK: plan.weight @native "q4_1" [256, 256] bytes 40960 recipe [] sources
// CHECK: plan.kernel @{{.*}} = "embed" {{{.*}}tableType = 3 : i64
// CHECK: plan.kernel @{{.*}} = "linear" {{{.*}}weightType = 33 : i64
// CHECK-NOT: linear_int8

// Only quantised products have 8-bit activations.
// INT8: plan.kernel @{{.*}} = "linear_int8" {{{.*}}weightType = 33 : i64
// INT8: plan.kernel @{{.*}} = "linear" {{{.*}}weightType = 3 : i64

layer.model @tiny attributes {config = {layers = 1 : i64}, files = ["a.gguf"]} {
  layer.param @table : tensor<32x256x!layer.block<q6_k>> from "table" {recipe = ["identity"], sources = [#layer.source<0 at 64 bytes 6720 q6_k [32, 256]>]}
  layer.param @native : tensor<256x256x!layer.block<q4_1>> from "native" {recipe = ["identity"], sources = [#layer.source<0 at 8192 bytes 40960 q4_1 [256, 256]>]}
  layer.graph(%t: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) {
    %embed = layer.embed %t, @table : tensor<?x256xbf16>
    %rows = layer.select_rows %embed, %r : tensor<?x256xbf16>
    %mixed = layer.linear %rows, @native : tensor<?x256xbf16> -> tensor<?x256xbf16>
    %head = layer.linear %mixed, @table : tensor<?x256xbf16> -> tensor<?x32xbf16>
    %logits = layer.cast %head : tensor<?x32xbf16> -> tensor<?x32xf32>
    layer.return %logits : tensor<?x32xf32>
  }
}
