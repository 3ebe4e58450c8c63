//! The program `oc-mcpgw`: everything lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    oc_mcpgw::run(std::env::args_os())
}
