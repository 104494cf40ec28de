//! The `runjob` binary.

fn main() -> std::process::ExitCode {
    runjob::command::main()
}
