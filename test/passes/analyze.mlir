// The analyze pass judges every node of a bound model and changes nothing else.
// RUN: cd %data/golden && fusebox-opt %s --import-model=model=qwen3-extreme-k --bind-weights=model=qwen3-extreme-k \
// RUN:   --analyze | FileCheck %s
// RUN: cd %data/golden && fusebox-opt %s --import-model=model=qwen3-extreme-k --bind-weights=model=qwen3-extreme-k \
// RUN:   --analyze --elide-verdicts | FileCheck %s --check-prefix=ELIDED
// RUN: cd %data/golden && fusebox-opt %s --import-model=model=ernie4_5 --bind-weights=model=ernie4_5 \
// RUN:   --analyze | FileCheck %s --check-prefix=ERNIE

// CHECK: layer.model
// CHECK-SAME: verdicts = [
// CHECK-SAME: contract = "wide"
// CHECK-SAME: layer = 0 : i64, legal = true, node = "attn_norm", range = {{[0-9.e+-]+}} : f64, range_proved = true, reason = "1 roundings where the reference has 3: nearer to the real-number result", semantics_proved = true
// CHECK-SAME: contract = "exact"
// CHECK-SAME: node = "scores"
// CHECK-SAME: contract = "reference"
// CHECK-SAME: node = "scores"
// CHECK-SAME: layer = -1 : i64, legal = true, node = "logits"

// ELIDED: layer.model
// ELIDED-NOT: verdicts =
// ELIDED: verdicts_elided = {{[0-9]+}} : i64

// Interleaved RoPE in f32: fewer roundings than half-split in bf16.
// ERNIE: 1 roundings where the reference has 4: nearer
module {}
