//! PTX text as a list of statements, and the names that they use.

use std::collections::HashMap;

/// PTX that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {reason}: {text}")]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// The reason.
    pub reason: String,
    /// The statement.
    pub text: String,
}

/// One statement: an instruction, a declaration, a label or a brace.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub line: usize,
    pub text: String,
}

impl Statement {
    pub fn refuse(&self, reason: impl Into<String>) -> ParseError {
        ParseError { line: self.line, reason: reason.into(), text: self.text.clone() }
    }

    /// The text behind `prefix`, if the statement begins with it.
    pub fn after(&self, prefix: &str) -> Option<&str> {
        self.text.strip_prefix(prefix).map(str::trim)
    }
}

/// The names that an instruction's operands may use.
#[derive(Default)]
pub(crate) struct Names {
    pub registers: HashMap<String, usize>,
    /// Offsets of the kernel's parameters, by name.
    pub parameters: HashMap<String, usize>,
    /// Addresses of shared variables, by name.
    pub shared: HashMap<String, u64>,
    /// Instruction indices, by label.
    pub labels: HashMap<String, usize>,
}

/// Splits text into statements. Each ends in a semicolon or a label's colon, or is a brace around statements.
pub(crate) fn statements(text: &str) -> Vec<Statement> {
    let mut split = Split::default();
    for (index, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default().trim();
        // The header's directives end without a semicolon.
        if ![".version", ".target", ".address_size"].iter().any(|header| code.starts_with(header)) {
            split.line(index + 1, code);
        }
    }
    split.end();
    split.statements
}

#[derive(Default)]
struct Split {
    statements: Vec<Statement>,
    open: String,
    /// The open statement's first line.
    first_line: usize,
}

impl Split {
    fn line(&mut self, line: usize, code: &str) {
        for c in code.chars() {
            let is_operand = self.open.contains(char::is_whitespace) && !self.open.starts_with(".visible");
            if self.open.is_empty() {
                self.first_line = line;
            }
            match c {
                ';' => self.end(),
                ':' if !is_operand => {
                    self.open.push(c);
                    self.end();
                }
                '{' | '}' if !is_operand => {
                    self.end();
                    self.first_line = line;
                    self.open.push(c);
                    self.end();
                }
                c if c.is_whitespace() && self.open.is_empty() => {}
                c => self.open.push(c),
            }
        }
        if !self.open.is_empty() {
            self.open.push(' ');
        }
    }

    fn end(&mut self) {
        let text = std::mem::take(&mut self.open).trim().to_owned();
        if !text.is_empty() {
            self.statements.push(Statement { line: self.first_line, text });
        }
    }
}
