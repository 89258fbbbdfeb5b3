// RUN: fusebox-opt %s | fusebox-opt | FileCheck %s
// Every operation of the plan dialect in its text form, at both levels, twice through parser and printer.

// CHECK-LABEL: plan.program @value model {layers = 4 : i64}
plan.program @value model {layers = 4 : i64} {
  // CHECK: plan.target @gpu cuda "sm_90a" features ""
  plan.target @gpu cuda "sm_90a" features ""
  // CHECK: plan.file @file0 "model.safetensors"
  plan.file @file0 "model.safetensors"
  // CHECK: plan.weight @embed "bf16" [32, 64] bytes 4096 recipe [] sources {{\[\[}}#plan.source<@file0 at 8 bytes 4096 "bf16"[32, 64]>]]
  plan.weight @embed "bf16" [32, 64] bytes 4096 recipe [] sources [[#plan.source<@file0 at 8 bytes 4096 "bf16"[32, 64]>]]
  // CHECK: plan.weight @norm "f32" [64] bytes 256 from_layer 0 recipe ["widen f32"] sources [
  plan.weight @norm "f32" [64] bytes 256 from_layer 0 recipe ["widen f32"] sources [[#plan.source<@file0 at 4104 bytes 128 "bf16"[64]>], [#plan.source<@file0 at 4232 bytes 128 "bf16"[64]>]]
  // CHECK: plan.constant @inv_freq = dense<[1.000000e+00, 5.000000e-01]> : tensor<2xf32>
  plan.constant @inv_freq = dense<[1.0, 0.5]> : tensor<2xf32>
  // CHECK: plan.kv_cache @kv layers 4 page_tokens 64 page_bytes 16384
  plan.kv_cache @kv layers 4 page_tokens 64 page_bytes 16384
  // CHECK: plan.kernel @k = "linear" {eps = 5.000000e-01 : f64, in = 64 : i64} on @gpu
  plan.kernel @k = "linear" {eps = 0.5 : f64, in = 64 : i64} on @gpu
  // CHECK: plan.pointwise @round(%{{.*}}: f32) {
  // CHECK-NEXT: %[[ROUNDED:.*]] = arith.truncf %{{.*}} : f32 to bf16
  // CHECK-NEXT: plan.yield %[[ROUNDED]] : bf16
  plan.pointwise @round(%sum: f32) {
    %rounded = arith.truncf %sum : f32 to bf16
    plan.yield %rounded : bf16
  }
  // CHECK: plan.kernel @rounded = "linear" {in = 64 : i64} computes @round on @gpu
  plan.kernel @rounded = "linear" {in = 64 : i64} computes @round on @gpu
  // CHECK: plan.kernel @both = "loop" {} parts [@k, @rounded] on @gpu
  plan.kernel @both = "loop" {} parts [@k, @rounded] on @gpu
  // CHECK: plan.graph {
  plan.graph {
    // CHECK: %x = plan.call "x" rows tokens [#plan.variant<@k up_to 8 grid[<9>]>, #plan.variant<@k grid[<2 x tokens per 4>, <3>]>] (out, @embed) nodes ["x"] : () -> tensor<?x64xbf16>
    %x = plan.call "x" rows tokens [#plan.variant<@k up_to 8 grid[<9>]>, #plan.variant<@k grid[<2 x tokens per 4>, <3>]>] (out, @embed) nodes ["x"] : () -> tensor<?x64xbf16>
    // CHECK: %decoder = plan.loop @decoder layers 0 to 1 (%h = %x : tensor<?x64xbf16>) {
    %decoder = plan.loop @decoder layers 0 to 1 (%h = %x : tensor<?x64xbf16>) {
      // CHECK: plan.call "write" rows tokens {{.*}} (out @kv, %h) nodes [] : (tensor<?x64xbf16>) -> ()
      plan.call "write" rows tokens [#plan.variant<@k grid[<1>]>] (out @kv, %h) nodes [] : (tensor<?x64xbf16>) -> ()
      // CHECK: %y = plan.call "y" rows tokens {{.*}} (out, %h, @norm) nodes ["y"] in_place [0, 0] : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
      %y = plan.call "y" rows tokens [#plan.variant<@k grid[<1>]>] (out, %h, @norm) nodes ["y"] in_place [0, 0] : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
      // CHECK: plan.yield %y : tensor<?x64xbf16>
      plan.yield %y : tensor<?x64xbf16>
    }
    // CHECK: plan.loop @again
    %again = plan.loop @again layers 2 to 3 (%h = %decoder : tensor<?x64xbf16>) {
      // CHECK: plan.call "z" rows tokens [#plan.variant<@both up_to 1 below_keys 8192 loop grid[<132>]>, #plan.variant<@k from_keys 4 below_keys 9 grid[<1>]>, #plan.variant<@k grid[<1>]>] (
      %z = plan.call "z" rows tokens [#plan.variant<@both up_to 1 below_keys 8192 loop grid[<132>]>, #plan.variant<@k from_keys 4 below_keys 9 grid[<1>]>, #plan.variant<@k grid[<1>]>] (out, %h) nodes ["z"] : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
      // CHECK: plan.call "w" rows tokens [#plan.variant<@both up_to 1 below_keys 8192 loop grid[<0>]>, #plan.variant<@k grid[<1>]>] (
      %w = plan.call "w" rows tokens [#plan.variant<@both up_to 1 below_keys 8192 loop grid[<0>]>, #plan.variant<@k grid[<1>]>] (out, %z) nodes ["w"] : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
      plan.yield %w : tensor<?x64xbf16>
    }
    plan.yield %again : tensor<?x64xbf16>
  }
}

// CHECK-LABEL: plan.program @memory model {} unreused [0, 512, 64, 0]
plan.program @memory model {} unreused [0, 512, 64, 0] {
  plan.target @cpu cpu "x86-64-v4" features "+avx512bf16"
  // CHECK: plan.kernel @k = "linear" {} on @cpu at 128 {scratch_bytes = 64 : i64}
  plan.kernel @k = "linear" {} on @cpu at 128 {scratch_bytes = 64 : i64}
  // CHECK: plan.buffer @b0 per tokens bytes 128 at 64
  plan.buffer @b0 per tokens bytes 128 at 64
  plan.buffer @logits per logits_rows bytes 64 at 0
  // CHECK: plan.schedule logits @logits {
  plan.schedule logits @logits {
    // CHECK: plan.loop @decoder layers 0 to 1 {
    plan.loop @decoder layers 0 to 1 {
      // CHECK: plan.launch "q" rows tokens [#plan.variant<@k grid[<1>]>] (out @b0) barrier values [#plan.value<"q" = arg 0 : "bf16" x 16 from 32>]
      plan.launch "q" rows tokens [#plan.variant<@k grid[<1>]>] (out @b0) barrier values [#plan.value<"q" = arg 0 : "bf16" x 16 from 32>]
      // CHECK: plan.yield
      plan.yield
    }
    plan.yield
  }
}
