//! The production worker, as a process of its own.

fn main() -> std::process::ExitCode {
    runjob::command::main()
}
