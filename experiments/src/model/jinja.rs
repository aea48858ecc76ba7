//! Jinja as transformers configures it for chat templates, with limits.

use std::borrow::Cow;
use std::io;
use std::sync::LazyLock;

use jiff::Zoned;
use jiff::fmt::strtime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, State, Value, context};
use minijinja_contrib::pycompat;
use regex::{Captures, Regex};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::chat::Template;

type Result<T> = std::result::Result<T, Error>;

/// The fuel of a template beside that for its message. One unit pays for an instruction, or for some bytes.
const FUEL: u64 = 200_000;
const BYTES_PER_FUEL: u64 = 64;
/// The largest width or indent, and the longest format of a date.
const MAX_WIDTH: usize = 256;

/// The template's text for one message of a user.
pub(super) fn render(template: &Template, message: String) -> std::result::Result<String, String> {
    let most = FUEL + message.len() as u64;
    let rendered = environment(most).and_then(|environment| {
        let source = without_generation_tags(&template.source);
        let values = context! {
            messages => [context! { role => "user", content => message }],
            tools => (),
            documents => (),
            add_generation_prompt => true,
            bos_token => template.bos.as_str(),
            eos_token => template.eos.as_str(),
        };
        environment.template_from_named_str("template", &source)?.render(values)
    });
    rendered.map_err(|error| match error.kind() {
        ErrorKind::OutOfFuel => format!("takes more than {most} steps, or more text than they pay for"),
        _ => error.to_string(),
    })
}

fn environment(fuel: u64) -> Result<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_fuel(Some(fuel));
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", |reason: String| Err::<Value, _>(refusal(reason)));
    environment.add_function("strftime_now", strftime_now);
    Ok(environment)
}

fn refusal(reason: impl Into<Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// The template without the tags that mark an answer for training; they write nothing.
fn without_generation_tags(source: &str) -> Cow<'_, str> {
    static TAG: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}").expect("the expression is valid")
    });
    TAG.replace_all(source, |tag: &Captures<'_>| {
        let word = if tag.get(2).is_some() { "endif" } else { "if true" };
        format!("{{%{} {word} {}%}}", &tag[1], &tag[3])
    })
}

/// Python's methods.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, arguments: &[Value]) -> Result<Value> {
    if let ("format", Some(format)) = (name, value.as_str()) {
        require_narrow(format)?;
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// Checks the widths and precisions behind the colons of a format's fields, because nothing pays for them.
fn require_narrow(format: &str) -> Result<()> {
    let fields = format.split('{').skip(1).filter_map(|field| field.split('}').next()?.split_once(':'));
    let numbers = fields.flat_map(|(_, form)| form.split(|letter: char| !letter.is_ascii_digit()));
    let is_wide =
        |number: &str| !number.is_empty() && number.parse().map_or(true, |width: usize| width > MAX_WIDTH);
    if numbers.into_iter().any(is_wide) {
        return Err(refusal(format!("format: expected widths up to {MAX_WIDTH}")));
    }
    Ok(())
}

/// JSON as Python's `json.dumps` writes it with `ensure_ascii=False`.
#[expect(clippy::needless_pass_by_value, reason = "the engine passes options by value")]
fn tojson(state: &State<'_, '_>, value: &Value, indent: Option<usize>, options: Kwargs) -> Result<Value> {
    let indent = indent.map_or_else(|| options.get("indent"), |indent| Ok(Some(indent)))?;
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    if options.get::<Option<bool>>("ensure_ascii")? == Some(true) {
        return Err(refusal("tojson: ensure_ascii is not supported"));
    }
    options.assert_all_used()?;
    match (indent, separators.as_deref()) {
        (None, None) => write_json(state, value, OneLine { item: ", ", key: ": " }),
        (None, Some([item, key])) => write_json(state, value, OneLine { item, key }),
        (Some(0..=MAX_WIDTH), None) => {
            let indent = " ".repeat(indent.unwrap_or_default());
            write_json(state, value, PrettyFormatter::with_indent(indent.as_bytes()))
        }
        _ => Err(refusal(format!("tojson: expected an indent up to {MAX_WIDTH} or two separators"))),
    }
}

fn write_json(state: &State<'_, '_>, value: &Value, formatter: impl Formatter) -> Result<Value> {
    let mut output = Paid { state, bytes: Vec::new(), owed: 0 };
    value
        .serialize(&mut Serializer::with_formatter(&mut output, formatter))
        .map_err(|error| refusal(error.to_string()))?;
    Ok(Value::from(String::from_utf8_lossy(&output.bytes)))
}

/// Bytes that are paid for one by one, because a value that is small in memory may stand for very many.
struct Paid<'a, 'b> {
    state: &'a State<'b, 'b>,
    bytes: Vec<u8>,
    /// The bytes that do not fill a unit of fuel yet.
    owed: u64,
}

impl io::Write for Paid<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.owed += bytes.len() as u64;
        self.state.consume_fuel(self.owed / BYTES_PER_FUEL).map_err(io::Error::other)?;
        self.owed %= BYTES_PER_FUEL;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON on one line.
struct OneLine<'a> {
    /// What stands between two items.
    item: &'a str,
    /// What stands behind a key.
    key: &'a str,
}

impl Formatter for OneLine<'_> {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.item.as_bytes()) }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(self.key.as_bytes())
    }
}

/// The date and time now, as Python's `strftime` formats it.
fn strftime_now(format: &str) -> Result<String> {
    if format.len() > MAX_WIDTH {
        return Err(refusal(format!("strftime_now: expected a format up to {MAX_WIDTH} bytes")));
    }
    strtime::format(format, &Zoned::now()).map_err(|error| refusal(error.to_string()))
}
