// Operations of the plan dialect.
#ifndef FUSEBOX_IR_PLAN_PLANOPS_TD
#define FUSEBOX_IR_PLAN_PLANOPS_TD

include "ir/plan/PlanDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Plan_Op<string mnemonic, list<Trait> traits = []> : Op<Plan_Dialect, mnemonic, traits>;
class Plan_Record<string mnemonic, list<Trait> traits = []>
    : Plan_Op<mnemonic, [Symbol, HasParent<"ProgramOp">] # traits>;

def Plan_Rows : 2DTensorOf<[BF16, F16, F32]>;
def Plan_VariantArray : TypedArrayAttrBase<Plan_VariantAttr, "variants, ascending in rows">;
def Plan_ArgArray : TypedArrayAttrBase<Plan_ArgAttr, "arguments, in the kernel's order">;
def Plan_ValueArray : TypedArrayAttrBase<Plan_ValueAttr, "values of the layer IR">;

//===-- Records -----------------------------------------------------------------------------------------------===//

def Plan_ProgramOp : Plan_Op<"program", [Symbol, SymbolTable, IsolatedFromAbove, NoTerminator, SingleBlock]> {
  let summary = "a compiled model";
  let description = [{
    `model` holds what text generation and reports need: `family`, `vocabulary`, `layers`, `max_position`, `dtype`.
    `unreused`, written by plan-memory, is what a unit of each extent would take if no two buffers shared memory.
    Its verifier checks every reference between records, whatever the level.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$model, OptionalAttr<DenseI64ArrayAttr>:$unreused);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name `model` $model (`unreused` $unreused^)? attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def Plan_TargetOp : Plan_Record<"target"> {
  let summary = "a machine the plan has code for";
  let description = "`features`: for a CPU, comma-separated features the code needs; the runtime checks them.";
  let arguments = (ins SymbolNameAttr:$sym_name, Plan_DeviceKind:$kind, StrAttr:$machine, StrAttr:$features);
  let assemblyFormat = "$sym_name $kind $machine `features` $features attr-dict";
}

def Plan_FileOp : Plan_Record<"file"> {
  let summary = "a file that weights come from; serialize adds its size and content hash";
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$path);
  let assemblyFormat = "$sym_name $path attr-dict";
}

def Plan_WeightOp : Plan_Record<"weight"> {
  let summary = "a weight as kernels see it";
  let description = [{
    With `layers`, instance i belongs to layer `first_layer` + i; without, there is one instance. `recipe` is run at
    load on an instance's sources; empty means zero copy. Of a `gathered` weight a step reads one row a token, of others
    all.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$dtype, DenseI64ArrayAttr:$shape, I64Attr:$bytes,
                   OptionalAttr<I64Attr>:$first_layer, StrArrayAttr:$recipe, ArrayAttr:$sources,
                   UnitAttr:$gathered, DefaultValuedAttr<I64Attr, "0">:$device);
  let assemblyFormat = [{
    $sym_name $dtype $shape `bytes` $bytes (`from_layer` $first_layer^)? (`gathered` $gathered^)? `recipe` $recipe attr-dict
    `sources` $sources
  }];
  let hasVerifier = 1;
}

def Plan_ConstantOp : Plan_Record<"constant"> {
  let summary = "data the compiler computed: frequency tables, scales";
  let arguments = (ins SymbolNameAttr:$sym_name, ElementsAttr:$value);
  let assemblyFormat = "$sym_name `=` $value attr-dict";
}

def Plan_KvCacheOp : Plan_Record<"kv_cache"> {
  let summary = "a paged cache of keys and values, a pool of pages for each layer";
  let description = "A page holds `page_tokens` tokens: all their keys, then all their values.";
  let arguments = (ins SymbolNameAttr:$sym_name, I64Attr:$layers, I64Attr:$page_tokens, I64Attr:$page_bytes,
                   DefaultValuedAttr<I64Attr, "0">:$device);
  let assemblyFormat = "$sym_name `layers` $layers `page_tokens` $page_tokens `page_bytes` $page_bytes attr-dict";
}

def Plan_PointwiseOp : Plan_Record<"pointwise", [IsolatedFromAbove, SingleBlock]> {
  let summary = "what a kernel computes for one element, in arith and math operations";
  let description = [{
    Arguments are elements of the kernel's inputs, in the types in which they lie in memory (f32 for the sum of a
    product); `plan.yield` gives the element of the result. Arithmetic is f32, each operation rounded once; `truncf` is
    a rounding point. `codegen` makes device code of it, alone or at the end of a kernel that computes an argument.

    Example: `plan.pointwise @add(%a: bf16, %b: bf16) { %0 = arith.extf %a : bf16 to f32 … plan.yield %3 : bf16 }`
  }];
  let arguments = (ins SymbolNameAttr:$sym_name);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The value that the body ends in.
    ::mlir::Value getYielded();
  }];
}

def Plan_KernelOp : Plan_Record<"kernel"> {
  let summary = "a kernel made from a template by making its shape constant";
  let description = [{
    Kernels with the same template, shape, pointwise body, parts and target are one. Dimensions of real type are f64.
    Codegen writes where the code is: for a CPU `entry`, where the kernel starts in its target's image; for a GPU
    `module`. `parts` are kernels whose work this one does in one launch: their constants and bodies become its parts,
    in order.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$template_name, DictionaryAttr:$shape,
                   OptionalAttr<FlatSymbolRefAttr>:$pointwise, OptionalAttr<FlatSymbolRefArrayAttr>:$parts,
                   FlatSymbolRefAttr:$target,
                   DefaultValuedAttr<I64Attr, "0">:$scratch_bytes,
                   DefaultValuedAttr<I64Attr, "0">:$block_threads, OptionalAttr<I64Attr>:$entry,
                   OptionalAttr<FlatSymbolRefAttr>:$module);
  let assemblyFormat = [{
    $sym_name `=` $template_name $shape (`computes` $pointwise^)? (`parts` $parts^)? `on` $target (`at` $entry^)?
    (`in` $module^)? attr-dict
  }];
  let hasVerifier = 1;
}

def Plan_GpuModuleOp : Plan_Record<"gpu_module"> {
  let summary = "a GPU kernel as CUDA C++ and as the cubin of its target";
  let description = "Its name is the kernel's in the cubin. Other chips are served by compiling `source` at load.";
  let arguments = (ins SymbolNameAttr:$sym_name, FlatSymbolRefAttr:$target, StrAttr:$source, ElementsAttr:$cubin);
  let assemblyFormat = "$sym_name `of` $target `source` $source attr-dict `cubin` $cubin";
}

def Plan_ImageOp : Plan_Op<"image", [HasParent<"ProgramOp">]> {
  let summary = "a CPU target's machine code: position-independent, code first, then constants";
  let arguments = (ins FlatSymbolRefAttr:$target, I64Attr:$code_bytes, ElementsAttr:$data);
  let assemblyFormat = "`of` $target `code_bytes` $code_bytes attr-dict `data` $data";
}

def Plan_BufferOp : Plan_Record<"buffer"> {
  let summary = "a region of the arena of its extent";
  let description = [{
    It starts at `offset` × capacity and holds `bytes` × units bytes, where units is the extent's size in a step.
    Buffers that are never live together share memory.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, Plan_Extent:$extent, I64Attr:$bytes, I64Attr:$offset,
                   DefaultValuedAttr<I64Attr, "0">:$device);
  let assemblyFormat = "$sym_name `per` $extent `bytes` $bytes `at` $offset attr-dict";
  let hasVerifier = 1;
}

//===-- Value level -------------------------------------------------------------------------------------------===//

def Plan_GraphOp : Plan_Op<"graph", [HasParent<"ProgramOp">, SingleBlock]> {
  let summary = "what one ragged step computes, as calls on values";
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "attr-dict-with-keyword $body";
}

def Plan_CallOp : Plan_Op<"call", [DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>]> {
  let summary = "a kernel applied to values";
  let description = [{
    `args` lists the kernel's arguments in its order: `out` is the next result, a value the next operand, a symbol a
    weight, constant or KV cache (`out @kv` is written). Results have `rows` rows. `nodes` names the layer IR's value
    behind each result. `in_place` lists pairs (result, operand) that may be the same memory. With `selects` n the call
    runs only in steps that ask for the n largest logits of each row; the last such call leaves them in its first
    argument.

    Example: `%3 = plan.call "q" rows tokens [<@linear.576x576 grid [<9>]>] (out, %2, @layers.q) nodes ["q"] : …`
  }];
  let arguments = (ins StrAttr:$name, Plan_Extent:$rows, Plan_VariantArray:$variants, Plan_ArgArray:$args,
                   Variadic<Plan_Rows>:$inputs, StrArrayAttr:$nodes, DefaultValuedAttr<DenseI64ArrayAttr, "{}">:$in_place,
                   DefaultValuedAttr<I64Attr, "0">:$device, DefaultValuedAttr<I64Attr, "0">:$selects);
  let results = (outs Variadic<Plan_Rows>:$results);
  let assemblyFormat = [{
    $name `rows` $rows $variants custom<CallArgs>($args, $inputs) `nodes` $nodes (`in_place` $in_place^)? attr-dict `:`
    functional-type($inputs, $results)
  }];
  let hasVerifier = 1;
}

def Plan_LoopOp : Plan_Op<"loop", [SingleBlock, DeclareOpInterfaceMethods<OpAsmOpInterface,
                                          ["getAsmResultNames", "getAsmBlockArgumentNames"]>]> {
  let summary = "a body that runs for a range of layers";
  let description = [{
    At the value level its one operand is the first layer's argument and its result the last layer's `plan.yield`; at
    the memory level it has neither. Loops don't nest.
  }];
  let arguments = (ins SymbolNameAttr:$block, I64Attr:$first, I64Attr:$count, Optional<Plan_Rows>:$initial);
  let results = (outs Optional<Plan_Rows>:$result);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def Plan_YieldOp : Plan_Op<"yield", [Pure, Terminator, ParentOneOf<["GraphOp", "LoopOp", "ScheduleOp",
                                                                      "PointwiseOp"]>]> {
  let summary = "ends a body: a loop's next argument, a graph's logits, or an element of a pointwise body";
  let arguments = (ins Optional<AnyTypeOf<[Plan_Rows, BF16, F16, F32]>>:$value);
  let assemblyFormat = "($value^ `:` type($value))? attr-dict";
}

//===-- Memory level ------------------------------------------------------------------------------------------===//

def Plan_ScheduleOp : Plan_Op<"schedule", [HasParent<"ProgramOp">, SingleBlock]> {
  let summary = "what one ragged step runs, as launches on buffers, in order";
  let description = "`logits` is the buffer where the step leaves its logits, f32.";
  let arguments = (ins FlatSymbolRefAttr:$logits);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`logits` $logits attr-dict-with-keyword $body";
}

def Plan_LaunchOp : Plan_Op<"launch"> {
  let summary = "a kernel run on buffers";
  let description = [{
    With `barrier` it waits for all earlier launches; launches between two barriers may run together. Layer loops
    begin and end with a barrier. `selects` is as in `plan.call`.

    Example: `plan.launch "q" rows tokens [<@linear.576x576 grid [<9>]>] (out @b2, @b1, @layers.q) barrier`
  }];
  let arguments = (ins StrAttr:$name, Plan_Extent:$rows, Plan_VariantArray:$variants, Plan_ArgArray:$args,
                   Plan_ValueArray:$values, UnitAttr:$barrier, DefaultValuedAttr<I64Attr, "0">:$device,
                   DefaultValuedAttr<I64Attr, "0">:$selects);
  let assemblyFormat = [{
    $name `rows` $rows $variants custom<LaunchArgs>($args) (`barrier` $barrier^)? `values` $values attr-dict
  }];
  let hasVerifier = 1;
}

#endif
