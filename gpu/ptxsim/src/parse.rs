//! Parses a module's statements into kernels, with their declarations and instructions.

use std::collections::HashMap;

use crate::decode;
use crate::program::{Kernel, Module, Parameter};
use crate::statements::{Names, ParseError, Statement, statements};

impl Module {
    /// Parses a module.
    ///
    /// # Errors
    /// [`ParseError`] names the first line that is not understood. A line with an unknown instruction is not.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut module = Self::default();
        let mut shared = Vec::new();
        let mut rest = statements(text).into_iter();
        while let Some(statement) = rest.next() {
            if let Some(entry) = statement.after(".visible .entry") {
                let mut body = Vec::new();
                for inner in rest.by_ref().skip_while(|inner| inner.text == "{") {
                    if inner.text == "}" {
                        break;
                    }
                    body.push(inner);
                }
                module.kernels.push(kernel(entry, &statement, &body, &shared)?);
            } else if statement.text.contains(".shared") {
                shared.push(SharedVariable::parse(&statement)?);
            } else {
                return Err(statement.refuse("expected an entry or a shared variable"));
            }
        }
        Ok(module)
    }
}

/// A shared variable. One without a size begins behind all others.
#[derive(Clone)]
struct SharedVariable {
    name: String,
    align: u64,
    size: Option<u64>,
}

impl SharedVariable {
    /// `.shared .align 16 .b8 name[1024]`, `.extern .shared .align 16 .b8 name[]` or `.shared .align 4 .u32 name`.
    fn parse(statement: &Statement) -> Result<Self, ParseError> {
        let refuse = || statement.refuse("expected .shared .align N .b8 name[SIZE] or .u32 name");
        let words: Vec<&str> = statement.text.trim_start_matches(".extern").split_whitespace().collect();
        let [".shared", ".align", align, kind, declarator] = words[..] else { return Err(refuse()) };
        let (name, size) = match (kind, declarator.trim_end_matches(']').split_once('[')) {
            (".b8", Some((name, ""))) => (name, None),
            (".b8", Some((name, size))) => (name, Some(size.parse().map_err(|_| refuse())?)),
            (".u32", None) => (declarator, Some(4)),
            _ => return Err(refuse()),
        };
        Ok(Self { name: name.to_owned(), align: align.parse().map_err(|_| refuse())?, size })
    }
}

/// Lays variables out one after another. Returns their addresses, their end, and the start of dynamic shared memory.
fn lay_out(variables: &[SharedVariable]) -> (HashMap<String, u64>, u64, u64) {
    let mut end = 0_u64;
    let mut addresses = HashMap::new();
    for variable in variables {
        if let Some(size) = variable.size {
            let address = end.next_multiple_of(variable.align);
            addresses.insert(variable.name.clone(), address);
            end = address + size;
        }
    }
    let dynamic = end.next_multiple_of(DYNAMIC_ALIGN);
    let unsized_variables = variables.iter().filter(|variable| variable.size.is_none());
    addresses.extend(unsized_variables.map(|variable| (variable.name.clone(), dynamic)));
    (addresses, end, dynamic)
}

/// The alignment of dynamic shared memory, in bytes.
const DYNAMIC_ALIGN: u64 = 16;

fn kernel(
    entry: &str,
    statement: &Statement,
    body: &[Statement],
    module_shared: &[SharedVariable],
) -> Result<Kernel, ParseError> {
    let (name, list) = entry.split_once('(').ok_or_else(|| statement.refuse("expected name(parameters)"))?;
    let (list, attributes) = list.split_once(')').ok_or_else(|| statement.refuse("expected )"))?;
    let mut names = Names::default();
    let parameters = parameters(list, statement, &mut names)?;

    // A module's variables take memory only in the kernels that name them.
    let uses = |variable: &&SharedVariable| body.iter().any(|inner| mentions(&inner.text, &variable.name));
    let mut shared: Vec<SharedVariable> = module_shared.iter().filter(uses).cloned().collect();
    let mut instructions = Vec::new();
    for inner in body {
        if let Some(declaration) = inner.after(".reg") {
            declare_registers(declaration, inner, &mut names)?;
        } else if inner.text.starts_with(".shared") {
            shared.push(SharedVariable::parse(inner)?);
        } else if let Some(label) = inner.text.strip_suffix(':') {
            names.labels.insert(label.to_owned(), instructions.len());
        } else if !inner.text.starts_with(".pragma") {
            instructions.push(inner);
        }
    }
    let (addresses, static_shared, dynamic_shared) = lay_out(&shared);
    names.shared = addresses;
    let instructions =
        instructions.into_iter().map(|inner| decode::instruction(inner, &names)).collect::<Result<_, _>>()?;
    Ok(Kernel {
        name: name.trim().to_owned(),
        parameters,
        static_shared: static_shared as usize,
        dynamic_shared: dynamic_shared as usize,
        most_threads: most_threads(attributes, statement)?,
        registers: names.registers.len(),
        instructions,
    })
}

/// Whether `text` contains `name` as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$' || c == '%')).any(|word| word == name)
}

/// `.maxntid 128, 1, 1` among an entry's attributes.
fn most_threads(attributes: &str, statement: &Statement) -> Result<usize, ParseError> {
    let Some((_, extents)) = attributes.split_once(".maxntid") else { return Ok(1024) };
    let extents =
        extents.split('.').next().unwrap_or_default().split(',').map(|extent| extent.trim().parse());
    let extents: Result<Vec<usize>, _> = extents.collect();
    extents.map(|extents| extents.iter().product()).map_err(|_| statement.refuse("expected .maxntid X, Y, Z"))
}

/// `.param .u64 name, .param .u32 name, ..`, each aligned to its own size.
fn parameters(list: &str, statement: &Statement, names: &mut Names) -> Result<Vec<Parameter>, ParseError> {
    let mut parameters = Vec::new();
    let mut end = 0_usize;
    for declaration in list.split(',').map(str::trim).filter(|declaration| !declaration.is_empty()) {
        let words: Vec<&str> = declaration.split_whitespace().collect();
        let size = match words[..] {
            [".param", kind, _] => decode::width(kind.trim_start_matches('.')),
            _ => None,
        };
        let size = size.ok_or_else(|| statement.refuse(format!("unknown parameter '{declaration}'")))?;
        let offset = end.next_multiple_of(size);
        names.parameters.insert(words[2].to_owned(), offset);
        parameters.push(Parameter { offset, size });
        end = offset + size;
    }
    Ok(parameters)
}

/// `.b32 %r<7>`: registers `%r0` to `%r6`.
fn declare_registers(declaration: &str, statement: &Statement, names: &mut Names) -> Result<(), ParseError> {
    let refuse = || statement.refuse("expected .reg .type %name<COUNT>");
    let (_, name) = declaration.split_once(char::is_whitespace).ok_or_else(refuse)?;
    let (prefix, count) = name.trim().trim_end_matches('>').split_once('<').ok_or_else(refuse)?;
    for index in 0..count.parse::<usize>().map_err(|_| refuse())? {
        let register = names.registers.len();
        names.registers.insert(format!("{prefix}{index}"), register);
    }
    Ok(())
}
