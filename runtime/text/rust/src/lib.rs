//! The C interface of tokenizers and chat templates (runtime/text/RustText.h declares it for C++).
//!
//! Every function catches panics and returns an error text instead: nothing unwinds into C++.
//! Byte buffers returned here are freed with `fusebox_text_free`.

mod python;
mod template;
mod tokenizer;

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

/// A buffer owned by this library; `data` may dangle when `size` is 0.
#[repr(C)]
pub struct Bytes {
    data: *mut u8,
    size: usize,
}

impl Bytes {
    fn from_vec(bytes: Vec<u8>) -> Self {
        let boxed = bytes.into_boxed_slice();
        let size = boxed.len();
        Bytes { data: Box::into_raw(boxed) as *mut u8, size }
    }
}

/// # Safety
/// `bytes` came from this library and is freed once.
#[no_mangle]
pub unsafe extern "C" fn fusebox_text_free(bytes: Bytes) {
    drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(bytes.data, bytes.size)));
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs `body`; on success stores its value in `*out` and returns true, else stores the error text in `*error`.
/// Each function stores exactly one of the two.
unsafe fn guarded<T>(out: *mut T, error: *mut Bytes, body: impl FnOnce() -> Result<T, Failure>) -> bool {
    static SILENCE: Once = Once::new();
    SILENCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let failure = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => {
            out.write(value);
            return true;
        }
        Ok(Err(failure)) => describe(failure.as_ref()),
        Err(panic) => match panic.downcast_ref::<&str>() {
            Some(text) => text.to_string(),
            None => panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".into()),
        },
    };
    error.write(Bytes::from_vec(failure.into_bytes()));
    false
}

/// An error's text with its causes, on one line.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text.replace('\n', " ")
}

unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        return &[];
    }
    std::slice::from_raw_parts(data, size)
}

/// # Safety
/// `json` points at `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn fusebox_tokenizer_open(
    json: *const u8,
    size: usize,
    out: *mut *mut tokenizer::Handle,
    error: *mut Bytes,
) -> bool {
    guarded(out, error, || Ok(Box::into_raw(Box::new(tokenizer::Handle::open(slice(json, size))?))))
}

/// # Safety
/// `handle` came from fusebox_tokenizer_open and is closed once.
#[no_mangle]
pub unsafe extern "C" fn fusebox_tokenizer_close(handle: *mut tokenizer::Handle) {
    drop(Box::from_raw(handle));
}

/// Ids of a UTF-8 text, as native-endian 32-bit integers.
/// # Safety
/// `handle` is open; `text` points at `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn fusebox_tokenizer_encode(
    handle: *const tokenizer::Handle,
    text: *const u8,
    size: usize,
    add_special: bool,
    out: *mut Bytes,
    error: *mut Bytes,
) -> bool {
    guarded(out, error, || {
        let text = std::str::from_utf8(slice(text, size))?;
        let ids = (*handle).encode(text, add_special)?;
        Ok(Bytes::from_vec(ids.iter().flat_map(|id| id.to_ne_bytes()).collect()))
    })
}

/// # Safety
/// `handle` is open; `ids` points at `count` ids.
#[no_mangle]
pub unsafe extern "C" fn fusebox_tokenizer_decode(
    handle: *const tokenizer::Handle,
    ids: *const u32, // C++ has them as int32_t: a negative id is one outside the vocabulary
    count: usize,
    skip_special: bool,
    out: *mut Bytes,
    error: *mut Bytes,
) -> bool {
    guarded(out, error, || {
        let text = (*handle).decode(slice(ids, count), skip_special)?;
        Ok(Bytes::from_vec(text.into_bytes()))
    })
}

/// The vocabulary as a JSON object: `{"size": largest id + 1, "special": [ids]}`.
/// # Safety
/// `handle` is open.
#[no_mangle]
pub unsafe extern "C" fn fusebox_tokenizer_describe(
    handle: *const tokenizer::Handle,
    out: *mut Bytes,
    error: *mut Bytes,
) -> bool {
    guarded(out, error, || Ok(Bytes::from_vec((*handle).describe().into_bytes())))
}

/// The id of a token's text as the vocabulary spells it; -1 if there is none.
/// # Safety
/// `handle` is open; `text` points at `size` bytes.
#[no_mangle]
pub unsafe extern "C" fn fusebox_tokenizer_token_id(
    handle: *const tokenizer::Handle,
    text: *const u8,
    size: usize,
    out: *mut i64,
    error: *mut Bytes,
) -> bool {
    guarded(out, error, || {
        let text = std::str::from_utf8(slice(text, size))?;
        Ok((*handle).token_id(text).map_or(-1, i64::from))
    })
}

/// A token's text as the vocabulary spells it; fails for an id outside it.
/// # Safety
/// `handle` is open.
#[no_mangle]
pub unsafe extern "C" fn fusebox_tokenizer_token_text(
    handle: *const tokenizer::Handle,
    id: u32,
    out: *mut Bytes,
    error: *mut Bytes,
) -> bool {
    guarded(out, error, || Ok(Bytes::from_vec((*handle).token_text(id)?.into_bytes())))
}

/// Renders a chat template. `context` is a JSON object: the template's variables.
/// # Safety
/// The pointers point at that many bytes.
#[no_mangle]
pub unsafe extern "C" fn fusebox_template_render(
    source: *const u8,
    source_size: usize,
    context: *const u8,
    context_size: usize,
    out: *mut Bytes,
    error: *mut Bytes,
) -> bool {
    guarded(out, error, || {
        let source = std::str::from_utf8(slice(source, source_size))?;
        let text = template::render(source, slice(context, context_size))?;
        Ok(Bytes::from_vec(text.into_bytes()))
    })
}
