//! Chat templates: Jinja as Hugging Face's apply_chat_template sets it up.
//!
//! trim_blocks and lstrip_blocks on, loop controls, Python's string and dict methods, `raise_exception`,
//! `strftime_now`, a `tojson` that writes what Python's json.dumps writes, and `{% generation %}` blocks, which
//! only mark text for training and print their body.

use crate::{python, Failure};
use minijinja::{context, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};
use regex::Regex;
use std::sync::LazyLock;

/// Instructions a template may execute: far above any real chat, and a bound for a template in a damaged file.
const FUEL: u64 = 5_000_000;

pub fn render(source: &str, variables: &[u8]) -> Result<String, Failure> {
    let variables: serde_json::Value = serde_json::from_slice(variables)?;
    let source = replace_generation_tags(source);
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_formatter(print);
    environment.add_filter("tojson", python::tojson);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_template("chat_template", &source)?;
    let defaults = context! { tools => (), documents => () };
    let variables = context! { ..Value::from_serialize(&variables), ..defaults };
    Ok(environment.get_template("chat_template")?.render(variables)?)
}

/// `{% generation %}` is a tag of transformers' own; `{% if true %}` prints the same.
fn replace_generation_tags(source: &str) -> std::borrow::Cow<'_, str> {
    static TAG: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").unwrap());
    TAG.replace_all(source, |found: &regex::Captures| {
        let body = if found.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {} {}%}}", &found[1], body, &found[3])
    })
}

/// `{{ value }}` as Python's str() prints it.
fn print(out: &mut minijinja::Output, state: &State, value: &Value) -> Result<(), Error> {
    match python::text(value) {
        Some(text) => out.write_str(&text).map_err(Error::from),
        None => minijinja::escape_formatter(out, state, value),
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The local time, formatted by the C library's strftime, as Python's is.
fn strftime_now(format: String) -> Result<String, Error> {
    let failed = || Error::new(ErrorKind::InvalidOperation, "strftime_now: bad format");
    // A trailing character tells an empty result from one that did not fit.
    let format = std::ffi::CString::new(format + "x").map_err(|_| failed())?;
    let mut buffer = [0u8; 1024];
    // SAFETY: the buffers outlive the calls, and strftime writes at most buffer.len() bytes.
    let length = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts = std::mem::zeroed::<libc::tm>();
        libc::localtime_r(&now, &mut parts);
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &parts)
    };
    let text = buffer[..length].strip_suffix(b"x").ok_or_else(failed)?;
    Ok(String::from_utf8_lossy(text).into_owned())
}
