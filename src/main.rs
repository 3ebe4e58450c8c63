//! The program `oc-mcpgw`: everything lives in the library.

use std::process::ExitCode;

/// Gives freed memory back; see the manifest of the package.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    oc_mcpgw::run(std::env::args_os())
}
