//! `Warning` headers (RFC 7234, section 5.5): what the API server has to say about a request that it carried out.

/// The code of the warnings that the API server gives.
const MISCELLANEOUS: &str = "299";
/// The most warnings that are taken from one answer.
const MAX_WARNINGS: usize = 20;

/// The texts of an answer's `Warning` headers. What is no warning of the API server is passed over.
pub fn texts<'h>(headers: impl IntoIterator<Item = &'h str>) -> Vec<String> {
    let mut texts = Vec::new();
    for header in headers {
        let mut rest = header;
        while let Some((code, text, more)) = next(rest) {
            if code == MISCELLANEOUS {
                texts.push(text);
            }
            // Behind it there may be a date, in quotes and with a comma of its own, and the next warning.
            let more = more.trim_start();
            let behind =
                more.strip_prefix('"').and_then(|date| date.split_once('"')).map_or(more, |(_, behind)| behind);
            rest = behind.trim_start().trim_start_matches(',');
        }
    }
    texts.truncate(MAX_WARNINGS);
    texts
}

/// The code and text of the first warning: `299 - "text"`, and what follows it.
fn next(header: &str) -> Option<(&str, String, &str)> {
    let (code, rest) = header.trim_start().split_once(' ')?;
    let (_agent, rest) = rest.split_once(' ')?;
    let quoted = rest.trim_start().strip_prefix('"')?;
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((code, text, quoted.get(at + 1..)?)),
            '\\' => text.push(letters.next()?.1),
            letter => text.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_texts_of_the_api_servers_warnings_are_taken() {
        let restricted = "299 - \"would violate PodSecurity \\\"restricted:latest\\\": a, b\"";
        let two = "299 - \"first, \\\\ second\" \"Tue, 24 Nov 2026 20:00:00 GMT\", 299 agent \"third\"";
        assert_eq!(
            texts([restricted, two]),
            ["would violate PodSecurity \"restricted:latest\": a, b", "first, \\ second", "third"]
        );
    }

    #[test]
    fn what_is_no_warning_of_the_api_server_is_passed_over() {
        assert_eq!(texts(["110 - \"response is stale\", 299 - \"seen\""]), ["seen"]);
        for header in ["", "299", "299 -", "299 - text", "299 - \"open", "299 - \"open\\", ","] {
            assert_eq!(texts([header]), [""; 0], "{header}");
        }
    }

    #[test]
    fn a_flood_of_warnings_is_cut() {
        let many = vec!["299 - \"again\""; 1000];
        assert_eq!(texts(many).len(), MAX_WARNINGS);
    }

    proptest! {
        #[test]
        fn any_text_comes_through_its_quotes(text in "[^\r\n]{0,40}") {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(texts([format!("299 - \"{quoted}\"").as_str()]), [text]);
        }

        #[test]
        fn any_header_comes_to_an_end(header in any::<String>()) {
            texts([header.as_str()]);
        }
    }
}
