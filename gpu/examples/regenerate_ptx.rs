//! Compiles `kernels/*.cu` to `ptx/sm_80.ptx` with NVRTC 12.4. The bytes are the same on any machine.
//!
//! ```sh
//! python3 -m venv target/nvrtc && target/nvrtc/bin/pip install nvidia-cuda-nvrtc-cu12==12.4.127
//! LD_LIBRARY_PATH=$(echo target/nvrtc/lib/python3*/site-packages/nvidia/cuda_nvrtc/lib) \
//!     cargo run --release -p laprox-gpu --example regenerate_ptx
//! ```
//!
//! With `--check` nothing is written, and a difference is an error.

use std::error::Error;
use std::path::Path;

use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use laprox_gpu::ptx::{stamp, translation_unit};

fn main() -> Result<(), Box<dyn Error>> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = translation_unit(&crate_folder.join("kernels"))?;
    let options = CompileOptions {
        arch: Some("compute_80"),
        name: Some("laprox.cu".into()),
        options: vec!["--std=c++17".into()],
        ..CompileOptions::default()
    };
    let compiled = compile_ptx_with_opts(&source, options).map_err(|error| format!("{error}"))?;
    let text = format!("{}\n{}\n", stamp(&source), compiled.to_src().trim());
    let file = crate_folder.join("ptx/sm_80.ptx");
    if std::env::args().any(|argument| argument == "--check") {
        if std::fs::read_to_string(&file)? != text {
            return Err(format!("{} is not what the sources compile to", file.display()).into());
        }
        println!("{} is what the sources compile to", file.display());
    } else {
        std::fs::write(&file, text)?;
        println!("wrote {}", file.display());
    }
    Ok(())
}
