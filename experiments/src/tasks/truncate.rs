//! LongBench's rule for a text that is too long: it loses its middle.

use anyhow::{Result, ensure};

use super::prompt::Prompt;
use crate::model::Model;

/// Cuts a prompt that is too long: keeps the first and the last `m/2` of its tokens,
/// `text(tokens[..m/2]) + text(tokens[len - m/2..])`, over context and question together.
///
/// `m` is the room that the chat template leaves, LongBench's `max_length`. The tokens at the joint of the halves may
/// change, so `m` shrinks until the prompt fits.
pub(super) fn truncate(prompt: Prompt, model: &Model) -> Result<Prompt> {
    let context_len = prompt.facets.context_len;
    let mut count = prompt.count(model)?;
    if count <= context_len {
        return Ok(prompt);
    }
    let text = model.tokenizer().encode_further(&format!("{}{}", prompt.context, prompt.question))?;
    let around = count.saturating_sub(text.len());
    let mut room = text.len();
    loop {
        let excess = count - context_len;
        ensure!(room >= excess + 2, "context length: expected more than the {around} tokens around the text");
        room -= excess;
        let cut = cut_to(&prompt, &text, room / 2, model)?;
        count = cut.count(model)?;
        if count <= context_len {
            return Ok(cut);
        }
    }
}

/// The prompt with `half` tokens of its beginning and its end.
///
/// If the last half ends with the whole question, that remains the question. Otherwise the last half is the question.
fn cut_to(prompt: &Prompt, text: &[u32], half: usize, model: &Model) -> Result<Prompt> {
    let tokenizer = model.tokenizer();
    let first = tokenizer.decode(&text[..half])?;
    let last = tokenizer.decode(&text[text.len() - half..])?;
    // The question after a round trip through its tokens: normalised, without control tokens.
    let question = tokenizer.decode(&tokenizer.encode_further(&prompt.question)?)?;
    let (context, question) = match last.strip_suffix(&question) {
        Some(rest) => (format!("{first}{rest}"), question),
        None => (first, last),
    };
    let mut cut = Prompt { context, question, ..prompt.clone() };
    cut.facets.truncated = true;
    Ok(cut)
}
