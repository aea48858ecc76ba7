//! Prints the resources that ptxas gives to the PTX that ships: registers, shared memory, spills and tensor-core instructions
//! of every kernel, as the table of `gpu/README.md`. It needs `ptxas`, `cuobjdump` and `nvdisasm` on the PATH, and no GPU:
//!
//! ```sh
//! python3 -m venv target/nvcc
//! target/nvcc/bin/pip install 'cuda-toolkit[nvcc,nvvm,crt]==13.0.2' nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm
//! PATH=$PATH:$(echo target/nvcc/lib/python3*/site-packages/nvidia/cu13/bin) \
//!     cargo run --release -p laprox-gpu --example resources
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;

const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];

/// The resources of one kernel on one architecture.
#[derive(Clone, Debug, Default)]
struct Resources {
    registers: String,
    shared: String,
    spilled: u64,
    products: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let ptx = Path::new(env!("CARGO_MANIFEST_DIR")).join("ptx/sm_80.ptx");
    let kernels = std::fs::read_to_string(&ptx)?;
    let kernels =
        kernels.split(".visible .entry ").skip(1).filter_map(|entry| Some(entry.split_once('(')?.0));
    let [one, two] = ARCHITECTURES.map(|architecture| resources(&ptx, architecture));
    let (one, two) = (one?, two?);
    println!(
        "| kernel | registers, sm_80 / sm_90 | shared memory, bytes | spilled bytes | HMMA, sm_80 / sm_90 |"
    );
    println!("|---|---|---|---|---|");
    for kernel in kernels {
        let missing = || format!("no report on {kernel}");
        let (a, b) = (one.get(kernel).ok_or_else(missing)?, two.get(kernel).ok_or_else(missing)?);
        let products = match (a.products, b.products) {
            (0, 0) => String::new(),
            (a, b) => format!("{a} / {b}"),
        };
        println!(
            "| `{kernel}` | {} / {} | {} | {} | {products} |",
            a.registers,
            b.registers,
            b.shared,
            a.spilled + b.spilled
        );
    }
    Ok(())
}

/// Assembles the PTX and reads ptxas's report and the disassembly.
fn resources(ptx: &Path, architecture: &str) -> Result<HashMap<String, Resources>, Box<dyn Error>> {
    let cubin = std::env::temp_dir().join(format!("laprox-{architecture}.cubin"));
    let arch = format!("-arch={architecture}");
    let report = run(Command::new("ptxas").arg("-v").arg(arch).arg(ptx).arg("-o").arg(&cubin))?;
    let mut all: HashMap<String, Resources> = HashMap::new();
    let mut kernel = String::new();
    for line in report.lines() {
        if let Some((_, name)) = line.split_once("Compiling entry function '") {
            kernel = name.split('\'').next().unwrap_or_default().to_owned();
        }
        let own = all.entry(kernel.clone()).or_default();
        if line.contains("spill stores") {
            own.spilled = numbers(line).iter().sum();
        }
        if line.contains(" registers") {
            own.registers = numbers(line.split("Used").nth(1).unwrap_or_default())[0].to_string();
            let shared = line.split(',').find(|part| part.contains("bytes smem"));
            own.shared = shared.map_or_else(|| "0".into(), |part| numbers(part)[0].to_string());
        }
    }
    for line in run(Command::new("cuobjdump").arg("--dump-sass").arg(&cubin))?.lines() {
        if let Some((_, name)) = line.split_once("Function : ") {
            name.trim().clone_into(&mut kernel);
        }
        if line.contains(" HMMA.") {
            all.entry(kernel.clone()).or_default().products += 1;
        }
    }
    Ok(all)
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Both outputs of a command that ends well.
fn run(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{command:?}: {text}").into()) }
}
