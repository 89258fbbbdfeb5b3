// The plan dialect: a compiled model as buffers, kernels and launches; what a plan file's program section says.
#ifndef FUSEBOX_IR_PLAN_PLANDIALECT_TD
#define FUSEBOX_IR_PLAN_PLANDIALECT_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"

def Plan_Dialect : Dialect {
  let name = "plan";
  let cppNamespace = "::fusebox::plan";
  let summary = "A compiled model: weights, kernels, and launches on buffers.";
  let description = [{
    What the runtime executes, one to one with the records of a plan file (runtime/plan/Program.h). It has two levels.

    At the *value level*, which select-kernels makes, `plan.call`s in a `plan.graph` compute tensors from tensors:
    kernels are chosen, memory is not. At the *memory level*, which plan-memory makes, `plan.launch`es in a
    `plan.schedule` run on `plan.buffer`s, and schedule has said where a launch waits for earlier ones.

    A layer loop is one `plan.loop` in both: the IR does not grow with depth. Weights and KV caches used inside it
    stand for the current layer's.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::math::MathDialect"];
  let useDefaultAttributePrinterParser = 1;
}

class Plan_Enum<string name, string summary, list<I32EnumAttrCase> cases> : I32EnumAttr<name, summary, cases> {
  let cppNamespace = "::fusebox::plan";
  let genSpecializedAttr = 0;
}
class Plan_EnumAttr<Plan_Enum info, string mnemonic> : EnumAttr<Plan_Dialect, info, mnemonic> {
  let assemblyFormat = "`` $value";
}

def Plan_ExtentEnum : Plan_Enum<"RowExtent", "what a buffer or grid grows with: the sizes of one step", [
  I32EnumAttrCase<"Fixed", 0, "fixed">,
  I32EnumAttrCase<"Tokens", 1, "tokens">,
  I32EnumAttrCase<"LogitsRows", 2, "logits_rows">,
  I32EnumAttrCase<"Sequences", 3, "sequences">]>;
def Plan_Extent : Plan_EnumAttr<Plan_ExtentEnum, "extent">;

def Plan_DeviceKindEnum : Plan_Enum<"DeviceKind", "kind of device a target is", [
  I32EnumAttrCase<"Cpu", 0, "cpu">,
  I32EnumAttrCase<"Cuda", 1, "cuda">]>;
def Plan_DeviceKind : Plan_EnumAttr<Plan_DeviceKindEnum, "device_kind">;

def Plan_AccessEnum : Plan_Enum<"Access", "what a kernel does with an argument", [
  I32EnumAttrCase<"In", 0, "in">,
  I32EnumAttrCase<"Out", 1, "out">]>;
def Plan_Access : Plan_EnumAttr<Plan_AccessEnum, "access">;

class Plan_Attr<string name, string mnemonic_> : AttrDef<Plan_Dialect, name> {
  let mnemonic = mnemonic_;
}

def Plan_DimAttr : Plan_Attr<"Dim", "dim"> {
  let summary = "one axis of a launch's grid: `<9>`, or `<9 x tokens per 4>` for 9 · ceil(tokens ÷ 4)";
  let parameters = (ins "int64_t":$count,
                    DefaultValuedParameter<"::fusebox::plan::RowExtent", "RowExtent::Fixed">:$extent,
                    DefaultValuedParameter<"int64_t", "1">:$tile);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def Plan_VariantAttr : Plan_Attr<"Variant", "variant"> {
  let summary = "a kernel for steps of at most so many rows, and its grid";
  let description = [{
    Variants of a launch ascend in `up_to`; the last has none and takes any number of rows. Of several with the same
    `up_to` the last computes the launch alone, and the first is what a step runs: it computes other launches too, or
    nothing (a grid of 0) because another launch does. One with `from_keys` is for steps whose tokens see at least so
    many keys, all tokens together, one with `below_keys` for steps whose tokens see fewer; both are passed over in
    others.

    One with `loop` does the work of its launch for all layers of the plan.loop it is in, in one launch. Then each
    launch of the loop's body has such a variant as its first, for the same steps; one of them has the kernel, the others
    an empty grid (a count of 0). All grids are fixed. The kernel's first argument is the address of a table of addresses
    [layer][argument] of its launch. These variants are passed over where a launch must be observed alone, and on GPUs
    that can't hold the whole grid at once.
  }];
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$kernel,
                    DefaultValuedParameter<"int64_t", "std::numeric_limits<uint32_t>::max()",
                                           "4294967295 stands for any">:$max_rows,
                    DefaultValuedParameter<"int64_t", "0">:$min_keys,
                    DefaultValuedParameter<"int64_t", "0", "0 stands for no limit">:$below_keys,
                    DefaultValuedParameter<"bool", "false">:$loop,
                    ArrayRefParameter<"::fusebox::plan::DimAttr">:$grid);
  let builders = [AttrBuilder<(ins "::mlir::FlatSymbolRefAttr":$kernel, "int64_t":$maxRows,
                                   "::llvm::ArrayRef<::fusebox::plan::DimAttr>":$grid),
                              [{ return $_get($_ctxt, kernel, maxRows, 0, 0, false, grid); }]>];
  let assemblyFormat = [{
    `<` $kernel (`up_to` $max_rows^)? (`from_keys` $min_keys^)? (`below_keys` $below_keys^)? (custom<Loop>($loop)^)?
    `grid` `[` $grid `]` `>`
  }];
  let genVerifyDecl = 1;
}

def Plan_ArgAttr : Plan_Attr<"Arg", "arg"> {
  let summary = "one argument of a kernel: a symbol, or (no symbol) the next operand or result of the call";
  let parameters = (ins "::fusebox::plan::Access":$access, OptionalParameter<"::mlir::FlatSymbolRefAttr">:$symbol);
  let assemblyFormat = "`<` $access ($symbol^)? `>`";
}

def Plan_SourceAttr : Plan_Attr<"Source", "source"> {
  let summary = "bytes of a stored tensor: file, offset, bytes, element type, shape";
  let parameters = (ins "::mlir::FlatSymbolRefAttr":$file, "uint64_t":$offset, "uint64_t":$bytes,
                    StringRefParameter<"DType name">:$dtype, ArrayRefParameter<"int64_t">:$shape);
  let assemblyFormat = "`<` $file `at` $offset `bytes` $bytes $dtype `[` $shape `]` `>`";
  let genVerifyDecl = 1;
}

def Plan_ValueAttr : Plan_Attr<"NodeValue", "value"> {
  let summary = "a value of the layer IR that a launch leaves in argument `arg`: what activation dumps read";
  let parameters = (ins StringRefParameter<"name within its block">:$node, "int64_t":$arg,
                    StringRefParameter<"DType name">:$dtype, "int64_t":$columns,
                    DefaultValuedParameter<"int64_t", "0">:$first_byte);
  let assemblyFormat = "`<` $node `=` `arg` $arg `:` $dtype `x` $columns (`from` $first_byte^)? `>`";
  let genVerifyDecl = 1;
}

#endif
