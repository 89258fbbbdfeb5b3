// RUN: fusebox-opt %s --split-input-file --verify-diagnostics
// What the plan dialect's verifiers refuse.

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  // expected-error@+1 {{is for @gpu, which is no target of the program}}
  plan.kernel @k = "kernel" {} on @gpu
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  // expected-error@+1 {{computes @add, which is no pointwise body of the program}}
  plan.kernel @k = "pointwise" {} computes @add on @gpu
}

// -----

plan.program @p model {} {
  // expected-error@+1 {{takes elements of bf16, f16 or f32}}
  plan.pointwise @add(%a: f64) {
    plan.yield
  }
}

// -----

plan.program @p model {} {
  // expected-error@+1 {{must yield one element of bf16, f16 or f32}}
  plan.pointwise @add(%a: f32) {
    plan.yield
  }
}

// -----

plan.program @p model {} {
  // expected-error@+1 {{has an unknown element type 'q9'}}
  plan.weight @w "q9" [4] bytes 4 recipe [] sources [[]]
}

// -----

plan.program @p model {} {
  // expected-error@+1 {{comes from @file7, which is no file of the program}}
  plan.weight @w "bf16" [4] bytes 8 recipe [] sources [[#plan.source<@file7 at 0 bytes 8 "bf16"[4]>]]
}

// -----

plan.program @p model {} {
  plan.file @file0 "a"
  // expected-error@+1 {{a source of 4 elements of bf16 takes 8 bytes, not 9}}
  plan.weight @w "bf16" [4] bytes 8 recipe [] sources [[#plan.source<@file0 at 0 bytes 9 "bf16"[4]>]]
}

// -----

plan.program @p model {} {
  // expected-error@+1 {{must start at a multiple of 64 bytes, not at 32}}
  plan.buffer @b per tokens bytes 64 at 32
}

// -----

plan.program @p model {} {
  plan.graph {
    // expected-error@+1 {{uses @k, which is no kernel of the program}}
    %a = plan.call "a" rows tokens [#plan.variant<@k grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    // expected-error@+1 {{has a last variant that takes at most 8 rows; it must take any}}
    %a = plan.call "a" rows tokens [#plan.variant<@k up_to 8 grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    // expected-error@+1 {{has variants that do not ascend in rows}}
    %a = plan.call "a" rows tokens [#plan.variant<@k up_to 8 grid[<1>]>, #plan.variant<@k up_to 4 grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    // expected-error@+1 {{has no variant for 8 rows that see fewer than 4096 keys}}
    %a = plan.call "a" rows tokens [#plan.variant<@k up_to 8 from_keys 4096 grid[<1>]>, #plan.variant<@k grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    // expected-error@+1 {{has a last variant for 4096 keys and more; it must take any}}
    %a = plan.call "a" rows tokens [#plan.variant<@k from_keys 4096 grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    // expected-error@+1 {{names 0 operands and 1 results in its arguments but has 0 and 2}}
    %a:2 = plan.call "a" rows tokens [#plan.variant<@k grid[<1>]>] (out) nodes ["a"] : () -> (tensor<?x4xf32>, tensor<?x4xf32>)
    plan.yield %a#0 : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.file @file0 "a"
  plan.kernel @k = "kernel" {} on @cpu
  plan.weight @w "bf16" [4] bytes 8 from_layer 0 recipe [] sources [[#plan.source<@file0 at 0 bytes 8 "bf16"[4]>]]
  plan.graph {
    // expected-error@+1 {{uses @w, which differs by layer, outside a loop}}
    %a = plan.call "a" rows tokens [#plan.variant<@k grid[<1>]>] (out, @w) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.file @file0 "a"
  plan.kernel @k = "kernel" {} on @cpu
  plan.weight @w "bf16" [4] bytes 8 recipe [] sources [[#plan.source<@file0 at 0 bytes 8 "bf16"[4]>]]
  plan.graph {
    // expected-error@+1 {{writes @w, which is read-only}}
    %a = plan.call "a" rows tokens [#plan.variant<@k grid[<1>]>] (out, out @w) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.buffer @b per tokens bytes 64 at 0
  // expected-error@+1 {{leaves logits in @c, which is no buffer}}
  plan.schedule logits @c {
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.buffer @b per tokens bytes 64 at 0
  plan.schedule logits @b {
    // expected-error@+1 {{has value 'q' that ends at byte 128 of a buffer of 64}}
    plan.launch "q" rows tokens [#plan.variant<@k grid[<1>]>] (out @b) values [#plan.value<"q" = arg 0 : "bf16" x 64>]
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    %a = plan.call "a" rows tokens [#plan.variant<@k grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    // expected-error@+1 {{must yield what it takes}}
    %b = plan.loop @decoder layers 0 to 1 (%h = %a : tensor<?x4xf32>) {
      %c = plan.call "c" rows tokens [#plan.variant<@k grid[<1>]>] (out, %h) nodes ["c"] : (tensor<?x4xf32>) -> tensor<?x8xf32>
      plan.yield %c : tensor<?x8xf32>
    }
    plan.yield %b : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  // expected-error@+1 {{has part @j, which is no kernel of its program and target}}
  plan.kernel @l = "loop" {} parts [@j] on @gpu
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.target @other cuda "sm_80" features ""
  plan.kernel @k = "kernel" {} on @other
  // expected-error@+1 {{has part @k, which is no kernel of its program and target}}
  plan.kernel @l = "loop" {} parts [@k] on @gpu
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.kernel @l = "loop" {} parts [@k] on @gpu
  // expected-error@+1 {{has part @l, which has parts itself}}
  plan.kernel @m = "loop" {} parts [@k, @l] on @gpu
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{has no variant for 8 rows that see 4096 keys and more}}
    %a = plan.call "a" rows tokens [#plan.variant<@k up_to 8 below_keys 4096 grid[<1>]>, #plan.variant<@k grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{has a last variant for fewer than 4096 keys; it must take any}}
    %a = plan.call "a" rows tokens [#plan.variant<@k below_keys 4096 grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{a variant is for fewer than 0 (any) to 4294967295 keys, not 4294967296}}
    %a = plan.call "a" rows tokens [#plan.variant<@k below_keys 4294967296 grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{has a loop variant but is in no loop}}
    %a = plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] (out) nodes ["a"] : () -> tensor<?x4xf32>
    plan.yield %a : tensor<?x4xf32>
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    plan.loop @decoder layers 0 to 1 {
      // expected-error@+1 {{needs at least one variant of its own}}
      plan.call "a" rows tokens [#plan.variant<@k loop grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    plan.loop @decoder layers 0 to 1 {
      // expected-error@+1 {{has a loop variant that is not its first}}
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 grid[<1>]>, #plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    plan.loop @decoder layers 0 to 1 {
      // expected-error@+1 {{has a loop variant that is not its first}}
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    plan.loop @decoder layers 0 to 1 {
      // expected-error@+1 {{has a loop variant whose grid is not fixed}}
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<1 x tokens per 1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{has a loop variant in some launches of its body, not in all}}
    plan.loop @decoder layers 0 to 1 {
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.call "b" rows tokens [#plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{has a loop variant in some launches of its body, not in all}}
    plan.loop @decoder layers 0 to 1 {
      plan.call "a" rows tokens [#plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.call "b" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{has loop variants for different steps}}
    plan.loop @decoder layers 0 to 1 {
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.call "b" rows tokens [#plan.variant<@k up_to 2 loop grid[<0>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{has loop variants for different steps}}
    plan.loop @decoder layers 0 to 1 {
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.call "b" rows tokens [#plan.variant<@k up_to 1 below_keys 9 loop grid[<0>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{has loop variants for different steps}}
    plan.loop @decoder layers 0 to 1 {
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.call "b" rows sequences [#plan.variant<@k up_to 1 loop grid[<0>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{needs one loop variant with a grid that is not empty, not 2}}
    plan.loop @decoder layers 0 to 1 {
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.call "b" rows tokens [#plan.variant<@k up_to 1 loop grid[<1>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}

// -----

plan.program @p model {} {
  plan.target @gpu cuda "sm_90a" features ""
  plan.kernel @k = "kernel" {} on @gpu
  plan.graph {
    // expected-error@+1 {{needs one loop variant with a grid that is not empty, not 0}}
    plan.loop @decoder layers 0 to 1 {
      plan.call "a" rows tokens [#plan.variant<@k up_to 1 loop grid[<0>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.call "b" rows tokens [#plan.variant<@k up_to 1 loop grid[<3>, <0>]>, #plan.variant<@k grid[<1>]>] () nodes [] : () -> ()
      plan.yield
    }
    plan.yield
  }
}
