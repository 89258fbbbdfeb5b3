/* The C interface of Fusebox: compile a model to a plan, open it, run ragged steps, generate text.
 *
 * The command-line tool is built on these functions (check and rebalance also on the library that makes their
 * reports). Every function returns a status, which is also the tool's exit code; on failure
 * fusebox_last_error() says in one line which file, tensor or key is at fault and what to do.
 *
 * Option structs start with their own size, so that a program built against an older header keeps working:
 * set it with the *_init function, which also fills in the defaults; a null pointer stands for the defaults.
 * Strings are UTF-8. Strings and arrays that a function gives out are freed with fusebox_free. A session
 * belongs to one thread at a time; different sessions are independent.
 */
#ifndef FUSEBOX_H
#define FUSEBOX_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum fusebox_status {
  FUSEBOX_OK = 0,           /* success; of a check: compatible */
  FUSEBOX_WARNING = 1,      /* check: some fusions are refused */
  FUSEBOX_INCOMPATIBLE = 2, /* check: standard kernels only */
  FUSEBOX_USAGE = 10,       /* an argument is wrong */
  FUSEBOX_MODEL = 11,       /* a model or file can't be used */
  FUSEBOX_RESOURCE = 12,    /* memory, disk, a GPU or a library is missing */
  FUSEBOX_INTERNAL = 13     /* a defect of Fusebox */
} fusebox_status;

/* The message of this thread's last failure; valid until its next call. Never null. */
const char *fusebox_last_error(void);

/* Frees what a function gave out. Null is allowed. */
void fusebox_free(void *memory);

const char *fusebox_version(void);

/* Called during long steps: `stage` names the step, `fraction` is in [0, 1], or negative when unknown.
 * Return nonzero to cancel; the call then fails with FUSEBOX_RESOURCE and leaves nothing half-written. */
typedef int (*fusebox_progress)(void *user, const char *stage, double fraction);

/* Called with a line for the user, e.g. what the check of the weights means for this run. */
typedef void (*fusebox_message)(void *user, const char *line);

/*--- compile ---*/

typedef struct fusebox_compile_options {
  size_t size;
  const char *target;        /* "cpu" (this CPU), "cpu:x86-64-v3", "cuda:sm_90a", several with commas */
  const char *dtype;         /* activations: "bf16" or "f32" */
  const char *weights;       /* "native": as stored; "bf16": quantised weights rounded once to bf16 */
  const char *rounding;      /* "sdpa" or "eager" */
  const char *fusion;        /* "certified", "score", "none", "force" */
  int activations_int8;      /* quantised products on 8-bit activations: faster and coarser */
  int embed_weights;         /* pack the weights into the plan */
  const char *stop_after;    /* phase name, or null */
  const char *start_from;    /* an IR file dumped after a phase, or null */
  const char *dump_phases;   /* folder for the IR after each phase, or null */
  int verify_weights;        /* hash the weight files anew instead of trusting their time stamps */
  fusebox_progress progress; /* or null */
  void *progress_user;
  fusebox_message warning; /* what the weights' check says before compiling, under `fusion`; or null */
  void *warning_user;
} fusebox_compile_options;

void fusebox_compile_options_init(fusebox_compile_options *options);

/* Compiles MODEL (a snapshot folder, a GGUF file, or org/name in the local cache) into a plan file. */
fusebox_status fusebox_compile(const char *model, const char *plan_path,
                               const fusebox_compile_options *options);

/* The IR after `phase` (as stop_after), as text. MODEL may be a plan, whose stored phases are shown. */
fusebox_status fusebox_phase_ir(const char *model, const char *phase, const fusebox_compile_options *options,
                                char **text);

/* What is in a plan or model, as JSON: metadata, memory plan, kernels, weights and recipes, remarks. */
fusebox_status fusebox_describe(const char *model, const fusebox_compile_options *options, char **json);

/* The machine code of one specialised kernel of a model: of the CPU, or of a GPU as by fusebox_emit's "sass".
 */
fusebox_status fusebox_kernel_asm(const char *model, const char *kernel,
                                  const fusebox_compile_options *options, char **text);

/* Called with each kernel's code: the target it is for ("cuda:sm_90a"), the kernel's name, and text or bytes
 * that are valid during the call. Return nonzero to end. */
typedef int (*fusebox_emitted)(void *user, const char *target, const char *kernel, const void *code,
                               size_t size);

/* What was generated for a model's GPU kernels: `form` is "cuda" (source), "ptx" (made anew by NVRTC),
 * "cubin" or "sass" (by the CUDA toolkit's nvdisasm or cuobjdump). `kernel` is one kernel's name, or null for
 * all. */
fusebox_status fusebox_emit(const char *model, const char *form, const char *kernel,
                            const fusebox_compile_options *options, fusebox_emitted emitted, void *user);

/*--- open ---*/

typedef struct fusebox_session fusebox_session;

typedef struct fusebox_open_options {
  size_t size;
  const fusebox_compile_options *compile; /* used when MODEL is not a plan */
  int threads;                            /* 0: all cores */
  int context;               /* tokens of one sequence; 0: as the model allows and the memory budget holds */
  int chunk;                 /* most tokens of one step; 0: 512 */
  int slots;                 /* sequences that have a KV cache at the same time; 0: 1 */
  int logits_rows;           /* most rows of logits of one step; 0: 64, or `slots` if that is more */
  uint64_t memory_budget;    /* bytes; 0: what the machine has free */
  const char *weights_dir;   /* look for weight files here, or null */
  const char *device;        /* "cpu", "cuda", "cuda:1"; null: by the plan */
  fusebox_progress progress; /* called while the session opens and during long prompts; or null */
  void *progress_user;
} fusebox_open_options;

void fusebox_open_options_init(fusebox_open_options *options);

/* Opens a plan, or a MODEL, which is compiled first (and kept in the cache). */
fusebox_status fusebox_open(const char *model, const fusebox_open_options *options,
                            fusebox_session **session);
void fusebox_close(fusebox_session *session);

typedef struct fusebox_model_info {
  char name[128], family[32];
  int32_t vocabulary, layers, context; /* context: tokens the session has room for */
  int32_t max_position;                /* tokens the model was made for */
  int32_t threads;
  uint64_t weight_bytes; /* read for one token */
  uint64_t kv_bytes_per_token;
  int has_tokenizer, has_chat_template;
} fusebox_model_info;

fusebox_status fusebox_info(fusebox_session *session, fusebox_model_info *info);

/* Read bandwidth of the session's device with its threads, bytes a second, measured now (about 0.3 s). */
fusebox_status fusebox_read_bandwidth(fusebox_session *session, double *bytes_per_second);

/*--- step: the ragged heart ---*/

/* Sequence s of the batch owns tokens [starts[s], starts[s+1]); they are appended to cache slot slots[s].
 * A slot is a sequence's KV cache, empty at first; its number is in [0, `slots` of the open options).
 * Prompts, single tokens and any mix of them are one step. On the CPU a sequence's logits have the same bits
 * however its tokens are cut into steps and whatever stands beside them. */
typedef struct fusebox_batch {
  int32_t token_count, sequence_count, logits_count;
  const int32_t *tokens;      /* [token_count] */
  const int32_t *starts;      /* [sequence_count + 1] */
  const int32_t *slots;       /* [sequence_count] */
  const int32_t *logits_rows; /* [logits_count] rows of the batch whose logits are wanted, ascending */
} fusebox_batch;

/* Runs one step; *logits points at [logits_count, vocabulary] f32 until the session's next call. */
fusebox_status fusebox_step(fusebox_session *session, const fusebox_batch *batch, const float **logits);

/* Tokens in a slot, or -1 if the session has no such slot. */
int32_t fusebox_slot_length(fusebox_session *session, int32_t slot);
/* Forgets all but the first `length` tokens of a slot. */
fusebox_status fusebox_slot_truncate(fusebox_session *session, int32_t slot, int32_t length);

/* Logits of all positions of one sequence, [count, vocabulary] f32, into `logits`; it takes slot 0, which is
 * emptied first. `activation`, if not null, is called with every node's values: the IR name ("decoder.3.q"),
 * then rows × columns f32. */
typedef void (*fusebox_activation)(void *user, const char *node, const float *values, int64_t rows,
                                   int64_t columns);
fusebox_status fusebox_logits(fusebox_session *session, const int32_t *tokens, int32_t count, float *logits,
                              fusebox_activation activation, void *user);

/* The vocabulary size of a model or plan that isn't opened. */
fusebox_status fusebox_model_vocabulary(const char *model, int32_t *vocabulary);

/* Logits of all positions, as fusebox_logits gives them, from the interpreter of the layer IR: `mode` is
 * "f64" or "bf16" (emulated, every rounding point). Of a plan, the IR and the weight files that it was
 * compiled from; of a model, IR made with the compile options. Of the open options only `compile` and
 * `weights_dir` count. */
fusebox_status fusebox_oracle_logits(const char *model, const char *mode, const fusebox_open_options *options,
                                     const int32_t *tokens, int32_t count, float *logits,
                                     fusebox_activation activation, void *user);

/*--- text ---*/

/* A tokenizer without a model: of a folder, a GGUF file or a plan. */
typedef struct fusebox_tokenizer fusebox_tokenizer;
fusebox_status fusebox_open_tokenizer(const char *model, fusebox_tokenizer **tokenizer);
void fusebox_close_tokenizer(fusebox_tokenizer *tokenizer);
/* The session's own tokenizer; closed with the session. */
fusebox_status fusebox_session_tokenizer(fusebox_session *session, fusebox_tokenizer **tokenizer);

fusebox_status fusebox_tokenize(fusebox_tokenizer *tokenizer, const char *text, int add_special,
                                int32_t **ids, int32_t *count);
fusebox_status fusebox_detokenize(fusebox_tokenizer *tokenizer, const int32_t *ids, int32_t count,
                                  int skip_special, char **text);
/* `messages` is JSON: [{"role": "user", "content": "…"}, …]. Fails with FUSEBOX_MODEL if there is no
 * template. */
fusebox_status fusebox_apply_chat_template(fusebox_tokenizer *tokenizer, const char *messages,
                                           int add_generation_prompt, char **text);

/*--- generate ---*/

typedef struct fusebox_generate_options {
  size_t size;
  int32_t max_tokens; /* negative: until the context is full */
  double temperature; /* 0: greedy */
  int32_t top_k;
  double top_p, min_p, repeat_penalty;
  int32_t repeat_last;
  uint64_t seed;
  int ignore_eos;
  const char *const *stops; /* stop strings */
  int32_t stop_count;
  int32_t slot;
  double
      certified_lead; /* counts tokens whose largest logit leads the next by more than this; negative: off */
} fusebox_generate_options;

void fusebox_generate_options_init(fusebox_generate_options *options);

typedef struct fusebox_generation {
  int32_t prompt_tokens, generated_tokens;
  const char *finish_reason; /* "stop" (an EOS token or stop string), "length", "context", "cancelled" */
  double prefill_seconds, decode_seconds;
  int32_t certified_tokens; /* with certified_lead */
  double least_lead;        /* of all generated tokens, with certified_lead */
} fusebox_generation;

/* Called with each piece of text (whole UTF-8 characters; may be empty) and the id behind it, or -1 for text
 * that was held back. Return nonzero to stop. `text` is null where the session has no tokenizer. */
typedef int (*fusebox_on_token)(void *user, int32_t id, const char *text);

/* Appends `ids` to the slot's sequence and continues it. */
fusebox_status fusebox_generate(fusebox_session *session, const int32_t *ids, int32_t count,
                                const fusebox_generate_options *options, fusebox_on_token on_token,
                                void *user, fusebox_generation *generation);

/*--- devices ---*/

/* The devices that plans can run on here, and why others can't be used, as JSON:
 * [{"kind", "index", "name", "target", "memory_bytes", "usable", "reason"}, …], then the libraries that GPUs
 * are compiled for and run with: {"kind": "library", "name", "version", "purpose", "usable", "reason"}. */
fusebox_status fusebox_devices(char **json);

/*--- check ---*/

/* Analyses MODEL's weights. `options` is JSON (docs/check.md) or null; *report is JSON
 * (docs/check-report.schema.json). Returns FUSEBOX_OK, FUSEBOX_WARNING or FUSEBOX_INCOMPATIBLE, or an error.
 */
fusebox_status fusebox_check(const char *model, const char *options, char **report);

#ifdef __cplusplus
}
#endif
#endif
