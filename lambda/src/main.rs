//! The `bootstrap` binary.

fn main() -> std::process::ExitCode {
    runjob_lambda::runtime::main()
}
