//! The production function, as a process of its own.

fn main() -> std::process::ExitCode {
    runjob_lambda::runtime::main()
}
