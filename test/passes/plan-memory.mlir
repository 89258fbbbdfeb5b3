// Values become buffers; values that are never needed at once share memory; independent calls come together.
// RUN: fusebox-opt %s --plan-memory | FileCheck %s

// CHECK: plan.program @p model {} unreused [0, 1280, 64, 0]
// The loop's argument, the value it yields and what add computes in place are one buffer.
// CHECK-DAG: plan.buffer @start per tokens bytes 256 at [[START:[0-9]+]]
// CHECK-DAG: plan.buffer @decoder.a per tokens bytes 256 at [[A:[0-9]+]]
// CHECK-DAG: plan.buffer @decoder.b per tokens bytes 256 at [[B:[0-9]+]]
// CHECK-DAG: plan.buffer @logits per logits_rows bytes 64 at 0
// CHECK: plan.schedule logits @logits {
// CHECK: plan.launch "start" rows tokens {{.*}} (out @start)
// CHECK: plan.loop @decoder layers 0 to 3 {
// `b` depends on nothing but the argument: it moves up beside `a`.
// CHECK-NEXT: plan.launch "a" {{.*}} (out @decoder.a, @start) values [#plan.value<"a" = arg 0 : "bf16" x 128>]
// CHECK-NEXT: plan.launch "b" {{.*}} (out @decoder.b, @start)
// CHECK-NEXT: plan.launch "sum" {{.*}} (out @decoder.a, @decoder.a, @decoder.b)
// CHECK-NEXT: plan.launch "next" {{.*}} (out @start, @start, @decoder.a)
// CHECK: plan.launch "logits" rows logits_rows {{.*}} (out @logits, @start)

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    %start = plan.call "start" rows tokens [#plan.variant<@k grid[<1>]>] (out) nodes ["start"] : () -> tensor<?x128xbf16>
    %last = plan.loop @decoder layers 0 to 3 (%h = %start : tensor<?x128xbf16>) {
      %a = plan.call "a" rows tokens [#plan.variant<@k grid[<1>]>] (out, %h) nodes ["a"] : (tensor<?x128xbf16>) -> tensor<?x128xbf16>
      %b = plan.call "b" rows tokens [#plan.variant<@k grid[<1>]>] (out, %h) nodes ["b"] : (tensor<?x128xbf16>) -> tensor<?x128xbf16>
      %sum = plan.call "sum" rows tokens [#plan.variant<@k grid[<1>]>] (out, %a, %b) nodes ["sum"] in_place [0, 0] : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
      %next = plan.call "next" rows tokens [#plan.variant<@k grid[<1>]>] (out, %h, %sum) nodes ["next"] in_place [0, 0] : (tensor<?x128xbf16>, tensor<?x128xbf16>) -> tensor<?x128xbf16>
      plan.yield %next : tensor<?x128xbf16>
    }
    %logits = plan.call "logits" rows logits_rows [#plan.variant<@k grid[<1>]>] (out, %last) nodes ["logits"] : (tensor<?x128xbf16>) -> tensor<?x16xf32>
    plan.yield %logits : tensor<?x16xf32>
  }
}
