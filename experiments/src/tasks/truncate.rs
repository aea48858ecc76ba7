//! LongBench's rule for a text that is too long: it loses its middle.

use anyhow::{Result, ensure};

use super::prompt::Prompt;
use crate::model::Model;
use crate::model::tokenizer::{MARGIN, TOKEN_BYTES};

/// Cuts a prompt that is too long: keeps the first and the last `m/2` of its tokens,
/// `text(tokens[..m/2]) + text(tokens[len - m/2..])`, over context and question together.
///
/// `m` is the room that the chat template leaves, LongBench's `max_length`. The tokens at the joint of the halves may
/// change, so `m` shrinks until the prompt fits.
pub(super) fn truncate(prompt: Prompt, model: &Model) -> Result<Prompt> {
    let prompt = without_middle(prompt, model)?;
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

/// The prompt without the middle of a very long text, which is lost in any case, so that it is not tokenised whole.
///
/// Both ends have more tokens than a prompt. A word of more than [`MARGIN`] tokens that crosses an end of what is left out may
/// have other tokens.
fn without_middle(prompt: Prompt, model: &Model) -> Result<Prompt> {
    let (text, needed) = (prompt.context.as_str(), prompt.facets.context_len + MARGIN);
    let mut reach = needed.saturating_mul(TOKEN_BYTES);
    while reach < text.len() / 2 {
        let first = (reach..text.len()).find(|&end| text.is_char_boundary(end)).unwrap_or(text.len());
        let last =
            (first..=text.len() - reach).rev().find(|&start| text.is_char_boundary(start)).unwrap_or(first);
        let ends = [&text[..first], &text[last..]];
        let mut is_long = true;
        for end in ends {
            is_long &= model.tokenizer().encode_further(end)?.len() >= needed;
        }
        if is_long {
            return Ok(Prompt { context: ends.concat(), ..prompt });
        }
        reach *= 2;
    }
    Ok(prompt)
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
