//! YAML as Kubernetes' users write it: what kubectl takes is taken for the same. How much a small text may become is bounded.

use serde_json::Value;
use serde_saphyr::Options;

use crate::foreign::KeyByKey;

/// The deepest nesting. A Job has a dozen levels; the parser takes up to 32 KiB of stack for each in a debug build, and threads
/// have 2 MiB.
const MAX_DEPTH: usize = 48;
/// The most bytes of scalars, the copies that aliases make included.
const MAX_SCALARS: usize = 2 * 1024 * 1024;
/// The most scalars, lists and mappings. A Job has some hundred; this is a megabyte of short lines.
const MAX_NODES: usize = 120_000;
/// The most of them that aliases may copy.
const MAX_COPIED: usize = 10_000;
/// The longest reason that a refusal quotes, in characters.
const MAX_REASON: usize = 200;

/// Reads one document. The error is the reason, in words.
///
/// Numbers are read as kubectl reads them: whole ones of 64 bits exactly, others as doubles. JSON keeps every digit.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    let options: Options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_total_scalar_bytes: MAX_SCALARS,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_COPIED },
        // `defaultMode: 0644` is in half of the manifests that there are.
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<KeyByKey<false>>(text, options)
        .map(|document| document.0)
        .map_err(|error| reason(&error))
}

fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    // What follows is advice for programmers, and the place.
    let rest = ["; use ", ", set ", " rejected by ", " at line "].iter().filter_map(|rest| line.find(rest)).min();
    let reason = line.get(..rest.unwrap_or(line.len())).unwrap_or(line);
    let place = error.location().map(|place| format!("line {} column {}: ", place.line(), place.column()));
    format!("{}{reason}", place.unwrap_or_default()).chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_what_kubectl_takes_them_for() {
        let table = [
            ("1.0", "1.0"),
            ("1.5", "1.5"),
            ("18446744073709551615", "18446744073709551615"),
            ("007", "7"),
            ("0644", "420"),
            ("0o644", "420"),
            ("0x1F", "31"),
            ("+5", "5"),
            ("-5", "-5"),
            ("yes", "true"),
            ("off", "false"),
            ("~", "null"),
            ("", "null"),
            ("2001-12-14", "\"2001-12-14\""),
            ("12:30:45", "\"12:30:45\""),
            ("1Gi", "\"1Gi\""),
            ("\"0644\"", "\"0644\""),
            ("!!str 5", "\"5\""),
            ("\"\\0 \u{1f600}\"", "\"\\u0000 \u{1f600}\""),
            ("|\n  two\n  lines\n", "\"two\\nlines\\n\""),
            ("[&x 1.5, *x, !!float 2]", "[1.5,1.5,2.0]"),
            ("{a: &a {b: 1}, c: {<<: *a, d: 2}}", "{\"a\":{\"b\":1},\"c\":{\"d\":2,\"b\":1}}"),
        ];
        for (yaml, expected) in table {
            assert_eq!(read(&format!("x: {yaml}")).unwrap().to_string(), format!("{{\"x\":{expected}}}"), "{yaml}");
        }
    }

    #[test]
    fn what_is_no_one_document_of_json_is_refused_with_a_reason() {
        let table = [
            ("a: 1\n---\nb: 2\n", "line 3 column 1: multiple YAML documents detected"),
            ("a: 1\na: 2\n", "line 2 column 1: duplicate mapping key: a"),
            ("a: .inf", "line 1 column 4: non-finite float `.inf`"),
            ("a: 1.5e400", "line 1 column 4: non-finite float `1.5e400`"),
            ("? {a: 1}\n: 2", "line 1 column 3: expected string scalar"),
        ];
        for (yaml, reason) in table {
            assert_eq!(read(yaml).unwrap_err(), reason, "{yaml}");
        }
        for yaml in ["a: [1, 2", "a: *nobody", "a: &a [*a]", "\"\\ud800\"", "a: b: c", "%YAML 7.0\n---\n"] {
            assert!(read(yaml).is_err(), "{yaml}");
        }
    }

    #[test]
    fn a_small_text_does_not_become_a_large_one() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..10 {
            let ten = vec![format!("*a{}", level - 1); 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{ten}]\n"));
        }
        let refused = read(&bomb).unwrap_err();
        assert!(refused.contains("alias"), "{refused}");
        let long = "x".repeat(1000);
        let copies = vec!["*a"; 20_000].join(",");
        assert!(read(&format!("a: &a {long}\nb: [{copies}]")).is_err(), "20 MB from 61 KB");
    }

    #[test]
    fn a_reserved_key_is_refused_however_it_is_written() {
        for yaml in [
            "a: {$serde_json::private::Number: '2'}",
            "a: {\"\\x24serde_json::private::RawValue\": '2'}",
            "a: {\"\\u0024serde_json\\u003a:private::RawValue\": '[[1]]'}",
            "? !!binary JHNlcmRlX2pzb246OnByaXZhdGU6OlJhd1ZhbHVl\n: '[1]'",
            "x: &x {$serde_json::private::RawValue: '[1]'}\ny: {<<: *x}",
        ] {
            assert!(read(yaml).unwrap_err().contains("is reserved"), "{yaml}: {:?}", read(yaml));
        }
    }

    #[test]
    fn copies_of_a_long_scalar_have_a_bound() {
        let copies = |count: usize| format!("a: &a \"{}\"\nb: [{}]", "x".repeat(580_000), vec!["*a"; count].join(","));
        assert!(read(&copies(2)).is_ok());
        assert!(read(&copies(110)).is_err(), "64 MB from 580 KB");
        assert!(read(&format!("[{}]", "1,".repeat(MAX_NODES))).is_err());
    }

    #[test]
    fn nesting_has_an_end_before_the_stack_has() {
        for text in ["[".repeat(1_000_000), "- ".repeat(100_000), "{a: ".repeat(100_000), "? ".repeat(100_000)] {
            assert!(read(&text).is_err());
        }
        assert!(read(&format!("{}x", "- ".repeat(MAX_DEPTH - 2))).is_ok());
    }
}
