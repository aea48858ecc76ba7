//! Installs the stand-in as this process's driver.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use libloading::Library;

static LOADED: OnceLock<Library> = OnceLock::new();

/// Loads the stand-in. From then on this process gets it when it asks for `libcuda.so`.
///
/// It is this crate's shared library, beside the running test or program. Linux only.
///
/// # Errors
/// If there is no such library, or it cannot be loaded.
pub fn install() -> io::Result<()> {
    if LOADED.get().is_none() {
        let library = path()?;
        // SAFETY: the library's initialisers are those of Rust's standard library.
        let loaded = unsafe { Library::new(&library) };
        let loaded = loaded.map_err(|error| io::Error::other(format!("{}: {error}", library.display())))?;
        // Another thread may have been faster: two handles of one library.
        let _ = LOADED.set(loaded);
    }
    Ok(())
}

/// The bytes that all copies of this process have moved from the host to the device; `None` without the stand-in.
#[must_use]
pub fn copied_in() -> Option<u64> {
    let library = LOADED.get()?;
    // SAFETY: the stand-in has this function, with this signature.
    Some(unsafe { library.get::<extern "C" fn() -> u64>(b"ptxsim_copied_in\0").ok()?() })
}

/// The library beside the executable. For an example it is in the folder above.
fn path() -> io::Result<PathBuf> {
    let executable = std::env::current_exe()?;
    let name = "liblaprox_ptxsim.so";
    let folders = executable.ancestors().skip(1).take(2);
    let places = folders.flat_map(|folder| [folder.join(name), folder.join("deps").join(name)]);
    let found = places.into_iter().find(|place| place.is_file());
    found.ok_or_else(|| io::Error::other(format!("no {name} beside {}", executable.display())))
}
