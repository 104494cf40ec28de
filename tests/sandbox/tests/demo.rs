//! The README's first command, as a newcomer runs it.

// For clippy: what stands beside a test may stop at an impossible value too.
#![cfg(test)]

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Output},
};

use num_bigint::BigUint;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn sandbox(arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runjob-sandbox"));
    let output = command.args(arguments).current_dir(ROOT).output().unwrap();
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    (output, shown)
}

/// arctan(1/x) in units of 1/`one`, by its series.
fn arctan_of_inverse(x: u32, one: &BigUint) -> BigUint {
    let (mut sum, mut taken) = (BigUint::ZERO, BigUint::ZERO);
    let mut power = one / x;
    let mut odd = 1_u32;
    while power != BigUint::ZERO {
        if odd % 4 == 1 {
            sum += &power / odd;
        } else {
            taken += &power / odd;
        }
        power /= x * x;
        odd += 2;
    }
    sum - taken
}

/// Pi to that many significant digits, rounded: Machin's formula, 4 (4 arctan 1/5 - arctan 1/239).
fn pi(digits: u32) -> String {
    let guard = 20;
    let one = BigUint::from(10_u32).pow(digits - 1 + guard);
    let pi = (arctan_of_inverse(5, &one) * 4_u32 - arctan_of_inverse(239, &one)) * 4_u32;
    let unit = BigUint::from(10_u32).pow(guard);
    let rounded = ((pi + &unit / 2_u32) / unit).to_string();
    format!("{}.{}", &rounded[..1], &rounded[1..])
}

#[test]
fn pi_is_pi() {
    assert_eq!(pi(31), "3.141592653589793238462643383280");
}

#[test]
fn the_articles_workflow_gives_2000_digits_of_pi_or_says_what_is_missing() {
    let (output, shown) = sandbox(&[]);
    if output.status.success() {
        assert!(shown.contains(&pi(2000)), "{shown}");
        assert!(shown.contains("status  SUCCEEDED") && shown.contains("left    Jobs: none"), "{shown}");
        assert!(shown.contains("from the arrival of my-eks-job's final event to the accepted answer"), "{shown}");
    } else {
        // No perl, or one that cannot: never a wrong result, but one line about it.
        let missing = ["this machine has no perl: install it", "this machine's perl cannot run the article's program"];
        assert!(missing.iter().any(|line| shown.matches(line).count() == 1), "{shown}");
        assert!(!shown.contains("SUCCEEDED"), "{shown}");
    }
}

/// A folder with these programs, to be a `PATH`.
fn programs(name: &str, perl: Option<&str>) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("runjob-demo-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = std::env::var_os("PATH").unwrap();
    for program in ["sh", "rm", "cat"] {
        let real = std::env::split_paths(&path).map(|path| path.join(program)).find(|path| path.exists()).unwrap();
        symlink(real, folder.join(program)).unwrap();
    }
    if let Some(script) = perl {
        std::fs::write(folder.join("perl"), script).unwrap();
        std::fs::set_permissions(folder.join("perl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

fn demonstrated_with(programs: &std::path::Path) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_runjob-sandbox")).env("PATH", programs).output().unwrap();
    std::fs::remove_dir_all(programs).unwrap();
    let shown = String::from_utf8(output.stdout.clone()).unwrap();
    (output, shown)
}

#[test]
fn a_perl_that_cannot_run_the_articles_program_is_told_in_one_line() {
    let broken =
        "#!/bin/sh\necho \"Can't use an undefined value as an ARRAY reference at Calc.pm line 1049.\"\nexit 255\n";
    let (output, shown) = demonstrated_with(&programs("broken", Some(broken)));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(shown.matches("apt-get install libmath-bigint-perl").count(), 1, "{shown}");
    assert!(!shown.contains("SUCCEEDED"), "{shown}");
}

#[test]
fn a_machine_without_perl_is_told_so_in_one_line() {
    let (output, shown) = demonstrated_with(&programs("none", None));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(shown.matches("this machine has no perl: install it").count(), 1, "{shown}");
}

#[test]
fn a_workflow_of_the_users_own_is_run() {
    let (output, shown) = sandbox(&["run", "examples/hello/workflow.asl.json", "examples/hello/input.json"]);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("\"hello, world\""), "{shown}");
}

#[test]
fn a_workflow_that_fails_ends_with_another_status_than_0() {
    let input = std::env::temp_dir().join(format!("runjob-demo-{}.json", std::process::id()));
    std::fs::write(&input, r#"{"whom": "nobody", "status": "3"}"#).unwrap();
    let (output, shown) = sandbox(&["run", "examples/hello/workflow.asl.json", input.to_str().unwrap()]);
    std::fs::remove_file(input).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(shown.contains("Greeting.Failed") && shown.contains("Job.BackoffLimitExceeded"), "{shown}");
}

#[test]
fn a_workflow_that_cannot_be_read_is_named() {
    let (output, _) = sandbox(&["run", "no/such/workflow.json", "examples/hello/input.json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: unable to read no/such/workflow.json: No such file or directory (os error 2)\n"
    );
}
