//! Values printed as Python prints them: str() and json.dumps().

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};
use serde_json::Value as Json;

/// str(value) where it differs from Jinja's own printing, else None.
pub fn text(value: &Value) -> Option<String> {
    match value.kind() {
        ValueKind::None | ValueKind::Bool | ValueKind::Seq | ValueKind::Map => {
            serde_json::to_value(value).ok().map(|json| repr(&json))
        }
        ValueKind::Number if !value.is_integer() => f64::try_from(value.clone()).ok().map(float),
        _ => None,
    }
}

/// repr() of a value made of JSON's types.
fn repr(value: &Json) -> String {
    match value {
        Json::Null => "None".into(),
        Json::Bool(true) => "True".into(),
        Json::Bool(false) => "False".into(),
        Json::Number(number) => write_number(number),
        Json::String(text) => quote(text),
        Json::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Json::Object(items) => {
            let items: Vec<_> = items.iter().map(|(key, item)| format!("{}: {}", quote(key), repr(item))).collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

/// Python's repr of a string: single quotes unless the text holds one and no double quote.
fn quote(text: &str) -> String {
    let mark = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(mark);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ if c == mark => quoted.extend(['\\', c]),
            _ if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            _ => quoted.push(c),
        }
    }
    quoted.push(mark);
    quoted
}

/// Python's repr of a float: shortest digits, an exponent from 1e16 on and below 1e-4.
fn float(value: f64) -> String {
    let size = value.abs();
    if value.is_finite() && size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        return format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    }
    if value.is_finite() { format!("{value:?}") } else { value.to_string().to_lowercase() }
}

fn write_number(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => float(value),
        _ => number.to_string(),
    }
}

/// json.dumps(value, ensure_ascii=False, indent=…, separators=…, sort_keys=…), as transformers calls it.
pub fn tojson(value: Value, indent: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let indent = match kwargs.get::<Option<usize>>("indent")? {
        None => indent,
        given => given,
    };
    let separators: Option<Vec<String>> = kwargs.get("separators")?;
    let sort_keys = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    kwargs.get::<Option<bool>>("ensure_ascii")?;
    kwargs.assert_all_used()?;
    let mut json = serde_json::to_value(&value)
        .map_err(|error| Error::new(ErrorKind::InvalidOperation, format!("tojson: {error}")))?;
    if sort_keys {
        json.sort_all_objects();
    }
    let item = if indent.is_some() { "," } else { ", " };
    let writer = match separators.as_deref() {
        Some([item, key]) => Writer { indent, item, key },
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators must be a pair")),
        None => Writer { indent, item, key: ": " },
    };
    let mut text = String::new();
    writer.write(&json, 0, &mut text);
    Ok(text)
}

struct Writer<'a> {
    indent: Option<usize>,
    item: &'a str,
    key: &'a str,
}

impl Writer<'_> {
    fn write(&self, value: &Json, depth: usize, out: &mut String) {
        match value {
            Json::Number(number) => out.push_str(&write_number(number)),
            Json::Array(items) if !items.is_empty() => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    self.begin_item(index, depth + 1, out);
                    self.write(item, depth + 1, out);
                }
                self.new_line(depth, out);
                out.push(']');
            }
            Json::Object(items) if !items.is_empty() => {
                out.push('{');
                for (index, (key, item)) in items.iter().enumerate() {
                    self.begin_item(index, depth + 1, out);
                    out.push_str(&Json::String(key.clone()).to_string());
                    out.push_str(self.key);
                    self.write(item, depth + 1, out);
                }
                self.new_line(depth, out);
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
    }

    fn begin_item(&self, index: usize, depth: usize, out: &mut String) {
        if index > 0 {
            out.push_str(self.item);
        }
        self.new_line(depth, out);
    }

    fn new_line(&self, depth: usize, out: &mut String) {
        if let Some(width) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', width.min(64) * depth));
        }
    }
}
