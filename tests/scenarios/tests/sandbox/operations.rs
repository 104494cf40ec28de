//! What `docs/operations.md` says of constants, flags and metrics is what the worker has.

use std::path::{Path, PathBuf};

use clap::Args;
use runjob::{
    cluster::Cluster,
    metrics::{Metrics, Outcome},
    settings::Settings,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn document() -> String {
    std::fs::read_to_string(Path::new(ROOT).join("docs/operations.md")).unwrap()
}

/// The words of the document that are set as code.
fn code(document: &str) -> Vec<&str> {
    document.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

/// The files of the worker and its core.
fn sources() -> Vec<PathBuf> {
    let mut directories = vec![Path::new(ROOT).join("worker/src"), Path::new(ROOT).join("worker/core/src")];
    let mut files = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { directories.push(path) } else { files.push(path) }
        }
    }
    files
}

/// What a constant is, as its definition has it.
fn definition(file: &str, name: &str) -> Option<String> {
    sources().into_iter().filter(|path| path.ends_with(file)).find_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.contains(&format!("const {name}: ")))?;
        Some(line.split_once("= ")?.1.trim_end_matches(';').to_owned())
    })
}

/// A number, a product of numbers, or a duration, as the document writes it.
fn value(definition: &str) -> String {
    let (unit, number) = match definition.strip_prefix("Duration::from_").and_then(|rest| rest.split_once('(')) {
        Some(("secs", rest)) => (" s", rest.trim_end_matches(')')),
        Some(("mins", rest)) => (" min", rest.trim_end_matches(')')),
        _ => ("", definition),
    };
    let product: u64 = number.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>().unwrap()).product();
    format!("{product}{unit}")
}

/// What the document says a constant is, its unit of bytes multiplied out.
fn said(text: &str) -> String {
    for (unit, bytes) in [(" KiB", 1024), (" MiB", 1024 * 1024)] {
        if let Some(number) = text.strip_suffix(unit) {
            return (number.parse::<u64>().unwrap() * bytes).to_string();
        }
    }
    text.to_owned()
}

#[test]
fn the_constants_are_those_of_the_code() {
    let document = document();
    let code = code(&document);
    let mut seen = 0;
    for pair in code.windows(2) {
        let [file, constant] = pair else { continue };
        let Some((name, is)) = constant.split_once(" = ") else { continue };
        let defined = definition(file, name);
        assert_eq!(defined.as_deref().map(value), Some(said(is)), "{file}: {name}");
        seen += 1;
    }
    assert!(seen > 40, "{seen} constants");
}

#[test]
fn the_flags_are_flags_of_the_worker() {
    let command = Settings::augment_args(clap::Command::new("worker"));
    let flags: Vec<String> =
        command.get_arguments().filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
    let document = document();
    let named: Vec<&str> = code(&document).into_iter().filter(|word| word.starts_with("--")).collect();
    assert!(!named.is_empty());
    for flag in named {
        assert!(flags.iter().any(|other| other == flag), "{flag}");
    }
}

#[tokio::test]
async fn the_metrics_are_those_that_are_exported() {
    let cluster = Cluster::of(kube::Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let metrics = Metrics::new(cluster.lost_events(), cluster.reachability());
    // Those with labels are exported once they have a value.
    for count in
        [Metrics::polled, Metrics::created, Metrics::replied, Metrics::beat, Metrics::deleted, Metrics::settled]
    {
        count(&metrics, Outcome::Error);
    }
    metrics.stuck("Unschedulable");
    let text = metrics.text().unwrap();
    let described = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let exported: Vec<String> = described
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    let document = document();
    let words =
        |word: &str| word.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect::<Vec<_>>();
    let named: Vec<String> =
        code(&document).into_iter().flat_map(words).filter(|word| word.starts_with("runjob_")).collect();
    for name in &named {
        assert!(exported.contains(name), "{name} is not exported");
    }
    for name in &exported {
        assert!(named.contains(name), "{name} is not in the document");
    }
}
