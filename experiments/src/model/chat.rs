//! The chat template of a model: it turns a conversation into text of the form that the model was tuned on.
//!
//! A template is a program that came with a download. It runs on a thread with a stack of its own, it pays for every step and
//! every byte with fuel, and it is given up when it takes too long or fills the memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use memory_stats::memory_stats;

use super::error::{Error, Result};
use super::jinja;
use super::tokenizer::Tokenizer;

/// The longest template. Each of its bytes may cost a frame on the stack.
const MAX_TEMPLATE_LEN: usize = 1 << 16;
/// The stack, far above [`MAX_MEMORY`]: a recursion without end is given up before it reaches the stack's end.
const STACK_LEN: usize = 1 << 30;
/// How long a template may take, and how often it is looked at meanwhile.
const PATIENCE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(20);
/// The memory that a template may take, its stack included.
const MAX_MEMORY: usize = 1 << 28;

/// A Jinja template over `messages`, `add_generation_prompt`, `bos_token` and `eos_token`.
pub struct ChatTemplate {
    file: PathBuf,
    template: Option<Arc<Template>>,
}

/// A template's text, and the texts of the tokens that it may write.
pub(super) struct Template {
    pub(super) source: String,
    pub(super) bos: String,
    pub(super) eos: String,
}

impl ChatTemplate {
    /// The template of a file; a model without one can still be loaded.
    pub(super) fn new(file: &Path, source: Option<String>, tokenizer: &Tokenizer) -> Self {
        let (bos, eos) = (tokenizer.bos_text.clone(), tokenizer.eos_text.clone());
        let template = source.map(|source| Arc::new(Template { source, bos, eos }));
        Self { file: file.to_path_buf(), template }
    }

    /// Whether the model has a template.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.template.is_some()
    }

    /// A user's message as the first turn of a conversation, up to the beginning of the answer.
    ///
    /// A template that is given up goes on until the process ends, because a thread cannot be stopped.
    ///
    /// # Errors
    /// [`Error::Chat`] when the model has no template, or the template is malformed, refuses the message or is given up.
    pub fn render(&self, message: &str) -> Result<String> {
        let bad = |reason: String| Error::Chat { file: self.file.clone(), reason };
        let template = self.template.clone().ok_or_else(|| bad("the model has none".to_owned()))?;
        if template.source.len() > MAX_TEMPLATE_LEN {
            let found = template.source.len();
            return Err(bad(format!("expected at most {MAX_TEMPLATE_LEN} bytes, found {found}")));
        }
        let message = message.to_owned();
        on_own_stack(move || jinja::render(&template, message)).map_err(bad)
    }
}

impl ChatTemplate {
    /// The text between a user's message and the answer; `None` without a template, or if it does not keep the message.
    #[must_use]
    pub fn after_message(&self) -> Option<String> {
        // A noncharacter, which no template contains.
        const MESSAGE: char = '\u{FDD0}';
        let text = self.exists().then(|| self.render(&MESSAGE.to_string()).ok()).flatten()?;
        text.rsplit_once(MESSAGE).map(|(_, after)| after.to_owned())
    }
}

/// The result of `work`, which a thread does that is given up when it takes too much time or memory.
fn on_own_stack(
    work: impl FnOnce() -> std::result::Result<String, String> + Send + 'static,
) -> std::result::Result<String, String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let (start, memory_before) = (Instant::now(), memory());
    let thread = thread::Builder::new().stack_size(STACK_LEN).spawn(move || sender.send(work()));
    thread.map_err(|error| format!("no thread to render it: {error}"))?;
    loop {
        match receiver.recv_timeout(PAUSE) {
            Ok(rendered) => return rendered,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err("the template engine failed".to_owned()),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("not rendered within {} seconds", PATIENCE.as_secs()));
        }
        if memory().saturating_sub(memory_before) > MAX_MEMORY {
            return Err(format!("takes more than {} MiB of memory", MAX_MEMORY >> 20));
        }
    }
}

/// The memory that the process holds; 0 on a system that does not say.
fn memory() -> usize {
    memory_stats().map_or(0, |memory| memory.physical_mem)
}
