//! LongBench's rule for texts that are too long: they lose their middle.

use anyhow::{Result, ensure};

use super::prompt::Prompt;
use super::tokens::Tokens;

/// The first and the last half of the tokens that the chat template leaves room for, where the prompt has more.
///
/// `text(tokens[..m/2]) + text(tokens[len - m/2..])` of context and question together, m the room: LongBench's
/// `max_length`, which leaves the template out. The text may get other tokens than it had where its halves meet, so m
/// shrinks until the prompt fits.
pub(super) fn truncate(prompt: Prompt, tokens: &dyn Tokens) -> Result<Prompt> {
    let context_len = prompt.facets.context_len;
    let mut count = tokens.count(&prompt)?;
    if count <= context_len {
        return Ok(prompt);
    }
    let text = tokens.tokenise_further(&format!("{}{}", prompt.context, prompt.question))?;
    let around = count.saturating_sub(text.len());
    let mut room = text.len();
    loop {
        let excess = count - context_len;
        ensure!(room >= excess + 2, "context length: expected more than the {around} tokens around the text");
        room -= excess;
        let cut = cut_to(&prompt, &text, room / 2, tokens)?;
        count = tokens.count(&cut)?;
        if count <= context_len {
            return Ok(cut);
        }
    }
}

/// The prompt with `half` tokens of its beginning and its end.
///
/// The question keeps to itself what is left of it, unless less than all is: then it is the whole last half.
fn cut_to(prompt: &Prompt, text: &[u32], half: usize, tokens: &dyn Tokens) -> Result<Prompt> {
    let first = tokens.detokenise(&text[..half])?;
    let last = tokens.detokenise(&text[text.len() - half..])?;
    // The question as its tokens give it back: normalised, without control tokens.
    let question = tokens.detokenise(&tokens.tokenise_further(&prompt.question)?)?;
    let (context, question) = match last.strip_suffix(&question) {
        Some(rest) => (format!("{first}{rest}"), question),
        None => (first, last),
    };
    let mut cut = Prompt { context, question, ..prompt.clone() };
    cut.facets.truncated = true;
    Ok(cut)
}
