// A launch waits where it touches memory that a launch since the last barrier writes, or writes what one reads.
// RUN: fusebox-opt %s --schedule | FileCheck %s
// RUN: fusebox-opt %s --schedule --schedule | FileCheck %s

// CHECK: plan.launch "first" {{.*}} (out @a) barrier
// Other memory: runs beside the first.
// CHECK: plan.launch "beside" {{.*}} (out @b) values
// Reads what the first wrote.
// CHECK: plan.launch "reads" {{.*}} (out @c, @a) barrier
// Both only read @a.
// CHECK: plan.launch "reads_too" {{.*}} (out @d, @a) values
// Writes memory that overlaps @a, which is being read.
// CHECK: plan.launch "overlaps" {{.*}} (out @overlap) barrier
// The same bytes of another extent's arena.
// CHECK: plan.launch "elsewhere" {{.*}} (out @logits) values
// A loop begins and ends with a barrier.
// CHECK: plan.loop
// CHECK: plan.launch "write" {{.*}} (out @kv, @c) barrier
// CHECK: plan.launch "attend" {{.*}} (out @d, @kv) barrier
// CHECK: plan.launch "after" {{.*}} (out @b) barrier

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.kv_cache @kv layers 4 page_tokens 64 page_bytes 1024
  plan.buffer @a per tokens bytes 128 at 0
  plan.buffer @b per tokens bytes 128 at 128
  plan.buffer @c per tokens bytes 128 at 256
  plan.buffer @d per tokens bytes 128 at 384
  plan.buffer @overlap per tokens bytes 128 at 64
  plan.buffer @logits per logits_rows bytes 128 at 64
  plan.schedule logits @logits {
    plan.launch "first" rows tokens [#plan.variant<@k grid[<1>]>] (out @a) values []
    plan.launch "beside" rows tokens [#plan.variant<@k grid[<1>]>] (out @b) values []
    plan.launch "reads" rows tokens [#plan.variant<@k grid[<1>]>] (out @c, @a) values []
    plan.launch "reads_too" rows tokens [#plan.variant<@k grid[<1>]>] (out @d, @a) values []
    plan.launch "overlaps" rows tokens [#plan.variant<@k grid[<1>]>] (out @overlap) values []
    plan.launch "elsewhere" rows tokens [#plan.variant<@k grid[<1>]>] (out @logits) values []
    plan.loop @decoder layers 0 to 3 {
      plan.launch "write" rows tokens [#plan.variant<@k grid[<1>]>] (out @kv, @c) values []
      plan.launch "attend" rows tokens [#plan.variant<@k grid[<1>]>] (out @d, @kv) values []
      plan.yield
    }
    plan.launch "after" rows tokens [#plan.variant<@k grid[<1>]>] (out @b) values []
    plan.yield
  }
}
