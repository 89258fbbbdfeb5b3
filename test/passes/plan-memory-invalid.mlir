// RUN: fusebox-opt %s --plan-memory --split-input-file --verify-diagnostics

plan.program @overwritten model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    %start = plan.call "start" rows tokens [#plan.variant<@k grid[<1>]>] (out) nodes ["start"] : () -> tensor<?x64xbf16>
    %last = plan.loop @decoder layers 0 to 3 (%h = %start : tensor<?x64xbf16>) {
      // Not in place: the result can't take the argument's memory while it is read.
      // expected-error@+1 {{writes the loop's result while its argument is still read}}
      %next = plan.call "next" rows tokens [#plan.variant<@k grid[<1>]>] (out, %h) nodes ["next"] : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
      plan.yield %next : tensor<?x64xbf16>
    }
    plan.yield %last : tensor<?x64xbf16>
  }
}

// -----

plan.program @initial model {} {
  plan.target @cpu cpu "x86-64-v3" features ""
  plan.kernel @k = "kernel" {} on @cpu
  plan.graph {
    %start = plan.call "start" rows tokens [#plan.variant<@k grid[<1>]>] (out) nodes ["start"] : () -> tensor<?x64xbf16>
    // expected-error@+1 {{overwrites its initial value, which is read after it}}
    %last = plan.loop @decoder layers 0 to 3 (%h = %start : tensor<?x64xbf16>) {
      %next = plan.call "next" rows tokens [#plan.variant<@k grid[<1>]>] (out, %h) nodes ["next"] in_place [0, 0] : (tensor<?x64xbf16>) -> tensor<?x64xbf16>
      plan.yield %next : tensor<?x64xbf16>
    }
    %sum = plan.call "sum" rows tokens [#plan.variant<@k grid[<1>]>] (out, %start, %last) nodes ["sum"] : (tensor<?x64xbf16>, tensor<?x64xbf16>) -> tensor<?x64xbf16>
    plan.yield %sum : tensor<?x64xbf16>
  }
}
