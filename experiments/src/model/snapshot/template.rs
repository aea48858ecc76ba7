//! The chat template of a snapshot.

use serde_json::Value;

use crate::model::error::Result;

use super::files::SnapshotFiles;

/// The text of chat_template.jinja, otherwise the template in tokenizer_config.json, or the one named `default` of several.
///
/// # Errors
/// [`crate::model::Error::Metadata`] when it is neither a text nor a list of named ones.
pub(super) fn read(files: &SnapshotFiles) -> Result<Option<String>> {
    if let Some(text) = files.text("chat_template.jinja") {
        return Ok(Some(text.to_owned()));
    }
    let config = files.document("tokenizer_config.json")?;
    let template = config.optional("chat_template", "a string, or a list with a 'default' one", |value| {
        value.as_str().or_else(|| value.as_array()?.iter().find_map(default))
    })?;
    Ok(template.map(str::to_owned))
}

fn default(named: &Value) -> Option<&str> {
    (named.get("name")? == "default").then(|| named.get("template")?.as_str())?
}
