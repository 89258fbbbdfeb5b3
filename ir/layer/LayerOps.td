// Operations of the layer dialect.
#ifndef FUSEBOX_IR_LAYER_LAYEROPS_TD
#define FUSEBOX_IR_LAYER_LAYEROPS_TD

include "ir/layer/LayerDialect.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Layer_Op<string mnemonic, list<Trait> traits = []> : Op<Layer_Dialect, mnemonic, traits>;

/// An operation that computes one value. `node` is the value's name in dumps, activations and reports; in the text it is
/// the SSA name itself (`%q = layer.linear …`), or `as "q"` where the printer had to choose another.
class Layer_NodeOp<string mnemonic, list<Trait> traits = []>
    : Layer_Op<mnemonic, !listconcat(traits, [DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>])> {
  let extraClassDefinition = [{
    void $cppClass::getAsmResultNames(::mlir::OpAsmSetValueNameFn setName) {
      setName(getResult(), getNode().value_or(""));
    }
  }];
}
def Layer_UsesParams : DeclareOpInterfaceMethods<SymbolUserOpInterface>;

/// Rows of a step: tensor<?xColumnsxT> with T of bf16, f16, f32 or f64.
def Layer_Rows : Type<And<[2DTensorOf<[BF16, F16, F32, F64]>.predicate,
                           CPred<"::llvm::cast<::mlir::ShapedType>($_self).isDynamicDim(0)">,
                           CPred<"!::llvm::cast<::mlir::ShapedType>($_self).isDynamicDim(1)">]>,
                      "rows of a step, tensor<?xNxT> with T of bf16, f16, f32, f64", "::mlir::RankedTensorType">;
def Layer_Indices : Type<And<[1DTensorOf<[I32]>.predicate,
                              CPred<"::llvm::cast<::mlir::ShapedType>($_self).isDynamicDim(0)">]>,
                         "one i32 a row, tensor<?xi32>", "::mlir::RankedTensorType">,
                    BuildableType<"::mlir::RankedTensorType::get({::mlir::ShapedType::kDynamic}, "
                                  "$_builder.getI32Type())">;

def Layer_SourceArray : TypedArrayAttrBase<Layer_Source, "sources, one a layer">;

//===-- Structure ---------------------------------------------------------------------------------------------===//

def Layer_ModelOp : Layer_Op<"model", [Symbol, SymbolTable, IsolatedFromAbove, NoTerminator, SingleBlock]> {
  let summary = "a model: its parameters and its graph";
  let description = [{
    `config` holds facts that text generation and reports need and no operation carries: `family`, `vocabulary`,
    `layers`, `max_position`. `verdicts`, written by analysis, is an array of verdict dictionaries, one for each
    (layer, node, contract); dumps elide it unless asked. `files`, written by bind-weights, lists the weights' files.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, DictionaryAttr:$config, OptionalAttr<StrArrayAttr>:$files,
                   OptionalAttr<ArrayAttr>:$verdicts);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    /// The graph, or null while the model is being built.
    ::fusebox::layer::GraphOp getGraph();
  }];
}

def Layer_ParamOp : Layer_Op<"param", [Symbol, HasParent<"ModelOp">]> {
  let summary = "a parameter: a tensor, or one a layer";
  let description = [{
    `tensor` names the stored tensor; `{}` in it stands for the layer number where `layers` gives their count.
    `recipe` says by which steps the stored tensor becomes this one: `widen T` (each value exactly, then rounded once
    to T), `unpermute_rope N` (rows of N heads from GGUF's order); `identity` alone where bytes are used as they are.
    bind-weights checks and completes it and adds `sources`, one a layer.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$tensor, TypeAttrOf<AnyRankedTensor>:$type,
                   OptionalAttr<I64Attr>:$layers, OptionalAttr<StrArrayAttr>:$recipe,
                   OptionalAttr<Layer_SourceArray>:$sources);
  let assemblyFormat = "$sym_name `:` $type `from` $tensor (`layers` `(` $layers^ `)`)? attr-dict";
  let hasVerifier = 1;
}

def Layer_GraphOp : Layer_Op<"graph", [HasParent<"ModelOp">, SingleBlock,
                                  DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmBlockArgumentNames"]>]> {
  let summary = "what one ragged step computes";
  let description = [{
    Block arguments: `%tokens` and `%positions`, one i32 a row, and `%logits_rows`, the rows whose logits are wanted.
    `layer.return` gives the logits, f32.
  }];
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasRegionVerifier = 1;
}

def Layer_RepeatOp : Layer_Op<"repeat", [
    HasParent<"GraphOp">, SingleBlock, AllTypesMatch<["initial", "result"]>,
    DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames", "getAsmBlockArgumentNames"]>]> {
  let summary = "a block of the model, repeated over a range of layers";
  let description = [{
    The body runs for layers `first` to `first + count - 1`, its result feeding the next layer's argument. Values from
    outside the body may be read (e.g. RoPE angles). Parameters with `layers` stand for the current layer's tensor.

    Example: `%y = layer.repeat @decoder(%h = %x) layers 0 to 29 : tensor<?x576xbf16> { … layer.return %o … }`
  }];
  let arguments = (ins SymbolNameAttr:$block, I64Attr:$first, I64Attr:$count, Layer_Rows:$initial);
  let results = (outs Layer_Rows:$result);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def Layer_FusedOp : Layer_Op<"fused", [
    SingleBlock, DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames", "getAsmBlockArgumentNames"]>]> {
  let summary = "a region that runs as one kernel under a rounding contract; its original operations stay inside";
  let description = [{
    Reads nothing but its inputs. `exact`: every value inside is rounded as its operation says; `wide`: computed in f32
    and rounded once, where it leaves the region; `fast`: as its kernel declares.

    Example: `%f = layer.fused "norm_linear" exact(%a = %x : tensor<?x16xbf16>) -> (tensor<?x8xbf16>) { … }`
  }];
  let arguments = (ins StrAttr:$name, Layer_Contract:$contract, Variadic<AnyRankedTensor>:$inputs);
  let results = (outs Variadic<AnyRankedTensor>:$results);
  let regions = (region SizedRegion<1>:$body);
  let hasCustomAssemblyFormat = 1;
  let hasRegionVerifier = 1;
}

def Layer_ReturnOp : Layer_Op<"return", [Pure, Terminator, ParentOneOf<["GraphOp", "RepeatOp", "FusedOp"]>]> {
  let summary = "the values of the enclosing region";
  let arguments = (ins Variadic<AnyRankedTensor>:$values);
  let assemblyFormat = "attr-dict $values `:` type($values)";
}

//===-- Computation -------------------------------------------------------------------------------------------===//

def Layer_EmbedOp : Layer_NodeOp<"embed", [Pure, Layer_UsesParams]> {
  let summary = "rows of a table, one a token";
  let description = "Quantised tables are widened exactly, then rounded once to the result's type.";
  let arguments = (ins Layer_Indices:$tokens, FlatSymbolRefAttr:$table, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = "$tokens `,` $table `` custom<Node>($node) attr-dict `:` type($result)";
}

def Layer_SelectRowsOp : Layer_NodeOp<"select_rows", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "the rows whose logits are wanted";
  let description = "Row i of the result is row `rows[i]` of the input.";
  let arguments = (ins Layer_Rows:$input, Layer_Indices:$rows, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = "$input `,` $rows `` custom<Node>($node) attr-dict `:` type($result)";
}

def Layer_NormOp : Layer_NodeOp<"norm", [Pure, Layer_UsesParams, AllTypesMatch<["input", "result"]>]> {
  let summary = "RMS norm with gain, of each group of columns by itself";
  let description = [{
    y = x · rsqrt(mean(x²) + eps) over each of `groups` equal groups of columns (1: the whole row; the head count: a
    per-head norm), computed in f32; then γ·y. The gain has columns ÷ groups elements. `one_plus`: the stored gain is
    γ − 1 (Gemma). `normalised_and_scaled` rounds y and γ·y (Llama, Qwen, Mistral, ERNIE), `scaled` γ·y only (Gemma,
    OLMo 2).
  }];
  let arguments = (ins Layer_Rows:$input, FlatSymbolRefAttr:$gain, F64Attr:$eps,
                   DefaultValuedAttr<I64Attr, "1">:$groups, UnitAttr:$one_plus, Layer_NormRounding:$rounding, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $input `,` $gain `eps` custom<Number>($eps) (`groups` $groups^)? (`one_plus` $one_plus^)? `rounds` $rounding
    `` custom<Node>($node) attr-dict `:` type($result)
  }];
}

def Layer_LinearOp : Layer_NodeOp<"linear", [Pure, Layer_UsesParams]> {
  let summary = "x W^T + b, summed in f32 and rounded once, after the bias";
  let description = "W is [out, in], as stored by Hugging Face; quantised blocks are widened exactly.";
  let arguments = (ins Layer_Rows:$input, FlatSymbolRefAttr:$weight, OptionalAttr<FlatSymbolRefAttr>:$bias, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $input `,` $weight (`bias` $bias^)? `` custom<Node>($node) attr-dict `:` type($input) `->` type($result)
  }];
}

def Layer_RopeAnglesOp : Layer_NodeOp<"rope_angles", [Pure]> {
  let summary = "cos and sin of each row's rotation angles";
  let description = [{
    angle_j = position · inv_freq_j in f32 (also for the f64 oracle); the result holds cos of every angle, then sin,
    each times `attention_factor`, rounded to the result's type: tensor<?x(2·J)xT> for J frequencies. `inv_freq` is
    what import computed from theta and the scaling rule, as f32.
  }];
  let arguments = (ins Layer_Indices:$positions, DenseF32ArrayAttr:$inv_freq,
                   DefaultValuedAttr<F64Attr, "1.0">:$attention_factor, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $positions `inv_freq` custom<Floats>($inv_freq) (`factor` custom<Number>($attention_factor)^)?
    `` custom<Node>($node) attr-dict `:` type($result)
  }];
  let hasVerifier = 1;
}

def Layer_RopeOp : Layer_NodeOp<"rope", [Pure, AllTypesMatch<["input", "result"]>]> {
  let summary = "rotary position embedding of each head";
  let description = [{
    Rotates the first 2·J elements of each head by the J angles. Pair j is (j, j + J) for `half_split`, (2j, 2j + 1)
    for `interleaved`. `products_and_sum`: q·cos and rotated(q)·sin each round, then their sum (Llama, Qwen);
    `sum`: all in f32, one rounding (ERNIE-4.5, OLMo 2).
  }];
  let arguments = (ins Layer_Rows:$input, Layer_Rows:$angles, I64Attr:$heads, Layer_RopePairs:$pairs,
                   Layer_RopeRounding:$rounding, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $input `,` $angles `heads` $heads $pairs `rounds` $rounding
    `` custom<Node>($node) attr-dict `:` type($angles) `,` type($result)
  }];
  let hasVerifier = 1;
}

def Layer_AttentionOp : Layer_NodeOp<"attention", []> {
  let summary = "causal attention over the sequence's cached and new keys and values";
  let description = [{
    Appends k and v to the layer's cache, then, for each row and head, softmax(scale · q K^T [soft-capped]) V over
    positions ≤ the row's own (and > position − window where `window` is set). Head h reads key head
    h ÷ (heads ÷ kv_heads).

    `eager` rounds q·k, then scale·, then cap·, then the softmax's result, then the sum. `sdpa` keeps scores and softmax
    in f32, walks the keys in blocks of 64 absolute positions, rounds exp(s − running max) before it meets V, divides
    at the end by the sum of the unrounded values and rounds once.
  }];
  let arguments = (ins Layer_Rows:$q, Layer_Rows:$k, Layer_Rows:$v, I64Attr:$heads, I64Attr:$kv_heads,
                   F64Attr:$scale, OptionalAttr<I64Attr>:$window, OptionalAttr<F64Attr>:$softcap,
                   Layer_AttentionRounding:$rounding, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $q `,` $k `,` $v `heads` $heads `kv_heads` $kv_heads `scale` custom<Number>($scale) (`window` $window^)?
    (`softcap` custom<Number>($softcap)^)? `rounds` $rounding `` custom<Node>($node) attr-dict `:` type($q) `,` type($k) `,` type($v) `->` type($result)
  }];
  let hasVerifier = 1;
}

def Layer_GluOp : Layer_NodeOp<"glu", [Pure, AllTypesMatch<["gate", "up", "result"]>]> {
  let summary = "activation(gate) · up";
  let description = "`activation_and_product` rounds the activation, then the product; `product` the product only.";
  let arguments = (ins Layer_Rows:$gate, Layer_Rows:$up, Layer_Activation:$activation, Layer_GluRounding:$rounding, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $activation $gate `,` $up `rounds` $rounding `` custom<Node>($node) attr-dict `:` type($result)
  }];
}

def Layer_AddOp : Layer_NodeOp<"add", [Pure, Commutative, SameOperandsAndResultType]> {
  let summary = "sum of two values, in f32, rounded once";
  let arguments = (ins Layer_Rows:$lhs, Layer_Rows:$rhs, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $lhs `,` $rhs `` custom<Node>($node) attr-dict `:` type($result)
  }];
}

def Layer_ScaleOp : Layer_NodeOp<"scale", [Pure, SameOperandsAndResultType]> {
  let summary = "a value times a constant, rounded once";
  let arguments = (ins Layer_Rows:$input, F64Attr:$factor, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $input `by` custom<Number>($factor) `` custom<Node>($node) attr-dict `:` type($result)
  }];
}

def Layer_SoftcapOp : Layer_NodeOp<"softcap", [Pure, SameOperandsAndResultType]> {
  let summary = "cap · tanh(x / cap)";
  let arguments = (ins Layer_Rows:$input, F64Attr:$cap, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = [{
    $input `at` custom<Number>($cap) `` custom<Node>($node) attr-dict `:` type($result)
  }];
}

def Layer_CastOp : Layer_NodeOp<"cast", [Pure]> {
  let summary = "a value in another type: exact when widening, rounded once when narrowing";
  let arguments = (ins Layer_Rows:$input, OptionalAttr<StrAttr>:$node);
  let results = (outs Layer_Rows:$result);
  let assemblyFormat = "$input `` custom<Node>($node) attr-dict `:` type($input) `->` type($result)";
}

#endif
