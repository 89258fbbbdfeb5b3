// RUN: not fusebox-opt %s --import-model=model=%data/golden/no-such-model 2>&1 | FileCheck %s --check-prefix=MISSING
// RUN: not fusebox-opt %s --import-model='model=%data/golden/llama dtype=q4_1' 2>&1 | FileCheck %s --check-prefix=TYPE
// RUN: not fusebox-opt %s --import-model=model=%data/golden/llama --bind-weights=model=%data/golden/qwen3 2>&1 | FileCheck %s --check-prefix=OTHER

// MISSING: error: {{.*}}no-such-model
// TYPE: error: activations can be bf16, f32 or f64, not q4_1
// OTHER: error: parameter @q needs tensor 'model.layers.0.self_attn.q_proj.weight' of shape [128, 128], but it has [256, 128]
// OTHER: error: parameter @lm_head needs tensor 'lm_head.weight' [384, 128], which is missing
// OTHER: error: {{[0-9]+}} tensors do not fit the model
